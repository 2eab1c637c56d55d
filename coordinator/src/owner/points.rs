//! The points of a turn at which a debug build can be made to die: see [`autorep_failpoint`].

use autorep_core::failure::FailureClass;
use autorep_core::ledger::Event;
use autorep_failpoint::{Point, reached};

/// When in a turn.
#[derive(Clone, Copy)]
pub(super) enum When {
    BeforeWrite,
    AfterWrite,
    AfterAnswer,
}

/// What a turn has decided, as far as it is written down.
#[derive(Default)]
pub(super) struct Decided(Vec<[Point; 3]>);

impl Decided {
    pub(super) fn add(&mut self, event: &Event) {
        // A release has nobody who reads this list.
        if cfg!(debug_assertions)
            && let Some(points) = of(event)
            && !self.0.contains(&points)
        {
            self.0.push(points);
        }
    }

    pub(super) fn reached(&self, when: When) {
        for points in &self.0 {
            reached(points[when as usize]);
        }
    }
}

/// Before the write, after it, after the answer; a renewal is never written.
fn of(event: &Event) -> Option<[Point; 3]> {
    Some(match event {
        // What grows is written with the lease that is granted then.
        Event::Renewed { .. } | Event::Grown { .. } | Event::LimitReached { .. } => return None,
        Event::Submitted(_) => [
            Point::SubmitBeforeWrite,
            Point::SubmitAfterWrite,
            Point::SubmitAfterAnswer,
        ],
        Event::Paused { .. } => [
            Point::PauseBeforeWrite,
            Point::PauseAfterWrite,
            Point::PauseAfterAnswer,
        ],
        Event::Cancelled { .. } => [
            Point::CancelBeforeWrite,
            Point::CancelAfterWrite,
            Point::CancelAfterAnswer,
        ],
        Event::Leased { .. } => [
            Point::LeaseBeforeWrite,
            Point::LeaseAfterWrite,
            Point::LeaseAfterAnswer,
        ],
        Event::Adopted { .. } => [
            Point::CommitBeforeWrite,
            Point::CommitAfterWrite,
            Point::CommitAfterAnswer,
        ],
        Event::Finished { .. } => [
            Point::FinishBeforeWrite,
            Point::FinishAfterWrite,
            Point::FinishAfterAnswer,
        ],
        Event::Stopped { .. } | Event::Ended { failure: None, .. } => [
            Point::ReleaseBeforeWrite,
            Point::ReleaseAfterWrite,
            Point::ReleaseAfterAnswer,
        ],
        Event::Ended {
            failure: Some(failure),
            ..
        } if failure.class == FailureClass::WorkerLost => [
            Point::LoseBeforeWrite,
            Point::LoseAfterWrite,
            Point::LoseAfterAnswer,
        ],
        Event::Ended {
            failure: Some(_), ..
        } => [
            Point::FailBeforeWrite,
            Point::FailAfterWrite,
            Point::FailAfterAnswer,
        ],
        Event::SetAside { .. } => [
            Point::SetAsideBeforeWrite,
            Point::SetAsideAfterWrite,
            Point::SetAsideAfterAnswer,
        ],
        Event::Pinned { .. } => [
            Point::PinBeforeWrite,
            Point::PinAfterWrite,
            Point::PinAfterAnswer,
        ],
        Event::Dropped { .. } => [
            Point::DropBeforeWrite,
            Point::DropAfterWrite,
            Point::DropAfterAnswer,
        ],
    })
}
