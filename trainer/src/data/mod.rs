//! Images: read, split, ordered, augmented and put into batches.
//!
//! Which images a batch holds and how they are changed depends on (seed, epoch, index) alone, so
//! that a resumed task sees what an undisturbed one would have seen.

pub mod augment;
pub mod batches;
pub mod load;
pub mod order;

pub use augment::{Augment, Normaliser};
pub use batches::{Batch, Batches, Stream};
pub use load::{LoadError, Subset, load_test, load_training};
