//! `finetune`: trains a snapshot of a search on with its indicators frozen and keeps the best
//! epoch.

use autorep_core::recipe::FinetuneRecipe;
use autorep_core::task::OutputRef;

use super::{Setup, inputs};
use crate::error::TrainError;
use crate::training::{Parts, Training};

pub(super) fn training(
    setup: &Setup,
    from: &OutputRef,
    baseline: &OutputRef,
    budget: u64,
    recipe: &FinetuneRecipe,
) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let input = inputs::read(setup, 0, from)?;
    let masked = input.masked_net(setup)?;
    let counted = masked.sites.count();
    if !input.fits(budget, counted) {
        return Err(TrainError::WrongCount { budget, counted });
    }
    let lesson = setup.lesson(&recipe.distillation, 1, baseline)?;
    Training::new(Parts {
        spec: setup.spec.clone(),
        masked,
        stream,
        validation,
        skips: setup.skips(),
        schedule: recipe.schedule.clone(),
        coefficients: recipe.coefficients,
        lesson: Some(lesson),
        search: None,
        begun: setup.begun,
    })
}
