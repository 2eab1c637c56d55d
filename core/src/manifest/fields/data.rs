//! The keys of `spec.data`.

use super::{Fallback, Field, Kind, Target};

/// Its fields, in order.
pub(super) const FIELDS: &[Field] = &[
    Field {
        key: "name",
        kind: Kind::Choice(&[
            "fashion-mnist",
            "cifar-10",
            "cifar-100",
            "tiny-imagenet",
            "imagenet",
        ]),
        default: Fallback::Required,
        doc: "The data set.",
        place: Target::Fixed(choice!(data.name)),
    },
    Field {
        key: "train_limit",
        kind: Kind::Count {
            min: 1,
            max: 10_000_000,
        },
        default: Fallback::Derived("all images that are not held out for validation"),
        doc: "Training images to use.",
        place: Target::Axis(count!(data.train)),
    },
    Field {
        key: "validation",
        kind: Kind::Count {
            min: 1,
            max: 10_000_000,
        },
        default: Fallback::Count(5_000),
        doc: "Images held out of the training part, on which every choice is made.",
        place: Target::Fixed(count!(data.validation)),
    },
    Field {
        key: "augment",
        kind: Kind::Switch,
        default: Fallback::Switch(true),
        doc: "Whether training images are flipped and cropped at random.",
        place: Target::Axis(switch!(data.augment)),
    },
    Field {
        key: "max_corrupt",
        kind: Kind::Count {
            min: 0,
            max: 1_000_000,
        },
        default: Fallback::Count(0),
        doc: "Images that may fail to decode and are skipped; with one more the attempt fails and names them. Without effect on sets that are not one JPEG per image.",
        place: Target::Fixed(count!(data.max_corrupt)),
    },
    Field {
        key: "normalise",
        kind: Kind::Choice(&["statistics", "centred"]),
        default: Fallback::Derived(
            "statistics; centred for efficientnet-lite0 from baseline.weights",
        ),
        doc: "With what pixels are normalised: the data set's mean and deviation, or (x - 127) / 128 as EfficientNet-Lite was published with.",
        place: Target::Fixed(choice!(data.preparation.normalise)),
    },
    Field {
        key: "interpolation",
        kind: Kind::Choice(&["bilinear", "bicubic"]),
        default: Fallback::Derived("bilinear; bicubic for EfficientNets from baseline.weights"),
        doc: "How images are resized, in training and when a net is measured. Of imagenet alone.",
        place: Target::Fixed(choice!(data.preparation.interpolation)),
    },
    Field {
        key: "resize",
        kind: Kind::Count {
            min: 224,
            max: 4_096,
        },
        default: Fallback::Derived("256"),
        doc: "Pixels of an image's shorter side before the centre crop of 224, when a net is measured. Of imagenet alone.",
        place: Target::Fixed(|target, value| {
            target.data.preparation.resize = Some(value.count()?);
            Some(())
        }),
    },
];
