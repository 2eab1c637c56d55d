//! From the files of one part to its images.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::{DataError, DataFile, DataSet, Part, cifar, idx};
use crate::digest::Digest;
use crate::net::InputShape;

/// Set to `1`, this environment variable asks programs that read data sets for
/// [`Check::Format`] in place of [`Check::Published`]. It is for tests with made-up images; a
/// program that obeys it must say so on stderr, because the store cannot tell such results from
/// results on the published data.
pub const UNVERIFIED_ENV: &str = "AUTOREP_UNVERIFIED_DATA";

/// No file of a made-up data set may decompress to more than this.
const UNPUBLISHED_LIMIT: usize = 1 << 30;

/// Reads one file of a data set's folder: `None` when it is not there, an `Err` with the reason
/// when it is there and cannot be read.
pub type ReadFile<'a> = dyn FnMut(&str) -> Result<Option<Vec<u8>>, String> + 'a;

/// What a data set's files are held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The published files: sizes, digests where known, and images per class.
    Published,
    /// The format alone: any number of images of the right size with labels in range.
    Format,
}

impl Check {
    /// What the value of [`UNVERIFIED_ENV`], if it is set, asks for.
    pub fn from_env_value(value: Option<&str>) -> Self {
        if value == Some("1") {
            Self::Format
        } else {
            Self::Published
        }
    }
}

/// The decoded images of one part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Images {
    /// The size of one image.
    pub shape: InputShape,
    /// One label per image, each below the data set's number of classes.
    pub labels: Vec<u8>,
    /// Image by image, channel by channel, row by row: N x C x H x W bytes, 0 is black.
    pub pixels: Vec<u8>,
}

impl Images {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Images of each of `classes` classes.
    pub fn per_class(&self, classes: u32) -> Vec<usize> {
        let mut counts = vec![0; classes as usize];
        for label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(*label)) {
                *count += 1;
            }
        }
        counts
    }
}

/// Decodes one part from the decompressed contents of its files, given in the order of
/// [`DataSet::files`].
pub fn decode(
    set: DataSet,
    part: Part,
    check: Check,
    contents: &[Vec<u8>],
) -> Result<Images, DataError> {
    let files = set.files(part);
    if contents.len() != files.len() {
        return Err(DataError::FileCount {
            set: set.name(),
            part: part.name(),
            expected: files.len(),
            found: contents.len(),
        });
    }
    if check == Check::Published {
        for (file, bytes) in files.iter().zip(contents) {
            check_published(file, bytes)?;
        }
    }
    let images = match set {
        DataSet::FashionMnist => decode_idx(set, files, contents)?,
        DataSet::Cifar10 => decode_cifar(set, files, contents, 1)?,
        DataSet::Cifar100 => decode_cifar(set, files, contents, 2)?,
        DataSet::TinyImagenet | DataSet::Imagenet => {
            return Err(DataError::NotPacked { set: set.name() });
        }
    };
    if check == Check::Published {
        check_balance(set, part, &images)?;
    }
    Ok(images)
}

/// Decodes one part from files that `read` fetches: it is asked for each file by its name in
/// the data set's folder, then, if it answered `None`, for the name with `.gz` added. At most one
/// part is held in memory.
pub fn decode_with(
    set: DataSet,
    part: Part,
    check: Check,
    read: &mut ReadFile<'_>,
) -> Result<Images, DataError> {
    let mut contents = Vec::new();
    for file in set.files(part) {
        contents.push(fetch(set, file, check, read)?);
    }
    decode(set, part, check, &contents)
}

fn fetch(
    set: DataSet,
    file: &DataFile,
    check: Check,
    read: &mut ReadFile<'_>,
) -> Result<Vec<u8>, DataError> {
    let mut ask = |name: &str| {
        read(name).map_err(|why| DataError::Unreadable {
            file: name.to_owned(),
            why,
        })
    };
    if let Some(plain) = ask(file.name)? {
        return Ok(plain);
    }
    let zipped_name = format!("{}.gz", file.name);
    match ask(&zipped_name)? {
        Some(zipped) => gunzip(file, &zipped_name, check, &zipped),
        None => Err(DataError::Missing {
            set: set.name(),
            file: file.name.to_owned(),
        }),
    }
}

/// Decompresses, but never to more than the published size: a small file can hide a huge one.
fn gunzip(
    file: &DataFile,
    zipped_name: &str,
    check: Check,
    zipped: &[u8],
) -> Result<Vec<u8>, DataError> {
    let limit = match check {
        Check::Published => file.bytes,
        Check::Format => UNPUBLISHED_LIMIT,
    };
    // A published size is worth reserving: growing by doubling copies the images several times.
    let mut plain = Vec::with_capacity(match check {
        Check::Published => limit + 1,
        Check::Format => 0,
    });
    MultiGzDecoder::new(zipped)
        .take(limit as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| DataError::Gzip {
            file: zipped_name.to_owned(),
            why: error.to_string(),
        })?;
    if plain.len() > limit {
        return Err(DataError::Size {
            file: zipped_name.to_owned(),
            expected: limit,
            found: "more".to_owned(),
        });
    }
    Ok(plain)
}

fn check_published(file: &DataFile, bytes: &[u8]) -> Result<(), DataError> {
    if bytes.len() != file.bytes {
        return Err(DataError::Size {
            file: file.name.to_owned(),
            expected: file.bytes,
            found: bytes.len().to_string(),
        });
    }
    let Some(expected) = file.sha256 else {
        return Ok(());
    };
    let found = Digest::of(bytes).to_string();
    if found == expected {
        return Ok(());
    }
    Err(DataError::Digest {
        file: file.name.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

fn check_balance(set: DataSet, part: Part, images: &Images) -> Result<(), DataError> {
    let expected = (set.images(part) / set.classes()) as usize;
    for (class, found) in (0..).zip(images.per_class(set.classes())) {
        if found != expected {
            return Err(DataError::Unbalanced {
                set: set.name(),
                part: part.name(),
                class,
                expected,
                found,
            });
        }
    }
    Ok(())
}

fn decode_idx(set: DataSet, files: &[DataFile], contents: &[Vec<u8>]) -> Result<Images, DataError> {
    let (count, pixels) = idx::images(set, &files[0], &contents[0])?;
    let labels = idx::labels(&files[1], &contents[1], count)?;
    check_labels(set, &files[1], labels)?;
    Ok(Images {
        shape: set.input(),
        labels: labels.to_vec(),
        pixels: pixels.to_vec(),
    })
}

fn decode_cifar(
    set: DataSet,
    files: &[DataFile],
    contents: &[Vec<u8>],
    labels_per_image: usize,
) -> Result<Images, DataError> {
    let mut labels = Vec::new();
    let mut pixels = Vec::with_capacity(contents.iter().map(Vec::len).sum());
    for (file, bytes) in files.iter().zip(contents) {
        let before = labels.len();
        cifar::append(file, bytes, labels_per_image, &mut labels, &mut pixels)?;
        check_labels(set, file, &labels[before..])?;
    }
    Ok(Images {
        shape: set.input(),
        labels,
        pixels,
    })
}

fn check_labels(set: DataSet, file: &DataFile, labels: &[u8]) -> Result<(), DataError> {
    let classes = set.classes();
    match labels.iter().position(|label| u32::from(*label) >= classes) {
        None => Ok(()),
        Some(image) => Err(DataError::LabelOutOfRange {
            file: file.name.to_owned(),
            image,
            label: labels[image],
            classes,
        }),
    }
}

#[cfg(test)]
mod tests;
