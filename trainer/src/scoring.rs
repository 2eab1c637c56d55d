//! Scores of what replacing each ReLU changes in the loss, from which latents may start.
//!
//! With `y = g(x) + m (relu(x) - g(x))` at every element and δ the loss's gradient at `y`, the
//! derivative with respect to `m` is `δ (relu(x) - g(x))`. Its mean over images is the first-order
//! change of the loss; its mean square estimates the second-order one, as a Fisher information.

use tch::{Kind, Tensor};

use crate::activation::Mixture;
use crate::data::Batch;
use crate::masked::MaskedNet;
use crate::nets::{Activate, Phase};
use crate::ranks::{Ranks, RanksError};
use crate::training::Lesson;

/// Sums over batches, by site, f64 of shape [channels, height, width].
#[derive(Debug)]
pub struct Scores {
    batches: f64,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

/// The activations at the present indicators, written so that the gradient of each can be asked for.
struct Probe {
    coefficients: Vec<Tensor>,
    /// By site, of shape [channels, height, width].
    indicators: Vec<Tensor>,
    /// By site, the indicators for every image of the batch.
    keep: Vec<Tensor>,
}

impl Activate for Probe {
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
        debug_assert_eq!(site, self.keep.len(), "sites come in forward order");
        let mut keep = x.detach().to_kind(Kind::Float).ones_like();
        keep.copy_(&self.indicators[site]);
        let keep = keep.set_requires_grad(true);
        let mixture = Mixture::new(&keep, &self.coefficients[site]);
        self.keep.push(keep);
        // An indicator for every image: no operator has that.
        mixture.composed(x)
    }
}

impl Scores {
    /// Before any batch, for a net with so many sites.
    pub fn new() -> Self {
        Self {
            batches: 0.0,
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    /// Takes in a rank's part of a batch, with the batch's statistics in batch normalisation.
    pub fn add(
        &mut self,
        masked: &MaskedNet,
        lesson: &Lesson,
        batch: &Batch,
    ) -> Result<(), RanksError> {
        let own = batch.labels.size()[0];
        let [images] = masked.net.ranks().agree([own])?;
        let (own, images) = (own as f64, images as f64);
        let coefficients = masked.sites.coefficients().iter();
        let mut probe = Probe {
            coefficients: coefficients.map(Tensor::detach).collect(),
            indicators: masked.sites.indicators_by_site(),
            keep: Vec::new(),
        };
        let logits = masked
            .net
            .forward(&batch.images, Phase::Measure, &mut probe);
        let loss = lesson.terms(&logits, batch, 0.0).sum();
        let loss = if masked.net.ranks().are_one() {
            loss
        } else {
            loss * (own / images)
        };
        let gradients = Tensor::run_backward(&[&loss], &probe.keep, false, false);
        for (site, gradient) in gradients.iter().enumerate() {
            // The loss is a mean over the batch, of which this rank has its part.
            let gradient = gradient.to_kind(Kind::Double);
            let over = &[0_i64][..];
            let first = gradient.sum_dim_intlist(over, false, Kind::Double);
            let squares = (&gradient * images).square();
            let second = squares.sum_dim_intlist(over, false, Kind::Double) / images;
            if let (Some(sum), Some(squares)) =
                (self.first.get_mut(site), self.second.get_mut(site))
            {
                *sum += first;
                *squares += second;
            } else {
                self.first.push(first);
                self.second.push(second);
            }
        }
        self.batches += 1.0;
        Ok(())
    }

    /// Takes in what the other ranks have of the same batches.
    pub fn sum(&mut self, ranks: &Ranks) -> Result<(), RanksError> {
        let mut all = self.first.iter().chain(&self.second);
        all.try_for_each(|site| ranks.sum(site))
    }

    /// `|E[δ (relu(x) - g(x))]|` in flat order.
    pub fn first_order(&self) -> Vec<f64> {
        self.flat(&self.first).into_iter().map(f64::abs).collect()
    }

    /// `E[(δ (relu(x) - g(x)))²]` in flat order.
    pub fn second_order(&self) -> Vec<f64> {
        self.flat(&self.second)
    }

    fn flat(&self, sums: &[Tensor]) -> Vec<f64> {
        let mut all = Vec::new();
        for sum in sums {
            let mean = (sum / self.batches)
                .reshape([-1])
                .to_device(tch::Device::Cpu);
            all.extend(Vec::<f64>::try_from(mean).expect("scores are one-dimensional f64"));
        }
        all
    }
}

impl Default for Scores {
    fn default() -> Self {
        Self::new()
    }
}

/// Ranks in (0, 1): the position among all values in rising order, less a half, over their number.
/// Equal values rank by position, so that the ranks depend on nothing but the values.
pub fn ranks(scores: &[f64]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut ranks = vec![0.0; scores.len()];
    let count = scores.len() as f64;
    for (rank, at) in order.into_iter().enumerate() {
        ranks[at] = nearest_f32((rank as f64 + 0.5) / count);
    }
    ranks
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounds to nearest, in range"
)]
fn nearest_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use autorep_core::net::{Family, InputShape, NetSettings};
    use autorep_core::recipe::{Distillation, Sharing};
    use tch::Device;

    use super::*;
    use crate::nets::Net;
    use crate::sites::Sites;

    #[test]
    fn ranks_are_evenly_spread_and_in_the_order_of_the_scores() {
        assert_eq!(ranks(&[3.0, 1.0, 2.0, 1.0]), [0.875, 0.125, 0.625, 0.375]);
    }

    /// ReLUs, of which one at the first site is moved a little towards its polynomial.
    struct Moved<'a> {
        at: i64,
        by: f64,
        sites: &'a Sites,
    }

    impl Activate for Moved<'_> {
        fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
            let relu = x.relu();
            if site > 0 {
                return relu;
            }
            let coefficients = self.sites.coefficients()[0].detach();
            let g = coefficients.select(0, 0).view([-1, 1, 1]);
            let moved = Tensor::zeros(relu.size(), (Kind::Float, Device::Cpu));
            let _in_place = moved.view([5, -1]).select(1, self.at).fill_(self.by);
            &relu + moved * (&relu - g)
        }
    }

    /// A small net whose polynomials are constants, and a batch of five images.
    fn constants() -> (MaskedNet, Batch) {
        let input = InputShape {
            channels: 1,
            height: 4,
            width: 4,
        };
        let settings = NetSettings {
            width: 2,
            stem_relu: true,
            ..Family::Resnet9.default_settings()
        };
        let spec = settings.spec();
        let net = Net::new(&spec, input, 3, 1, Device::Cpu);
        let mut masked = MaskedNet::full(net, Device::Cpu);
        let places = masked.net.sites().to_vec();
        let sharing = vec![Sharing::Channel; places.len()];
        masked.sites = Sites::with_polynomials(&places, 0, &sharing, Device::Cpu);
        for (at, site) in places.iter().enumerate() {
            let constants = vec![0.3; site.channels as usize];
            masked.sites.set_coefficients(at, &[constants]);
        }
        let options = (Kind::Float, Device::Cpu);
        let images = (Tensor::arange(5 * 16, options) * 0.7).sin();
        let batch = Batch {
            images: images.view([5, 1, 4, 4]),
            labels: Tensor::from_slice(&[0_i64, 1, 2, 1, 0]),
            positions: Tensor::arange(5, (Kind::Int64, Device::Cpu)),
            skipped: Vec::new(),
        };
        (masked, batch)
    }

    #[test]
    fn the_first_order_score_is_the_losses_derivative() {
        let (masked, batch) = constants();
        let recipe = Distillation {
            kd_weight: 0.0,
            ..Distillation::default()
        };
        let lesson = Lesson::new(&recipe, None);
        let mut scores = Scores::new();
        scores.add(&masked, &lesson, &batch).unwrap();
        let first = scores.first_order();
        assert_eq!(first.len() as u64, masked.sites.total());
        // By central differences at the first site.
        for at in [0_i64, 5, 17] {
            let loss = |by| {
                let mut act = Moved {
                    at,
                    by,
                    sites: &masked.sites,
                };
                tch::no_grad(|| {
                    let logits = masked.net.forward(&batch.images, Phase::Measure, &mut act);
                    lesson.terms(&logits, &batch, 0.0).sum().double_value(&[])
                })
            };
            let wanted = ((loss(1e-3) - loss(-1e-3)) / 2e-3).abs();
            let got = first[usize::try_from(at).unwrap()];
            assert!((got - wanted).abs() < 1e-3, "{at}: {got} against {wanted}");
        }
        assert!(scores.second_order().iter().all(|score| *score >= 0.0));
    }
}
