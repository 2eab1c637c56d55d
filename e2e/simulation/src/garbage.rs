//! Deletes what coordinators call dead, as `coordinator/src/garbage.rs` does, from the bucket of
//! the world.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use autorep_coordinator::simulation::Services;
use autorep_core::checkpoint::{MANIFEST_OBJECT, Place};
use autorep_proto::status::Refusal;
use tokio::time::sleep;

use crate::world::World;

/// What is younger stays. Real collectors wait for ten minutes; worlds are short.
const MIN_AGE_MS: u64 = 20_000;

/// Collects again and again for one coordinator; never returns. Whoever drops it interrupts it
/// between two deletions.
pub(crate) async fn collect(world: &Arc<World>, services: &Services) {
    if world.profile.collect_every_ms == 0 {
        return std::future::pending().await;
    }
    loop {
        sleep(world.chance.ms(1, world.profile.collect_every_ms)).await;
        if let Err(refusal) = pass(world, services).await {
            world.note(format_args!("garbage: nothing collected: {refusal}"));
        }
    }
}

async fn pass(world: &Arc<World>, services: &Services) -> Result<(), Refusal> {
    services.drop_unneeded().await?;
    let mut folders: BTreeMap<Place, (Vec<String>, bool)> = BTreeMap::new();
    for (key, at_ms) in world.bucket.list() {
        if let Some(place) = Place::of(&key) {
            let (keys, young) = folders.entry(place).or_default();
            keys.push(key);
            *young |= world.now_ms() - at_ms < MIN_AGE_MS;
        }
    }
    folders.retain(|_, (_, young)| !*young);
    // A listing takes its time, and so does the question.
    sleep(world.chance.ms(1, 2000)).await;
    let dead = (services.are_dead(folders.keys().cloned().collect())).await?;
    for ((place, (mut keys, _)), _) in folders.into_iter().zip(dead).filter(|(_, dead)| *dead) {
        sleep(world.chance.ms(1, 200)).await;
        world.note(format_args!("garbage: {} goes", place.folder()));
        keys.sort_by_key(|key| !key.ends_with(MANIFEST_OBJECT));
        for key in keys {
            sleep(Duration::from_millis(1)).await;
            world.bucket.delete(&key);
        }
        world.observer.deleted();
    }
    Ok(())
}
