//! A trainer as a child process: started, told, listened to, and surely ended.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use autorep_proto::frame::FrameError;
use autorep_proto::v1::{TrainerCommand, TrainerEvent, trainer_command, trainer_event};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::causes::chain;
use crate::logs::{self, Tail};
use crate::stream;
use crate::wait::at;

/// How long a trainer may live after it closed its stream, and how long its streams may live
/// after it: processes that it started may hold them.
const LINGER: Duration = Duration::from_secs(5);

/// How long a killed process may take to end: one that waits for a device cannot be killed.
const DEAD_WITHIN: Duration = Duration::from_secs(30);

/// How libtorch's threads wait for one another. By default they spin, and where a core has more
/// than one thing to do a step then takes many times as long.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";

/// By what a coordinator or a collector of traces knows this worker. A trainer talks to nobody but its
/// worker, and needs none of it. Those of the store stay: data sets may lie in buckets.
const OF_WORKER: [&str; 11] = [
    "AUTOREP_TOKEN",
    "AUTOREP_TOKEN_FILE",
    "AUTOREP_CLIENT_CERT",
    "AUTOREP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "TRACESTATE",
];

/// Events read ahead. Beyond that a trainer that talks too fast waits.
const EVENTS_AHEAD: usize = 64;

/// Commands that the trainer has not read yet. It gets one start, one stop, and few requests for
/// a checkpoint; more of those say nothing new.
const COMMANDS_AHEAD: usize = 8;

/// How a trainer is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The binary.
    pub(crate) binary: PathBuf,
    /// Searched for shared libraries before anything else.
    pub(crate) library_path: Option<PathBuf>,
    /// The working directory.
    pub(crate) folder: PathBuf,
    /// The file that gets what it prints.
    pub(crate) log: PathBuf,
    /// The span that it works in, as a `traceparent`; empty where nothing is traced.
    pub(crate) traceparent: String,
}

impl Launch {
    /// What is to be run, without its streams.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .current_dir(&self.folder)
            // Ctrl-C on a terminal reaches a whole process group; the trainer is told by us.
            .process_group(0)
            .kill_on_drop(true);
        for variable in OF_WORKER {
            command.env_remove(variable);
        }
        match self.traceparent.as_str() {
            "" => command.env_remove("TRACEPARENT"),
            traceparent => command.env("TRACEPARENT", traceparent),
        };
        if let Some(first) = &self.library_path {
            command.env("LD_LIBRARY_PATH", library_path(first));
        }
        if std::env::var_os(WAIT_POLICY).is_none() {
            command.env(WAIT_POLICY, "passive");
        }
        command
    }

    /// Whether the binary or the folder is to blame: the system says the same of both.
    fn refused(&self, source: io::Error) -> SpawnError {
        match self.folder.read_dir() {
            Ok(_) => SpawnError::Process {
                binary: self.binary.clone(),
                source,
            },
            Err(source) => SpawnError::Folder {
                folder: self.folder.clone(),
                source,
            },
        }
    }
}

/// A trainer could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No socket pair.
    #[error("a socket for the trainer cannot be made")]
    Socket(#[source] io::Error),
    /// No folder to work in.
    #[error(
        "the folder {folder:?} cannot be used; give this worker a scratch folder with room that it can write to"
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No process.
    #[error("the binary {binary:?} cannot be started")]
    Process {
        /// The binary.
        binary: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a trainer has to say.
#[derive(Debug)]
pub(crate) enum Said {
    /// An event of the protocol.
    Event(trainer_event::Event),
    /// Nothing more: the process is gone and everything it said was handed out.
    Ended(End),
}

/// How a trainer ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// Which trainer, in words.
    pub(crate) who: String,
    /// The process's own end; absent if it could not be waited for.
    pub(crate) status: Option<ExitStatus>,
    /// What was wrong with its stream.
    pub(crate) broken: Option<FrameError>,
    /// The end of its standard error.
    pub(crate) stderr: Tail,
}

impl End {
    /// In words, as in "exit code 3" or "signal 9".
    pub(crate) fn describe(&self) -> String {
        let status = match self.status.map(|it| (it.code(), it.signal())) {
            Some((Some(code), _)) => format!("with exit code {code}"),
            Some((None, Some(signal))) => format!("by signal {signal}"),
            Some((None, None)) | None => "in an unknown way".to_owned(),
        };
        match &self.broken {
            Some(error) => format!("{status}; its stream broke: {}", chain(error)),
            None => status,
        }
    }
}

/// A running trainer. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct TrainerProcess {
    child: Child,
    commands: mpsc::Sender<TrainerCommand>,
    events: mpsc::Receiver<Result<trainer_event::Event, FrameError>>,
    log: JoinHandle<Tail>,
    /// Move commands and events; aborted with the set.
    _pumps: JoinSet<()>,
    /// When to wait no longer; set once the stream or the process has ended.
    overdue: Option<Instant>,
    killed: bool,
    status: Option<ExitStatus>,
    stream_open: bool,
    broken: Option<FrameError>,
}

impl TrainerProcess {
    /// Starts a trainer with one end of a socket as its standard input.
    pub(crate) fn spawn(launch: &Launch) -> Result<Self, SpawnError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(SpawnError::Socket)?;
        ours.set_nonblocking(true).map_err(SpawnError::Socket)?;
        let ours = UnixStream::from_std(ours).map_err(SpawnError::Socket)?;

        let mut command = launch.command();
        command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| launch.refused(source))?;
        // The command holds the trainer's end of the socket: while it lives, the stream of a
        // trainer that is gone would stay open.
        drop(command);

        let stdout = child.stdout.take().expect("it was asked for as a pipe");
        let stderr = child.stderr.take().expect("it was asked for as a pipe");
        let collect = logs::collect(stdout, stderr, launch.log.clone());
        let log = tokio::spawn(collect.in_current_span());
        let (read, mut write) = ours.into_split();
        let (commands, mut to_send) = mpsc::channel(COMMANDS_AHEAD);
        let (received, events) = mpsc::channel(EVENTS_AHEAD);
        let mut pumps = JoinSet::new();
        let send = async move {
            while let Some(command) = to_send.recv().await {
                if let Err(error) = stream::write_command(&mut write, &command).await {
                    // The other half of the stream tells what became of the trainer.
                    tracing::debug!(%error, "the trainer takes no more commands");
                    return;
                }
            }
        };
        pumps.spawn(send.in_current_span());
        pumps.spawn(receive(read, received));
        Ok(Self {
            child,
            commands,
            events,
            log,
            _pumps: pumps,
            overdue: None,
            killed: false,
            status: None,
            stream_open: true,
            broken: None,
        })
    }

    /// Sends a command. One that does not fit because the trainer reads nothing is left out.
    pub(crate) fn tell(&self, command: trainer_command::Command) {
        let command = TrainerCommand {
            command: Some(command),
        };
        if let Err(error) = self.commands.try_send(command) {
            tracing::debug!(%error, "a command to the trainer is left out");
        }
    }

    /// Ends the process at once. [`Self::next`] still tells how it ended.
    pub(crate) fn kill(&mut self) {
        if !self.killed {
            self.killed = true;
            self.overdue = Some(Instant::now() + DEAD_WITHIN);
        }
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "the trainer is gone already");
        }
    }

    /// The next thing the trainer says. Cancel safe; not to be called after [`Said::Ended`].
    pub(crate) async fn next(&mut self) -> Said {
        while self.stream_open || self.status.is_none() {
            let overdue = self.overdue;
            tokio::select! {
                biased;
                event = self.events.recv(), if self.stream_open => match event {
                    Some(Ok(event)) => return Said::Event(event),
                    Some(Err(error)) => {
                        self.broken = Some(error);
                        self.stream_open = false;
                        self.kill();
                    }
                    None => {
                        self.stream_open = false;
                        self.overdue = Some(Instant::now() + LINGER);
                    }
                },
                status = self.child.wait(), if self.status.is_none() => match status {
                    Ok(status) => {
                        self.status = Some(status);
                        self.overdue = Some(Instant::now() + LINGER);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the trainer cannot be waited for");
                        break;
                    }
                },
                () = at(overdue) => {
                    if self.status.is_none() && !self.killed {
                        self.kill();
                        continue;
                    }
                    if self.status.is_none() {
                        tracing::error!("the trainer was killed and does not end: is its device stuck?");
                    }
                    break;
                }
            }
        }
        let stderr = match tokio::time::timeout(LINGER, &mut self.log).await {
            Ok(Ok(tail)) => tail,
            // Somebody else holds the pipes, or the pump itself is broken.
            Ok(Err(_)) | Err(_) => Tail::default(),
        };
        Said::Ended(End {
            who: "the trainer".to_owned(),
            status: self.status,
            broken: self.broken.take(),
            stderr,
        })
    }
}

impl Drop for TrainerProcess {
    fn drop(&mut self) {
        self.log.abort();
    }
}

/// Reads events until the stream ends or breaks.
async fn receive(
    mut read: OwnedReadHalf,
    received: mpsc::Sender<Result<trainer_event::Event, FrameError>>,
) {
    loop {
        let item = match stream::read_event(&mut read).await {
            Ok(Some(TrainerEvent { event: Some(event) })) => Ok(event),
            // An event of a kind that this release does not know asks nothing of it.
            Ok(Some(TrainerEvent { event: None })) => continue,
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let over = item.is_err();
        if received.send(item).await.is_err() || over {
            return;
        }
    }
}

/// The inherited search path for shared libraries with `first` before it.
fn library_path(first: &Path) -> std::ffi::OsString {
    let mut paths = first.as_os_str().to_owned();
    if let Some(inherited) = std::env::var_os("LD_LIBRARY_PATH").filter(|it| !it.is_empty()) {
        paths.push(":");
        paths.push(inherited);
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trainer_is_not_given_by_what_its_worker_is_known() {
        let launch = Launch {
            traceparent: "00-4bf9-00f0-01".to_owned(),
            binary: "trainer".into(),
            library_path: None,
            folder: ".".into(),
            log: "log".into(),
        };
        let given = |launch: &Launch, name: &str| {
            let command = launch.command();
            let mut all = command.as_std().get_envs();
            let found = all.find(|(it, _)| *it == name);
            let (_, value) = found.unwrap_or_else(|| panic!("{name} is left as it is"));
            value.map(|it| it.to_string_lossy().into_owned())
        };
        for secret in [
            "AUTOREP_TOKEN",
            "AUTOREP_TOKEN_FILE",
            "AUTOREP_CLIENT_CERT",
            "AUTOREP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        ] {
            assert_eq!(given(&launch, secret), None, "{secret}");
        }
        let traceparent = Some("00-4bf9-00f0-01".to_owned());
        assert_eq!(given(&launch, "TRACEPARENT"), traceparent);
        let untraced = Launch {
            traceparent: String::new(),
            ..launch
        };
        assert_eq!(given(&untraced, "TRACEPARENT"), None);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_used_is_told_from_a_binary_that_cannot() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = |binary: &str, name: &str| {
            let launch = Launch {
                binary: binary.into(),
                library_path: None,
                folder: folder.path().join(name),
                log: folder.path().join("log"),
                traceparent: String::new(),
            };
            TrainerProcess::spawn(&launch).map(drop)
        };
        let gone = spawn("/bin/true", "gone");
        assert!(matches!(gone, Err(SpawnError::Folder { .. })), "{gone:?}");
        let no_binary = spawn("/no/binary", "");
        assert!(
            matches!(no_binary, Err(SpawnError::Process { .. })),
            "{no_binary:?}"
        );
    }
}
