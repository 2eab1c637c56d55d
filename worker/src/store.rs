//! Objects to and from files: streamed, hashed on the way, tried again while the store fails.

use std::future::Future;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use autorep_core::digest::Digest;
use autorep_failpoint::{Point, reached};
use autorep_store::{TooLarge, Upload, UploadError, Uploaded};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::causes::chain;

mod identity;

pub(crate) use identity::IdentityError;

/// Files up to this size are stored in one request; larger ones in pieces.
const PIECE_BYTES: u64 = 8 << 20;

/// The store as this worker uses it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    patience: Duration,
    /// By which it is told from others, if the coordinator says so.
    name: Option<Arc<str>>,
}

/// Something could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// The store failed for longer than this worker is patient.
    #[error("the store fails to take {key}")]
    Store {
        key: String,
        source: object_store::Error,
    },
    /// The store will not take it however often it is asked.
    #[error(
        "the store refuses {key}: give this worker's credentials the right to create, read and list objects (for S3: s3:PutObject, s3:GetObject and s3:ListBucket), or give it others"
    )]
    Forbidden {
        key: String,
        source: object_store::Error,
    },
    /// No store takes so large a file in pieces.
    #[error("the file {path:?} cannot be stored")]
    TooLarge {
        path: PathBuf,
        #[source]
        why: TooLarge,
    },
    /// The key is taken by something else.
    #[error("expected no object {key} or the same, found another")]
    Taken { key: String },
    /// The file to be stored could not be read.
    #[error("the file {path:?} cannot be read")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The store failed for longer than this worker is patient.
    #[error("the store fails to give {key}")]
    Store {
        key: String,
        source: object_store::Error,
    },
    /// The store will not give it however often it is asked.
    #[error(
        "the store refuses {key}: give this worker's credentials the right to create, read and list objects (for S3: s3:PutObject, s3:GetObject and s3:ListBucket), or give it others"
    )]
    Forbidden {
        key: String,
        source: object_store::Error,
    },
    /// The object is not there, and the store is the one that should have it.
    #[error("expected an object {key}, found none")]
    Missing { key: String },
    /// The object is not there, and nobody knows whether the store should have it.
    #[error("expected an object {key}, found none, and not the store that should have it either")]
    Doubtful {
        key: String,
        source: Box<IdentityError>,
    },
    /// The object is not what it should be.
    #[error("{key}: expected {expected}, found {found}")]
    Damaged {
        key: String,
        expected: String,
        found: String,
    },
    /// The file could not be written.
    #[error(
        "the file {path:?} cannot be written; give this worker a scratch folder with room that it can write to"
    )]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Why a file is not there, before its path is known to the message.
enum Unsent {
    File(std::io::Error),
    TooLarge(TooLarge),
    Store(PutError),
}

/// An object's bytes as they come.
type Content = BoxStream<'static, object_store::Result<Bytes>>;

/// The size and digest of what was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stored {
    pub(crate) bytes: u64,
    pub(crate) sha256: Digest,
}

impl Store {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, patience: Duration) -> Self {
        Self {
            objects,
            patience,
            name: None,
        }
    }

    /// The same store, given up sooner.
    pub(crate) fn with_patience(&self, patience: Duration) -> Self {
        Self {
            objects: Arc::clone(&self.objects),
            patience: patience.min(self.patience),
            name: self.name.clone(),
        }
    }

    /// Creates the object `key` from `content`. An object that is there already with the same
    /// content is a success: an earlier try got through without an answer.
    pub(crate) async fn put(&self, key: &str, content: Bytes) -> Result<Stored, PutError> {
        let stored = Stored {
            bytes: content.len() as u64,
            sha256: Digest::of(&content),
        };
        self.patiently(|| self.create(key, content.clone(), stored.sha256))
            .await?;
        Ok(stored)
    }

    async fn create(&self, key: &str, content: Bytes, sha256: Digest) -> Result<(), PutError> {
        let failed = |source| unstored(key, source);
        let options = PutOptions::from(PutMode::Create);
        let path = Key::from(key);
        let put = self
            .objects
            .put_opts(&path, PutPayload::from_bytes(content), options);
        match put.await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                if self.digest(&path).await.map_err(failed)? == sha256 {
                    Ok(())
                } else {
                    Err(PutError::Taken {
                        key: key.to_owned(),
                    })
                }
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// Stores the file at `path` under `key`, which nobody else writes. A large file is sent in
    /// pieces; it appears whole or not at all. A link is no file: it could lead to any of this machine.
    pub(crate) async fn put_file(&self, key: &str, path: &FilePath) -> Result<Stored, PutError> {
        let unreadable = |source| PutError::File {
            path: path.to_owned(),
            source,
        };
        let (file, length) = open_file(path).await.map_err(unreadable)?;
        if length <= PIECE_BYTES {
            let mut content = Vec::new();
            let mut file = File::from_std(file).take(PIECE_BYTES + 1);
            file.read_to_end(&mut content).await.map_err(unreadable)?;
            return self.put(key, content.into()).await;
        }
        self.patiently(|| async {
            let file = file.try_clone().map_err(unreadable)?;
            let sent = self.put_in_pieces(key, file, length).await;
            sent.map_err(|error| match error {
                Unsent::File(source) => unreadable(source),
                Unsent::TooLarge(why) => PutError::TooLarge {
                    path: path.to_owned(),
                    why,
                },
                Unsent::Store(error) => error,
            })
        })
        .await
    }

    /// Stores the file at `path` under `key`, whatever is there: a log that has grown. Nobody else
    /// writes that object, nor this worker twice at a time. Returns its bytes.
    pub(crate) async fn replace_file(&self, key: &str, path: &FilePath) -> Result<u64, PutError> {
        let unreadable = |source| PutError::File {
            path: path.to_owned(),
            source,
        };
        let (file, length) = open_file(path).await.map_err(unreadable)?;
        let mut content = Vec::new();
        // It may be written to meanwhile.
        let mut file = File::from_std(file).take(length);
        file.read_to_end(&mut content).await.map_err(unreadable)?;
        let content = Bytes::from(content);
        let object = Key::from(key);
        self.patiently(|| async {
            let content = PutPayload::from_bytes(content.clone());
            let put = self.objects.put(&object, content).await;
            put.map_err(|source| unstored(key, source))
        })
        .await?;
        Ok(content.len() as u64)
    }

    async fn put_in_pieces(
        &self,
        key: &str,
        file: std::fs::File,
        bytes: u64,
    ) -> Result<Stored, Unsent> {
        let upload = Upload {
            patience: self.patience,
            before_piece: || reached(Point::WorkerBeforePiece),
            before_complete: || reached(Point::WorkerBeforeWhole),
        };
        let object = Key::from(key);
        let stored = |Uploaded { bytes, sha256 }| Stored { bytes, sha256 };
        match upload.run(&*self.objects, &object, file, bytes).await {
            Ok(sent) => Ok(stored(sent)),
            Err(UploadError::File { source }) => Err(Unsent::File(source)),
            Err(UploadError::TooLarge(why)) => Err(Unsent::TooLarge(why)),
            Err(UploadError::Store { source, .. }) => Err(Unsent::Store(unstored(key, source))),
            // It may have got through without an answer, in this try or an earlier one.
            Err(UploadError::Incomplete { source, sent, .. }) => match self.digest(&object).await {
                Ok(found) if found == sent.sha256 => Ok(stored(sent)),
                Ok(_) => Err(Unsent::Store(PutError::Taken {
                    key: key.to_owned(),
                })),
                Err(_) => Err(Unsent::Store(unstored(key, source))),
            },
        }
    }

    /// The digest of an object's whole content.
    async fn digest(&self, key: &Key) -> object_store::Result<Digest> {
        let mut sha256 = Sha256::new();
        let mut stream = self.objects.get(key).await?.into_stream();
        while let Some(chunk) = stream.next().await {
            sha256.update(chunk?);
        }
        Ok(Digest::from_bytes(sha256.finalize().into()))
    }

    /// The object `key` of at most `limit` bytes.
    pub(crate) async fn get(&self, key: &str, limit: usize) -> Result<Bytes, GetError> {
        self.patiently(|| async move { read(key, self.open(key).await?, limit).await })
            .await
    }

    /// Writes the object `key` to a new file at `path`, which it leaves only if size and digest
    /// are the expected ones.
    pub(crate) async fn get_file(
        &self,
        key: &str,
        expected: Stored,
        path: &FilePath,
    ) -> Result<(), GetError> {
        self.patiently(|| self.get_file_once(key, expected, path))
            .await
    }

    async fn get_file_once(
        &self,
        key: &str,
        expected: Stored,
        path: &FilePath,
    ) -> Result<(), GetError> {
        let unwritable = |source| GetError::File {
            path: path.to_owned(),
            source,
        };
        let damaged = |expected: String, found: String| GetError::Damaged {
            key: key.to_owned(),
            expected,
            found,
        };
        let mut stream = self.open(key).await?;
        let mut file = File::create(path).await.map_err(unwritable)?;
        let mut sha256 = Sha256::new();
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|source| lost(key, source))?;
            bytes += chunk.len() as u64;
            if bytes > expected.bytes {
                break;
            }
            sha256.update(&chunk);
            file.write_all(&chunk).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        if bytes != expected.bytes {
            let more = if bytes > expected.bytes {
                "at least "
            } else {
                ""
            };
            return Err(damaged(
                format!("{} bytes", expected.bytes),
                format!("{more}{bytes}"),
            ));
        }
        let found = Digest::from_bytes(sha256.finalize().into());
        if found != expected.sha256 {
            return Err(damaged(
                format!("the sha256 {}", expected.sha256),
                found.to_string(),
            ));
        }
        Ok(())
    }

    /// An object that is not there is asked for again once it is sure that the store is the one
    /// that should have it: one that has come apart from its bucket finds nothing at all.
    async fn open(&self, key: &str) -> Result<Content, GetError> {
        match self.open_once(key).await {
            Err(GetError::Missing { .. }) if self.name.is_some() => {
                let known = self.check_name().await;
                known.map_err(|source| GetError::Doubtful {
                    key: key.to_owned(),
                    source: Box::new(source),
                })?;
                self.open_once(key).await
            }
            result => result,
        }
    }

    async fn open_once(&self, key: &str) -> Result<Content, GetError> {
        match self.objects.get(&Key::from(key)).await {
            Ok(object) => Ok(object.into_stream()),
            Err(source) => Err(lost(key, source)),
        }
    }

    /// Repeats `operation` while the store fails, within this worker's patience.
    async fn patiently<T, E, O, F>(&self, operation: O) -> Result<T, E>
    where
        E: Transient + std::error::Error,
        O: Fn() -> F,
        F: Future<Output = Result<T, E>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            match operation().await {
                Err(error) if error.is_transient() => {
                    let wait = backoff.next();
                    if started.elapsed() + wait > self.patience {
                        return Err(error);
                    }
                    autorep_measure::store::retried();
                    let wait_s = wait.as_secs_f64();
                    tracing::warn!(error = %chain(&error), wait_s, "store fails; trying again");
                    tokio::time::sleep(wait).await;
                }
                result => return result,
            }
        }
    }
}

/// Whether another try may succeed.
trait Transient {
    fn is_transient(&self) -> bool;
}

impl Transient for PutError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

impl Transient for GetError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::Doubtful { .. })
    }
}

fn unstored(key: &str, source: object_store::Error) -> PutError {
    let key = key.to_owned();
    if is_refusal(&source) {
        PutError::Forbidden { key, source }
    } else {
        PutError::Store { key, source }
    }
}

/// Whether the store knows what is asked for and lets us not have it.
const fn is_refusal(error: &object_store::Error) -> bool {
    use object_store::Error::{PermissionDenied, Unauthenticated};
    matches!(error, PermissionDenied { .. } | Unauthenticated { .. })
}

fn lost(key: &str, source: object_store::Error) -> GetError {
    let key = key.to_owned();
    if let object_store::Error::NotFound { .. } = source {
        GetError::Missing { key }
    } else if is_refusal(&source) {
        GetError::Forbidden { key, source }
    } else {
        GetError::Store { key, source }
    }
}

/// Opens a plain file and tells its size.
async fn open_file(path: &FilePath) -> std::io::Result<(std::fs::File, u64)> {
    let mut options = tokio::fs::OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        let found = format!("expected a plain file, found {:?}", metadata.file_type());
        return Err(std::io::Error::other(found));
    }
    Ok((file.into_std().await, metadata.len()))
}

/// All of an object, of at most `limit` bytes.
async fn read(key: &str, mut content: Content, limit: usize) -> Result<Bytes, GetError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = content.next().await {
        bytes.extend_from_slice(&chunk.map_err(|source| lost(key, source))?);
        if bytes.len() > limit {
            return Err(GetError::Damaged {
                key: key.to_owned(),
                expected: format!("at most {limit} bytes"),
                found: "more".to_owned(),
            });
        }
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests;
