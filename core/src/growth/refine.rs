//! New budgets where the front is expected to gain most for what they cost.
//!
//! The budgets of a plan are a fine grid. Of each *line*, the candidates that differ only in their
//! budget, the first few are measured, evenly spaced with both ends. Each further one is the point
//! that is expected to add most to the front's hypervolume for each GPU-hour, until that falls below a
//! threshold. What is expected of a point lies between its neighbours of the line, linear in the
//! logarithm of the budget; it costs what they did.

use serde::{Deserialize, Serialize};

use super::seeds::SoFar;
use super::sight::{Sight, Sorted};
use super::{ALL_EPOCHS, Standings};
use crate::candidate::Candidate;

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
#[derive(Clone, Copy, Debug)]
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

    /// The most promising budget of a line that is worth its cost.
    fn most_promising(
        &self,
        line: &[Spot],
        known: &[Known],
        budgets: &[Budget],
        front: &Staircase,
    ) -> Option<Promise> {
        let mut best: Option<Promise> = None;
        for gap in gaps(known) {
            // Nothing between is expected to be better than the better end.
            if front.height_from(gap.most()) <= budgets[gap.low].share {
                continue;
            }
            let hours = gap.seconds() * f64::from(self.gpus) / 3600.0;
            for at in gap.low + 1..gap.high {
                let Known::Closed = known[at] else { continue };
                let accuracy = gap.expected(at, budgets);
                let gain = front.gain(budgets[at].share, accuracy) / hours.max(f64::MIN_POSITIVE);
                let is_enough = gain > 0.0 && gain >= self.until;
                if is_enough && best.is_none_or(|best| gain > best.gain) {
                    let candidate = line[at].candidate;
                    best = Some(Promise { gain, candidate });
                }
            }
        }
        best
    }

    fn known(&self, spot: &Spot, standings: &impl Standings) -> Known {
        let seeds = spot.own.iter().take(self.seeds as usize);
        let evaluations = seeds.filter_map(|own| own.last().copied());
        match SoFar::of(evaluations, standings) {
            SoFar { asked: 0, .. } => Known::Closed,
            SoFar { all_in: false, .. } => Known::Open,
            SoFar { measured: None, .. } => Known::Lost,
            SoFar {
                measured: Some(measured),
                ..
            } => {
                let own = spot.places(self.seeds);
                let results = own.filter_map(|place| standings.of(place).result);
                Known::Measured {
                    accuracy: measured.mean / 100.0,
                    seconds: results.map(|result| result.seconds).sum(),
                }
            }
        }
    }

    fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.lines.iter().flatten()
    }
}

/// A spot's budget.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// Of the full network's ReLUs.
    share: f64,
    logarithm: f64,
}

impl Budget {
    fn of(candidate: &Candidate) -> Self {
        Self {
            share: candidate.budget as f64 / candidate.relu_total.max(1) as f64,
            logarithm: libm::log(candidate.budget.max(1) as f64),
        }
    }
}

/// What a budget is expected to bring.
#[derive(Clone, Copy, Debug)]
struct Promise {
    /// Hypervolume for a GPU-hour.
    gain: f64,
    candidate: u32,
}

/// What is known of the spots, line by line.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    spots: Sight<Known>,
    budgets: Vec<Budget>,
    /// Share and accuracy, a share of one too, of those that were measured.
    points: Sorted<(f64, f64)>,
    front: Staircase,
    /// By line, the most promising of its budgets.
    of_lines: Vec<Option<Promise>>,
}

impl Outlook {
    pub(super) fn over(
        budgets: &MoreBudgets,
        candidates: &[Candidate],
        standings: &impl Standings,
    ) -> Self {
        let spots: Vec<&Spot> = budgets.spots().collect();
        let places = spots.iter().map(|spot| spot.places(budgets.seeds));
        let look = |at: u32| budgets.known(spots[at as usize], standings);
        let candidate = |spot: &&Spot| Budget::of(&candidates[spot.candidate as usize]);
        let mut outlook = Self {
            spots: Sight::over(places, look),
            budgets: spots.iter().map(candidate).collect(),
            points: Sorted::of(spots.len(), |one, other| {
                (one.0.total_cmp(&other.0)).then(other.1.total_cmp(&one.1))
            }),
            front: Staircase::default(),
            of_lines: vec![None; budgets.lines.len()],
        };
        let all: Vec<u32> = (0..).zip(&spots).map(|(number, _)| number).collect();
        outlook.place(budgets, &all);
        outlook
    }

    pub(super) fn renew(
        &mut self,
        budgets: &MoreBudgets,
        standings: &impl Standings,
        changed: &[u32],
    ) {
        let spots: Vec<&Spot> = budgets.spots().collect();
        let look = |at: u32| budgets.known(spots[at as usize], standings);
        let renewed = self.spots.renew(changed, look);
        self.place(budgets, &renewed);
    }

    /// The candidate whose budget is added now: of those between two neighbours that have been
    /// measured the one that is expected to gain most for its cost, of equals the first.
    pub(super) fn next(&self) -> Option<u32> {
        let lines = self.of_lines.iter().flatten();
        let first = lines
            .copied()
            .reduce(|best, other| if other.gain > best.gain { other } else { best });
        first.map(|best| best.candidate)
    }

    fn place(&mut self, budgets: &MoreBudgets, renewed: &[u32]) {
        let (known, of_spots) = (self.spots.known(), &self.budgets);
        let moved = (self.points).renew(renewed, |at| match known[at as usize] {
            Known::Measured { accuracy, .. } => Some((of_spots[at as usize].share, accuracy)),
            Known::Closed | Known::Open | Known::Lost => None,
        });
        let points = self.points.placed().iter().map(|(point, _)| *point);
        let front = moved.then(|| Staircase::over(points));
        let front = front.filter(|front| *front != self.front);
        let all_anew = front.is_some();
        self.front = front.unwrap_or_else(|| std::mem::take(&mut self.front));
        let mut start = 0;
        for (line, of_line) in budgets.lines.iter().zip(&mut self.of_lines) {
            let places = start..start + line.len();
            let first = renewed.partition_point(|&at| (at as usize) < places.start);
            let is_renewed = (renewed.get(first)).is_some_and(|&at| (at as usize) < places.end);
            if all_anew || is_renewed {
                let (known, of_spots) = (&known[places.clone()], &of_spots[places.clone()]);
                *of_line = budgets.most_promising(line, known, of_spots, &self.front);
            }
            start = places.end;
        }
    }
}

impl Spot {
    fn places(&self, seeds: u32) -> impl Iterator<Item = u32> {
        self.own.iter().take(seeds as usize).flatten().copied()
    }
}

/// Two places of a line that have been measured, and nobody has asked for one between them.
struct Gap {
    low: usize,
    high: usize,
    /// Accuracies, shares of one.
    accuracies: [f64; 2],
    /// What they cost, in seconds.
    seconds: [f64; 2],
}

/// The gaps of a line.
fn gaps(known: &[Known]) -> impl Iterator<Item = Gap> {
    let is_asked = |(_, here): &(usize, &Known)| match here {
        Known::Open | Known::Measured { .. } => true,
        Known::Closed | Known::Lost => false,
    };
    // The nearest place below that was asked for.
    let mut below: Option<(usize, &Known)> = None;
    let asked = known.iter().enumerate().filter(is_asked);
    asked.filter_map(move |here| {
        let (low, high) = (below.replace(here)?, here);
        let measured = |known: &Known| match *known {
            Known::Measured { accuracy, seconds } => Some((accuracy, seconds)),
            Known::Closed | Known::Open | Known::Lost => None,
        };
        let ends = [measured(low.1)?, measured(high.1)?];
        Some(Gap {
            low: low.0,
            high: high.0,
            accuracies: ends.map(|end| end.0),
            seconds: ends.map(|end| end.1),
        })
    })
}

impl Gap {
    /// The accuracy that is expected of a place between: linear in the logarithm of the budget.
    fn expected(&self, at: usize, budgets: &[Budget]) -> f64 {
        let [low, here, high] = [self.low, at, self.high].map(|at| budgets[at].logarithm);
        let [low_accuracy, high_accuracy] = self.accuracies;
        low_accuracy + (here - low) / (high - low) * (high_accuracy - low_accuracy)
    }

    /// The most accuracy that is expected of any place between.
    fn most(&self) -> f64 {
        self.accuracies[0].max(self.accuracies[1])
    }

    /// What a place between is expected to cost.
    fn seconds(&self) -> f64 {
        f64::midpoint(self.seconds[0], self.seconds[1])
    }
}

/// The best accuracy within each share of ReLUs, as a step function.
#[derive(Clone, PartialEq, Debug, Default)]
struct Staircase {
    /// Shares at which it rises, and to what.
    steps: Vec<(f64, f64)>,
    /// The area below it from 0 to each of them.
    areas: Vec<f64>,
}

impl Staircase {
    /// Over points by rising share, those of one share by falling accuracy.
    fn over(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
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

    /// The share from which on it is as high as this.
    fn height_from(&self, accuracy: f64) -> f64 {
        let higher = self.steps.partition_point(|step| step.1 < accuracy);
        self.steps.get(higher).map_or(1.0, |step| step.0)
    }

    /// What a point would add to the hypervolume, whose reference point is (share 1, accuracy 0).
    fn gain(&self, share: f64, accuracy: f64) -> f64 {
        let until = self.height_from(accuracy);
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
            let mut sorted = points.clone();
            sorted.sort_by(|one, other| (one.0.total_cmp(&other.0)).then(other.1.total_cmp(&one.1)));
            let front = Staircase::over(sorted);
            let with = [points.clone(), vec![(share, accuracy)]].concat();
            let grown = hypervolume(&with) - hypervolume(&points);
            prop_assert!((front.gain(share, accuracy) - grown).abs() < 1e-12);
        }
    }
}
