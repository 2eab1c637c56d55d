//! The keys that name files of weights. A file and its digest belong together.

use super::{Fallback, Field, Kind, Target};

const fn file(default: &'static str, doc: &'static str) -> Field {
    Field {
        key: "weights",
        kind: Kind::WeightsFile,
        default: Fallback::Derived(default),
        doc,
        place: Target::Own,
    }
}

const DIGEST: Field = Field {
    key: "weights_sha256",
    kind: Kind::Sha256,
    default: Fallback::Derived("none; required with weights"),
    doc: "SHA-256 of that file, in hexadecimal digits.",
    place: Target::Own,
};

/// What a baseline starts from.
pub(super) const BASELINE: &[Field] = &[
    file(
        "random weights",
        "A file of weights to start from, below `weights` beside the data sets: safetensors or a PyTorch state dict with torchvision's names. With 0 epochs the baseline is these weights as they are.",
    ),
    DIGEST,
];

/// What a teacher is.
pub(super) const TEACHER: &[Field] = &[
    file(
        "none; required with a teacher",
        "The file of the teacher's weights, below `weights` beside the data sets: safetensors or a PyTorch state dict with torchvision's names.",
    ),
    DIGEST,
];
