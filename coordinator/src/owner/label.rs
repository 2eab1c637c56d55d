//! What tells a task from others, for people.

use std::collections::BTreeSet;

use autorep_core::candidate::{PLAIN_LABEL, TRAINED_ON_LABEL};
use autorep_core::id::SweepName;
use autorep_core::ledger::Task;
use autorep_core::task::{TaskKind, Work};

use super::Owner;
use crate::state::StateStore;

impl<S: StateStore> Owner<S> {
    /// Seed, budget and grid point of a task, as far as it has one of them: `seed 0, budget 1500,
    /// replace.penalty=0.0001`.
    pub(super) fn label(&self, sweep: &SweepName, task: &Task) -> String {
        let spec = task.spec();
        let mut parts = vec![format!("seed {}", spec.seed)];
        match &spec.work {
            Work::Baseline { .. } => {}
            Work::Replace { budgets, .. } => {
                let budgets: Vec<String> = budgets.iter().map(ToString::to_string).collect();
                parts.push(format!("budget {}", budgets.join(", ")));
            }
            Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => {
                parts.push(format!("budget {budget}"));
            }
        }
        parts.extend(self.grid_point(sweep, task));
        parts.join(", ")
    }

    /// The grid point of a task, if it has just one and the sweep has several. A baseline may serve
    /// them all.
    fn grid_point(&self, sweep: &SweepName, task: &Task) -> Option<String> {
        let live = self.fronts.get(sweep)?;
        let plan = self.plan(sweep)?;
        let measured_by = match task.spec().kind() {
            TaskKind::Baseline => Vec::new(),
            TaskKind::Evaluate => vec![task.id()],
            TaskKind::Replace | TaskKind::Finetune => {
                let readers = self.ledger.descendants(task.id());
                readers.into_iter().map(Task::id).collect()
            }
        };
        let labels: BTreeSet<&str> = (measured_by.into_iter())
            .filter_map(|id| live.candidate(id))
            .filter_map(|number| plan.candidates.get(number as usize))
            .map(|candidate| candidate.label.as_str())
            .collect();
        // What a point is trained on from has that point's label.
        let is_trained_on = |label: &&str| label.contains(TRAINED_ON_LABEL);
        let all_are = labels.iter().all(is_trained_on);
        let mut labels = (labels.into_iter()).filter(|label| all_are || !is_trained_on(label));
        match (labels.next(), labels.next()) {
            (Some(label), None) if label != PLAIN_LABEL => Some(label.to_owned()),
            _ => None,
        }
    }
}
