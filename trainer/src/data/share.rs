//! Which part of each batch one rank of a group makes and trains on.

use std::ops::Range;

/// The part of every batch that belongs to one rank of a group: the `rank`-th of `ranks` pieces
/// that follow each other. All ranks together have exactly the batch of a task that trains alone,
/// in its order, so that what a seed means does not depend on the number of ranks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    rank: u32,
    ranks: u32,
}

/// There is no such rank.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a rank below the number of ranks, found rank {rank} of {ranks}")]
pub struct NoSuchRank {
    /// The rank, counted from 0.
    pub rank: u32,
    /// Ranks of the group.
    pub ranks: u32,
}

impl Share {
    /// Whole batches: one rank, alone.
    pub const WHOLE: Self = Self { rank: 0, ranks: 1 };

    /// The share of a rank, counted from 0.
    pub const fn new(rank: u32, ranks: u32) -> Result<Self, NoSuchRank> {
        if rank < ranks {
            Ok(Self { rank, ranks })
        } else {
            Err(NoSuchRank { rank, ranks })
        }
    }

    /// The rank, counted from 0.
    pub const fn rank(self) -> u32 {
        self.rank
    }

    /// Ranks of the group.
    pub const fn ranks(self) -> u32 {
        self.ranks
    }

    /// The places in a batch of `batch` images that belong to this rank. Where a batch does not
    /// divide by the ranks, the first ones have one image more than the others; where there are
    /// more ranks than images, the last ones have none.
    pub fn places(self, batch: usize) -> Range<usize> {
        let (rank, ranks) = (self.rank as usize, self.ranks as usize);
        let (each, more) = (batch / ranks, batch % ranks);
        let first = rank * each + rank.min(more);
        first..first + each + usize::from(rank < more)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// Images that each of `ranks` ranks has of a batch of `batch`, in the order of ranks.
#[cfg(test)]
pub(crate) fn share_sizes(batch: usize, ranks: u32) -> Vec<usize> {
    (0..ranks)
        .map(|rank| Share { rank, ranks }.places(batch).len())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shares_follow_each_other_cover_a_batch_and_differ_by_at_most_one(
            batch in 0_usize..5_000,
            ranks in 1_u32..70,
        ) {
            let mut end = 0;
            for rank in 0..ranks {
                let places = Share::new(rank, ranks).unwrap().places(batch);
                prop_assert_eq!(places.start, end);
                end = places.end;
            }
            prop_assert_eq!(end, batch);
            let sizes = share_sizes(batch, ranks);
            prop_assert!(sizes.is_sorted_by(|before, after| before >= after));
            prop_assert!(sizes[0] - sizes[sizes.len() - 1] <= 1);
        }
    }

    #[test]
    fn the_first_ranks_have_what_is_left_over() {
        assert_eq!(share_sizes(10, 4), [3, 3, 2, 2]);
        assert_eq!(share_sizes(2, 3), [1, 1, 0]);
        assert_eq!(Share::WHOLE.places(7), 0..7);
        assert_eq!(Share::default(), Share::WHOLE);
    }

    #[test]
    fn a_rank_that_is_not_in_its_group_is_refused() {
        let told = |rank, ranks| Share::new(rank, ranks).unwrap_err().to_string();
        assert_eq!(
            told(2, 2),
            "expected a rank below the number of ranks, found rank 2 of 2"
        );
        assert!(told(0, 0).ends_with("rank 0 of 0"));
    }
}
