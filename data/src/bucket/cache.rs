//! Whole shards on this machine's disk, shared by all processes that read from the same folder.
//!
//! A shard's file is named after its SHA-256, so equal shards are kept once, whatever bucket they
//! are from. While it is being written it has the ending `.part`, the size that it will have, and
//! a lock that its writer holds: it counts towards the bound, and one whose writer died is removed
//! by the next that looks. Nothing else is ever removed: sets that do not fit together do not push
//! each other out at every step.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use autorep_core::digest::Digest;

/// Held while somebody counts what is there, begins a file or gives one its place: a file that changes its
/// name while files are listed may be in the list under neither.
const GATE: &str = ".gate";
const WHOLE: &str = "tar";
const UNDER_WAY: &str = "part";

/// Where shards may be kept on this machine, and how many bytes of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheSettings {
    /// The folder; it is made when it is needed. Processes may share it.
    pub folder: PathBuf,
    /// Bytes that all files in it may have together; none are kept at zero.
    pub bytes: u64,
}

/// What became of the wish to keep a shard.
#[derive(Debug)]
pub(super) enum Claim {
    /// A file of the right size is there. What is in it is for the caller to verify.
    Whole(PathBuf),
    /// Another process is writing it.
    Busy,
    /// There is no room for it.
    NoRoom,
    /// The caller is to write it.
    Mine(Part),
}

/// A file that is being written. It goes unless it is kept.
#[derive(Debug)]
pub(super) struct Part {
    /// Locked until it is closed.
    pub(super) file: File,
    under_way: PathBuf,
    whole: PathBuf,
    kept: bool,
}

impl CacheSettings {
    fn path(&self, digest: Digest, ending: &str) -> PathBuf {
        self.folder.join(format!("{digest}.{ending}"))
    }

    /// Looks for the shard with this digest and size, and takes it on if nobody has.
    pub(super) fn claim(&self, digest: Digest, bytes: u64) -> io::Result<Claim> {
        if bytes > self.bytes {
            return Ok(Claim::NoRoom);
        }
        let _gate = gate(&self.folder)?;
        let whole = self.path(digest, WHOLE);
        match fs::metadata(&whole) {
            Ok(metadata) if metadata.len() == bytes => return Ok(Claim::Whole(whole)),
            Ok(_) => fs::remove_file(&whole)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let under_way = self.path(digest, UNDER_WAY);
        if is_being_written(&under_way)? {
            return Ok(Claim::Busy);
        }
        // One whose writer died is counted and removed here.
        let taken = self.taken()?;
        if taken.saturating_add(bytes) > self.bytes {
            return Ok(Claim::NoRoom);
        }
        let file = File::create_new(&under_way)?;
        let part = Part {
            file,
            under_way,
            whole,
            kept: false,
        };
        part.file.try_lock()?;
        part.file.set_len(bytes)?;
        Ok(Claim::Mine(part))
    }

    /// Removes a file that turned out to be damaged, unless another one has its name by now.
    pub(super) fn remove(&self, path: &Path, damaged: &File) -> io::Result<()> {
        let _gate = gate(&self.folder)?;
        match fs::metadata(path) {
            Ok(there) if there.ino() == damaged.metadata()?.ino() => fs::remove_file(path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Bytes of all files in the folder, after those are gone whose writers died.
    fn taken(&self) -> io::Result<u64> {
        let mut taken: u64 = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            let is_part = path.extension().is_some_and(|ending| ending == UNDER_WAY);
            if is_part && !is_being_written(&path)? {
                fs::remove_file(path)?;
                continue;
            }
            match entry.metadata() {
                Ok(metadata) => taken = taken.saturating_add(metadata.len()),
                // Its writer has given it up since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

fn gate(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let gate = File::create(folder.join(GATE))?;
    gate.lock()?;
    Ok(gate)
}

fn is_being_written(part: &Path) -> io::Result<bool> {
    match File::open(part) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl Part {
    /// Gives the file, of which all bytes are written and verified, its place.
    pub(super) fn keep(mut self) -> io::Result<PathBuf> {
        let folder = self.whole.parent().unwrap_or(Path::new("."));
        let _gate = gate(folder)?;
        fs::rename(&self.under_way, &self.whole)?;
        self.kept = true;
        Ok(self.whole.clone())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // If it cannot be removed now, the next who looks finds that nobody holds its lock.
            drop(fs::remove_file(&self.under_way));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn settings(folder: &Path, bytes: u64) -> CacheSettings {
        CacheSettings {
            folder: folder.join("made/when/needed"),
            bytes,
        }
    }

    fn mine(claim: Claim) -> Part {
        let Claim::Mine(part) = claim else {
            panic!("expected to be the one who writes it, found {claim:?}");
        };
        part
    }

    #[test]
    fn a_file_under_way_is_left_to_its_writer_and_counts_towards_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let cache = settings(folder.path(), 100);
        let [one, two] = [Digest::of(b"1"), Digest::of(b"2")];
        let mut part = mine(cache.claim(one, 60).unwrap());
        assert!(matches!(cache.claim(one, 60).unwrap(), Claim::Busy));
        assert!(matches!(cache.claim(two, 41).unwrap(), Claim::NoRoom));
        let fits = mine(cache.claim(two, 40).unwrap());
        drop(fits);
        part.file.write_all(&[7; 60]).unwrap();
        let path = part.keep().unwrap();
        assert_eq!(fs::read(path).unwrap(), [7; 60]);
        assert!(matches!(cache.claim(one, 60).unwrap(), Claim::Whole(_)));
        assert!(matches!(cache.claim(two, 41).unwrap(), Claim::NoRoom));
        drop(mine(cache.claim(two, 40).unwrap()));
    }

    /// Else who counts at that moment may see it under neither name, and take too much.
    #[test]
    fn a_file_does_not_get_its_place_while_somebody_counts() {
        let folder = tempfile::tempdir().unwrap();
        let cache = settings(folder.path(), 100);
        let part = mine(cache.claim(Digest::of(b"1"), 60).unwrap());
        let whole = part.whole.clone();
        let counting = gate(&cache.folder).unwrap();
        let keeping = std::thread::spawn(move || part.keep().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!whole.exists());
        drop(counting);
        assert_eq!(keeping.join().unwrap(), whole);
        assert!(whole.exists());
    }

    #[test]
    fn what_a_dead_writer_left_is_neither_used_nor_counted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = settings(folder.path(), 100);
        let [dead, other] = [Digest::of(b"1"), Digest::of(b"2")];
        fs::create_dir_all(&cache.folder).unwrap();
        fs::write(cache.path(dead, UNDER_WAY), [0; 90]).unwrap();
        drop(mine(cache.claim(other, 100).unwrap()));
        fs::write(cache.path(dead, UNDER_WAY), [0; 90]).unwrap();
        drop(mine(cache.claim(dead, 90).unwrap()));
    }

    #[test]
    fn a_file_of_another_size_is_removed_and_a_damaged_one_only_while_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let cache = settings(folder.path(), 100);
        let digest = Digest::of(b"1");
        fs::create_dir_all(&cache.folder).unwrap();
        let path = cache.path(digest, WHOLE);
        fs::write(&path, [0; 30]).unwrap();
        drop(mine(cache.claim(digest, 60).unwrap()));
        fs::write(&path, [0; 60]).unwrap();
        let damaged = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, [1; 60]).unwrap();
        cache.remove(&path, &damaged).unwrap();
        assert!(path.is_file(), "another's good file was removed");
        cache.remove(&path, &File::open(&path).unwrap()).unwrap();
        assert!(!path.exists());
    }
}
