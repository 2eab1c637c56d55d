//! Stages without files, for measuring what a step costs: weights at their start, nothing read.

use std::sync::Arc;

use autorep_core::data::Images;
use autorep_core::recipe::{CoefficientRates, ReplaceRecipe};
use autorep_core::task::Work;

use super::{Setup, replace};
use crate::data::{Share, Source, Stream, Subset};
use crate::error::TrainError;
use crate::masked::MaskedNet;
use crate::nets::Net;
use crate::training::{Lesson, Parts, Training};

/// Steps of an epoch: more than anyone measures, for its end would validate.
pub const STEPS: u32 = 10_000;

/// What a step trains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The net with ReLU everywhere.
    Plain,
    /// A search: masked activations with their polynomials and latents.
    Replace,
}

/// A stage of this form for the replace task of `setup`, distilled by a teacher; `None` for another
/// kind of task. [`Training::advance`] takes any batch of the task's shape.
pub fn stage(setup: &Setup, form: Form) -> Result<Option<Training>, TrainError> {
    let Work::Replace {
        recipe, budgets, ..
    } = &setup.spec.work
    else {
        return Ok(None);
    };
    let set = setup.spec.data.name;
    let net = |seed| {
        Net::new(
            &setup.spec.net,
            set.input(),
            set.classes(),
            seed,
            setup.device,
        )
    };
    let mut masked = MaskedNet::full(net(0), setup.device);
    let search = match form {
        Form::Plain => None,
        Form::Replace => Some(replace::in_memory(
            setup,
            &mut masked,
            recipe,
            budgets,
            STEPS.into(),
        )),
    };
    let training = Training::new(Parts {
        spec: setup.spec.clone(),
        masked,
        stream: stream(setup, recipe),
        validation: images(0),
        skips: setup.skips(),
        schedule: recipe.schedule.clone(),
        coefficients: match form {
            Form::Plain => CoefficientRates::default(),
            Form::Replace => recipe.coefficients,
        },
        lesson: Some(Lesson::new(&recipe.distillation, Some(&net(1)))),
        search,
        begun: setup.begun,
    })?;
    Ok(Some(training))
}

fn stream(setup: &Setup, recipe: &ReplaceRecipe) -> Stream {
    Stream {
        inputs: setup.spec.data.inputs(),
        images: images(STEPS.saturating_mul(recipe.schedule.batch)),
        seed: setup.spec.seed,
        batch: recipe.schedule.batch as usize,
        share: Share::WHOLE,
        // The teacher is asked in every step.
        augment: true,
        max_corrupt: 0,
        threads: 1,
    }
}

/// So many images that nobody looks at.
fn images(count: u32) -> Subset {
    let none = Images {
        shape: autorep_core::net::InputShape {
            channels: 0,
            height: 0,
            width: 0,
        },
        labels: Vec::new(),
        pixels: Vec::new(),
    };
    let all: Vec<u32> = (0..count).collect();
    Subset::of(Arc::new(Source::Memory(none)), &all)
}
