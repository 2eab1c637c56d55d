//! Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146): pre-activation blocks
//! in three groups of 16, 32 and 64 channels times a widening factor. Tensor names are those of
//! the `PyTorch` port that the papers on ReLU budgets build on.

use super::blueprint::{Activation, Blueprint, Builder, Layer};
use super::{InputShape, WideResnet};

/// The net: a 3 x 3 stem without normalisation or activation, the groups, a last batch
/// normalisation (followed by ReLU only if `final_relu`), pooling and a linear layer.
pub(super) fn wide(spec: &WideResnet, input: InputShape, classes: u32) -> Blueprint {
    let mut builder = Builder::new(input);
    let mut layers = vec![builder.conv("conv1".to_owned(), 16, 3, 1)];
    for group in 0..3_u32 {
        let outputs = spec.widen.saturating_mul(16 << group);
        for block in 0..spec.blocks_per_group() {
            let name = format!("block{}.layer.{block}", group + 1);
            let stride = if group > 0 && block == 0 { 2 } else { 1 };
            self::block(&mut builder, &mut layers, &name, outputs, stride);
        }
    }
    layers.push(builder.norm("bn1".to_owned()));
    if spec.final_relu {
        layers.push(builder.site("final.act".to_owned()));
    }
    builder.finish(layers, "fc", classes, Activation::Relu)
}

/// A block. Where the channels change, the shortcut is a 1 x 1 convolution of the activated input;
/// elsewhere it is the input itself.
fn block(builder: &mut Builder, layers: &mut Vec<Layer>, name: &str, outputs: u32, stride: u32) {
    let part = |part: &str| format!("{name}.{part}");
    let start = builder.at;
    let first = [builder.norm(part("bn1")), builder.site(part("act1"))];
    let mut main = vec![
        builder.conv(part("conv1"), outputs, 3, stride),
        builder.norm(part("bn2")),
        builder.site(part("act2")),
        builder.conv(part("conv2"), outputs, 3, 1),
    ];
    let mut shortcut = Vec::new();
    if start.channels == outputs {
        main.splice(0..0, first);
    } else {
        layers.extend(first);
        builder.at = start;
        shortcut.push(builder.conv(part("convShortcut"), outputs, 1, stride));
    }
    layers.push(Layer::Sum { main, shortcut });
}
