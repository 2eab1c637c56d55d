//! What happens in the ledger: events change it, decisions bring them about.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointRef;
use crate::failure::FailureClass;
use crate::growth::Step;
use crate::id::{Generation, SweepName, TaskId, WorkerId};
use crate::lease::LeaseClaim;
use crate::observation::{Interim, Observation};
use crate::plan::Plan;
use crate::terms::Terms;

/// What is to happen, and what the asker is told once it has happened durably.
#[derive(Clone, PartialEq, Debug)]
#[must_use = "a decision changes nothing before its events are applied"]
pub struct Decision<T> {
    /// To be applied in this order; none where nothing changes.
    pub events: Vec<Event>,
    /// The answer.
    pub outcome: T,
}

/// A sweep to be submitted.
#[derive(Clone, PartialEq, Debug)]
pub struct Submission {
    /// Its name.
    pub sweep: SweepName,
    /// Its tasks.
    pub plan: Arc<Plan>,
    /// What it wants beside them.
    pub terms: Terms,
}

/// One change of the ledger.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A sweep has this plan now; whatever of it gave up or was cancelled is to be tried again.
    Submitted(Submission),
    /// A sweep grants no leases, or does again.
    Paused {
        /// The sweep.
        sweep: SweepName,
        /// Whether it is paused now.
        paused: bool,
    },
    /// A sweep wants none of its tasks any more.
    Cancelled {
        /// The sweep.
        sweep: SweepName,
    },
    /// A sweep lets tasks of its plan train for longer.
    Grown {
        /// The sweep.
        sweep: SweepName,
        /// How.
        steps: Vec<Step>,
    },
    /// Nothing more of a sweep fits into its limit: what of it is not done stays as it is.
    LimitReached {
        /// The sweep.
        sweep: SweepName,
    },
    /// A task got a lease.
    Leased {
        /// Task and generation.
        claim: LeaseClaim,
        /// Who holds it and speaks for all.
        worker: WorkerId,
        /// Who holds it with them, from node 1 on; empty where one worker does the task.
        members: Box<[WorkerId]>,
        /// When it was granted.
        at_ms: u64,
        /// Until when it lives.
        expires_at_ms: u64,
    },
    /// One worker's part of a lease lives longer. Not worth writing down: a restart extends every
    /// lease.
    Renewed {
        /// The task.
        task: TaskId,
        /// Whose part.
        node: u32,
        /// Until when it lives.
        expires_at_ms: u64,
    },
    /// A checkpoint is its task's own.
    Adopted {
        /// The checkpoint.
        checkpoint: CheckpointRef,
    },
    /// A lease ended with a result.
    Finished {
        /// The task.
        task: TaskId,
        /// What it measured.
        observation: Box<Observation>,
    },
    /// A lease ended where it was to, at a rung, or unhurt because its worker is stopping.
    Stopped {
        /// The task.
        task: TaskId,
        /// What the task has come to.
        interim: Interim,
    },
    /// A lease ended without a result.
    Ended {
        /// The task.
        task: TaskId,
        /// What went wrong, if something did.
        failure: Option<Box<Failure>>,
        /// What becomes of the task.
        next: Next,
    },
    /// The outputs of a done task are not needed and may be deleted.
    Dropped {
        /// The task.
        task: TaskId,
    },
    /// A task's checkpoints are kept whatever becomes of them, or not any more.
    Pinned {
        /// The task.
        task: TaskId,
        /// Whether they are kept.
        pinned: bool,
    },
    /// A checkpoint cannot be read and is forgotten. A done task whose output it was becomes open.
    SetAside {
        /// The checkpoint.
        checkpoint: CheckpointRef,
    },
}

/// What becomes of a task whose lease ended without a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It is tried again.
    Again {
        /// The earliest time; zero for at once.
        not_before_ms: u64,
    },
    /// It has no attempt left.
    GiveUp,
}

/// A failed attempt, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Orders the failures of all tasks; only ever grows.
    pub serial: u64,
    /// The attempt's lease.
    pub generation: Generation,
    /// The attempt's number, counted from 1.
    pub attempt: u32,
    /// Who tried.
    pub worker: WorkerId,
    /// Why it failed.
    pub class: FailureClass,
    /// Why it failed, in a sentence.
    pub message: String,
    /// The end of the trainer's standard error.
    pub stderr_tail: String,
    /// Where the trainer was when it was last heard of, in words; empty if it never was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_progress: String,
    /// Whether it counts against the retry policy.
    pub counted: bool,
}

/// What a worker reports about an attempt without a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailureReport {
    /// Why it failed.
    pub class: FailureClass,
    /// Why it failed, in a sentence.
    pub message: String,
    /// The end of the trainer's standard error.
    pub stderr_tail: String,
    /// An input or resume checkpoint that was refused by its digest, if that is why.
    pub bad_checkpoint: Option<CheckpointRef>,
}

/// The answer to a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Submitted {
    /// Tasks of the plan.
    pub tasks: u64,
    /// Tasks of the plan that have results already.
    pub done: u64,
}

/// The answer to a request for work.
#[derive(Clone, PartialEq, Debug)]
pub enum Acquired {
    /// A task to work on, alone or with others.
    Granted(Box<Grant>),
    /// It is the turn of a task for several workers, of which too few are waiting: this one is to wait
    /// for the others.
    Kept,
    /// Nothing can be leased now.
    Nothing {
        /// Whether nothing is running or waiting either, so that nothing comes of waiting.
        idle: bool,
    },
}

/// A lease with what its holder needs to know. The spec is the ledger's to look up.
#[derive(Clone, PartialEq, Debug)]
pub struct Grant {
    /// Task and generation.
    pub claim: LeaseClaim,
    /// The workers that have it with the one that asked, from node 1 on.
    pub members: Box<[WorkerId]>,
    /// GPUs that each of its workers is to use: ranks that it is to run; 0 where it is free to choose.
    pub ranks: u32,
    /// The attempt's number, counted from 1.
    pub attempt: u32,
    /// A sweep that wants the task.
    pub sweep: SweepName,
    /// The checkpoints to start from, in the order of the spec's inputs.
    pub inputs: Vec<CheckpointRef>,
    /// The checkpoint to go on from, if an earlier attempt left one.
    pub resume: Option<CheckpointRef>,
    /// The epoch after which the attempt is to stop, if that is not the task's end.
    pub stop_after: Option<u32>,
}

impl Grant {
    /// Workers that have it.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.members.len()).map_or(u32::MAX, |members| members.saturating_add(1))
    }
}

/// The answer to a renewal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Renewal {
    /// The lease lives on.
    Continue,
    /// The task was cancelled, or a member's group has ended: stop.
    Stop,
}

/// The answer to a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adoption {
    /// The checkpoint is the task's own now.
    Adopted,
    /// It was before.
    Repeated,
    /// The task has a later one.
    Older,
}

/// The answer to a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// The task is done now.
    Finished,
    /// It was before.
    Repeated,
}

/// The answer to a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterFailure {
    /// The task will be tried again.
    WillRetry,
    /// It will not.
    GaveUp,
}

/// The answer to the return of a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// The lease has ended now.
    Released,
    /// It had before.
    Repeated,
}

/// The answer to an order about a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The sweep is different now.
    Changed,
    /// It was like that before.
    Unchanged,
}
