//! Gradients summed over the ranks while the backward pass goes on, as in `PyTorch`'s
//! `DistributedDataParallel` (Li et al. 2020, arXiv:2006.15704, section 3.2).

use tch::{TchError, Tensor};

use super::{Ranks, RanksError, is_lost, native};

/// Bytes of the first bucket: sums begin early.
const FIRST_BYTES: i64 = 1 << 20;

/// Bytes of the others.
const BYTES: i64 = 25 << 20;

/// What the sums of gradients cost, over some steps.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Traffic {
    /// Steps.
    pub steps: u64,
    /// Bytes of gradients that were summed.
    pub bytes: f64,
    /// Seconds in which sums were under way. On CPUs: NCCL's are not timed.
    pub busy_s: f64,
    /// Those of them that came after the end of the backward pass, which waited for them.
    pub exposed_s: f64,
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            steps: self.steps + other.steps,
            bytes: self.bytes + other.bytes,
            busy_s: self.busy_s + other.busy_s,
            exposed_s: self.exposed_s + other.exposed_s,
        }
    }

    /// The share of the time in which sums were under way that the backward pass hid.
    pub fn hidden(&self) -> f64 {
        if self.busy_s > 0.0 {
            1.0 - self.exposed_s / self.busy_s
        } else {
            1.0
        }
    }
}

/// The gradients of some leaves, summed over ranks.
#[derive(Debug)]
pub struct Gradients {
    buckets: native::Buckets,
    /// So far.
    pub traffic: Traffic,
}

impl Gradients {
    /// Of these leaves, in about the order in which the backward pass comes to them; `None` where a
    /// rank is alone.
    pub fn of(ranks: &Ranks, leaves: &[&Tensor]) -> Result<Option<Self>, RanksError> {
        let Some(group) = &ranks.group else {
            return Ok(None);
        };
        Ok(Some(Self {
            buckets: native::Buckets::lay_out(group, leaves, FIRST_BYTES, BYTES)?,
            traffic: Traffic::default(),
        }))
    }

    /// Runs a backward pass, which must go through these leaves, and returns the sums of their
    /// gradients over the ranks, in their order; zero where the pass comes to none. They are views
    /// of memory that the next pass writes over.
    ///
    /// # Panics
    ///
    /// If the pass fails for another reason than the group, as libtorch's own does.
    pub fn during<T>(
        &mut self,
        pass: impl FnOnce() -> Result<T, TchError>,
    ) -> Result<Vec<Tensor>, RanksError> {
        self.buckets.begin();
        if let Err(error) = pass() {
            let message = error.to_string();
            assert!(is_lost(&message), "{message}");
            return Err(RanksError::of(&message));
        }
        let (gradients, [bytes, busy_s, exposed_s]) = self.buckets.finish()?;
        self.traffic.steps += 1;
        self.traffic.bytes += bytes;
        self.traffic.busy_s += busy_s;
        self.traffic.exposed_s += exposed_s;
        Ok(gradients)
    }
}
