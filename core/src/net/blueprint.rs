//! A net as a list of layers with names, sizes and no tensors. Sites, costs and the trainer's
//! tensors are all made from it, so that they cannot disagree.

use super::{InputShape, Site};

/// A whole net, for images of one size.
#[derive(Clone, PartialEq, Debug)]
pub struct Blueprint {
    /// The layers in forward order.
    pub layers: Vec<Layer>,
    /// The activation sites in forward order; [`Layer::Site`] points here.
    pub sites: Vec<Site>,
    /// What the net computes at its sites, and in [`Layer::Uncounted`], while it is full.
    pub activation: Activation,
}

/// A non-linear function of one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `min(max(0, x), 6)`.
    Relu6,
}

/// One step of a net's forward pass. What it is applied to has the shape
/// [batch, channels, height, width] up to [`Layer::Mean`], and [batch, features] after it.
#[derive(Clone, PartialEq, Debug)]
pub enum Layer {
    /// A convolution.
    Conv(Conv),
    /// Batch normalisation.
    Norm(Norm),
    /// The activation at the site with this index.
    Site(usize),
    /// An activation that is no site: it is neither counted nor replaced.
    Uncounted,
    /// Pooling over 3 x 3 windows at every second row and column, padded by one.
    Pool(Pool),
    /// The sum of two branches; one without layers is the input itself.
    Sum {
        /// Computed first.
        main: Vec<Layer>,
        /// Computed second.
        shortcut: Vec<Layer>,
    },
    /// Squeeze and excitation (Hu et al. 2018, arXiv:1709.01507): the input times the sigmoid of
    /// these layers applied to its mean over all pixels.
    Gate(Vec<Layer>),
    /// The mean over all pixels.
    Mean,
    /// A linear layer with a bias.
    Linear(Linear),
}

/// A square convolution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conv {
    /// The module's name: its tensors are `NAME.weight` and, with a bias, `NAME.bias`.
    pub name: String,
    /// Channels in.
    pub inputs: u32,
    /// Channels out.
    pub outputs: u32,
    /// Rows and columns of the kernel.
    pub kernel: u32,
    /// Step between the places where it is applied.
    pub stride: u32,
    /// Groups of channels that do not see each other; as many as channels for a depthwise one.
    pub groups: u32,
    /// Whether it has a bias.
    pub bias: bool,
    /// Zeros around its input.
    pub padding: Padding,
    /// Rows and columns of its output.
    pub size: (u32, u32),
}

/// Zeros around a convolution's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// Half the kernel on every side, as in `PyTorch`.
    Half,
    /// As many as `size / stride`, rounded up, places need; an odd one goes to the bottom and to
    /// the right: `TensorFlow`'s `SAME`.
    Same,
}

/// Batch normalisation over the channels of a feature map.
#[derive(Clone, PartialEq, Debug)]
pub struct Norm {
    /// The module's name: its tensors are `NAME.weight`, `NAME.bias`, `NAME.running_mean` and
    /// `NAME.running_var`.
    pub name: String,
    /// Channels.
    pub channels: u32,
    /// Added to the variance.
    pub epsilon: f64,
    /// Weight of a batch in the running statistics.
    pub momentum: f64,
}

/// How windows are pooled.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The greatest value, as published. Its comparisons are no ReLUs and are not counted, but
    /// private inference pays for them.
    Max,
    /// The mean, with zeros outside of the image, which private inference has nearly for free.
    Avg,
}

/// A linear layer with a bias.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Linear {
    /// The module's name: its tensors are `NAME.weight` and `NAME.bias`.
    pub name: String,
    /// Features in.
    pub inputs: u32,
    /// Features out.
    pub outputs: u32,
}

impl Blueprint {
    /// Calls `visit` with every layer in forward order, those inside of others too.
    pub fn each(&self, visit: &mut dyn FnMut(&Layer)) {
        each(&self.layers, visit);
    }
}

fn each(layers: &[Layer], visit: &mut dyn FnMut(&Layer)) {
    for layer in layers {
        visit(layer);
        for branch in layer.branches() {
            each(branch, visit);
        }
    }
}

impl Layer {
    /// The layers inside of it, branch by branch in forward order.
    pub fn branches(&self) -> [&[Layer]; 2] {
        match self {
            Self::Sum { main, shortcut } => [main, shortcut],
            Self::Gate(inner) => [inner, &[]],
            Self::Conv(_)
            | Self::Norm(_)
            | Self::Site(_)
            | Self::Uncounted
            | Self::Pool(_)
            | Self::Mean
            | Self::Linear(_) => [&[], &[]],
        }
    }
}

impl Conv {
    /// Multiply-accumulates of one forward pass of one image.
    pub fn macs(&self) -> u128 {
        let per_group = self.inputs / self.groups.max(1);
        [
            self.size.0,
            self.size.1,
            per_group,
            self.outputs,
            self.kernel,
            self.kernel,
        ]
        .into_iter()
        .map(u128::from)
        .fold(1, u128::saturating_mul)
    }
}

/// Puts layers together while it keeps track of the feature map's shape.
pub(super) struct Builder {
    /// The shape after the last layer.
    pub(super) at: InputShape,
    /// What convolutions are padded by.
    pub(super) padding: Padding,
    /// Epsilon and momentum of batch normalisation.
    pub(super) norm: (f64, f64),
    sites: Vec<Site>,
}

impl Builder {
    /// With the padding and the batch normalisation that are `PyTorch`'s defaults.
    pub(super) fn new(input: InputShape) -> Self {
        Self {
            at: input,
            padding: Padding::Half,
            norm: (1e-5, 0.1),
            sites: Vec::new(),
        }
    }

    /// A convolution without bias of all channels into `outputs`.
    pub(super) fn conv(&mut self, name: String, outputs: u32, kernel: u32, stride: u32) -> Layer {
        Layer::Conv(self.plain(name, outputs, kernel, stride))
    }

    fn plain(&mut self, name: String, outputs: u32, kernel: u32, stride: u32) -> Conv {
        let inputs = self.at.channels;
        // With both paddings and an odd kernel, each place that the stride reaches is kept.
        let size = (
            self.at.height.div_ceil(stride),
            self.at.width.div_ceil(stride),
        );
        self.at = InputShape {
            channels: outputs,
            height: size.0,
            width: size.1,
        };
        Conv {
            name,
            inputs,
            outputs,
            kernel,
            stride,
            groups: 1,
            bias: false,
            padding: self.padding,
            size,
        }
    }

    /// A convolution of each channel by itself.
    pub(super) fn depthwise(&mut self, name: String, kernel: u32, stride: u32) -> Layer {
        let channels = self.at.channels;
        Layer::Conv(Conv {
            groups: channels,
            ..self.plain(name, channels, kernel, stride)
        })
    }

    pub(super) fn norm(&self, name: String) -> Layer {
        Layer::Norm(Norm {
            name,
            channels: self.at.channels,
            epsilon: self.norm.0,
            momentum: self.norm.1,
        })
    }

    /// An activation site.
    pub(super) fn site(&mut self, name: String) -> Layer {
        self.sites.push(Site {
            name,
            channels: self.at.channels,
            height: self.at.height,
            width: self.at.width,
        });
        Layer::Site(self.sites.len() - 1)
    }

    pub(super) fn pool(&mut self, pool: Pool) -> Layer {
        self.at.height = self.at.height.div_ceil(2);
        self.at.width = self.at.width.div_ceil(2);
        Layer::Pool(pool)
    }

    /// Squeeze and excitation with a site between its two convolutions if `site` names one.
    pub(super) fn gate(&mut self, name: &str, squeezed: u32, site: Option<String>) -> Layer {
        let outer = self.at;
        self.at = InputShape {
            height: 1,
            width: 1,
            ..outer
        };
        let mut conv = |part: &str, outputs| {
            let conv = self.plain(format!("{name}.{part}"), outputs, 1, 1);
            Layer::Conv(Conv { bias: true, ..conv })
        };
        let squeeze = conv("fc1", squeezed);
        let excite = conv("fc2", outer.channels);
        let between = match site {
            Some(site) => {
                self.at.channels = squeezed;
                self.site(site)
            }
            None => Layer::Uncounted,
        };
        self.at = outer;
        Layer::Gate(vec![squeeze, between, excite])
    }

    /// Global average pooling and a linear layer, which end a net.
    pub(super) fn finish(
        self,
        mut layers: Vec<Layer>,
        linear: &str,
        classes: u32,
        activation: Activation,
    ) -> Blueprint {
        layers.push(Layer::Mean);
        layers.push(Layer::Linear(Linear {
            name: linear.to_owned(),
            inputs: self.at.channels,
            outputs: classes,
        }));
        Blueprint {
            layers,
            sites: self.sites,
            activation,
        }
    }
}
