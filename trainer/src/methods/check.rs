//! What a spec must fulfil before work on it starts: a plan made by this version does, so a
//! violation means that somebody else made it.

use autorep_core::recipe::{Distillation, Method, PolynomialStart, ReplaceRecipe, Schedule};
use autorep_core::task::{RESULT_VERSION, TaskSpec, Work};

use super::replace::scores;
use crate::dapa;
use crate::error::TrainError;

/// Checks that this trainer can carry out `spec`.
pub fn check_spec(spec: &TaskSpec) -> Result<(), TrainError> {
    require(spec.version == RESULT_VERSION, || {
        format!("expected version {RESULT_VERSION}, found {}", spec.version)
    })?;
    if let Some(problem) = spec.net.problem() {
        return Err(TrainError::Spec(problem));
    }
    let total = spec.net.relu_total(spec.data.name.input());
    let within = |budget: u64| {
        require(budget <= total, || {
            format!("expected a budget of at most {total} ReLUs, found {budget}")
        })
    };
    match &spec.work {
        // Weights as they are: nothing of the schedule has an effect.
        Work::Baseline { recipe } if recipe.schedule.epochs == 0 => {
            require(recipe.weights.is_some(), || {
                "expected at least one epoch or weights to start from, found neither".to_owned()
            })
        }
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
            check_distillation(&recipe.distillation)?;
            check_search(recipe)
        }
        Work::Finetune { budget, recipe, .. } => {
            within(*budget)?;
            check_distillation(&recipe.distillation)?;
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
        ("lr_min", schedule.lr_min),
        ("grad_clip", schedule.grad_clip),
    ];
    let shares = [
        ("label_smoothing", schedule.label_smoothing),
        ("ema", schedule.ema),
        ("lookahead_alpha", schedule.lookahead_alpha),
    ];
    for (what, value) in shares {
        require((0.0..=1.0).contains(&value), || {
            format!("expected a {what} between 0 and 1, found {value}")
        })?;
    }
    require(schedule.lr > 0.0, || {
        format!("expected an lr above 0, found {}", schedule.lr)
    })?;
    rates
        .into_iter()
        .try_for_each(|(what, value)| not_negative(what, value))
}

/// The temperature counts even where the teacher does not: a plan then says 1.
fn check_distillation(recipe: &Distillation) -> Result<(), TrainError> {
    let Distillation {
        temperature,
        kd_weight,
        ce_weight,
        ref teacher,
    } = *recipe;
    if let Some(problem) = teacher.as_ref().and_then(|teacher| teacher.net.problem()) {
        return Err(TrainError::Spec(format!("the teacher: {problem}")));
    }
    not_negative("kd_weight", kd_weight)?;
    not_negative("ce_weight", ce_weight)?;
    require(kd_weight > 0.0 || ce_weight > 0.0, || {
        "expected kd_weight or ce_weight above 0, found both at 0".to_owned()
    })?;
    require(temperature.is_finite() && temperature > 0.0, || {
        format!("expected a finite temperature above 0, found {temperature}")
    })
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
    let starts_measured = match recipe.polynomial_start {
        PolynomialStart::Gaussian | PolynomialStart::Bn | PolynomialStart::Moments => true,
        PolynomialStart::Identity | PolynomialStart::Running => false,
    };
    let measures = recipe.method == Method::Autorep && (starts_measured || scores(recipe));
    let identity = recipe.polynomial_start == PolynomialStart::Identity;
    require(!identity || recipe.degree > 0, || {
        "expected a degree of 1 or 2 with polynomial_start identity, found 0".to_owned()
    })?;
    let running = recipe.polynomial_start == PolynomialStart::Running;
    let (every, until) = (recipe.refresh_every, recipe.refresh_until);
    require(!running || (1..=until).contains(&every), || {
        format!("expected refresh_every between 1 and refresh_until {until}, found {every}")
    })?;
    let (low, high) = (recipe.latent_low, recipe.latent_high);
    require(low <= high, || {
        format!("expected latent_low of at most latent_high {high}, found {low}")
    })?;
    require(!measures || recipe.calibration_batches > 0, || {
        "expected at least one calibration batch, found 0".to_owned()
    })?;
    require(recipe.penalty_growth >= 1.0, || {
        format!(
            "expected a penalty_growth of at least 1, found {}",
            recipe.penalty_growth
        )
    })?;
    let numbers = [
        ("latent_lr", recipe.latent_lr),
        ("latent_value", recipe.latent_value),
        ("latent_low", low),
        ("latent_high", high),
        ("penalty", recipe.penalty),
        ("penalty_growth", recipe.penalty_growth),
        ("hysteresis", recipe.hysteresis),
        ("c0_damping", recipe.c0_damping),
        ("c2_damping", recipe.c2_damping),
        ("quadratic_scale", recipe.quadratic_scale),
        ("quadratic_clip", recipe.quadratic_clip),
        ("coefficient_lr_scale", recipe.coefficients.lr_scale),
        ("quadratic_lr_scale", recipe.coefficients.quadratic_lr_scale),
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

#[cfg(test)]
mod tests {
    use autorep_core::data::{DataSet, DataSpec, Preparation};
    use autorep_core::digest::Digest;
    use autorep_core::id::TaskId;
    use autorep_core::manifest::{self, Manifest, Rehearsal};
    use autorep_core::net::NetSpec;
    use autorep_core::plan::Plan;
    use autorep_core::recipe::{BudgetSchedule, FinetuneRecipe, LatentInit, OptimizerKind};
    use autorep_core::task::{NET_OUTPUT, OutputRef};

    use super::*;

    fn spec(work: Work) -> TaskSpec {
        TaskSpec {
            version: RESULT_VERSION,
            net: NetSpec::resnet9(2),
            data: DataSpec {
                name: DataSet::FashionMnist,
                train: 100,
                validation: 60,
                augment: true,
                max_corrupt: 0,
                preparation: Preparation::default(),
            },
            seed: 1,
            work,
        }
    }

    /// Manifests below a folder.
    fn manifests(folder: &std::path::Path) -> Vec<String> {
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                texts.extend(manifests(&path));
            } else if path.extension().is_some_and(|it| it == "yaml") {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
        texts
    }

    #[test]
    fn every_task_of_a_rehearsal_can_be_carried_out_and_no_kind_of_task_is_left_out() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = ["manifests", "core/testdata/good"].map(|it| manifests(&root.join(it)));
        let texts = folders.concat();
        assert!(texts.len() > 20, "{} manifests", texts.len());
        let some = |number| std::num::NonZeroU32::new(number).unwrap();
        for text in texts {
            let full = manifest::parse(&text).unwrap();
            let kinds = |manifest: &Manifest| {
                let plan = Plan::expand(manifest);
                let kinds = plan.tasks.iter().map(|task| task.spec.kind());
                (kinds.collect::<std::collections::BTreeSet<_>>(), plan)
            };
            let (wanted, _) = kinds(&full);
            for batch in [None, Some(some(2))] {
                let rehearsal = Rehearsal {
                    steps: some(2),
                    batch,
                    first_seed: 7,
                };
                let (found, plan) = kinds(&rehearsal.of(full.clone()));
                assert_eq!(found, wanted, "{}", full.name);
                for task in &plan.tasks {
                    check_spec(&task.spec).unwrap();
                }
            }
        }
    }

    /// A search and a fine-tuning that distil like this.
    fn distilling(temperature: f64, kd_weight: f64, ce_weight: f64) -> [TaskSpec; 2] {
        let distillation = Distillation {
            temperature,
            kd_weight,
            ce_weight,
            teacher: None,
        };
        let schedule = Schedule {
            epochs: 1,
            batch: 20,
            optimizer: OptimizerKind::Adam,
            lr: 1e-3,
            momentum: 0.9,
            weight_decay: 0.0,
            warmup_epochs: 0.0,
            ..Schedule::default()
        };
        let baseline = OutputRef {
            task: TaskId(Digest::of(b"baseline")),
            output: NET_OUTPUT.to_owned(),
        };
        let search = Work::Replace {
            baseline: baseline.clone(),
            start: None,
            budgets: vec![300],
            recipe: ReplaceRecipe {
                schedule: schedule.clone(),
                distillation: distillation.clone(),
                latent_lr: 0.1,
                latent_init: LatentInit::Uniform,
                penalty: 1e-2,
                hysteresis: 0.003,
                degree: 2,
                budget_schedule: BudgetSchedule::Anneal,
                anneal_power: 1.0,
                freeze_at: 0.5,
                calibration_batches: 3,
                ..ReplaceRecipe::default()
            },
        };
        let finetune = Work::Finetune {
            start: baseline.clone(),
            baseline,
            budget: 300,
            recipe: FinetuneRecipe {
                schedule,
                distillation,
                ..FinetuneRecipe::default()
            },
        };
        [spec(search), spec(finetune)]
    }

    #[test]
    fn distillation_that_teaches_something_is_accepted() {
        for (kd_weight, ce_weight) in [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)] {
            for spec in distilling(4.0, kd_weight, ce_weight) {
                let checked = check_spec(&spec);
                assert!(checked.is_ok(), "{kd_weight} {ce_weight}: {checked:?}");
            }
        }
    }

    #[test]
    fn distillation_that_cannot_be_computed_or_teaches_nothing_is_refused() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let cases = [
            (0.0, 1.0, 1.0, "temperature"),
            (-4.0, 1.0, 1.0, "temperature"),
            (nan, 1.0, 1.0, "temperature"),
            (inf, 1.0, 1.0, "temperature"),
            (4.0, -1.0, 1.0, "kd_weight"),
            (4.0, nan, 1.0, "kd_weight"),
            (4.0, 1.0, -1.0, "ce_weight"),
            (4.0, 1.0, inf, "ce_weight"),
            (4.0, 0.0, 0.0, "both at 0"),
        ];
        for (temperature, kd_weight, ce_weight, about) in cases {
            for spec in distilling(temperature, kd_weight, ce_weight) {
                let checked = check_spec(&spec);
                let refused = matches!(&checked, Err(TrainError::Spec(it)) if it.contains(about));
                assert!(
                    refused,
                    "{temperature} {kd_weight} {ce_weight}: {checked:?}"
                );
            }
        }
    }
}
