//! The trainer's log in the store: written anew as it grows, so that it can be followed and so that
//! what is left of an attempt that is lost says how far it came.
//!
//! A log is of use to people only: no attempt fails for want of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use autorep_core::lease::LeasePart;
use futures::future::{BoxFuture, FutureExt as _};

use crate::causes::chain;
use crate::store::Store;
use crate::wait::finish;

/// How long a log is tried to be stored: a result must not wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The log of one worker's trainer, in an attempt.
pub(super) struct StoredLog {
    store: Store,
    key: String,
    path: PathBuf,
    /// Bytes of it that the store has, if it has it.
    stored: Option<u64>,
    storing: Option<BoxFuture<'static, Option<u64>>>,
}

impl StoredLog {
    pub(super) fn new(store: &Store, part: LeasePart, path: PathBuf) -> Self {
        let claim = part.claim;
        // Only the leader's is the task's: its rank 0 says what all of them do.
        let name = if part.is_leaders() {
            "trainer.log".to_owned()
        } else {
            format!("trainer-{}.log", part.node)
        };
        Self {
            store: store.with_patience(PATIENCE),
            key: format!("tasks/{}/g{}/{name}", claim.task, claim.generation),
            path,
            stored: None,
            storing: None,
        }
    }

    /// Begins to store what there is of it, unless that is under way.
    pub(super) fn keep(&mut self) {
        if self.storing.is_none() {
            self.storing = Some(self.store_what_there_is().boxed());
        }
    }

    fn store_what_there_is(&self) -> impl Future<Output = Option<u64>> + Send + use<> {
        let (store, key, path) = (self.store.clone(), self.key.clone(), self.path.clone());
        let stored = self.stored;
        async move { store_log(&store, &key, &path, stored).await }
    }

    /// Whether it is being stored: until then nothing else may write it.
    pub(super) const fn is_storing(&self) -> bool {
        self.storing.is_some()
    }

    /// Waits until that is over; for ever, if nothing is being stored. Cancel safe.
    pub(super) async fn kept(&mut self) {
        self.stored = finish(&mut self.storing).await;
    }

    /// Stores the rest of it, once the trainer has ended.
    pub(super) fn rest(&self) -> impl Future<Output = ()> + Send + use<> {
        self.store_what_there_is().map(|_stored| ())
    }

    /// Lets go of what is under way.
    pub(super) fn drop_storing(&mut self) {
        self.storing = None;
    }
}

/// Stores the log at `path`, if there is more of it than `stored`; returns how much the store has then.
async fn store_log(store: &Store, key: &str, path: &Path, stored: Option<u64>) -> Option<u64> {
    match tokio::fs::metadata(path).await {
        Ok(log) if Some(log.len()) > stored => {}
        // The trainer was never started, or has printed nothing more.
        Ok(_) | Err(_) => return stored,
    }
    // One request has patience of its own, which may be longer.
    match tokio::time::timeout(PATIENCE, store.replace_file(key, path)).await {
        Ok(Ok(written)) => Some(written),
        Ok(Err(error)) => {
            tracing::warn!(error = %chain(&error), "the trainer's log is not stored");
            stored
        }
        Err(_elapsed) => {
            tracing::warn!(
                within_s = PATIENCE.as_secs(),
                "the trainer's log is not stored: the store does not answer"
            );
            stored
        }
    }
}
