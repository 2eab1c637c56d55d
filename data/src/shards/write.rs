//! Writes shards, one after another, each from a temporary file to wherever it belongs.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use autorep_core::data::Part;
use autorep_core::digest::Digest;
use sha2::{Digest as _, Sha256};

use super::index::ShardEntry;
use crate::pictures::Pictures;

/// Bytes of a tar file's blocks.
const BLOCK: u64 = 512;

/// Takes a finished shard under its name; the file may be moved away.
pub type Put<'a> = dyn FnMut(&str, &Path) -> io::Result<()> + 'a;

/// Why shards could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A picture cannot be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The picture.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// A shard cannot be written or put in place.
    #[error("cannot write {file}: {source}")]
    Write {
        /// The shard.
        file: String,
        /// The reason.
        source: io::Error,
    },
}

/// What was written of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The shards, for the index.
    pub shards: Vec<ShardEntry>,
    /// Pictures in them.
    pub images: u64,
    /// Bytes of all shards.
    pub bytes: u64,
}

/// Writes the pictures of a part into shards of about `shard_bytes` each: a shard is closed by
/// the picture that fills it. The same pictures give the same bytes: members carry no time, owner
/// or place. Each shard is made in `work` and handed to `put`.
pub fn write(
    pictures: &Pictures,
    part: Part,
    shard_bytes: u64,
    work: &Path,
    put: &mut Put<'_>,
) -> Result<Written, WriteError> {
    let mut written = Written {
        shards: Vec::new(),
        images: 0,
        bytes: 0,
    };
    let mut open: Option<Shard> = None;
    for image in 0..pictures.len() {
        let bytes = pictures.read(image).map_err(|source| WriteError::Read {
            name: pictures.name(image),
            source,
        })?;
        let mut shard = if let Some(shard) = open.take() {
            shard
        } else {
            let file = format!("{}-{:06}.tar", part.name(), written.shards.len());
            Shard::create(work, file)?
        };
        shard.append(&pictures.key(image), &bytes, pictures.label(image))?;
        written.images += 1;
        if shard.at >= shard_bytes {
            written.finish(shard, put)?;
        } else {
            open = Some(shard);
        }
    }
    if let Some(shard) = open {
        written.finish(shard, put)?;
    }
    Ok(written)
}

impl Written {
    fn finish(&mut self, shard: Shard, put: &mut Put<'_>) -> Result<(), WriteError> {
        let (entry, path) = shard.finish()?;
        put(&entry.file, &path).map_err(|source| WriteError::Write {
            file: entry.file.clone(),
            source,
        })?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WriteError::Write {
                    file: entry.file,
                    source: error,
                });
            }
            _ => {}
        }
        self.bytes += entry.bytes;
        self.shards.push(entry);
        Ok(())
    }
}

/// A shard that is being written.
struct Shard {
    path: PathBuf,
    file: String,
    builder: tar::Builder<Hashing<BufWriter<File>>>,
    /// Bytes of all members so far.
    at: u64,
    images: Vec<(u64, u64, u32)>,
}

impl Shard {
    fn create(work: &Path, file: String) -> Result<Self, WriteError> {
        let path = work.join(&file);
        let created = File::create(&path).map_err(|source| WriteError::Write {
            file: file.clone(),
            source,
        })?;
        Ok(Self {
            path,
            file,
            builder: tar::Builder::new(Hashing {
                inner: BufWriter::with_capacity(1 << 20, created),
                digest: Sha256::new(),
                bytes: 0,
            }),
            at: 0,
            images: Vec::new(),
        })
    }

    fn append(&mut self, key: &str, bytes: &[u8], label: u32) -> Result<(), WriteError> {
        let size = bytes.len() as u64;
        let end = self.member(&format!("{key}.jpg"), bytes)?;
        self.images.push((end - padded(size), size, label));
        self.at = self.member(&format!("{key}.cls"), label.to_string().as_bytes())?;
        Ok(())
    }

    /// Appends a member and returns where its last block ends.
    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<u64, WriteError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        let result = self.builder.append_data(&mut header, name, bytes);
        result.map_err(|source| self.failed(source))?;
        Ok(self.builder.get_ref().bytes)
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Write {
            file: self.file.clone(),
            source,
        }
    }

    fn finish(self) -> Result<(ShardEntry, PathBuf), WriteError> {
        let file = self.file;
        let failed = |source| WriteError::Write {
            file: file.clone(),
            source,
        };
        let hashing = self.builder.into_inner().map_err(failed)?;
        let inner = hashing
            .inner
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        inner.sync_all().map_err(failed)?;
        let sha256 = Digest::from_bytes(hashing.digest.finalize().into());
        let entry = ShardEntry {
            bytes: hashing.bytes,
            sha256,
            images: self.images,
            file,
        };
        Ok((entry, self.path))
    }
}

/// A size rounded up to whole blocks.
const fn padded(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// Counts and digests what passes through.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
