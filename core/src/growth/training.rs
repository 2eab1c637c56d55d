//! Points that lie under a neighbour of fewer ReLUs by more than noise are trained on.
//!
//! A net with more ReLUs can do all that one with fewer can: one that is worse has been trained too
//! little ([`crate::front::under_trained`]). A plan may hold for each point a second finetuning, from
//! the net of the first, and a candidate of its own for what that gives. It is opened once the point
//! is found to be under-trained, with all its seeds in.

use super::seeds::so_far;
use super::{ALL_EPOCHS, Standings};
use crate::front::{Measured, pooled_spread, under_trained};
use crate::observation::Accuracy;

/// The part of a plan that tells which points may be trained on.
#[derive(Clone, PartialEq, Debug)]
pub struct MoreTraining {
    /// Seeds that a candidate has.
    pub seeds: u32,
    /// Points that differ only in their budget, by rising budget.
    pub series: Vec<Vec<Extension>>,
}

/// A point that may be trained on.
#[derive(Clone, PartialEq, Debug)]
pub struct Extension {
    /// The point's candidate.
    pub candidate: u32,
    /// For each seed the place of its evaluation.
    pub evaluations: Vec<u32>,
    /// For each seed the places of the finetuning that trains on, and of its evaluation.
    pub more: Vec<Vec<u32>>,
}

impl MoreTraining {
    pub(crate) fn held_back(&self) -> impl Iterator<Item = (u32, u32)> {
        (self.series.iter().flatten())
            .flat_map(|extension| extension.places(self.seeds))
            .map(|place| (place, 0))
    }

    pub(super) fn allowed_by(&self, candidate: u32) -> Vec<(u32, u32)> {
        let mut all = self.series.iter().flatten();
        let extension = all.find(|extension| extension.candidate == candidate);
        extension.map_or_else(Vec::new, |extension| {
            let places = extension.places(self.seeds);
            places.map(|place| (place, ALL_EPOCHS)).collect()
        })
    }

    /// The first candidate that is found to be under-trained and is not trained on yet.
    pub(super) fn next(&self, standings: &impl Standings) -> Option<u32> {
        let series: Vec<Vec<Found<'_>>> = (self.series.iter())
            .map(|extensions| found(extensions, standings))
            .collect();
        let all: Vec<Measured> = (series.iter().flatten()).map(|it| it.measured).collect();
        let spread = pooled_spread(&all);
        series.iter().find_map(|found| {
            let points: Vec<(Measured, u64)> =
                found.iter().map(|it| (it.measured, it.images)).collect();
            let is_under = under_trained(&points, spread);
            let flagged = found.iter().zip(is_under).filter(|(_, is_under)| *is_under);
            let mut fresh = flagged.filter(|(it, _)| !it.extension.is_open(standings));
            fresh.next().map(|(it, _)| it.extension.candidate)
        })
    }
}

impl Extension {
    fn places(&self, seeds: u32) -> impl Iterator<Item = u32> {
        self.more.iter().take(seeds as usize).flatten().copied()
    }

    fn is_open(&self, standings: &impl Standings) -> bool {
        let mut places = self.more.iter().flatten();
        places.any(|&place| standings.of(place).allowed > 0)
    }
}

/// A point whose seeds are all in.
struct Found<'a> {
    extension: &'a Extension,
    measured: Measured,
    /// Images of its test set.
    images: u64,
}

/// The points of a series whose seeds are all in, by rising ReLU count.
fn found<'a>(extensions: &'a [Extension], standings: &impl Standings) -> Vec<Found<'a>> {
    let mut tests: Vec<Accuracy> = Vec::new();
    let mut found: Vec<Found<'a>> = (extensions.iter())
        .filter_map(|extension| {
            let (_, all_in, measured) =
                so_far(extension.evaluations.iter().copied(), standings, &mut tests);
            Some(Found {
                extension,
                measured: measured.filter(|_| all_in)?,
                images: tests.first()?.images,
            })
        })
        .collect();
    found.sort_by_key(|it| it.measured.relu_count);
    found
}
