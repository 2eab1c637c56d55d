//! Checkpoints from the store to folders, verified against the digest that names them.

use std::path::{Path, PathBuf};

use autorep_core::checkpoint::{CheckpointManifest, CheckpointRef, MANIFEST_OBJECT};
use autorep_core::digest::Digest;

use crate::scratch::AttemptFolder;
use crate::store::{GetError, Store, Stored};
use crate::task::Task;

/// More is no manifest: a part's entry takes about 150 bytes.
const MANIFEST_LIMIT: usize = 1 << 20;

/// Parts of a checkpoint at most.
pub(crate) const MAX_PARTS: usize = 64;

/// Verified checkpoints in folders.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// In the order of the spec's inputs.
    pub(crate) folders: Vec<PathBuf>,
    /// The checkpoint to go on from.
    pub(crate) resume: Option<PathBuf>,
}

/// A checkpoint could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// It is not what its digest says, or not all there.
    #[error("checkpoint {folder}: {what}", folder = checkpoint.folder())]
    Bad {
        /// The checkpoint.
        checkpoint: CheckpointRef,
        /// What is wrong.
        what: String,
    },
    /// The store failed.
    #[error("checkpoint {folder} cannot be fetched", folder = checkpoint.folder())]
    Store {
        /// The checkpoint.
        checkpoint: CheckpointRef,
        /// Why.
        source: GetError,
    },
    /// The folder could not be made.
    #[error(
        "the folder {path:?} cannot be made; give this worker a scratch folder with room that it can write to"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Fetches everything that `task` starts from into `folder`.
pub(crate) async fn fetch(
    store: Store,
    task: Task,
    folder: AttemptFolder,
) -> Result<Inputs, FetchError> {
    folder.create().await.map_err(|source| FetchError::Folder {
        path: folder.checkpoints(),
        source,
    })?;
    let mut folders = Vec::with_capacity(task.inputs.len());
    for (index, input) in task.inputs.iter().enumerate() {
        let path = folder.input(index);
        fetch_checkpoint(&store, input, &path).await?;
        folders.push(path);
    }
    let mut resume = None;
    if let Some(checkpoint) = &task.resume {
        let path = folder.resume();
        fetch_checkpoint(&store, checkpoint, &path).await?;
        resume = Some(path);
    }
    Ok(Inputs { folders, resume })
}

/// Fetches the parts of `checkpoint` into a new folder at `path`.
async fn fetch_checkpoint(
    store: &Store,
    checkpoint: &CheckpointRef,
    path: &Path,
) -> Result<(), FetchError> {
    let failed = |error: GetError| match error {
        GetError::Missing { .. } | GetError::Damaged { .. } => FetchError::Bad {
            checkpoint: checkpoint.clone(),
            what: error.to_string(),
        },
        GetError::Store { .. } | GetError::Forbidden { .. } | GetError::File { .. } => {
            FetchError::Store {
                checkpoint: checkpoint.clone(),
                source: error,
            }
        }
    };
    tokio::fs::create_dir_all(path)
        .await
        .map_err(|source| FetchError::Folder {
            path: path.to_owned(),
            source,
        })?;
    let prefix = checkpoint.folder();
    let text = store
        .get(&format!("{prefix}/{MANIFEST_OBJECT}"), MANIFEST_LIMIT)
        .await
        .map_err(failed)?;
    let manifest = read_manifest(checkpoint, &text).map_err(|what| FetchError::Bad {
        checkpoint: checkpoint.clone(),
        what,
    })?;
    for part in &manifest.parts {
        let expected = Stored {
            bytes: part.bytes,
            sha256: part.sha256,
        };
        let key = format!("{prefix}/{}", part.name);
        store
            .get_file(&key, expected, &path.join(&part.name))
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// The manifest that `text` holds, if it is the one that `checkpoint` names and its parts can be
/// files of one folder.
fn read_manifest(checkpoint: &CheckpointRef, text: &[u8]) -> Result<CheckpointManifest, String> {
    let found = Digest::of(text);
    if found != checkpoint.manifest {
        return Err(format!(
            "expected a manifest with the sha256 {}, found {found}",
            checkpoint.manifest
        ));
    }
    let manifest: CheckpointManifest =
        serde_json::from_slice(text).map_err(|error| format!("the manifest is none: {error}"))?;
    let belongs = manifest.task == checkpoint.task
        && manifest.generation == checkpoint.generation
        && manifest.role == checkpoint.role
        && manifest.step == checkpoint.step;
    if !belongs {
        return Err("the manifest describes another checkpoint".to_owned());
    }
    if manifest.parts.len() > MAX_PARTS {
        return Err(format!(
            "expected at most {MAX_PARTS} parts, found {}",
            manifest.parts.len()
        ));
    }
    if let Some(part) = manifest.parts.iter().find(|it| !is_part_name(&it.name)) {
        return Err(format!(
            "expected part names of 1 to 128 letters, digits, dashes, underscores and dots that do not begin with a dot, found {:?}",
            part.name
        ));
    }
    if !manifest.parts.is_sorted_by(|a, b| a.name < b.name) {
        return Err("expected parts sorted by name, each once".to_owned());
    }
    Ok(manifest)
}

/// Whether `name` can be both a file's name and the last segment of a storage key.
pub(crate) fn is_part_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name != MANIFEST_OBJECT
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use autorep_core::checkpoint::{CheckpointRole, Part};
    use autorep_core::id::{Generation, TaskId};

    use super::*;

    fn manifest(names: &[&str]) -> CheckpointManifest {
        CheckpointManifest {
            task: TaskId(Digest::of(b"task")),
            generation: Generation(1),
            role: CheckpointRole::Output("net".to_owned()),
            step: 10,
            parts: names
                .iter()
                .map(|name| Part {
                    name: (*name).to_owned(),
                    bytes: 1,
                    sha256: Digest::of(b"x"),
                })
                .collect(),
        }
    }

    fn named(manifest: &CheckpointManifest) -> (CheckpointRef, Vec<u8>) {
        let text = serde_json::to_vec(manifest).unwrap();
        let checkpoint = CheckpointRef {
            task: manifest.task,
            generation: manifest.generation,
            role: manifest.role.clone(),
            step: manifest.step,
            manifest: Digest::of(&text),
        };
        (checkpoint, text)
    }

    #[test]
    fn a_manifest_is_good_when_its_digest_its_subject_and_its_part_names_are() {
        let good = manifest(&["state.json", "tensors.safetensors"]);
        let (checkpoint, text) = named(&good);
        assert_eq!(read_manifest(&checkpoint, &text), Ok(good));
    }

    #[test]
    fn a_changed_byte_is_found_by_the_digest() {
        let (checkpoint, mut text) = named(&manifest(&["state.json"]));
        let last = text.len() - 3;
        text[last] ^= 1;
        assert!(read_manifest(&checkpoint, &text).is_err());
    }

    #[test]
    fn a_manifest_of_another_checkpoint_is_refused() {
        let (checkpoint, text) = named(&manifest(&["state.json"]));
        let other = CheckpointRef {
            step: 11,
            ..checkpoint
        };
        assert!(read_manifest(&other, &text).is_err());
    }

    #[test]
    fn part_names_that_could_leave_the_folder_or_hide_in_it_are_refused() {
        let bad = [
            "",
            ".",
            "..",
            ".hidden",
            "../x",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "a b",
            "ü",
            MANIFEST_OBJECT,
        ];
        for name in bad {
            let (checkpoint, text) = named(&manifest(&[name]));
            assert!(read_manifest(&checkpoint, &text).is_err(), "{name:?}");
        }
        for names in [&["b", "a"], &["a", "a"]] {
            let (checkpoint, text) = named(&manifest(names));
            assert!(read_manifest(&checkpoint, &text).is_err(), "{names:?}");
        }
    }
}
