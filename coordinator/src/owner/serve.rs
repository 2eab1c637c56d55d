//! Who of the workers that wait for a task gets one.

use std::sync::Arc;

use autorep_core::id::WorkerId;
use autorep_core::ledger::{Acquired, Asker, Company, Grant};
use autorep_core::offer::Offer;
use autorep_core::roster::PRESENT_MS;
use autorep_transport::trace;

use super::Owner;
use super::fleet::Waiter;
use crate::ask::{Lease, Work, gone};
use crate::state::StateStore;

/// What one turn knows of the workers that wait.
struct Crowd {
    /// Those that may join a group, longest first; none where no task is for several.
    waiting: Vec<Known>,
    /// What the workers offer that are there; none where no task is for several.
    there: Vec<Arc<Offer>>,
    /// For whom there was nothing in this turn: once there is nothing for one waiter there is nothing for
    /// the next with the same offer, unless that one holds a lease, which then ends.
    dry: Vec<(Arc<Offer>, bool, Acquired)>,
}

struct Known {
    worker: WorkerId,
    offer: Arc<Offer>,
    patient: bool,
}

impl Known {
    fn asker(&self) -> Asker<'_> {
        Asker {
            worker: &self.worker,
            offer: &self.offer,
            patient: self.patient,
        }
    }
}

impl<S: StateStore> Owner<S> {
    /// Leases what can be leased to those who have waited longest, and tells the others when
    /// their time is over.
    pub(super) fn serve_waiters(&mut self, now_ms: u64) {
        let mut open: Vec<Option<(Waiter, bool)>> = Vec::with_capacity(self.waiters.len());
        for waiter in std::mem::take(&mut self.waiters) {
            if self.stopping {
                drop(waiter.reply.send(Err(gone())));
            } else if !waiter.reply.is_closed() {
                open.push(Some((waiter, false)));
            }
        }
        let mut crowd = self.crowd(&open, now_ms);
        for at in 0..open.len() {
            let Some((waiter, _)) = &open[at] else {
                continue; // A member of a group by now.
            };
            let worker = waiter.worker.clone();
            match self.next_for(&worker, now_ms, &mut crowd) {
                Acquired::Granted(grant) => {
                    let members = (grant.members.iter()).map(|member| {
                        let mut others = open.iter();
                        others.position(|it| it.as_ref().is_some_and(|it| it.0.worker == *member))
                    });
                    let places: Vec<usize> =
                        std::iter::once(Some(at)).chain(members).flatten().collect();
                    let group = places.into_iter().filter_map(|place| open[place].take());
                    self.grant(&grant, group.map(|(waiter, _)| waiter).collect());
                }
                Acquired::Kept => {
                    if self.patience.keep(&worker, now_ms) {
                        tracing::info!(%worker, "kept for a task that needs several workers");
                    }
                }
                Acquired::Nothing { idle } => {
                    if let Some((_, is_idle)) = &mut open[at] {
                        *is_idle = idle;
                    }
                }
            }
        }
        for (waiter, idle) in open.into_iter().flatten() {
            if waiter.wake_ms(idle) <= now_ms {
                self.answer(waiter.reply, Ok(Work::Nothing { idle }));
            } else {
                self.waiters.push_back(waiter);
            }
        }
    }

    /// The workers that wait, as far as a group could be made of them.
    fn crowd(&self, open: &[Option<(Waiter, bool)>], now_ms: u64) -> Crowd {
        let mut crowd = Crowd {
            waiting: Vec::new(),
            there: Vec::new(),
            dry: Vec::new(),
        };
        if !self.ledger.has_groups() {
            return crowd;
        }
        let is_usable = |worker: &WorkerId| self.roster.excluded_until_ms(worker, now_ms).is_none();
        crowd.waiting = (open.iter().flatten())
            .filter(|(waiter, _)| is_usable(&waiter.worker))
            .map(|(waiter, _)| self.known(&waiter.worker, now_ms))
            .collect();
        crowd.there = (self.roster.workers())
            .filter(|(worker, known)| known.seen_ms + PRESENT_MS > now_ms && is_usable(worker))
            .map(|(_, known)| Arc::clone(&known.offer))
            .collect();
        crowd
    }

    fn known(&self, worker: &WorkerId, now_ms: u64) -> Known {
        Known {
            worker: worker.clone(),
            offer: match self.roster.get(worker) {
                Some(known) => Arc::clone(&known.offer),
                // Forgotten while it waited: it may have what needs nothing of it.
                None => Arc::default(),
            },
            patient: self.patience.lasts(worker, now_ms),
        }
    }

    /// What a worker gets now.
    fn next_for(&mut self, worker: &WorkerId, now_ms: u64, crowd: &mut Crowd) -> Acquired {
        let known = self.known(worker, now_ms);
        if !self.ledger.holds(worker) {
            let same = |(offer, patient, _): &&(Arc<Offer>, bool, Acquired)| {
                (Arc::ptr_eq(offer, &known.offer) || *offer == known.offer)
                    && *patient == known.patient
            };
            if let Some((_, _, found)) = crowd.dry.iter().find(same) {
                return found.clone();
            }
            if self.roster.excluded_until_ms(worker, now_ms).is_some() {
                let idle = self.ledger.is_idle();
                return Acquired::Nothing { idle };
            }
        }
        let waiting: Vec<Asker<'_>> = crowd.waiting.iter().map(Known::asker).collect();
        let there: Vec<&Offer> = crowd.there.iter().map(AsRef::as_ref).collect();
        let company = Company {
            waiting: &waiting,
            there: &there,
        };
        while !self.ledger.holds(worker)
            && let Some(grown) = self.ledger.grow_among(known.asker(), company, now_ms)
        {
            self.apply(grown);
        }
        let decision = (self.ledger).acquire_among(known.asker(), company, now_ms);
        let acquired = self.apply(decision);
        if !matches!(acquired, Acquired::Granted(_)) {
            crowd
                .dry
                .push((known.offer, known.patient, acquired.clone()));
        }
        acquired
    }

    /// Answers those who have got a lease: its leader, then its members in the order of their nodes.
    fn grant(&mut self, grant: &Grant, group: Vec<Waiter>) {
        let claim = grant.claim;
        let task = self.ledger.task(claim.task);
        let spec = task.map_or_else(String::new, |task| task.spec().canonical_json());
        let attempt = self.attempt(claim.task, Some(&grant.sweep));
        let _inside = attempt.enter();
        let manifest = self.sweeps.get(&grant.sweep).map(|it| &it.manifest);
        let mut lease = Lease {
            checkpoint_every_s: manifest.map_or(0, |manifest| manifest.checkpoint.every_s),
            checkpoint_every_steps: manifest.map_or(0, |it| it.checkpoint.every_steps),
            grant: grant.clone(),
            node: 0,
            spec,
            traceparent: trace::of(&attempt),
        };
        for (node, waiter) in (0..).zip(group) {
            self.patience.served(&waiter.worker);
            let device = self.roster.get(&waiter.worker);
            tracing::info!(
                node,
                nodes = grant.nodes(),
                worker = %waiter.worker,
                device = device.map_or("", |worker| &worker.device),
                attempt = grant.attempt,
                "leased"
            );
            lease.node = node;
            let work = Work::Lease(Box::new(lease.clone()));
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
    }
}
