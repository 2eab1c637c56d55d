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
            if self.finished.insert(finished.task.clone()) {
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
        for running in &show.running {
            let told = self.started.insert(running.task.clone(), running.attempt);
            if told != Some(running.attempt) {
                changes.push(Change::Started {
                    task: text::task(&running.kind, &running.label),
                    worker: running.worker.clone(),
                    attempt: running.attempt,
                });
            }
        }
        changes
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
    }
}
