//! `finetune`: trains a snapshot of a search on with its indicators frozen and keeps the best
//! epoch.

use autorep_core::recipe::FinetuneRecipe;
use autorep_core::task::OutputRef;

use super::{Setup, inputs};
use crate::error::TrainError;
use crate::optim::Optimizer;
use crate::training::{Standing, Training};

pub(super) fn training(
    setup: &Setup,
    from: &OutputRef,
    baseline: &OutputRef,
    budget: u64,
    recipe: &FinetuneRecipe,
) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let masked = inputs::read(setup, 0, from)?.masked_net(setup)?;
    let counted = masked.sites.count();
    if counted != budget {
        return Err(TrainError::WrongCount { budget, counted });
    }
    let lesson = setup.lesson(&recipe.distillation, 1, baseline)?;
    let schedule = recipe.schedule.clone();
    let trainables = masked.trainables(schedule.weight_decay);
    Ok(Training {
        spec: setup.spec.clone(),
        optimizer: Optimizer::new(schedule.optimizer, schedule.momentum, trainables),
        masked,
        stream,
        validation,
        skips: setup.skips(),
        schedule,
        lesson: Some(lesson),
        search: None,
        progress: Standing::begun(setup.begun),
    })
}
