//! What this machine offers to a trainer, for `autorep doctor`.

use serde::Serialize;

use crate::checkpoint::{LIBTORCH_VERSION, TRAINER_VERSION};
use crate::cuda;

/// What this machine offers to a trainer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Probe {
    /// Version of the trainer.
    pub trainer: &'static str,
    /// Version of libtorch that it is linked against.
    pub libtorch: &'static str,
    /// Threads that libtorch would use on the CPU.
    pub cpu_threads: i32,
    /// GPUs that can be trained on.
    pub cuda_devices: i64,
    /// Why there are none; `null` if there are some.
    pub cuda_problem: Option<String>,
}

/// Looks. Loads libtorch's CUDA part if it can be found.
pub fn probe() -> Probe {
    let loaded = cuda::load();
    Probe {
        trainer: TRAINER_VERSION,
        libtorch: LIBTORCH_VERSION,
        cpu_threads: tch::get_num_threads(),
        cuda_devices: match loaded {
            Ok(()) => tch::Cuda::device_count(),
            Err(_) => 0,
        },
        cuda_problem: loaded.err().map(|error| error.to_string()),
    }
}
