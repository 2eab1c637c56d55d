//! A coordinator and a worker as real processes, which are started again whenever they end, as a
//! supervisor on a cluster does, and the commands of a person, who tries again until they work.

use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Finished, PATIENCE, Sandbox, finish, program};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What all processes of a crew are given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    /// The store.
    pub(crate) store: String,
    /// Variables.
    pub(crate) variables: Vec<(String, String)>,
    /// The trainer's program.
    pub(crate) trainer: String,
    /// [`lease_ttl`](autorep_coordinator::Config::lease_ttl) in seconds.
    pub(crate) lease_ttl_s: u32,
}

/// The processes, kept alive.
pub(crate) struct Crew<'a> {
    sandbox: &'a Sandbox,
    setting: Setting,
    address: String,
    coordinator: Option<Child>,
    worker: Option<Child>,
}

impl<'a> Crew<'a> {
    /// Starts a coordinator. It serves at an address of its own on loopback, which it can have
    /// again when it is started again.
    pub(crate) fn start(sandbox: &'a Sandbox, setting: Setting) -> Self {
        let mut crew = Self {
            sandbox,
            setting,
            address: format!("{}:7070", unused_loopback()),
            coordinator: None,
            worker: None,
        };
        crew.start_coordinator();
        crew
    }

    /// Where it works.
    pub(crate) const fn sandbox(&self) -> &'a Sandbox {
        self.sandbox
    }

    fn start_coordinator(&mut self) {
        let mut command = self.command(&["coordinator", "--listen", &self.address]);
        command
            .args(["--store", &self.setting.store])
            .args(["--lease-ttl", &format!("{}s", self.setting.lease_ttl_s)]);
        self.coordinator = Some(self.spawn("coordinator", command));
    }

    /// A second coordinator, which stands by. It listens at the same address once it serves.
    pub(crate) fn start_standby(&self) -> Child {
        let mut command = self.command(&["coordinator", "--standby", "--listen", &self.address]);
        command
            .args(["--store", &self.setting.store])
            .args(["--lease-ttl", &format!("{}s", self.setting.lease_ttl_s)]);
        self.spawn("standby", command)
    }

    /// Kills the coordinator. Whoever looks after the crew starts it again.
    pub(crate) fn kill_coordinator(&mut self) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.kill().unwrap();
        }
    }

    /// Kills the coordinator and lets another one be it.
    pub(crate) fn change_coordinators(&mut self, other: Child) {
        if let Some(mut old) = self.coordinator.replace(other) {
            old.kill().unwrap();
            old.wait().unwrap();
        }
    }

    /// Starts the worker.
    pub(crate) fn start_worker(&mut self) {
        let mut command = self.command(&["worker", "--name", "w", "--threads", "1"]);
        command
            .args(["--store", &self.setting.store])
            .args([
                "--trainer".as_ref(),
                program(&self.setting.trainer).as_os_str(),
            ])
            .args([
                "--scratch".as_ref(),
                self.sandbox.path("scratch").as_os_str(),
            ]);
        self.worker = Some(self.spawn("worker", command));
    }

    /// `autorep` with what everybody is given.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.autorep();
        command
            .args(arguments)
            .env("AUTOREP_COORDINATOR", format!("http://{}", self.address))
            .envs(self.setting.variables.iter().cloned());
        command
    }

    fn spawn(&self, name: &str, mut command: Command) -> Child {
        command
            .stdout(Stdio::null())
            .stderr(self.open_log(name))
            .spawn()
            .unwrap()
    }

    fn open_log(&self, name: &str) -> File {
        let path = self.log_path(name);
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.sandbox.path(&format!("{name}.log"))
    }

    /// Starts again who has ended.
    pub(crate) fn look_after(&mut self) {
        if ended(&mut self.coordinator).is_some() {
            self.start_coordinator();
        }
        if ended(&mut self.worker).is_some() {
            self.start_worker();
        }
    }

    /// A person's command, until it works; what it printed.
    #[track_caller]
    pub(crate) fn person(&mut self, arguments: &[&str]) -> String {
        let since = Instant::now();
        loop {
            let done = finish(&mut self.command(arguments));
            if done.status.success() {
                return done.stdout;
            }
            self.fail_late(since, &format!("{arguments:?}: {done:?}"));
            self.look_after();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The same once, whatever comes of it.
    pub(crate) fn person_once(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    /// Looks after the processes until something holds.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let since = Instant::now();
        while !holds(self) {
            self.fail_late(since, what);
            self.look_after();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Looks after the processes for a while.
    pub(crate) fn look_after_for(&mut self, time: Duration) {
        let since = Instant::now();
        self.wait_until("the time is over", |_| since.elapsed() >= time);
    }

    /// Waits until a sweep is done.
    #[track_caller]
    pub(crate) fn wait_until_done(&mut self, sweep: &str) {
        self.wait_until("the sweep is done", |crew| {
            let list = crew.person_once(&["list"]).stdout;
            let mut lines = list.lines().map(str::split_whitespace);
            lines.any(|mut line| line.next() == Some(sweep) && line.next() == Some("done"))
        });
    }

    /// Sends a signal to the worker, if it lives.
    pub(crate) fn signal_worker(&mut self, signal: Signal) {
        if let Some(worker) = &self.worker {
            let pid = Pid::from_raw(i32::try_from(worker.id()).unwrap()).unwrap();
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
    }

    #[track_caller]
    fn fail_late(&self, since: Instant, what: &str) {
        assert!(
            since.elapsed() < PATIENCE / 4,
            "still not: {what}\n--- coordinator\n{}\n--- worker\n{}",
            end_of(&self.log_path("coordinator")),
            end_of(&self.log_path("worker"))
        );
    }

    /// What the coordinator or the worker has logged, over all their starts.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_path(name)).unwrap_or_default()
    }
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        for mut child in [self.worker.take(), self.coordinator.take()]
            .into_iter()
            .flatten()
        {
            // It may have ended already.
            drop(child.kill());
            child.wait().unwrap();
        }
    }
}

/// Takes a process that has ended.
fn ended(child: &mut Option<Child>) -> Option<ExitStatus> {
    let status = child.as_mut()?.try_wait().unwrap()?;
    *child = None;
    Some(status)
}

fn end_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// An address of loopback that no other test uses: of the machine's process ids one is ours.
pub(crate) fn unused_loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < 256, "one process needs no more");
    let process = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        64 + (process[2] & 63),
        process[3],
        u8::try_from(number).unwrap(),
    )
}
