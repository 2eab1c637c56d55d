//! Tasks that several processes of one machine train together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::sandbox::{PATIENCE, Running, Sandbox, finish};
use crate::sweep::TINY;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Times that a rank is killed.
const KILLS: u32 = 20;

/// Looks at most between the start of a group and the death of one of its ranks.
const LOOKS: u64 = 60;

/// The tiny sweep as it is written for a machine with eight GPUs, with patience.
fn for_eight_gpus() -> String {
    TINY.replace("[450, 40%]", "[450]")
        .replace("attempts: 3", "attempts: 100")
        .replace("{ every: 1s }", "{ every_steps: 3 }")
        + "  resources: { gpus: 8 }\n"
}

fn run(sandbox: &Sandbox, store: &str) -> Command {
    let mut command = sandbox.run(store);
    command.args(["--device", "cpu", "--ranks", "2"]);
    command
}

/// By task and output, its latest tensors.
pub(crate) fn outputs(store: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let mut latest: BTreeMap<(String, String), (u64, PathBuf)> = BTreeMap::new();
    for task in fs::read_dir(store.join("tasks")).unwrap() {
        let task = task.unwrap();
        for generation in fs::read_dir(task.path()).unwrap() {
            let generation = generation.unwrap();
            let number = generation.file_name().to_str().unwrap()[1..]
                .parse()
                .unwrap();
            for checkpoint in fs::read_dir(generation.path()).unwrap() {
                let checkpoint = checkpoint.unwrap();
                let name = checkpoint.file_name().into_string().unwrap();
                let tensors = checkpoint.path().join("tensors.safetensors");
                let committed = checkpoint.path().join("manifest.json");
                if !name.starts_with("out") || !committed.exists() {
                    continue;
                }
                let key = (task.file_name().into_string().unwrap(), name);
                let known = latest.get(&key).is_some_and(|(known, _)| *known > number);
                if !known {
                    latest.insert(key, (number, tensors));
                }
            }
        }
    }
    let read = |(key, (_, path)): (_, (u64, PathBuf))| (key, fs::read(path).unwrap());
    latest.into_iter().map(read).collect()
}

/// Numbers that a seed decides (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Looks until there is something to see.
#[track_caller]
pub(crate) fn look<T>(what: &str, mut at: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(seen) = at() {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "still no {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

#[test]
fn a_sweep_for_eight_gpus_is_trained_by_two_ranks_and_one_that_is_killed_twenty_times_changes_nothing()
 {
    let sandbox = Sandbox::new();
    sandbox.write("sweep.yaml", &for_eight_gpus());
    let refused = finish(&mut sandbox.run("none")).expect_code(1);
    assert!(
        refused.stderr.contains("with --ranks"),
        "{}",
        refused.stderr
    );
    finish(&mut run(&sandbox, "undisturbed")).expect_code(0);

    let mut chance = Chance(0x5eed);
    let mut running = Running::start(&mut run(&sandbox, "disturbed"));
    for _ in 0..KILLS {
        // Somewhere between two processes that have just begun and the end of the task.
        let mut looks = chance.below(LOOKS);
        let victim = look("group", || {
            let ranks = sandbox.trainers();
            looks = looks.saturating_sub(u64::from(ranks.len() == 2));
            let number = usize::try_from(chance.below(2)).unwrap();
            // A fast machine may come to the sweep's end before that.
            let at_work = (looks == 0).then(|| ranks.get(number).copied()).flatten();
            at_work
                .map(Some)
                .or_else(|| running.has_ended().then_some(None))
        });
        let Some(victim) = victim else {
            break;
        };
        // It may have come to its end meanwhile.
        let _ = rustix::process::kill_process(victim, Signal::KILL);
        look("end of the rank", || {
            (!sandbox.trainers().contains(&victim)).then_some(())
        });
    }
    let (status, said) = running.wait();
    assert!(status.success(), "{said}");
    let crashes = said.matches("by signal 9").count();
    assert!(
        crashes >= 10,
        "{crashes} of {KILLS} kills met a rank at work:\n{said}"
    );
    assert_eq!(
        sandbox.front_csv("disturbed"),
        sandbox.front_csv("undisturbed")
    );
    let [found, wanted] = ["disturbed", "undisturbed"].map(|store| outputs(&sandbox.path(store)));
    assert_eq!(wanted.len(), 3, "a baseline, a search and a finetuning");
    assert!(found == wanted, "the nets differ");
}

#[test]
fn a_rehearsal_takes_a_sweep_for_eight_gpus_through_every_stage_in_a_sweep_of_its_own() {
    let sandbox = Sandbox::new();
    // As long as it stands, it would not end while anybody waits.
    let long = for_eight_gpus().replace("epochs: 4", "epochs: 4000");
    sandbox.write("sweep.yaml", &long);
    let rehearse = ["--rehearse", "--rehearse-batch", "8"];
    let ran = finish(run(&sandbox, "store").args(rehearse)).expect_code(0);
    assert!(ran.stdout.contains("tiny-rehearsal"), "{}", ran.stdout);
    let sweeps = fs::read_dir(sandbox.path("store/sweeps")).unwrap();
    let sweeps: Vec<_> = sweeps.map(|it| it.unwrap().file_name()).collect();
    assert_eq!(sweeps, ["tiny-rehearsal"]);
    let kinds: Vec<String> = crate::store::outputs(&sandbox.path("store"))
        .iter()
        .map(|output| output.kind.clone())
        .collect();
    for kind in ["baseline", "replace", "finetune"] {
        assert!(kinds.iter().any(|it| it == kind), "{kind} of {kinds:?}");
    }
    // Nothing of it is taken for the sweep's own.
    let mut plan = sandbox.autorep();
    plan.args(["plan", "sweep.yaml", "--store", "store"]);
    let planned = finish(&mut plan).expect_code(0);
    assert!(
        planned.stderr.contains("nothing of this plan"),
        "{}",
        planned.stderr
    );
}
