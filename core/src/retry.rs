//! How often and how soon a failed task is tried again: by what ended its attempts.
//!
//! | class | attempts | wait before the next |
//! |---|---|---|
//! | trainer crashed, trainer error, bad data, bad checkpoint | `attempts` | `backoff`, doubling |
//! | out of memory | `out_of_memory` | `backoff`, doubling |
//! | diverged | `diverged` | `backoff`, doubling |
//! | worker lost without a checkpoint | `lost_workers` | none, then `backoff`, doubling |
//! | store unavailable, no scratch | no limit | at least a second, doubling |
//! | budget unreached, bad weights | one | |
//!
//! Classes are counted apart: a preempted fleet must not use up what a crashing trainer has.

use serde::{Deserialize, Serialize};

use crate::failure::FailureClass;
use crate::lease::LeaseClaim;

/// The longest wait between two attempts, jitter aside.
pub const MAX_BACKOFF_MS: u64 = 3_600_000;

/// The shortest wait after a failure that may repeat without end.
const MIN_UNLIMITED_BACKOFF_MS: u64 = 1000;

/// The longest wait for a store that cannot be reached, or for room on a machine: it comes back for
/// everyone at once.
const MAX_UNLIMITED_BACKOFF_MS: u64 = 300_000;

/// A sweep's policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Attempts before a task is given up, at least one, for classes without a limit of their own.
    pub attempts: u32,
    /// The same for trainers that were out of memory.
    pub out_of_memory: u32,
    /// The same for losses that became infinite or not a number.
    pub diverged: u32,
    /// The same for workers that were lost before they had committed a checkpoint.
    pub lost_workers: u32,
    /// Milliseconds before the second attempt; each further wait is twice as long.
    pub backoff_ms: u64,
}

/// What a failure is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// There is no further attempt.
    Once,
    /// So many attempts may end like this.
    Attempts(u32),
    /// Any number may: nobody is at fault.
    None,
}

impl Default for Retry {
    /// A manifest's, if it says nothing.
    fn default() -> Self {
        Self::new(3, 10_000)
    }
}

impl Retry {
    /// The policy with one limit for all, but for what hardly ends otherwise the third time: being
    /// out of memory and diverging.
    pub const fn new(attempts: u32, backoff_ms: u64) -> Self {
        let twice = if attempts < 2 { attempts } else { 2 };
        Self {
            attempts,
            out_of_memory: twice,
            diverged: twice,
            lost_workers: attempts,
            backoff_ms,
        }
    }

    /// The attempts that may end with `class`.
    pub const fn limit(self, class: FailureClass) -> Limit {
        match class {
            FailureClass::BudgetUnreached | FailureClass::BadWeights => Limit::Once,
            FailureClass::OutOfMemory => Limit::Attempts(self.out_of_memory),
            FailureClass::Diverged => Limit::Attempts(self.diverged),
            FailureClass::WorkerLost => Limit::Attempts(self.lost_workers),
            FailureClass::TrainerCrashed
            | FailureClass::BadData
            | FailureClass::BadCheckpoint
            | FailureClass::TrainerError => Limit::Attempts(self.attempts),
            FailureClass::StoreUnavailable | FailureClass::NoScratch => Limit::None,
        }
    }

    /// The wait before the next attempt in milliseconds, after `failed` attempts that ended with
    /// `class`, the one under `claim` included. Zero means at once.
    ///
    /// Up to a quarter is added, decided by the claim: tasks that failed together for one reason
    /// are not tried again together. It is no chance, so that a replay decides the same.
    pub fn wait_ms(self, class: FailureClass, failed: u32, claim: LeaseClaim) -> u64 {
        let (first_ms, most_ms, failed) = match class {
            // The worker was at fault or nobody: another one may try at once.
            FailureClass::WorkerLost if failed <= 1 => return 0,
            FailureClass::WorkerLost => (self.backoff_ms, MAX_BACKOFF_MS, failed - 1),
            // Nothing ends a row of these: they must not follow one another as fast as they can.
            FailureClass::StoreUnavailable | FailureClass::NoScratch => {
                let first_ms = self.backoff_ms.max(MIN_UNLIMITED_BACKOFF_MS);
                (first_ms, MAX_UNLIMITED_BACKOFF_MS.max(first_ms), failed)
            }
            FailureClass::TrainerCrashed
            | FailureClass::OutOfMemory
            | FailureClass::Diverged
            | FailureClass::BudgetUnreached
            | FailureClass::BadWeights
            | FailureClass::BadData
            | FailureClass::BadCheckpoint
            | FailureClass::TrainerError => (self.backoff_ms, MAX_BACKOFF_MS, failed),
        };
        let doublings = failed.saturating_sub(1).min(32);
        let wait_ms = first_ms.saturating_mul(1 << doublings).min(most_ms);
        wait_ms + jitter(wait_ms, claim)
    }

    /// The more patient of two policies, limit by limit.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.max(other.attempts),
            out_of_memory: self.out_of_memory.max(other.out_of_memory),
            diverged: self.diverged.max(other.diverged),
            lost_workers: self.lost_workers.max(other.lost_workers),
            backoff_ms: self.backoff_ms.max(other.backoff_ms),
        }
    }
}

/// Less than a quarter of `wait_ms`.
fn jitter(wait_ms: u64, claim: LeaseClaim) -> u64 {
    let id = claim.task.0.as_bytes();
    let seed = (id.iter().take(8)).fold(claim.generation.0, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    let quarter = wait_ms / 4;
    if quarter == 0 { 0 } else { seed % quarter }
}

/// How many attempts of a task have ended with which class.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spent(Box<[(FailureClass, u32)]>);

impl Spent {
    /// The attempts that ended with `class`.
    pub fn of(&self, class: FailureClass) -> u32 {
        (self.0.iter())
            .find(|(known, _)| *known == class)
            .map_or(0, |(_, count)| *count)
    }

    /// The attempts that count against a limit.
    pub fn attempts(&self) -> u32 {
        (self.0.iter())
            .filter(|(class, _)| !class.is_of_surroundings())
            .fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether no attempt has failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts one more.
    #[must_use]
    pub fn and(&self, class: FailureClass) -> Self {
        let mut counts = self.0.to_vec();
        match counts.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => counts.push((class, 1)),
        }
        Self(counts.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::id::{Generation, TaskId};

    fn claim(text: &str, generation: u64) -> LeaseClaim {
        LeaseClaim {
            task: TaskId(Digest::of(text.as_bytes())),
            generation: Generation(generation),
        }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_jitter_adds_less_than_a_quarter() {
        let retry = Retry::new(3, 1000);
        for (failed, least) in [(1, 1000), (2, 2000), (5, 16_000), (40, MAX_BACKOFF_MS)] {
            let wait = retry.wait_ms(FailureClass::TrainerCrashed, failed, claim("a", 1));
            assert!(
                (least..least + least / 4).contains(&wait),
                "{failed}: {wait}"
            );
        }
    }

    #[test]
    fn tasks_that_failed_together_are_not_tried_again_together() {
        let retry = Retry::new(3, 100_000);
        let wait = |text: &str, generation| {
            retry.wait_ms(FailureClass::TrainerError, 1, claim(text, generation))
        };
        assert_ne!(wait("a", 1), wait("b", 1));
        assert_ne!(wait("a", 1), wait("a", 2));
        assert_eq!(wait("a", 1), wait("a", 1));
    }

    #[test]
    fn a_lost_worker_waits_only_from_the_second_time_on() {
        let retry = Retry::new(3, 1000);
        let wait = |failed| retry.wait_ms(FailureClass::WorkerLost, failed, claim("a", 1));
        assert_eq!((wait(0), wait(1)), (0, 0));
        assert!(wait(2) >= 1000);
        assert!(wait(3) >= 2000);
    }

    #[test]
    fn a_store_that_is_away_and_a_disk_without_room_are_waited_for_but_never_for_long() {
        let retry = Retry::new(3, 0);
        for class in [FailureClass::StoreUnavailable, FailureClass::NoScratch] {
            let wait = |failed| retry.wait_ms(class, failed, claim("a", 1));
            assert!(wait(0) >= 1000, "{class:?}");
            assert!(wait(30) < 2 * MAX_UNLIMITED_BACKOFF_MS, "{class:?}");
            assert_eq!(retry.limit(class), Limit::None);
        }
    }

    #[test]
    fn classes_are_counted_apart_and_what_is_not_the_tasks_fault_is_no_attempt() {
        let spent = Spent::default()
            .and(FailureClass::WorkerLost)
            .and(FailureClass::WorkerLost)
            .and(FailureClass::StoreUnavailable)
            .and(FailureClass::NoScratch)
            .and(FailureClass::Diverged);
        assert_eq!(spent.of(FailureClass::WorkerLost), 2);
        assert_eq!(spent.of(FailureClass::TrainerCrashed), 0);
        assert_eq!(spent.attempts(), 3);
    }
}
