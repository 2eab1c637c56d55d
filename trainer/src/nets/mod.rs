//! Networks made of tensors. A net computes everything but its activations: at each site it asks
//! the caller to apply one, so that one net serves as teacher, student and subject.
//!
//! Parameter names are checkpoint keys and follow torchvision's names, so that weights can be
//! exchanged with `PyTorch`. They are a contract.

mod init;
pub mod resnet;

use tch::{Device, Tensor};

pub use resnet::ResNet;

/// How feature maps lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// Channel by channel.
    Planes,
    /// Pixel by pixel, each with all its channels: on a CPU, convolutions of few channels take two
    /// thirds of the time.
    ChannelsLast,
}

impl Layout {
    /// The faster one for f32 on this device.
    pub fn of(device: Device) -> Self {
        if device == Device::Cpu {
            Self::ChannelsLast
        } else {
            Self::Planes
        }
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
    /// index in the net's forward order.
    fn activate(&mut self, site: usize, x: &Tensor) -> Tensor;
}

/// ReLU at every site: the baseline and the teacher.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

impl Activate for Relu {
    fn activate(&mut self, _site: usize, x: &Tensor) -> Tensor {
        x.relu()
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
