//! Nets that are only ever evaluated: with each batch normalisation in the convolution before it.

use tch::Tensor;

use super::Net;
use super::layers::{ConvStep, NormStep, Step};

impl Net {
    /// A net that computes the same in evaluation (but for rounding), with fewer passes over its
    /// feature maps: `norm(conv(x))` is one convolution. It has none of its parameters to train and
    /// shares the storage of the others.
    #[must_use]
    pub fn folded(&self) -> Self {
        Self {
            params: Vec::new(),
            sites: self.sites.clone(),
            steps: tch::no_grad(|| folded(&self.steps)),
            activation: self.activation,
            ranks: self.ranks.clone(),
            norm: self.norm.clone(),
        }
    }
}

fn folded(steps: &[Step]) -> Vec<Step> {
    let mut all = Vec::with_capacity(steps.len());
    let mut rest = steps;
    loop {
        let step;
        (step, rest) = match rest {
            [] => return all,
            [Step::Conv(conv), Step::Norm(norm), rest @ ..] => {
                (Step::Conv(into_conv(conv, norm)), rest)
            }
            [step, rest @ ..] => (alone(step), rest),
        };
        all.push(step);
    }
}

/// A step that is not folded into another; what is inside it may be.
fn alone(step: &Step) -> Step {
    match step {
        Step::Conv(conv) => Step::Conv(ConvStep {
            kernel: conv.kernel.shallow_clone(),
            bias: conv.bias.as_ref().map(Tensor::shallow_clone),
            ..*conv
        }),
        Step::Norm(norm) => Step::Norm(NormStep {
            scale: norm.scale.shallow_clone(),
            shift: norm.shift.shallow_clone(),
            mean: norm.mean.shallow_clone(),
            variance: norm.variance.shallow_clone(),
            ..*norm
        }),
        Step::Site(site) => Step::Site(*site),
        Step::Uncounted => Step::Uncounted,
        Step::Pool(pool) => Step::Pool(*pool),
        Step::Sum { main, shortcut } => Step::Sum {
            main: folded(main),
            shortcut: folded(shortcut),
        },
        Step::Gate(inner) => Step::Gate(folded(inner)),
        Step::Mean => Step::Mean,
        Step::Linear { weight, bias } => Step::Linear {
            weight: weight.shallow_clone(),
            bias: bias.shallow_clone(),
        },
    }
}

/// `scale (conv(x) - mean) / deviation + shift`, as a convolution with a bias.
fn into_conv(conv: &ConvStep, norm: &NormStep) -> ConvStep {
    let factor = &norm.scale * (&norm.variance + norm.epsilon).rsqrt();
    let centred = match &conv.bias {
        Some(bias) => bias - &norm.mean,
        None => norm.mean.neg(),
    };
    ConvStep {
        kernel: (&conv.kernel * factor.view([-1, 1, 1, 1])).detach(),
        bias: Some((&norm.shift + centred * &factor).detach()),
        arranges: conv.arranges || norm.arranges,
        ..*conv
    }
}
