//! A data set's place in a bucket: requests for threads that know nothing of asynchrony.

mod cache;
mod fill;
mod gather;
mod reader;

pub use cache::CacheSettings;
pub(crate) use reader::BucketShards;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use autorep_core::digest::Digest;
use autorep_store::{Multipart, Upload, connect};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, pin_mut};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use crate::error::OpenError;

/// Large objects are read in pieces of this size: each piece is far from any request's
/// time limit, and several at a time fill the line.
pub(crate) const PIECE_BYTES: u64 = 8 << 20;

/// Pieces of one object under way at a time.
pub(crate) const PIECES_AT_ONCE: usize = 4;

/// Threads that drive requests. They wait and decrypt; decoding is done elsewhere.
const REQUEST_THREADS: usize = 2;

/// Where one data set lies in a bucket. Clones share connections.
#[derive(Clone, Debug)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    name: Arc<str>,
    driver: Arc<Driver>,
}

/// The runtime of all requests. Whoever drops the last bucket does not wait for those under way:
/// nobody is there for their answers.
#[derive(Debug)]
struct Driver(Option<Runtime>);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Bucket {
    /// Opens the place that a URL names. Asks nothing of the store yet.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let failed = |why: String| OpenError::Unreachable {
            place: url.to_owned(),
            why,
        };
        // A set that is packed anew takes the place of the old one.
        let objects = connect(url, Multipart::Overwrites);
        let objects = objects.map_err(|error| failed(in_full(&error)))?;
        Self::new(objects, url).map_err(|error| failed(error.to_string()))
    }

    /// The place whose objects these are; `name` is for messages.
    pub fn new(objects: Arc<dyn ObjectStore>, name: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(REQUEST_THREADS)
            .thread_name("bucket")
            .enable_all()
            .build()?;
        Ok(Self {
            objects,
            name: name.into(),
            driver: Arc::new(Driver(Some(runtime))),
        })
    }

    /// What to call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that lie directly in it, with their sizes in bytes.
    pub fn sizes(&self) -> io::Result<BTreeMap<String, u64>> {
        let objects = Arc::clone(&self.objects);
        let listed = self.wait(async move { objects.list_with_delimiter(None).await })?;
        let found = listed.map_err(|error| self.failed("", &error))?.objects;
        let named = found
            .into_iter()
            .filter_map(|object| Some((object.location.filename()?.to_owned(), object.size)));
        Ok(named.collect())
    }

    /// The size of a file in bytes.
    pub fn size(&self, file: &str) -> io::Result<u64> {
        let (objects, key) = (Arc::clone(&self.objects), key(file));
        let found = self.wait(async move { objects.head(&key).await })?;
        Ok(found.map_err(|error| self.failed(file, &error))?.size)
    }

    /// SHA-256 of all bytes of a file, of which a few pieces are in memory at a time.
    pub fn digest(&self, file: &str) -> io::Result<Digest> {
        let pieces = self.pieces(file, self.size(file)?);
        let digested = self.wait(async move {
            let add = |mut sha256: Sha256, piece: Bytes| async move {
                sha256.update(&piece);
                Ok(sha256)
            };
            pieces.try_fold(Sha256::new(), add).await
        })?;
        let sha256 = digested.map_err(|error| self.failed(file, &error))?;
        Ok(Digest::from_bytes(sha256.finalize().into()))
    }

    /// All `bytes` bytes of a file.
    pub fn read(&self, file: &str, bytes: u64) -> io::Result<Vec<u8>> {
        let pieces = self.pieces(file, bytes);
        let whole: object_store::Result<Vec<Bytes>> = self.wait(pieces.try_collect())?;
        let whole = whole.map_err(|error| self.failed(file, &error))?.concat();
        if whole.len() as u64 == bytes {
            Ok(whole)
        } else {
            Err(self.cut(file, bytes, whole.len()))
        }
    }

    /// Writes all `bytes` bytes of a file to a new file at `path`.
    pub fn fetch(&self, file: &str, bytes: u64, path: &Path) -> io::Result<()> {
        let (pieces, path) = (self.pieces(file, bytes), path.to_owned());
        let bucket = self.clone();
        let file = file.to_owned();
        self.wait(async move {
            let mut to = tokio::fs::File::create(&path).await?;
            pin_mut!(pieces);
            let mut written = 0;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| bucket.failed(&file, &error))?;
                to.write_all(&piece).await?;
                written += piece.len();
            }
            to.flush().await?;
            if written as u64 == bytes {
                Ok(())
            } else {
                Err(bucket.cut(&file, bytes, written))
            }
        })?
    }

    /// Writes the file at `path` as `file`, whole or not at all.
    pub fn put(&self, file: &str, path: &Path) -> io::Result<()> {
        let (objects, key, path) = (Arc::clone(&self.objects), key(file), path.to_owned());
        self.wait(async move {
            let bytes = tokio::fs::metadata(&path).await?.len();
            if bytes <= PIECE_BYTES {
                let content = tokio::fs::read(&path).await?;
                objects.put(&key, content.into()).await?;
                return Ok(());
            }
            let upload = Upload::default();
            let file = std::fs::File::open(&path)?;
            let sent = upload.run(&*objects, &key, file, bytes).await;
            sent.map(|_| ())
                .map_err(|error| io::Error::other(in_full(&error)))
        })?
        .map_err(|error: io::Error| named(&self.place(file), &error))
    }

    /// The pieces of a file of this size in their order, several under way at a time.
    fn pieces(
        &self,
        file: &str,
        bytes: u64,
    ) -> impl futures::Stream<Item = object_store::Result<Bytes>> + Send + use<> {
        let (objects, key) = (Arc::clone(&self.objects), key(file));
        let count = bytes.div_ceil(PIECE_BYTES);
        futures::stream::iter(0..count)
            .map(move |piece| {
                let range = piece * PIECE_BYTES..bytes.min((piece + 1) * PIECE_BYTES);
                let (objects, key) = (Arc::clone(&objects), key.clone());
                async move { objects.get_range(&key, range).await }
            })
            .buffered(PIECES_AT_ONCE)
    }

    /// A range of a file.
    fn range(
        &self,
        file: &str,
        range: Range<u64>,
    ) -> impl Future<Output = io::Result<Bytes>> + Send + use<> {
        let (bucket, file) = (self.clone(), file.to_owned());
        async move {
            let wanted = range.end - range.start;
            if wanted == 0 {
                // Stores refuse to be asked for nothing.
                return Ok(Bytes::new());
            }
            let key = key(&file);
            let got = bucket.objects.get_range(&key, range).await;
            let got = got.map_err(|error| bucket.failed(&file, &error))?;
            if got.len() as u64 == wanted {
                Ok(got)
            } else {
                Err(bucket.cut(&file, wanted, got.len()))
            }
        }
    }

    /// Drives a future to its end, on whatever thread the caller is: a task's thread may not
    /// block on another runtime, but it may wait for a channel.
    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.begin(future)()
    }

    /// As [`Self::wait`], in two parts: it is under way when this returns, and what is returned
    /// waits for its end.
    fn begin<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> impl FnOnce() -> io::Result<T> + Send + use<T, F> {
        let (sender, receiver) = sync_channel(1);
        self.spawn(async move {
            // Nobody listens if the caller has given up.
            drop(sender.send(future.await));
        });
        let died = |_| io::Error::other("the thread that asks the bucket has died");
        move || receiver.recv().map_err(died)
    }

    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.driver.0 {
            drop(runtime.spawn(future));
        }
    }

    fn place(&self, file: &str) -> String {
        if file.is_empty() {
            self.name.to_string()
        } else {
            format!("{}/{file}", self.name)
        }
    }

    fn failed(&self, file: &str, error: &object_store::Error) -> io::Error {
        let kind = if let object_store::Error::NotFound { .. } = error {
            io::ErrorKind::NotFound
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, format!("{}: {}", self.place(file), in_full(error)))
    }

    fn cut(&self, file: &str, expected: u64, found: usize) -> io::Error {
        let place = self.place(file);
        let text = format!("{place}: expected {expected} bytes, found {found}: it is cut short");
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }
}

/// A file's key as other programs write it: without changing characters.
fn key(file: &str) -> Key {
    Key::parse(file).unwrap_or_else(|_illegal| Key::from(file))
}

fn named(place: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

/// An error with its causes, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors print their cause themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
