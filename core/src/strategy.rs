//! How the points of a sweep's front come to be.

use serde::{Deserialize, Serialize};

/// How searches are laid out over a sweep's budgets.
///
/// Points of different strategies are different candidates: they are never averaged.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Every budget has a search of its own, from the full-ReLU net.
    #[default]
    Independent,
    /// One search walks down to the smallest budget and leaves a snapshot at each of the others as
    /// it passes them.
    Descent,
    /// Every budget has a search of its own: that of the largest starts from the full-ReLU net, each
    /// other one from the next larger budget's net, trained on.
    Ladder,
}

impl Strategy {
    /// Every strategy, in the order in which people read about them.
    pub const ALL: [Self; 3] = [Self::Independent, Self::Descent, Self::Ladder];

    /// The names used in manifests, tables and files, as in [`Self::ALL`].
    pub const NAMES: [&str; 3] = [
        Self::Independent.name(),
        Self::Descent.name(),
        Self::Ladder.name(),
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Descent => "descent",
            Self::Ladder => "ladder",
        }
    }

    /// The strategy of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether it is the one that manifests without a strategy have.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Of so many budgets, how many one search serves.
    pub const fn budgets_at_once(self, budgets: usize) -> usize {
        match self {
            Self::Descent if budgets > 0 => budgets,
            Self::Independent | Self::Descent | Self::Ladder => 1,
        }
    }

    /// What tells its points from those that are usual, in labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Independent => "",
            Self::Descent => "strategy=descent",
            Self::Ladder => "strategy=ladder",
        }
    }
}
