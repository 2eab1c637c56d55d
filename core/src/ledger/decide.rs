//! Decisions about sweeps and about new leases.

use std::collections::BTreeMap;

use super::turn::Pick;
use super::{
    Acquired, Asker, CancelRefusal, Change, Company, Decision, Event, Grant, Ledger, Next,
    PauseRefusal, Submission, SubmitRefusal, Submitted, TaskState,
};
use crate::checkpoint::CheckpointRole;
use crate::growth::ALL_EPOCHS;
use crate::id::{SweepName, TaskId, WorkerId};
use crate::lease::LeaseClaim;
use crate::offer::Offer;
use crate::plan::Plan;
use crate::planted::{Bug, planted};

/// Tasks in all sweeps are numbered in 32 bits.
const TASK_LIMIT: u64 = u32::MAX as u64;

impl<T> Decision<T> {
    /// Nothing changes.
    pub(super) const fn unchanged(outcome: T) -> Self {
        Self {
            events: Vec::new(),
            outcome,
        }
    }
}

impl Ledger {
    /// Adds a sweep, or gives the one of the same name another plan. Tasks that have results keep
    /// them, but for those whose outputs are gone and that a new task reads from; those that gave up
    /// are open again with all their attempts, because a person has asked again, those that were
    /// cancelled with what they had left. Tasks that no sweep wants any more are cancelled.
    pub fn submit(&self, submission: Submission) -> Result<Decision<Submitted>, SubmitRefusal> {
        let plan = &submission.plan;
        self.check(plan)?;
        let is_done = |task: TaskId| match self.task(task) {
            Some(known) => known.state().is_done(),
            None => (self.strays.get(&task))
                .is_some_and(|record| matches!(record.state, super::RecordedState::Done { .. })),
        };
        let done = (plan.tasks.iter()).filter(|task| is_done(task.id)).count();
        let outcome = Submitted {
            tasks: plan.tasks.len() as u64,
            done: done as u64,
        };
        Ok(Decision {
            events: vec![Event::Submitted(submission)],
            outcome,
        })
    }

    fn check(&self, plan: &Plan) -> Result<(), SubmitRefusal> {
        let found = self.tasks.len() as u64 + plan.tasks.len() as u64;
        if found > TASK_LIMIT {
            return Err(SubmitRefusal::TooManyTasks {
                found,
                limit: TASK_LIMIT,
            });
        }
        let mut before: BTreeMap<TaskId, usize> = BTreeMap::new();
        for (place, planned) in plan.tasks.iter().enumerate() {
            let task = planned.id;
            for input in planned.spec.inputs() {
                let parent = input.task;
                let Some(&parent_place) = before.get(&parent) else {
                    return Err(SubmitRefusal::ParentMissing { task, parent });
                };
                if !(plan.tasks[parent_place].spec.outputs()).contains(&input.output) {
                    return Err(SubmitRefusal::OutputMissing { task, parent });
                }
            }
            if before.insert(task, place).is_some() {
                return Err(SubmitRefusal::TaskTwice { task });
            }
        }
        Ok(())
    }

    /// Stops or starts the granting of a sweep's tasks. Running ones go on.
    pub fn pause(&self, sweep: &SweepName, paused: bool) -> Result<Decision<Change>, PauseRefusal> {
        let known = (self.sweep(sweep)).ok_or_else(|| PauseRefusal::UnknownSweep(sweep.clone()))?;
        if known.is_cancelled() {
            return Err(PauseRefusal::Cancelled(sweep.clone()));
        }
        if known.is_paused() == paused {
            return Ok(Decision::unchanged(Change::Unchanged));
        }
        Ok(Decision {
            events: vec![Event::Paused {
                sweep: sweep.clone(),
                paused,
            }],
            outcome: Change::Changed,
        })
    }

    /// Ends a sweep. Results stay; tasks that another sweep wants go on.
    pub fn cancel(&self, sweep: &SweepName) -> Result<Decision<Change>, CancelRefusal> {
        let known =
            (self.sweep(sweep)).ok_or_else(|| CancelRefusal::UnknownSweep(sweep.clone()))?;
        if known.is_cancelled() {
            return Ok(Decision::unchanged(Change::Unchanged));
        }
        Ok(Decision {
            events: vec![Event::Cancelled {
                sweep: sweep.clone(),
            }],
            outcome: Change::Changed,
        })
    }

    /// Leases the next task to a worker that asks alone: none that is for several.
    pub fn acquire(&self, worker: &WorkerId, offer: &Offer, now_ms: u64) -> Decision<Acquired> {
        self.acquire_among(Asker::alone(worker, offer), Company::default(), now_ms)
    }

    /// Leases the next task to a worker, or to it and others that wait.
    ///
    /// A worker holds one lease at a time: one that asks while it holds one has lost the answer or
    /// its own memory. Its lease ends, as a failure if it had begun to work on it, and it gets the
    /// same task with the next generation, unless that cannot run any more or is for several.
    pub fn acquire_among(
        &self,
        asker: Asker<'_>,
        company: Company<'_>,
        now_ms: u64,
    ) -> Decision<Acquired> {
        let mut events = Vec::new();
        let mut picked = None;
        if let Some(&slot) = self.holders.get(asker.worker)
            && !planted(Bug::SecondLease)
            && let TaskState::Leased(lease) = &self.at(slot).state
            && let Some(part) = lease.parts().find(|part| part.worker == *asker.worker)
        {
            let event = if part.renewed {
                let why = "its worker asked for another task";
                self.lose(slot, lease, part, why, now_ms)
            } else {
                Event::Ended {
                    task: self.at(slot).id(),
                    failure: None,
                    next: Next::Again { not_before_ms: 0 },
                }
            };
            let counted = self.again(slot, &event, now_ms);
            picked = counted.map(|(sweep, counted)| (slot, sweep, Box::default(), counted));
            events.push(event);
        }
        let (slot, sweep, members, counted) = match picked {
            Some(picked) => picked,
            None => match self.pick(asker, company, now_ms) {
                Pick::Task {
                    slot,
                    sweep,
                    members,
                } => (slot, sweep, members, false),
                Pick::Wait => {
                    let outcome = Acquired::Kept;
                    return Decision { events, outcome };
                }
                Pick::Nothing => {
                    // A lease that just ended may have made a task ready; the next call will see it.
                    let idle = events.is_empty() && self.is_idle();
                    let outcome = Acquired::Nothing { idle };
                    return Decision { events, outcome };
                }
            },
        };
        let (event, grant) = self.grant(slot, sweep, counted, (asker.worker, members), now_ms);
        events.push(event);
        Decision {
            events,
            outcome: Acquired::Granted(Box::new(grant)),
        }
    }

    /// Whether the worker whose lease ends by this event gets the same task again at once: for which
    /// sweep, and whether one more attempt counts by then.
    fn again(&self, slot: u32, event: &Event, now_ms: u64) -> Option<(u32, bool)> {
        let task = self.at(slot);
        let Event::Ended {
            failure,
            next: Next::Again { not_before_ms },
            ..
        } = event
        else {
            return None;
        };
        let sweep = self.grantor(slot)?;
        let needs = &self.sweeps[sweep as usize].terms.needs;
        let is_ready = *not_before_ms <= now_ms && (task.parents_left, task.parents_lost) == (0, 0);
        let is_its_own = is_ready && !needs.is_for_a_group() && self.has_room(sweep, slot, now_ms);
        is_its_own.then(|| (sweep, failure.as_ref().is_some_and(|it| it.counted)))
    }

    /// A lease on the task at `slot` for a sweep, to a worker and its members; one more of the task's
    /// attempts has just been `counted`, or not.
    fn grant(
        &self,
        slot: u32,
        sweep: u32,
        counted: bool,
        (worker, members): (&WorkerId, Box<[WorkerId]>),
        now_ms: u64,
    ) -> (Event, Grant) {
        let task = self.at(slot);
        let claim = LeaseClaim {
            task: task.id(),
            generation: if planted(Bug::GenerationNotRaised) && task.generation.0 > 0 {
                task.generation
            } else {
                task.generation.next()
            },
        };
        let event = Event::Leased {
            claim,
            worker: worker.clone(),
            members: members.clone(),
            at_ms: now_ms,
            expires_at_ms: self.lives_until(Bug::UnheardLivesForEver, now_ms),
        };
        let kept = task.state.kept();
        let attempts = kept.map_or(0, |kept| kept.spent.attempts());
        let inputs = (task.spec().inputs().into_iter())
            .filter_map(|input| {
                let parent = self.task(input.task)?;
                let outputs = parent.spec().outputs();
                let index = outputs.iter().position(|output| *output == input.output)?;
                let role = CheckpointRole::Output(input.output.clone());
                Some(parent.state.output(index)?.reference(input.task, role))
            })
            .collect();
        let resume = (kept.and_then(super::Kept::resume))
            .map(|head| head.reference(claim.task, CheckpointRole::Resume));
        let grant = Grant {
            claim,
            members,
            ranks: self.sweeps[sweep as usize].terms.needs.gpus_per_node(),
            attempt: attempts + u32::from(counted) + 1,
            sweep: self.sweeps[sweep as usize].name.clone(),
            inputs,
            resume,
            stop_after: Some(self.granted(slot))
                .filter(|&epochs| epochs != ALL_EPOCHS && !planted(Bug::RungPassed)),
        };
        (event, grant)
    }
}
