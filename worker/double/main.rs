//! A process that speaks the trainer's protocol and trains nothing: the stand-in for
//! `autorep-trainer` in tests that are about everything around training.
//!
//! It does what the file `script` in its data folder says, a step a line:
//!
//! | step | does |
//! |---|---|
//! | `pid` | writes its process id into the file `pid` beside the script |
//! | `progress STEP` | reports progress |
//! | `progress STEP SHARE` | the same, and that it waited for data for this share of the time |
//! | `checkpoint resume STEP` | writes and reports a resume checkpoint |
//! | `checkpoint NAME STEP` | writes and reports the output NAME |
//! | `big NAME STEP BYTES` | the same, with a tensor part of BYTES |
//! | `expect input N NAME` | fails unless input N is a checkpoint of the output NAME |
//! | `expect resume STEP` | fails unless there is a checkpoint of STEP to go on from |
//! | `await checkpoint` | reads commands until one asks for a checkpoint |
//! | `await stop` | reads commands until one asks to stop |
//! | `await nothing` | reads commands and ignores them, until the stream ends |
//! | `stderr TEXT` | prints a line |
//! | `escape` | reports a checkpoint in a folder that is not its own |
//! | `nonsense` | writes bytes that are no message |
//! | `stopped` | reports that it stopped |
//! | `failed TEXT` | reports a divergence |
//! | `refuse TEXT` | reports a checkpoint that it cannot use |
//! | `done` | reports a result |
//! | `work STEPS EVERY BYTES MS` | works on the task whatever it is, with checkpoints, and exits |
//! | `work STEPS EVERY BYTES MS SALT` | the same, but measures otherwise |
//! | `hold` | waits to be told to stop, leaves a checkpoint, and exits |
//! | `once NAME STEP…` | unless the file NAME is beside the script: makes it, does STEP, exits |
//! | `exit CODE` | exits |
//! | `abort` | dies by a signal |
//!
//! After the last line it exits with 0.

use std::error::Error;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use autorep_proto::frame::{read_message, write_message};
use autorep_proto::v1::{self, trainer_command::Command, trainer_event::Event};

mod work;

use work::Pace;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            report(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let Some(Command::Start(start)) = command(&stream)? else {
        return Err("expected a task first".into());
    };
    let script = std::fs::read_to_string(Path::new(&start.data_folder).join("script"))?;
    let double = Double { stream, start };
    for line in script.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(code) = double.act(&words)? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The next command; `None` at the stream's end.
fn command(mut stream: &UnixStream) -> Result<Option<Command>, Failure> {
    let command: Option<v1::TrainerCommand> = read_message(&mut stream)?;
    Ok(command.and_then(|it| it.command))
}

fn report(text: &str) {
    let mut stderr = std::io::stderr();
    // Without a standard error there is nobody to tell.
    writeln!(stderr, "{text}").unwrap_or_default();
}

struct Double {
    stream: UnixStream,
    start: v1::StartTask,
}

impl Double {
    /// Does one step; returns how to exit, if it is the last.
    fn act(&self, words: &[&str]) -> Result<Option<ExitCode>, Failure> {
        match *words {
            [] => {}
            ["pid"] => {
                let path = Path::new(&self.start.data_folder).join("pid");
                std::fs::write(path, std::process::id().to_string())?;
            }
            ["progress", step, ref wait @ ..] => self.say(Event::Progress(v1::Progress {
                step: step.parse()?,
                data_wait_share: wait.first().map(|share| share.parse()).transpose()?,
                ..v1::Progress::default()
            }))?,
            ["checkpoint", name, step] => self.checkpoint(name, step.parse()?, 16)?,
            ["big", name, step, bytes] => self.checkpoint(name, step.parse()?, bytes.parse()?)?,
            ["expect", "input", index, name] => self.expect_input(index.parse()?, name)?,
            ["expect", "resume", step] => self.expect_resume(step.parse()?)?,
            ["await", what] => return self.wait(what),
            ["stderr", ..] => report(&words.get(1..).unwrap_or_default().join(" ")),
            ["escape"] => self.ready("net", 1, Path::new("/etc"))?,
            ["nonsense"] => (&self.stream).write_all(&[0xff; 64])?,
            ["stopped", epochs] => {
                let epochs = epochs.parse()?;
                self.say(Event::Stopped(v1::Stopped {
                    curve: Some(v1::LearningCurve {
                        images: 10,
                        relu_counts: vec![100; epochs],
                        correct: vec![7; epochs],
                    }),
                    seconds: 1.5,
                }))?;
            }
            ["stopped"] => self.say(Event::Stopped(v1::Stopped::default()))?,
            ["failed", ..] => self.fail(v1::FailureClass::Diverged, words)?,
            ["refuse", ..] => self.fail(v1::FailureClass::BadCheckpoint, words)?,
            ["done"] => self.say(Event::Done(v1::Observation {
                relu_count: 10,
                relu_total: 100,
                epochs: 1,
                seconds: 0.5,
                skipped_images: 0,
                ..v1::Observation::default()
            }))?,
            ["work", steps, every, bytes, step_ms, ref salt @ ..] => {
                let pace = Pace {
                    steps: steps.parse()?,
                    every: every.parse()?,
                    bytes: bytes.parse()?,
                    step: Duration::from_millis(step_ms.parse()?),
                };
                return self.work(pace, &salt.concat()).map(Some);
            }
            ["hold"] => return self.hold().map(Some),
            ["once", name, ref step @ ..] => {
                let mark = Path::new(&self.start.data_folder).join(name);
                if std::fs::File::create_new(mark).is_ok() {
                    return Ok(Some(self.act(step)?.unwrap_or(ExitCode::SUCCESS)));
                }
            }
            ["exit", code] => return Ok(Some(ExitCode::from(code.parse::<u8>()?))),
            ["abort"] => std::process::abort(),
            _ => return self.act_in_group(words),
        }
        Ok(None)
    }

    /// As [`Self::act`], the steps that are about ranks.
    fn act_in_group(&self, words: &[&str]) -> Result<Option<ExitCode>, Failure> {
        match *words {
            ["rank", rank, ref step @ ..] => {
                let own = self.start.group.as_ref().map_or(0, |group| group.rank);
                if rank.parse::<u32>()? == own {
                    return self.act(step);
                }
            }
            ["meet", port] => self.say(Event::Meeting(v1::Meeting {
                port: port.parse()?,
            }))?,
            ["expect", "alone"] if self.start.group.is_none() => {}
            ["expect", "place", ref place @ ..] => self.expect_place(place)?,
            ["lost", ..] => self.fail(v1::FailureClass::TrainerError, words)?,
            _ => return Err(format!("no such step: {words:?}").into()),
        }
        Ok(None)
    }

    fn say(&self, event: Event) -> Result<(), Failure> {
        let event = v1::TrainerEvent { event: Some(event) };
        Ok(write_message(&mut &self.stream, &event)?)
    }

    /// Reports a failure with the words after the step's name.
    fn fail(&self, class: v1::FailureClass, words: &[&str]) -> Result<(), Failure> {
        self.say(Event::Failed(v1::TrainerFailed {
            class: class.into(),
            message: words.get(1..).unwrap_or_default().join(" "),
            lost_ranks: words.first() == Some(&"lost"),
        }))
    }

    /// Waits for a command. A stream that ends means that the worker is gone: exits, as every
    /// trainer must.
    fn wait(&self, what: &str) -> Result<Option<ExitCode>, Failure> {
        loop {
            match (command(&self.stream)?, what) {
                (None, _) => return Ok(Some(ExitCode::from(9))),
                (Some(Command::CheckpointNow(_)), "checkpoint")
                | (Some(Command::Stop(_)), "stop") => return Ok(None),
                (Some(_), _) => {}
            }
        }
    }

    fn checkpoint(&self, name: &str, step: u64, bytes: usize) -> Result<(), Failure> {
        let folder = Path::new(&self.start.scratch_folder).join(format!("{name}-{step}"));
        std::fs::create_dir(&folder)?;
        let tensors: Vec<u8> = (0..=250).cycle().take(bytes).collect();
        std::fs::write(folder.join("tensors.safetensors"), tensors)?;
        std::fs::write(folder.join("state.json"), format!("{name} {step}"))?;
        self.ready(name, step, &folder)
    }

    fn ready(&self, name: &str, step: u64, folder: &Path) -> Result<(), Failure> {
        let (role, output) = match name {
            "resume" => (v1::CheckpointRole::Resume, String::new()),
            name => (v1::CheckpointRole::Output, name.to_owned()),
        };
        self.say(Event::CheckpointReady(v1::CheckpointReady {
            role: role.into(),
            output,
            step,
            folder: folder.to_string_lossy().into_owned(),
        }))
    }

    fn expect_input(&self, index: usize, name: &str) -> Result<(), Failure> {
        let folder = self.start.input_folders.get(index).ok_or("no such input")?;
        let state = std::fs::read_to_string(PathBuf::from(folder).join("state.json"))?;
        if state.split(' ').next() == Some(name) {
            return Ok(());
        }
        Err(format!("expected an input {name}, found {state}").into())
    }

    /// The rank, of how many, and the port.
    fn expect_place(&self, place: &[&str]) -> Result<(), Failure> {
        let group = self.start.group.clone().unwrap_or_default();
        let found = [group.rank, group.ranks, group.port].map(|it| it.to_string());
        if found.each_ref().map(String::as_str) == *place && group.host == "127.0.0.1" {
            return Ok(());
        }
        Err(format!("expected the place {place:?}, found {group:?}").into())
    }

    fn expect_resume(&self, step: u64) -> Result<(), Failure> {
        let folder = Path::new(&self.start.resume_folder);
        let state = std::fs::read_to_string(folder.join("state.json"))?;
        if state == format!("resume {step}") {
            return Ok(());
        }
        Err(format!("expected the state of step {step}, found {state}").into())
    }
}
