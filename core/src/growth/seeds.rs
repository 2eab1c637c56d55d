//! More seeds for the points whose membership of the front is least certain.

use serde::{Deserialize, Serialize};

use super::{ALL_EPOCHS, Standings};
use crate::candidate::{Candidate, PointKind};
use crate::front::{Estimate, Measured, certainties};
use crate::observation::Accuracy;

/// How a manifest asks for seeds that are given where they say most.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct AdaptiveSeeds {
    /// Seeds that every candidate has.
    pub min: u32,
    /// A candidate gets no more seeds once it is on the front, or is not, with this probability.
    pub until: f64,
}

/// The part of a plan that tells which seeds may be added to which candidates.
#[derive(Clone, PartialEq, Debug)]
pub struct MoreSeeds {
    /// Seeds that every candidate has, and when it gets no more.
    pub adaptive: AdaptiveSeeds,
    /// For each candidate of the plan, by number of seed: the places of its evaluation, which comes
    /// last, and of all that this needs.
    pub chains: Vec<Vec<Vec<u32>>>,
}

impl MoreSeeds {
    pub(super) fn held_back(&self) -> impl Iterator<Item = (u32, u32)> {
        let first = self.adaptive.min as usize;
        (self.chains.iter())
            .flat_map(move |seeds| seeds.iter().skip(first).flatten())
            .map(|&place| (place, 0))
    }

    pub(super) fn allowed_by(&self, candidate: u32, seed: u32) -> Vec<(u32, u32)> {
        (self.chains.get(candidate as usize))
            .and_then(|seeds| seeds.get(seed as usize))
            .map_or_else(Vec::new, |chain| {
                chain.iter().map(|&place| (place, ALL_EPOCHS)).collect()
            })
    }

    /// The candidate that gets its next seed now, with that seed's number: of those whose seeds are
    /// all in and leave it open whether they are on the front, the one of which it is least certain;
    /// of equals the one with fewer seeds, then the first.
    pub(super) fn next(
        &self,
        candidates: &[Candidate],
        standings: &impl Standings,
    ) -> Option<(u32, u32)> {
        let mut open: Vec<Open> = Vec::new();
        let mut measured: Vec<Measured> = Vec::new();
        let mut tests: Vec<Accuracy> = Vec::new();
        for (number, (candidate, seeds)) in (0..).zip(candidates.iter().zip(&self.chains)) {
            if candidate.kind != PointKind::Replaced {
                continue;
            }
            let evaluations = seeds.iter().filter_map(|chain| chain.last().copied());
            let (asked, all_in, estimate) = so_far(evaluations, standings, &mut tests);
            let Some(estimate) = estimate else { continue };
            if all_in && (asked as usize) < seeds.len() {
                let place = measured.len();
                open.push(Open {
                    number,
                    asked,
                    place,
                });
            }
            measured.push(estimate);
        }
        if open.is_empty() {
            return None;
        }
        let doubts = doubts(measured);
        let until = self.adaptive.until - 0.5;
        (open.into_iter())
            .map(|it| (doubts[it.place], it.asked, it.number))
            .filter(|(doubt, ..)| *doubt < until)
            .min_by(|one, other| {
                (one.0.total_cmp(&other.0)).then_with(|| (one.1, one.2).cmp(&(other.1, other.2)))
            })
            .map(|(_, asked, number)| (number, asked))
    }
}

/// A candidate that may get its next seed.
struct Open {
    number: u32,
    /// Seeds that were asked for.
    asked: u32,
    /// Its place among those that were measured.
    place: usize,
}

/// How many of these evaluations of a candidate, one for each seed, were asked for, whether they have all come to their end, and what
/// they measured. `tests` is room for that.
pub(super) fn so_far(
    evaluations: impl Iterator<Item = u32>,
    standings: &impl Standings,
    tests: &mut Vec<Accuracy>,
) -> (u32, bool, Option<Measured>) {
    let (mut asked, mut all_in) = (0, true);
    let mut relu_count = 0;
    tests.clear();
    for standing in evaluations.map(|place| standings.of(place)) {
        asked += u32::from(standing.allowed > 0);
        all_in &= standing.allowed == 0 || standing.result.is_some() || standing.lost;
        if let Some((result, test)) = standing.result.and_then(|it| Some((it, it.test?))) {
            relu_count = result.relu_count.max(relu_count);
            tests.push(test);
        }
    }
    let estimate = Estimate::over(tests).map(|estimate| Measured {
        relu_count,
        mean: estimate.mean,
        std: estimate.std,
        seeds: estimate.n,
    });
    (asked, all_in && asked > 0, estimate)
}

/// How far from one half the probability of each to be on the front is, in the given order: 0 for all
/// while nothing is known of the spread over seeds.
fn doubts(measured: Vec<Measured>) -> Vec<f64> {
    let mut doubts = vec![0.0; measured.len()];
    let mut sorted: Vec<(usize, Measured)> = measured.into_iter().enumerate().collect();
    sorted.sort_by_key(|(place, estimate)| (estimate.relu_count, *place));
    let estimates: Vec<Measured> = sorted.iter().map(|(_, estimate)| *estimate).collect();
    let certainties = certainties(&estimates).into_iter().flatten();
    for ((place, _), certainty) in sorted.into_iter().zip(certainties) {
        doubts[place] = (certainty.p_on_front - 0.5).abs();
    }
    doubts
}
