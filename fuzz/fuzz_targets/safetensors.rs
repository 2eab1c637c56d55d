#![no_main]

libfuzzer_sys::fuzz_target!(
    init: autorep_fuzzing::write_seeds("safetensors"),
    |input: &[u8]| autorep_fuzzing::run("safetensors", input)
);
