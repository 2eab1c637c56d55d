//! The ledger's one owner: an actor that decides, writes, and only then answers.
//!
//! It takes what is waiting, decides and applies one request after the other, writes all changed
//! records as one batch, waits until they are durable, and sends all answers. So a thousand
//! requests that wait together cost one write. While a batch is being written nothing is decided:
//! the ledger in memory is never more than one batch ahead of the store. If a write fails, it is
//! ahead for good, and the owner ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use autorep_core::id::{SweepName, TaskId};
use autorep_core::lease::LeaseClaim;
use autorep_core::ledger::{Decision, Event, Ledger};
use autorep_core::patience::Patience;
use autorep_core::planted::{Bug, planted};
use autorep_core::roster::Roster;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ask::{Ask, Reply, gone};
use crate::clock::Clock;
use crate::config::{Config, millis};
use crate::measure;
use crate::refuse::OnTheWire;
use crate::restore::Restored;
use crate::seldom::Seldom;
use crate::state::{Batch, StateStore, SweepRecord, WriteError};
use attempts::Attempts;
use fleet::Waiter;
use fronts::{Finished, LiveFront};
use meetings::Meetings;
use pace::Pace;
use points::{Decided, When};
use sample::Sampler;

mod attempts;
mod events;
mod fleet;
mod fronts;
mod lab;
mod label;
mod meetings;
mod pace;
mod points;
mod sample;
mod scope;
mod serve;
mod storage;
mod workers;

/// Wake up at least so often.
const MAX_SLEEP_MS: u64 = 1000;

/// A write that takes longer is told to whoever reads the log.
const LATE_WRITE: Duration = Duration::from_secs(3);

pub(crate) struct Owner<S> {
    config: Config,
    clock: Clock,
    state: Arc<S>,
    ledger: Ledger,
    sweeps: BTreeMap<SweepName, SweepRecord>,
    fronts: BTreeMap<SweepName, LiveFront>,
    /// The workers that have registered since the start.
    roster: Roster,
    /// How often it is told that one was not let in.
    refusals: Seldom,
    /// Leased tasks whose trainers are to be asked for a checkpoint.
    checkpoints_wanted: BTreeSet<TaskId>,
    /// What the trainers of leased tasks have said last.
    progress: BTreeMap<TaskId, v1::Progress>,
    /// In what is logged about leased tasks.
    attempts: Attempts,
    /// Where the groups of leased tasks meet, and which are to part.
    meetings: Meetings,
    /// Since when workers have been kept for groups.
    patience: Patience,
    /// The latest results of each sweep.
    finished: BTreeMap<SweepName, VecDeque<Finished>>,
    waiters: VecDeque<Waiter>,
    turn: Turn,
    /// What the last turn was like.
    pace: Pace,
    sampler: Sampler,
    stopping: bool,
    /// Before this no lease expires: this process has not run for a while, and renewals may be
    /// waiting where it has not looked yet.
    expire_from_ms: u64,
    #[cfg(feature = "simulation")]
    pub(crate) witness: Option<crate::simulation::Witness>,
}

/// What has been decided since the last write.
#[derive(Default)]
struct Turn {
    tasks: BTreeSet<TaskId>,
    sweeps: BTreeSet<SweepName>,
    answers: Vec<Answer>,
    /// Answers that go to a caller who gets another one with them.
    second_answers: usize,
    decided: Decided,
    /// Whether an answer says what only the owner of the state may say, with nothing to write for
    /// it.
    unproved: bool,
}

/// Sends an answer, or a refusal in its place. Returns the lease that nobody heard of, if that was
/// in the answer.
type Answer = Box<dyn FnOnce(Option<Refusal>) -> Option<LeaseClaim> + Send>;

impl<S: StateStore> Owner<S> {
    pub(crate) fn new(config: Config, clock: Clock, state: S, restored: Restored) -> Self {
        let Restored {
            ledger,
            sweeps,
            fronts,
        } = restored;
        let fronts = (ledger.sweeps().zip(fronts))
            .map(|(sweep, front)| {
                let live = LiveFront::new(front, &sweep.plan().candidates);
                (sweep.name().clone(), live)
            })
            .collect();
        let patience = Patience::new(millis(config.gather));
        let sampler = Sampler::new(&ledger);
        let finished = fronts::restored(&ledger);
        let sweeps = (sweeps.into_iter())
            .map(|record| (record.manifest.name.clone(), record))
            .collect();
        let mut owner = Self {
            config,
            clock,
            state: Arc::new(state),
            ledger,
            sweeps,
            fronts,
            roster: Roster::default(),
            refusals: Seldom::every(Duration::from_mins(1)),
            checkpoints_wanted: BTreeSet::new(),
            progress: BTreeMap::new(),
            attempts: Attempts::default(),
            meetings: Meetings::default(),
            patience,
            finished,
            waiters: VecDeque::new(),
            turn: Turn::default(),
            pace: Pace::default(),
            sampler,
            stopping: false,
            expire_from_ms: 0,
            #[cfg(feature = "simulation")]
            witness: None,
        };
        owner.take_attempts_up();
        owner
    }

    /// Answers until told to stop, or until the state is lost.
    pub(crate) async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        shutdown: CancellationToken,
    ) -> Result<(), WriteError> {
        // What has come and is not decided yet.
        let mut waiting = Vec::new();
        let limit = self.config.batch;
        loop {
            let wake = self.clock.at(self.next_wake_ms());
            let has_some = !waiting.is_empty();
            let taken = tokio::select! {
                biased;
                () = shutdown.cancelled() => 0,
                error = self.state.lost(), if !planted(Bug::LostFence) => return Err(self.give_up(error)),
                () = std::future::ready(()), if has_some => usize::MAX,
                taken = asks.recv_many(&mut waiting, limit) => taken,
                () = tokio::time::sleep_until(wake) => usize::MAX,
            };
            if taken == 0 {
                break;
            }
            self.note_sleep(wake);
            if !waiting.is_empty() {
                self.pace.gather(&mut asks, &mut waiting, limit).await;
            }
            self.turn(&mut waiting, &mut asks).await?;
        }
        self.stopping = true;
        asks.close();
        while !waiting.is_empty() || asks.recv_many(&mut waiting, limit).await > 0 {
            self.turn(&mut waiting, &mut asks).await?;
        }
        self.turn(&mut waiting, &mut asks).await?;
        self.state.close().await
    }

    /// If it is much later than when the owner wanted to wake, the process was suspended or starved:
    /// leases get some more time, as they do after a restart.
    fn note_sleep(&mut self, wake: tokio::time::Instant) {
        let late_ms = millis(tokio::time::Instant::now().saturating_duration_since(wake));
        if late_ms > self.lease_ttl_ms() / 3 {
            tracing::warn!(
                late_ms,
                "this process did not run for a while; leases get more time"
            );
            self.expire_from_ms = self.clock.now_ms() + self.lease_ttl_ms() / 2;
        }
    }

    /// Decides on what waits, writes, answers. What comes during the write waits then.
    async fn turn(
        &mut self,
        waiting: &mut Vec<Ask>,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Result<(), WriteError> {
        let now_ms = self.clock.now_ms();
        let decided = waiting.len().min(self.config.batch);
        for ask in waiting.drain(..decided) {
            self.handle(ask, now_ms);
        }
        // A renewal that has come in time must not be too late for want of a turn.
        while waiting.len() < self.config.max_calls
            && let Ok(ask) = asks.try_recv()
        {
            waiting.extend(self.renew_meanwhile(ask));
        }
        if now_ms >= self.expire_from_ms {
            self.expire(now_ms);
        }
        self.serve_waiters(now_ms);
        let Turn {
            tasks,
            sweeps,
            answers,
            second_answers,
            decided,
            unproved,
        } = std::mem::take(&mut self.turn);
        decided.reached(When::BeforeWrite);
        let answers = if planted(Bug::AnswersBeforeDurable) {
            for answer in answers {
                let _unheard = answer(None);
            }
            Vec::new()
        } else {
            answers
        };
        let began = tokio::time::Instant::now();
        let written = match self.batch(&tasks, &sweeps) {
            Ok(mut batch) => {
                if unproved && batch.is_empty() && !planted(Bug::RefusesUnowned) {
                    batch.put_owner();
                }
                self.write(batch, waiting, asks).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            self.turn.answers = answers;
            return Err(self.give_up(error));
        }
        decided.reached(When::AfterWrite);
        let answered = answers.len().saturating_sub(second_answers);
        self.pace = Pace::new(answered, began.elapsed());
        // Fronts are told only what is durable, and who asked for one gets it as it is now.
        self.publish_fronts();
        for answer in answers {
            if let Some(claim) = answer(None) {
                self.take_back(claim);
            }
        }
        decided.reached(When::AfterAnswer);
        self.sample(now_ms);
        Ok(())
    }

    /// Writes a batch, and goes on answering renewals: a store that is away for longer than a lease
    /// lives must not make every worker drop its attempt. A renewal promises nothing durable. All
    /// else that comes in the meantime waits.
    async fn write(
        &mut self,
        batch: Batch,
        waiting: &mut Vec<Ask>,
        asks: &mut mpsc::Receiver<Ask>,
    ) -> Result<(), WriteError> {
        if batch.is_empty() {
            return Ok(());
        }
        let records = batch.len();
        let start = tokio::time::Instant::now();
        let state = Arc::clone(&self.state);
        let writing = state.write(batch);
        let mut late = tokio::time::interval_at(start + LATE_WRITE, LATE_WRITE);
        tokio::pin!(writing);
        let written = loop {
            if waiting.len() >= self.config.max_calls {
                // Who has given up asks again; nothing was promised.
                waiting.retain(|ask| !ask.is_abandoned());
            }
            let has_room = waiting.len() < self.config.max_calls;
            tokio::select! {
                biased;
                written = &mut writing => break written,
                error = state.lost(), if !planted(Bug::LostFence) => break Err(error),
                // The state store tries again by itself, and says nothing.
                _ = late.tick() => tracing::warn!(
                    waited_s = start.elapsed().as_secs(),
                    "expected the store to take a record of the state, found that it has not for a \
                     while; see that it can be reached and has room: nothing is decided until then"
                ),
                Some(ask) = asks.recv(), if has_room => waiting.extend(self.renew_meanwhile(ask)),
            }
        };
        match written {
            Err(WriteError::Fenced) if planted(Bug::LostFence) => {}
            Err(WriteError::State(_)) if planted(Bug::FailedWriteIgnored) => {}
            written => written?,
        }
        measure::durable_write(start.elapsed(), records);
        Ok(())
    }

    fn handle(&mut self, ask: Ask, now_ms: u64) {
        match ask {
            Ask::Register {
                worker,
                registration,
                reply,
            } => self.register(&worker, *registration, now_ms, reply),
            Ask::Acquire {
                worker,
                started_unix_ns,
                wait_ms,
                reply,
            } => self.acquire(worker, started_unix_ns, wait_ms, now_ms, reply),
            Ask::Renew {
                part,
                progress,
                group,
                reply,
            } => {
                let answer = self.renewed(part, progress, group, now_ms);
                self.answer(reply, answer);
            }
            Ask::Commit {
                claim,
                checkpoint,
                reply,
            } => self.commit(claim, checkpoint, reply),
            Ask::Finish {
                claim,
                observation,
                next,
                reply,
            } => self.finish(claim, observation, next, now_ms, reply),
            Ask::Fail {
                part,
                report,
                reply,
            } => self.fail(part, report, now_ms, reply),
            Ask::Release {
                part,
                interim,
                reply,
            } => self.release(part, interim, reply),
            Ask::Submit {
                sweep,
                dry_run,
                reply,
            } => self.submit(*sweep, dry_run, reply),
            Ask::List { reply } => self.list(reply),
            Ask::Show { sweep, reply } => self.show(&sweep, reply),
            Ask::Watch { sweep, reply } => self.watch(&sweep, reply),
            Ask::Find { prefix, reply } => self.find(&prefix, reply),
            Ask::Pause {
                sweep,
                paused,
                reply,
            } => self.pause(&sweep, paused, reply),
            Ask::Cancel { sweep, reply } => self.cancel(&sweep, reply),
            Ask::Checkpoint { sweep, reply } => self.want_checkpoints(&sweep, reply),
            Ask::Pin {
                prefix,
                pinned,
                reply,
            } => self.pin(&prefix, pinned, reply),
            Ask::Drop { dry_run, reply } => self.drop_unneeded(dry_run, reply),
            Ask::Judge { places, reply } => self.judge(&places, reply),
            Ask::Workers { reply } => self.list_workers(now_ms, reply),
            Ask::For { owner, ask } => self.handle_for(&owner, *ask, now_ms),
        }
    }

    /// Makes a decision true in memory, and notes what is to be written.
    fn apply<T>(&mut self, decision: Decision<T>) -> T {
        for mut event in decision.events {
            self.add_evidence(&mut event);
            self.turn.tasks.extend(self.ledger.recorded_by(&event));
            self.turn.decided.add(&event);
            self.before(&event);
            #[cfg(feature = "simulation")]
            let before = self.witness.is_some().then(|| self.ledger.clone());
            let remade = self.ledger.apply(&event);
            self.forget_reopened(&event, &remade);
            self.turn.tasks.extend(remade);
            if let Event::Grown { sweep, .. } | Event::LimitReached { sweep } = &event {
                self.note_decisions(sweep);
            }
            #[cfg(feature = "simulation")]
            if let (Some(witness), Some(before)) = (&mut self.witness, before) {
                witness(&before, &event, &self.ledger);
            }
            if let Event::Submitted(_) | Event::Cancelled { .. } = event {
                let ledger = &self.ledger;
                let leased: BTreeSet<TaskId> = ledger.leased().map(|(task, _)| task.id()).collect();
                self.progress.retain(|task, _| leased.contains(task));
                self.meetings.retain(&leased);
                self.attempts.retain(&leased);
                (self.checkpoints_wanted).retain(|task| leased.contains(task));
            }
        }
        decision.outcome
    }

    /// Does what was decided about a claim or a sweep, or puts the refusal on the wire.
    ///
    /// A coordinator that has been taken over and does not know it yet would refuse leases that the
    /// other one has granted, and call done what the other one has undone. So an answer for which
    /// nothing is to be written is only given once a write has shown that this one is still the
    /// owner.
    fn decide<T>(&mut self, decided: Result<Decision<T>, impl OnTheWire>) -> Result<T, Refusal> {
        match decided {
            Ok(decision) => {
                self.turn.unproved |= decision.events.is_empty();
                Ok(self.apply(decision))
            }
            Err(refusal) => {
                self.turn.unproved = true;
                let refusal = refusal.on_the_wire();
                if let Refusal::Stale { .. } = refusal {
                    measure::stale_claim_refused();
                }
                Err(refusal)
            }
        }
    }

    /// Answers once everything decided so far is durable.
    fn answer<T: Send + 'static>(&mut self, reply: Reply<T>, answer: Result<T, Refusal>) {
        self.turn.answers.push(Box::new(move |refusal| {
            // Nobody waits any more where sending fails; what was asked is done nevertheless.
            drop(reply.send(refusal.map_or(answer, Err)));
            None
        }));
    }

    /// The records of what has changed.
    fn batch(
        &self,
        tasks: &BTreeSet<TaskId>,
        sweeps: &BTreeSet<SweepName>,
    ) -> Result<Batch, WriteError> {
        let mut batch = Batch::default();
        for name in sweeps {
            if let Some(record) = self.sweeps.get(name) {
                batch.put_sweep(name, record)?;
            }
        }
        for &id in tasks {
            if let Some(record) = self.ledger.record(id) {
                batch.put_task(id, &record)?;
            }
        }
        Ok(batch)
    }

    /// Refuses everyone who waits: memory is ahead of the store.
    fn give_up(&mut self, error: WriteError) -> WriteError {
        for answer in std::mem::take(&mut self.turn.answers) {
            let _unheard = answer(Some(gone()));
        }
        for waiter in self.waiters.drain(..) {
            drop(waiter.reply.send(Err(gone())));
        }
        error
    }

    fn next_wake_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        if !self.turn.tasks.is_empty() {
            return now_ms;
        }
        let idle = self.ledger.is_idle();
        let waiters = self.waiters.iter().map(|waiter| waiter.wake_ms(idle));
        let deadline = self.ledger.next_deadline_ms(now_ms);
        let deadline = deadline.map(|at_ms| at_ms.max(self.expire_from_ms));
        let exclusion = self.roster.next_deadline_ms(now_ms);
        let patience = self.patience.next_deadline_ms(now_ms);
        (waiters.chain(deadline).chain(exclusion).chain(patience))
            .chain([now_ms + MAX_SLEEP_MS])
            .min()
            .map_or(now_ms, |at_ms| at_ms.max(now_ms))
    }

    /// The front of a sweep that was submitted.
    fn live_front(&mut self, sweep: &SweepName) -> Option<&mut LiveFront> {
        self.fronts.get_mut(sweep)
    }

    fn lease_ttl_ms(&self) -> u64 {
        millis(self.config.lease_ttl)
    }

    /// The plan of a sweep.
    fn plan(&self, sweep: &SweepName) -> Option<Arc<autorep_core::plan::Plan>> {
        self.ledger
            .sweep(sweep)
            .map(|sweep| Arc::clone(sweep.plan()))
    }
}
