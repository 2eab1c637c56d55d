//! What people ask.

use std::sync::Arc;

use autorep_core::front::FrontReport;
use autorep_core::id::SweepName;
use autorep_core::ledger::{
    Change, Failure, StateName, Submission, Submitted, SweepView, Task, TaskState,
};
use autorep_core::planted::{Bug, planted};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::sync::watch;

use super::Owner;
use super::fronts::{self, LiveFront};
use crate::ask::{Found, NewSweep, Noted, Reply};
use crate::refuse::{self, OnTheWire as _, unknown_sweep};
use crate::restore::front;
use crate::state::{StateStore, SweepRecord, ms_since, unix_ms};
use crate::wire;

/// The most failures that one answer tells.
const FAILURES_TOLD: usize = 100;

impl<S: StateStore> Owner<S> {
    pub(super) fn submit(
        &mut self,
        sweep: NewSweep,
        dry_run: bool,
        reply: Reply<Noted<Submitted>>,
    ) {
        let name = sweep.manifest.name.clone();
        let answer = self.submitted(sweep, dry_run).map(|answer| {
            let known = self.ledger.sweep(&name).filter(|_| !dry_run);
            let notes = known.map_or_else(Vec::new, |sweep| self.notes(sweep));
            for note in &notes {
                tracing::info!(sweep = %name, "{note}");
            }
            Noted { answer, notes }
        });
        self.answer(reply, answer);
    }

    fn submitted(&mut self, sweep: NewSweep, dry_run: bool) -> Result<Submitted, Refusal> {
        let NewSweep {
            manifest,
            plan,
            digest,
            trace,
        } = sweep;
        let name = manifest.name.clone();
        let known = self.sweeps.get(&name);
        if known.is_none() && self.sweeps.len() >= self.config.max_sweeps {
            let text = format!(
                "expected at most {} sweeps, found one more; use another store for new ones",
                self.config.max_sweeps
            );
            return Err(refuse::limit(text));
        }
        let last = self.sweeps.values().map(|record| record.order + 1).max();
        let order = known.map_or_else(|| last.unwrap_or(0), |record| record.order);
        let trace = match known {
            Some(record) if trace.is_empty() => record.trace.clone(),
            Some(_) | None => trace,
        };
        // Asked for again, the same sweep has no more time than it had.
        let since_unix_ms = match known {
            _ if manifest.limit.hours <= 0.0 => 0,
            Some(record) if record.plan == digest && record.submitted_unix_ms > 0 => {
                record.submitted_unix_ms
            }
            Some(_) | None => unix_ms(),
        };
        let submission = Submission {
            sweep: name.clone(),
            plan: Arc::clone(&plan),
            terms: manifest.terms(self.clock.now_ms(), ms_since(since_unix_ms)),
        };
        let decision = (self.ledger.submit(submission)).map_err(|it| it.on_the_wire())?;
        if dry_run {
            return Ok(decision.outcome);
        }
        let submitted = self.apply(decision);
        tracing::info!(
            sweep = %name,
            tasks = submitted.tasks,
            done = submitted.done,
            "sweep submitted"
        );
        let record = SweepRecord {
            submitted_unix_ms: since_unix_ms,
            trace,
            ..SweepRecord::new(order, manifest, digest)
        };
        self.sweeps.insert(name.clone(), record);
        self.note_decisions(&name);
        let front = front(&self.ledger, &name, &plan);
        if let Some(live) = self.fronts.get_mut(&name) {
            live.replace(front, &plan.candidates);
        } else {
            let live = LiveFront::new(front, &plan.candidates);
            self.fronts.insert(name.clone(), live);
        }
        let known = self.finished.remove(&name).unwrap_or_default();
        if let Some(sweep) = self.ledger.sweep(&name) {
            let latest = fronts::latest(sweep, known);
            self.finished.insert(name, latest);
        }
        Ok(submitted)
    }

    pub(super) fn pause(&mut self, sweep: &SweepName, paused: bool, reply: Reply<()>) {
        let answer = self.decide(self.ledger.pause(sweep, paused));
        if answer == Ok(Change::Changed) {
            tracing::info!(%sweep, paused, "sweep paused or resumed");
            self.change(sweep, |record| record.paused = paused);
        }
        self.answer(reply, answer.map(|_change| ()));
    }

    pub(super) fn cancel(&mut self, sweep: &SweepName, reply: Reply<()>) {
        let answer = self.decide(self.ledger.cancel(sweep));
        if answer == Ok(Change::Changed) {
            tracing::info!(%sweep, "sweep cancelled");
            self.change(sweep, |record| {
                record.cancelled = !planted(Bug::CancelNotRecorded);
                record.paused = false;
            });
        }
        self.answer(reply, answer.map(|_change| ()));
    }

    /// Writes down how a sweep has grown and what of its limit it has used.
    pub(super) fn note_decisions(&mut self, sweep: &SweepName) {
        let known = (self.ledger.sweep(sweep)).filter(|_| !planted(Bug::GrowthNotRecorded));
        let Some(view) = known else { return };
        let (grown, before_ms) = (view.grown().to_vec(), view.before_ms());
        let at_limit = view.is_at_limit() && !planted(Bug::LimitNotRecorded);
        self.change(sweep, |record| {
            record.grown = grown;
            record.before_ms = before_ms;
            record.at_limit = at_limit;
        });
    }

    fn change(&mut self, sweep: &SweepName, edit: impl FnOnce(&mut SweepRecord)) {
        if let Some(record) = self.sweeps.get_mut(sweep) {
            edit(record);
            self.turn.sweeps.insert(sweep.clone());
        }
    }

    pub(super) fn list(&mut self, reply: Reply<Vec<v1::SweepSummary>>) {
        let all = self.summaries(|_sweep| true);
        self.answer(reply, Ok(all));
    }

    /// The sweeps that are `wanted`.
    pub(super) fn summaries(&self, wanted: impl Fn(&SweepName) -> bool) -> Vec<v1::SweepSummary> {
        let wanted = self.ledger.sweeps().filter(|sweep| wanted(sweep.name()));
        wanted.map(wire::summary).collect()
    }

    pub(super) fn show(&mut self, sweep: &SweepName, reply: Reply<v1::ShowResponse>) {
        let answer = match self.ledger.sweep(sweep) {
            Some(view) => Ok(self.shown(view)),
            None => Err(unknown_sweep(sweep)),
        };
        self.answer(reply, answer);
    }

    fn shown(&self, sweep: SweepView<'_>) -> v1::ShowResponse {
        let name = sweep.name();
        let trained_seconds = sweep.tasks().map(|task| task.state().seconds());
        v1::ShowResponse {
            summary: Some(wire::summary(sweep)),
            running: self.running(name),
            failures: self.failures(sweep),
            trained_seconds: trained_seconds.sum(),
            finished: self.finished(name),
            notes: self.notes(sweep),
        }
    }

    fn running(&self, sweep: &SweepName) -> Vec<v1::RunningTask> {
        let mut running: Vec<v1::RunningTask> = (self.ledger.leased())
            .filter(|(task, _)| self.ledger.sweeps_of(task.id()).contains(&sweep))
            .map(|(task, lease)| v1::RunningTask {
                task: task.id().to_string(),
                kind: task.spec().kind().to_string(),
                label: self.label(sweep, task),
                worker: lease.leader.worker.to_string(),
                members: (lease.members.iter())
                    .map(|it| it.worker.to_string())
                    .collect(),
                attempt: lease.kept.spent.attempts() + 1,
                progress: self.progress.get(&task.id()).copied(),
            })
            .collect();
        running.sort_by(|one, other| one.worker.cmp(&other.worker));
        running
    }

    fn failures(&self, sweep: SweepView<'_>) -> Vec<v1::FailedAttempt> {
        let mut all: Vec<(&Task, &Failure)> = (sweep.tasks())
            .flat_map(|task| task.failures().iter().map(move |failure| (task, failure)))
            .collect();
        all.sort_by_key(|(_, failure)| failure.serial);
        let skipped = all.len().saturating_sub(FAILURES_TOLD);
        (all.into_iter().skip(skipped))
            .map(|(task, failure)| {
                let is_last = task.failures().last() == Some(failure);
                let has_given_up = task.state().name() == StateName::GaveUp;
                v1::FailedAttempt {
                    task: task.id().to_string(),
                    kind: task.spec().kind().to_string(),
                    label: self.label(sweep.name(), task),
                    attempt: failure.attempt,
                    worker: failure.worker.to_string(),
                    class: v1::FailureClass::from(failure.class).into(),
                    message: failure.message.clone(),
                    stderr_tail: failure.stderr_tail.clone(),
                    gave_up: is_last && has_given_up,
                    quarantined: is_last && task.is_quarantined(),
                    last_progress: failure.last_progress.clone(),
                }
            })
            .collect()
    }

    fn finished(&self, sweep: &SweepName) -> Vec<v1::FinishedTask> {
        (self.finished.get(sweep).into_iter().flatten())
            .filter_map(|finished| {
                let task = self.ledger.task(finished.task)?;
                let TaskState::Done(done) = task.state() else {
                    return None;
                };
                Some(v1::FinishedTask {
                    task: finished.task.to_string(),
                    kind: task.spec().kind().to_string(),
                    label: self.label(sweep, task),
                    worker: (finished.worker.as_ref())
                        .map(ToString::to_string)
                        .unwrap_or_default(),
                    observation: Some((*done.observation).clone().into()),
                })
            })
            .collect()
    }

    pub(super) fn watch(
        &mut self,
        sweep: &SweepName,
        reply: Reply<watch::Receiver<Arc<FrontReport>>>,
    ) {
        let answer = match self.live_front(sweep) {
            Some(live) => Ok(live.watch()),
            None => Err(unknown_sweep(sweep)),
        };
        self.answer(reply, answer);
    }

    pub(super) fn find(&mut self, prefix: &str, reply: Reply<Found>) {
        let answer = self.only_task_like(prefix, |_task| true).and_then(|id| {
            let task = self.ledger.task(id).ok_or(Refusal::UnknownTask(id))?;
            Ok(Found {
                task: id,
                generation: task.generation(),
                unfinished: matches!(
                    task.state(),
                    TaskState::Waiting(_) | TaskState::Ready(_) | TaskState::Leased(_)
                ),
            })
        });
        self.answer(reply, answer);
    }
}
