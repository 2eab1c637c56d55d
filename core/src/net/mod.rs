//! Networks: what families there are, what they are made of, where their activation sites are and
//! how many ReLUs each has.

use std::fmt;

use serde::{Deserialize, Serialize};

mod blueprint;
mod efficientnet;
mod resnet;
mod settings;
mod wide;

pub use blueprint::{Activation, Blueprint, Conv, Layer, Linear, Norm, Padding, Pool};
pub(crate) use settings::depth_problem;
pub use settings::{NET_SETTINGS, NetSettings};

/// The size of one input image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InputShape {
    /// Colour channels.
    pub channels: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Columns of pixels.
    pub width: u32,
}

/// One place in a net where an activation is applied: the unit in which indicators, latents
/// and polynomial coefficients are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Site {
    /// A stable name that says where it is, for example `layer2.0.act1`.
    pub name: String,
    /// Feature channels at this place.
    pub channels: u32,
    /// Rows of the feature map.
    pub height: u32,
    /// Columns of the feature map.
    pub width: u32,
}

impl Site {
    /// How many ReLUs a full network evaluates here for one image: channels x height x width.
    pub fn relus(&self) -> u64 {
        u64::from(self.channels) * u64::from(self.height) * u64::from(self.width)
    }
}

/// The families of networks that can be trained.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// ResNet in its CIFAR form with one block in each of four stages.
    Resnet9,
    /// ResNet in its CIFAR form with two blocks in each of four stages.
    Resnet18,
    /// ResNet in its CIFAR form with 3, 4, 6 and 3 blocks.
    Resnet34,
    /// A wide residual network for CIFAR: pre-activation, three groups.
    WideResnet,
    /// ResNet-18 in its `ImageNet` form.
    ImagenetResnet18,
    /// ResNet-50 in its `ImageNet` form.
    ImagenetResnet50,
    /// EfficientNet-B0.
    EfficientnetB0,
    /// EfficientNet-B1.
    EfficientnetB1,
    /// EfficientNet-B2.
    EfficientnetB2,
    /// EfficientNet-Lite0.
    EfficientnetLite0,
}

impl Family {
    /// Every family, in the order in which they are listed to people.
    pub const ALL: [Self; 10] = [
        Self::Resnet9,
        Self::Resnet18,
        Self::Resnet34,
        Self::WideResnet,
        Self::ImagenetResnet18,
        Self::ImagenetResnet50,
        Self::EfficientnetB0,
        Self::EfficientnetB1,
        Self::EfficientnetB2,
        Self::EfficientnetLite0,
    ];

    /// The name used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resnet9 => "resnet9",
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::WideResnet => "wide-resnet",
            Self::ImagenetResnet18 => "imagenet-resnet18",
            Self::ImagenetResnet50 => "imagenet-resnet50",
            Self::EfficientnetB0 => "efficientnet-b0",
            Self::EfficientnetB1 => "efficientnet-b1",
            Self::EfficientnetB2 => "efficientnet-b2",
            Self::EfficientnetLite0 => "efficientnet-lite0",
        }
    }
}

/// One network: a family with the settings that it has, and no others. The input size and the
/// number of classes come from the data set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum NetSpec {
    /// See [`Family::Resnet9`].
    Resnet9(CifarResnet),
    /// See [`Family::Resnet18`].
    Resnet18(CifarResnet),
    /// See [`Family::Resnet34`].
    Resnet34(CifarResnet),
    /// See [`Family::WideResnet`].
    WideResnet(WideResnet),
    /// See [`Family::ImagenetResnet18`].
    ImagenetResnet18(ImagenetResnet),
    /// See [`Family::ImagenetResnet50`].
    ImagenetResnet50(ImagenetResnet),
    /// See [`Family::EfficientnetB0`].
    EfficientnetB0(Efficientnet),
    /// See [`Family::EfficientnetB1`].
    EfficientnetB1(Efficientnet),
    /// See [`Family::EfficientnetB2`].
    EfficientnetB2(Efficientnet),
    /// See [`Family::EfficientnetLite0`].
    EfficientnetLite0(Lite),
}

/// Settings of a CIFAR ResNet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CifarResnet {
    /// Channels of the first stage (64 in the papers); the later stages have 2, 4 and 8 times as many.
    pub width: u32,
    /// Whether a ReLU follows the stem's convolution. The nets of SNL and AutoReP have none.
    pub stem_relu: bool,
}

/// Settings of a wide ResNet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WideResnet {
    /// Layers by the paper's count: four more than a multiple of six.
    pub depth: u32,
    /// The widening factor.
    pub widen: u32,
    /// Whether a ReLU follows the last batch normalisation. AutoReP's net has none.
    pub final_relu: bool,
}

impl WideResnet {
    /// Residual blocks in each of the three groups.
    pub const fn blocks_per_group(&self) -> u32 {
        self.depth.saturating_sub(4) / 6
    }
}

/// Settings of an `ImageNet` ResNet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImagenetResnet {
    /// Channels of the first stage (64 as published); the later stages have 2, 4 and 8 times as many.
    pub width: u32,
    /// How the stem's output is pooled.
    pub stem_pool: Pool,
}

/// Settings of an `EfficientNet`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Efficientnet {
    /// Whether the activations inside of squeeze and excitation are sites. If not they stay ReLUs
    /// that are not counted.
    pub se_sites: bool,
    /// What the full net computes at its sites.
    pub activation: FullActivation,
}

/// Settings of EfficientNet-Lite0.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lite {
    /// What the full net computes at its sites.
    pub activation: FullActivation,
}

/// What a full net computes at its sites. Searches mix ReLU and
/// polynomials in either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FullActivation {
    /// ReLU.
    Relu,
    /// What the family was published with: `SiLU` or `ReLU6`. Each counts as one ReLU, although
    /// private inference pays more for it.
    Published,
}

/// The widest first stage, the deepest and the widest wide ResNet.
const MAX_WIDTH: u32 = 4_096;
const MAX_DEPTH: u32 = 1_000;
const MAX_WIDEN: u32 = 256;

impl NetSpec {
    /// Its family.
    pub const fn family(&self) -> Family {
        match self {
            Self::Resnet9(_) => Family::Resnet9,
            Self::Resnet18(_) => Family::Resnet18,
            Self::Resnet34(_) => Family::Resnet34,
            Self::WideResnet(_) => Family::WideResnet,
            Self::ImagenetResnet18(_) => Family::ImagenetResnet18,
            Self::ImagenetResnet50(_) => Family::ImagenetResnet50,
            Self::EfficientnetB0(_) => Family::EfficientnetB0,
            Self::EfficientnetB1(_) => Family::EfficientnetB1,
            Self::EfficientnetB2(_) => Family::EfficientnetB2,
            Self::EfficientnetLite0(_) => Family::EfficientnetLite0,
        }
    }

    /// ResNet-9 without a stem ReLU.
    pub const fn resnet9(width: u32) -> Self {
        Self::Resnet9(CifarResnet {
            width,
            stem_relu: false,
        })
    }

    /// ResNet-18 in its CIFAR form without a stem ReLU.
    pub const fn resnet18(width: u32) -> Self {
        Self::Resnet18(CifarResnet {
            width,
            stem_relu: false,
        })
    }

    /// Why there is no such net, for settings that did not come out of a manifest.
    pub fn problem(&self) -> Option<String> {
        let within = |what: &str, found: u32, most: u32| {
            let fits = (1..=most).contains(&found);
            (!fits).then(|| format!("expected a net of {what} 1 to {most}, found {found}"))
        };
        match self {
            Self::Resnet9(spec) | Self::Resnet18(spec) | Self::Resnet34(spec) => {
                within("width", spec.width, MAX_WIDTH)
            }
            Self::ImagenetResnet18(spec) | Self::ImagenetResnet50(spec) => {
                within("width", spec.width, MAX_WIDTH)
            }
            Self::WideResnet(spec) => within("depth", spec.depth, MAX_DEPTH)
                .or_else(|| within("widening", spec.widen, MAX_WIDEN))
                .or_else(|| depth_problem(spec.depth)),
            Self::EfficientnetB0(_)
            | Self::EfficientnetB1(_)
            | Self::EfficientnetB2(_)
            | Self::EfficientnetLite0(_) => None,
        }
    }

    /// What the net is made of, for inputs of the given size and so many classes.
    pub fn blueprint(&self, input: InputShape, classes: u32) -> Blueprint {
        use efficientnet::{efficientnet, lite0};
        use resnet::{BlockKind, cifar, imagenet};
        match self {
            Self::Resnet9(spec) => cifar(spec, [1, 1, 1, 1], input, classes),
            Self::Resnet18(spec) => cifar(spec, [2, 2, 2, 2], input, classes),
            Self::Resnet34(spec) => cifar(spec, [3, 4, 6, 3], input, classes),
            Self::WideResnet(spec) => wide::wide(spec, input, classes),
            Self::ImagenetResnet18(spec) => {
                imagenet(spec, [2, 2, 2, 2], BlockKind::Basic, input, classes)
            }
            Self::ImagenetResnet50(spec) => {
                imagenet(spec, [3, 4, 6, 3], BlockKind::Bottleneck, input, classes)
            }
            Self::EfficientnetB0(spec) => efficientnet(spec, [10, 10], input, classes),
            Self::EfficientnetB1(spec) => efficientnet(spec, [10, 11], input, classes),
            Self::EfficientnetB2(spec) => efficientnet(spec, [11, 12], input, classes),
            Self::EfficientnetLite0(spec) => lite0(spec, input, classes),
        }
    }

    /// The activation sites in forward order, for inputs of the given size.
    pub fn sites(&self, input: InputShape) -> Vec<Site> {
        self.blueprint(input, 1).sites
    }

    /// The total `T`: the ReLUs that the full network evaluates for one image.
    pub fn relu_total(&self, input: InputShape) -> u64 {
        self.sites(input).iter().map(Site::relus).sum()
    }
}

impl fmt::Display for NetSpec {
    /// The family with the settings that set it apart: `resnet9 of width 8 with a stem ReLU`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().name())?;
        match self {
            Self::Resnet9(spec) | Self::Resnet18(spec) | Self::Resnet34(spec) => {
                write!(f, " of width {}", spec.width)?;
                word(f, spec.stem_relu, " with a stem ReLU")
            }
            Self::WideResnet(spec) => {
                write!(f, " of depth {}, widened {} times", spec.depth, spec.widen)?;
                word(f, spec.final_relu, " with a final ReLU")
            }
            Self::ImagenetResnet18(spec) | Self::ImagenetResnet50(spec) => {
                write!(f, " of width {}", spec.width)?;
                word(f, spec.stem_pool == Pool::Avg, " with average pooling")
            }
            Self::EfficientnetB0(spec)
            | Self::EfficientnetB1(spec)
            | Self::EfficientnetB2(spec) => {
                let published = spec.activation == FullActivation::Published;
                word(f, published, " with SiLU in the full net")?;
                word(f, !spec.se_sites, " without the ReLUs of SE")
            }
            Self::EfficientnetLite0(spec) => {
                let published = spec.activation == FullActivation::Published;
                word(f, published, " with ReLU6 in the full net")
            }
        }
    }
}

fn word(f: &mut fmt::Formatter<'_>, holds: bool, text: &str) -> fmt::Result {
    if holds { f.write_str(text) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
