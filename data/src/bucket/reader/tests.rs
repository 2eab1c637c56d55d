use std::fs;
use std::time::{Duration, Instant};

use autorep_core::digest::Digest;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt as _};
use tempfile::TempDir;

use super::*;

const SHARD_BYTES: u64 = 1_000;

fn content(shard: u8) -> Vec<u8> {
    (0..SHARD_BYTES)
        .map(|at| {
            shard
                .wrapping_mul(31)
                .wrapping_add(u8::try_from(at % 251).unwrap())
        })
        .collect()
}

fn file(shard: u8) -> String {
    format!("train-{shard:06}.tar")
}

/// A bucket with three shards and what an index says of them.
fn three() -> (Arc<InMemory>, Vec<ShardEntry>) {
    let objects = Arc::new(InMemory::new());
    let entries = (0..3)
        .map(|shard| {
            put(&objects, shard, content(shard));
            ShardEntry {
                file: file(shard),
                bytes: SHARD_BYTES,
                sha256: Digest::of(&content(shard)),
                images: Vec::new(),
            }
        })
        .collect();
    (objects, entries)
}

fn put(objects: &InMemory, shard: u8, bytes: Vec<u8>) {
    let key = Key::from(file(shard));
    futures::executor::block_on(objects.put(&key, bytes.into())).unwrap();
}

fn delete(objects: &InMemory, shard: u8) {
    futures::executor::block_on(objects.delete(&Key::from(file(shard)))).unwrap();
}

fn reader(
    objects: &Arc<InMemory>,
    entries: &[ShardEntry],
    cache: Option<&CacheSettings>,
) -> BucketShards {
    let objects: Arc<dyn ObjectStore> = Arc::clone(objects) as _;
    let bucket = Bucket::new(objects, "s3://b/set").unwrap();
    BucketShards::new(bucket, entries, cache).unwrap()
}

fn settings(folder: &TempDir, bytes: u64) -> CacheSettings {
    CacheSettings {
        folder: folder.path().join("cache"),
        bytes,
    }
}

/// Ranges of all three shards, out of order, some near each other.
fn ranges(files: &[String]) -> Vec<(&str, u64, usize)> {
    vec![
        (&files[2], 990, 10),
        (&files[0], 0, 1_000),
        (&files[1], 500, 7),
        (&files[0], 100, 0),
        (&files[1], 0, 3),
    ]
}

fn expected() -> Vec<Vec<u8>> {
    let cut = |shard, offset, bytes| content(shard)[offset..offset + bytes].to_vec();
    vec![
        cut(2, 990, 10),
        content(0),
        cut(1, 500, 7),
        vec![],
        cut(1, 0, 3),
    ]
}

fn read(reader: &BucketShards) -> Vec<Vec<u8>> {
    let files = [0, 1, 2].map(file);
    let read = reader.read_many(&ranges(&files));
    read.into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_first_shards_that_fit_are_read_from_disk_and_the_bytes_are_the_same_at_any_bound() {
    for (bound, kept) in [(0, 0), (999, 0), (1_000, 1), (2_999, 2), (3_000, 3)] {
        let (objects, entries) = three();
        let folder = tempfile::tempdir().unwrap();
        let reader = reader(&objects, &entries, Some(&settings(&folder, bound)));
        assert_eq!(read(&reader), expected(), "while it fills");
        reader.settle();
        assert_eq!(read(&reader), expected(), "with {kept} shards on disk");
        // Whoever can still be read when the bucket is empty is on the disk.
        for shard in 0..3 {
            delete(&objects, shard);
            let found = reader.read(&file(shard), 3, 5);
            assert_eq!(found.is_ok(), shard < kept, "{shard} at {bound}: {found:?}");
        }
    }
}

#[test]
fn without_a_cache_every_range_comes_from_the_bucket() {
    let (objects, entries) = three();
    let reader = reader(&objects, &entries, None);
    reader.settle();
    assert_eq!(read(&reader), expected());
    delete(&objects, 1);
    let error = reader.read(&file(1), 0, 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(
        error.to_string().contains("s3://b/set/train-000001.tar"),
        "{error}"
    );
    put(&objects, 1, content(1)[..600].to_vec());
    let error = reader.read(&file(1), 595, 10).unwrap_err();
    assert!(
        error.to_string().contains("expected 10 bytes, found 5"),
        "{error}"
    );
}

#[test]
fn a_damaged_file_on_the_disk_is_replaced_before_it_is_read() {
    let (objects, entries) = three();
    let folder = tempfile::tempdir().unwrap();
    let cache = settings(&folder, 3_000);
    let first = reader(&objects, &entries, Some(&cache));
    first.settle();
    drop(first);
    let path = cache.folder.join(format!("{}.tar", entries[0].sha256));
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let second = reader(&objects, &entries, Some(&cache));
    assert_eq!(read(&second), expected(), "before it is verified");
    second.settle();
    assert_eq!(read(&second), expected());
    assert_eq!(fs::read(&path).unwrap(), content(0));
    // Removed behind the reader's back: the bucket still has it.
    fs::remove_file(&path).unwrap();
    assert_eq!(read(&second), expected());
}

#[test]
fn a_shard_that_is_not_the_one_of_the_index_is_refused_with_both_digests() {
    let (objects, entries) = three();
    let other = vec![9; content(1).len()];
    put(&objects, 1, other.clone());
    let folder = tempfile::tempdir().unwrap();
    let cache = settings(&folder, 3_000);
    let reader = reader(&objects, &entries, Some(&cache));
    reader.settle();
    let error = reader.read(&file(1), 0, 4).unwrap_err().to_string();
    assert!(error.contains(&entries[1].sha256.to_string()), "{error}");
    assert!(error.contains(&Digest::of(&other).to_string()), "{error}");
    assert!(error.contains("autorep data shard"), "{error}");
    reader.read(&file(0), 0, 4).unwrap();
    let kept = cache.folder.join(format!("{}.tar", entries[1].sha256));
    assert!(!kept.exists());
}

#[test]
fn readers_that_share_a_folder_keep_to_its_bound_together() {
    let (objects, entries) = three();
    let folder = tempfile::tempdir().unwrap();
    let cache = settings(&folder, 2_000);
    let readers: Vec<_> = (0..4)
        .map(|_| reader(&objects, &entries, Some(&cache)))
        .collect();
    for reader in &readers {
        reader.settle();
        assert_eq!(read(reader), expected());
    }
    let files = fs::read_dir(&cache.folder).unwrap().map(Result::unwrap);
    let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!(bytes, 2_000);
    for shard in 0..2 {
        delete(&objects, shard);
        readers[3].read(&file(shard), 0, 9).unwrap();
    }
}

#[test]
fn a_disk_that_takes_nothing_costs_a_warning_and_no_image() {
    let (objects, entries) = three();
    let folder = tempfile::tempdir().unwrap();
    let cache = settings(&folder, 3_000);
    fs::write(&cache.folder, "a file where the folder should be").unwrap();
    let reader = reader(&objects, &entries, Some(&cache));
    reader.settle();
    assert_eq!(read(&reader), expected());
    let warning = reader.progress.warning.get().unwrap();
    assert!(warning.contains("image by image"), "{warning}");
}

/// With one request after another this would take 12.8 s.
#[test]
fn the_ranges_of_a_batch_are_fetched_together() {
    let (objects, entries) = three();
    let slow = ThrottledStore::new(
        objects,
        ThrottleConfig {
            wait_get_per_call: Duration::from_millis(200),
            ..ThrottleConfig::default()
        },
    );
    let bucket = Bucket::new(Arc::new(slow), "slow").unwrap();
    // Too far from each other to share a request, as if the shards were large.
    let far: Vec<ShardEntry> = (0..64)
        .map(|at| ShardEntry {
            file: file(at % 3),
            ..entries[0].clone()
        })
        .collect();
    let reader = BucketShards::new(bucket, &entries, None).unwrap();
    let begun = Instant::now();
    let asked = far.iter().map(|entry| Request {
        file: &entry.file,
        range: 10..20,
        wanted: vec![0],
    });
    let asked: Vec<_> = asked.map(|request| reader.ask(&request)).collect();
    let answers = reader.bucket.wait(join_all(asked)).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn batches_that_are_begun_together_come_together_and_in_their_places() {
    let (objects, entries) = three();
    let slow = ThrottledStore::new(
        objects,
        ThrottleConfig {
            wait_get_per_call: Duration::from_millis(200),
            ..ThrottleConfig::default()
        },
    );
    let bucket = Bucket::new(Arc::new(slow), "slow").unwrap();
    let reader = BucketShards::new(bucket, &entries, None).unwrap();
    let files: Vec<String> = (0..3).map(file).collect();
    let begun = Instant::now();
    let batches: Vec<UnderWay> = (0..30)
        .map(|_| reader.begin(&ranges(&files)).unwrap())
        .collect();
    for batch in batches {
        let read: Vec<Vec<u8>> = batch().into_iter().map(Result::unwrap).collect();
        assert_eq!(read, expected());
    }
    // One after another they would take six seconds.
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}
