//! The spans of attempts: what is logged inside one says which sweep, task, generation and worker it
//! is about. They belong to the trace of whoever submitted the sweep, before and after a restart.

use std::collections::{BTreeMap, BTreeSet};

use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::{Event, TaskState};
use autorep_transport::trace;
use tracing::Span;

use super::Owner;
use crate::state::StateStore;

/// The spans of leased tasks.
#[derive(Debug, Default)]
pub(super) struct Attempts(BTreeMap<TaskId, Span>);

impl Attempts {
    /// Forgets an attempt that has ended.
    pub(super) fn end(&mut self, task: TaskId) {
        self.0.remove(&task);
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, leased: &BTreeSet<TaskId>) {
        self.0.retain(|task, _| leased.contains(task));
    }
}

impl<S: StateStore> Owner<S> {
    /// Begins spans of the attempts that go on, as this coordinator starts.
    pub(super) fn take_attempts_up(&mut self) {
        let leased: Vec<TaskId> = (self.ledger.leased()).map(|(task, _)| task.id()).collect();
        for task in leased {
            self.attempt(task, None);
        }
    }

    /// The span of the attempt that an event is about, before it is applied; none for others.
    pub(super) fn attempt_of(&mut self, event: &Event) -> Span {
        match event {
            Event::Finished { task, .. }
            | Event::Stopped { task, .. }
            | Event::Ended { task, .. } => self.attempt(*task, None),
            Event::Adopted { checkpoint } => self.attempt(checkpoint.task, None),
            Event::Leased { .. }
            | Event::SetAside { .. }
            | Event::Dropped { .. }
            | Event::Pinned { .. }
            | Event::Renewed { .. }
            | Event::Submitted(_)
            | Event::Paused { .. }
            | Event::Cancelled { .. }
            | Event::Grown { .. }
            | Event::LimitReached { .. } => Span::none(),
        }
    }

    /// The span of a leased task's attempt; none for others. It is for `sweep`, or the first that has
    /// the task: of a lease from before a restart nobody knows which had its turn.
    pub(super) fn attempt(&mut self, task: TaskId, sweep: Option<&SweepName>) -> Span {
        if let Some(span) = self.attempts.0.get(&task) {
            return span.clone();
        }
        let Some(known) = self.ledger.task(task) else {
            return Span::none();
        };
        let TaskState::Leased(lease) = known.state() else {
            return Span::none();
        };
        let of_task = self.ledger.sweeps_of(task);
        let sweep = sweep.or_else(|| of_task.first().copied());
        // Of the highest level, so that no filter lets a line through and keeps back what it is about.
        let span = tracing::error_span!(
            parent: None,
            "attempt",
            sweep = sweep.map(SweepName::as_str),
            task = task.short(),
            generation = known.generation().0,
            worker = %lease.leader.worker,
            otel.status_code = tracing::field::Empty,
        );
        if let Some(record) = sweep.and_then(|sweep| self.sweeps.get(sweep)) {
            trace::continue_from(&span, &record.trace, "");
        }
        self.attempts.0.insert(task, span.clone());
        span
    }
}
