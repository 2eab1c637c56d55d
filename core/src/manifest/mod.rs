//! Manifests: the YAML files in which people write sweeps.
//!
//! [`parse`] takes the text to a [`Manifest`], in which every default is filled in and every
//! share of the total is on record, or to every [`Problem`] of the text at once. Nothing else
//! in the workspace checks a manifest again: what has the type is good.
//!
//! The keys, their ranges, defaults and meanings stand in one table, which also makes
//! the JSON Schema, the grid's axes and the suggestions for misspelt keys.

use serde::{Deserialize, Serialize};

use crate::data::DataSpec;
use crate::growth::{AdaptiveSeeds, Halving, Refine};
use crate::id::{OwnerName, SweepName};
use crate::limit::CostLimit;
use crate::net::{Family, NetSettings, NetSpec};
use crate::offer::Requirements;
use crate::recipe::{BaselineRecipe, FinetuneRecipe, ReplaceRecipe};
use crate::retry::Retry;
use crate::strategy::Strategy;
use crate::terms::Terms;
use crate::weights::Weights;

mod budget;
mod check;
mod fields;
pub(crate) mod grid;
mod problem;
mod read;
mod rehearsal;
mod schema;
mod suggest;
mod tree;

pub use budget::{BudgetSpec, NotABudget};
pub use problem::{Problem, render};
pub use rehearsal::Rehearsal;
pub use schema::json_schema;
pub use tree::MAX_BYTES;

/// The most tasks that a plan may have unless the caller says otherwise.
pub const DEFAULT_TASK_LIMIT: u64 = 1_000_000;

/// A sweep as it was submitted, with nothing left open: equal manifests expand to equal plans.
///
/// Two texts that mean the same sweep give equal manifests, whatever the order of their keys
/// and of the entries in their lists.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// [`crate::task::RESULT_VERSION`] at the time of parsing: a sweep keeps the version under
    /// which it was submitted.
    pub version: u32,
    /// The sweep's name.
    pub name: SweepName,
    /// Who it belongs to.
    #[serde(default)]
    pub owner: OwnerName,
    /// Sweeps of a higher priority get workers first.
    #[serde(default)]
    pub priority: i32,
    /// The data, unless an axis of the grid says otherwise.
    pub data: DataSpec,
    /// The network, unless an axis of the grid says otherwise.
    pub net: NetSettings,
    /// How searches are laid out over the budgets.
    #[serde(default, skip_serializing_if = "Strategy::is_default")]
    pub strategy: Strategy,
    /// Which searches are stopped early, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halving: Option<Halving>,
    /// The budgets, each different from the others for every net of the grid.
    pub budgets: Vec<BudgetSpec>,
    /// Which of them are only added where the front gains by them, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refine: Option<Refine>,
    /// The seeds, rising.
    pub seeds: Vec<u64>,
    /// Which of them are only given where they say something, if any are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_seeds: Option<AdaptiveSeeds>,
    /// How baselines are trained, unless an axis of the grid says otherwise.
    pub baseline: BaselineRecipe,
    /// The ways of replacing ReLUs that are compared, by rising name: at least one. Only a single
    /// one may be without a name.
    pub arms: Vec<Arm>,
    /// The hyperparameters to vary, in the order of the table of fields. Every combination
    /// of their values is a grid point; no axes make one.
    pub grid: Vec<Axis>,
    /// What happens when an attempt fails.
    pub retry: RetryPolicy,
    /// Epochs that points are trained on for which lie under one with fewer ReLUs; 0 for none.
    #[serde(default, skip_serializing_if = "crate::blank::is_default")]
    pub train_on: u32,
    /// The most that the sweep may cost.
    #[serde(default, skip_serializing_if = "CostLimit::is_none")]
    pub limit: CostLimit,
    /// What a task needs of its worker.
    pub resources: Requirements,
    /// When resume checkpoints are written.
    pub checkpoint: CheckpointPolicy,
}

impl Manifest {
    /// What a sweep wants of the scheduling that was submitted `ago_ms` before the ledger's time `now_ms`.
    pub fn terms(&self, now_ms: u64, ago_ms: u64) -> Terms {
        Terms {
            retry: self.retry.settled(),
            owner: self.owner.clone(),
            priority: self.priority,
            needs: self.resources.clone(),
            keep: self.checkpoint.keep,
            bounds: self.limit.bounds(now_ms, ago_ms),
        }
    }

    /// Every file of weights that the sweep needs, with a net that it has to fit, each once.
    pub fn weights(&self) -> Vec<(NetSpec, &Weights)> {
        let arms = self.arms.iter();
        let teachers = arms.flat_map(|arm| [&arm.replace.distillation, &arm.finetune.distillation]);
        // Nets of one grid that start from weights have tensors of the same shapes.
        let own = self.baseline.weights.iter();
        let mut all: Vec<(NetSpec, &Weights)> =
            own.map(|weights| (self.net.spec(), weights)).collect();
        let asked = teachers.filter(|it| it.kd_weight > 0.0);
        for teacher in asked.filter_map(|it| it.teacher.as_ref()) {
            let needed = (teacher.net.clone(), &teacher.weights);
            if !all.contains(&needed) {
                all.push(needed);
            }
        }
        all
    }
}

/// One way of replacing ReLUs, unless an axis of the grid says otherwise.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Arm {
    /// Its name; `None` where the manifest compares no arms.
    pub name: Option<String>,
    /// How ReLUs are replaced.
    pub replace: ReplaceRecipe,
    /// How nets are trained on. With zero epochs the search's nets are measured as they are.
    pub finetune: FinetuneRecipe,
}

/// One hyperparameter of the grid with the values that it takes: at least one, each different and
/// in the field's range, rising (names: in the table's order).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawAxis", into = "RawAxis")]
pub struct Axis {
    field: String,
    values: Vec<AxisValue>,
}

/// The form in which an axis is stored.
#[derive(Serialize, Deserialize)]
struct RawAxis {
    field: String,
    values: Vec<AxisValue>,
}

/// Why something is no axis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAxis {
    /// No field of this name may vary.
    #[error("expected a field that a grid can vary, found {field:?}")]
    UnknownField {
        /// The name.
        field: String,
    },
    /// There is nothing to vary.
    #[error("expected at least one value for {field}")]
    Empty {
        /// The field.
        field: String,
    },
    /// A value is of another kind or out of range.
    #[error("expected a value that {field} may have, found {value}")]
    BadValue {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },
    /// A value is there twice.
    #[error("expected each value of {field} once, found {value} twice")]
    Repeated {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },
}

impl Axis {
    /// An axis over a field, as in `replace.penalty`. The values are brought into order.
    pub fn new(field: &str, mut values: Vec<AxisValue>) -> Result<Self, NotAnAxis> {
        let owned = || field.to_owned();
        let Some(axis) = fields::axis_field(field) else {
            return Err(NotAnAxis::UnknownField { field: owned() });
        };
        if values.is_empty() {
            return Err(NotAnAxis::Empty { field: owned() });
        }
        if let Some(bad) = values.iter().find(|value| !axis.fits(value)) {
            let value = bad.to_string();
            return Err(NotAnAxis::BadValue {
                field: owned(),
                value,
            });
        }
        values.sort_by(|left, right| axis.order(left, right));
        if let Some(pair) = values.windows(2).find(|pair| pair[0] == pair[1]) {
            let value = pair[0].to_string();
            return Err(NotAnAxis::Repeated {
                field: owned(),
                value,
            });
        }
        let field = owned();
        Ok(Self { field, values })
    }

    /// The field, as in `replace.penalty`.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Its values.
    pub fn values(&self) -> &[AxisValue] {
        &self.values
    }
}

impl TryFrom<RawAxis> for Axis {
    type Error = NotAnAxis;

    fn try_from(raw: RawAxis) -> Result<Self, NotAnAxis> {
        Self::new(&raw.field, raw.values)
    }
}

impl From<Axis> for RawAxis {
    fn from(axis: Axis) -> Self {
        Self {
            field: axis.field,
            values: axis.values,
        }
    }
}

/// One value of an axis.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AxisValue {
    /// On or off.
    Switch(bool),
    /// A whole number.
    Count(u64),
    /// A finite number.
    Number(f64),
    /// One of a fixed set of names.
    Choice(String),
}

/// What happens when an attempt fails.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts before a task is given up, at least one, for each class of failure without a
    /// limit of its own.
    pub attempts: u32,
    /// The same for attempts that ran out of memory, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<u32>,
    /// The same for attempts that diverged, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged: Option<u32>,
    /// The same for workers that were lost, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_workers: Option<u32>,
    /// Seconds before the second attempt; each further wait is twice as long.
    pub backoff_s: f64,
}

/// When resume checkpoints are written, and which checkpoints are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CheckpointPolicy {
    /// Seconds of training between two of them; zero for never.
    pub every_s: u32,
    /// Optimizer steps between two of them; zero for never.
    #[serde(default)]
    pub every_steps: u32,
    /// Which outputs outlive their use.
    #[serde(default)]
    pub keep: Keep,
}

/// Which outputs outlive their use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// All.
    #[default]
    All,
    /// Those of the nets on the front.
    Front,
}

impl RetryPolicy {
    /// The policy in the ledger's terms.
    pub fn settled(self) -> Retry {
        let backoff = std::time::Duration::try_from_secs_f64(self.backoff_s);
        let backoff_ms = backoff.map_or(u64::MAX, |wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        });
        let retry = Retry::new(self.attempts, backoff_ms);
        Retry {
            out_of_memory: self.out_of_memory.unwrap_or(retry.out_of_memory),
            diverged: self.diverged.unwrap_or(retry.diverged),
            lost_workers: self.lost_workers.unwrap_or(retry.lost_workers),
            ..retry
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            out_of_memory: None,
            diverged: None,
            lost_workers: None,
            backoff_s: 10.0,
        }
    }
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        Self {
            every_s: 60,
            every_steps: 0,
            keep: Keep::All,
        }
    }
}

impl Manifest {
    /// What the grid may vary, at its values outside the grid and in the first arm.
    fn settings(&self) -> fields::Settings {
        let arm = self.arms.first();
        fields::Settings {
            data: self.data.clone(),
            net: self.net.clone(),
            // The recipes hold the teacher: this is what it was read into.
            teacher: Family::Resnet9.default_settings(),
            baseline: self.baseline.clone(),
            replace: arm.map(|arm| arm.replace.clone()).unwrap_or_default(),
            finetune: arm.map(|arm| arm.finetune.clone()).unwrap_or_default(),
        }
    }
}

/// Reads a manifest: every default filled in, or every problem of the text, sorted by place.
///
/// Nothing in the text can make it panic, and its size and nesting are limited.
pub fn parse(text: &str) -> Result<Manifest, Vec<Problem>> {
    parse_within(text, DEFAULT_TASK_LIMIT)
}

/// As [`parse`], for the bytes of a file, which may be no text.
pub fn parse_bytes(bytes: &[u8]) -> Result<Manifest, Vec<Problem>> {
    let refuse = |error: std::str::Utf8Error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        let place = tree::Place {
            line: 1 + before.matches('\n').count() as u64,
            column: 1 + line.chars().count() as u64,
        };
        vec![place.problem("", "expected text in UTF-8, found other bytes from here on")]
    };
    parse(std::str::from_utf8(bytes).map_err(refuse)?)
}

/// As [`parse`], with another limit on the plan's number of tasks.
pub fn parse_within(text: &str, task_limit: u64) -> Result<Manifest, Vec<Problem>> {
    check::manifest(text, task_limit)
}

#[cfg(test)]
mod tests;
