//! What choosing by validation images adds to their accuracy.
//!
//! Epochs, and often whole settings, are chosen by validation accuracy, which flatters it; test
//! images take no part in any choice. So validation less test accuracy, over many nets, is the bias
//! of the selection, beside what the two sets of images differ by chance.

use super::{FrontReport, FrontRow, rounded};
use crate::candidate::PointKind;
use crate::observation::Accuracy;

/// Mean and standard error of a difference, in percentage points.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Difference {
    pub(super) mean: f64,
    /// None for one seed.
    pub(super) error: Option<f64>,
}

/// Validation less test accuracy over seeds, in their order; none where a validation accuracy is
/// not known.
pub(super) fn over(seeds: &[(Option<Accuracy>, Accuracy)]) -> Option<Difference> {
    let differences: Option<Vec<f64>> = (seeds.iter())
        .map(|(validation, test)| Some(validation.as_ref()?.percent() - test.percent()))
        .collect();
    let differences = differences?;
    let n = differences.len() as f64;
    let mean = mean(&differences)?;
    let squares: f64 = differences.iter().map(|it| (it - mean).powi(2)).sum();
    Some(Difference {
        // Without the digits that subtraction makes up.
        mean: rounded(mean, 1e9),
        error: (differences.len() > 1).then(|| rounded((squares / (n - 1.0) / n).sqrt(), 1e9)),
    })
}

/// The selection bias of a whole report.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SelectionBias {
    /// Mean over the points on the front, in percentage points.
    pub on_front: Option<f64>,
    /// Mean over all replaced points.
    pub all: f64,
}

impl FrontReport {
    /// Means over the replaced points whose selection bias is known; none where there is none.
    pub fn selection_bias(&self) -> Option<SelectionBias> {
        let replaced = |row: &&FrontRow| row.kind == PointKind::Replaced;
        let of = |wanted: fn(&FrontRow) -> bool| {
            let rows = self.rows.iter().filter(replaced);
            let biases = rows
                .filter(|row| wanted(row))
                .filter_map(|row| row.selection_bias);
            mean(&biases.collect::<Vec<f64>>())
        };
        Some(SelectionBias {
            on_front: of(|row| row.on_front),
            all: of(|_| true)?,
        })
    }
}

fn mean(numbers: &[f64]) -> Option<f64> {
    let sum: f64 = numbers.iter().sum();
    (!numbers.is_empty()).then(|| sum / numbers.len() as f64)
}
