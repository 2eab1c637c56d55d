//! Tiny files of both formats, made here, and every way in which they can be wrong.

use std::collections::BTreeMap;
use std::io::Write as _;

use super::*;

const TRAIN_IMAGES: &str = "train-images-idx3-ubyte";
const TRAIN_LABELS: &str = "train-labels-idx1-ubyte";

fn idx(dimensions: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(dimensions.len()).unwrap()];
    for dimension in dimensions {
        bytes.extend(dimension.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

/// Image `n` is filled with the byte `n`, except its second pixel, which is 200 + `n`.
fn idx_fixture(labels: &[u8]) -> Vec<Vec<u8>> {
    let count = u32::try_from(labels.len()).unwrap();
    let mut pixels = Vec::new();
    for n in 0..u8::try_from(count).unwrap() {
        let mut image = vec![n; 28 * 28];
        image[1] = 200 + n;
        pixels.extend(image);
    }
    vec![idx(&[count, 28, 28], &pixels), idx(&[count], labels)]
}

/// One record per entry: its labels, then red all 1, green all 2, blue all 3.
fn cifar_fixture(records: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for labels in records {
        bytes.extend(*labels);
        for plane in 1..=3 {
            bytes.extend([plane; 32 * 32]);
        }
    }
    bytes
}

fn fashion(contents: &[Vec<u8>]) -> Result<Images, DataError> {
    decode(DataSet::FashionMnist, Part::Train, Check::Format, contents)
}

fn cifar_10(contents: &[Vec<u8>]) -> Result<Images, DataError> {
    decode(DataSet::Cifar10, Part::Train, Check::Format, contents)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Decodes Fashion-MNIST's training part from files in memory.
fn from_files(check: Check, files: &BTreeMap<String, Vec<u8>>) -> Result<Images, DataError> {
    decode_with(DataSet::FashionMnist, Part::Train, check, &mut |name| {
        Ok(files.get(name).cloned())
    })
}

#[test]
fn an_idx_pair_decodes_to_its_pixels_and_labels_in_order() {
    let images = fashion(&idx_fixture(&[9, 0, 4])).unwrap();
    assert_eq!(images.labels, [9, 0, 4]);
    assert_eq!((images.shape.channels, images.shape.height), (1, 28));
    assert_eq!(images.pixels.len(), 3 * 28 * 28);
    assert_eq!(images.pixels[..3], [0, 200, 0]);
    assert_eq!(images.pixels[2 * 28 * 28..][..3], [2, 202, 2]);
    assert_eq!(images.per_class(10), [1, 0, 0, 0, 1, 0, 0, 0, 0, 1]);
}

#[test]
fn cifar_10_batches_are_joined_in_order_with_their_planes_kept() {
    let batches: Vec<_> = (0..5).map(|n| cifar_fixture(&[&[n], &[n + 5]])).collect();
    let images = cifar_10(&batches).unwrap();
    assert_eq!(images.labels, [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]);
    assert_eq!(images.pixels.len(), 10 * 3072);
    let last = &images.pixels[9 * 3072..];
    assert_eq!((last[0], last[1024], last[2048]), (1, 2, 3));
}

#[test]
fn cifar_100_uses_the_fine_label() {
    let train = cifar_fixture(&[&[3, 99], &[19, 0]]);
    let images = decode(DataSet::Cifar100, Part::Train, Check::Format, &[train]).unwrap();
    assert_eq!(images.labels, [99, 0]);
    assert_eq!(images.pixels[0], 1);
}

#[test]
fn a_label_out_of_range_is_named_with_its_file_and_image() {
    let error = fashion(&idx_fixture(&[1, 10, 11])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "train-labels-idx1-ubyte should hold labels below 10, found 10 at image 1"
    );
    let mut batches = vec![cifar_fixture(&[&[1]]); 5];
    batches[3] = cifar_fixture(&[&[1], &[255]]);
    assert_eq!(
        cifar_10(&batches).unwrap_err(),
        DataError::LabelOutOfRange {
            file: "cifar-10-batches-bin/data_batch_4.bin".to_owned(),
            image: 1,
            label: 255,
            classes: 10,
        }
    );
}

#[test]
fn a_coarse_label_alone_may_exceed_the_classes_but_a_fine_one_may_not() {
    let test = cifar_fixture(&[&[200, 5], &[0, 100]]);
    let error = decode(DataSet::Cifar100, Part::Test, Check::Format, &[test]).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::LabelOutOfRange {
                image: 1,
                label: 100,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn files_that_swapped_names_are_told_by_their_first_bytes() {
    let mut contents = idx_fixture(&[1, 2]);
    contents.swap(0, 1);
    assert_eq!(
        fashion(&contents).unwrap_err().to_string(),
        "train-images-idx3-ubyte is not an idx file of images: it begins with the bytes [00, 00, 08, 01]"
    );
    contents.swap(0, 1);
    contents[1] = b"<html>".to_vec();
    assert_eq!(
        fashion(&contents).unwrap_err().to_string(),
        "train-labels-idx1-ubyte is not an idx file of labels: it begins with the bytes [3c, 68, 74, 6d]"
    );
}

#[test]
fn images_of_another_size_are_refused() {
    let contents = [idx(&[1, 28, 27], &[0; 28 * 27]), idx(&[1], &[0])];
    assert_eq!(
        fashion(&contents).unwrap_err().to_string(),
        "train-images-idx3-ubyte should hold images of 28 x 28, found 28 x 27"
    );
}

#[test]
fn a_file_cut_short_at_any_byte_is_an_error_that_names_it() {
    let whole = idx_fixture(&[1, 2]);
    for (index, name) in [(0, TRAIN_IMAGES), (1, TRAIN_LABELS)] {
        for length in 0..whole[index].len() {
            let mut contents = whole.clone();
            contents[index].truncate(length);
            let error = fashion(&contents).unwrap_err();
            assert!(
                matches!(&error, DataError::Magic { file, .. } | DataError::Length { file, .. } if file == name),
                "{length} bytes of {name}: {error}"
            );
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut contents = idx_fixture(&[1, 2]);
    contents[0].push(0);
    assert!(matches!(
        fashion(&contents).unwrap_err(),
        DataError::Length {
            expected: 1584,
            found: 1585,
            ..
        }
    ));
}

#[test]
fn a_header_that_announces_the_largest_numbers_overflows_nothing() {
    let contents = [idx(&[u32::MAX, 28, 28], &[]), idx(&[u32::MAX], &[])];
    assert!(matches!(
        fashion(&contents).unwrap_err(),
        DataError::Length { found: 16, .. }
    ));
}

#[test]
fn fewer_labels_than_images_are_refused() {
    let mut contents = idx_fixture(&[1, 2, 3]);
    contents[1] = idx(&[2], &[1, 2]);
    assert_eq!(
        fashion(&contents).unwrap_err().to_string(),
        "train-labels-idx1-ubyte should hold 3 labels, one per image, found 2"
    );
}

#[test]
fn a_cifar_file_that_ends_inside_an_image_is_refused() {
    let mut batches = vec![cifar_fixture(&[&[1], &[2]]); 5];
    batches[1].pop();
    assert_eq!(
        cifar_10(&batches).unwrap_err(),
        DataError::Length {
            file: "cifar-10-batches-bin/data_batch_2.bin".to_owned(),
            expected: 2 * 3073,
            found: 2 * 3073 - 1,
        }
    );
    batches[1].clear();
    assert!(matches!(
        cifar_10(&batches).unwrap_err(),
        DataError::Length {
            expected: 3073,
            found: 0,
            ..
        }
    ));
}

#[test]
fn published_files_are_held_against_size_and_digest() {
    let decode = |contents: &[Vec<u8>]| {
        decode(
            DataSet::FashionMnist,
            Part::Train,
            Check::Published,
            contents,
        )
    };
    let error = decode(&idx_fixture(&[1, 2])).unwrap_err();
    assert!(
        matches!(&error, DataError::Size { file, expected: 47_040_016, .. } if file == TRAIN_IMAGES),
        "{error}"
    );
    let black = idx(&[60_000, 28, 28], &vec![0; 60_000 * 28 * 28]);
    let error = decode(&[black, idx(&[60_000], &vec![0; 60_000])]).unwrap_err();
    assert!(
        matches!(&error, DataError::Digest { file, .. } if file == TRAIN_IMAGES),
        "{error}"
    );
}

/// CIFAR's digests are not known, but its balance is: a batch stored twice would pass by size.
#[test]
fn published_parts_are_held_against_their_images_per_class() {
    let balanced: Vec<u8> = (0..10_000_u32)
        .map(|n| u8::try_from(n % 10).unwrap())
        .collect();
    let file = |labels: &[u8]| {
        let mut bytes = Vec::with_capacity(labels.len() * 3073);
        for label in labels {
            bytes.push(*label);
            bytes.resize(bytes.len() + 3072, 0);
        }
        bytes
    };
    let decode = |labels: &[u8]| {
        decode(
            DataSet::Cifar10,
            Part::Test,
            Check::Published,
            &[file(labels)],
        )
    };
    assert_eq!(decode(&balanced).unwrap().len(), 10_000);
    let mut one_wrong = balanced;
    one_wrong[7] = 0;
    assert_eq!(
        decode(&one_wrong).unwrap_err().to_string(),
        "the test part of cifar-10 should hold 1000 images of class 0, found 1001; fetch it again"
    );
}

#[test]
fn plain_files_are_preferred_and_gzipped_ones_are_decompressed() {
    let contents = idx_fixture(&[7]);
    let other = idx_fixture(&[8]);
    let files = BTreeMap::from([
        (TRAIN_IMAGES.to_owned(), contents[0].clone()),
        (format!("{TRAIN_LABELS}.gz"), gzip(&contents[1])),
    ]);
    assert_eq!(from_files(Check::Format, &files).unwrap().labels, [7]);
    let mut both = files;
    both.insert(TRAIN_LABELS.to_owned(), other[1].clone());
    assert_eq!(from_files(Check::Format, &both).unwrap().labels, [8]);
}

#[test]
fn a_missing_file_is_named_with_the_command_that_gets_it() {
    let contents = idx_fixture(&[7]);
    let files = BTreeMap::from([(TRAIN_IMAGES.to_owned(), contents[0].clone())]);
    assert_eq!(
        from_files(Check::Format, &files).unwrap_err().to_string(),
        "found neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz in the data folder \
         of fashion-mnist: `autorep data fetch fashion-mnist` gets it, or says where it is published"
    );
}

#[test]
fn a_damaged_gzip_file_is_refused_wherever_it_is_cut() {
    let zipped = gzip(&idx_fixture(&[7])[0]);
    for length in 0..zipped.len() {
        let files = BTreeMap::from([(format!("{TRAIN_IMAGES}.gz"), zipped[..length].to_vec())]);
        let error = from_files(Check::Format, &files).unwrap_err();
        assert!(
            matches!(&error, DataError::Gzip { file, .. } if *file == format!("{TRAIN_IMAGES}.gz")),
            "{length} bytes: {error}"
        );
    }
    let mut flipped = zipped;
    let crc = flipped.len() - 8;
    flipped[crc] ^= 1;
    let files = BTreeMap::from([(format!("{TRAIN_IMAGES}.gz"), flipped)]);
    assert!(matches!(
        from_files(Check::Format, &files).unwrap_err(),
        DataError::Gzip { .. }
    ));
}

#[test]
fn a_gzip_file_that_grows_past_the_published_size_is_stopped() {
    let bomb = gzip(&vec![0; 60_000_000]);
    let files = BTreeMap::from([(format!("{TRAIN_IMAGES}.gz"), bomb)]);
    assert!(matches!(
        from_files(Check::Published, &files).unwrap_err(),
        DataError::Size { expected: 47_040_016, found, .. } if found == "more"
    ));
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_a_missing_one() {
    let error = decode_with(
        DataSet::FashionMnist,
        Part::Test,
        Check::Published,
        &mut |_| Err("permission denied".to_owned()),
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read t10k-images-idx3-ubyte: permission denied"
    );
}

#[test]
fn only_the_value_one_asks_for_unverified_data() {
    assert_eq!(Check::from_env_value(Some("1")), Check::Format);
    for value in [None, Some(""), Some("0"), Some("true")] {
        assert_eq!(Check::from_env_value(value), Check::Published);
    }
}
