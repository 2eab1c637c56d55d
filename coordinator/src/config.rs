//! How a coordinator works.

use std::time::Duration;

use autorep_core::ledger::Quotas;
use autorep_measure::Health;

/// How a coordinator works. [`Config::default`] suits a cluster, [`Config::one_machine`] a
/// coordinator and workers on one machine.
///
/// The address, encryption and tokens are the caller's choice: [`crate::run`] serves at the
/// [`Door`](crate::Door) that it is given. So whoever makes one without TLS or tokens must refuse an
/// address that other machines can reach, unless a person has said that this is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// How long a lease lives without a renewal.
    pub lease_ttl: Duration,
    /// How often workers renew, and with that how fresh progress is. At most a third of the time
    /// to live, so that two lost calls cost no lease.
    pub renew_every: Duration,
    /// The longest that a request for work waits for some.
    pub max_acquire_wait: Duration,
    /// The longest manifest.
    pub max_manifest_bytes: usize,
    /// The most tasks of one plan.
    pub max_plan_tasks: u64,
    /// The most sweeps.
    pub max_sweeps: usize,
    /// The most workers that are known at a time.
    pub max_workers: usize,
    /// The most requests that wait for the ledger's owner.
    pub queue: usize,
    /// The most calls that are being answered at a time, workers that wait for a task aside: more
    /// are refused and told to come back.
    pub max_calls: usize,
    /// The most requests that are decided before their records are written together.
    pub batch: usize,
    /// The most connections at a time; more are closed at once.
    pub max_connections: usize,
    /// How long a connection may live before a call over it is let in.
    pub first_call_within: Duration,
    /// The most streams at a time: fronts that are watched and logs that are followed.
    pub max_streams: usize,
    /// The longest that a worker is kept idle for a task that needs several, while there is other work
    /// for it; then it is let go for as long. Zero keeps nobody.
    pub gather: Duration,
    /// What owners of sweeps may have.
    pub quotas: Quotas,
    /// How often checkpoints that nothing can reach are deleted; zero for never.
    pub gc_every: Duration,
    /// Checkpoints younger than this are left alone: somebody may just be reading them.
    pub gc_min_age: Duration,
    /// How long open calls may take to end when the coordinator stops.
    pub stop_grace: Duration,
    /// Where the coordinator says whether it serves.
    pub health: Health,
}

impl Default for Config {
    /// For a cluster: leases live for 30 s and are renewed every 5 s.
    fn default() -> Self {
        Self {
            lease_ttl: Duration::from_secs(30),
            renew_every: Duration::from_secs(5),
            max_acquire_wait: Duration::from_mins(1),
            max_manifest_bytes: 1 << 20,
            max_plan_tasks: autorep_core::manifest::DEFAULT_TASK_LIMIT,
            max_sweeps: 10_000,
            max_workers: 100_000,
            queue: 4096,
            max_calls: 16_384,
            max_connections: 20_000,
            first_call_within: Duration::from_secs(20),
            max_streams: 1024,
            batch: 1024,
            gather: Duration::from_mins(1),
            quotas: Quotas::default(),
            gc_every: Duration::from_mins(10),
            gc_min_age: Duration::from_mins(10),
            stop_grace: Duration::from_secs(5),
            health: Health::default(),
        }
    }
}

impl Config {
    /// For one machine: progress every second, and leases of 10 s.
    pub fn one_machine() -> Self {
        Self {
            lease_ttl: Duration::from_secs(10),
            renew_every: Duration::from_secs(1),
            ..Self::default()
        }
    }

    pub(crate) fn checked(self) -> Result<Self, ConfigError> {
        if self.lease_ttl < Duration::from_millis(30) || self.renew_every.is_zero() {
            return Err(ConfigError::TooShort {
                lease_ttl_ms: millis(self.lease_ttl),
                renew_every_ms: millis(self.renew_every),
            });
        }
        if self.renew_every > self.lease_ttl / 3 {
            return Err(ConfigError::RenewsTooRarely {
                lease_ttl_ms: millis(self.lease_ttl),
                renew_every_ms: millis(self.renew_every),
            });
        }
        if self.queue == 0 || self.batch == 0 || self.max_calls == 0 {
            return Err(ConfigError::NoRoom);
        }
        Ok(self)
    }
}

/// A configuration that cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// Leases that end before they can be renewed.
    #[error(
        "expected a lease time to live of at least 30 ms and a renewal interval above zero, found {lease_ttl_ms} ms and {renew_every_ms} ms"
    )]
    TooShort {
        /// [`Config::lease_ttl`].
        lease_ttl_ms: u64,
        /// [`Config::renew_every`].
        renew_every_ms: u64,
    },
    /// Leases that one lost call can end.
    #[error(
        "expected renewals at least three times in a lease's time to live of {lease_ttl_ms} ms, found every {renew_every_ms} ms"
    )]
    RenewsTooRarely {
        /// [`Config::lease_ttl`].
        lease_ttl_ms: u64,
        /// [`Config::renew_every`].
        renew_every_ms: u64,
    },
    /// No request could ever be answered.
    #[error("expected a queue, a batch and a number of calls of at least 1")]
    NoRoom,
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_configurations_work() {
        for config in [Config::default(), Config::one_machine()] {
            assert_eq!(config.clone().checked(), Ok(config));
        }
    }

    #[test]
    fn a_lease_that_one_lost_renewal_can_end_is_refused() {
        let config = Config {
            lease_ttl: Duration::from_secs(10),
            renew_every: Duration::from_secs(5),
            ..Config::default()
        };
        assert!(matches!(
            config.checked(),
            Err(ConfigError::RenewsTooRarely { .. })
        ));
    }
}
