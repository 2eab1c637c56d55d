//! How long work takes, foreseen from what like work has taken.

use crate::cost::Cost;
use crate::task::TaskKind;

/// What has been measured of each kind of task: milliseconds, and the MACs ([`crate::cost`]) that were
/// done in them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    kinds: [Done; 4],
}

/// Work that was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Done {
    /// Milliseconds that trainers worked.
    pub ms: u64,
    /// Multiply-accumulate operations.
    pub macs: u128,
}

impl Done {
    /// What a task of this cost has done that has come to so many epochs in so many seconds. What trains
    /// nothing says nothing of how fast training goes: then nothing.
    pub fn of(cost: Cost, epochs: u32, seconds: f64) -> Self {
        if cost.epochs == 0 {
            return Self::default();
        }
        Self {
            ms: millis(seconds),
            macs: cost.up_to(epochs).macs,
        }
    }
}

impl Pace {
    /// Adds work of a kind.
    pub fn add(&mut self, kind: TaskKind, done: Done) {
        let sum = &mut self.kinds[kind.index()];
        sum.ms += done.ms;
        sum.macs += done.macs;
    }

    /// Takes work out that was added.
    pub fn remove(&mut self, kind: TaskKind, done: Done) {
        let sum = &mut self.kinds[kind.index()];
        sum.ms -= done.ms;
        sum.macs -= done.macs;
    }

    /// Milliseconds that so many MACs of a kind take, at the kind's own pace, or at that of all if
    /// nothing of the kind has been measured; `None` if nothing has.
    pub fn foresee_ms(&self, kind: TaskKind, macs: u128) -> Option<f64> {
        let own = self.kinds[kind.index()];
        let all = || {
            (self.kinds.iter()).fold(Done::default(), |sum, done| Done {
                ms: sum.ms + done.ms,
                macs: sum.macs + done.macs,
            })
        };
        let known = if own.macs > 0 { own } else { all() };
        (known.macs > 0).then(|| macs as f64 * (known.ms as f64 / known.macs as f64))
    }
}

/// Milliseconds as hours.
pub fn hours(ms: f64) -> f64 {
    ms / HOUR_MS
}

/// Milliseconds in an hour.
pub(crate) const HOUR_MS: f64 = 3_600_000.0;

/// The most milliseconds that one task is believed to have taken, about 30 years: sums stay in range.
const MOST_MS: f64 = 1e12;

/// Whole milliseconds, so that sums do not depend on their order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "floats beyond the range become its end"
)]
pub fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round().min(MOST_MS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_goes_at_its_own_pace_or_at_that_of_all() {
        let mut pace = Pace::default();
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 1), None);
        let done = |ms, macs| Done { ms, macs };
        pace.add(TaskKind::Baseline, done(10, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 50), Some(5.0));
        pace.add(TaskKind::Replace, done(30, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 50), Some(15.0));
        assert_eq!(pace.foresee_ms(TaskKind::Finetune, 50), Some(10.0));
        pace.remove(TaskKind::Replace, done(30, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Finetune, 50), Some(5.0));
    }

    #[test]
    fn what_trains_nothing_says_nothing_of_training() {
        let cost = Cost {
            macs: 700,
            images: 10,
            epochs: 0,
        };
        assert_eq!(Done::of(cost, u32::MAX, 2.0), Done::default());
        let half = Done::of(Cost { epochs: 4, ..cost }, 2, 2.0);
        assert_eq!((half.ms, half.macs), (2000, 350));
    }
}
