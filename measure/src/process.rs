//! What is measured of the process itself, under the names that Prometheus's own clients use. They are
//! recorded by the crate `metrics-process`; here they are declared.

use crate::table::{Kind, Metric, Unit};

/// The metrics of every daemon's process.
pub const TABLE: &[Metric] = &[
    Metric::gauge(
        "autorep_build_info",
        &["version"],
        "1, with the version of this daemon.",
    ),
    Metric::gauge(
        "autorep_ready",
        &[],
        "Whether the daemon is ready, as /readyz says: 1 or 0.",
    ),
    Metric::new(
        "process_cpu_seconds_total",
        Kind::Counter,
        Unit::Seconds,
        &[],
        "Processor time of the process, user and system, in whole seconds.",
    ),
    Metric::new(
        "process_resident_memory_bytes",
        Kind::Gauge,
        Unit::Bytes,
        &[],
        "Memory of the process that is in RAM.",
    ),
    Metric::new(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        Unit::Bytes,
        &[],
        "Address space of the process.",
    ),
    Metric::new(
        "process_virtual_memory_max_bytes",
        Kind::Gauge,
        Unit::Bytes,
        &[],
        "The most address space that it may have.",
    ),
    Metric::gauge("process_open_fds", &[], "Open file descriptors."),
    Metric::gauge(
        "process_max_fds",
        &[],
        "The most file descriptors that may be open.",
    ),
    Metric::gauge("process_threads", &[], "Threads of the process."),
    Metric::new(
        "process_start_time_seconds",
        Kind::Gauge,
        Unit::Seconds,
        &[],
        "When the process started, in seconds since 1970.",
    ),
];
