//! Checkpoints on disk: a folder with the named tensors, one JSON document and one line of metrics
//! per finished epoch.
//!
//! Keys of tensors: `net.` with a parameter's name, `site.NAME.` with `indicators`,
//! `coefficients` or `latents`, and in resume checkpoints also `optim.weights.` and
//! `optim.latents.` with buffers, `best.` with the selected epoch's net, `ema.` with the moving
//! average, `running.` with running averages, and `snapshot.bB.` with the snapshot at budget `B`.
//! The same state gives the same bytes.
//!
//! Indicators are packed: one bit per element of the site in flat order, the first in the lowest
//! bit of the first byte, the last byte filled up with zeros; as u8 of shape `[bytes]`.

mod pack;
mod read;
mod write;

use std::path::PathBuf;

use autorep_core::observation::Accuracy;
use autorep_core::searched::Effect;
use autorep_core::task::TaskSpec;
use serde::{Deserialize, Serialize};

use crate::methods::replace::SearchState;
use crate::metrics::SavedSums;
use crate::precision::LossScale;

pub use read::{Tensors, read_document, read_metrics};
pub use write::write;

/// Raised with every change that an older trainer would misread.
pub const FORMAT: u32 = 2;

/// The part that holds one line of JSON per finished epoch.
pub const METRICS_PART: &str = "metrics.jsonl";

/// A checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A part is larger than any that a trainer writes.
    #[error("{path}: expected at most {limit} bytes, found {found}")]
    TooLarge {
        /// The part.
        path: PathBuf,
        /// The largest size that is read.
        limit: u64,
        /// The part's size.
        found: u64,
    },
    /// The tensors are not a safetensors file.
    #[error("{path} is not a complete safetensors file: {source}")]
    Tensors {
        /// The part.
        path: PathBuf,
        /// The format's complaint.
        source: safetensors::SafeTensorError,
    },
    /// Names, shapes or types differ from what the task needs; all of them are listed.
    #[error("{path} does not fit the task: {}", problems.join("; "))]
    Mismatch {
        /// The part.
        path: PathBuf,
        /// One sentence per tensor.
        problems: Vec<String>,
    },
    /// The document does not parse.
    #[error("{path} is not a checkpoint's document: {source}")]
    Document {
        /// The part.
        path: PathBuf,
        /// The parser's complaint, with its position.
        source: serde_json::Error,
    },
    /// The document is of another format or task.
    #[error("{path}: expected {expected}, found {found}")]
    Other {
        /// The part.
        path: PathBuf,
        /// What the task needs.
        expected: String,
        /// What the document says.
        found: String,
    },
}

/// The validation result of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Validated {
    /// The epoch, counted from 1; 0 for weights that were not trained on.
    pub epoch: u32,
    /// On the validation images.
    pub accuracy: Accuracy,
}

/// A snapshot that a search took when it passed a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Passed {
    /// The budget; the snapshot is projected to it.
    pub budget: u64,
    /// ReLUs that the snapshot keeps.
    pub kept: u64,
    /// ReLUs left when it was taken.
    pub searched_count: u64,
    /// Optimizer steps done then.
    #[serde(default)]
    pub step: u64,
    /// What its projection did; `None` where an older trainer took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

/// The document of a resume checkpoint: where training stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeDocument {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The task.
    pub spec: TaskSpec,
    /// Version of the trainer.
    pub trainer: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps in an epoch: with `step` the position in the data.
    pub steps_per_epoch: u64,
    /// The last finished epoch's validation.
    pub last: Option<Validated>,
    /// The best epoch's validation, where epochs are selected.
    pub best: Option<Validated>,
    /// ReLUs left when indicators froze, if they did.
    pub searched_count: Option<u64>,
    /// Snapshots taken so far, at falling budgets.
    pub passed: Vec<Passed>,
    /// What else a search has to know.
    pub search: Option<SearchState>,
    /// The loss's scale, in float16.
    pub loss_scale: Option<LossScale>,
    /// Sums over the steps of the epoch that is under way.
    pub sums: SavedSums,
    /// Seconds spent so far, over all attempts.
    pub seconds: f64,
    /// Positions in the training part of images that do not decode, rising.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
}

/// The document of an output. It holds nothing that differs between two runs of one task.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputDocument {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The task that made it.
    pub spec: TaskSpec,
    /// Its name among that task's outputs.
    pub output: String,
    /// Version of the trainer.
    pub trainer: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// ReLUs that the net keeps.
    pub relu_count: u64,
    /// ReLUs of the full net.
    pub relu_total: u64,
    /// ReLUs left when the search ended, before projection; for outputs of a search.
    pub searched_count: Option<u64>,
    /// Validation of the epoch whose net this is.
    pub validation: Option<Validated>,
}

/// The trainer's version, for documents.
pub const TRAINER_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of libtorch that tch was made for, for documents.
pub const LIBTORCH_VERSION: &str = "2.11.0";
