//! `autorep submit`, `list`, `show`, `watch`, `pause`, `resume` and `cancel`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use autorep_core::observation::Observation;
use autorep_core::text::{grouped, without_digits};
use autorep_proto::v1;

use super::address::Address;
use super::{Lab, change_refused, connect, refused, waits_for};
use crate::args::{ListArgs, SubmitArgs, SweepArgs};
use crate::exit::Exit;
use crate::progress::{Look, Reporter, text};
use crate::run::report;
use crate::signal::StopSignals;
use crate::{lab, manifest_file, output};

/// Between two looks at a sweep that is watched.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends a manifest. Its problems are found here, before anything is sent.
pub async fn submit(args: &SubmitArgs) -> Result<Exit> {
    let Some(file) = manifest_file::read(&args.manifest)? else {
        return Ok(Exit::Usage);
    };
    let mut lab = open(&args.address).await?;
    let answer = lab
        .submit(file.submission(false))
        .await
        .map_err(|status| change_refused(&status))?;
    let answer = answer.into_inner();
    for note in &answer.notes {
        output::stderr(&format!("note: {note}\n"));
    }
    output::stdout(
        format!(
            "{}: {}, {} done already\n",
            answer.sweep,
            text::tasks(answer.tasks),
            grouped(answer.done)
        )
        .as_bytes(),
    )?;
    Ok(Exit::Done)
}

/// Prints all sweeps.
pub async fn list(args: &ListArgs) -> Result<Exit> {
    let mut lab = open(&args.address).await?;
    let answer = lab.list(v1::ListRequest {}).await;
    let sweeps = answer
        .map_err(|status| refused(&status))?
        .into_inner()
        .sweeps;
    let width = sweeps
        .iter()
        .map(|it| it.sweep.len())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut table = format!(
        "{:width$}  {:9}  {:>13}  {:>7}  {:>7}  {:>8}  OWNER\n",
        "SWEEP", "STATE", "DONE/ALL", "RUNNING", "GAVE UP", "PRIORITY"
    );
    for sweep in sweeps {
        let state = state_name(sweep.state());
        let look = Look {
            show: v1::ShowResponse {
                summary: Some(sweep.clone()),
                ..v1::ShowResponse::default()
            },
            ..Look::default()
        };
        let (done, all) = look.done_of();
        let counts = look.counts();
        let _ = writeln!(
            table,
            "{:width$}  {state:9}  {:>13}  {:>7}  {:>7}  {:>8}  {}",
            sweep.sweep,
            format!("{done}/{all}"),
            counts.leased,
            counts.gave_up,
            sweep.priority,
            sweep.owner
        );
    }
    output::stdout(table.as_bytes())?;
    Ok(Exit::Done)
}

/// Prints one sweep: counts, running tasks, failures.
pub async fn show(args: &SweepArgs) -> Result<Exit> {
    let mut lab = open(&args.address).await?;
    let show = look(&mut lab, &args.sweep).await?;
    output::stdout(describe(&show).as_bytes())?;
    Ok(Exit::Done)
}

/// Follows a sweep to its end, or as long as somebody reads of it. Stopping to watch stops nothing
/// else.
pub async fn watch(args: &SweepArgs) -> Result<Exit> {
    let mut signals = StopSignals::listen().context("take over the stop signals")?;
    let mut reporter = Reporter::alone(&args.sweep);
    let exit = tokio::select! {
        exit = follow(args, &mut reporter) => exit,
        () = signals.next() => Ok(Exit::Interrupted),
        // The next line may be a while away.
        () = output::nobody_reads(std::io::stdout()) => Ok(Exit::Done),
    };
    reporter.close();
    let exit = exit?;
    reporter.is_read()?;
    Ok(exit)
}

async fn follow(args: &SweepArgs, reporter: &mut Reporter) -> Result<Exit> {
    let target = args.address.resolve()?;
    let mut lab = connect(&target).await?;
    let since = Instant::now();
    let mut look_once = async || {
        let show = look(&mut lab, &args.sweep).await?;
        Ok((show, lab::front(&mut lab, &args.sweep).await?))
    };
    // What never answered may be no coordinator.
    let mut seen = look_once().await?;
    let mut standstills = BTreeSet::new();
    loop {
        let (show, front) = seen;
        let state = show.summary.as_ref().map(v1::SweepSummary::state);
        for why in standstill(&args.sweep, &show) {
            // Some count what is used and what waits, at each look.
            if standstills.insert(without_digits(&why)) {
                reporter.line(&why);
            }
        }
        let look = Look {
            show,
            front_points: front.rows.iter().filter(|row| row.on_front).count(),
            elapsed: since.elapsed(),
        };
        reporter.show(&look);
        if !reporter.is_read()? {
            return Ok(Exit::Done);
        }
        match state.unwrap_or_default() {
            v1::SweepState::Done => {
                reporter.close();
                reporter.line("every task is done");
                return Ok(Exit::Done);
            }
            v1::SweepState::Partial => {
                reporter.close();
                reporter.line(report::failures(&look.show).trim_end());
                return Ok(Exit::Partial);
            }
            v1::SweepState::Cancelled => {
                reporter.close();
                reporter.line("the sweep was cancelled");
                return Ok(Exit::Partial);
            }
            v1::SweepState::Active | v1::SweepState::Paused | v1::SweepState::Unspecified => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let waiting = |why: &_| reporter.line(&waits_for(&target.url, why));
        seen = patiently(&mut look_once, waiting).await?;
    }
}

/// Why a sweep does not go on, as far as the coordinator knows, and what else it notes.
fn standstill(sweep: &str, show: &v1::ShowResponse) -> Vec<String> {
    let state = show.summary.as_ref().map(v1::SweepSummary::state);
    let paused = (state == Some(v1::SweepState::Paused))
        .then(|| format!("paused; `autorep resume {sweep}` lets it go on"));
    let notes = show.notes.iter().map(|note| format!("note: {note}"));
    paused.into_iter().chain(notes).collect()
}

/// Asks until there is an answer: a coordinator that is started again, or another one that takes
/// over, goes on. That nobody answers is told once for each reason.
async fn patiently<T>(
    mut ask: impl AsyncFnMut() -> Result<T>,
    mut tell: impl FnMut(&anyhow::Error),
) -> Result<T> {
    let mut told = None;
    loop {
        match ask().await {
            Err(error) if lab::is_transient(&error) => {
                let why = format!("{error:#}");
                if told.as_ref() != Some(&why) {
                    tell(&error);
                    told = Some(why);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer => return answer,
        }
    }
}

/// Grants no more leases for a sweep.
pub async fn pause(args: &SweepArgs) -> Result<Exit> {
    let mut lab = open(&args.address).await?;
    let sweep = args.sweep.clone();
    let answer = lab.pause(v1::PauseRequest { sweep }).await;
    answer.map_err(|status| change_refused(&status))?;
    told(&match ended(&mut lab, &args.sweep).await {
        Some(state) => format!("{} is {state}: nothing to pause\n", args.sweep),
        None => format!(
            "{}: paused; running tasks go on, `autorep resume` takes it back\n",
            args.sweep
        ),
    })
}

/// Takes a pause back.
pub async fn resume(args: &SweepArgs) -> Result<Exit> {
    let mut lab = open(&args.address).await?;
    let sweep = args.sweep.clone();
    let answer = lab.resume(v1::ResumeRequest { sweep }).await;
    answer.map_err(|status| change_refused(&status))?;
    told(&match ended(&mut lab, &args.sweep).await {
        Some(state) => format!("{} is {state}: nothing to resume\n", args.sweep),
        None => format!("{}: goes on\n", args.sweep),
    })
}

/// Ends a sweep.
pub async fn cancel(args: &SweepArgs) -> Result<Exit> {
    let mut lab = open(&args.address).await?;
    let sweep = args.sweep.clone();
    let answer = lab.cancel(v1::CancelRequest { sweep }).await;
    answer.map_err(|status| change_refused(&status))?;
    told(&match ended(&mut lab, &args.sweep).await {
        Some(state) => format!("{} is {state}: nothing to cancel\n", args.sweep),
        None => format!("{}: cancelled; results that are in stay\n", args.sweep),
    })
}

async fn open(address: &Address) -> Result<Lab> {
    connect(&address.resolve()?).await
}

async fn look(lab: &mut Lab, sweep: &str) -> Result<v1::ShowResponse> {
    let request = v1::ShowRequest {
        sweep: sweep.to_owned(),
    };
    let answer = lab.show(request).await;
    Ok(answer.map_err(|status| refused(&status))?.into_inner())
}

/// What the sweep is if nothing of it runs and nothing will, asked behind a change that has been made:
/// where it cannot be told, the change can. Of one that was cancelled the coordinator itself says what
/// can be done.
async fn ended(lab: &mut Lab, sweep: &str) -> Option<&'static str> {
    let show = look(lab, sweep).await.ok()?;
    let state = show.summary.unwrap_or_default().state();
    match state {
        v1::SweepState::Done | v1::SweepState::Partial => Some(state_name(state)),
        v1::SweepState::Active
        | v1::SweepState::Paused
        | v1::SweepState::Cancelled
        | v1::SweepState::Unspecified => None,
    }
}

fn told(text: &str) -> Result<Exit> {
    output::stdout(text.as_bytes())?;
    Ok(Exit::Done)
}

fn state_name(state: v1::SweepState) -> &'static str {
    match state {
        v1::SweepState::Active => "active",
        v1::SweepState::Paused => "paused",
        v1::SweepState::Done => "done",
        v1::SweepState::Partial => "partial",
        v1::SweepState::Cancelled => "cancelled",
        v1::SweepState::Unspecified => "unknown",
    }
}

/// Results that are shown: the latest.
const DONE_SHOWN: usize = 10;

/// The last lines of a trainer's last words.
fn last_lines(text: &str) -> impl Iterator<Item = &str> {
    const MOST: usize = 10;
    let lines = text.lines().count();
    text.lines().skip(lines.saturating_sub(MOST))
}

/// A sweep for people.
fn describe(show: &v1::ShowResponse) -> String {
    let summary = show.summary.clone().unwrap_or_default();
    let counts = summary.counts.unwrap_or_default();
    let mut said = format!(
        "{}: {}, {:.1} s trained\n",
        summary.sweep,
        state_name(summary.state()),
        show.trained_seconds
    );
    for (name, count) in [
        ("waiting for others", counts.waiting),
        ("ready", counts.ready),
        ("running", counts.leased),
        ("done", counts.done),
        ("gave up", counts.gave_up),
        ("blocked", counts.blocked),
        ("parked", counts.parked),
        ("cancelled", counts.cancelled),
    ] {
        if count > 0 {
            let _ = writeln!(said, "  {:>9}  {name}", grouped(count));
        }
    }
    for note in &show.notes {
        let _ = writeln!(said, "note     {note}");
    }
    // With the ids that `logs` and `pin` take.
    let skipped = show.finished.len().saturating_sub(DONE_SHOWN);
    for task in show.finished.iter().skip(skipped) {
        let id = task.task.get(..8).unwrap_or(&task.task);
        let what = text::task(&task.kind, &task.label);
        let by = match task.worker.as_str() {
            // It was there when the coordinator started.
            "" => String::new(),
            worker => format!(" on {worker}"),
        };
        let _ = writeln!(said, "done     {id}  {what}{by}");
        let observation = (task.observation.clone()).and_then(|it| Observation::try_from(it).ok());
        if let Some(search) = observation.as_ref().and_then(text::search) {
            let _ = writeln!(said, "         {search}");
        }
    }
    for task in &show.running {
        let _ = writeln!(
            said,
            "running  {}  {} on {}, attempt {}  {}",
            task.task.get(..8).unwrap_or(&task.task),
            text::task(&task.kind, &task.label),
            text::workers(&task.worker, &task.members),
            task.attempt,
            task.progress
                .as_ref()
                .map(text::progress)
                .unwrap_or_default()
        );
    }
    for failure in &show.failures {
        describe_failure(&mut said, failure);
    }
    said
}

/// A failed attempt, and of a task in quarantine all that is known of it.
fn describe_failure(said: &mut String, failure: &v1::FailedAttempt) {
    let _ = writeln!(
        said,
        "failed   {}  {} on {}, attempt {}: {}: {}{}",
        failure.task.get(..8).unwrap_or(&failure.task),
        text::task(&failure.kind, &failure.label),
        failure.worker,
        failure.attempt,
        text::failure(failure.class()),
        failure.message,
        match (failure.gave_up, failure.quarantined) {
            (false, _) => "",
            (true, false) => " (gave up)",
            (true, true) => " (in quarantine: it takes trainers or workers with it)",
        }
    );
    if !failure.last_progress.is_empty() {
        let _ = writeln!(said, "         last heard of at {}", failure.last_progress);
    }
    if failure.quarantined {
        for line in last_lines(&failure.stderr_tail) {
            let _ = writeln!(said, "         | {line}");
        }
        said.push_str("         mend the cause (a signal 9 is often a machine out of memory), then submit the manifest again\n");
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn a_paused_sweep_and_what_the_coordinator_notes_are_told() {
        let show = |state: v1::SweepState, notes: &[&str]| v1::ShowResponse {
            summary: Some(v1::SweepSummary {
                state: state.into(),
                ..v1::SweepSummary::default()
            }),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
            ..v1::ShowResponse::default()
        };
        let told = standstill(
            "tiny",
            &show(v1::SweepState::Paused, &["no worker is there"]),
        );
        let [paused, note] = &told[..] else {
            panic!("{told:?}");
        };
        assert!(paused.contains("`autorep resume tiny`"), "{paused}");
        assert_eq!(note, "note: no worker is there");
        assert!(standstill("tiny", &show(v1::SweepState::Active, &[])).is_empty());
        // Or a line would come with each look.
        let used = ["0.017 of 2 GPU-hours used", "0.018 of 2 GPU-hours used"];
        assert_eq!(without_digits(used[0]), without_digits(used[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for_as_often_as_it_comes_and_what_does_not_ends_the_watch() {
        let away = || Err(refused(&Status::unavailable("it starts")));
        let mut told = 0;
        for silences in [0, 1, 3] {
            let mut left = silences;
            let ask = async || {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                away()
            };
            patiently(ask, |_why| told += 1).await.unwrap();
        }
        assert_eq!(told, 2, "once for each silence");

        let unknown = Status::from(autorep_proto::status::Refusal::UnknownSweep("x".into()));
        for lasting in [unknown, Status::permission_denied("a viewer's token")] {
            let ask = async || Err::<(), _>(refused(&lasting));
            let told = |_why: &_| unreachable!("it does not pass");
            patiently(ask, told).await.unwrap_err();
        }
    }
}
