//! What a finished `autorep run` leaves: the front on stdout and as files, and what it cost.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use autorep_core::front::FrontReport;
use autorep_proto::v1;
use serde::Serialize;

use crate::exit::Exit;
use crate::figure::{self, Format};
use crate::output;
use crate::progress::text;

/// The files of a front in `STORE/sweeps/NAME`.
const FILES: [(&str, Format); 4] = [
    ("front.csv", Format::Csv),
    ("front.json", Format::Json),
    ("front.svg", Format::Svg),
    ("front.png", Format::Png),
];

/// How a run ended.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The last look at the sweep.
    pub show: &'a v1::ShowResponse,
    /// Its front.
    pub front: &'a FrontReport,
    /// From the command's start to its end.
    pub wall: Duration,
    /// Seconds that trainers reported for the tasks that this run finished.
    pub trained_seconds: f64,
    /// Workers that this run had; zero if nothing was left to do.
    pub workers: usize,
}

/// What a run cost, as `STORE/sweeps/NAME/run.json` keeps it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cost {
    /// From the command's start to its end.
    pub wall_seconds: f64,
    /// Seconds that trainers reported.
    pub trained_seconds: f64,
    /// Workers that the run had.
    pub workers: usize,
    /// The share of the workers' wall time that was spent outside trainers.
    pub overhead_share: f64,
}

impl Outcome<'_> {
    /// Writes the files, prints the table and says what is to be said.
    pub fn write(&self, store: &Path) -> Result<Exit> {
        let folder = store.join("sweeps").join(self.front.sweep.as_str());
        for (name, format) in FILES {
            output::file(&folder.join(name), &figure::render(self.front, format)?)?;
        }
        output::stdout(&figure::render(self.front, Format::Table)?)?;
        if let Some(cost) = self.cost() {
            let mut json = serde_json::to_vec_pretty(&cost)?;
            json.push(b'\n');
            output::file(&folder.join("run.json"), &json)?;
            output::stderr(&cost.sentence());
        } else {
            output::stderr("nothing was left to train: every result was in the store\n");
        }
        output::stderr(&parked(self.show));
        let paths = FILES.map(|(name, _)| folder.join(name).display().to_string());
        output::stderr(&format!("front: {}\n", paths.join("  ")));
        Ok(self.exit())
    }

    fn exit(&self) -> Exit {
        let summary = self.show.summary.clone().unwrap_or_default();
        match summary.state() {
            v1::SweepState::Done => Exit::Done,
            v1::SweepState::Cancelled => {
                output::stderr("the sweep was cancelled: the front is partial\n");
                Exit::Partial
            }
            v1::SweepState::Partial
            | v1::SweepState::Active
            | v1::SweepState::Paused
            | v1::SweepState::Unspecified => {
                output::stderr(&failures(self.show));
                Exit::Partial
            }
        }
    }

    fn cost(&self) -> Option<Cost> {
        (self.workers > 0).then(|| {
            let wall_seconds = self.wall.as_secs_f64();
            let worked = wall_seconds * self.workers as f64;
            Cost {
                wall_seconds,
                trained_seconds: self.trained_seconds,
                workers: self.workers,
                overhead_share: (1.0 - self.trained_seconds / worked).clamp(0.0, 1.0),
            }
        })
    }
}

impl Cost {
    fn sentence(&self) -> String {
        let workers = match self.workers {
            1 => "1 worker".to_owned(),
            many => format!("{many} workers"),
        };
        format!(
            "time: {:.1} s with {workers}, {:.1} s of it in trainers; {:.1} % of the wall time was \
             spent outside trainers\n",
            self.wall_seconds,
            self.trained_seconds,
            100.0 * self.overhead_share
        )
    }
}

/// What of the plan was not run to its end because nothing asked for it; empty where all was.
fn parked(show: &v1::ShowResponse) -> String {
    let summary = show.summary.clone().unwrap_or_default();
    match summary.counts.map_or(0, |counts| counts.parked) {
        0 => String::new(),
        parked if summary.at_limit => format!(
            "{} of the plan did not run: the sweep has come to its limit; with a larger one \
             (spec.limit) it goes on from here\n",
            text::tasks(parked)
        ),
        parked => format!(
            "{} of the plan stopped early or never ran: others did better at a rung, or the front is \
             clear without\n",
            text::tasks(parked)
        ),
    }
}

/// What went wrong, for people: each task that gave up with the end of its trainer's stderr.
pub fn failures(show: &v1::ShowResponse) -> String {
    let counts = show
        .summary
        .as_ref()
        .and_then(|it| it.counts)
        .unwrap_or_default();
    let mut said = format!("{} gave up", text::tasks(counts.gave_up));
    if counts.blocked > 0 {
        let _ = write!(
            said,
            ", {} that need them will not run",
            text::tasks(counts.blocked)
        );
    }
    said += ": the front is partial\n";
    for failure in show.failures.iter().filter(|failure| failure.gave_up) {
        let _ = writeln!(
            said,
            "\n{} (task {}) gave up after attempt {} on {}: {}: {}",
            text::task(&failure.kind, &failure.label),
            failure.task.get(..8).unwrap_or(&failure.task),
            failure.attempt,
            failure.worker,
            text::failure(failure.class()),
            failure.message
        );
        let tail = failure.stderr_tail.trim_end();
        if !tail.is_empty() {
            said += "  the trainer's last words:\n";
            for line in tail.lines() {
                let _ = writeln!(said, "    {}", printable(line));
            }
        }
    }
    said
}

/// A line of another program's output without what could play tricks on a terminal.
fn printable(line: &str) -> String {
    line.chars()
        .map(|character| {
            if character.is_control() && character != '\t' {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_show_the_trainers_last_words_of_tasks_that_gave_up() {
        let show = v1::ShowResponse {
            summary: Some(v1::SweepSummary {
                counts: Some(v1::TaskCounts {
                    gave_up: 1,
                    blocked: 3,
                    ..v1::TaskCounts::default()
                }),
                ..v1::SweepSummary::default()
            }),
            failures: vec![
                v1::FailedAttempt {
                    stderr_tail: "not this".to_owned(),
                    ..v1::FailedAttempt::default()
                },
                v1::FailedAttempt {
                    kind: "baseline".to_owned(),
                    label: "seed 0".to_owned(),
                    attempt: 3,
                    stderr_tail: "first\n\u{1b}[31msecond\n".to_owned(),
                    gave_up: true,
                    ..v1::FailedAttempt::default()
                },
            ],
            ..v1::ShowResponse::default()
        };
        let said = failures(&show);
        assert!(said.starts_with("1 task gave up, 3 tasks that need them will not run"));
        assert!(said.contains("    first\n     [31msecond\n"), "{said:?}");
        assert!(!said.contains("not this"));
    }

    #[test]
    fn the_overhead_is_what_trainers_do_not_account_for() {
        let cost = |trained_seconds| {
            Outcome {
                show: &v1::ShowResponse::default(),
                front: &FrontReport {
                    sweep: "a".parse().unwrap(),
                    rows: vec![],
                    hypervolume: 0.0,
                },
                wall: Duration::from_secs(100),
                trained_seconds,
                workers: 2,
            }
            .cost()
            .unwrap()
            .overhead_share
        };
        assert!((cost(190.0) - 0.05).abs() < 1e-12);
        // Attempts that began in an earlier run bring their seconds along.
        assert!(cost(300.0).abs() < 1e-12);
    }
}
