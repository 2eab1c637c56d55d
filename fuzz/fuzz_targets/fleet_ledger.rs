#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("fleet_ledger"),
    |input: &[u8]| autorep_fuzzing::run("fleet_ledger", input)
);
