//! The states of a task: one struct each, with the moves out of it as methods that consume it.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::digest::Digest;
use crate::failure::FailureClass;
use crate::id::{Generation, TaskId, WorkerId};
use crate::observation::{Interim, LearningCurve, Observation};
use crate::planted::{Bug, planted};
use crate::retry::Spent;

/// A committed checkpoint of a known task with a known role: the rest of a [`CheckpointRef`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The lease under which it was made.
    pub generation: Generation,
    /// Optimizer steps done.
    pub step: u64,
    /// SHA-256 of the manifest object.
    pub manifest: Digest,
}

impl Head {
    /// What of `checkpoint` is not its task and role.
    pub fn of(checkpoint: &CheckpointRef) -> Self {
        Self {
            generation: checkpoint.generation,
            step: checkpoint.step,
            manifest: checkpoint.manifest,
        }
    }

    /// The whole reference.
    pub fn reference(self, task: TaskId, role: CheckpointRole) -> CheckpointRef {
        CheckpointRef {
            task,
            generation: self.generation,
            role,
            step: self.step,
            manifest: self.manifest,
        }
    }

    /// What decides which of two checkpoints is later.
    pub fn order(self) -> (Generation, u64) {
        (self.generation, self.step)
    }
}

/// What the attempts so far have left to the next one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// How the attempts that count against the retry policy have ended.
    pub spent: Spent,
    /// The checkpoints to go on from, the latest first: the one before it is for the case that it
    /// is damaged. At most [`RESUMES_KEPT`].
    pub resumes: Box<[Head]>,
    /// Outputs in the order of the spec's; empty before the first one is committed.
    pub outputs: Box<[Option<Head>]>,
    /// What an attempt measured that stopped where its sweeps let it go no further.
    pub interim: Option<Box<Interim>>,
}

/// Checkpoints to resume from that a task keeps.
pub const RESUMES_KEPT: usize = 2;

/// What decides the state of a task that nobody holds and that has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Whether a sweep that is not cancelled wants the task.
    pub wanted: bool,
    /// Epochs that those sweeps let it train for.
    pub allowed: u32,
    /// Parents that do not give what the task reads: they are not done, or their outputs are gone.
    pub parents_left: u32,
    /// Those of them that gave up or are blocked.
    pub parents_lost: u32,
}

/// The states of a task.
///
/// ```text
///                                    lease                  finish
///   Waiting <------------> Ready -------------> Leased --------------> Done
///      ^                     ^                    |                      |
///      |                     +--- fail, expire, --+                      |
///      |                     |    release         |                      |
///      v                     |                    | fail, expire:        |
///   Blocked <----------------+                    v no attempt left      |
///      ^                     ^                  GaveUp                   |
///      |                     +--- submit ---------+                      |
///      v                     +--- an output is set aside ----------------+
///   Parked <-- stop at a rung -- Leased
///      ^
///      v
///   Cancelled <-- cancel -- Leased
/// ```
///
/// Waiting, Ready, Blocked, Parked and Cancelled are the open states: nobody holds the task and it
/// has no result. Which of them it is in follows from [`Needs`] and from the epochs that it has
/// trained for ([`Kept::settle`]), and changes when a parent is done, set aside, lost or revived,
/// and when a sweep is submitted, grows or is cancelled.
/// A move that the drawing ends in Ready ends in the open state that fits.
#[derive(Clone, PartialEq, Debug)]
pub enum TaskState {
    /// Needs a task that is not done.
    Waiting(Waiting),
    /// May be leased.
    Ready(Ready),
    /// A worker, or a group, has the right to it.
    Leased(Leased),
    /// Has its result.
    Done(Done),
    /// Failed too often.
    GaveUp(GaveUp),
    /// Needs a task that gave up.
    Blocked(Blocked),
    /// Has trained for as long as the sweeps that want it let it.
    Parked(Parked),
    /// No sweep wants it.
    Cancelled(Cancelled),
}

/// Needs a task that is not done.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    /// What attempts have left (there are some if a parent is being redone).
    pub kept: Kept,
}

/// May be leased.
#[derive(Clone, PartialEq, Debug)]
pub struct Ready {
    /// What attempts have left.
    pub kept: Kept,
    /// The earliest time for the next lease; zero for at once.
    pub not_before_ms: u64,
}

/// A worker, or several together, have the right to it. The lease's generation is the task's latest.
#[derive(Clone, PartialEq, Debug)]
pub struct Leased {
    /// What earlier attempts and this one have left.
    pub kept: Kept,
    /// The worker that commits and finishes.
    pub leader: Held,
    /// The others, from node 1 on.
    pub members: Box<[Held]>,
}

/// One worker's part of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Who.
    pub worker: WorkerId,
    /// Until when, unless renewed.
    pub expires_at_ms: u64,
    /// Whether the worker has renewed it: before that it may not know that it has it.
    pub renewed: bool,
}

impl Held {
    /// A part that its worker has not been heard of yet.
    pub(super) const fn new(worker: WorkerId, expires_at_ms: u64) -> Self {
        Self {
            worker,
            expires_at_ms,
            renewed: false,
        }
    }
}

/// Has its result.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// Every output, in the order of the spec's.
    pub outputs: Box<[Head]>,
    /// What it measured.
    pub observation: Box<Observation>,
    /// Whether the outputs' objects are gone: nobody needed them. The task is done again when
    /// somebody does.
    pub dropped: bool,
}

/// Failed too often.
#[derive(Clone, PartialEq, Debug)]
pub struct GaveUp {
    /// What attempts have left.
    pub kept: Kept,
}

/// Needs a task that gave up.
#[derive(Clone, PartialEq, Debug)]
pub struct Blocked {
    /// What attempts have left.
    pub kept: Kept,
}

/// Has trained for as long as the sweeps that want it let it.
#[derive(Clone, PartialEq, Debug)]
pub struct Parked {
    /// What attempts have left: it goes on from there when it is let.
    pub kept: Kept,
    /// The earliest time for that; zero for at once.
    pub not_before_ms: u64,
}

/// No sweep wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Cancelled {
    /// What attempts have left.
    pub kept: Kept,
}

impl Kept {
    /// The checkpoint to go on from.
    pub fn resume(&self) -> Option<Head> {
        self.resumes.first().copied()
    }

    /// Epochs that the task has trained for, as far as the ledger was told.
    fn reached(&self) -> u32 {
        (self.interim.as_ref()).map_or(0, |interim| interim.curve.reached())
    }

    /// Makes a checkpoint the one to go on from.
    pub(super) fn resume_from(&mut self, head: Head) {
        let older = self.resumes.iter().copied();
        self.resumes = std::iter::once(head)
            .chain(older)
            .take(RESUMES_KEPT)
            .collect();
    }

    /// Forgets a checkpoint to go on from; the one before it takes its place.
    pub(super) fn forget_resume(&mut self, head: Head) {
        let others = self.resumes.iter().copied().filter(|known| *known != head);
        self.resumes = others.collect();
    }

    /// The open state that fits.
    pub fn settle(self, needs: Needs, not_before_ms: u64) -> TaskState {
        if !needs.wanted {
            TaskState::Cancelled(Cancelled { kept: self })
        } else if self.reached() >= needs.allowed {
            TaskState::Parked(Parked {
                kept: self,
                not_before_ms,
            })
        } else if needs.parents_lost > 0 {
            TaskState::Blocked(Blocked { kept: self })
        } else if needs.parents_left > 0 {
            TaskState::Waiting(Waiting { kept: self })
        } else {
            TaskState::Ready(Ready {
                kept: self,
                not_before_ms,
            })
        }
    }
}

impl Ready {
    /// Gives a worker the right to the task, and its members with it.
    pub fn lease(self, worker: WorkerId, members: &[WorkerId], expires_at_ms: u64) -> Leased {
        Leased::new(self.kept, worker, members, expires_at_ms)
    }
}

impl Leased {
    /// A lease of which nobody has been heard.
    pub(super) fn new(
        kept: Kept,
        worker: WorkerId,
        members: &[WorkerId],
        expires_at_ms: u64,
    ) -> Self {
        let held = |worker: &WorkerId| Held::new(worker.clone(), expires_at_ms);
        Self {
            kept,
            leader: Held::new(worker, expires_at_ms),
            members: members.iter().map(held).collect(),
        }
    }

    /// The parts of its workers in the order of their nodes.
    pub fn parts(&self) -> impl Iterator<Item = &Held> + Clone {
        std::iter::once(&self.leader).chain(&self.members)
    }

    /// Workers that hold it.
    pub fn nodes(&self) -> u32 {
        u32::try_from(self.members.len()).map_or(u32::MAX, |members| members.saturating_add(1))
    }

    /// The part of one worker, by its place.
    pub fn part(&self, node: u32) -> Option<&Held> {
        self.parts().nth(node as usize)
    }

    /// Until when it lives unless it is renewed: for as long as every part does.
    pub fn expires_at_ms(&self) -> u64 {
        let members = (self.members.iter()).filter(|_| !planted(Bug::MemberLossIgnored));
        let ends = members.map(|part| part.expires_at_ms);
        ends.fold(self.leader.expires_at_ms, u64::min)
    }

    /// Extends the right of one worker, by its place.
    #[must_use]
    pub fn renew(mut self, node: u32, expires_at_ms: u64) -> Self {
        let part = match (node as usize).checked_sub(1) {
            None => Some(&mut self.leader),
            Some(member) => self.members.get_mut(member),
        };
        if let Some(part) = part {
            part.expires_at_ms = expires_at_ms;
            part.renewed = true;
        }
        self
    }

    /// Ends the task with its result, or returns the lease if an output is missing. The resume
    /// checkpoint has served and is forgotten.
    pub fn finish(self, outputs: usize, observation: Box<Observation>) -> Result<Done, Self> {
        let committed: Box<[Head]> = self.kept.outputs.iter().copied().flatten().collect();
        if committed.len() == outputs {
            Ok(Done {
                outputs: committed,
                observation,
                dropped: false,
            })
        } else {
            Err(self)
        }
    }

    /// Takes the right back; the task will be tried again when it is ready. `spent` is how the
    /// attempt ended, if that counts.
    pub fn end(self, spent: Option<FailureClass>, needs: Needs, not_before_ms: u64) -> TaskState {
        self.spend(spent).settle(needs, not_before_ms)
    }

    /// Takes the right back for good.
    pub fn give_up(self, spent: Option<FailureClass>) -> GaveUp {
        GaveUp {
            kept: self.spend(spent),
        }
    }

    /// Takes the right back where the task stopped; it goes on when a sweep lets it.
    pub fn stop(self, interim: Interim, needs: Needs) -> TaskState {
        let mut kept = self.kept;
        // A task that lost its checkpoint and began anew measures the same again.
        if interim.curve.reached() > kept.reached() {
            kept.interim = Some(Box::new(interim));
        }
        kept.settle(needs, 0)
    }

    /// Takes the right back because no sweep wants the task any more.
    pub fn cancel(self) -> Cancelled {
        Cancelled { kept: self.kept }
    }

    fn spend(self, spent: Option<FailureClass>) -> Kept {
        let mut kept = self.kept;
        if let Some(class) = spent {
            kept.spent = kept.spent.and(class);
        }
        kept
    }
}

impl Done {
    /// Takes the result back because the output at `bad` cannot be read. The task starts anew; its
    /// other outputs stay until it commits them again.
    pub fn redo(self, bad: usize, needs: Needs) -> TaskState {
        let mut outputs: Box<[Option<Head>]> = self.outputs.into_iter().map(Some).collect();
        if let Some(output) = outputs.get_mut(bad) {
            *output = None;
        }
        let kept = Kept {
            outputs,
            ..Kept::default()
        };
        kept.settle(needs, 0)
    }

    /// Gives the outputs up; the result stays.
    #[must_use]
    pub fn drop_outputs(self) -> Self {
        Self {
            dropped: true,
            ..self
        }
    }

    /// Takes the result back because somebody needs the outputs that are gone.
    pub fn remake(self, needs: Needs) -> TaskState {
        Kept::default().settle(needs, 0)
    }
}

impl GaveUp {
    /// Makes the task open again with all its attempts: a person asked again.
    pub fn revive(self, needs: Needs) -> TaskState {
        let kept = Kept {
            spent: Spent::default(),
            ..self.kept
        };
        kept.settle(needs, 0)
    }
}

/// The name of a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StateName {
    /// [`TaskState::Waiting`].
    Waiting,
    /// [`TaskState::Ready`].
    Ready,
    /// [`TaskState::Leased`].
    Leased,
    /// [`TaskState::Done`].
    Done,
    /// [`TaskState::GaveUp`].
    GaveUp,
    /// [`TaskState::Blocked`].
    Blocked,
    /// [`TaskState::Parked`].
    Parked,
    /// [`TaskState::Cancelled`].
    Cancelled,
}

impl TaskState {
    /// The state's name.
    pub const fn name(&self) -> StateName {
        match self {
            Self::Waiting(_) => StateName::Waiting,
            Self::Ready(_) => StateName::Ready,
            Self::Leased(_) => StateName::Leased,
            Self::Done(_) => StateName::Done,
            Self::GaveUp(_) => StateName::GaveUp,
            Self::Blocked(_) => StateName::Blocked,
            Self::Parked(_) => StateName::Parked,
            Self::Cancelled(_) => StateName::Cancelled,
        }
    }

    /// What attempts have left; a done task has nothing but its result.
    pub const fn kept(&self) -> Option<&Kept> {
        match self {
            Self::Waiting(state) => Some(&state.kept),
            Self::Ready(state) => Some(&state.kept),
            Self::Leased(state) => Some(&state.kept),
            Self::Done(_) => None,
            Self::GaveUp(state) => Some(&state.kept),
            Self::Blocked(state) => Some(&state.kept),
            Self::Parked(state) => Some(&state.kept),
            Self::Cancelled(state) => Some(&state.kept),
        }
    }

    /// The same, to change.
    pub(super) const fn kept_mut(&mut self) -> Option<&mut Kept> {
        match self {
            Self::Waiting(state) => Some(&mut state.kept),
            Self::Ready(state) => Some(&mut state.kept),
            Self::Leased(state) => Some(&mut state.kept),
            Self::Done(_) => None,
            Self::GaveUp(state) => Some(&mut state.kept),
            Self::Blocked(state) => Some(&mut state.kept),
            Self::Parked(state) => Some(&mut state.kept),
            Self::Cancelled(state) => Some(&mut state.kept),
        }
    }

    /// The committed output at `index` in the order of the spec's, if it is still there.
    pub fn output(&self, index: usize) -> Option<Head> {
        match self {
            Self::Done(done) if done.dropped => None,
            Self::Done(_)
            | Self::Waiting(_)
            | Self::Ready(_)
            | Self::Leased(_)
            | Self::GaveUp(_)
            | Self::Blocked(_)
            | Self::Parked(_)
            | Self::Cancelled(_) => self.head(index),
        }
    }

    /// The same, whether it is still there or not.
    pub(super) fn head(&self, index: usize) -> Option<Head> {
        match self {
            Self::Done(done) => done.outputs.get(index).copied(),
            Self::Waiting(_)
            | Self::Ready(_)
            | Self::Leased(_)
            | Self::GaveUp(_)
            | Self::Blocked(_)
            | Self::Parked(_)
            | Self::Cancelled(_) => self.kept()?.outputs.get(index).copied().flatten(),
        }
    }

    /// What it measured, if it is done.
    pub fn result(&self) -> Option<&Observation> {
        if let Self::Done(done) = self {
            return Some(&done.observation);
        }
        None
    }

    /// What its epochs have measured, as far as the ledger was told.
    pub fn curve(&self) -> &LearningCurve {
        static NONE: LearningCurve = LearningCurve {
            images: 0,
            epochs: Vec::new(),
        };
        if let Some(result) = self.result() {
            return &result.curve;
        }
        self.interim().map_or(&NONE, |interim| &interim.curve)
    }

    /// Seconds that trainers have worked on it, as far as the ledger was told.
    pub fn seconds(&self) -> f64 {
        if let Some(result) = self.result() {
            return result.seconds;
        }
        self.interim().map_or(0.0, |interim| interim.seconds)
    }

    fn interim(&self) -> Option<&Interim> {
        self.kept()?.interim.as_deref()
    }

    /// Whether the task has its result.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Whether all tasks that read from this one can start.
    pub const fn is_readable(&self) -> bool {
        matches!(self, Self::Done(done) if !done.dropped)
    }

    /// Whether tasks that need more of this one than there is are blocked.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::GaveUp(_) | Self::Blocked(_))
    }

    /// The state that fits after `needs` has changed: an open task settles, and a lease that no
    /// sweep wants ends.
    pub(super) fn resettle(self, needs: Needs) -> Self {
        match self {
            Self::Waiting(Waiting { kept })
            | Self::Blocked(Blocked { kept })
            | Self::Cancelled(Cancelled { kept }) => kept.settle(needs, 0),
            Self::Ready(ready) => ready.kept.settle(needs, ready.not_before_ms),
            Self::Parked(parked) => parked.kept.settle(needs, parked.not_before_ms),
            Self::Leased(lease) if !needs.wanted && !planted(Bug::CancelKeepsLeases) => {
                Self::Cancelled(lease.cancel())
            }
            Self::Leased(_) | Self::Done(_) | Self::GaveUp(_) => self,
        }
    }
}

impl Default for TaskState {
    /// Wanted by nobody, with nothing left by attempts: how every task begins.
    fn default() -> Self {
        Self::Cancelled(Cancelled {
            kept: Kept::default(),
        })
    }
}
