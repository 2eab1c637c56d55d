//! The coordinator's time: milliseconds since it started, never going back.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::millis;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Counted from 1: zero means "at once" to the ledger.
    pub(crate) fn now_ms(self) -> u64 {
        millis(self.start.elapsed()) + 1
    }

    /// When `at_ms` has certainly come.
    pub(crate) fn at(self, at_ms: u64) -> Instant {
        self.start + Duration::from_millis(at_ms)
    }
}
