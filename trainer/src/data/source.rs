//! The images of one part, in memory or as pictures on a disk, and parts of them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use autorep_core::data::{Framing, Images, Inputs, Interpolation};
use autorep_data::picture::{Filter, Picture};
use autorep_data::{Framer, Pictures, Reading};

use super::augment::{Augment, Normaliser, resized_window};

/// The images of one part.
#[derive(Debug)]
pub enum Source {
    /// All in memory, each as large as the net's input.
    Memory(Images),
    /// Each as a JPEG file, decoded when it is needed.
    Pictures(Pictures),
}

impl Source {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(images) => images.len(),
            Self::Pictures(pictures) => pictures.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label of the image at a position.
    pub fn label(&self, position: u32) -> i64 {
        match self {
            Self::Memory(images) => i64::from(images.labels[position as usize]),
            Self::Pictures(pictures) => i64::from(pictures.label(position as usize)),
        }
    }

    /// What to call the image at a position.
    pub fn name(&self, position: u32) -> String {
        match self {
            Self::Memory(_) => format!("image {position}"),
            Self::Pictures(pictures) => pictures.name(position as usize),
        }
    }

    /// What is on the disk of the images at these positions, in their order; nothing has to be
    /// read of images in memory.
    pub fn read(&self, positions: &[u32]) -> Vec<io::Result<Encoded>> {
        self.finish(self.begin(positions))
    }

    /// Begins to read the images at these positions: those in a bucket are on their way when
    /// this returns.
    pub fn begin(&self, positions: &[u32]) -> Begun {
        match self {
            Self::Memory(_) => Begun::InMemory(positions.len()),
            Self::Pictures(pictures) => {
                let wanted: Vec<usize> = positions.iter().map(|at| *at as usize).collect();
                Begun::Pictures(pictures.begin(&wanted))
            }
        }
    }

    /// Waits for the images that were begun, in their order.
    pub fn finish(&self, begun: Begun) -> Vec<io::Result<Encoded>> {
        match (self, begun) {
            (_, Begun::InMemory(count)) => (0..count).map(|_| Ok(Encoded::InMemory)).collect(),
            (Self::Pictures(pictures), Begun::Pictures(reading)) => {
                let read = pictures.finish(reading).into_iter();
                read.map(|bytes| bytes.map(Encoded::Bytes)).collect()
            }
            (Self::Memory(_), Begun::Pictures(_)) => Vec::new(),
        }
    }
}

/// Images that are being read.
#[derive(Debug)]
pub enum Begun {
    /// So many that need no reading.
    InMemory(usize),
    /// Those of files.
    Pictures(Reading),
}

/// An image before it is decoded.
#[derive(Debug)]
pub enum Encoded {
    /// It needs no decoding.
    InMemory,
    /// The bytes of its file.
    Bytes(Vec<u8>),
}

/// How an image is changed: not at all, or by what belongs to (seed, epoch, position).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// As it is measured.
    None,
    /// As it is trained on in this epoch, counted from 0.
    Random {
        /// The task's seed.
        seed: u64,
        /// The epoch.
        epoch: u64,
    },
}

/// Turns images into normalised floats. Each thread needs one of its own: it holds the buffers that
/// pictures are decoded into.
#[derive(Clone, Debug)]
pub struct Preparer {
    inputs: Inputs,
    normaliser: Normaliser,
    framer: Framer,
}

impl Preparer {
    /// For images that become such inputs.
    pub fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            normaliser: Normaliser::new(inputs),
            framer: Framer::default(),
        }
    }

    /// How pictures are resized.
    const fn filter(&self) -> Filter {
        match self.inputs.preparation.interpolation {
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Bicubic => Filter::Bicubic,
        }
    }

    /// Floats of one image.
    pub fn floats(&self) -> usize {
        self.normaliser.len()
    }

    /// Appends the image at `position` of `source`, of which `encoded` was read, to `batch`. An
    /// error says why it is no picture; nothing is appended then.
    pub fn append(
        &mut self,
        source: &Source,
        position: u32,
        encoded: &Encoded,
        change: Change,
        batch: &mut Vec<f32>,
    ) -> Result<(), String> {
        match (source, encoded) {
            (Source::Memory(images), _) => {
                let size = self.normaliser.len();
                let start = position as usize * size;
                let pixels = &images.pixels[start..start + size];
                let augment = self.shift(change, position);
                self.normaliser.append(pixels, augment, batch);
                Ok(())
            }
            (Source::Pictures(_), Encoded::Bytes(bytes)) => {
                self.append_picture(bytes, position, change, batch)
            }
            (Source::Pictures(_), Encoded::InMemory) => Err("it was not read".to_owned()),
        }
    }

    /// As [`Self::append`], from the bytes of a picture's file.
    pub fn append_picture(
        &mut self,
        bytes: &[u8],
        position: u32,
        change: Change,
        batch: &mut Vec<f32>,
    ) -> Result<(), String> {
        if let (Framing::Resized { .. }, Change::Random { seed, epoch }) =
            (self.inputs.framing(), change)
        {
            return self.append_window(bytes, [seed, epoch], position, batch);
        }
        let picture = Picture::decode(bytes).map_err(|error| error.to_string())?;
        let (planes, augment) = self.frame(&picture, change, position)?;
        self.normaliser.append(&planes, augment, batch);
        Ok(())
    }

    /// Appends the random part of a picture that belongs to (seed, epoch, position).
    fn append_window(
        &mut self,
        bytes: &[u8],
        [seed, epoch]: [u64; 2],
        position: u32,
        batch: &mut Vec<f32>,
    ) -> Result<(), String> {
        let input = self.inputs.set.input();
        let filter = self.filter();
        let mut flip = false;
        let draw = |width, height| {
            let (window, flipped) = resized_window(seed, epoch, position, width, height);
            flip = flipped;
            window
        };
        let framed = self
            .framer
            .window(bytes, [input.width, input.height], filter, draw);
        let pixels = framed.map_err(|error| error.to_string())?;
        self.normaliser.append_pixels(pixels, flip, batch);
        Ok(())
    }

    /// Flip and shift of an image that has the input's size.
    fn shift(&self, change: Change, position: u32) -> Augment {
        match (change, self.inputs.framing()) {
            (Change::Random { seed, epoch }, Framing::Padded { padding }) => {
                Augment::draw(seed, epoch, position, padding)
            }
            (Change::Random { .. }, Framing::Resized { .. }) | (Change::None, _) => Augment::NONE,
        }
    }

    /// A whole picture in the input's size, channel by channel, with the change that is left to do.
    fn frame(
        &self,
        picture: &Picture,
        change: Change,
        position: u32,
    ) -> Result<(Vec<u8>, Augment), String> {
        let input = self.inputs.set.input();
        let (width, height) = (input.width, input.height);
        let told = |error: autorep_data::picture::ResizeError| error.to_string();
        match (self.inputs.framing(), change) {
            (Framing::Padded { .. }, _) => {
                if (picture.width(), picture.height()) != (width, height) {
                    return Err(format!(
                        "expected {width} x {height} pixels, found {} x {}",
                        picture.width(),
                        picture.height()
                    ));
                }
                Ok((picture.planes(), self.shift(change, position)))
            }
            (Framing::Resized { shorter }, _) => {
                let resized = picture.resize_shorter(shorter, self.filter());
                let framed = resized.map_err(told)?.centre_crop(width, height);
                Ok((framed.planes(), Augment::NONE))
            }
        }
    }
}

/// Some of the images of a part, in an order of its own.
#[derive(Clone, Debug)]
pub struct Subset {
    source: Arc<Source>,
    /// Positions in the part.
    members: Arc<[u32]>,
}

impl Subset {
    /// All images of a part.
    pub fn whole(source: Arc<Source>) -> Self {
        let count = u32::try_from(source.len()).unwrap_or(u32::MAX);
        Self {
            source,
            members: (0..count).collect(),
        }
    }

    /// The images at these positions of a part.
    pub fn of(source: Arc<Source>, members: &[u32]) -> Self {
        Self {
            source,
            members: members.into(),
        }
    }

    /// Those at these places among them.
    #[must_use]
    pub fn part(&self, places: Range<usize>) -> Self {
        if places == (0..self.len()) {
            return self.clone();
        }
        Self::of(Arc::clone(&self.source), &self.members[places])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The part.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The position in the part of the image at `at`.
    pub fn position(&self, at: usize) -> u32 {
        self.members[at]
    }
}
