//! Files that are read again when they change.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use autorep_core::digest::Digest;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The largest file of certificates, keys or tokens.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// How often a file is looked at, at most. What renews secrets gives them minutes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("expected a file that can be read at {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("expected {expected} in {}, found {found}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What is.
        found: String,
    },
}

impl FileError {
    pub(crate) fn content(
        path: &Path,
        expected: &'static str,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Content {
            path: path.to_owned(),
            expected,
            found: found.to_string(),
        }
    }
}

/// One file as it was read.
pub(crate) struct Content<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: Vec<u8>,
}

/// Makes what is wanted of the files, which come in the order in which they were named.
type Parse<T> = dyn Fn(&[Content<'_>]) -> Result<T, FileError> + Send + Sync;

/// What some files say, read again when they change. While they cannot be read or make no sense, as
/// between the writing of a certificate and that of its key, it is what they said before.
pub(crate) struct Reread<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    parse: Box<Parse<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// Of the files that it was made of.
    digest: Digest,
    looked: Instant,
    /// Whether somebody reads the files: then nobody else does, lest what was read first be taken over
    /// last.
    looking: bool,
    /// Whether a problem has been told and not been mended since.
    troubled: bool,
}

/// Somebody who reads the files. Whatever comes of it, even a panic, others may after.
struct Looking<'a, T>(&'a Reread<T>);

impl<T> Drop for Looking<'_, T> {
    fn drop(&mut self) {
        self.0.lock().looking = false;
    }
}

impl<T> Reread<T> {
    /// Reads the files, which must make sense now.
    pub(crate) fn open(
        what: &'static str,
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Content<'_>]) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let contents = read_all(&paths)?;
        let state = State {
            value: Arc::new(parse(&contents)?),
            digest: digest(&contents),
            looked: Instant::now(),
            looking: false,
            troubled: false,
        };
        drop(contents);
        Ok(Self {
            what,
            paths,
            parse: Box::new(parse),
            state: Mutex::new(state),
        })
    }

    /// What they say.
    pub(crate) fn get(&self) -> Arc<T> {
        {
            let mut state = self.lock();
            if state.looking || state.looked.elapsed() < LOOK_EVERY {
                return Arc::clone(&state.value);
            }
            // Whoever asks meanwhile gets what is known and waits for no disk.
            state.looking = true;
        }
        let looking = Looking(self);
        aside(|| self.look());
        drop(looking);
        Arc::clone(&self.lock().value)
    }

    /// Reads the files and takes them over if they have changed and make sense.
    fn look(&self) {
        let read = read_all(&self.paths);
        let parsed = read.and_then(|contents| {
            let digest = digest(&contents);
            if digest == self.lock().digest {
                return Ok(None);
            }
            (self.parse)(&contents).map(|value| Some((value, digest)))
        });
        let mut state = self.lock();
        state.looked = Instant::now();
        match parsed {
            Ok(None) => state.troubled = false,
            Ok(Some((value, digest))) => {
                state.value = Arc::new(value);
                state.digest = digest;
                state.troubled = false;
                tracing::info!(what = self.what, "read again");
            }
            Err(error) => {
                if !std::mem::replace(&mut state.troubled, true) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, what = self.what, "kept as it was before");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next look come at once.
    #[cfg(test)]
    fn age(&self) {
        if let Some(before) = Instant::now().checked_sub(LOOK_EVERY) {
            self.lock().looked = before;
        }
    }
}

impl<T> std::fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reread")
            .field("what", &self.what)
            .field("paths", &self.paths)
            .finish_non_exhaustive()
    }
}

/// Waits for a disk without holding up the other tasks of this thread, where there are other threads
/// to take them.
fn aside(work: impl FnOnce()) {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    if flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
        tokio::task::block_in_place(work);
    } else {
        work();
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Content<'_>>, FileError> {
    let read = |path: &Path| {
        let mut bytes = vec![];
        let file = std::fs::File::open(path)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let contents = paths.iter().map(|path| {
        let bytes = read(path).map_err(|source| FileError::Unreadable {
            path: path.clone(),
            source,
        })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(FileError::content(path, "at most 1 MiB", "more"));
        }
        Ok(Content { path, bytes })
    });
    contents.collect()
}

fn digest(contents: &[Content<'_>]) -> Digest {
    let parts = contents.iter().map(|content| Digest::of(&content.bytes));
    let parts: Vec<String> = parts.map(|digest| digest.to_string()).collect();
    Digest::of(parts.concat().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Content<'_>]) -> Result<u32, FileError> {
        let [content] = contents else {
            unreachable!("one file was named")
        };
        let text = String::from_utf8_lossy(&content.bytes);
        let number = text.trim().parse();
        number.map_err(|_not_one| FileError::content(content.path, "a number", text))
    }

    #[test]
    fn a_change_is_seen_and_nonsense_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let file = Reread::open("a number", vec![path.clone()], number).unwrap();
        assert_eq!(*file.get(), 1);

        std::fs::write(&path, "2").unwrap();
        file.age();
        assert_eq!(*file.get(), 2);

        std::fs::write(&path, "two").unwrap();
        file.age();
        assert_eq!(*file.get(), 2);
        std::fs::remove_file(&path).unwrap();
        file.age();
        assert_eq!(*file.get(), 2);

        std::fs::write(&path, "3").unwrap();
        file.age();
        assert_eq!(*file.get(), 3);
    }

    #[test]
    fn one_look_at_a_time_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        // Says what it has read, and goes on when it is told to.
        let (read, has_read) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let may_go_on = Mutex::new(may_go_on);
        let file = Reread::open("a number", vec![path.clone()], move |files| {
            let number = number(files)?;
            read.send(number).unwrap();
            if number > 1 {
                let patience = Duration::from_secs(10);
                may_go_on.lock().unwrap().recv_timeout(patience).unwrap();
            }
            Ok(number)
        });
        let file = file.unwrap();
        assert_eq!(has_read.recv(), Ok(1));
        std::thread::scope(|scope| {
            std::fs::write(&path, "2").unwrap();
            file.age();
            let first = scope.spawn(|| *file.get());
            assert_eq!(has_read.recv(), Ok(2));

            std::fs::write(&path, "3").unwrap();
            file.age();
            let second = scope.spawn(|| *file.get());
            assert_eq!(second.join().unwrap(), 1);
            go_on.send(()).unwrap();
            assert_eq!(first.join().unwrap(), 2);
        });
        assert!(has_read.try_recv().is_err(), "two looks at a time");
        file.age();
        go_on.send(()).unwrap();
        assert_eq!(*file.get(), 3);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_slow_look_holds_up_no_other_task() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let may_go_on = Mutex::new(may_go_on);
        let file = Reread::open("a number", vec![path.clone()], move |files| {
            let number = number(files)?;
            if number > 1 {
                let patience = Duration::from_secs(10);
                may_go_on.lock().unwrap().recv_timeout(patience).unwrap();
            }
            Ok(number)
        });
        let file = Arc::new(file.unwrap());
        std::fs::write(&path, "2").unwrap();
        file.age();
        let look = tokio::spawn(async move {
            // Queued behind this task, on the only thread.
            let other = tokio::spawn(async move { go_on.send(()).unwrap() });
            let found = *file.get();
            other.await.unwrap();
            found
        });
        let found = tokio::time::timeout(Duration::from_secs(30), look).await;
        assert_eq!(found.unwrap().unwrap(), 2);
    }

    #[test]
    fn what_cannot_be_read_at_the_start_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let missing = Reread::open("a number", vec![path.clone()], number).unwrap_err();
        assert!(matches!(missing, FileError::Unreadable { .. }));
        std::fs::write(&path, "one").unwrap();
        let nonsense = Reread::open("a number", vec![path], number).unwrap_err();
        assert!(
            nonsense.to_string().contains("expected a number in"),
            "{nonsense}"
        );
    }
}
