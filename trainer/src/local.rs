//! Works on one task without a worker, for people who look for a fault or measure.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use autorep_proto::v1;
use autorep_proto::v1::trainer_event::Event;

use crate::host::{Command, Host, HostGone, Outcome};
use crate::journal::progress_line;
use crate::task;

/// How `autorep-trainer local` is used.
pub const USAGE: &str = "\
usage: autorep-trainer local SPEC.json --data DIR|URL --out DIR [--input DIR]... [--weights DIR|URL]
           [--resume DIR] [--device cpu|cuda:N] [--threads N] [--checkpoint-every SECONDS]
           [--checkpoint-every-steps STEPS] [--stop-after EPOCHS]
           [--data-cache-folder DIR --data-cache BYTES]

Works on the task that SPEC.json describes (the `spec` in a checkpoint's state.json is one) without
a worker. Progress goes to stderr, the observation as JSON to stdout, checkpoints to folders in the
output folder. Inputs are folders of outputs of earlier tasks, in the order of the spec's inputs.
Files of weights that a baseline starts from or a teacher has are looked for below --weights.
--data is the data set's own folder or place in a bucket, of which whole shards are kept in
--data-cache-folder up to --data-cache bytes.
";

/// Parses the arguments after `local`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<v1::StartTask> {
    let mut start = v1::StartTask {
        device: "cpu".to_owned(),
        ..v1::StartTask::default()
    };
    let mut spec = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(name) = argument.to_str().filter(|text| text.starts_with("--")) else {
            if spec.replace(PathBuf::from(&argument)).is_some() {
                bail!("expected one spec, found a second: {}", argument.display());
            }
            continue;
        };
        let value = arguments
            .next()
            .and_then(|value| value.into_string().ok())
            .with_context(|| format!("expected a value in UTF-8 after {name}"))?;
        let number = || {
            value
                .parse()
                .with_context(|| format!("expected a number after {name}"))
        };
        match name {
            "--data" => start.data_folder = value,
            "--weights" => start.weights_place = value,
            "--out" => start.scratch_folder = value,
            "--input" => start.input_folders.push(value),
            "--resume" => start.resume_folder = value,
            "--device" => start.device = value,
            "--data-cache-folder" => start.data_cache_folder = value,
            "--data-cache" => {
                start.data_cache_bytes = value
                    .parse()
                    .with_context(|| format!("expected bytes after {name}"))?;
            }
            "--threads" => start.threads = number()?,
            "--checkpoint-every" => start.checkpoint_every_s = number()?,
            "--stop-after" => start.stop_after = Some(number()?),
            "--checkpoint-every-steps" => start.checkpoint_every_steps = number()?,
            _ => bail!("unknown option {name}\n{USAGE}"),
        }
    }
    let Some(spec) = spec else {
        bail!("expected the path of a spec\n{USAGE}");
    };
    if start.data_folder.is_empty() || start.scratch_folder.is_empty() {
        bail!("expected --data and --out\n{USAGE}");
    }
    start.spec = read(&spec)?;
    Ok(start)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the spec {}", path.display()))
}

/// Works on the task to its end.
pub fn run(start: &v1::StartTask) -> anyhow::Result<()> {
    std::fs::create_dir_all(&start.scratch_folder)
        .with_context(|| format!("cannot create {}", start.scratch_folder))?;
    if let Outcome::Done(observation) = task::work(start, &mut Terminal)? {
        writeln!(
            std::io::stdout(),
            "{}",
            serde_json::to_string(&observation)?
        )?;
    }
    Ok(())
}

/// A person at a terminal.
struct Terminal;

impl Host for Terminal {
    fn command(&mut self) -> Result<Option<Command>, HostGone> {
        Ok(None)
    }

    fn report(&mut self, event: Event) -> Result<(), HostGone> {
        let line = match event {
            Event::Progress(progress) => progress_line(&progress),
            Event::CheckpointReady(ready) => format!("checkpoint {}", ready.folder),
            Event::Done(_) | Event::Stopped(_) | Event::Failed(_) | Event::Meeting(_) => {
                return Ok(());
            }
        };
        writeln!(std::io::stderr(), "{line}").map_err(|error| HostGone(error.to_string()))
    }
}
