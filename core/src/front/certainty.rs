//! How sure a front is: which of its points would stay if every net were trained over and over.
//!
//! The model is normal: the mean of a candidate over n seeds lies about its true accuracy with a
//! standard error of s/√n, independently of the others, where s is the standard deviation over
//! seeds pooled over all candidates with several of them,
//! `s² = Σ (n - 1) s² / Σ (n - 1)` (with two or three seeds a candidate's own says little). Without
//! a candidate that has several seeds nothing is said.
//!
//! With `G(a)` the probability that no net within a number of ReLUs is better than `a`, which is
//! the product of the candidates' distribution functions:
//! - a candidate is on the front with probability `∫ φ(a) G(a) da` over its own density `φ`, `G`
//!   taken over the others with at most as many ReLUs;
//! - the best accuracy within a number of ReLUs lies with 95 % between the two values at which `G`
//!   is 2.5 % and 97.5 %.

use super::{FrontRow, rounded};
use crate::candidate::PointKind;

/// Standard deviations below its mean from which on a normal distribution is taken for 0: what lies
/// there is less than a tenth of what probabilities are rounded to.
const REACH_BELOW: f64 = 5.5;

/// Standard deviations above its mean from which on it is taken for 1. What lies there is left out
/// once for each candidate: of a hundred thousand less than what probabilities are rounded to.
const REACH_ABOVE: f64 = 7.25;

/// Places of the grid in one standard error. The trapezoidal rule over a normal density is exact to
/// double precision from about two on.
const FINENESS: f64 = 4.0;

/// The smallest standard error, in percentage points: one image in ten thousand.
pub(super) const LEAST_ERROR: f64 = 0.01;

/// Probabilities below this are taken for 0: they change none by a tenth of what it is rounded to.
const NOTHING: f64 = 1e-8;

/// The probabilities at the ends of the band.
const BAND: [f64; 2] = [0.025, 0.975];

/// What was measured of a candidate over its seeds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// ReLUs for one image.
    pub relu_count: u64,
    /// Mean accuracy, in percent.
    pub mean: f64,
    /// Standard deviation over the seeds, in percentage points; of no account for one seed.
    pub std: f64,
    /// Seeds, at least one.
    pub seeds: u32,
}

impl Measured {
    pub(super) const fn of(row: &FrontRow) -> Self {
        Self {
            relu_count: row.relu_count,
            mean: row.accuracy_mean,
            std: row.accuracy_std,
            seeds: row.seeds,
        }
    }
}

/// What can be said of a candidate among others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Certainty {
    /// Probability that it is on the front.
    pub p_on_front: f64,
    /// What the best accuracy within its number of ReLUs lies between with 95 %, in percent.
    pub front: [f64; 2],
}

/// What can be said of candidates that are sorted by ReLU count; `None` while none of them has several
/// seeds. Takes time proportional to their number.
pub fn certainties(candidates: &[Measured]) -> Option<Vec<Certainty>> {
    let spread = pooled_spread(candidates)?;
    let normals: Vec<Normal> = (candidates.iter())
        .map(|it| Normal {
            mean: it.mean,
            error: (spread / f64::from(it.seeds).sqrt()).max(LEAST_ERROR),
        })
        .collect();
    let mut best = Best::over(&normals);
    let mut found = Vec::with_capacity(candidates.len());
    for group in candidates.chunk_by(|one, other| one.relu_count == other.relu_count) {
        let normals = &normals[found.len()..found.len() + group.len()];
        best.joined.clear();
        best.distributions.clear();
        for normal in normals {
            best.join(*normal);
        }
        // Without the digits that the grid's ends make up.
        let front = BAND.map(|share| rounded(best.quantile(share), 1e6));
        found.extend((0..group.len()).map(|at| Certainty {
            p_on_front: rounded(best.beats_all(at), 1e6),
            front,
        }));
    }
    Some(found)
}

/// Fills in what can be said of the replaced rows, which are sorted by ReLU count.
pub(super) fn fill(rows: &mut [FrontRow]) {
    let mut replaced: Vec<&mut FrontRow> = (rows.iter_mut())
        .filter(|row| row.kind == PointKind::Replaced)
        .collect();
    let measured: Vec<Measured> = replaced.iter().map(|row| Measured::of(row)).collect();
    for (row, certainty) in replaced
        .iter_mut()
        .zip(certainties(&measured).into_iter().flatten())
    {
        row.p_on_front = Some(certainty.p_on_front);
        [row.front_low, row.front_high] = certainty.front.map(Some);
    }
}

/// The standard deviation over seeds, pooled over the candidates that have several.
pub(crate) fn pooled_spread(candidates: &[Measured]) -> Option<f64> {
    let (mut squares, mut freedom) = (0.0, 0.0);
    for it in candidates.iter().filter(|it| it.seeds > 1) {
        let own = f64::from(it.seeds - 1);
        squares += own * it.std * it.std;
        freedom += own;
    }
    (freedom > 0.0).then(|| (squares / freedom).sqrt())
}

/// What is believed of a candidate's true accuracy, in percent.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Normal {
    mean: f64,
    error: f64,
}

impl Normal {
    /// The densities at places of a grid, from one on. From each to the next it changes by a factor
    /// that itself changes by a fixed factor.
    fn densities(self, from: f64, step: f64) -> impl Iterator<Item = f64> {
        let (z, dz) = ((from - self.mean) / self.error, step / self.error);
        let first = libm::exp(-0.5 * z * z) / (self.error * (2.0 * std::f64::consts::PI).sqrt());
        let factor = libm::exp(-dz * (z + 0.5 * dz));
        let change = libm::exp(-dz * dz);
        let next = move |(density, factor): &(f64, f64)| Some((density * factor, factor * change));
        std::iter::successors(Some((first, factor)), next).map(|(density, _)| density)
    }

    fn distribution(self, at: f64) -> f64 {
        let z = (at - self.mean) / self.error;
        0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
    }
}

/// The distribution of the best accuracy among those that have joined, on a grid.
struct Best {
    start: f64,
    step: f64,
    /// `G` at each place of the grid; never falls from one to the next.
    within: Vec<f64>,
    /// Where it begins to be more than zero.
    zero_until: usize,
    /// Those that have joined last.
    joined: Vec<Joined>,
    /// Their distributions, one after the other.
    distributions: Vec<f64>,
}

/// One that has joined.
struct Joined {
    normal: Normal,
    /// The first place at which its distribution is kept.
    first: usize,
    /// Where that is, among the distributions.
    kept: std::ops::Range<usize>,
}

impl Best {
    /// Before anybody has joined, on a grid that is fine and wide enough for all of these.
    fn over(all: &[Normal]) -> Self {
        let fold = |of: fn(&Normal) -> f64, with: fn(f64, f64) -> f64, from: f64| {
            all.iter().map(of).fold(from, with)
        };
        let finest = fold(|one| one.error, f64::min, f64::INFINITY);
        let start = fold(
            |one| one.mean - REACH_BELOW * one.error,
            f64::min,
            f64::INFINITY,
        );
        let end = fold(|one| one.mean + REACH_ABOVE * one.error, f64::max, start);
        let step = finest / FINENESS;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "accuracies are percentages and the step is at least a four-hundredth of one"
        )]
        let places = ((end - start) / step).ceil().max(0.0) as usize + 2;
        Self {
            start,
            step,
            within: vec![1.0; places],
            zero_until: 0,
            joined: Vec::new(),
            distributions: Vec::new(),
        }
    }

    fn place(&self, index: usize) -> f64 {
        self.start + index as f64 * self.step
    }

    /// The grid's places at which a candidate's distribution is neither 0 nor 1.
    fn reach(&self, one: Normal) -> std::ops::Range<usize> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and at most the number of places"
        )]
        let index = |accuracy: f64| {
            let at = ((accuracy - self.start) / self.step).max(0.0);
            (at as usize).min(self.within.len())
        };
        index(one.mean - REACH_BELOW * one.error)..index(one.mean + REACH_ABOVE * one.error)
    }

    fn join(&mut self, one: Normal) {
        let reach = self.reach(one);
        // Below its reach it is better than `a` for certain.
        if self.zero_until < reach.start {
            self.within[self.zero_until..reach.start].fill(0.0);
            self.zero_until = reach.start;
        }
        let (first, start) = (self.zero_until.max(reach.start), self.distributions.len());
        for index in first..reach.end {
            let distribution = one.distribution(self.place(index));
            self.within[index] *= distribution;
            self.distributions.push(distribution);
        }
        self.joined.push(Joined {
            normal: one,
            first,
            kept: start..self.distributions.len(),
        });
        // Most candidates are far from the best: they reach nowhere where it may be.
        while self
            .within
            .get(self.zero_until)
            .is_some_and(|it| *it < NOTHING)
        {
            self.within[self.zero_until] = 0.0;
            self.zero_until += 1;
        }
    }

    /// The probability that one of those that have joined last is better than all the others.
    fn beats_all(&self, at: usize) -> f64 {
        let Joined {
            normal,
            first,
            kept,
        } = &self.joined[at];
        let passed = self.zero_until.saturating_sub(*first);
        let distributions = self.distributions[kept.clone()]
            .get(passed..)
            .unwrap_or(&[]);
        if distributions.is_empty() {
            return 0.0; // Most candidates are far below the best.
        }
        let start = first + passed;
        let densities = normal.densities(self.place(start), self.step);
        let terms = (densities.zip(distributions).zip(&self.within[start..]))
            .map(|((density, distribution), within)| density * (within / distribution));
        (terms.sum::<f64>() * self.step).clamp(0.0, 1.0)
    }

    /// The accuracy within which the best is with this probability.
    fn quantile(&self, share: f64) -> f64 {
        let above = self.within.partition_point(|&within| within < share);
        let Some(below) = above.checked_sub(1) else {
            return self.start;
        };
        let Some(&high) = self.within.get(above) else {
            return self.place(below);
        };
        let low = self.within[below];
        self.place(below) + self.step * (share - low) / (high - low)
    }
}
