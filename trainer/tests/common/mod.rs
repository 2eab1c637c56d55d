//! A tiny made-up data set and tasks on it.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses its own part"
)]

use std::fs;
use std::path::Path;

use autorep_core::data::{DataSet, DataSpec, Preparation};
use autorep_core::net::NetSpec;
use autorep_core::recipe::{
    BaselineRecipe, BudgetSchedule, Distillation, FinetuneRecipe, LatentInit, OptimizerKind,
    ReplaceRecipe, Schedule,
};
use autorep_core::task::{NET_OUTPUT, OutputRef, RESULT_VERSION, TaskSpec, Work, budget_output};

/// Budgets of the tiny search.
pub(crate) const BUDGETS: [u64; 2] = [2000, 300];

/// Steps of each tiny training task: 3 epochs of 5 batches.
pub(crate) const STEPS: u64 = 15;

/// Writes 160 training and 60 test images: a bright band whose row tells the class.
pub(crate) fn write_data(folder: &Path) {
    for (part, count) in [("train", 160_u32), ("t10k", 60)] {
        let mut images = header(0x803, &[count, 28, 28]);
        let mut labels = header(0x801, &[count]);
        for image in 0..count {
            let class = image * 7 % 10;
            labels.push(u8::try_from(class).unwrap());
            for row in 0..28 {
                for column in 0..28 {
                    let noise = (image * 31 + row * 17 + column * 13) % 60;
                    let band = if row / 2 == class + 2 { 180 } else { 0 };
                    images.push(u8::try_from(noise + band).unwrap());
                }
            }
        }
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

fn header(magic: u32, sizes: &[u32]) -> Vec<u8> {
    let words = std::iter::once(&magic).chain(sizes);
    words.flat_map(|word| word.to_be_bytes()).collect()
}

fn spec(seed: u64, work: Work) -> TaskSpec {
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
        seed,
        work,
    }
}

fn schedule(optimizer: OptimizerKind, lr: f64) -> Schedule {
    Schedule {
        epochs: 3,
        batch: 20,
        optimizer,
        lr,
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 0.5,
        ..Schedule::default()
    }
}

fn distillation() -> Distillation {
    Distillation {
        temperature: 4.0,
        kd_weight: 1.0,
        ce_weight: 1.0,
        teacher: None,
    }
}

/// Trains the full net.
pub(crate) fn baseline() -> TaskSpec {
    let recipe = BaselineRecipe {
        schedule: schedule(OptimizerKind::Sgd, 0.05),
        weights: None,
    };
    spec(1, Work::Baseline { recipe })
}

fn baseline_output() -> OutputRef {
    OutputRef {
        task: baseline().id(),
        output: NET_OUTPUT.to_owned(),
    }
}

/// Searches with two budgets and freezes after two of three epochs. The rates are high enough
/// for the search to pass its budgets in ten steps.
pub(crate) fn replace() -> TaskSpec {
    let recipe = ReplaceRecipe {
        schedule: schedule(OptimizerKind::Adam, 1e-3),
        distillation: distillation(),
        latent_lr: 0.1,
        latent_init: LatentInit::Uniform,
        penalty: 1e-2,
        hysteresis: 0.003,
        degree: 2,
        budget_schedule: BudgetSchedule::Anneal,
        freeze_at: 2.0 / 3.0,
        calibration_batches: 3,
        ..ReplaceRecipe::default()
    };
    let work = Work::Replace {
        baseline: baseline_output(),
        start: None,
        budgets: BUDGETS.to_vec(),
        recipe,
    };
    spec(1, work)
}

/// Trains the search's output at `budget` on.
pub(crate) fn finetune(budget: u64) -> TaskSpec {
    let work = Work::Finetune {
        start: OutputRef {
            task: replace().id(),
            output: budget_output(budget),
        },
        baseline: baseline_output(),
        budget,
        recipe: FinetuneRecipe {
            schedule: schedule(OptimizerKind::Adam, 1e-3),
            distillation: distillation(),
            ..FinetuneRecipe::default()
        },
    };
    spec(1, work)
}

/// Measures the output of `subject`.
pub(crate) fn evaluate(subject: &TaskSpec, output: &str, budget: u64) -> TaskSpec {
    let work = Work::Evaluate {
        subject: OutputRef {
            task: subject.id(),
            output: output.to_owned(),
        },
        budget,
    };
    spec(1, work)
}
