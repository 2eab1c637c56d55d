//! How long work takes, foreseen from what like work has taken.

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

    /// Milliseconds that so many MACs of a kind take, at the kind's own pace, or at that of all training
    /// if nothing of the kind has been measured; `None` if nothing has.
    pub fn foresee_ms(&self, kind: TaskKind, macs: u128) -> Option<f64> {
        let all_training = || {
            (TaskKind::ALL.into_iter())
                .filter(|kind| *kind != TaskKind::Evaluate)
                .map(|kind| self.kinds[kind.index()])
                .fold(Done::default(), |sum, done| Done {
                    ms: sum.ms + done.ms,
                    macs: sum.macs + done.macs,
                })
        };
        let own = self.kinds[kind.index()];
        let known = if own.macs > 0 { own } else { all_training() };
        (known.macs > 0).then(|| macs as f64 * (known.ms as f64 / known.macs as f64))
    }
}

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
    fn a_kind_goes_at_its_own_pace_or_at_that_of_all_training() {
        let mut pace = Pace::default();
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 1), None);
        let done = |ms, macs| Done { ms, macs };
        pace.add(TaskKind::Evaluate, done(7, 1));
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 1), None);
        pace.add(TaskKind::Baseline, done(10, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 50), Some(5.0));
        pace.add(TaskKind::Replace, done(30, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Replace, 50), Some(15.0));
        assert_eq!(pace.foresee_ms(TaskKind::Finetune, 50), Some(10.0));
        pace.remove(TaskKind::Replace, done(30, 100));
        assert_eq!(pace.foresee_ms(TaskKind::Finetune, 50), Some(5.0));
    }
}
