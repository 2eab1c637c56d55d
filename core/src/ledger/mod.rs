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

use crate::growth::Step;
use crate::id::{Generation, OwnerName, SweepName, TaskId, WorkerId};
use crate::manifest::Keep;
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::retry::Retry;
use crate::schedule::{Rank, ReadySet};
use crate::task::{TaskKind, TaskSpec};
use crate::terms::Terms;

mod account;
mod apply;
mod counts;
mod decide;
mod decide_end;
mod event;
#[cfg(test)]
pub(crate) mod fixture;
mod group;
mod grow;
pub mod invariants;
mod outputs;
mod record;
mod refusal;
pub mod retention;
mod state;
#[cfg(test)]
mod tests;
mod turn;
mod view;

pub use counts::TaskCounts;
pub use event::{
    Acquired, Adoption, AfterFailure, Change, Decision, Event, Failure, FailureReport, Finish,
    Grant, Next, Release, Renewal, Submission, Submitted,
};
pub use group::{Asker, Company};
pub use outputs::Outputs;
pub use record::{RecordedState, RestoredSweep, TaskRecord};
pub use refusal::{
    CancelRefusal, CommitRefusal, FailRefusal, FinishRefusal, NotHeld, PauseRefusal, PinRefusal,
    ReleaseRefusal, RenewRefusal, SubmitRefusal,
};
pub use state::{
    Blocked, Cancelled, Done, GaveUp, Head, Held, Kept, Leased, Needs, Parked, RESUMES_KEPT, Ready,
    StateName, TaskState, Waiting,
};
pub use turn::{Quota, Quotas};
pub use view::{Demand, SweepState, SweepView};

/// The most failures that a task remembers; older ones are forgotten.
pub const FAILURES_KEPT: usize = 3;

/// All tasks and sweeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Ledger {
    lease_ttl_ms: u64,
    tasks: Vec<Task>,
    slots: BTreeMap<TaskId, u32>,
    sweeps: Vec<Sweep>,
    sweep_slots: BTreeMap<SweepName, u32>,
    quotas: Quotas,
    /// The sweeps that have a task to lease.
    active: BTreeSet<u32>,
    /// The sweeps that can grow now.
    growing: BTreeSet<u32>,
    /// Tasks that may be leased now or after their time to wait, by [`TaskKind::index`].
    ready_tasks: [usize; TaskKind::ALL.len()],
    owner_slots: BTreeMap<OwnerName, u32>,
    /// By owner: the leases on tasks that their sweeps want, each as often as it has workers.
    owner_leases: Vec<u32>,
    /// Leases by the time at which they expire.
    expiries: BTreeSet<(u64, u32)>,
    /// The task that each worker holds, as leader or member: one at a time.
    holders: BTreeMap<WorkerId, u32>,
    /// Records of tasks that no known sweep has; a later one may.
    strays: BTreeMap<TaskId, TaskRecord>,
    next_failure_serial: u64,
    /// What the event that is being applied has opened; empty in between.
    remade: Vec<TaskId>,
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
    sweeps: Vec<Member>,
    parents_left: u32,
    parents_lost: u32,
    failures: Vec<Failure>,
    pinned: bool,
    /// Milliseconds that results took which had to be made again.
    redone_ms: u64,
    state: TaskState,
}

/// That a sweep has a task.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Member {
    sweep: u32,
    /// The task's place in the order of the sweep's.
    rank: Rank,
    /// Epochs that the sweep lets it train for now.
    allowed: u32,
}

/// One sweep.
#[derive(Clone, PartialEq, Debug)]
struct Sweep {
    name: SweepName,
    plan: Arc<Plan>,
    terms: Terms,
    /// The number of the terms' owner.
    owner: u32,
    paused: bool,
    cancelled: bool,
    /// Whether nothing more of it fits into its limit.
    at_limit: bool,
    /// Its books, if it has a limit.
    account: Option<Box<account::Account>>,
    /// Its tasks that may be leased; none while it is paused or cancelled.
    ready: ReadySet,
    /// Those of them that no sweep before it has, too: over all sweeps each task counts once.
    first_ready: u64,
    members: Vec<u32>,
    counts: TaskCounts,
    /// How it has grown so far.
    grown: Vec<Step>,
    /// How it grows when a worker finds nothing to do for it: follows from its plan, its tasks and
    /// what it has grown.
    growth: Vec<Step>,
    /// What that is decided by.
    seen: grow::Seen,
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

    /// Whether it was given up because its attempts took trainers or whole workers with them: a
    /// danger to whoever tries it next. Its failures are the evidence.
    pub fn is_quarantined(&self) -> bool {
        let kills = |failure: &Failure| failure.class.kills();
        matches!(self.state, TaskState::GaveUp(_)) && self.failures.last().is_some_and(kills)
    }

    /// Whether a person wants its checkpoints kept.
    pub const fn is_pinned(&self) -> bool {
        self.pinned
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
            quotas: Quotas::default(),
            active: BTreeSet::new(),
            growing: BTreeSet::new(),
            ready_tasks: [0; TaskKind::ALL.len()],
            owner_slots: BTreeMap::new(),
            owner_leases: Vec::new(),
            expiries: BTreeSet::new(),
            holders: BTreeMap::new(),
            strays: BTreeMap::new(),
            next_failure_serial: 1,
            remade: Vec::new(),
        }
    }

    /// The same ledger, in which owners may have so much.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
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
            wanted: self.wanting(slot).next().is_some(),
            allowed: self.allowed(slot),
            parents_left: task.parents_left,
            parents_lost: task.parents_lost,
        }
    }

    /// Whether a task can start as far as one of its parents is concerned: the parent is done, or it
    /// hands its outputs out early and those that the task reads are there.
    fn gives(&self, parent: u32, child: &TaskSpec) -> bool {
        let parent = self.at(parent);
        if parent.state.is_readable() {
            return true;
        }
        let outputs = parent.state.kept().map(|kept| &kept.outputs);
        if !parent.spec().hands_out_early() || outputs.is_none_or(|outputs| outputs.is_empty()) {
            return false;
        }
        let names = parent.spec().outputs();
        let mut reads = child.inputs().into_iter();
        reads.all(|input| {
            let index = names.iter().position(|name| *name == input.output);
            input.task != parent.id()
                || planted(Bug::ReadsTooEarly)
                || index.is_some_and(|index| parent.state.output(index).is_some())
        })
    }

    /// The parents that a task still waits for, and those among them that gave up or are blocked.
    fn parents_missing(&self, parents: &[u32], spec: &TaskSpec) -> (u32, u32) {
        let missing = parents.iter().filter(|&&at| !self.gives(at, spec));
        missing.fold((0, 0), |(left, lost), &at| {
            (left + 1, lost + u32::from(self.at(at).state.is_lost()))
        })
    }

    /// The sweeps that want a task: those that are not cancelled.
    fn wanting(&self, slot: u32) -> impl Iterator<Item = &Sweep> {
        (self.at(slot).sweeps.iter())
            .map(|member| &self.sweeps[member.sweep as usize])
            .filter(|sweep| !sweep.cancelled)
    }

    /// Epochs that the sweeps which want a task let it train for: as many as the most generous.
    fn allowed(&self, slot: u32) -> u32 {
        (self.at(slot).sweeps.iter())
            .filter(|member| !self.sweeps[member.sweep as usize].cancelled)
            .map(|&member| self.allowed_in(member))
            .max()
            .unwrap_or(0)
    }

    /// Epochs that one sweep lets a task train for: none once it is at its limit.
    fn allowed_in(&self, member: Member) -> u32 {
        if self.sweeps[member.sweep as usize].at_limit {
            return 0;
        }
        member.allowed
    }

    /// A sweep that wants the task now: one that is not paused either.
    fn grantor(&self, slot: u32) -> Option<u32> {
        (self.at(slot).sweeps.iter())
            .find(|member| self.is_granted(slot, **member))
            .map(|member| member.sweep)
    }

    /// Whether the task may be leased for a sweep that has it, once it is ready.
    fn is_granted(&self, slot: u32, member: Member) -> bool {
        let reached = self.at(slot).state.curve().reached();
        self.sweeps[member.sweep as usize].grants() && reached < member.allowed
    }

    /// The epochs that the sweeps for which the task may be leased let it train for.
    fn granted(&self, slot: u32) -> u32 {
        (self.at(slot).sweeps.iter())
            .filter(|member| self.is_granted(slot, **member))
            .map(|member| member.allowed)
            .max()
            .unwrap_or(0)
    }

    /// What the task is to a sweep that has it: one that the sweep lets go no further is parked for
    /// it, whatever others do with it, but for as long as it runs.
    fn name_for(&self, slot: u32, member: Member) -> StateName {
        let state = &self.at(slot).state;
        match state {
            TaskState::Waiting(_) | TaskState::Ready(_) | TaskState::Blocked(_)
                if state.curve().reached() >= self.allowed_in(member) =>
            {
                StateName::Parked
            }
            TaskState::Waiting(_)
            | TaskState::Ready(_)
            | TaskState::Leased(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Parked(_)
            | TaskState::Cancelled(_) => state.name(),
        }
    }

    /// Counts a task in each sweep that has it, or not any more.
    fn count(&mut self, slot: u32, more: bool) {
        for at in 0..self.at(slot).sweeps.len() {
            let member = self.at(slot).sweeps[at];
            let name = self.name_for(slot, member);
            let count = self.sweeps[member.sweep as usize].counts.of(name);
            *count = if more { *count + 1 } else { *count - 1 };
            if more {
                let sweep = &mut self.sweeps[member.sweep as usize];
                sweep.seen.note(member.rank.index, sweep.members.len());
            }
            self.charge(slot, member, more);
        }
    }

    /// The most patient policy among the sweeps that want the task.
    fn retry(&self, slot: u32) -> Retry {
        (self.wanting(slot))
            .map(|sweep| sweep.terms.retry)
            .reduce(Retry::or)
            .unwrap_or(Retry::new(1, 0))
    }
}

impl Sweep {
    /// Whether only the front's nets are to be kept of it, and which those are is settled.
    fn gives_up_outputs(&self) -> bool {
        let has_ended = self.has_ended() || planted(Bug::NeededDropped);
        // With a larger limit it goes on from what is there.
        self.terms.keep == Keep::Front && has_ended && !self.at_limit
    }

    /// Whether nothing of it runs and nothing will.
    const fn has_ended(&self) -> bool {
        let grows = !self.growth.is_empty() && !self.cancelled && !self.at_limit;
        self.counts.unfinished() == 0 && !grows
    }

    /// Whether its tasks may be leased for it.
    fn grants(&self) -> bool {
        !self.cancelled && !self.at_limit && (!self.paused || planted(Bug::PauseIgnored))
    }
}
