//! Data sets: their facts, and their file formats as pure functions from bytes to images.
//!
//! A data set lies in a folder of its own, under the names its authors gave the files (see
//! [`DataSet::files`]), each file plain or gzipped with `.gz` added to its name. Whoever reads
//! that folder passes [`decode_with`] a closure that reads one file; everything else, from the
//! decompression to the check of every label, happens here:
//!
//! ```
//! # use autorep_core::data::{Check, DataError, DataSet, Images, Part, decode_with};
//! # use std::{io::ErrorKind, path::Path};
//! fn read_part(set: DataSet, part: Part, folder: &Path) -> Result<Images, DataError> {
//!     decode_with(set, part, Check::Published, &mut |name| {
//!         match std::fs::read(folder.join(name)) {
//!             Ok(bytes) => Ok(Some(bytes)),
//!             Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
//!             Err(error) => Err(error.to_string()),
//!         }
//!     })
//! }
//! # assert!(read_part(DataSet::Cifar10, Part::Test, Path::new("/nowhere")).is_err());
//! ```
//!
//! By default the files must be the published ones ([`Check::Published`]): a task's identity
//! holds the data set's *name*, so the name must mean the same bytes everywhere.
//! [`Check::Format`] accepts any files of the same format and leaves it to the caller to keep
//! their results apart; the environment variable [`UNVERIFIED_ENV`] asks for it.

mod cifar;
mod error;
mod files;
mod idx;
mod read;

pub use error::DataError;
pub use files::{DataFile, Part};
pub use read::{Check, Images, ReadFile, UNVERIFIED_ENV, decode, decode_with};

use serde::{Deserialize, Serialize};

use crate::net::InputShape;

/// The data sets that can be trained on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum DataSet {
    /// Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28 in ten classes (idx files).
    #[serde(rename = "fashion-mnist")]
    FashionMnist,
    /// CIFAR-10: 50,000 + 10,000 colour images of 32 x 32 in ten classes (binary version).
    #[serde(rename = "cifar-10")]
    Cifar10,
    /// CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 in a hundred classes (binary version).
    #[serde(rename = "cifar-100")]
    Cifar100,
}

impl DataSet {
    /// Every data set, in the order in which they are listed to people.
    pub const ALL: [Self; 3] = [Self::FashionMnist, Self::Cifar10, Self::Cifar100];

    /// The name used in manifests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar-10",
            Self::Cifar100 => "cifar-100",
        }
    }

    /// The size of one image.
    pub const fn input(self) -> InputShape {
        match self {
            Self::FashionMnist => InputShape {
                channels: 1,
                height: 28,
                width: 28,
            },
            Self::Cifar10 | Self::Cifar100 => InputShape {
                channels: 3,
                height: 32,
                width: 32,
            },
        }
    }

    /// How many classes there are; labels are 0 to this number less one.
    pub const fn classes(self) -> u32 {
        match self {
            Self::FashionMnist | Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Images in the training part, of which validation images are held out.
    pub const fn training_images(self) -> u32 {
        match self {
            Self::FashionMnist => 60_000,
            Self::Cifar10 | Self::Cifar100 => 50_000,
        }
    }

    /// Images in the test part, which only `evaluate` tasks read.
    pub const fn test_images(self) -> u32 {
        10_000
    }

    /// Zero pixels added on each side before a random crop of the original size.
    pub const fn crop_padding(self) -> u32 {
        match self {
            Self::FashionMnist => 2,
            Self::Cifar10 | Self::Cifar100 => 4,
        }
    }

    /// Mean and standard deviation per channel, of pixel values scaled to 0..1, that inputs are
    /// normalised with (CIFAR: the AutoReP paper's; Fashion-MNIST: of its training images).
    pub const fn normalisation(self) -> (&'static [f32], &'static [f32]) {
        match self {
            Self::FashionMnist => (&[0.2860], &[0.3530]),
            Self::Cifar10 => (&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]),
            Self::Cifar100 => (&[0.5071, 0.4867, 0.4408], &[0.2675, 0.2565, 0.2761]),
        }
    }
}

/// Which images a task may train on and validate with.
///
/// The training part is permuted once by a fixed seed; the last `validation` images of the
/// permutation are held out, and the first `train` of the rest are trained on. So two specs that
/// differ only in `train` validate on the same images.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataSpec {
    /// The data set.
    pub name: DataSet,
    /// Training images used, at most the training part less the validation images.
    pub train: u32,
    /// Images held out of the training part, on which every choice is made.
    pub validation: u32,
    /// Whether training images are flipped and cropped at random.
    pub augment: bool,
}
