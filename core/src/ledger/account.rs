//! What a sweep with a limit has cost, and what still fits into it.
//!
//! Costs are foreseen from what the sweep's own tasks have taken: milliseconds per MAC
//! ([`crate::cost`]), kind by kind; a kind of which nothing has been measured is taken to be as fast as
//! the others. Before anything has been measured nothing is foreseen, and the first tasks run.

use super::{Ledger, Member, Sweep, TaskState};
use crate::cost::{Cost, task_costs};
use crate::growth::ALL_EPOCHS;
use crate::limit::Bounds;
use crate::pace::{Done, Pace, millis};
use crate::plan::Plan;
use crate::planted::{Bug, planted};
use crate::task::TaskKind;

/// Tasks that are looked at for one that fits, in the order in which they would run: a sweep of which
/// none of so many fits is at its limit, though a cheaper one may come later.
const LOOKED_AT: usize = 10_000;

/// The books of a sweep with a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Account {
    bounds: Bounds,
    /// GPUs of a task, at least one.
    gpus: u64,
    /// What each task of the plan costs, by place.
    costs: Box<[Cost]>,
    /// Milliseconds that trainers worked on its tasks, whoever asked for them.
    worked_ms: u64,
    /// What training they did in that time.
    pace: Pace,
    /// MACs that run now and have not been reported yet, by kind.
    running_macs: [u128; 4],
    /// Milliseconds that its tasks had cost before they were its own: not charged.
    before_ms: i64,
}

/// What one task contributes to a sweep's books.
struct Entry {
    kind: TaskKind,
    worked_ms: u64,
    /// What says how fast its kind goes.
    done: Done,
    running_macs: u128,
}

impl Account {
    /// The books of a sweep whose tasks nobody has looked at yet; `None` without a limit.
    pub(super) fn open(plan: &Plan, bounds: Bounds, gpus: u32) -> Option<Box<Self>> {
        if bounds.is_none() {
            return None;
        }
        Some(Box::new(Self {
            bounds,
            gpus: u64::from(gpus.max(1)),
            costs: task_costs(plan.tasks.iter().map(|task| &task.spec)).collect(),
            worked_ms: 0,
            pace: Pace::default(),
            running_macs: [0; 4],
            before_ms: 0,
        }))
    }

    /// Milliseconds that count against the limit.
    fn charged_ms(&self) -> u64 {
        let charged = i64::try_from(self.worked_ms).unwrap_or(i64::MAX) - self.before_ms;
        u64::try_from(charged).unwrap_or(0)
    }

    /// Milliseconds that so many MACs of a kind may take; 0 while nothing is known.
    fn foreseen_ms(&self, kind: TaskKind, macs: u128) -> f64 {
        self.pace.foresee_ms(kind, macs).unwrap_or(0.0)
    }

    /// Milliseconds that what runs now is going to take, but for some of a kind.
    fn running_ms(&self, but: (TaskKind, u128)) -> f64 {
        (TaskKind::ALL.into_iter())
            .map(|kind| {
                let left_out = if kind == but.0 { but.1 } else { 0 };
                let macs = self.running_macs[kind.index()].saturating_sub(left_out);
                self.foreseen_ms(kind, macs)
            })
            .sum()
    }

    /// Whether so much more of a kind fits, once some that runs now does so no more.
    fn has_room_for(&self, kind: TaskKind, macs: u128, ending: u128, now_ms: u64) -> bool {
        let more = self.foreseen_ms(kind, macs);
        let fits = |limit_ms: u64| {
            let all = self.charged_ms() as f64 + self.running_ms((kind, ending)) + more;
            all * self.gpus as f64 <= limit_ms as f64
        };
        let in_time = |until_ms: u64| now_ms as f64 + more <= until_ms as f64;
        self.bounds.gpu_ms.is_none_or(fits) && self.bounds.until_ms.is_none_or(in_time)
    }

    fn add(&mut self, entry: &Entry) {
        self.worked_ms += entry.worked_ms;
        self.pace.add(entry.kind, entry.done);
        self.running_macs[entry.kind.index()] += entry.running_macs;
    }

    fn remove(&mut self, entry: &Entry) {
        self.worked_ms -= entry.worked_ms;
        self.pace.remove(entry.kind, entry.done);
        self.running_macs[entry.kind.index()] -= entry.running_macs;
    }
}

impl Ledger {
    /// What a task of a sweep contributes to its books.
    fn entry(&self, account: &Account, slot: u32, member: Member) -> Entry {
        let task = self.at(slot);
        let kind = task.spec().kind();
        let cost = account.costs[member.rank.index as usize];
        let state = &task.state;
        let epochs = match state.result() {
            Some(_) => ALL_EPOCHS,
            None => state.curve().reached(),
        };
        let running_macs = if let TaskState::Leased(_) = state {
            let done = cost.up_to(epochs).macs;
            cost.up_to(member.allowed).macs.saturating_sub(done)
        } else {
            0
        };
        Entry {
            kind,
            worked_ms: task.redone_ms + millis(state.seconds()),
            done: Done::of(cost, epochs, state.seconds()),
            running_macs,
        }
    }

    /// Puts what a task contributes into the books of a sweep that has it, or takes it out.
    pub(super) fn charge(&mut self, slot: u32, member: Member, more: bool) {
        let Some(account) = self.sweeps[member.sweep as usize].account.as_deref() else {
            return;
        };
        let entry = self.entry(account, slot, member);
        let account = self.sweeps[member.sweep as usize].account.as_deref_mut();
        match account {
            Some(account) if more => account.add(&entry),
            Some(account) => account.remove(&entry),
            None => {}
        }
    }

    /// The books of a sweep, made anew from its tasks.
    pub(super) fn account_of(&self, sweep: &Sweep, number: u32) -> Option<Box<Account>> {
        let needs = &sweep.terms.needs;
        let mut account = Account::open(&sweep.plan, sweep.terms.bounds, needs.gpus)?;
        account.before_ms = (sweep.account.as_ref()).map_or(0, |known| known.before_ms);
        for &slot in &sweep.members {
            let mut members = self.at(slot).sweeps.iter();
            let Some(member) = members.find(|member| member.sweep == number) else {
                continue;
            };
            account.add(&self.entry(&account, slot, *member));
        }
        Some(account)
    }

    /// Opens the books of a sweep whose plan is new. What its tasks have cost already is not charged,
    /// but for `charged_ms` that the sweep had been charged before; a restart knows what is not
    /// charged.
    pub(super) fn open_account(&mut self, number: u32, charged_ms: u64, before_ms: Option<i64>) {
        let sweep = &self.sweeps[number as usize];
        let mut account = self.account_of(sweep, number);
        if let Some(account) = &mut account {
            let worked_ms = i64::try_from(account.worked_ms).unwrap_or(i64::MAX);
            let charged_ms = i64::try_from(charged_ms).unwrap_or(i64::MAX);
            account.before_ms = before_ms.unwrap_or(worked_ms - charged_ms);
        }
        self.sweeps[number as usize].account = account;
    }

    /// Whether a sweep's limit has room for a task, if it runs for another time, once it does not run. For
    /// evaluations it has: they take seconds and make of a net that was paid for a point.
    pub(super) fn has_room(&self, number: u32, slot: u32, now_ms: u64) -> bool {
        let Some(account) = self.sweeps[number as usize].account.as_deref() else {
            return true;
        };
        let task = self.at(slot);
        let kind = task.spec().kind();
        let mut members = task.sweeps.iter();
        let Some(member) = members.find(|member| member.sweep == number) else {
            return true;
        };
        if kind == TaskKind::Evaluate {
            return true;
        }
        let cost = account.costs[member.rank.index as usize];
        // A lease goes as far as the most generous sweep lets it.
        let allowed = self.granted(slot).max(member.allowed);
        let done = cost.up_to(task.state.curve().reached()).macs;
        let macs = cost.up_to(allowed).macs.saturating_sub(done);
        let ending = self.entry(account, slot, *member).running_macs;
        account.has_room_for(kind, macs, ending, now_ms)
    }

    /// The task of a sweep to run next.
    pub(super) fn next_of(&self, number: u32, now_ms: u64) -> Option<u32> {
        let sweep = &self.sweeps[number as usize];
        if sweep.account.is_none() {
            return sweep.ready.pick(now_ms);
        }
        let mut due = sweep.ready.due(now_ms).take(LOOKED_AT);
        due.find(|&slot| self.has_room(number, slot, now_ms) || planted(Bug::LimitIgnored))
    }

    /// A sweep that has come to its limit: nothing of it runs, it does not grow, and nothing that could run
    /// fits.
    pub(super) fn at_its_limit(&self, now_ms: u64) -> Option<&Sweep> {
        let mut active = self.active.iter();
        active.find_map(|&number| {
            let sweep = &self.sweeps[number as usize];
            let is_still = sweep.counts.leased == 0 && sweep.growth.is_empty();
            if sweep.account.is_none() || !is_still {
                return None;
            }
            let mut ready = sweep.ready.due(u64::MAX).take(LOOKED_AT);
            (!ready.any(|slot| self.has_room(number, slot, now_ms))).then_some(sweep)
        })
    }
}

impl Sweep {
    /// Milliseconds of trainers' work, times GPUs, that count against its limit; 0 without one.
    pub(super) fn charged_ms(&self) -> u64 {
        (self.account.as_ref()).map_or(0, |account| account.charged_ms() * account.gpus)
    }

    /// Milliseconds of work on its tasks that are not charged; 0 without a limit.
    pub(super) fn before_ms(&self) -> i64 {
        self.account.as_ref().map_or(0, |account| account.before_ms)
    }

    /// Trainers' milliseconds that have been charged.
    pub(super) fn worked_for_it_ms(&self) -> u64 {
        (self.account.as_ref()).map_or(0, |account| account.charged_ms())
    }
}
