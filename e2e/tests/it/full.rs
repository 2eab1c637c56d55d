//! Disks that are full or may not be written to: said clearly, nothing half-written is taken for
//! whole, and where room is made the work goes on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::crew::{Crew, Setting};
use crate::kill::{Lived, tiny};
use crate::network::undisturbed;
use crate::sandbox::{Sandbox, finish, program};
use crate::skip;

/// A file system in memory, unmounted when this is dropped.
struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts one of so many KiB. `None`, and said, where this machine does not allow it.
    fn new(path: PathBuf, kib: u32) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        let mounted = mount.stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { path });
        }
        skip::say("file systems may not be mounted here; root may elsewhere");
        None
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut filler = OpenOptions::new();
        let filler = filler.create(true).append(true);
        let mut filler = filler.open(self.path.join("filler")).unwrap();
        while filler.write_all(&[0; 1 << 10]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }

    fn forbid_writing(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(&self.path);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also while a process that is being killed still has a file open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}

/// Every file below a folder, but for the state.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.join("tasks")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn setting(trainer: &str) -> Setting {
    Setting {
        store: "store".to_owned(),
        variables: Vec::new(),
        trainer: trainer.to_owned(),
        // Longer than any wait here: while nothing can be written no renewal is answered.
        lease_ttl_s: 120,
    }
}

const SCRIPT: &str = "work 150 30 4096 3\n";

#[test]
fn a_store_without_room_is_waited_for_and_its_state_and_checkpoints_are_whole() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path("store"), 2048) else {
        return;
    };
    sandbox.write("sweep.yaml", &tiny());
    sandbox.write("data/fashion-mnist/script", SCRIPT);
    let mut crew = Crew::start(&sandbox, setting("autorep-trainer-double"));
    crew.person(&["submit", "sweep.yaml"]);
    crew.start_worker();
    let first = sandbox.path("data/fashion-mnist/steps");
    crew.wait_until("work has begun", |_| first.exists());
    disk.fill();
    // Whoever has to write first.
    crew.wait_until("somebody says why", |crew| {
        let worker = crew.log("worker");
        worker.contains("store fails; trying again") && worker.contains("No space left on device")
            || crew.log("coordinator").contains("found that it has not")
    });
    disk.make_room();
    crew.wait_until_done("tiny");
    let lived = Lived::new(crew, false);
    assert!(lived.redone().is_empty(), "{lived:#?}");
    assert_eq!(lived.front, undisturbed(&tiny()).front);
}

#[test]
fn a_coordinator_whose_store_has_no_room_says_so_and_answers_when_there_is_some() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path("store"), 1024) else {
        return;
    };
    sandbox.write("sweep.yaml", &tiny());
    let mut crew = Crew::start(&sandbox, setting("autorep-trainer-double"));
    crew.wait_until("it serves", |crew| {
        crew.log("coordinator").contains("coordinator ready")
    });
    disk.fill();
    std::thread::scope(|scope| {
        let submit = crew.command(&["submit", "sweep.yaml"]);
        let submitted = scope.spawn(|| finish(&mut { submit }).expect_code(0));
        crew.wait_until("the coordinator says so", |crew| {
            crew.log("coordinator").contains("found that it has not")
        });
        disk.make_room();
        let said = submitted.join().unwrap().stdout;
        assert!(said.contains("5 tasks"), "{said}");
    });
    drop(crew);
    // On a disk that has no room from the start it does not start.
    disk.fill();
    let arguments = ["coordinator", "--listen", "127.0.0.1:0", "--store", "store"];
    let refused = finish(sandbox.autorep().args(arguments))
        .expect_code(1)
        .stderr;
    for said in [
        "expected a store that can be written to",
        "No space left on device",
    ] {
        assert!(refused.contains(said), "{said:?} is not in {refused}");
    }
}

#[test]
fn a_scratch_folder_without_room_costs_no_attempt_and_with_some_the_sweep_goes_on() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path("scratch"), 16 << 10) else {
        return;
    };
    // One failure that counts, and a task is given up.
    sandbox.write("sweep.yaml", &tiny().replace("attempts: 9", "attempts: 1"));
    let mut crew = Crew::start(&sandbox, setting("autorep-trainer"));
    crew.person(&["submit", "sweep.yaml"]);
    disk.fill();
    crew.start_worker();
    let mut shown = String::new();
    let mut wait_until_shown = |crew: &mut Crew<'_>, words: [&str; 3]| {
        crew.wait_until("it says why", |crew| {
            // Also what an attempt that has ended leaves.
            disk.fill();
            shown = crew.person(&["show", "tiny"]);
            words.iter().all(|word| shown.contains(word))
        });
        assert!(!shown.contains("gave up"), "{shown}");
    };
    // The trainer has nowhere to write.
    let no_room = "No space left on device";
    wait_until_shown(&mut crew, ["no scratch space", no_room, "make room"]);
    let left = files(&sandbox.path("store"));
    assert!(
        left.iter().all(|path| path.ends_with("trainer.log")),
        "{left:#?}"
    );
    disk.make_room();
    crew.wait_until("a task is done", |crew| {
        crew.log("worker").contains("\"outcome\":\"finished\"")
    });
    // Nor has the worker, for what a task starts from.
    let with_room = "a scratch folder with room";
    wait_until_shown(&mut crew, ["no scratch space", no_room, with_room]);
    disk.make_room();
    crew.wait_until_done("tiny");
}

#[test]
fn a_worker_whose_scratch_folder_cannot_be_written_to_ends_with_what_to_do() {
    let sandbox = Sandbox::new();
    let Some(disk) = Mount::new(sandbox.path("scratch"), 1024) else {
        return;
    };
    disk.forbid_writing();
    let mut worker = sandbox.autorep();
    worker
        .args([
            "worker",
            "--coordinator",
            "http://127.0.0.1:9",
            "--store",
            "store",
        ])
        .args([
            "--trainer".as_ref(),
            program("autorep-trainer-double").as_os_str(),
        ])
        .args(["--scratch", "scratch"]);
    let refused = finish(&mut worker).expect_code(1).stderr;
    for said in ["scratch", "Read-only file system", "--scratch"] {
        assert!(refused.contains(said), "{said:?} is not in {refused}");
    }
}
