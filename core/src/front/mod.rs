//! The front: which candidates are worth having, and how sure we are of their accuracy.
//!
//! A sweep's front is a function of the set of observations it has, whatever their order of
//! arrival: keeping it up to date and computing it anew give the same bytes.

mod bias;
mod certainty;
mod estimate;
mod hypervolume;
mod pareto;
mod search;
mod standing;
mod sweep;
mod undertrained;

#[cfg(test)]
mod tests;

pub use bias::SelectionBias;
pub(crate) use certainty::pooled_spread;
pub use certainty::{Certainty, Measured, certainties};
pub use estimate::Estimate;
pub use hypervolume::hypervolume;
pub use pareto::{Flips, Pareto, Point};
pub use standing::Standing;
pub use sweep::{Refusal, RefusedObservation, SweepFront};
pub use undertrained::under_trained;

use serde::{Deserialize, Serialize};

use crate::candidate::PointKind;
use crate::id::{CandidateId, SweepName};
use crate::searched::Convergence;
use crate::strategy::Strategy;

/// One candidate on the front's table: an estimate over its seeds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FrontRow {
    /// The candidate.
    pub id: CandidateId,
    /// What tells it from the others, for people.
    pub candidate: String,
    /// Baseline (a reference) or replaced (may be on the front).
    pub kind: PointKind,
    /// How the ReLUs were chosen. Without effect on baselines.
    pub strategy: Strategy,
    /// The name of the data set.
    pub data: String,
    /// The name of the network's family.
    pub net: String,
    /// ReLUs allowed.
    pub budget: u64,
    /// ReLUs that the measured nets evaluate for one image: the largest count over the seeds, so
    /// that no net behind this row costs more than the row says.
    pub relu_count: u64,
    /// ReLUs of the full network.
    pub relu_total: u64,
    /// Mean test accuracy over the seeds that are in, in percent.
    pub accuracy_mean: f64,
    /// Sample standard deviation over those seeds, in percentage points; zero for one seed.
    pub accuracy_std: f64,
    /// Standard error of the mean, in percentage points, by those seeds alone; none for one seed.
    pub accuracy_se: Option<f64>,
    /// Probability that it is on the front, by a normal model of what other seeds would give; none
    /// for baselines, and while no candidate has several seeds.
    pub p_on_front: Option<f64>,
    /// The lower end of the interval that holds the best accuracy within this number of ReLUs with
    /// 95 %, in percent, by the same model.
    pub front_low: Option<f64>,
    /// Its upper end.
    pub front_high: Option<f64>,
    /// Mean validation accuracy of the same nets, in percent, if known for every one of them.
    pub validation_mean: Option<f64>,
    /// Seeds that are in.
    pub seeds: u32,
    /// Seeds that the plan asks for in any case, or those that are in where it has asked for more. The
    /// estimate is provisional until all are in.
    pub seeds_planned: u32,
    /// Whether no other replaced candidate has at most as many ReLUs and at least the accuracy,
    /// and is better in one. Baselines are never on the front: they are its reference.
    pub on_front: bool,
    /// The ReLUs of a point of the same line (equal but for the budget) that has fewer of them and
    /// a mean test accuracy that is higher by more than noise. Then this one is under-trained. Of
    /// several such points the most accurate.
    pub lies_under: Option<u64>,
    /// Mean over the seeds of validation accuracy less test accuracy, in percentage points, if both
    /// are known for every one of them.
    pub selection_bias: Option<f64>,
    /// Its standard error, by those seeds; none for one seed.
    pub selection_bias_se: Option<f64>,
    /// Whether the searches of these seeds came down to the budget: of several answers the worst.
    /// None for baselines, and where a search has not said.
    pub convergence: Option<Convergence>,
    /// Mean over the seeds of the validation accuracy that projection to the exact budget cost, in
    /// percentage points. None as with `convergence`.
    pub projection_cost: Option<f64>,
}

impl FrontRow {
    /// Whether more training should lift it: see [`Self::lies_under`].
    pub const fn is_under_trained(&self) -> bool {
        self.lies_under.is_some()
    }
}

/// A sweep's front at one moment: every candidate with at least one observation, baselines first,
/// then by ReLU count, then by falling accuracy, then by label, then by identity.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FrontReport {
    /// The sweep.
    pub sweep: SweepName,
    /// The candidates.
    pub rows: Vec<FrontRow>,
    /// The share of the unit square that the front dominates, with ReLU share (count over total)
    /// and accuracy as axes and (share 1, accuracy 0) as the reference point: 0 without points,
    /// 1 for perfect accuracy without ReLUs.
    pub hypervolume: f64,
}

/// A number to so many places: `scale` is 1e6 for six.
fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

/// What an observation changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FrontChange {
    /// Candidates that are on the front now and were not before.
    pub joined: Vec<CandidateId>,
    /// Candidates that were on the front before and are not now.
    pub left: Vec<CandidateId>,
    /// Candidates that the observation was meant for and that could not take it, each with the
    /// reason. Such an observation is no point, and the one it replaces is gone: the task's
    /// latest result is what counts.
    pub refused: Vec<RefusedObservation>,
}
