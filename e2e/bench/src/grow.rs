//! What it costs to decide how a sweep grows, by the number of its candidates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use autorep_core::digest::Digest;
use autorep_core::growth::{ALL_EPOCHS, Standing, Standings};
use autorep_core::id::TaskId;
use autorep_core::observation::{Accuracy, EpochPoint, LearningCurve, Observation};
use autorep_core::plan::Plan;
use autorep_core::task::Work;
use serde_json::{Value, json};

/// Decisions that are timed; the median counts.
const DECISIONS: usize = 25;

/// A plan whose allowed tasks have all been done.
struct Grown {
    plan: Plan,
    allowed: Vec<u32>,
    curves: Vec<LearningCurve>,
    results: Vec<Option<Observation>>,
}

impl Standings for Grown {
    fn of(&self, place: u32) -> Standing<'_> {
        let at = place as usize;
        Standing {
            allowed: self.allowed[at],
            curve: &self.curves[at],
            result: self.results[at].as_ref(),
            lost: false,
        }
    }
}

/// Milliseconds for a decision among 10,000 searches, and among 10,000 candidates.
pub(crate) fn cost() -> Result<Value> {
    let halving = Grown::new("seeds: [0]", "halving: { grace: 1 }")?;
    let seeds = Grown::new("seeds: { min: 2, max: 3, until: 0.9999 }", "priority: 0")?;
    Ok(json!({
        "searches": halving.plan.growth.heats.first().context("a heat")?.entrants.len(),
        "halving_ms": halving.median_ms()?,
        "candidates": seeds.plan.candidates.len(),
        "seeds_ms": seeds.median_ms()?,
    }))
}

/// A manifest with 10,000 ways to search for one budget.
fn manifest(seeds: &str, growth: &str) -> String {
    let axis = |from: f64| {
        let mut values = String::new();
        for step in 0..100 {
            let _ = write!(values, "{}, ", from * f64::from(100 + step));
        }
        values
    };
    format!(
        "apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: grown }}
spec:
  data: {{ name: fashion-mnist }}
  net: {{ name: resnet9, width: 8 }}
  budgets: [1K]
  {seeds}
  {growth}
  baseline: {{ epochs: 1 }}
  replace: {{ epochs: 4 }}
  finetune: {{ epochs: 0 }}
  grid:
    replace.penalty: [{}]
    replace.lr: [{}]
",
        axis(1e-6),
        axis(1e-5),
    )
}

/// A number below 65,536 that looks drawn.
fn chance(place: usize, salt: u64) -> u64 {
    let digest = Digest::of(&[place as u64, salt].map(u64::to_le_bytes).concat());
    u64::from(digest.as_bytes()[0]) * 256 + u64::from(digest.as_bytes()[1])
}

impl Grown {
    fn new(seeds: &str, growth: &str) -> Result<Self> {
        let text = manifest(seeds, growth);
        let manifest =
            autorep_core::manifest::parse(&text).map_err(|found| anyhow::anyhow!("{found:?}"))?;
        let plan = Plan::expand(&manifest);
        let mut allowed = vec![ALL_EPOCHS; plan.tasks.len()];
        for (place, epochs) in plan.growth.allowances(&[]) {
            allowed[place as usize] = epochs;
        }
        let curve = |(place, &epochs): (usize, &u32)| LearningCurve {
            images: 1 << 20,
            epochs: (0..epochs.min(4))
                .map(|_| EpochPoint {
                    relu_count: 1000 + chance(place, 0),
                    correct: 700_000 + chance(place, 1),
                })
                .collect(),
        };
        let curves = allowed.iter().enumerate().map(curve).collect();
        let of: BTreeMap<TaskId, usize> = (plan.candidates.iter().enumerate())
            .flat_map(|(at, it)| it.evaluations.iter().map(move |(_, task)| (*task, at)))
            .collect();
        let result = |(place, task): (usize, &autorep_core::plan::PlannedTask)| {
            let Work::Evaluate { budget, .. } = task.spec.work else {
                return None;
            };
            // Candidates differ by up to 25 points, seeds by up to 1.
            let measured = Accuracy {
                correct: 700_000 + 4 * chance(of[&task.id], 2) + chance(place, 1) / 6,
                images: 1 << 20,
            };
            (allowed[place] > 0).then(|| Observation {
                relu_count: budget,
                relu_total: 24_000,
                validation: Some(measured),
                test: Some(measured),
                searched_count: None,
                selected_epoch: None,
                epochs: 0,
                seconds: 1.0,
                skipped_images: 0,
                curve: LearningCurve::default(),
                searched: None,
            })
        };
        let results = plan.tasks.iter().enumerate().map(result).collect();
        Ok(Self {
            plan,
            allowed,
            curves,
            results,
        })
    }

    fn median_ms(&self) -> Result<f64> {
        let mut times: Vec<Duration> = Vec::with_capacity(DECISIONS);
        for _ in 0..DECISIONS {
            let began = Instant::now();
            let steps = black_box(self.plan.growth.next(&self.plan.candidates, self));
            times.push(began.elapsed());
            anyhow::ensure!(!steps.is_empty(), "expected a step, found none");
        }
        times.sort_unstable();
        Ok(times[DECISIONS / 2].as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_something_to_decide() {
        let found = cost().unwrap();
        assert_eq!(found["searches"], 10_000);
        assert!(found["seeds_ms"].as_f64().unwrap() > 0.0, "{found}");
    }
}
