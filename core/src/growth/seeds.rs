//! More seeds for the points whose membership of the front is least certain.

use serde::{Deserialize, Serialize};

use super::sight::{Sight, Sorted};
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
    pub(super) fn next(&self, outlook: &Outlook) -> Option<(u32, u32)> {
        let known = outlook.candidates.known();
        let is_open = |number: u32| {
            let seeds = self.chains[number as usize].len();
            let known = &known[number as usize];
            known.all_in && (known.asked as usize) < seeds
        };
        let measured = outlook.measured.placed();
        if !measured.iter().any(|&(_, number)| is_open(number)) {
            return None;
        }
        let until = self.adaptive.until - 0.5;
        (measured.iter().zip(&outlook.doubts))
            .filter(|((_, number), doubt)| **doubt < until && is_open(*number))
            .map(|((_, number), doubt)| (*doubt, known[*number as usize].asked, *number))
            .min_by(|one, other| {
                (one.0.total_cmp(&other.0)).then_with(|| (one.1, one.2).cmp(&(other.1, other.2)))
            })
            .map(|(_, asked, number)| (number, asked))
    }

    fn known(&self, number: u32, candidates: &[Candidate], standings: &impl Standings) -> SoFar {
        if candidates[number as usize].kind != PointKind::Replaced {
            return SoFar::default();
        }
        SoFar::of(evaluations(&self.chains[number as usize]), standings)
    }
}

fn evaluations(chains: &[Vec<u32>]) -> impl Iterator<Item = u32> {
    chains.iter().filter_map(|chain| chain.last().copied())
}

/// What is known of the candidates.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    candidates: Sight<SoFar>,
    /// Those that were measured, by ReLU count.
    measured: Sorted<Measured>,
    /// How far from one half the probability of each of these to be on the front is.
    doubts: Vec<f64>,
}

impl Outlook {
    pub(super) fn over(
        seeds: &MoreSeeds,
        candidates: &[Candidate],
        standings: &impl Standings,
    ) -> Self {
        let chains = seeds.chains.iter().map(|chains| evaluations(chains));
        let look = |number| seeds.known(number, candidates, standings);
        let mut outlook = Self {
            candidates: Sight::over(chains, look),
            measured: Sorted::of(candidates.len(), |one, other| {
                // Of equally many ReLUs the most accurate first: the others can hardly be on the front.
                (one.relu_count.cmp(&other.relu_count)).then(other.mean.total_cmp(&one.mean))
            }),
            doubts: Vec::new(),
        };
        let all: Vec<u32> = (0..).zip(candidates).map(|(number, _)| number).collect();
        outlook.place(&all);
        outlook
    }

    pub(super) fn renew(
        &mut self,
        seeds: &MoreSeeds,
        candidates: &[Candidate],
        standings: &impl Standings,
        changed: &[u32],
    ) {
        let look = |number| seeds.known(number, candidates, standings);
        let renewed = self.candidates.renew(changed, look);
        self.place(&renewed);
    }

    fn place(&mut self, candidates: &[u32]) {
        let known = self.candidates.known();
        let measured = |number| known[number as usize].measured;
        if self.measured.renew(candidates, measured) {
            self.doubts = doubts(self.measured.placed());
        }
    }
}

/// What evaluations of a candidate, one for each seed, have come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SoFar {
    /// How many were asked for.
    pub(super) asked: u32,
    /// Whether some were, and all of them have come to their end.
    pub(super) all_in: bool,
    pub(super) measured: Option<Measured>,
    /// Images of the test set, if one was measured.
    pub(super) images: Option<u64>,
}

impl SoFar {
    pub(super) fn of(evaluations: impl Iterator<Item = u32>, standings: &impl Standings) -> Self {
        let (mut asked, mut all_in) = (0, true);
        let mut relu_count = 0;
        let mut tests: Vec<Accuracy> = Vec::new();
        for standing in evaluations.map(|place| standings.of(place)) {
            asked += u32::from(standing.allowed > 0);
            all_in &= standing.allowed == 0 || standing.result.is_some() || standing.lost;
            if let Some((result, test)) = standing.result.and_then(|it| Some((it, it.test?))) {
                relu_count = result.relu_count.max(relu_count);
                tests.push(test);
            }
        }
        let measured = Estimate::over(&tests).map(|estimate| Measured {
            relu_count,
            mean: estimate.mean,
            std: estimate.std,
            seeds: estimate.n,
        });
        Self {
            asked,
            all_in: all_in && asked > 0,
            measured,
            images: tests.first().map(|test| test.images),
        }
    }
}

/// How far from one half the probability of each to be on the front is: 0 for all while nothing is
/// known of the spread over seeds. Candidates are sorted by ReLU count.
fn doubts(sorted: &[(Measured, u32)]) -> Vec<f64> {
    let measured: Vec<Measured> = sorted.iter().map(|(measured, _)| *measured).collect();
    certainties(&measured).map_or_else(
        || vec![0.0; sorted.len()],
        |found| {
            let doubts = found.iter().map(|it| (it.p_on_front - 0.5).abs());
            doubts.collect()
        },
    )
}
