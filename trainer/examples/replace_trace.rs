//! Writes down twenty steps of a search: where it starts, the batches it sees, what each step
//! computes, where it ends. `scripts/parity/training.py` does the same steps in plain `PyTorch`.
//!
//! Usage: `replace_trace FOLDER`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use autorep_core::data::Check;
use autorep_core::recipe::{BudgetSchedule, OptimizerKind, ReplaceRecipe};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::trainer_event::Event;
use autorep_trainer::checkpoint;
use autorep_trainer::data::Batches;
use autorep_trainer::host::{Command, Host, HostGone, Outcome};
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::nets::Layout;
use autorep_trainer::tensors::{Named, snapshot};
use autorep_trainer::train_loop::{self, Checkpoints};
use serde_json::json;
use tch::{Device, Kind};

#[expect(clippy::unwrap_used, reason = "made for tests")]
#[path = "../tests/common/mod.rs"]
mod common;

/// Steps that are written down.
const STEPS: usize = 20;

/// Takes note of the baseline's output.
#[derive(Default)]
struct Noting {
    output: Option<PathBuf>,
}

impl Host for Noting {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        Ok(None)
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        if let Event::CheckpointReady(ready) = event {
            self.output = Some(ready.folder.into());
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("expected a folder")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    tch::set_num_threads(1);
    Layout::use_planes();
    common::write_data(&folder);
    let baseline = baseline(&folder)?;
    let spec = search();
    let Work::Replace {
        recipe, budgets, ..
    } = &spec.work
    else {
        anyhow::bail!("expected a search");
    };
    let setup = setup(&spec, vec![baseline], &folder);
    let mut training = setup.training(Start::Anew)?.context("expected a stage")?;
    write(&folder, "start", &training.masked.named())?;
    let mut batches = Batches::start(training.stream.clone(), 0, Device::Cpu)?;
    let (mut seen, mut steps) = (Named::new(), Vec::new());
    for step in 0..STEPS {
        let batch = batches.take()?;
        seen.push((format!("images.{step:02}"), batch.images.contiguous()));
        let labels = batch.labels.to_kind(Kind::Float);
        seen.push((format!("labels.{step:02}"), labels));
        let loss = training.advance(&batch)?.double_value(&[]);
        steps.push(json!({ "loss": loss, "relus": training.masked.sites.count() }));
    }
    ensure!(!training.finished(), "expected a search that goes on");
    write(&folder, "batches", &seen)?;
    write(&folder, "end", &snapshot(&training.resume_tensors()))?;
    let trace = json!({
        "net": spec.net,
        "total": training.masked.sites.total(),
        "budget": budgets.last(),
        "steps_per_epoch": training.steps_per_epoch(),
        "recipe": recipe,
        "steps": steps,
        "epochs": training.progress.metrics,
    });
    fs::write(
        folder.join("trace.json"),
        serde_json::to_vec_pretty(&trace)?,
    )?;
    Ok(())
}

/// The tests' search with one budget, and epochs enough for indicators not to freeze.
///
/// Adam's first steps are the gradient's sign: where a gradient is noise, two right programs go two
/// ways. So the weights are trained by SGD here, and the penalty is on from the first step and far
/// above the other gradients, which leaves no latent's gradient near zero.
fn search() -> TaskSpec {
    let mut spec = common::replace();
    if let Work::Replace {
        recipe, budgets, ..
    } = &mut spec.work
    {
        *budgets = vec![common::BUDGETS[1]];
        *recipe = ReplaceRecipe {
            freeze_at: 1.0,
            budget_schedule: BudgetSchedule::Constant,
            latent_lr: 0.04,
            penalty: 0.5,
            ..recipe.clone()
        };
        recipe.schedule.epochs = 6;
        recipe.schedule.optimizer = OptimizerKind::Sgd;
        recipe.schedule.lr = 0.02;
    }
    spec
}

fn baseline(folder: &Path) -> anyhow::Result<PathBuf> {
    let setup = setup(&common::baseline(), Vec::new(), folder);
    let mut training = setup.training(Start::Anew)?.context("expected a stage")?;
    let checkpoints = Checkpoints {
        scratch: folder.join("baseline"),
        every: None,
    };
    fs::create_dir_all(&checkpoints.scratch)?;
    let mut host = Noting::default();
    let ended = train_loop::run(&mut training, &checkpoints, &mut host)?;
    ensure!(matches!(ended, Outcome::Done(_)), "expected an end");
    host.output.context("expected an output")
}

fn setup(spec: &TaskSpec, input_folders: Vec<PathBuf>, folder: &Path) -> Setup {
    Setup {
        spec: spec.clone(),
        input_folders,
        data: folder.into(),
        weights_folder: PathBuf::new(),
        check: Check::Format,
        device: Device::Cpu,
        threads: 1,
        begun: std::time::Instant::now(),
    }
}

fn write(folder: &Path, name: &str, tensors: &Named) -> anyhow::Result<()> {
    checkpoint::write(folder, name, tensors, &json!({}), &[])?;
    Ok(())
}
