//! `evaluate`: measures a net on the test set. The only code that reads the test images.

use autorep_core::observation::{LearningCurve, Observation};
use autorep_core::task::OutputRef;

use super::{Setup, inputs};
use crate::count::count_indicators;
use crate::data::{Skips, load_test};
use crate::error::TrainError;

/// Measures the subject, after checking in its saved bytes that it has the ReLUs that its
/// document says, and at most `budget`.
pub fn evaluate(
    setup: &Setup,
    subject: &OutputRef,
    budget: u64,
) -> Result<Observation, TrainError> {
    let input = inputs::read(setup, 0, subject)?;
    let set = setup.spec.data.name;
    let sites = setup.spec.net.sites(set.input());
    let counted = count_indicators(input.tensors.bytes(), &sites)
        .map_err(|error| input.mismatch(error.to_string()))?;
    if !input.fits(budget, counted) {
        return Err(TrainError::WrongCount { budget, counted });
    }
    let masked = input.masked_net(setup)?;
    let test = load_test(&setup.spec.data, &setup.data, setup.check)?;
    let (accuracy, skipped) = masked.accuracy(&test, setup.spec.data.inputs(), setup.threads)?;
    let mut skips = Skips::new(setup.spec.data.max_corrupt);
    skips.note(&skipped)?;
    Ok(Observation {
        relu_count: counted,
        relu_total: setup.spec.net.relu_total(set.input()),
        validation: input
            .document
            .validation
            .map(|validated| validated.accuracy),
        test: Some(accuracy),
        searched_count: None,
        selected_epoch: None,
        epochs: 0,
        seconds: setup.begun.elapsed().as_secs_f64(),
        skipped_images: skips.count(),
        curve: LearningCurve::default(),
        searched: None,
    })
}
