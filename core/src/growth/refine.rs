//! New budgets where the front is expected to gain most for what they cost.
//!
//! The budgets of a plan are a fine grid. Of each *line*, the candidates that differ only in their
//! budget, the first few are measured, evenly spaced with both ends. Each further one is the point
//! that is expected to add most to the front's hypervolume for each GPU-hour, until that falls below a
//! threshold. What is expected of a point lies between its neighbours of the line, linear in the
//! logarithm of the budget; it costs what they did.

use serde::{Deserialize, Serialize};

use super::seeds::so_far;
use super::{ALL_EPOCHS, Standings};
use crate::candidate::Candidate;
use crate::observation::Accuracy;

/// How a manifest asks for budgets that are placed where they say most.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Refine {
    /// Budgets that every line has.
    pub first: u32,
    /// The least gain in hypervolume, of a unit square, for a GPU-hour.
    pub until: f64,
}

/// The part of a plan that tells which budgets may be added.
#[derive(Clone, PartialEq, Debug)]
pub struct MoreBudgets {
    /// When no budget is added any more.
    pub until: f64,
    /// GPUs of a task, at least one.
    pub gpus: u32,
    /// Seeds that a candidate has.
    pub seeds: u32,
    /// Groups of candidates that differ only in their budget.
    pub lines: Vec<Vec<Spot>>,
}

/// A place on a line, by rising budget.
#[derive(Clone, PartialEq, Debug)]
pub struct Spot {
    /// The candidate.
    pub candidate: u32,
    /// For each seed the places of the tasks that serve this budget alone; the evaluation comes last.
    pub own: Vec<Vec<u32>>,
    /// Whether it is one of those that every line has.
    pub is_first: bool,
}

/// Which of so many places of a line are measured in any case: `first` of them, evenly spaced.
pub fn first_of(places: usize, first: usize) -> Vec<bool> {
    let mut chosen = vec![false; places];
    if places == 0 {
        return chosen;
    }
    let last = first.clamp(2, places.max(2)) - 1;
    for at in 0..=last {
        chosen[(at * (places - 1) + last / 2) / last] = true;
    }
    chosen
}

/// What is known of a spot.
enum Known {
    /// Nobody has asked for it.
    Closed,
    /// It was asked for and has no result yet.
    Open,
    /// It will have no result.
    Lost,
    /// What its seeds have measured, a share of one, and what that took, in seconds.
    Measured { accuracy: f64, seconds: f64 },
}

impl MoreBudgets {
    pub(crate) fn held_back(&self) -> impl Iterator<Item = (u32, u32)> {
        (self.lines.iter().flatten())
            .filter(|spot| !spot.is_first)
            .flat_map(|spot| spot.places(self.seeds))
            .map(|place| (place, 0))
    }

    pub(super) fn allowed_by(&self, candidate: u32) -> Vec<(u32, u32)> {
        let mut spots = self.lines.iter().flatten();
        let spot = spots.find(|spot| spot.candidate == candidate);
        spot.map_or_else(Vec::new, |spot| {
            (spot.places(self.seeds))
                .map(|place| (place, ALL_EPOCHS))
                .collect()
        })
    }

    /// The candidate whose budget is added now: of those between two neighbours that have been
    /// measured the one that is expected to gain most for its cost, of equals the first.
    pub(super) fn next(&self, candidates: &[Candidate], standings: &impl Standings) -> Option<u32> {
        let mut tests = Vec::new();
        let mut of_line = |line: &Vec<Spot>| -> Vec<Known> {
            let spots = line.iter();
            spots
                .map(|spot| self.known(spot, standings, &mut tests))
                .collect()
        };
        let known: Vec<Vec<Known>> = self.lines.iter().map(&mut of_line).collect();
        let at = |spot: &Spot| &candidates[spot.candidate as usize];
        let share = |it: &Candidate| it.budget as f64 / it.relu_total.max(1) as f64;
        let measured = (self.lines.iter().flatten()).zip(known.iter().flatten());
        let points = measured.filter_map(|(spot, known)| match known {
            Known::Measured { accuracy, .. } => Some((share(at(spot)), *accuracy)),
            Known::Closed | Known::Open | Known::Lost => None,
        });
        let front = Staircase::over(points.collect());
        let mut best: Option<(f64, u32)> = None;
        for (line, known) in self.lines.iter().zip(&known) {
            for (place, spot) in line.iter().enumerate() {
                let Some((accuracy, seconds)) = expected(line, known, place, candidates) else {
                    continue;
                };
                let hours = seconds * f64::from(self.gpus) / 3600.0;
                let gain = front.gain(share(at(spot)), accuracy) / hours.max(f64::MIN_POSITIVE);
                let is_enough = gain > 0.0 && gain >= self.until;
                if is_enough && best.is_none_or(|(most, _)| gain > most) {
                    best = Some((gain, spot.candidate));
                }
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    fn known(&self, spot: &Spot, standings: &impl Standings, tests: &mut Vec<Accuracy>) -> Known {
        let seeds = || spot.own.iter().take(self.seeds as usize);
        let evaluations = seeds().filter_map(|own| own.last().copied());
        match so_far(evaluations, standings, tests) {
            (0, ..) => Known::Closed,
            (_, false, _) => Known::Open,
            (_, true, None) => Known::Lost,
            (_, true, Some(measured)) => {
                let results = seeds()
                    .flatten()
                    .filter_map(|&place| standings.of(place).result);
                Known::Measured {
                    accuracy: measured.mean / 100.0,
                    seconds: results.map(|result| result.seconds).sum(),
                }
            }
        }
    }
}

impl Spot {
    fn places(&self, seeds: u32) -> impl Iterator<Item = u32> {
        self.own.iter().take(seeds as usize).flatten().copied()
    }
}

/// Accuracy and cost, in seconds, of a place of a line that nobody has asked for, between neighbours
/// that have been measured; `None` where they have not.
fn expected(
    line: &[Spot],
    known: &[Known],
    place: usize,
    candidates: &[Candidate],
) -> Option<(f64, f64)> {
    let Known::Closed = known[place] else {
        return None;
    };
    let is_asked = |at: &usize| matches!(known[*at], Known::Open | Known::Measured { .. });
    let low = (0..place).rev().find(is_asked)?;
    let high = (place + 1..line.len()).find(is_asked)?;
    let of = |at: usize| match &known[at] {
        Known::Measured { accuracy, seconds } => Some((*accuracy, *seconds)),
        Known::Closed | Known::Open | Known::Lost => None,
    };
    let ((low_accuracy, low_cost), (high_accuracy, high_cost)) = (of(low)?, of(high)?);
    let logarithm = |at: usize| {
        let budget = candidates[line[at].candidate as usize].budget;
        (budget.max(1) as f64).ln()
    };
    let way = (logarithm(place) - logarithm(low)) / (logarithm(high) - logarithm(low));
    let accuracy = low_accuracy + way * (high_accuracy - low_accuracy);
    Some((accuracy, f64::midpoint(low_cost, high_cost)))
}

/// The best accuracy within each share of ReLUs, as a step function.
struct Staircase {
    /// Shares at which it rises, and to what.
    steps: Vec<(f64, f64)>,
    /// The area below it from 0 to each of them.
    areas: Vec<f64>,
}

impl Staircase {
    fn over(mut points: Vec<(f64, f64)>) -> Self {
        points.sort_by(|one, other| (one.0.total_cmp(&other.0)).then(other.1.total_cmp(&one.1)));
        let mut steps: Vec<(f64, f64)> = Vec::new();
        let mut areas = Vec::new();
        let mut area = 0.0;
        for (share, accuracy) in points {
            let last = steps.last().copied();
            if last.is_some_and(|(_, height)| height >= accuracy) {
                continue;
            }
            area += last.map_or(0.0, |(from, height)| (share - from) * height);
            steps.push((share, accuracy));
            areas.push(area);
        }
        Self { steps, areas }
    }

    /// The area below it from 0 to a share.
    fn area_to(&self, share: f64) -> f64 {
        match self.steps.partition_point(|step| step.0 <= share) {
            0 => 0.0,
            after => {
                let (from, height) = self.steps[after - 1];
                self.areas[after - 1] + (share - from) * height
            }
        }
    }

    /// What a point would add to the hypervolume, whose reference point is (share 1, accuracy 0).
    fn gain(&self, share: f64, accuracy: f64) -> f64 {
        let higher = self.steps.partition_point(|step| step.1 < accuracy);
        let until = self.steps.get(higher).map_or(1.0, |step| step.0);
        if until <= share {
            return 0.0;
        }
        let added = (until - share) * accuracy - (self.area_to(until) - self.area_to(share));
        added.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::hypervolume;

    #[test]
    fn the_first_budgets_are_spread_over_all_with_both_ends() {
        let places = |all: usize, first: usize| -> Vec<usize> {
            let chosen = first_of(all, first).into_iter().enumerate();
            chosen.filter(|(_, is)| *is).map(|(at, _)| at).collect()
        };
        assert_eq!(places(12, 4), [0, 4, 7, 11]);
        assert_eq!(places(5, 2), [0, 4]);
        assert_eq!(places(3, 7), [0, 1, 2]);
        assert_eq!(places(9, 3), [0, 4, 8]);
    }

    proptest! {
        #[test]
        fn a_points_gain_is_what_the_hypervolume_grows_by(
            points in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 0..12),
            share in 0.0..1.0_f64,
            accuracy in 0.0..1.0_f64,
        ) {
            let front = Staircase::over(points.clone());
            let with = [points.clone(), vec![(share, accuracy)]].concat();
            let grown = hypervolume(&with) - hypervolume(&points);
            prop_assert!((front.gain(share, accuracy) - grown).abs() < 1e-12);
        }
    }
}
