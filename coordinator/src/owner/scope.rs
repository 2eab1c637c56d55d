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
        if let Err(refusal) = self.admit(owner, ask.subject()) {
            return ask.refuse(refusal);
        }
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

    fn admit(&self, owner: &OwnerName, subject: Subject<'_>) -> Result<(), Refusal> {
        match subject {
            Subject::All => Ok(()),
            Subject::Sweep(sweep) if self.belongs(sweep, owner) => Ok(()),
            Subject::Sweep(sweep) => Err(unknown_sweep(sweep)),
            // Of none and of several the refusal is everybody's.
            Subject::Task(prefix) => match self.ledger.tasks_like(prefix, 2).as_slice() {
                [task] if !self.is_wanted_by(task.id(), owner) => {
                    Err(Refusal::UnknownSweep(prefix.to_owned()))
                }
                [..] => Ok(()),
            },
            Subject::New(manifest) => self.admit_new(owner, manifest),
        }
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
