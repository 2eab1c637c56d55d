//! Batches of JPEG files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use autorep_core::data::{Check, Interpolation, Normalise, Part, Preparation};
use autorep_data::picture::{Filter, Picture};
use autorep_data::shards::{INDEX_FILE, INDEX_FORMAT, Index, write};
use autorep_data::{Bucket, CacheSettings, Pictures};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use tempfile::TempDir;

use super::*;
use crate::data::Skips;

const CLASSES: u8 = 3;
const EACH: u8 = 5;

/// Fifteen training pictures and as many test pictures of several sizes in class folders.
fn folders() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "val"] {
        for class in 0..CLASSES {
            for image in 0..EACH {
                let path = folder.path().join(format!("{part}/c{class}/p{image}.JPEG"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, jpeg(class, image)).unwrap();
            }
        }
    }
    folder
}

fn jpeg(class: u8, image: u8) -> Vec<u8> {
    let (width, height) = (60 + 9 * u16::from(image), 80 - 5 * u16::from(image));
    let pixels: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| {
            let [x, y] = [x, y].map(|n| u8::try_from(n).unwrap());
            [x, y, 40 * class + 7 * image]
        })
        .collect();
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, 90)
        .encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes
}

/// The same pictures in shards.
fn shards(folders: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut index = Index {
        format: INDEX_FORMAT,
        set: DataSet::Imagenet.name().to_owned(),
        classes: Vec::new(),
        parts: BTreeMap::new(),
    };
    for part in Part::ALL {
        let pictures = open(folders, part);
        let mut put = |name: &str, path: &Path| fs::copy(path, to.path().join(name)).map(|_| ());
        let written = write(&pictures, part, 8_000, work.path(), &mut put).unwrap();
        assert!(written.shards.len() > 1);
        index.classes = pictures.classes().to_vec();
        index.parts.insert(part.name().to_owned(), written.shards);
    }
    fs::write(
        to.path().join(INDEX_FILE),
        serde_json::to_vec(&index).unwrap(),
    )
    .unwrap();
    to
}

fn open(folder: &Path, part: Part) -> Pictures {
    Pictures::open(DataSet::Imagenet, part, folder, Check::Format).unwrap()
}

fn stream(folder: &Path, threads: usize, max_corrupt: u32) -> Stream {
    stream_of(open(folder, Part::Train), threads, max_corrupt)
}

fn stream_of(pictures: Pictures, threads: usize, max_corrupt: u32) -> Stream {
    Stream {
        inputs: Inputs::of(DataSet::Imagenet),
        images: Subset::whole(Arc::new(Source::Pictures(pictures))),
        seed: 11,
        batch: 4,
        share: Share::WHOLE,
        augment: true,
        max_corrupt,
        threads,
    }
}

fn take(stream: &Stream, from: u64, count: usize) -> Vec<Batch> {
    let mut batches = Batches::start(stream.clone(), from, Device::Cpu).unwrap();
    (0..count).map(|_| batches.take().unwrap()).collect()
}

fn assert_equal(left: &[Batch], right: &[Batch]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert!(left.images.equal(&right.images) && left.labels.equal(&right.labels));
    }
}

#[test]
fn batches_are_the_same_from_folders_and_shards_on_any_number_of_threads_and_from_midway() {
    let folders = folders();
    let packed = shards(folders.path());
    let all = take(&stream(folders.path(), 1, 0), 0, 7);
    assert_eq!(all[0].images.size(), [4, 3, 224, 224]);
    assert!(!all[0].images.equal(&all[3].images));
    for threads in [2, 5] {
        assert_equal(&take(&stream(packed.path(), threads, 0), 0, 7), &all);
        assert_equal(&take(&stream(folders.path(), threads, 0), 4, 3), &all[4..]);
    }
}

#[test]
fn batches_from_a_bucket_are_the_same_at_any_bound_of_the_cache_and_from_midway() {
    let folders = folders();
    let packed = shards(folders.path());
    let all = take(&stream(folders.path(), 1, 0), 0, 7);
    let bucket = Bucket::open(&format!("file://{}", packed.path().display())).unwrap();
    let cached = tempfile::tempdir().unwrap();
    for (bytes, settled) in [(0, true), (20_000, true), (1 << 30, false), (1 << 30, true)] {
        let cache = CacheSettings {
            folder: cached.path().to_owned(),
            bytes,
        };
        let set = DataSet::Imagenet;
        let (part, check) = (Part::Train, Check::Format);
        let pictures = Pictures::open_bucket(set, part, &bucket, Some(&cache), check).unwrap();
        if settled {
            pictures.settle();
        }
        let stream = stream_of(pictures, 3, 0);
        assert_equal(&take(&stream, 0, 7), &all);
        assert_equal(&take(&stream, 4, 3), &all[4..]);
    }
}

#[test]
fn unchanged_pictures_are_resized_and_cropped_in_the_middle() {
    let folders = folders();
    let source = Arc::new(Source::Pictures(open(folders.path(), Part::Test)));
    let whole = Subset::whole(source);
    let measured = |threads| -> Vec<Batch> {
        unchanged(
            &whole,
            Inputs::of(DataSet::Imagenet),
            4,
            threads,
            Device::Cpu,
        )
        .unwrap()
        .map(Result::unwrap)
        .collect()
    };
    let all = measured(1);
    assert_equal(&all, &measured(3));
    let labels: Vec<i64> = all
        .iter()
        .flat_map(|batch| Vec::<i64>::try_from(&batch.labels).unwrap())
        .collect();
    assert_eq!(labels, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
    // Red is the column: the middle of a picture 60 wide is 29.5, blue is the class.
    let value = |channel: i64, mean: f64, deviation: f64| {
        let at = all[0].images.double_value(&[0, channel, 112, 112]);
        (at * deviation + mean) * 255.0
    };
    assert!((value(0, 0.485, 0.229) - 29.5).abs() < 4.0);
    assert!(value(2, 0.406, 0.225).abs() < 6.0);
}

/// What published weights of Lite0 see, and a larger shorter side.
#[test]
fn pictures_are_prepared_as_the_inputs_say() {
    let folders = folders();
    let source = Arc::new(Source::Pictures(open(folders.path(), Part::Test)));
    let inputs = Inputs {
        set: DataSet::Imagenet,
        preparation: Preparation {
            normalise: Normalise::Centred,
            interpolation: Interpolation::Bicubic,
            resize: Some(288),
        },
    };
    let measured = unchanged(&Subset::whole(source), inputs, 4, 1, Device::Cpu);
    let first = measured.unwrap().next().unwrap().unwrap();
    let picture = Picture::decode(&jpeg(0, 0)).unwrap();
    let resized = picture.resize_shorter(288, Filter::Bicubic).unwrap();
    let planes = resized.centre_crop(224, 224).planes();
    let wanted: Vec<f32> = planes
        .iter()
        .map(|byte| (f32::from(*byte) - 127.0) / 128.0)
        .collect();
    let wanted = Tensor::from_slice(&wanted).view([3, 224, 224]);
    let apart = (first.images.get(0) - wanted).abs().max();
    assert!(apart.double_value(&[]) < 1e-6, "{apart:?}");
}

#[test]
fn a_picture_that_does_not_decode_is_named_or_replaced_by_the_next_in_order() {
    let folders = folders();
    let before = take(&stream(folders.path(), 2, 1), 0, 6);
    let bad = folders.path().join("train/c1/p2.JPEG");
    fs::write(&bad, &jpeg(1, 2)[..900]).unwrap();

    let after = take(&stream(folders.path(), 2, 1), 0, 6);
    let (mut skips, mut replaced) = (Skips::new(1), 0);
    let mut refused = 0;
    for (step, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        assert_eq!(after.images.size(), [4, 3, 224, 224], "step {step}");
        if after.skipped.is_empty() {
            assert!(after.images.equal(&before.images));
            continue;
        }
        replaced += 1;
        assert_eq!(after.skipped[0].position, 7);
        assert_eq!(after.skipped[0].name, bad.display().to_string());
        assert!(!after.images.equal(&before.images));
        skips.note(&after.skipped).unwrap();
        let none = Skips::new(0).note(&after.skipped).unwrap_err();
        assert!(none.to_string().contains("c1/p2.JPEG"), "{none}");
        refused += 1;
    }
    assert!(replaced >= 1 && refused == replaced);
    assert_eq!(skips.positions(), [7]);
    for threads in [1, 3] {
        assert_equal(&take(&stream(folders.path(), threads, 1), 0, 6), &after);
        assert_equal(
            &take(&stream(folders.path(), threads, 1), 2, 4),
            &after[2..],
        );
    }
}

/// Whole batches put together from those of all ranks.
fn together(stream: &Stream, ranks: u32, from: u64, count: usize) -> Vec<Batch> {
    let shares: Vec<Vec<Batch>> = (0..ranks)
        .map(|rank| {
            let share = Share::new(rank, ranks).unwrap();
            take(
                &Stream {
                    share,
                    ..stream.clone()
                },
                from,
                count,
            )
        })
        .collect();
    (0..count)
        .map(|step| {
            let parts = || shares.iter().map(|batches| &batches[step]);
            let images: Vec<&Tensor> = parts().map(|batch| &batch.images).collect();
            let labels: Vec<&Tensor> = parts().map(|batch| &batch.labels).collect();
            let positions: Vec<&Tensor> = parts().map(|batch| &batch.positions).collect();
            Batch {
                images: Tensor::cat(&images, 0),
                labels: Tensor::cat(&labels, 0),
                positions: Tensor::cat(&positions, 0),
                skipped: parts().flat_map(|batch| batch.skipped.clone()).collect(),
            }
        })
        .collect()
}

#[test]
fn ranks_together_see_the_batches_of_one_even_where_a_picture_is_replaced() {
    let folders = folders();
    fs::write(folders.path().join("train/c1/p2.JPEG"), &jpeg(1, 2)[..900]).unwrap();
    let stream = stream(folders.path(), 2, 1);
    let alone = take(&stream, 0, 6);
    assert!(alone.iter().any(|batch| !batch.skipped.is_empty()));
    for (ranks, from) in [(2, 0), (3, 2), (4, 1)] {
        let all = together(&stream, ranks, from, 3);
        let first = usize::try_from(from).unwrap();
        assert_equal(&all, &alone[first..first + 3]);
        for (alone, all) in alone[first..].iter().zip(&all) {
            assert_eq!(all.skipped, alone.skipped);
        }
    }
}

#[test]
fn the_time_that_is_waited_for_a_slow_bucket_is_told() {
    let folders = folders();
    let packed = shards(folders.path());
    let objects = Arc::new(InMemory::new());
    let fast = Bucket::new(Arc::<InMemory>::clone(&objects), "fast").unwrap();
    for entry in fs::read_dir(packed.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        fast.put(name, &path).unwrap();
    }
    let slow = ThrottledStore::new(
        objects,
        ThrottleConfig {
            wait_get_per_call: Duration::from_millis(150),
            ..ThrottleConfig::default()
        },
    );
    let bucket = Bucket::new(Arc::new(slow), "slow").unwrap();
    let (set, part) = (DataSet::Imagenet, Part::Train);
    let pictures = Pictures::open_bucket(set, part, &bucket, None, Check::Format).unwrap();
    let stream = stream_of(pictures, 2, 0);
    let mut batches = Batches::start(stream.clone(), 0, Device::Cpu).unwrap();
    assert_eq!(batches.waited(), Duration::ZERO);
    let found = vec![batches.take().unwrap()];
    // The threads began at most a moment before it was asked for.
    assert!(batches.waited() > Duration::from_millis(50));
    assert_equal(&found, &take(&self::stream(folders.path(), 1, 0), 0, 1));
}

#[test]
fn a_vanished_picture_is_an_error_that_names_it_and_not_a_skip() {
    let folders = folders();
    let stream = stream(folders.path(), 1, 5);
    let gone = folders.path().join("train/c0/p0.JPEG");
    fs::remove_file(&gone).unwrap();
    let mut batches = Batches::start(stream, 0, Device::Cpu).unwrap();
    let error = (0..4).find_map(|_| batches.take().err()).unwrap();
    assert!(
        matches!(&error, BatchError::Read { name, .. } if *name == gone.display().to_string()),
        "{error}"
    );
}

#[test]
fn pictures_that_do_not_decode_are_left_out_of_a_measurement() {
    let folders = folders();
    fs::write(folders.path().join("val/c2/p4.JPEG"), "no picture").unwrap();
    let source = Arc::new(Source::Pictures(open(folders.path(), Part::Test)));
    let whole = Subset::whole(source);
    let batches: Vec<Batch> = unchanged(&whole, Inputs::of(DataSet::Imagenet), 4, 2, Device::Cpu)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let images: i64 = batches.iter().map(|batch| batch.images.size()[0]).sum();
    assert_eq!(images, 14);
    assert_eq!(batches[3].skipped[0].position, 14);
}
