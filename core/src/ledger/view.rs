//! Questions to the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Leased, Ledger, Sweep, Task, TaskCounts, TaskState};
use crate::growth::Step;
use crate::id::{SweepName, TaskId, WorkerId};
use crate::offer::Requirements;
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::task::TaskKind;
use crate::terms::Terms;

/// What has become of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SweepState {
    /// Tasks are running or waiting to run.
    Active,
    /// No new leases are granted.
    Paused,
    /// Every task is done that the sweep came to.
    Done,
    /// Nothing is left to run, but some tasks gave up.
    Partial,
    /// Ended by a person.
    Cancelled,
}

/// How many tasks have the same needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Demand {
    /// Tasks that may be leased now or after their time to wait.
    pub ready: u64,
    /// Tasks that are leased.
    pub leased: u64,
}

/// One sweep, to read.
#[derive(Clone, Copy, Debug)]
pub struct SweepView<'a> {
    ledger: &'a Ledger,
    sweep: &'a Sweep,
}

impl<'a> SweepView<'a> {
    /// Its name.
    pub const fn name(self) -> &'a SweepName {
        &self.sweep.name
    }

    /// Its plan.
    pub const fn plan(self) -> &'a Arc<Plan> {
        &self.sweep.plan
    }

    /// What it wants of the scheduling.
    pub const fn terms(self) -> &'a Terms {
        &self.sweep.terms
    }

    /// Its tasks by state.
    pub const fn counts(self) -> TaskCounts {
        self.sweep.counts
    }

    /// Whether it grants no leases for now.
    pub const fn is_paused(self) -> bool {
        self.sweep.paused
    }

    /// Whether a person has ended it.
    pub const fn is_cancelled(self) -> bool {
        self.sweep.cancelled
    }

    /// Whether nothing of it runs and nothing will.
    pub const fn has_ended(self) -> bool {
        self.sweep.has_ended()
    }

    /// Whether nothing more of it fits into its limit.
    pub const fn is_at_limit(self) -> bool {
        self.sweep.at_limit
    }

    /// Milliseconds of trainers' work, times the GPUs of a task, that count against its limit; 0
    /// without one.
    pub fn charged_ms(self) -> u64 {
        self.sweep.charged_ms()
    }

    /// Milliseconds of work on its tasks that do not count against its limit.
    pub fn before_ms(self) -> i64 {
        self.sweep.before_ms()
    }

    /// How it has grown so far.
    pub fn grown(self) -> &'a [Step] {
        &self.sweep.grown
    }

    /// What has become of it.
    pub const fn state(self) -> SweepState {
        let counts = self.counts();
        let has_ended = self.sweep.has_ended();
        if counts.done == counts.total() {
            SweepState::Done
        } else if self.sweep.cancelled {
            SweepState::Cancelled
        } else if has_ended && counts.done + counts.parked == counts.total() {
            SweepState::Done
        } else if has_ended {
            SweepState::Partial
        } else if self.sweep.paused {
            SweepState::Paused
        } else {
            SweepState::Active
        }
    }

    /// Its tasks in the plan's order.
    pub fn tasks(self) -> impl Iterator<Item = &'a Task> {
        (self.sweep.members.iter()).map(|&slot| self.ledger.at(slot))
    }
}

impl Ledger {
    /// One task.
    pub fn task(&self, task: TaskId) -> Option<&Task> {
        self.slots.get(&task).map(|&slot| self.at(slot))
    }

    /// The tasks whose ids begin with the hexadecimal digits `prefix`, by their ids.
    pub fn tasks_like<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Task> {
        let first = format!("{prefix:0<64}").parse::<TaskId>().ok();
        let from = first
            .into_iter()
            .flat_map(|first| self.slots.range(first..));
        from.take_while(move |(id, _)| id.to_string().starts_with(prefix))
            .map(|(_, &slot)| self.at(slot))
    }

    /// The tasks that read from `task`, or from a task that does, and so on; parents before
    /// children.
    pub fn descendants(&self, task: TaskId) -> Vec<&Task> {
        let mut found = std::collections::BTreeSet::new();
        let mut open: Vec<u32> = self.slots.get(&task).copied().into_iter().collect();
        while let Some(slot) = open.pop() {
            let fresh = (self.at(slot).children.iter()).filter(|&&child| found.insert(child));
            open.extend(fresh.copied().collect::<Vec<_>>());
        }
        found.into_iter().map(|slot| self.at(slot)).collect()
    }

    /// The names of the sweeps that have `task`.
    pub fn sweeps_of(&self, task: TaskId) -> Vec<&SweepName> {
        (self.task(task).into_iter())
            .flat_map(|task| &task.sweeps)
            .map(|member| &self.sweeps[member.sweep as usize].name)
            .collect()
    }

    /// One sweep.
    pub fn sweep(&self, name: &SweepName) -> Option<SweepView<'_>> {
        let &slot = self.sweep_slots.get(name)?;
        Some(SweepView {
            ledger: self,
            sweep: &self.sweeps[slot as usize],
        })
    }

    /// All sweeps in the order of their first submission.
    pub fn sweeps(&self) -> impl Iterator<Item = SweepView<'_>> {
        (self.sweeps.iter()).map(|sweep| SweepView {
            ledger: self,
            sweep,
        })
    }

    /// Tasks in all sweeps.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }

    /// Leases that live.
    pub fn lease_count(&self) -> usize {
        self.expiries.len()
    }

    /// Tasks that may be leased now or after their time to wait.
    pub fn ready_count(&self) -> usize {
        self.ready_tasks.iter().sum()
    }

    /// Those of them that are of one kind.
    pub const fn ready_of(&self, kind: TaskKind) -> usize {
        self.ready_tasks[kind.index()]
    }

    /// What tasks need that are ready or leased, each need with both numbers; each task counts once,
    /// with the needs of one of the sweeps that want it. Costs as much as there are sweeps and leases.
    pub fn demand(&self) -> BTreeMap<&Requirements, Demand> {
        let mut demand: BTreeMap<&Requirements, Demand> = BTreeMap::new();
        let mut leased = vec![0; self.sweeps.len()];
        for &(_, slot) in &self.expiries {
            let mut members = self.at(slot).sweeps.iter();
            let wanting = members.find(|member| !self.sweeps[member.sweep as usize].cancelled);
            if let Some(member) = wanting {
                leased[member.sweep as usize] += 1;
            }
        }
        for (sweep, leased) in self.sweeps.iter().zip(leased) {
            let of_need = demand.entry(&sweep.terms.needs).or_default();
            of_need.ready += sweep.first_ready;
            of_need.leased += leased;
        }
        demand
    }

    /// Whether nothing runs and nothing will, unless a person does something: every task of every
    /// sweep is done, given up, blocked, cancelled or in a paused sweep.
    pub fn is_idle(&self) -> bool {
        let is_idle =
            |sweep: &Sweep| sweep.counts.leased == 0 && (sweep.paused || sweep.has_ended());
        planted(Bug::IdleTooEarly) || self.sweeps.iter().all(is_idle)
    }

    /// The next time at which something happens by itself: a lease expires (which may be in the
    /// past, until [`Self::expire`] is decided), or a failed task may be tried again.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let expiry = self.expiries.first().map(|&(at_ms, _)| at_ms);
        let due = (self.active.iter())
            .filter_map(|&sweep| self.sweeps[sweep as usize].ready.next_due_ms(now_ms));
        expiry.into_iter().chain(due).min()
    }

    /// The tasks that are leased, those that expire first first.
    pub fn leased(&self) -> impl Iterator<Item = (&Task, &Leased)> {
        (self.expiries.iter()).filter_map(|&(_, slot)| {
            let task = self.at(slot);
            if let TaskState::Leased(lease) = &task.state {
                Some((task, lease))
            } else {
                None
            }
        })
    }

    /// Whether a task that may be leased now, or after its time to wait, is for several workers.
    pub fn has_groups(&self) -> bool {
        let needs = |&sweep: &u32| &self.sweeps[sweep as usize].terms.needs;
        self.active
            .iter()
            .map(needs)
            .any(Requirements::is_for_a_group)
    }

    /// The place of a worker among those that hold its task, and how many they are.
    pub fn place_of(&self, worker: &WorkerId) -> Option<(u32, u32)> {
        let &slot = self.holders.get(worker)?;
        let TaskState::Leased(lease) = &self.at(slot).state else {
            return None;
        };
        let mut parts = (0..).zip(lease.parts());
        let (node, _) = parts.find(|(_, part)| part.worker == *worker)?;
        Some((node, lease.nodes()))
    }

    /// The task that a worker holds.
    pub fn held_by(&self, worker: &WorkerId) -> Option<TaskId> {
        (self.holders.get(worker)).map(|&slot| self.at(slot).id())
    }

    /// Whether a worker holds a lease.
    pub fn holds(&self, worker: &WorkerId) -> bool {
        self.holders.contains_key(worker)
    }
}
