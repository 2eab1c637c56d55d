//! The order of images as a pure function of its seeds.

use crate::rng::Rng;

/// Decides for all tasks alike which images are held out.
const SPLIT_SEED: u64 = 0;

/// The permutation of the training part from which training and validation images are taken.
pub fn split(images: usize) -> Vec<u32> {
    permutation(images, &mut Rng::keyed("split", &[SPLIT_SEED]))
}

/// The order in which `images` training images are seen in an epoch, counted from 0.
pub fn epoch(images: usize, seed: u64, epoch: u64) -> Vec<u32> {
    permutation(images, &mut Rng::keyed("order", &[seed, epoch]))
}

/// Fisher and Yates' shuffle of the numbers below `count`.
fn permutation(count: usize, rng: &mut Rng) -> Vec<u32> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..count).collect();
    for at in (1..order.len()).rev() {
        let other = rng.below(at as u64 + 1);
        order.swap(at, usize::try_from(other).unwrap_or(at));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_depends_on_seed_and_epoch_alone() {
        let order = epoch(1000, 3, 7);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
        assert_eq!(order, epoch(1000, 3, 7));
        assert_ne!(order, epoch(1000, 3, 8));
        assert_ne!(order, epoch(1000, 4, 7));
        assert_ne!(order, sorted);
    }

    /// What a seed means is a promise: these numbers may never change.
    #[test]
    fn the_first_positions_are_fixed_for_good() {
        assert_eq!(epoch(10, 0, 0), [6, 0, 7, 9, 2, 8, 5, 3, 1, 4]);
        assert_eq!(split(60_000)[..4], [10321, 33759, 57728, 55168]);
    }
}
