//! Candidates: one choice of network, hyperparameters and budget, measured over seeds.

use serde::{Deserialize, Serialize};

use crate::data::DataSet;
use crate::id::{CandidateId, TaskId};
use crate::net::Family;
use crate::strategy::Strategy;

/// What kind of point a candidate is on the front's plot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PointKind {
    /// The full-ReLU network: the reference line.
    Baseline,
    /// A network with a budget of ReLUs: may be on the front.
    Replaced,
}

impl PointKind {
    /// The name used in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Replaced => "replaced",
        }
    }
}

/// The label of a candidate that nothing tells from the sweep's others.
pub const PLAIN_LABEL: &str = "default";

/// How the last word of a label begins where the candidate is another one, trained on.
pub const TRAINED_ON_LABEL: &str = "trained_on=";

/// One candidate of a plan with the tasks that measure it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Identity over sweeps: the digest of all that decides its results but the seed, namely
    /// version, net, data, the recipes of its stages, strategy, and budget.
    pub id: CandidateId,
    /// What tells it from the sweep's other candidates, for people: the grid's assignments, as in
    /// `replace.penalty=0.0001 replace.hysteresis=0.003`; [`PLAIN_LABEL`] where there is no grid.
    pub label: String,
    /// Baseline or replaced.
    pub kind: PointKind,
    /// How its ReLUs were chosen. Without effect on baselines.
    #[serde(default)]
    pub strategy: Strategy,
    /// The data set that it is trained and measured on.
    pub data: DataSet,
    /// The family of its network.
    pub net: Family,
    /// ReLUs allowed. A baseline's is its total.
    pub budget: u64,
    /// ReLUs of the full network.
    pub relu_total: u64,
    /// Seeds that it has in any case: as many as there are evaluations, unless seeds are added where
    /// they say something.
    #[serde(default)]
    pub least_seeds: u32,
    /// The `evaluate` task of each seed, sorted by seed.
    pub evaluations: Vec<(u64, TaskId)>,
}
