//! Why attempts end without a result.

use serde::{Deserialize, Serialize};

/// Why an attempt ended without a result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The trainer process ended without a word: a crash or a kill.
    TrainerCrashed,
    /// The trainer was out of memory.
    OutOfMemory,
    /// The loss became infinite or not a number.
    Diverged,
    /// A search did not come down to its budget, and its recipe says that this is a failure. It is
    /// for good: every attempt would end so.
    BudgetUnreached,
    /// The weights to start from, or the teacher's, are another file than the manifest names, or do
    /// not fit the net.
    /// It is for good, as `BudgetUnreached` is.
    BadWeights,
    /// The data set is missing, damaged or not what the task needs.
    BadData,
    /// A checkpoint could not be read, or was not what its digest says.
    BadCheckpoint,
    /// The store could not be reached.
    StoreUnavailable,
    /// Anything else that the trainer reported.
    TrainerError,
    /// The worker stopped renewing its lease.
    WorkerLost,
}

impl FailureClass {
    /// Whether an attempt that ends so may have taken its trainer or its whole worker with it. A
    /// task that is given up for it is in quarantine: it is a danger to whoever tries it next.
    pub const fn kills(self) -> bool {
        matches!(
            self,
            Self::TrainerCrashed | Self::OutOfMemory | Self::WorkerLost
        )
    }
}
