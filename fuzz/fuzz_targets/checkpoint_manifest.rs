#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| autorep_fuzzing::run("checkpoint_manifest", input));
