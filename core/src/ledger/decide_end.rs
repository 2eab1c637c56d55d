//! Decisions about leases that there are: what their holders say, and what time does to them.

use super::{
    Adoption, AfterFailure, CommitRefusal, Decision, Event, FailRefusal, Failure, FailureReport,
    Finish, FinishRefusal, Head, Held, Leased, Ledger, Next, NotHeld, RecordedState, Release,
    ReleaseRefusal, RenewRefusal, Renewal, Task, TaskRecord, TaskState,
};
use crate::checkpoint::{CheckpointRef, CheckpointRole};
use crate::failure::FailureClass;
use crate::id::WorkerId;
use crate::lease::{LeaseClaim, LeasePart};
use crate::observation::{Interim, Observation};
use crate::planted::{Bug, planted};
use crate::recipe::Granularity;
use crate::retry::Limit;
use crate::task::Work;

/// Says what a claim is worth.
enum Hold<'a> {
    /// The claim's lease lives.
    Held(u32, &'a Leased),
    /// The claim's lease was the task's latest, and has ended.
    Ended(u32, &'a Task),
    /// The same, of a task that no sweep has had since the last restart.
    Stray(&'a TaskRecord),
}

impl Ledger {
    /// Extends one worker's part of a lease.
    ///
    /// A member whose group's lease has ended under its generation is told to stop: how it ended is for
    /// the leader to know.
    pub fn renew(
        &self,
        part: impl Into<LeasePart>,
        now_ms: u64,
    ) -> Result<Decision<Renewal>, RenewRefusal> {
        let LeasePart { claim, node } = part.into();
        match self.hold(self.believed(Bug::RenewUnfenced, claim))? {
            Hold::Held(_, lease) => {
                part_of(lease, node)?;
                Ok(Decision {
                    events: vec![Event::Renewed {
                        task: claim.task,
                        node,
                        expires_at_ms: self.lives_until(Bug::RenewedLivesForEver, now_ms),
                    }],
                    outcome: Renewal::Continue,
                })
            }
            Hold::Ended(_, task) if node > 0 || matches!(task.state, TaskState::Cancelled(_)) => {
                Ok(Decision::unchanged(Renewal::Stop))
            }
            Hold::Stray(_) if node > 0 => Ok(Decision::unchanged(Renewal::Stop)),
            Hold::Ended(_, task) => Err(ended(task).into()),
            Hold::Stray(record) if record.is_done() => Err(record.ended().into()),
            Hold::Stray(_) => Ok(Decision::unchanged(Renewal::Stop)),
        }
    }

    /// Makes an uploaded checkpoint its task's own.
    pub fn commit(
        &self,
        claim: LeaseClaim,
        checkpoint: CheckpointRef,
    ) -> Result<Decision<Adoption>, CommitRefusal> {
        let hold = self.hold(self.believed(Bug::CommitUnfenced, claim))?;
        if (checkpoint.task, checkpoint.generation) != (claim.task, claim.generation) {
            return Err(CommitRefusal::NotTheClaims {
                task: checkpoint.task,
                generation: checkpoint.generation,
            });
        }
        let head = Head::of(&checkpoint);
        let slot = match hold {
            Hold::Held(slot, _) | Hold::Ended(slot, _) => slot,
            Hold::Stray(record) if record.head(&checkpoint.role) == Some(head) => {
                return Ok(Decision::unchanged(Adoption::Repeated));
            }
            Hold::Stray(record) => return Err(record.ended().into()),
        };
        let known = self.known_head(slot, &checkpoint.role)?;
        if known == Some(head) {
            return Ok(Decision::unchanged(Adoption::Repeated));
        }
        if let Hold::Ended(_, task) = hold {
            return Err(ended(task).into());
        }
        let is_handed_out = checkpoint.role != CheckpointRole::Resume
            && known.is_some_and(|known| known.generation != head.generation)
            && self.at(slot).spec().hands_out_early();
        if is_handed_out {
            // Readers may have begun from the one there is.
            return Ok(Decision::unchanged(Adoption::Older));
        }
        match known {
            Some(known) if known.order() > head.order() && !planted(Bug::OlderReplacesNewer) => {
                Ok(Decision::unchanged(Adoption::Older))
            }
            Some(known) if known.order() == head.order() => {
                Err(CommitRefusal::Different { step: head.step })
            }
            Some(_) | None => Ok(Decision {
                events: vec![Event::Adopted { checkpoint }],
                outcome: Adoption::Adopted,
            }),
        }
    }

    fn known_head(&self, slot: u32, role: &CheckpointRole) -> Result<Option<Head>, CommitRefusal> {
        let task = self.at(slot);
        match role {
            CheckpointRole::Resume => {
                let kept = task.state.kept();
                Ok(kept.and_then(super::Kept::resume))
            }
            CheckpointRole::Output(name) => {
                let outputs = task.spec().outputs();
                let Some(index) = outputs.iter().position(|output| output == name) else {
                    return Err(CommitRefusal::UnknownOutput {
                        found: name.clone(),
                        outputs,
                    });
                };
                Ok(if planted(Bug::DroppedCommitRefused) {
                    task.state.output(index)
                } else {
                    task.state.head(index)
                })
            }
        }
    }

    /// Ends a task with its result.
    pub fn finish(
        &self,
        claim: LeaseClaim,
        observation: Observation,
    ) -> Result<Decision<Finish>, FinishRefusal> {
        match self.hold(self.believed(Bug::FinishUnfenced, claim))? {
            Hold::Ended(_, task)
                if task.state.is_done() && !planted(Bug::RepeatedFinishRefused) =>
            {
                Ok(Decision::unchanged(Finish::Repeated))
            }
            Hold::Stray(record) if record.is_done() => Ok(Decision::unchanged(Finish::Repeated)),
            Hold::Stray(record) => Err(record.ended().into()),
            Hold::Ended(_, task) => Err(ended(task).into()),
            Hold::Held(slot, _) => {
                let task = self.at(slot);
                let missing: Vec<String> = (task.spec().outputs().into_iter().enumerate())
                    .filter(|(index, _)| task.state.output(*index).is_none())
                    .map(|(_, name)| name)
                    .collect();
                if !missing.is_empty() {
                    return Err(FinishRefusal::OutputsMissing { missing });
                }
                check_observation(task, &observation, self.counts_are_exact(task))?;
                Ok(Decision {
                    events: vec![Event::Finished {
                        task: claim.task,
                        observation: Box::new(observation),
                    }],
                    outcome: Finish::Finished,
                })
            }
        }
    }

    /// Ends an attempt without a result, for all of its workers by the word of one.
    ///
    /// A checkpoint that was refused by its digest is set aside if it still is what the next
    /// attempt would start from: the task's own resume head is dropped, and the output of another
    /// task sends that task back to be done again. A checkpoint that has been replaced in the
    /// meantime costs no attempt, and neither does a store that cannot be reached.
    pub fn fail(
        &self,
        part: impl Into<LeasePart>,
        report: FailureReport,
        now_ms: u64,
    ) -> Result<Decision<AfterFailure>, FailRefusal> {
        let LeasePart { claim, node } = part.into();
        let (slot, lease) = match self.hold(self.believed(Bug::FailUnfenced, claim))? {
            Hold::Held(slot, lease) => (slot, lease),
            Hold::Ended(_, task) => return Ok(Decision::unchanged(repeated_failure(task)?)),
            Hold::Stray(record) if record.is_done() => return Err(record.ended().into()),
            // As for a task that was cancelled.
            Hold::Stray(_) => return Ok(Decision::unchanged(AfterFailure::GaveUp)),
        };
        let worker = part_of(lease, node)?.worker.clone();
        let mut events = Vec::new();
        let mut counted = true;
        if let Some(checkpoint) = report.bad_checkpoint
            && report.class == FailureClass::BadCheckpoint
            && self.reads(slot, &checkpoint)
        {
            if self.is_current(&checkpoint) && !planted(Bug::BadCheckpointKept) {
                let maker = self.maker_at_work(slot, &checkpoint);
                events.push(Event::SetAside { checkpoint });
                events.extend(maker);
            } else {
                counted = false;
            }
        }
        let failure = Failure {
            serial: self.next_failure_serial,
            generation: claim.generation,
            attempt: lease.kept.spent.attempts() + 1,
            worker,
            class: report.class,
            message: report.message,
            stderr_tail: report.stderr_tail,
            last_progress: String::new(),
            counted,
        };
        let next = self.after(slot, lease, &failure, now_ms);
        events.push(Event::Ended {
            task: claim.task,
            failure: Some(Box::new(failure)),
            next,
        });
        let outcome = match next {
            Next::Again { .. } => AfterFailure::WillRetry,
            Next::GiveUp => AfterFailure::GaveUp,
        };
        Ok(Decision { events, outcome })
    }

    /// The end of a lease, which costs no attempt: that of the task which made the net that its reader
    /// at `slot` finds damaged, if it is still at work. Its worker has handed that output out and would
    /// not write it again; the next attempt begins with that, from its last resume checkpoint.
    fn maker_at_work(&self, slot: u32, checkpoint: &CheckpointRef) -> Option<Event> {
        let &maker = self.slots.get(&checkpoint.task)?;
        let is_leased = matches!(self.at(maker).state, TaskState::Leased(_));
        (is_leased && maker != slot && !planted(Bug::MakerGoesOn)).then_some(Event::Ended {
            task: checkpoint.task,
            failure: None,
            next: Next::Again { not_before_ms: 0 },
        })
    }

    /// Whether `checkpoint` is one that the task at `slot` starts from.
    fn reads(&self, slot: u32, checkpoint: &CheckpointRef) -> bool {
        let task = self.at(slot);
        match &checkpoint.role {
            CheckpointRole::Resume => checkpoint.task == task.id(),
            CheckpointRole::Output(name) => (task.spec().inputs().into_iter())
                .any(|input| input.task == checkpoint.task && input.output == *name),
        }
    }

    /// Whether the next attempt would start from `checkpoint`.
    fn is_current(&self, checkpoint: &CheckpointRef) -> bool {
        (self.slots.get(&checkpoint.task))
            .and_then(|&slot| self.known_head(slot, &checkpoint.role).ok().flatten())
            == Some(Head::of(checkpoint))
    }

    /// Gives a lease back unhurt, for all of its workers. One of them is stopping; the task has lost
    /// nothing.
    pub fn release(&self, part: impl Into<LeasePart>) -> Result<Decision<Release>, ReleaseRefusal> {
        self.stop(part, Interim::default())
    }

    /// Takes back the lease of an attempt that stopped where it was told to, or because its worker is
    /// stopping, with what it has come to. What that is, only the leader says.
    pub fn stop(
        &self,
        part: impl Into<LeasePart>,
        interim: Interim,
    ) -> Result<Decision<Release>, ReleaseRefusal> {
        let part = part.into();
        let claim = part.claim;
        match self.hold(self.believed(Bug::ReleaseUnfenced, claim))? {
            Hold::Held(_, lease) => {
                part_of(lease, part.node)?;
                let interim = if part.is_leaders() {
                    interim
                } else {
                    Interim::default()
                };
                Ok(Decision {
                    events: vec![Event::Stopped {
                        task: claim.task,
                        interim,
                    }],
                    outcome: Release::Released,
                })
            }
            Hold::Ended(..) | Hold::Stray(_) => Ok(Decision::unchanged(Release::Repeated)),
        }
    }

    /// Ends every lease of which one part's time is over. The outcome says how many.
    ///
    /// Workers may vanish at any time, so an attempt that has committed a checkpoint costs
    /// nothing: the next one goes on from there. One that has not counts, or else a task that
    /// kills its worker would be tried for ever.
    pub fn expire(&self, now_ms: u64) -> Decision<usize> {
        let mut serial = self.next_failure_serial;
        let events: Vec<Event> = (self.expiries.range(..=(now_ms, u32::MAX)))
            .filter_map(|&(_, slot)| match &self.at(slot).state {
                TaskState::Leased(lease) => {
                    let is_over = |part: &&Held| part.expires_at_ms <= now_ms;
                    let lost = lease.parts().find(is_over).unwrap_or(&lease.leader);
                    Some(self.lose(slot, lease, lost, "its lease expired", now_ms))
                }
                TaskState::Waiting(_)
                | TaskState::Ready(_)
                | TaskState::Done(_)
                | TaskState::GaveUp(_)
                | TaskState::Blocked(_)
                | TaskState::Parked(_)
                | TaskState::Cancelled(_) => None,
            })
            .map(|mut event| {
                if let Event::Ended {
                    failure: Some(failure),
                    ..
                } = &mut event
                {
                    failure.serial = serial;
                    serial += 1;
                }
                event
            })
            .collect();
        let outcome = events.len();
        Decision { events, outcome }
    }

    /// The end of a lease of which one worker is lost.
    pub(super) fn lose(
        &self,
        slot: u32,
        lease: &Leased,
        lost: &Held,
        why: &str,
        now_ms: u64,
    ) -> Event {
        let task = self.at(slot);
        let generation = task.generation;
        let made_here = |head: &Head| head.generation == generation;
        let progressed = lease.kept.resumes.iter().any(made_here)
            || lease.kept.outputs.iter().flatten().any(made_here);
        let failure = Failure {
            serial: self.next_failure_serial,
            generation,
            attempt: lease.kept.spent.attempts() + 1,
            worker: lost.worker.clone(),
            class: FailureClass::WorkerLost,
            message: format!("the worker {} was lost: {why}", lost.worker),
            stderr_tail: String::new(),
            last_progress: String::new(),
            counted: !progressed,
        };
        let next = self.after(slot, lease, &failure, now_ms);
        Event::Ended {
            task: task.id(),
            failure: Some(Box::new(failure)),
            next,
        }
    }

    /// What becomes of a task whose attempt failed.
    fn after(&self, slot: u32, lease: &Leased, failure: &Failure, now_ms: u64) -> Next {
        let retry = self.retry(slot);
        let before = lease.kept.spent.of(failure.class);
        let failed = before.saturating_add(failure.counted.into());
        match retry.limit(failure.class) {
            Limit::Once => return Next::GiveUp,
            Limit::Attempts(most) if failure.counted && failed >= most => return Next::GiveUp,
            Limit::Attempts(_) | Limit::None => {}
        }
        let claim = LeaseClaim {
            task: self.at(slot).id(),
            generation: failure.generation,
        };
        let wait_ms = match retry.wait_ms(failure.class, failed, claim) {
            _ if planted(Bug::RetriesAtOnce) => 0,
            wait_ms => wait_ms,
        };
        Next::Again {
            not_before_ms: if wait_ms == 0 {
                0
            } else {
                now_ms.saturating_add(wait_ms)
            },
        }
    }

    /// Whether the net of a task has exactly the ReLUs of its budget: unless the search that it
    /// comes from moves whole channels or sites at once.
    fn counts_are_exact(&self, task: &Task) -> bool {
        let mut work = &task.spec().work;
        loop {
            let from = match work {
                Work::Baseline { .. } => return true,
                Work::Replace { recipe, .. } => return recipe.granularity == Granularity::Pixel,
                Work::Finetune { start, .. } => start,
                Work::Evaluate { subject, .. } => subject,
            };
            // Parents are in every plan that their children are in.
            let Some(&slot) = self.slots.get(&from.task) else {
                return true;
            };
            work = &self.at(slot).spec().work;
        }
    }

    /// The worker that holds a part of a lease, if that lives.
    pub fn holder(&self, part: impl Into<LeasePart>) -> Option<&WorkerId> {
        let LeasePart { claim, node } = part.into();
        match self.hold(claim) {
            Ok(Hold::Held(_, lease)) => lease.part(node).map(|part| &part.worker),
            Ok(Hold::Ended(..) | Hold::Stray(_)) | Err(_) => None,
        }
    }

    /// The end of a lease's time, unless a planted bug lets it live for ever.
    pub(super) fn lives_until(&self, bug: Bug, now_ms: u64) -> u64 {
        if planted(bug) {
            return u64::MAX;
        }
        now_ms.saturating_add(self.lease_ttl_ms)
    }

    /// The claim, or what a planted bug makes of it: the latest, whatever it says.
    fn believed(&self, bug: Bug, claim: LeaseClaim) -> LeaseClaim {
        match self.task(claim.task) {
            Some(task) if planted(bug) => LeaseClaim {
                generation: task.generation,
                ..claim
            },
            Some(_) | None => claim,
        }
    }

    fn hold(&self, claim: LeaseClaim) -> Result<Hold<'_>, NotHeld> {
        let Some(&slot) = self.slots.get(&claim.task) else {
            let record = (self.strays.get(&claim.task)).filter(|_| !planted(Bug::StraysUnknown));
            let record = record.ok_or(NotHeld::UnknownTask(claim.task))?;
            if claim.generation != record.generation || claim.generation.0 == 0 {
                return Err(NotHeld::Stale {
                    held: claim.generation,
                    current: record.generation,
                });
            }
            return Ok(Hold::Stray(record));
        };
        let task = self.at(slot);
        if claim.generation != task.generation || claim.generation.0 == 0 {
            return Err(NotHeld::Stale {
                held: claim.generation,
                current: task.generation,
            });
        }
        match &task.state {
            TaskState::Leased(lease) => Ok(Hold::Held(slot, lease)),
            TaskState::Waiting(_)
            | TaskState::Ready(_)
            | TaskState::Done(_)
            | TaskState::GaveUp(_)
            | TaskState::Blocked(_)
            | TaskState::Parked(_)
            | TaskState::Cancelled(_) => Ok(Hold::Ended(slot, task)),
        }
    }
}

impl TaskRecord {
    const fn is_done(&self) -> bool {
        matches!(self.state, RecordedState::Done { .. })
    }

    fn head(&self, role: &CheckpointRole) -> Option<Head> {
        match role {
            CheckpointRole::Resume => self.resume,
            CheckpointRole::Output(name) => self.outputs.get(name).copied(),
        }
    }

    const fn ended(&self) -> NotHeld {
        NotHeld::Stale {
            held: self.generation,
            current: self.generation,
        }
    }
}

fn part_of(lease: &Leased, node: u32) -> Result<&Held, NotHeld> {
    let nodes = lease.nodes();
    lease.part(node).ok_or(NotHeld::NoPart { node, nodes })
}

const fn ended(task: &Task) -> NotHeld {
    NotHeld::Stale {
        held: task.generation,
        current: task.generation,
    }
}

/// The answer to a failure whose lease has ended: what it was, if it was by this very failure.
fn repeated_failure(task: &Task) -> Result<AfterFailure, NotHeld> {
    let reported = (task.failures.last()).is_some_and(|failure| {
        failure.generation == task.generation && failure.class != FailureClass::WorkerLost
    });
    match &task.state {
        TaskState::GaveUp(_) if reported => Ok(AfterFailure::GaveUp),
        TaskState::Waiting(_)
        | TaskState::Ready(_)
        | TaskState::Blocked(_)
        | TaskState::Parked(_)
            if reported =>
        {
            Ok(AfterFailure::WillRetry)
        }
        // The task was cancelled under its worker, which has no reason to hear of a refusal.
        TaskState::Cancelled(_) => Ok(AfterFailure::GaveUp),
        TaskState::Waiting(_)
        | TaskState::Ready(_)
        | TaskState::Blocked(_)
        | TaskState::Parked(_)
        | TaskState::GaveUp(_)
        | TaskState::Leased(_)
        | TaskState::Done(_) => Err(ended(task)),
    }
}

/// A net is only reported at exactly the ReLUs that were asked for, out of the full network's, and
/// only evaluations have seen the test set.
///
/// Where whole channels or sites share an indicator (not `exact`), a budget need not be a sum of
/// their sizes: then a net may have fewer.
fn check_observation(
    task: &Task,
    observation: &Observation,
    exact: bool,
) -> Result<(), FinishRefusal> {
    let spec = task.spec();
    let total = spec.net.relu_total(spec.data.name.input());
    if observation.relu_total != total {
        return Err(FinishRefusal::WrongReluTotal {
            total,
            found: observation.relu_total,
        });
    }
    let found = observation.relu_count;
    let (budget, evaluates) = match &spec.work {
        Work::Baseline { .. } => (total, false),
        Work::Replace { budgets, .. } if budgets.contains(&found) => (found, false),
        Work::Replace { budgets, .. } if !exact && budgets.iter().any(|most| found <= *most) => {
            (found, false)
        }
        Work::Replace { budgets, .. } => {
            return Err(FinishRefusal::NoBudgetsReluCount {
                budgets: budgets.clone(),
                found,
            });
        }
        Work::Finetune { budget, .. } => (*budget, false),
        Work::Evaluate { budget, .. } => (*budget, true),
    };
    if found > budget || (exact && found != budget) {
        return Err(FinishRefusal::WrongReluCount { budget, found });
    }
    if evaluates != observation.test.is_some() {
        return Err(FinishRefusal::WrongTestAccuracy);
    }
    Ok(())
}
