//! What a trainer prints of its task as it goes: the log that `autorep logs` shows.
//!
//! It goes to standard output. Standard error is for what is wrong: its end is kept with a failure.

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use autorep_core::task::TaskSpec;
use autorep_proto::v1;
use autorep_proto::v1::trainer_event::Event;

/// Within an epoch a line is printed so often.
const EVERY: Duration = Duration::from_secs(10);

/// Prints a line for each event that is worth one.
#[derive(Debug)]
pub struct Journal<W> {
    out: W,
    /// The epoch of the last line of progress, and when it was printed.
    told: Option<(u32, Instant)>,
}

impl<W: Write> Journal<W> {
    /// A journal of nothing so far.
    pub const fn new(out: W) -> Self {
        Self { out, told: None }
    }

    /// The task that begins, as a part of the trace that `traceparent` names (W3C Trace Context; empty
    /// for none).
    pub fn begin(&mut self, start: &v1::StartTask, traceparent: &str) {
        self.print(&beginning(start, traceparent));
    }

    /// Something that the worker is told, too.
    pub fn note(&mut self, event: &Event) {
        let line = match event {
            Event::Progress(progress) if self.is_due(progress.epoch) => progress_line(progress),
            Event::Progress(_) | Event::Meeting(_) => return,
            Event::CheckpointReady(ready) => format!(
                "checkpoint {} at step {}",
                match ready.output.as_str() {
                    "" => "to resume from",
                    output => output,
                },
                ready.step
            ),
            Event::Done(_) => "done".to_owned(),
            Event::Stopped(_) => "stopped; another attempt goes on from the checkpoint".to_owned(),
            Event::Failed(failed) => format!("failed: {}", failed.message),
        };
        self.print(&line);
    }

    fn is_due(&mut self, epoch: u32) -> bool {
        let now = Instant::now();
        let is_due = self
            .told
            .is_none_or(|(told, at)| told != epoch || now - at >= EVERY);
        if is_due {
            self.told = Some((epoch, now));
        }
        is_due
    }

    /// A log that cannot be written is no reason to stop training.
    fn print(&mut self, line: &str) {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = writeln!(self.out, "{now} {line}").and_then(|()| self.out.flush());
        drop::<io::Result<()>>(written);
    }
}

fn beginning(start: &v1::StartTask, traceparent: &str) -> String {
    let device = &start.device;
    let mut parts = vec![match serde_json::from_slice::<TaskSpec>(&start.spec) {
        Ok(spec) => format!(
            "{} task {}, seed {}",
            spec.kind(),
            spec.id().short(),
            spec.seed
        ),
        // The reason is said where the task is taken up.
        Err(_unreadable) => "a task whose spec cannot be read".to_owned(),
    }];
    parts.push(format!("on {device}"));
    if let Some(group) = &start.group {
        parts.push(format!("rank {} of {}", group.rank, group.ranks));
    }
    if !start.resume_folder.is_empty() {
        parts.push("resumed".to_owned());
    }
    if let Some(epochs) = start.stop_after {
        parts.push(format!("until epoch {epochs}"));
    }
    // By it the log and its trace are found from one another.
    let trace = traceparent.split('-').nth(1).unwrap_or_default();
    if trace.len() == 32 && trace.bytes().all(|it| it.is_ascii_hexdigit()) {
        parts.push(format!("trace_id={trace}"));
    }
    parts.join(", ")
}

/// Where training is, for people.
pub fn progress_line(progress: &v1::Progress) -> String {
    let mut parts = vec![format!(
        "epoch {}/{} step {}/{}",
        progress.epoch, progress.epochs, progress.step, progress.steps
    )];
    if let Some(loss) = progress.loss {
        parts.push(format!("loss {loss:.4}"));
    }
    if let (Some(count), Some(budget)) = (progress.relu_count, progress.relu_budget) {
        parts.push(format!("relus {count} of {budget}"));
    }
    if let Some(accuracy) = &progress.validation {
        let percent = 100.0 * accuracy.correct as f64 / accuracy.images.max(1) as f64;
        parts.push(format!("validation {percent:.2} %"));
    }
    if let Some(rate) = progress.images_per_second {
        parts.push(format!("{rate:.0} images/s"));
    }
    if let Some(share) = progress.data_wait_share {
        parts.push(format!("waited for data {:.1} %", 100.0 * share));
    }
    if let Some(left) = progress.seconds_left {
        parts.push(format!("{left:.0} s left"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_a_line_and_a_fast_one_has_no_more() {
        let mut journal = Journal::new(Vec::new());
        for (epoch, step) in [(1, 1), (1, 2), (2, 3)] {
            journal.note(&Event::Progress(v1::Progress {
                epoch,
                epochs: 2,
                step,
                steps: 4,
                loss: Some(0.5),
                ..v1::Progress::default()
            }));
        }
        journal.note(&Event::CheckpointReady(v1::CheckpointReady {
            output: "net".to_owned(),
            step: 4,
            ..v1::CheckpointReady::default()
        }));
        let text = String::from_utf8(journal.out).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(
            lines,
            [
                "epoch 1/2 step 1/4 loss 0.5000",
                "epoch 2/2 step 3/4 loss 0.5000",
                "checkpoint net at step 4"
            ]
        );
    }

    #[test]
    fn a_spec_that_cannot_be_read_is_said_to_be_none() {
        let start = v1::StartTask {
            spec: b"{}".to_vec(),
            device: "cpu".to_owned(),
            resume_folder: "/x".to_owned(),
            ..v1::StartTask::default()
        };
        let words = "a task whose spec cannot be read, on cpu, resumed";
        for none in ["", "00-4bf9-00f0-01"] {
            assert_eq!(beginning(&start, none), words);
        }
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(
            beginning(&start, &parent),
            format!("{words}, trace_id={trace}")
        );
    }
}
