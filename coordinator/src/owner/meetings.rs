//! Where the workers of groups meet. Soft: a leader says it with every renewal, so that after a restart
//! its members learn it again.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::id::{Generation, TaskId};
use autorep_core::lease::{LeaseClaim, LeasePart, Rendezvous};
use autorep_core::planted::{Bug, planted};

/// The meeting places of leased tasks.
#[derive(Debug, Default)]
pub(super) struct Meetings(BTreeMap<TaskId, (Generation, Rendezvous)>);

impl Meetings {
    /// A leader says where its group meets.
    pub(super) fn set(&mut self, claim: LeaseClaim, place: Rendezvous) {
        self.0.insert(claim.task, (claim.generation, place));
    }

    /// Where a member is to go: only to where the group of its own lease meets.
    pub(super) fn of(&self, part: LeasePart) -> Option<&Rendezvous> {
        let (generation, place) = self.0.get(&part.claim.task)?;
        let is_its_own = *generation == part.claim.generation || planted(Bug::OlderRendezvous);
        (!part.is_leaders() && is_its_own).then_some(place)
    }

    /// A task's lease has ended.
    pub(super) fn remove(&mut self, task: TaskId) {
        if !planted(Bug::OlderRendezvous) {
            self.0.remove(&task);
        }
    }

    /// Forgets all but these tasks'.
    pub(super) fn retain(&mut self, leased: &BTreeSet<TaskId>) {
        self.0.retain(|task, _| leased.contains(task));
    }
}
