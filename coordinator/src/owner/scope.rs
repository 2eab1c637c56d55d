//! What those may ask who reach the sweeps of one owner only.
//!
//! Sweeps of others are to them as if they were not there, but for their names: those are one for all,
//! so a name that is taken is told. Equal tasks are done once whoever wants them, so a task is reached
//! by each owner who has a sweep that wants it.

use autorep_core::id::{OwnerName, SweepName, TaskId};
use autorep_core::manifest::Manifest;
use autorep_proto::status::Refusal;

use super::Owner;
use crate::ask::{Ask, Subject};
use crate::refuse::unknown_sweep;
use crate::state::StateStore;

impl<S: StateStore> Owner<S> {
    /// Answers what `owner` may ask, and refuses the rest.
    pub(super) fn handle_for(&mut self, owner: &OwnerName, ask: Ask, now_ms: u64) {
        let ask = match self.admit(owner, ask.subject()) {
            Ok(None) => ask,
            Ok(Some(task)) => match self.admit_change(owner, &ask, task) {
                Ok(()) => ask.about(task),
                Err(refusal) => return self.refuse(ask, refusal),
            },
            Err(refusal) => return self.refuse(ask, refusal),
        };
        if let Ask::List { reply } = ask {
            let sweeps = self.summaries(|sweep| self.belongs(sweep, owner));
            self.answer(reply, Ok(sweeps));
        } else if let Ask::Workers { reply } = ask {
            let mut workers = self.worker_summaries(now_ms);
            for worker in &mut workers {
                let task: Option<TaskId> = worker.task.parse().ok();
                if !task.is_some_and(|task| self.is_wanted_by(task, owner)) {
                    worker.task.clear();
                }
            }
            self.answer(reply, Ok(workers));
        } else {
            self.handle(ask, now_ms);
        }
    }

    /// Refuses once all that was decided before is durable and, as in `decide`, a write has shown that
    /// this coordinator is still the owner: another one may know the sweep.
    fn refuse(&mut self, ask: Ask, refusal: Refusal) {
        self.turn.unproved = true;
        self.turn.answers.push(Box::new(move |lost| {
            ask.refuse(lost.unwrap_or(refusal));
            None
        }));
    }

    /// The task that is meant, if one is: others' are none of those that could be.
    fn admit(&self, owner: &OwnerName, subject: Subject<'_>) -> Result<Option<TaskId>, Refusal> {
        match subject {
            Subject::All => Ok(None),
            Subject::Sweep(sweep) if self.belongs(sweep, owner) => Ok(None),
            Subject::Sweep(sweep) => Err(unknown_sweep(sweep)),
            Subject::Task(prefix) => {
                let task = self.only_task_like(prefix, |task| self.is_wanted_by(task, owner))?;
                Ok(Some(task))
            }
            Subject::New(manifest) => self.admit_new(owner, manifest).map(|()| None),
            Subject::NotForOwners => Err(Refusal::Forbidden(format!(
                "expected a request about sweeps of {owner}, whose token this is, found one for all \
                 owners together"
            ))),
        }
    }

    /// Others may count on a pin: there is one for all who want a task.
    fn admit_change(&self, owner: &OwnerName, ask: &Ask, task: TaskId) -> Result<(), Refusal> {
        let unpins = matches!(ask, Ask::Pin { pinned: false, .. });
        let sweeps = self.ledger.sweeps_of(task);
        if !unpins || sweeps.iter().all(|sweep| self.belongs(sweep, owner)) {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!(
            "expected a task that sweeps of {owner} alone want, found that {} is another owner's, too, \
             who may count on its being kept; an admin can take the pin back",
            task.short()
        )))
    }

    fn admit_new(&self, owner: &OwnerName, manifest: &Manifest) -> Result<(), Refusal> {
        let name = &manifest.name;
        if manifest.owner != *owner {
            return Err(Refusal::Forbidden(format!(
                "expected a sweep of {owner}, whose token this is, found metadata.owner {}; say {owner}, \
                 or nothing: then it is {owner}'s",
                manifest.owner
            )));
        }
        if self.sweeps.contains_key(name) && !self.belongs(name, owner) {
            return Err(Refusal::Forbidden(format!(
                "expected a name that no other owner's sweep has, found {name}, which one has; give the \
                 sweep another metadata.name"
            )));
        }
        Ok(())
    }

    fn belongs(&self, sweep: &SweepName, owner: &OwnerName) -> bool {
        let record = self.sweeps.get(sweep);
        record.is_some_and(|record| record.manifest.owner == *owner)
    }

    fn is_wanted_by(&self, task: TaskId, owner: &OwnerName) -> bool {
        let mut sweeps = self.ledger.sweeps_of(task).into_iter();
        sweeps.any(|sweep| self.belongs(sweep, owner))
    }
}
