//! Deletes checkpoints that nothing can reach any more: the ledger says which, this does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::checkpoint::{MANIFEST_OBJECT, Place};
use autorep_core::ledger::retention::Verdict;
use autorep_failpoint::{Point, reached};
use autorep_proto::status::Refusal;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::time::MissedTickBehavior;

use crate::ask::{Ask, Desk, Dropped};
use crate::config::Config;
use crate::measure;

/// Where checkpoints lie.
const TASKS: &str = "tasks";

/// Objects that are judged with one question to the ledger's owner.
const BATCH: usize = 1000;

/// One pass over the store.
#[derive(Clone)]
pub(crate) struct Collection {
    pub(crate) desk: Desk,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// What is younger stays: a reader may have begun before it died.
    pub(crate) min_age: Duration,
    /// Nothing is given up or deleted, only told.
    pub(crate) dry_run: bool,
}

/// A checkpoint that was deleted, or would be.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) place: Place,
    pub(crate) reason: &'static str,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// The objects of one checkpoint.
#[derive(Default)]
struct Folder {
    objects: Vec<Path>,
    bytes: u64,
    /// Whether one of them is too young.
    young: bool,
}

impl Collection {
    /// Gives up what nothing can reach, which is durable then, and begins to go through the store.
    /// Dead checkpoints are deleted as the stream is read.
    pub(crate) async fn start(
        self,
    ) -> Result<BoxStream<'static, Result<Dead, object_store::Error>>, Refusal> {
        let dry_run = self.dry_run;
        let dropped = (self.desk)
            .ask(|reply| Ask::Drop { dry_run, reply })
            .await?;
        let listed = self.store.list(Some(&Path::from(TASKS)));
        let collection = Arc::new(self);
        let dropped = Arc::new(dropped);
        // Listings come in the order of keys on some stores and in none on others: a checkpoint
        // may be met in several batches, and each of its objects is judged by itself then.
        let batches = listed.try_chunks(BATCH).then(move |batch| {
            let (collection, dropped) = (Arc::clone(&collection), Arc::clone(&dropped));
            async move {
                let batch = batch.map_err(|error| error.1)?;
                collection.batch(batch, &dropped).await
            }
        });
        let dead = batches
            .map_ok(|dead| stream::iter(dead.into_iter().map(Ok)))
            .try_flatten();
        Ok(dead.boxed())
    }

    async fn batch(
        &self,
        batch: Vec<ObjectMeta>,
        dropped: &Dropped,
    ) -> Result<Vec<Dead>, object_store::Error> {
        let mut folders: BTreeMap<Place, Folder> = BTreeMap::new();
        for object in batch {
            if let Some(place) = Place::of(object.location.as_ref()) {
                let folder = folders.entry(place).or_default();
                folder.bytes += object.size;
                folder.young |= self.is_young(&object);
                folder.objects.push(object.location);
            }
        }
        folders.retain(|_, folder| !folder.young);
        let places: Vec<Place> = folders.keys().cloned().collect();
        let judged = self.desk.ask(|reply| Ask::Judge { places, reply }).await;
        let verdicts = judged.map_err(|refusal| object_store::Error::Generic {
            store: "coordinator",
            source: Box::new(refusal),
        })?;
        let mut dead = Vec::new();
        for ((place, folder), verdict) in folders.into_iter().zip(verdicts) {
            let would_drop = self.dry_run && dropped.contains(&place.task);
            let verdict = match verdict {
                Verdict::Live if would_drop => Verdict::Dropped,
                Verdict::Live | Verdict::Unknown | Verdict::Superseded | Verdict::Dropped => {
                    verdict
                }
            };
            if !verdict.is_dead() {
                continue;
            }
            let (objects, bytes) = (folder.objects.len() as u64, folder.bytes);
            if !self.dry_run {
                if let Err(error) = self.delete(&place, folder.objects).await {
                    // The next pass finds it again; the others need not wait for it.
                    tracing::warn!(%error, folder = place.folder(), "a checkpoint could not be deleted");
                    continue;
                }
                measure::deleted(objects, bytes);
            }
            dead.push(Dead {
                place,
                reason: verdict.reason(),
                objects,
                bytes,
            });
        }
        Ok(dead)
    }

    fn is_young(&self, object: &ObjectMeta) -> bool {
        let now = std::time::SystemTime::now();
        let written = std::time::SystemTime::from(object.last_modified);
        // A clock that is behind the store's makes everything young, which does no harm.
        now.duration_since(written)
            .map_or(!self.min_age.is_zero(), |age| age < self.min_age)
    }

    /// Deletes a checkpoint's objects, the manifest first, whether it is among them or was met in
    /// another batch: without it, what is left is none.
    async fn delete(&self, place: &Place, objects: Vec<Path>) -> Result<(), object_store::Error> {
        let manifest = Path::from(format!("{}/{MANIFEST_OBJECT}", place.folder()));
        let parts = objects.into_iter().filter(|key| *key != manifest);
        reached(Point::CoordinatorBeforeDelete);
        for key in std::iter::once(manifest.clone()).chain(parts) {
            match self.store.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            if key.filename() == Some(MANIFEST_OBJECT) {
                reached(Point::CoordinatorAfterManifest);
            }
        }
        reached(Point::CoordinatorAfterDelete);
        Ok(())
    }
}

/// Collects again and again, as the configuration says; never returns.
pub(crate) async fn collect_regularly(desk: Desk, store: Arc<dyn ObjectStore>, config: &Config) {
    if config.gc_every.is_zero() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(config.gc_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // The first one is at once: a start has better things to do.
    loop {
        ticks.tick().await;
        let collection = Collection {
            desk: desk.clone(),
            store: Arc::clone(&store),
            min_age: config.gc_min_age,
            dry_run: false,
        };
        let collected = async {
            let dead = collection.start().await.map_err(|it| it.to_string())?;
            let counted = dead.try_fold((0, 0), |(checkpoints, bytes), dead| async move {
                Ok((checkpoints + 1, bytes + dead.bytes))
            });
            counted.await.map_err(|it| it.to_string())
        };
        match collected.await {
            Ok((0, _)) => {}
            Ok((checkpoints, bytes)) => {
                tracing::info!(
                    checkpoints,
                    bytes,
                    "checkpoints that nothing can reach deleted"
                );
            }
            // Nothing is lost by it: the next pass finds them again.
            Err(error) => tracing::warn!(error, "checkpoints could not be collected"),
        }
    }
}
