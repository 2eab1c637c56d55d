//! Tar shards: few large files in place of a million small ones.
//!
//! A shard follows the `WebDataset` convention: for each picture the two members `KEY.jpg` (its
//! file, byte for byte) and `KEY.cls` (the number of its class in decimal digits). Beside the
//! shards lies an index, [`INDEX_FILE`], that says where in which shard each picture lies: so
//! pictures are read in any order without reading what is between them, from a disk or from a
//! bucket. The order of the index is the order of the pictures in the data set, which
//! `folders` defines: a task trains on the same batches whether its pictures lie in
//! folders or in shards.

mod index;
mod local;
mod scan;
mod write;

pub use index::{ClassCount, INDEX_FILE, INDEX_FORMAT, Index, Placed, ShardEntry};
pub(crate) use index::{PICTURE_LIMIT, is_tar};
pub use local::{LocalShards, ReadShard, UnderWay};
pub use scan::{ScanError, Scanned, scan};
pub use write::{Put, WriteError, Written, write};
