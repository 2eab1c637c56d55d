//! Measures pre-activations at every site, for the start of the polynomials.

use autorep_core::recipe::{PolynomialStart, ReplaceRecipe, Sharing};
use tch::{Kind, Tensor};

use crate::dapa::{self, Moments};
use crate::nets::Activate;
use crate::ranks::{Ranks, RanksError};
use crate::sites::Sites;

/// Sums of one site's pre-activations by channel, in f64.
#[derive(Debug)]
struct Sums {
    count: f64,
    sum: Tensor,
    squares: Tensor,
    /// Sums of `x³`, `x⁴`, `relu(x)` and its products with `x` and `x²`; where they are asked for.
    higher: Option<[Tensor; 5]>,
}

/// Mean and variance of a channel before an activation.
pub type Statistics = (f64, f64);

/// An activation that is ReLU and adds up what it sees, so that moments are exact over all the
/// batches together.
#[derive(Debug)]
pub struct Measuring {
    sums: Vec<Option<Sums>>,
    higher: bool,
}

impl Measuring {
    /// Nothing seen yet at any of `sites` sites. `higher` asks for what least squares need.
    pub fn new(sites: usize, higher: bool) -> Self {
        Self {
            sums: (0..sites).map(|_| None).collect(),
            higher,
        }
    }

    /// Takes in what the other ranks have seen.
    pub fn sum(&mut self, ranks: &Ranks) -> Result<(), RanksError> {
        if ranks.are_one() {
            return Ok(());
        }
        for sums in self.sums.iter_mut().flatten() {
            let count = sums.sum.ones_like() * sums.count;
            let mut all = vec![&count, &sums.sum, &sums.squares];
            all.extend(sums.higher.iter().flatten());
            let all = Tensor::stack(&all, 0);
            ranks.sum(&all)?;
            sums.count = all.double_value(&[0, 0]);
            sums.sum = all.get(1);
            sums.squares = all.get(2);
            for (higher, at) in sums.higher.iter_mut().flatten().zip(3..) {
                *higher = all.get(at);
            }
        }
        Ok(())
    }

    /// Mean and variance by channel at a site; empty if the site was never reached.
    pub fn mean_and_variance(&self, site: usize) -> Vec<Statistics> {
        let Some(moments) = &self.sums[site] else {
            return Vec::new();
        };
        let sums = to_vec(&moments.sum);
        let squares = to_vec(&moments.squares);
        sums.into_iter()
            .zip(squares)
            .map(|(sum, squares)| {
                let mean = sum / moments.count;
                (mean, (squares / moments.count - mean * mean).max(0.0))
            })
            .collect()
    }

    /// All moments by channel at a site; empty if the site was never reached or they were not
    /// asked for.
    fn moments(&self, site: usize) -> Vec<Moments> {
        let Some(sums) = &self.sums[site] else {
            return Vec::new();
        };
        let Some(higher) = &sums.higher else {
            return Vec::new();
        };
        let mean = |tensor: &Tensor| {
            let values = to_vec(tensor).into_iter();
            values.map(|sum| sum / sums.count).collect::<Vec<f64>>()
        };
        let [first, second] = [mean(&sums.sum), mean(&sums.squares)];
        let [third, fourth, r0, r1, r2] = higher.each_ref().map(mean);
        (0..first.len())
            .map(|at| Moments {
                powers: [first[at], second[at], third[at], fourth[at]],
                rectified: [r0[at], r1[at], r2[at]],
            })
            .collect()
    }

    /// Sets every site's polynomials to the best ones for what was measured, or for what `known`
    /// says of a site in its place.
    pub fn set_polynomials(
        &self,
        sites: &Sites,
        recipe: &ReplaceRecipe,
        known: &[Option<Vec<Statistics>>],
    ) {
        let degree = recipe.degree;
        for site in 0..self.sums.len() {
            let start = recipe.polynomial_start;
            let channels: Vec<[f64; 3]> = if start == PolynomialStart::Moments {
                let moments = pooled(self.moments(site), recipe.sharing, mean_moments);
                let best = |moments: &Moments| dapa::least_squares(moments, degree);
                moments.iter().map(best).collect()
            } else {
                let measured = || self.mean_and_variance(site);
                let known = known.get(site).cloned().flatten();
                let statistics = known.unwrap_or_else(measured);
                let statistics = pooled(statistics, recipe.sharing, mean_statistics);
                let best = |(mean, variance)| dapa::coefficients(mean, variance, degree);
                statistics.into_iter().map(best).collect()
            };
            set_damped(sites, site, &channels, recipe);
        }
    }
}

/// Sets a site's polynomials, damped as the recipe says.
pub fn set_damped(sites: &Sites, site: usize, channels: &[[f64; 3]], recipe: &ReplaceRecipe) {
    let damping = [recipe.c0_damping, 1.0, recipe.c2_damping];
    let rows: Vec<Vec<f64>> = (0..=recipe.degree as usize)
        .map(|power| channels.iter().map(|c| c[power] * damping[power]).collect())
        .collect();
    sites.set_coefficients(site, &rows);
}

/// One value per channel, or their mean where the channels share.
fn pooled<T>(channels: Vec<T>, sharing: Sharing, mean: impl Fn(&[T]) -> T) -> Vec<T> {
    match sharing {
        Sharing::Channel => channels,
        Sharing::Site if channels.is_empty() => channels,
        Sharing::Site => vec![mean(&channels)],
    }
}

/// Mean and variance over channels of equal size.
pub fn mean_statistics(channels: &[Statistics]) -> Statistics {
    let count = channels.len() as f64;
    let mean = channels.iter().map(|(mean, _)| mean).sum::<f64>() / count;
    let squares = channels
        .iter()
        .map(|(mean, variance)| variance + mean * mean);
    (mean, (squares.sum::<f64>() / count - mean * mean).max(0.0))
}

fn mean_moments(channels: &[Moments]) -> Moments {
    let count = channels.len() as f64;
    let mut sum = Moments::default();
    for channel in channels {
        for (sum, value) in sum.powers.iter_mut().zip(channel.powers) {
            *sum += value / count;
        }
        for (sum, value) in sum.rectified.iter_mut().zip(channel.rectified) {
            *sum += value / count;
        }
    }
    sum
}

impl Activate for Measuring {
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
        let exact = x.detach().to_kind(Kind::Double);
        let [batch, channels, height, width] = sizes(&exact);
        let over = &[0_i64, 2, 3][..];
        let total = |values: &Tensor| values.sum_dim_intlist(over, false, Kind::Double);
        let sum = total(&exact);
        let square = exact.square();
        let squares = total(&square);
        let zeros = || Tensor::zeros([channels], (Kind::Double, x.device()));
        let higher = self.higher;
        let sums = self.sums[site].get_or_insert_with(|| Sums {
            count: 0.0,
            sum: zeros(),
            squares: zeros(),
            higher: higher.then(|| std::array::from_fn(|_| zeros())),
        });
        sums.count += (batch * height * width) as f64;
        sums.sum += sum;
        sums.squares += squares;
        if let Some(higher) = &mut sums.higher {
            let rectified = exact.relu();
            let values = [
                &square * &exact,
                square.square(),
                rectified.shallow_clone(),
                &rectified * &exact,
                &rectified * &square,
            ];
            for (sum, values) in higher.iter_mut().zip(&values) {
                *sum += total(values);
            }
        }
        x.relu()
    }
}

fn sizes(x: &Tensor) -> [i64; 4] {
    let size = x.size();
    [size[0], size[1], size[2], size[3]]
}

fn to_vec(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x).expect("moments are one-dimensional f64")
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    fn batches() -> [Tensor; 2] {
        let options = (Kind::Float, Device::Cpu);
        [
            (Tensor::arange(2 * 3 * 4, options) + 100.0).view([2, 3, 2, 2]),
            (Tensor::arange(3 * 4, options) * -7.0).view([1, 3, 2, 2]),
        ]
    }

    #[test]
    fn moments_over_batches_of_different_sizes_are_those_of_all_values_together() {
        let [first, second] = batches();
        let mut measuring = Measuring::new(1, true);
        let passed = measuring.activate(0, &first);
        assert!(passed.equal(&first.relu()));
        let _passed = measuring.activate(0, &second);
        let all = Tensor::cat(&[first, second], 0).to_kind(Kind::Double);
        let moments = measuring.moments(0);
        for (channel, (mean, variance)) in measuring.mean_and_variance(0).into_iter().enumerate() {
            let values = all.select(1, i64::try_from(channel).unwrap());
            assert!((values.mean(Kind::Double).double_value(&[]) - mean).abs() < 1e-9);
            let wanted = values.var(false).double_value(&[]);
            assert!(
                (wanted - variance).abs() < 1e-6,
                "{wanted} against {variance}"
            );
            let mean = |values: &Tensor| values.mean(Kind::Double).double_value(&[]);
            let fourth = mean(&values.pow_tensor_scalar(4));
            assert!((moments[channel].powers[3] / fourth - 1.0).abs() < 1e-12);
            let rectified = mean(&(values.relu() * values.square()));
            assert!((moments[channel].rectified[2] / rectified - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn shared_statistics_are_those_of_all_channels_together() {
        let mut measuring = Measuring::new(1, false);
        let [first, _] = batches();
        let _passed = measuring.activate(0, &first);
        let (mean, variance) = mean_statistics(&measuring.mean_and_variance(0));
        let exact = first.to_kind(Kind::Double);
        assert!((exact.mean(Kind::Double).double_value(&[]) - mean).abs() < 1e-9);
        assert!((exact.var(false).double_value(&[]) - variance).abs() < 1e-6);
    }
}
