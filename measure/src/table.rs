//! Metrics as they are declared.

use std::fmt;

/// Buckets for what takes from a millisecond to a minute: calls, writes, requests.
pub const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// One metric.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Metric {
    /// Its name by Prometheus's conventions: a counter's ends in `_total`, what has a unit ends in
    /// that (before `_total`).
    pub name: &'static str,
    /// How it is counted.
    pub kind: Kind,
    /// In what.
    pub unit: Unit,
    /// The names of its labels. No label has values without bound: what a person or a worker makes
    /// up is bounded where it is recorded.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
}

/// How a metric is counted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Kind {
    /// Only grows, from 0 at the daemon's start.
    Counter,
    /// Goes up and down. One that is not set for a minute is served no more.
    Gauge,
    /// Counts in buckets, of which these are the upper bounds.
    Histogram(&'static [f64]),
}

/// In what a metric is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Ratio,
}

impl Unit {
    const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "_seconds",
            Self::Bytes => "_bytes",
            Self::Ratio => "_ratio",
        }
    }
}

impl Metric {
    /// A counter without unit.
    pub const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Counter, Unit::None, labels, help)
    }

    /// A gauge without unit.
    pub const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, Kind::Gauge, Unit::None, labels, help)
    }

    /// A histogram of seconds.
    pub const fn seconds(
        name: &'static str,
        buckets: &'static [f64],
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        let kind = Kind::Histogram(buckets);
        Self::new(name, kind, Unit::Seconds, labels, help)
    }

    /// Any metric.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            unit,
            labels,
            help,
        }
    }

    /// Gives the recorder its help. Once for each process.
    pub fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram(_) => metrics::describe_histogram!(self.name, self.help),
        }
    }

    /// What of its name is not as it should be.
    pub fn misnamed(&self) -> Option<String> {
        let stem = match self.kind {
            Kind::Counter => match self.name.strip_suffix("_total") {
                Some(stem) => stem,
                None => {
                    return Some(format!(
                        "{}: expected a counter to end in _total",
                        self.name
                    ));
                }
            },
            Kind::Gauge | Kind::Histogram(_) => self.name,
        };
        let suffix = self.unit.suffix();
        (!stem.ends_with(suffix)).then(|| format!("{}: expected it to say {suffix}", self.name))
    }

    /// Its row in `docs/metrics.md`.
    pub fn row(&self) -> String {
        let labels: Vec<String> = (self.labels.iter())
            .map(|label| format!("`{label}`"))
            .collect();
        format!(
            "| `{}` | {} | {} | {} |",
            self.name,
            self.kind,
            labels.join(", "),
            self.help
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_its_unit_or_a_counter_without_total_is_found() {
        let good = Metric::counter("tasks_total", &[], "Tasks.");
        assert_eq!(good.misnamed(), None);
        assert!(Metric::counter("tasks", &[], "Tasks.").misnamed().is_some());
        let bytes = |name| Metric::new(name, Kind::Counter, Unit::Bytes, &[], "Bytes.");
        assert_eq!(bytes("sent_bytes_total").misnamed(), None);
        assert!(bytes("sent_total").misnamed().is_some());
        assert!(
            Metric::seconds("wait", SECONDS, &[], "Waits.")
                .misnamed()
                .is_some()
        );
    }
}
