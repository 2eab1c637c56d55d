use autorep_core::net::{CifarResnet, Family, NetSettings, Pool};
use tch::Kind;

use super::*;

fn input(channels: u32, height: u32, width: u32) -> InputShape {
    InputShape {
        channels,
        height,
        width,
    }
}

/// A narrow net of the family, with every activation that it may have or without the optional
/// ones.
fn small(family: Family, extra: bool) -> NetSpec {
    NetSettings {
        width: 4,
        widen: 1,
        depth: 10,
        stem_relu: extra,
        final_relu: extra,
        se_sites: extra,
        stem_pool: if extra { Pool::Max } else { Pool::Avg },
        ..family.default_settings()
    }
    .spec()
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
    for family in Family::ALL {
        for extra in [false, true] {
            for input in [input(1, 28, 28), input(3, 32, 32), input(2, 17, 9)] {
                let spec = small(family, extra);
                let net = Net::new(&spec, input, 10, 0, Device::Cpu);
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
    let spec = NetSpec::Resnet18(CifarResnet {
        width: 64,
        stem_relu: true,
    });
    let net = Net::new(&spec, input(3, 32, 32), 100, 0, Device::Cpu);
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
    let spec = NetSpec::resnet9(16);
    let kernel = |seed| {
        let net = Net::new(&spec, input(1, 28, 28), 10, seed, Device::Cpu);
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
    let spec = NetSpec::resnet9(4);
    let net = Net::new(&spec, input(1, 8, 8), 10, 0, Device::Cpu);
    let images = Tensor::ones([4, 1, 8, 8], (Kind::Float, Device::Cpu)) * 3.0;
    let mean = || {
        let param = net.params().iter().find(|p| p.name == "bn1.running_mean");
        param.unwrap().tensor.copy()
    };
    let before = mean();
    let _logits = net.forward(&images, Phase::Measure, &mut Full(Activation::Relu));
    assert!(mean().equal(&before));
    let _logits = net.forward(&images, Phase::Train, &mut Full(Activation::Relu));
    assert!(!mean().equal(&before));
}

/// Every net trains: each weight of each family has a gradient.
#[test]
fn every_weight_of_every_net_has_a_gradient() {
    for family in Family::ALL {
        let net = Net::new(&small(family, true), input(3, 32, 32), 10, 0, Device::Cpu);
        let images = Tensor::arange(2 * 3 * 32 * 32, (Kind::Float, Device::Cpu))
            .sin()
            .view([2, 3, 32, 32]);
        let labels = Tensor::from_slice(&[3_i64, 7]);
        let loss = net
            .full(&images, Phase::Train)
            .cross_entropy_for_logits(&labels);
        loss.backward();
        for param in net.params() {
            let gradient = param.tensor.grad();
            assert_eq!(
                gradient.defined(),
                param.role != Role::Statistic,
                "{family:?} {}",
                param.name
            );
            if param.role == Role::Weight {
                let size = gradient.abs().sum(Kind::Double).double_value(&[]);
                assert!(size > 0.0 && size.is_finite(), "{family:?} {}", param.name);
            }
        }
    }
}

#[test]
fn the_full_activation_is_what_the_spec_says_and_uncounted_ones_follow_it() {
    let x = Tensor::from_slice(&[-1.0_f32, 0.5, 7.0]);
    let values = |activation| {
        let mut full = Full(activation);
        let (site, uncounted) = (full.activate(0, &x), full.uncounted(&x));
        assert!(site.equal(&uncounted));
        Vec::<f32>::try_from(&site).unwrap()
    };
    assert_eq!(values(Activation::Relu), [0.0, 0.5, 7.0]);
    assert_eq!(values(Activation::Relu6), [0.0, 0.5, 6.0]);
    // x / (1 + e^-x)
    let by_hand = [-0.268_941_4, 0.311_229_6, 6.993_622];
    for (value, wanted) in values(Activation::Silu).into_iter().zip(by_hand) {
        assert!((value - wanted).abs() < 1e-5, "{value} against {wanted}");
    }
}

/// `TensorFlow`'s SAME padding of a 3 x 3 convolution with stride 2: an even side of four has one
/// zero at its end, an odd one of five has one at each end.
#[test]
fn same_padding_puts_an_odd_zero_at_the_end() {
    let conv = |length: i64| {
        let spec = Family::EfficientnetLite0.default_settings().spec();
        let net = Net::blank(&spec, input(3, 8, 8), 10, Device::Cpu);
        let kernel = &net.params()[0];
        assert_eq!(kernel.name, "_conv_stem.weight");
        // The first output channel sees the first input channel's top left corner alone.
        tch::no_grad(|| {
            let _corner = kernel.tensor.get(0).get(0).get(0).get(0).fill_(1.0);
        });
        let image = Tensor::arange(length, (Kind::Float, Device::Cpu)) + 1.0;
        let image = image
            .view([1, 1, 1, -1])
            .expand([1, 3, length, length], false);
        let mut first = None;
        if let layers::Step::Conv(stem) = &net.steps[0] {
            first = Some(stem.forward(&image.contiguous()));
        }
        let row = first.unwrap().get(0).get(0).get(1);
        Vec::<f32>::try_from(&row).unwrap()
    };
    assert_eq!(conv(4), [1.0, 3.0]);
    assert_eq!(conv(5), [0.0, 2.0, 4.0]);
}

/// Both layouts compute one function. With an activation that has no kink, because at a kink
/// rounding decides which of two gradients is right.
#[test]
fn channels_last_and_planes_give_the_same_logits_and_gradients() {
    let smooth = |layout: fn()| {
        layout();
        let shape = input(1, 28, 28);
        [1, 2, 7, 8, 16].map(|width| {
            let net = Net::new(&NetSpec::resnet9(width), shape, 10, 3, Device::Cpu);
            let images = Tensor::arange(32 * 784, (Kind::Double, Device::Cpu)) * 12.9898;
            let images = (images.sin() * 43_758.5).frac().to_kind(Kind::Float);
            let labels = Tensor::arange(32, (Kind::Int64, Device::Cpu)).remainder(10);
            let images = images.view([32, 1, 28, 28]);
            let logits = net.forward(&images, Phase::Train, &mut Full(Activation::Silu));
            let loss = crate::loss::cross_entropy(&logits, &labels, 0.0);
            let trained = net.params().iter().map(|param| &param.tensor);
            let trained: Vec<&Tensor> = trained.filter(|x| x.requires_grad()).collect();
            let mut all = Tensor::run_backward(&[&loss], &trained, false, false);
            all.push(logits.detach());
            all
        })
    };
    let last = smooth(|| {});
    let planes = smooth(Layout::use_planes);
    for (at, (last, planes)) in last.iter().zip(&planes).enumerate() {
        for (tensor, (last, planes)) in last.iter().zip(planes).enumerate() {
            let apart = (last - planes).norm().double_value(&[]);
            let relative = apart / planes.norm().double_value(&[]).max(1e-6);
            assert!(relative < 5e-4, "net {at}, tensor {tensor}: {relative}");
        }
    }
}

#[test]
fn a_folded_net_says_what_its_net_says_in_evaluation() {
    for family in Family::ALL {
        for extra in [false, true] {
            let spec = small(family, extra);
            let net = Net::new(&spec, input(3, 40, 40), 10, 3, Device::Cpu);
            tch::manual_seed(1);
            for param in net.params() {
                let mut tensor = param.tensor.detach();
                if param.role == Role::Statistic || param.role == Role::Affine {
                    tensor += tensor.rand_like() * 0.5;
                }
            }
            let images = Tensor::randn([3, 3, 40, 40], (Kind::Float, Device::Cpu));
            let wanted = tch::no_grad(|| net.full(&images, Phase::Eval));
            let got = tch::no_grad(|| net.folded().full(&images, Phase::Eval));
            let off = (&got - &wanted).abs().max() / wanted.abs().max();
            let off = off.double_value(&[]);
            assert!(off < 5e-4, "{family:?}: {off:e}");
        }
    }
}
