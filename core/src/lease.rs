//! Leases as workers know them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, TaskId};

/// A worker's claim to hold a lease: just data that it repeats with every call. Only the ledger
/// turns a claim into the right to change something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LeaseClaim {
    /// The leased task.
    pub task: TaskId,
    /// The lease's fencing number.
    pub generation: Generation,
}

impl fmt::Display for LeaseClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "task {} generation {}",
            self.task.short(),
            self.generation
        )
    }
}
