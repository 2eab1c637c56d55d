//! Baselines that start from a file of weights, and teachers that come from one.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use autorep_core::checkpoint::TENSORS_PART;
use autorep_core::data::{Check, DataRoot};
use autorep_core::digest::Digest;
use autorep_core::failure::FailureClass;
use autorep_core::net::NetSpec;
use autorep_core::observation::Observation;
use autorep_core::recipe::{BaselineRecipe, Teacher};
use autorep_core::task::{TaskSpec, Work};
use autorep_core::weights::Weights;
use autorep_proto::v1::trainer_event::Event;
use autorep_trainer::checkpoint::{METRICS_PART, OutputDocument, read_document};
use autorep_trainer::error::TrainError;
use autorep_trainer::host::{Command, Host, HostGone, Outcome};
use autorep_trainer::methods::{Setup, Start, check_spec, evaluate::evaluate};
use autorep_trainer::train_loop::{self, Checkpoints};
use autorep_trainer::weights::{StateDict, WeightsError};
use tch::Device;

const FILE: &str = "published/net.safetensors";

/// Stops after some steps and notes the last folder reported.
#[derive(Default)]
struct Observer {
    stop_after: Option<u64>,
    asked: u64,
    last: PathBuf,
}

impl Host for Observer {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        self.asked += 1;
        Ok((Some(self.asked) == self.stop_after).then_some(Command::Stop))
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        if let Event::CheckpointReady(ready) = event {
            self.last = ready.folder.into();
        }
        Ok(())
    }
}

/// A place with data and weights.
struct Bench {
    folder: tempfile::TempDir,
    /// Where files of weights are looked for.
    place: DataRoot,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::write_data(folder.path());
        fs::create_dir_all(folder.path().join("weights/published")).unwrap();
        tch::set_num_threads(1);
        let place = DataRoot::from(folder.path()).weights();
        Self { folder, place }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("weights").join(FILE)
    }

    fn setup(&self, spec: &TaskSpec, inputs: &[PathBuf]) -> Setup {
        check_spec(spec).unwrap();
        Setup {
            spec: spec.clone(),
            input_folders: inputs.to_vec(),
            data: self.folder.path().into(),
            weights: Some(self.place.clone()),
            check: Check::Format,
            device: Device::Cpu,
            threads: 1,
            ranks: autorep_trainer::ranks::Ranks::alone(),
            begun: std::time::Instant::now(),
        }
    }

    /// Trains to the end, or until it is stopped; the last folder written, and what was observed.
    fn train(
        &self,
        spec: &TaskSpec,
        inputs: &[PathBuf],
        resume: Option<&Path>,
        stop_after: Option<u64>,
    ) -> Result<(PathBuf, Option<Observation>), TrainError> {
        let start = resume.map_or(Start::Anew, |_| Start::Resumed);
        let mut training = self.setup(spec, inputs).training(start)?.unwrap();
        if let Some(folder) = resume {
            training.resume(folder).unwrap();
        }
        let checkpoints = Checkpoints {
            scratch: tempfile::tempdir_in(self.folder.path()).unwrap().keep(),
            every: None,
            every_steps: None,
            stop_after: None,
        };
        let mut host = Observer {
            stop_after,
            ..Observer::default()
        };
        let observation = match train_loop::run(&mut training, &checkpoints, &mut host)? {
            Outcome::Done(observation) => Some(observation),
            Outcome::Stopped(_) => None,
        };
        Ok((host.last, observation))
    }

    fn done(&self, spec: &TaskSpec) -> (PathBuf, Observation) {
        let (folder, observation) = self.train(spec, &[], None, None).unwrap();
        (folder, observation.unwrap())
    }

    /// Writes what a checkpoint holds as weights for other programs, and trains from there.
    fn export(&self, checkpoint: &Path) -> Weights {
        let state = StateDict::read(&checkpoint.join(TENSORS_PART)).unwrap();
        state.write(&self.file()).unwrap();
        Weights {
            file: FILE.parse().unwrap(),
            sha256: Digest::of(&fs::read(self.file()).unwrap()),
        }
    }

    fn refused(&self, spec: &TaskSpec) -> TrainError {
        self.train(spec, &[], None, None).unwrap_err()
    }
}

/// The tiny baseline from these weights.
fn from_weights(weights: &Weights, epochs: u32) -> TaskSpec {
    let mut spec = common::baseline();
    let Work::Baseline { recipe } = &mut spec.work else {
        panic!("expected a baseline");
    };
    recipe.schedule.epochs = epochs;
    *recipe = BaselineRecipe {
        schedule: recipe.schedule.clone(),
        weights: Some(weights.clone()),
    }
    .canonical();
    spec
}

fn tensors(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(TENSORS_PART)).unwrap()
}

#[test]
fn without_epochs_a_baseline_is_its_weights_bit_for_bit_whatever_its_seed() {
    let bench = Bench::new();
    let (trained, wanted) = bench.done(&common::baseline());
    let spec = from_weights(&bench.export(&trained), 0);
    for seed in [1, 9] {
        let spec = TaskSpec {
            seed,
            ..spec.clone()
        };
        let (folder, observed) = bench.done(&spec);
        assert!(tensors(&folder) == tensors(&trained), "seed {seed}");
        assert_eq!(observed.validation, wanted.validation);
        assert_eq!((observed.selected_epoch, observed.epochs), (Some(0), 0));
        assert_eq!(observed.relu_count, wanted.relu_count);
        assert!(fs::read(folder.join(METRICS_PART)).unwrap().is_empty());
        let document: OutputDocument = read_document(&folder).unwrap();
        assert_eq!(document.spec, spec);
        let measured = |subject: &TaskSpec, folder: &Path| {
            let task = common::evaluate(subject, "net", wanted.relu_total);
            let Work::Evaluate { subject, budget } = &task.work else {
                panic!("expected an evaluation");
            };
            let setup = bench.setup(&task, &[folder.to_owned()]);
            evaluate(&setup, subject, *budget).unwrap().test
        };
        assert_eq!(
            measured(&spec, &folder),
            measured(&common::baseline(), &trained)
        );
    }
}

#[test]
fn with_epochs_a_baseline_trains_on_and_resumes_without_the_file_to_the_same_bytes() {
    let bench = Bench::new();
    let (trained, _) = bench.done(&common::baseline());
    let spec = from_weights(&bench.export(&trained), 3);
    let (wanted, observed) = bench.done(&spec);
    assert_eq!(observed.epochs, 3);
    assert!(tensors(&wanted) != tensors(&trained), "it was trained");
    let (resume, none) = bench.train(&spec, &[], None, Some(6)).unwrap();
    assert!(none.is_none());
    fs::remove_file(bench.file()).unwrap();
    let (resumed, _) = bench.train(&spec, &[], Some(&resume), None).unwrap();
    assert!(tensors(&resumed) == tensors(&wanted));
}

#[test]
fn weights_in_a_bucket_are_those_in_a_folder() {
    let mut bench = Bench::new();
    let (trained, _) = bench.done(&common::baseline());
    let spec = from_weights(&bench.export(&trained), 0);
    let url = DataRoot::parse(format!("file://{}", bench.folder.path().display())).unwrap();
    bench.place = url.weights();
    let (fetched, _) = bench.done(&spec);
    assert!(tensors(&fetched) == tensors(&trained));
    bench.place = url;
    let error = bench.refused(&spec);
    assert_eq!(error.class(), FailureClass::BadData);
    assert!(error.to_string().contains(FILE), "{error}");
    bench.place = DataRoot::Bucket("s3:///".to_owned());
    assert_eq!(bench.refused(&spec).class(), FailureClass::TrainerError);
}

#[test]
fn another_file_is_refused_for_good_and_a_missing_one_is_looked_for_again() {
    let bench = Bench::new();
    let (trained, _) = bench.done(&common::baseline());
    let weights = bench.export(&trained);
    let meant = Weights {
        sha256: Digest::of(b"another"),
        ..weights.clone()
    };
    let error = bench.refused(&from_weights(&meant, 0));
    assert_eq!(error.class(), FailureClass::BadWeights);
    assert!(
        matches!(error, TrainError::Weights(WeightsError::Digest { found, .. }) if found == weights.sha256)
    );
    fs::write(bench.file(), "no weights").unwrap();
    let damaged = Weights {
        sha256: Digest::of(b"no weights"),
        ..weights.clone()
    };
    let error = bench.refused(&from_weights(&damaged, 0));
    assert_eq!(error.class(), FailureClass::BadWeights);
    fs::remove_file(bench.file()).unwrap();
    let error = bench.refused(&from_weights(&weights, 0));
    assert_eq!(error.class(), FailureClass::BadData);
    assert!(error.to_string().contains(FILE), "{error}");
    let nowhere = Setup {
        weights: None,
        ..bench.setup(&from_weights(&weights, 0), &[])
    };
    let error = nowhere.training(Start::Anew).unwrap_err();
    assert_eq!(error.class(), FailureClass::BadData);
    assert!(error.to_string().contains("--weights"), "{error}");
}

#[test]
fn tensors_of_other_shapes_are_all_named_with_the_net_and_its_classes() {
    let bench = Bench::new();
    let wider = TaskSpec {
        net: NetSpec::resnet9(3),
        ..common::baseline()
    };
    let (trained, _) = bench.done(&wider);
    let spec = from_weights(&bench.export(&trained), 0);
    let error = bench.refused(&spec);
    assert_eq!(error.class(), FailureClass::BadWeights);
    let text = error.to_string();
    let shapes = [
        "expected conv1.weight of shape [2, 1, 3, 3], found [3, 1, 3, 3]",
        "expected fc.weight of shape [10, 16], found [10, 24]",
        "the net is resnet9 of width 2 with 10 classes, as fashion-mnist has",
    ];
    for shape in shapes {
        assert!(text.contains(shape), "{shape} is not in {text}");
    }
}

#[test]
fn no_epochs_and_no_weights_are_refused() {
    let mut spec = common::baseline();
    if let Work::Baseline { recipe } = &mut spec.work {
        recipe.schedule.epochs = 0;
    }
    let error = check_spec(&spec).unwrap_err().to_string();
    assert!(error.contains("weights to start from"), "{error}");
}

/// The tiny search, distilled from this net with these weights.
fn taught_by(net: NetSpec, weights: Weights) -> TaskSpec {
    let mut spec = common::replace();
    let Work::Replace { recipe, .. } = &mut spec.work else {
        panic!("expected a search");
    };
    recipe.distillation.teacher = Some(Teacher { net, weights });
    spec
}

#[test]
fn a_teacher_from_a_file_teaches_what_its_net_and_weights_say() {
    let bench = Bench::new();
    let (baseline, _) = bench.done(&common::baseline());
    let search = |spec: &TaskSpec| {
        let inputs = [baseline.clone()];
        let (folder, _) = bench.train(spec, &inputs, None, None).unwrap();
        tensors(&folder)
    };
    let wanted = search(&common::replace());
    let own = taught_by(NetSpec::resnet9(2), bench.export(&baseline));
    assert!(
        search(&own) == wanted,
        "the baseline's file is the baseline"
    );
    let wider = TaskSpec {
        net: NetSpec::resnet9(3),
        ..common::baseline()
    };
    let (trained, _) = bench.done(&wider);
    let weights = bench.export(&trained);
    let other = taught_by(NetSpec::resnet9(3), weights.clone());
    assert!(search(&other) != wanted, "another net teaches otherwise");
    let misfit = taught_by(NetSpec::resnet9(2), weights);
    let error = bench
        .train(&misfit, std::slice::from_ref(&baseline), None, None)
        .unwrap_err();
    assert_eq!(error.class(), FailureClass::BadWeights);
    assert!(error.to_string().contains("conv1.weight"), "{error}");
}

#[test]
fn a_net_with_polynomials_is_no_full_net_and_is_refused_as_one() {
    let bench = Bench::new();
    let (baseline, _) = bench.done(&common::baseline());
    let inputs = [baseline];
    let (replaced, _) = bench
        .train(&common::replace(), &inputs, None, None)
        .unwrap();
    let state = StateDict::read(&replaced.join(TENSORS_PART)).unwrap();
    let refused = state.write(&bench.file()).unwrap_err();
    assert!(refused.to_string().contains("its baseline's"), "{refused}");
    fs::copy(replaced.join(TENSORS_PART), bench.file()).unwrap();
    let weights = Weights {
        file: FILE.parse().unwrap(),
        sha256: state.digest(),
    };
    let error = bench.refused(&from_weights(&weights, 0));
    assert_eq!(error.class(), FailureClass::BadWeights);
}
