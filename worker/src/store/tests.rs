use autorep_proto::STORE_ID_KEY;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutResult, UploadPart,
};

use super::*;

fn store() -> Store {
    Store::new(Arc::new(InMemory::new()), Duration::from_mins(1))
}

/// Stores a file of `length` bytes, fetches it again, and compares.
async fn check_round_trip(store: &Store, length: usize) {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..=250).cycle().take(length).collect();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::write(&from, &content).unwrap();

    let stored = store.put_file("a/file", &from).await.unwrap();
    assert_eq!(stored.bytes, length as u64);
    assert_eq!(stored.sha256, Digest::of(&content));

    store.get_file("a/file", stored, &to).await.unwrap();
    assert!(std::fs::read(&to).unwrap() == content);
}

#[tokio::test]
async fn files_of_every_size_come_back_as_they_were() {
    let piece = usize::try_from(PIECE_BYTES).unwrap();
    for length in [0, 1, piece, piece + 1, 2 * piece] {
        check_round_trip(&store(), length).await;
    }
}

#[tokio::test]
async fn a_folder_is_as_good_a_store_as_memory() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let store = Store::new(Arc::new(local), Duration::from_mins(1));
    check_round_trip(&store, usize::try_from(PIECE_BYTES).unwrap() + 1).await;
    store.put("b", Bytes::from_static(b"x")).await.unwrap();
    store.put("b", Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn storing_the_same_twice_is_a_success_and_something_else_is_not() {
    let store = store();
    let first = store.put("k", Bytes::from_static(b"same")).await.unwrap();
    let again = store.put("k", Bytes::from_static(b"same")).await.unwrap();
    assert_eq!(first, again);
    let other = store.put("k", Bytes::from_static(b"other")).await;
    assert!(matches!(other, Err(PutError::Taken { .. })), "{other:?}");
    assert_eq!(store.get("k", 10).await.unwrap(), "same");
}

#[tokio::test]
async fn a_damaged_object_is_told_from_a_missing_one() {
    let store = store();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let good = store.put("k", Bytes::from_static(b"right")).await.unwrap();
    let wrong = [
        Stored { bytes: 4, ..good },
        Stored { bytes: 6, ..good },
        Stored {
            sha256: Digest::of(b"wrong"),
            ..good
        },
    ];
    for expected in wrong {
        let found = store.get_file("k", expected, &path).await;
        assert!(matches!(found, Err(GetError::Damaged { .. })), "{found:?}");
    }
    assert!(matches!(
        store.get("k", 4).await,
        Err(GetError::Damaged { .. })
    ));
    assert!(matches!(
        store.get("none", 4).await,
        Err(GetError::Missing { .. })
    ));
}

#[tokio::test]
async fn a_store_that_keeps_failing_is_tried_again_and_given_up_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    // A file where a folder has to be: every write below it fails.
    std::fs::write(folder.path().join("tasks"), "").unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let patience = Duration::from_millis(250);
    let store = Store::new(Arc::new(local), patience);

    let started = Instant::now();
    let refused = store.put("tasks/a", Bytes::from_static(b"x")).await;

    assert!(
        matches!(refused, Err(PutError::Store { .. })),
        "{refused:?}"
    );
    assert!(
        started.elapsed() >= Duration::from_millis(50),
        "it waited for another try"
    );
}

/// A store that its coordinator calls `ours`, and what is in it.
async fn named() -> (Store, Arc<InMemory>) {
    let objects = Arc::new(InMemory::new());
    put(&objects, STORE_ID_KEY, "ours\n").await;
    put(&objects, "k", "content").await;
    let store = Store::new(Arc::clone(&objects) as _, Duration::from_mins(1));
    (store.known_as("ours").await.unwrap(), objects)
}

async fn put(objects: &InMemory, key: &str, content: &str) {
    let content = content.to_owned().into();
    objects.put(&Key::from(key), content).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_is_missing_only_from_a_store_that_still_has_its_name() {
    let (store, objects) = named().await;
    let missing = store.get("none", 10).await;
    assert!(
        matches!(missing, Err(GetError::Missing { .. })),
        "{missing:?}"
    );
    objects.delete(&Key::from(STORE_ID_KEY)).await.unwrap();
    let began = Instant::now();
    let doubtful = store.get("none", 10).await;
    assert!(
        matches!(doubtful, Err(GetError::Doubtful { .. })),
        "{doubtful:?}"
    );
    assert!(began.elapsed() > Duration::from_secs(50), "it is patient");
    // What is there is there, whatever the store is called.
    assert_eq!(store.get("k", 10).await.unwrap(), "content");
    put(&objects, STORE_ID_KEY, "another").await;
    let doubtful = store.get("none", 10).await;
    assert!(
        matches!(doubtful, Err(GetError::Doubtful { .. })),
        "{doubtful:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_finds_nothing_for_a_while_is_waited_for() {
    let (store, objects) = named().await;
    for key in [STORE_ID_KEY, "k"] {
        objects.delete(&Key::from(key)).await.unwrap();
    }
    let came_back = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        put(&objects, "k", "content").await;
        put(&objects, STORE_ID_KEY, "ours\n").await;
    };
    let (got, ()) = tokio::join!(store.get("k", 10), came_back);
    assert_eq!(got.unwrap(), "content");
}

#[tokio::test]
async fn what_a_coordinator_does_not_say_is_not_checked() {
    let store = store().known_as("").await.unwrap();
    let missing = store.get("none", 10).await;
    assert!(
        matches!(missing, Err(GetError::Missing { .. })),
        "{missing:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_say_what_is_missing_is_refused_with_the_right_that_lacks() {
    let (_, objects) = named().await;
    for name in ["ours", ""] {
        let silent = Silent {
            inner: Arc::clone(&objects) as _,
            about: Silence::Absence,
        };
        let store = Store::new(Arc::new(silent), Duration::from_mins(1));
        let began = Instant::now();
        let refused = store.known_as(name).await.unwrap_err();
        assert!(
            matches!(refused, IdentityError::Secretive(_)),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("s3:ListBucket"), "{refused}");
        assert_eq!(began.elapsed(), Duration::ZERO, "it is not asked again");
    }
}

#[tokio::test]
async fn a_link_that_takes_a_parts_place_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, link) = (folder.path().join("secret"), folder.path().join("part"));
    std::fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let store = store();
    for path in [&link, &folder.path().to_owned()] {
        let refused = store.put_file("k", path).await;
        assert!(matches!(refused, Err(PutError::File { .. })), "{refused:?}");
    }
    assert!(matches!(
        store.get("k", 10).await,
        Err(GetError::Missing { .. })
    ));
}

#[tokio::test]
async fn a_large_file_that_got_through_without_an_answer_is_a_success() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let silent = Silent {
        inner: Arc::new(local),
        about: Silence::Pieces,
    };
    let store = Store::new(Arc::new(silent), Duration::from_millis(300));
    let path = folder.path().join("file");
    let length = usize::try_from(PIECE_BYTES).unwrap() + 1;
    std::fs::write(&path, vec![7; length]).unwrap();
    let stored = store.put_file("k", &path).await.unwrap();
    assert_eq!(stored.bytes, length as u64);
    assert_eq!(stored.sha256, Digest::of(&vec![7; length]));
}

/// A store that does not say what has come of a request.
#[derive(Debug)]
struct Silent {
    inner: Arc<dyn ObjectStore>,
    about: Silence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Silence {
    /// It puts pieces together and answers with an error.
    Pieces,
    /// It refuses what it has not, as S3 does to one who may not list.
    Absence,
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[derive(Debug)]
struct Upload(Box<dyn MultipartUpload>);

#[tonic::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        self.0.put_part(payload)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.0.complete().await?;
        Err(object_store::Error::Generic {
            store: "S3",
            source: "the line broke".into(),
        })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        Ok(())
    }
}

#[tonic::async_trait]
impl ObjectStore for Silent {
    async fn put_multipart_opts(
        &self,
        key: &Key,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(key, options).await?;
        Ok(match self.about {
            Silence::Pieces => Box::new(Upload(upload)),
            Silence::Absence => upload,
        })
    }

    async fn put_opts(
        &self,
        key: &Key,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(key, payload, options).await
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> object_store::Result<GetResult> {
        match self.inner.get_opts(key, options).await {
            Err(object_store::Error::NotFound { path, source })
                if self.about == Silence::Absence =>
            {
                Err(object_store::Error::PermissionDenied { path, source })
            }
            got => got,
        }
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Key>>,
    ) -> BoxStream<'static, object_store::Result<Key>> {
        self.inner.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Key,
        to: &Key,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
