//! What an event means outside the ledger: logs, counters, fronts, progress.

use std::fmt::Write as _;

use autorep_core::id::TaskId;
use autorep_core::ledger::{Event, Failure, Next, TaskState};
use autorep_core::observation::Observation;
use autorep_core::planted::{Bug, planted};
use autorep_proto::v1;

use super::Owner;
use super::fronts::{FINISHED_KEPT, Finished};
use crate::measure;
use crate::state::StateStore;

impl<S: StateStore> Owner<S> {
    /// Called before an event is applied.
    pub(super) fn before(&mut self, event: &Event) {
        let attempt = self.attempt_of(event);
        let _inside = attempt.enter();
        match event {
            Event::Leased { .. } => measure::lease_granted(),
            Event::Finished { task, observation } => {
                self.sampler.goes_on();
                self.before_finish(*task, observation);
            }
            Event::Grown { sweep, steps } => {
                let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
                let steps = steps.join(", ");
                tracing::info!(%sweep, steps, "the sweep grows: tasks may train for longer");
            }
            Event::LimitReached { sweep } => {
                tracing::info!(%sweep, "the sweep has come to its limit");
            }
            Event::Stopped { task, interim } => {
                self.forget_lease(*task);
                measure::attempt_released();
                let epochs = interim.curve.reached();
                tracing::info!(epochs, "lease given back");
            }
            Event::Ended {
                task,
                failure,
                next,
            } => {
                self.forget_lease(*task);
                note_end(failure.as_deref(), *next);
                self.sampler.may_be_in_quarantine(*task, *next);
                if let Some(failure) = failure {
                    self.judge_machine(*task, failure);
                }
            }
            Event::Adopted { checkpoint } => {
                self.sampler.goes_on();
                tracing::debug!(
                    role = %checkpoint.role,
                    step = checkpoint.step,
                    "checkpoint committed"
                );
            }
            Event::SetAside { checkpoint } => tracing::warn!(
                task = %checkpoint.task.short(),
                folder = checkpoint.folder(),
                "checkpoint set aside: it is not what its digest says"
            ),
            Event::Dropped { task } => tracing::info!(
                task = %task.short(),
                "outputs dropped: nothing can reach them"
            ),
            Event::Pinned { task, pinned } => tracing::info!(task = %task.short(), pinned, "pin"),
            Event::Renewed { .. }
            | Event::Submitted(_)
            | Event::Paused { .. }
            | Event::Cancelled { .. } => {}
        }
    }

    /// What was said under a task's lease that has ended.
    fn forget_lease(&mut self, task: TaskId) {
        self.progress.remove(&task);
        self.checkpoints_wanted.remove(&task);
        self.meetings.remove(task);
        self.attempts.end(task);
    }

    /// Puts into a failure where the trainer was when it was last heard of: of a worker that is
    /// lost, nothing else is known.
    pub(super) fn add_evidence(&self, event: &mut Event) {
        if let Event::Ended {
            task,
            failure: Some(failure),
            ..
        } = event
            && let Some(progress) = self.progress.get(task)
        {
            failure.last_progress = in_words(progress);
        }
    }

    fn judge_machine(&mut self, task: TaskId, failure: &Failure) {
        let now_ms = self.clock.now_ms();
        let (worker, class) = (&failure.worker, failure.class);
        if let Some(until_ms) = self.roster.failed(worker, task, class, now_ms) {
            measure::machine_excluded();
            tracing::warn!(
                machine = self.roster.get(worker).map_or("", |it| &it.machine),
                seconds = (until_ms - now_ms) / 1000,
                "attempts keep failing on this machine: it gets no tasks for a while, if another is there"
            );
        }
    }

    fn before_finish(&mut self, task: TaskId, observation: &Observation) {
        self.forget_lease(task);
        let Some(known) = self.ledger.task(task) else {
            return;
        };
        let TaskState::Leased(lease) = known.state() else {
            return;
        };
        for part in lease.parts() {
            self.roster.succeeded(&part.worker);
        }
        let worker = lease.leader.worker.clone();
        measure::task_finished(known.spec().kind());
        tracing::info!(
            kind = %known.spec().kind(),
            seconds = observation.seconds,
            "task done"
        );
        let sweeps: Vec<_> = (self.ledger.sweeps_of(task).into_iter().cloned()).collect();
        for sweep in sweeps {
            if let Some(front) = self.live_front(&sweep)
                && !planted(Bug::FrontForgetsResults)
            {
                front.observe(task, observation);
            }
            let finished = self.finished.entry(sweep).or_default();
            // It may have been done before, and made again.
            finished.retain(|it| it.task != task);
            if finished.len() >= FINISHED_KEPT {
                finished.pop_front();
            }
            finished.push_back(Finished {
                task,
                worker: Some(worker.clone()),
            });
        }
    }
}

/// `epoch 3 of 8, step 120 of 500, loss 0.3124`.
fn in_words(progress: &v1::Progress) -> String {
    let mut words = format!(
        "epoch {} of {}, step {} of {}",
        progress.epoch, progress.epochs, progress.step, progress.steps
    );
    if let Some(loss) = progress.loss {
        // Writing to a String cannot fail.
        let _ = write!(words, ", loss {loss:.4}");
    }
    if let Some(count) = progress.relu_count {
        let _ = write!(words, ", {count} ReLUs");
    }
    words
}

fn note_end(failure: Option<&Failure>, next: Next) {
    let Some(failure) = failure else {
        measure::attempt_released();
        tracing::info!("lease given back");
        return;
    };
    measure::attempt_failed(failure.class);
    let gives_up = matches!(next, Next::GiveUp);
    if gives_up {
        measure::task_gave_up();
    }
    tracing::warn!(
        // Of a group, the one that has failed need not be the one that leads it.
        worker = %failure.worker,
        attempt = failure.attempt,
        class = failure.class.name(),
        cause = failure.message,
        gives_up,
        "attempt failed"
    );
    tracing::Span::current().record("otel.status_code", "ERROR");
}
