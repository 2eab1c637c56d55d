//! What the observers remember.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autorep_core::digest::Digest;
use autorep_core::growth::Step;
use autorep_core::id::TaskId;
use autorep_core::ledger::{RecordedState, TaskRecord};
use autorep_core::manifest;
use autorep_core::observation::Observation;
use autorep_core::plan::Plan;
use serde::Deserialize;

use super::Tasks;

/// A lease that its worker was told of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) worker: String,
}

/// A durable lease.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) generation: u64,
    /// Of its workers, in the order of their nodes.
    pub(super) parts: Vec<LivePart>,
    /// Something has been said that may end it.
    pub(super) excused: bool,
}

/// One worker's part of a durable lease.
#[derive(Clone, Debug)]
pub(super) struct LivePart {
    pub(super) worker: String,
    /// The lease must not end before, on its own.
    pub(super) until_ms: u64,
    /// When it was last kept alive, at the latest.
    pub(super) heard_ms: u64,
}

impl Live {
    /// The first part whose time is over, and when.
    pub(super) fn first_over(&self) -> Option<&LivePart> {
        self.parts.iter().min_by_key(|part| part.until_ms)
    }
}

/// What of a sweep's record the observers read.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub(super) struct SweepRow {
    pub(super) plan: Digest,
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    #[serde(default)]
    pub(super) grown: Vec<Step>,
    /// Whether nothing more of it fits into its limit.
    #[serde(default)]
    pub(super) at_limit: bool,
}

/// What became of the requests that proposed one thing.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Proposed {
    /// Requests that reached a coordinator.
    pub(super) delivered: u64,
    /// Those of them that were refused for good.
    pub(super) refused: u64,
    /// The number of the first of them, of a result.
    pub(super) first: u64,
}

impl Proposed {
    /// Whether nothing may have come of it.
    pub(super) const fn is_void(self) -> bool {
        self.delivered == self.refused
    }
}

#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) durable: Tasks,
    pub(super) sweeps: BTreeMap<String, SweepRow>,
    /// The sweep and the plan's digest of each manifest that was submitted.
    pub(super) manifests: BTreeMap<String, (String, Digest)>,
    /// By sweep and digest: two sweeps with the same tasks may run more or less of them.
    pub(super) plans: BTreeMap<(String, Digest), Arc<Plan>>,
    /// The most epochs that any sweep has let a task train for.
    pub(super) allowed: BTreeMap<TaskId, u32>,
    pub(super) writes: u64,
    pub(super) starts: u64,

    /// Requests that have reached a coordinator, in this order.
    pub(super) requests: u64,
    /// By task, generation and node.
    pub(super) told: BTreeMap<(TaskId, u64, u32), Told>,
    pub(super) newest_told: BTreeMap<TaskId, u64>,
    pub(super) live: BTreeMap<TaskId, Live>,

    /// When tasks whose attempt failed may be leased again at the earliest.
    pub(super) waiting_until: BTreeMap<TaskId, u64>,
    /// Requests for work that are not answered, by worker.
    pub(super) open_acquires: BTreeMap<String, u64>,

    /// Commits by the digest of the checkpoint, results by task and generation.
    pub(super) commits: BTreeMap<Digest, Proposed>,
    pub(super) results: BTreeMap<(TaskId, u64), Proposed>,
    /// Digests of checkpoints that were durable at some time.
    pub(super) committed: BTreeSet<Digest>,
    /// Generations under which a task was durably done at some time.
    pub(super) finished: BTreeMap<TaskId, BTreeSet<u64>>,
    /// How often a done task was opened again.
    pub(super) reopened: BTreeMap<TaskId, u64>,
    /// Checkpoints that a worker has reported as bad.
    pub(super) reported_bad: BTreeSet<Digest>,
    /// The folders of those.
    pub(super) bad_folders: BTreeSet<String>,
    /// By the task whose output it was, the number of the latest request that said so.
    pub(super) outputs_reported_bad: BTreeMap<TaskId, u64>,

    /// A person's requests that may still arrive.
    pub(super) open_orders: u64,
    /// Sweeps whose cancellation was acknowledged, with what must not change.
    pub(super) frozen: BTreeMap<String, Tasks>,
    /// Sweeps whose pause was acknowledged.
    pub(super) paused: BTreeSet<String>,
}

impl Knowledge {
    /// The plan of a manifest; expanded once per manifest.
    pub(super) fn learn_plan(&mut self, text: &str) -> Option<(String, Digest)> {
        if let Some(known) = self.manifests.get(text) {
            return Some(known.clone());
        }
        let manifest = manifest::parse_within(text, 1000).ok()?;
        let plan = Plan::expand(&manifest);
        let learnt = (manifest.name.to_string(), plan.digest());
        self.plans.insert(learnt.clone(), Arc::new(plan));
        self.manifests.insert(text.to_owned(), learnt.clone());
        Some(learnt)
    }

    /// Whether a durable sweep other than `but` that is not cancelled wants the task; paused ones
    /// count as wanting only if so said.
    pub(super) fn is_wanted(&self, task: TaskId, but: &str, paused_too: bool) -> bool {
        self.sweeps.iter().any(|(name, row)| {
            name != but
                && !row.cancelled
                && (paused_too || !row.paused)
                && self.has_task(name, row, task)
        })
    }

    /// The plan of a sweep as it is written down.
    pub(super) fn plan(&self, name: &str, row: &SweepRow) -> Option<&Arc<Plan>> {
        self.plans.get(&(name.to_owned(), row.plan))
    }

    pub(super) fn has_task(&self, name: &str, row: &SweepRow, task: TaskId) -> bool {
        (self.plan(name, row)).is_some_and(|plan| plan.tasks.iter().any(|it| it.id == task))
    }

    /// Whether a task may have been done under this lease and opened again by one write, in which only
    /// the latter stands: a reader has found one of its outputs bad since its result came.
    pub(super) fn was_undone(&self, task: TaskId, generation: u64) -> bool {
        let result = self.results.get(&(task, generation)).copied();
        let result = result.filter(|result| !result.is_void());
        let reported = self.outputs_reported_bad.get(&task);
        (result.zip(reported)).is_some_and(|(result, reported)| *reported > result.first)
    }

    /// The records of the tasks that only this sweep has.
    pub(super) fn only_of(&self, sweep: &str) -> Tasks {
        let Some(row) = self.sweeps.get(sweep) else {
            return Tasks::new();
        };
        let tasks = self.durable.iter().filter(|(task, _)| {
            self.has_task(sweep, row, **task) && !self.is_wanted(**task, sweep, true)
        });
        tasks
            .map(|(task, record)| (*task, record.clone()))
            .collect()
    }
}

pub(super) const fn is_done(record: &TaskRecord) -> bool {
    matches!(record.state, RecordedState::Done { .. })
}

/// Done, with outputs that can be read.
pub(super) const fn is_readable(record: &TaskRecord) -> bool {
    matches!(record.state, RecordedState::Done { dropped: false, .. })
}

pub(super) fn result(record: &TaskRecord) -> Option<&Observation> {
    match &record.state {
        RecordedState::Done { observation, .. } => Some(observation),
        RecordedState::Open | RecordedState::Leased { .. } | RecordedState::GaveUp => None,
    }
}
