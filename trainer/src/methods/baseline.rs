//! `baseline`: trains the full-ReLU net from random weights and keeps the best epoch.

use autorep_core::recipe::{BaselineRecipe, CoefficientRates};

use super::Setup;
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::nets::Net;
use crate::training::{Parts, Training};

pub(super) fn training(setup: &Setup, recipe: &BaselineRecipe) -> Result<Training, TrainError> {
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let (set, seed, device) = (setup.spec.data.name, setup.spec.seed, setup.device);
    let net = Net::new(&setup.spec.net, set.input(), set.classes(), seed, device);
    let masked = MaskedNet::full(net, device);
    Ok(Training::new(Parts {
        spec: setup.spec.clone(),
        masked,
        stream,
        validation,
        skips: setup.skips(),
        schedule: recipe.schedule.clone(),
        coefficients: CoefficientRates::FIXED,
        lesson: None,
        search: None,
        begun: setup.begun,
    }))
}
