#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("pth"),
    |input: &[u8]| autorep_fuzzing::run("pth", input)
);
