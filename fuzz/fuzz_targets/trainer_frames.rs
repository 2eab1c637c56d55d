#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("trainer_frames"),
    |input: &[u8]| autorep_fuzzing::run("trainer_frames", input)
);
