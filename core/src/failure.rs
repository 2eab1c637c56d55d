//! Why attempts end without a result.

use std::io::ErrorKind;

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
    /// The worker's scratch folder has no room or cannot be used: the machine's fault, not the
    /// task's.
    NoScratch,
    /// Anything else that the trainer reported.
    TrainerError,
    /// The worker stopped renewing its lease.
    WorkerLost,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::TrainerCrashed,
        Self::OutOfMemory,
        Self::Diverged,
        Self::BudgetUnreached,
        Self::BadWeights,
        Self::BadData,
        Self::BadCheckpoint,
        Self::StoreUnavailable,
        Self::NoScratch,
        Self::TrainerError,
        Self::WorkerLost,
    ];

    /// The name used in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TrainerCrashed => "trainer-crashed",
            Self::OutOfMemory => "out-of-memory",
            Self::Diverged => "diverged",
            Self::BudgetUnreached => "budget-unreached",
            Self::BadWeights => "bad-weights",
            Self::BadData => "bad-data",
            Self::BadCheckpoint => "bad-checkpoint",
            Self::StoreUnavailable => "store-unavailable",
            Self::NoScratch => "no-scratch",
            Self::TrainerError => "trainer-error",
            Self::WorkerLost => "worker-lost",
        }
    }

    /// Whether an attempt that ends so may have taken its trainer or its whole worker with it. A
    /// task that is given up for it is in quarantine: it is a danger to whoever tries it next.
    pub const fn kills(self) -> bool {
        matches!(
            self,
            Self::TrainerCrashed | Self::OutOfMemory | Self::WorkerLost
        )
    }

    /// Whether what the task stands on is at fault and not the task: it uses up no attempt.
    pub const fn is_of_surroundings(self) -> bool {
        matches!(self, Self::StoreUnavailable | Self::NoScratch)
    }

    /// What an error means that came of reading or writing a scratch folder: `NoScratch`, where
    /// making room or giving rights would help, and nothing otherwise.
    pub fn of_scratch(kind: ErrorKind) -> Option<Self> {
        let mendable = matches!(
            kind,
            ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::PermissionDenied
        );
        mendable.then_some(Self::NoScratch)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    /// The class that is declared after this one.
    const fn next(class: FailureClass) -> Option<FailureClass> {
        match class {
            FailureClass::TrainerCrashed => Some(FailureClass::OutOfMemory),
            FailureClass::OutOfMemory => Some(FailureClass::Diverged),
            FailureClass::Diverged => Some(FailureClass::BudgetUnreached),
            FailureClass::BudgetUnreached => Some(FailureClass::BadWeights),
            FailureClass::BadWeights => Some(FailureClass::BadData),
            FailureClass::BadData => Some(FailureClass::BadCheckpoint),
            FailureClass::BadCheckpoint => Some(FailureClass::StoreUnavailable),
            FailureClass::StoreUnavailable => Some(FailureClass::NoScratch),
            FailureClass::NoScratch => Some(FailureClass::TrainerError),
            FailureClass::TrainerError => Some(FailureClass::WorkerLost),
            FailureClass::WorkerLost => None,
        }
    }

    #[test]
    fn no_class_is_left_out_of_all() {
        let declared = std::iter::successors(Some(FailureClass::TrainerCrashed), |it| next(*it));
        assert_eq!(declared.collect::<Vec<_>>(), FailureClass::ALL);
    }

    #[test]
    fn a_full_or_forbidden_scratch_folder_is_told_from_a_broken_one() {
        // As Linux numbers them: no room, no quota left, read-only, no right.
        for number in [28, 122, 30, 13] {
            let error = Error::from_raw_os_error(number);
            let class = FailureClass::of_scratch(error.kind());
            assert_eq!(class, Some(FailureClass::NoScratch), "{error}");
        }
        // Nothing there, an input or output error.
        for number in [2, 5] {
            let error = Error::from_raw_os_error(number);
            assert_eq!(FailureClass::of_scratch(error.kind()), None, "{error}");
        }
    }
}
