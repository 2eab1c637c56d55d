//! What daemons log where a machine reads it: one flat JSON object a line, which says what it is about.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::daemons::coordinator_on;
use crate::kill::{steps, tiny};
use crate::sandbox::{Running, Sandbox, finish, program};

/// What the worker says of its attempts, at least once each.
const OF_THE_WORKER: [&str; 5] = [
    "begins",
    "committed a checkpoint",
    "the attempt fails",
    "reported the failure",
    "ends",
];

/// The same of the coordinator.
const OF_THE_COORDINATOR: [&str; 4] = [
    "leased",
    "checkpoint committed",
    "attempt failed",
    "task done",
];

/// A line of a log, which has what every line has.
#[track_caller]
fn parsed(line: &str) -> Value {
    let parsed: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for fixed in ["timestamp", "level", "target", "message"] {
        assert!(parsed[fixed].is_string(), "no {fixed} in {line}");
    }
    let time = parsed["timestamp"].as_str().unwrap();
    assert!(time.contains('T') && time.ends_with('Z'), "{time}");
    let nested = parsed.as_object().unwrap().values();
    let is_flat = !nested.into_iter().any(|it| it.is_object() || it.is_array());
    assert!(is_flat, "not flat: {line}");
    for (field, value) in parsed.as_object().unwrap() {
        let text = value.as_str().unwrap_or_default();
        let is_of_rust = [" { ", "(\"", "Some("].iter().any(|it| text.contains(it));
        assert!(!is_of_rust, "{field} is written for Rust: {line}");
    }
    parsed
}

/// Checks that a line which says this has numbers in these fields.
#[track_caller]
fn has_numbers(log: &str, saying: &str, fields: &[&str]) {
    let mut lines = log.lines().map(parsed);
    let line = lines.find(|line| line["message"] == saying);
    let line = line.unwrap_or_else(|| panic!("{saying:?} is not in\n{log}"));
    for field in fields {
        assert!(line[field].is_number(), "{field} of {line}");
    }
}

/// The generations of each task that a log tells of; each line about an attempt says all of it.
#[track_caller]
fn attempts(log: &str, sayings: &[&str]) -> BTreeMap<String, BTreeSet<u64>> {
    let mut attempts: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut said: BTreeSet<&str> = BTreeSet::new();
    for line in log.lines() {
        let fields = parsed(line);
        let saying = fields["message"].as_str().unwrap();
        let known = sayings.iter().find(|it| **it == saying);
        said.extend(known);
        if known.is_none() && fields["task"].is_null() && fields["generation"].is_null() {
            let about = fields["target"].as_str().unwrap();
            assert!(!about.starts_with("autorep_worker::attempt"), "{line}");
            continue;
        }
        assert_eq!(fields["sweep"], "tiny", "{line}");
        assert_eq!(fields["worker"], "w", "{line}");
        let task = fields["task"]
            .as_str()
            .unwrap_or_else(|| panic!("no task: {line}"));
        let generation = fields["generation"].as_u64();
        let generation = generation.unwrap_or_else(|| panic!("no generation: {line}"));
        attempts
            .entry(task.to_owned())
            .or_default()
            .insert(generation);
    }
    let unsaid: Vec<_> = sayings.iter().filter(|it| !said.contains(*it)).collect();
    assert!(unsaid.is_empty(), "{unsaid:?} is not in\n{log}");
    attempts
}

#[test]
fn every_line_is_an_object_and_those_about_an_attempt_say_which() {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &tiny());
    let script = "once failed failed it diverges\nwork 6 2 4096 3\n";
    sandbox.write("data/fashion-mnist/script", script);
    let daemon = || {
        let mut command = sandbox.autorep();
        command.env("AUTOREP_LOG_FORMAT", "json");
        command.env("AUTOREP_LOG", "info,autorep_coordinator=debug");
        command
    };
    let (coordinator, url) = coordinator_on(&mut daemon(), "store");
    let mut submit = sandbox.autorep();
    submit.args(["submit", "sweep.yaml", "--coordinator", &url]);
    finish(&mut submit).expect_code(0);
    let mut worker = daemon();
    worker
        .args(["worker", "--name", "w", "--coordinator", &url])
        .args(["--store", "store", "--threads", "1", "--trainer"])
        .arg(program("autorep-trainer-double"));
    let worker = Running::start(&mut worker);
    let mut watch = sandbox.autorep();
    watch.args(["watch", "tiny", "--coordinator", &url]);
    finish(&mut watch).expect_code(0);

    let [told, worked] = [
        (coordinator, &OF_THE_COORDINATOR[..]),
        (worker, &OF_THE_WORKER[..]),
    ]
    .map(|(daemon, sayings)| {
        daemon.signal(rustix::process::Signal::TERM);
        let (status, log) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        (attempts(&log, sayings), log)
    });
    let ((told, _), (worked, log)) = (told, worked);
    has_numbers(&log, "registered", &["lease_ttl_s", "renew_every_s"]);
    has_numbers(&log, "ends", &["fetching_s", "training_s", "storing_s"]);
    has_numbers(&log, "worker ends", &["finished", "failed", "waiting_s"]);
    assert_eq!(told, worked);
    let tasks: BTreeSet<String> = steps(&sandbox).into_keys().collect();
    assert_eq!(told.len(), tasks.len());
    for short in told.keys() {
        assert!(
            tasks.iter().any(|task| task.starts_with(short)),
            "{short} of {tasks:?}"
        );
    }
    // One of them was tried twice.
    let mut generations: Vec<usize> = told.values().map(BTreeSet::len).collect();
    generations.sort_unstable();
    let (last, others) = generations.split_last().unwrap();
    assert!(*last == 2 && others.iter().all(|it| *it == 1), "{told:?}");
}

#[test]
fn a_daemon_that_cannot_work_says_why_in_the_format_of_its_log() {
    let sandbox = Sandbox::new();
    let refused = |format: &str| {
        let mut coordinator = sandbox.autorep();
        coordinator
            .args(["coordinator", "--store", "store", "--listen", "0.0.0.0:0"])
            .args(["--log-format", format]);
        finish(&mut coordinator).expect_code(1).stderr
    };
    for format in ["json", "auto"] {
        let said = refused(format);
        let last = parsed(said.lines().last().unwrap());
        assert_eq!(last["level"], "ERROR");
        let message = last["message"].as_str().unwrap();
        assert!(message.contains("--insecure-listen"), "{message}");
    }
    assert!(refused("text").starts_with("error: expected an address"));
    let mut other = sandbox.autorep();
    other
        .args(["coordinator", "--store", "store"])
        .env("AUTOREP_LOG_FORMAT", "xml");
    let other = finish(&mut other).expect_code(2);
    assert!(
        other.stderr.contains("[possible values: auto, text, json]"),
        "{}",
        other.stderr
    );
}
