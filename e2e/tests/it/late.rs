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
            .args(["coordinator", "--store", "store", "--lease-ttl", "2s"])
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

/// A worker in the middle of an attempt, all of whose messages are late from now on.
struct Late<'a> {
    bench: &'a Bench,
    wire: Wire,
    worker: Running,
}

impl<'a> Late<'a> {
    /// Starts it with a script of its own, and waits until it has begun a task of that kind.
    fn begin(bench: &'a Bench, script: &str, kind: &str) -> Self {
        let wire = Wire::to(bench.address, Duration::ZERO);
        fs::create_dir_all(bench.sandbox.path("own/fashion-mnist")).unwrap();
        bench.sandbox.write("own/fashion-mnist/script", script);
        let mut worker = bench.worker("late", wire.address(), "own");
        worker.wait_for_line(&["begins", &format!("\"{kind}\"")]);
        wire.hold();
        Self {
            bench,
            wire,
            worker,
        }
    }

    /// Once `sent` is on its way, the worker sends nothing more, not even that it has given up.
    /// Then its lease ends, and when another worker has begun its task, what it sent arrives.
    fn arrive(mut self, kind: &str, sent: impl Fn(&Wire) -> bool) {
        wait_until("the last message is sent", || {
            sent(&self.wire) && self.wire.is_quiet()
        });
        self.worker.signal(Signal::STOP);
        let mut other = self.bench.worker("other", self.bench.address, "data");
        other.wait_for_line(&["begins", &format!("\"{kind}\""), "\"generation\":2"]);
        let answered = self.wire.answered();
        self.wire.let_go();
        wait_until("it is answered", || self.wire.answered() > answered);
        assert_eq!(self.bench.front(), undisturbed(&tiny()).front);
        self.worker.signal(Signal::CONT);
        self.worker.wait_for_line(&["dropping the attempt"]);
    }
}

#[test]
fn a_commit_that_comes_after_its_lease_has_ended_is_refused() {
    let bench = Bench::start();
    // A step more makes another net.
    let late = Late::begin(&bench, "work 151 5000 4096 3\n", "baseline");
    late.arrive("baseline", |wire| {
        let manifest = bench.first_manifest().map(|path| fs::read(path).unwrap());
        manifest.is_some_and(|text| wire.has_come(Digest::of(&text).to_string().as_bytes()))
    });
}

#[test]
fn a_result_that_comes_after_its_lease_has_ended_is_refused() {
    let bench = Bench::start();
    let late = Late::begin(&bench, "work 150 30 4096 3 otherwise\n", "evaluate");
    // A thousand images that were measured: the field's tag and the number. Nothing but a result
    // has that.
    late.arrive("evaluate", |wire| wire.has_come(&[0x10, 0xe8, 0x07]));
}
