//! What a store must do for sweeps, whichever way it is reached.

use std::io::Write as _;
use std::sync::Arc;

use autorep_store::{Upload, UploadError};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    UpdateVersion,
};

type Store = Arc<dyn ObjectStore>;

/// More than two pieces, and no multiple of their size.
const LARGE: usize = (17 << 20) + 3;

/// Tries everything on a store in which nothing lies yet, and leaves nothing in it.
pub(crate) async fn conform(store: &Store) {
    races_have_one_winner(store).await;
    replaces_on_condition(store).await;
    lists_what_is_there(store).await;
    takes_large_files_once(store).await;
    gives_ranges(store).await;
    deletes_what_is_there_and_what_is_not(store).await;
}

fn content(bytes: usize, seed: u8) -> Vec<u8> {
    let numbers = (0..=250_u8).map(|number| number ^ seed).cycle();
    numbers.take(bytes).collect()
}

async fn get(store: &Store, key: &str) -> Vec<u8> {
    let got = store.get(&Path::from(key)).await.unwrap();
    got.bytes().await.unwrap().to_vec()
}

async fn put(store: &Store, key: &str, body: &[u8]) {
    let body = body.to_vec().into();
    store.put(&Path::from(key), body).await.unwrap();
}

async fn races_have_one_winner(store: &Store) {
    const WRITERS: u8 = 4;
    for object in 0..2 {
        let key = Path::from(format!("race/{object}"));
        let writers = (0..WRITERS).map(|writer| {
            let (store, key) = (Arc::clone(store), key.clone());
            tokio::spawn(async move {
                let options = PutOptions::from(PutMode::Create);
                let body = vec![writer; 5000];
                match store.put_opts(&key, body.into(), options).await {
                    Ok(_) => Some(writer),
                    Err(Error::AlreadyExists { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let ended = futures::future::join_all(writers).await.into_iter();
        let winners: Vec<u8> = ended.filter_map(Result::unwrap).collect();
        assert_eq!(winners.len(), 1, "{key}: {winners:?}");
        assert_eq!(get(store, key.as_ref()).await, vec![winners[0]; 5000]);
    }
}

async fn replaces_on_condition(store: &Store) {
    let key = Path::from("replaced");
    let first = store.put(&key, "one".into()).await.unwrap();
    let version = UpdateVersion::from(first);
    let replace = async |body: &'static str| {
        let options = PutOptions::from(PutMode::Update(version.clone()));
        store.put_opts(&key, body.into(), options).await
    };
    replace("two").await.unwrap();
    let late = replace("three").await.unwrap_err();
    assert!(matches!(late, Error::Precondition { .. }), "{late:?}");
    assert_eq!(get(store, "replaced").await, b"two");
}

async fn lists_what_is_there(store: &Store) {
    let keys = [
        "list/a",
        "list/a b+c",
        "list/sub/z",
        "list/sub/ü=%",
        "listed/not",
    ];
    for key in keys {
        let key = Path::parse(key).unwrap();
        store.put(&key, "x".into()).await.unwrap();
    }
    let prefix = Path::from("list");
    let mut found: Vec<String> = store
        .list(Some(&prefix))
        .map_ok(|object| object.location.to_string())
        .try_collect()
        .await
        .unwrap();
    found.sort_unstable();
    assert_eq!(found, keys[..4]);
    let level = store.list_with_delimiter(Some(&prefix)).await.unwrap();
    assert_eq!(level.common_prefixes, [Path::from("list/sub")]);
    assert_eq!(level.objects.len(), 2);
    assert!(level.objects.iter().all(|object| object.size == 1));
    let offset = Path::parse("list/a b+c").unwrap();
    let later = store.list_with_offset(Some(&prefix), &offset);
    assert_eq!(later.count().await, 2);
}

async fn takes_large_files_once(store: &Store) {
    let key = Path::from("large");
    let send = async |content: Vec<u8>| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let upload = Upload::default();
        let bytes = content.len() as u64;
        upload
            .run(&**store, &key, file.reopen().unwrap(), bytes)
            .await
    };
    let sent = send(content(LARGE, 0)).await.unwrap();
    assert_eq!(
        sent.sha256,
        autorep_core::digest::Digest::of(&content(LARGE, 0))
    );
    assert!(get(store, "large").await == content(LARGE, 0));
    let again = send(content(LARGE, 1)).await.unwrap_err();
    let UploadError::Incomplete { source, .. } = again else {
        panic!("{again:?}");
    };
    assert!(matches!(source, Error::Precondition { .. }), "{source:?}");
    assert!(get(store, "large").await == content(LARGE, 0));
}

async fn gives_ranges(store: &Store) {
    let (key, whole) = (Path::from("large"), content(LARGE, 0));
    let size = LARGE as u64;
    let border = 8 << 20;
    let ranges = [0..1, border - 5..border + 5, size - 7..size];
    let got = store.get_ranges(&key, &ranges).await.unwrap();
    for (range, got) in ranges.iter().zip(&got) {
        let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
        assert!(got[..] == whole[from..to], "{range:?}");
    }
    let options = GetOptions {
        range: Some(GetRange::Suffix(9)),
        ..GetOptions::default()
    };
    let end = store.get_opts(&key, options).await.unwrap();
    assert!(end.bytes().await.unwrap()[..] == whole[LARGE - 9..]);
}

async fn deletes_what_is_there_and_what_is_not(store: &Store) {
    for number in 0..20 {
        put(store, &format!("many/{number}"), b"x").await;
    }
    let all: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert!(all.len() > 20, "{}", all.len());
    let keys = all.into_iter().map(|object| object.location);
    let keys: Vec<_> = keys.chain([Path::from("never/there")]).map(Ok).collect();
    let deleted = store.delete_stream(futures::stream::iter(keys).boxed());
    let _deleted: Vec<Path> = deleted.try_collect().await.unwrap();
    assert_eq!(store.list(None).count().await, 0);
}
