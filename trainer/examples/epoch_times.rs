//! Measures seconds per epoch of 10,000 images for each kind of training, at several numbers of
//! threads: `OMP_WAIT_POLICY=passive cargo run --release -p autorep-trainer --example epoch_times --
//! DATA_FOLDER [DEVICE]`. Without that setting, threads that wait keep their core from others.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use autorep_core::data::{Check, DataSet, DataSpec, Preparation};
use autorep_core::net::NetSpec;
use autorep_core::observation::Accuracy;
use autorep_core::recipe::{
    BaselineRecipe, BudgetSchedule, Distillation, FinetuneRecipe, LatentInit, OptimizerKind,
    ReplaceRecipe, Schedule,
};
use autorep_core::task::{NET_OUTPUT, OutputRef, RESULT_VERSION, TaskSpec, Work, budget_output};
use autorep_trainer::checkpoint;
use autorep_trainer::data::Batches;
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::training::Training;

/// ReLUs kept by the search: 3 % of 24,000.
const BUDGET: u64 = 720;

fn spec(work: Work) -> TaskSpec {
    TaskSpec {
        version: RESULT_VERSION,
        net: NetSpec::resnet9(8),
        data: DataSpec {
            name: DataSet::FashionMnist,
            train: 10_000,
            validation: 5_000,
            augment: true,
            max_corrupt: 0,
            preparation: Preparation::default(),
        },
        seed: 0,
        work,
    }
}

fn schedule(optimizer: OptimizerKind, lr: f64) -> Schedule {
    Schedule {
        epochs: 1,
        batch: 128,
        optimizer,
        lr,
        momentum: 0.9,
        weight_decay: 5e-4,
        warmup_epochs: 0.1,
        ..Schedule::default()
    }
}

fn output(spec: &TaskSpec, output: String) -> OutputRef {
    OutputRef {
        task: spec.id(),
        output,
    }
}

/// The three kinds of training, each with the positions of its inputs among the kinds.
fn tasks() -> [(TaskSpec, &'static [usize]); 3] {
    let distillation = Distillation {
        temperature: 4.0,
        kd_weight: 1.0,
        ce_weight: 1.0,
        teacher: None,
    };
    let baseline = spec(Work::Baseline {
        recipe: BaselineRecipe {
            schedule: schedule(OptimizerKind::Sgd, 0.1),
            weights: None,
        },
    });
    let replace = spec(Work::Replace {
        baseline: output(&baseline, NET_OUTPUT.to_owned()),
        start: None,
        budgets: vec![BUDGET],
        recipe: ReplaceRecipe {
            schedule: schedule(OptimizerKind::Adam, 1e-3),
            distillation: distillation.clone(),
            latent_lr: 5e-3,
            latent_init: LatentInit::Constant,
            penalty: 3e-4,
            hysteresis: 0.003,
            degree: 2,
            budget_schedule: BudgetSchedule::Anneal,
            anneal_power: 1.0,
            freeze_at: 1.0,
            calibration_batches: 20,
            ..ReplaceRecipe::default()
        },
    });
    let finetune = spec(Work::Finetune {
        start: output(&replace, budget_output(BUDGET)),
        baseline: output(&baseline, NET_OUTPUT.to_owned()),
        budget: BUDGET,
        recipe: FinetuneRecipe {
            schedule: schedule(OptimizerKind::Adam, 1e-3),
            distillation,
            ..FinetuneRecipe::default()
        },
    });
    [
        (baseline, &[][..]),
        (replace, &[0][..]),
        (finetune, &[1, 0][..]),
    ]
}

/// Trains one epoch; returns its seconds without and with validation.
fn epoch(training: &mut Training) -> anyhow::Result<(f64, f64)> {
    let mut batches = Batches::start(training.stream.clone(), 0, training.masked.device)?;
    let last = training.steps() - 1;
    let started = Instant::now();
    let mut before_last = 0.0;
    while !training.finished() {
        let _loss = training.advance(&batches.take()?)?;
        if training.progress.step == last {
            before_last = started.elapsed().as_secs_f64();
        }
    }
    let steps = training.steps() as f64;
    let whole = started.elapsed().as_secs_f64();
    Ok((before_last * steps / (steps - 1.0), whole))
}

#[expect(clippy::print_stdout, reason = "prints its measurements")]
fn main() -> anyhow::Result<()> {
    autorep_trainer::allocator::keep_freed_memory();
    let data = std::env::args_os()
        .nth(1)
        .context("expected the data folder")?;
    let device = autorep_trainer::device::open(
        &std::env::args().nth(2).unwrap_or_else(|| "cpu".to_owned()),
    )?;
    for threads in [1, 2] {
        tch::set_num_threads(threads);
        let scratch = std::env::temp_dir().join(format!("epoch-times-{}", std::process::id()));
        let mut made: Vec<PathBuf> = Vec::new();
        for (spec, inputs) in tasks() {
            let setup = Setup {
                input_folders: inputs.iter().map(|at| made[*at].clone()).collect(),
                data: Path::new(&data).into(),
                weights: None,
                check: Check::Published,
                device,
                threads: 1,
                spec,
                ranks: autorep_trainer::ranks::Ranks::alone(),
                begun: std::time::Instant::now(),
            };
            let started = Instant::now();
            let mut training = setup.training(Start::Anew)?.context("a task that trains")?;
            let setting_up = started.elapsed().as_secs_f64();
            let (train, whole) = epoch(&mut training)?;
            let accuracy = training.last_accuracy().map_or(0.0, Accuracy::percent);
            println!(
                "{threads} threads, {}: {train:.2} s per epoch, {:.2} s validation of 5,000, \
                 {setting_up:.2} s set-up, accuracy {accuracy:.2} %",
                setup.spec.kind(),
                whole - train,
            );
            for output in training.outputs() {
                let name = format!("{}-{}", setup.spec.kind(), made.len());
                let (tensors, document) = (&output.tensors, &output.document);
                made.push(checkpoint::write(&scratch, &name, tensors, document, &[])?);
            }
        }
        std::fs::remove_dir_all(&scratch)?;
    }
    Ok(())
}
