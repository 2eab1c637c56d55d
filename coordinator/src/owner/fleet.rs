//! What workers ask.

use std::sync::Arc;

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::id::WorkerId;
use autorep_core::lease::LeaseClaim;
use autorep_core::ledger::{Acquired, Adoption, AfterFailure, FailureReport, Renewal};
use autorep_core::observation::{Interim, Observation};
use autorep_core::offer::Offer;
use autorep_core::roster::Registered;
use autorep_proto::status::Refusal;
use autorep_proto::v1;

use super::Owner;
use crate::ask::{Ask, Lease, Registration, Reply, Work, gone};
use crate::config::millis;
use crate::refuse;
use crate::state::StateStore;

/// How long a request for work waits when there is none to come, so that workers who ask again at
/// once do no harm.
const IDLE_HOLD_MS: u64 = 250;

/// A request for work that waits for some.
pub(super) struct Waiter {
    worker: WorkerId,
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
        worker: WorkerId,
        registration: Registration,
        now_ms: u64,
        reply: Reply<()>,
    ) {
        let Registration {
            device,
            machine,
            offer,
        } = registration;
        tracing::info!(%worker, device, machine, ?offer, "worker registers");
        let registered = Registered {
            device,
            machine,
            offer: Arc::new(offer),
            seen_ms: now_ms,
        };
        let limit = self.config.max_workers;
        let registered = self.roster.register(worker, registered, limit);
        let answer = registered.map_err(|full| refuse::limit(full.to_string()));
        self.answer(reply, answer);
    }

    /// Puts a request for work among those that wait; all are served at the turn's end.
    pub(super) fn acquire(
        &mut self,
        worker: WorkerId,
        wait_ms: u64,
        now_ms: u64,
        reply: Reply<Work>,
    ) {
        if self.roster.get(&worker).is_none() {
            let refusal = Refusal::UnknownWorker(worker.0);
            return self.answer(reply, Err(refusal));
        }
        self.roster.heard(&worker, now_ms);
        let wait_ms = wait_ms.min(millis(self.config.max_acquire_wait));
        let waiter = Waiter {
            worker,
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

    /// Leases what can be leased to those who have waited longest, and tells the others when
    /// their time is over.
    pub(super) fn serve_waiters(&mut self, now_ms: u64) {
        // Once there is nothing for one waiter there is nothing for the next with the same offer,
        // unless that one holds a lease, which then ends.
        let mut dry: Vec<(Arc<Offer>, bool)> = Vec::new();
        for _ in 0..self.waiters.len() {
            let Some(waiter) = self.waiters.pop_front() else {
                return;
            };
            if self.stopping {
                drop(waiter.reply.send(Err(gone())));
                continue;
            }
            if waiter.reply.is_closed() {
                continue;
            }
            match self.next_for(&waiter.worker, now_ms, &mut dry) {
                Acquired::Granted(grant) => self.grant(*grant, waiter),
                Acquired::Nothing { idle } if waiter.wake_ms(idle) <= now_ms => {
                    self.answer(waiter.reply, Ok(Work::Nothing { idle }));
                }
                Acquired::Nothing { .. } => self.waiters.push_back(waiter),
            }
        }
    }

    /// What a worker gets now. `dry` holds the offers for which there was nothing in this turn.
    fn next_for(
        &mut self,
        worker: &WorkerId,
        now_ms: u64,
        dry: &mut Vec<(Arc<Offer>, bool)>,
    ) -> Acquired {
        let offer = match self.roster.get(worker) {
            Some(known) => Arc::clone(&known.offer),
            // Forgotten while it waited: it may have what needs nothing of it.
            None => Arc::default(),
        };
        if !self.ledger.holds(worker) {
            if let Some((_, idle)) = dry
                .iter()
                .find(|(other, _)| Arc::ptr_eq(other, &offer) || *other == offer)
            {
                return Acquired::Nothing { idle: *idle };
            }
            if self.roster.excluded_until_ms(worker, now_ms).is_some() {
                let idle = self.ledger.is_idle();
                return Acquired::Nothing { idle };
            }
        }
        while !self.ledger.holds(worker)
            && let Some(grown) = self.ledger.grow(&offer, now_ms)
        {
            self.apply(grown);
        }
        let decision = self.ledger.acquire(worker, &offer, now_ms);
        let acquired = self.apply(decision);
        if let Acquired::Nothing { idle } = acquired {
            dry.push((offer, idle));
        }
        acquired
    }

    fn grant(&mut self, grant: autorep_core::ledger::Grant, waiter: Waiter) {
        let claim = grant.claim;
        let device = self.roster.get(&waiter.worker);
        tracing::info!(
            task = %claim.task.short(),
            generation = claim.generation.0,
            worker = %waiter.worker,
            device = device.map_or("", |worker| &worker.device),
            attempt = grant.attempt,
            sweep = %grant.sweep,
            "leased"
        );
        let spec = self.ledger.task(claim.task);
        let spec = spec.map_or_else(String::new, |task| task.spec().canonical_json());
        let manifest = self.sweeps.get(&grant.sweep).map(|it| &it.manifest);
        let work = Work::Lease(Box::new(Lease {
            checkpoint_every_s: manifest.map_or(0, |manifest| manifest.checkpoint.every_s),
            checkpoint_every_steps: manifest.map_or(0, |it| it.checkpoint.every_steps),
            grant,
            spec,
        }));
        let reply = waiter.reply;
        self.turn.answers.push(Box::new(move |refusal| {
            let answer = refusal.map_or(Ok(work), Err);
            // A worker that has hung up has not heard of its lease: it is taken back at once.
            match reply.send(answer) {
                Err(Ok(Work::Lease(_))) => Some(claim),
                Err(_) | Ok(()) => None,
            }
        }));
    }

    /// Ends a lease that its worker has never heard of.
    pub(super) fn take_back(&mut self, claim: LeaseClaim) {
        if let Ok(decision) = self.ledger.release(claim) {
            self.apply(decision);
        }
    }

    pub(super) fn renew(
        &mut self,
        claim: LeaseClaim,
        progress: Option<v1::Progress>,
        now_ms: u64,
        reply: Reply<v1::Directive>,
    ) {
        let answer = self.renewed(claim, progress, now_ms);
        self.answer(reply, answer);
    }

    /// Answers a renewal of a lease that lives, at once; gives everything else back. That a lease
    /// has ended may not be durable yet, so nobody is told.
    pub(super) fn renew_meanwhile(&mut self, ask: Ask) -> Option<Ask> {
        if let Ask::Renew { claim, .. } = &ask
            && self.ledger.holder(*claim).is_none()
        {
            return Some(ask);
        }
        let Ask::Renew {
            claim,
            progress,
            reply,
        } = ask
        else {
            return Some(ask);
        };
        let now_ms = self.clock.now_ms();
        let answer = self.renewed(claim, progress, now_ms);
        // Nobody waits any more where sending fails.
        drop(reply.send(answer));
        None
    }

    fn renewed(
        &mut self,
        claim: LeaseClaim,
        progress: Option<v1::Progress>,
        now_ms: u64,
    ) -> Result<v1::Directive, Refusal> {
        let answer = self.decide(self.ledger.renew(claim, now_ms));
        let answer = answer.map(|renewal| match renewal {
            Renewal::Stop => v1::Directive::Stop,
            Renewal::Continue => {
                if let Some(progress) = progress {
                    self.progress.insert(claim.task, progress);
                }
                // A directive that gets lost on its way is not repeated: the person asks again.
                if self.checkpoints_wanted.remove(&claim.task) {
                    v1::Directive::Checkpoint
                } else {
                    v1::Directive::Continue
                }
            }
        });
        if let Some(worker) = self.ledger.holder(claim).cloned() {
            self.roster.heard(&worker, now_ms);
        }
        answer
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
        next: Option<Reply<Work>>,
        now_ms: u64,
        reply: Reply<()>,
    ) {
        // A repeated call has none, and so ends no lease that its first one granted.
        let holder = self.ledger.holder(claim).cloned();
        let answer = self.decide(self.ledger.finish(claim, observation));
        if let (Ok(_), Some(holder), Some(next)) = (&answer, holder, next) {
            self.acquire(holder, 0, now_ms, next);
            self.turn.second_answers += 1;
        }
        self.answer(reply, answer.map(|_finish| ()));
    }

    pub(super) fn fail(
        &mut self,
        claim: LeaseClaim,
        report: FailureReport,
        now_ms: u64,
        reply: Reply<AfterFailure>,
    ) {
        let answer = self.decide(self.ledger.fail(claim, report, now_ms));
        self.answer(reply, answer);
    }

    pub(super) fn release(&mut self, claim: LeaseClaim, interim: Interim, reply: Reply<()>) {
        let answer = self.decide(self.ledger.stop(claim, interim));
        self.answer(reply, answer.map(|_release| ()));
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64) {
        let decision = self.ledger.expire(now_ms);
        let expired = self.apply(decision);
        if expired > 0 {
            tracing::warn!(
                expired,
                lease_ttl_ms = self.lease_ttl_ms(),
                "leases expired: their workers were not heard of for the whole time"
            );
        }
    }
}
