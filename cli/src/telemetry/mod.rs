//! What a daemon tells of itself to whoever watches it: metrics for Prometheus, and whether it lives
//! and is ready, over plain HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use autorep_measure::{Health, Kind, Metric, process, store};
use clap::Args;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::values::socket_address;

mod http;

/// How often gauges of the process are taken and histograms gathered.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Gauges that nobody has set for so long are served no more: what they told of has ended.
const GAUGE_LIFE: Duration = Duration::from_mins(1);

/// Where metrics are served.
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Serve Prometheus metrics (/metrics) and health (/livez, /readyz) over plain HTTP on this
    /// address, as in 0.0.0.0:9464. Nobody is asked who they are. Default: nowhere.
    #[arg(long, value_name = "ADDR", env = "AUTOREP_METRICS_LISTEN", value_parser = socket_address)]
    pub metrics_listen: Option<SocketAddr>,
}

/// Serves metrics and health while it lives.
#[derive(Debug)]
#[must_use = "it serves as long as it lives"]
pub struct Telemetry {
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Telemetry {
    /// Installs a recorder for the daemon's own `table` and for what all daemons have, and serves it;
    /// does nothing where no address was given. `prepare` is called once the recorder is there,
    /// `sample` every five seconds.
    pub async fn start(
        args: &MetricsArgs,
        table: &[Metric],
        health: Health,
        prepare: impl FnOnce(),
        sample: impl FnMut() + Send + 'static,
    ) -> Result<Self> {
        let Some(address) = args.metrics_listen else {
            return Ok(Self { _tasks: Vec::new() });
        };
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address} for metrics"))?;
        let handle = install(table).context("set up metrics")?;
        prepare();
        store::prepare();
        tracing::info!(listen = %listener.local_addr()?, "serving metrics and health");
        let served = http::Served::new(handle.clone(), health.clone());
        let tasks = [
            tokio::spawn(http::serve(listener, served)),
            tokio::spawn(sample_regularly(handle, health, sample)),
        ];
        let tasks = tasks.into_iter().map(AbortOnDropHandle::new).collect();
        Ok(Self { _tasks: tasks })
    }
}

/// All metrics of a daemon with this table of its own.
pub fn all_of(table: &[Metric]) -> impl Iterator<Item = &Metric> {
    table.iter().chain(store::TABLE).chain(process::TABLE)
}

fn install(table: &[Metric]) -> Result<PrometheusHandle> {
    let mut builder =
        PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(GAUGE_LIFE));
    for metric in all_of(table) {
        if let Kind::Histogram(buckets) = metric.kind {
            let matcher = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, buckets)?;
        }
    }
    let handle = builder.install_recorder()?;
    all_of(table).for_each(Metric::describe);
    Ok(handle)
}

async fn sample_regularly(handle: PrometheusHandle, health: Health, mut sample: impl FnMut()) {
    let process = metrics_process::Collector::default();
    let mut every = tokio::time::interval(SAMPLE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // What was timed lies in a heap until it is gathered, whether anybody asks or not.
        handle.run_upkeep();
        metrics::gauge!("autorep_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let is_ready = health.unready().is_none();
        metrics::gauge!("autorep_ready").set(if is_ready { 1.0 } else { 0.0 });
        process.collect();
        sample();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use autorep_coordinator::measure::TABLE as COORDINATOR;
    use autorep_worker::measure::TABLE as WORKER;

    use super::*;

    /// The rows of a section of `docs/metrics.md`.
    fn documented(section: &str) -> Vec<&'static str> {
        let page = include_str!("../../../docs/metrics.md");
        let heading = format!("## {section}\n");
        let (_, text) = page.split_once(&heading).unwrap();
        let text = text.split("\n## ").next().unwrap_or(text);
        text.lines().filter(|it| it.starts_with("| `")).collect()
    }

    #[test]
    fn the_page_about_metrics_lists_what_there_is_and_nothing_else() {
        let both = [store::TABLE, process::TABLE].concat();
        let mut expected = String::new();
        let mut is_right = true;
        for (section, table) in [
            ("Coordinator", COORDINATOR),
            ("Worker", WORKER),
            ("Both", &both),
        ] {
            let rows: Vec<String> = table.iter().map(Metric::row).collect();
            is_right &= documented(section) == rows;
            expected.extend(["## ", section, "\n", &rows.join("\n"), "\n"]);
        }
        assert!(is_right, "docs/metrics.md: expected these rows\n{expected}");
    }

    #[test]
    fn names_follow_the_conventions_and_are_there_once() {
        for table in [COORDINATOR, WORKER] {
            let mut seen = BTreeSet::new();
            for metric in all_of(table) {
                assert_eq!(metric.misnamed(), None);
                assert!(seen.insert(metric.name), "{} is there twice", metric.name);
                assert!(metric.help.ends_with('.'), "{}", metric.help);
            }
        }
    }
}
