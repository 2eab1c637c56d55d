//! Folders for what is in flight. A worker's folder lies beside a lock file that it holds while it
//! lives; the folders of workers that died are removed by the next one that starts.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A scratch folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// A worker of the same name lives on this machine.
    #[error(
        "a worker named {name:?} already runs with the scratch folder {folder:?}; give this one another --name, or, if it is for another coordinator, another --scratch"
    )]
    NameInUse {
        /// The name.
        name: String,
        /// The folder that all workers share.
        folder: PathBuf,
    },
    /// The file system refused.
    #[error(
        "expected a scratch folder with room that this worker can write to, found that {path:?} cannot be made or changed; name another with --scratch"
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A worker's own folder: `SCRATCH/NAME.files/`, with `SCRATCH/NAME.lock` held.
#[derive(Debug)]
pub(crate) struct WorkerFolder {
    path: PathBuf,
    lock_path: PathBuf,
    /// Locked until it is closed, which the kernel does if nobody else does.
    _lock: File,
}

impl WorkerFolder {
    /// Removes what dead workers left in `scratch` and makes a folder for the worker `name`.
    pub(crate) fn open(scratch: &Path, name: &str) -> Result<Self, ScratchError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ScratchError::Io { path, source }
        };
        std::fs::create_dir_all(scratch).map_err(failed(scratch))?;

        // Held for the rest of this function, so that nobody takes a folder that is being made
        // for one that was left.
        let gate_path = scratch.join(".gate");
        let gate = File::create(&gate_path).map_err(failed(&gate_path))?;
        gate.lock().map_err(failed(&gate_path))?;

        remove_leftovers(scratch).map_err(failed(scratch))?;

        let lock_path = scratch.join(format!("{name}.lock"));
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ScratchError::NameInUse {
                    name: name.to_owned(),
                    folder: scratch.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let path = scratch.join(format!("{name}.files"));
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        Ok(Self {
            path,
            lock_path,
            _lock: lock,
        })
    }

    /// The folder for one attempt; it does not exist yet.
    pub(crate) fn attempt(&self, name: &str) -> AttemptFolder {
        AttemptFolder {
            path: self.path.join(name),
        }
    }
}

impl Drop for WorkerFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next worker that starts.
        for result in [
            std::fs::remove_dir_all(&self.path),
            std::fs::remove_file(&self.lock_path),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, folder = %self.path.display(), "scratch folder is left behind");
            }
        }
    }
}

/// Removes the folder of each lock that nobody holds. Nothing without a lock file is touched.
fn remove_leftovers(scratch: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(scratch)? {
        let entry = entry?;
        let lock_path = entry.path();
        if !entry.file_type()?.is_file() || lock_path.extension().is_none_or(|it| it != "lock") {
            continue;
        }
        let lock = File::open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let folder = lock_path.with_extension("files");
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => {
                let folder = folder.display();
                tracing::info!(%folder, "removed the scratch folder of a worker that died");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::remove_file(&lock_path)?;
    }
    Ok(())
}

/// An attempt's own folder.
#[derive(Clone, Debug)]
pub(crate) struct AttemptFolder {
    path: PathBuf,
}

impl fmt::Display for AttemptFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl AttemptFolder {
    /// Makes the folder, empty.
    pub(crate) async fn create(&self) -> io::Result<()> {
        self.remove().await?;
        tokio::fs::create_dir_all(self.checkpoints()).await
    }

    /// Removes the folder with everything in it.
    pub(crate) async fn remove(&self) -> io::Result<()> {
        match tokio::fs::remove_dir_all(&self.path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Where the parts of the input at `index` go.
    pub(crate) fn input(&self, index: usize) -> PathBuf {
        self.path.join(format!("input-{index}"))
    }

    /// Where the parts of the checkpoint to resume from go.
    pub(crate) fn resume(&self) -> PathBuf {
        self.path.join("resume")
    }

    /// Where the trainer writes its checkpoints.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// What the trainer prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("trainer.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_dead_worker_is_removed_and_that_of_a_living_one_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let living = WorkerFolder::open(scratch.path(), "living").unwrap();
        std::fs::write(living.path.join("kept"), "x").unwrap();
        // A worker that was killed leaves a folder and a lock that nobody holds.
        std::fs::create_dir(scratch.path().join("dead.files")).unwrap();
        std::fs::write(scratch.path().join("dead.files/left"), "x").unwrap();
        std::fs::write(scratch.path().join("dead.lock"), "").unwrap();
        std::fs::create_dir(scratch.path().join("foreign")).unwrap();

        let next = WorkerFolder::open(scratch.path(), "next").unwrap();

        assert!(living.path.join("kept").exists());
        assert!(!scratch.path().join("dead.files").exists());
        assert!(!scratch.path().join("dead.lock").exists());
        assert!(scratch.path().join("foreign").exists());
        assert!(next.path.exists());
    }

    #[test]
    fn a_name_in_use_is_refused_until_its_worker_is_gone() {
        let scratch = tempfile::tempdir().unwrap();
        let first = WorkerFolder::open(scratch.path(), "w").unwrap();
        let second = WorkerFolder::open(scratch.path(), "w");
        assert!(matches!(second, Err(ScratchError::NameInUse { .. })));
        drop(first);
        assert!(!scratch.path().join("w.files").exists());
        WorkerFolder::open(scratch.path(), "w").unwrap();
    }
}
