//! Every metric of a worker.

use autorep_measure::{Kind, Metric, Unit};

pub(super) const ATTEMPTS: &str = "autorep_worker_attempts_total";
pub(super) const ATTEMPT_TIME: &str = "autorep_worker_attempt_phase_seconds";
pub(super) const CHECKPOINT_BYTES: &str = "autorep_worker_checkpoint_bytes_total";
pub(super) const CHECKPOINT_TIME: &str = "autorep_worker_checkpoint_seconds";
pub(super) const DATA_WAIT: &str = "autorep_worker_data_wait_ratio";
pub(super) const DONE: &str = "autorep_worker_task_done_ratio";
pub(super) const GPU_MEMORY: &str = "autorep_worker_gpu_memory_bytes";
pub(super) const GPU_MEMORY_USED: &str = "autorep_worker_gpu_memory_used_bytes";
pub(super) const GPU_USE: &str = "autorep_worker_gpu_utilization_ratio";
pub(super) const IMAGES: &str = "autorep_worker_images_per_second";
pub(super) const LOSS: &str = "autorep_worker_loss";
pub(super) const RELUS: &str = "autorep_worker_relus";
pub(super) const RELU_BUDGET: &str = "autorep_worker_relu_budget";
pub(super) const RENEWAL_FAILURES: &str = "autorep_worker_renewal_failures_total";
pub(super) const STEPS: &str = "autorep_worker_steps_total";
pub(super) const STEP_TIME: &str = "autorep_worker_step_seconds";
pub(super) const VALIDATION: &str = "autorep_worker_validation_accuracy_ratio";

/// From a small net's step to one of a large net over many ranks.
const STEP_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// From a small checkpoint on a disk to a large one over a slow line.
const CHECKPOINT_SECONDS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// From what is hardly noticed to days of training.
const PHASE_SECONDS: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0,
];

const fn ratio(name: &'static str, help: &'static str) -> Metric {
    Metric::new(name, Kind::Gauge, Unit::Ratio, &[], help)
}

/// What a worker records, besides what [`autorep_measure::store`] and [`autorep_measure::process`]
/// say. Of a task on several ranks its leader speaks.
pub const TABLE: &[Metric] = &[
    Metric::counter(
        ATTEMPTS,
        &["outcome"],
        "Attempts of this worker that ended: `finished`, `failed`, `released`, `cancelled`, `attended` (as a member of a group), `lost` (the lease ended under it).",
    ),
    Metric::seconds(
        ATTEMPT_TIME,
        PHASE_SECONDS,
        &["phase"],
        "Where an attempt's time went: `fetching` inputs, `training` (checkpoints are stored meanwhile), `storing` the last ones.",
    ),
    Metric::gauge(
        IMAGES,
        &[],
        "Images trained on or measured per second, over all ranks; 0 between attempts.",
    ),
    Metric::counter(STEPS, &[], "Optimizer steps that were reported."),
    Metric::seconds(
        STEP_TIME,
        STEP_SECONDS,
        &[],
        "Time of an optimizer step: one mean for each report of the trainer, about every second.",
    ),
    ratio(
        DATA_WAIT,
        "Share of the time that training waited for batches that were not ready.",
    ),
    ratio(DONE, "Share of the running task's steps that are done."),
    Metric::gauge(
        LOSS,
        &[],
        "Mean training loss of the running task since the last report.",
    ),
    Metric::gauge(
        RELUS,
        &[],
        "ReLUs that the net of the running task keeps now.",
    ),
    Metric::gauge(RELU_BUDGET, &[], "ReLUs that it may keep in the end."),
    ratio(
        VALIDATION,
        "Validation accuracy of the running task after its last finished epoch.",
    ),
    Metric::new(
        CHECKPOINT_BYTES,
        Kind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of checkpoints that were stored and committed.",
    ),
    Metric::seconds(
        CHECKPOINT_TIME,
        CHECKPOINT_SECONDS,
        &[],
        "Time to store and commit a checkpoint.",
    ),
    Metric::counter(
        RENEWAL_FAILURES,
        &[],
        "Renewals of a lease that got no answer from the coordinator.",
    ),
    Metric::new(
        GPU_USE,
        Kind::Gauge,
        Unit::Ratio,
        &["device"],
        "Share of the time that the GPU computed, as its driver says (NVML); absent without a GPU, like the two below.",
    ),
    Metric::new(
        GPU_MEMORY_USED,
        Kind::Gauge,
        Unit::Bytes,
        &["device"],
        "Memory of the GPU that is in use, by whatever process.",
    ),
    Metric::new(
        GPU_MEMORY,
        Kind::Gauge,
        Unit::Bytes,
        &["device"],
        "Memory that the GPU has.",
    ),
];
