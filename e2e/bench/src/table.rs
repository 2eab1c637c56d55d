//! Learning curves of a full grid, written down: what `autorep-bench table` replays instead of training.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use autorep_coordinator::read_results;
use autorep_core::candidate::PointKind;
use autorep_core::front::SweepFront;
use autorep_core::id::{SweepName, TaskId};
use autorep_core::observation::Observation;
use autorep_core::plan::Plan;
use autorep_core::task::{TaskKind, TaskSpec, Work};
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What every candidate of a sweep measured. Tasks are told by what people call them and not by
/// their ids, which other mathematics would change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    sweep: SweepName,
    rows: Vec<Row>,
}

/// One candidate with one seed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Row {
    kind: PointKind,
    candidate: String,
    budget: u64,
    relu_total: u64,
    seed: u64,
    /// What its tasks measured, each with its learning curve; of a replaced candidate without its
    /// baseline, which has a row of its own.
    stages: BTreeMap<TaskKind, Observation>,
}

/// What each task of a plan measures.
pub(crate) type Traces = BTreeMap<TaskId, Observation>;

/// Writes the table of a finished sweep that a store has.
pub(crate) async fn tabulate(store: &Path, sweep: &str, out: &Path) -> Result<Value> {
    let folder = LocalFileSystem::new_with_prefix(store)?;
    let sweep: SweepName = sweep.parse()?;
    let found = read_results(Arc::new(folder), &sweep).await?;
    let table = Table::of(sweep, &found.plan, &found.results)?;
    table.write(out)?;
    Ok(json!({
        "rows": table.rows.len(),
        "epochs": epochs(&found.results),
        "hypervolume": hypervolume(&table.sweep, &found.plan, &found.results),
    }))
}

/// Epochs that the tasks train, all together.
pub(crate) fn epochs(traces: &Traces) -> u64 {
    let epochs = traces.values().map(|it| u64::from(it.curve.reached()));
    epochs.sum()
}

/// The hypervolume of the front of all candidates.
pub(crate) fn hypervolume(sweep: &SweepName, plan: &Plan, traces: &Traces) -> f64 {
    let mut front = SweepFront::new(sweep, &plan.candidates);
    for (task, observation) in traces {
        front.observe(*task, observation);
    }
    front.report().hypervolume
}

impl Table {
    /// The table of a plan of which every task has a result.
    pub(crate) fn of(sweep: SweepName, plan: &Plan, results: &Traces) -> Result<Self> {
        let mut rows = Vec::new();
        for (candidate, seed, evaluation) in measured(plan) {
            let mut stages = BTreeMap::new();
            for (kind, task) in chain(plan, evaluation)? {
                let found = results.get(&task).with_context(|| {
                    format!("expected a sweep whose tasks are all done, found no result of {task}")
                })?;
                ensure!(
                    kind == TaskKind::Evaluate || !found.curve.is_empty(),
                    "expected the learning curve of {task}, found none: it was trained by a release without them"
                );
                stages.insert(kind, found.clone());
            }
            rows.push(Row {
                kind: candidate.kind,
                candidate: candidate.label.clone(),
                budget: candidate.budget,
                relu_total: candidate.relu_total,
                seed,
                stages,
            });
        }
        Ok(Self { sweep, rows })
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes a row a line, so that a difference between two tables can be read.
    fn write(&self, path: &Path) -> Result<()> {
        let mut text = Vec::new();
        write!(text, "{{\"sweep\":{},\"rows\":[", json!(self.sweep))?;
        for (at, row) in self.rows.iter().enumerate() {
            text.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
            serde_json::to_writer(&mut text, row)?;
        }
        text.extend_from_slice(b"\n]}\n");
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// What each task of a plan measures, by the rows of its candidates.
    pub(crate) fn traces(&self, plan: &Plan) -> Result<Traces> {
        let row_key = |row: &Row| (row.kind, row.candidate.clone(), row.budget, row.seed);
        let rows: BTreeMap<_, &Row> = (self.rows.iter()).map(|row| (row_key(row), row)).collect();
        let mut traces = Traces::new();
        for (candidate, seed, evaluation) in measured(plan) {
            let label = candidate.label.clone();
            let key = (candidate.kind, label, candidate.budget, seed);
            let missing = |what: &str| {
                anyhow!(
                    "expected {what} of {} at {} ReLUs with seed {seed} in the table, found none: write it anew with `autorep-bench tabulate`",
                    candidate.label,
                    candidate.budget,
                )
            };
            let row = rows.get(&key).ok_or_else(|| missing("a row"))?;
            for (kind, task) in chain(plan, evaluation)? {
                let found = row.stages.get(&kind);
                let found = found.ok_or_else(|| missing(kind.name()))?;
                traces.insert(task, found.clone());
            }
        }
        Ok(traces)
    }
}

/// Every candidate of a plan with each of its seeds and its evaluation.
fn measured(
    plan: &Plan,
) -> impl Iterator<Item = (&autorep_core::candidate::Candidate, u64, TaskId)> {
    (plan.candidates.iter()).flat_map(|candidate| {
        let evaluations = candidate.evaluations.iter();
        evaluations.map(move |&(seed, task)| (candidate, seed, task))
    })
}

/// An evaluation and the tasks that its net comes from, back to its search or baseline.
fn chain(plan: &Plan, evaluation: TaskId) -> Result<Vec<(TaskKind, TaskId)>> {
    let spec = |id: TaskId| -> Result<&TaskSpec> {
        let task = plan.tasks.iter().find(|task| task.id == id);
        let task = task.with_context(|| format!("expected the task {id} in the plan"))?;
        Ok(&task.spec)
    };
    let mut chain = Vec::new();
    let mut next = Some(evaluation);
    while let Some(id) = next {
        let spec = spec(id)?;
        chain.push((spec.kind(), id));
        next = match &spec.work {
            Work::Evaluate { subject, .. } => Some(subject.task),
            Work::Finetune { start, .. } => Some(start.task),
            Work::Replace { .. } | Work::Baseline { .. } => None,
        };
    }
    Ok(chain)
}
