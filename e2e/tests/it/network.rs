//! Coordinator and workers on hosts of their own, whose network is cut and heals after leases have
//! expired: the sweep ends in the right front, and no two attempts of one task are under way.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::crew::{Crew, Setting};
use crate::hosts::{Host, Lab, cut};
use crate::kill::Lived;
use crate::sandbox::{PATIENCE, Running, Sandbox, finish, program};
use crate::sweep::TINY;

/// What the stand-in for the trainer does: half a second of work for each task, with checkpoints.
pub(crate) const SHORT: &str = "work 150 30 4096 3\n";

/// The same, but the first attempt of all trains on and on, without a checkpoint and to another
/// result: it has to be stopped, and nothing of it may be taken for the task's.
const LONG: &str = "once first work 3000 5000 4096 3\nwork 150 30 4096 3\n";

/// The same without taking time: the result is the same.
const AT_ONCE: &str = "work 150 30 4096 0\n";

/// Seconds that a lease lives.
const LEASE_TTL_S: u32 = 2;

/// A coordinator and two workers.
struct Net {
    sandbox: Sandbox,
    /// Of the coordinator, and of the two workers.
    hosts: [Host; 3],
    workers: [Running; 2],
    _coordinator: Running,
    _lab: Lab,
}

impl Net {
    /// Starts all with a sweep of which the first worker has begun the first task, for which the
    /// second one has to wait. `None`, and said, where this machine does not allow it.
    fn start(script: &str) -> Option<Self> {
        let mut lab = Lab::new()?;
        let hosts = [lab.host(), lab.host(), lab.host()];
        let sandbox = Sandbox::new();
        sandbox.write("sweep.yaml", TINY);
        sandbox.write("data/fashion-mnist/script", script);
        let listen = format!("{}:7070", hosts[0].address);
        let ttl = format!("{LEASE_TTL_S}s");
        let mut command = sandbox.autorep();
        command
            .args(["coordinator", "--store", "store", "--insecure-listen"])
            .args(["--listen", &listen, "--lease-ttl", &ttl]);
        let mut coordinator = Running::start(&mut on(&hosts[0], &command));
        coordinator.wait_for_line(&["coordinator ready"]);
        finish(&mut person(&sandbox, &hosts[0], &["submit", "sweep.yaml"])).expect_code(0);
        let worker = |number: usize| {
            let name = format!("w{number}");
            let mut command = sandbox.autorep();
            command
                .args(["worker", "--store", "store", "--name", &name])
                .args(["--coordinator", &format!("http://{listen}")])
                .args([
                    "--trainer".as_ref(),
                    program("autorep-trainer-double").as_os_str(),
                ])
                .args(["--scratch", &format!("scratch-{name}")]);
            Running::start(&mut on(&hosts[number], &command))
        };
        let mut first = worker(1);
        first.wait_for_line(&["begins", "baseline"]);
        let mut second = worker(2);
        second.wait_for_line(&["registered"]);
        Some(Self {
            workers: [first, second],
            sandbox,
            hosts,
            _coordinator: coordinator,
            _lab: lab,
        })
    }

    /// Waits until the first worker has given its task up, as it must when it cannot renew.
    fn wait_until_the_first_gives_up(&mut self) {
        self.workers[0].wait_for_line(&["no renewal got through in time"]);
    }

    /// Waits until the second worker has the first one's task.
    fn wait_until_the_second_takes_over(&mut self) {
        self.workers[1].wait_for_line(&["begins", "baseline", "\"generation\":2"]);
    }

    fn heal(&self) {
        for host in &self.hosts {
            host.hear_all();
        }
    }

    /// Waits for the end and checks that all is as if nothing had happened.
    fn ends_well(self) {
        let since = Instant::now();
        let done = |list: &str| {
            list.lines()
                .any(|line| line.contains("tiny") && line.contains("done"))
        };
        let list = || finish(&mut person(&self.sandbox, &self.hosts[0], &["list"]));
        while !done(&list().stdout) {
            assert!(since.elapsed() < PATIENCE / 4, "{:?}", list());
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut front = person(
            &self.sandbox,
            &self.hosts[0],
            &["front", "tiny", "--format", "csv"],
        );
        let front = finish(&mut front).expect_code(0).stdout;
        assert_eq!(front, undisturbed(TINY).front);
        let steps = fs::read_to_string(self.sandbox.path("data/fashion-mnist/steps")).unwrap();
        assert_one_after_the_other(&steps);
    }
}

/// Checks that no trainer has worked on a task after another one had begun to.
fn assert_one_after_the_other(steps: &str) {
    let mut latest: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in steps.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (task, trainer) = (words[0], words[3]);
        let trainers = latest.entry(task).or_default();
        if trainers.last() != Some(&trainer) {
            assert!(
                !trainers.contains(&trainer),
                "{trainer} is not alone with {task}:\n{steps}"
            );
            trainers.push(trainer);
        }
    }
    let attempts = latest.values().map(Vec::len);
    assert!(
        attempts.sum::<usize>() > latest.len(),
        "nobody was disturbed:\n{steps}"
    );
}

/// A command as it runs on a host.
fn on(host: &Host, command: &Command) -> Command {
    let prefix = host.prefix();
    let mut there = Command::new(&prefix[0]);
    there
        .args(&prefix[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

/// A person's command on the coordinator's host.
fn person(sandbox: &Sandbox, host: &Host, arguments: &[&str]) -> Command {
    let mut command = sandbox.autorep();
    let coordinator = format!("http://{}:7070", host.address);
    command
        .args(arguments)
        .env("AUTOREP_COORDINATOR", coordinator);
    on(host, &command)
}

/// A sweep with nothing in its way.
pub(crate) fn undisturbed(sweep: &str) -> Lived {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", sweep);
    sandbox.write("data/fashion-mnist/script", AT_ONCE);
    let setting = Setting {
        store: "store".to_owned(),
        variables: Vec::new(),
        trainer: "autorep-trainer-double".to_owned(),
        lease_ttl_s: 10,
    };
    let mut crew = Crew::start(&sandbox, setting);
    crew.person(&["submit", "sweep.yaml"]);
    crew.start_worker();
    crew.wait_until_done("tiny");
    Lived::new(crew, false)
}

#[test]
fn a_worker_that_is_cut_off_stops_and_another_does_its_task() {
    the_second_takes_over(LONG, |net| cut(&net.hosts[0], &net.hosts[1]));
}

#[test]
fn a_coordinator_that_is_cut_off_from_all_workers_goes_on_with_them_later() {
    let Some(mut net) = Net::start(LONG) else {
        return;
    };
    for worker in [1, 2] {
        cut(&net.hosts[0], &net.hosts[worker]);
    }
    net.wait_until_the_first_gives_up();
    net.heal();
    net.ends_well();
}

/// Cuts the line of the first worker, as `cut` does, for longer than a lease lives.
fn the_second_takes_over(script: &str, cut: impl FnOnce(&Net)) {
    let Some(mut net) = Net::start(script) else {
        return;
    };
    cut(&net);
    net.wait_until_the_first_gives_up();
    net.wait_until_the_second_takes_over();
    net.heal();
    net.ends_well();
}

#[test]
fn a_worker_whose_requests_arrive_but_who_hears_no_answer_stops() {
    the_second_takes_over(LONG, |net| net.hosts[1].hear_nothing_from(&net.hosts[0]));
}

#[test]
fn a_commit_that_arrives_and_whose_answer_does_not_is_kept_and_not_made_twice() {
    the_second_takes_over(SHORT, |net| net.hosts[1].hear_nothing_from(&net.hosts[0]));
}

#[test]
fn a_worker_who_is_not_heard_but_hears_stops() {
    the_second_takes_over(LONG, |net| net.hosts[0].hear_nothing_from(&net.hosts[1]));
}
