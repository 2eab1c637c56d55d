//! Writes down twenty steps of four searches: where each starts, the batches it sees, what each
//! step computes, where it ends. `scripts/parity/training.py` does the same steps in plain
//! `PyTorch`.
//!
//! Usage: `replace_trace FOLDER`, where each gets a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use autorep_core::data::Check;
use autorep_core::recipe::{
    BudgetSchedule, Method, OptimizerKind, PenaltySchedule, PolynomialStart, ReplaceRecipe,
};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::trainer_event::Event;
use autorep_trainer::checkpoint;
use autorep_trainer::data::{Batch, Batches};
use autorep_trainer::host::{Command, Host, HostGone, Outcome};
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::nets::Layout;
use autorep_trainer::tensors::{Named, snapshot};
use autorep_trainer::train_loop::{self, Checkpoints};
use autorep_trainer::training::Training;
use serde_json::json;
use tch::{Device, Kind, Tensor};

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
    for (name, recipe) in searches() {
        let to = folder.join(name);
        fs::create_dir_all(&to)?;
        write_down(&recipe, &baseline, &folder, &to)?;
    }
    Ok(())
}

/// Runs a search on the data in a folder and writes it down in another.
fn write_down(
    recipe: &ReplaceRecipe,
    baseline: &Path,
    data: &Path,
    folder: &Path,
) -> anyhow::Result<()> {
    let mut spec = common::replace();
    let budget = common::BUDGETS[1];
    if let Work::Replace {
        recipe: own,
        budgets,
        ..
    } = &mut spec.work
    {
        *budgets = vec![budget];
        *own = recipe.clone();
    }
    let setup = setup(&spec, vec![baseline.to_owned()], data);
    let mut training = setup.training(Start::Anew)?.context("expected a stage")?;
    write(folder, "start", &training.masked.named())?;
    let mut batches = Batches::start(training.stream.clone(), 0, Device::Cpu)?;
    let (mut seen, mut steps) = (Named::new(), Vec::new());
    let mut pull = None;
    for step in 0..STEPS {
        let batch = batches.take()?;
        seen.push((format!("images.{step:02}"), batch.images.contiguous()));
        let labels = batch.labels.to_kind(Kind::Float);
        seen.push((format!("labels.{step:02}"), labels));
        if pull.is_none() {
            let untouched = setup.training(Start::Anew)?.context("expected a stage")?;
            pull = Some(task_gradient(&untouched, &batch)?);
        }
        let loss = training.advance(&batch)?.double_value(&[]);
        let search = training.search.as_ref().context("expected a search")?;
        steps.push(json!({
            "loss": loss,
            "relus": training.masked.sites.count(),
            "penalty": search.strength(training.progress.step),
        }));
    }
    let search = training.search.as_ref().context("expected a search")?;
    ensure!(
        search.searched_count().is_none(),
        "expected a search that goes on"
    );
    let pull = pull.context("expected a step")?;
    write(folder, "pull", &vec![("latents".to_owned(), pull)])?;
    write(folder, "batches", &seen)?;
    write(folder, "end", &snapshot(&training.resume_tensors()))?;
    let trace = json!({
        "net": spec.net,
        "total": training.masked.sites.total(),
        "budget": budget,
        "steps_per_epoch": training.steps_per_epoch(),
        "search_steps": u64::from(recipe.schedule.epochs) * training.steps_per_epoch(),
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

/// The tests' search with one budget, and epochs enough for indicators not to freeze: as the paper
/// has it, as its released code starts it, and as SNL does it, by its authors' rule and at the pace
/// of a falling budget.
///
/// Adam's first steps are the gradient's sign: where a gradient is noise, two right programs go two
/// ways. So the penalty is on from the first step and far above the other gradients, which leaves
/// no latent's gradient near zero; and the weights are trained by SGD, but for one search.
fn searches() -> [(&'static str, ReplaceRecipe); 4] {
    let Work::Replace { recipe, .. } = common::replace().work else {
        unreachable!("the tests' search is one");
    };
    let mut paper = ReplaceRecipe {
        freeze_at: 1.0,
        budget_schedule: BudgetSchedule::Constant,
        anneal_power: 1.0,
        latent_lr: 0.04,
        penalty: 0.5,
        ..recipe
    };
    paper.schedule.epochs = 6;
    paper.schedule.optimizer = OptimizerKind::Sgd;
    paper.schedule.lr = 0.02;
    let mut released = ReplaceRecipe {
        polynomial_start: PolynomialStart::Running,
        refresh_every: 6,
        refresh_until: 25,
        c0_damping: 0.2,
        c2_damping: 0.1,
        quadratic_scale: 0.1,
        ..paper.clone()
    };
    released.schedule.lookahead_steps = 6;
    released.schedule.optimizer = OptimizerKind::Adam;
    released.schedule.lr = 1e-3;
    let snl = ReplaceRecipe {
        method: Method::Snl,
        // At 0.07 a pre-activation comes so near to zero that rounding decides on which side it is.
        latent_lr: 0.072,
        penalty: 1e-3,
        penalty_schedule: PenaltySchedule::Grow,
        penalty_growth: 1.1,
        penalty_checks: 12,
        penalty_grace: 2,
        ..paper.clone()
    };
    let paced = ReplaceRecipe {
        budget_schedule: BudgetSchedule::Anneal,
        anneal_power: 1.0,
        ..snl.clone()
    };
    [
        ("paper", paper),
        ("released", released),
        ("snl", snl),
        ("snl-paced", paced),
    ]
    .map(|(name, recipe)| (name, recipe.canonical()))
}

/// What labels and teacher alone, without the penalty, say about the latents: in a step the penalty
/// drowns it.
fn task_gradient(training: &Training, batch: &Batch) -> anyhow::Result<Tensor> {
    let lesson = training.lesson.as_ref().context("expected a teacher")?;
    let latents = training
        .masked
        .sites
        .latents()
        .context("expected latents")?;
    let forward = training.masked.train(&batch.images, None);
    let loss = lesson.terms(&forward.logits, batch, 0.0).sum();
    let mut gradients = Tensor::run_backward(&[loss], &[latents], false, false);
    gradients.pop().context("expected a gradient")
}

fn baseline(folder: &Path) -> anyhow::Result<PathBuf> {
    let setup = setup(&common::baseline(), Vec::new(), folder);
    let mut training = setup.training(Start::Anew)?.context("expected a stage")?;
    let checkpoints = Checkpoints {
        scratch: folder.join("baseline"),
        every: None,
        every_steps: None,
        stop_after: None,
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
        weights: None,
        check: Check::Format,
        device: Device::Cpu,
        threads: 1,
        ranks: autorep_trainer::ranks::Ranks::alone(),
        begun: std::time::Instant::now(),
    }
}

fn write(folder: &Path, name: &str, tensors: &Named) -> anyhow::Result<()> {
    checkpoint::write(folder, name, tensors, &json!({}), &[])?;
    Ok(())
}
