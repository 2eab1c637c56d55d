//! Data sets: their facts, and their file formats as pure functions from bytes to images.
//!
//! Some sets are packed into a few files; others are one JPEG per image, in folders or in tar
//! shards, and are read by the crate `autorep-data` ([`Layout`] says which).
//!
//! A packed data set lies in a folder of its own, under the names its authors gave the files (see
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
mod preparation;
mod read;
mod root;

pub use error::DataError;
pub use files::{DataFile, Part};
pub use preparation::{Inputs, Interpolation, Normalise, Preparation};
pub use read::{Check, Images, ReadFile, UNVERIFIED_ENV, decode, decode_with};
pub use root::{DataRoot, RootError};

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
    /// Tiny-ImageNet: 100,000 + 10,000 colour images of 64 x 64 in two hundred classes (JPEG
    /// files). Its test part here is the published validation split: the labels of the real test
    /// split are not public.
    #[serde(rename = "tiny-imagenet")]
    TinyImagenet,
    /// ImageNet (ILSVRC 2012): 1,281,167 + 50,000 colour images of many sizes in a thousand
    /// classes (JPEG files in class folders), trained on at 224 x 224. Its test part here is the
    /// published validation split: the labels of the real test split are not public.
    #[serde(rename = "imagenet")]
    Imagenet,
}

/// How a data set lies in its folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// A few files that hold all images of a part: see [`DataSet::files`] and [`decode_with`].
    Packed,
    /// One JPEG file per image, or tar shards of them.
    Pictures(Tree),
}

/// Where the JPEG files of a data set lie, if they do not lie in shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    /// `train/CLASS/NAME` and `val/CLASS/NAME`.
    ClassFolders,
    /// As Tiny-ImageNet is published: `wnids.txt` lists the classes; `train/CLASS/images/NAME`;
    /// `val/images/NAME` with the class of each in `val/val_annotations.txt`.
    TinyImagenet,
}

/// How an image becomes an input of the net.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Images have the input's size. Augmentation flips them with probability one half and crops
    /// the input's size out of the image with this many zero pixels on each side.
    Padded {
        /// Pixels on each side.
        padding: u32,
    },
    /// Images have any size. Augmentation crops a part of 8 % to 100 % of the area with an aspect
    /// ratio of 3/4 to 4/3, resizes it to the input's size and flips it with probability one
    /// half. Without augmentation the shorter side is resized to `shorter` and the input's size
    /// cropped out of the centre. Both resize bilinearly with antialiasing. These are the
    /// defaults of torchvision's `RandomResizedCrop` and of its ImageNet reference training.
    Resized {
        /// Pixels of the shorter side before the centre crop.
        shorter: u32,
    },
}

impl DataSet {
    /// Every data set, in the order in which they are listed to people.
    pub const ALL: [Self; 5] = [
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::TinyImagenet,
        Self::Imagenet,
    ];

    /// The name used in manifests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar-10",
            Self::Cifar100 => "cifar-100",
            Self::TinyImagenet => "tiny-imagenet",
            Self::Imagenet => "imagenet",
        }
    }

    /// How its files lie in its folder.
    pub const fn layout(self) -> Layout {
        match self {
            Self::FashionMnist | Self::Cifar10 | Self::Cifar100 => Layout::Packed,
            Self::TinyImagenet => Layout::Pictures(Tree::TinyImagenet),
            Self::Imagenet => Layout::Pictures(Tree::ClassFolders),
        }
    }

    /// The size of one input of a net.
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
            Self::TinyImagenet => InputShape {
                channels: 3,
                height: 64,
                width: 64,
            },
            Self::Imagenet => InputShape {
                channels: 3,
                height: 224,
                width: 224,
            },
        }
    }

    /// How many classes there are; labels are 0 to this number less one.
    pub const fn classes(self) -> u32 {
        match self {
            Self::FashionMnist | Self::Cifar10 => 10,
            Self::Cifar100 => 100,
            Self::TinyImagenet => 200,
            Self::Imagenet => 1_000,
        }
    }

    /// Images in the training part, of which validation images are held out.
    pub const fn training_images(self) -> u32 {
        match self {
            Self::FashionMnist => 60_000,
            Self::Cifar10 | Self::Cifar100 => 50_000,
            Self::TinyImagenet => 100_000,
            Self::Imagenet => 1_281_167,
        }
    }

    /// Images in the test part, which only `evaluate` tasks read.
    pub const fn test_images(self) -> u32 {
        match self {
            Self::FashionMnist | Self::Cifar10 | Self::Cifar100 | Self::TinyImagenet => 10_000,
            Self::Imagenet => 50_000,
        }
    }

    /// How an image becomes an input of the net.
    pub const fn framing(self) -> Framing {
        match self {
            Self::FashionMnist => Framing::Padded { padding: 2 },
            Self::Cifar10 | Self::Cifar100 | Self::TinyImagenet => Framing::Padded { padding: 4 },
            Self::Imagenet => Framing::Resized { shorter: 256 },
        }
    }

    /// Mean and standard deviation per channel, of pixel values scaled to 0..1, that inputs are
    /// normalised with (CIFAR and Tiny-ImageNet: those of AutoReP's authors; ImageNet: those of
    /// torchvision's weights; Fashion-MNIST: of its training images).
    pub const fn normalisation(self) -> (&'static [f32], &'static [f32]) {
        match self {
            Self::FashionMnist => (&[0.2860], &[0.3530]),
            Self::Cifar10 => (&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]),
            Self::Cifar100 => (&[0.5071, 0.4867, 0.4408], &[0.2675, 0.2565, 0.2761]),
            Self::TinyImagenet => (&[0.480, 0.448, 0.398], &[0.277, 0.269, 0.282]),
            Self::Imagenet => (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
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
    /// Images that do not decode are skipped, up to this many of a task; zero lets the first one
    /// fail the attempt. Only where images are [`Layout::Pictures`]. Left out of the JSON where
    /// it is zero, as in the specs written before it was added.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_corrupt: u32,
    /// How images become inputs. Left out of the JSON where nothing was chosen, as in the specs
    /// written before it was added.
    #[serde(default, skip_serializing_if = "Preparation::is_default")]
    pub preparation: Preparation,
}

impl DataSpec {
    /// The same with settings without effect at a fixed value, so that they do not make equal
    /// work look new.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        if self.name.layout() == Layout::Packed {
            self.max_corrupt = 0;
        }
        self.preparation = self.preparation.canonical(self.name);
        self
    }

    /// How its images become inputs of a net.
    pub const fn inputs(&self) -> Inputs {
        Inputs {
            set: self.name,
            preparation: self.preparation,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: DataSet, max_corrupt: u32) -> DataSpec {
        DataSpec {
            name,
            train: 10,
            validation: 5,
            augment: true,
            max_corrupt,
            preparation: Preparation::default(),
        }
    }

    #[test]
    fn a_limit_of_zero_leaves_the_json_as_it_was_before_there_was_one() {
        let old = r#"{"name":"cifar-10","train":10,"validation":5,"augment":true}"#;
        assert_eq!(
            serde_json::to_string(&spec(DataSet::Cifar10, 0)).unwrap(),
            old
        );
        let read: DataSpec = serde_json::from_str(old).unwrap();
        assert_eq!(read, spec(DataSet::Cifar10, 0));
        let some = serde_json::to_string(&spec(DataSet::Imagenet, 3)).unwrap();
        assert!(some.ends_with(r#""max_corrupt":3}"#), "{some}");
    }

    #[test]
    fn a_limit_splits_work_only_where_images_are_decoded() {
        assert_eq!(
            spec(DataSet::Cifar10, 3).canonical(),
            spec(DataSet::Cifar10, 0)
        );
        assert_eq!(
            spec(DataSet::Imagenet, 3).canonical(),
            spec(DataSet::Imagenet, 3)
        );
    }

    #[test]
    fn every_set_has_a_mean_and_a_deviation_per_channel() {
        for set in DataSet::ALL {
            let (means, deviations) = set.normalisation();
            let channels = set.input().channels as usize;
            assert_eq!((means.len(), deviations.len()), (channels, channels));
        }
    }
}
