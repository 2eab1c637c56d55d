//! ResNet in its CIFAR form (He et al. 2016, arXiv:1512.03385): a 3 x 3 stem without pooling, four
//! stages of basic blocks, global average pooling. ResNet-18 has two blocks per stage, ResNet-9
//! one. A shortcut that changes size is a 1 x 1 convolution with batch normalisation.

use autorep_core::net::{InputShape, NetSpec, Site};
use tch::{Device, Tensor};

use super::{Activate, Layout, Param, Phase, Role, init};

const NORM_EPSILON: f64 = 1e-5;
const NORM_MOMENTUM: f64 = 0.1;

/// A residual network with its parameters on one device.
#[derive(Debug)]
pub struct ResNet {
    params: Vec<Param>,
    sites: Vec<Site>,
    stem: ConvNorm,
    stem_relu: bool,
    blocks: Vec<Block>,
    fc_weight: Tensor,
    fc_bias: Tensor,
}

/// A convolution without bias, followed by batch normalisation.
#[derive(Debug)]
struct ConvNorm {
    kernel: Tensor,
    stride: i64,
    padding: i64,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
}

/// A basic block: two 3 x 3 convolutions beside a shortcut.
#[derive(Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl ResNet {
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
        let mut builder = Builder {
            params: Vec::new(),
            sites: Vec::new(),
            seed,
            device,
        };
        let mut channels = i64::from(spec.width);
        let mut size = (input.height, input.width);
        let stem_in = i64::from(input.channels);
        let stem = builder.conv_norm("conv1", "bn1", [stem_in, channels], 3, 1);
        if spec.stem_relu {
            builder.site("stem.act".to_owned(), channels, size);
        }
        let mut blocks = Vec::new();
        for (stage, count) in spec.name.blocks().into_iter().enumerate() {
            let wanted = i64::from(spec.width) << stage;
            for block in 0..count {
                let halve = stage > 0 && block == 0;
                if halve {
                    size = (size.0.div_ceil(2), size.1.div_ceil(2));
                }
                let name = format!("layer{}.{block}", stage + 1);
                blocks.push(builder.block(&name, [channels, wanted], halve, size));
                channels = wanted;
            }
        }
        let classes = i64::from(classes);
        let fc_weight = builder.weight("fc.weight", &[classes, channels]);
        let fc_bias = builder.param("fc.bias", Role::Affine, &init::constant(0.0, classes));
        Self {
            params: builder.params,
            sites: builder.sites,
            stem,
            stem_relu: spec.stem_relu,
            blocks,
            fc_weight,
            fc_bias,
        }
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
        let mut site = 0;
        let mut next = |x: &Tensor| {
            let y = act.activate(site, x);
            site += 1;
            y
        };
        let layout = Layout::of(images.device());
        let mut x = self.stem.forward(&layout.arrange(images), phase);
        // An image of one channel lies the same way in both layouts, which leaves the stem's
        // result in planes. Everything after it keeps the layout that it is given here.
        x = layout.arrange(&x);
        if self.stem_relu {
            x = next(&x);
        }
        for block in &self.blocks {
            let y = next(&block.first.forward(&x, phase));
            let y = block.second.forward(&y, phase);
            x = match &block.shortcut {
                Some(shortcut) => next(&(y + shortcut.forward(&x, phase))),
                None => next(&(y + &x)),
            };
        }
        x.mean_dim(&[2_i64, 3][..], false, tch::Kind::Float)
            .linear(&self.fc_weight, Some(&self.fc_bias))
    }
}

impl ConvNorm {
    fn forward(&self, x: &Tensor, phase: Phase) -> Tensor {
        let padding = [self.padding, self.padding];
        let y = if self.padding == 0 && self.stride > 1 {
            // A 1 x 1 convolution with a stride reads some of the pixels; picking them first is as
            // fast. oneDNN (of libtorch 2.11, AVX2) writes past its buffers when it does the
            // picking on channels-last maps of fewer than eight channels.
            let rows = x.slice(2, None, None, self.stride);
            let picked = rows.slice(3, None, None, self.stride);
            let picked = Layout::of(x.device()).arrange(&picked);
            picked.conv2d::<&Tensor>(&self.kernel, None, [1, 1], padding, [1, 1], 1)
        } else {
            let stride = [self.stride, self.stride];
            x.conv2d::<&Tensor>(&self.kernel, None, stride, padding, [1, 1], 1)
        };
        let (mean, variance) = match phase {
            Phase::Train | Phase::Eval => (Some(&self.mean), Some(&self.variance)),
            Phase::Measure => (None, None),
        };
        y.batch_norm(
            Some(&self.scale),
            Some(&self.shift),
            mean,
            variance,
            phase != Phase::Eval,
            NORM_MOMENTUM,
            NORM_EPSILON,
            true,
        )
    }
}

/// Collects parameters and sites while a net is put together.
struct Builder {
    params: Vec<Param>,
    sites: Vec<Site>,
    /// Decides initial weights; without one they are zero.
    seed: Option<u64>,
    device: Device,
}

impl Builder {
    fn weight(&mut self, name: &str, shape: &[i64]) -> Tensor {
        let initial = match self.seed {
            Some(seed) => init::kaiming_normal(seed, name, shape),
            None => Tensor::zeros(shape, (tch::Kind::Float, Device::Cpu)),
        };
        self.param(name, Role::Weight, &initial)
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

    fn site(&mut self, name: String, channels: i64, (height, width): (u32, u32)) {
        self.sites.push(Site {
            name,
            channels: u32::try_from(channels).unwrap_or(u32::MAX),
            height,
            width,
        });
    }

    /// A square convolution that pads by half its size, then batch normalisation.
    fn conv_norm(
        &mut self,
        conv: &str,
        norm: &str,
        [inputs, outputs]: [i64; 2],
        size: i64,
        stride: i64,
    ) -> ConvNorm {
        let name = format!("{conv}.weight");
        let kernel = self.weight(&name, &[outputs, inputs, size, size]);
        let mut norm = |part: &str, role, value| {
            self.param(
                &format!("{norm}.{part}"),
                role,
                &init::constant(value, outputs),
            )
        };
        ConvNorm {
            kernel,
            stride,
            padding: size / 2,
            scale: norm("weight", Role::Affine, 1.0),
            shift: norm("bias", Role::Affine, 0.0),
            mean: norm("running_mean", Role::Statistic, 0.0),
            variance: norm("running_var", Role::Statistic, 1.0),
        }
    }

    fn block(
        &mut self,
        name: &str,
        [inputs, outputs]: [i64; 2],
        halve: bool,
        size: (u32, u32),
    ) -> Block {
        let stride = if halve { 2 } else { 1 };
        let part = |part: &str| format!("{name}.{part}");
        let first = self.conv_norm(&part("conv1"), &part("bn1"), [inputs, outputs], 3, stride);
        self.site(part("act1"), outputs, size);
        let second = self.conv_norm(&part("conv2"), &part("bn2"), [outputs, outputs], 3, 1);
        let shortcut = (halve || inputs != outputs).then(|| {
            let (conv, norm) = (part("downsample.0"), part("downsample.1"));
            self.conv_norm(&conv, &norm, [inputs, outputs], 1, stride)
        });
        self.site(part("act2"), outputs, size);
        Block {
            first,
            second,
            shortcut,
        }
    }
}

#[cfg(test)]
mod tests {
    use autorep_core::net::Family;
    use tch::Kind;

    use super::*;

    fn input(channels: u32, height: u32, width: u32) -> InputShape {
        InputShape {
            channels,
            height,
            width,
        }
    }

    /// Checks that each site sees the shape that it claims.
    struct Witness {
        sites: Vec<Site>,
        seen: usize,
    }

    impl Activate for Witness {
        fn activate(&mut self, site: usize, x: &Tensor) -> Tensor {
            let claimed = &self.sites[site];
            let claimed = [claimed.channels, claimed.height, claimed.width].map(i64::from);
            assert_eq!(x.size()[1..], claimed, "at {}", self.sites[site].name);
            assert_eq!(site, self.seen, "sites come in forward order");
            self.seen += 1;
            x.relu()
        }
    }

    #[test]
    fn sites_equal_those_that_the_plan_counts_and_have_the_shapes_that_they_claim() {
        for name in Family::ALL {
            for stem_relu in [false, true] {
                for input in [input(1, 28, 28), input(3, 32, 32), input(2, 17, 9)] {
                    let spec = NetSpec {
                        name,
                        width: 4,
                        stem_relu,
                    };
                    let net = ResNet::new(&spec, input, 10, 0, Device::Cpu);
                    assert_eq!(net.sites(), spec.sites(input));
                    let size = [2, input.channels, input.height, input.width].map(i64::from);
                    let images = Tensor::zeros(size, (Kind::Float, Device::Cpu));
                    let mut witness = Witness {
                        sites: spec.sites(input),
                        seen: 0,
                    };
                    let logits = net.forward(&images, Phase::Eval, &mut witness);
                    assert_eq!(logits.size(), [2, 10]);
                    assert_eq!(witness.seen, spec.sites(input).len());
                }
            }
        }
    }

    /// The keys and shapes of torchvision's resnet18, but for the stem's size, the number of
    /// classes and `num_batches_tracked`.
    #[test]
    fn parameter_names_are_torchvisions() {
        let spec = NetSpec {
            name: Family::Resnet18,
            width: 64,
            stem_relu: true,
        };
        let net = ResNet::new(&spec, input(3, 32, 32), 100, 0, Device::Cpu);
        assert_eq!(net.params().len(), 102);
        let shape = |wanted: &str| {
            let param = net.params().iter().find(|param| param.name == wanted);
            param.map(|param| param.tensor.size())
        };
        assert_eq!(shape("conv1.weight"), Some(vec![64, 3, 3, 3]));
        assert_eq!(shape("bn1.running_mean"), Some(vec![64]));
        assert_eq!(shape("layer2.0.conv1.weight"), Some(vec![128, 64, 3, 3]));
        assert_eq!(
            shape("layer2.0.downsample.0.weight"),
            Some(vec![128, 64, 1, 1])
        );
        assert_eq!(shape("layer2.0.downsample.1.running_var"), Some(vec![128]));
        assert_eq!(shape("layer1.0.downsample.0.weight"), None);
        assert_eq!(shape("layer4.1.bn2.bias"), Some(vec![512]));
        assert_eq!(shape("fc.weight"), Some(vec![100, 512]));
    }

    #[test]
    fn initial_weights_depend_on_the_seed_alone_and_have_the_right_spread() {
        let spec = NetSpec {
            name: Family::Resnet9,
            width: 16,
            stem_relu: false,
        };
        let kernel = |seed| {
            let net = ResNet::new(&spec, input(1, 28, 28), 10, seed, Device::Cpu);
            let param = net
                .params()
                .iter()
                .find(|p| p.name == "layer3.0.conv2.weight");
            param.unwrap().tensor.detach().copy()
        };
        assert!(kernel(3).equal(&kernel(3)));
        assert!(!kernel(3).equal(&kernel(4)));
        let deviation = kernel(3).std(false).double_value(&[]);
        let wanted = (2.0_f64 / (64.0 * 9.0)).sqrt();
        assert!(
            (deviation / wanted - 1.0).abs() < 0.03,
            "{deviation} against {wanted}"
        );
    }

    #[test]
    fn measuring_leaves_running_statistics_alone_and_training_does_not() {
        let spec = NetSpec {
            name: Family::Resnet9,
            width: 4,
            stem_relu: false,
        };
        let net = ResNet::new(&spec, input(1, 8, 8), 10, 0, Device::Cpu);
        let images = Tensor::ones([4, 1, 8, 8], (Kind::Float, Device::Cpu)) * 3.0;
        let mean = || {
            let param = net.params().iter().find(|p| p.name == "bn1.running_mean");
            param.unwrap().tensor.copy()
        };
        let before = mean();
        let _logits = net.forward(&images, Phase::Measure, &mut super::super::Relu);
        assert!(mean().equal(&before));
        let _logits = net.forward(&images, Phase::Train, &mut super::super::Relu);
        assert!(!mean().equal(&before));
    }
}
