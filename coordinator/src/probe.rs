//! What the store can do, found out by trying.
//!
//! That an object can be created only once is tried as a race, because that is how it is needed:
//! a store may refuse the second of two writers in turn and yet let several win that come at the
//! same time.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};

/// Writers that try to create one object at the same time. Two are enough, and good stores let
/// more wait for one another: SeaweedFS a second for each.
const WRITERS: usize = 2;

/// Objects that are raced for: one first, which also opens the connections, then the others at
/// once, when requests arrive closer together. Of 60 probes of `s3s-fs` on loopback, the first race
/// found out 53, and the second batch the rest.
const RACES: usize = 8;

/// Bytes of an object that is raced for: enough that writing it takes a moment, in which others
/// come.
const BODY_BYTES: usize = 16 << 10;

/// What the store can do beyond what it must.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Whether it can replace an object on the condition that nobody else has.
    pub update: bool,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Several writers could believe that they created an object.
    #[error(
        "expected a store in which an object can be created only once, found one in which {winners} of {WRITERS} writers that came at the same time were told that they had created {key}; use a store that honours If-None-Match also when writers race (for S3: Amazon's own, or SeaweedFS)"
    )]
    NoCreateOnly {
        /// The object.
        key: String,
        /// Who was told so.
        winners: usize,
    },
    /// The store says that it cannot do this.
    #[error(
        "expected a store in which an object can be created only once, found one that cannot do that; use a store with conditional writes (for S3: one that honours If-None-Match)"
    )]
    CreateOnlyRefused(#[source] Error),
    /// Who was told to have created an object has not.
    #[error(
        "expected the object {key} as the writer has made it that was told to have created it, found another's: writers who lose a race still overwrite what is there; use a store that honours If-None-Match also when writers race (for S3: Amazon's own, or SeaweedFS)"
    )]
    Overwritten {
        /// The object.
        key: String,
    },
    /// No object can be created.
    #[error(
        "expected that one of {WRITERS} writers creates the object {key}, found none and no object; check what lies between here and the store"
    )]
    NothingCreated {
        /// The object.
        key: String,
    },
    /// The store knows us, or does not, and lets us do nothing.
    #[error(
        "expected the right to create, read, list and delete objects in the store, found that it may not be done with these credentials; give them that right (for S3: s3:PutObject, s3:GetObject, s3:ListBucket and s3:DeleteObject), or others to this process"
    )]
    Forbidden(#[source] Error),
    /// The store cannot be written to or read from.
    #[error(
        "expected a store that can be written to, read from and deleted from; check its address and the rights"
    )]
    Unreachable(#[source] Error),
}

/// Lets several writers race to create an object, a few times, and tidies up. A store that lets
/// more than one win, or keeps another's object than the winner's, cannot be used.
pub async fn probe(store: &dyn ObjectStore) -> Result<Abilities, ProbeError> {
    let stem = unused_stem();
    let keys: Vec<Path> = (0..RACES)
        .map(|race| Path::from(format!("{stem}-{race}")))
        .collect();
    let found = judge(store, &keys).await;
    tidy(store, keys).await;
    found
}

async fn judge(store: &dyn ObjectStore, keys: &[Path]) -> Result<Abilities, ProbeError> {
    let (first, others) = keys.split_at(1);
    let mut winners = Vec::new();
    for keys in [first, others] {
        let races = keys.iter().map(|key| race(store, key));
        // All are waited for, or one that is still under way would leave its object behind.
        for (won, key) in join_all(races).await.into_iter().zip(keys) {
            winners.extend(won?.map(|version| (key, version)));
        }
    }
    let update = match winners.pop() {
        Some((key, version)) => can_update(store, key, version).await,
        None => false,
    };
    Ok(Abilities { update })
}

/// One race; returns the winner's version of the object, if the winner is known. A store may
/// answer the winner's request so late that the client has sent it again: then nobody hears of
/// having won, and the object must be there all the same.
async fn race(store: &dyn ObjectStore, key: &Path) -> Result<Option<UpdateVersion>, ProbeError> {
    let bodies: Vec<Bytes> = (0..WRITERS).map(body).collect();
    let attempts = join_all(bodies.iter().map(|body| create(store, key, body.clone()))).await;
    let mut winners = Vec::new();
    for (attempt, body) in attempts.into_iter().zip(&bodies) {
        match attempt {
            Ok(version) => winners.push((version, body)),
            Err(Error::AlreadyExists { .. }) => {}
            Err(error @ (Error::NotImplemented { .. } | Error::NotSupported { .. })) => {
                return Err(ProbeError::CreateOnlyRefused(error));
            }
            Err(error) => return Err(unusable(error)),
        }
    }
    if winners.len() > 1 {
        return Err(ProbeError::NoCreateOnly {
            key: key.to_string(),
            winners: winners.len(),
        });
    }
    let kept = match get(store, key).await {
        Ok(kept) => kept,
        Err(Error::NotFound { .. }) => {
            return Err(ProbeError::NothingCreated {
                key: key.to_string(),
            });
        }
        Err(error) => return Err(unusable(error)),
    };
    let is_right = match winners.first() {
        Some((_, body)) => kept == **body,
        None => bodies.contains(&kept),
    };
    if !is_right {
        return Err(ProbeError::Overwritten {
            key: key.to_string(),
        });
    }
    Ok(winners.pop().map(|(version, _)| version))
}

/// Why a request failed that has nothing to do with who came first.
fn unusable(error: Error) -> ProbeError {
    if let Error::PermissionDenied { .. } | Error::Unauthenticated { .. } = error {
        ProbeError::Forbidden(error)
    } else {
        ProbeError::Unreachable(error)
    }
}

fn body(writer: usize) -> Bytes {
    vec![u8::try_from(writer).unwrap_or(u8::MAX); BODY_BYTES].into()
}

async fn create(store: &dyn ObjectStore, key: &Path, body: Bytes) -> Result<UpdateVersion, Error> {
    let options = PutOptions::from(PutMode::Create);
    let put = store.put_opts(key, PutPayload::from_bytes(body), options);
    put.await.map(UpdateVersion::from)
}

async fn get(store: &dyn ObjectStore, key: &Path) -> Result<Bytes, Error> {
    store.get(key).await?.bytes().await
}

/// Whether the object of this version can be replaced, and only once.
async fn can_update(store: &dyn ObjectStore, key: &Path, version: UpdateVersion) -> bool {
    let update = async || {
        let options = PutOptions::from(PutMode::Update(version.clone()));
        let replaced = PutPayload::from_static(b"probe, replaced");
        store.put_opts(key, replaced, options).await
    };
    update().await.is_ok() && update().await.is_err()
}

/// Removes whatever of these objects is there.
async fn tidy(store: &dyn ObjectStore, keys: Vec<Path>) {
    let keys = futures::stream::iter(keys.into_iter().map(Ok)).boxed();
    let mut deleted = store.delete_stream(keys);
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, "an object of the probe may be left in the store, below probe/");
            }
        }
    }
}

/// The beginning of keys that no other probe tries at the same time.
fn unused_stem() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    format!("probe/{}-{nanos}", std::process::id())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutResult, Result,
    };

    use super::*;

    /// A store that ignores conditions, as some S3 look-alikes do, or that writes first and asks
    /// afterwards.
    #[derive(Debug)]
    struct Careless {
        memory: InMemory,
        /// What a writer is told who was not the first.
        tells_losers: bool,
    }

    impl Careless {
        fn new(tells_losers: bool) -> Self {
            Self {
                memory: InMemory::new(),
                tells_losers,
            }
        }
    }

    impl fmt::Display for Careless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Debug::fmt(self, f)
        }
    }

    #[tonic::async_trait]
    impl ObjectStore for Careless {
        async fn put_opts(
            &self,
            key: &Path,
            payload: PutPayload,
            _: PutOptions,
        ) -> Result<PutResult> {
            let lost = self.memory.head(key).await.is_ok();
            let put = self.memory.put_opts(key, payload, PutOptions::default());
            let put = put.await?;
            if lost && self.tells_losers {
                return Err(Error::AlreadyExists {
                    path: key.to_string(),
                    source: "it was there".into(),
                });
            }
            Ok(put)
        }
        async fn put_multipart_opts(
            &self,
            key: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.memory.put_multipart_opts(key, options).await
        }
        async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
            self.memory.get_opts(key, options).await
        }
        fn delete_stream(
            &self,
            keys: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.memory.delete_stream(keys)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.memory.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.memory.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.memory.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_store_without_conditional_create_is_refused_and_nothing_is_left_in_it() {
        let store = Careless::new(false);
        let refusal = probe(&store).await.unwrap_err();
        assert!(matches!(refusal, ProbeError::NoCreateOnly { winners, .. } if winners == WRITERS));
        assert_eq!(store.list(None).count().await, 0);
    }

    #[tokio::test]
    async fn a_store_in_which_the_loser_of_a_race_overwrites_the_winner_is_refused() {
        let refusal = probe(&Careless::new(true)).await.unwrap_err();
        assert!(matches!(refusal, ProbeError::Overwritten { .. }));
    }

    #[tokio::test]
    async fn a_folder_can_create_only_once_and_cannot_update_and_nothing_is_left_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = object_store::local::LocalFileSystem::new_with_prefix(folder.path())
            .unwrap()
            .with_automatic_cleanup(true);
        assert_eq!(probe(&store).await.unwrap(), Abilities { update: false });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let memory = InMemory::new();
        assert_eq!(probe(&memory).await.unwrap(), Abilities { update: true });
        assert_eq!(memory.list(None).count().await, 0);
    }
}
