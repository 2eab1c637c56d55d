//! Which candidates get more seeds, and when that ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use crate::candidate::PointKind;
use crate::manifest;
use crate::observation::Accuracy;
use crate::plan::Plan;
use crate::task::Work;

/// A plan whose tasks are done as soon as they are allowed.
struct World {
    plan: Plan,
    allowed: BTreeMap<u32, u32>,
    results: BTreeMap<u32, Observation>,
    lost: Vec<u32>,
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

impl World {
    fn new(seeds: &str) -> Self {
        let text = format!(
            "apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: s }}
spec:
  data: {{ name: fashion-mnist }}
  net: {{ name: resnet9, width: 8 }}
  budgets: [1K, 2K, 4K]
  seeds: {seeds}
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
    fn work(&mut self, accuracy: &impl Fn(u64, u64) -> u64) {
        for (place, task) in (0..).zip(&self.plan.tasks) {
            let Work::Evaluate { budget, .. } = task.spec.work else {
                continue;
            };
            if self.of(place).allowed == 0 {
                continue;
            }
            let correct = accuracy(budget, task.spec.seed);
            let measured = Accuracy {
                correct,
                images: 10_000,
            };
            let observation = Observation {
                relu_count: budget,
                relu_total: 24_000,
                validation: None,
                test: Some(measured),
                searched_count: None,
                selected_epoch: None,
                epochs: 1,
                seconds: 1.0,
                skipped_images: 0,
                curve: LearningCurve::default(),
                searched: None,
            };
            self.results.insert(place, observation);
        }
    }

    fn next(&self) -> Vec<Step> {
        self.plan.growth.next(&self.plan.candidates, self)
    }

    fn take(&mut self, steps: &[Step]) {
        for &step in steps {
            for (place, epochs) in self.plan.growth.allowed_by(step) {
                self.allowed.insert(place, epochs);
            }
        }
    }

    /// Seeds of each budget at the end, rising budgets.
    fn grow(&mut self, accuracy: &impl Fn(u64, u64) -> u64) -> Vec<usize> {
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

#[test]
fn only_doubtful_points_get_more_seeds() {
    // Nothing has fewer ReLUs than 1K: it is on the front. 2K is as good; 4K is much worse.
    let accuracy = |budget: u64, seed: u64| match budget {
        1000 => 8000 + 10 * (seed % 2),
        2000 => 8001 + 10 * ((seed + 1) % 2),
        _ => 7000 + 10 * (seed % 2),
    };
    let mut world = World::new("{ min: 2, max: 5 }");
    assert_eq!(world.grow(&accuracy), [2, 5, 2]);
    // Clear from the beginning.
    let accuracy = |budget: u64, seed: u64| budget + 10 * (seed % 2);
    assert_eq!(World::new("{ min: 2, max: 5 }").grow(&accuracy), [2, 2, 2]);
}

#[test]
fn a_seed_comes_with_all_that_it_needs_and_nothing_else() {
    let mut world = World::new("{ min: 1, max: 2 }");
    let held: Vec<_> = (0..)
        .zip(&world.plan.tasks)
        .filter(|(_, it)| it.spec.seed == 1)
        .collect();
    assert!(held.iter().all(|(place, _)| world.of(*place).allowed == 0));
    world.work(&|_, _| 8000);
    let steps = world.next();
    world.take(&steps);
    let kinds: Vec<_> = (0..)
        .zip(&world.plan.tasks)
        .filter(|(place, it)| it.spec.seed == 1 && world.of(*place).allowed == ALL_EPOCHS)
        .map(|(_, it)| it.spec.kind().name())
        .collect();
    assert_eq!(
        kinds,
        ["baseline", "evaluate", "replace", "finetune", "evaluate"]
    );
    // Its evaluation is under way: the next worker gets another candidate's.
    let Some(Step::Seed { candidate, .. }) = steps.first().copied() else {
        panic!("{steps:?}");
    };
    let more = world.next();
    assert!(matches!(more[..], [Step::Seed { candidate: other, .. }] if other != candidate));
}

proptest! {
    /// No candidate gets more seeds than it may, or fewer than it must, and it ends.
    #[test]
    fn seeds_stay_within_their_limits(noise in proptest::collection::vec(0_u64..200, 24), max in 2_usize..6) {
        let accuracy = |budget: u64, seed: u64| {
            let at = usize::try_from(budget / 1000 * 6 + seed).unwrap();
            8000 + noise[at % noise.len()]
        };
        let mut world = World::new(&format!("{{ min: 2, max: {max} }}"));
        let seeds = world.grow(&accuracy);
        prop_assert!(seeds.iter().all(|&it| (2..=max).contains(&it)));
    }
}
