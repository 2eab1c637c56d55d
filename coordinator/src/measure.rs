//! What the coordinator counts and times. [`TABLE`] says what each metric is; here they are recorded.

use std::time::Duration;

use autorep_core::failure::FailureClass;
use autorep_core::ledger::{SweepState, TaskCounts};
use autorep_core::offer::Requirements;
use autorep_core::task::TaskKind;

pub(crate) mod rpc;
mod table;

pub use table::TABLE;

use table as name;

/// Makes counters appear with 0, so that their first increase can be seen. Called once a recorder is
/// there.
pub fn prepare() {
    for outcome in ["finished", "released"] {
        metrics::counter!(name::ATTEMPTS, "outcome" => outcome).increment(0);
    }
    for class in FailureClass::ALL {
        metrics::counter!(name::ATTEMPTS, "outcome" => class.name()).increment(0);
    }
    for kind in TaskKind::ALL {
        metrics::counter!(name::TASKS_FINISHED, "kind" => kind.name()).increment(0);
    }
    for limit in [
        Limit::Calls,
        Limit::Polls,
        Limit::Queue,
        Limit::Manifests,
        Limit::Streams,
    ] {
        metrics::counter!(name::OVERLOADS, "limit" => limit.name()).increment(0);
    }
    for single in [
        name::GRANTS,
        name::EXPIRIES,
        name::TASKS_GAVE_UP,
        name::MACHINES_EXCLUDED,
        name::STALE,
        name::RECORDS,
        name::DELETED_OBJECTS,
        name::DELETED_BYTES,
        name::CONNECTIONS_REFUSED,
        name::HANDSHAKES_FAILED,
    ] {
        metrics::counter!(single).increment(0);
    }
    rpc::prepare();
}

/// A lease was granted.
pub(crate) fn lease_granted() {
    metrics::counter!(name::GRANTS).increment(1);
}

/// Leases ended because their time was over.
pub(crate) fn leases_expired(leases: usize) {
    metrics::counter!(name::EXPIRIES).increment(leases as u64);
}

/// An attempt ended without a result and without a failure.
pub(crate) fn attempt_released() {
    metrics::counter!(name::ATTEMPTS, "outcome" => "released").increment(1);
}

/// An attempt failed.
pub(crate) fn attempt_failed(class: FailureClass) {
    metrics::counter!(name::ATTEMPTS, "outcome" => class.name()).increment(1);
}

/// A task got its result.
pub(crate) fn task_finished(kind: TaskKind) {
    metrics::counter!(name::ATTEMPTS, "outcome" => "finished").increment(1);
    metrics::counter!(name::TASKS_FINISHED, "kind" => kind.name()).increment(1);
}

/// A task has no attempt left.
pub(crate) fn task_gave_up() {
    metrics::counter!(name::TASKS_GAVE_UP).increment(1);
}

/// A machine gets no tasks for a while.
pub(crate) fn machine_excluded() {
    metrics::counter!(name::MACHINES_EXCLUDED).increment(1);
}

/// A call came under a lease that was another's.
pub(crate) fn stale_claim_refused() {
    metrics::counter!(name::STALE).increment(1);
}

/// Checkpoints that nothing could reach were deleted.
pub(crate) fn deleted(objects: u64, bytes: u64) {
    metrics::counter!(name::DELETED_OBJECTS).increment(objects);
    metrics::counter!(name::DELETED_BYTES).increment(bytes);
}

/// A connection was closed at once.
pub(crate) fn connection_refused() {
    metrics::counter!(name::CONNECTIONS_REFUSED).increment(1);
}

/// A connection was closed because the two sides did not agree on TLS.
pub(crate) fn handshake_failed() {
    metrics::counter!(name::HANDSHAKES_FAILED).increment(1);
}

/// A batch of records became durable.
pub(crate) fn durable_write(took: Duration, records: usize) {
    metrics::histogram!(name::DURABLE_WRITE).record(took.as_secs_f64());
    metrics::counter!(name::RECORDS).increment(records as u64);
}

/// What there are only so many of at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    Calls,
    Polls,
    Queue,
    Manifests,
    Streams,
}

impl Limit {
    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Polls => "polls",
            Self::Queue => "queue",
            Self::Manifests => "manifests",
            Self::Streams => "streams",
        }
    }

    /// In words that follow "as many".
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Calls => "calls at a time",
            Self::Polls => "requests for tasks",
            Self::Queue => "requests in its queue",
            Self::Manifests => "manifests to read",
            Self::Streams => "streams at a time",
        }
    }
}

/// A call was told to come back later.
pub(crate) fn overloaded(limit: Limit) {
    metrics::counter!(name::OVERLOADS, "limit" => limit.name()).increment(1);
}

/// How many tasks of a kind wait for a lease, and how many have one.
pub(crate) fn queue(kind: TaskKind, ready: usize, leased: usize) {
    metrics::gauge!(name::READY, "kind" => kind.name()).set(ready as f64);
    metrics::gauge!(name::LEASED, "kind" => kind.name()).set(leased as f64);
}

/// How many workers tasks with these needs want.
pub(crate) fn wanted(needs: &Requirements, workers: u64) {
    let others = Requirements {
        gpus: 0,
        nodes: 1,
        gpu_type: String::new(),
        ..needs.clone()
    };
    let others = if others == Requirements::default() {
        String::new()
    } else {
        others.to_string()
    };
    metrics::gauge!(
        name::WANTED,
        "gpus" => needs.gpus.to_string(),
        "nodes" => needs.nodes.to_string(),
        "gpu_type" => needs.gpu_type.clone(),
        "needs" => others,
    )
    .set(workers as f64);
}

/// How many ready tasks nobody can take.
pub(crate) fn unmet(tasks: u64) {
    metrics::gauge!(name::UNMET).set(tasks as f64);
}

/// How many workers are in a state, and what they have.
pub(crate) fn workers(state: &'static str, workers: u64, gpus: u64) {
    metrics::gauge!(name::WORKERS, "state" => state).set(workers as f64);
    metrics::gauge!(name::GPUS, "state" => state).set(gpus as f64);
}

/// How many tasks are in quarantine.
pub(crate) fn quarantined(tasks: usize) {
    metrics::gauge!(name::QUARANTINED).set(tasks as f64);
}

/// When something last went on, in milliseconds since 1970.
pub(crate) fn last_progress(unix_ms: u64) {
    metrics::gauge!(name::LAST_PROGRESS).set(unix_ms as f64 / 1000.0);
}

/// The name of a sweep's state, as a label.
pub(crate) const fn state_name(state: SweepState) -> &'static str {
    match state {
        SweepState::Active => "active",
        SweepState::Paused => "paused",
        SweepState::Done => "done",
        SweepState::Partial => "partial",
        SweepState::Cancelled => "cancelled",
    }
}

/// How many sweeps are in a state.
pub(crate) fn sweeps(state: SweepState, sweeps: u64) {
    metrics::gauge!(name::SWEEPS, "state" => state_name(state)).set(sweeps as f64);
}

/// A sweep's tasks.
pub(crate) fn sweep_tasks(sweep: &str, counts: TaskCounts) {
    for (state, tasks) in [
        ("waiting", counts.waiting),
        ("ready", counts.ready),
        ("leased", counts.leased),
        ("done", counts.done),
        ("gave-up", counts.gave_up),
        ("blocked", counts.blocked),
        ("parked", counts.parked),
        ("cancelled", counts.cancelled),
    ] {
        metrics::gauge!(name::SWEEP_TASKS, "sweep" => sweep.to_owned(), "state" => state)
            .set(tasks as f64);
    }
}

/// A sweep's front.
pub(crate) fn front(sweep: &str, points: usize, hypervolume: f64, baseline: Option<f64>) {
    metrics::gauge!(name::FRONT_POINTS, "sweep" => sweep.to_owned()).set(points as f64);
    metrics::gauge!(name::HYPERVOLUME, "sweep" => sweep.to_owned()).set(hypervolume);
    if let Some(percent) = baseline {
        metrics::gauge!(name::BASELINE_ACCURACY, "sweep" => sweep.to_owned()).set(percent / 100.0);
    }
}

/// The best accuracy of a sweep within a budget, in percent.
pub(crate) fn best_accuracy(sweep: &str, budget: u64, percent: f64) {
    let (sweep, budget) = (sweep.to_owned(), budget.to_string());
    metrics::gauge!(name::BEST_ACCURACY, "sweep" => sweep, "budget" => budget).set(percent / 100.0);
}

#[cfg(test)]
mod tests {
    use autorep_measure::Kind;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn every_counter_is_there_before_anything_was_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, prepare);
        let text = recorder.handle().render();
        for metric in TABLE.iter().filter(|metric| metric.kind == Kind::Counter) {
            let begins = |line: &str| {
                let rest = line.strip_prefix(metric.name);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.ends_with(" 0"))
            };
            assert!(text.lines().any(begins), "{} in\n{text}", metric.name);
        }
        let refused = "method=\"Acquire\",code=\"Unauthenticated\"} 0";
        assert!(text.contains(refused), "{text}");
    }
}
