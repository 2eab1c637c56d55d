//! The layers of a blueprint with their tensors.

use autorep_core::net::{Conv, Layer, Linear, Norm, Padding, Pool};
use tch::{Device, Kind, Tensor};

use super::{Activate, Layout, Param, Phase, Role, init};
use crate::activation::Mixture;
use crate::fused;
use crate::ranks::{self, Ranks};

/// One layer with its tensors; the variants are those of [`Layer`].
#[derive(Debug)]
pub(super) enum Step {
    Conv(ConvStep),
    Norm(NormStep),
    Site(usize),
    Uncounted,
    Pool(Pool),
    Sum {
        main: Vec<Step>,
        shortcut: Vec<Step>,
    },
    Gate(Vec<Step>),
    Mean,
    Linear {
        weight: Tensor,
        bias: Tensor,
    },
}

/// A convolution.
#[derive(Debug)]
pub(super) struct ConvStep {
    pub(super) kernel: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) size: i64,
    pub(super) stride: i64,
    pub(super) groups: i64,
    pub(super) padding: Padding,
    /// As [`NormStep::arranges`], where the normalisation is folded into it.
    pub(super) arranges: bool,
}

/// Batch normalisation.
#[derive(Debug)]
pub(super) struct NormStep {
    pub(super) scale: Tensor,
    pub(super) shift: Tensor,
    pub(super) mean: Tensor,
    pub(super) variance: Tensor,
    pub(super) epsilon: f64,
    pub(super) momentum: f64,
    /// Whether its result is laid out anew. An image of one channel lies the same way in both
    /// layouts, which leaves the stem's result in planes; what comes after the first batch
    /// normalisation keeps the layout that it is given there.
    pub(super) arranges: bool,
}

/// What a site sees where a batch normalisation comes before it, or the sum of one with something
/// else: before it is computed.
#[derive(Clone, Copy, Debug)]
pub struct Normalised<'a> {
    z: &'a Tensor,
    norm: &'a NormStep,
    phase: Phase,
    beside: Option<&'a Tensor>,
    /// Whose images the batch's statistics are of.
    ranks: &'a Ranks,
}

impl Normalised<'_> {
    /// The pre-activation, of shape [batch, channels, height, width].
    pub fn compute(&self) -> Tensor {
        let x = self.norm.forward(self.z, self.phase, self.ranks);
        match self.beside {
            Some(beside) => x + beside,
            None => x,
        }
    }

    /// Its ReLU in one operator, where several ranks train: their sums come between its passes, which
    /// takes fewer of them than a normalisation over ranks and a ReLU behind it.
    pub fn rectified(&self) -> Option<Tensor> {
        let takes = fused::takes_norms(self.z.device());
        if !takes || self.phase != Phase::Train || self.ranks.are_one() {
            return None;
        }
        self.activated(&Mixture::relu(self.z), None)
    }

    /// Its activation in one operator, with what the site sees going to `watched`; `None` where there
    /// is no such operator.
    pub fn activated(&self, mixture: &Mixture, watched: Option<&Tensor>) -> Option<Tensor> {
        let training = match self.phase {
            // What is watched over several ranks is summed elsewhere.
            Phase::Train if watched.is_some() && !self.ranks.are_one() => return None,
            Phase::Train => true,
            Phase::Eval => false,
            // The operator moves the running statistics wherever it uses the batch's.
            Phase::Measure => return None,
        };
        if !fused::takes_norms(self.z.device()) {
            return None;
        }
        let norm = fused::Norm {
            gamma: &self.norm.scale,
            beta: &self.norm.shift,
            running_mean: &self.norm.mean,
            running_variance: &self.norm.variance,
            momentum: self.norm.momentum,
            epsilon: self.norm.epsilon,
            training,
            ranks: self.ranks,
        };
        let z = self.norm.arranged(self.z);
        Some(mixture.apply_normalised(&z, norm, self.beside, watched))
    }
}

/// What a layer is applied with.
pub(super) struct Pass<'a> {
    pub(super) phase: Phase,
    pub(super) act: &'a mut dyn Activate,
    /// Whose images batch normalisation has the statistics of.
    pub(super) norm: &'a Ranks,
}

impl Pass<'_> {
    /// Applies layers one after the other; no layers are the input itself.
    pub(super) fn run(&mut self, steps: &[Step], x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        let mut rest = steps;
        loop {
            (x, rest) = match rest {
                [] => return x,
                [Step::Norm(norm), Step::Site(site), rest @ ..] => {
                    (self.normalised(*site, &x, norm, None), rest)
                }
                [Step::Sum { main, shortcut }, Step::Site(site), rest @ ..]
                    if let [main @ .., Step::Norm(norm)] = &main[..] =>
                {
                    let beside = self.run(shortcut, &x);
                    let z = self.run(main, &x);
                    (self.normalised(*site, &z, norm, Some(&beside)), rest)
                }
                [step, rest @ ..] => (self.step(step, &x), rest),
            };
        }
    }

    /// The activation at a site behind a batch normalisation, and behind its sum with `beside`.
    fn normalised(
        &mut self,
        site: usize,
        z: &Tensor,
        norm: &NormStep,
        beside: Option<&Tensor>,
    ) -> Tensor {
        let normalised = Normalised {
            z,
            norm,
            phase: self.phase,
            beside,
            ranks: self.norm,
        };
        self.act.activate_normalised(site, &normalised)
    }

    fn step(&mut self, step: &Step, x: &Tensor) -> Tensor {
        match step {
            Step::Conv(conv) => conv.forward(x),
            Step::Norm(norm) => norm.forward(x, self.phase, self.norm),
            Step::Site(site) => self.act.activate(*site, x),
            Step::Uncounted => self.act.uncounted(x),
            Step::Pool(Pool::Max) => x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false),
            Step::Pool(Pool::Avg) => x.avg_pool2d([3, 3], [2, 2], [1, 1], false, true, None),
            Step::Sum { main, shortcut } => {
                let sum = self.run(main, x);
                if shortcut.is_empty() {
                    sum + x
                } else {
                    sum + self.run(shortcut, x)
                }
            }
            Step::Gate(inner) => {
                let mean = x.mean_dim(&[2_i64, 3][..], true, Kind::Float);
                x * self.run(inner, &mean).sigmoid()
            }
            Step::Mean => x.mean_dim(&[2_i64, 3][..], false, Kind::Float),
            Step::Linear { weight, bias } => x.linear(weight, Some(bias)),
        }
    }
}

impl ConvStep {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        arranged_if(self.arranges, &self.convolved(x))
    }

    fn convolved(&self, x: &Tensor) -> Tensor {
        let half = self.size / 2;
        match self.padding {
            Padding::Half => self.padded(x, [half, half]),
            Padding::Same => {
                let [top, bottom] = self.same(x.size()[2]);
                let [left, right] = self.same(x.size()[3]);
                if (top, left) == (bottom, right) {
                    self.padded(x, [top, left])
                } else {
                    self.padded(&x.constant_pad_nd([left, right, top, bottom]), [0, 0])
                }
            }
        }
    }

    /// Zeros before and after a side of this length.
    fn same(&self, length: i64) -> [i64; 2] {
        let places = (length + self.stride - 1) / self.stride;
        let zeros = ((places - 1) * self.stride + self.size - length).max(0);
        [zeros / 2, zeros - zeros / 2]
    }

    fn padded(&self, x: &Tensor, padding: [i64; 2]) -> Tensor {
        let bias = self.bias.as_ref();
        if self.size == 1 && self.stride > 1 {
            // A 1 x 1 convolution with a stride reads some of the pixels; picking them first is as
            // fast. oneDNN (of libtorch 2.11, AVX2) writes past its buffers when it does the
            // picking on channels-last maps of fewer than eight channels.
            let rows = x.slice(2, None, None, self.stride);
            let picked = rows.slice(3, None, None, self.stride);
            let picked = Layout::of(x.device()).arrange(&picked);
            picked.conv2d(&self.kernel, bias, [1, 1], padding, [1, 1], self.groups)
        } else {
            let stride = [self.stride, self.stride];
            x.conv2d(&self.kernel, bias, stride, padding, [1, 1], self.groups)
        }
    }
}

impl NormStep {
    fn forward(&self, x: &Tensor, phase: Phase, ranks: &Ranks) -> Tensor {
        let y = match phase {
            Phase::Train | Phase::Measure => self.over_ranks(x, phase, ranks),
            Phase::Eval => None,
        };
        let y = y.unwrap_or_else(|| self.own(x, phase));
        self.arranged(&y)
    }

    /// With the statistics of all ranks' images; `None` if there is one rank.
    fn over_ranks(&self, x: &Tensor, phase: Phase, ranks: &Ranks) -> Option<Tensor> {
        let norm = ranks::Norm {
            scale: &self.scale,
            shift: &self.shift,
            mean: &self.mean,
            variance: &self.variance,
            updates: phase == Phase::Train,
            momentum: self.momentum,
            epsilon: self.epsilon,
        };
        ranks.batch_norm(x, &norm)
    }

    fn own(&self, x: &Tensor, phase: Phase) -> Tensor {
        let (mean, variance) = match phase {
            Phase::Train | Phase::Eval => (Some(&self.mean), Some(&self.variance)),
            Phase::Measure => (None, None),
        };
        x.batch_norm(
            Some(&self.scale),
            Some(&self.shift),
            mean,
            variance,
            phase != Phase::Eval,
            self.momentum,
            self.epsilon,
            true,
        )
    }

    fn arranged(&self, x: &Tensor) -> Tensor {
        arranged_if(self.arranges, x)
    }
}

fn arranged_if(arranges: bool, x: &Tensor) -> Tensor {
    if arranges {
        Layout::of(x.device()).arrange(x)
    } else {
        x.shallow_clone()
    }
}

/// Makes the tensors of layers and lists them.
pub(super) struct Builder {
    pub(super) params: Vec<Param>,
    /// Decides initial weights; without one they are zero.
    pub(super) seed: Option<u64>,
    pub(super) device: Device,
}

impl Builder {
    pub(super) fn steps(&mut self, layers: &[Layer]) -> Vec<Step> {
        layers.iter().map(|layer| self.step(layer)).collect()
    }

    fn step(&mut self, layer: &Layer) -> Step {
        match layer {
            Layer::Conv(conv) => Step::Conv(self.conv(conv)),
            Layer::Norm(norm) => Step::Norm(self.norm(norm)),
            Layer::Site(site) => Step::Site(*site),
            Layer::Uncounted => Step::Uncounted,
            Layer::Pool(pool) => Step::Pool(*pool),
            Layer::Sum { main, shortcut } => Step::Sum {
                main: self.steps(main),
                shortcut: self.steps(shortcut),
            },
            Layer::Gate(inner) => Step::Gate(self.steps(inner)),
            Layer::Mean => Step::Mean,
            Layer::Linear(linear) => self.linear(linear),
        }
    }

    fn conv(&mut self, conv: &Conv) -> ConvStep {
        let [inputs, outputs, size, stride, groups] = [
            conv.inputs,
            conv.outputs,
            conv.kernel,
            conv.stride,
            conv.groups,
        ]
        .map(i64::from);
        let shape = [outputs, inputs / groups.max(1), size, size];
        ConvStep {
            kernel: self.weight(&format!("{}.weight", conv.name), &shape),
            bias: conv.bias.then(|| self.bias(&conv.name, outputs)),
            size,
            stride,
            groups,
            padding: conv.padding,
            arranges: false,
        }
    }

    fn norm(&mut self, norm: &Norm) -> NormStep {
        let channels = i64::from(norm.channels);
        let arranges = !self
            .params
            .iter()
            .any(|param| param.role == Role::Statistic);
        let mut part = |part: &str, role, value| {
            let name = format!("{}.{part}", norm.name);
            self.param(&name, role, &init::constant(value, channels))
        };
        NormStep {
            scale: part("weight", Role::Affine, 1.0),
            shift: part("bias", Role::Affine, 0.0),
            mean: part("running_mean", Role::Statistic, 0.0),
            variance: part("running_var", Role::Statistic, 1.0),
            epsilon: norm.epsilon,
            momentum: norm.momentum,
            arranges,
        }
    }

    fn linear(&mut self, linear: &Linear) -> Step {
        let [inputs, outputs] = [linear.inputs, linear.outputs].map(i64::from);
        Step::Linear {
            weight: self.weight(&format!("{}.weight", linear.name), &[outputs, inputs]),
            bias: self.bias(&linear.name, outputs),
        }
    }

    fn weight(&mut self, name: &str, shape: &[i64]) -> Tensor {
        let initial = match self.seed {
            Some(seed) => init::kaiming_normal(seed, name, shape),
            None => Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
        };
        self.param(name, Role::Weight, &initial)
    }

    fn bias(&mut self, module: &str, outputs: i64) -> Tensor {
        let name = format!("{module}.bias");
        self.param(&name, Role::Affine, &init::constant(0.0, outputs))
    }

    fn param(&mut self, name: &str, role: Role, initial: &Tensor) -> Tensor {
        let tensor = initial
            .to_device(self.device)
            .set_requires_grad(role != Role::Statistic);
        self.params.push(Param {
            name: name.to_owned(),
            role,
            tensor: tensor.shallow_clone(),
        });
        tensor
    }
}
