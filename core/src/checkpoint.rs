//! Checkpoints in the store: their keys, and the manifest that makes parts one checkpoint.
//!
//! Parts are written first, each under a key that nobody else can write (it carries the lease's
//! generation); then one manifest object lists every part with its size and SHA-256. A checkpoint
//! exists when its manifest does. Keys are only ever created, never overwritten.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{Generation, TaskId};

/// What a checkpoint is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointRole {
    /// Everything needed to go on training from here.
    Resume,
    /// A named result that later tasks read.
    Output(String),
}

impl fmt::Display for CheckpointRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resume => f.write_str("resume"),
            Self::Output(name) => write!(f, "output {name}"),
        }
    }
}

/// Points at one checkpoint and fixes its content: the digest is of the manifest, which holds the
/// digests of the parts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointRef {
    /// The task that made it.
    pub task: TaskId,
    /// The lease under which it was made.
    pub generation: Generation,
    /// What it is for.
    pub role: CheckpointRole,
    /// Optimizer steps done when it was taken.
    pub step: u64,
    /// SHA-256 of the manifest object.
    pub manifest: Digest,
}

impl CheckpointRef {
    /// The folder of this checkpoint in the store.
    pub fn folder(&self) -> String {
        folder(self.task, self.generation, &self.role, self.step)
    }
}

/// The folder in the store of the checkpoint with these coordinates:
/// `tasks/TASK/gGENERATION/resume-STEP` or `tasks/TASK/gGENERATION/out-NAME`.
pub fn folder(task: TaskId, generation: Generation, role: &CheckpointRole, step: u64) -> String {
    match role {
        CheckpointRole::Resume => format!("tasks/{task}/g{generation}/resume-{step:010}"),
        CheckpointRole::Output(name) => format!("tasks/{task}/g{generation}/out-{name}"),
    }
}

/// Where in the store an object of a checkpoint lies: what of a [`CheckpointRef`] is in its folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The task that made the checkpoint.
    pub task: TaskId,
    /// The lease under which it was made.
    pub generation: Generation,
    /// What it is for.
    pub role: CheckpointRole,
    /// Optimizer steps done; of an output, whose folder does not say, zero.
    pub step: u64,
}

impl Place {
    /// The place of the object `key`; `None` if it is not one of a checkpoint.
    pub fn of(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (root, task, generation, checkpoint) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_object = parts.next().is_some_and(|name| !name.is_empty());
        if root != "tasks" || !is_object || parts.next().is_some() {
            return None;
        }
        let (role, step) = match checkpoint.split_once('-')? {
            ("resume", step) => (CheckpointRole::Resume, step.parse().ok()?),
            ("out", name) => (CheckpointRole::Output(name.to_owned()), 0),
            _ => return None,
        };
        Some(Self {
            task: task.parse().ok()?,
            generation: Generation(generation.strip_prefix('g')?.parse().ok()?),
            role,
            step,
        })
    }

    /// The folder.
    pub fn folder(&self) -> String {
        folder(self.task, self.generation, &self.role, self.step)
    }
}

/// The object in a checkpoint's folder that lists its parts. Written last.
pub const MANIFEST_OBJECT: &str = "manifest.json";

/// The part that holds tensors: weights, batch-norm statistics, latents, indicators,
/// coefficients, optimizer buffers.
pub const TENSORS_PART: &str = "tensors.safetensors";

/// The part that holds everything else: the task's spec, step and schedule position.
pub const STATE_PART: &str = "state.json";

/// Parts of a checkpoint at most.
pub const MAX_PARTS: usize = 64;

/// One object of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The object's name in the checkpoint's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// The content of [`MANIFEST_OBJECT`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointManifest {
    /// The task that made the checkpoint.
    pub task: TaskId,
    /// The lease under which it was made.
    pub generation: Generation,
    /// What the checkpoint is for.
    pub role: CheckpointRole,
    /// Optimizer steps done.
    pub step: u64,
    /// The parts, sorted by name.
    pub parts: Vec<Part>,
}

impl CheckpointManifest {
    /// The manifest that `text` holds, if it is the one that `checkpoint` names and its parts can
    /// be files of one folder; otherwise what was expected and found.
    pub fn read(checkpoint: &CheckpointRef, text: &[u8]) -> Result<Self, String> {
        let found = Digest::of(text);
        if found != checkpoint.manifest {
            return Err(format!(
                "expected a manifest with the sha256 {}, found {found}",
                checkpoint.manifest
            ));
        }
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|error| format!("the manifest is none: {error}"))?;
        let belongs = manifest.task == checkpoint.task
            && manifest.generation == checkpoint.generation
            && manifest.role == checkpoint.role
            && manifest.step == checkpoint.step;
        if !belongs {
            return Err("the manifest describes another checkpoint".to_owned());
        }
        manifest.check_parts()?;
        Ok(manifest)
    }

    fn check_parts(&self) -> Result<(), String> {
        let parts = &self.parts;
        if parts.len() > MAX_PARTS {
            let found = parts.len();
            return Err(format!("expected at most {MAX_PARTS} parts, found {found}"));
        }
        if let Some(part) = parts.iter().find(|it| !is_part_name(&it.name)) {
            return Err(format!(
                "expected part names of 1 to 128 letters, digits, dashes, underscores and dots \
                 that do not begin with a dot, found {:?}",
                part.name
            ));
        }
        if !parts.is_sorted_by(|a, b| a.name < b.name) {
            return Err("expected parts sorted by name, each once".to_owned());
        }
        Ok(())
    }
}

/// Whether `name` can be both a file's name and the last segment of a storage key.
pub fn is_part_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name != MANIFEST_OBJECT
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests;
