//! How sweeps grow: which tasks of their plans they let train, and for how long.

use super::{Asker, Company, Decision, Event, Ledger, Sweep};
use crate::growth::{Outlook, Standing, Standings, Step};
use crate::id::{SweepName, WorkerId};
use crate::offer::Offer;
use crate::planted::{Bug, planted};

/// What a sweep's own tasks have come to.
struct OfSweep<'a> {
    ledger: &'a Ledger,
    sweep: &'a Sweep,
    number: u32,
}

impl Standings for OfSweep<'_> {
    fn of(&self, place: u32) -> Standing<'_> {
        let task = self.ledger.at(self.sweep.members[place as usize]);
        let member = task.sweeps.iter().find(|it| it.sweep == self.number);
        Standing {
            allowed: member.map_or(0, |member| member.allowed),
            curve: task.state.curve(),
            result: task.state.result(),
            lost: task.state.is_lost(),
        }
    }
}

/// What a sweep's growth is decided by, kept from one decision to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    outlook: Option<Box<Outlook>>,
    /// Places of tasks that have changed since.
    changed: Vec<u32>,
}

/// It follows from the tasks, and makes no difference between ledgers.
impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Seen {
    /// Takes note that one of a sweep's so many tasks has changed.
    pub(super) fn note(&mut self, place: u32, tasks: usize) {
        if self.outlook.is_none() || planted(Bug::ChangeOverlooked) {
            return;
        }
        if self.changed.len() < tasks {
            self.changed.push(place);
        } else {
            // So many changes have come without a decision that it may as well look at all.
            *self = Self::default();
        }
    }

    /// What is known now.
    fn outlook(&mut self, sweep: &Sweep, standings: &impl Standings) -> &Outlook {
        let (growth, candidates) = (&sweep.plan.growth, &sweep.plan.candidates);
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        if let Some(outlook) = &mut self.outlook {
            outlook.renew(growth, candidates, standings, &changed);
        }
        (self.outlook).get_or_insert_with(|| Box::new(Outlook::over(growth, candidates, standings)))
    }
}

impl Ledger {
    /// Lets a sweep grow, where the sweep whose turn it is has nothing to lease to this worker but can
    /// grow. To be asked again until there is nothing to decide, before a lease is.
    ///
    /// A sweep that has come to its limit ends instead.
    pub fn grow(&self, offer: &Offer, now_ms: u64) -> Option<Decision<()>> {
        let nobody = WorkerId(String::new());
        self.grow_among(Asker::alone(&nobody, offer), Company::default(), now_ms)
    }

    /// The same for a worker among others.
    pub fn grow_among(
        &self,
        asker: Asker<'_>,
        company: Company<'_>,
        now_ms: u64,
    ) -> Option<Decision<()>> {
        if let Some(sweep) = self.at_its_limit(now_ms) {
            return Some(Decision {
                events: vec![Event::LimitReached {
                    sweep: sweep.name.clone(),
                }],
                outcome: (),
            });
        }
        if self.growing.is_empty() {
            return None;
        }
        let sweep = self.first_to_grow(asker, company, now_ms)?;
        Some(Decision {
            events: vec![Event::Grown {
                sweep: sweep.name.clone(),
                steps: sweep.growth.clone(),
            }],
            outcome: (),
        })
    }

    pub(super) fn apply_grown(&mut self, name: &SweepName, steps: &[Step]) {
        let opened = self.allow(name, steps);
        self.settle(opened);
    }

    /// Notes steps and what they allow, without settling any task. Returns the tasks that are allowed
    /// more, children before parents.
    pub(super) fn allow(&mut self, name: &SweepName, steps: &[Step]) -> Vec<u32> {
        let number = self.sweep_slots[name];
        let sweep = &mut self.sweeps[number as usize];
        sweep.grown.extend_from_slice(steps);
        let growth = &sweep.plan.growth;
        let mut allowed: Vec<(u32, u32)> = (steps.iter())
            .flat_map(|&step| growth.allowed_by(step))
            .collect();
        // Settled from the end: parents come first in a plan.
        allowed.sort_unstable_by(|one, other| other.cmp(one));
        let mut opened = Vec::with_capacity(allowed.len());
        for (place, epochs) in allowed {
            let Some(&slot) = self.sweeps[number as usize].members.get(place as usize) else {
                continue;
            };
            self.unindex(slot);
            self.count(slot, false);
            let members = &mut self.at_mut(slot).sweeps;
            for member in members.iter_mut().filter(|it| it.sweep == number) {
                member.allowed = member.allowed.max(epochs);
            }
            self.count(slot, true);
            self.index(slot);
            opened.push(slot);
        }
        opened
    }

    /// Foresees anew how those sweeps grow whose tasks an event has changed. Sweeps share tasks: what
    /// opens a task that was done or had given up does so for all that have it.
    pub(super) fn look_ahead(&mut self, event: &Event) {
        let task = match event {
            Event::Submitted(_)
            | Event::Grown { .. }
            | Event::LimitReached { .. }
            | Event::Paused { .. }
            | Event::Cancelled { .. }
            | Event::SetAside { .. } => None,
            Event::Finished { task, .. }
            | Event::Stopped { task, .. }
            | Event::Ended { task, .. } => Some(*task),
            Event::Leased { claim, .. } => Some(claim.task),
            Event::Adopted { checkpoint } => Some(checkpoint.task),
            Event::Renewed { .. } | Event::Dropped { .. } | Event::Pinned { .. } => return,
        };
        if let Some(task) = task.filter(|_| self.remade.is_empty()) {
            let slot = self.slots[&task];
            for at in 0..self.at(slot).sweeps.len() {
                self.foresee(self.at(slot).sweeps[at].sweep);
            }
            return;
        }
        for sweep in (0..).take(self.sweeps.len()) {
            self.foresee(sweep);
        }
    }

    /// Foresees how a sweep grows.
    pub(super) fn foresee(&mut self, number: u32) {
        let sweep = &self.sweeps[number as usize];
        if sweep.plan.growth.is_none() && !self.growing.contains(&number) {
            return;
        }
        let mut seen = std::mem::take(&mut self.sweeps[number as usize].seen);
        let growth = self.growth_by(number, &mut seen);
        let sweep = &mut self.sweeps[number as usize];
        sweep.seen = seen;
        sweep.growth = growth;
        if sweep.growth.is_empty() || !sweep.grants() {
            self.growing.remove(&number);
        } else {
            self.growing.insert(number);
        }
    }

    /// How a sweep grows, as it stands, worked out anew.
    pub(super) fn growth_of(&self, number: u32) -> Vec<Step> {
        self.growth_by(number, &mut Seen::default())
    }

    /// How a sweep grows, as it stands: not at all while it has a task that can be leased at once.
    fn growth_by(&self, number: u32, seen: &mut Seen) -> Vec<Step> {
        let sweep = &self.sweeps[number as usize];
        if sweep.plan.growth.is_none() || sweep.ready.has_some_at_once() {
            return Vec::new();
        }
        let standings = OfSweep {
            ledger: self,
            sweep,
            number,
        };
        let outlook = seen.outlook(sweep, &standings);
        sweep.plan.growth.next(outlook)
    }
}
