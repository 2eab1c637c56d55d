//! What fuzzing runs: for each reader of what comes from outside, a function that feeds it any bytes
//! and panics where a promise is broken. `fuzz/` runs them under libFuzzer (`make fuzz`); the tests
//! here run the same functions over the corpus, over [`Target::seeds`] and over random changes of
//! both, without any tool.
//!
//! What every target promises beside its own checks: no panic, and no more memory than a fixed
//! amount and a multiple of the input.

mod checkpoint;
mod fleet;
mod frames;
mod manifest;
mod memory;
mod mutate;
mod weights;

pub use mutate::Mutator;

/// One reader.
#[derive(Debug)]
pub struct Target {
    /// Its name: that of its corpus's folder and of its program in `fuzz/`.
    pub name: &'static str,
    body: fn(&[u8]),
    /// Inputs that lead far into the reader. They are made by the code that writes such things, so
    /// they follow every change of it.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that any input may take while it is read.
    base_bytes: usize,
    /// Bytes that each byte of the input may take beside that.
    bytes_per_byte: usize,
    /// Random inputs that the tests try: what takes a few seconds.
    pub tries: u32,
}

/// All readers.
pub const TARGETS: [Target; 7] = [
    Target {
        name: "manifest",
        body: manifest::body,
        seeds: manifest::seeds,
        base_bytes: 16 << 20,
        bytes_per_byte: 4096,
        tries: 5_000,
    },
    Target {
        name: "checkpoint_manifest",
        body: checkpoint::body,
        seeds: checkpoint::seeds,
        base_bytes: 1 << 20,
        bytes_per_byte: 256,
        tries: 60_000,
    },
    Target {
        name: "safetensors",
        body: weights::safetensors,
        seeds: weights::safetensors_seeds,
        base_bytes: 1 << 20,
        bytes_per_byte: 256,
        tries: 30_000,
    },
    Target {
        name: "pth",
        body: weights::pth,
        seeds: weights::pth_seeds,
        base_bytes: 1 << 20,
        bytes_per_byte: 256,
        tries: 30_000,
    },
    Target {
        name: "trainer_frames",
        body: frames::body,
        seeds: frames::seeds,
        // A frame's length is believed up to its limit before its body comes.
        base_bytes: (1 << 20) + (2 * autorep_proto::frame::MAX_MESSAGE_BYTES),
        bytes_per_byte: 256,
        tries: 60_000,
    },
    Target {
        name: "fleet_ledger",
        body: fleet::ledger::body,
        seeds: fleet::seeds,
        base_bytes: 4 << 20,
        bytes_per_byte: 1024,
        tries: 5_000,
    },
    Target {
        name: "fleet_service",
        body: fleet::service::body,
        seeds: fleet::seeds,
        // A state store and a coordinator.
        base_bytes: 256 << 20,
        bytes_per_byte: 1024,
        tries: 400,
    },
];

/// Feeds `input` to the target of this name.
///
/// # Panics
///
/// Where the reader breaks a promise, and where no target has the name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    target.expect("a target's name").run(input);
}

/// Writes the seeds of the target of this name into the folder that `AUTOREP_FUZZ_SEEDS` names, if
/// it names one: a fuzzer reads its inputs from files.
///
/// # Panics
///
/// Where that cannot be done, and where no target has the name.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("AUTOREP_FUZZ_SEEDS") else {
        return;
    };
    let target = TARGETS.iter().find(|target| target.name == name);
    let seeds = (target.expect("a target's name").seeds)();
    for (number, seed) in seeds.iter().enumerate() {
        let path = std::path::Path::new(&folder).join(format!("seed-{number}"));
        std::fs::write(path, seed).expect("a folder for seeds that can be written to");
    }
}

impl Target {
    /// Feeds `input` to the reader.
    ///
    /// # Panics
    ///
    /// Where the reader breaks a promise.
    pub fn run(&self, input: &[u8]) {
        let taken = memory::peak_of(|| (self.body)(input));
        let allowed = self.base_bytes + self.bytes_per_byte * input.len();
        assert!(
            taken <= allowed,
            "{}: expected at most {allowed} bytes of memory for an input of {}, found {taken}",
            self.name,
            input.len()
        );
    }
}
