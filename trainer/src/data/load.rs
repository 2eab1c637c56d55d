//! Reads a data set's files and splits its training part.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use autorep_core::data::{Check, DataError, DataRoot, DataSpec, Layout, Part, decode_with};
use autorep_data::{Bucket, CacheSettings, OpenError, Pictures};

use super::order;
use super::source::{Source, Subset};

/// No file of a data set, zipped or not, is larger than this.
const FILE_LIMIT: u64 = 1 << 30;

/// Where a task's data set lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataPlace {
    /// The set's own folder or place in a bucket.
    pub root: DataRoot,
    /// Where whole shards from a bucket may be kept; all are read by range without it.
    pub cache: Option<CacheSettings>,
}

impl From<&Path> for DataPlace {
    fn from(folder: &Path) -> Self {
        Self {
            root: folder.into(),
            cache: None,
        }
    }
}

/// Why the images of a task could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The files are missing or not what they should be.
    #[error("data folder {folder}: {source}")]
    Files {
        /// Where they were looked for.
        folder: String,
        /// What is wrong.
        source: DataError,
    },
    /// The pictures are missing or not what they should be.
    #[error("data folder {folder}: {source}")]
    Pictures {
        /// Where they were looked for.
        folder: String,
        /// What is wrong.
        source: OpenError,
    },
    /// The bucket does not answer, or its answers make no data set.
    #[error("data set in a bucket: {0}")]
    Bucket(OpenError),
    /// There are fewer images than the task asks for.
    #[error(
        "expected at least {train} training and {validation} validation images in the training part of {set}, found {found} images"
    )]
    TooFew {
        /// The data set's name.
        set: &'static str,
        /// Training images asked for.
        train: u32,
        /// Validation images asked for.
        validation: u32,
        /// Images there.
        found: usize,
    },
    /// The task asks for no images where it needs some.
    #[error("expected at least one {what} image, found none asked for")]
    NoneAskedFor {
        /// Training or validation.
        what: &'static str,
    },
}

/// The training and the validation images of a task.
pub fn load_training(
    spec: &DataSpec,
    place: &DataPlace,
    check: Check,
) -> Result<(Subset, Subset), LoadError> {
    for (what, count) in [("training", spec.train), ("validation", spec.validation)] {
        if count == 0 {
            return Err(LoadError::NoneAskedFor { what });
        }
    }
    let images = Arc::new(load(spec, Part::Train, place, check)?);
    let (train, validation) = (spec.train as usize, spec.validation as usize);
    if train.saturating_add(validation) > images.len() {
        return Err(LoadError::TooFew {
            set: spec.name.name(),
            train: spec.train,
            validation: spec.validation,
            found: images.len(),
        });
    }
    let order = order::split(images.len());
    let held_out = &order[order.len() - validation..];
    Ok((
        Subset::of(Arc::clone(&images), &order[..train]),
        Subset::of(Arc::clone(&images), held_out),
    ))
}

/// The test images. Only tasks that evaluate may call this.
pub fn load_test(spec: &DataSpec, place: &DataPlace, check: Check) -> Result<Subset, LoadError> {
    let images = load(spec, Part::Test, place, check)?;
    Ok(Subset::whole(Arc::new(images)))
}

impl LoadError {
    /// Whether another machine, or this one later, may get what this one could not.
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Bucket(OpenError::Unreachable { .. }))
    }
}

fn load(spec: &DataSpec, part: Part, place: &DataPlace, check: Check) -> Result<Source, LoadError> {
    match &place.root {
        DataRoot::Folder(folder) => load_folder(spec, part, folder, check),
        DataRoot::Bucket(url) => {
            let cache = place.cache.as_ref();
            Bucket::open(url)
                .and_then(|bucket| Pictures::open_bucket(spec.name, part, &bucket, cache, check))
                .map(Source::Pictures)
                .map_err(LoadError::Bucket)
        }
    }
}

fn load_folder(
    spec: &DataSpec,
    part: Part,
    folder: &Path,
    check: Check,
) -> Result<Source, LoadError> {
    let shown = || folder.display().to_string();
    match spec.name.layout() {
        Layout::Packed => {
            let mut file = |name: &str| read(&folder.join(name));
            let images = decode_with(spec.name, part, check, &mut file);
            images
                .map(Source::Memory)
                .map_err(|source| LoadError::Files {
                    folder: shown(),
                    source,
                })
        }
        Layout::Pictures(_) => Pictures::open(spec.name, part, folder, check)
            .map(Source::Pictures)
            .map_err(|source| LoadError::Pictures {
                folder: shown(),
                source,
            }),
    }
}

/// The file's bytes, `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("expected at most {FILE_LIMIT} bytes, found more"));
    }
    Ok(Some(bytes))
}
