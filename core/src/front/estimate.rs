//! From the counts of single seeds to a mean and a spread.

use crate::observation::Accuracy;

/// A quantity over seeds, in the unit of [`Accuracy::percent`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// Seeds.
    pub n: u32,
    /// Mean over the seeds, in percent.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1), in percentage points; zero for one seed.
    pub std: f64,
}

impl Estimate {
    /// Estimates from one accuracy per seed; none without seeds.
    ///
    /// Where all seeds were measured on equally many images, sums are exact integers: then the
    /// order of the seeds cannot matter, and equal means are equal floats whatever the number of
    /// seeds. Otherwise the sums are floats, added in the order given: give them by seed.
    ///
    /// ```
    /// use autorep_core::{front::Estimate, observation::Accuracy};
    /// let seeds = [8_590, 8_610, 8_630].map(|correct| Accuracy { correct, images: 10_000 });
    /// let estimate = Estimate::over(&seeds).expect("three seeds");
    /// assert_eq!((estimate.n, estimate.mean), (3, 86.1));
    /// assert!((estimate.std - 0.2).abs() < 1e-12);
    /// ```
    pub fn over(seeds: &[Accuracy]) -> Option<Self> {
        let first = seeds.first()?;
        let n = u32::try_from(seeds.len()).ok()?;
        let exact = seeds
            .iter()
            .all(|seed| seed.images == first.images && seed.correct <= LARGEST_EXACT);
        Some(if exact {
            over_equal_images(n, first.images, seeds)
        } else {
            over_percentages(n, seeds)
        })
    }
}

impl Estimate {
    /// Standard error of the mean, in percentage points; none for one seed.
    pub fn standard_error(self) -> Option<f64> {
        (self.n > 1).then(|| self.std / f64::from(self.n).sqrt())
    }
}

/// Counts up to here have squares whose sums over any number of seeds fit 128 bits.
const LARGEST_EXACT: u64 = u32::MAX as u64;

/// With counts c of N images each: mean = sum c / (n N), and
/// variance = (n sum c^2 - (sum c)^2) / (n (n - 1) N^2), a numerator without rounding.
fn over_equal_images(n: u32, images: u64, seeds: &[Accuracy]) -> Estimate {
    let seeds_count = u128::from(n);
    let sum: u128 = seeds.iter().map(|seed| u128::from(seed.correct)).sum();
    let squares: u128 = seeds
        .iter()
        .map(|seed| u128::from(seed.correct) * u128::from(seed.correct))
        .sum();
    let mean = (100 * sum) as f64 / (seeds_count * u128::from(images)) as f64;
    let std = if n < 2 {
        0.0
    } else {
        let numerator = (seeds_count * squares - sum * sum) as f64;
        let divisor = (seeds_count * (seeds_count - 1)) as f64;
        100.0 * (numerator / divisor).sqrt() / images as f64
    };
    Estimate { n, mean, std }
}

fn over_percentages(n: u32, seeds: &[Accuracy]) -> Estimate {
    let mean = seeds.iter().map(|seed| seed.percent()).sum::<f64>() / f64::from(n);
    let std = if n < 2 {
        0.0
    } else {
        let squares: f64 = seeds
            .iter()
            .map(|seed| (seed.percent() - mean).powi(2))
            .sum();
        (squares / f64::from(n - 1)).sqrt()
    };
    Estimate { n, mean, std }
}
