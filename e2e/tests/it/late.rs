//! Lines that are slow, and messages that come after their time.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use autorep_core::digest::Digest;
use rustix::process::Signal;

use crate::crew::unused_loopback;
use crate::kill::{steps, tiny};
use crate::network::{SHORT, undisturbed};
use crate::sandbox::{PATIENCE, Running, Sandbox, finish, program};
use crate::wire::Wire;

/// A coordinator on loopback, with a sweep.
struct Bench {
    sandbox: Sandbox,
    address: SocketAddr,
    _coordinator: Running,
}

impl Bench {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("sweep.yaml", &tiny());
        sandbox.write("data/fashion-mnist/script", SHORT);
        let address = SocketAddr::from((unused_loopback(), 7070));
        let mut command = sandbox.autorep();
        command
            .args(["coordinator", "--store", "store", "--lease-ttl", "2"])
            .args(["--listen", &address.to_string()]);
        let mut coordinator = Running::start(&mut command);
        coordinator.wait_for_line(&["coordinator ready"]);
        let bench = Self {
            sandbox,
            address,
            _coordinator: coordinator,
        };
        bench.person(&["submit", "sweep.yaml"]);
        bench
    }

    /// What a person's command prints.
    #[track_caller]
    fn person(&self, arguments: &[&str]) -> String {
        let mut command = self.sandbox.autorep();
        let coordinator = format!("http://{}", self.address);
        command
            .args(arguments)
            .env("AUTOREP_COORDINATOR", coordinator);
        finish(&mut command).expect_code(0).stdout
    }

    /// A worker that talks to the coordinator over a line, with a data folder of its own.
    fn worker(&self, name: &str, coordinator: SocketAddr, data: &str) -> Running {
        let mut command = self.sandbox.autorep();
        command
            .args(["worker", "--store", "store", "--name", name])
            .args(["--coordinator", &format!("http://{coordinator}")])
            .args([
                "--trainer".as_ref(),
                program("autorep-trainer-double").as_os_str(),
            ])
            .args(["--scratch", &format!("scratch-{name}")])
            .env("AUTOREP_DATA", self.sandbox.path(data));
        Running::start(&mut command)
    }

    /// The front, once the sweep is done.
    fn front(&self) -> String {
        let done = |list: &str| {
            list.lines()
                .any(|line| line.contains("tiny") && line.contains("done"))
        };
        wait_until("the sweep is done", || done(&self.person(&["list"])));
        self.person(&["front", "tiny", "--format", "csv"])
    }

    /// The manifest object of the first output that was ever stored.
    fn first_manifest(&self) -> Option<PathBuf> {
        let task = fs::read_dir(self.sandbox.path("store/tasks"))
            .ok()?
            .next()?
            .unwrap();
        let path = task.path().join("g1/out-net/manifest.json");
        path.exists().then_some(path)
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE / 4, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_slow_line_costs_time_alone() {
    let bench = Bench::start();
    let wire = Wire::to(bench.address, Duration::from_millis(100));
    let _worker = bench.worker("slow", wire.address(), "data");
    assert_eq!(bench.front(), undisturbed(&tiny()).front);
    let steps = steps(&bench.sandbox);
    assert!(
        steps
            .values()
            .all(|of_task| of_task.values().all(|times| *times == 1))
    );
}

#[test]
fn a_commit_that_comes_after_its_lease_has_ended_is_refused() {
    let bench = Bench::start();
    let wire = Wire::to(bench.address, Duration::ZERO);
    // Its result is another: were it taken for the task's, the front would be another.
    fs::create_dir_all(bench.sandbox.path("salted/fashion-mnist")).unwrap();
    bench
        .sandbox
        .write("salted/fashion-mnist/script", "work 150 5000 4096 3 salt\n");
    let mut late = bench.worker("late", wire.address(), "salted");
    late.wait_for_line(&["begins", "baseline"]);
    wire.hold();
    let mut manifest = None;
    wait_until("the output is stored", || {
        manifest = bench.first_manifest();
        manifest.is_some()
    });
    let digest = Digest::of(&fs::read(manifest.unwrap()).unwrap());
    let sent = digest.to_string();
    wait_until("the commit is sent", || {
        wire.has_come(sent.as_bytes()) || wire.has_come(digest.as_bytes())
    });
    // It sends nothing more, not even that it has given up.
    late.signal(Signal::STOP);
    let mut other = bench.worker("other", bench.address, "data");
    other.wait_for_line(&["begins", "baseline", "\"generation\":2"]);
    let answered = wire.answered();
    wire.let_go();
    wait_until("the commit is answered", || wire.answered() > answered);
    assert_eq!(bench.front(), undisturbed(&tiny()).front);
    late.signal(Signal::CONT);
    late.wait_for_line(&["dropping the attempt"]);
}
