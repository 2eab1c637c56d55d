//! Which checkpoints are kept: pins, what is given up, what of the store is dead, and checkpoints on
//! demand.

use std::collections::BTreeSet;

use autorep_core::checkpoint::Place;
use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::retention::{Verdict, nets_on_front};
use autorep_core::ledger::{SweepView, Task};
use autorep_core::manifest::Keep;
use autorep_proto::status::Refusal;

use super::Owner;
use crate::ask::{Dropped, Reply};
use crate::refuse::unknown_sweep;
use crate::state::StateStore;

/// Tasks whose outputs are given up at once: they are written down in one batch. The next pass goes
/// on.
const DROPPED_AT_ONCE: usize = 10_000;

/// Tasks that are looked at for one that begins like what somebody says: all else waits meanwhile.
const CANDIDATES: usize = 1024;

impl<S: StateStore> Owner<S> {
    /// Has the trainers of a sweep's running tasks asked for a checkpoint when they renew next.
    pub(super) fn want_checkpoints(&mut self, sweep: &SweepName, reply: Reply<u32>) {
        if self.ledger.sweep(sweep).is_none() {
            return self.answer(reply, Err(unknown_sweep(sweep)));
        }
        let running: Vec<TaskId> = (self.ledger.leased())
            .map(|(task, _)| task.id())
            .filter(|&task| self.ledger.sweeps_of(task).contains(&sweep))
            .collect();
        let count = u32::try_from(running.len()).unwrap_or(u32::MAX);
        self.checkpoints_wanted.extend(running);
        self.answer(reply, Ok(count));
    }

    pub(super) fn pin(&mut self, prefix: &str, pinned: bool, reply: Reply<TaskId>) {
        let answer = self.pinned(prefix, pinned);
        self.answer(reply, answer);
    }

    fn pinned(&mut self, prefix: &str, pinned: bool) -> Result<TaskId, Refusal> {
        let task = self.only_task_like(prefix, |_task| true)?;
        self.decide(self.ledger.pin(task, pinned)).map(|()| task)
    }

    /// The one task of those that count whose id begins with `prefix`.
    pub(super) fn only_task_like(
        &self,
        prefix: &str,
        counts: impl Fn(TaskId) -> bool,
    ) -> Result<TaskId, Refusal> {
        let mut found = None;
        for (looked, task) in self.ledger.tasks_like(prefix).map(Task::id).enumerate() {
            if looked == CANDIDATES {
                return Err(Refusal::BadRequest(format!(
                    "expected enough digits of a task's id to look for it, found {prefix:?}: say more of them"
                )));
            }
            if !counts(task) {
                continue;
            }
            if found.replace(task).is_some() {
                return Err(Refusal::BadRequest(format!(
                    "expected a beginning of one task's id, found that several begin with {prefix:?}"
                )));
            }
        }
        found.ok_or_else(|| Refusal::UnknownSweep(prefix.to_owned()))
    }

    /// Gives up outputs that nothing can reach, before anything is deleted.
    pub(super) fn drop_unneeded(&mut self, dry_run: bool, reply: Reply<Dropped>) {
        if !self.ledger.has_unneeded() {
            return self.answer(reply, Ok(Dropped::new()));
        }
        let mut nets = BTreeSet::new();
        // No output is given up of which another sweep keeps all.
        let keeps_front = |sweep: &SweepView<'_>| sweep.terms().keep == Keep::Front;
        for sweep in self.ledger.sweeps().filter(keeps_front) {
            if let Some(front) = self.fronts.get(sweep.name()) {
                nets.extend(nets_on_front(sweep.plan(), &front.report()));
            }
        }
        let limit = if dry_run { usize::MAX } else { DROPPED_AT_ONCE };
        let decision = self.ledger.drop_unneeded(&nets, limit);
        let dropped = if dry_run {
            decision.outcome
        } else {
            self.apply(decision)
        };
        self.answer(reply, Ok(dropped.into_iter().collect()));
    }

    pub(super) fn judge(&mut self, places: &[Place], reply: Reply<Vec<Verdict>>) {
        let verdicts = (places.iter())
            .map(|place| self.ledger.judge(place))
            .collect();
        self.answer(reply, Ok(verdicts));
    }
}
