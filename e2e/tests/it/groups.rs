//! Tasks that two workers train together, each with a rank of its own.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::daemons::coordinator_on;
use crate::ranks::{look, outputs};
use crate::sandbox::{Running, Sandbox, finish, program};
use crate::sweep::TINY;

/// The tiny sweep for two workers with a rank each. Its baseline is long enough to be disturbed; the
/// rest is as short as may be, for ranks that share busy cores wait for each other at every layer.
fn for_two_workers() -> String {
    TINY.replace("[450, 40%]", "[450]")
        .replace("replace: { epochs: 4", "replace: { epochs: 1")
        .replace("finetune: { epochs: 2", "finetune: { epochs: 1")
        .replace("{ every: 1s }", "{ every_steps: 3 }")
        + "  resources: { gpus: 2, nodes: 2 }\n"
}

/// A coordinator on a store, whose leases live for three seconds.
struct Lab<'a> {
    sandbox: &'a Sandbox,
    store: &'static str,
    url: String,
    coordinator: Running,
}

impl<'a> Lab<'a> {
    fn start(sandbox: &'a Sandbox, store: &'static str) -> Self {
        let mut autorep = sandbox.autorep();
        let (coordinator, url) = coordinator_on(autorep.env("AUTOREP_LEASE_TTL", "3s"), store);
        Self {
            sandbox,
            store,
            url,
            coordinator,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.autorep();
        command
            .args(arguments)
            .env("AUTOREP_COORDINATOR", &self.url);
        command
    }

    fn worker(&self, name: &str) -> Running {
        let mut worker = self.command(&["worker", "--store", self.store, "--name", name]);
        worker
            .args(["--threads", "1", "--ranks", "1"])
            .arg("--trainer")
            .arg(program("autorep-trainer"));
        Running::start(&mut worker)
    }

    /// Waits until the sweep is done, and ends everybody. The sweep's front.
    fn end(self, workers: Vec<Running>) -> String {
        finish(&mut self.command(&["watch", "tiny"])).expect_code(0);
        let front = finish(&mut self.command(&["front", "tiny", "--format", "csv"]));
        let front = front.expect_code(0).stdout;
        for daemon in workers.into_iter().chain([self.coordinator]) {
            daemon.signal(Signal::TERM);
            let (status, said) = daemon.wait();
            assert_eq!(status.code(), Some(0), "{said}");
        }
        front
    }

    /// Whether a task has committed a checkpoint to go on from.
    fn has_progressed(&self) -> bool {
        let folders = |path: &std::path::Path| fs::read_dir(path).into_iter().flatten().flatten();
        let tasks = self.sandbox.path(self.store).join("tasks");
        folders(&tasks)
            .flat_map(|task| folders(&task.path()).collect::<Vec<_>>())
            .flat_map(|generation| folders(&generation.path()).collect::<Vec<_>>())
            .any(|checkpoint| {
                let name = checkpoint.file_name().into_string().unwrap();
                name.starts_with("resume") && checkpoint.path().join("manifest.json").exists()
            })
    }
}

#[test]
fn two_workers_train_a_sweep_together_and_one_that_is_killed_and_replaced_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &for_two_workers());

    let lab = Lab::start(&sandbox, "undisturbed");
    let mut one = lab.worker("one");
    one.wait_for_line(&["registered"]);
    let submitted = finish(&mut lab.command(&["submit", "sweep.yaml"])).expect_code(0);
    assert!(
        submitted.stdout.contains("nodes: 2") || submitted.stderr.contains("nodes: 2"),
        "one worker is too few, and it is said: {submitted:?}"
    );
    let two = lab.worker("two");
    let wanted = lab.end(vec![one, two]);

    let lab = Lab::start(&sandbox, "disturbed");
    let (one, two) = (lab.worker("one"), lab.worker("two"));
    finish(&mut lab.command(&["submit", "sweep.yaml"])).expect_code(0);
    look("checkpoint", || lab.has_progressed().then_some(()));
    two.signal(Signal::KILL);
    let _killed = two.wait();
    let three = lab.worker("three");
    finish(&mut lab.command(&["watch", "tiny"])).expect_code(0);
    let shown = finish(&mut lab.command(&["show", "tiny"])).expect_code(0);
    assert!(
        shown.stdout.contains("the worker two was lost"),
        "{}",
        shown.stdout
    );
    assert_eq!(lab.end(vec![one, three]), wanted);
    let [wanted, found] = ["undisturbed", "disturbed"].map(|store| outputs(&sandbox.path(store)));
    assert_eq!(wanted.len(), 3, "a baseline, a search and a finetuning");
    assert!(found == wanted, "the nets differ");
}
