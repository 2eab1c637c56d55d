//! Why a task cannot go on.

use autorep_core::failure::FailureClass;

use crate::checkpoint::CheckpointError;
use crate::data::{BatchError, LoadError, TooManySkipped};
use crate::device::DeviceError;
use crate::host::HostGone;
use crate::ranks::RanksError;
use crate::weights::WeightsError;

/// Why a task cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The spec is not one that this trainer can carry out.
    #[error("task spec: {0}")]
    Spec(String),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The images are not there, or damaged, or too few.
    #[error(transparent)]
    Data(#[from] LoadError),
    /// An input or a resume checkpoint could not be read, or is not what the task needs.
    #[error(transparent)]
    BadCheckpoint(CheckpointError),
    /// The weights to start from are not there, not those that are meant, or not those of the net.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint could not be written.
    #[error(
        "{0}; expected that a checkpoint can be written: make room in the worker's scratch folder and let the worker write there, or give it another with --scratch"
    )]
    Write(CheckpointError),
    /// The loss is infinite or not a number.
    #[error(
        "the loss became {loss} by step {step}; expected a finite number, try a lower learning rate"
    )]
    Diverged {
        /// The mean loss of the last reporting interval.
        loss: f64,
        /// Steps done.
        step: u64,
    },
    /// The net does not have the ReLUs that it should have.
    #[error("expected a net for a budget of {budget} ReLUs, counted {counted} in its indicators")]
    WrongCount {
        /// ReLUs that the task names.
        budget: u64,
        /// Indicators that are one.
        counted: u64,
    },
    /// The search ended above its budget, and may not be projected to it.
    #[error(
        "expected the search to come down to {budget} ReLUs, found {searched} when its indicators froze; raise the penalty or the epochs, or set on_unreached: project"
    )]
    BudgetUnreached {
        /// ReLUs allowed.
        budget: u64,
        /// ReLUs left.
        searched: u64,
    },
    /// A batch could not be had.
    #[error(transparent)]
    Batches(#[from] BatchError),
    /// More images do not decode than the task allows.
    #[error(transparent)]
    Corrupt(#[from] TooManySkipped),
    /// Another rank of the group is gone, or did not answer in time.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// The ranks do not train the same net any more.
    #[error(
        "expected the same weights on every rank after epoch {epoch}, found others on rank {rank} than on rank 0: nothing trained since the last checkpoint can be trusted; a machine that computes wrong, or a bug in this program"
    )]
    RanksDiffer {
        /// The epoch, counted from 1.
        epoch: u32,
        /// The first rank that differs.
        rank: usize,
    },
    /// Nobody is there to report to.
    #[error(transparent)]
    Host(#[from] HostGone),
}

impl TrainError {
    /// Whether it says no more than that another rank has failed.
    pub const fn is_of_ranks(&self) -> bool {
        matches!(self, Self::Ranks(_))
    }

    /// Whether every rank comes to it alike, at the same step: then rank 0 says it, once it has
    /// written what comes before it.
    pub const fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::BudgetUnreached { .. } | Self::Corrupt(_) | Self::RanksDiffer { .. }
        )
    }

    /// What a scheduler may conclude from it.
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Write(CheckpointError::Io { source, .. }) => {
                FailureClass::of_scratch(source.kind()).unwrap_or(FailureClass::TrainerError)
            }
            // Checkpoints are read from the worker's scratch folder.
            Self::BadCheckpoint(CheckpointError::Io { source, .. }) => {
                FailureClass::of_scratch(source.kind()).unwrap_or(FailureClass::BadCheckpoint)
            }
            Self::Data(error) if error.is_unreachable() => FailureClass::TrainerError,
            Self::Data(_)
            | Self::Corrupt(_)
            | Self::Batches(BatchError::NoneDecodes { .. })
            // Another attempt, or another worker, may find the file.
            | Self::Weights(
                WeightsError::Io { .. } | WeightsError::NotInBucket(_) | WeightsError::NoPlace { .. },
            ) => FailureClass::BadData,
            Self::Spec(_)
            | Self::Device(_)
            | Self::Write(_)
            | Self::Batches(_)
            | Self::Ranks(_)
            | Self::RanksDiffer { .. }
            | Self::Host(_)
            | Self::Weights(WeightsError::Unreachable(_)) => FailureClass::TrainerError,
            Self::Weights(_) => FailureClass::BadWeights,
            Self::BadCheckpoint(_) | Self::WrongCount { .. } => FailureClass::BadCheckpoint,
            Self::Diverged { .. } => FailureClass::Diverged,
            Self::BudgetUnreached { .. } => FailureClass::BudgetUnreached,
        }
    }
}

/// Whether libtorch's message says that memory ran out, on the CPU or on a GPU.
pub fn is_out_of_memory(message: &str) -> bool {
    [
        "CUDA out of memory",
        "can't allocate memory",
        "not enough memory",
    ]
    .iter()
    .any(|phrase| message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_scratch_folder_without_room_is_neither_the_tasks_nor_the_checkpoints_fault() {
        let io = |kind: ErrorKind| CheckpointError::Io {
            action: "write",
            path: "part".into(),
            source: kind.into(),
        };
        let full = ErrorKind::StorageFull;
        let classes = [TrainError::Write, TrainError::BadCheckpoint].map(|of| of(io(full)).class());
        assert_eq!(classes, [FailureClass::NoScratch; 2]);
        let gone = ErrorKind::NotFound;
        let classes = [TrainError::Write, TrainError::BadCheckpoint].map(|of| of(io(gone)).class());
        assert_eq!(
            classes,
            [FailureClass::TrainerError, FailureClass::BadCheckpoint]
        );
    }
}
