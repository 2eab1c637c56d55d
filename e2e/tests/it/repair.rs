//! Damaged checkpoints are found by their digests, and what made them is done again.

use std::fs;

use rustix::process::Signal;

use crate::interrupt::undisturbed;
use crate::sandbox::{Running, Sandbox, finish};
use crate::store::outputs;
use crate::sweep::TINY;

#[test]
fn a_damaged_baseline_is_refused_by_its_digest_and_trained_again() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", TINY);
    let mut run = Running::start(&mut sandbox.run("store"));
    run.wait_for_line(&["done", "baseline"]);
    run.signal(Signal::KILL);
    run.wait();

    let baselines = || -> Vec<_> {
        let mut found = outputs(&sandbox.path("store"));
        found.retain(|output| output.kind == "baseline");
        found
    };
    let damaged = baselines();
    assert_eq!(damaged.len(), 1, "{damaged:#?}");
    let part = damaged[0].tensors();
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&part, &bytes).unwrap();

    let again = finish(&mut sandbox.run("store")).expect_code(0);
    assert!(again.stderr.contains("bad checkpoint"), "{}", again.stderr);
    assert!(
        again.stderr.contains("done    baseline"),
        "{}",
        again.stderr
    );
    // Of the two generations, the damaged one is deleted at the run's end.
    let redone = baselines();
    assert_eq!(redone.len(), 1, "{redone:#?}");
    assert_eq!(redone[0].task, damaged[0].task);
    assert_ne!(redone[0].folder, damaged[0].folder, "another generation");
    assert_eq!(sandbox.front_csv("store"), undisturbed(&sandbox));
}
