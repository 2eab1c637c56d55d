//! Reads ranges of shards that lie in a folder.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Ranges that are being read. Waiting for them gives each, in the order asked for.
pub type UnderWay = Box<dyn FnOnce() -> Vec<io::Result<Vec<u8>>> + Send>;

/// Reads a range of a shard. Called from several threads at once.
pub trait ReadShard: Send + Sync + Debug {
    /// The `bytes` bytes of `file` from `offset` on.
    fn read(&self, file: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;

    /// Several ranges, each as (file, offset, bytes), in their order. A store that is far away
    /// fetches them together.
    fn read_many(&self, ranges: &[(&str, u64, usize)]) -> Vec<io::Result<Vec<u8>>> {
        ranges
            .iter()
            .map(|(file, offset, bytes)| self.read(file, *offset, *bytes))
            .collect()
    }

    /// As [`Self::read_many`], without waiting for what is far away. `None` where nothing is: there
    /// is no use in reading before it is needed.
    fn begin(&self, _ranges: &[(&str, u64, usize)]) -> Option<UnderWay> {
        None
    }

    /// Waits until no more shards are being brought nearer. Nothing is where they lie on a disk.
    fn settle(&self) {}
}

/// Shards in a folder.
#[derive(Clone, Debug)]
pub struct LocalShards {
    folder: PathBuf,
}

impl LocalShards {
    /// The shards in this folder.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl ReadShard for LocalShards {
    fn read(&self, file: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        // Opened each time: ten microseconds beside milliseconds of decoding, and no limit on
        // open files to think of.
        let shard = File::open(self.folder.join(file))?;
        let mut buffer = vec![0; bytes];
        shard.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }
}
