//! Runs that are stopped midway, kindly or not, go on to the front of a run that was not.

use std::time::Duration;

use rustix::process::Signal;

use crate::sandbox::{Running, Sandbox, finish};
use crate::sweep::TINY;

/// The front of the tiny sweep, run undisturbed in a store of its own.
pub(crate) fn undisturbed(sandbox: &Sandbox) -> String {
    finish(&mut sandbox.run("undisturbed")).expect_code(0);
    sandbox.front_csv("undisturbed")
}

#[test]
fn a_run_that_was_killed_goes_on_to_the_same_front_and_leaves_nobody_behind() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let mut run = Running::start(&mut sandbox.run("store"));
    run.wait_for_line(&["done", "baseline"]);
    run.wait_for_line(&["start", "replace"]);
    run.signal(Signal::KILL);
    let (status, _) = run.wait();
    assert_eq!(status.code(), None, "it was killed");
    sandbox.wait_until_deserted(Duration::from_secs(15));

    let again = finish(&mut sandbox.run("store")).expect_code(0);
    assert!(
        !again.stderr.contains("done    baseline"),
        "{}",
        again.stderr
    );
    assert_eq!(sandbox.front_csv("store"), undisturbed(&sandbox));
    sandbox.wait_until_deserted(Duration::from_secs(15));
}

#[test]
fn a_run_that_was_asked_to_stop_exits_130_and_goes_on_from_there() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let mut run = Running::start(&mut sandbox.run("store"));
    run.wait_for_line(&["start", "replace"]);
    run.signal(Signal::TERM);
    let (status, stderr) = run.wait();
    assert_eq!(status.code(), Some(130), "{stderr}");
    sandbox.wait_until_deserted(Duration::from_secs(10));

    let again = finish(&mut sandbox.run("store")).expect_code(0);
    assert!(
        !again.stderr.contains("failed"),
        "a release is no failure: {}",
        again.stderr
    );
    assert_eq!(sandbox.front_csv("store"), undisturbed(&sandbox));
}

#[test]
fn workers_that_were_killed_are_replaced_and_two_make_the_same_front_as_one() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let mut run = Running::start(&mut sandbox.run_with_workers("store", 2));
    run.wait_for_line(&["start", "replace"]);
    sandbox.signal("autorep worker", Signal::KILL);
    run.wait_for_line(&["ended", "starting it again"]);
    run.wait_for_line(&["ended", "starting it again"]);
    let (status, stderr) = run.wait();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert_eq!(sandbox.front_csv("store"), undisturbed(&sandbox));
    sandbox.wait_until_deserted(Duration::from_secs(10));
}

#[test]
fn another_sweep_of_the_same_store_waits_and_says_so() {
    let sandbox = Sandbox::new();
    let other = TINY.replace("name: tiny", "name: other");
    assert_ne!(other, TINY, "the sweep is called tiny");
    sandbox.write("sweep.yaml", &other);
    let mut run = Running::start(&mut sandbox.run("store"));
    run.wait_for_line(&["start", "baseline"]);
    run.signal(Signal::TERM);
    let (status, stderr) = run.wait();
    assert_eq!(status.code(), Some(130), "{stderr}");

    sandbox.write("sweep.yaml", TINY);
    let tiny = finish(&mut sandbox.run("store")).expect_code(0);
    assert!(
        tiny.stderr.contains("paused the unfinished sweep other"),
        "{}",
        tiny.stderr
    );
    assert_eq!(sandbox.front_csv("store"), undisturbed(&sandbox));
    sandbox.write("sweep.yaml", &other);
    finish(&mut sandbox.run("store")).expect_code(0);
}
