//! What the store can do, found out by trying.

use std::time::{SystemTime, UNIX_EPOCH};

use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion,
};

/// What the store can do beyond what it must.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Abilities {
    /// Whether it can replace an object on the condition that nobody else has.
    pub(crate) update: bool,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Two writers could both believe that they created an object.
    #[error(
        "expected a store in which an object can be created only once, found one that let {key} be created twice; use a store with conditional writes (for S3: one that honours If-None-Match)"
    )]
    NoCreateOnly {
        /// The object.
        key: String,
    },
    /// The store says that it cannot do this.
    #[error(
        "expected a store in which an object can be created only once, found one that cannot do that; use a store with conditional writes (for S3: one that honours If-None-Match)"
    )]
    CreateOnlyRefused(#[source] Error),
    /// The store cannot be written to or read from.
    #[error("expected a store that can be written to; check its address and the right to write")]
    Unreachable(#[source] Error),
}

/// Creates an object twice, of which the second must fail, and tidies up.
pub(crate) async fn probe(store: &dyn ObjectStore) -> Result<Abilities, ProbeError> {
    let key = unused_key();
    let created = match create(store, &key).await {
        Ok(created) => created,
        Err(error @ (Error::NotImplemented { .. } | Error::NotSupported { .. })) => {
            return Err(ProbeError::CreateOnlyRefused(error));
        }
        Err(error) => return Err(ProbeError::Unreachable(error)),
    };
    let again = create(store, &key).await;
    let replaced = store
        .put_opts(
            &key,
            PutPayload::from_static(b"probe, replaced"),
            PutOptions::from(PutMode::Update(created)),
        )
        .await;
    if let Err(error) = store.delete(&key).await {
        tracing::warn!(%error, %key, "the probe's object is left in the store");
    }
    match again {
        Err(Error::AlreadyExists { .. }) => Ok(Abilities {
            update: replaced.is_ok(),
        }),
        Ok(_) => Err(ProbeError::NoCreateOnly {
            key: key.to_string(),
        }),
        Err(error) => Err(ProbeError::Unreachable(error)),
    }
}

async fn create(store: &dyn ObjectStore, key: &Path) -> Result<UpdateVersion, Error> {
    let options = PutOptions::from(PutMode::Create);
    let put = store.put_opts(key, PutPayload::from_static(b"probe"), options);
    put.await.map(UpdateVersion::from)
}

/// A key that no other coordinator tries at the same time.
fn unused_key() -> Path {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.as_nanos());
    Path::from(format!("probe/{}-{nanos}", std::process::id()))
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

    /// A store that ignores conditions, as some S3 look-alikes do.
    #[derive(Debug)]
    struct Careless(InMemory);

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
            self.0.put_opts(key, payload, PutOptions::default()).await
        }
        async fn put_multipart_opts(
            &self,
            key: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(key, options).await
        }
        async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(key, options).await
        }
        fn delete_stream(
            &self,
            keys: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(keys)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    #[tokio::test]
    async fn a_store_without_conditional_create_is_refused() {
        let refusal = probe(&Careless(InMemory::new())).await.unwrap_err();
        assert!(matches!(refusal, ProbeError::NoCreateOnly { .. }));
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
    }
}
