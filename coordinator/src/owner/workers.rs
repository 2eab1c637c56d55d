//! The workers, for people: who is there, and what keeps tasks from them.

use autorep_core::id::WorkerId;
use autorep_core::ledger::SweepView;
use autorep_core::pace::hours;
use autorep_core::roster::{PRESENT_MS, Registered};
use autorep_proto::v1;

use super::Owner;
use crate::ask::Reply;
use crate::state::StateStore;

impl<S: StateStore> Owner<S> {
    pub(super) fn list_workers(&mut self, now_ms: u64, reply: Reply<Vec<v1::WorkerSummary>>) {
        let all = self.worker_summaries(now_ms);
        self.answer(reply, Ok(all));
    }

    /// The workers that are known, and those that are not known any more but hold a lease.
    pub(super) fn worker_summaries(&self, now_ms: u64) -> Vec<v1::WorkerSummary> {
        let known = (self.roster.workers())
            .map(|(worker, known)| self.worker_summary(worker, known, now_ms));
        // They hold leases from before a restart, and register when their tasks end.
        let parts = (self.ledger.leased()).flat_map(|(task, lease)| {
            let parts = (0..).zip(lease.parts());
            parts.map(move |(node, part)| (task, &part.worker, node, lease.nodes()))
        });
        let unknown = parts
            .filter(|(_, worker, ..)| self.roster.get(worker).is_none())
            .map(|(task, worker, node, nodes)| v1::WorkerSummary {
                worker: worker.to_string(),
                task: task.id().to_string(),
                offer: "not known until it registers again".to_owned(),
                node,
                nodes,
                ..v1::WorkerSummary::default()
            });
        known.chain(unknown).collect()
    }

    fn worker_summary(
        &self,
        worker: &WorkerId,
        known: &Registered,
        now_ms: u64,
    ) -> v1::WorkerSummary {
        let held = (self.ledger.held_by(worker)).map(|task| task.to_string());
        let (node, nodes) = self.ledger.place_of(worker).unwrap_or_default();
        let excluded_until_ms = self.roster.excluded_until_ms(worker, now_ms);
        v1::WorkerSummary {
            worker: worker.to_string(),
            machine: known.machine.clone(),
            device: known.device.clone(),
            offer: known.offer.to_string(),
            silent_ms: now_ms.saturating_sub(known.seen_ms),
            task: held.unwrap_or_default(),
            node,
            nodes,
            excluded_ms: excluded_until_ms.map_or(0, |until_ms| until_ms - now_ms),
        }
    }

    /// That tasks wait because their owner has as many as may be.
    fn cap_note(&self, sweep: SweepView<'_>) -> Option<String> {
        let (owner, nodes) = (&sweep.terms().owner, sweep.terms().needs.nodes);
        let cap = self.ledger.cap_reached(sweep.terms())?;
        let ready = sweep.counts().ready;
        if nodes > cap {
            return Some(format!(
                "its tasks never run: each is for {nodes} workers, and {owner} may have {cap} at a \
                 time; raise the coordinator's --owner or --owner-cap"
            ));
        }
        let running = self.ledger.owner_leases(owner);
        let counted = if nodes > 1 {
            format!("; of the {cap} at a time a task for {nodes} workers counts as {nodes}")
        } else {
            String::new()
        };
        (ready > 0).then(|| {
            format!(
                "{ready} of its tasks are ready and wait, because {owner} has {running} running, as many \
                 as the coordinator's --owner or --owner-cap allows{counted}"
            )
        })
    }

    /// What a sweep has used of its limit, if it has one.
    fn limit_note(&self, sweep: SweepView<'_>) -> Option<String> {
        let limit = self.sweeps.get(sweep.name())?.manifest.limit;
        if limit.is_none() {
            return None;
        }
        let used = hours(sweep.charged_ms() as f64);
        let of = match limit.gpu_hours {
            0.0 => String::new(),
            hours => format!(" of {hours}"),
        };
        let end = if sweep.is_at_limit() {
            "; nothing more fits into its limit: submit it with a larger one to go on"
        } else {
            ""
        };
        Some(format!("{used:.3}{of} GPU-hours used{end}"))
    }

    /// What a person should know of a sweep.
    pub(super) fn notes(&self, sweep: SweepView<'_>) -> Vec<String> {
        let limit = self.limit_note(sweep);
        limit.into_iter().chain(self.waiting_notes(sweep)).collect()
    }

    /// Why a sweep's tasks wait.
    fn waiting_notes(&self, sweep: SweepView<'_>) -> Vec<String> {
        if sweep.has_ended() || sweep.is_cancelled() {
            return Vec::new();
        }
        // Who is gone will not come for the tasks; who holds a lease from before a restart is there.
        let now_ms = self.clock.now_ms();
        let is_there = |known: &&Registered| known.seen_ms + PRESENT_MS > now_ms;
        let offers = (self.roster.workers())
            .map(|(_, known)| known)
            .filter(is_there)
            .map(|known| &*known.offer);
        if offers.clone().next().is_none() {
            if self.ledger.lease_count() > 0 {
                return Vec::new(); // They register when their tasks end.
            }
            return vec!["no worker is there: start one with `autorep worker`".to_owned()];
        }
        let unmet = sweep.terms().needs.unmet_by(&offers);
        if unmet.is_empty() {
            return self.cap_note(sweep).into_iter().collect();
        }
        let mut known: Vec<String> = offers.map(ToString::to_string).collect();
        known.sort_unstable();
        known.dedup();
        vec![format!(
            "no worker that is there offers what its tasks need ({}): they wait until one registers; \
             those that are there offer: {}",
            unmet.join("; "),
            known.join(" | ")
        )]
    }
}
