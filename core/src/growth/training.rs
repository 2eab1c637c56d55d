//! Points that lie under a neighbour of fewer ReLUs by more than noise are trained on.
//!
//! A net with more ReLUs can do all that one with fewer can: one that is worse has been trained too
//! little ([`crate::front::under_trained`]). A plan may hold for each point a second finetuning, from
//! the net of the first, and a candidate of its own for what that gives. It is opened once the point
//! is found to be under-trained, with all its seeds in.

use super::seeds::SoFar;
use super::sight::Sight;
use super::{ALL_EPOCHS, Standings};
use crate::front::{Measured, pooled_spread, under_trained};

/// The part of a plan that tells which points may be trained on.
#[derive(Clone, PartialEq, Debug)]
pub struct MoreTraining {
    /// Seeds that a candidate has.
    pub seeds: u32,
    /// Points that differ only in their budget, by rising budget.
    pub lines: Vec<Vec<Extension>>,
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
        (self.lines.iter().flatten())
            .flat_map(|extension| extension.places(self.seeds))
            .map(|place| (place, 0))
    }

    pub(super) fn allowed_by(&self, candidate: u32) -> Vec<(u32, u32)> {
        let mut all = self.lines.iter().flatten();
        let extension = all.find(|extension| extension.candidate == candidate);
        extension.map_or_else(Vec::new, |extension| {
            let places = extension.places(self.seeds);
            places.map(|place| (place, ALL_EPOCHS)).collect()
        })
    }

    /// The first candidate that is found to be under-trained and is not trained on yet.
    pub(super) fn next(&self, sight: &Sight<Known>) -> Option<u32> {
        // Over all that was measured of these, as the front has it where all points are finetuned.
        let measured = sight.known().iter().flat_map(|known| known.so_far);
        let spread = pooled_spread(&measured.flatten().collect::<Vec<_>>());
        let mut known = sight.known();
        self.lines.iter().find_map(|line| {
            let (of_line, rest) = known.split_at(line.len());
            known = rest;
            let points = (line.iter().zip(of_line))
                .filter_map(|(extension, known)| Some((known.measured?, extension, known)));
            let mut points: Vec<_> = points.collect();
            points.sort_by_key(|(measured, ..)| measured.0.relu_count);
            let measured: Vec<(Measured, u64)> = points.iter().map(|point| point.0).collect();
            let is_under = under_trained(&measured, spread);
            let mut fresh = (points.into_iter().zip(is_under))
                .filter(|((.., known), is_under)| *is_under && !known.is_trained_on);
            fresh
                .next()
                .map(|((_, extension, _), _)| extension.candidate)
        })
    }

    /// What is known of the points, line by line.
    pub(super) fn sight(&self, standings: &impl Standings) -> Sight<Known> {
        let points: Vec<&Extension> = self.lines.iter().flatten().collect();
        let places = points.iter().map(|point| point.watched());
        Sight::over(places, |at| points[at as usize].known(standings))
    }

    /// Looks again at the points of which one of these tasks has changed.
    pub(super) fn renew(
        &self,
        sight: &mut Sight<Known>,
        standings: &impl Standings,
        changed: &[u32],
    ) {
        let points: Vec<&Extension> = self.lines.iter().flatten().collect();
        sight.renew(changed, |at| points[at as usize].known(standings));
    }
}

/// What is known of a point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// What its seeds have measured, once all are in, and the images of its test set.
    measured: Option<(Measured, u64)>,
    /// What its seeds have measured so far, and what those that were trained on have.
    so_far: [Option<Measured>; 2],
    is_trained_on: bool,
}

impl Extension {
    fn places(&self, seeds: u32) -> impl Iterator<Item = u32> {
        self.more.iter().take(seeds as usize).flatten().copied()
    }

    /// The tasks that tell what is known of it.
    fn watched(&self) -> impl Iterator<Item = u32> {
        let more = self.more.iter().flatten();
        self.evaluations.iter().chain(more).copied()
    }

    fn known(&self, standings: &impl Standings) -> Known {
        let so_far = SoFar::of(self.evaluations.iter().copied(), standings);
        let again = self.more.iter().filter_map(|places| places.last().copied());
        let mut more = self.more.iter().flatten();
        Known {
            measured: (so_far.measured.zip(so_far.images)).filter(|_| so_far.all_in),
            so_far: [so_far.measured, SoFar::of(again, standings).measured],
            is_trained_on: more.any(|&place| standings.of(place).allowed > 0),
        }
    }
}
