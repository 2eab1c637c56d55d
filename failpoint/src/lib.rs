//! Named points at which a process of a debug build can be made to die.
//!
//! A process that is started with [`POINT_ENV`] set to a point's name kills itself with SIGKILL
//! when it gets there: no destructor runs, nothing is flushed, nobody is told. It does so once:
//! the file named by [`MARK_ENV`] is made first, and where it is already, the process goes on.
//! So whoever starts the process again need not change its environment. Without debug assertions,
//! as in every release, [`reached`] does nothing and nobody reads these variables.
//!
//! [`Point::ALL`] is the list of all points. A test goes through it and fails where a point was
//! never reached.

#[cfg(debug_assertions)]
mod armed;

/// The variable that names the point to die at.
pub const POINT_ENV: &str = "AUTOREP_FAIL_AT";

/// The variable that names the file which is made before dying.
pub const MARK_ENV: &str = "AUTOREP_FAIL_MARK";

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident => $name:literal,)+) => {
        /// Where a process can die.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point),+];

            /// The name: first the process, then when.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// The store is probed, the state not opened.
    CoordinatorBeforeOpen => "coordinator-before-open",
    /// The state is opened, so an older coordinator is fenced; nothing is read.
    CoordinatorAfterOpen => "coordinator-after-open",

    /// A submission is decided.
    SubmitBeforeWrite => "coordinator-submit-before-write",
    /// A submission is durable.
    SubmitAfterWrite => "coordinator-submit-after-write",
    /// A submission is answered.
    SubmitAfterAnswer => "coordinator-submit-after-answer",
    /// A pause is decided, or its end.
    PauseBeforeWrite => "coordinator-pause-before-write",
    /// A pause is durable, or its end.
    PauseAfterWrite => "coordinator-pause-after-write",
    /// A pause is answered, or its end.
    PauseAfterAnswer => "coordinator-pause-after-answer",
    /// A cancellation is decided.
    CancelBeforeWrite => "coordinator-cancel-before-write",
    /// A cancellation is durable.
    CancelAfterWrite => "coordinator-cancel-after-write",
    /// A cancellation is answered.
    CancelAfterAnswer => "coordinator-cancel-after-answer",
    /// A lease is decided.
    LeaseBeforeWrite => "coordinator-lease-before-write",
    /// A lease is durable.
    LeaseAfterWrite => "coordinator-lease-after-write",
    /// A lease is answered.
    LeaseAfterAnswer => "coordinator-lease-after-answer",
    /// A checkpoint is to be its task's own.
    CommitBeforeWrite => "coordinator-commit-before-write",
    /// A checkpoint is durably its task's own.
    CommitAfterWrite => "coordinator-commit-after-write",
    /// A commit is answered.
    CommitAfterAnswer => "coordinator-commit-after-answer",
    /// A result is accepted.
    FinishBeforeWrite => "coordinator-finish-before-write",
    /// A result is durable.
    FinishAfterWrite => "coordinator-finish-after-write",
    /// A result is answered.
    FinishAfterAnswer => "coordinator-finish-after-answer",
    /// A reported failure is accepted.
    FailBeforeWrite => "coordinator-fail-before-write",
    /// A reported failure is durable.
    FailAfterWrite => "coordinator-fail-after-write",
    /// A reported failure is answered.
    FailAfterAnswer => "coordinator-fail-after-answer",
    /// A lease is given back.
    ReleaseBeforeWrite => "coordinator-release-before-write",
    /// A release is durable.
    ReleaseAfterWrite => "coordinator-release-after-write",
    /// A release is answered.
    ReleaseAfterAnswer => "coordinator-release-after-answer",
    /// A worker is given up.
    LoseBeforeWrite => "coordinator-lose-before-write",
    /// A worker's loss is durable.
    LoseAfterWrite => "coordinator-lose-after-write",
    /// Whoever asked has been told what a worker's loss led to.
    LoseAfterAnswer => "coordinator-lose-after-answer",
    /// A damaged checkpoint is to be forgotten.
    SetAsideBeforeWrite => "coordinator-set-aside-before-write",
    /// A damaged checkpoint is durably forgotten.
    SetAsideAfterWrite => "coordinator-set-aside-after-write",
    /// The report of a damaged checkpoint is answered.
    SetAsideAfterAnswer => "coordinator-set-aside-after-answer",
    /// A pin is decided, or its end.
    PinBeforeWrite => "coordinator-pin-before-write",
    /// A pin is durable, or its end.
    PinAfterWrite => "coordinator-pin-after-write",
    /// A pin is answered, or its end.
    PinAfterAnswer => "coordinator-pin-after-answer",
    /// Outputs that nothing needs are to be given up.
    DropBeforeWrite => "coordinator-drop-before-write",
    /// Outputs that nothing needs are durably given up; all of them lie in the store.
    DropAfterWrite => "coordinator-drop-after-write",
    /// Whoever collects garbage has been told what was given up.
    DropAfterAnswer => "coordinator-drop-after-answer",

    /// A dead checkpoint is to be deleted.
    CoordinatorBeforeDelete => "coordinator-before-delete",
    /// A dead checkpoint's manifest object is deleted, its parts are not.
    CoordinatorAfterManifest => "coordinator-after-manifest",
    /// A dead checkpoint's last object is deleted, nobody knows of it.
    CoordinatorAfterDelete => "coordinator-after-delete",

    /// The coordinator knows the worker.
    WorkerAfterRegister => "worker-after-register",
    /// The worker has read its assignment.
    WorkerAfterAcquire => "worker-after-acquire",
    /// Inputs are fetched.
    WorkerAfterFetch => "worker-after-fetch",
    /// The trainer runs and has its task.
    WorkerAfterStart => "worker-after-start",
    /// A renewal is answered.
    WorkerAfterRenew => "worker-after-renew",
    /// A checkpoint's part is to be stored in one request.
    WorkerBeforePart => "worker-before-part",
    /// A checkpoint's part is stored.
    WorkerAfterPart => "worker-after-part",
    /// A piece of a large part is to be stored.
    WorkerBeforePiece => "worker-before-piece",
    /// All pieces of a large part are sent, and not yet put together.
    WorkerBeforeWhole => "worker-before-whole",
    /// All parts are stored, the manifest object is not.
    WorkerBeforeManifest => "worker-before-manifest",
    /// The manifest object is stored.
    WorkerAfterManifest => "worker-after-manifest",
    /// A checkpoint is to be committed.
    WorkerBeforeCommit => "worker-before-commit",
    /// A commit is answered; the checkpoint's folder is still there.
    WorkerAfterCommit => "worker-after-commit",
    /// The trainer is gone, its log not stored.
    WorkerBeforeLog => "worker-before-log",
    /// The trainer's log is stored.
    WorkerAfterLog => "worker-after-log",
    /// A result is to be reported.
    WorkerBeforeFinish => "worker-before-finish",
    /// A result is answered.
    WorkerAfterFinish => "worker-after-finish",
    /// A failure is to be reported.
    WorkerBeforeFail => "worker-before-fail",
    /// A failure is answered.
    WorkerAfterFail => "worker-after-fail",
    /// A lease is to be given back.
    WorkerBeforeRelease => "worker-before-release",
    /// A release is answered.
    WorkerAfterRelease => "worker-after-release",

    /// A checkpoint is due.
    TrainerBeforeCheckpoint => "trainer-before-checkpoint",
    /// A checkpoint's parts are written, its folder has not its name yet.
    TrainerBeforeRename => "trainer-before-rename",
    /// A checkpoint is complete, nobody knows of it.
    TrainerAfterCheckpoint => "trainer-after-checkpoint",
    /// A checkpoint is reported.
    TrainerAfterReport => "trainer-after-report",
    /// The work is done, nobody knows of it.
    TrainerBeforeDone => "trainer-before-done",
    /// The result is reported.
    TrainerAfterDone => "trainer-after-done",
}

/// Dies here if that was asked for.
#[cfg(debug_assertions)]
pub fn reached(point: Point) {
    armed::reached(point);
}

/// Does nothing: this is no debug build.
#[cfg(not(debug_assertions))]
pub const fn reached(_: Point) {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Point;

    #[test]
    fn every_point_has_a_name_of_its_own_that_begins_with_its_process() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
        for name in names {
            let process = name.split('-').next();
            assert!(
                matches!(process, Some("coordinator" | "worker" | "trainer")),
                "{name}"
            );
        }
    }
}
