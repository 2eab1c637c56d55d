use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;

use http::StatusCode;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::stub::{Kind, Stub};

const PIECE: usize = 8 << 20;
const KEY: &str = "tasks/t/part";

fn file(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let content: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content).unwrap();
    (file, content)
}

async fn send(
    store: &dyn ObjectStore,
    file: &tempfile::NamedTempFile,
) -> Result<Uploaded, UploadError> {
    let bytes = file.as_file().metadata().unwrap().len();
    let upload = Upload::default();
    upload
        .run(store, &Path::from(KEY), file.reopen().unwrap(), bytes)
        .await
}

#[tokio::test]
async fn a_file_of_any_size_arrives_whole_with_the_digest_of_the_whole() {
    for bytes in [0, 1, PIECE - 1, PIECE, PIECE + 1, 7 * PIECE + 3] {
        let store = InMemory::new();
        let (file, content) = file(bytes);
        let sent = send(&store, &file).await.unwrap();
        assert_eq!(sent.bytes, bytes as u64);
        assert_eq!(sent.sha256, Digest::of(&content));
        let got = store.get(&Path::from(KEY)).await.unwrap();
        assert!(got.bytes().await.unwrap() == content, "{bytes}");
    }
}

#[tokio::test]
async fn only_the_piece_that_fails_is_sent_again() {
    let stub = Stub::start().await;
    let store = stub.store(&[]);
    let (file, content) = file(4 * PIECE + 5);
    stub.held().instead = vec![
        (Kind::Piece(2), StatusCode::BAD_REQUEST, "ExpiredToken"),
        (Kind::Piece(2), StatusCode::BAD_REQUEST, "RequestTimeout"),
        (Kind::Piece(5), StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
    ];
    send(&*store, &file).await.unwrap();
    let held = stub.held();
    assert!(held.objects["/bucket/team/tasks/t/part"] == content);
    assert_eq!((held.uploads_begun, held.uploads_forgotten), (1, 0));
    let sent = held
        .requests
        .iter()
        .filter(|(_, asked, _)| asked.contains("partNumber="));
    assert_eq!(sent.count(), 5 + 3);
}

#[tokio::test]
async fn every_piece_has_a_checksum_for_the_store_and_the_end_a_condition() {
    let stub = Stub::start().await;
    let store = stub.store(&[
        ("AWS_SERVER_SIDE_ENCRYPTION", "aws:kms"),
        ("AWS_SSE_KMS_KEY_ID", "arn:key"),
        ("AWS_SSE_BUCKET_KEY_ENABLED", "true"),
    ]);
    let (file, _) = file(PIECE + 1);
    send(&*store, &file).await.unwrap();
    let held = stub.held();
    for (method, asked, headers) in &held.requests {
        let has = |name: &str| headers.contains_key(name);
        let begins = asked.ends_with("?uploads=");
        assert_eq!(has("x-amz-checksum-sha256"), asked.contains("partNumber="));
        assert_eq!(has("x-amz-checksum-algorithm"), begins, "{asked}");
        assert_eq!(has("x-amz-server-side-encryption"), begins, "{asked}");
        if begins {
            let said = |name: &str| headers[name].to_str().unwrap();
            let key = "x-amz-server-side-encryption-aws-kms-key-id";
            assert_eq!(said(key), "arn:key");
            assert_eq!(
                said("x-amz-server-side-encryption-bucket-key-enabled"),
                "true"
            );
        }
        let ends = method.as_str() == "POST" && !begins;
        assert_eq!(has("if-none-match"), ends, "{asked}");
    }
    assert_eq!(held.requests.len(), 4);
}

#[tokio::test]
async fn an_object_that_is_there_already_stays_as_it_is() {
    let stub = Stub::start().await;
    let store = stub.store(&[]);
    let path = "/bucket/team/tasks/t/part".to_owned();
    stub.held().objects.insert(path.clone(), b"older".to_vec());
    let (file, content) = file(PIECE + 1);
    let refused = send(&*store, &file).await.unwrap_err();
    let UploadError::Incomplete { sent, source, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(sent.sha256, Digest::of(&content));
    assert!(matches!(source, object_store::Error::Precondition { .. }));
    assert_eq!(stub.held().objects[&path], b"older");
}

/// Lets what runs in the background run until `is_so`.
async fn until(stub: &Stub, is_so: impl Fn(&crate::stub::Held) -> bool) {
    let waited = async {
        while !is_so(&stub.held()) {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, waited).await.expect("it is so");
}

#[tokio::test]
async fn nothing_is_left_of_an_upload_that_the_store_refuses() {
    let stub = Stub::start().await;
    let store = stub.store(&[]);
    let (file, _) = file(6 * PIECE);
    stub.held().instead = vec![(Kind::Piece(4), StatusCode::FORBIDDEN, "AccessDenied")];
    let refused = send(&*store, &file).await.unwrap_err();
    assert!(matches!(refused, UploadError::Store { .. }), "{refused:?}");
    until(&stub, |held| held.uploads_forgotten == 1).await;
    assert!(stub.held().objects.is_empty());
}

#[tokio::test]
async fn nothing_is_left_of_an_upload_that_is_dropped() {
    let stub = Stub::start().await;
    let store = stub.store(&[]);
    let (file, _) = file(6 * PIECE);
    let key = Path::from(KEY);
    {
        let bytes = 6 * PIECE as u64;
        let upload = Upload::default();
        let sending = upload.run(&*store, &key, file.reopen().unwrap(), bytes);
        tokio::pin!(sending);
        tokio::select! {
            ended = &mut sending => panic!("{ended:?}"),
            () = until(&stub, |held| !held.pieces.is_empty()) => {}
        }
    }
    until(&stub, |held| held.uploads_forgotten == 1).await;
    assert!(stub.held().objects.is_empty());
}

#[tokio::test]
async fn a_file_that_is_not_what_it_was_is_told_from_a_store_that_fails() {
    let store = InMemory::new();
    let (file, _) = file(PIECE + 1);
    let upload = Upload::default();
    for bytes in [PIECE as u64, PIECE as u64 + 2] {
        let key = Path::from(KEY);
        let refused = upload
            .run(&store, &key, file.reopen().unwrap(), bytes)
            .await;
        assert!(
            matches!(refused, Err(UploadError::File { .. })),
            "{refused:?}"
        );
        assert!(store.head(&key).await.is_err(), "half of it is there");
    }
}

/// That no buffer is ever made anew shows that the bound on memory holds.
#[tokio::test]
async fn buffers_are_used_again_and_never_more_than_planned() {
    let plan = PiecePlan {
        bytes: 1 << 10,
        at_once: 2,
    };
    let (file, _) = file(100 << 10);
    let mut pieces = read(file.reopen().unwrap(), 100 << 10, plan);
    let (mut held, mut places) = (VecDeque::new(), BTreeSet::new());
    while let Some(piece) = pieces.next().await {
        places.insert(piece.bytes.as_ptr().addr());
        held.push_back(piece);
        if held.len() > plan.at_once {
            held.pop_front();
        }
    }
    drop(held);
    pieces.digest().await.unwrap();
    assert_eq!(places.len(), plan.at_once + 1);
}
