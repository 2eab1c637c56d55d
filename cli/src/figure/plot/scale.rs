//! Axes: from counts and accuracies to places in the drawing, and where their ticks are.

use autorep_core::text::grouped;

use crate::figure::text::{percent_of_total, short_count, trimmed};

/// Where the data are drawn, in units of the drawing. Down is positive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

/// Room between the frame's sides and the outermost points.
const INSET: f64 = 30.0;
/// Room for the count of zero, which has no place on a logarithmic axis.
const ZERO_COLUMN: f64 = 64.0;
/// More distinct counts than this and ticks stand at round numbers rather than at the counts.
const MOST_EXACT_TICKS: usize = 12;
/// The least distance of two labels' middles.
const LABEL_PITCH: f64 = 46.0;

/// The horizontal axis: logarithmic in the count, with a column of its own for zero.
#[derive(Clone, Debug)]
pub(super) struct CountAxis {
    /// Logarithm of the count at `start`, and of the one at `end`.
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    /// Where zero is drawn, if there is one.
    pub(super) zero: Option<f64>,
    /// The counts with a label, rising.
    pub(super) ticks: Vec<u64>,
    /// The counts with a mark only.
    pub(super) minor: Vec<u64>,
}

impl CountAxis {
    /// An axis on which all of `counts` have a place.
    pub(super) fn over(counts: &[u64], frame: &Frame) -> Self {
        let positive = || counts.iter().copied().filter(|&count| count > 0);
        let smallest = positive().min().unwrap_or(1_000);
        let largest = positive().max().unwrap_or(1_000);
        let has_zero = counts.contains(&0);
        let left = frame.left + INSET;
        // A single count stands in the middle of one octave to each side.
        let spread = if smallest == largest {
            2.0_f64.ln()
        } else {
            0.0
        };
        let mut axis = Self {
            low: (smallest as f64).ln() - spread,
            high: (largest as f64).ln() + spread,
            start: if has_zero { left + ZERO_COLUMN } else { left },
            end: frame.right - INSET,
            zero: has_zero.then_some(left),
            ticks: vec![],
            minor: vec![],
        };
        axis.ticks = axis.choose_ticks(counts);
        axis.minor = axis.round_counts(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        axis
    }

    /// Where a count is drawn.
    pub(super) fn at(&self, count: u64) -> f64 {
        if count == 0 {
            return self.zero.unwrap_or(self.start);
        }
        let share = ((count as f64).ln() - self.low) / (self.high - self.low);
        self.start + share * (self.end - self.start)
    }

    /// The counts themselves where their labels have room and are all that is needed; otherwise
    /// the closest round numbers that have room.
    fn choose_ticks(&self, counts: &[u64]) -> Vec<u64> {
        let mut exact = counts.to_vec();
        exact.sort_unstable();
        exact.dedup();
        if exact.len() <= MOST_EXACT_TICKS && self.have_room(&exact) && self.are_dense(&exact) {
            return exact;
        }
        let sets: [&[f64]; 4] = [
            &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 3.0],
            &[1.0],
        ];
        let mut ticks = sets
            .into_iter()
            .map(|set| self.round_counts(set))
            .find(|ticks| self.have_room(ticks))
            .unwrap_or_else(|| self.round_counts(&[1.0]));
        if ticks.len() < 2 {
            ticks = self.evenly_spaced_counts();
        }
        let mut last = f64::NEG_INFINITY;
        if let Some(zero) = self.zero {
            ticks.insert(0, 0);
            last = zero - LABEL_PITCH;
        }
        ticks.retain(|&tick| {
            let fits = self.at(tick) - last >= LABEL_PITCH;
            if fits {
                last = self.at(tick);
            }
            fits
        });
        ticks
    }

    /// Whether a reader finds the way between these ticks: without long ways that have none.
    fn are_dense(&self, ticks: &[u64]) -> bool {
        let longest = 0.55 * (self.end - self.start);
        ticks
            .windows(2)
            .all(|pair| self.at(pair[1]) - self.at(pair[0]) <= longest)
    }

    fn have_room(&self, ticks: &[u64]) -> bool {
        ticks
            .windows(2)
            .all(|pair| self.at(pair[1]) - self.at(pair[0]) >= LABEL_PITCH)
    }

    /// Every count on the axis that is one of `mantissas` times a power of ten.
    fn round_counts(&self, mantissas: &[f64]) -> Vec<u64> {
        let mut counts = vec![];
        for decade in 0..=18_u32 {
            let power = 10_u64.pow(decade);
            for mantissa in mantissas {
                let count = (mantissa * power as f64).round();
                // Half a thousandth of slack, so that an end which is a round number counts.
                let place = count.ln();
                if place >= self.low - 5e-4 && place <= self.high + 5e-4 {
                    counts.push(whole(count));
                }
            }
        }
        counts.dedup();
        counts
    }

    /// Multiples of a round step, for a range so short that it holds no two round counts.
    fn evenly_spaced_counts(&self) -> Vec<u64> {
        let (low, high) = (self.low.exp(), self.high.exp());
        let step = round_step((high - low) / 5.0).max(1.0);
        multiples(low, high, step).into_iter().map(whole).collect()
    }
}

/// A non-negative float as a whole number; floats beyond 64 bits become the largest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a saturating cast is what is wanted: the values are counts on an axis"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// The two lines of each count's label; the second is its share, where there is one total.
/// Counts are shortened unless two of them would then read the same.
pub(super) fn count_labels(counts: &[u64], total: Option<u64>) -> Vec<(String, Option<String>)> {
    let mut numbers: Vec<String> = counts.iter().copied().map(short_count).collect();
    if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
        numbers = counts.iter().copied().map(grouped).collect();
    }
    let share = |count: u64| {
        let total = total.filter(|&total| total > 0)?;
        Some(percent_of_total(count as f64 / total as f64))
    };
    let shares = counts.iter().copied().map(share);
    numbers.into_iter().zip(shares).collect()
}

/// The vertical axis: linear in percent.
#[derive(Clone, Debug)]
pub(super) struct AccuracyAxis {
    low: f64,
    high: f64,
    top: f64,
    bottom: f64,
    step: f64,
}

impl AccuracyAxis {
    /// An axis on which everything from `low` to `high` percent is inside the frame.
    pub(super) fn over(low: f64, high: f64, frame: &Frame) -> Self {
        let lack = (1.0 - (high - low)).max(0.0);
        let (lowest, highest) = (low - lack / 2.0, high + lack / 2.0);
        let span = highest - lowest;
        let (mut low_end, mut high_end) = (lowest - 0.07 * span, highest + 0.07 * span);
        // No empty room beyond what an accuracy can be, but enough for half a marker.
        if high <= 100.0 && high_end > 100.0 {
            high_end = 100.0 + 0.025 * span;
        }
        if low >= 0.0 && low_end < 0.0 {
            low_end = -0.025 * span;
        }
        Self {
            low: low_end,
            high: high_end,
            top: frame.top,
            bottom: frame.bottom,
            step: round_step((high_end - low_end) / 8.0),
        }
    }

    /// Where an accuracy in percent is drawn.
    pub(super) fn at(&self, percent: f64) -> f64 {
        let share = (percent - self.low) / (self.high - self.low);
        self.bottom - share * (self.bottom - self.top)
    }

    /// Ticks with their labels.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let decimals = if self.step < 0.1 {
            2
        } else {
            usize::from(self.step < 1.0)
        };
        multiples(self.low.max(0.0), self.high.min(100.0), self.step)
            .into_iter()
            .map(|tick| (tick, format!("{tick:.decimals$}")))
            .collect()
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10.0_f64.powi(decade(step));
    let steps = [power, 2.0 * power, 5.0 * power];
    let fitting = steps.into_iter().find(|round| *round >= step * 0.999_999);
    fitting.unwrap_or(10.0 * power)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the exponent of a finite float is below 400"
)]
fn decade(step: f64) -> i32 {
    step.max(1e-9).log10().floor() as i32
}

/// The multiples of `step` from `low` to `high`, both included.
fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    (0..1_000_u32)
        .map(|at| (first + f64::from(at)) * step)
        .take_while(|tick| *tick <= high + 1e-9 * step.max(1.0))
        .collect()
}

/// A coordinate as text: to a hundredth of a unit, and never a negative zero.
pub(super) fn coordinate(place: f64) -> String {
    let text = trimmed(place, 2);
    if text == "-0" { "0".to_owned() } else { text }
}
