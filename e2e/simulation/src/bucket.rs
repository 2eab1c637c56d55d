//! The store of checkpoints: keys are created once and never overwritten.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::sleep;

use crate::world::World;

/// Objects by key.
#[derive(Debug, Default)]
pub(crate) struct Bucket(Mutex<BTreeMap<String, Object>>);

#[derive(Debug)]
struct Object {
    at_ms: u64,
    written: Vec<u8>,
    /// What is read: other bytes once it has gone bad.
    content: Vec<u8>,
}

/// Why an object was not stored or not found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BucketError {
    /// The store failed; nobody knows whether it took the object.
    Fails,
    /// The key is taken by other content.
    Taken,
    /// No object has the key.
    Missing,
}

impl Bucket {
    /// Creates an object once; one with the same content is a success.
    pub(crate) async fn create(
        &self,
        world: &World,
        key: &str,
        content: Vec<u8>,
    ) -> Result<(), BucketError> {
        sleep(world.chance.ms(1, 60)).await;
        if world.fault(world.profile.bucket_fails) {
            return Err(BucketError::Fails);
        }
        let stored = self.put(world, key, content);
        sleep(world.chance.ms(1, 60)).await;
        if world.fault(world.profile.bucket_fails) {
            return Err(BucketError::Fails);
        }
        stored
    }

    fn put(&self, world: &World, key: &str, content: Vec<u8>) -> Result<(), BucketError> {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = objects.get(key) {
            return if known.written == content {
                Ok(())
            } else {
                Err(BucketError::Taken)
            };
        }
        let written = content.clone();
        let mut content = content;
        let is_handed_out = key.contains("/out-b");
        let damage = if is_handed_out {
            world.profile.damage.max(world.profile.damage_handed_out)
        } else {
            world.profile.damage
        };
        if world.fault(damage)
            && let Some(byte) = content.first_mut()
        {
            *byte ^= 0x55;
            world.note(format_args!("bucket: {key} goes bad"));
        }
        objects.insert(
            key.to_owned(),
            Object {
                at_ms: world.now_ms(),
                written,
                content,
            },
        );
        Ok(())
    }

    /// Every key, and when it was created.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (objects.iter())
            .map(|(key, object)| (key.clone(), object.at_ms))
            .collect()
    }

    /// Deletes an object, if it is there.
    pub(crate) fn delete(&self, key: &str) {
        let mut objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        objects.remove(key);
    }

    /// The content of an object.
    pub(crate) async fn get(&self, world: &World, key: &str) -> Result<Vec<u8>, BucketError> {
        sleep(world.chance.ms(1, 60)).await;
        if world.fault(world.profile.bucket_fails) {
            return Err(BucketError::Fails);
        }
        let objects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let object = objects.get(key).ok_or(BucketError::Missing)?;
        Ok(object.content.clone())
    }
}
