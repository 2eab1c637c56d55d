//! Ranks: processes that train one task together, each on a device of its own.
//!
//! Every rank has the whole net and a part of each batch ([`Share`]). The loss of a batch is the sum
//! of the ranks' shares of it, so that sums over the ranks of its gradients are the batch's. What
//! follows from a step is computed by every rank alike, from the same sums, and is therefore the same
//! bytes on each: weights, latents, indicators, running statistics, and every decision.
//!
//! The engine is c10d, `PyTorch`'s own, which libtorch contains: a TCP store to meet at, Gloo on
//! CPUs, NCCL on GPUs. No collective waits for longer than the group's deadline, and one whose peer
//! is gone fails at once.
//!
//! **Invariant:** all ranks call collectives in the same order. So none may depend on anything that
//! differs between ranks: time, what one of them reads, which of them reports.
//!
//! A group that has failed cannot be used any more; the process has nothing left to do but to say so.

mod gradients;
mod native;
#[cfg(test)]
mod tests;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::data::Share;

pub use gradients::{Gradients, Traffic};

/// What every message of a failed collective begins with, also in a panic of libtorch. See
/// `native.h`.
const LOST: &str = "the group of ranks: ";

/// The ranks could not meet, or a collective failed: a rank is gone, or did not come in time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{LOST}{why}; expected every rank to be there and to answer in time, look for the rank that failed first"
)]
pub struct RanksError {
    why: String,
}

impl RanksError {
    /// From a message of libtorch's.
    fn of(message: &str) -> Self {
        let why = message.rsplit(LOST).next().unwrap_or(message);
        // What follows are libtorch's own places in its sources.
        let why = why.lines().next().unwrap_or(why).trim_end().to_owned();
        Self { why }
    }
}

/// Whether a panic's message says that a collective failed.
pub fn is_lost(message: &str) -> bool {
    message.contains(LOST)
}

/// Where a rank belongs, and where the ranks meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which rank of how many.
    pub share: Share,
    /// The host on which rank 0 listens, as the others know it. On `127.0.0.1` all ranks are on one
    /// machine, and nothing is open to others.
    pub host: String,
    /// The port; rank 0 may have 0, for any that is free.
    pub port: u16,
    /// How long a rank may be waited for.
    pub deadline: Duration,
}

/// The first half of coming together: rank 0 listens, the others have found it.
#[derive(Debug)]
pub struct Meeting {
    place: Place,
    meeting: native::Meeting,
}

impl Meeting {
    /// Listens on rank 0; on the others waits until rank 0 does.
    pub fn start(place: Place) -> Result<Self, RanksError> {
        let leads = place.share.rank() == 0;
        let meeting = native::Meeting::start(&place.host, place.port, leads, place.deadline)?;
        Ok(Self { place, meeting })
    }

    /// The port on which rank 0 listens.
    pub fn port(&self) -> u16 {
        self.meeting.port
    }

    /// Waits until every rank is there. `device` is the one that this rank trains on.
    pub fn complete(self, device: Device) -> Result<Ranks, RanksError> {
        let Self { place, meeting } = self;
        let number = [place.share.rank(), place.share.ranks()];
        let cuda = device != Device::Cpu;
        let group = meeting.open(&place.host, number, cuda, place.deadline)?;
        Ok(Ranks {
            share: place.share,
            group: Some(Arc::new(group)),
        })
    }
}

/// The ranks that train a task, as one of them sees them; most tasks have one, which is alone.
#[derive(Clone, Debug)]
pub struct Ranks {
    share: Share,
    group: Option<Arc<native::Group>>,
}

impl Default for Ranks {
    fn default() -> Self {
        Self::alone()
    }
}

impl Ranks {
    /// One rank, alone: every collective is the identity.
    pub fn alone() -> Self {
        Self {
            share: Share::WHOLE,
            group: None,
        }
    }

    /// This rank's share of every batch.
    pub fn share(&self) -> Share {
        self.share
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.share.ranks()
    }

    /// Whether there is no other.
    pub fn are_one(&self) -> bool {
        self.group.is_none()
    }

    /// Whether this is rank 0, which alone writes and reports.
    pub fn leads(&self) -> bool {
        self.share.rank() == 0
    }

    /// The group as C++ knows it; null of one rank alone. It is never taken down.
    pub(crate) fn as_ptr(&self) -> *const c_void {
        self.group
            .as_ref()
            .map_or(ptr::null(), |group| group.as_ptr())
    }

    /// Sums a tensor over the ranks, in place.
    pub fn sum(&self, tensor: &Tensor) -> Result<(), RanksError> {
        self.group
            .as_ref()
            .map_or(Ok(()), |group| group.sum(tensor))
    }

    /// Gives a tensor rank 0's values on every rank.
    pub fn broadcast(&self, tensor: &Tensor) -> Result<(), RanksError> {
        let group = self.group.as_ref();
        group.map_or(Ok(()), |group| group.broadcast(tensor))
    }

    /// The sums over the ranks of some numbers on the host. Waits for the ranks, not for devices.
    pub fn agree<const N: usize>(&self, numbers: [i64; N]) -> Result<[i64; N], RanksError> {
        let Some(group) = &self.group else {
            return Ok(numbers);
        };
        let tensor = Tensor::from_slice(&numbers);
        group.agree(&tensor)?;
        let mut sums = numbers;
        tensor.copy_data(&mut sums, N);
        Ok(sums)
    }

    /// What each rank has, in their order; for short texts.
    pub fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RanksError> {
        let Some(group) = &self.group else {
            return Ok(vec![own.to_vec()]);
        };
        let ranks = self.count() as usize;
        let rank = self.share.rank() as usize;
        let mut lengths = vec![0_i64; ranks];
        lengths[rank] = i64::try_from(own.len()).unwrap_or(i64::MAX);
        let tensor = Tensor::from_slice(&lengths);
        group.agree(&tensor)?;
        let lengths = Vec::<i64>::try_from(tensor).expect("lengths are one-dimensional i64");
        let lengths: Vec<usize> = lengths
            .into_iter()
            .map(|length| usize::try_from(length).unwrap_or(0))
            .collect();
        let first: usize = lengths[..rank].iter().sum();
        let mut all = vec![0_u8; lengths.iter().sum()];
        all[first..first + own.len()].copy_from_slice(own);
        let bytes = Tensor::from_slice(&all);
        group.agree(&bytes)?;
        let bytes = Vec::<u8>::try_from(bytes).expect("bytes are one-dimensional u8");
        let mut rest = bytes.as_slice();
        let parts = lengths.iter().map(|length| {
            let (part, after) = rest.split_at(*length);
            rest = after;
            part.to_vec()
        });
        Ok(parts.collect())
    }

    /// Batch normalisation of `x`, [images, channels, height, width], with the statistics of all
    /// ranks' images; `None` where this rank is alone and libtorch's own is meant.
    ///
    /// # Panics
    ///
    /// If the group fails, in libtorch's way: with the message that [`is_lost`] knows. The backward
    /// pass fails in the same way.
    pub fn batch_norm(&self, x: &Tensor, norm: &Norm<'_>) -> Option<Tensor> {
        let group = self.group.as_ref()?;
        let tensors = [norm.scale, norm.shift, norm.mean, norm.variance];
        let y = group.batch_norm(x, tensors, norm.updates, norm.momentum, norm.epsilon);
        Some(y.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Combines each rank's mean and variance of `count` values, by channel, into those of all
    /// values together: (mean, variance), both without Bessel's correction, and how many values.
    pub fn moments(
        &self,
        count: f64,
        mean: &Tensor,
        variance: &Tensor,
    ) -> Result<(Tensor, Tensor, Tensor), RanksError> {
        let exact = |tensor: &Tensor| tensor.to_kind(Kind::Double);
        let own = exact(mean);
        let squares = exact(variance) + own.square();
        let counts = own.ones_like();
        let sums = Tensor::stack(&[own, squares, counts], 0) * count;
        self.sum(&sums)?;
        let all = sums.get(2);
        let (mean, squares) = (sums.get(0) / &all, sums.get(1) / &all);
        let variance = (squares - mean.square()).clamp_min(0.0);
        Ok((mean, variance, all))
    }
}

/// What batch normalisation is done with, each of shape `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Multiplies.
    pub scale: &'a Tensor,
    /// Is added.
    pub shift: &'a Tensor,
    /// The running mean.
    pub mean: &'a Tensor,
    /// The running variance, with Bessel's correction.
    pub variance: &'a Tensor,
    /// Whether the batch moves the running statistics.
    pub updates: bool,
    /// The batch's weight when it does.
    pub momentum: f64,
    /// Is added to a variance before its root.
    pub epsilon: f64,
}
