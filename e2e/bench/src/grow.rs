//! What it costs to decide how a sweep grows, with many candidates.
//!
//! A decision is everything from a report to the next lease: the ledger takes note of the report,
//! foresees how the sweep grows, lets it, and leases what that allows. Timed on the ledger itself,
//! by what the thread has of a processor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use autorep_core::digest::Digest;
use autorep_core::id::{TaskId, WorkerId};
use autorep_core::ledger::{Acquired, Decision, Grant, Ledger, Submission};
use autorep_core::observation::{Accuracy, EpochPoint, Interim, LearningCurve};
use autorep_core::offer::Offer;
use autorep_core::plan::Plan;
use autorep_core::terms::Terms;
use serde_json::{Value, json};

use crate::ledger::processor_time;
use crate::worker::{observation, output};

/// Decisions that are timed at most; the median counts.
const DECISIONS: usize = 300;

/// Decisions that are timed at least.
const ENOUGH: usize = 50;

/// Epochs of a search.
const EPOCHS: u32 = 4;

/// Images of a test set: so many that no two accuracies need to be equal.
const IMAGES: u64 = 1 << 20;

/// ReLUs of the full network.
const RELU_TOTAL: u64 = 24_000;

/// Milliseconds for a decision among 10,000 candidates.
pub(crate) fn cost() -> Result<Value> {
    // A search that never comes to the first rung: the others go on one by one.
    let halving = Growing::new(
        "budgets: [1K]",
        "seeds: [0]\n  halving: { grace: 1 }",
        100,
        0,
    )?;
    let seeds = "seeds: { min: 2, max: 3, until: 0.9999 }";
    let seeds = Growing::new("budgets: [1K]", seeds, 100, 25)?;
    let budgets =
        "budgets: { from: 240, to: 50%, points: 100, refine: { first: 4, until: 1.0e-9 } }";
    let budgets = Growing::new(budgets, "seeds: [0]", 1, 0)?;
    Ok(json!({
        "candidates": [halving.size, seeds.size, budgets.size],
        "halving_ms": halving.median_ms(true)?,
        "seeds_ms": seeds.median_ms(false)?,
        "budgets_ms": budgets.median_ms(false)?,
    }))
}

/// A manifest with a hundred penalties and so many learning rates.
fn manifest(budgets: &str, more: &str, rates: u32) -> String {
    let axis = |from: f64, count: u32| {
        let mut values = String::new();
        for step in 0..count {
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
  {budgets}
  {more}
  baseline: {{ epochs: 1 }}
  replace: {{ epochs: {EPOCHS} }}
  finetune: {{ epochs: 0 }}
  grid:
    replace.penalty: [{}]
    replace.lr: [{}]
",
        axis(1e-6, 100),
        axis(1e-5, rates),
    )
}

/// A number below 65,536 that looks drawn.
fn chance(of: u64, salt: u64) -> u64 {
    let digest = Digest::of(&[of, salt].map(u64::to_le_bytes).concat());
    u64::from(digest.as_bytes()[0]) * 256 + u64::from(digest.as_bytes()[1])
}

/// A sweep at work.
struct Growing {
    ledger: Ledger,
    /// How many candidates the sweep has.
    size: usize,
    /// The candidate that each evaluation measures.
    candidates: BTreeMap<TaskId, u64>,
    /// By how many percentage points candidates differ at most.
    spread: u64,
    now_ms: u64,
}

impl Growing {
    /// Candidates differ by up to `spread` points, seeds by up to 1.
    fn new(budgets: &str, more: &str, rates: u32, spread: u64) -> Result<Self> {
        let text = manifest(budgets, more, rates);
        let manifest =
            autorep_core::manifest::parse(&text).map_err(|found| anyhow::anyhow!("{found:?}"))?;
        let plan = Arc::new(Plan::expand(&manifest));
        let mut ledger = Ledger::new(u64::MAX / 2);
        let submission = Submission {
            sweep: "grown".parse()?,
            plan: Arc::clone(&plan),
            terms: Terms::default(),
        };
        for event in ledger.submit(submission)?.events {
            ledger.apply(&event);
        }
        let measured = (0..).zip(&plan.candidates);
        let measured =
            measured.flat_map(|(at, it)| it.evaluations.iter().map(move |(_, task)| (*task, at)));
        Ok(Self {
            ledger,
            candidates: measured.collect(),
            spread,
            size: plan.candidates.len(),
            now_ms: 1,
        })
    }

    /// The median of what decisions cost with one worker, beside one that may have begun a search and
    /// is not heard of again.
    fn median_ms(mut self, one_never_comes: bool) -> Result<f64> {
        let mut times: Vec<Duration> = Vec::with_capacity(DECISIONS);
        let mut absent = !one_never_comes;
        let (mut leased, _) = self.lease("worker");
        while let Some(grant) = leased.take().filter(|_| times.len() < DECISIONS) {
            if !absent && grant.stop_after.is_some() {
                absent = true;
                (leased, _) = self.lease("another");
                continue;
            }
            let report = self.report(&grant)?;
            let began = processor_time();
            self.apply(report);
            let steps;
            (leased, steps) = self.lease("worker");
            let took = processor_time().saturating_sub(began);
            if steps > 0 && leased.is_some() {
                times.push(took);
            }
        }
        let found = times.len();
        ensure!(
            found >= ENOUGH,
            "expected {ENOUGH} decisions, found {found}"
        );
        times.sort_unstable();
        Ok(times[found / 2].as_secs_f64() * 1e3)
    }

    /// The next task, if there is one, and the steps that the sweep took for it.
    fn lease(&mut self, worker: &str) -> (Option<Grant>, usize) {
        self.now_ms += 1;
        let offer = Offer::default();
        let mut steps = 0;
        while let Some(grown) = self.ledger.grow(&offer, self.now_ms) {
            steps += 1;
            self.apply(grown);
        }
        let worker = WorkerId(worker.to_owned());
        let acquired = self.ledger.acquire(&worker, &offer, self.now_ms);
        match self.apply(acquired) {
            Acquired::Granted(grant) => (Some(*grant), steps),
            Acquired::Kept | Acquired::Nothing { .. } => (None, steps),
        }
    }

    /// What comes of a task's lease, with its outputs committed.
    fn report(&mut self, grant: &Grant) -> Result<Decision<()>> {
        let task = self.ledger.task(grant.claim.task).context("a task")?;
        let spec = task.spec().clone();
        if let Some(epochs) = grant.stop_after {
            let point = EpochPoint {
                relu_count: 1000 + chance(self.now_ms, 0),
                correct: IMAGES / 2 + chance(self.now_ms, 1),
            };
            let curve = LearningCurve {
                images: IMAGES,
                epochs: vec![point; epochs as usize],
            };
            let interim = Interim {
                curve,
                seconds: 1.0,
            };
            let decision = self.ledger.stop(grant.claim, interim)?;
            return Ok(only_events(decision));
        }
        for name in spec.outputs() {
            let committed = (self.ledger).commit(grant.claim, output(grant.claim, name))?;
            self.apply(committed);
        }
        let mut found = observation(&spec, RELU_TOTAL);
        if let Some(&candidate) = self.candidates.get(&spec.id()) {
            // More ReLUs help, by the square root.
            let drawn = |of, salt, points| IMAGES * points * chance(of, salt) / (100 << 16);
            let correct = IMAGES / 2
                + IMAGES * found.relu_count.isqrt() / 400
                + drawn(candidate, 2, self.spread)
                + drawn(spec.seed ^ candidate, 1, 1);
            found.test = Some(Accuracy {
                correct,
                images: IMAGES,
            });
        }
        let decision = self.ledger.finish(grant.claim, found)?;
        Ok(only_events(decision))
    }

    fn apply<T>(&mut self, decision: Decision<T>) -> T {
        for event in &decision.events {
            self.ledger.apply(event);
        }
        decision.outcome
    }
}

fn only_events<T>(decision: Decision<T>) -> Decision<()> {
    Decision {
        events: decision.events,
        outcome: (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_something_to_decide() {
        let found = cost().unwrap();
        for candidates in found["candidates"].as_array().unwrap() {
            // A baseline is one, too.
            assert!(candidates.as_u64().unwrap() >= 10_000, "{found}");
        }
        for way in ["halving_ms", "seeds_ms", "budgets_ms"] {
            assert!(found[way].as_f64().unwrap() > 0.0, "{found}");
        }
    }
}
