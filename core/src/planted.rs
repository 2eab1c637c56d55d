//! Protocol bugs on purpose, to see that the simulation finds them.
//!
//! Each is one line where the rule is. Without the feature `planted` nothing can choose one, and
//! what asks for it is compiled to nothing.

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// Answers are sent before what they promise is durable.
    AnswersBeforeDurable,
    /// A coordinator that another one has fenced goes on as if its writes were durable.
    LostFence,
    /// A coordinator refuses, and repeats answers, without knowing that it is still the owner.
    RefusesUnowned,
    /// A coordinator whose write failed goes on as if it had not.
    FailedWriteIgnored,
    /// A commit under an older lease is taken as if it were under the latest.
    CommitUnfenced,
    /// A result under an older lease is taken as if it were under the latest.
    FinishUnfenced,
    /// A failure under an older lease ends the latest.
    FailUnfenced,
    /// A worker that gives an older lease back ends the latest.
    ReleaseUnfenced,
    /// A renewal under an older lease keeps the latest alive.
    RenewUnfenced,
    /// A task that is leased again keeps its generation.
    GenerationNotRaised,
    /// A worker that asks while it holds a lease gets another one.
    SecondLease,
    /// A lease that its worker never renewed does not expire: a lost answer loses the task.
    UnheardLivesForEver,
    /// A lease that its worker renewed once does not expire.
    RenewedLivesForEver,
    /// A restart gives leases no time.
    RestartEndsLeases,
    /// A restart forgets who holds what.
    LeasesNotRestored,
    /// A restart forgets the checkpoint to go on from.
    ResumeNotRestored,
    /// A restart forgets how often a task has failed.
    AttemptsNotRestored,
    /// A restart counts no tasks.
    CountsNotRestored,
    /// A sweep that wants a task again does not find what became of it before.
    ResultsForgotten,
    /// A restart knows nothing of tasks that are in no sweep's plan any more.
    StraysUnknown,
    /// A checkpoint that is older than the one there is replaces it.
    OlderReplacesNewer,
    /// A bad checkpoint is not set aside.
    BadCheckpointKept,
    /// That a checkpoint was set aside is not written down.
    SetAsideNotRecorded,
    /// Outputs that an unfinished task reads are dropped.
    NeededDropped,
    /// That outputs were dropped is not written down.
    DropNotRecorded,
    /// The checkpoint to go on from is deleted.
    ResumeCalledDead,
    /// A commit that is repeated when its output was dropped is refused.
    DroppedCommitRefused,
    /// A task starts from a net that its descent has not left yet.
    ReadsTooEarly,
    /// A descent whose net was set aside keeps its lease, and cannot end.
    MakerGoesOn,
    /// How a sweep has grown is not written down.
    GrowthNotRecorded,
    /// What a task measured where it was stopped is not written down.
    CurveNotRecorded,
    /// A sweep that decides how it grows does not look again at what has changed.
    ChangeOverlooked,
    /// A task is not told where to stop.
    RungPassed,
    /// A sweep goes on beyond its limit.
    LimitIgnored,
    /// That a sweep has come to its limit is not written down.
    LimitNotRecorded,
    /// A task that failed does not wait before its next attempt.
    RetriesAtOnce,
    /// A result that is reported again is refused.
    RepeatedFinishRefused,
    /// A cancelled sweep's running tasks keep their leases.
    CancelKeepsLeases,
    /// That a sweep was cancelled is not written down.
    CancelNotRecorded,
    /// A paused sweep's tasks are leased all the same.
    PauseIgnored,
    /// Workers are told that nothing will come although something will.
    IdleTooEarly,
    /// A result does not reach the front.
    FrontForgetsResults,
    /// A task for several workers is leased to one too few.
    GroupTooSmall,
    /// A lease lives on although one of its members is not heard of any more.
    MemberLossIgnored,
    /// A restart forgets who holds a lease with its leader.
    MembersNotRestored,
    /// Members are sent to where an earlier group met.
    OlderRendezvous,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 46] = [
        Self::AnswersBeforeDurable,
        Self::LostFence,
        Self::RefusesUnowned,
        Self::FailedWriteIgnored,
        Self::CommitUnfenced,
        Self::FinishUnfenced,
        Self::FailUnfenced,
        Self::ReleaseUnfenced,
        Self::RenewUnfenced,
        Self::GenerationNotRaised,
        Self::SecondLease,
        Self::UnheardLivesForEver,
        Self::RenewedLivesForEver,
        Self::RestartEndsLeases,
        Self::LeasesNotRestored,
        Self::ResumeNotRestored,
        Self::AttemptsNotRestored,
        Self::CountsNotRestored,
        Self::ResultsForgotten,
        Self::StraysUnknown,
        Self::OlderReplacesNewer,
        Self::BadCheckpointKept,
        Self::SetAsideNotRecorded,
        Self::NeededDropped,
        Self::DropNotRecorded,
        Self::ResumeCalledDead,
        Self::DroppedCommitRefused,
        Self::ReadsTooEarly,
        Self::MakerGoesOn,
        Self::GrowthNotRecorded,
        Self::CurveNotRecorded,
        Self::ChangeOverlooked,
        Self::RungPassed,
        Self::LimitIgnored,
        Self::LimitNotRecorded,
        Self::RetriesAtOnce,
        Self::RepeatedFinishRefused,
        Self::CancelKeepsLeases,
        Self::CancelNotRecorded,
        Self::PauseIgnored,
        Self::IdleTooEarly,
        Self::FrontForgetsResults,
        Self::GroupTooSmall,
        Self::MemberLossIgnored,
        Self::MembersNotRestored,
        Self::OlderRendezvous,
    ];
}

/// Whether this bug is in.
#[cfg(not(feature = "planted"))]
#[inline]
pub const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is in.
#[cfg(feature = "planted")]
pub fn planted(bug: Bug) -> bool {
    CHOSEN.get() == Some(bug)
}

/// Puts a bug in, or none, for whatever runs on this thread.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    CHOSEN.set(bug);
}
