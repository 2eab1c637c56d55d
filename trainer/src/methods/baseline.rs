//! `baseline`: trains the full-ReLU net, from random weights or from given ones, and keeps the best
//! epoch. Without epochs it keeps the given weights.

use autorep_core::recipe::{BaselineRecipe, CoefficientRates};
use autorep_core::weights::Weights;

use super::{Setup, Start};
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::nets::Net;
use crate::training::{Parts, Training};
use crate::weights::{StateDict, WeightsError};

pub(super) fn training(
    setup: &Setup,
    recipe: &BaselineRecipe,
    start: Start,
) -> Result<Training, TrainError> {
    // Before the images, of which there may be many to list.
    let net = start_net(setup, recipe.weights.as_ref(), start)?;
    let (stream, validation) = setup.images(&recipe.schedule)?;
    let masked = MaskedNet::full(net, setup.device);
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

/// The net before its first step.
fn start_net(setup: &Setup, weights: Option<&Weights>, start: Start) -> Result<Net, TrainError> {
    match weights {
        None => {
            let (set, seed) = (setup.spec.data.name, setup.spec.seed);
            let (input, classes) = (set.input(), set.classes());
            Ok(Net::new(
                &setup.spec.net,
                input,
                classes,
                seed,
                setup.device,
            ))
        }
        // The checkpoint overwrites what the file holds.
        Some(_) if start == Start::Resumed => Ok(setup.blank_net()),
        Some(weights) => {
            let net = setup.blank_net();
            assign(setup, weights, &net)?;
            Ok(net)
        }
    }
}

/// Overwrites the net's tensors with the file's, which must be the one that the task names.
fn assign(setup: &Setup, weights: &Weights, net: &Net) -> Result<(), WeightsError> {
    if setup.weights_folder.as_os_str().is_empty() {
        return Err(WeightsError::NoFolder {
            file: weights.file.as_str().to_owned(),
        });
    }
    let state = StateDict::read(&setup.weights_folder.join(weights.file.as_str()))?;
    state.check_digest(weights.sha256)?;
    state.assign(net).map_err(|mut error| {
        if let WeightsError::Mismatch { problems, .. } = &mut error {
            let (spec, set) = (&setup.spec.net, setup.spec.data.name);
            let (classes, name) = (set.classes(), set.name());
            problems.push(format!(
                "the net is {spec} with {classes} classes, as {name} has"
            ));
        }
        error
    })
}
