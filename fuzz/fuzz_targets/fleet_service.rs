#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("fleet_service"),
    |input: &[u8]| autorep_fuzzing::run("fleet_service", input)
);
