//! What workers ask.

use std::sync::Arc;

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::id::WorkerId;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::ledger::{Adoption, AfterFailure, FailureReport, Renewal};
use autorep_core::observation::{Interim, Observation};
use autorep_core::roster::{Limits, Registered};
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use super::Owner;
use crate::ask::{Ask, OfGroup, Registration, Reply, Work};
use crate::config::millis;
use crate::measure;
use crate::refuse::OnTheWire as _;
use crate::state::StateStore;

/// How long a request for work waits when there is none to come, so that workers who ask again at
/// once do no harm.
const IDLE_HOLD_MS: u64 = 250;

/// Longer than a worker is silent while it waits for a task: it asks every ten seconds. One that has a
/// lease says something with each renewal.
const LIVING_MS: u64 = 30_000;

/// A request for work that waits for some.
pub(super) struct Waiter {
    pub(super) worker: WorkerId,
    started_unix_ns: u64,
    deadline_ms: u64,
    idle_at_ms: u64,
    pub(super) reply: Reply<Work>,
}

impl Waiter {
    /// When it is to be answered empty-handed.
    pub(super) fn wake_ms(&self, idle: bool) -> u64 {
        if idle {
            self.idle_at_ms.min(self.deadline_ms)
        } else {
            self.deadline_ms
        }
    }
}

impl<S: StateStore> Owner<S> {
    pub(super) fn register(
        &mut self,
        worker: &WorkerId,
        registration: Registration,
        now_ms: u64,
        reply: Reply<()>,
    ) {
        let Registration {
            device,
            machine,
            started_unix_ns,
            offer,
        } = registration;
        let registered = Registered {
            device,
            machine,
            started_unix_ns,
            offer: Arc::new(offer),
            seen_ms: now_ms,
        };
        let told = registered.clone();
        let limits = Limits {
            workers: self.config.max_workers,
            living_ms: LIVING_MS.max(2 * millis(self.config.renew_every)),
        };
        let succeeds = self.roster.register(worker.clone(), registered, limits);
        match &succeeds {
            Ok(succeeds) => {
                let Registered {
                    device,
                    machine,
                    offer,
                    ..
                } = &told;
                tracing::info!(%worker, device, machine, %offer, in_anothers_place = succeeds, "worker registers");
            }
            Err(refusal) => {
                if let Some(untold) = self.refusals.tell() {
                    tracing::warn!(%worker, %refusal, untold, "a worker is not let in");
                }
            }
        }
        let answer = succeeds.map(|_| ()).map_err(|it| it.on_the_wire());
        self.answer(reply, answer);
    }

    /// Answers a request for work of a process whose place another has taken.
    fn turn_replaced_away(&mut self, worker: &WorkerId) {
        if let Some(at) = (self.waiters.iter()).position(|waiter| waiter.worker == *worker)
            && let Some(waiter) = self.waiters.get(at)
            && !self.roster.knows(worker, waiter.started_unix_ns)
            && let Some(waiter) = self.waiters.remove(at)
        {
            let refusal = Refusal::UnknownWorker(worker.0.clone());
            drop(waiter.reply.send(Err(refusal)));
        }
    }

    /// Puts a request for work among those that wait; all are served at the turn's end.
    pub(super) fn acquire(
        &mut self,
        worker: WorkerId,
        started_unix_ns: u64,
        wait_ms: u64,
        now_ms: u64,
        reply: Reply<Work>,
    ) {
        if self.roster.succeed(&worker, started_unix_ns) {
            tracing::info!(%worker, "another process takes the worker's place");
            self.turn_replaced_away(&worker);
        }
        if !self.roster.knows(&worker, started_unix_ns) {
            let refusal = Refusal::UnknownWorker(worker.0);
            return self.answer(reply, Err(refusal));
        }
        self.roster.heard(&worker, now_ms);
        let wait_ms = wait_ms.min(millis(self.config.max_acquire_wait));
        let waiter = Waiter {
            worker,
            started_unix_ns,
            deadline_ms: now_ms + wait_ms,
            idle_at_ms: now_ms + wait_ms.min(IDLE_HOLD_MS),
            reply,
        };
        // A worker that asks again has given up its earlier request.
        if let Some(at) = (self.waiters.iter()).position(|other| other.worker == waiter.worker)
            && let Some(earlier) = self.waiters.remove(at)
        {
            let text = "a newer request of this worker has taken its place".to_owned();
            drop(earlier.reply.send(Err(Refusal::Unavailable(text))));
        }
        self.waiters.push_back(waiter);
    }

    /// Ends a lease that its worker has never heard of.
    pub(super) fn take_back(&mut self, claim: LeaseClaim) {
        if let Ok(decision) = self.ledger.release(claim) {
            self.apply(decision);
        }
    }

    /// Answers a renewal of a lease that lives, at once; gives everything else back. That a lease
    /// has ended may not be durable yet, so nobody is told.
    pub(super) fn renew_meanwhile(&mut self, ask: Ask) -> Option<Ask> {
        if let Ask::Renew { part, .. } = &ask
            && self.ledger.holder(*part).is_none()
        {
            return Some(ask);
        }
        let Ask::Renew {
            part,
            progress,
            group,
            reply,
        } = ask
        else {
            return Some(ask);
        };
        let now_ms = self.clock.now_ms();
        let answer = self.renewed(part, progress, group, now_ms);
        // Nobody waits any more where sending fails.
        drop(reply.send(answer));
        None
    }

    pub(super) fn renewed(
        &mut self,
        part: LeasePart,
        progress: Option<v1::Progress>,
        group: OfGroup,
        now_ms: u64,
    ) -> Result<v1::RenewResponse, Refusal> {
        let answer = self.decide(self.ledger.renew(part, now_ms));
        let answer = answer.map(|renewal| match renewal {
            Renewal::Stop => v1::Directive::Stop,
            Renewal::Continue if !part.is_leaders() => {
                if group.leaving {
                    self.meetings.part(part.claim);
                }
                v1::Directive::Continue
            }
            Renewal::Continue => {
                let task = part.claim.task;
                if let Some(progress) = progress {
                    let before = self.progress.insert(task, progress);
                    if before.is_none_or(|before| before.step < progress.step) {
                        self.sampler.goes_on();
                    }
                }
                if let Some(place) = group.rendezvous {
                    self.meetings.set(part.claim, place);
                }
                if self.meetings.is_parting(part.claim) {
                    return v1::Directive::Release;
                }
                // A directive that gets lost on its way is not repeated: the person asks again.
                if self.checkpoints_wanted.remove(&task) {
                    v1::Directive::Checkpoint
                } else {
                    v1::Directive::Continue
                }
            }
        });
        if let Some(worker) = self.ledger.holder(part).cloned() {
            self.roster.heard(&worker, now_ms);
        }
        let place = self.meetings.of(part).map(ToString::to_string);
        answer.map(|directive| v1::RenewResponse {
            directive: directive.into(),
            rendezvous: place.unwrap_or_default(),
            // That is for the service to say, which knows who follows.
            store_log: false,
        })
    }

    pub(super) fn commit(
        &mut self,
        claim: LeaseClaim,
        checkpoint: CheckpointRef,
        reply: Reply<Adoption>,
    ) {
        let answer = self.decide(self.ledger.commit(claim, checkpoint));
        self.answer(reply, answer);
    }

    /// Ends a task and, if its worker wants another at once, lets it ask for that without waiting:
    /// both become durable together.
    pub(super) fn finish(
        &mut self,
        claim: LeaseClaim,
        observation: Observation,
        next: Option<(u64, Reply<Work>)>,
        now_ms: u64,
        reply: Reply<()>,
    ) {
        // A repeated call has none, and so ends no lease that its first one granted.
        let holder = self.ledger.holder(claim).cloned();
        let answer = self.decide(self.ledger.finish(claim, observation));
        if let (Ok(_), Some(holder), Some((started_unix_ns, next))) = (&answer, holder, next) {
            self.acquire(holder, started_unix_ns, 0, now_ms, next);
            self.turn.second_answers += 1;
        }
        self.answer(reply, answer.map(|_finish| ()));
    }

    pub(super) fn fail(
        &mut self,
        part: LeasePart,
        report: FailureReport,
        now_ms: u64,
        reply: Reply<AfterFailure>,
    ) {
        let answer = self.decide(self.ledger.fail(part, report, now_ms));
        self.answer(reply, answer);
    }

    pub(super) fn release(&mut self, part: LeasePart, interim: Interim, reply: Reply<()>) {
        let answer = self.decide(self.ledger.stop(part, interim));
        self.answer(reply, answer.map(|_release| ()));
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64) {
        let decision = self.ledger.expire(now_ms);
        let expired = self.apply(decision);
        if expired > 0 {
            measure::leases_expired(expired);
            tracing::warn!(
                expired,
                lease_ttl_s = self.config.lease_ttl.as_secs_f64(),
                "leases expired: their workers were not heard of for the whole time"
            );
        }
    }
}
