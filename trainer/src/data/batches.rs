//! Batches, prepared in order on a thread of their own while the device computes.

use std::io;
use std::sync::mpsc::{Receiver, RecvError, sync_channel};
use std::thread;

use autorep_core::data::{DataSet, Framing};
use tch::{Device, Tensor};

use super::order;
use super::{Augment, Normaliser, Subset};

/// Batches prepared ahead of the one in use.
const AHEAD: usize = 2;

/// Images with their labels.
#[derive(Debug)]
pub struct Batch {
    /// f32 of shape [batch, channels, height, width].
    pub images: Tensor,
    /// i64 of shape `[batch]`.
    pub labels: Tensor,
}

/// An endless sequence of training batches: which images, in which order, changed how.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The data set, for its normalisation and padding.
    pub set: DataSet,
    /// What it draws from.
    pub images: Subset,
    /// Decides order and changes.
    pub seed: u64,
    /// Images per batch; an epoch's last batch that is not full is left out.
    pub batch: usize,
    /// Whether images are flipped and cropped.
    pub augment: bool,
}

impl Stream {
    /// Batches in an epoch; zero if there are fewer images than a batch holds.
    pub fn per_epoch(&self) -> u64 {
        self.images.len().checked_div(self.batch).unwrap_or(0) as u64
    }

    /// The batch at `step`, counted from 0 over all epochs; `order` is its epoch's.
    fn prepare(&self, normaliser: &Normaliser, order: &[u32], step: u64) -> Prepared {
        let per_epoch = self.per_epoch();
        let first = usize::try_from(step % per_epoch).unwrap_or(0) * self.batch;
        let padding = match self.set.framing() {
            Framing::Padded { padding } => padding,
            Framing::Resized { .. } => 0,
        };
        let mut pixels = Vec::with_capacity(self.batch * normaliser.len());
        let mut labels = Vec::with_capacity(self.batch);
        for at in &order[first..first + self.batch] {
            let (image, label, index) = self.images.image(*at as usize);
            let augment = if self.augment {
                Augment::draw(self.seed, step / per_epoch, index, padding)
            } else {
                Augment::NONE
            };
            normaliser.append(image, augment, &mut pixels);
            labels.push(i64::from(label));
        }
        Prepared { pixels, labels }
    }
}

/// A batch that is not on the device yet.
struct Prepared {
    pixels: Vec<f32>,
    labels: Vec<i64>,
}

impl Prepared {
    fn to_batch(&self, set: DataSet, device: Device) -> Batch {
        let input = set.input();
        let [channels, height, width] = [input.channels, input.height, input.width].map(i64::from);
        Batch {
            images: Tensor::from_slice(&self.pixels)
                .view([-1, channels, height, width])
                .to_device(device),
            labels: Tensor::from_slice(&self.labels).to_device(device),
        }
    }
}

/// The training batches from some step on.
#[derive(Debug)]
pub struct Batches {
    set: DataSet,
    device: Device,
    prepared: Receiver<Prepared>,
}

impl Batches {
    /// Starts to prepare the batches of `stream` from `step` on, for `device`. The stream must
    /// have at least one batch per epoch. The thread ends when the batches are dropped.
    pub fn start(stream: Stream, step: u64, device: Device) -> io::Result<Self> {
        let (sender, prepared) = sync_channel(AHEAD);
        let set = stream.set;
        thread::Builder::new()
            .name("batches".to_owned())
            .spawn(move || {
                let normaliser = Normaliser::new(set);
                let per_epoch = stream.per_epoch().max(1);
                let mut order = Vec::new();
                for step in step.. {
                    if order.is_empty() || step % per_epoch == 0 {
                        order = order::epoch(stream.images.len(), stream.seed, step / per_epoch);
                    }
                    if sender
                        .send(stream.prepare(&normaliser, &order, step))
                        .is_err()
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            set,
            device,
            prepared,
        })
    }

    /// Waits for the next batch. An error means that the thread that prepares them has died.
    pub fn take(&self) -> Result<Batch, RecvError> {
        let prepared = self.prepared.recv()?;
        Ok(prepared.to_batch(self.set, self.device))
    }
}

/// The images of `subset` as they are, in order, in batches of at most `size`.
pub fn unchanged(
    subset: &Subset,
    set: DataSet,
    size: usize,
    device: Device,
) -> impl Iterator<Item = Batch> {
    let normaliser = Normaliser::new(set);
    (0..subset.len()).step_by(size.max(1)).map(move |first| {
        let mut prepared = Prepared {
            pixels: Vec::new(),
            labels: Vec::new(),
        };
        for at in first..(first + size.max(1)).min(subset.len()) {
            let (image, label, _) = subset.image(at);
            normaliser.append(image, Augment::NONE, &mut prepared.pixels);
            prepared.labels.push(i64::from(label));
        }
        prepared.to_batch(set, device)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use autorep_core::data::Images;

    use super::*;

    /// Image `n` is filled with byte `n` and has label `n` mod 10.
    fn stream(count: u8, batch: usize, augment: bool) -> Stream {
        let set = DataSet::FashionMnist;
        let images = Images {
            shape: set.input(),
            labels: (0..count).map(|n| n % 10).collect(),
            pixels: (0..count).flat_map(|n| [n; 784]).collect(),
        };
        Stream {
            set,
            images: Subset::whole(Arc::new(images)),
            seed: 5,
            batch,
            augment,
        }
    }

    fn labels(batch: &Batch) -> Vec<i64> {
        Vec::try_from(&batch.labels).unwrap()
    }

    #[test]
    fn a_stream_entered_midway_goes_on_as_the_whole_one() {
        let whole = Batches::start(stream(23, 4, true), 0, Device::Cpu).unwrap();
        let all: Vec<Batch> = (0..12).map(|_| whole.take().unwrap()).collect();
        for from in [1_u64, 5, 7] {
            let entered = Batches::start(stream(23, 4, true), from, Device::Cpu).unwrap();
            for wanted in &all[usize::try_from(from).unwrap()..] {
                let got = entered.take().unwrap();
                assert!(got.images.equal(&wanted.images) && got.labels.equal(&wanted.labels));
            }
        }
    }

    #[test]
    fn an_epoch_shows_each_image_once_and_leaves_out_the_rest() {
        let stream = stream(23, 4, false);
        assert_eq!(stream.per_epoch(), 5);
        let batches = Batches::start(stream, 0, Device::Cpu).unwrap();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let batch = batches.take().unwrap();
            assert_eq!(batch.images.size(), [4, 1, 28, 28]);
            for image in 0..4 {
                let value = batch.images.double_value(&[image, 0, 0, 0]);
                let byte = (value * 0.353 + 0.286) * 255.0;
                seen.push(Tensor::from(byte.round()).int64_value(&[]));
                assert_eq!(
                    labels(&batch)[usize::try_from(image).unwrap()],
                    seen[seen.len() - 1] % 10
                );
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20);
    }

    #[test]
    fn unchanged_batches_hold_every_image_in_order() {
        let stream = stream(7, 3, true);
        let batches: Vec<Batch> = unchanged(&stream.images, stream.set, 3, Device::Cpu).collect();
        let all: Vec<i64> = batches.iter().flat_map(labels).collect();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(batches[2].images.size(), [1, 1, 28, 28]);
    }
}
