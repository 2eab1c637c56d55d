//! The ledger: which tasks there are, what state each is in, and who may change it.
//!
//! A pure state machine. A decision (`decide.rs`) reads the ledger and a time, and gives events
//! and an answer; [`Ledger::apply`] is the only thing that changes the ledger. Whoever drives it
//! makes the changed records ([`Ledger::record`]) durable before it passes the answer on, and after
//! a crash makes the same ledger from them ([`Ledger::restore`]).
//!
//! Tasks live once, whatever number of sweeps want them. Times are milliseconds since any fixed
//! moment; they decide when leases expire and when failed tasks are tried again, never who is
//! right: that is the generations' job.
//!
//! `docs/protocol.md` numbers the invariants; [`invariants`] checks them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::{Generation, SweepName, TaskId, WorkerId};
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::schedule::{Rank, ReadySet};
use crate::task::TaskSpec;

mod apply;
mod decide;
mod decide_end;
mod event;
#[cfg(test)]
pub(crate) mod fixture;
pub mod invariants;
mod record;
mod refusal;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use event::{
    Acquired, Adoption, AfterFailure, Change, Decision, Event, Failure, FailureReport, Finish,
    Grant, Next, Release, Renewal, Retry, Submission, Submitted,
};
pub use record::{RecordedState, RestoredSweep, TaskRecord};
pub use refusal::{
    CancelRefusal, CommitRefusal, FailRefusal, FinishRefusal, NotHeld, PauseRefusal,
    ReleaseRefusal, RenewRefusal, SubmitRefusal,
};
pub use state::{
    Blocked, Cancelled, Done, GaveUp, Head, Kept, Leased, Needs, Ready, StateName, TaskCounts,
    TaskState, Waiting,
};
pub use view::{SweepState, SweepView};

/// The most failures that a task remembers; older ones are forgotten.
pub const FAILURES_KEPT: usize = 3;

/// The longest wait between two attempts.
pub const MAX_BACKOFF_MS: u64 = 3_600_000;

/// All tasks and sweeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Ledger {
    lease_ttl_ms: u64,
    tasks: Vec<Task>,
    slots: BTreeMap<TaskId, u32>,
    sweeps: Vec<Sweep>,
    sweep_slots: BTreeMap<SweepName, u32>,
    ready: ReadySet,
    /// Leases by the time at which they expire.
    expiries: BTreeSet<(u64, u32)>,
    /// The task that each worker holds: one at a time.
    holders: BTreeMap<WorkerId, u32>,
    /// Records of tasks that no known sweep has; a later one may.
    strays: BTreeMap<TaskId, TaskRecord>,
    next_failure_serial: u64,
}

/// One task. What it is stands in the plan; this is what has become of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Task {
    plan: Arc<Plan>,
    place: u32,
    generation: Generation,
    parents: Box<[u32]>,
    /// In rising order.
    children: Vec<u32>,
    /// The sweeps whose plans have the task, cancelled ones included.
    sweeps: Vec<u32>,
    rank: Rank,
    parents_left: u32,
    parents_lost: u32,
    failures: Vec<Failure>,
    state: TaskState,
}

/// One sweep.
#[derive(Clone, PartialEq, Debug)]
struct Sweep {
    name: SweepName,
    plan: Arc<Plan>,
    retry: Retry,
    paused: bool,
    cancelled: bool,
    members: Vec<u32>,
    counts: TaskCounts,
}

impl Task {
    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.plan.tasks[self.place as usize].id
    }

    /// All that decides its result.
    pub fn spec(&self) -> &TaskSpec {
        &self.plan.tasks[self.place as usize].spec
    }

    /// The generation of its latest lease; zero before the first.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Its state.
    pub const fn state(&self) -> &TaskState {
        &self.state
    }

    /// Its latest failures, newest last; at most [`FAILURES_KEPT`].
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl Ledger {
    /// A ledger without tasks, whose leases live for `lease_ttl_ms` without a renewal.
    pub fn new(lease_ttl_ms: u64) -> Self {
        Self {
            lease_ttl_ms,
            tasks: Vec::new(),
            slots: BTreeMap::new(),
            sweeps: Vec::new(),
            sweep_slots: BTreeMap::new(),
            ready: ReadySet::default(),
            expiries: BTreeSet::new(),
            holders: BTreeMap::new(),
            strays: BTreeMap::new(),
            next_failure_serial: 1,
        }
    }

    fn at(&self, slot: u32) -> &Task {
        &self.tasks[slot as usize]
    }

    fn at_mut(&mut self, slot: u32) -> &mut Task {
        &mut self.tasks[slot as usize]
    }

    fn needs(&self, slot: u32) -> Needs {
        let task = self.at(slot);
        Needs {
            wanted: (task.sweeps.iter()).any(|&sweep| !self.sweeps[sweep as usize].cancelled),
            parents_left: task.parents_left,
            parents_lost: task.parents_lost,
        }
    }

    /// Whether a sweep wants the task now: one that is neither cancelled nor paused.
    fn is_grantable(&self, slot: u32) -> bool {
        self.grantor(slot).is_some()
    }

    /// The first sweep that wants the task now.
    fn grantor(&self, slot: u32) -> Option<&Sweep> {
        (self.at(slot).sweeps.iter())
            .map(|&sweep| &self.sweeps[sweep as usize])
            .find(|sweep| !sweep.cancelled && (!sweep.paused || planted(Bug::PauseIgnored)))
    }

    /// The most patient policy among the sweeps that want the task.
    fn retry(&self, slot: u32) -> Retry {
        let once = Retry {
            attempts: 1,
            backoff_ms: 0,
        };
        (self.at(slot).sweeps.iter())
            .map(|&sweep| &self.sweeps[sweep as usize])
            .filter(|sweep| !sweep.cancelled)
            .fold(once, |retry, sweep| Retry {
                attempts: retry.attempts.max(sweep.retry.attempts),
                backoff_ms: retry.backoff_ms.max(sweep.retry.backoff_ms),
            })
    }
}
