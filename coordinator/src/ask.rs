//! What the services ask of the ledger's owner.

use std::sync::Arc;

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::digest::Digest;
use autorep_core::front::FrontReport;
use autorep_core::id::{Generation, SweepName, TaskId, WorkerId};
use autorep_core::lease::LeaseClaim;
use autorep_core::ledger::{Adoption, AfterFailure, FailureReport, Grant, Renewal, Submitted};
use autorep_core::manifest::Manifest;
use autorep_core::observation::Observation;
use autorep_core::plan::Plan;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One request. Every one of them is answered, if only by the end of its reply.
pub(crate) enum Ask {
    Register {
        worker: WorkerId,
        device: String,
        reply: Reply<()>,
    },
    Acquire {
        worker: WorkerId,
        wait_ms: u64,
        reply: Reply<Work>,
    },
    Renew {
        claim: LeaseClaim,
        progress: Option<v1::Progress>,
        reply: Reply<Renewal>,
    },
    Commit {
        claim: LeaseClaim,
        checkpoint: CheckpointRef,
        reply: Reply<Adoption>,
    },
    Finish {
        claim: LeaseClaim,
        observation: Observation,
        reply: Reply<()>,
    },
    Fail {
        claim: LeaseClaim,
        report: FailureReport,
        reply: Reply<AfterFailure>,
    },
    Release {
        claim: LeaseClaim,
        reply: Reply<()>,
    },
    Submit {
        sweep: Box<NewSweep>,
        /// Only answer what would be.
        dry_run: bool,
        reply: Reply<Submitted>,
    },
    List {
        reply: Reply<Vec<v1::SweepSummary>>,
    },
    Show {
        sweep: SweepName,
        reply: Reply<v1::ShowResponse>,
    },
    Watch {
        sweep: SweepName,
        reply: Reply<watch::Receiver<Arc<FrontReport>>>,
    },
    Find {
        prefix: String,
        reply: Reply<Found>,
    },
    Pause {
        sweep: SweepName,
        paused: bool,
        reply: Reply<()>,
    },
    Cancel {
        sweep: SweepName,
        reply: Reply<()>,
    },
}

/// A sweep to be submitted, already expanded.
pub(crate) struct NewSweep {
    pub(crate) manifest: Manifest,
    pub(crate) plan: Arc<Plan>,
    pub(crate) digest: Digest,
}

/// The answer to a request for work.
#[derive(Debug)]
pub(crate) enum Work {
    /// A lease.
    Lease(Box<Lease>),
    /// None in time.
    Nothing { idle: bool },
}

/// A lease with what its holder needs that is not in the ledger.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) grant: Grant,
    /// The canonical JSON of the task's spec.
    pub(crate) spec: String,
    /// Seconds of training between two resume checkpoints; 0 for never.
    pub(crate) checkpoint_every_s: u32,
}

/// A task that was looked for by a beginning of its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) task: TaskId,
    /// Of its latest lease; zero before the first.
    pub(crate) generation: Generation,
    /// Whether there may be another attempt, or one is running.
    pub(crate) unfinished: bool,
}

/// The way to the ledger's owner.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
}

impl Desk {
    /// A desk with a queue of bounded length, and its other end.
    pub(crate) fn new(queue: usize) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(queue);
        (Self { asks }, receiver)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        (self.asks.send(ask(reply)).await).map_err(|_closed| gone())?;
        answer.await.map_err(|_closed| gone())?
    }
}

/// The owner has ended, or is about to.
pub(crate) fn gone() -> Refusal {
    Refusal::Unavailable("the coordinator is stopping; try again soon".to_owned())
}
