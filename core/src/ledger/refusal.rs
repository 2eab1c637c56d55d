//! Why the ledger refuses: one enum per operation, each variant with its facts.

use crate::id::{Generation, SweepName, TaskId};

/// A claim that gives no right to anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotHeld {
    /// No task has this id.
    #[error("there is no task {0}")]
    UnknownTask(TaskId),
    /// The claim's lease has ended.
    #[error("the lease with generation {held} has ended; the task's latest is {current}")]
    Stale {
        /// The claim's generation.
        held: Generation,
        /// The task's latest generation; equal to `held` if no other was granted since.
        current: Generation,
    },
    /// The lease lives, and has no such part.
    #[error(
        "expected a node below {nodes}, the workers that hold the lease, found {node}; workers say the node of their assignment"
    )]
    NoPart {
        /// The node that was named.
        node: u32,
        /// Workers that hold the lease.
        nodes: u32,
    },
}

/// Why a submission is refused. `Plan::expand` makes no such plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SubmitRefusal {
    /// A task reads an output of a task that does not precede it.
    #[error("task {task} reads from {parent}, which does not precede it in the plan")]
    ParentMissing {
        /// The task.
        task: TaskId,
        /// What it reads from.
        parent: TaskId,
    },
    /// A task reads an output that its parent does not make.
    #[error("task {task} reads an output that {parent} does not make")]
    OutputMissing {
        /// The task.
        task: TaskId,
        /// What it reads from.
        parent: TaskId,
    },
    /// The plan holds a task twice.
    #[error("task {task} is in the plan twice")]
    TaskTwice {
        /// The task.
        task: TaskId,
    },
    /// The ledger counts tasks in 32 bits.
    #[error("expected at most {limit} tasks in all sweeps, found {found}")]
    TooManyTasks {
        /// Tasks with those of the plan.
        found: u64,
        /// The most there can be.
        limit: u64,
    },
}

/// Why a renewal is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RenewRefusal {
    /// The claim gives no right.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

/// Why a commit is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitRefusal {
    /// The claim gives no right.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// The checkpoint was not made under the claim.
    #[error(
        "expected a checkpoint made under the lease that commits it, found task {task} generation {generation}"
    )]
    NotTheClaims {
        /// The checkpoint's task.
        task: TaskId,
        /// The checkpoint's generation.
        generation: Generation,
    },
    /// The task has no output of this name.
    #[error("expected one of the task's outputs {outputs:?}, found {found:?}")]
    UnknownOutput {
        /// The name.
        found: String,
        /// The names there are.
        outputs: Vec<String>,
    },
    /// Another checkpoint with the same role, generation and step was committed before. Its keys
    /// are the same, so one of the two does not exist.
    #[error(
        "expected the manifest committed before at step {step}, found another with the same place in the store"
    )]
    Different {
        /// The step of both.
        step: u64,
    },
}

/// Why a result is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FinishRefusal {
    /// The claim gives no right.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
    /// Outputs were not committed.
    #[error("expected all outputs to be committed before the end, missing {missing:?}")]
    OutputsMissing {
        /// Their names.
        missing: Vec<String>,
    },
    /// The net does not have the ReLUs that the task asks for.
    #[error("expected a net with exactly {budget} ReLUs, found {found}")]
    WrongReluCount {
        /// What the task asks for: its budget, or the total for a baseline.
        budget: u64,
        /// What was counted.
        found: u64,
    },
    /// The net that a search reports has the ReLUs of none of its outputs.
    #[error("expected a net with the ReLUs of one of the budgets {budgets:?}, found {found}")]
    NoBudgetsReluCount {
        /// The search's budgets.
        budgets: Vec<u64>,
        /// What was counted.
        found: u64,
    },
    /// The result is of a network of another size.
    #[error("expected a network with {total} ReLUs in full, found one with {found}")]
    WrongReluTotal {
        /// ReLUs of the task's full network.
        total: u64,
        /// What the result says.
        found: u64,
    },
    /// The result has, or lacks, an accuracy on the test set.
    #[error("expected a test accuracy from evaluate tasks and from no others")]
    WrongTestAccuracy,
}

/// Why the report of a failure is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FailRefusal {
    /// The claim gives no right.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

/// Why the return of a lease is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReleaseRefusal {
    /// The claim gives no right.
    #[error(transparent)]
    NotHeld(#[from] NotHeld),
}

/// Why a sweep is not paused or resumed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PauseRefusal {
    /// No sweep has this name.
    #[error("there is no sweep {0}")]
    UnknownSweep(SweepName),
    /// The sweep has ended.
    #[error("sweep {0} was cancelled; submit its manifest again to go on")]
    Cancelled(SweepName),
}

/// Why a task is not pinned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinRefusal {
    /// No task has this id.
    #[error("no task has the id {0}")]
    UnknownTask(TaskId),
    /// Its checkpoints are gone.
    #[error(
        "expected a task whose checkpoints are there, found that those of {0} were deleted because nothing needed them; a sweep that needs them makes them again"
    )]
    Gone(TaskId),
}

/// Why a sweep is not cancelled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CancelRefusal {
    /// No sweep has this name.
    #[error("there is no sweep {0}")]
    UnknownSweep(SweepName),
}
