//! The daemons as a cluster runs them: a coordinator, a worker, and people who talk to them.

use std::process::Command;

use rustix::process::Signal;

use crate::kill::{steps, tiny};
use crate::sandbox::{Running, Sandbox, finish, program};
use crate::store::csv;
use crate::sweep::TINY;

/// A coordinator on a free port, with its address.
fn coordinator(sandbox: &Sandbox) -> (Running, String) {
    coordinator_on(&mut sandbox.autorep(), "store")
}

/// The same by this command, on this store.
pub(crate) fn coordinator_on(autorep: &mut Command, store: &str) -> (Running, String) {
    autorep.args(["coordinator", "--store", store, "--listen", "127.0.0.1:0"]);
    let mut coordinator = Running::start(autorep);
    let line = coordinator.wait_for_line(&["coordinator starts"]);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", line["listen"].as_str().unwrap());
    coordinator.wait_for_line(&["coordinator ready"]);
    (coordinator, url)
}

#[test]
fn a_submitted_sweep_is_worked_on_watched_and_printed() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &TINY.replace("[450, 40%]", "[450]"));
    let (coordinator, url) = coordinator(&sandbox);
    let lab = |arguments: &[&str]| -> Command {
        let mut command = sandbox.autorep();
        command.args(arguments).env("AUTOREP_COORDINATOR", &url);
        command
    };
    let submitted = finish(&mut lab(&["submit", "sweep.yaml"])).expect_code(0);
    assert_eq!(submitted.stdout, "tiny: 5 tasks, 0 done already\n");
    // Nobody works and nobody reads.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = lab(&["watch", "tiny"]).stdout(writer).status().unwrap();
    assert_eq!(unread.code(), Some(0));
    let mut worker = lab(&["worker", "--store", "store", "--threads", "1"]);
    worker.arg("--trainer").arg(program("autorep-trainer"));
    let worker = Running::start(&mut worker);

    let watched = finish(&mut lab(&["watch", "tiny"])).expect_code(0);
    assert!(
        watched.stdout.contains("[5/5] done    evaluate"),
        "{}",
        watched.stdout
    );
    let list = finish(&mut lab(&["list"])).expect_code(0);
    assert!(
        list.stdout
            .lines()
            .any(|line| line.contains("tiny") && line.contains("done"))
    );
    let paused = finish(&mut lab(&["pause", "tiny"])).expect_code(0);
    assert_eq!(paused.stdout, "tiny is done: nothing to pause\n");
    let resumed = finish(&mut lab(&["resume", "tiny"])).expect_code(0);
    assert_eq!(resumed.stdout, "tiny is done: nothing to resume\n");
    let asked = finish(&mut lab(&["checkpoint", "tiny"])).expect_code(0);
    assert_eq!(asked.stdout, "tiny: none of its tasks is running\n");
    let full = std::fs::File::create("/dev/full").unwrap();
    let full = lab(&["watch", "tiny"]).stdout(full).output().unwrap();
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    let front = finish(&mut lab(&["front", "tiny", "--format", "csv"])).expect_code(0);
    assert_eq!(csv(&front.stdout).len(), 2, "{}", front.stdout);
    let cancelled = finish(&mut lab(&["cancel", "tiny"])).expect_code(0);
    assert_eq!(cancelled.stdout, "tiny is done: nothing to cancel\n");
    let unknown = finish(&mut lab(&["show", "huge"])).expect_code(1);
    assert!(
        unknown.stderr.contains("`autorep list`"),
        "{}",
        unknown.stderr
    );

    end_well([worker, coordinator]);
    // The variable names a coordinator that is gone; a store that is given goes first.
    let mut offline = lab(&["front", "tiny", "--store", "store", "--format", "csv"]);
    assert_eq!(finish(&mut offline).expect_code(0).stdout, front.stdout);
}

/// Asks daemons to end, one after the other.
#[track_caller]
pub(crate) fn end_well<const COUNT: usize>(daemons: [Running; COUNT]) {
    for daemon in daemons {
        daemon.signal(Signal::TERM);
        let (status, stderr) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{stderr}");
    }
}

#[test]
fn an_address_that_others_reach_is_refused_unless_it_is_meant() {
    let sandbox = Sandbox::new();
    let arguments = ["coordinator", "--store", "store", "--listen", "0.0.0.0:0"];
    let refused = finish(sandbox.autorep().args(arguments)).expect_code(1);
    assert!(
        refused.stderr.contains("--insecure-listen"),
        "{}",
        refused.stderr
    );
    assert!(!sandbox.path("store").exists());

    let mut meant = Running::start(sandbox.autorep().args(arguments).arg("--insecure-listen"));
    meant.wait_for_line(&["coordinator ready"]);
}

#[test]
fn a_worker_with_another_store_ends_with_what_to_do_and_nothing_is_done_again() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    let (other, _) = coordinator_on(&mut sandbox.autorep(), "other");
    drop(other);
    let (coordinator, url) = coordinator(&sandbox);
    let lab = |arguments: &[&str]| -> Command {
        let mut command = sandbox.autorep();
        command.args(arguments).env("AUTOREP_COORDINATOR", &url);
        command
    };
    let worker = |store: &str| {
        let mut worker = lab(&["worker", "--name", "w", "--threads", "1", "--store", store]);
        worker
            .arg("--trainer")
            .arg(program("autorep-trainer-double"));
        worker
    };
    finish(&mut lab(&["submit", "sweep.yaml"])).expect_code(0);
    let mut right = Running::start(&mut worker("store"));
    right.wait_for_line(&["ends", "finished"]);
    right.signal(Signal::TERM);
    right.wait();

    let (status, refused) = Running::start(&mut worker("other")).wait();
    assert_eq!(status.code(), Some(1), "{refused}");
    for said in ["coordinator/store-id", "--store"] {
        assert!(refused.contains(said), "{said:?} is not in {refused}");
    }

    let right = Running::start(&mut worker("store"));
    let watched = finish(&mut lab(&["watch", "tiny"])).expect_code(0).stdout;
    assert!(!watched.contains("bad checkpoint"), "{watched}");
    for (task, steps) in steps(&sandbox) {
        assert!(steps.values().all(|it| *it == 1), "{task}: {steps:?}");
    }
    end_well([right, coordinator]);
}

#[test]
fn of_two_workers_with_one_name_the_later_works_and_the_other_waits() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", "work 6 2 4096 3\n");
    let (coordinator, url) = coordinator(&sandbox);
    let lab = |arguments: &[&str]| -> Command {
        let mut command = sandbox.autorep();
        command.args(arguments).env("AUTOREP_COORDINATOR", &url);
        command
    };
    let worker = |scratch: &str| {
        let mut worker = lab(&["worker", "--name", "w", "--threads", "1"]);
        worker
            .args(["--store", "store", "--scratch", scratch])
            .arg("--trainer")
            .arg(program("autorep-trainer-double"));
        Running::start(&mut worker)
    };
    let mut earlier = worker("one");
    earlier.wait_for_line(&["registered"]);
    let mut later = worker("two");
    later.wait_for_line(&["registered"]);
    earlier.wait_for_line(&["another process that is called w", "--name"]);

    finish(&mut lab(&["submit", "sweep.yaml"])).expect_code(0);
    let watched = finish(&mut lab(&["watch", "tiny"])).expect_code(0).stdout;
    assert!(!watched.contains("failed"), "{watched}");
    end_well([earlier, later, coordinator]);
}

#[test]
fn a_worker_on_a_gpu_that_is_not_there_ends_before_it_takes_a_task() {
    let sandbox = Sandbox::new();
    // Nobody is there: a worker that asked for a task would wait for ever.
    let coordinator = ["worker", "--coordinator", "http://127.0.0.1:9"];
    let mut worker = sandbox.autorep();
    worker
        .args(coordinator)
        .args(["--store", "store", "--device", "cuda:63"])
        .arg("--trainer")
        .arg(program("autorep-trainer"));
    let refused = finish(&mut worker).expect_code(1).stderr;
    assert!(refused.contains("--device cuda:63"), "{refused}");
}
