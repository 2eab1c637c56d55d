//! Every metric of the coordinator.

use autorep_measure::{Kind, Metric, SECONDS, Unit};

pub(super) const ATTEMPTS: &str = "autorep_attempts_total";
pub(super) const BEST_ACCURACY: &str = "autorep_front_best_accuracy_ratio";
pub(super) const BASELINE_ACCURACY: &str = "autorep_front_baseline_accuracy_ratio";
pub(super) const CONNECTIONS_REFUSED: &str = "autorep_connections_refused_total";
pub(super) const DELETED_BYTES: &str = "autorep_deleted_bytes_total";
pub(super) const DELETED_OBJECTS: &str = "autorep_deleted_objects_total";
pub(super) const DURABLE_WRITE: &str = "autorep_durable_write_seconds";
pub(super) const EXPIRIES: &str = "autorep_lease_expiries_total";
pub(super) const FRONT_POINTS: &str = "autorep_front_points";
pub(super) const GPUS: &str = "autorep_gpus";
pub(super) const GRANTS: &str = "autorep_leases_granted_total";
pub(super) const HANDSHAKES_FAILED: &str = "autorep_tls_handshakes_failed_total";
pub(super) const HYPERVOLUME: &str = "autorep_front_hypervolume_ratio";
pub(super) const LAST_PROGRESS: &str = "autorep_last_progress_timestamp_seconds";
pub(super) const LEASED: &str = "autorep_leased_tasks";
pub(super) const MACHINES_EXCLUDED: &str = "autorep_machines_excluded_total";
pub(super) const OVERLOADS: &str = "autorep_overloads_total";
pub(super) const QUARANTINED: &str = "autorep_quarantined_tasks";
pub(super) const READY: &str = "autorep_ready_tasks";
pub(super) const RECORDS: &str = "autorep_written_records_total";
pub(super) const RPC_REQUESTS: &str = "autorep_rpc_requests_total";
pub(super) const RPC_TIME: &str = "autorep_rpc_request_seconds";
pub(super) const STALE: &str = "autorep_stale_claims_refused_total";
pub(super) const SWEEPS: &str = "autorep_sweeps";
pub(super) const SWEEP_TASKS: &str = "autorep_sweep_tasks";
pub(super) const TASKS_FINISHED: &str = "autorep_tasks_finished_total";
pub(super) const TASKS_GAVE_UP: &str = "autorep_tasks_gave_up_total";
pub(super) const UNMET: &str = "autorep_unmet_tasks";
pub(super) const WANTED: &str = "autorep_wanted_workers";
pub(super) const WORKERS: &str = "autorep_workers";

const fn ratio(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric::new(name, Kind::Gauge, Unit::Ratio, labels, help)
}

/// What a coordinator records, besides what [`autorep_measure::store`] and
/// [`autorep_measure::process`] say.
pub const TABLE: &[Metric] = &[
    Metric::gauge(
        READY,
        &["kind"],
        "Queue depth: tasks that may be leased now or after their time to wait, by kind of task. A task of two sweeps counts once.",
    ),
    Metric::gauge(LEASED, &["kind"], "Leases that live, by kind of task."),
    Metric::gauge(
        WANTED,
        &["gpus", "nodes", "gpu_type", "needs"],
        "Workers that would be busy if there were enough, by what tasks need: `nodes` times the tasks that are ready or leased. `gpus` are those of a task over all its nodes, `needs` is what else they need, in words. For autoscaling; the 100 largest.",
    ),
    Metric::gauge(
        UNMET,
        &[],
        "Ready tasks whose needs no worker meets that is there, or too few for a group.",
    ),
    Metric::gauge(
        WORKERS,
        &["state"],
        "Workers that registered since the start: `busy` (holds a lease), `idle`, `excluded` (on a machine on which attempts kept failing), `silent` (no lease, and not heard of for two minutes).",
    ),
    Metric::gauge(
        GPUS,
        &["state"],
        "What these workers offer: GPUs, or ranks on the CPU where a worker was told how many.",
    ),
    Metric::counter(GRANTS, &[], "Leases granted."),
    Metric::counter(
        EXPIRIES,
        &[],
        "Leases that ended because a worker was not heard of for the whole time to live.",
    ),
    Metric::counter(
        ATTEMPTS,
        &["outcome"],
        "Attempts that ended: `finished`, `released` (given back unhurt), or the class of the failure.",
    ),
    Metric::counter(
        TASKS_FINISHED,
        &["kind"],
        "Tasks that got their result, by kind; its rate is the tasks per second.",
    ),
    Metric::counter(TASKS_GAVE_UP, &[], "Tasks that have no attempt left."),
    Metric::gauge(
        QUARANTINED,
        &[],
        "Tasks that were given up because their attempts took trainers or whole workers with them, and were not submitted again since.",
    ),
    Metric::counter(
        MACHINES_EXCLUDED,
        &[],
        "Times that a machine was excluded because attempts kept failing on it.",
    ),
    Metric::counter(
        STALE,
        &[],
        "Calls under a lease that was another's by then, which were refused: what came late from a worker that was cut off.",
    ),
    Metric::new(
        LAST_PROGRESS,
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "When a trainer last did a step, a checkpoint was committed or a task finished, in seconds since 1970; now, while nothing is ready or leased.",
    ),
    Metric::seconds(
        DURABLE_WRITE,
        SECONDS,
        &[],
        "Time until a batch of records is durable in the store. Nothing is decided meanwhile.",
    ),
    Metric::counter(
        RECORDS,
        &[],
        "Records of sweeps and tasks written to the store.",
    ),
    Metric::counter(
        DELETED_OBJECTS,
        &[],
        "Objects of dead checkpoints that were deleted.",
    ),
    Metric::new(
        DELETED_BYTES,
        Kind::Counter,
        Unit::Bytes,
        &[],
        "Bytes of dead checkpoints that were deleted.",
    ),
    Metric::counter(
        RPC_REQUESTS,
        &["service", "method", "code"],
        "gRPC calls that ended, by status code; `other` for what is no method of this coordinator. Streams count when they end.",
    ),
    Metric::seconds(
        RPC_TIME,
        SECONDS,
        &["service", "method"],
        "Time of a gRPC call from its arrival to its status. Acquire waits for a task, up to ten seconds; streams are not timed.",
    ),
    Metric::counter(
        OVERLOADS,
        &["limit"],
        "Calls refused with a time to come back after, by the limit that was reached.",
    ),
    Metric::counter(
        CONNECTIONS_REFUSED,
        &[],
        "Connections closed at once because there were as many as there may be.",
    ),
    Metric::counter(
        HANDSHAKES_FAILED,
        &[],
        "Connections closed because the two sides did not agree on TLS: no or a wrong certificate, or no TLS at all.",
    ),
    Metric::gauge(SWEEPS, &["state"], "Sweeps by what has become of them."),
    Metric::gauge(
        SWEEP_TASKS,
        &["sweep", "state"],
        "Tasks of a sweep by state. Sweeps that ended more than an hour ago are left out, and so are the oldest of more than 200.",
    ),
    Metric::gauge(
        FRONT_POINTS,
        &["sweep"],
        "Candidates on the sweep's front. Which sweeps: as above, here and below.",
    ),
    ratio(
        HYPERVOLUME,
        &["sweep"],
        "Share of the unit square of ReLU share and accuracy that the sweep's front dominates.",
    ),
    ratio(
        BEST_ACCURACY,
        &["sweep", "budget"],
        "Best mean test accuracy of a net with at most so many ReLUs; for the 32 smallest budgets of a sweep.",
    ),
    ratio(
        BASELINE_ACCURACY,
        &["sweep"],
        "Mean test accuracy of the sweep's best baseline.",
    ),
];
