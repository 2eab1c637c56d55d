//! What trainers print, as a person follows it.

use std::fs::{self, File};
use std::process::Stdio;

use crate::crew::{Crew, Setting};
use crate::kill::tiny;
use crate::sandbox::Sandbox;

#[test]
fn a_running_trainers_log_is_followed_over_the_coordinators_death_and_nothing_comes_twice() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    let script = "stderr one\nawait checkpoint\nstderr two\nwork 2 1 64 1\n";
    sandbox.write("data/fashion-mnist/script", script);
    let setting = Setting {
        store: "store".to_owned(),
        variables: Vec::new(),
        trainer: "autorep-trainer-double".to_owned(),
        lease_ttl_s: 6,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "sweep.yaml"]);
    crew.start_worker();
    crew.wait_until("a task is running", |crew| {
        crew.log("worker").contains("begins")
    });
    let shown = crew.person(&["show", "tiny"]);
    let running = shown.lines().find_map(|line| line.strip_prefix("running"));
    let task = running.and_then(|line| line.split_whitespace().next());
    let task = task.unwrap_or_else(|| panic!("nothing runs: {shown}"));

    let (printed, said) = (sandbox.path("printed"), sandbox.path("said"));
    let mut command = crew.command(&["logs", "--follow", task]);
    command
        .stdout(File::create(&printed).unwrap())
        .stderr(File::create(&said).unwrap())
        .stdin(Stdio::null());
    let mut following = command.spawn().unwrap();
    let read = |path| fs::read_to_string(path).unwrap();
    crew.wait_until("what the trainer printed so far", |_| {
        read(&printed) == "one\n"
    });
    crew.kill_coordinator();
    crew.wait_until("it is noticed", |_| read(&said).contains("waiting for it"));
    crew.person(&["checkpoint", "tiny"]);
    crew.wait_until("the task is done", |crew| {
        // The checkpoint is asked for again: the worker may not have been back yet.
        crew.person(&["checkpoint", "tiny"]);
        following.try_wait().unwrap().is_some()
    });
    assert!(following.wait().unwrap().success(), "{}", read(&said));
    assert_eq!(read(&printed), "one\ntwo\n");
}
