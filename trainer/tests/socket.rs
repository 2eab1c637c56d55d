//! The built program at the end of a socket, as a worker would use it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use autorep_core::task::TaskSpec;
use autorep_proto::frame::{read_message, write_message};
use autorep_proto::v1;
use autorep_proto::v1::trainer_command::Command as Wire;
use autorep_proto::v1::trainer_event::Event;

/// A trainer with the worker's end of its socket.
struct Trainer {
    child: Child,
    stream: UnixStream,
}

impl Trainer {
    fn spawn() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_autorep-trainer"))
            .env("AUTOREP_UNVERIFIED_DATA", "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            stream: ours,
        }
    }

    fn send(&mut self, command: Wire) {
        let message = v1::TrainerCommand {
            command: Some(command),
        };
        write_message(&mut self.stream, &message).unwrap();
    }

    /// The next event; `None` when the trainer closed the stream.
    fn event(&mut self) -> Option<Event> {
        let message: Option<v1::TrainerEvent> = read_message(&mut self.stream).unwrap();
        message.map(|message| message.event.expect("an event that this version knows"))
    }

    /// Every event up to the last one, which ends the task; then the program must exit with 0.
    fn finish(mut self) -> (Vec<Event>, Event) {
        let mut events = Vec::new();
        loop {
            let event = self.event().expect("an ending before the stream closes");
            match event {
                Event::Done(_) | Event::Stopped(_) | Event::Failed(_) => {
                    assert!(self.event().is_none(), "nothing follows the ending");
                    assert!(self.child.wait().unwrap().success());
                    return (events, event);
                }
                Event::Progress(_) | Event::CheckpointReady(_) | Event::Meeting(_) => {
                    events.push(event);
                }
            }
        }
    }
}

/// A folder with data and a place for checkpoints.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::write_data(folder.path());
        Self { folder }
    }

    fn start(&self, spec: &TaskSpec, inputs: &[&Path], resume: &str) -> v1::StartTask {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        v1::StartTask {
            spec: spec.canonical_json().into_bytes(),
            input_folders: inputs.iter().map(|path| text(path)).collect(),
            resume_folder: resume.to_owned(),
            data_folder: text(self.folder.path()),
            data_cache_folder: String::new(),
            data_cache_bytes: 0,
            scratch_folder: text(&tempfile::tempdir_in(self.folder.path()).unwrap().keep()),
            device: "cpu".to_owned(),
            threads: 1,
            checkpoint_every_s: 0,
            checkpoint_every_steps: 0,
            stop_after: None,
            group: None,
            weights_place: text(self.folder.path()),
        }
    }

    fn run(&self, spec: &TaskSpec, inputs: &[&Path]) -> (Vec<PathBuf>, v1::Observation) {
        let mut trainer = Trainer::spawn();
        trainer.send(Wire::Start(self.start(spec, inputs, "")));
        let (events, ending) = trainer.finish();
        let Event::Done(observation) = ending else {
            panic!("expected done, found {ending:?}");
        };
        let ready = events.into_iter().filter_map(|event| match event {
            Event::CheckpointReady(ready) => Some(ready),
            Event::Progress(_)
            | Event::Done(_)
            | Event::Stopped(_)
            | Event::Failed(_)
            | Event::Meeting(_) => None,
        });
        let outputs: Vec<v1::CheckpointReady> = ready.collect();
        let names: Vec<String> = outputs.iter().map(|ready| ready.output.clone()).collect();
        assert_eq!(names, spec.outputs());
        let folders = outputs.into_iter().map(|ready| ready.folder.into());
        (folders.collect(), observation)
    }

    fn failure(start: v1::StartTask) -> v1::TrainerFailed {
        let mut trainer = Trainer::spawn();
        trainer.send(Wire::Start(start));
        match trainer.finish().1 {
            Event::Failed(failed) => failed,
            other @ (Event::Progress(_)
            | Event::CheckpointReady(_)
            | Event::Done(_)
            | Event::Meeting(_)
            | Event::Stopped(_)) => panic!("expected a failure, found {other:?}"),
        }
    }
}

#[test]
fn four_tasks_lead_from_random_weights_to_a_test_accuracy_at_an_exact_budget() {
    let place = Place::new();
    let (total, budget) = (6000, common::BUDGETS[1]);
    let (baseline, observed) = place.run(&common::baseline(), &[]);
    assert_eq!((observed.relu_count, observed.relu_total), (total, total));
    assert_eq!((observed.epochs, observed.test), (3, None));
    let selected = observed.selected_epoch.unwrap();
    assert!((1..=3).contains(&selected));

    let (snapshots, observed) = place.run(&common::replace(), &[&baseline[0]]);
    assert_eq!(observed.relu_count, budget);
    assert!(observed.searched_count.unwrap() < total);

    let finetune = common::finetune(budget);
    let (tuned, observed) = place.run(&finetune, &[&snapshots[1], &baseline[0]]);
    assert_eq!(observed.relu_count, budget);
    let validation = observed.validation.unwrap();
    assert_eq!(validation.images, 60);

    let evaluate = common::evaluate(&finetune, "net", budget);
    let (outputs, observed) = place.run(&evaluate, &[&tuned[0]]);
    assert!(outputs.is_empty());
    assert_eq!((observed.relu_count, observed.epochs), (budget, 0));
    assert_eq!(observed.test.unwrap().images, 60);
    assert_eq!(observed.validation, Some(validation));

    // The baseline and the larger snapshot are complete nets too.
    let evaluate = common::evaluate(&common::baseline(), "net", total);
    assert_eq!(place.run(&evaluate, &[&baseline[0]]).1.relu_count, total);
    let evaluate = common::evaluate(&common::replace(), "b2000", common::BUDGETS[0]);
    assert_eq!(
        place.run(&evaluate, &[&snapshots[0]]).1.relu_count,
        common::BUDGETS[0]
    );

    // Another budget than the indicators': refused.
    let evaluate = common::evaluate(&finetune, "net", budget + 1);
    let failed = Place::failure(place.start(&evaluate, &[&tuned[0]], ""));
    assert_eq!(failed.class(), v1::FailureClass::BadCheckpoint);
    assert!(
        failed.message.contains("budget of 301 ReLUs, counted 300"),
        "{}",
        failed.message
    );
}

#[test]
fn a_killed_trainer_is_resumed_from_its_checkpoint_to_the_same_bytes() {
    let place = Place::new();
    let spec = common::baseline();
    let (whole, _) = place.run(&spec, &[]);

    let mut trainer = Trainer::spawn();
    trainer.send(Wire::Start(place.start(&spec, &[], "")));
    trainer.send(Wire::CheckpointNow(v1::CheckpointNow {}));
    let ready = loop {
        match trainer.event().expect("a checkpoint before the end") {
            Event::CheckpointReady(ready) => break ready,
            Event::Progress(_) | Event::Meeting(_) => {}
            other @ (Event::Done(_) | Event::Stopped(_) | Event::Failed(_)) => {
                panic!("expected a checkpoint, found {other:?}")
            }
        }
    };
    trainer.child.kill().unwrap();
    trainer.child.wait().unwrap();
    assert_eq!(ready.role(), v1::CheckpointRole::Resume);
    assert!(ready.step < common::STEPS);

    let mut trainer = Trainer::spawn();
    trainer.send(Wire::Start(place.start(&spec, &[], &ready.folder)));
    let (events, ending) = trainer.finish();
    assert!(matches!(ending, Event::Done(_)), "{ending:?}");
    let Some(Event::CheckpointReady(output)) = events.last() else {
        panic!("expected an output, found {events:?}");
    };
    for part in ["tensors.safetensors", "state.json"] {
        let resumed = std::fs::read(Path::new(&output.folder).join(part)).unwrap();
        assert_eq!(
            resumed,
            std::fs::read(whole[0].join(part)).unwrap(),
            "{part}"
        );
    }
}

#[test]
fn a_stop_leaves_a_checkpoint_and_ends_the_program() {
    let place = Place::new();
    let mut trainer = Trainer::spawn();
    trainer.send(Wire::Start(place.start(&common::baseline(), &[], "")));
    trainer.send(Wire::Stop(v1::Stop {}));
    let (events, ending) = trainer.finish();
    assert!(matches!(ending, Event::Stopped(_)), "{ending:?}");
    let last = events.last();
    assert!(matches!(last, Some(Event::CheckpointReady(_))), "{last:?}");
}

#[test]
fn a_worker_that_is_gone_ends_the_program_without_success() {
    let place = Place::new();
    let mut spec = common::baseline();
    if let autorep_core::task::Work::Baseline { recipe } = &mut spec.work {
        recipe.schedule.epochs = 100_000;
    }
    let mut trainer = Trainer::spawn();
    trainer.send(Wire::Start(place.start(&spec, &[], "")));
    assert!(trainer.event().is_some(), "training has begun");
    let Trainer { mut child, stream } = trainer;
    drop(stream);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn failures_are_reported_with_their_class() {
    let place = Place::new();
    let spec = common::baseline();

    let mut start = place.start(&spec, &[], "");
    start.data_folder = "/nowhere".to_owned();
    let failed = Place::failure(start);
    assert_eq!(failed.class(), v1::FailureClass::BadData);
    assert!(
        failed.message.contains("train-images-idx3-ubyte"),
        "{}",
        failed.message
    );

    let failed = Place::failure(place.start(&spec, &[], "/nowhere"));
    assert_eq!(failed.class(), v1::FailureClass::BadCheckpoint);
    assert!(failed.message.contains("/nowhere"), "{}", failed.message);

    let mut hot = spec.clone();
    if let autorep_core::task::Work::Baseline { recipe } = &mut hot.work {
        recipe.schedule.lr = 1e30;
    }
    let failed = Place::failure(place.start(&hot, &[], ""));
    assert_eq!(failed.class(), v1::FailureClass::Diverged);

    let mut start = place.start(&spec, &[], "");
    start.spec = b"{}".to_vec();
    assert_eq!(
        Place::failure(start).class(),
        v1::FailureClass::TrainerError
    );

    let mut start = place.start(&spec, &[], "");
    start.device = "cuda:99".to_owned();
    let failed = Place::failure(start);
    assert_eq!(failed.class(), v1::FailureClass::TrainerError);
    assert!(failed.message.to_lowercase().contains("cuda") || failed.message.contains("GPU"));
}

#[test]
fn the_program_says_what_it_is_and_refuses_what_it_does_not_understand() {
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_autorep-trainer");
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        output.unwrap()
    };
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("autorep-trainer "));
    let probe = run(&["--probe"]);
    assert!(probe.status.success());
    let probe: serde_json::Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(probe["libtorch"], "2.11.0");
    let problem = !probe["cuda_problem"].is_null();
    assert_eq!(problem, probe["cuda_devices"] == 0);
    for arguments in [&["--no-such"][..], &["local"], &[]] {
        let refused = run(arguments);
        assert!(!refused.status.success(), "{arguments:?}");
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("expected")
                || !refused.stderr.is_empty()
        );
    }
}
