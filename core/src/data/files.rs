//! Which files each data set consists of, with the sizes and digests that they must have.

use super::DataSet;

/// The two parts that every data set is published in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// The training part, of which validation images are held out.
    Train,
    /// The test part, which only `evaluate` tasks read. Where the labels of the published test
    /// split are secret, it is the published validation split.
    Test,
}

impl Part {
    /// Both parts.
    pub const ALL: [Self; 2] = [Self::Train, Self::Test];

    /// The name used in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// One file of a data set, as its authors publish it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataFile {
    /// The path inside the data set's folder. The file may also lie there gzipped, with `.gz`
    /// added to its name.
    pub name: &'static str,
    /// Its size in bytes, decompressed.
    pub bytes: usize,
    /// SHA-256 of the decompressed file in lowercase hexadecimal digits, where it is known.
    pub sha256: Option<&'static str>,
}

impl DataFile {
    const fn digested(name: &'static str, bytes: usize, sha256: &'static str) -> Self {
        Self {
            name,
            bytes,
            sha256: Some(sha256),
        }
    }

    const fn sized(name: &'static str, bytes: usize) -> Self {
        Self {
            name,
            bytes,
            sha256: None,
        }
    }
}

/// An idx file of images: 16 bytes of header, one byte per pixel.
const fn idx_images(images: usize) -> usize {
    16 + images * 28 * 28
}

/// An idx file of labels: 8 bytes of header, one byte per label.
const fn idx_labels(images: usize) -> usize {
    8 + images
}

/// Images first, labels second.
const FASHION_MNIST_TRAIN: [DataFile; 2] = [
    DataFile::digested(
        "train-images-idx3-ubyte",
        idx_images(60_000),
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    DataFile::digested(
        "train-labels-idx1-ubyte",
        idx_labels(60_000),
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
];

const FASHION_MNIST_TEST: [DataFile; 2] = [
    DataFile::digested(
        "t10k-images-idx3-ubyte",
        idx_images(10_000),
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    DataFile::digested(
        "t10k-labels-idx1-ubyte",
        idx_labels(10_000),
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];

/// Bytes of a CIFAR file: each record is its labels and three planes of 32 x 32 bytes.
const fn cifar(images: usize, labels: usize) -> usize {
    images * (labels + 3 * 32 * 32)
}

const CIFAR_10_TRAIN: [DataFile; 5] = [
    DataFile::sized("cifar-10-batches-bin/data_batch_1.bin", cifar(10_000, 1)),
    DataFile::sized("cifar-10-batches-bin/data_batch_2.bin", cifar(10_000, 1)),
    DataFile::sized("cifar-10-batches-bin/data_batch_3.bin", cifar(10_000, 1)),
    DataFile::sized("cifar-10-batches-bin/data_batch_4.bin", cifar(10_000, 1)),
    DataFile::sized("cifar-10-batches-bin/data_batch_5.bin", cifar(10_000, 1)),
];

const CIFAR_10_TEST: [DataFile; 1] = [DataFile::sized(
    "cifar-10-batches-bin/test_batch.bin",
    cifar(10_000, 1),
)];

const CIFAR_100_TRAIN: [DataFile; 1] = [DataFile::sized(
    "cifar-100-binary/train.bin",
    cifar(50_000, 2),
)];

const CIFAR_100_TEST: [DataFile; 1] = [DataFile::sized(
    "cifar-100-binary/test.bin",
    cifar(10_000, 2),
)];

impl DataSet {
    /// The files of one part, in the order in which [`super::decode`] takes their contents; none
    /// where a set is one file per image.
    pub const fn files(self, part: Part) -> &'static [DataFile] {
        match (self, part) {
            (Self::FashionMnist, Part::Train) => &FASHION_MNIST_TRAIN,
            (Self::FashionMnist, Part::Test) => &FASHION_MNIST_TEST,
            (Self::Cifar10, Part::Train) => &CIFAR_10_TRAIN,
            (Self::Cifar10, Part::Test) => &CIFAR_10_TEST,
            (Self::Cifar100, Part::Train) => &CIFAR_100_TRAIN,
            (Self::Cifar100, Part::Test) => &CIFAR_100_TEST,
            (Self::TinyImagenet | Self::Imagenet, _) => &[],
        }
    }

    /// Images in one part as published.
    pub const fn images(self, part: Part) -> u32 {
        match part {
            Part::Train => self.training_images(),
            Part::Test => self.test_images(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn every_digest_is_one_and_every_name_is_relative() {
        for set in DataSet::ALL {
            for part in Part::ALL {
                for file in set.files(part) {
                    if let Some(text) = file.sha256 {
                        assert!(text.parse::<Digest>().is_ok(), "{}", file.name);
                    }
                    assert!(!file.name.starts_with('/') && !file.name.contains(".."));
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_published_files() {
        let bytes = |set: DataSet, part| set.files(part)[0].bytes;
        assert_eq!(bytes(DataSet::FashionMnist, Part::Train), 47_040_016);
        assert_eq!(bytes(DataSet::FashionMnist, Part::Test), 7_840_016);
        assert_eq!(bytes(DataSet::Cifar10, Part::Train), 30_730_000);
        assert_eq!(bytes(DataSet::Cifar10, Part::Test), 30_730_000);
        assert_eq!(bytes(DataSet::Cifar100, Part::Train), 153_700_000);
        assert_eq!(bytes(DataSet::Cifar100, Part::Test), 30_740_000);
    }
}
