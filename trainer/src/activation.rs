//! The masked activation: at each element either ReLU or a polynomial of its channel.
//!
//! With indicator `m` (1 keeps the ReLU), `y = g(x) + m (relu(x) - g(x))`, computed as
//! `y = m relu(x) + (1 - m) g(x)`: an element that keeps its ReLU has exactly `relu(x)`, one that
//! does not exactly `g(x)`. It is one operator ([`crate::fused`]); where there is none for a device it
//! is composed as `y = Σ_p [(1 - m) c_p] x^p + m relu(x)`: the brackets have no batch dimension, so
//! that four passes over `x` remain for a degree-2 polynomial.
//!
//! The indicator's gradient is a straight-through one: `m + softplus(w).detach() (w - w.detach())`
//! has the value `m` and the derivative `softplus(w)`.

use tch::Tensor;

use crate::fused;
use crate::nets::{Activate, Layout, Normalised};

/// The indicator with its straight-through gradient: the value of `indicators` (zeros and ones)
/// and the derivative `softplus(latents)`. Both have the same shape.
pub fn straight_through(indicators: &Tensor, latents: &Tensor) -> Tensor {
    let slope = latents.detach().softplus();
    let nothing = latents - latents.detach();
    indicators.addcmul(&slope, &nothing)
}

/// The indicators (u8) after one step of hysteresis: a kept ReLU is given up when its latent is
/// at or below `-hysteresis`, a replaced one comes back when its latent is above `hysteresis`.
pub fn hysteresis_step(indicators: &Tensor, latents: &Tensor, hysteresis: f64) -> Tensor {
    let stays = latents.gt(-hysteresis);
    let returns = latents.gt(hysteresis);
    let kept = indicators.gt(0);
    stays.where_self(&kept, &returns).to_kind(tch::Kind::Uint8)
}

/// What one site mixes for one batch.
#[derive(Debug)]
pub struct Mixture {
    /// The indicators, which may carry a gradient, of shape [channels, height, width]; `None` when
    /// all of them are zero and constant, which saves the ReLU where it is composed.
    keep: Option<Tensor>,
    /// Of shape [degree + 1, channels], or [degree + 1, 1].
    coefficients: Tensor,
}

impl Mixture {
    /// From indicators of shape [channels, height, width], which may carry a gradient, and
    /// coefficients of shape [degree + 1, channels] or [degree + 1, 1].
    pub fn new(keep: &Tensor, coefficients: &Tensor) -> Self {
        Self {
            keep: Some(keep.shallow_clone()),
            coefficients: coefficients.shallow_clone(),
        }
    }

    /// Every ReLU of maps like this one, of shape [batch, channels, height, width].
    pub fn relu(like: &Tensor) -> Self {
        let options = (fused::computed_in(like.kind()), like.device());
        Self {
            keep: Some(Tensor::ones(&like.size()[1..], options)),
            coefficients: Tensor::zeros([1, 1], options),
        }
    }

    /// A site without any ReLU: only the polynomial.
    pub fn polynomial(coefficients: &Tensor) -> Self {
        Self {
            keep: None,
            coefficients: coefficients.shallow_clone(),
        }
    }

    /// The activation of `x`, of shape [batch, channels, height, width].
    pub fn apply(&self, x: &Tensor) -> Tensor {
        if fused::is_for(x) {
            self.call(x, None).activation()
        } else {
            self.composed(x)
        }
    }

    /// As [`Self::apply`], with what [`fused::Call::watched`] says going to `watched`, in the same
    /// pass; `None` where that takes passes of its own.
    pub fn apply_watched(&self, x: &Tensor, watched: &Tensor) -> Option<Tensor> {
        fused::is_for(x).then(|| {
            let call = fused::Call {
                watched: Some(watched),
                ..self.call(x, None)
            };
            call.activation()
        })
    }

    /// The activation of `z` behind a batch normalisation, and behind the sum of that with `beside`;
    /// `watched` receives what [`fused::Call::watched`] says. For where
    /// [`fused::takes_norms`] holds.
    pub fn apply_normalised(
        &self,
        z: &Tensor,
        norm: fused::Norm<'_>,
        beside: Option<&Tensor>,
        watched: Option<&Tensor>,
    ) -> Tensor {
        let call = fused::Call {
            beside,
            watched,
            ..self.call(z, Some(norm))
        };
        call.activation()
    }

    fn call<'a>(&'a self, z: &'a Tensor, norm: Option<fused::Norm<'a>>) -> fused::Call<'a> {
        fused::Call {
            z,
            norm,
            beside: None,
            keep: self.keep.as_ref(),
            coefficients: &self.coefficients,
            watched: None,
        }
    }

    /// As [`Self::apply`], of tensor operations: for any device, and for indicators of any shape that
    /// broadcasts to that of `x`.
    pub fn composed(&self, x: &Tensor) -> Tensor {
        // A mask in another layout than the feature maps makes every pass over them slower.
        let layout = Layout::of(x.device());
        let keep = self.keep.as_ref().map(|keep| layout.arrange(keep));
        let term = |power| {
            let column = self.coefficients.select(0, power).view([-1, 1, 1]);
            match &keep {
                Some(keep) => layout.arrange(&((1.0 - keep) * column)),
                None => column,
            }
        };
        let highest = self.coefficients.size()[0] - 1;
        let polynomial = (0..highest)
            .rev()
            .fold(term(highest), |sum, power| term(power).addcmul(&sum, x));
        match &keep {
            Some(keep) => polynomial.addcmul(keep, &x.relu()),
            None => polynomial.expand_as(x),
        }
    }
}

/// The mixtures of every site, for one batch.
#[derive(Debug)]
pub struct Mixed {
    /// By site, in forward order.
    pub sites: Vec<Mixture>,
}

impl Activate for Mixed {
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
        self.sites[site].apply(x)
    }

    fn activate_normalised(&mut self, site: usize, x: &Normalised<'_>) -> Tensor {
        x.activated(&self.sites[site], None)
            .unwrap_or_else(|| self.activate(site, &x.compute()))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn the_straight_through_gradient_is_softplus_and_the_value_is_the_indicator() {
        let latents = Tensor::from_slice(&[-2.0_f32, 0.0, 1.0, 30.0]).set_requires_grad(true);
        let indicators = Tensor::from_slice(&[0.0_f32, 1.0, 0.0, 1.0]);
        let weights = Tensor::from_slice(&[1.0_f32, 2.0, -1.0, 0.5]);
        let kept = straight_through(&indicators, &latents);
        assert!(
            kept.equal(&indicators),
            "the value is exactly the indicator"
        );
        (kept * &weights).sum(Kind::Float).backward();
        // ln(1 + e^w) for w = -2, 0, 1, 30, times the incoming gradient.
        let ln_2 = std::f64::consts::LN_2;
        let by_hand = [0.126_928_0, 2.0 * ln_2, -1.313_261_7, 0.5 * 30.0];
        for (at, wanted) in by_hand.into_iter().enumerate() {
            let got = latents.grad().double_value(&[i64::try_from(at).unwrap()]);
            assert!((got - wanted).abs() < 1e-5, "{got} against {wanted}");
        }
    }

    #[test]
    fn hysteresis_follows_its_truth_table() {
        // (state, latent, next state) for a half-width of 0.25.
        let table = [
            (1_u8, 0.5_f32, 1_u8),
            (1, 0.25, 1),
            (1, 0.0, 1),
            (1, -0.125, 1),
            (1, -0.25, 0),
            (1, -0.5, 0),
            (0, 0.5, 1),
            (0, 0.25, 0),
            (0, 0.125, 0),
            (0, 0.0, 0),
            (0, -0.25, 0),
            (0, -0.5, 0),
        ];
        let states: Vec<u8> = table.iter().map(|row| row.0).collect();
        let latents: Vec<f32> = table.iter().map(|row| row.1).collect();
        let wanted: Vec<u8> = table.iter().map(|row| row.2).collect();
        let (states, latents) = (Tensor::from_slice(&states), Tensor::from_slice(&latents));
        let once = hysteresis_step(&states, &latents, 0.25);
        assert_eq!(Vec::<u8>::try_from(&once).unwrap(), wanted);
        let twice = hysteresis_step(&once, &latents, 0.25);
        assert!(
            twice.equal(&once),
            "a second step with the same latents changes nothing"
        );
    }

    /// The mixture as the formula says it, in f64.
    fn by_formula(x: &Tensor, keep: &Tensor, coefficients: &Tensor) -> Tensor {
        let mut g = x.zeros_like();
        for power in 0..coefficients.size()[0] {
            let c = coefficients.select(0, power).view([1, -1, 1, 1]);
            g += c * x.pow_tensor_scalar(power);
        }
        &g + keep.unsqueeze(0) * (x.relu() - &g)
    }

    fn sample(degree: i64) -> (Tensor, Tensor, Tensor) {
        let options = (Kind::Double, Device::Cpu);
        let x = (Tensor::arange(2 * 3 * 2 * 2, options) * 0.37 - 4.1).view([2, 3, 2, 2]);
        let keep = Tensor::arange(3 * 2 * 2, options)
            .remainder(3.0)
            .gt(0.5)
            .to_kind(Kind::Double)
            .view([3, 2, 2]);
        let coefficients =
            (Tensor::arange((degree + 1) * 3, options) * 0.11 - 0.2).view([degree + 1, 3]);
        (x, keep, coefficients)
    }

    #[test]
    fn mixing_equals_the_formula_for_every_degree() {
        for degree in 0..=2 {
            let (x, keep, coefficients) = sample(degree);
            let got = Mixture::new(&keep, &coefficients).apply(&x);
            let wanted = by_formula(&x, &keep, &coefficients);
            assert!(
                got.allclose(&wanted, 1e-12, 1e-12, false),
                "degree {degree}"
            );
            let none = keep.zeros_like();
            let got = Mixture::polynomial(&coefficients).apply(&x);
            let wanted = by_formula(&x, &none, &coefficients);
            assert!(
                got.allclose(&wanted, 1e-12, 1e-12, false),
                "degree {degree}"
            );
        }
    }

    #[test]
    fn a_net_that_keeps_every_relu_computes_exactly_relu() {
        let (x, keep, coefficients) = sample(2);
        let all = keep.ones_like();
        assert!(Mixture::new(&all, &coefficients).apply(&x).equal(&x.relu()));
    }

    #[test]
    fn what_is_watched_on_the_way_is_the_mean_and_the_unbiased_variance() {
        let (x, keep, coefficients) = sample(2);
        let mixture = Mixture::new(&keep, &coefficients);
        let watched = Tensor::zeros([2, 3], (Kind::Double, Device::Cpu));
        let y = mixture.apply_watched(&x, &watched).unwrap();
        assert!(y.equal(&mixture.apply(&x)));
        let over = &[0_i64, 2, 3][..];
        let moments = [
            x.mean_dim(over, false, Kind::Double),
            x.var_dim(over, true, false),
        ];
        assert!(watched.allclose(&Tensor::stack(&moments, 0), 1e-9, 1e-9, false));
    }

    /// Central differences of a weighted sum of the output, element by element.
    #[test]
    fn gradients_of_the_mixture_equal_finite_differences() {
        let (x, keep, coefficients) = sample(2);
        let weights = (&x * 0.7).sin();
        let value = |x: &Tensor, keep: &Tensor, c: &Tensor| {
            (Mixture::new(keep, c).apply(x) * &weights).sum(Kind::Double)
        };
        let leaf = |t: &Tensor| t.copy().set_requires_grad(true);
        let leaves = [leaf(&x), leaf(&keep), leaf(&coefficients)];
        value(&leaves[0], &leaves[1], &leaves[2]).backward();
        for which in 0..3 {
            let gradient = leaves[which].grad().flatten(0, -1);
            for at in 0..gradient.size()[0] {
                let moved = |by: f64| {
                    let inputs = [x.copy(), keep.copy(), coefficients.copy()];
                    let mut element = inputs[which].view([-1]).select(0, at);
                    element += by;
                    value(&inputs[0], &inputs[1], &inputs[2]).double_value(&[])
                };
                let wanted = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let got = gradient.double_value(&[at]);
                assert!(
                    (got - wanted).abs() < 1e-6,
                    "input {which} at {at}: {got} {wanted}"
                );
            }
        }
    }
}
