//! Reads ranges of shards that lie in a bucket: from the disk where a shard is kept whole, else
//! with one request for each range, many at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::Bucket;
use super::cache::CacheSettings;
use super::fill::{self, Progress, Slot};
use super::gather::{Request, gather};
use crate::shards::{ReadShard, ShardEntry, UnderWay};

/// Requests under way at a time, of all threads that read. At 50 ms each that is 5,000 pictures a
/// second, more than the cores of a machine with one GPU decode.
const REQUESTS_AT_ONCE: usize = 256;

/// One range: read, refused, or still to be fetched.
type Read = Option<io::Result<Vec<u8>>>;

/// Shards in a bucket.
#[derive(Debug)]
pub(crate) struct BucketShards {
    bucket: Bucket,
    slots: Arc<[Slot]>,
    /// Positions of slots by the names of their files.
    by_file: BTreeMap<String, usize>,
    under_way: Arc<Semaphore>,
    progress: Arc<Progress>,
}

impl BucketShards {
    /// The shards of one part. Those that the cache has room for are brought there from now on.
    pub(crate) fn new(
        bucket: Bucket,
        entries: &[ShardEntry],
        cache: Option<&CacheSettings>,
    ) -> io::Result<Self> {
        let slots: Arc<[Slot]> = entries.iter().map(Slot::new).collect();
        let progress = Arc::new(Progress::default());
        match cache.filter(|cache| cache.bytes > 0) {
            Some(cache) => fill::start(
                bucket.clone(),
                cache.clone(),
                Arc::clone(&slots),
                Arc::clone(&progress),
            )?,
            None => progress.abandon(),
        }
        Ok(Self {
            bucket,
            by_file: (0..)
                .zip(&*slots)
                .map(|(at, slot)| (slot.file.clone(), at))
                .collect(),
            slots,
            under_way: Arc::new(Semaphore::new(REQUESTS_AT_ONCE)),
            progress,
        })
    }

    /// The range from the disk; `None` if it is not there. A file that was removed or cut since
    /// it was verified is as good as none.
    fn on_disk(&self, file: &str, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let path = self.slot(file)?.local.get()?;
        read_at(path, offset, bytes).ok()
    }

    fn slot(&self, file: &str) -> Option<&Slot> {
        self.by_file.get(file).map(|at| &self.slots[*at])
    }

    /// Why nothing of this shard may be used.
    fn refusal(&self, file: &str) -> Option<io::Error> {
        let problem = self.slot(file)?.damaged.get()?;
        let place = self.bucket.place(file);
        let text = format!("{place}: {problem}; write the shards anew with `autorep data shard`");
        Some(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    /// Reads what is on the disk and asks for the rest.
    fn start(&self, ranges: &[(&str, u64, usize)]) -> UnderWay {
        let read = ranges
            .iter()
            .map(|(file, offset, bytes)| match self.refusal(file) {
                Some(refusal) => Some(Err(refusal)),
                None => self.on_disk(file, *offset, *bytes).map(Ok),
            })
            .collect();
        self.fetch(ranges, read)
    }

    /// Asks for those ranges that are not read yet; what is returned waits for them.
    fn fetch(&self, ranges: &[(&str, u64, usize)], mut read: Vec<Read>) -> UnderWay {
        let missing: Vec<usize> = (0..ranges.len()).filter(|at| read[*at].is_none()).collect();
        let wanted: Vec<_> = missing.iter().map(|at| ranges[*at]).collect();
        let requests = gather(&wanted);
        let answers: Vec<_> = requests.iter().map(|request| self.ask(request)).collect();
        let answers = self.bucket.begin(join_all(answers));
        // Of each request: where in the answer each of its ranges is, and whose it is.
        let parts: Vec<Vec<(usize, Range<usize>)>> = requests
            .iter()
            .map(|request| {
                let part = |at: &usize| {
                    let (_, offset, bytes) = wanted[*at];
                    let skipped = usize::try_from(offset - request.range.start);
                    let skipped = skipped.unwrap_or(usize::MAX);
                    (missing[*at], skipped..skipped.saturating_add(bytes))
                };
                request.wanted.iter().map(part).collect()
            })
            .collect();
        Box::new(move || {
            let again = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
            match answers() {
                Ok(answers) => {
                    for (parts, answer) in parts.into_iter().zip(answers) {
                        for (at, range) in parts {
                            let part = |bytes: &bytes::Bytes| bytes[range.clone()].to_vec();
                            read[at] = Some(answer.as_ref().map(part).map_err(again));
                        }
                    }
                }
                Err(error) => {
                    for at in missing {
                        read[at] = Some(Err(again(&error)));
                    }
                }
            }
            let missing = || Err(io::Error::other("the bucket gave no answer"));
            read.into_iter()
                .map(|one| one.unwrap_or_else(missing))
                .collect()
        })
    }

    /// The bytes of a request, as many as it asks for.
    fn ask(
        &self,
        request: &Request<'_>,
    ) -> impl Future<Output = io::Result<bytes::Bytes>> + Send + use<> {
        let range = self.bucket.range(request.file, request.range.clone());
        let under_way = Arc::clone(&self.under_way);
        async move {
            let _permit = under_way.acquire().await.map_err(io::Error::other)?;
            range.await
        }
    }
}

impl ReadShard for BucketShards {
    fn read(&self, file: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let missing = || io::Error::other("the bucket gave no answer");
        let mut read = self.read_many(&[(file, offset, bytes)]);
        read.pop().unwrap_or_else(|| Err(missing()))
    }

    fn read_many(&self, ranges: &[(&str, u64, usize)]) -> Vec<io::Result<Vec<u8>>> {
        self.start(ranges)()
    }

    fn begin(&self, ranges: &[(&str, u64, usize)]) -> Option<UnderWay> {
        Some(self.start(ranges))
    }

    fn settle(&self) {
        self.progress.settled();
    }
}

impl Drop for BucketShards {
    fn drop(&mut self) {
        self.progress.abandon();
    }
}

fn read_at(path: &Path, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes];
    File::open(path)?.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests;
