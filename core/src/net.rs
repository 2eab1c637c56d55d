//! Networks as the plan sees them: where their activation sites are and how many ReLUs each has.
//!
//! The trainer builds the same networks out of tensors; a test there holds its sites against
//! the ones computed here.

use serde::{Deserialize, Serialize};

/// The size of one input image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InputShape {
    /// Colour channels.
    pub channels: u32,
    /// Rows of pixels.
    pub height: u32,
    /// Columns of pixels.
    pub width: u32,
}

/// One place in a net where an activation is applied: the unit in which indicators, latents
/// and polynomial coefficients are kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Site {
    /// A stable name that says where it is, for example `layer2.0.act1`.
    pub name: String,
    /// Feature channels at this place.
    pub channels: u32,
    /// Rows of the feature map.
    pub height: u32,
    /// Columns of the feature map.
    pub width: u32,
}

impl Site {
    /// How many ReLUs a full network evaluates here for one image: channels x height x width.
    pub fn relus(&self) -> u64 {
        u64::from(self.channels) * u64::from(self.height) * u64::from(self.width)
    }
}

/// The families of networks that can be trained.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// ResNet in its CIFAR form with one block in each of four stages.
    Resnet9,
    /// ResNet in its CIFAR form with two blocks in each of four stages.
    Resnet18,
}

impl Family {
    /// Every family, in the order in which they are listed to people.
    pub const ALL: [Self; 2] = [Self::Resnet9, Self::Resnet18];

    /// The name used in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resnet9 => "resnet9",
            Self::Resnet18 => "resnet18",
        }
    }

    /// Residual blocks in each of the four stages.
    pub const fn blocks(self) -> [u32; 4] {
        match self {
            Self::Resnet9 => [1, 1, 1, 1],
            Self::Resnet18 => [2, 2, 2, 2],
        }
    }
}

/// One network: a family with its settings. The input size and the number of classes come
/// from the data set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetSpec {
    /// The family.
    pub name: Family,
    /// Channels of the first stage (64 in the papers); the later stages have 2, 4 and 8 times as many.
    pub width: u32,
    /// Whether a ReLU follows the stem's convolution. The nets of SNL and AutoReP have none.
    pub stem_relu: bool,
}

impl NetSpec {
    /// The activation sites in forward order, for inputs of the given size.
    ///
    /// The stem keeps the resolution; the first block of stages two to four halves it
    /// (3 x 3 convolution, stride 2, padding 1: odd sizes round up).
    pub fn sites(&self, input: InputShape) -> Vec<Site> {
        let mut sites = Vec::new();
        let (mut height, mut width) = (input.height, input.width);
        if self.stem_relu {
            sites.push(Site {
                name: "stem.act".to_owned(),
                channels: self.width,
                height,
                width,
            });
        }
        for (stage, blocks) in self.name.blocks().into_iter().enumerate() {
            let channels = self.width << stage;
            if stage > 0 {
                height = height.div_ceil(2);
                width = width.div_ceil(2);
            }
            for block in 0..blocks {
                for act in 1..=2 {
                    let name = format!("layer{}.{block}.act{act}", stage + 1);
                    sites.push(Site {
                        name,
                        channels,
                        height,
                        width,
                    });
                }
            }
        }
        sites
    }

    /// The total `T`: the ReLUs that the full network evaluates for one image.
    pub fn relu_total(&self, input: InputShape) -> u64 {
        self.sites(input).iter().map(Site::relus).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(name: Family, width: u32, stem_relu: bool, size: u32, channels: u32) -> u64 {
        let input = InputShape {
            channels,
            height: size,
            width: size,
        };
        NetSpec {
            name,
            width,
            stem_relu,
        }
        .relu_total(input)
    }

    /// Figures of the AutoReP and SNL papers' nets: 480 s² without and 544 s² with a stem ReLU.
    #[test]
    fn relu_totals_equal_the_published_counts() {
        assert_eq!(total(Family::Resnet18, 64, false, 32, 3), 491_520);
        assert_eq!(total(Family::Resnet18, 64, true, 32, 3), 557_056);
        assert_eq!(total(Family::Resnet18, 64, false, 64, 3), 1_966_080);
        assert_eq!(total(Family::Resnet18, 64, true, 64, 3), 2_228_224);
        assert_eq!(total(Family::Resnet9, 64, false, 32, 3), 245_760);
        assert_eq!(total(Family::Resnet9, 64, false, 64, 3), 983_040);
    }

    #[test]
    fn odd_sizes_round_up_as_a_padded_stride_two_convolution_does() {
        // 28 -> 14 -> 7 -> 4
        assert_eq!(total(Family::Resnet9, 8, false, 28, 1), 24_000);
    }

    #[test]
    fn resnet18_has_sixteen_sites_and_one_more_with_a_stem_relu() {
        let input = InputShape {
            channels: 3,
            height: 32,
            width: 32,
        };
        let spec = |stem_relu| NetSpec {
            name: Family::Resnet18,
            width: 64,
            stem_relu,
        };
        assert_eq!(spec(false).sites(input).len(), 16);
        assert_eq!(spec(true).sites(input).len(), 17);
        assert_eq!(spec(true).sites(input)[0].name, "stem.act");
    }
}
