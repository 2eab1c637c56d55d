//! How images become inputs of a net: what published weights expect, and what a manifest may
//! choose.

use serde::{Deserialize, Serialize};

use super::{DataSet, Framing};
use crate::net::Family;

/// How an image becomes an input of the net, where there is a choice. Weights know their net's
/// inputs in one form only: in another they measure worse, without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Preparation {
    /// What pixels are normalised with.
    pub normalise: Normalise,
    /// How pictures are resized; only of sets with [`Framing::Resized`].
    pub interpolation: Interpolation,
    /// Pixels of the shorter side before the centre crop, where they are not those of the set;
    /// only of sets with [`Framing::Resized`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<u32>,
}

/// What pixel values, from 0 to 255, are normalised with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalise {
    /// The data set's mean and standard deviation ([`DataSet::normalisation`]).
    #[default]
    Statistics,
    /// `(x - 127) / 128` in every channel, as EfficientNet-Lite was published with.
    Centred,
}

/// How pictures are resized, with antialiasing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Linearly.
    #[default]
    Bilinear,
    /// By the cubic filter of Keys with a = -1/2.
    Bicubic,
}

impl Preparation {
    /// What a family's published `ImageNet` weights expect: torchvision's (`IMAGENET1K_V1`),
    /// of Lite0 Google's. Torchvision measures B1 at 240 and B2 at 288 pixels; at the 224 of this
    /// data set all are resized to 256 before the crop.
    pub const fn published(family: Family) -> Self {
        let (normalise, interpolation) = match family {
            Family::EfficientnetLite0 => (Normalise::Centred, Interpolation::Bicubic),
            Family::EfficientnetB0 | Family::EfficientnetB1 | Family::EfficientnetB2 => {
                (Normalise::Statistics, Interpolation::Bicubic)
            }
            Family::Resnet9
            | Family::Resnet18
            | Family::Resnet34
            | Family::WideResnet
            | Family::ImagenetResnet18
            | Family::ImagenetResnet50 => (Normalise::Statistics, Interpolation::Bilinear),
        };
        Self {
            normalise,
            interpolation,
            resize: None,
        }
    }

    /// The same with choices without effect on this set at a fixed value.
    #[must_use]
    pub(super) fn canonical(self, set: DataSet) -> Self {
        match set.framing() {
            Framing::Padded { .. } => Self {
                normalise: self.normalise,
                ..Self::default()
            },
            Framing::Resized { shorter } => Self {
                resize: self.resize.filter(|resize| *resize != shorter),
                ..self
            },
        }
    }

    /// Whether nothing was chosen.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How the images of a set become inputs of a net.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inputs {
    /// The set.
    pub set: DataSet,
    /// What was chosen.
    pub preparation: Preparation,
}

impl Inputs {
    /// Of this set, with nothing chosen.
    pub fn of(set: DataSet) -> Self {
        Self {
            set,
            preparation: Preparation::default(),
        }
    }

    /// How an image is brought to the net's size.
    pub fn framing(&self) -> Framing {
        match (self.set.framing(), self.preparation.resize) {
            (Framing::Resized { .. }, Some(shorter)) => Framing::Resized { shorter },
            (framing, _) => framing,
        }
    }

    /// By channel, mean and standard deviation of pixel values scaled to 0..1.
    pub fn normalisation(&self) -> Vec<(f32, f32)> {
        match self.preparation.normalise {
            Normalise::Statistics => {
                let (means, deviations) = self.set.normalisation();
                means
                    .iter()
                    .copied()
                    .zip(deviations.iter().copied())
                    .collect()
            }
            Normalise::Centred => {
                let channels = self.set.input().channels as usize;
                vec![(127.0 / 255.0, 128.0 / 255.0); channels]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_without_effect_is_no_choice() {
        let chosen = Preparation {
            normalise: Normalise::Centred,
            interpolation: Interpolation::Bicubic,
            resize: Some(256),
        };
        let imagenet = chosen.canonical(DataSet::Imagenet);
        assert_eq!(
            (imagenet.resize, imagenet.interpolation),
            (None, chosen.interpolation)
        );
        let cifar = chosen.canonical(DataSet::Cifar10);
        assert_eq!(cifar.interpolation, Interpolation::Bilinear);
        assert_eq!((cifar.resize, cifar.normalise), (None, Normalise::Centred));
    }

    #[test]
    fn centred_pixels_are_those_of_efficientnet_lite() {
        let inputs = Inputs {
            set: DataSet::Imagenet,
            preparation: Preparation::published(Family::EfficientnetLite0),
        };
        let table = inputs.normalisation();
        assert_eq!(table.len(), 3);
        for pixel in [0.0_f32, 127.0, 255.0] {
            let (mean, deviation) = table[0];
            let found = (pixel / 255.0 - mean) / deviation;
            assert!(
                (found - (pixel - 127.0) / 128.0).abs() < 1e-6,
                "{pixel}: {found}"
            );
        }
    }

    #[test]
    fn another_shorter_side_is_for_sets_that_are_resized() {
        let with = |set, resize| Inputs {
            set,
            preparation: Preparation {
                resize,
                ..Preparation::default()
            },
        };
        let shorter = |inputs: Inputs| inputs.framing();
        assert_eq!(
            shorter(with(DataSet::Imagenet, Some(288))),
            Framing::Resized { shorter: 288 }
        );
        assert_eq!(
            shorter(with(DataSet::Imagenet, None)),
            DataSet::Imagenet.framing()
        );
        assert_eq!(
            shorter(with(DataSet::Cifar10, Some(288))),
            DataSet::Cifar10.framing()
        );
    }
}
