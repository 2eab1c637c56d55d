//! Fronts that are kept up to date, and told to those who watch.

use std::sync::Arc;

use autorep_core::candidate::Candidate;
use autorep_core::front::{FrontReport, SweepFront};
use autorep_core::id::{TaskId, WorkerId};
use autorep_core::observation::Observation;
use tokio::sync::watch;

use super::Owner;

/// The most results of a sweep that are told as its latest.
pub(super) const FINISHED_KEPT: usize = 100;

/// A result that came in since the start.
pub(super) struct Finished {
    pub(super) task: TaskId,
    pub(super) worker: WorkerId,
}

/// A sweep's front with those who watch it.
pub(super) struct LiveFront {
    front: SweepFront,
    watchers: watch::Sender<Arc<FrontReport>>,
    /// Whether the last report is out of date.
    stale: bool,
    /// The candidate that each `evaluate` task measures first, sorted by task.
    candidates: Vec<(TaskId, u32)>,
}

impl LiveFront {
    pub(super) fn new(front: SweepFront, candidates: &[Candidate]) -> Self {
        let report = Arc::new(front.report());
        Self {
            front,
            watchers: watch::Sender::new(report),
            stale: false,
            candidates: by_evaluation(candidates),
        }
    }

    /// Takes the place of the front before: the sweep was submitted again.
    pub(super) fn replace(&mut self, front: SweepFront, candidates: &[Candidate]) {
        self.front = front;
        self.candidates = by_evaluation(candidates);
        self.stale = true;
    }

    pub(super) fn observe(&mut self, task: TaskId, observation: &Observation) {
        self.front.observe(task, observation);
        self.stale = true;
    }

    /// The number of the candidate that `task` measures.
    pub(super) fn candidate(&self, task: TaskId) -> Option<u32> {
        let at = self.candidates.binary_search_by_key(&task, |entry| entry.0);
        at.ok().map(|at| self.candidates[at].1)
    }

    pub(super) fn watch(&mut self) -> watch::Receiver<Arc<FrontReport>> {
        self.publish();
        self.watchers.subscribe()
    }

    fn publish(&mut self) {
        if self.stale {
            self.watchers.send_replace(Arc::new(self.front.report()));
            self.stale = false;
        }
    }
}

fn by_evaluation(candidates: &[Candidate]) -> Vec<(TaskId, u32)> {
    let mut all: Vec<(TaskId, u32)> = (0..)
        .zip(candidates)
        .flat_map(|(number, candidate)| {
            let evaluations = candidate.evaluations.iter();
            evaluations.map(move |&(_, task)| (task, number))
        })
        .collect();
    all.sort_unstable();
    all.dedup_by_key(|entry| entry.0);
    all
}

impl Owner {
    /// Tells the fronts that have changed to those who watch them. A report costs as much as the
    /// sweep has candidates, so it is only made when somebody does.
    pub(super) fn publish_fronts(&mut self) {
        for live in self.fronts.values_mut() {
            if live.watchers.receiver_count() > 0 {
                live.publish();
            }
        }
    }
}
