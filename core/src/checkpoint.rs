//! Checkpoints in the store: their keys, and the manifest that makes parts one checkpoint.
//!
//! Parts are written first, each under a key that nobody else can write (it carries the lease's
//! generation); then one manifest object lists every part with its size and SHA-256. A checkpoint
//! exists when its manifest does. Keys are only ever created, never overwritten.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_object_is_read_from_its_key_and_nothing_else_is_one() {
        let task = TaskId(Digest::of(b"task"));
        for role in [
            CheckpointRole::Resume,
            CheckpointRole::Output("b-100".to_owned()),
        ] {
            let step = if role == CheckpointRole::Resume {
                120
            } else {
                0
            };
            let place = Place {
                task,
                generation: Generation(7),
                role,
                step,
            };
            let key = format!("{}/{MANIFEST_OBJECT}", place.folder());
            assert_eq!(Place::of(&key), Some(place));
        }
        for other in [
            format!("tasks/{task}/g7/trainer.log"),
            format!("tasks/{task}/g7/resume-x/a"),
            format!("tasks/{task}/g7/resume-1"),
            format!("tasks/{task}/g7/resume-1/a/b"),
            format!("tasks/{task}/7/resume-1/a"),
            "tasks/abc/g7/resume-1/a".to_owned(),
            "state/manifest/1".to_owned(),
        ] {
            assert_eq!(Place::of(&other), None, "{other}");
        }
    }
}
