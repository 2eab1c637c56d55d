//! Successive halving with two objectives: many searches begin, few are trained to the end.
//!
//! The searches of a *heat* have the same net, data, baseline and budgets, so that they come down
//! together and have about as many ReLUs after equal epochs; candidates of different budgets are
//! never compared. At each *rung*, a number of epochs, the better ones go on: by non-domination rank
//! and then by contribution to the hypervolume ([`Ranking`]), on the means over their seeds.
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

use super::ranking::{Ranking, Standpoint};
use super::sight::{Sight, Sorted};
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

/// What is known of an entrant.
#[derive(Clone, Debug)]
struct Known {
    /// Epochs that it is let train for.
    allowed: u32,
    /// By rung.
    reports: Vec<Report>,
}

/// What a rung sees of an entrant.
#[derive(Clone, Copy, Debug)]
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
    pub(super) fn promotions(&self, field: &Field) -> Vec<(u32, u32)> {
        let mut settled = true;
        let mut found = Vec::new();
        for (rung, (&epochs, here)) in (0_u32..).zip(self.rungs.iter().zip(&field.rungs)) {
            let entrants = field.entrants.known();
            let promoted = self.promoted_from(rung as usize, epochs, entrants, here, &mut settled);
            if !promoted.is_empty() {
                let leaves = |entrant| (entrant, rung);
                found = promoted.into_iter().map(leaves).collect();
            }
        }
        found
    }

    /// Who of all entrants leaves a rung now, `here` being those who stand there. `settled`
    /// is whether nobody can come to the rung before it any more, and then whether nobody can come
    /// to this one.
    fn promoted_from(
        &self,
        rung: usize,
        epochs: u32,
        entrants: &[Known],
        here: &Here,
        settled: &mut bool,
    ) -> Vec<u32> {
        let (mut pending, mut ended, mut gone_on) = (0, 0, 0);
        let mut promoted: Vec<u32> = Vec::new();
        for (number, known) in (0..).zip(entrants) {
            if known.allowed < epochs {
                continue;
            }
            match known.reports[rung] {
                Report::Pending => pending += 1,
                Report::Lost => {}
                Report::At(_) => gone_on += usize::from(known.allowed > epochs),
                Report::Ended => {
                    ended += 1;
                    if known.allowed <= epochs {
                        promoted.push(number);
                    }
                }
            }
        }
        *settled = *settled && pending == 0;
        let points = here.points.placed();
        let share = (points.len() + ended) / self.reduction.max(1) as usize;
        let quota = if *settled { share.max(1) } else { share };
        let places = quota.saturating_sub(ended);
        let waits = |entrant: u32| entrants[entrant as usize].allowed <= epochs;
        if *settled {
            let going_on = here.ranking.best(points, places).into_iter();
            promoted.extend(going_on.filter(|&entrant| waits(entrant)));
            promoted.sort_unstable();
        } else if gone_on < places {
            // A worker that would be idle takes one.
            promoted.extend(here.ranking.first(points, places, waits));
        }
        // Whoever goes on from here has not come to the next rung yet.
        *settled = *settled && promoted.is_empty();
        promoted
    }

    fn known(&self, entrant: u32, standings: &impl Standings) -> Known {
        let entrant = &self.entrants[entrant as usize];
        let allowed = entrant.tasks.iter().map(|&task| standings.of(task).allowed);
        let reports = (self.rungs.iter()).map(|&epochs| self.report(entrant, epochs, standings));
        Known {
            allowed: allowed.max().unwrap_or(0),
            reports: reports.collect(),
        }
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

/// What is known of a heat's entrants.
#[derive(Clone, Debug)]
pub(super) struct Field {
    entrants: Sight<Known>,
    /// By rung.
    rungs: Vec<Here>,
}

/// Where those stand who have come to a rung.
#[derive(Clone, Debug)]
struct Here {
    points: Sorted<Standpoint>,
    ranking: Ranking,
}

impl Field {
    pub(super) fn over(heat: &Heat, standings: &impl Standings) -> Self {
        let tasks = (heat.entrants.iter()).map(|entrant| entrant.tasks.iter().copied());
        let nobody = Here {
            points: Sorted::of(heat.entrants.len(), Standpoint::order),
            ranking: Ranking::default(),
        };
        let mut field = Self {
            entrants: Sight::over(tasks, |entrant| heat.known(entrant, standings)),
            rungs: vec![nobody; heat.rungs.len()],
        };
        let all: Vec<u32> = (0..)
            .zip(&heat.entrants)
            .map(|(number, _)| number)
            .collect();
        field.place(heat, &all);
        field
    }

    pub(super) fn renew(&mut self, heat: &Heat, standings: &impl Standings, changed: &[u32]) {
        let look = |entrant| heat.known(entrant, standings);
        let renewed = self.entrants.renew(changed, look);
        self.place(heat, &renewed);
    }

    fn place(&mut self, heat: &Heat, entrants: &[u32]) {
        let known = self.entrants.known();
        for (rung, (&epochs, here)) in heat.rungs.iter().zip(&mut self.rungs).enumerate() {
            let has_changed = here.points.renew(entrants, |entrant| {
                let known = &known[entrant as usize];
                match known.reports[rung] {
                    Report::At(standpoint) if known.allowed >= epochs => Some(standpoint),
                    Report::At(_) | Report::Pending | Report::Lost | Report::Ended => None,
                }
            });
            if has_changed {
                here.ranking = Ranking::of(here.points.placed());
            }
        }
    }
}
