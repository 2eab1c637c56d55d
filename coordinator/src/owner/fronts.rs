//! Fronts that are kept up to date, and told to those who watch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use autorep_core::candidate::{Candidate, PointKind};
use autorep_core::front::{FrontReport, Standing, SweepFront};
use autorep_core::id::{SweepName, TaskId, WorkerId};
use autorep_core::ledger::{Event, Ledger, SweepView, TaskState};
use autorep_core::observation::Observation;
use tokio::sync::watch;

use super::Owner;
use crate::state::StateStore;

/// The most results of a sweep that are told as its latest.
pub(super) const FINISHED_KEPT: usize = 100;

/// A result.
pub(super) struct Finished {
    pub(super) task: TaskId,
    /// Who brought it; nobody for one that was there when its sweep was submitted or the coordinator
    /// started.
    pub(super) worker: Option<WorkerId>,
}

/// The latest results of all sweeps after a start.
pub(super) fn restored(ledger: &Ledger) -> BTreeMap<SweepName, VecDeque<Finished>> {
    ledger
        .sweeps()
        .map(|sweep| (sweep.name().clone(), latest(sweep, VecDeque::new())))
        .collect()
}

/// The latest results of a sweep: those that are known to have come in, and before them, by the plan's
/// order, those that were there when it was submitted or the coordinator started.
pub(super) fn latest(sweep: SweepView<'_>, known: VecDeque<Finished>) -> VecDeque<Finished> {
    let came_in: BTreeSet<TaskId> = known.iter().map(|it| it.task).collect();
    let was_there = (sweep.tasks())
        .filter(|task| task.state().is_done() && !came_in.contains(&task.id()))
        .map(|task| Finished {
            task: task.id(),
            worker: None,
        });
    let mut latest: VecDeque<Finished> = was_there.chain(known).collect();
    latest.drain(..latest.len().saturating_sub(FINISHED_KEPT));
    latest
}

/// A sweep's front with those who watch it.
pub(super) struct LiveFront {
    front: SweepFront,
    watchers: watch::Sender<Arc<FrontReport>>,
    /// Whether the last report is out of date.
    stale: bool,
    /// The candidate that each `evaluate` task measures first, sorted by task.
    candidates: Vec<(TaskId, u32)>,
    /// The budgets of its candidates, rising.
    budgets: Vec<u64>,
}

impl LiveFront {
    pub(super) fn new(front: SweepFront, candidates: &[Candidate]) -> Self {
        let report = Arc::new(front.report());
        Self {
            front,
            watchers: watch::Sender::new(report),
            stale: false,
            candidates: by_evaluation(candidates),
            budgets: budgets(candidates),
        }
    }

    /// Takes the place of the front before: the sweep was submitted again.
    pub(super) fn replace(&mut self, front: SweepFront, candidates: &[Candidate]) {
        self.front = front;
        self.candidates = by_evaluation(candidates);
        self.budgets = budgets(candidates);
        self.stale = true;
    }

    pub(super) fn observe(&mut self, task: TaskId, observation: &Observation) {
        let change = self.front.observe(task, observation);
        for refused in change.refused {
            tracing::warn!(
                task = %task.short(),
                candidate = %refused.candidate,
                seed = refused.seed,
                reason = %refused.refusal,
                "the result is no part of the front"
            );
        }
        self.stale = true;
    }

    fn forget(&mut self, task: TaskId) {
        self.front.forget(task);
        self.stale = true;
    }

    /// The number of the candidate that `task` measures.
    pub(super) fn candidate(&self, task: TaskId) -> Option<u32> {
        let at = self.candidates.binary_search_by_key(&task, |entry| entry.0);
        at.ok().map(|at| self.candidates[at].1)
    }

    /// Publishes nothing: what the turn has decided is not durable yet. The turn's end does, before
    /// the receiver is handed out.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<FrontReport>> {
        self.watchers.subscribe()
    }

    /// What it has come to, and the budgets that there are.
    pub(super) fn standing(&self) -> (Standing, &[u64]) {
        (self.front.standing(), &self.budgets)
    }

    /// The front as it is now.
    pub(super) fn report(&self) -> FrontReport {
        self.front.report()
    }

    fn publish(&mut self) {
        if self.stale {
            self.watchers.send_replace(Arc::new(self.front.report()));
            self.stale = false;
        }
    }
}

fn budgets(candidates: &[Candidate]) -> Vec<u64> {
    let replaced = candidates
        .iter()
        .filter(|it| it.kind == PointKind::Replaced);
    let budgets: BTreeSet<u64> = replaced.map(|it| it.budget).collect();
    budgets.into_iter().collect()
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

impl<S: StateStore> Owner<S> {
    /// Takes the results of tasks that an event has opened again from the fronts: they are no longer
    /// in the records, and come back when the tasks are done once more.
    pub(super) fn forget_reopened(&mut self, event: &Event, remade: &[TaskId]) {
        let set_aside = if let Event::SetAside { checkpoint } = event {
            Some(checkpoint.task)
        } else {
            None
        };
        for &task in remade.iter().chain(&set_aside) {
            let is_done = |task| {
                let known = self.ledger.task(task);
                known.is_some_and(|known| matches!(known.state(), TaskState::Done(_)))
            };
            if is_done(task) {
                continue;
            }
            let sweeps: Vec<_> = (self.ledger.sweeps_of(task).into_iter().cloned()).collect();
            for sweep in sweeps {
                if let Some(live) = self.live_front(&sweep) {
                    live.forget(task);
                }
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use autorep_core::data::DataSet;
    use autorep_core::digest::Digest;
    use autorep_core::id::CandidateId;
    use autorep_core::net::Family;
    use autorep_core::observation::Accuracy;
    use autorep_core::strategy::Strategy;

    use super::*;

    #[test]
    fn watching_tells_nothing_that_is_not_published_yet() {
        let task = TaskId(Digest::of(b"evaluation"));
        let candidates = [Candidate {
            id: CandidateId(Digest::of(b"candidate")),
            label: "default".to_owned(),
            kind: PointKind::Replaced,
            strategy: Strategy::Independent,
            data: DataSet::FashionMnist,
            net: Family::Resnet9,
            budget: 100,
            relu_total: 1000,
            least_seeds: 1,
            evaluations: vec![(0, task)],
        }];
        let front = SweepFront::new(&"s".parse().unwrap(), &candidates);
        let mut live = LiveFront::new(front, &candidates);
        let accuracy = Accuracy {
            correct: 8,
            images: 10,
        };
        let before = live.watch();
        live.observe(
            task,
            &Observation {
                relu_count: 100,
                relu_total: 1000,
                validation: None,
                test: Some(accuracy),
                searched_count: None,
                selected_epoch: None,
                epochs: 0,
                seconds: 1.0,
                skipped_images: 0,
                curve: autorep_core::observation::LearningCurve::default(),
                searched: None,
            },
        );
        let after = live.watch();
        assert_eq!(before.borrow().rows.len(), 0);
        assert_eq!(after.borrow().rows.len(), 0);
        live.publish();
        assert_eq!(before.borrow().rows.len(), 1);
        assert_eq!(after.borrow().rows.len(), 1);
    }
}
