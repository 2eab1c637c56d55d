//! `baseline`: trains the full-ReLU net, from random weights or from given ones, and keeps the best
//! epoch. Without epochs it keeps the given weights.

use autorep_core::recipe::{BaselineRecipe, CoefficientRates};
use autorep_core::weights::Weights;

use super::{Setup, Start};
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::nets::Net;
use crate::training::{Parts, Training};

pub(super) fn training(
    setup: &Setup,
    recipe: &BaselineRecipe,
    start: Start,
) -> Result<Training, TrainError> {
    // Before the images, of which there may be many to list.
    let net = start_net(setup, recipe.weights.as_ref(), start)?;
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let masked = MaskedNet::full(net, setup.device);
    Training::new(Parts {
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
    })
}

/// The net before its first step.
fn start_net(setup: &Setup, weights: Option<&Weights>, start: Start) -> Result<Net, TrainError> {
    match weights {
        None => {
            let (set, seed) = (setup.spec.data.name, setup.spec.seed);
            let (input, classes) = (set.input(), set.classes());
            let net = Net::new(&setup.spec.net, input, classes, seed, setup.device);
            Ok(setup.spread(net))
        }
        // The checkpoint overwrites what the file holds.
        Some(_) if start == Start::Resumed => Ok(setup.blank_net()),
        Some(weights) => Ok(setup.net_from_file(&setup.spec.net, weights)?),
    }
}
