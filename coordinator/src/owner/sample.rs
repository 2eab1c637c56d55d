//! What is measured of the ledger by looking at it now and then: never on the way of a decision.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use autorep_core::id::{SweepName, TaskId};
use autorep_core::ledger::{Ledger, Next, SweepState, SweepView};
use autorep_core::offer::{Offer, Requirements};
use autorep_core::roster::PRESENT_MS;
use autorep_core::task::TaskKind;

use super::Owner;
use crate::measure;
use crate::state::{StateStore, unix_ms};

/// How often to look. A look costs as much as there are sweeps, leases and workers.
const EVERY_MS: u64 = 5_000;

/// The most sweeps that are shown one by one.
const SWEEPS_SHOWN: usize = 200;

/// How long a sweep that has ended is still shown.
const ENDED_SHOWN_MS: u64 = 3_600_000;

/// The most budgets of a sweep that are shown.
const BUDGETS_SHOWN: usize = 32;

/// The most different needs that are shown.
const NEEDS_SHOWN: usize = 100;

/// What is remembered between two looks.
pub(super) struct Sampler {
    due_ms: u64,
    /// Whether anything has gone on since the last look.
    goes_on: bool,
    /// When anything last did, in milliseconds since 1970.
    went_on_unix_ms: u64,
    /// Since when sweeps have ended that ended not long ago.
    ended: BTreeMap<SweepName, u64>,
    /// The tasks that are in quarantine, and some that were.
    quarantined: BTreeSet<TaskId>,
}

impl Sampler {
    /// Looks through the whole ledger, once.
    pub(super) fn new(ledger: &Ledger) -> Self {
        let quarantined = (ledger.sweeps())
            .filter(|sweep| sweep.counts().gave_up > 0)
            .flat_map(SweepView::tasks)
            .filter(|task| task.is_quarantined())
            .map(autorep_core::ledger::Task::id)
            .collect();
        Self {
            due_ms: 0,
            goes_on: true,
            went_on_unix_ms: 0,
            ended: BTreeMap::new(),
            quarantined,
        }
    }

    /// A trainer has done a step, or what it has done is durable.
    pub(super) fn goes_on(&mut self) {
        self.goes_on = true;
    }

    /// An attempt has ended: if its task is given up, the next look sees how.
    pub(super) fn may_be_in_quarantine(&mut self, task: TaskId, next: Next) {
        if matches!(next, Next::GiveUp) {
            self.quarantined.insert(task);
        }
    }
}

impl<S: StateStore> Owner<S> {
    /// Looks, if it is time to.
    pub(super) fn sample(&mut self, now_ms: u64) {
        if now_ms < self.sampler.due_ms {
            return;
        }
        self.sampler.due_ms = now_ms + EVERY_MS;
        self.sample_queue();
        self.sample_progress();
        self.sample_workers(now_ms);
        self.sample_demand(now_ms);
        self.sample_quarantine();
        self.sample_sweeps(now_ms);
    }

    fn sample_queue(&self) {
        let mut leased = [0; TaskKind::ALL.len()];
        for (task, _) in self.ledger.leased() {
            leased[task.spec().kind().index()] += 1;
        }
        for kind in TaskKind::ALL {
            measure::queue(kind, self.ledger.ready_of(kind), leased[kind.index()]);
        }
    }

    /// While there is nothing to do, nothing is missed.
    fn sample_progress(&mut self) {
        let has_nothing = self.ledger.ready_count() == 0 && self.ledger.lease_count() == 0;
        if std::mem::take(&mut self.sampler.goes_on) || has_nothing {
            self.sampler.went_on_unix_ms = unix_ms();
        }
        measure::last_progress(self.sampler.went_on_unix_ms);
    }

    fn sample_workers(&self, now_ms: u64) {
        let mut states =
            BTreeMap::from(["busy", "idle", "excluded", "silent"].map(|it| (it, (0, 0))));
        for (worker, known) in self.roster.workers() {
            let state = if self.ledger.holds(worker) {
                "busy"
            } else if known.seen_ms + PRESENT_MS <= now_ms {
                "silent"
            } else if self.roster.excluded_until_ms(worker, now_ms).is_some() {
                "excluded"
            } else {
                "idle"
            };
            let (workers, gpus) = states.entry(state).or_default();
            *workers += 1;
            *gpus += u64::from(known.offer.gpus);
        }
        for (state, (workers, gpus)) in states {
            measure::workers(state, workers, gpus);
        }
    }

    fn sample_demand(&self, now_ms: u64) {
        let there: Vec<&Offer> = (self.roster.workers())
            .filter(|(_, known)| known.seen_ms + PRESENT_MS > now_ms)
            .map(|(_, known)| &*known.offer)
            .collect();
        let is_met = |needs: &Requirements| needs.are_met_among(there.iter().copied());
        let mut unmet = 0;
        // What nobody needs any more is among them: it has to fall to 0.
        let mut wanted = Vec::new();
        for (needs, demand) in self.ledger.demand() {
            if demand.ready > 0 && !is_met(needs) {
                unmet += demand.ready;
            }
            let workers = u64::from(needs.nodes) * (demand.ready + demand.leased);
            wanted.push((Reverse(workers), needs));
        }
        measure::unmet(unmet);
        wanted.sort_unstable();
        for (Reverse(workers), needs) in wanted.into_iter().take(NEEDS_SHOWN) {
            measure::wanted(needs, workers);
        }
    }

    /// Whatever was in quarantine may have been submitted again.
    fn sample_quarantine(&mut self) {
        let ledger = &self.ledger;
        let is_in = |task: &TaskId| {
            ledger
                .task(*task)
                .is_some_and(autorep_core::ledger::Task::is_quarantined)
        };
        self.sampler.quarantined.retain(is_in);
        measure::quarantined(self.sampler.quarantined.len());
    }

    fn sample_sweeps(&mut self, now_ms: u64) {
        let mut states = [
            (SweepState::Active, 0),
            (SweepState::Paused, 0),
            (SweepState::Done, 0),
            (SweepState::Partial, 0),
            (SweepState::Cancelled, 0),
        ];
        let ended = std::mem::take(&mut self.sampler.ended);
        let mut shown: Vec<SweepView<'_>> = Vec::new();
        for sweep in self.ledger.sweeps() {
            let state = sweep.state();
            for (known, count) in &mut states {
                *count += u64::from(*known == state);
            }
            let is_over = !matches!(state, SweepState::Active | SweepState::Paused);
            if is_over {
                let since_ms = ended.get(sweep.name()).copied().unwrap_or(now_ms);
                self.sampler.ended.insert(sweep.name().clone(), since_ms);
                if since_ms + ENDED_SHOWN_MS <= now_ms {
                    continue;
                }
            }
            shown.push(sweep);
        }
        for (state, count) in states {
            measure::sweeps(state, count);
        }
        // Those that run before those that have ended, then the latest first.
        shown.reverse();
        shown.sort_by_key(|sweep| sweep.has_ended() || sweep.is_cancelled());
        for sweep in shown.into_iter().take(SWEEPS_SHOWN) {
            self.sample_sweep(sweep);
        }
    }

    fn sample_sweep(&self, sweep: SweepView<'_>) {
        let name = sweep.name().as_str();
        measure::sweep_tasks(name, sweep.counts());
        let Some(front) = self.fronts.get(sweep.name()) else {
            return;
        };
        let (standing, budgets) = front.standing();
        measure::front(name, standing.size, standing.hypervolume, standing.baseline);
        for &budget in budgets.iter().take(BUDGETS_SHOWN) {
            if let Some(percent) = standing.best_within(budget) {
                measure::best_accuracy(name, budget, percent);
            }
        }
    }
}
