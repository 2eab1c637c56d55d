//! Checkpoints from the store to folders, verified against the digest that names them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use autorep_core::checkpoint::{CheckpointManifest, CheckpointRef, MANIFEST_OBJECT};

use crate::scratch::AttemptFolder;
use crate::store::{GetError, Store, Stored};
use crate::task::Task;

/// More is no manifest: a part's entry takes about 150 bytes.
const MANIFEST_LIMIT: usize = 1 << 20;

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

/// Between two looks at a checkpoint that is not what it should be.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(500);

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

/// Fetches `checkpoint`, and a second time if it is not what it should be: whoever finds it bad undoes
/// finished work, and it may have been damaged on its way here.
async fn fetch_checkpoint(
    store: &Store,
    checkpoint: &CheckpointRef,
    path: &Path,
) -> Result<(), FetchError> {
    match fetch_once(store, checkpoint, path).await {
        Err(FetchError::Bad { what, .. }) => {
            tracing::warn!(
                what,
                "a checkpoint is not what it should be; fetching it again"
            );
            tokio::time::sleep(SECOND_LOOK_AFTER).await;
            fetch_once(store, checkpoint, path).await
        }
        fetched => fetched,
    }
}

/// Fetches the parts of `checkpoint` into a folder at `path`.
async fn fetch_once(
    store: &Store,
    checkpoint: &CheckpointRef,
    path: &Path,
) -> Result<(), FetchError> {
    let failed = |error: GetError| match error {
        GetError::Missing { .. } | GetError::Damaged { .. } => FetchError::Bad {
            checkpoint: checkpoint.clone(),
            what: error.to_string(),
        },
        GetError::Store { .. }
        | GetError::Forbidden { .. }
        | GetError::Doubtful { .. }
        | GetError::File { .. } => FetchError::Store {
            checkpoint: checkpoint.clone(),
            source: error,
        },
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
    let manifest = CheckpointManifest::read(checkpoint, &text).map_err(|what| FetchError::Bad {
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
