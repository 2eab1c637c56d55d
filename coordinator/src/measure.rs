//! What the coordinator counts and times. Names end in their unit.

use std::time::Duration;

use autorep_core::failure::FailureClass;

/// A lease was granted.
pub(crate) fn lease_granted() {
    metrics::counter!("autorep_leases_granted_total").increment(1);
}

/// An attempt ended.
pub(crate) fn attempt_ended(outcome: &'static str) {
    metrics::counter!("autorep_attempts_total", "outcome" => outcome).increment(1);
}

/// A task has no attempt left.
pub(crate) fn task_gave_up() {
    metrics::counter!("autorep_tasks_gave_up_total").increment(1);
}

/// A machine gets no tasks for a while.
pub(crate) fn machine_excluded() {
    metrics::counter!("autorep_machines_excluded_total").increment(1);
}

/// Checkpoints that nothing could reach were deleted.
pub(crate) fn deleted(objects: u64, bytes: u64) {
    metrics::counter!("autorep_deleted_objects_total").increment(objects);
    metrics::counter!("autorep_deleted_bytes_total").increment(bytes);
}

/// The names under which failed attempts are counted.
pub(crate) const fn outcome(class: FailureClass) -> &'static str {
    match class {
        FailureClass::TrainerCrashed => "trainer-crashed",
        FailureClass::OutOfMemory => "out-of-memory",
        FailureClass::Diverged => "diverged",
        FailureClass::BadData => "bad-data",
        FailureClass::BadCheckpoint => "bad-checkpoint",
        FailureClass::StoreUnavailable => "store-unavailable",
        FailureClass::TrainerError => "trainer-error",
        FailureClass::WorkerLost => "worker-lost",
        FailureClass::BudgetUnreached => "budget-unreached",
        FailureClass::BadWeights => "bad-weights",
        FailureClass::NoScratch => "no-scratch",
    }
}

/// How many leases live, and how many tasks wait for one.
pub(crate) fn leases(leased: usize, ready: usize) {
    metrics::gauge!("autorep_leased_tasks").set(leased as f64);
    metrics::gauge!("autorep_ready_tasks").set(ready as f64);
}

/// A batch of records became durable.
pub(crate) fn durable_write(took: Duration, records: usize) {
    metrics::histogram!("autorep_durable_write_seconds").record(took.as_secs_f64());
    metrics::counter!("autorep_written_records_total").increment(records as u64);
}

/// A connection was closed because the two sides did not agree on TLS.
pub(crate) fn handshake_failed() {
    metrics::counter!("autorep_tls_handshakes_failed_total").increment(1);
}
