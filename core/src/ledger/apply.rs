//! Events change the ledger, and nothing else does.
//!
//! Only decisions make events, so an event that does not fit is a defect of this crate: it
//! panics, and the driver's restart takes up the last durable state.

use std::sync::Arc;

use super::{
    Event, FAILURES_KEPT, Failure, Head, Leased, Ledger, Needs, Next, Retry, StateName, Submission,
    Sweep, Task, TaskCounts, TaskState,
};
use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::id::{Generation, SweepName, TaskId};
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::schedule::{Rank, ranks};

impl Ledger {
    /// Makes `event` true.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Submitted(submission) => self.apply_submitted(submission),
            Event::Paused { sweep, paused } => self.apply_paused(sweep, *paused),
            Event::Cancelled { sweep } => self.apply_cancelled(sweep),
            Event::Leased {
                claim,
                worker,
                at_ms,
                expires_at_ms,
            } => {
                self.ready.promote(*at_ms);
                let slot = self.slot(claim.task);
                self.at_mut(slot).generation = claim.generation;
                self.change(slot, |state, _| {
                    let name = state.name();
                    let TaskState::Ready(ready) = state else {
                        misfit(event, name)
                    };
                    TaskState::Leased(ready.lease(worker.clone(), *expires_at_ms))
                });
            }
            Event::Renewed {
                task,
                expires_at_ms,
            } => {
                let slot = self.slot(*task);
                self.change(slot, |state, _| {
                    TaskState::Leased(lease(event, state).renew(*expires_at_ms))
                });
            }
            Event::Adopted { checkpoint } => self.apply_adopted(checkpoint),
            Event::Finished { task, observation } => {
                let slot = self.slot(*task);
                let outputs = self.at(slot).spec().outputs().len();
                self.change(slot, |state, _| {
                    let done = lease(event, state).finish(outputs, observation.clone());
                    TaskState::Done(done.expect("a task is only finished with its outputs"))
                });
            }
            Event::Ended {
                task,
                failure,
                next,
            } => {
                let slot = self.slot(*task);
                let counted = failure.as_ref().is_some_and(|failure| failure.counted);
                self.note(slot, failure.as_deref());
                self.change(slot, |state, needs| {
                    let lease = lease(event, state);
                    match next {
                        Next::Again { not_before_ms } => lease.end(counted, needs, *not_before_ms),
                        Next::GiveUp => TaskState::GaveUp(lease.give_up(counted)),
                    }
                });
            }
            Event::SetAside { checkpoint } => self.apply_set_aside(checkpoint),
        }
    }

    fn apply_submitted(&mut self, submission: &Submission) {
        let Submission { sweep, plan, retry } = submission;
        let mut touched = self.enlist(sweep, plan, *retry, None);
        let slot = self.sweep_slots[sweep] as usize;
        self.sweeps[slot].cancelled = false;
        self.sweeps[slot].paused = false;
        let members = self.sweeps[slot].members.clone();
        for &task in &members {
            self.change(task, |state, needs| {
                if let TaskState::GaveUp(gave_up) = state {
                    gave_up.revive(needs)
                } else {
                    state
                }
            });
        }
        touched.extend(members);
        self.settle(touched);
    }

    /// Gives a sweep its plan, without settling any task. Returns the tasks that the sweep had
    /// before. Leases in records go on until `lease_until_ms`, or have ended where that is absent.
    pub(super) fn enlist(
        &mut self,
        name: &SweepName,
        plan: &Arc<Plan>,
        retry: Retry,
        lease_until_ms: Option<u64>,
    ) -> Vec<u32> {
        let sweep = self.sweep_slots.get(name).copied().unwrap_or_else(|| {
            let slot = slot_number(self.sweeps.len());
            self.sweep_slots.insert(name.clone(), slot);
            self.sweeps.push(Sweep {
                name: name.clone(),
                plan: Arc::clone(plan),
                retry,
                paused: false,
                cancelled: false,
                members: Vec::new(),
                counts: TaskCounts::default(),
            });
            slot
        });
        let former = std::mem::take(&mut self.sweeps[sweep as usize].members);
        for &task in &former {
            self.at_mut(task).sweeps.retain(|&other| other != sweep);
        }
        let mut counts = TaskCounts::default();
        let mut members = Vec::with_capacity(plan.tasks.len());
        for (place, rank) in (0..).zip(ranks(plan, sweep)) {
            let slot = self.enlist_task(plan, place, rank, lease_until_ms);
            let task = self.at_mut(slot);
            task.sweeps.push(sweep);
            *counts.of(task.state.name()) += 1;
            members.push(slot);
        }
        let record = &mut self.sweeps[sweep as usize];
        record.plan = Arc::clone(plan);
        record.retry = retry;
        record.members = members;
        record.counts = if planted(Bug::CountsNotRestored) && lease_until_ms.is_some() {
            TaskCounts::default()
        } else {
            counts
        };
        former
    }

    fn enlist_task(
        &mut self,
        plan: &Arc<Plan>,
        place: u32,
        rank: Rank,
        lease_until_ms: Option<u64>,
    ) -> u32 {
        let planned = &plan.tasks[place as usize];
        if let Some(&slot) = self.slots.get(&planned.id) {
            self.unindex(slot);
            let task = self.at_mut(slot);
            task.plan = Arc::clone(plan);
            task.place = place;
            task.rank = task.rank.min(rank);
            self.index(slot);
            return slot;
        }
        let slot = slot_number(self.tasks.len());
        let mut parents: Vec<u32> = (planned.spec.inputs().into_iter())
            .map(|input| self.slot(input.task))
            .collect();
        parents.sort_unstable();
        parents.dedup();
        let count = |is: fn(&TaskState) -> bool| {
            let matching = parents.iter().filter(|&&parent| is(&self.at(parent).state));
            slot_number(matching.count())
        };
        let mut task = Task {
            plan: Arc::clone(plan),
            place,
            generation: Generation::default(),
            children: Vec::new(),
            sweeps: Vec::new(),
            rank,
            parents_left: count(|parent| !parent.is_done()),
            parents_lost: count(TaskState::is_lost),
            failures: Vec::new(),
            state: TaskState::default(),
            parents: Box::default(),
        };
        for &parent in &parents {
            self.at_mut(parent).children.push(slot);
        }
        task.parents = parents.into();
        if let Some(record) = self.strays.remove(&planned.id)
            && !(planted(Bug::ResultsForgotten) && lease_until_ms.is_none())
        {
            task.take_up(record, lease_until_ms);
        }
        self.slots.insert(planned.id, slot);
        self.tasks.push(task);
        self.index(slot);
        slot
    }

    fn apply_paused(&mut self, sweep: &SweepName, paused: bool) {
        let slot = self.sweep_slots[sweep] as usize;
        let members = std::mem::take(&mut self.sweeps[slot].members);
        for &task in &members {
            self.unindex(task);
        }
        self.sweeps[slot].paused = paused;
        for &task in &members {
            self.index(task);
        }
        self.sweeps[slot].members = members;
    }

    fn apply_cancelled(&mut self, sweep: &SweepName) {
        let slot = self.sweep_slots[sweep] as usize;
        let members = self.sweeps[slot].members.clone();
        for &task in &members {
            self.unindex(task);
        }
        self.sweeps[slot].cancelled = true;
        self.sweeps[slot].paused = false;
        for &task in &members {
            self.index(task);
        }
        self.settle(members);
    }

    fn apply_adopted(&mut self, checkpoint: &CheckpointRef) {
        let slot = self.slot(checkpoint.task);
        let task = self.at_mut(slot);
        let outputs = task.spec().outputs();
        let Some(kept) = task.state.kept_mut() else {
            return;
        };
        let head = Head::of(checkpoint);
        match &checkpoint.role {
            CheckpointRole::Resume => kept.resume = Some(Box::new(head)),
            CheckpointRole::Output(name) => {
                if kept.outputs.len() != outputs.len() {
                    kept.outputs = vec![None; outputs.len()].into();
                }
                for (output, known) in outputs.iter().zip(&mut kept.outputs) {
                    if output == name {
                        *known = Some(head);
                    }
                }
            }
        }
    }

    fn apply_set_aside(&mut self, checkpoint: &CheckpointRef) {
        let slot = self.slot(checkpoint.task);
        let head = Head::of(checkpoint);
        let outputs = self.at(slot).spec().outputs();
        match &checkpoint.role {
            CheckpointRole::Resume => {
                if let Some(kept) = self.at_mut(slot).state.kept_mut()
                    && kept.resume.as_deref() == Some(&head)
                {
                    kept.resume = None;
                }
            }
            CheckpointRole::Output(name) => {
                let Some(bad) = outputs.iter().position(|output| output == name) else {
                    return;
                };
                if self.at(slot).state.output(bad) != Some(head) {
                    return;
                }
                self.change(slot, |state, needs| forget_output(state, bad, needs));
            }
        }
    }

    fn note(&mut self, slot: u32, failure: Option<&Failure>) {
        let Some(failure) = failure else { return };
        self.next_failure_serial = self.next_failure_serial.max(failure.serial + 1);
        let failures = &mut self.at_mut(slot).failures;
        if failures.len() >= FAILURES_KEPT {
            failures.remove(0);
        }
        failures.push(failure.clone());
    }

    /// Changes one task's state and settles what depends on it.
    fn change(&mut self, slot: u32, edit: impl FnOnce(TaskState, Needs) -> TaskState) {
        let mut unsettled = Vec::new();
        self.change_one(slot, edit, &mut unsettled);
        self.settle(unsettled);
    }

    /// Settles tasks whose needs have changed, and those that depend on them.
    pub(super) fn settle(&mut self, mut unsettled: Vec<u32>) {
        while let Some(slot) = unsettled.pop() {
            self.change_one(slot, TaskState::resettle, &mut unsettled);
        }
    }

    fn change_one(
        &mut self,
        slot: u32,
        edit: impl FnOnce(TaskState, Needs) -> TaskState,
        unsettled: &mut Vec<u32>,
    ) {
        let needs = self.needs(slot);
        self.unindex(slot);
        let before = std::mem::take(&mut self.at_mut(slot).state);
        let (name, was_done, was_lost) = (before.name(), before.is_done(), before.is_lost());
        let after = edit(before, needs);
        let (new_name, is_done, is_lost) = (after.name(), after.is_done(), after.is_lost());
        self.at_mut(slot).state = after;
        self.index(slot);
        if name != new_name {
            for at in 0..self.at(slot).sweeps.len() {
                let sweep = self.at(slot).sweeps[at] as usize;
                *self.sweeps[sweep].counts.of(name) -= 1;
                *self.sweeps[sweep].counts.of(new_name) += 1;
            }
        }
        if was_done == is_done && was_lost == is_lost {
            return;
        }
        for at in 0..self.at(slot).children.len() {
            let slot = self.at(slot).children[at];
            let child = self.at_mut(slot);
            child.parents_left = child.parents_left + u32::from(was_done) - u32::from(is_done);
            child.parents_lost = child.parents_lost + u32::from(is_lost) - u32::from(was_lost);
            unsettled.push(slot);
        }
    }

    /// Takes a task out of the indices that its state puts it in.
    fn unindex(&mut self, slot: u32) {
        let task = &self.tasks[slot as usize];
        match &task.state {
            TaskState::Ready(ready) => self.ready.remove(slot, task.rank, ready.not_before_ms),
            TaskState::Leased(lease) => {
                self.expiries.remove(&(lease.expires_at_ms, slot));
                self.holders.remove(&lease.worker);
            }
            TaskState::Waiting(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Cancelled(_) => {}
        }
    }

    /// Puts a task into the indices that its state asks for.
    fn index(&mut self, slot: u32) {
        let grantable = self.is_grantable(slot);
        let task = &self.tasks[slot as usize];
        match &task.state {
            TaskState::Ready(ready) if grantable => {
                self.ready.insert(slot, task.rank, ready.not_before_ms);
            }
            TaskState::Leased(lease) => {
                self.expiries.insert((lease.expires_at_ms, slot));
                self.holders.insert(lease.worker.clone(), slot);
            }
            TaskState::Ready(_)
            | TaskState::Waiting(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Cancelled(_) => {}
        }
    }

    /// The slot of a task that a decision has named.
    fn slot(&self, task: TaskId) -> u32 {
        *(self.slots.get(&task)).expect("decisions and plans only name tasks that are there")
    }
}

/// Forgets one output; a done task becomes open by that.
fn forget_output(mut state: TaskState, bad: usize, needs: Needs) -> TaskState {
    if let TaskState::Done(done) = state {
        return done.redo(bad, needs);
    }
    if let Some(output) = (state.kept_mut()).and_then(|kept| kept.outputs.get_mut(bad)) {
        *output = None;
    }
    state
}

/// The lease that `event` speaks of.
fn lease(event: &Event, state: TaskState) -> Leased {
    let name = state.name();
    let TaskState::Leased(lease) = state else {
        misfit(event, name)
    };
    lease
}

/// The decision that made `event` did not look at the ledger.
fn misfit(event: &Event, state: StateName) -> ! {
    panic!("{event:?} does not fit a task that is {state:?}")
}

fn slot_number(count: usize) -> u32 {
    u32::try_from(count).expect("submissions keep tasks and sweeps below 2^32")
}
