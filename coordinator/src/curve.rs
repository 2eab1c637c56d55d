//! How a sweep's front grew with the epochs that were spent on it.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::candidate::Candidate;
use autorep_core::front::{SweepFront, hypervolume};
use autorep_core::id::{CandidateId, SweepName, TaskId};
use autorep_core::observation::Observation;
use autorep_core::plan::Plan;
use autorep_core::task::{TaskKind, Work};

/// What a front had come to when so many epochs had been trained.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CurvePoint {
    /// Epochs of training up to here, baselines and searches included.
    pub epochs: u64,
    /// The front's hypervolume by then.
    pub hypervolume: f64,
}

/// How a sweep's front grew, and what single seeds say of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// A point for each evaluation.
    pub points: Vec<CurvePoint>,
    /// Epochs of training in all, those after the last evaluation included.
    pub epochs: u64,
    /// The hypervolume of the front's candidates by the measurements of each seed that has all of
    /// them, by rising seed.
    pub of_seeds: Vec<f64>,
}

impl Curve {
    /// Of a plan whose tasks have these results, or were stopped after so many epochs, as if one
    /// worker did them in the plan's order. Searches whose nets were read count all their epochs.
    pub(crate) fn of(
        sweep: &SweepName,
        plan: &Plan,
        results: &BTreeMap<TaskId, Box<Observation>>,
        stopped: &BTreeMap<TaskId, u32>,
    ) -> Self {
        let mut front = SweepFront::new(sweep, &plan.candidates);
        // A search that missed its last budget has no result, and yet its nets are points.
        let read: BTreeSet<TaskId> = (plan.tasks.iter())
            .filter(|task| results.contains_key(&task.id))
            .flat_map(|task| task.spec.inputs().into_iter().map(|input| input.task))
            .collect();
        let mut epochs = 0;
        let mut points = Vec::new();
        for task in &plan.tasks {
            let Some(observation) = results.get(&task.id) else {
                if let (Work::Replace { recipe, .. }, true) =
                    (&task.spec.work, read.contains(&task.id))
                {
                    epochs += u64::from(recipe.schedule.epochs);
                } else {
                    epochs += u64::from(stopped.get(&task.id).copied().unwrap_or(0));
                }
                continue;
            };
            if task.spec.kind() == TaskKind::Evaluate {
                front.observe(task.id, observation);
                let hypervolume = front.report().hypervolume;
                points.push(CurvePoint {
                    epochs,
                    hypervolume,
                });
            } else {
                epochs += u64::from(observation.epochs);
            }
        }
        Self {
            points,
            epochs,
            of_seeds: hypervolumes_of_seeds(&front, &plan.candidates, results),
        }
    }
}

/// The hypervolume of the candidates on a front by the results of each seed that has all of them, by
/// rising seed.
fn hypervolumes_of_seeds(
    front: &SweepFront,
    candidates: &[Candidate],
    results: &BTreeMap<TaskId, Box<Observation>>,
) -> Vec<f64> {
    let rows = front.report().rows.into_iter().filter(|row| row.on_front);
    let on_front: BTreeSet<CandidateId> = rows.map(|row| row.id).collect();
    let mut of_seeds: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for candidate in (candidates.iter()).filter(|it| on_front.contains(&it.id)) {
        for (seed, task) in &candidate.evaluations {
            if let Some((result, test)) = results.get(task).and_then(|it| Some((it, it.test?))) {
                let share = result.relu_count as f64 / result.relu_total.max(1) as f64;
                let points = of_seeds.entry(*seed).or_default();
                points.push((share, test.percent() / 100.0));
            }
        }
    }
    (of_seeds.values())
        .filter(|points| points.len() == on_front.len())
        .map(|points| hypervolume(points))
        .collect()
}

#[cfg(test)]
mod tests {
    use autorep_core::manifest;
    use autorep_core::observation::{Accuracy, LearningCurve};

    use super::*;

    fn observation(work: &Work, correct: u64) -> Box<Observation> {
        let (relu_count, epochs) = match work {
            Work::Baseline { recipe } => (24_000, recipe.schedule.epochs),
            Work::Replace {
                budgets, recipe, ..
            } => (budgets[0], recipe.schedule.epochs),
            Work::Finetune { budget, recipe, .. } => (*budget, recipe.schedule.epochs),
            Work::Evaluate { budget, .. } => (*budget, 0),
        };
        let test = matches!(work, Work::Evaluate { .. }).then_some(Accuracy {
            correct,
            images: 10_000,
        });
        Box::new(Observation {
            relu_count,
            relu_total: 24_000,
            validation: test,
            test,
            searched_count: None,
            selected_epoch: None,
            epochs,
            seconds: 1.0,
            skipped_images: 0,
            curve: LearningCurve::default(),
            searched: None,
        })
    }

    /// A plan with two ways to search at two budgets over three seeds. The second way was stopped
    /// after an epoch at the smaller budget, and is worse at the larger one, where the third seed
    /// of the first is missing.
    #[test]
    fn all_epochs_count_and_seeds_that_have_the_whole_front() {
        let text = "apiVersion: autorep/v1
kind: Sweep
metadata: { name: s }
spec:
  data: { name: fashion-mnist }
  net: { name: resnet9, width: 8 }
  budgets: [6K, 12K]
  seeds: 3
  baseline: { epochs: 2 }
  replace: { epochs: 3 }
  finetune: { epochs: 0 }
  grid: { replace.penalty: [1.0e-4, 2.0e-4] }
";
        let plan = Plan::expand(&manifest::parse(text).unwrap());
        let (mut results, mut stopped) = (BTreeMap::new(), BTreeMap::new());
        let mut is_second = BTreeMap::new();
        for task in &plan.tasks {
            let spec = &task.spec;
            let second = match &spec.work {
                Work::Replace { recipe, .. } => recipe.penalty > 1.5e-4,
                Work::Baseline { .. } => false,
                Work::Finetune { .. } | Work::Evaluate { .. } => {
                    spec.inputs().iter().any(|input| is_second[&input.task])
                }
            };
            is_second.insert(task.id, second);
            match (&spec.work, second) {
                (Work::Replace { budgets, .. }, true) if budgets[0] == 6000 => {
                    stopped.insert(task.id, 1);
                }
                (Work::Evaluate { budget: 6000, .. }, true) => {}
                (Work::Evaluate { budget: 12_000, .. }, false) if spec.seed == 2 => {}
                (Work::Evaluate { budget, .. }, second) => {
                    let correct = 8000 + budget / 100 + 10 * spec.seed - u64::from(second) * 500;
                    results.insert(task.id, observation(&spec.work, correct));
                }
                (work, _) => {
                    results.insert(task.id, observation(work, 0));
                }
            }
        }
        let curve = Curve::of(&"s".parse().unwrap(), &plan, &results, &stopped);
        // Of each seed the baseline, three whole searches and one that was stopped.
        assert_eq!(curve.epochs, 3 * (2 + 3 * 3 + 1));
        assert!(curve.points.last().unwrap().epochs <= curve.epochs);
        let of_seed = |seed: f64| {
            let at = |relus: f64| (8000.0 + relus / 100.0 + 10.0 * seed) / 10_000.0;
            hypervolume(&[(0.25, at(6000.0)), (0.5, at(12_000.0))])
        };
        assert_eq!(curve.of_seeds.len(), 2, "the third has no point at 12,000");
        for (found, expected) in curve.of_seeds.iter().zip([of_seed(0.0), of_seed(1.0)]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}
