//! Residual networks (He et al. 2016, arXiv:1512.03385). Tensor names are torchvision's.

use super::blueprint::{Activation, Blueprint, Builder, Layer};
use super::{CifarResnet, ImagenetResnet, InputShape};

/// How a block is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BlockKind {
    /// Two 3 x 3 convolutions.
    Basic,
    /// 1 x 1, 3 x 3 (which has the stride) and 1 x 1 into four times the channels.
    Bottleneck,
}

/// The CIFAR form: a 3 x 3 stem that keeps the resolution, no pooling, four stages of basic
/// blocks of which the later three halve it. ResNet-18 has two blocks per stage, ResNet-9 one.
pub(super) fn cifar(
    spec: &CifarResnet,
    blocks: [u32; 4],
    input: InputShape,
    classes: u32,
) -> Blueprint {
    let mut builder = Builder::new(input);
    let mut layers = vec![builder.conv("conv1".to_owned(), spec.width, 3, 1)];
    layers.push(builder.norm("bn1".to_owned()));
    if spec.stem_relu {
        layers.push(builder.site("stem.act".to_owned()));
    }
    stages(
        &mut builder,
        &mut layers,
        spec.width,
        blocks,
        BlockKind::Basic,
    );
    builder.finish(layers, "fc", classes, Activation::Relu)
}

/// The `ImageNet` form of torchvision: a 7 x 7 stem of stride 2 with ReLU and pooling. The stride
/// of a bottleneck is in its 3 x 3 convolution.
pub(super) fn imagenet(
    spec: &ImagenetResnet,
    blocks: [u32; 4],
    kind: BlockKind,
    input: InputShape,
    classes: u32,
) -> Blueprint {
    let mut builder = Builder::new(input);
    let mut layers = vec![builder.conv("conv1".to_owned(), spec.width, 7, 2)];
    layers.push(builder.norm("bn1".to_owned()));
    layers.push(builder.site("stem.act".to_owned()));
    layers.push(builder.pool(spec.stem_pool));
    stages(&mut builder, &mut layers, spec.width, blocks, kind);
    builder.finish(layers, "fc", classes, Activation::Relu)
}

fn stages(
    builder: &mut Builder,
    layers: &mut Vec<Layer>,
    width: u32,
    blocks: [u32; 4],
    kind: BlockKind,
) {
    for (stage, count) in blocks.into_iter().enumerate() {
        for block in 0..count {
            let name = format!("layer{}.{block}", stage + 1);
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let [sum, act] = residual(
                builder,
                &name,
                width.saturating_mul(1 << stage),
                stride,
                kind,
            );
            layers.push(sum);
            layers.push(act);
        }
    }
}

/// A block: convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes,
/// and the activation of their sum.
fn residual(
    builder: &mut Builder,
    name: &str,
    width: u32,
    stride: u32,
    kind: BlockKind,
) -> [Layer; 2] {
    let part = |part: &str| format!("{name}.{part}");
    // Outputs, kernel, stride.
    let convolutions = match kind {
        BlockKind::Basic => vec![(width, 3, stride), (width, 3, 1)],
        BlockKind::Bottleneck => vec![
            (width, 1, 1),
            (width, 3, stride),
            (width.saturating_mul(4), 1, 1),
        ],
    };
    let start = builder.at;
    let last = convolutions.len();
    let mut main = Vec::new();
    for (at, (outputs, kernel, stride)) in convolutions.into_iter().enumerate() {
        let at = at + 1;
        main.push(builder.conv(part(&format!("conv{at}")), outputs, kernel, stride));
        main.push(builder.norm(part(&format!("bn{at}"))));
        if at < last {
            main.push(builder.site(part(&format!("act{at}"))));
        }
    }
    let end = builder.at;
    let mut shortcut = Vec::new();
    if stride > 1 || start.channels != end.channels {
        builder.at = start;
        shortcut.push(builder.conv(part("downsample.0"), end.channels, 1, stride));
        shortcut.push(builder.norm(part("downsample.1")));
    }
    let act = builder.site(part(&format!("act{last}")));
    [Layer::Sum { main, shortcut }, act]
}
