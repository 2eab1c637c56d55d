//! More seeds for the points whose membership of the front is least certain.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ALL_EPOCHS, Standings};
use crate::candidate::{Candidate, PointKind};
use crate::front::SweepFront;
use crate::id::SweepName;

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
        let mut open: Vec<(u32, u32)> = Vec::new();
        let name = "growth".parse::<SweepName>().expect("a right name");
        let mut front = SweepFront::new(&name, candidates);
        for (number, (candidate, seeds)) in (0..).zip(candidates.iter().zip(&self.chains)) {
            let mut asked = 0;
            let mut all_in = true;
            for (chain, (_, evaluation)) in seeds.iter().zip(&candidate.evaluations) {
                let Some(standing) = chain.last().map(|&place| standings.of(place)) else {
                    continue;
                };
                if let Some(result) = standing.result {
                    front.observe(*evaluation, result);
                }
                asked += u32::from(standing.allowed > 0);
                all_in &= standing.allowed == 0 || standing.result.is_some() || standing.lost;
            }
            let more = (asked as usize) < seeds.len();
            if candidate.kind == PointKind::Replaced && asked > 0 && more && all_in {
                open.push((number, asked));
            }
        }
        if open.is_empty() {
            return None;
        }
        let doubts: BTreeMap<_, f64> = (front.report().rows.iter())
            .map(|row| (row.id, (row.p_on_front.unwrap_or(0.5) - 0.5).abs()))
            .collect();
        let until = self.adaptive.until - 0.5;
        (open.into_iter())
            .filter_map(|(number, asked)| {
                let doubt = doubts.get(&candidates[number as usize].id)?;
                (*doubt < until).then_some((*doubt, asked, number))
            })
            .min_by(|one, other| {
                (one.0.total_cmp(&other.0)).then_with(|| (one.1, one.2).cmp(&(other.1, other.2)))
            })
            .map(|(_, asked, number)| (number, asked))
    }
}
