//! How a sweep wants to be run: nothing of it decides what comes out.

use crate::id::OwnerName;
use crate::limit::Bounds;
use crate::manifest::Keep;
use crate::offer::Requirements;
use crate::retry::Retry;

/// What a sweep wants beside its tasks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// How often and how soon failed tasks are tried again.
    pub retry: Retry,
    /// Who the sweep belongs to: owners share workers fairly.
    pub owner: OwnerName,
    /// Sweeps of a higher priority go first, whosever they are.
    pub priority: i32,
    /// What a task needs of its worker.
    pub needs: Requirements,
    /// Which outputs outlive their use.
    pub keep: Keep,
    /// What it may cost.
    pub bounds: Bounds,
}
