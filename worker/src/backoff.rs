//! Growing, jittered waits between tries.

use std::time::Duration;

/// The wait before the next try: doubles from 100 ms to 5 s, of which a random half to whole is
/// taken, so that workers that lost the coordinator together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }

    /// Waits, and not shorter than the other side asks for.
    pub(crate) async fn wait_at_least(&mut self, asked: Option<Duration>) {
        let wait = self.next();
        tokio::time::sleep(wait + asked.unwrap_or_default()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_are_never_less_than_half() {
        let mut backoff = Backoff::new();
        let mut whole = FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
    }
}
