#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("checkpoint_manifest"),
    |input: &[u8]| autorep_fuzzing::run("checkpoint_manifest", input)
);
