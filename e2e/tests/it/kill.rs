//! Processes that are killed at every point where it matters: nothing is lost, and nothing that
//! was done is done again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use autorep_failpoint::{MARK_ENV, POINT_ENV, Point};
use rustix::process::Signal;

use crate::crew::{Crew, Setting};
use crate::kept;
use crate::sandbox::Sandbox;
use crate::sweep::TINY;

/// Sweeps that are lived through at a time: most of the time is spent waiting for disks.
const AT_ONCE: usize = 3;

/// What the stand-in for the trainer does: every kind of end that an attempt can have, each once,
/// and then its work of six steps, of which two are between checkpoints.
const SCRIPT: &str = "\
once failed failed by bad luck
once lost hold
once held hold
once refused refuse what was left
work 6 2 BYTES 3
";

/// Steps that a killed worker's attempt may have done since its last checkpoint.
const BETWEEN_CHECKPOINTS: usize = 2;

/// What is left of a sweep that was lived through.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) front: String,
    /// By task, how often each step was done.
    steps: BTreeMap<String, BTreeMap<u64, usize>>,
    died: bool,
    /// What is wrong with what was left in the store, if anything is.
    spoilt: Option<String>,
}

impl Lived {
    /// Takes stock of a sweep that is done.
    pub(crate) fn new(mut crew: Crew<'_>, died: bool) -> Self {
        Self {
            front: crew.person(&["front", "tiny", "--format", "csv"]),
            steps: steps(crew.sandbox()),
            died,
            spoilt: None,
        }
    }

    /// Steps that were done more than once, by task.
    pub(crate) fn redone(&self) -> BTreeMap<&str, usize> {
        let of = |steps: &BTreeMap<u64, usize>| -> usize { steps.values().map(|it| it - 1).sum() };
        let tasks = self
            .steps
            .iter()
            .map(|(task, steps)| (task.as_str(), of(steps)));
        tasks.filter(|(_, redone)| *redone > 0).collect()
    }
}

/// The smallest sweep that has every kind of task, and patience.
pub(crate) fn tiny() -> String {
    TINY.replace("[450, 40%]", "[450]")
        .replace("attempts: 3", "attempts: 9")
}

/// A store that is no folder.
pub(crate) struct Remote<'a> {
    /// Its URL.
    pub(crate) url: String,
    /// What whoever uses it is given.
    pub(crate) variables: Vec<(String, String)>,
    /// Copies its `tasks` into a folder, and says what lies beside them there.
    pub(crate) copy: &'a dyn Fn(&Path) -> PathBuf,
}

/// A sweep with everything that happens to sweeps, and with one process that dies at `point`.
pub(crate) fn live_through(remote: Option<&Remote<'_>>, point: Option<Point>) -> Lived {
    let sandbox = Sandbox::new();
    let tiny = tiny().replace("{ every: 1s }", "{ every: 1s, keep: front }");
    sandbox.write("sweep.yaml", &tiny);
    sandbox.write(
        "other.yaml",
        &tiny
            .replace("name: tiny", "name: other")
            .replace("[450]", "[500]"),
    );
    // Larger than what is stored in one request, where that is what matters.
    let in_pieces = matches!(
        point,
        Some(Point::WorkerBeforePiece | Point::WorkerBeforeWhole)
    );
    let bytes = if in_pieces { 9 << 20 } else { 4096 };
    let script = SCRIPT.replace("BYTES", &bytes.to_string());
    sandbox.write("data/fashion-mnist/script", &script);
    let mark = sandbox.path("mark");
    let setting = Setting {
        store: remote.map_or("store".to_owned(), |it| it.url.clone()),
        variables: [
            remote.map(|it| it.variables.clone()).unwrap_or_default(),
            order(point, &mark),
        ]
        .concat(),
        trainer: "autorep-trainer-double".to_owned(),
        lease_ttl_s: 6,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "other.yaml"]);
    crew.person(&["cancel", "other"]);
    crew.person(&["submit", "sweep.yaml"]);
    crew.person(&["pause", "tiny"]);
    crew.person(&["resume", "tiny"]);
    crew.start_worker();
    for (name, signal) in [("lost", Signal::KILL), ("held", Signal::TERM)] {
        let file = sandbox.path("data/fashion-mnist").join(name);
        crew.wait_until(name, |_| file.exists());
        crew.signal_worker(signal);
    }
    crew.wait_until_done("tiny");
    let tidied = kept::tidy(&mut crew, |name| match remote {
        None => sandbox.path("store"),
        Some(remote) => (remote.copy)(&sandbox.path(name)),
    });
    // What is gone is not missed: everything is done.
    let again = crew.person(&["submit", "sweep.yaml"]);
    let missed = (again != "tiny: 5 tasks, 5 done already\n").then_some(again);
    Lived {
        spoilt: tidied.err().or(missed),
        ..Lived::new(crew, mark.exists())
    }
}

/// The variables that make a process die at a point.
fn order(point: Option<Point>, mark: &Path) -> Vec<(String, String)> {
    let Some(point) = point else {
        return Vec::new();
    };
    vec![
        (POINT_ENV.to_owned(), point.name().to_owned()),
        (MARK_ENV.to_owned(), mark.to_str().unwrap().to_owned()),
    ]
}

/// By task, how often each step was done until now.
pub(crate) fn steps(sandbox: &Sandbox) -> BTreeMap<String, BTreeMap<u64, usize>> {
    let path = sandbox.path("data/fashion-mnist/steps");
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut steps: BTreeMap<String, BTreeMap<u64, usize>> = BTreeMap::new();
    for line in text.lines() {
        let [task, _, step, _] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?}");
        };
        let of_task = steps.entry(task.to_owned()).or_default();
        *of_task.entry(step.parse().unwrap()).or_default() += 1;
    }
    steps
}

/// By task, its kind.
pub(crate) fn kinds(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let text = fs::read_to_string(sandbox.path("data/fashion-mnist/steps")).unwrap();
    let words = text.lines().map(|line| line.split(' ').take(2));
    words
        .map(|mut words| [words.next(), words.next()].map(|it| it.unwrap().to_owned()))
        .map(|[task, kind]| (task, kind))
        .collect()
}

/// How many steps may be done again when a process dies at a point: none if it was not training,
/// or if its work is durable.
fn redone_at_most(point: Point) -> usize {
    let name = point.name();
    let idle = [
        Point::WorkerAfterRegister,
        Point::WorkerAfterAcquire,
        Point::WorkerAfterFetch,
        Point::WorkerAfterFinish,
        Point::WorkerBeforeFail,
        Point::WorkerAfterFail,
        Point::WorkerBeforeRelease,
        Point::WorkerAfterRelease,
    ];
    if name.starts_with("coordinator-") || idle.contains(&point) {
        0
    } else {
        BETWEEN_CHECKPOINTS
    }
}

/// What is wrong with how a sweep went; nothing if all is well.
fn verdict(point: Point, lived: &Lived, undisturbed: &Lived) -> Option<String> {
    let name = point.name();
    let tasks = |lived: &Lived| lived.steps.keys().cloned().collect::<BTreeSet<_>>();
    let redone = lived.redone();
    let count: usize = redone.values().sum();
    let allowed = redone_at_most(point);
    let problem = if !lived.died {
        "was never reached".to_owned()
    } else if lived.front != undisturbed.front {
        format!(
            "another front:\n{}\nexpected\n{}",
            lived.front, undisturbed.front
        )
    } else if tasks(lived) != tasks(undisturbed) {
        format!("other tasks: {:#?}", lived.steps)
    } else if redone.len() > 1 || count > allowed {
        format!("steps were done again, of which {allowed} of one task may be: {redone:#?}")
    } else if let Some(spoilt) = &lived.spoilt {
        spoilt.clone()
    } else {
        return None;
    };
    Some(format!("{name}: {problem}"))
}

/// Tries all points, several at a time, and fails if one of them ended in a problem.
fn at_once(points: Vec<Point>, problem_at: impl Fn(Point) -> Option<String> + Sync) {
    assert!(!points.is_empty());
    let waiting = Mutex::new(VecDeque::from(points));
    let problems = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(point) = waiting.lock().unwrap().pop_front() else {
                        return;
                    };
                    let problem = problem_at(point);
                    problems.lock().unwrap().extend(problem);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Lives through one sweep for each point at which the coordinator or the worker can die.
pub(crate) fn live_through_all(live: impl Fn(Option<Point>) -> Lived + Sync) {
    let undisturbed = live(None);
    assert!(undisturbed.redone().is_empty(), "{undisturbed:#?}");
    assert_eq!(undisturbed.steps.len(), 5, "{undisturbed:#?}");
    assert_eq!(undisturbed.spoilt, None, "{undisturbed:#?}");
    at_once(points_of(&["coordinator-", "worker-"]), |point| {
        verdict(point, &live(Some(point)), &undisturbed)
    });
}

fn points_of(processes: &[&str]) -> Vec<Point> {
    let belongs = |point: &Point| processes.iter().any(|it| point.name().starts_with(it));
    Point::ALL.iter().copied().filter(belongs).collect()
}

#[test]
fn a_coordinator_or_worker_that_is_killed_at_any_point_loses_nothing_and_repeats_nothing() {
    live_through_all(|point| live_through(None, point));
}

/// What is left of a sweep that was really trained.
#[derive(Debug)]
struct Trained {
    front: String,
    /// By task, how many attempts began.
    attempts: BTreeMap<String, usize>,
    died: bool,
}

/// A sweep that is really trained, whose first trainer to get to `point` dies there.
fn train_through(point: Option<Point>) -> Trained {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &TINY.replace("[450, 40%]", "[450]"));
    let mark = sandbox.path("mark");
    let setting = Setting {
        store: "store".to_owned(),
        variables: order(point, &mark),
        trainer: "autorep-trainer".to_owned(),
        lease_ttl_s: 6,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "sweep.yaml"]);
    crew.start_worker();
    crew.wait_until_done("tiny");
    let front = crew.person(&["front", "tiny", "--format", "csv"]);
    let mut attempts = BTreeMap::new();
    for line in crew.log("worker").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["message"] == "begins" {
            let task = line["task"].as_str().unwrap().to_owned();
            *attempts.entry(task).or_default() += 1;
        }
    }
    Trained {
        front,
        attempts,
        died: mark.exists(),
    }
}

#[test]
fn a_trainer_that_is_killed_at_any_point_costs_its_task_one_attempt_and_changes_nothing() {
    let undisturbed = train_through(None);
    assert!(undisturbed.attempts.values().all(|it| *it == 1));
    at_once(points_of(&["trainer-"]), |point| {
        let trained = train_through(Some(point));
        // Its last word counts, whatever comes after it.
        let expected = usize::from(point != Point::TrainerAfterDone);
        let again: Vec<_> = (trained.attempts.iter())
            .filter(|(_, it)| **it > 1)
            .collect();
        let one = again.iter().all(|(_, it)| **it == 2) && again.len() == expected;
        let same = trained.attempts.keys().eq(undisturbed.attempts.keys());
        let well = trained.died && trained.front == undisturbed.front && one && same;
        (!well).then(|| {
            format!(
                "{}: {trained:#?}\nundisturbed {undisturbed:#?}",
                point.name()
            )
        })
    });
}
