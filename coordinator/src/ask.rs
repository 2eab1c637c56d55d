//! What the services ask of the ledger's owner.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::checkpoint::{CheckpointRef, Place};
use autorep_core::digest::Digest;
use autorep_core::front::FrontReport;
use autorep_core::id::{Generation, OwnerName, SweepName, TaskId, WorkerId};
use autorep_core::lease::{LeaseClaim, LeasePart, Rendezvous};
use autorep_core::ledger::retention::Verdict;
use autorep_core::ledger::{Adoption, AfterFailure, FailureReport, Grant, Submitted};
use autorep_core::manifest::Manifest;
use autorep_core::observation::{Interim, Observation};
use autorep_core::offer::Offer;
use autorep_core::plan::Plan;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::config::Config;
use crate::followed::Followed;
use crate::measure::{self, Limit};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One request. Every one of them is answered, if only by the end of its reply.
pub(crate) enum Ask {
    Register {
        worker: WorkerId,
        registration: Box<Registration>,
        reply: Reply<()>,
    },
    Acquire {
        worker: WorkerId,
        started_unix_ns: u64,
        wait_ms: u64,
        reply: Reply<Work>,
    },
    Renew {
        part: LeasePart,
        progress: Option<v1::Progress>,
        group: OfGroup,
        reply: Reply<v1::RenewResponse>,
    },
    Commit {
        claim: LeaseClaim,
        checkpoint: CheckpointRef,
        reply: Reply<Adoption>,
    },
    Finish {
        claim: LeaseClaim,
        observation: Observation,
        /// When the worker's process started and where its next task goes, if it wants one. Answered
        /// with the result, unless that is refused.
        next: Option<(u64, Reply<Work>)>,
        reply: Reply<()>,
    },
    Fail {
        part: LeasePart,
        report: FailureReport,
        reply: Reply<AfterFailure>,
    },
    Release {
        part: LeasePart,
        /// What the task has come to.
        interim: Interim,
        reply: Reply<()>,
    },
    Submit {
        sweep: Box<NewSweep>,
        /// Only answer what would be.
        dry_run: bool,
        reply: Reply<Noted<Submitted>>,
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
    /// Asks running tasks for checkpoints; answers how many.
    Checkpoint {
        sweep: SweepName,
        reply: Reply<u32>,
    },
    Pin {
        /// A beginning of the task's id.
        prefix: String,
        pinned: bool,
        reply: Reply<TaskId>,
    },
    /// Gives up outputs that nothing can reach; answers of how many tasks.
    Drop {
        /// Only answer what would be.
        dry_run: bool,
        reply: Reply<Dropped>,
    },
    /// What checkpoints in the store are to the ledger, in the order in which they are asked for.
    Judge {
        places: Vec<Place>,
        reply: Reply<Vec<Verdict>>,
    },
    Workers {
        reply: Reply<Vec<v1::WorkerSummary>>,
    },
    /// One of the above from somebody who may reach the sweeps of one owner only.
    For {
        owner: OwnerName,
        ask: Box<Ask>,
    },
}

/// What a request is about, for whoever may not reach everything.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// A sweep that is known or not.
    Sweep(&'a SweepName),
    /// A sweep that is to be.
    New(&'a Manifest),
    /// A task, by a beginning of its id.
    Task(&'a str),
    /// All sweeps or workers, of whom others' are left out of the answer.
    All,
    /// What is asked for all owners together, or by workers.
    NotForOwners,
}

impl Ask {
    /// What it is about.
    pub(crate) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Submit { sweep, .. } => Subject::New(&sweep.manifest),
            Self::Show { sweep, .. }
            | Self::Watch { sweep, .. }
            | Self::Pause { sweep, .. }
            | Self::Cancel { sweep, .. }
            | Self::Checkpoint { sweep, .. } => Subject::Sweep(sweep),
            Self::Find { prefix, .. } | Self::Pin { prefix, .. } => Subject::Task(prefix),
            Self::For { ask, .. } => ask.subject(),
            Self::List { .. } | Self::Workers { .. } => Subject::All,
            Self::Register { .. }
            | Self::Acquire { .. }
            | Self::Renew { .. }
            | Self::Commit { .. }
            | Self::Finish { .. }
            | Self::Fail { .. }
            | Self::Release { .. }
            | Self::Drop { .. }
            | Self::Judge { .. } => Subject::NotForOwners,
        }
    }

    /// The same about a task that was found by the beginning of its id, if it is about one.
    pub(crate) fn about(mut self, task: TaskId) -> Self {
        if let Self::Find { prefix, .. } | Self::Pin { prefix, .. } = &mut self {
            *prefix = task.to_string();
        }
        self
    }

    /// Answers it with a refusal.
    pub(crate) fn refuse(self, refusal: Refusal) {
        // Whoever has gone needs no answer.
        fn send<T>(reply: Reply<T>, refusal: Refusal) {
            drop(reply.send(Err(refusal)));
        }
        match self {
            Self::Register { reply, .. }
            | Self::Finish { reply, .. }
            | Self::Release { reply, .. }
            | Self::Pause { reply, .. }
            | Self::Cancel { reply, .. } => send(reply, refusal),
            Self::Acquire { reply, .. } => send(reply, refusal),
            Self::Renew { reply, .. } => send(reply, refusal),
            Self::Commit { reply, .. } => send(reply, refusal),
            Self::Fail { reply, .. } => send(reply, refusal),
            Self::Submit { reply, .. } => send(reply, refusal),
            Self::List { reply } => send(reply, refusal),
            Self::Show { reply, .. } => send(reply, refusal),
            Self::Watch { reply, .. } => send(reply, refusal),
            Self::Find { reply, .. } => send(reply, refusal),
            Self::Checkpoint { reply, .. } => send(reply, refusal),
            Self::Pin { reply, .. } => send(reply, refusal),
            Self::Drop { reply, .. } => send(reply, refusal),
            Self::Judge { reply, .. } => send(reply, refusal),
            Self::Workers { reply } => send(reply, refusal),
            Self::For { ask, .. } => ask.refuse(refusal),
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Register { reply, .. }
            | Self::Finish { reply, .. }
            | Self::Release { reply, .. }
            | Self::Pause { reply, .. }
            | Self::Cancel { reply, .. } => reply.is_closed(),
            Self::Acquire { reply, .. } => reply.is_closed(),
            Self::Renew { reply, .. } => reply.is_closed(),
            Self::Commit { reply, .. } => reply.is_closed(),
            Self::Fail { reply, .. } => reply.is_closed(),
            Self::Submit { reply, .. } => reply.is_closed(),
            Self::List { reply } => reply.is_closed(),
            Self::Show { reply, .. } => reply.is_closed(),
            Self::Watch { reply, .. } => reply.is_closed(),
            Self::Find { reply, .. } => reply.is_closed(),
            Self::Checkpoint { reply, .. } => reply.is_closed(),
            Self::Pin { reply, .. } => reply.is_closed(),
            Self::Drop { reply, .. } => reply.is_closed(),
            Self::Judge { reply, .. } => reply.is_closed(),
            Self::Workers { reply } => reply.is_closed(),
            Self::For { ask, .. } => ask.is_abandoned(),
        }
    }
}

/// What a renewal says that is for the others of a group.
#[derive(Debug, Default)]
pub(crate) struct OfGroup {
    /// Where it meets, from its leader.
    pub(crate) rendezvous: Option<Rendezvous>,
    /// Whether a member is to stop.
    pub(crate) leaving: bool,
}

/// What a worker says of itself.
pub(crate) struct Registration {
    pub(crate) device: String,
    pub(crate) machine: String,
    pub(crate) started_unix_ns: u64,
    pub(crate) offer: Offer,
}

/// An answer, with what a person should know beside it.
#[derive(Debug)]
pub(crate) struct Noted<T> {
    pub(crate) answer: T,
    pub(crate) notes: Vec<String>,
}

/// The tasks whose outputs have been given up.
pub(crate) type Dropped = std::collections::BTreeSet<TaskId>;

/// A sweep to be submitted, already expanded.
pub(crate) struct NewSweep {
    pub(crate) manifest: Manifest,
    pub(crate) plan: Arc<Plan>,
    pub(crate) digest: Digest,
    /// The call that submits it, as a `traceparent`; empty where nothing is traced.
    pub(crate) trace: String,
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
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) grant: Grant,
    /// The place of the worker that gets it among those that hold it.
    pub(crate) node: u32,
    /// The canonical JSON of the task's spec.
    pub(crate) spec: String,
    /// Seconds of training between two resume checkpoints; 0 for never.
    pub(crate) checkpoint_every_s: u32,
    /// Optimizer steps between two of them; 0 for never.
    pub(crate) checkpoint_every_steps: u32,
    /// The attempt's span, as a `traceparent`; empty where nothing is traced.
    pub(crate) traceparent: String,
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

/// How long a call waits for room in the queue before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a call that was refused for want of room should stay away.
const STAY_AWAY_MS: u64 = 1000;

/// The way to the ledger's owner.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
    /// One permit for each call that may be under way.
    calls: Arc<Semaphore>,
    /// One permit for each worker that may wait for a task.
    polls: Arc<Semaphore>,
    /// Whose sweeps are reached through it; all if it is nobody's.
    owner: Option<OwnerName>,
    followed: Followed,
}

impl Desk {
    /// A desk with a queue of bounded length and a bounded number of calls, and its other end.
    pub(crate) fn new(config: &Config) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(config.queue);
        let permits = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let desk = Self {
            asks,
            calls: permits(config.max_calls),
            // A worker that has lost its connection may leave a call behind for a while.
            polls: permits(config.max_workers.saturating_mul(2)),
            owner: None,
            followed: Followed::default(),
        };
        (desk, receiver)
    }

    /// The same desk for somebody who may reach the sweeps of one owner only, if it is one.
    pub(crate) fn for_owner(&self, owner: Option<OwnerName>) -> Self {
        Self {
            owner,
            ..self.clone()
        }
    }

    /// Whose sweeps are reached through it; all if it is nobody's.
    pub(crate) const fn owner(&self) -> Option<&OwnerName> {
        self.owner.as_ref()
    }

    /// Whose logs are followed.
    pub(crate) const fn followed(&self) -> &Followed {
        &self.followed
    }

    /// Asks, and waits for the answer; refused where too many do.
    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Refusal> {
        let _call = (self.calls.try_acquire()).map_err(|_full| overloaded(Limit::Calls))?;
        self.put(ask).await
    }

    /// Asks for a task, which may take long to come.
    pub(crate) async fn poll<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Refusal> {
        let poll = self.polls.try_acquire();
        let _poll = poll.map_err(|_full| overloaded(Limit::Polls))?;
        self.put(ask).await
    }

    async fn put<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        match tokio::time::timeout(PATIENCE, self.asks.reserve()).await {
            Ok(Ok(room)) => room.send(match self.owner.clone() {
                None => ask(reply),
                Some(owner) => Ask::For {
                    owner,
                    ask: Box::new(ask(reply)),
                },
            }),
            Ok(Err(_closed)) => return Err(gone()),
            Err(_elapsed) => return Err(overloaded(Limit::Queue)),
        }
        answer.await.map_err(|_closed| gone())?
    }
}

/// There is no room now.
pub(crate) fn overloaded(limit: Limit) -> Refusal {
    measure::overloaded(limit);
    let limit = limit.in_words();
    Refusal::Overloaded {
        what: format!("the coordinator has as many {limit} as it may; try again in a second"),
        retry_after_ms: STAY_AWAY_MS,
    }
}

/// The owner has ended, or is about to.
pub(crate) fn gone() -> Refusal {
    Refusal::Unavailable("the coordinator is stopping; try again soon".to_owned())
}
