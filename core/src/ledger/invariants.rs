//! What is true of every ledger and of every step, defined once for tests and for restarts. The
//! numbers are those of `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Ledger, Next, Sweep, Task, TaskCounts, TaskState};
use crate::growth::ALL_EPOCHS;
use crate::id::TaskId;
use crate::task::TaskKind;

/// An invariant that does not hold: a defect of this crate, or of the records it was given.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invariant {number} does not hold for {subject}: {what}")]
pub struct Violation {
    /// Its number in `docs/protocol.md`.
    pub number: u8,
    /// The task or sweep.
    pub subject: String,
    /// What is wrong.
    pub what: &'static str,
}

fn hold(
    number: u8,
    subject: &impl ToString,
    what: &'static str,
    is: bool,
) -> Result<(), Violation> {
    if is {
        return Ok(());
    }
    Err(Violation {
        number,
        subject: subject.to_string(),
        what,
    })
}

/// Checks everything that can be seen in one ledger. Takes time proportional to its tasks.
pub fn check(ledger: &Ledger) -> Result<(), Violation> {
    for (slot, task) in (0..).zip(&ledger.tasks) {
        check_task(ledger, slot, task)?;
        check_state(ledger, slot, task)?;
    }
    check_indices(ledger)?;
    check_sweeps(ledger)
}

fn check_task(ledger: &Ledger, slot: u32, task: &Task) -> Result<(), Violation> {
    let id = task.id();
    hold(
        1,
        &id,
        "it lives once",
        ledger.slots.get(&id) == Some(&slot),
    )?;
    let (left, lost) = ledger.parents_missing(&task.parents, task.spec());
    hold(
        5,
        &id,
        "it counts parents that do not give what it reads",
        task.parents_left == left,
    )?;
    hold(5, &id, "it counts lost parents", task.parents_lost == lost)?;
    // Children are added as their slots are, in rising order: a search keeps this check fast for a
    // task that very many read from.
    let known =
        (task.parents.iter()).all(|&at| ledger.at(at).children.binary_search(&slot).is_ok());
    hold(5, &id, "its parents know it", known)?;
    let serials = task.failures.iter().map(|failure| failure.serial);
    let serials_below = serials
        .clone()
        .all(|serial| serial < ledger.next_failure_serial);
    hold(
        9,
        &id,
        "failures are numbered in order",
        serials.is_sorted() && serials_below,
    )?;
    let heads = (task.state.kept().into_iter())
        .flat_map(|kept| (kept.resumes.iter()).chain(kept.outputs.iter().flatten()));
    let mut generations = heads.map(|head| head.generation).chain(match &task.state {
        TaskState::Done(done) => done.outputs.iter().map(|head| head.generation).collect(),
        TaskState::Waiting(_)
        | TaskState::Ready(_)
        | TaskState::Leased(_)
        | TaskState::GaveUp(_)
        | TaskState::Blocked(_)
        | TaskState::Parked(_)
        | TaskState::Cancelled(_) => Vec::new(),
    });
    let granted = |made: crate::id::Generation| 0 < made.0 && made <= task.generation;
    hold(
        2,
        &id,
        "its checkpoints were made under leases",
        generations.all(granted),
    )
}

fn check_state(ledger: &Ledger, slot: u32, task: &Task) -> Result<(), Violation> {
    let id = task.id();
    match &task.state {
        TaskState::Leased(lease) => {
            hold(2, &id, "a lease has a generation", task.generation.0 > 0)?;
            hold(6, &id, "a leased task is wanted", ledger.needs(slot).wanted)?;
            let mut parts = lease.parts();
            let hold_it = parts.all(|part| ledger.holders.get(&part.worker) == Some(&slot));
            hold(3, &id, "its holders hold nothing else", hold_it)
        }
        TaskState::Done(done) => {
            let complete = done.outputs.len() == task.spec().outputs().len();
            hold(4, &id, "a done task has every output", complete)
        }
        TaskState::GaveUp(_) => Ok(()),
        TaskState::Waiting(_)
        | TaskState::Ready(_)
        | TaskState::Blocked(_)
        | TaskState::Parked(_)
        | TaskState::Cancelled(_) => {
            let gone =
                |at: &u32| matches!(&ledger.at(*at).state, TaskState::Done(done) if done.dropped);
            let waits_for_nothing =
                matches!(task.state, TaskState::Waiting(_)) && task.parents.iter().any(gone);
            hold(
                5,
                &id,
                "what it waits for is being made",
                !waits_for_nothing,
            )?;
            let settled = task.state.clone().resettle(ledger.needs(slot));
            hold(
                5,
                &id,
                "its open state fits its needs",
                settled.name() == task.state.name(),
            )
        }
    }
}

fn check_indices(ledger: &Ledger) -> Result<(), Violation> {
    let mut expiries = BTreeSet::new();
    let mut owner_leases = vec![0; ledger.owner_leases.len()];
    let mut holders = 0;
    // What can be leased: once for each sweep that it can be leased for.
    let (mut ready, mut ready_tasks) = (0, [0; TaskKind::ALL.len()]);
    let mut first_ready = vec![0; ledger.sweeps.len()];
    for (slot, task) in (0..).zip(&ledger.tasks) {
        match &task.state {
            TaskState::Leased(lease) => {
                expiries.insert((lease.expires_at_ms(), slot));
                holders += lease.parts().count();
                for owner in ledger.owners(slot) {
                    owner_leases[owner as usize] += lease.nodes();
                }
            }
            TaskState::Ready(state) => {
                let granting = (task.sweeps.iter())
                    .filter(|member| ledger.is_granted(slot, **member))
                    .map(|member| (&ledger.sweeps[member.sweep as usize], member));
                if let Some((_, member)) = granting.clone().next() {
                    ready_tasks[task.spec().kind().index()] += 1;
                    first_ready[member.sweep as usize] += 1;
                }
                for (sweep, member) in granting {
                    ready += 1;
                    let is_in = (sweep.ready).contains(slot, member.rank, state.not_before_ms);
                    let can = is_in && ledger.active.contains(&member.sweep);
                    hold(6, &task.id(), "a ready task can be leased", can)?;
                }
            }
            TaskState::Waiting(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Parked(_)
            | TaskState::Cancelled(_) => {}
        }
    }
    let all = &"the ledger";
    let indexed: usize = ledger.sweeps.iter().map(|sweep| sweep.ready.len()).sum();
    hold(6, all, "nothing else can be leased", indexed == ready)?;
    let firsts: Vec<u64> = ledger.sweeps.iter().map(|it| it.first_ready).collect();
    let counted = ledger.ready_tasks == ready_tasks && firsts == first_ready;
    hold(6, all, "what can be leased is counted", counted)?;
    let idle = (ledger.active.iter()).all(|&at| !ledger.sweeps[at as usize].ready.is_empty());
    hold(6, all, "only sweeps with a task to lease have a turn", idle)?;
    hold(3, all, "each lease has a time", ledger.expiries == expiries)?;
    // A worker that had two parts would be counted twice and known once.
    let once = ledger.holders.len() == holders;
    hold(3, all, "each worker holds one part of one lease", once)?;
    let shares = ledger.owner_leases == owner_leases;
    hold(11, all, "each owner's leases are counted", shares)?;
    let strays = ledger
        .strays
        .keys()
        .all(|id| !ledger.slots.contains_key(id));
    hold(1, all, "no known task is a stray", strays)
}

fn check_sweeps(ledger: &Ledger) -> Result<(), Violation> {
    for (number, sweep) in (0..).zip(&ledger.sweeps) {
        let mut counts = TaskCounts::default();
        for &slot in &sweep.members {
            let task = ledger.at(slot);
            let mut own = task.sweeps.iter().filter(|it| it.sweep == number);
            let (member, other) = (own.next(), own.next());
            let once = member.is_some() && other.is_none();
            hold(7, &sweep.name, "its tasks know it", once)?;
            if let Some(member) = member {
                *counts.of(ledger.name_for(slot, *member)) += 1;
            }
        }
        hold(
            7,
            &sweep.name,
            "it counts its tasks",
            counts == sweep.counts,
        )?;
        let planned = (sweep.members.iter().map(|&slot| ledger.at(slot).id())).eq(sweep
            .plan
            .tasks
            .iter()
            .map(|task| task.id));
        hold(7, &sweep.name, "its tasks are its plan's", planned)?;
        check_growth(ledger, number, sweep)?;
        let books = ledger.account_of(sweep, number) == sweep.account;
        hold(13, &sweep.name, "its books are those of its tasks", books)?;
    }
    Ok(())
}

/// Checks what a sweep lets its tasks do, and whether it goes on when it can.
fn check_growth(ledger: &Ledger, number: u32, sweep: &Sweep) -> Result<(), Violation> {
    let growth = &sweep.plan.growth;
    let held_back = growth.allowances(&sweep.grown);
    for (place, &slot) in (0..).zip(&sweep.members) {
        let task = ledger.at(slot);
        let allowed = held_back.get(&place).copied().unwrap_or(ALL_EPOCHS);
        let member = task.sweeps.iter().find(|it| it.sweep == number);
        let is = member.is_some_and(|member| member.allowed == allowed);
        hold(
            12,
            &task.id(),
            "it may train as far as its sweep has grown",
            is,
        )?;
    }
    let foreseen = growth.is_none() || sweep.growth == ledger.growth_of(number);
    hold(12, &sweep.name, "it is foreseen how it grows", foreseen)?;
    let grows = !sweep.growth.is_empty() && sweep.grants();
    let known = ledger.growing.contains(&number) == grows;
    hold(12, &sweep.name, "it has a turn when it can grow", known)
}

/// Checks what one event may do: `before` it and `after` it.
pub fn check_step(before: &Ledger, event: &Event, after: &Ledger) -> Result<(), Violation> {
    let latest: BTreeMap<TaskId, &Task> =
        (after.tasks.iter().map(|task| (task.id(), task))).collect();
    for old in &before.tasks {
        let id = old.id();
        let Some(new) = latest.get(&id) else {
            return hold(1, &id, "it does not vanish", false);
        };
        hold(
            2,
            &id,
            "its generation does not fall",
            new.generation >= old.generation,
        )?;
        let is_its_lease = matches!(event, Event::Leased { claim, .. } if claim.task == id);
        let grows = new.generation.0 == old.generation.0 + u64::from(is_its_lease);
        hold(2, &id, "its generation grows by one with each lease", grows)?;
        if old.state.is_done() {
            let redone = matches!(event, Event::SetAside { checkpoint } if checkpoint.task == id)
                || !old.state.is_readable();
            hold(4, &id, "done stays done", new.state.is_done() || redone)?;
            let dropped = matches!(event, Event::Dropped { task } if *task == id);
            let same = !new.state.is_done() || new.state == old.state || dropped;
            hold(4, &id, "a result does not change", same)?;
        }
        if let Event::Leased {
            claim,
            at_ms,
            members,
            ..
        } = event
            && claim.task == id
        {
            let slot = before.slots[&id];
            let granting = (old.sweeps.iter()).filter(|it| before.is_granted(slot, **it));
            let mut within = granting
                .filter(|it| before.has_room(it.sweep, slot, *at_ms))
                .peekable();
            let fits = within.peek().is_some();
            hold(13, &id, "a task is leased within its sweeps' limits", fits)?;
            let nodes = members.len() + 1;
            let whole = within.any(|it| {
                let needs = &before.sweeps[it.sweep as usize].terms.needs;
                needs.nodes as usize == nodes
            });
            let what = "a task is leased to as many workers as its sweep asks for";
            hold(14, &id, what, whole)?;
        }
        if is_its_lease {
            let was_ready = matches!(old.state, TaskState::Ready(_));
            hold(3, &id, "only a ready task is leased", was_ready)?;
        }
        if let (TaskState::GaveUp(_), false) =
            (&new.state, matches!(old.state, TaskState::GaveUp(_)))
        {
            let gives_up =
                matches!(event, Event::Ended { task, next: Next::GiveUp, .. } if *task == id);
            hold(9, &id, "only a failure makes a task give up", gives_up)?;
        }
    }
    Ok(())
}
