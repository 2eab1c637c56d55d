//! A folder with a made-up data set, in which the built `autorep` runs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::dataset;

/// No wait in a test may be longer.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// Marks every process that a sandbox starts, and all that those start.
const MARK: &str = "AUTOREP_E2E_SANDBOX";

/// Where tests run `autorep`.
pub(crate) struct Sandbox {
    root: TempDir,
}

impl Sandbox {
    /// A new one, with data.
    pub(crate) fn new() -> Self {
        let root = TempDir::new().unwrap();
        dataset::write(&root.path().join("data/fashion-mnist"));
        Self { root }
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The built `autorep`, which finds the made-up data and nothing of this machine's settings.
    pub(crate) fn autorep(&self) -> Command {
        let mut command = Command::new(program("autorep"));
        for (name, _) in std::env::vars_os() {
            let known = name.to_string_lossy();
            if ["AUTOREP_", "OTEL_", "TRACE"]
                .iter()
                .any(|of| known.starts_with(of))
            {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.root.path())
            // Two workers of one name do not share a scratch folder.
            .env("TMPDIR", self.root.path())
            .env("AUTOREP_CONFIG", self.path("config.yaml"))
            .env("AUTOREP_DATA", self.path("data"))
            .env("AUTOREP_UNVERIFIED_DATA", "1")
            .env("AUTOREP_TRAINER", program("autorep-trainer"))
            .env(MARK, self.root.path())
            .stdin(Stdio::null());
        command
    }

    /// `autorep run` of the manifest in `sweep.yaml` on a store of this sandbox, with one worker.
    pub(crate) fn run(&self, store: &str) -> Command {
        self.run_with_workers(store, 1)
    }

    /// The same with any number of workers.
    pub(crate) fn run_with_workers(&self, store: &str, workers: u32) -> Command {
        let mut command = self.autorep();
        command
            .args(["run", "sweep.yaml", "--threads", "1"])
            .args(["--workers", &workers.to_string()])
            .args(["--store", store]);
        command
    }

    /// The front that a run has left in a store.
    pub(crate) fn front_csv(&self, store: &str) -> String {
        let path = self.path(store).join("sweeps/tiny/front.csv");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Sends a signal to every living process of this sandbox whose command line has `word`.
    #[track_caller]
    pub(crate) fn signal(&self, word: &str, signal: Signal) {
        let mut sent = 0;
        for (pid, line) in self.processes() {
            if line.contains(word) {
                kill_process(pid, signal).unwrap();
                sent += 1;
            }
        }
        assert!(sent > 0, "no {word:?} in {:#?}", self.processes());
    }

    /// Living processes that this sandbox started, directly or not, with their command lines.
    fn processes(&self) -> Vec<(Pid, String)> {
        let mark = format!("{MARK}={}", self.root.path().display());
        let mut living = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment
                .split(|byte| *byte == 0)
                .any(|it| it == mark.as_bytes())
            {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let name = entry.file_name();
                let pid = name
                    .to_str()
                    .and_then(|name| Pid::from_raw(name.parse().ok()?));
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                living.push((pid.unwrap(), line));
            }
        }
        living
    }

    /// Its trainers that live.
    pub(crate) fn trainers(&self) -> Vec<Pid> {
        let name = program("autorep-trainer");
        let name = name.to_str().unwrap();
        let trainers = self.processes().into_iter();
        let trainers = trainers.filter(|(_, line)| line.trim_end() == name);
        trainers.map(|(pid, _)| pid).collect()
    }

    /// Waits until no process that this sandbox started is left.
    #[track_caller]
    pub(crate) fn wait_until_deserted(&self, patience: Duration) {
        let since = Instant::now();
        loop {
            let living = self.processes();
            if living.is_empty() {
                return;
            }
            assert!(since.elapsed() < patience, "still there: {living:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Sandbox {
    /// A failed test leaves nobody behind either.
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// A built program: it lies in the folder above the one of this test's own binary.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "expected {}, found no file: `make test` builds it, and so does `cargo build --workspace \
         --bins` once libtorch is there",
        path.display()
    );
    path
}

/// Runs a command to its end and gives what it wrote as text.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    Finished::from(output)
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Checks the exit code and shows everything if it is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A command that runs, with its stderr as it comes. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts a command.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for a line on stderr that has all of `words`.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, words: &[&str]) -> String {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            match self.lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    let found = words.iter().all(|word| line.contains(word));
                    self.seen.push(line.clone());
                    if found {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        panic!("no line with {words:?} in:\n{}", self.seen.join("\n"));
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end and gives its status with everything that was on stderr.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            self.seen.extend(self.lines.try_iter());
            let seen = self.seen.join("\n");
            assert!(since.elapsed() < PATIENCE, "it does not end:\n{seen}");
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
            self.seen.push(line);
        }
        (status, self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
