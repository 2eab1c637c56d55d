//! How sweeps grow: which tasks of their plans they let train, and for how long.

use super::{Decision, Event, Ledger, Sweep};
use crate::growth::{Standing, Standings, Step};
use crate::id::SweepName;
use crate::offer::Offer;

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

impl Ledger {
    /// Lets a sweep grow, where the sweep whose turn it is has nothing to lease to this worker but can
    /// grow. To be asked again until there is nothing to decide, before a lease is.
    ///
    /// A sweep that has come to its limit ends instead.
    pub fn grow(&self, offer: &Offer, now_ms: u64) -> Option<Decision<()>> {
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
        let sweep = self.first_to_grow(offer, now_ms)?;
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
        let growth = self.growth_of(number);
        let sweep = &mut self.sweeps[number as usize];
        sweep.growth = growth;
        if sweep.growth.is_empty() || !sweep.grants() {
            self.growing.remove(&number);
        } else {
            self.growing.insert(number);
        }
    }

    /// How a sweep grows, as it stands: not at all while it has a task that can be leased at once.
    pub(super) fn growth_of(&self, number: u32) -> Vec<Step> {
        let sweep = &self.sweeps[number as usize];
        if sweep.plan.growth.is_none() || sweep.ready.has_some_at_once() {
            return Vec::new();
        }
        let standings = OfSweep {
            ledger: self,
            sweep,
            number,
        };
        sweep.plan.growth.next(&sweep.plan.candidates, &standings)
    }
}
