//! Brings whole shards to this machine's disk while their pictures are already read by range.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use autorep_core::digest::Digest;
use futures::{StreamExt as _, pin_mut};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::cache::{CacheSettings, Claim, Part};
use super::{Bucket, PIECES_AT_ONCE};
use crate::shards::ShardEntry;
use crate::verify::digest_rest;

/// Between two looks at a shard that another process is writing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One shard of a bucket as its reader sees it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: Digest,
    /// Its verified file on this machine's disk.
    pub(super) local: OnceLock<PathBuf>,
    /// What the bucket holds in its place, if that is not what the index says.
    pub(super) damaged: OnceLock<String>,
}

impl Slot {
    pub(super) fn new(entry: &ShardEntry) -> Self {
        Self {
            file: entry.file.clone(),
            bytes: entry.bytes,
            sha256: entry.sha256,
            local: OnceLock::new(),
            damaged: OnceLock::new(),
        }
    }
}

/// What the thread that fills and those that read share.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    /// Why not all shards that fit are kept.
    pub(super) warning: OnceLock<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Filling,
    /// The reader is gone.
    Abandoned,
    Done,
}

impl Progress {
    /// Waits until no more shards will be kept.
    pub(super) fn settled(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let filling = |state: &mut State| *state == State::Filling;
        drop(self.changed.wait_while(state, filling));
    }

    pub(super) fn abandon(&self) {
        self.become_(State::Abandoned);
    }

    fn become_(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    fn abandoned(&self) -> bool {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) == State::Abandoned
    }

    /// Waits a while, less if the reader goes. Says whether it is still there.
    fn pause(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let filling = |state: &mut State| *state == State::Filling;
        drop(self.changed.wait_timeout_while(state, LOOK_EVERY, filling));
        !self.abandoned()
    }

    /// Says once that shards are read by range although they would fit.
    fn warn(&self, why: &str) {
        let text = format!(
            "expected to keep whole shards on this machine's disk: {why}; the rest is read from \
             the bucket image by image"
        );
        if self.warning.set(text.clone()).is_ok() {
            let _unheard = writeln!(io::stderr(), "warning: {text}");
        }
    }
}

/// Starts the thread that keeps the first of these shards that fit. It ends with the reader.
pub(super) fn start(
    bucket: Bucket,
    cache: CacheSettings,
    slots: Arc<[Slot]>,
    progress: Arc<Progress>,
) -> io::Result<()> {
    let filling = thread::Builder::new().name("shard cache".to_owned());
    filling.spawn(move || {
        if let Err(error) = fill(&bucket, &cache, &slots, &progress) {
            progress.warn(&error.to_string());
        }
        progress.become_(State::Done);
    })?;
    Ok(())
}

/// Takes the shards in their order; those that others are writing are looked at again.
fn fill(
    bucket: &Bucket,
    cache: &CacheSettings,
    slots: &[Slot],
    progress: &Progress,
) -> io::Result<()> {
    let mut left: Vec<&Slot> = slots.iter().collect();
    while !left.is_empty() {
        let mut busy = Vec::new();
        for slot in left {
            if progress.abandoned() {
                return Ok(());
            }
            if !keep(bucket, cache, slot, progress)? {
                busy.push(slot);
            }
        }
        left = busy;
        if !left.is_empty() && !progress.pause() {
            return Ok(());
        }
    }
    Ok(())
}

/// Sees to one shard: verifies its file or writes it, if there is room. Says whether that is all
/// that can be done about it.
fn keep(
    bucket: &Bucket,
    cache: &CacheSettings,
    slot: &Slot,
    progress: &Progress,
) -> io::Result<bool> {
    // Twice: what came damaged over the line may come whole the second time.
    for last in [false, true] {
        let part = match cache.claim(slot.sha256, slot.bytes)? {
            Claim::Busy => return Ok(false),
            Claim::NoRoom => return Ok(true),
            Claim::Mine(part) => part,
            Claim::Whole(path) => {
                if verified(cache, slot, &path)? {
                    drop(slot.local.set(path));
                    return Ok(true);
                }
                continue;
            }
        };
        let Some(found) = download(bucket, slot, &part, progress)? else {
            return Ok(true);
        };
        if found == slot.sha256 {
            drop(slot.local.set(part.keep()?));
            return Ok(true);
        }
        if last {
            let text = format!("expected the sha256 {}, found {found}", slot.sha256);
            drop(slot.damaged.set(text));
        }
    }
    Ok(true)
}

/// Whether a file that lies in the cache holds what it should: a disk forgets, and a machine may
/// have lost its power. One that does not is removed.
fn verified(cache: &CacheSettings, slot: &Slot, path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if digest_rest(&mut file)? == slot.sha256 {
        return Ok(true);
    }
    cache.remove(path, &file)?;
    Ok(false)
}

/// Writes the shard and returns the digest of what came; `None` if the reader is gone.
fn download(
    bucket: &Bucket,
    slot: &Slot,
    part: &Part,
    progress: &Progress,
) -> io::Result<Option<Digest>> {
    let (sender, mut receiver) = mpsc::channel(PIECES_AT_ONCE);
    let pieces = bucket.pieces(&slot.file, slot.bytes);
    bucket.spawn(async move {
        pin_mut!(pieces);
        while let Some(piece) = pieces.next().await {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    let mut sha256 = Sha256::new();
    let mut bytes = 0;
    let mut file = &part.file;
    while let Some(piece) = receiver.blocking_recv() {
        if progress.abandoned() {
            return Ok(None);
        }
        let piece = piece.map_err(|error| bucket.failed(&slot.file, &error))?;
        bytes += piece.len() as u64;
        sha256.update(&piece);
        file.write_all(&piece)?;
    }
    if bytes != slot.bytes {
        let found = usize::try_from(bytes).unwrap_or(usize::MAX);
        return Err(bucket.cut(&slot.file, slot.bytes, found));
    }
    Ok(Some(Digest::from_bytes(sha256.finalize().into())))
}
