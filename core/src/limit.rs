//! How much a sweep may cost.

use serde::{Deserialize, Serialize};

use crate::pace::HOUR_MS;

/// The most that a sweep may cost, as a manifest says it.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct CostLimit {
    /// Hours that trainers work on its tasks, times the GPUs that each task has; a task without one
    /// counts as one. 0 for any.
    pub gpu_hours: f64,
    /// Hours from its submission on; 0 for any.
    pub hours: f64,
}

/// What is left of a limit, as the ledger counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bounds {
    /// Milliseconds that trainers may work on the sweep's tasks, times their GPUs.
    pub gpu_ms: Option<u64>,
    /// The time after which nothing is to run, in the ledger's milliseconds.
    pub until_ms: Option<u64>,
}

impl CostLimit {
    /// Whether it limits nothing.
    pub fn is_none(&self) -> bool {
        self.gpu_hours <= 0.0 && self.hours <= 0.0
    }

    /// The bounds of a sweep that was submitted `ago_ms` before the ledger's time `now_ms`.
    pub fn bounds(self, now_ms: u64, ago_ms: u64) -> Bounds {
        let whole = (now_ms.saturating_add(hours_in_ms(self.hours))).saturating_sub(ago_ms);
        Bounds {
            gpu_ms: (self.gpu_hours > 0.0).then(|| hours_in_ms(self.gpu_hours)),
            until_ms: (self.hours > 0.0).then_some(whole),
        }
    }
}

impl Bounds {
    /// Whether anything is limited.
    pub const fn is_none(self) -> bool {
        self.gpu_ms.is_none() && self.until_ms.is_none()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "floats beyond the range become its end"
)]
fn hours_in_ms(hours: f64) -> u64 {
    (hours * HOUR_MS).round() as u64
}
