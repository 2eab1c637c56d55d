//! The bodies of the fuzz targets over their seeds, the corpus, and random changes of both.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use autorep_fuzzing::{Mutator, TARGETS, Target};

/// Any: the same one every time, so that a failure comes back.
const SEED: u64 = 1;

/// What is kept in the repository, all targets together.
const MAX_CORPUS_BYTES: usize = 300 << 10;

/// Memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn corpus(target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../../fuzz/corpus").join(target)
}

/// The inputs of a target, in the order of their files' names.
fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus(target.name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let kept = paths.iter().map(|path| std::fs::read(path).unwrap());
    kept.chain((target.seeds)()).collect()
}

fn hold(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| target.run(input))).is_err() {
        let path = std::env::temp_dir().join(format!("autorep-fuzz-{}", target.name));
        std::fs::write(&path, input).unwrap();
        let (name, path) = (target.name, path.display());
        panic!("{name} broke a promise, as above; the input is {path}");
    }
}

fn hold_all(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let inputs = inputs(target);
    // What is made once and kept is no input's doing.
    drop(catch_unwind(AssertUnwindSafe(|| target.run(&inputs[0]))));
    for input in &inputs {
        hold(target, input);
    }
    let mut mutator = Mutator::new(SEED, inputs);
    for _ in 0..target.tries {
        hold(target, &mutator.next_input());
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            hold_all($name);
        })*

        #[test]
        fn every_target_is_tested_here_and_has_a_program_and_a_corpus_of_a_small_size() {
            let tested = [$($name),*];
            assert_eq!(tested.to_vec(), TARGETS.map(|target| target.name).to_vec());
            let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
            let mut bytes = 0;
            for target in &TARGETS {
                let program = programs.join(format!("{}.rs", target.name));
                assert!(program.is_file(), "{program:?}");
                bytes += std::fs::read_dir(corpus(target.name)).unwrap()
                    .map(|entry| std::fs::metadata(entry.unwrap().path()).unwrap().len())
                    .sum::<u64>();
            }
            assert!(bytes <= MAX_CORPUS_BYTES as u64, "{bytes} bytes of corpus");
        }
    };
}

targets! {
    no_manifest_breaks_the_parser_and_every_good_one_is_stored_and_planned: "manifest",
    no_checkpoint_manifest_breaks_its_reader_or_names_a_part_outside_its_folder: "checkpoint_manifest",
    no_safetensors_file_breaks_the_readers_of_weights_and_checkpoints: "safetensors",
    no_file_of_pytorch_breaks_the_reader_of_weights: "pth",
    no_stream_breaks_the_framing_and_messages_come_back_the_same: "trainer_frames",
    no_row_of_requests_breaks_an_invariant_of_the_ledger: "fleet_ledger",
    no_row_of_requests_breaks_the_service_or_what_a_restart_finds: "fleet_service",
}
