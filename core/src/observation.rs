//! What one task measured.

use serde::{Deserialize, Serialize};

use crate::searched::{Convergence, Searched};

/// How many of how many images were classified correctly: exact, so that means do not depend on
/// the order of additions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accuracy {
    /// Images whose most probable class is their label.
    pub correct: u64,
    /// Images measured; never zero.
    pub images: u64,
}

impl Accuracy {
    /// The share of correct images, in percent.
    pub fn percent(self) -> f64 {
        100.0 * self.correct as f64 / self.images as f64
    }
}

/// What a training stage measured at the end of each of its epochs, the first first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LearningCurve {
    /// Validation images that every epoch was measured on.
    pub images: u64,
    /// One entry per epoch.
    pub epochs: Vec<EpochPoint>,
}

/// What one epoch has come to. Written down as `[relu_count, correct]`: there are many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct EpochPoint {
    /// ReLUs that the net kept.
    pub relu_count: u64,
    /// Validation images classified correctly.
    pub correct: u64,
}

impl From<(u64, u64)> for EpochPoint {
    fn from((relu_count, correct): (u64, u64)) -> Self {
        Self {
            relu_count,
            correct,
        }
    }
}

impl From<EpochPoint> for (u64, u64) {
    fn from(point: EpochPoint) -> Self {
        (point.relu_count, point.correct)
    }
}

impl LearningCurve {
    /// Whether no epoch has ended yet.
    pub const fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Epochs that have ended.
    pub fn reached(&self) -> u32 {
        u32::try_from(self.epochs.len()).unwrap_or(u32::MAX)
    }

    /// ReLUs and accuracy after `epoch` epochs, counted from 1.
    pub fn after(&self, epoch: u32) -> Option<(u64, Accuracy)> {
        let point = self.epochs.get(epoch.checked_sub(1)? as usize)?;
        let accuracy = Accuracy {
            correct: point.correct,
            images: self.images,
        };
        Some((point.relu_count, accuracy))
    }
}

/// What a task has come to that stopped before its end.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Interim {
    /// What its epochs measured.
    pub curve: LearningCurve,
    /// Seconds that trainers worked on it, over all its attempts.
    pub seconds: f64,
}

impl Interim {
    /// Whether no epoch has ended yet.
    pub const fn is_empty(&self) -> bool {
        self.curve.is_empty()
    }
}

/// What one seed of a task measured, with what it cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// ReLUs that the resulting net evaluates for one image, counted from its saved indicators.
    pub relu_count: u64,
    /// ReLUs of the full network.
    pub relu_total: u64,
    /// On the held-out validation images, at the selected epoch. An `evaluate` task repeats what
    /// its subject's checkpoint says, so that selection bias can be read off one observation.
    pub validation: Option<Accuracy>,
    /// On the test set. Only `evaluate` tasks have it.
    pub test: Option<Accuracy>,
    /// ReLUs left when the search ended, before projection to the exact budget. Only `replace`
    /// tasks have it.
    pub searched_count: Option<u64>,
    /// The epoch whose net was kept, counted from 1; 0 for weights that were not trained on.
    pub selected_epoch: Option<u32>,
    /// Epochs trained by this task, over all its attempts.
    pub epochs: u32,
    /// Seconds that trainers worked on it, over all its attempts: reading data, training and
    /// measuring, but not the start of their processes.
    pub seconds: f64,
    /// Different images that do not decode and were skipped; `data.max_corrupt` limits them.
    #[serde(default, skip_serializing_if = "crate::blank::is_default")]
    pub skipped_images: u64,
    /// What its epochs measured; empty for evaluations.
    #[serde(default, skip_serializing_if = "LearningCurve::is_empty")]
    pub curve: LearningCurve,
    /// What its search reports. Only `replace` tasks have it, and not those of older trainers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched: Option<Searched>,
}

impl Observation {
    /// Whether its search came down to `budget`; `None` where that is not known.
    pub fn convergence(&self, budget: u64) -> Option<Convergence> {
        self.searched.as_ref()?.convergence(&self.curve, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_an_older_trainer_wrote_is_read_and_written_as_it_was() {
        let text = r#"{"relu_count":300,"relu_total":6272,"validation":{"correct":50,"images":60},"test":null,"searched_count":310,"selected_epoch":3,"epochs":3,"seconds":1.5,"curve":{"images":60,"epochs":[[400,40],[310,50]]}}"#;
        let read: Observation = serde_json::from_str(text).unwrap();
        assert_eq!(read.convergence(300), None);
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
