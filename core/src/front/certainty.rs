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

use super::FrontRow;
use crate::candidate::PointKind;

/// Standard deviations on each side beyond which a normal distribution is taken for 0 or 1.
const REACH: f64 = 7.0;

/// Places of the grid in one standard error. The trapezoidal rule over a normal density is exact to
/// double precision from about two on.
const FINENESS: f64 = 4.0;

/// The smallest standard error, in percentage points: one image in ten thousand.
const LEAST_ERROR: f64 = 0.01;

/// The probabilities at the ends of the band.
const BAND: [f64; 2] = [0.025, 0.975];

/// Fills in what can be said of the replaced rows, which are sorted by ReLU count. Takes time
/// proportional to their number.
pub(super) fn fill(rows: &mut [FrontRow]) {
    let Some(spread) = pooled_spread(rows) else {
        return;
    };
    let mut replaced: Vec<&mut FrontRow> = (rows.iter_mut())
        .filter(|row| row.kind == PointKind::Replaced)
        .collect();
    let normals: Vec<Normal> = (replaced.iter())
        .map(|row| Normal {
            mean: row.accuracy_mean,
            error: (spread / f64::from(row.seeds).sqrt()).max(LEAST_ERROR),
        })
        .collect();
    let mut best = Best::over(&normals);
    let mut first = 0;
    for group in replaced.chunk_by_mut(|one, other| one.relu_count == other.relu_count) {
        let normals = &normals[first..first + group.len()];
        first += group.len();
        for normal in normals {
            best.join(*normal);
        }
        let band = BAND.map(|share| best.quantile(share));
        for (row, normal) in group.iter_mut().zip(normals) {
            row.p_on_front = Some(rounded(best.beats_all(*normal), 1e9));
            [row.front_low, row.front_high] = band.map(|end| Some(rounded(end, 1e6)));
        }
    }
}

/// The standard deviation over seeds, pooled over the replaced candidates that have several.
fn pooled_spread(rows: &[FrontRow]) -> Option<f64> {
    let several = rows
        .iter()
        .filter(|row| row.kind == PointKind::Replaced && row.seeds > 1);
    let (mut squares, mut freedom) = (0.0, 0.0);
    for row in several {
        let own = f64::from(row.seeds - 1);
        squares += own * row.accuracy_std * row.accuracy_std;
        freedom += own;
    }
    (freedom > 0.0).then(|| (squares / freedom).sqrt())
}

/// Without the digits that the grid's ends make up.
fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

/// What is believed of a candidate's true accuracy, in percent.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Normal {
    mean: f64,
    error: f64,
}

impl Normal {
    fn density(self, at: f64) -> f64 {
        let z = (at - self.mean) / self.error;
        libm::exp(-0.5 * z * z) / (self.error * (2.0 * std::f64::consts::PI).sqrt())
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
}

impl Best {
    /// Before anybody has joined, on a grid that is fine and wide enough for all of these.
    fn over(all: &[Normal]) -> Self {
        let fold = |of: fn(&Normal) -> f64, with: fn(f64, f64) -> f64, from: f64| {
            all.iter().map(of).fold(from, with)
        };
        let finest = fold(|one| one.error, f64::min, f64::INFINITY);
        let start = fold(|one| one.mean - REACH * one.error, f64::min, f64::INFINITY);
        let end = fold(|one| one.mean + REACH * one.error, f64::max, start);
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
        index(one.mean - REACH * one.error)..index(one.mean + REACH * one.error)
    }

    fn join(&mut self, one: Normal) {
        let reach = self.reach(one);
        // Below its reach it is better than `a` for certain.
        if self.zero_until < reach.start {
            self.within[self.zero_until..reach.start].fill(0.0);
            self.zero_until = reach.start;
        }
        for index in self.zero_until.max(reach.start)..reach.end {
            self.within[index] *= one.distribution(self.place(index));
        }
    }

    /// The probability that a candidate that has joined is better than all the others.
    fn beats_all(&self, one: Normal) -> f64 {
        let sum: f64 = (self.reach(one))
            .filter(|&index| self.within[index] > 0.0)
            .map(|index| {
                let at = self.place(index);
                one.density(at) * (self.within[index] / one.distribution(at))
            })
            .sum();
        (sum * self.step).clamp(0.0, 1.0)
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
