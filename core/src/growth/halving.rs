//! Successive halving with two objectives: many searches begin, few are trained to the end.
//!
//! The searches of a *heat* have the same net, data, baseline and budgets, so that they come down
//! together and have about as many ReLUs after equal epochs; candidates of different budgets are
//! never compared. At each *rung*, a number of epochs, the better ones go on: by non-domination rank
//! and then by contribution to the hypervolume ([`super::ranking::best`]), on the means over their seeds.
//! The others stay where they are, with their checkpoints.
//!
//! A rung is *settled* when nobody can come to it any more; then one in `reduction` of those who
//! came, and at least one, goes on, beside those who went on before. Before that nobody needs to be
//! waited for: a worker that would otherwise be idle takes the best of those who have come and not gone
//! on, while fewer than one in `reduction` of them have (after asynchronous successive halving, Li et
//! al. 2020, <https://arxiv.org/abs/1810.05934>, which lets more go on by mistake).
//!
//! A search that another sweep has trained to its end costs nothing: where its curve is not known, it
//! goes on without being compared.

use serde::{Deserialize, Serialize};

use super::ranking::{Standpoint, best};
use super::{ALL_EPOCHS, Standings};

/// How a manifest asks for halving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Halving {
    /// Epochs of the first rung: before it nobody is stopped.
    pub grace: u32,
    /// Of so many one goes on; each rung has so many times the epochs of the one before.
    pub reduction: u32,
    /// Rungs at most.
    pub rungs: u32,
}

impl Halving {
    /// The rungs of a search of so many epochs, in epochs; empty where the first would be its end.
    pub fn rungs(self, epochs: u32) -> Vec<u32> {
        let rungs =
            std::iter::successors(Some(self.grace), |rung| rung.checked_mul(self.reduction));
        rungs
            .take(self.rungs as usize)
            .take_while(|&rung| rung < epochs)
            .collect()
    }
}

/// Searches that are compared with each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Heat {
    /// Epochs at which they are compared, rising; at least one.
    pub rungs: Vec<u32>,
    /// Of so many one goes on.
    pub reduction: u32,
    /// ReLUs of the full network.
    pub relu_total: u64,
    /// Who takes part.
    pub entrants: Vec<Entrant>,
}

/// One way of searching, with all its seeds.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Entrant {
    /// Its number among the manifest's ways of searching.
    pub search: usize,
    /// The places of its searches in the plan, one per seed.
    pub tasks: Vec<u32>,
    /// The places of what follows them.
    pub followers: Vec<u32>,
}

/// What a rung sees of an entrant that has been let come to it.
enum Report {
    /// It has not come yet.
    Pending,
    /// It will not come: all its searches are lost.
    Lost,
    /// Where it stands.
    At(Standpoint),
    /// It has come to its end, and nobody knows where it stood.
    Ended,
}

impl Heat {
    /// How many go on at each rung if nobody does before all are compared.
    pub fn going_on(&self) -> Vec<usize> {
        let reduction = self.reduction.max(1) as usize;
        let here = std::iter::successors(Some(self.entrants.len()), |here| {
            Some((here / reduction).max(1))
        });
        here.skip(1).take(self.rungs.len()).collect()
    }

    pub(super) fn held_back(&self) -> impl Iterator<Item = (u32, u32)> {
        let first = self.rungs.first().copied().unwrap_or(ALL_EPOCHS);
        self.entrants.iter().flat_map(move |entrant| {
            let tasks = entrant.tasks.iter().map(move |&task| (task, first));
            tasks.chain(entrant.followers.iter().map(|&task| (task, 0)))
        })
    }

    /// The tasks that an entrant is allowed more epochs of when it leaves a rung, each with them.
    pub(crate) fn allowed_after(&self, entrant: u32, rung: u32) -> Vec<(u32, u32)> {
        let Some(entrant) = self.entrants.get(entrant as usize) else {
            return Vec::new();
        };
        let all = |places: &[u32], epochs: u32| -> Vec<(u32, u32)> {
            places.iter().map(|&place| (place, epochs)).collect()
        };
        match self.rungs.get(rung as usize + 1) {
            Some(&next) => all(&entrant.tasks, next),
            None => [
                all(&entrant.tasks, ALL_EPOCHS),
                all(&entrant.followers, ALL_EPOCHS),
            ]
            .concat(),
        }
    }

    /// Who goes on now, each with the rung that it leaves: those of the highest rung at which
    /// somebody does.
    pub(super) fn promotions(&self, standings: &impl Standings) -> Vec<(u32, u32)> {
        let mut settled = true;
        let mut found = Vec::new();
        for (rung, &epochs) in (0..).zip(&self.rungs) {
            let promoted = self.promoted_from(epochs, &mut settled, standings);
            if !promoted.is_empty() {
                found = promoted
                    .into_iter()
                    .map(|entrant| (entrant, rung))
                    .collect();
            }
        }
        found
    }

    /// Who leaves the rung at `epochs` now. `settled` is whether nobody can come to the rung before
    /// it any more, and then whether nobody can come to this one.
    fn promoted_from(
        &self,
        epochs: u32,
        settled: &mut bool,
        standings: &impl Standings,
    ) -> Vec<u32> {
        let mut here: Vec<(u32, bool)> = Vec::new();
        let mut points: Vec<Standpoint> = Vec::new();
        let (mut pending, mut ended, mut gone_on) = (0, 0, 0);
        let mut promoted: Vec<u32> = Vec::new();
        for (number, entrant) in (0..).zip(&self.entrants) {
            let allowed = Self::allowed(entrant, standings);
            if allowed < epochs {
                continue;
            }
            match self.report(entrant, epochs, standings) {
                Report::Pending => pending += 1,
                Report::Lost => {}
                Report::At(standpoint) => {
                    gone_on += usize::from(allowed > epochs);
                    here.push((number, allowed <= epochs));
                    points.push(standpoint);
                }
                Report::Ended => {
                    ended += 1;
                    if allowed <= epochs {
                        promoted.push(number);
                    }
                }
            }
        }
        *settled = *settled && pending == 0;
        let share = (here.len() + ended) / self.reduction.max(1) as usize;
        let quota = if *settled { share.max(1) } else { share };
        let places = quota.saturating_sub(ended);
        let waits = |at: usize| here[at].1;
        let (going_on, first) = best(&points, places, waits);
        if *settled {
            promoted.extend(
                going_on
                    .into_iter()
                    .filter(|&at| waits(at))
                    .map(|at| here[at].0),
            );
            promoted.sort_unstable();
        } else if gone_on < places {
            // A worker that would be idle takes one.
            promoted.extend(first.map(|at| here[at].0));
        }
        // Whoever goes on from here has not come to the next rung yet.
        *settled = *settled && promoted.is_empty();
        promoted
    }

    fn allowed(entrant: &Entrant, standings: &impl Standings) -> u32 {
        let allowed = entrant.tasks.iter().map(|&task| standings.of(task).allowed);
        allowed.max().unwrap_or(0)
    }

    fn report(&self, entrant: &Entrant, epochs: u32, standings: &impl Standings) -> Report {
        let (mut seeds, mut relus, mut accuracy) = (0.0, 0.0, 0.0);
        let mut ended = false;
        for &task in &entrant.tasks {
            let standing = standings.of(task);
            match standing.curve.after(epochs) {
                Some((relu_count, measured)) => {
                    seeds += 1.0;
                    relus += relu_count as f64;
                    accuracy += measured.percent() / 100.0;
                }
                None if standing.lost => {}
                None if standing.result.is_some() => ended = true,
                None => return Report::Pending,
            }
        }
        if seeds == 0.0 {
            return if ended { Report::Ended } else { Report::Lost };
        }
        Report::At(Standpoint {
            share: relus / seeds / self.relu_total.max(1) as f64,
            accuracy: accuracy / seeds,
        })
    }
}
