//! What could happen so often that the log would be of nothing else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is told, if nobody says.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Says of many things that happen at once which is told.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    told: Mutex<Told>,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::every(TELL_EVERY)
    }
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Of what is told at most so often.
    pub(crate) fn every(every: Duration) -> Self {
        Self {
            every,
            told: Mutex::default(),
        }
    }

    /// How many were not told before this one; `None` if this one is not told either.
    pub(crate) fn tell(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.last.is_some_and(|at| at.elapsed() < self.every) {
            told.untold += 1;
            return None;
        }
        told.last = Some(Instant::now());
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn of_many_at_once_one_is_told_and_the_others_are_counted() {
        let seldom = Seldom::default();
        let told: Vec<Option<u64>> = (0..4).map(|_| seldom.tell()).collect();
        assert_eq!(told, [Some(0), None, None, None]);
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!((seldom.tell(), seldom.tell()), (Some(3), None));
        tokio::time::advance(TELL_EVERY).await;
        assert_eq!(seldom.tell(), Some(1));
    }
}
