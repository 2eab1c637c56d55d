//! Measures pre-activations at every site, for the closed-form start of the polynomials.

use tch::{Kind, Tensor};

use crate::dapa;
use crate::nets::Activate;
use crate::sites::Sites;

/// Sums of one site's pre-activations by channel, in f64.
#[derive(Debug)]
struct Moments {
    count: f64,
    sum: Tensor,
    squares: Tensor,
}

/// An activation that is ReLU and adds up what it sees, so that means and variances are exact
/// over all the batches together.
#[derive(Debug)]
pub struct Measuring {
    moments: Vec<Option<Moments>>,
}

impl Measuring {
    /// Nothing seen yet at any of `sites` sites.
    pub fn new(sites: usize) -> Self {
        Self {
            moments: (0..sites).map(|_| None).collect(),
        }
    }

    /// Mean and variance by channel at a site; empty if the site was never reached.
    pub fn mean_and_variance(&self, site: usize) -> Vec<(f64, f64)> {
        let Some(moments) = &self.moments[site] else {
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

    /// Sets every site's polynomials to the best ones for what was measured.
    pub fn set_polynomials(&self, sites: &Sites, degree: u32) {
        for site in 0..self.moments.len() {
            let channels: Vec<[f64; 3]> = self
                .mean_and_variance(site)
                .into_iter()
                .map(|(mean, variance)| dapa::coefficients(mean, variance, degree))
                .collect();
            let rows: Vec<Vec<f64>> = (0..=degree as usize)
                .map(|power| channels.iter().map(|c| c[power]).collect())
                .collect();
            sites.set_coefficients(site, &rows);
        }
    }
}

impl Activate for Measuring {
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
        let exact = x.detach().to_kind(Kind::Double);
        let [batch, channels, height, width] = sizes(&exact);
        let over = &[0_i64, 2, 3][..];
        let sum = exact.sum_dim_intlist(over, false, Kind::Double);
        let squares = exact.square().sum_dim_intlist(over, false, Kind::Double);
        let moments = self.moments[site].get_or_insert_with(|| Moments {
            count: 0.0,
            sum: Tensor::zeros([channels], (Kind::Double, x.device())),
            squares: Tensor::zeros([channels], (Kind::Double, x.device())),
        });
        moments.count += (batch * height * width) as f64;
        moments.sum += sum;
        moments.squares += squares;
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

    #[test]
    fn moments_over_batches_of_different_sizes_are_those_of_all_values_together() {
        let first =
            (Tensor::arange(2 * 3 * 4, (Kind::Float, Device::Cpu)) + 100.0).view([2, 3, 2, 2]);
        let second = (Tensor::arange(3 * 4, (Kind::Float, Device::Cpu)) * -7.0).view([1, 3, 2, 2]);
        let mut measuring = Measuring::new(1);
        let passed = measuring.activate(0, &first);
        assert!(passed.equal(&first.relu()));
        let _passed = measuring.activate(0, &second);
        let all = Tensor::cat(&[first, second], 0).to_kind(Kind::Double);
        for (channel, (mean, variance)) in measuring.mean_and_variance(0).into_iter().enumerate() {
            let values = all.select(1, i64::try_from(channel).unwrap());
            assert!((values.mean(Kind::Double).double_value(&[]) - mean).abs() < 1e-9);
            let wanted = values.var(false).double_value(&[]);
            assert!(
                (wanted - variance).abs() < 1e-6,
                "{wanted} against {variance}"
            );
        }
    }
}
