//! Networks made of tensors, from `core`'s blueprints. A net computes everything but its
//! activations: at each site it asks the caller to apply one, so that one net serves as teacher,
//! student and subject.
//!
//! Parameter names are checkpoint keys and follow torchvision's names, so that weights can be
//! exchanged with `PyTorch`. They are a contract.

mod folded;
mod init;
mod layers;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use autorep_core::net::{Activation, InputShape, NetSpec, Site};
use tch::{Device, Tensor};

use crate::ranks::{Ranks, RanksError};

pub use layers::Normalised;
use layers::{Builder, Pass, Step};

/// How feature maps lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Channel by channel.
    Planes,
    /// Pixel by pixel, each with all its channels: on a CPU, convolutions of few channels take two
    /// thirds of the time.
    ChannelsLast,
}

thread_local! {
    /// See [`Layout::use_planes`].
    static PLANES: Cell<bool> = const { Cell::new(false) };
}

impl Layout {
    /// The faster one for f32 on this device.
    pub fn of(device: Device) -> Self {
        if device == Device::Cpu && !PLANES.get() {
            Self::ChannelsLast
        } else {
            Self::Planes
        }
    }

    /// Makes this thread lay maps out in planes on every device, for comparisons to many digits.
    /// The layouts round differently (a test holds how much), and a pre-activation that this moves
    /// over the kink of a ReLU changes every gradient before it.
    pub fn use_planes() {
        PLANES.set(true);
    }

    /// The same values, of shape [..., channels, height, width], in this layout.
    pub fn arrange(self, maps: &Tensor) -> Tensor {
        match self {
            Self::Planes => maps.contiguous(),
            Self::ChannelsLast => maps.movedim_int(-3, -1).contiguous().movedim_int(-1, -3),
        }
    }
}

/// How batch normalisation behaves in a forward pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Statistics of the batch; running statistics are updated.
    Train,
    /// Statistics of the batch; running statistics are left alone.
    Measure,
    /// Running statistics.
    Eval,
}

/// Applies the activation at each site of a net.
pub trait Activate {
    /// The activation of `x`, of shape [batch, channels, height, width], at the site with this
    /// index among the net's sites.
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor;

    /// As [`Self::activate`], where what the site sees has not been computed yet.
    fn activate_normalised(&mut self, site: usize, x: &Normalised<'_>) -> Tensor {
        self.activate(site, &x.compute())
    }

    /// The activation where the net has one that is no site.
    fn uncounted(&mut self, x: &Tensor) -> Tensor {
        x.relu()
    }
}

/// The same function everywhere: the baseline and the teacher.
#[derive(Clone, Copy, Debug)]
pub struct Full(pub Activation);

impl Activate for Full {
    fn activate(&mut self, _site: usize, x: &Tensor) -> Tensor {
        match self.0 {
            Activation::Relu => x.relu(),
            Activation::Silu => x.silu(),
            Activation::Relu6 => x.relu6(),
        }
    }

    fn activate_normalised(&mut self, site: usize, x: &Normalised<'_>) -> Tensor {
        let rectified = match self.0 {
            Activation::Relu => x.rectified(),
            Activation::Silu | Activation::Relu6 => None,
        };
        rectified.unwrap_or_else(|| self.activate(site, &x.compute()))
    }

    fn uncounted(&mut self, x: &Tensor) -> Tensor {
        self.activate(0, x)
    }
}

/// A network with its parameters on one device.
#[derive(Debug)]
pub struct Net {
    params: Vec<Param>,
    sites: Vec<Site>,
    steps: Vec<Step>,
    activation: Activation,
    /// Those that train it together.
    ranks: Ranks,
    /// Those whose images batch normalisation has the statistics of: the ranks, or one alone.
    norm: Ranks,
}

impl Net {
    /// A net with initial weights that depend on the seed alone; for inputs of shape
    /// [batch, channels, height, width] and outputs of shape [batch, classes].
    pub fn new(spec: &NetSpec, input: InputShape, classes: u32, seed: u64, device: Device) -> Self {
        Self::build(spec, input, classes, Some(seed), device)
    }

    /// The same net with weights of zero, to be overwritten by a checkpoint's.
    pub fn blank(spec: &NetSpec, input: InputShape, classes: u32, device: Device) -> Self {
        Self::build(spec, input, classes, None, device)
    }

    fn build(
        spec: &NetSpec,
        input: InputShape,
        classes: u32,
        seed: Option<u64>,
        device: Device,
    ) -> Self {
        let blueprint = spec.blueprint(input, classes);
        let mut builder = Builder {
            params: Vec::new(),
            seed,
            device,
        };
        let steps = builder.steps(&blueprint.layers);
        Self {
            params: builder.params,
            sites: blueprint.sites,
            steps,
            activation: blueprint.activation,
            ranks: Ranks::alone(),
            norm: Ranks::alone(),
        }
    }

    /// The net as one of these ranks has it. With `sync_bn` batch normalisation has the statistics
    /// of all their images.
    #[must_use]
    pub fn spread(mut self, ranks: &Ranks, sync_bn: bool) -> Self {
        self.ranks = ranks.clone();
        self.norm = if sync_bn {
            ranks.clone()
        } else {
            Ranks::alone()
        };
        self
    }

    /// The ranks that train it together.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Gives the running statistics rank 0's values on every rank, where each rank has its own.
    pub fn share_statistics(&self) -> Result<(), RanksError> {
        if self.ranks.are_one() || !self.norm.are_one() {
            return Ok(());
        }
        let mut statistics = self.params.iter().filter(|it| it.role == Role::Statistic);
        statistics.try_for_each(|it| self.ranks.broadcast(&it.tensor))
    }

    /// Every tensor, in forward order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The activation sites, in forward order.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The logits, of shape [batch, classes], of `images`, of shape
    /// [batch, channels, height, width].
    pub fn forward(&self, images: &Tensor, phase: Phase, act: &mut dyn Activate) -> Tensor {
        let images = Layout::of(images.device()).arrange(images);
        let norm = &self.norm;
        Pass { phase, act, norm }.run(&self.steps, &images)
    }

    /// As [`Self::forward`] with the activation of the full net everywhere.
    pub fn full(&self, images: &Tensor, phase: Phase) -> Tensor {
        self.forward(images, phase, &mut Full(self.activation))
    }
}

/// What a net's tensor is for, and with that how it is trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A convolution's or linear layer's weight: trained, with weight decay.
    Weight,
    /// A bias, or batch normalisation's scale and shift: trained without weight decay.
    Affine,
    /// A running statistic: not trained.
    Statistic,
}

/// One tensor of a net.
#[derive(Debug)]
pub struct Param {
    /// Its key, for example `layer1.0.conv1.weight`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its values; shares storage with the layer that uses it.
    pub tensor: Tensor,
}
