//! A file of any size into a store, with little memory, in one go.
//!
//! One thread reads the file piece by piece into a few buffers that are used again and again, and
//! adds each piece to the digest of the whole; pieces are sent while the next ones are read. A
//! piece that fails is sent again, alone, with its signature and credentials made anew. Whatever
//! ends an upload before its end, also that its future is dropped, has the store forget the pieces.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use autorep_core::digest::Digest;
use bytes::Bytes;
use object_store::client::HttpErrorKind;
use object_store::path::Path;
use object_store::retry::{RetryContext, RetryFailure, RetryPolicy};
use object_store::{
    MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload, Result as StoreResult,
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

mod plan;

use plan::PiecePlan;
pub use plan::TooLarge;

/// How an upload goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    /// How long one piece is sent again while the store fails.
    pub patience: Duration,
    /// Called before each piece is sent.
    pub before_piece: fn(),
    /// Called when all pieces are there and the object is not.
    pub before_complete: fn(),
}

/// What lies in the store now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uploaded {
    /// The file's size.
    pub bytes: u64,
    /// The SHA-256 of the whole file.
    pub sha256: Digest,
}

/// A file is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It could not be read to its end.
    #[error("the file cannot be read")]
    File {
        /// Why.
        source: io::Error,
    },
    /// No store takes it.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The store did not take it. Nothing of it is left there if the store could be told so.
    #[error("the store does not take the pieces of {key}")]
    Store {
        /// The object.
        key: Path,
        /// Why.
        source: object_store::Error,
    },
    /// All pieces are there, and the store did not put them together, or did and could not say so.
    #[error("the store does not put the pieces of {key} together")]
    Incomplete {
        /// The object.
        key: Path,
        /// Why.
        source: object_store::Error,
        /// What would lie there.
        sent: Uploaded,
    },
}

impl Default for Upload {
    /// Two minutes for a piece.
    fn default() -> Self {
        Self {
            patience: Duration::from_mins(2),
            before_piece: || {},
            before_complete: || {},
        }
    }
}

impl Upload {
    /// Sends the file, which has `bytes` bytes and does not change meanwhile, as `key`.
    pub async fn run(
        self,
        store: &dyn ObjectStore,
        key: &Path,
        file: File,
        bytes: u64,
    ) -> Result<Uploaded, UploadError> {
        let plan = PiecePlan::of(bytes)?;
        let failed = |source| UploadError::Store {
            key: key.clone(),
            source,
        };
        let policy = Arc::new(Again {
            patience: self.patience,
        });
        let options = PutMultipartOptions::default().with_retry_policy(policy);
        let upload = store.put_multipart_opts(key, options).await;
        let mut upload = Unfinished::new(upload.map_err(failed)?);
        let mut pieces = read(file, bytes, plan);
        let mut under_way = JoinSet::new();
        while let Some(Piece { bytes, turn }) = pieces.next().await {
            while under_way.len() >= plan.at_once {
                ended(under_way.join_next().await).map_err(failed)?;
            }
            (self.before_piece)();
            let part = upload.get().put_part(PutPayload::from_bytes(bytes));
            under_way.spawn(async move {
                let result = part.await;
                drop(turn);
                result
            });
        }
        let sha256 = pieces.digest().await;
        let sha256 = sha256.map_err(|source| UploadError::File { source })?;
        while !under_way.is_empty() {
            ended(under_way.join_next().await).map_err(failed)?;
        }
        (self.before_complete)();
        let sent = Uploaded { bytes, sha256 };
        let completed = upload.get().complete().await;
        completed.map_err(|source| UploadError::Incomplete {
            key: key.clone(),
            source,
            sent,
        })?;
        upload.finish();
        Ok(sent)
    }
}

/// How one piece ended; none is told of one that was never begun.
fn ended(joined: Option<Result<StoreResult<()>, tokio::task::JoinError>>) -> StoreResult<()> {
    match joined {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(source)) => Err(source.into()),
    }
}

/// An upload that the store is told to forget when this is dropped.
#[derive(Debug)]
struct Unfinished(Option<Box<dyn MultipartUpload>>);

impl Unfinished {
    fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self(Some(upload))
    }

    fn get(&mut self) -> &mut dyn MultipartUpload {
        let upload = self.0.as_mut();
        &mut **upload.expect("it is taken out only when it is over")
    }

    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(mut upload) = self.0.take() else {
            return;
        };
        // At the end of the process nobody is left to ask, and a lifecycle rule of the bucket has
        // to clean up.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "pieces of an upload may be left in the store");
                }
            });
        }
    }
}

/// Sends a piece again while that may help.
#[derive(Debug)]
struct Again {
    patience: Duration,
}

/// Waits double from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Tries of a piece that the store finds fault with: a token that expires meanwhile and a
/// connection that stalls are answered with 400, too.
const TRIES_AT_FAULT: usize = 3;

#[async_trait]
impl RetryPolicy for Again {
    async fn retry(&self, failed: RetryContext) -> bool {
        let (may_help, failure) = match failed.failure {
            RetryFailure::Transport(HttpErrorKind::Timeout) => (true, "no answer in time".into()),
            RetryFailure::Transport(_) => (true, "no whole answer".into()),
            RetryFailure::Status(status) => {
                let may_help = match status.as_u16() {
                    400 => failed.attempt < TRIES_AT_FAULT,
                    // 403 and 404: no right to it, or an upload that the store has forgotten.
                    code => status.is_server_error() || status.is_success() || code == 429,
                };
                (may_help, format!("answered {status}"))
            }
            _ => return false,
        };
        let doublings = u32::try_from(failed.attempt.min(10)).unwrap_or(10) - 1;
        let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
        let wait = wait.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        if !may_help || failed.elapsed + wait > self.patience {
            return false;
        }
        tracing::warn!(
            failure,
            attempt = failed.attempt,
            wait_s = wait.as_secs_f64(),
            "store fails to take a piece; sending it again"
        );
        tokio::time::sleep(wait).await;
        true
    }
}

/// One piece of a file.
struct Piece {
    bytes: Bytes,
    /// Of as many as may be in memory. It is given back when the piece is sent, and not only when
    /// its bytes are gone: a store may keep those, as one in memory does.
    turn: OwnedSemaphorePermit,
}

/// The pieces of a file as a thread reads them.
struct Pieces {
    ready: mpsc::Receiver<Piece>,
    reader: tokio::task::JoinHandle<io::Result<Digest>>,
}

/// Begins to read a file. As many pieces are in memory as are under way, and one more.
fn read(file: File, bytes: u64, plan: PiecePlan) -> Pieces {
    let (send, ready) = mpsc::channel(1);
    let runtime = Handle::current();
    let reader = tokio::task::spawn_blocking(move || {
        let reading = Reading {
            turns: Arc::new(Semaphore::new(plan.at_once + 1)),
            spare: Arc::default(),
            runtime,
            send,
        };
        reading.run(&file, bytes, plan.bytes)
    });
    Pieces { ready, reader }
}

/// What the thread that reads has.
struct Reading {
    turns: Arc<Semaphore>,
    spare: Spare,
    runtime: Handle,
    send: mpsc::Sender<Piece>,
}

impl Reading {
    fn run(self, file: &File, bytes: u64, piece_bytes: usize) -> io::Result<Digest> {
        let given_up = || io::Error::other("the upload was given up");
        let mut sha256 = Sha256::new();
        let mut at = 0;
        while at < bytes {
            let turn = self.runtime.block_on(async {
                tokio::select! {
                    turn = Arc::clone(&self.turns).acquire_owned() => turn.ok(),
                    () = self.send.closed() => None,
                }
            });
            let turn = turn.ok_or_else(given_up)?;
            let length =
                usize::try_from(bytes - at).map_or(piece_bytes, |left| left.min(piece_bytes));
            let mut buffer = lock(&self.spare).pop().unwrap_or_default();
            buffer.resize(length, 0);
            file.read_exact_at(&mut buffer, at)?;
            sha256.update(&buffer);
            at += length as u64;
            let spare = Arc::clone(&self.spare);
            let bytes = Bytes::from_owner(Lent { buffer, spare });
            let sent = self.send.blocking_send(Piece { bytes, turn });
            sent.map_err(|_closed| given_up())?;
        }
        if file.read_at(&mut [0], bytes)? > 0 {
            return Err(io::Error::other(format!(
                "expected {bytes} bytes, found more: it grew while it was sent"
            )));
        }
        Ok(Digest::from_bytes(sha256.finalize().into()))
    }
}

impl Pieces {
    async fn next(&mut self) -> Option<Piece> {
        self.ready.recv().await
    }

    /// The digest of the whole, after the last piece.
    async fn digest(self) -> io::Result<Digest> {
        self.reader.await.map_err(io::Error::other)?
    }
}

/// Buffers that are not in use. To have the kernel zero 8 MiB for every piece costs more than to
/// read it.
type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

fn lock(spare: &Spare) -> MutexGuard<'_, Vec<Vec<u8>>> {
    spare.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer that goes back to the reader when nobody needs its bytes any more.
struct Lent {
    buffer: Vec<u8>,
    spare: Spare,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        lock(&self.spare).push(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests;
