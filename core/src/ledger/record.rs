//! What of the ledger is written down: one record per task that has left its first state.
//!
//! Waiting, ready, blocked, parked and cancelled are not told apart in records: they follow from the
//! sweeps and from the other tasks. Neither are times: after a restart a lease lives for a whole
//! time to live, and a failed task is tried again at once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apply::Marks;
use super::{Done, Event, Failure, GaveUp, Head, Kept, Leased, Ledger, Outputs, Task, TaskState};
use crate::growth::Step;
use crate::id::{Generation, SweepName, TaskId, WorkerId};
use crate::observation::{Interim, Observation};
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::retry::Spent;
use crate::terms::Terms;

/// One task as it is written down.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The generation of its latest lease.
    pub generation: Generation,
    /// How the attempts that count have ended.
    #[serde(default, skip_serializing_if = "Spent::is_empty")]
    pub spent: Spent,
    /// Its state.
    pub state: RecordedState,
    /// The checkpoint to go on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Head>,
    /// The one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_before: Option<Head>,
    /// The committed outputs by name.
    #[serde(default, skip_serializing_if = "Outputs::is_empty")]
    pub outputs: Outputs,
    /// What it has come to where it stopped before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interim: Option<Box<Interim>>,
    /// Milliseconds that results took which had to be made again.
    #[serde(default, skip_serializing_if = "crate::blank::is_default")]
    pub redone_ms: u64,
    /// Whether a person wants its checkpoints kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Its latest failures, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// A task's state as it is written down.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedState {
    /// Waiting, ready, blocked, parked or cancelled.
    #[default]
    Open,
    /// Leased.
    Leased {
        /// To whom.
        worker: WorkerId,
        /// Who has it with them, from node 1 on.
        #[serde(default, skip_serializing_if = "<[WorkerId]>::is_empty")]
        members: Box<[WorkerId]>,
    },
    /// Done.
    Done {
        /// What it measured.
        observation: Box<Observation>,
        /// Whether its outputs are gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dropped: bool,
    },
    /// Given up.
    GaveUp,
}

/// A sweep as it was before a restart.
#[derive(Clone, PartialEq, Debug)]
pub struct RestoredSweep {
    /// Its name.
    pub name: SweepName,
    /// Its plan, expanded again.
    pub plan: Arc<Plan>,
    /// What it wants beside them.
    pub terms: Terms,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// How it has grown.
    pub grown: Vec<Step>,
    /// Whether it has come to its limit.
    pub at_limit: bool,
    /// Milliseconds of work on its tasks that are not charged.
    pub before_ms: i64,
}

impl Task {
    /// What is to be written down.
    pub fn record(&self) -> TaskRecord {
        let names = self.spec().outputs();
        let outputs = (names.into_iter().enumerate())
            .filter_map(|(index, name)| Some((name, self.state.head(index)?)))
            .collect();
        let kept = self.state.kept();
        TaskRecord {
            generation: self.generation,
            spent: kept.map_or_else(Spent::default, |kept| kept.spent.clone()),
            state: match &self.state {
                TaskState::Waiting(_)
                | TaskState::Ready(_)
                | TaskState::Blocked(_)
                | TaskState::Parked(_)
                | TaskState::Cancelled(_) => RecordedState::Open,
                TaskState::Leased(lease) => RecordedState::Leased {
                    worker: lease.leader.worker.clone(),
                    members: (lease.members.iter()).map(|it| it.worker.clone()).collect(),
                },
                TaskState::Done(done) => RecordedState::Done {
                    observation: done.observation.clone(),
                    dropped: done.dropped,
                },
                TaskState::GaveUp(_) => RecordedState::GaveUp,
            },
            resume: kept.and_then(Kept::resume),
            resume_before: kept.and_then(|kept| kept.resumes.get(1).copied()),
            outputs,
            interim: (kept.filter(|_| !planted(Bug::CurveNotRecorded)))
                .and_then(|kept| kept.interim.clone()),
            redone_ms: self.redone_ms,
            pinned: self.pinned,
            failures: self.failures.clone(),
        }
    }

    /// Goes on where `record` says. A record that misses outputs of a done task, because a
    /// person has edited it, makes the task open.
    pub(super) fn take_up(&mut self, record: TaskRecord, lease_until_ms: Option<u64>) {
        let names = self.spec().outputs();
        let outputs: Box<[Option<Head>]> = (names.iter())
            .map(|name| record.outputs.get(name).copied())
            .collect();
        let complete = outputs.iter().copied().collect::<Option<Box<[Head]>>>();
        let kept = Kept {
            spent: if planted(Bug::AttemptsNotRestored) {
                Spent::default()
            } else {
                record.spent
            },
            resumes: (record.resume.into_iter())
                .chain(record.resume_before)
                .filter(|_| !planted(Bug::ResumeNotRestored))
                .collect(),
            outputs: if record.outputs.is_empty() {
                Box::default()
            } else {
                outputs
            },
            interim: record.interim,
        };
        let lease_until_ms = lease_until_ms.filter(|_| !planted(Bug::LeasesNotRestored));
        self.generation = record.generation;
        self.failures = record.failures;
        self.pinned = record.pinned;
        self.redone_ms = record.redone_ms;
        self.state = match (record.state, complete, lease_until_ms) {
            (
                RecordedState::Done {
                    observation,
                    dropped,
                },
                Some(outputs),
                _,
            ) => TaskState::Done(Done {
                outputs,
                observation,
                dropped,
            }),
            (RecordedState::GaveUp, _, _) => TaskState::GaveUp(GaveUp { kept }),
            (RecordedState::Leased { worker, members }, _, Some(expires_at_ms)) => {
                let members = if planted(Bug::MembersNotRestored) {
                    Box::default()
                } else {
                    members
                };
                TaskState::Leased(Leased::new(kept, worker, &members, expires_at_ms))
            }
            (
                RecordedState::Open | RecordedState::Leased { .. } | RecordedState::Done { .. },
                ..,
            ) => TaskState::Cancelled(super::Cancelled { kept }),
        };
    }
}

impl Ledger {
    /// The ledger that was before a restart: its sweeps in the order of their submission, and every
    /// record. Every lease lives for a whole time to live from `now_ms` on.
    pub fn restore(
        lease_ttl_ms: u64,
        sweeps: Vec<RestoredSweep>,
        records: impl IntoIterator<Item = (TaskId, TaskRecord)>,
        now_ms: u64,
    ) -> Self {
        let mut ledger = Self::new(lease_ttl_ms);
        ledger.strays = records.into_iter().collect();
        let serials = (ledger.strays.values())
            .flat_map(|record| &record.failures)
            .map(|failure| failure.serial);
        ledger.next_failure_serial = serials.max().unwrap_or(0) + 1;
        let until = if planted(Bug::RestartEndsLeases) {
            now_ms + 1
        } else {
            now_ms.saturating_add(lease_ttl_ms)
        };
        for sweep in sweeps {
            let marks = Marks {
                paused: sweep.paused,
                cancelled: sweep.cancelled,
                at_limit: sweep.at_limit,
                before_ms: Some(sweep.before_ms),
            };
            ledger.enlist(&sweep.name, &sweep.plan, sweep.terms, marks, Some(until));
            ledger.allow(&sweep.name, &sweep.grown);
        }
        // Parents first: they are taken from the end.
        let all = (0..).take(ledger.tasks.len()).collect::<Vec<_>>();
        let all = all.into_iter().rev().collect();
        ledger.settle(all);
        // The events that opened them wrote it down: this changes no record.
        ledger.remade.clear();
        for sweep in (0..).take(ledger.sweeps.len()) {
            ledger.foresee(sweep);
        }
        ledger
    }

    /// The record of one task, if it is known.
    pub fn record(&self, task: TaskId) -> Option<TaskRecord> {
        self.task(task).map(Task::record)
    }

    /// The tasks whose records an event is going to change, to be asked before it is applied. The
    /// sweeps that it changes are named in the event itself.
    ///
    /// Most moves between open states are in no record. What is written down about a task that is
    /// leased or has given up has to go when a sweep's end or submission opens it.
    pub fn recorded_by(&self, event: &Event) -> Vec<TaskId> {
        match event {
            Event::Leased { claim, .. } => vec![claim.task],
            Event::SetAside { .. } if planted(Bug::SetAsideNotRecorded) => Vec::new(),
            Event::Dropped { .. } if planted(Bug::DropNotRecorded) => Vec::new(),
            Event::Adopted { checkpoint } | Event::SetAside { checkpoint } => vec![checkpoint.task],
            Event::Finished { task, .. }
            | Event::Stopped { task, .. }
            | Event::Ended { task, .. }
            | Event::Dropped { task }
            | Event::Pinned { task, .. } => vec![*task],
            Event::Renewed { .. }
            | Event::Paused { .. }
            | Event::Grown { .. }
            | Event::LimitReached { .. } => Vec::new(),
            Event::Cancelled { sweep } => self.leased_in(sweep).collect(),
            Event::Submitted(submission) => {
                let planned = submission.plan.tasks.iter().map(|task| task.id);
                let opened = planned.filter(|&id| match self.task(id) {
                    Some(task) => matches!(task.state, TaskState::GaveUp(_)),
                    None => (self.strays.get(&id)).is_some_and(|stray| {
                        !matches!(
                            stray.state,
                            RecordedState::Open | RecordedState::Done { .. }
                        )
                    }),
                });
                opened.chain(self.leased_in(&submission.sweep)).collect()
            }
        }
    }

    fn leased_in(&self, sweep: &SweepName) -> impl Iterator<Item = TaskId> {
        (self.sweep(sweep).into_iter())
            .flat_map(super::SweepView::tasks)
            .filter(|task| matches!(task.state, TaskState::Leased(_)))
            .map(Task::id)
    }
}
