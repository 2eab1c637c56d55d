//! Images: read, split, ordered, augmented and put into batches.
//!
//! Which images a batch holds and how they are changed depends on (seed, epoch, index) alone, so
//! that a resumed task sees what an undisturbed one would have seen, and the ranks of a group
//! together what one rank alone would have seen.

mod ahead;
pub mod augment;
pub mod batches;
pub mod in_order;
pub mod load;
pub mod order;
pub mod share;
pub mod skips;
pub mod source;

pub use augment::{Augment, Normaliser};
pub use batches::{Batch, BatchError, Batches, Stream};
pub use load::{DataPlace, LoadError, load_test, load_training};
#[cfg(test)]
pub(crate) use share::share_sizes;
pub use share::{NoSuchRank, Share};
pub use skips::{Skipped, Skips, TooManySkipped};
pub use source::{Source, Subset};
