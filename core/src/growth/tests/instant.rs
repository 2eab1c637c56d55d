//! A plan whose tasks are done as soon as they are allowed.

use std::collections::BTreeMap;

use super::super::*;
use crate::candidate::PointKind;
use crate::manifest;
use crate::observation::Accuracy;
use crate::plan::Plan;
use crate::task::Work;

/// A plan whose tasks are done as soon as they are allowed.
pub(super) struct World {
    pub(super) plan: Plan,
    allowed: BTreeMap<u32, u32>,
    results: BTreeMap<u32, Observation>,
    pub(super) lost: Vec<u32>,
}

static NO_CURVE: LearningCurve = LearningCurve {
    images: 0,
    epochs: Vec::new(),
};

impl Standings for World {
    fn of(&self, place: u32) -> Standing<'_> {
        Standing {
            allowed: self.allowed.get(&place).copied().unwrap_or(ALL_EPOCHS),
            curve: &NO_CURVE,
            result: self.results.get(&place),
            lost: self.lost.contains(&place),
        }
    }
}

/// What an evaluation of a net with so many ReLUs has measured.
pub(super) fn evaluated(relu_count: u64, test: Accuracy) -> Observation {
    Observation {
        relu_count,
        relu_total: 24_000,
        validation: None,
        test: Some(test),
        searched_count: None,
        selected_epoch: None,
        epochs: 1,
        seconds: 1.0,
        skipped_images: 0,
        curve: LearningCurve::default(),
        searched: None,
    }
}

impl World {
    /// Three budgets, and these seeds.
    pub(super) fn seeds(seeds: &str) -> Self {
        Self::new("[1K, 2K, 4K]", &format!("seeds: {seeds}"))
    }

    /// These budgets, with these lines more in the manifest's spec.
    pub(super) fn new(budgets: &str, more: &str) -> Self {
        let text = format!(
            "apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: s }}
spec:
  data: {{ name: fashion-mnist }}
  net: {{ name: resnet9, width: 8 }}
  budgets: {budgets}
  {more}
  baseline: {{ epochs: 1 }}
  replace: {{ epochs: 1 }}
  finetune: {{ epochs: 1 }}
"
        );
        let plan = Plan::expand(&manifest::parse(&text).unwrap());
        Self {
            allowed: plan.growth.allowances(&[]),
            plan,
            results: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// Does all that is allowed; an evaluation finds what `accuracy` says of its budget and seed, in
    /// correct images of 10,000.
    pub(super) fn work(&mut self, accuracy: &impl Fn(u64, u64) -> u64) {
        for (place, task) in (0..).zip(&self.plan.tasks) {
            let Work::Evaluate { budget, .. } = task.spec.work else {
                continue;
            };
            if self.of(place).allowed == 0 {
                continue;
            }
            let correct = accuracy(budget, task.spec.seed);
            let test = Accuracy {
                correct,
                images: 10_000,
            };
            self.results.insert(place, evaluated(budget, test));
        }
    }

    pub(super) fn next(&self) -> Vec<Step> {
        let Plan {
            growth, candidates, ..
        } = &self.plan;
        growth.next(&Outlook::over(growth, candidates, self))
    }

    /// Does as if a task had not been done yet.
    pub(super) fn forget(&mut self, place: u32) {
        self.results.remove(&place);
    }

    pub(super) fn take(&mut self, steps: &[Step]) {
        for &step in steps {
            for (place, epochs) in self.plan.growth.allowed_by(step) {
                self.allowed.insert(place, epochs);
            }
        }
    }

    /// Seeds of each budget at the end, rising budgets.
    pub(super) fn grow(&mut self, accuracy: &impl Fn(u64, u64) -> u64) -> Vec<usize> {
        loop {
            self.work(accuracy);
            let steps = self.next();
            if steps.is_empty() {
                break;
            }
            assert_eq!(steps.len(), 1);
            self.take(&steps);
        }
        let replaced = (self.plan.candidates.iter()).filter(|it| it.kind == PointKind::Replaced);
        let places: BTreeMap<_, u32> = (self.plan.tasks.iter().map(|it| it.id)).zip(0..).collect();
        let done = |task| self.results.contains_key(&places[task]);
        let mut seeds: Vec<(u64, usize)> = replaced
            .map(|it| {
                (
                    it.budget,
                    it.evaluations.iter().filter(|(_, task)| done(task)).count(),
                )
            })
            .collect();
        seeds.sort_unstable();
        seeds.into_iter().map(|(_, count)| count).collect()
    }
}
