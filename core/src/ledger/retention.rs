//! Which checkpoints may go: everything that nothing can reach any more.
//!
//! There are two questions. What a task has committed and nobody will read again is *dropped*, by
//! an event that is durable before anything is deleted ([`Ledger::drop_unneeded`]). What lies in
//! the store and is no task's own, is *dead* ([`Ledger::judge`]): the work of a lease that has
//! ended, a checkpoint that a later one has replaced, a dropped one.
//!
//! Dead is for ever: nothing that a coordinator may still decide makes such a checkpoint a task's
//! own again. So a coordinator that has been replaced without knowing yet does no harm by deleting.

use std::collections::BTreeSet;

use super::{Decision, Event, Head, Ledger, PinRefusal, TaskState};
use crate::checkpoint::{CheckpointRole, Place};
use crate::front::FrontReport;
use crate::id::TaskId;
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::task::{TaskKind, Work};

/// What a checkpoint in the store is to the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Somebody may still read it, or it may still become a task's own.
    Live,
    /// It belongs to a task that no sweep of this ledger has: not ours to judge.
    Unknown,
    /// A later one has replaced it, its task is done without it, or its lease ended before it was
    /// committed.
    Superseded,
    /// It was an output that nothing needs.
    Dropped,
}

impl Verdict {
    /// Whether it may be deleted.
    pub const fn is_dead(self) -> bool {
        match self {
            Self::Live | Self::Unknown => false,
            Self::Superseded | Self::Dropped => true,
        }
    }

    /// Why, for people.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Live => "in use",
            Self::Unknown => "of a task that no sweep has",
            Self::Superseded => "replaced by a later one, or left behind by a lease that has ended",
            Self::Dropped => "not on the front, not pinned, and nothing unfinished reads it",
        }
    }
}

/// The tasks whose nets are on a front.
pub fn nets_on_front(plan: &Plan, report: &FrontReport) -> BTreeSet<TaskId> {
    let on_front: BTreeSet<_> = (report.rows.iter())
        .filter(|row| row.on_front)
        .map(|row| row.id)
        .collect();
    let evaluations: BTreeSet<TaskId> = (plan.candidates.iter())
        .filter(|candidate| on_front.contains(&candidate.id))
        .flat_map(|candidate| candidate.evaluations.iter().map(|(_, task)| *task))
        .collect();
    (plan.tasks.iter())
        .filter(|task| evaluations.contains(&task.id))
        .filter_map(|task| match &task.spec.work {
            Work::Evaluate { subject, .. } => Some(subject.task),
            Work::Baseline { .. } | Work::Replace { .. } | Work::Finetune { .. } => None,
        })
        .collect()
}

impl Ledger {
    /// Whether a sweep has outputs that could be dropped at all.
    pub fn has_unneeded(&self) -> bool {
        self.sweeps.iter().any(super::Sweep::gives_up_outputs)
    }

    /// Drops the outputs that nothing can reach: of done tasks all of whose sweeps keep the front
    /// alone and have nothing left to run, that are in no front's `nets` (see [`nets_on_front`]),
    /// not pinned, and no baselines (every extension of a sweep starts from those). At most `limit`.
    ///
    /// Before a sweep has ended, its front is provisional, and its tasks read from one another: a
    /// task is in every sweep that has one that reads from it.
    pub fn drop_unneeded(&self, nets: &BTreeSet<TaskId>, limit: usize) -> Decision<Vec<TaskId>> {
        let dropped: Vec<TaskId> = (0..)
            .zip(&self.tasks)
            .filter(|(slot, task)| {
                self.is_given_up(*slot)
                    && task.state.is_readable()
                    && !task.pinned
                    && task.spec().kind() != TaskKind::Baseline
                    && !nets.contains(&task.id())
                    && !task.spec().outputs().is_empty()
            })
            .map(|(_, task)| task.id())
            .take(limit)
            .collect();
        Decision {
            events: (dropped.iter())
                .map(|&task| Event::Dropped { task })
                .collect(),
            outcome: dropped,
        }
    }

    /// Whether all sweeps that have a task give up outputs.
    fn is_given_up(&self, slot: u32) -> bool {
        let sweeps = &self.at(slot).sweeps;
        let mut of_sweeps = sweeps.iter().map(|it| &self.sweeps[it.sweep as usize]);
        !sweeps.is_empty() && of_sweeps.all(super::Sweep::gives_up_outputs)
    }

    /// What the checkpoint at `place` is.
    pub fn judge(&self, place: &Place) -> Verdict {
        let Some(task) = self.task(place.task) else {
            return Verdict::Unknown;
        };
        if place.generation > task.generation() {
            // Another coordinator has granted a lease that this one knows nothing of.
            return Verdict::Live;
        }
        let is_output = place.role != CheckpointRole::Resume;
        let is_here = |head: &Head| {
            head.generation == place.generation && (is_output || head.step == place.step)
        };
        let is_own = match &place.role {
            CheckpointRole::Resume => {
                (task.state().kept()).is_some_and(|kept| kept.resumes.iter().any(is_here))
                    && !planted(Bug::ResumeCalledDead)
            }
            CheckpointRole::Output(name) => (task.spec().outputs().iter())
                .position(|output| output == name)
                .and_then(|index| task.state().head(index))
                .is_some_and(|head| is_here(&head)),
        };
        if is_own {
            return match task.state() {
                TaskState::Done(done) if done.dropped => Verdict::Dropped,
                TaskState::Done(_)
                | TaskState::Waiting(_)
                | TaskState::Ready(_)
                | TaskState::Leased(_)
                | TaskState::GaveUp(_)
                | TaskState::Blocked(_)
                | TaskState::Parked(_)
                | TaskState::Cancelled(_) => Verdict::Live,
            };
        }
        if let TaskState::Leased(lease) = task.state()
            && place.generation == task.generation()
        {
            // It may be under way, unless a later one has been committed.
            let latest = lease.kept.resume().filter(|_| !is_output);
            let is_replaced = latest
                .is_some_and(|head| head.generation == place.generation && head.step > place.step);
            return if is_replaced {
                Verdict::Superseded
            } else {
                Verdict::Live
            };
        }
        Verdict::Superseded
    }

    /// Keeps a task's checkpoints whatever becomes of them, or not any more.
    pub fn pin(&self, task: TaskId, pinned: bool) -> Result<Decision<()>, PinRefusal> {
        let known = self.task(task).ok_or(PinRefusal::UnknownTask(task))?;
        if pinned && known.state().is_done() && !known.state().is_readable() {
            return Err(PinRefusal::Gone(task));
        }
        let events = if known.is_pinned() == pinned {
            Vec::new()
        } else {
            vec![Event::Pinned { task, pinned }]
        };
        Ok(Decision {
            events,
            outcome: (),
        })
    }
}
