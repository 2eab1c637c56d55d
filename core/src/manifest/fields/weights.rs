//! The keys that name the weights a baseline starts from.

use super::{Fallback, Field, Kind, Target};

/// The fields, in order. A file and its digest belong together.
pub(super) const FIELDS: &[Field] = &[
    Field {
        key: "weights",
        kind: Kind::WeightsFile,
        default: Fallback::Derived("random weights"),
        doc: "A file of weights to start from, below `weights` in the data folder: safetensors or a PyTorch state dict with torchvision's names. With 0 epochs the baseline is these weights as they are.",
        place: Target::Own,
    },
    Field {
        key: "weights_sha256",
        kind: Kind::Sha256,
        default: Fallback::Derived("none; required with weights"),
        doc: "SHA-256 of that file, in hexadecimal digits.",
        place: Target::Own,
    },
];
