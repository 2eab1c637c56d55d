//! Tasks for several workers: who takes one together, and who is kept waiting for the others.
//!
//! A task for `n` workers is leased to all of them in one event, or to nobody. So when its turn comes
//! and fewer than `n` of the workers that it needs are waiting, the one that asks is kept for it: it is
//! passed over for what comes later in its order of turns. For how long is for the driver to say
//! ([`crate::patience`]); who is not kept any more takes what there is, and joins a group all the same if
//! the others are there when it would find nothing before the group's turn.

use super::{Ledger, turn::Turn};
use crate::id::WorkerId;
use crate::offer::{Offer, Requirements};
use crate::planted::{Bug, planted};

/// A worker that waits for a task.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Who.
    pub worker: &'a WorkerId,
    /// What it has.
    pub offer: &'a Offer,
    /// Whether it may be kept waiting for a group, where it could have other work.
    pub patient: bool,
}

impl<'a> Asker<'a> {
    /// One that is not kept for groups.
    pub(super) const fn alone(worker: &'a WorkerId, offer: &'a Offer) -> Self {
        Self {
            worker,
            offer,
            patient: false,
        }
    }
}

/// The other workers: who waits, too, and who may yet come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Company<'a> {
    /// Those that wait, longest first; the one that asks may be among them.
    pub waiting: &'a [Asker<'a>],
    /// What the workers offer that are there, busy ones included: nobody is kept for a group of which
    /// there are too few.
    pub there: &'a [&'a Offer],
}

/// What a sweep's turn means for a worker, if it has a task to lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Turned {
    /// It gets the task, with these.
    Takes(Box<[WorkerId]>),
    /// It is kept until there are enough.
    Waits,
    /// The sweep is passed over.
    Passes,
}

impl Ledger {
    /// What it means for a worker that it is the turn of a sweep with a task to lease.
    pub(super) fn turned(
        &self,
        sweep: u32,
        asker: Asker<'_>,
        company: Company<'_>,
        now_ms: u64,
    ) -> Turned {
        let needs = &self.sweeps[sweep as usize].terms.needs;
        if !needs.is_for_a_group() {
            return Turned::Takes(Box::default());
        }
        let mut others = needs.nodes as usize - 1;
        if planted(Bug::GroupTooSmall) {
            others -= 1;
        }
        let mut members = Vec::with_capacity(others);
        // Very many workers offer the same.
        let mut known: Vec<(&Offer, bool, bool)> = Vec::new();
        for &other in company.waiting {
            if members.len() == others {
                break;
            }
            if other.worker == asker.worker || self.holders.contains_key(other.worker) {
                continue;
            }
            let Asker { offer, patient, .. } = other;
            let same = |it: &&(&Offer, bool, bool)| *it.0 == *offer && it.1 == patient;
            let joins = if let Some(&(.., joins)) = known.iter().find(same) {
                joins
            } else {
                let joins = self.is_free_for(sweep, other, company, now_ms);
                known.push((offer, patient, joins));
                joins
            };
            if joins {
                members.push(other.worker.clone());
            }
        }
        if members.len() == others {
            Turned::Takes(members.into())
        } else if waits(needs, asker, company) {
            Turned::Waits
        } else {
            Turned::Passes
        }
    }

    /// Whether a worker that waits would come to this sweep's turn: nothing that comes before it in the
    /// worker's own order is for it.
    fn is_free_for(&self, sweep: u32, other: Asker<'_>, company: Company<'_>, now_ms: u64) -> bool {
        for Turn { sweep: number, .. } in self.turns(other.offer) {
            if number == sweep {
                return true;
            }
            let needs = &self.sweeps[number as usize].terms.needs;
            let takes = !needs.is_for_a_group() || waits(needs, other, company);
            if takes && self.next_of(number, now_ms).is_some() {
                return false;
            }
        }
        false
    }
}

/// Whether a worker is kept for a group that lacks others.
fn waits(needs: &Requirements, asker: Asker<'_>, company: Company<'_>) -> bool {
    asker.patient && needs.are_met_among(company.there.iter().copied())
}
