//! What an event costs the ledger, by the number of its tasks.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use autorep_core::id::WorkerId;
use autorep_core::ledger::{Acquired, Decision, Grant, Ledger, Submission};
use autorep_core::offer::Offer;
use autorep_core::terms::Terms;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::sweep;
use crate::worker::{observation, output};

/// Sizes that are compared, the smallest first.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Events of one size that are timed.
const EVENTS: u64 = 60_000;

/// Workers among whom leases go round.
const WORKERS: usize = 64;

/// Nanoseconds per event at each size: the decision, its application and the record that is to be
/// written.
pub(crate) fn cost() -> Result<Value> {
    let relu_total = sweep::relu_total()?;
    let mut costs = Vec::new();
    for tasks in SIZES {
        costs.push((tasks, nanos(tasks, relu_total)?));
    }
    let (first, last) = (costs.first(), costs.last());
    let ratio = last.context("a size")?.1 / first.context("a size")?.1;
    let by_tasks: serde_json::Map<String, Value> = (costs.iter())
        .map(|(tasks, nanos)| (tasks.to_string(), json!(nanos.round())))
        .collect();
    Ok(json!({ "ratio": ratio, "event_ns_by_tasks": by_tasks }))
}

/// Works through a sweep of so many tasks, as often as it takes.
fn nanos(tasks: u64, relu_total: u64) -> Result<f64> {
    let plan = Arc::new(sweep::plan(&sweep::manifest("cost", tasks))?);
    let (mut time, mut events) = (Duration::ZERO, 0);
    while events < EVENTS {
        let mut run = Run::new(Arc::clone(&plan), relu_total)?;
        // The baselines come first, and one after the other; what follows is what a sweep is.
        run.work(5, 1)?;
        (run.time, run.events) = (Duration::ZERO, 0);
        run.work((EVENTS - events).min(tasks), WORKERS)?;
        time += run.time;
        events += run.events;
    }
    Ok(time.as_secs_f64() * 1e9 / events as f64)
}

struct Run {
    ledger: Ledger,
    relu_total: u64,
    now_ms: u64,
    time: Duration,
    events: u64,
}

impl Run {
    fn new(plan: Arc<autorep_core::plan::Plan>, relu_total: u64) -> Result<Self> {
        let mut ledger = Ledger::new(30_000);
        let submission = Submission {
            sweep: "cost".parse()?,
            plan,
            terms: Terms::default(),
        };
        for event in ledger.submit(submission)?.events {
            ledger.apply(&event);
        }
        Ok(Self {
            ledger,
            relu_total,
            now_ms: 1,
            time: Duration::ZERO,
            events: 0,
        })
    }

    /// Leases tasks to workers in turn, each of which finishes the one before first, until
    /// nothing can be leased or so many events have been.
    fn work(&mut self, events: u64, workers: usize) -> Result<()> {
        let names: Vec<WorkerId> = (0..workers).map(|at| WorkerId(format!("w{at}"))).collect();
        let mut held: Vec<Option<Grant>> = vec![None; workers];
        while self.events < events || held.iter().any(Option::is_some) {
            let mut idle = true;
            for (name, held) in names.iter().zip(&mut held) {
                if let Some(grant) = held.take() {
                    self.finish(&grant)?;
                    idle = false;
                } else if self.events < events {
                    self.now_ms += 1;
                    let now_ms = self.now_ms;
                    let outcome =
                        self.step(|ledger| Ok(ledger.acquire(name, &Offer::default(), now_ms)))?;
                    if let Acquired::Granted(grant) = outcome {
                        *held = Some(*grant);
                        idle = false;
                    }
                }
            }
            if idle {
                break;
            }
        }
        Ok(())
    }

    fn finish(&mut self, grant: &Grant) -> Result<()> {
        let task = self.ledger.task(grant.claim.task);
        let spec = task.context("a task")?.spec().clone();
        for name in spec.outputs() {
            let checkpoint = output(grant.claim, name);
            self.step(|ledger| Ok(ledger.commit(grant.claim, checkpoint)?))?;
        }
        let result = observation(&spec, self.relu_total);
        self.step(|ledger| Ok(ledger.finish(grant.claim, result)?))?;
        Ok(())
    }

    /// One decision with all that follows of it.
    fn step<T>(&mut self, decide: impl FnOnce(&Ledger) -> Result<Decision<T>>) -> Result<T> {
        let began = processor_time();
        let decision = decide(&self.ledger)?;
        for event in &decision.events {
            let changed = self.ledger.recorded_by(event);
            self.ledger.apply(event);
            for task in changed {
                black_box(self.ledger.record(task));
            }
        }
        self.time += processor_time().saturating_sub(began);
        self.events += 1;
        Ok(decision.outcome)
    }
}

/// What this thread has had of a processor: what else runs on the machine does not count.
pub(crate) fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}
