//! What a spec must fulfil before work on it starts: a plan made by this version does, so a
//! violation means that somebody else made it.

use autorep_core::recipe::{ReplaceRecipe, Schedule};
use autorep_core::task::{RESULT_VERSION, TaskSpec, Work};

use crate::dapa;
use crate::error::TrainError;

/// Checks that this trainer can carry out `spec`.
pub fn check_spec(spec: &TaskSpec) -> Result<(), TrainError> {
    let total = spec.net.relu_total(spec.data.name.input());
    require(spec.version == RESULT_VERSION, || {
        format!("expected version {RESULT_VERSION}, found {}", spec.version)
    })?;
    require((1..=4096).contains(&spec.net.width), || {
        format!(
            "expected a net of width 1 to 4096, found {}",
            spec.net.width
        )
    })?;
    let within = |budget: u64| {
        require(budget <= total, || {
            format!("expected a budget of at most {total} ReLUs, found {budget}")
        })
    };
    match &spec.work {
        Work::Baseline { recipe } => check_schedule(&recipe.schedule, spec.data.train),
        Work::Replace {
            budgets, recipe, ..
        } => {
            check_schedule(&recipe.schedule, spec.data.train)?;
            require(!budgets.is_empty(), || {
                "expected a budget, found none".to_owned()
            })?;
            require(budgets.is_sorted_by(|a, b| a > b), || {
                format!("expected strictly falling budgets, found {budgets:?}")
            })?;
            budgets.iter().try_for_each(|budget| within(*budget))?;
            check_search(recipe)
        }
        Work::Finetune { budget, recipe, .. } => {
            within(*budget)?;
            check_schedule(&recipe.schedule, spec.data.train)
        }
        Work::Evaluate { budget, .. } => within(*budget),
    }
}

fn check_schedule(schedule: &Schedule, train: u32) -> Result<(), TrainError> {
    require(schedule.epochs > 0, || {
        "expected at least one epoch, found 0".to_owned()
    })?;
    require((1..=train).contains(&schedule.batch), || {
        let batch = schedule.batch;
        format!("expected a batch of 1 to {train} images (all of them), found {batch}")
    })?;
    let rates = [
        ("lr", schedule.lr),
        ("momentum", schedule.momentum),
        ("weight_decay", schedule.weight_decay),
        ("warmup_epochs", schedule.warmup_epochs),
    ];
    rates
        .into_iter()
        .try_for_each(|(what, value)| not_negative(what, value))
}

fn check_search(recipe: &ReplaceRecipe) -> Result<(), TrainError> {
    require(recipe.degree <= dapa::MAX_DEGREE, || {
        format!("expected a degree of 0, 1 or 2, found {}", recipe.degree)
    })?;
    require((0.0..=1.0).contains(&recipe.freeze_at), || {
        format!(
            "expected freeze_at between 0 and 1, found {}",
            recipe.freeze_at
        )
    })?;
    require(recipe.calibration_batches > 0, || {
        "expected at least one calibration batch, found 0".to_owned()
    })?;
    let numbers = [
        ("latent_lr", recipe.latent_lr),
        ("penalty", recipe.penalty),
        ("hysteresis", recipe.hysteresis),
    ];
    numbers
        .into_iter()
        .try_for_each(|(what, value)| not_negative(what, value))
}

fn not_negative(what: &str, value: f64) -> Result<(), TrainError> {
    require(value.is_finite() && value >= 0.0, || {
        format!("expected a finite {what} of at least 0, found {value}")
    })
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), TrainError> {
    if holds {
        Ok(())
    } else {
        Err(TrainError::Spec(otherwise()))
    }
}
