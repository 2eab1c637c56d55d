//! Verifies that every picture of a part decodes, and that shards are the bytes they should be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use autorep_core::data::{DataSet, Part};
use autorep_core::digest::Digest;
use sha2::{Digest as _, Sha256};

use crate::bucket::Bucket;
use crate::picture::Picture;
use crate::pictures::Pictures;
use crate::shards::{Index, LocalShards, ShardEntry, scan};

/// A picture or a shard that is not what it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bad {
    /// Its position in the part or in the index.
    pub position: usize,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

/// Reads and decodes every picture on `workers` threads; returns those that do not decode, in
/// the order of the data set.
pub fn pictures(pictures: &Pictures, workers: NonZero<usize>) -> Vec<Bad> {
    in_parallel(pictures.len(), workers, |position| {
        let problem = match pictures.read(position) {
            Err(error) => error.to_string(),
            Ok(bytes) => Picture::decode(&bytes).err()?.to_string(),
        };
        Some(Bad {
            position,
            name: pictures.name(position),
            problem,
        })
    })
}

/// Reads every shard of a part on `workers` threads: its size and digest must be those of the
/// index, and the pictures in it those that the index lists.
pub fn shards(index: &Index, part: Part, folder: &Path, workers: NonZero<usize>) -> Vec<Bad> {
    let entries = index.part(part);
    in_parallel(entries.len(), workers, |position| {
        let entry = &entries[position];
        let problem = shard(entry, index.classes.len(), &folder.join(&entry.file))?;
        Some(Bad {
            position,
            name: entry.file.clone(),
            problem,
        })
    })
}

/// What [`bucket`] found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Checked {
    /// Shards that are not as the index says; positions are those in the index.
    pub shards: Vec<Bad>,
    /// Pictures that do not decode; positions are those in the part.
    pub pictures: Vec<Bad>,
}

/// As [`shards`] and [`pictures`] for a part in a bucket: `workers` shards at a time are brought
/// to the folder `work` and go when they are checked. Each is fetched once.
pub fn bucket(
    set: DataSet,
    index: &Index,
    part: Part,
    bucket: &Bucket,
    work: &Path,
    workers: NonZero<usize>,
) -> Checked {
    let entries = index.part(part);
    let firsts: Vec<usize> = entries
        .iter()
        .scan(0, |next, entry| {
            let first = *next;
            *next += entry.images.len();
            Some(first)
        })
        .collect();
    let found = Mutex::new(Vec::new());
    let shards = in_parallel(entries.len(), workers, |position| {
        let entry = &entries[position];
        let path = work.join(&entry.file);
        let problem = if let Err(error) = bucket.fetch(&entry.file, entry.bytes, &path) {
            Some(error.to_string())
        } else {
            let one = one_shard(set, index, part, entry, work);
            let first = firsts[position];
            let bad = pictures(&one, NonZero::<usize>::MIN);
            let placed = bad.into_iter().map(|bad| Bad {
                position: first + bad.position,
                ..bad
            });
            found
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(placed);
            shard(entry, index.classes.len(), &path)
        };
        // What cannot be removed goes with the folder.
        drop(fs::remove_file(path));
        Some(Bad {
            position,
            name: entry.file.clone(),
            problem: problem?,
        })
    });
    let mut pictures = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    pictures.sort();
    Checked { shards, pictures }
}

/// The pictures of one shard, which lies in the folder `work`.
fn one_shard(set: DataSet, index: &Index, part: Part, entry: &ShardEntry, work: &Path) -> Pictures {
    let index = Index {
        format: index.format,
        set: index.set.clone(),
        classes: index.classes.clone(),
        parts: BTreeMap::from([(part.name().to_owned(), vec![entry.clone()])]),
    };
    let reader = LocalShards::new(work.to_owned());
    Pictures::of_index(set, part, index, Arc::new(reader))
}

fn shard(entry: &ShardEntry, classes: usize, path: &Path) -> Option<String> {
    let digest = match digest(path) {
        Ok(digest) => digest,
        Err(error) => return Some(format!("cannot read it: {error}")),
    };
    let file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) => return Some(format!("cannot read it: {error}")),
    };
    let (found, problems) = scan(file, classes);
    let mut told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let mut places: Vec<_> = found
        .iter()
        .map(|one| (one.offset, one.bytes, one.label))
        .collect();
    places.sort_unstable();
    if places != entry.images {
        told.push(format!(
            "expected the {} pictures of the index at their places with their labels, found {} \
             and others",
            entry.images.len(),
            places.len()
        ));
    }
    if digest != entry.sha256 {
        told.push(format!(
            "expected the sha256 {}, found {digest}",
            entry.sha256
        ));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The SHA-256 of a file.
pub fn digest(path: &Path) -> io::Result<Digest> {
    digest_rest(&mut File::open(path)?)
}

/// The SHA-256 of what is left to read.
pub(crate) fn digest_rest(reader: &mut impl Read) -> io::Result<Digest> {
    let mut sha256 = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        sha256.update(&buffer[..read]);
    }
    Ok(Digest::from_bytes(sha256.finalize().into()))
}

/// Looks at `count` things on `workers` threads and returns what was found, sorted.
fn in_parallel(
    count: usize,
    workers: NonZero<usize>,
    look: impl Fn(usize) -> Option<Bad> + Sync,
) -> Vec<Bad> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut bad = Vec::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            if position >= count {
                return bad;
            }
            bad.extend(look(position));
        }
    };
    let mut bad: Vec<Bad> = thread::scope(|scope| {
        let threads: Vec<_> = (1..workers.get()).map(|_| scope.spawn(work)).collect();
        let mut bad = work();
        for thread in threads {
            match thread.join() {
                Ok(more) => bad.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        bad
    });
    bad.sort();
    bad
}
