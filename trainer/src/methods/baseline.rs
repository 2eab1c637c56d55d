//! `baseline`: trains the full-ReLU net from random weights and keeps the best epoch.

use autorep_core::recipe::BaselineRecipe;

use super::Setup;
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::nets::Net;
use crate::optim::Optimizer;
use crate::training::{Standing, Training};

pub(super) fn training(setup: &Setup, recipe: &BaselineRecipe) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let (set, seed, device) = (setup.spec.data.name, setup.spec.seed, setup.device);
    let net = Net::new(&setup.spec.net, set.input(), set.classes(), seed, device);
    let masked = MaskedNet::full(net, device);
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
        lesson: None,
        search: None,
        progress: Standing::begun(setup.begun),
    })
}
