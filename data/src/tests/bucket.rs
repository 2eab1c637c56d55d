//! The same pictures from a bucket.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use autorep_core::data::{Check, DataSet, Part};
use object_store::local::LocalFileSystem;

use super::{convert, open, two};
use crate::fixture::{class_folders, tiny};
use crate::shards::Index;
use crate::{Bucket, CacheSettings, OpenError, Pictures, verify};

fn bucket(folder: &Path) -> Bucket {
    let objects = LocalFileSystem::new_with_prefix(folder).unwrap();
    Bucket::new(Arc::new(objects), "s3://b/set").unwrap()
}

fn from_bucket(
    set: DataSet,
    folder: &Path,
    cache: Option<&CacheSettings>,
) -> Result<Pictures, OpenError> {
    Pictures::open_bucket(set, Part::Train, &bucket(folder), cache, Check::Format)
}

#[test]
fn a_bucket_holds_the_same_bytes_and_labels_in_the_same_order_as_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    class_folders(folder.path(), 9);
    let shards = convert(DataSet::Imagenet, folder.path(), 12_000);
    let plain = open(DataSet::Imagenet, Part::Train, folder.path()).unwrap();
    let all: Vec<usize> = (0..plain.len()).rev().collect();
    let bytes = |pictures: &Pictures| -> Vec<Vec<u8>> {
        let read = pictures.read_many(&all).into_iter();
        read.map(Result::unwrap).collect()
    };
    let expected = bytes(&plain);
    for bound in [0, 30_000, 1 << 30] {
        let cache = CacheSettings {
            folder: shards.path().join(format!("cache-{bound}")),
            bytes: bound,
        };
        let remote = from_bucket(DataSet::Imagenet, shards.path(), Some(&cache)).unwrap();
        assert_eq!(remote.classes(), plain.classes());
        let labels = |pictures: &Pictures| all.iter().map(|at| pictures.label(*at)).collect();
        let (one, other): (Vec<u32>, Vec<u32>) = (labels(&remote), labels(&plain));
        assert_eq!(one, other);
        assert_eq!(bytes(&remote), expected);
        remote.settle();
        assert_eq!(bytes(&remote), expected);
    }
}

#[test]
fn a_url_of_a_folder_is_read_as_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 2);
    let shards = convert(DataSet::TinyImagenet, folder.path(), 10_000);
    let url = format!("file://{}", shards.path().display());
    let bucket = Bucket::open(&url).unwrap();
    let pictures = Pictures::open_bucket(
        DataSet::TinyImagenet,
        Part::Test,
        &bucket,
        None,
        Check::Format,
    );
    assert_eq!(pictures.unwrap().len(), 3);
}

#[test]
fn what_is_missing_in_a_bucket_is_told_with_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let told = |set, folder: &Path| from_bucket(set, folder, None).unwrap_err().to_string();
    let nothing = told(DataSet::Imagenet, empty.path());
    assert!(
        nothing.contains("found none; `autorep data shard imagenet"),
        "{nothing}"
    );
    let packed = told(DataSet::Cifar10, empty.path());
    assert!(packed.contains("`autorep data fetch cifar-10`"), "{packed}");

    fs::write(empty.path().join("imagenet-train-0000.tar"), "x").unwrap();
    let foreign = told(DataSet::Imagenet, empty.path());
    assert!(
        foreign.contains("beside the 1 tar files in s3://b/set"),
        "{foreign}"
    );
    let local = open(DataSet::Imagenet, Part::Train, empty.path()).unwrap_err();
    assert!(
        local.to_string().contains("beside the 1 tar files"),
        "{local}"
    );
}

#[test]
fn shards_of_another_size_and_those_that_are_gone_are_told_when_the_set_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 6);
    let shards = convert(DataSet::TinyImagenet, folder.path(), 10_000);
    fs::remove_file(shards.path().join("train-000000.tar")).unwrap();
    fs::write(shards.path().join("train-000001.tar"), "short").unwrap();
    let (_, problems) = Pictures::list_bucket(
        DataSet::TinyImagenet,
        Part::Train,
        &bucket(shards.path()),
        None,
        Check::Format,
    )
    .unwrap();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("s3://b/set/train-000000.tar: it is not there"),
        "{told:?}"
    );
    assert!(told[1].contains("found 5: it is cut short"), "{told:?}");
}

#[test]
fn what_was_put_into_a_bucket_comes_back_in_one_piece_or_many() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = bucket(folder.path());
    let from = tempfile::tempdir().unwrap();
    for bytes in [0_usize, 5, 8 << 20, (17 << 20) + 3] {
        let path = from.path().join("x");
        let content: Vec<u8> = (0..=255).cycle().take(bytes).collect();
        fs::write(&path, &content).unwrap();
        let name = format!("f{bytes}");
        bucket.put(&name, &path).unwrap();
        assert_eq!(bucket.sizes().unwrap()[&name], bytes as u64);
        assert!(
            bucket.read(&name, bytes as u64).unwrap() == content,
            "{bytes}"
        );
    }
    let error = bucket.read("f5", 6).unwrap_err().to_string();
    assert!(
        error.contains("s3://b/set/f5: expected 6 bytes, found 5"),
        "{error}"
    );
}

#[test]
fn a_check_of_a_bucket_names_damaged_shards_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 6);
    let bad = folder
        .path()
        .join("tiny-imagenet-200/train/n2/images/n2_1.JPEG");
    fs::write(bad, "no picture").unwrap();
    let shards = convert(DataSet::TinyImagenet, folder.path(), 10_000);
    let path = shards.path().join("train-000000.tar");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
    let bucket = bucket(shards.path());
    let (index, _) = Index::in_bucket(DataSet::TinyImagenet, &bucket).unwrap();
    let work = tempfile::tempdir().unwrap();
    let checked = verify::bucket(
        DataSet::TinyImagenet,
        &index,
        Part::Train,
        &bucket,
        work.path(),
        two(),
    );
    assert_eq!(checked.shards.len(), 1, "{checked:?}");
    assert_eq!(checked.shards[0].name, "train-000000.tar");
    let positions: Vec<usize> = checked.pictures.iter().map(|bad| bad.position).collect();
    assert_eq!(positions, [13]);
    assert!(fs::read_dir(work.path()).unwrap().next().is_none());
}
