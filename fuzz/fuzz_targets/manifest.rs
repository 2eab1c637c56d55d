#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("manifest"),
    |input: &[u8]| autorep_fuzzing::run("manifest", input)
);
