//! Which searches are behind a sweep's candidates, and what they say of them.

use crate::candidate::Candidate;
use crate::id::TaskId;
use crate::observation::Observation;
use crate::plan::{Plan, PlannedTask};
use crate::searched::{Convergence, Effect};
use crate::task::Work;

/// What a search says of one budget and seed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Way {
    pub(super) convergence: Option<Convergence>,
    /// Percentage points of validation accuracy.
    pub(super) cost: Option<f64>,
}

impl Way {
    /// What the result of a search says of `budget`.
    pub(super) fn of(observation: &Observation, budget: u64) -> Self {
        let searched = observation.searched.as_ref();
        let projection = searched.and_then(|searched| searched.projection(budget));
        Self {
            convergence: observation.convergence(budget),
            cost: projection.and_then(|it| it.effect).map(Effect::cost),
        }
    }
}

/// Of each candidate, in order, the `replace` task behind each of its seeds.
pub(super) fn searches(plan: &Plan) -> Vec<(u32, u64, TaskId)> {
    let mut places: Vec<(TaskId, u32)> = plan.tasks.iter().map(|task| task.id).zip(0..).collect();
    places.sort_unstable();
    let task = |id: TaskId| {
        let at = places.binary_search_by_key(&id, |place| place.0).ok()?;
        plan.tasks.get(places[at].1 as usize)
    };
    let of = |(number, candidate): (u32, &Candidate)| {
        let evaluations = candidate.evaluations.iter();
        let found = evaluations.filter_map(|&(seed, evaluation)| {
            let search = search_behind(evaluation, &task)?;
            Some((number, seed, search))
        });
        found.collect::<Vec<_>>()
    };
    (0..).zip(&plan.candidates).flat_map(of).collect()
}

/// The search whose net an evaluation measures, as it is or trained on.
fn search_behind<'a>(
    evaluation: TaskId,
    task: &impl Fn(TaskId) -> Option<&'a PlannedTask>,
) -> Option<TaskId> {
    let mut at = task(evaluation)?;
    loop {
        at = match &at.spec.work {
            Work::Evaluate { subject, .. } => task(subject.task)?,
            Work::Finetune { start, .. } => task(start.task)?,
            Work::Replace { .. } => return Some(at.id),
            Work::Baseline { .. } => return None,
        };
    }
}
