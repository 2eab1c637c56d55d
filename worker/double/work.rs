//! Works on a task as a trainer would, but for the training: every step is a digest of the state
//! before it. So the result, its outputs and its accuracy depend on every input and every step,
//! done once and in order, and on nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use autorep_core::digest::Digest;
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::{self, trainer_command::Command, trainer_event::Event};
use serde::{Deserialize, Serialize};

use super::{Double, Failure, command};

/// Between two looks at what the worker has done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a search would say after a step.
fn progress(step: u64, pace: Pace) -> v1::Progress {
    let loss = 1.0 / (step as f64);
    v1::Progress {
        epoch: 1,
        epochs: 1,
        step,
        steps: pace.steps,
        loss: Some(loss),
        relu_count: Some(1000 - step.min(500)),
        relu_budget: Some(500),
        images_per_second: Some(32.0 / pace.step.as_secs_f64().max(1e-3)),
        data_wait_share: Some(0.01),
        validation: Some(v1::Accuracy {
            correct: 7,
            images: 10,
        }),
        ..v1::Progress::default()
    }
}

/// What a checkpoint's `state.json` holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct State {
    step: u64,
    digest: Digest,
}

/// How to work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Steps of a task.
    pub(super) steps: u64,
    /// A resume checkpoint after every so many.
    pub(super) every: u64,
    /// Bytes of the tensors of a checkpoint.
    pub(super) bytes: usize,
    /// What a step takes.
    pub(super) step: Duration,
}

impl Double {
    /// Works on the task to its end, or until told to stop. Each step is written down in the file
    /// `steps` beside the script. Another salt makes another accuracy.
    pub(super) fn work(&self, pace: Pace, salt: &str) -> Result<ExitCode, Failure> {
        let spec: TaskSpec = serde_json::from_slice(&self.start.spec)?;
        let stop = self.listen()?;
        let evaluates = matches!(spec.work, Work::Evaluate { .. });
        let mut state = self.begin(&spec)?;
        while state.step < pace.steps {
            thread::sleep(pace.step);
            state = State {
                step: state.step + 1,
                digest: Digest::of(format!("{} {}", state.digest, state.step + 1).as_bytes()),
            };
            self.note(&spec, state.step)?;
            self.say(Event::Progress(progress(state.step, pace)))?;
            let stopping = stop.load(Ordering::Relaxed);
            let due = state.step.is_multiple_of(pace.every) && state.step < pace.steps;
            if !evaluates && (due || stopping) {
                self.keep("resume", &state, pace.bytes)?;
            }
            if stopping {
                self.say(Event::Stopped(v1::Stopped::default()))?;
                return Ok(ExitCode::SUCCESS);
            }
        }
        for output in spec.outputs() {
            self.keep(&output, &state, pace.bytes)?;
        }
        self.say(Event::Done(observation(&spec, &state, salt)))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Waits to be told to stop, says that it has, and leaves a resume checkpoint of no step.
    pub(super) fn hold(&self) -> Result<ExitCode, Failure> {
        let spec: TaskSpec = serde_json::from_slice(&self.start.spec)?;
        let stop = self.listen()?;
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
        self.keep("resume", &self.begin(&spec)?, 16)?;
        self.say(Event::Stopped(v1::Stopped::default()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Reads commands from now on: the process ends with the stream, and the flag says that it is
    /// to stop.
    fn listen(&self) -> Result<Arc<AtomicBool>, Failure> {
        let stream: UnixStream = self.stream.try_clone()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        thread::spawn(move || {
            while let Ok(Some(command)) = command(&stream) {
                if let Command::Stop(_) = command {
                    told.store(true, Ordering::Relaxed);
                }
            }
            // The worker is gone. Nothing here needs an orderly end.
            std::process::abort();
        });
        Ok(stop)
    }

    /// The state to go on from.
    fn begin(&self, spec: &TaskSpec) -> Result<State, Failure> {
        if !self.start.resume_folder.is_empty() {
            return read(Path::new(&self.start.resume_folder));
        }
        let mut text = spec.canonical_json();
        for folder in &self.start.input_folders {
            text += &read(Path::new(folder))?.digest.to_string();
        }
        Ok(State {
            step: 0,
            digest: Digest::of(text.as_bytes()),
        })
    }

    /// Notes that a step is done, whatever becomes of it.
    fn note(&self, spec: &TaskSpec, step: u64) -> Result<(), Failure> {
        let path = Path::new(&self.start.data_folder).join("steps");
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let line = format!(
            "{} {} {step} {}\n",
            spec.id(),
            spec.kind(),
            std::process::id()
        );
        // One write of a short line: lines of several processes do not mix.
        file.write_all(line.as_bytes())?;
        Ok(())
    }

    /// Writes and reports a checkpoint and waits until the worker has taken it: what is committed
    /// when does not depend on who is faster.
    fn keep(&self, name: &str, state: &State, bytes: usize) -> Result<(), Failure> {
        let folder = Path::new(&self.start.scratch_folder).join(format!("{name}-{}", state.step));
        fs::create_dir(&folder)?;
        let seed = state.digest.to_string();
        let tensors: Vec<u8> = seed.bytes().cycle().take(bytes).collect();
        fs::write(folder.join("tensors.safetensors"), tensors)?;
        fs::write(folder.join("state.json"), serde_json::to_vec(state)?)?;
        self.ready(name, state.step, &folder)?;
        while folder.exists() {
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

fn read(folder: &Path) -> Result<State, Failure> {
    let path: PathBuf = folder.join("state.json");
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Plausible numbers, of which the accuracy is a digest's.
fn observation(spec: &TaskSpec, state: &State, salt: &str) -> v1::Observation {
    let total = spec.net.relu_total(spec.data.name.input());
    let (count, evaluates) = match &spec.work {
        Work::Baseline { .. } => (total, false),
        Work::Replace { budgets, .. } => (budgets.last().copied().unwrap_or(total), false),
        Work::Finetune { budget, .. } => (*budget, false),
        Work::Evaluate { budget, .. } => (*budget, true),
    };
    let measured = Digest::of(format!("{}{salt}", state.digest).as_bytes());
    let correct = measured
        .as_bytes()
        .iter()
        .copied()
        .map(u64::from)
        .sum::<u64>();
    let accuracy = v1::Accuracy {
        correct: correct % 1000,
        images: 1000,
    };
    v1::Observation {
        relu_count: count,
        relu_total: total,
        validation: Some(accuracy),
        test: evaluates.then_some(accuracy),
        epochs: u32::try_from(state.step).unwrap_or(u32::MAX),
        seconds: 0.5,
        ..v1::Observation::default()
    }
}
