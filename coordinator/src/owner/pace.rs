//! When a turn begins.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::ask::Ask;

/// Writes that are faster than this are not worth waiting for company: a timer's tick is half of it.
const SLOW: Duration = Duration::from_millis(2);

/// The longest wait for company.
const PATIENCE: Duration = Duration::from_millis(20);

/// What the last turn was like.
///
/// Those whom a turn has answered at the same time ask again a moment later. If the next turn began
/// with the first of them, all others would wait for two writes instead of one, and so on for ever:
/// every second batch would hold one request. So where writes are slow, a turn waits for as many
/// requests as the last one answered, though no longer than a quarter of a write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Callers, each counted once.
    answered: usize,
    wrote: Duration,
}

impl Pace {
    pub(super) const fn new(answered: usize, wrote: Duration) -> Self {
        Self { answered, wrote }
    }

    /// Adds to `waiting`, which has the first request, until it has `limit` or nobody else is to be
    /// expected.
    pub(super) async fn gather(
        self,
        asks: &mut mpsc::Receiver<Ask>,
        waiting: &mut Vec<Ask>,
        limit: usize,
    ) {
        let expected = self.answered.min(limit);
        if self.wrote < SLOW {
            return;
        }
        let patience = tokio::time::sleep_until(Instant::now() + (self.wrote / 4).min(PATIENCE));
        tokio::pin!(patience);
        while waiting.len() < expected {
            let room = limit - waiting.len();
            let taken = tokio::select! {
                biased;
                taken = asks.recv_many(waiting, room) => taken,
                () = &mut patience => 0,
            };
            if taken == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Desk;
    use crate::config::Config;

    fn ask(desk: &Desk) {
        let desk = desk.clone();
        tokio::spawn(async move { desk.ask(|reply| Ask::List { reply }).await });
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_after_a_slow_write_waits_for_those_who_were_answered_and_no_longer() {
        let (desk, mut asks) = Desk::new(&Config::default());
        let mut waiting = Vec::new();
        let pace = Pace::new(3, Duration::from_millis(40));
        let late = desk.clone();
        ask(&desk);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(4)).await;
            ask(&late);
            ask(&late);
        });
        let began = Instant::now();
        pace.gather(&mut asks, &mut waiting, 16).await;
        assert_eq!(waiting.len(), 3);
        assert_eq!(began.elapsed(), Duration::from_millis(4));

        waiting.truncate(1);
        let began = Instant::now();
        pace.gather(&mut asks, &mut waiting, 16).await;
        assert_eq!(waiting.len(), 1, "nobody else came");
        assert_eq!(began.elapsed(), Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_where_writes_are_fast_or_one_alone_was_answered() {
        let (_desk, mut asks) = Desk::new(&Config::default());
        let began = Instant::now();
        for pace in [
            Pace::new(9, Duration::from_millis(1)),
            Pace::new(1, Duration::from_secs(1)),
            Pace::default(),
        ] {
            let (reply, _answer) = tokio::sync::oneshot::channel();
            let mut waiting = vec![Ask::List { reply }];
            pace.gather(&mut asks, &mut waiting, 16).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
