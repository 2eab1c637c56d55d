//! Expands a manifest into a DAG of tasks in which equal work appears once.

use crate::candidate::Candidate;
use crate::id::TaskId;
use crate::task::TaskSpec;

/// One task of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedTask {
    /// The digest of the spec.
    pub id: TaskId,
    /// All that decides its result.
    pub spec: TaskSpec,
}

/// The tasks of a sweep in an order in which every task follows those it reads from, and the
/// candidates that they measure.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// The tasks, each once, parents first.
    pub tasks: Vec<PlannedTask>,
    /// The candidates, baselines first, then by label and falling budget.
    pub candidates: Vec<Candidate>,
}
