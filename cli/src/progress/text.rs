//! Words and numbers as people read them on a progress line.

use std::time::Duration;

use autorep_core::observation::{Accuracy, Observation};
use autorep_core::searched::Convergence;
use autorep_core::text::{counted, grouped};
use autorep_proto::v1;

/// A duration of up to days in two units at most: `0:07`, `12:03`, `3:00:10`, `2d 4h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match hours {
        0 => format!("{minutes}:{:02}", seconds % 60),
        1..48 => format!("{hours}:{:02}:{:02}", minutes % 60, seconds % 60),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

/// Seconds from the wire as a duration; what is not a length of time is none.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// A rate of images: whole numbers, except where that would say zero.
pub fn rate(images_per_second: f64) -> String {
    if images_per_second >= 10.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and a rate beyond 2^64 saturates"
        )]
        let whole = images_per_second.round() as u64;
        format!("{} img/s", grouped(whole))
    } else {
        format!("{images_per_second:.1} img/s")
    }
}

/// `one task`, `3 tasks`.
pub fn tasks(number: u64) -> String {
    counted(number, "task")
}

/// Who does a task: its leader and those who do it with it.
pub fn workers(leader: &str, members: &[String]) -> String {
    std::iter::once(leader)
        .chain(members.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a task is, for people: its kind with its label.
pub fn task(kind: &str, label: &str) -> String {
    match label {
        "" => kind.to_owned(),
        _ => format!("{kind} {label}"),
    }
}

/// How long a task takes yet, as far as its trainer knows.
pub fn left(progress: &v1::Progress) -> Option<String> {
    let left = seconds(progress.seconds_left?);
    Some(format!("{} left", duration(left)))
}

/// Where a trainer is, as one line: epoch, loss, ReLUs against the budget, rate.
pub fn progress(progress: &v1::Progress) -> String {
    let mut parts = Vec::new();
    if progress.epochs > 0 {
        parts.push(format!("epoch {}/{}", progress.epoch, progress.epochs));
    }
    if let Some(loss) = progress.loss {
        parts.push(format!("loss {loss:.3}"));
    }
    match (progress.relu_count, progress.relu_budget) {
        (Some(now), Some(budget)) if now != budget => {
            parts.push(format!("{}/{} ReLUs", grouped(now), grouped(budget)));
        }
        (Some(now), _) => parts.push(format!("{} ReLUs", grouped(now))),
        (None, _) => {}
    }
    if let Some(validation) = progress.validation.and_then(|it| it.try_into().ok()) {
        parts.push(format!("validation {}", percent(validation)));
    }
    if let Some(speed) = progress.images_per_second {
        parts.push(rate(speed));
    }
    // Below, the device is what training waits for.
    if let Some(share) = progress.data_wait_share.filter(|share| *share >= 0.02) {
        parts.push(format!("{:.0} % waiting for data", 100.0 * share));
    }
    parts.join("  ")
}

/// What a task measured, as one line: accuracy, ReLUs, time; and what a person should know before
/// trusting it: that the search had not come down to its budget, that images were skipped.
pub fn observation(observation: &Observation) -> String {
    let mut parts = Vec::new();
    if let Some(test) = observation.test {
        parts.push(format!("test {}", percent(test)));
    }
    if let Some(validation) = observation.validation {
        parts.push(format!("validation {}", percent(validation)));
    }
    parts.push(format!(
        "{} of {} ReLUs",
        grouped(observation.relu_count),
        grouped(observation.relu_total)
    ));
    if let Some(searched) = observation.searched_count
        && searched > observation.relu_count
    {
        parts.push(format!("(projected from {})", grouped(searched)));
    }
    if observation.skipped_images > 0 {
        parts.push(format!("images skipped: {}", observation.skipped_images));
    }
    parts.push(format!("{:.1} s", observation.seconds));
    parts.join("  ")
}

/// The most budgets of which a line tells.
const BUDGETS_TOLD: usize = 8;

/// What a search reports, as one line: of each budget whether it was reached and what projection
/// cost, then how often indicators turned. `None` for what was no search.
pub fn search(observation: &Observation) -> Option<String> {
    let searched = observation.searched.as_ref()?;
    let budgets = searched.projections.iter();
    let mut parts: Vec<String> = (budgets.take(BUDGETS_TOLD))
        .map(|projection| {
            let budget = projection.budget;
            let convergence = match observation.convergence(budget) {
                Some(Convergence::Reached) => "reached",
                Some(Convergence::Left) => "reached and left",
                Some(Convergence::Never) => "never reached",
                None => "",
            };
            let cost = projection.effect.map(|effect| {
                let cost = effect.cost();
                format!(", projection cost {cost:.1} points")
            });
            format!(
                "{} {convergence}{}",
                grouped(budget),
                cost.unwrap_or_default()
            )
        })
        .collect();
    if let more @ 1.. = searched.projections.len().saturating_sub(BUDGETS_TOLD) {
        parts.push(format!("and {more} more"));
    }
    let (off, on) = (grouped(searched.turned_off), grouped(searched.turned_on));
    parts.push(format!("indicators turned off {off} times, on again {on}"));
    Some(parts.join("; "))
}

/// What went wrong, by class.
pub fn failure(class: v1::FailureClass) -> &'static str {
    match class {
        v1::FailureClass::TrainerCrashed => "trainer crashed",
        v1::FailureClass::OutOfMemory => "out of memory",
        v1::FailureClass::Diverged => "diverged",
        v1::FailureClass::BadData => "bad data",
        v1::FailureClass::BadCheckpoint => "bad checkpoint",
        v1::FailureClass::StoreUnavailable => "store unavailable",
        v1::FailureClass::TrainerError => "trainer error",
        v1::FailureClass::WorkerLost => "worker lost",
        v1::FailureClass::BudgetUnreached => "budget not reached",
        v1::FailureClass::BadWeights => "bad weights",
        v1::FailureClass::NoScratch => "no scratch space",
        v1::FailureClass::Unspecified => "unknown failure",
    }
}

/// An accuracy to a tenth of a percent: a point of a test set of 10,000 is a hundredth.
fn percent(accuracy: Accuracy) -> String {
    format!("{:.1} %", accuracy.percent())
}

#[cfg(test)]
mod tests {
    use autorep_core::observation::LearningCurve;
    use autorep_core::searched::{Effect, Projection, Searched};

    use super::*;

    #[test]
    fn durations_take_two_or_three_places() {
        let text = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(text(7), "0:07");
        assert_eq!(text(723), "12:03");
        assert_eq!(text(10_810), "3:00:10");
        assert_eq!(text(187_200), "2d 4h");
        assert_eq!(duration(seconds(f64::NAN)), "0:00");
        assert_eq!(duration(seconds(-1.0)), "0:00");
    }

    #[test]
    fn a_result_says_how_far_its_search_was_from_the_budget_and_how_many_images_it_did_without() {
        let reached = Observation {
            relu_count: 480,
            relu_total: 24_000,
            validation: Some(Accuracy {
                correct: 9,
                images: 10,
            }),
            test: None,
            searched_count: Some(471),
            selected_epoch: None,
            epochs: 8,
            seconds: 60.0,
            skipped_images: 0,
            curve: LearningCurve::default(),
            searched: None,
        };
        assert_eq!(
            observation(&reached),
            "validation 90.0 %  480 of 24,000 ReLUs  60.0 s"
        );
        let short = Observation {
            searched_count: Some(17_595),
            skipped_images: 3,
            ..reached
        };
        assert_eq!(
            observation(&short),
            "validation 90.0 %  480 of 24,000 ReLUs  (projected from 17,595)  images skipped: 3  60.0 s"
        );
    }

    #[test]
    fn a_search_says_what_became_of_each_budget() {
        let accuracy = |correct| Accuracy {
            correct,
            images: 1000,
        };
        let projection = |budget, searched_count, effect| Projection {
            budget,
            searched_count,
            epochs: 1,
            effect,
        };
        let change = Effect::Change {
            before: accuracy(880),
            after: accuracy(868),
        };
        let mut found = Observation {
            relu_count: 480,
            relu_total: 24_000,
            validation: None,
            test: None,
            searched_count: Some(700),
            selected_epoch: None,
            epochs: 2,
            seconds: 60.0,
            skipped_images: 0,
            curve: LearningCurve {
                images: 1000,
                epochs: vec![(9_000, 850).into(), (2_500, 870).into()],
            },
            searched: Some(Searched {
                epochs: 2,
                turned_off: 23_400,
                turned_on: 100,
                projections: vec![
                    projection(4_000, 3_990, Some(Effect::Nothing)),
                    projection(2_000, 1_999, None),
                    projection(480, 700, Some(change)),
                ],
            }),
        };
        assert_eq!(
            search(&found).as_deref(),
            Some(
                "4,000 reached, projection cost 0.0 points; 2,000 reached and left; \
                 480 never reached, projection cost 1.2 points; \
                 indicators turned off 23,400 times, on again 100"
            )
        );
        if let Some(searched) = &mut found.searched {
            searched.projections = vec![searched.projections[0]; 10];
        }
        let told = search(&found).unwrap_or_default();
        assert!(told.contains("; and 2 more; indicators"), "{told}");
        assert_eq!(
            search(&Observation {
                searched: None,
                ..found
            }),
            None
        );
    }

    #[test]
    fn a_progress_line_shows_relus_against_the_budget_and_leaves_out_what_is_unknown() {
        let bare = v1::Progress {
            epoch: 1,
            epochs: 4,
            ..v1::Progress::default()
        };
        assert_eq!(progress(&bare), "epoch 1/4");
        assert_eq!(left(&bare), None);
        let full = v1::Progress {
            loss: Some(0.25),
            relu_count: Some(5_000),
            relu_budget: Some(3_000),
            images_per_second: Some(4_211.6),
            seconds_left: Some(75.0),
            validation: Some(v1::Accuracy {
                correct: 9,
                images: 10,
            }),
            ..bare
        };
        assert_eq!(
            progress(&full),
            "epoch 1/4  loss 0.250  5,000/3,000 ReLUs  validation 90.0 %  4,212 img/s"
        );
        let waiting = |share| {
            let told = v1::Progress {
                data_wait_share: Some(share),
                ..full
            };
            progress(&told)
        };
        assert_eq!(waiting(0.019), progress(&full));
        assert!(waiting(0.25).ends_with("  4,212 img/s  25 % waiting for data"));
        assert_eq!(left(&full).as_deref(), Some("1:15 left"));
    }
}
