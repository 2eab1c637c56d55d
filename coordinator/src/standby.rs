//! Waiting to take over: a coordinator that serves writes a heartbeat into its store, and one that
//! stands by takes over when the heartbeat stands still.
//!
//! Nothing rests on it but how soon that happens. Opening the state fences whoever had it, so a
//! heartbeat that is missed by mistake costs a change of coordinators and nothing else, and no
//! clock is compared with another: what counts is how long the waiting one has seen no change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::time::Instant;

/// The heartbeat's object in the store.
const HEARTBEAT: &str = "coordinator/heartbeat";

/// How often it beats, and how often it is looked at.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// A heartbeat that has stood still for so long is one of the dead.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Beats for as long as it is polled. The heart is named by its start, so that two are different.
pub(crate) async fn beat(store: Arc<dyn ObjectStore>) {
    let key = Path::from(HEARTBEAT);
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let heart = format!("{}-{started}", std::process::id());
    let mut beats = tokio::time::interval(BEAT_EVERY);
    let mut is_told = false;
    for count in 0_u64.. {
        beats.tick().await;
        let text = format!("{heart} {count}\n");
        match store.put(&key, text.into()).await {
            Ok(_) => is_told = false,
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(%error, "no heartbeat was written; a standby, if there is one, takes over when none comes");
            }
            Err(error) => tracing::debug!(%error, "no heartbeat was written"),
        }
    }
}

/// Takes the heartbeat away, so that a standby need not wait.
pub(crate) async fn stop(store: &dyn ObjectStore) {
    let key = Path::from(HEARTBEAT);
    let removed = store.delete(&key);
    match tokio::time::timeout(BEAT_EVERY, removed).await {
        Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the heartbeat is left in the store"),
        Err(_elapsed) => tracing::warn!("the heartbeat is left in the store: it does not answer"),
    }
}

/// Returns when no coordinator serves on the store: none beats, or none has for `patience`.
pub async fn wait(store: &dyn ObjectStore, patience: Duration) {
    let key = Path::from(HEARTBEAT);
    let mut last: Option<Bytes> = None;
    let mut since = Instant::now();
    loop {
        match read(store, &key).await {
            Ok(None) => return,
            Ok(Some(beat)) if last.as_ref() != Some(&beat) => {
                if last.is_none() {
                    let beat = String::from_utf8_lossy(&beat);
                    tracing::info!(heartbeat = beat.trim(), "standing by: a coordinator serves");
                }
                last = Some(beat);
                since = Instant::now();
            }
            Ok(Some(_)) if since.elapsed() >= patience => {
                let patience_s = patience.as_secs_f64();
                tracing::warn!(patience_s, "the heartbeat stands still: taking over");
                return;
            }
            Ok(Some(_)) => {}
            Err(error) => {
                // Whoever cannot read the store cannot serve from it either.
                tracing::warn!(%error, "standing by: the store does not answer");
                since = Instant::now();
            }
        }
        tokio::time::sleep(BEAT_EVERY / 2).await;
    }
}

async fn read(store: &dyn ObjectStore, key: &Path) -> Result<Option<Bytes>, object_store::Error> {
    match store.get(key).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standby_waits_while_a_heart_beats_and_takes_over_when_it_stops() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let beating = tokio::spawn(beat(Arc::clone(&store)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let minute = Duration::from_mins(1);
        let waited = tokio::time::timeout(minute, wait(&*store, PATIENCE)).await;
        assert!(waited.is_err(), "it beats");
        beating.abort();
        let stopped = Instant::now();
        wait(&*store, PATIENCE).await;
        let took = stopped.elapsed();
        assert!(took >= PATIENCE && took < PATIENCE + BEAT_EVERY, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_does_not_wait_for_one_that_has_stopped_or_never_was() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let began = Instant::now();
        wait(&*store, PATIENCE).await;
        let beating = tokio::spawn(beat(Arc::clone(&store)));
        tokio::time::sleep(Duration::from_secs(1)).await;
        beating.abort();
        stop(&*store).await;
        wait(&*store, PATIENCE).await;
        assert!(began.elapsed() < PATIENCE);
    }
}
