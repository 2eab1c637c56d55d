//! How long workers are kept waiting for a group before they take other work.
//!
//! A worker that is kept is idle though there may be work for it, so that a task for several workers
//! does not starve behind a stream of tasks for one. It is kept for at most a certain time, whatever
//! number of groups it is kept for; then it is let go for as long, or until it has had a lease. So
//! groups that never come together cost a worker no more than half of its time.
//!
//! Nothing of it is written down: a restart keeps everybody anew.

use std::collections::BTreeMap;

use crate::id::WorkerId;

/// Since when workers have been kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patience {
    keep_ms: u64,
    since_ms: BTreeMap<WorkerId, u64>,
}

impl Patience {
    /// Workers are kept for so long, and let go for as long; zero keeps nobody.
    pub const fn new(keep_ms: u64) -> Self {
        Self {
            keep_ms,
            since_ms: BTreeMap::new(),
        }
    }

    /// Whether a worker may be kept at this time.
    pub fn lasts(&self, worker: &WorkerId, now_ms: u64) -> bool {
        let Some(&since_ms) = self.since_ms.get(worker) else {
            return self.keep_ms > 0;
        };
        let kept_ms = now_ms.saturating_sub(since_ms);
        kept_ms < self.keep_ms || kept_ms >= self.keep_ms.saturating_mul(2)
    }

    /// A worker is kept at this time. Returns whether that begins with it.
    pub fn keep(&mut self, worker: &WorkerId, now_ms: u64) -> bool {
        let rested_ms = self.keep_ms.saturating_mul(2);
        (self.since_ms).retain(|_, since_ms| now_ms.saturating_sub(*since_ms) < rested_ms);
        let begins = !self.since_ms.contains_key(worker);
        if begins {
            self.since_ms.insert(worker.clone(), now_ms);
        }
        begins
    }

    /// A worker has got a lease.
    pub fn served(&mut self, worker: &WorkerId) {
        self.since_ms.remove(worker);
    }

    /// The next time at which a worker is let go, or may be kept again.
    pub fn next_deadline_ms(&self, now_ms: u64) -> Option<u64> {
        let ends = self.since_ms.values().flat_map(|&since_ms| {
            let let_go_ms = since_ms.saturating_add(self.keep_ms);
            [let_go_ms, let_go_ms.saturating_add(self.keep_ms)]
        });
        ends.filter(|&at_ms| at_ms > now_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_kept_for_a_time_let_go_for_as_long_and_kept_again() {
        let worker = WorkerId("w".to_owned());
        let mut patience = Patience::new(100);
        assert!(patience.lasts(&worker, 5));
        assert!(patience.keep(&worker, 5));
        // Being asked again and again does not make it longer.
        assert!(!patience.keep(&worker, 80));
        assert!(patience.lasts(&worker, 104));
        assert_eq!(patience.next_deadline_ms(80), Some(105));
        assert!(!patience.lasts(&worker, 105));
        assert!(!patience.lasts(&worker, 204));
        assert_eq!(patience.next_deadline_ms(105), Some(205));
        assert!(patience.lasts(&worker, 205));
        assert!(patience.keep(&worker, 205));
        assert_eq!(patience.next_deadline_ms(205), Some(305));
    }

    #[test]
    fn a_lease_makes_a_worker_as_patient_as_it_was() {
        let worker = WorkerId("w".to_owned());
        let mut patience = Patience::new(100);
        patience.keep(&worker, 0);
        patience.served(&worker);
        assert!(patience.lasts(&worker, 150));
        assert!(patience.keep(&worker, 150));
    }

    #[test]
    fn without_a_time_nobody_is_kept() {
        let patience = Patience::new(0);
        assert!(!patience.lasts(&WorkerId("w".to_owned()), 0));
    }
}
