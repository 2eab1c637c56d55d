//! Whether a daemon is ready.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a daemon does what it is there for, told by itself and asked by whoever watches it. Clones
/// tell of the same daemon, and only those are equal.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    until: Until,
    /// Why it is not ready, or will not be when its time is over.
    reason: &'static str,
}

#[derive(Debug)]
enum Until {
    /// It is not ready.
    Never,
    Then(Instant),
    ForEver,
}

impl Health {
    /// Not ready yet, for this reason.
    pub fn new(reason: &'static str) -> Self {
        let until = Until::Never;
        Self(Arc::new(Mutex::new(State { until, reason })))
    }

    /// Ready until it says otherwise.
    pub fn ready(&self) {
        self.set(Until::ForEver, "");
    }

    /// Ready for so long, and then no more for this reason unless it has said so again.
    pub fn ready_for(&self, time: Duration, then: &'static str) {
        self.set(Until::Then(Instant::now() + time), then);
    }

    /// Not ready, for this reason.
    pub fn not_ready(&self, reason: &'static str) {
        self.set(Until::Never, reason);
    }

    /// Why it is not ready, if it is not.
    pub fn unready(&self) -> Option<&'static str> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ready = match state.until {
            Until::Never => false,
            Until::Then(at) => Instant::now() < at,
            Until::ForEver => true,
        };
        (!is_ready).then_some(state.reason)
    }

    fn set(&self, until: Until, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { until, reason };
    }
}

impl Default for Health {
    /// Of a daemon that is starting.
    fn default() -> Self {
        Self::new("it is starting")
    }
}

impl PartialEq for Health {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Health {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_ready_for_a_time_has_to_say_so_again() {
        let health = Health::default();
        assert_eq!(health.unready(), Some("it is starting"));
        health.ready_for(Duration::from_secs(10), "nobody answers");
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(health.unready(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(health.unready(), Some("nobody answers"));
        health.ready();
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(health.clone().unready(), None);
        health.clone().not_ready("it stops");
        assert_eq!(health.unready(), Some("it stops"));
    }
}
