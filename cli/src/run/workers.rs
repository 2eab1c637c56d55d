//! The worker processes of `autorep run`: started, watched, started again when they die.
//!
//! Each is a process group of its own, so that Ctrl-C in a terminal reaches only us, and has a
//! pipe from us as its standard input: when we die, however that happens, the pipe ends and the
//! worker with it; its trainer ends when its own stream does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use autorep_core::data::DataRoot;
use autorep_transport::Secret;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often a worker that keeps dying is started again.
const MAX_RESTARTS: u32 = 5;

/// A worker that lived this long has not just kept dying.
const STEADY_AFTER: Duration = Duration::from_mins(10);

/// Before a worker is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// How long a worker may take to checkpoint, commit and release when asked to stop.
const STOP_GRACE: Duration = Duration::from_mins(1);

/// Lines of the workers' stderr that wait to be shown; more are dropped.
const WAITING_LINES: usize = 256;

/// The longest line that is shown whole.
const LINE_BYTES: u64 = 4096;

/// Variables that say how a worker talks to a coordinator elsewhere, or is watched there.
const OF_OTHERS: [&str; 6] = [
    "AUTOREP_CA",
    "AUTOREP_CLIENT_CERT",
    "AUTOREP_CLIENT_KEY",
    "AUTOREP_TOKEN_FILE",
    "AUTOREP_PLAIN_TOKEN",
    "AUTOREP_METRICS_LISTEN",
];

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// This program.
    pub program: PathBuf,
    /// Where the coordinator serves.
    pub coordinator: String,
    /// The token by which it knows its workers.
    pub token: Secret,
    /// The store's folder.
    pub store: PathBuf,
    /// Where the data sets lie.
    pub data: DataRoot,
    /// The folder for whole shards of data sets in a bucket.
    pub data_cache_folder: PathBuf,
    /// Bytes that all files in it may have together.
    pub data_cache_bytes: u64,
    /// The trainer's binary.
    pub trainer: PathBuf,
    /// A folder with a CUDA build of libtorch.
    pub torch_lib: Option<PathBuf>,
    /// The folder for files in flight.
    pub scratch: PathBuf,
    /// Ranks of each worker.
    pub ranks: u32,
    /// GPUs that each says that it has.
    pub offer_gpus: u32,
    /// CPU threads of each trainer.
    pub threads: usize,
    /// What is true of this machine.
    pub labels: Vec<String>,
}

impl WorkerCommand {
    fn command(&self, slot: &Slot) -> Command {
        let mut command = Command::new(&self.program);
        // What a person has set for another coordinator is not for this one.
        for variable in OF_OTHERS {
            command.env_remove(variable);
        }
        command.env("AUTOREP_TOKEN", self.token.expose());
        let option = |name: &str, value: OsString| [OsString::from(name), value];
        command
            .arg("worker")
            .args(option("--coordinator", self.coordinator.clone().into()))
            .args(option("--store", self.store.clone().into()))
            .args(option("--data", self.data.to_argument()))
            .args(option(
                "--data-cache-folder",
                self.data_cache_folder.clone().into(),
            ))
            .args(option(
                "--data-cache",
                self.data_cache_bytes.to_string().into(),
            ))
            .args(option("--trainer", self.trainer.clone().into()))
            .args(option("--scratch", self.scratch.clone().into()))
            .args(option("--threads", self.threads.to_string().into()))
            .args(option("--ranks", self.ranks.to_string().into()))
            .args(option("--offer-gpus", self.offer_gpus.to_string().into()))
            .args(option("--device", slot.device.clone().into()))
            .args(option("--name", slot.name.clone().into()))
            .arg("--exit-with-parent")
            // Its lines are shown to a person, whatever a daemon of this machine would write.
            .args(option("--log-format", "text".into()))
            .args((self.labels.iter()).flat_map(|label| option("--label", label.clone().into())))
            .args(
                self.torch_lib
                    .iter()
                    .flat_map(|folder| option("--torch-lib", folder.into())),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// One worker's place: it keeps its name when it is started again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// The worker's name.
    pub name: String,
    /// What it trains on: `cpu` or `cuda:N`.
    pub device: String,
}

/// The workers.
#[derive(Debug)]
pub struct Fleet {
    slots: JoinSet<Result<()>>,
    stop: CancellationToken,
    kill: CancellationToken,
    lines: mpsc::Receiver<String>,
}

impl Fleet {
    /// Starts a worker for each slot.
    pub fn start(command: &WorkerCommand, slots: Vec<Slot>) -> Self {
        let (sender, lines) = mpsc::channel(WAITING_LINES);
        let mut fleet = Self {
            slots: JoinSet::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            lines,
        };
        for slot in slots {
            let keeper = Keeper {
                command: command.clone(),
                slot,
                stop: fleet.stop.clone(),
                kill: fleet.kill.clone(),
                lines: sender.clone(),
            };
            fleet.slots.spawn(keeper.keep());
        }
        fleet
    }

    /// The next thing to tell: a line that a worker wrote, or that a worker is lost for good,
    /// which is an error once none is left. Cancel-safe.
    pub async fn event(&mut self) -> Result<String> {
        tokio::select! {
            Some(line) = self.lines.recv() => Ok(line),
            ended = self.slots.join_next() => match ended {
                Some(Ok(Err(error))) if self.slots.is_empty() => {
                    Err(error.context("expected a worker to go on, found that all have ended"))
                }
                Some(Ok(Err(error))) => Ok(format!("{error:#}")),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(Ok(()))) | None => Err(anyhow!(
                    "expected a worker to go on, found that all have ended"
                )),
            },
        }
    }

    /// Asks every worker to checkpoint, commit, release and exit.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends every worker and trainer at once.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// Waits until every worker has ended and hands over what they wrote meanwhile. Cancel-safe.
    pub async fn ended(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                biased;
                Some(line) = self.lines.recv() => return Some(line),
                ended = self.slots.join_next() => match ended {
                    None => return None,
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(error))) => return Some(format!("{error:#}")),
                    Some(Err(error)) => return Some(error.to_string()),
                },
            }
        }
    }
}

/// Keeps one worker running.
struct Keeper {
    command: WorkerCommand,
    slot: Slot,
    stop: CancellationToken,
    kill: CancellationToken,
    lines: mpsc::Sender<String>,
}

impl Keeper {
    async fn keep(self) -> Result<()> {
        let name = &self.slot.name;
        let mut restarts = 0;
        loop {
            let since = Instant::now();
            let mut child = self
                .command
                .command(&self.slot)
                .spawn()
                .with_context(|| format!("start {name}"))?;
            // Kept open as long as we live: its end tells the worker that we do not. Waiting for
            // a child that still has it would close it.
            let _lifeline = child.stdin.take();
            // A group has its leader's number.
            let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            if let Some(stderr) = child.stderr.take() {
                tokio::spawn(relay(stderr, name.clone(), self.lines.clone()));
            }
            let ended = self.watch(&mut child, group).await?;
            let Some(status) = ended else {
                return Ok(());
            };
            // What a dead worker leaves of its group is a trainer without a purpose.
            end_group(group);
            if since.elapsed() >= STEADY_AFTER {
                restarts = 0;
            }
            if restarts == MAX_RESTARTS {
                return Err(anyhow!(
                    "expected {name} to work, found that it ended ({status}) {} times",
                    MAX_RESTARTS + 1
                ));
            }
            restarts += 1;
            self.say(format!(
                "{name} ended ({status}); starting it again ({restarts} of {MAX_RESTARTS})"
            ));
            tokio::select! {
                () = tokio::time::sleep(RESTART_AFTER) => {}
                () = self.stop.cancelled() => return Ok(()),
                () = self.kill.cancelled() => return Ok(()),
            }
        }
    }

    /// Waits for the child's end: its status, or nothing if it was to end.
    async fn watch(&self, child: &mut Child, group: Option<Pid>) -> Result<Option<ExitStatus>> {
        tokio::select! {
            status = child.wait() => return Ok(Some(status?)),
            () = self.stop.cancelled() => {}
            () = self.kill.cancelled() => {}
        }
        if !self.kill.is_cancelled()
            && let Some(worker) = group
            && kill_process(worker, Signal::TERM).is_ok()
        {
            tokio::select! {
                status = child.wait() => {
                    status?;
                    end_group(group);
                    return Ok(None);
                }
                () = self.kill.cancelled() => {}
                () = tokio::time::sleep(STOP_GRACE) => self.say(format!(
                    "{} did not stop in {} s; ending it", self.slot.name, STOP_GRACE.as_secs()
                )),
            }
        }
        end_group(group);
        child.kill().await?;
        Ok(None)
    }

    fn say(&self, line: String) {
        // A full queue means that enough is being said.
        drop(self.lines.try_send(line));
    }
}

/// Ends a worker and its trainer at once. That nobody is left is fine.
fn end_group(group: Option<Pid>) {
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Hands a worker's stderr over line by line, to its end.
async fn relay(stderr: ChildStderr, name: String, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut reader)
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                drop(lines.try_send(format!("{name}: {}", line.trim_end())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fleet(folder: &std::path::Path, script: &str) -> Fleet {
        let program = folder.join("worker.sh");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let command = WorkerCommand {
            token: Secret::generate().unwrap(),
            program,
            coordinator: "http://127.0.0.1:1".to_owned(),
            store: folder.into(),
            data: folder.into(),
            data_cache_folder: folder.into(),
            data_cache_bytes: 0,
            trainer: folder.into(),
            torch_lib: None,
            scratch: folder.into(),
            threads: 1,
            ranks: 1,
            offer_gpus: 0,
            labels: Vec::new(),
        };
        let slot = Slot {
            name: "worker-0".to_owned(),
            device: "cpu".to_owned(),
        };
        Fleet::start(&command, vec![slot])
    }

    #[tokio::test]
    async fn what_a_worker_writes_to_stderr_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = fleet(folder.path(), "echo hello >&2; cat");
        assert_eq!(fleet.event().await.unwrap(), "worker-0: hello");
        fleet.kill();
        assert_eq!(fleet.ended().await, None);
    }

    #[tokio::test]
    async fn a_workers_standard_input_does_not_end_while_we_live() {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = fleet(folder.path(), "echo ready >&2; cat; echo orphaned >&2");
        assert_eq!(fleet.event().await.unwrap(), "worker-0: ready");
        let more = tokio::time::timeout(Duration::from_millis(300), fleet.event()).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test]
    async fn a_worker_that_dies_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut fleet = fleet(folder.path(), "echo x > /dev/null; exit 3");
        let line = fleet.event().await.unwrap();
        assert!(line.contains("starting it again (1 of 5)"), "{line}");
        let line = fleet.event().await.unwrap();
        assert!(line.contains("starting it again (2 of 5)"), "{line}");
        fleet.stop();
        assert_eq!(fleet.ended().await, None);
    }

    #[tokio::test]
    async fn a_stopped_worker_may_finish_and_is_not_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "trap 'echo bye >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done";
        let mut fleet = fleet(folder.path(), script);
        assert_eq!(fleet.event().await.unwrap(), "worker-0: ready");
        fleet.stop();
        let said = fleet.ended().await;
        assert_eq!(said.as_deref(), Some("worker-0: bye"));
        assert_eq!(fleet.ended().await, None);
    }
}
