//! Whose turn it is: which sweep's task a worker gets.
//!
//! In this order: the sweep of the highest priority; among those, the sweep of the owner who has
//! the fewest leases for their weight; among an owner's, the sweep with the fewest leases; the one
//! that was submitted first. Passed over are sweeps whose needs the worker does not meet, and
//! owners who have as many leases as they may. Within a sweep the order is that of
//! [`crate::schedule`].
//!
//! So a sweep that comes late gets its share at once, as tasks end; nothing is taken away from a
//! running task.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::group::{Asker, Company, Turned};
use super::{Ledger, Member, Sweep, TaskState};
use crate::id::{OwnerName, WorkerId};
use crate::offer::{Offer, Requirements};
use crate::terms::Terms;

/// What owners may have.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Quotas {
    /// For owners who are not named.
    pub others: Quota,
    /// By name.
    pub owners: BTreeMap<OwnerName, Quota>,
}

/// What one owner may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// The most leases at a time; one that is for several workers counts as so many.
    pub cap: Option<u32>,
    /// The share of the workers, in relation to that of other owners; at least one.
    pub weight: u32,
}

impl Default for Quota {
    /// Any number of leases, and the same share as everyone.
    fn default() -> Self {
        Self {
            cap: None,
            weight: 1,
        }
    }
}

impl Quotas {
    /// An owner's.
    pub fn of(&self, owner: &OwnerName) -> Quota {
        self.owners.get(owner).copied().unwrap_or(self.others)
    }
}

/// A sweep's place in the order of turns: smaller goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn {
    priority: Reverse<i32>,
    /// The owner's leases in proportion to their weight.
    owner_share: u64,
    sweep_leases: u64,
    pub(super) sweep: u32,
}

/// What a worker that asks for a task gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Pick {
    /// A task for a sweep, with these.
    Task {
        slot: u32,
        sweep: u32,
        members: Box<[WorkerId]>,
    },
    /// It is to wait for others.
    Wait,
    /// There is none.
    Nothing,
}

impl Ledger {
    /// The task that a worker gets now, with the sweep whose turn it is.
    pub(super) fn pick(&self, asker: Asker<'_>, company: Company<'_>, now_ms: u64) -> Pick {
        for Turn { sweep, .. } in self.turns(asker.offer) {
            let Some(slot) = self.next_of(sweep, now_ms) else {
                continue;
            };
            match self.turned(sweep, asker, company, now_ms) {
                Turned::Takes(members) => {
                    return Pick::Task {
                        slot,
                        sweep,
                        members,
                    };
                }
                Turned::Waits => return Pick::Wait,
                Turned::Passes => {}
            }
        }
        Pick::Nothing
    }

    /// The sweeps with a task to lease that a worker with this offer may get, in the order of their
    /// turns.
    pub(super) fn turns(&self, offer: &Offer) -> Vec<Turn> {
        let mut turns: Vec<Turn> = (self.active.iter())
            .filter_map(|&sweep| self.turn(sweep, offer))
            .collect();
        turns.sort_unstable();
        turns
    }

    /// The sweep that is to grow before this worker gets a task: of those that grant something, the
    /// one whose turn it is, unless it has a task for the worker.
    pub(super) fn first_to_grow(
        &self,
        asker: Asker<'_>,
        company: Company<'_>,
        now_ms: u64,
    ) -> Option<&Sweep> {
        let both: BTreeSet<u32> = self.active.union(&self.growing).copied().collect();
        let mut turns: Vec<Turn> = (both.into_iter())
            .filter_map(|sweep| self.turn(sweep, asker.offer))
            .collect();
        turns.sort_unstable();
        let first = (turns.into_iter()).find_map(|Turn { sweep: number, .. }| {
            let sweep = &self.sweeps[number as usize];
            let has_a_task = self.next_of(number, now_ms).is_some()
                && self.turned(number, asker, company, now_ms) != Turned::Passes;
            (has_a_task || !sweep.growth.is_empty()).then_some((sweep, has_a_task))
        });
        first.and_then(|(sweep, has_a_task)| (!has_a_task).then_some(sweep))
    }

    /// A sweep's place in the order, unless it is passed over.
    fn turn(&self, number: u32, offer: &Offer) -> Option<Turn> {
        let sweep = &self.sweeps[number as usize];
        let needs = &sweep.terms.needs;
        if self.cap_reached(&sweep.terms).is_some() || !needs.are_met_by(offer) {
            return None;
        }
        let quota = self.quotas.of(&sweep.terms.owner);
        let leases = self.owner_leases[sweep.owner as usize];
        // Shares are compared as fractions of a large number, in which weights divide well.
        let owner_share = (u64::from(leases) << 32) / u64::from(quota.weight.max(1));
        Some(Turn {
            priority: Reverse(sweep.terms.priority),
            owner_share,
            sweep_leases: sweep.counts.leased,
            sweep: number,
        })
    }

    /// The leases on tasks that an owner's sweeps want, each as often as it has workers.
    pub fn owner_leases(&self, owner: &OwnerName) -> u32 {
        (self.owner_slots.get(owner)).map_or(0, |&owner| self.owner_leases[owner as usize])
    }

    /// The most leases that an owner may have, where one more of these terms would be too many.
    pub fn cap_reached(&self, terms: &Terms) -> Option<u32> {
        let cap = self.quotas.of(&terms.owner).cap?;
        let leases = self.owner_leases(&terms.owner);
        (leases.saturating_add(terms.needs.nodes) > cap).then_some(cap)
    }

    /// The owners of the sweeps that want a task, each once.
    pub(super) fn owners(&self, slot: u32) -> impl Iterator<Item = u32> {
        let sweeps = &self.at(slot).sweeps;
        let wanting = |member: &Member| {
            let sweep = &self.sweeps[member.sweep as usize];
            (!sweep.cancelled && !sweep.at_limit).then_some(sweep.owner)
        };
        (sweeps.iter().enumerate()).filter_map(move |(at, member)| {
            let owner = wanting(member)?;
            let is_first = !(sweeps[..at].iter()).any(|earlier| wanting(earlier) == Some(owner));
            is_first.then_some(owner)
        })
    }

    /// Counts the workers of a lease, or counts them no more, for each owner whose sweeps want the
    /// task.
    fn count_lease(&mut self, slot: u32, nodes: u32, more: bool) {
        let owners: Vec<u32> = self.owners(slot).collect();
        for owner in owners {
            let leases = &mut self.owner_leases[owner as usize];
            *leases = if more {
                *leases + nodes
            } else {
                *leases - nodes
            };
        }
    }

    /// What the sweeps need that have a task ready now, each different need once.
    pub fn needs_of_ready(&self) -> Vec<&Requirements> {
        let mut needs: Vec<&Requirements> = (self.active.iter())
            .map(|&sweep| &self.sweeps[sweep as usize].terms.needs)
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// Puts a task into the indices that its state puts it in.
    pub(super) fn index(&mut self, slot: u32) {
        let task = &self.tasks[slot as usize];
        match &task.state {
            TaskState::Ready(ready) => {
                let not_before_ms = ready.not_before_ms;
                let kind = task.spec().kind();
                let mut is_first = true;
                for at in 0..self.at(slot).sweeps.len() {
                    let member = self.at(slot).sweeps[at];
                    if self.is_granted(slot, member) {
                        let sweep = &mut self.sweeps[member.sweep as usize];
                        if std::mem::take(&mut is_first) {
                            sweep.first_ready += 1;
                            self.ready_tasks[kind.index()] += 1;
                        }
                        sweep.ready.insert(slot, member.rank, not_before_ms);
                        self.active.insert(member.sweep);
                    }
                }
            }
            TaskState::Leased(lease) => {
                self.expiries.insert((lease.expires_at_ms(), slot));
                for part in lease.parts() {
                    self.holders.insert(part.worker.clone(), slot);
                }
                let nodes = lease.nodes();
                self.count_lease(slot, nodes, true);
            }
            TaskState::Waiting(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Parked(_)
            | TaskState::Cancelled(_) => {}
        }
    }

    /// Takes a task out of the indices. What decides them (its state, its sweeps, their terms and
    /// marks) must be as it was when the task was put in.
    pub(super) fn unindex(&mut self, slot: u32) {
        let task = &self.tasks[slot as usize];
        match &task.state {
            TaskState::Ready(ready) => {
                let not_before_ms = ready.not_before_ms;
                let kind = task.spec().kind();
                let mut was_first = true;
                for at in 0..self.at(slot).sweeps.len() {
                    let member = self.at(slot).sweeps[at];
                    if self.is_granted(slot, member) {
                        let sweep = &mut self.sweeps[member.sweep as usize];
                        if std::mem::take(&mut was_first) {
                            sweep.first_ready -= 1;
                            self.ready_tasks[kind.index()] -= 1;
                        }
                        sweep.ready.remove(slot, member.rank, not_before_ms);
                        if sweep.ready.is_empty() {
                            self.active.remove(&member.sweep);
                        }
                    }
                }
            }
            TaskState::Leased(lease) => {
                self.expiries.remove(&(lease.expires_at_ms(), slot));
                for part in lease.parts() {
                    self.holders.remove(&part.worker);
                }
                let nodes = lease.nodes();
                self.count_lease(slot, nodes, false);
            }
            TaskState::Waiting(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Parked(_)
            | TaskState::Cancelled(_) => {}
        }
    }
}
