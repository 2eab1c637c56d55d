//! Where the trainers of a group meet: members that are there, for leaders that need them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use autorep_core::lease::{LeaseClaim, LeasePart};

use crate::world::World;

/// The members whose trainers run, by lease and node.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<BTreeSet<LeasePart>>);

/// A member's trainers, for as long as they run.
#[derive(Debug)]
pub(crate) struct Present {
    world: Arc<World>,
    part: LeasePart,
}

impl Groups {
    fn members(&self) -> MutexGuard<'_, BTreeSet<LeasePart>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member has met its leader.
    pub(crate) fn join(world: &Arc<World>, part: LeasePart) -> Present {
        world.groups.members().insert(part);
        Present {
            world: Arc::clone(world),
            part,
        }
    }

    /// Whether all members of a lease are there.
    pub(crate) fn are_whole(&self, claim: LeaseClaim, nodes: u32) -> bool {
        let members = self.members();
        (1..nodes).all(|node| members.contains(&LeasePart { claim, node }))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.world.groups.members().remove(&self.part);
    }
}
