//! Tasks: units of leased work, each named by the digest of all that decides its result.

use std::{fmt, iter};

use serde::{Deserialize, Serialize};

use crate::data::DataSpec;
use crate::digest::Digest;
use crate::id::TaskId;
use crate::net::NetSpec;
use crate::recipe::{BaselineRecipe, FinetuneRecipe, ReplaceRecipe, Schedule};

/// Part of every task's identity. Raise it with any change to the trainer that changes results,
/// so that results of different mathematics are never taken for one another.
pub const RESULT_VERSION: u32 = 4;

/// One output of one task: what a later task starts from. A `replace` task has one output per
/// budget, named by [`budget_output`]; `baseline` and `finetune` have one, [`NET_OUTPUT`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct OutputRef {
    /// The task that makes it.
    pub task: TaskId,
    /// Its name among that task's outputs.
    pub output: String,
}

/// The output of `baseline` and `finetune` tasks: the net of the selected epoch.
pub const NET_OUTPUT: &str = "net";

/// The name of a `replace` task's output at `budget` ReLUs.
pub fn budget_output(budget: u64) -> String {
    format!("b{budget}")
}

/// What a task does. The order of the kinds is the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Train the full-ReLU network.
    Baseline,
    /// Search which ReLUs to keep.
    Replace,
    /// Train on with frozen indicators.
    Finetune,
    /// Measure on the test set, once.
    Evaluate,
}

impl TaskKind {
    /// Every kind, in running order.
    pub const ALL: [Self; 4] = [
        Self::Baseline,
        Self::Replace,
        Self::Finetune,
        Self::Evaluate,
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Baseline => 0,
            Self::Replace => 1,
            Self::Finetune => 2,
            Self::Evaluate => 3,
        }
    }

    /// The name used in manifests, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Replace => "replace",
            Self::Finetune => "finetune",
            Self::Evaluate => "evaluate",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The work of a task with what it starts from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// Train the full-ReLU network, from random weights or from given ones.
    Baseline {
        /// How.
        recipe: BaselineRecipe,
    },
    /// Search which ReLUs to keep, from a baseline that is also the teacher.
    Replace {
        /// The baseline.
        baseline: OutputRef,
        /// A net that keeps more ReLUs, to start from in the baseline's place; the baseline still
        /// teaches. Without one it is left out of the JSON, as in the specs written before there
        /// were any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<OutputRef>,
        /// The budgets to snapshot at, strictly falling; each becomes an output.
        budgets: Vec<u64>,
        /// How.
        recipe: ReplaceRecipe,
    },
    /// Train a snapshot on with its indicators frozen.
    Finetune {
        /// The `replace` snapshot to start from.
        start: OutputRef,
        /// The full-ReLU teacher.
        baseline: OutputRef,
        /// ReLUs that the start keeps.
        budget: u64,
        /// How.
        recipe: FinetuneRecipe,
    },
    /// Measure a net on the test set.
    Evaluate {
        /// The net.
        subject: OutputRef,
        /// ReLUs that it must have.
        budget: u64,
    },
}

impl Work {
    /// How it trains; none if it only measures.
    pub const fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Baseline { recipe } => Some(&recipe.schedule),
            Self::Replace { recipe, .. } => Some(&recipe.schedule),
            Self::Finetune { recipe, .. } => Some(&recipe.schedule),
            Self::Evaluate { .. } => None,
        }
    }
}

/// All that decides a task's result.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The trainer's mathematics: [`RESULT_VERSION`] when the sweep was submitted.
    pub version: u32,
    /// The network.
    pub net: NetSpec,
    /// The data.
    pub data: DataSpec,
    /// Decides initial weights, order and augmentation.
    pub seed: u64,
    /// The work.
    pub work: Work,
}

impl TaskSpec {
    /// The kind of work.
    pub const fn kind(&self) -> TaskKind {
        match self.work {
            Work::Baseline { .. } => TaskKind::Baseline,
            Work::Replace { .. } => TaskKind::Replace,
            Work::Finetune { .. } => TaskKind::Finetune,
            Work::Evaluate { .. } => TaskKind::Evaluate,
        }
    }

    /// The outputs of other tasks that this one reads, in a fixed order.
    pub fn inputs(&self) -> Vec<&OutputRef> {
        match &self.work {
            Work::Baseline { .. } => vec![],
            Work::Replace {
                baseline, start, ..
            } => iter::once(baseline).chain(start).collect(),
            Work::Finetune {
                start, baseline, ..
            } => vec![start, baseline],
            Work::Evaluate { subject, .. } => vec![subject],
        }
    }

    /// The budget that this task serves alone; none for what several budgets share.
    pub fn own_budget(&self) -> Option<u64> {
        match &self.work {
            Work::Baseline { .. } => None,
            Work::Replace { budgets, .. } => (budgets.len() == 1).then(|| budgets[0]),
            Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => Some(*budget),
        }
    }

    /// The names of the outputs that this task must commit before it may finish.
    pub fn outputs(&self) -> Vec<String> {
        match &self.work {
            Work::Baseline { .. } | Work::Finetune { .. } => vec![NET_OUTPUT.to_owned()],
            Work::Replace { budgets, .. } => budgets.iter().copied().map(budget_output).collect(),
            Work::Evaluate { .. } => vec![],
        }
    }

    /// Whether its outputs may be read one by one as they are committed, before the task is done: a
    /// descent leaves them long before its end, and the later ones change nothing about them.
    pub const fn hands_out_early(&self) -> bool {
        match &self.work {
            Work::Replace { budgets, .. } => budgets.len() > 1,
            Work::Baseline { .. } | Work::Finetune { .. } | Work::Evaluate { .. } => false,
        }
    }

    /// The canonical JSON text: fields in declaration order, no spaces, shortest floats. It
    /// travels to workers as it is, so that they can check it against the task's id.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("a spec has only string keys and finite numbers")
    }

    /// The task's identity: the digest of [`Self::canonical_json`].
    pub fn id(&self) -> TaskId {
        self.id_with(&mut Vec::new())
    }

    /// As [`Self::id`], with a buffer to use again: plans have up to a million tasks.
    pub(crate) fn id_with(&self, buffer: &mut Vec<u8>) -> TaskId {
        buffer.clear();
        buffer.extend_from_slice(b"autorep-task\n");
        serde_json::to_writer(&mut *buffer, self)
            .expect("a spec has only string keys and finite numbers");
        TaskId(Digest::of(buffer))
    }
}
