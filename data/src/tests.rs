use std::collections::BTreeMap;
use std::fs;
use std::num::NonZero;
use std::path::Path;

use autorep_core::data::{Check, DataSet, Part};
use tempfile::TempDir;

use crate::fixture::{class_folders, tiny};
use crate::shards::{INDEX_FILE, INDEX_FORMAT, Index, write};
use crate::{OpenError, Pictures, verify};

mod bucket;

fn open(set: DataSet, part: Part, folder: &Path) -> Result<Pictures, OpenError> {
    Pictures::open(set, part, folder, Check::Format)
}

fn problems(set: DataSet, part: Part, folder: &Path, check: Check) -> Vec<String> {
    let (_, problems) = Pictures::list(set, part, folder, check).unwrap();
    problems.iter().map(ToString::to_string).collect()
}

fn two() -> NonZero<usize> {
    NonZero::new(2).unwrap()
}

/// Converts both parts to shards of at least `bytes` each.
fn convert(set: DataSet, from: &Path, bytes: u64) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir_in(to.path()).unwrap();
    let mut parts = BTreeMap::new();
    let mut classes = Vec::new();
    for part in Part::ALL {
        let pictures = open(set, part, from).unwrap();
        classes = pictures.classes().to_vec();
        let written = write(&pictures, part, bytes, work.path(), &mut |name, path| {
            fs::rename(path, to.path().join(name))
        })
        .unwrap();
        assert_eq!(written.images, pictures.len() as u64);
        parts.insert(part.name().to_owned(), written.shards);
    }
    let index = Index {
        format: INDEX_FORMAT,
        set: set.name().to_owned(),
        classes,
        parts,
    };
    let bytes = serde_json::to_vec(&index).unwrap();
    fs::write(to.path().join(INDEX_FILE), bytes).unwrap();
    drop(work);
    to
}

fn index(folder: &Path) -> Index {
    let bytes = fs::read(folder.join(INDEX_FILE)).unwrap();
    Index::parse(DataSet::TinyImagenet, INDEX_FILE, &bytes).unwrap()
}

#[test]
fn tiny_imagenet_is_listed_by_class_then_by_name_whatever_order_its_files_are_in() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 11);
    let train = open(DataSet::TinyImagenet, Part::Train, folder.path()).unwrap();
    assert_eq!(train.classes(), ["n0", "n1", "n2"]);
    assert_eq!(train.per_class(), [11, 11, 11]);
    let names: Vec<String> = (0..4).map(|image| train.name(image)).collect();
    for (name, image) in names.iter().zip([0, 1, 10, 2]) {
        let end = format!("train/n0/images/n0_{image}.JPEG");
        assert!(name.ends_with(&end), "{name}");
    }
    let test = open(DataSet::TinyImagenet, Part::Test, folder.path()).unwrap();
    let labels: Vec<u32> = (0..3).map(|image| test.label(image)).collect();
    assert_eq!(labels, [0, 1, 2]);
    assert!(test.name(0).ends_with("val/images/val_2.JPEG"));
}

#[test]
fn every_problem_of_a_tree_is_told() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 2);
    let root = folder.path().join("tiny-imagenet-200");
    fs::create_dir_all(root.join("train/n9/images")).unwrap();
    fs::remove_dir_all(root.join("train/n1/images")).unwrap();
    let told = problems(
        DataSet::TinyImagenet,
        Part::Train,
        folder.path(),
        Check::Format,
    );
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("the class \"n9\" is not one of the 3"),
        "{told:?}"
    );
    assert!(
        told[1].contains("train/n1/images: it is not there"),
        "{told:?}"
    );

    fs::write(
        root.join("val/val_annotations.txt"),
        "val_0.JPEG\tn7\nval_5.JPEG\tn0\nval_1.JPEG",
    )
    .unwrap();
    let told = problems(
        DataSet::TinyImagenet,
        Part::Test,
        folder.path(),
        Check::Format,
    );
    assert_eq!(told.len(), 7, "{told:?}");
    assert!(told[0].contains("the class \"n7\""), "{told:?}");
    assert!(told[1].contains("a picture that is not in"), "{told:?}");
    assert!(
        told[2].contains("val_annotations.txt:3: expected NAME and CLASS"),
        "{told:?}"
    );
    assert!(
        told[3].contains("val_0.JPEG: val_annotations.txt does not"),
        "{told:?}"
    );
    assert!(
        told[6].contains("expected 10000 images, found 0"),
        "{told:?}"
    );
}

#[test]
fn a_made_up_set_is_not_taken_for_the_published_one() {
    let folder = tempfile::tempdir().unwrap();
    class_folders(folder.path(), 2);
    assert!(open(DataSet::Imagenet, Part::Train, folder.path()).is_ok());
    let told = problems(
        DataSet::Imagenet,
        Part::Train,
        folder.path(),
        Check::Published,
    );
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].ends_with("train: expected 1000 classes, found 3"),
        "{told:?}"
    );
    assert_eq!(
        told[1],
        "the train part of imagenet: expected 1281167 images, found 6"
    );
    let nothing = tempfile::tempdir().unwrap();
    let error = open(DataSet::Imagenet, Part::Train, nothing.path()).unwrap_err();
    assert!(error.to_string().contains("train/CLASS/*.JPEG"), "{error}");
}

#[test]
fn two_pictures_with_one_key_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    class_folders(folder.path(), 1);
    fs::write(folder.path().join("train/c1/p0.jpg"), "x").unwrap();
    let told = problems(DataSet::Imagenet, Part::Train, folder.path(), Check::Format);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("the key \"c1/p0\""), "{told:?}");
}

#[test]
fn shards_hold_the_same_bytes_and_labels_in_the_same_order_as_the_folders() {
    for (set, make) in [
        (DataSet::TinyImagenet, tiny as fn(&Path, u32)),
        (DataSet::Imagenet, class_folders),
    ] {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 11);
        let shards = convert(set, folder.path(), 20_000);
        for part in Part::ALL {
            let plain = open(set, part, folder.path()).unwrap();
            let packed = open(set, part, shards.path()).unwrap();
            assert_eq!(plain.len(), packed.len());
            assert_eq!(plain.classes(), packed.classes());
            let all: Vec<usize> = (0..plain.len()).collect();
            let many = packed.read_many(&all);
            for (image, read) in many.into_iter().enumerate() {
                assert_eq!(plain.label(image), packed.label(image));
                let bytes = plain.read(image).unwrap();
                assert_eq!(bytes, packed.read(image).unwrap(), "image {image}");
                assert_eq!(bytes, read.unwrap());
            }
        }
        let again = convert(set, folder.path(), 20_000);
        let read = |folder: &TempDir| fs::read(folder.path().join(INDEX_FILE)).unwrap();
        assert_eq!(read(&shards), read(&again), "shards differ from run to run");
    }
}

#[test]
fn whole_shards_verify_and_every_damaged_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 6);
    let shards = convert(DataSet::TinyImagenet, folder.path(), 10_000);
    let index = index(shards.path());
    let train = index.part(Part::Train);
    assert!(train.len() >= 3, "{} shards", train.len());
    assert_eq!(
        verify::shards(&index, Part::Train, shards.path(), two()),
        []
    );

    let damage = |shard: usize, change: fn(&mut Vec<u8>)| {
        let path = shards.path().join(&train[shard].file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    damage(0, |bytes| bytes[700] ^= 1);
    damage(2, |bytes| bytes.truncate(bytes.len() / 2 + 100));
    let bad = verify::shards(&index, Part::Train, shards.path(), two());
    let names: Vec<_> = bad.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["train-000000.tar", "train-000002.tar"]);
    assert!(bad[0].problem.starts_with("expected the sha256"), "{bad:?}");
    let told = problems(
        DataSet::TinyImagenet,
        Part::Train,
        shards.path(),
        Check::Format,
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("it is cut short"), "{told:?}");
}

#[test]
fn every_picture_that_does_not_decode_is_named_in_folders_and_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    tiny(folder.path(), 6);
    let train = folder.path().join("tiny-imagenet-200/train");
    fs::write(train.join("n0/images/n0_3.JPEG"), "<html>").unwrap();
    let path = train.join("n2/images/n2_1.JPEG");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let check = |folder: &Path| {
        let pictures = open(DataSet::TinyImagenet, Part::Train, folder).unwrap();
        verify::pictures(&pictures, two())
    };
    let plain = check(folder.path());
    let positions: Vec<usize> = plain.iter().map(|bad| bad.position).collect();
    assert_eq!(positions, [3, 13]);
    assert!(plain[0].name.ends_with("n0_3.JPEG"), "{plain:?}");

    let shards = convert(DataSet::TinyImagenet, folder.path(), 10_000);
    let packed = check(shards.path());
    let positions: Vec<usize> = packed.iter().map(|bad| bad.position).collect();
    assert_eq!(positions, [3, 13]);
    assert!(
        packed[0].name.starts_with("n0/n0_3.jpg at byte"),
        "{packed:?}"
    );
}
