//! Reads a data set's files and splits its training part.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use autorep_core::data::{Check, DataError, DataSpec, Images, Part, decode_with};

use super::order;

/// No file of a data set, zipped or not, is larger than this.
const FILE_LIMIT: u64 = 1 << 30;

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

/// Some of the images of a part, in an order of its own.
#[derive(Clone, Debug)]
pub struct Subset {
    images: Arc<Images>,
    /// Positions in the part.
    members: Arc<[u32]>,
}

impl Subset {
    /// All images of a part.
    pub fn whole(images: Arc<Images>) -> Self {
        let count = u32::try_from(images.len()).unwrap_or(u32::MAX);
        Self {
            images,
            members: (0..count).collect(),
        }
    }

    /// The images at these positions of a part.
    pub fn of(images: Arc<Images>, members: &[u32]) -> Self {
        Self {
            images,
            members: members.into(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The bytes (channel by channel, row by row) and the label of the image at `at`, with its
    /// position in the part.
    pub fn image(&self, at: usize) -> (&[u8], u8, u32) {
        let member = self.members[at];
        let position = member as usize;
        let shape = self.images.shape;
        let size = shape.channels as usize * shape.height as usize * shape.width as usize;
        let pixels = &self.images.pixels[position * size..(position + 1) * size];
        (pixels, self.images.labels[position], member)
    }
}

/// The training and the validation images of a task.
pub fn load_training(
    spec: &DataSpec,
    folder: &Path,
    check: Check,
) -> Result<(Subset, Subset), LoadError> {
    for (what, count) in [("training", spec.train), ("validation", spec.validation)] {
        if count == 0 {
            return Err(LoadError::NoneAskedFor { what });
        }
    }
    let images = Arc::new(load(spec, Part::Train, folder, check)?);
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
pub fn load_test(spec: &DataSpec, folder: &Path, check: Check) -> Result<Subset, LoadError> {
    Ok(Subset::whole(Arc::new(load(
        spec,
        Part::Test,
        folder,
        check,
    )?)))
}

fn load(spec: &DataSpec, part: Part, folder: &Path, check: Check) -> Result<Images, LoadError> {
    decode_with(spec.name, part, check, &mut |name| read(&folder.join(name))).map_err(|source| {
        LoadError::Files {
            folder: folder.display().to_string(),
            source,
        }
    })
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
