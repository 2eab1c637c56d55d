//! Checkpoints from the trainer's folders to the store: parts first, then the manifest that makes
//! them one, then the commit that makes it the task's own.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use autorep_core::checkpoint::{
    CheckpointManifest, CheckpointRef, CheckpointRole, MANIFEST_OBJECT, MAX_PARTS, Part, folder,
    is_part_name,
};
use autorep_core::lease::LeaseClaim;
use autorep_failpoint::{Point, reached};
use autorep_proto::convert::{BadMessage, checkpoint_role};
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use crate::fleet::Fleet;
use crate::measure;
use crate::store::{PutError, Store};

/// A checkpoint that lies complete in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ready {
    pub(crate) role: CheckpointRole,
    pub(crate) step: u64,
    pub(crate) folder: PathBuf,
}

/// A trainer reported a checkpoint that cannot be one of its task's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadReady {
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("expected one of the outputs {expected:?}, found {found:?}")]
    Output {
        expected: Vec<String>,
        found: String,
    },
    #[error("expected a folder in {expected:?}, found {found:?}")]
    Outside { expected: PathBuf, found: PathBuf },
}

impl Ready {
    /// Checks what a trainer reported that writes into `scratch` and may make `outputs`.
    pub(crate) fn new(
        ready: &v1::CheckpointReady,
        scratch: &Path,
        outputs: &[String],
    ) -> Result<Self, BadReady> {
        let role = checkpoint_role("CheckpointReady.role", ready.role, &ready.output)?;
        if let CheckpointRole::Output(name) = &role
            && !outputs.contains(name)
        {
            return Err(BadReady::Output {
                expected: outputs.to_vec(),
                found: name.clone(),
            });
        }
        let folder = scratch.join(&ready.folder);
        let directly_inside = folder.parent() == Some(scratch)
            && folder
                .file_name()
                .is_some_and(|name| scratch.join(name) == folder);
        if !directly_inside {
            return Err(BadReady::Outside {
                expected: scratch.to_owned(),
                found: folder,
            });
        }
        Ok(Self {
            role,
            step: ready.step,
            folder,
        })
    }
}

/// Checkpoints that wait to be stored, in the order in which they were made: what is committed
/// must never say that training went past an output that is not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Ready>,
    /// The step of the last resume checkpoint that was handed out.
    last_resume: Option<u64>,
}

impl Queue {
    /// Adds a checkpoint; returns the one that it makes useless, whose folder can go.
    ///
    /// Only the latest resume checkpoint is of use, so at most one waits: a store that is slower
    /// than the trainer costs freshness, not space.
    pub(crate) fn push(&mut self, ready: Ready) -> Option<Ready> {
        let same = |it: &Ready| it.role == ready.role;
        let superseded = self
            .waiting
            .iter()
            .position(same)
            .and_then(|index| self.waiting.remove(index));
        self.waiting.push_back(ready);
        superseded
    }

    /// Forgets everything that waits.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The next checkpoint to store, or one to throw away: a resume checkpoint of a step that has
    /// one already would collide with it, and says nothing new.
    pub(crate) fn pop(&mut self) -> Option<Next> {
        let ready = self.waiting.pop_front()?;
        if ready.role != CheckpointRole::Resume {
            return Some(Next::Store(ready));
        }
        if self.last_resume == Some(ready.step) {
            return Some(Next::Drop(ready));
        }
        self.last_resume = Some(ready.step);
        Some(Next::Store(ready))
    }
}

/// What to do with a checkpoint.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Store(Ready),
    Drop(Ready),
}

/// A checkpoint could not be stored or committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    /// The folder is not one of parts.
    #[error("the checkpoint folder {folder:?}: expected {expected}, found {found}")]
    Folder {
        folder: PathBuf,
        expected: String,
        found: String,
    },
    /// The folder could not be read or removed.
    #[error("the checkpoint folder {folder:?} cannot be used")]
    Io {
        folder: PathBuf,
        source: std::io::Error,
    },
    /// The store did not take it.
    #[error("a checkpoint cannot be stored")]
    Store(#[source] PutError),
    /// The coordinator did not take it.
    #[error("a checkpoint cannot be committed")]
    Refused(#[source] Refusal),
}

/// Stores the checkpoint, commits it, and removes its folder.
pub(crate) async fn upload(
    store: Store,
    fleet: Fleet,
    claim: LeaseClaim,
    ready: Ready,
) -> Result<CheckpointRef, UploadError> {
    let started = Instant::now();
    let (checkpoint, bytes) = put(&store, claim, &ready).await?;
    reached(Point::WorkerBeforeCommit);
    fleet
        .commit(claim, &checkpoint)
        .await
        .map_err(UploadError::Refused)?;
    reached(Point::WorkerAfterCommit);
    discard(&ready).await?;

    let took = started.elapsed();
    measure::checkpoint_committed(bytes, took);
    let seconds = took.as_secs_f64();
    tracing::info!(role = %checkpoint.role, step = checkpoint.step, bytes, seconds, "committed a checkpoint");
    Ok(checkpoint)
}

/// Removes the folder of a checkpoint.
pub(crate) async fn discard(ready: &Ready) -> Result<(), UploadError> {
    tokio::fs::remove_dir_all(&ready.folder)
        .await
        .map_err(|source| UploadError::Io {
            folder: ready.folder.clone(),
            source,
        })
}

/// Stores parts and manifest; returns the reference and the bytes stored.
async fn put(
    store: &Store,
    claim: LeaseClaim,
    ready: &Ready,
) -> Result<(CheckpointRef, u64), UploadError> {
    let prefix = folder(claim.task, claim.generation, &ready.role, ready.step);
    let mut parts = Vec::new();
    for name in part_names(&ready.folder).await? {
        reached(Point::WorkerBeforePart);
        let stored = store
            .put_file(&format!("{prefix}/{name}"), &ready.folder.join(&name))
            .await
            .map_err(UploadError::Store)?;
        reached(Point::WorkerAfterPart);
        parts.push(Part {
            name,
            bytes: stored.bytes,
            sha256: stored.sha256,
        });
    }
    let bytes = parts.iter().map(|part| part.bytes).sum();
    let manifest = CheckpointManifest {
        task: claim.task,
        generation: claim.generation,
        role: ready.role.clone(),
        step: ready.step,
        parts,
    };
    let text = serde_json::to_vec(&manifest).expect("a manifest has only strings and integers");
    reached(Point::WorkerBeforeManifest);
    let stored = store
        .put(&format!("{prefix}/{MANIFEST_OBJECT}"), text.into())
        .await
        .map_err(UploadError::Store)?;
    reached(Point::WorkerAfterManifest);
    let checkpoint = CheckpointRef {
        task: claim.task,
        generation: claim.generation,
        role: ready.role.clone(),
        step: ready.step,
        manifest: stored.sha256,
    };
    Ok((checkpoint, bytes))
}

/// The names of the files in `folder`, sorted.
async fn part_names(folder: &Path) -> Result<Vec<String>, UploadError> {
    let failed = |source| UploadError::Io {
        folder: folder.to_owned(),
        source,
    };
    let wrong = |expected: String, found: String| UploadError::Folder {
        folder: folder.to_owned(),
        expected,
        found,
    };
    // A link to a folder would have that one's files stored.
    let itself = tokio::fs::symlink_metadata(folder).await.map_err(failed)?;
    if !itself.is_dir() {
        let found = format!("{:?}", itself.file_type());
        return Err(wrong("a folder".to_owned(), found));
    }
    let mut names = Vec::new();
    let mut entries = tokio::fs::read_dir(folder).await.map_err(failed)?;
    while let Some(entry) = entries.next_entry().await.map_err(failed)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link could point at any file of this machine.
        if !entry.file_type().await.map_err(failed)?.is_file() || !is_part_name(&name) {
            return Err(wrong(
                "only files with plain names".to_owned(),
                format!("{name:?}"),
            ));
        }
        names.push(name);
        if names.len() > MAX_PARTS {
            return Err(wrong(
                format!("at most {MAX_PARTS} files"),
                "more".to_owned(),
            ));
        }
    }
    if names.is_empty() {
        return Err(wrong("files".to_owned(), "none".to_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(role: CheckpointRole, step: u64) -> Ready {
        Ready {
            role,
            step,
            folder: PathBuf::from(format!("c{step}")),
        }
    }

    fn resume(step: u64) -> Ready {
        ready(CheckpointRole::Resume, step)
    }

    fn output(name: &str, step: u64) -> Ready {
        ready(CheckpointRole::Output(name.to_owned()), step)
    }

    #[test]
    fn an_output_is_stored_before_the_resume_checkpoint_that_follows_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(resume(1)), None);
        assert_eq!(queue.push(output("b6000", 2)), None);
        assert_eq!(queue.push(resume(3)), Some(resume(1)));
        assert_eq!(queue.pop(), Some(Next::Store(output("b6000", 2))));
        assert_eq!(queue.pop(), Some(Next::Store(resume(3))));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_second_resume_checkpoint_of_one_step_is_dropped() {
        let mut queue = Queue::default();
        queue.push(resume(5));
        assert_eq!(queue.pop(), Some(Next::Store(resume(5))));
        queue.push(resume(5));
        assert_eq!(queue.pop(), Some(Next::Drop(resume(5))));
        queue.push(resume(6));
        assert_eq!(queue.pop(), Some(Next::Store(resume(6))));
    }

    #[test]
    fn a_trainer_may_report_only_folders_of_its_own_and_outputs_of_its_task() {
        let scratch = Path::new("/scratch/checkpoints");
        let outputs = vec!["net".to_owned()];
        let report = |role: v1::CheckpointRole, output: &str, folder: &str| {
            let ready = v1::CheckpointReady {
                role: role.into(),
                output: output.to_owned(),
                step: 1,
                folder: folder.to_owned(),
            };
            Ready::new(&ready, scratch, &outputs)
        };
        let role = v1::CheckpointRole::Output;
        assert!(report(role, "net", "a").is_ok());
        assert!(report(role, "net", "/scratch/checkpoints/a").is_ok());
        for folder in [
            "",
            ".",
            "..",
            "../x",
            "a/../..",
            "a/b",
            "/etc",
            "/scratch/checkpoints",
            "/scratch/checkpoints2/a",
            "./..",
            "//scratch/checkpoints/../a",
        ] {
            let refused = report(role, "net", folder);
            assert!(
                matches!(refused, Err(BadReady::Outside { .. })),
                "{folder:?}"
            );
        }
        assert!(matches!(
            report(role, "b1", "a"),
            Err(BadReady::Output { .. })
        ));
        let none = v1::CheckpointRole::Unspecified;
        assert!(matches!(report(none, "", "a"), Err(BadReady::Message(_))));
    }

    #[tokio::test]
    async fn a_folder_with_anything_but_plain_files_is_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(part_names(path).await.is_err(), "an empty folder");

        std::fs::write(path.join("b.json"), "").unwrap();
        std::fs::write(path.join("a.json"), "").unwrap();
        assert_eq!(part_names(path).await.unwrap(), ["a.json", "b.json"]);

        std::os::unix::fs::symlink("/etc/hostname", path.join("link")).unwrap();
        assert!(part_names(path).await.is_err(), "a link");
        std::fs::remove_file(path.join("link")).unwrap();

        std::fs::write(path.join(".partial"), "").unwrap();
        assert!(part_names(path).await.is_err(), "a hidden file");

        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("a"), "").unwrap();
        let link = path.join("folder");
        std::os::unix::fs::symlink(other.path(), &link).unwrap();
        assert!(part_names(&link).await.is_err(), "a link to a folder");
    }
}
