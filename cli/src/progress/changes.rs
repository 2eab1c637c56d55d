//! What happened between two looks at a sweep.
//!
//! A look shows what runs now and the latest results and failures; people want to read each
//! start, finish and failure once.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::observation::Observation;
use autorep_proto::v1;

use super::text;

/// Something to tell once.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A worker began with a task.
    Started {
        /// The task, for people.
        task: String,
        /// Who.
        worker: String,
        /// The attempt's number, counted from 1.
        attempt: u32,
    },
    /// A worker left a task before its end: at a rung, or because it shuts down.
    Stopped {
        /// The task, for people.
        task: String,
        /// The last epoch that it was seen in and how many it has, if that is known.
        epochs: Option<(u32, u32)>,
    },
    /// A task is done.
    Finished {
        /// The task, for people.
        task: String,
        /// What it measured, for people.
        result: String,
    },
    /// An attempt failed.
    Failed {
        /// The task, for people.
        task: String,
        /// Why, for people.
        why: String,
        /// Whether it was the last attempt.
        gave_up: bool,
    },
}

/// Remembers what has been told.
#[derive(Debug, Default)]
pub struct Changes {
    started: BTreeMap<String, u32>,
    running: Vec<v1::RunningTask>,
    finished: BTreeSet<String>,
    failed: BTreeSet<(String, u32)>,
}

impl Changes {
    /// What is new in `show`. Results and failures are only new from the second look on: the
    /// first shows what was there before.
    pub fn take(&mut self, show: &v1::ShowResponse) -> Vec<Change> {
        let mut changes = Vec::new();
        for failure in &show.failures {
            if self.failed.insert((failure.task.clone(), failure.attempt)) {
                changes.push(Change::Failed {
                    task: text::task(&failure.kind, &failure.label),
                    why: format!("{}: {}", text::failure(failure.class()), failure.message),
                    gave_up: failure.gave_up,
                });
            }
        }
        for finished in &show.finished {
            // One that nobody brought was there when the coordinator started: it is nothing new, unless
            // the task was seen at work, or is done again.
            let is_new = !finished.worker.is_empty() || self.started.contains_key(&finished.task);
            if is_new && self.finished.insert(finished.task.clone()) {
                let result = finished
                    .observation
                    .clone()
                    .and_then(|it| Observation::try_from(it).ok())
                    .map(|it| text::observation(&it));
                changes.push(Change::Finished {
                    task: text::task(&finished.kind, &finished.label),
                    result: result.unwrap_or_default(),
                });
            }
        }
        changes.extend(self.stopped(show));
        for running in &show.running {
            // Its result is gone, and there will be another one.
            let is_done_again = self.finished.remove(&running.task);
            let told = self.started.insert(running.task.clone(), running.attempt);
            if is_done_again || told != Some(running.attempt) {
                changes.push(Change::Started {
                    task: text::task(&running.kind, &running.label),
                    worker: running.worker.clone(),
                    attempt: running.attempt,
                });
            }
        }
        self.running.clone_from(&show.running);
        changes
    }

    /// What ran at the last look, does no longer, and has neither a result nor failed.
    fn stopped(&self, show: &v1::ShowResponse) -> Vec<Change> {
        let runs: BTreeSet<&str> = show.running.iter().map(|it| it.task.as_str()).collect();
        (self.running.iter())
            .filter(|it| !runs.contains(it.task.as_str()) && !self.finished.contains(&it.task))
            .filter(|it| !self.failed.contains(&(it.task.clone(), it.attempt)))
            .map(|it| Change::Stopped {
                task: text::task(&it.kind, &it.label),
                epochs: (it.progress.as_ref()).map(|progress| (progress.epoch, progress.epochs)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show() -> v1::ShowResponse {
        v1::ShowResponse {
            running: vec![v1::RunningTask {
                task: "a".to_owned(),
                kind: "baseline".to_owned(),
                label: "seed 0".to_owned(),
                worker: "w".to_owned(),
                attempt: 1,
                progress: None,
                members: Vec::new(),
            }],
            ..v1::ShowResponse::default()
        }
    }

    #[test]
    fn a_start_is_told_once_for_each_attempt() {
        let mut changes = Changes::default();
        let mut look = show();
        assert_eq!(changes.take(&look).len(), 1);
        assert_eq!(changes.take(&look), []);
        look.running[0].attempt = 2;
        let [Change::Started { attempt: 2, .. }] = changes.take(&look)[..] else {
            panic!("the second attempt was not told");
        };
    }

    #[test]
    fn a_task_that_was_left_at_a_rung_is_told_once() {
        let mut changes = Changes::default();
        let mut look = show();
        look.running[0].progress = Some(v1::Progress {
            epoch: 3,
            epochs: 16,
            ..v1::Progress::default()
        });
        changes.take(&look);
        let after = v1::ShowResponse::default();
        let told = changes.take(&after);
        let [Change::Stopped { epochs, .. }] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(*epochs, Some((3, 16)));
        assert_eq!(changes.take(&after), []);
        // One that is done, or has failed, is not told to be left as well.
        changes.take(&look);
        let mut done = v1::ShowResponse::default();
        done.finished.push(v1::FinishedTask {
            task: "a".to_owned(),
            ..v1::FinishedTask::default()
        });
        assert!(matches!(changes.take(&done)[..], [Change::Finished { .. }]));
    }

    #[test]
    fn a_failure_and_a_result_are_told_once_and_before_new_starts() {
        let mut changes = Changes::default();
        let mut look = show();
        look.failures.push(v1::FailedAttempt {
            task: "b".to_owned(),
            attempt: 3,
            gave_up: true,
            ..v1::FailedAttempt::default()
        });
        look.finished.push(v1::FinishedTask {
            task: "c".to_owned(),
            worker: "w".to_owned(),
            ..v1::FinishedTask::default()
        });
        // It was there before.
        look.finished.push(v1::FinishedTask {
            task: "d".to_owned(),
            ..v1::FinishedTask::default()
        });
        let told = changes.take(&look);
        assert!(
            matches!(
                told[..],
                [
                    Change::Failed { gave_up: true, .. },
                    Change::Finished { .. },
                    Change::Started { .. }
                ]
            ),
            "{told:?}"
        );
        assert_eq!(changes.take(&look), []);
        // Its net was damaged, and it is done again.
        look.finished[1].worker = "w".to_owned();
        assert!(matches!(changes.take(&look)[..], [Change::Finished { .. }]));
        let done = look.clone();
        let again = v1::RunningTask {
            task: look.finished.remove(0).task,
            attempt: 1,
            ..v1::RunningTask::default()
        };
        look.running.push(again);
        assert!(matches!(changes.take(&look)[..], [Change::Started { .. }]));
        assert!(matches!(changes.take(&done)[..], [Change::Finished { .. }]));
    }
}
