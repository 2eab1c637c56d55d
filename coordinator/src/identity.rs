//! Which store it is: an object that the first coordinator on a store makes up.
//!
//! Workers are told what it says and look whether their own store says the same. Without that, a
//! worker with another `--store` finds none of the checkpoints that it is to start from, and what
//! made them would be done again.

use autorep_proto::STORE_ID_KEY;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

/// The longest that is taken for one.
const MAX_BYTES: usize = 128;

/// Nobody can tell which store it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The object says nothing that could be compared.
    #[error(
        "expected a word of at most {MAX_BYTES} letters and digits in the object {STORE_ID_KEY}, found {found}; delete the object and start the coordinator again: it makes up another, and workers follow"
    )]
    Damaged {
        /// What it says, or how much.
        found: String,
    },
    /// The store gives or takes nothing.
    #[error(
        "expected a store in which the object {STORE_ID_KEY} can be read or created; check its address and the rights"
    )]
    Store(#[source] Error),
}

/// What the store is called; if it has no name yet, it gets one that is durable with the answer.
pub async fn identity(store: &dyn ObjectStore) -> Result<String, IdentityError> {
    let key = Path::from(STORE_ID_KEY);
    if let Some(known) = read(store, &key).await? {
        return Ok(known);
    }
    let new = format!("{:032x}", fastrand::u128(..));
    let options = PutOptions::from(PutMode::Create);
    let created = store.put_opts(&key, format!("{new}\n").into(), options);
    match created.await {
        // Another coordinator was here first, or this one, whose first try got no answer.
        Ok(_) | Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(IdentityError::Store(error)),
    }
    let kept = read(store, &key).await?;
    kept.ok_or_else(|| IdentityError::Damaged {
        found: "none, right after it was created".to_owned(),
    })
}

async fn read(store: &dyn ObjectStore, key: &Path) -> Result<Option<String>, IdentityError> {
    let found = match store.get(key).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(IdentityError::Store(error)),
    };
    if found.meta.size > MAX_BYTES as u64 {
        let found = format!("{} bytes", found.meta.size);
        return Err(IdentityError::Damaged { found });
    }
    let bytes = found.bytes().await.map_err(IdentityError::Store)?;
    let text = String::from_utf8_lossy(&bytes);
    let word = text.trim();
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let found = format!("{text:?}");
        return Err(IdentityError::Damaged { found });
    }
    Ok(Some(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_store_gets_a_name_once_and_no_other_store_has_it() {
        let store = InMemory::new();
        let first = identity(&store).await.unwrap();
        assert_eq!(identity(&store).await.unwrap(), first);
        assert_ne!(identity(&InMemory::new()).await.unwrap(), first);
    }

    #[tokio::test]
    async fn coordinators_that_start_together_agree_on_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let names = join_all((0..8).map(|_| identity(&store))).await;
        let names: Vec<String> = names.into_iter().map(Result::unwrap).collect();
        assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_compared_is_refused() {
        for damaged in ["", "\n", "two words", &"x".repeat(MAX_BYTES + 1)] {
            let store = InMemory::new();
            let key = Path::from(STORE_ID_KEY);
            store.put(&key, damaged.to_owned().into()).await.unwrap();
            let refused = identity(&store).await;
            assert!(
                matches!(refused, Err(IdentityError::Damaged { .. })),
                "{damaged:?}: {refused:?}"
            );
        }
    }
}
