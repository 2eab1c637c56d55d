//! `EfficientNet`s (Tan and Le 2019, arXiv:1905.11946) as torchvision builds them, with its tensor
//! names, and EfficientNet-Lite0, which is B0 without squeeze and excitation, as its authors
//! published it for `TensorFlow`; its tensor names are those of its `PyTorch` port.

use super::blueprint::{Activation, Blueprint, Builder, Layer, Padding};
use super::{Efficientnet, FullActivation, InputShape, Lite};

/// One stage of B0: expansion, kernel, stride, channels, blocks.
const STAGES: [[u32; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];

const STEM: u32 = 32;

/// B0 stretched: `width` and `depth` are the factors on channels and blocks, in tenths.
pub(super) fn efficientnet(
    spec: &Efficientnet,
    [width, depth]: [u32; 2],
    input: InputShape,
    classes: u32,
) -> Blueprint {
    let mut builder = Builder::new(input);
    let mut layers = conv_norm_act(&mut builder, "features.0", stretched(STEM, width), 3, 2);
    for (stage, [expansion, kernel, stride, channels, blocks]) in STAGES.into_iter().enumerate() {
        let outputs = stretched(channels, width);
        for block in 0..(blocks * depth).div_ceil(10) {
            let name = format!("features.{}.{block}", stage + 1);
            let stride = if block == 0 { stride } else { 1 };
            let shape = [expansion, kernel, stride, outputs];
            inverted(&mut builder, &mut layers, &name, shape, spec.se_sites);
        }
    }
    let head = 4 * builder.at.channels;
    let name = format!("features.{}", STAGES.len() + 1);
    layers.extend(conv_norm_act(&mut builder, &name, head, 1, 1));
    let activation = match spec.activation {
        FullActivation::Relu => Activation::Relu,
        FullActivation::Published => Activation::Silu,
    };
    builder.finish(layers, "classifier.1", classes, activation)
}

/// Channels times a factor in tenths, to the nearest multiple of eight, but never below nine
/// tenths of the exact product.
fn stretched(channels: u32, tenths: u32) -> u32 {
    let exact = channels * tenths;
    let near = ((exact + 40) / 80 * 8).max(8);
    if near * 100 < exact * 9 {
        near + 8
    } else {
        near
    }
}

fn conv_norm_act(
    builder: &mut Builder,
    name: &str,
    outputs: u32,
    kernel: u32,
    stride: u32,
) -> Vec<Layer> {
    vec![
        builder.conv(format!("{name}.0"), outputs, kernel, stride),
        builder.norm(format!("{name}.1")),
        builder.site(format!("{name}.act")),
    ]
}

/// An inverted bottleneck: expand, convolve each channel, squeeze and excite, project. It has a
/// shortcut where it keeps the shape.
fn inverted(
    builder: &mut Builder,
    layers: &mut Vec<Layer>,
    name: &str,
    [expansion, kernel, stride, outputs]: [u32; 4],
    se_sites: bool,
) {
    let inputs = builder.at.channels;
    let mut main = Vec::new();
    let mut at = 0;
    let mut next = || {
        at += 1;
        format!("{name}.block.{}", at - 1)
    };
    if expansion > 1 {
        main.extend(conv_norm_act(builder, &next(), inputs * expansion, 1, 1));
    }
    let depthwise = next();
    main.extend([
        builder.depthwise(format!("{depthwise}.0"), kernel, stride),
        builder.norm(format!("{depthwise}.1")),
        builder.site(format!("{depthwise}.act")),
    ]);
    let squeeze = next();
    let site = se_sites.then(|| format!("{squeeze}.act"));
    main.push(builder.gate(&squeeze, (inputs / 4).max(1), site));
    let project = next();
    main.push(builder.conv(format!("{project}.0"), outputs, 1, 1));
    main.push(builder.norm(format!("{project}.1")));
    close(layers, main, stride == 1 && inputs == outputs);
}

/// Adds a block's layers, beside a shortcut or not.
fn close(layers: &mut Vec<Layer>, main: Vec<Layer>, keeps_shape: bool) {
    if keeps_shape {
        let shortcut = Vec::new();
        layers.push(Layer::Sum { main, shortcut });
    } else {
        layers.extend(main);
    }
}

/// EfficientNet-Lite0: `TensorFlow`'s padding and batch normalisation.
pub(super) fn lite0(spec: &Lite, input: InputShape, classes: u32) -> Blueprint {
    let mut builder = Builder::new(input);
    builder.padding = Padding::Same;
    builder.norm = (1e-3, 0.01);
    let mut layers = vec![
        builder.conv("_conv_stem".to_owned(), STEM, 3, 2),
        builder.norm("_bn0".to_owned()),
        builder.site("stem.act".to_owned()),
    ];
    let mut at = 0;
    for [expansion, kernel, stride, outputs, blocks] in STAGES {
        for block in 0..blocks {
            let name = format!("_blocks.{at}");
            let stride = if block == 0 { stride } else { 1 };
            lite_block(
                &mut builder,
                &mut layers,
                &name,
                [expansion, kernel, stride, outputs],
            );
            at += 1;
        }
    }
    layers.extend([
        builder.conv("_conv_head".to_owned(), 4 * STAGES[6][3], 1, 1),
        builder.norm("_bn1".to_owned()),
        builder.site("head.act".to_owned()),
    ]);
    let activation = match spec.activation {
        FullActivation::Relu => Activation::Relu,
        FullActivation::Published => Activation::Relu6,
    };
    builder.finish(layers, "_fc", classes, activation)
}

fn lite_block(
    builder: &mut Builder,
    layers: &mut Vec<Layer>,
    name: &str,
    [expansion, kernel, stride, outputs]: [u32; 4],
) {
    let part = |part: &str| format!("{name}.{part}");
    let inputs = builder.at.channels;
    let mut main = Vec::new();
    if expansion > 1 {
        main.extend([
            builder.conv(part("_expand_conv"), inputs * expansion, 1, 1),
            builder.norm(part("_bn0")),
            builder.site(part("act0")),
        ]);
    }
    main.extend([
        builder.depthwise(part("_depthwise_conv"), kernel, stride),
        builder.norm(part("_bn1")),
        builder.site(part("act1")),
        builder.conv(part("_project_conv"), outputs, 1, 1),
        builder.norm(part("_bn2")),
    ]);
    close(layers, main, stride == 1 && inputs == outputs);
}
