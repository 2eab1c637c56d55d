//! The only source of chance: one generator per seed.

use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;

/// A seeded generator that everything in one world draws from, in the order in which it runs.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<Rng>);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(Rng::with_seed(seed)))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(
            &mut self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// A number from 0 to `end` - 1; 0 where `end` is 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.draw(|rng| rng.u64(0..end.max(1)))
    }

    /// A number from `first` to `last`.
    pub(crate) fn within(&self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in so many of a thousand draws. Nothing is drawn for 0, so that a world in which a
    /// fault is switched off is no other for it.
    pub(crate) fn permille(&self, share: u64) -> bool {
        share > 0 && self.below(1000) < share
    }

    /// Milliseconds from `first` to `last`.
    pub(crate) fn ms(&self, first: u64, last: u64) -> Duration {
        Duration::from_millis(self.within(first, last))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(at)
    }
}
