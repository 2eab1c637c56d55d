//! What the workers of groups tell each other by their renewals. Soft: they say it with every one, so
//! that after a restart the others learn it again.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::id::{Generation, TaskId};
use autorep_core::lease::{LeaseClaim, LeasePart, Rendezvous};
use autorep_core::planted::{Bug, planted};

/// The groups of leased tasks.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    places: BTreeMap<TaskId, (Generation, Rendezvous)>,
    /// Those of which a member is to stop.
    parting: BTreeMap<TaskId, Generation>,
}

impl Meetings {
    /// A leader says where its group meets.
    pub(super) fn set(&mut self, claim: LeaseClaim, place: Rendezvous) {
        self.places.insert(claim.task, (claim.generation, place));
    }

    /// Where a member is to go: only to where the group of its own lease meets.
    pub(super) fn of(&self, part: LeasePart) -> Option<&Rendezvous> {
        let (generation, place) = self.places.get(&part.claim.task)?;
        let is_its_own = *generation == part.claim.generation || planted(Bug::OlderRendezvous);
        (!part.is_leaders() && is_its_own).then_some(place)
    }

    /// A member says that it is to stop.
    pub(super) fn part(&mut self, claim: LeaseClaim) {
        self.parting.insert(claim.task, claim.generation);
    }

    /// Whether a leader is to give the lease back.
    pub(super) fn is_parting(&self, claim: LeaseClaim) -> bool {
        self.parting.get(&claim.task) == Some(&claim.generation)
    }

    /// A task's lease has ended.
    pub(super) fn remove(&mut self, task: TaskId) {
        self.parting.remove(&task);
        if !planted(Bug::OlderRendezvous) {
            self.places.remove(&task);
        }
    }

    /// Forgets all but these tasks'.
    pub(super) fn retain(&mut self, leased: &BTreeSet<TaskId>) {
        self.places.retain(|task, _| leased.contains(task));
        self.parting.retain(|task, _| leased.contains(task));
    }
}
