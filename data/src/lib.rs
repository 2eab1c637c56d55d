//! Data sets of one JPEG per image: where their files lie, in folders or in tar shards on a disk
//! or in a bucket, and how they become pixels. The trainer reads with it, the command line converts and checks with it;
//! it knows neither tensors nor tasks.

pub mod bucket;
mod error;
mod folders;
mod framer;
mod jpeg;
pub mod picture;
mod pictures;
pub mod shards;
pub mod verify;

pub use bucket::{Bucket, CacheSettings};
pub use error::OpenError;
pub use folders::is_there;
pub use framer::{FrameError, Framer};
pub use pictures::{Pictures, Reading};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
