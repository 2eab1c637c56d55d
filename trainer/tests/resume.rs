//! A task that was stopped and resumed ends in the same bytes as one that was not.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "resume/ladder.rs"]
mod ladder;

use std::fs;
use std::path::{Path, PathBuf};

use autorep_core::checkpoint::{STATE_PART, TENSORS_PART};
use autorep_core::data::Check;
use autorep_core::failure::FailureClass;
use autorep_core::observation::{Interim, Observation};
use autorep_core::recipe::{
    Decay, Granularity, LatentDecay, LatentInit, Method, OnUnreached, PenaltySchedule,
    PolynomialStart, Precision, ReplaceRecipe, Schedule, Sharing, Ties,
};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::CheckpointRole;
use autorep_proto::v1::trainer_event::Event;
use autorep_trainer::checkpoint::{METRICS_PART, OutputDocument, read_document, read_metrics};
use autorep_trainer::data::Batches;
use autorep_trainer::error::TrainError;
use autorep_trainer::host::{Command, Host, HostGone, Outcome};
use autorep_trainer::methods::{Setup, Start};
use autorep_trainer::train_loop::{self, Checkpoints};
use autorep_trainer::training::Training;
use tch::Device;

/// Stops after a number of steps and notes the folders reported.
struct Observer {
    stop_after: Option<u64>,
    asked: u64,
    resume: Option<PathBuf>,
    outputs: Vec<PathBuf>,
    /// Of each output, the steps done when it was taken.
    taken: Vec<u64>,
}

impl Observer {
    fn new(stop_after: Option<u64>) -> Self {
        Self {
            stop_after,
            asked: 0,
            resume: None,
            outputs: vec![],
            taken: vec![],
        }
    }
}

impl Host for Observer {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        self.asked += 1;
        Ok((Some(self.asked) == self.stop_after).then_some(Command::Stop))
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        if let Event::CheckpointReady(ready) = event {
            if ready.role() == CheckpointRole::Resume {
                self.resume = Some(ready.folder.into());
            } else {
                self.taken.push(ready.step);
                self.outputs.push(ready.folder.into());
            }
        }
        Ok(())
    }
}

/// A place with data, where tasks are run.
struct Bench {
    folder: tempfile::TempDir,
}

/// What a run ended with: the folder to resume from, or the outputs.
enum Ended {
    Stopped {
        resume: PathBuf,
        /// What it left on its way, and after how many steps.
        outputs: Vec<PathBuf>,
        taken: Vec<u64>,
    },
    Done(Vec<PathBuf>, Observation),
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::write_data(folder.path());
        Self { folder }
    }

    fn setup(&self, spec: &TaskSpec, inputs: &[PathBuf]) -> Setup {
        Setup {
            spec: spec.clone(),
            input_folders: inputs.to_vec(),
            data: self.folder.path().into(),
            weights: Some(self.folder.path().into()),
            check: Check::Format,
            device: Device::Cpu,
            threads: 2,
            ranks: autorep_trainer::ranks::Ranks::alone(),
            begun: std::time::Instant::now(),
        }
    }

    fn run(
        &self,
        spec: &TaskSpec,
        inputs: &[PathBuf],
        resume: Option<&Path>,
        stop_after: Option<u64>,
    ) -> Ended {
        let (mut training, checkpoints) = self.begun(spec, inputs, resume);
        let mut host = Observer::new(stop_after);
        match train_loop::run(&mut training, &checkpoints, &mut host).unwrap() {
            Outcome::Done(observation) => Ended::Done(host.outputs, observation),
            Outcome::Stopped(_) => Ended::Stopped {
                resume: host.resume.unwrap(),
                outputs: host.outputs,
                taken: host.taken,
            },
        }
    }

    /// Runs a task that fails; returns why, and what it reported before.
    fn failed(
        &self,
        spec: &TaskSpec,
        inputs: &[PathBuf],
        resume: Option<&Path>,
    ) -> (TrainError, Observer) {
        let (mut training, checkpoints) = self.begun(spec, inputs, resume);
        let mut host = Observer::new(None);
        let error = train_loop::run(&mut training, &checkpoints, &mut host).unwrap_err();
        (error, host)
    }

    /// A training that is set up, and taken up again from `resume`.
    fn begun(
        &self,
        spec: &TaskSpec,
        inputs: &[PathBuf],
        resume: Option<&Path>,
    ) -> (Training, Checkpoints) {
        // More threads than free cores make each step of a net this small wait for the scheduler.
        tch::set_num_threads(1);
        let scratch = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let start = resume.map_or(Start::Anew, |_| Start::Resumed);
        let mut training = self.setup(spec, inputs).training(start).unwrap().unwrap();
        if let Some(folder) = resume {
            training.resume(folder).unwrap();
        }
        let checkpoints = Checkpoints {
            scratch,
            every: None,
            every_steps: None,
            stop_after: None,
        };
        (training, checkpoints)
    }

    fn undisturbed(&self, spec: &TaskSpec, inputs: &[PathBuf]) -> (Vec<PathBuf>, Observation) {
        match self.run(spec, inputs, None, None) {
            Ended::Done(outputs, observation) => (outputs, observation),
            Ended::Stopped { .. } => panic!("nobody stopped it"),
        }
    }

    /// Stops after `first` steps, after `second` more, then goes on to the end.
    fn disturbed(
        &self,
        spec: &TaskSpec,
        inputs: &[PathBuf],
        first: u64,
        second: u64,
    ) -> (Vec<PathBuf>, Observation) {
        let Ended::Stopped { resume, .. } = self.run(spec, inputs, None, Some(first)) else {
            panic!("expected a stop after {first} steps");
        };
        let Ended::Stopped { resume, .. } = self.run(spec, inputs, Some(&resume), Some(second))
        else {
            panic!("expected a stop after {second} more steps");
        };
        match self.run(spec, inputs, Some(&resume), None) {
            Ended::Done(outputs, observation) => (outputs, observation),
            Ended::Stopped { .. } => panic!("nobody stopped it"),
        }
    }

    /// Runs `spec` undisturbed and disturbed at several places, and compares every byte.
    fn same_bytes(&self, spec: &TaskSpec, inputs: &[PathBuf]) -> Vec<PathBuf> {
        let (wanted, whole) = self.undisturbed(spec, inputs);
        for (first, second) in [(1, 1), (5, 4), (9, 2), (12, 3)] {
            let (got, resumed) = self.disturbed(spec, inputs, first, second);
            let what = format!("{} stopped after {first} and {second} steps", spec.kind());
            check_same(&got, &wanted, &what);
            let without_time = |observation: &Observation| Observation {
                seconds: 0.0,
                ..observation.clone()
            };
            assert_eq!(without_time(&resumed), without_time(&whole), "{what}");
        }
        wanted
    }
}

fn read(folder: &Path, part: &str) -> Vec<u8> {
    fs::read(folder.join(part)).unwrap()
}

#[track_caller]
fn check_same(got: &[PathBuf], wanted: &[PathBuf], what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for got in got {
        let same_output = |wanted: &&PathBuf| wanted.file_name() == got.file_name();
        let wanted = wanted.iter().find(same_output).unwrap();
        for part in [TENSORS_PART, STATE_PART, METRICS_PART] {
            let same = read(got, part) == read(wanted, part);
            assert!(same, "{what}: {part} of {} differs", got.display());
        }
    }
}

/// What an earlier process has passed comes again at the start of the next. The steps after which a descent passed its budgets follow from what it leaves when it is stopped
/// after each.
#[test]
fn a_descent_leaves_each_net_when_it_passes_its_budget_and_the_same_wherever_it_is_stopped() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let mut descent = common::replace();
    if let Work::Replace { budgets, .. } = &mut descent.work {
        *budgets = vec![5000, 4000, 2000, 1000, 300];
    }
    let (wanted, _) = bench.undisturbed(&descent, &baseline);
    assert_eq!(wanted.len(), 5);
    let mut left = Vec::new();
    for stop in 1..common::STEPS {
        let Ended::Stopped {
            resume,
            outputs,
            taken,
        } = bench.run(&descent, &baseline, None, Some(stop))
        else {
            panic!("expected a stop after {stop} steps");
        };
        let what = format!("stopped after {stop} steps");
        check_same(&outputs, &wanted[..outputs.len()], &what);
        assert!(taken.iter().all(|&step| step <= stop), "{what}: {taken:?}");
        left.push(outputs.len());
        let Ended::Done(rest, _) = bench.run(&descent, &baseline, Some(&resume), None) else {
            panic!("nobody stopped it");
        };
        check_same(&rest, &wanted, &format!("{what} and resumed"));
    }
    // Not all at once at the end.
    assert!(left.windows(2).all(|pair| pair[0] <= pair[1]), "{left:?}");
    assert!(left.contains(&1) && left.contains(&3), "{left:?}");
}

#[test]
fn a_search_that_stops_at_a_rung_goes_on_to_the_same_bytes() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let search = common::replace();
    let Work::Replace { recipe, .. } = &search.work else {
        panic!("a search");
    };
    let (wanted, whole) = bench.undisturbed(&search, &baseline);
    assert_eq!(whole.curve.reached(), recipe.schedule.epochs);
    assert_eq!(
        whole.curve.epochs.last().unwrap().relu_count,
        common::BUDGETS[1]
    );
    let stopped_at = |rung: u32, resume: Option<&Path>| {
        let (mut training, mut checkpoints) = bench.begun(&search, &baseline, resume);
        checkpoints.stop_after = Some(rung);
        let mut host = Observer::new(None);
        let outcome = train_loop::run(&mut training, &checkpoints, &mut host).unwrap();
        let Outcome::Stopped(Interim { curve, .. }) = outcome else {
            panic!("expected a stop after {rung} epochs");
        };
        (curve, host.resume)
    };
    for rung in 1..recipe.schedule.epochs {
        let (curve, resume) = stopped_at(rung, None);
        assert_eq!(curve.epochs, whole.curve.epochs[..rung as usize]);
        // Told again what it has done, it does nothing more.
        let (again, nothing) = stopped_at(rung, resume.as_deref());
        assert_eq!((again, nothing), (curve, None));
        let Ended::Done(outputs, observation) =
            bench.run(&search, &baseline, resume.as_deref(), None)
        else {
            panic!("nobody stopped it");
        };
        check_same(&outputs, &wanted, &format!("stopped after {rung} epochs"));
        assert_eq!(observation.curve, whole.curve);
    }
}

#[test]
fn stopped_and_resumed_tasks_end_in_the_same_bytes_as_undisturbed_ones() {
    let bench = Bench::new();
    let baseline = bench.same_bytes(&common::baseline(), &[]);
    let snapshots = bench.same_bytes(&common::replace(), &baseline);
    assert_eq!(snapshots.len(), common::BUDGETS.len());
    for (folder, budget) in snapshots.iter().zip(common::BUDGETS) {
        let document: OutputDocument = read_document(folder).unwrap();
        assert_eq!(document.relu_count, budget);
        assert_eq!(document.output, format!("b{budget}"));
        // The larger budget was passed on the way down, not at the end.
        assert!(document.searched_count.unwrap() < 6000);
    }
    let inputs = [snapshots[1].clone(), baseline[0].clone()];
    bench.same_bytes(&common::finetune(common::BUDGETS[1]), &inputs);
}

/// The tiny search with its recipe changed.
fn search_with(change: impl FnOnce(&mut ReplaceRecipe)) -> TaskSpec {
    let mut spec = common::replace();
    if let Work::Replace { recipe, .. } = &mut spec.work {
        change(recipe);
        *recipe = recipe.clone().canonical();
    }
    spec
}

/// Every option that has a state of its own is on in one of these.
#[test]
fn searches_with_every_option_end_in_the_same_bytes_when_they_are_stopped() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let options = search_with(|recipe| {
        recipe.schedule = Schedule {
            decay: Decay::CosineEpoch,
            lr_min: 1e-5,
            decay_all: true,
            grad_clip: 1.0,
            label_smoothing: 0.1,
            ema: 0.9,
            lookahead_steps: 2,
            precision: Precision::Bf16,
            ..recipe.schedule.clone()
        };
        recipe.latent_decay = LatentDecay::Schedule;
        recipe.latent_init = LatentInit::FirstOrder;
        recipe.penalty_schedule = PenaltySchedule::Grow;
        recipe.penalty_growth = 1.5;
        recipe.penalty_checks = 5;
        recipe.granularity = Granularity::Channel;
        recipe.ties = Ties::Importance;
        recipe.polynomial_start = PolynomialStart::Moments;
        recipe.sharing = Sharing::Site;
        recipe.quadratic_scale = 0.5;
        recipe.quadratic_clip = 0.1;
        recipe.coefficients.quadratic_lr_scale = 0.5;
    });
    let outputs = bench.same_bytes(&options, &baseline);
    for (folder, budget) in outputs.iter().zip(common::BUDGETS) {
        let document: OutputDocument = read_document(folder).unwrap();
        // Channels have 784, 196, 49 or 16 elements: the budget is not a sum of them.
        assert!(document.relu_count < budget && document.relu_count + 784 > budget);
    }
    let start: OutputDocument = read_document(&outputs[1]).unwrap();
    let mut finetune = common::finetune(common::BUDGETS[1]);
    if let Work::Finetune { start, recipe, .. } = &mut finetune.work {
        start.task = options.id();
        recipe.schedule.ema = 0.8;
    }
    let tuned = bench.same_bytes(&finetune, &[outputs[1].clone(), baseline[0].clone()]);
    let document: OutputDocument = read_document(&tuned[0]).unwrap();
    assert_eq!(document.relu_count, start.relu_count);

    let running = search_with(|recipe| {
        recipe.polynomial_start = PolynomialStart::Running;
        recipe.refresh_every = 3;
        recipe.refresh_until = 12;
        recipe.freeze_after = 2;
    });
    bench.same_bytes(&running, &baseline);

    let identity = search_with(|recipe| {
        recipe.polynomial_start = PolynomialStart::Identity;
        (recipe.latent_low, recipe.latent_high) = (0.2, 0.4);
    });
    bench.same_bytes(&identity, &baseline);

    let snl = search_with(|recipe| {
        recipe.method = Method::Snl;
        recipe.penalty = 1e-3;
        recipe.penalty_schedule = PenaltySchedule::Grow;
        recipe.penalty_growth = 1.5;
        recipe.penalty_checks = 10;
    });
    let outputs = bench.same_bytes(&snl, &baseline);
    for (folder, budget) in outputs.iter().zip(common::BUDGETS) {
        let document: OutputDocument = read_document(folder).unwrap();
        assert_eq!(document.relu_count, budget);
    }
}

#[test]
fn metrics_tell_what_each_epoch_was_like() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let (outputs, _) = bench.undisturbed(&common::replace(), &baseline);
    let epochs = read_metrics(outputs.last().unwrap()).unwrap();
    assert_eq!(epochs.len(), 3);
    let [first, second, third] = &epochs[..] else {
        panic!("expected three epochs");
    };
    assert!(first.flips > 0 && first.loss_penalty > 0.0 && first.loss_kd > 0.0);
    let sum = first.loss_ce + first.loss_kd + first.loss_penalty;
    assert!((first.loss - sum).abs() < 1e-12);
    assert!(first.saturated.unwrap() <= 1.0 && first.allowed.unwrap() < 6000.0);
    // Frozen after two epochs: nothing turns any more.
    assert_eq!((third.flips, third.penalty), (0, None));
    assert_eq!((second.relus, third.relus), (300, 300));
    let by_site = third.relus_by_site.iter().map(|site| site.relus);
    assert_eq!((by_site.sum::<u64>(), third.relus_by_site.len()), (300, 8));
}

#[test]
fn a_search_above_its_budget_fails_if_it_may_not_be_projected() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let spec = search_with(|recipe| {
        recipe.penalty = 0.0;
        recipe.on_unreached = OnUnreached::Fail;
    });
    let (error, host) = bench.failed(&spec, &baseline, None);
    assert_eq!(error.class(), FailureClass::BudgetUnreached);
    let unreached =
        matches!(error, TrainError::BudgetUnreached { budget: 300, searched } if searched > 300);
    assert!(unreached, "{error}");
    assert!(host.outputs.is_empty(), "a failed search has no output");
}

#[test]
fn a_descent_that_falls_short_leaves_what_it_passed_up_to_its_last_step_and_by_earlier_processes() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let mut descent = search_with(|recipe| recipe.on_unreached = OnUnreached::Fail);
    if let Work::Replace { budgets, .. } = &mut descent.work {
        // So close that every step passes one.
        *budgets = (1..60).rev().map(|step| step * 100).chain([1]).collect();
    }
    let (error, whole) = bench.failed(&descent, &baseline, None);
    assert_eq!(error.class(), FailureClass::BudgetUnreached, "{error}");
    // Indicators would have frozen after two of three epochs.
    let last = 2 * common::STEPS / 3;
    assert_eq!(whole.taken.last(), Some(&last), "{:?}", whole.taken);
    assert!(whole.taken[0] < last - 1, "{:?}", whole.taken);

    let Ended::Stopped { resume, .. } = bench.run(&descent, &baseline, None, Some(last - 1)) else {
        panic!("expected a stop before the last step");
    };
    let (error, rest) = bench.failed(&descent, &baseline, Some(&resume));
    assert_eq!(error.class(), FailureClass::BudgetUnreached, "{error}");
    assert_eq!(rest.taken, whole.taken);
    check_same(&rest.outputs, &whole.outputs, "resumed");
}

/// Float16 leaves a step out when its gradients are not finite. A search that freezes after that
/// step must freeze all the same: it would end above its budget.
#[test]
fn a_search_freezes_even_if_its_last_step_was_left_out() {
    let bench = Bench::new();
    let (baseline, _) = bench.undisturbed(&common::baseline(), &[]);
    let spec = search_with(|recipe| {
        recipe.penalty = 0.0;
        recipe.freeze_at = 1.0;
        recipe.schedule.precision = Precision::Fp16;
    });
    let training = bench.setup(&spec, &baseline).training(Start::Anew);
    let mut training = training.unwrap().unwrap();
    let mut batches = Batches::start(training.stream.clone(), 0, Device::Cpu).unwrap();
    while !training.finished() {
        let mut batch = batches.take().unwrap();
        if training.progress.step + 1 == training.steps() {
            batch.images *= f64::INFINITY;
        }
        let _loss = training.advance(&batch).unwrap();
    }
    let search = training.search.as_ref().unwrap();
    assert!(search.searched_count().is_some_and(|count| count > 300));
    assert_eq!(training.masked.sites.count(), 300);
}

#[test]
fn seeds_matter() {
    let bench = Bench::new();
    let (one, _) = bench.undisturbed(&common::baseline(), &[]);
    let other = TaskSpec {
        seed: 2,
        ..common::baseline()
    };
    let (two, _) = bench.undisturbed(&other, &[]);
    assert_ne!(read(&one[0], TENSORS_PART), read(&two[0], TENSORS_PART));
}

#[test]
fn a_checkpoint_of_another_task_is_refused() {
    let bench = Bench::new();
    let Ended::Stopped { resume, .. } = bench.run(&common::baseline(), &[], None, Some(1)) else {
        panic!("expected a stop");
    };
    let setup = Setup {
        spec: TaskSpec {
            seed: 2,
            ..common::baseline()
        },
        input_folders: vec![],
        data: bench.folder.path().into(),
        weights: None,
        check: Check::Format,
        device: Device::Cpu,
        threads: 2,
        ranks: autorep_trainer::ranks::Ranks::alone(),
        begun: std::time::Instant::now(),
    };
    let mut training = setup.training(Start::Resumed).unwrap().unwrap();
    let error = training.resume(&resume).unwrap_err().to_string();
    assert!(error.contains("expected a checkpoint of task"), "{error}");
}
