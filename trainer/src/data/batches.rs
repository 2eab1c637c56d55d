//! Batches, prepared in order on threads of their own while the device computes.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::RecvError;
use std::time::{Duration, Instant};

use autorep_core::data::{DataSet, Inputs};
use tch::{Device, Tensor};

use super::ahead::{Ahead, Asked};
use super::in_order::InOrder;
use super::share::Share;
use super::skips::Skipped;
use super::source::{Change, Encoded, Preparer, Source, Subset};

/// Batches of images in memory that are prepared ahead of the one in use.
const AHEAD: usize = 2;

/// Images with their labels.
#[derive(Debug)]
pub struct Batch {
    /// f32 of shape [batch, channels, height, width].
    pub images: Tensor,
    /// i64 of shape `[batch]`.
    pub labels: Tensor,
    /// Where each image is in its part of the data set: i64 of shape `[batch]`.
    pub positions: Tensor,
    /// Pictures that should have been in it and do not decode.
    pub skipped: Vec<Skipped>,
}

/// Why a batch could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A thread that prepares batches could not be started.
    #[error("cannot start a thread that prepares batches: {0}")]
    Thread(#[from] io::Error),
    /// A thread that prepares batches has died; its panic is on stderr.
    #[error("a thread that prepares batches has died")]
    Died(#[from] RecvError),
    /// A picture could not be read from its disk or store.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The picture.
        name: String,
        /// The reason.
        source: io::Error,
    },
    /// No picture decodes.
    #[error("{name}: {why}; no other image decodes either")]
    NoneDecodes {
        /// The picture.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// An endless sequence of training batches: which images, in which order, changed how.
#[derive(Clone, Debug)]
pub struct Stream {
    /// How its images become inputs of the net.
    pub inputs: Inputs,
    /// What it draws from.
    pub images: Subset,
    /// Decides order and changes.
    pub seed: u64,
    /// Images per batch, over all ranks; an epoch's last batch that is not full is left out.
    pub batch: usize,
    /// The part of each batch that is made here.
    pub share: Share,
    /// Whether images are flipped and cropped.
    pub augment: bool,
    /// Pictures that may fail to decode: how far to look for others in their place.
    pub max_corrupt: u32,
    /// Threads that decode pictures. What comes out does not depend on their number.
    pub threads: usize,
}

impl Stream {
    /// Batches in an epoch; zero if there are fewer images than a batch holds.
    pub fn per_epoch(&self) -> u64 {
        self.images.len().checked_div(self.batch).unwrap_or(0) as u64
    }

    /// The places in its epoch's order of this rank's share of the batch at `step`, counted from 0
    /// over all epochs.
    fn places(&self, step: u64) -> Range<usize> {
        let first = usize::try_from(step % self.per_epoch()).unwrap_or(0) * self.batch;
        let share = self.share.places(self.batch);
        first + share.start..first + share.end
    }

    /// The position in the part of the image at a place in an epoch's order.
    fn position(&self, order: &[u32], place: usize) -> u32 {
        self.images.position(order[place % order.len()] as usize)
    }

    /// The positions in the part of the images of this rank's share of the batch at `step`;
    /// `order` is its epoch's.
    pub(super) fn positions(&self, order: &[u32], step: u64) -> Vec<u32> {
        self.places(step)
            .map(|place| self.position(order, place))
            .collect()
    }

    /// This rank's share of the batch at `step`, of which `asked` is being read.
    ///
    /// In the place of a picture that does not decode comes the next one in the epoch's order
    /// that does, whichever rank's that is: a batch depends on its step and on the files alone. If
    /// none of as many others as may be corrupt decodes, the batch is one short, and what it
    /// skipped passes the limit.
    fn prepare(
        &self,
        preparer: &mut Preparer,
        asked: Asked,
        step: u64,
    ) -> Result<Prepared, BatchError> {
        let change = if self.augment {
            Change::Random {
                seed: self.seed,
                epoch: step / self.per_epoch(),
            }
        } else {
            Change::None
        };
        let (source, order) = (self.images.source(), asked.order);
        let position = |place: usize| self.position(&order, place);
        let places = self.places(step);
        let mut prepared = Prepared::with_capacity(places.len(), preparer);
        for (place, encoded) in places.zip(source.finish(asked.images)) {
            let mut added = prepared.add(source, preparer, position(place), encoded, change)?;
            let mut others = (1..order.len()).take(self.max_corrupt as usize);
            while !added && let Some(further) = others.next() {
                let other = position(place + further);
                for encoded in source.read(&[other]) {
                    added = prepared.add(source, preparer, other, encoded, change)?;
                }
            }
            if !added && order.len() <= self.max_corrupt as usize {
                return Err(prepared.none_decodes());
            }
        }
        Ok(prepared)
    }
}

/// A batch that is not on the device yet.
#[derive(Debug)]
struct Prepared {
    pixels: Vec<f32>,
    labels: Vec<i64>,
    positions: Vec<i64>,
    skipped: Vec<Skipped>,
}

impl Prepared {
    fn with_capacity(images: usize, preparer: &Preparer) -> Self {
        Self {
            pixels: Vec::with_capacity(images * preparer.floats()),
            labels: Vec::with_capacity(images),
            positions: Vec::with_capacity(images),
            skipped: Vec::new(),
        }
    }

    /// Adds an image if it decodes, and says whether it did.
    fn add(
        &mut self,
        source: &Source,
        preparer: &mut Preparer,
        position: u32,
        encoded: io::Result<Encoded>,
        change: Change,
    ) -> Result<bool, BatchError> {
        let encoded = encoded.map_err(|error| BatchError::Read {
            name: source.name(position),
            source: error,
        })?;
        match preparer.append(source, position, &encoded, change, &mut self.pixels) {
            Ok(()) => {
                self.labels.push(source.label(position));
                self.positions.push(position.into());
                Ok(true)
            }
            Err(why) => {
                self.skipped.push(Skipped {
                    position,
                    name: source.name(position),
                    why,
                });
                Ok(false)
            }
        }
    }

    fn none_decodes(mut self) -> BatchError {
        let last = self.skipped.pop();
        let (name, why) = last.map_or_else(Default::default, |last| (last.name, last.why));
        BatchError::NoneDecodes { name, why }
    }

    fn into_batch(self, set: DataSet, device: Device) -> Batch {
        let input = set.input();
        let [channels, height, width] = [input.channels, input.height, input.width].map(i64::from);
        let labels = Tensor::from_slice(&self.labels);
        // Counted, not left to torch: a rank may have no image of a small batch.
        let count = labels.size()[0];
        Batch {
            images: Tensor::from_slice(&self.pixels)
                .view([count, channels, height, width])
                .to_device(device),
            labels: labels.to_device(device),
            positions: Tensor::from_slice(&self.positions).to_device(device),
            skipped: self.skipped,
        }
    }
}

/// Threads and results waiting per thread for images of this source.
fn equipment(source: &Source, threads: usize) -> (usize, usize) {
    match source {
        Source::Memory(_) => (1, AHEAD),
        // The batch in each thread's hands is ahead enough, and may be large.
        Source::Pictures(_) => (threads.max(1), 0),
    }
}

/// The training batches from some step on.
#[derive(Debug)]
pub struct Batches {
    set: DataSet,
    device: Device,
    prepared: InOrder<Result<Prepared, BatchError>>,
    waited: Duration,
}

impl Batches {
    /// Starts to prepare the batches of `stream` from `step` on, for `device`. The stream must
    /// have at least one batch per epoch. The threads end when the batches are dropped.
    pub fn start(stream: Stream, step: u64, device: Device) -> Result<Self, BatchError> {
        let set = stream.inputs.set;
        let (threads, waiting) = equipment(stream.images.source(), stream.threads);
        let mut preparer = Preparer::new(stream.inputs);
        let stream = Arc::new(stream);
        let mut ahead = Ahead::new(Arc::clone(&stream), threads);
        let make = move |step: u64| {
            if stream.per_epoch() == 0 {
                return None;
            }
            let asked = ahead.take(step);
            Some(stream.prepare(&mut preparer, asked, step))
        };
        Ok(Self {
            set,
            device,
            prepared: InOrder::start("batches", threads, waiting, step, &make)?,
            waited: Duration::ZERO,
        })
    }

    /// Waits for the next batch.
    pub fn take(&mut self) -> Result<Batch, BatchError> {
        let asked = Instant::now();
        let prepared = self.prepared.take();
        self.waited += asked.elapsed();
        Ok(prepared??.into_batch(self.set, self.device))
    }

    /// How long was waited for batches that were not ready. What it takes to bring one to the
    /// device is not in it.
    pub const fn waited(&self) -> Duration {
        self.waited
    }
}

/// The images of `subset` as they are, in order, in batches of at most `size`; those that do not
/// decode are left out of the batches.
pub fn unchanged(
    subset: &Subset,
    inputs: Inputs,
    size: usize,
    threads: usize,
    device: Device,
) -> Result<impl Iterator<Item = Result<Batch, BatchError>> + use<>, BatchError> {
    let size = size.max(1);
    let steps = subset.len().div_ceil(size);
    let mut preparer = Preparer::new(inputs);
    let images = subset.clone();
    let make = move |step: u64| {
        let first = usize::try_from(step).ok()?.checked_mul(size)?;
        (first < images.len()).then(|| {
            let last = (first + size).min(images.len());
            let positions: Vec<u32> = (first..last).map(|at| images.position(at)).collect();
            let source = images.source();
            let mut prepared = Prepared::with_capacity(positions.len(), &preparer);
            for (position, encoded) in positions.iter().zip(source.read(&positions)) {
                prepared.add(source, &mut preparer, *position, encoded, Change::None)?;
            }
            Ok::<_, BatchError>(prepared)
        })
    };
    let (threads, ahead) = equipment(subset.source(), threads);
    let mut prepared = InOrder::start("batches", threads, ahead, 0, &make)?;
    Ok((0..steps).map(move |_| Ok(prepared.take()??.into_batch(inputs.set, device))))
}

#[cfg(test)]
mod picture_tests;
#[cfg(test)]
mod tests;
