//! Events change the ledger, and nothing else does.
//!
//! Only decisions make events, so an event that does not fit is a defect of this crate: it
//! panics, and the driver's restart takes up the last durable state.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::grow::Seen;
use super::{
    Event, FAILURES_KEPT, Failure, Head, Leased, Ledger, Member, Needs, Next, StateName,
    Submission, Sweep, Task, TaskCounts, TaskState,
};
use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::growth::ALL_EPOCHS;
use crate::id::{Generation, OwnerName, SweepName, TaskId};
use crate::pace::millis;
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::schedule::{Order, ReadySet, ranks};
use crate::terms::Terms;

/// What people have said of a sweep.
#[derive(Clone, Copy, Default)]
pub(super) struct Marks {
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    /// Whether it had come to its limit.
    pub(super) at_limit: bool,
    /// Milliseconds of work that are not charged, where that is known.
    pub(super) before_ms: Option<i64>,
}

impl Ledger {
    /// Makes `event` true. Returns the done tasks that it has opened because their outputs are
    /// gone and needed: their records change, too, beside those of [`Ledger::recorded_by`].
    pub fn apply(&mut self, event: &Event) -> Vec<TaskId> {
        self.make_true(event);
        self.look_ahead(event);
        std::mem::take(&mut self.remade)
    }

    fn make_true(&mut self, event: &Event) {
        match event {
            Event::Submitted(submission) => self.apply_submitted(submission),
            Event::Paused { sweep, paused } => self.apply_paused(sweep, *paused),
            Event::Cancelled { sweep } => self.apply_cancelled(sweep),
            Event::Grown { sweep, steps } => self.apply_grown(sweep, steps),
            Event::LimitReached { sweep } => self.apply_limit_reached(sweep),
            Event::Leased { claim, at_ms, .. } => {
                self.promote(claim.task, *at_ms);
                self.apply_leased(event);
            }
            Event::Renewed { .. } => self.apply_renewed(event),
            Event::Adopted { checkpoint } => self.apply_adopted(checkpoint),
            Event::Finished { task, observation } => {
                let slot = self.slot(*task);
                let outputs = self.at(slot).spec().outputs().len();
                self.change(slot, |state, _| {
                    let done = lease(event, state).finish(outputs, observation.clone());
                    TaskState::Done(done.expect("a task is only finished with its outputs"))
                });
            }
            Event::Stopped { task, interim } => {
                let slot = self.slot(*task);
                self.change(slot, |state, needs| {
                    lease(event, state).stop(interim.clone(), needs)
                });
            }
            Event::Ended {
                task,
                failure,
                next,
            } => {
                let slot = self.slot(*task);
                let counts = failure.as_ref().filter(|failure| failure.counted);
                let spent = counts.map(|failure| failure.class);
                self.note(slot, failure.as_deref());
                self.change(slot, |state, needs| {
                    let lease = lease(event, state);
                    match next {
                        Next::Again { not_before_ms } => lease.end(spent, needs, *not_before_ms),
                        Next::GiveUp => TaskState::GaveUp(lease.give_up(spent)),
                    }
                });
            }
            Event::Dropped { task } => {
                let slot = self.slot(*task);
                self.change(slot, |state, _| {
                    let name = state.name();
                    let TaskState::Done(done) = state else {
                        misfit(event, name)
                    };
                    TaskState::Done(done.drop_outputs())
                });
            }
            Event::Pinned { task, pinned } => {
                let slot = self.slot(*task);
                self.at_mut(slot).pinned = *pinned;
            }
            Event::SetAside { checkpoint } => self.apply_set_aside(checkpoint),
        }
    }

    /// Puts tasks whose time to wait is over among the others, in the sweeps of a task.
    fn promote(&mut self, task: TaskId, at_ms: u64) {
        let slot = self.slot(task);
        for at in 0..self.at(slot).sweeps.len() {
            let sweep = self.at(slot).sweeps[at].sweep as usize;
            self.sweeps[sweep].ready.promote(at_ms);
        }
    }

    fn apply_leased(&mut self, event: &Event) {
        let Event::Leased {
            claim,
            worker,
            members,
            expires_at_ms,
            ..
        } = event
        else {
            return;
        };
        let slot = self.slot(claim.task);
        self.at_mut(slot).generation = claim.generation;
        self.change(slot, |state, _| {
            let name = state.name();
            let TaskState::Ready(ready) = state else {
                misfit(event, name)
            };
            TaskState::Leased(ready.lease(worker.clone(), members, *expires_at_ms))
        });
    }

    /// The most frequent event by far, and one that changes nothing but the time.
    fn apply_renewed(&mut self, event: &Event) {
        let Event::Renewed {
            task,
            node,
            expires_at_ms,
        } = event
        else {
            return;
        };
        let slot = self.slot(*task);
        let state = std::mem::take(&mut self.at_mut(slot).state);
        let old = lease(event, state);
        let ended_at_ms = old.expires_at_ms();
        let new = old.renew(*node, *expires_at_ms);
        self.expiries.remove(&(ended_at_ms, slot));
        self.expiries.insert((new.expires_at_ms(), slot));
        self.at_mut(slot).state = TaskState::Leased(new);
    }

    fn apply_submitted(&mut self, submission: &Submission) {
        let Submission { sweep, plan, terms } = submission;
        let marks = Marks::default();
        let mut touched = self.enlist(sweep, plan, terms.clone(), marks, None);
        let slot = self.sweep_slots[sweep] as usize;
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
        touched.reverse(); // Parents first: they are taken from the end.
        self.settle(touched);
    }

    /// Gives a sweep its plan, terms and marks, without settling any task. Returns the tasks that
    /// the sweep had before. Leases in records go on until `lease_until_ms`, or have ended where
    /// that is absent.
    pub(super) fn enlist(
        &mut self,
        name: &SweepName,
        plan: &Arc<Plan>,
        terms: Terms,
        marks: Marks,
        lease_until_ms: Option<u64>,
    ) -> Vec<u32> {
        let number =
            (self.sweep_slots.get(name).copied()).unwrap_or_else(|| self.add_sweep(name, plan));
        let sweep = &mut self.sweeps[number as usize];
        let grown = std::mem::take(&mut sweep.grown);
        let goes_on = !grown.is_empty() && sweep.plan.grows_like(plan);
        let former = std::mem::take(&mut sweep.members);
        for &task in &former {
            self.unindex(task);
        }
        let owner = self.owner(&terms.owner);
        let bounds = terms.bounds;
        let sweep = &mut self.sweeps[number as usize];
        sweep.plan = Arc::clone(plan);
        sweep.terms = terms;
        sweep.owner = owner;
        (sweep.paused, sweep.cancelled) = (marks.paused, marks.cancelled);
        sweep.at_limit = marks.at_limit;
        let charged_ms = sweep.worked_for_it_ms();
        sweep.account = None;
        sweep.growth = Vec::new();
        sweep.seen = Seen::default();
        for &task in &former {
            let task = self.at_mut(task);
            task.sweeps.retain(|member| member.sweep != number);
        }
        for &task in &former {
            self.index(task);
        }
        let mut counts = TaskCounts::default();
        let mut members = Vec::with_capacity(plan.tasks.len());
        let held_back: BTreeMap<u32, u32> = plan.growth.held_back().collect();
        let order = Order::within(bounds);
        for (place, rank) in (0..).zip(ranks(plan, order)) {
            let member = Member {
                sweep: number,
                rank,
                allowed: held_back.get(&place).copied().unwrap_or(ALL_EPOCHS),
            };
            let slot = self.enlist_task(plan, place, member, lease_until_ms);
            *counts.of(self.name_for(slot, member)) += 1;
            members.push(slot);
        }
        let sweep = &mut self.sweeps[number as usize];
        sweep.members = members;
        sweep.counts = if planted(Bug::CountsNotRestored) && lease_until_ms.is_some() {
            TaskCounts::default()
        } else {
            counts
        };
        self.open_account(number, charged_ms, marks.before_ms);
        if goes_on {
            // What was decided stays, with the same plan: it is asked for again.
            self.allow(name, &grown);
        }
        former
    }

    /// A new sweep without tasks: its number.
    fn add_sweep(&mut self, name: &SweepName, plan: &Arc<Plan>) -> u32 {
        let number = slot_number(self.sweeps.len());
        self.sweep_slots.insert(name.clone(), number);
        self.sweeps.push(Sweep {
            name: name.clone(),
            plan: Arc::clone(plan),
            terms: Terms::default(),
            owner: 0,
            paused: false,
            cancelled: false,
            at_limit: false,
            account: None,
            ready: ReadySet::default(),
            first_ready: 0,
            members: Vec::new(),
            counts: TaskCounts::default(),
            grown: Vec::new(),
            growth: Vec::new(),
            seen: Seen::default(),
        });
        number
    }

    /// An owner's number; new owners get the next one.
    fn owner(&mut self, name: &OwnerName) -> u32 {
        if let Some(&number) = self.owner_slots.get(name) {
            return number;
        }
        let number = slot_number(self.owner_leases.len());
        self.owner_slots.insert(name.clone(), number);
        self.owner_leases.push(0);
        number
    }

    fn enlist_task(
        &mut self,
        plan: &Arc<Plan>,
        place: u32,
        member: Member,
        lease_until_ms: Option<u64>,
    ) -> u32 {
        let planned = &plan.tasks[place as usize];
        if let Some(&slot) = self.slots.get(&planned.id) {
            self.unindex(slot);
            let task = self.at_mut(slot);
            task.plan = Arc::clone(plan);
            task.place = place;
            task.sweeps.push(member);
            self.index(slot);
            return slot;
        }
        let slot = slot_number(self.tasks.len());
        let mut parents: Vec<u32> = (planned.spec.inputs().into_iter())
            .map(|input| self.slot(input.task))
            .collect();
        parents.sort_unstable();
        parents.dedup();
        let (parents_left, parents_lost) = self.parents_missing(&parents, &planned.spec);
        let mut task = Task {
            plan: Arc::clone(plan),
            place,
            generation: Generation::default(),
            children: Vec::new(),
            sweeps: vec![member],
            parents_left,
            parents_lost,
            failures: Vec::new(),
            pinned: false,
            redone_ms: 0,
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

    fn apply_limit_reached(&mut self, sweep: &SweepName) {
        let slot = self.sweep_slots[sweep] as usize;
        let members = self.sweeps[slot].members.clone();
        for &task in &members {
            self.unindex(task);
            self.count(task, false);
        }
        self.sweeps[slot].at_limit = true;
        for &task in &members {
            self.count(task, true);
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
            CheckpointRole::Resume => kept.resume_from(head),
            CheckpointRole::Output(name) => {
                if kept.outputs.len() != outputs.len() {
                    kept.outputs = vec![None; outputs.len()].into();
                }
                for (output, known) in outputs.iter().zip(&mut kept.outputs) {
                    if output == name {
                        *known = Some(head);
                    }
                }
                self.settle_readers(slot);
            }
        }
    }

    fn apply_set_aside(&mut self, checkpoint: &CheckpointRef) {
        let slot = self.slot(checkpoint.task);
        let head = Head::of(checkpoint);
        let outputs = self.at(slot).spec().outputs();
        match &checkpoint.role {
            CheckpointRole::Resume => {
                if let Some(kept) = self.at_mut(slot).state.kept_mut() {
                    kept.forget_resume(head);
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
                self.settle_readers(slot);
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
        if let TaskState::Waiting(_) = self.at(slot).state {
            self.remake_parents(slot, &mut unsettled);
        }
        self.settle(unsettled);
    }

    /// Settles tasks whose needs have changed, and those that depend on them.
    pub(super) fn settle(&mut self, mut unsettled: Vec<u32>) {
        while let Some(slot) = unsettled.pop() {
            self.change_one(slot, TaskState::resettle, &mut unsettled);
            if let TaskState::Waiting(_) = self.at(slot).state {
                self.remake_parents(slot, &mut unsettled);
            }
        }
    }

    /// Opens the done parents whose outputs are gone: the task at `slot` waits for them.
    fn remake_parents(&mut self, slot: u32, unsettled: &mut Vec<u32>) {
        for at in 0..self.at(slot).parents.len() {
            let parent = self.at(slot).parents[at];
            if let TaskState::Done(done) = &self.at(parent).state
                && done.dropped
            {
                self.remade.push(self.at(parent).id());
                self.change_one(parent, remake, unsettled);
                unsettled.push(parent);
            }
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
        self.count(slot, false);
        let before = std::mem::take(&mut self.at_mut(slot).state);
        let (was_done, was_lost) = (before.is_readable(), before.is_lost());
        let was_result = before.result().map(|result| result.seconds);
        let after = edit(before, needs);
        let (is_done, is_lost) = (after.is_readable(), after.is_lost());
        if let Some(seconds) = was_result.filter(|_| !after.is_done()) {
            self.at_mut(slot).redone_ms += millis(seconds);
        }
        self.at_mut(slot).state = after;
        self.count(slot, true);
        self.index(slot);
        if was_done == is_done && was_lost == is_lost {
            return;
        }
        if self.at(slot).spec().hands_out_early() {
            return self.recount_children(slot, unsettled);
        }
        for at in 0..self.at(slot).children.len() {
            let slot = self.at(slot).children[at];
            let child = self.at_mut(slot);
            child.parents_left = child.parents_left + u32::from(was_done) - u32::from(is_done);
            child.parents_lost = child.parents_lost + u32::from(is_lost) - u32::from(was_lost);
            unsettled.push(slot);
        }
    }

    /// Settles the tasks that read from the one at `slot`, one of whose outputs has come or gone, if
    /// they can read it before it is done.
    fn settle_readers(&mut self, slot: u32) {
        if self.at(slot).spec().hands_out_early() {
            let mut unsettled = Vec::new();
            self.recount_children(slot, &mut unsettled);
            self.settle(unsettled);
        }
    }

    /// Counts anew what the tasks wait for that read from the one at `slot`, which hands its outputs
    /// out one by one.
    fn recount_children(&mut self, slot: u32, unsettled: &mut Vec<u32>) {
        for at in 0..self.at(slot).children.len() {
            let child = self.at(slot).children[at];
            let task = self.at(child);
            let (left, lost) = self.parents_missing(&task.parents, task.spec());
            if (left, lost) != (task.parents_left, task.parents_lost) {
                let task = self.at_mut(child);
                (task.parents_left, task.parents_lost) = (left, lost);
                unsettled.push(child);
            }
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

/// Opens a done task whose outputs are gone.
fn remake(state: TaskState, needs: Needs) -> TaskState {
    match state {
        TaskState::Done(done) if done.dropped => done.remake(needs),
        other @ (TaskState::Done(_)
        | TaskState::Waiting(_)
        | TaskState::Ready(_)
        | TaskState::Leased(_)
        | TaskState::GaveUp(_)
        | TaskState::Blocked(_)
        | TaskState::Parked(_)
        | TaskState::Cancelled(_)) => other,
    }
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
