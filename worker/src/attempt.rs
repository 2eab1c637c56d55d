//! One lease, from its grant to its end.
//!
//! ```text
//!   Fetching --inputs verified--> Training --trainer gone, checkpoints stored--> Ending
//!      |                             |                                             |
//!      +--- failed or shutdown ------+--------> (Ending: Finish, Fail or Release) -+
//!      any ---- lease lost or task cancelled: kill the trainer, say nothing ----> over
//! ```
//!
//! An [`Attempt`] is the only owner of its state. [`Attempt::choose`] waits for the next event,
//! [`Attempt::apply`] changes the state and never waits. What takes time runs as a future that
//! the attempt holds and drops when it is not wanted any more, so after the lease was lost
//! nothing is left that could write.

use std::time::Duration;

use autorep_core::checkpoint::CheckpointRef;
use autorep_core::observation::{Interim, Observation};
use autorep_failpoint::{Point, reached};
use autorep_proto::convert::interim;
use autorep_proto::status::Refusal;
use autorep_proto::v1::{self, trainer_command::Command, trainer_event};
use autorep_transport::trace::TRACE_ONLY;
use futures::future::{BoxFuture, FutureExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, info_span};

use crate::causes::chain;
use crate::checkpoints::{self, Next, Queue, Ready, UploadError};
use crate::config::Config;
use crate::fleet::{Fleet, Terms};
use crate::inputs::{self, FetchError, Inputs};
use crate::measure::{self, Meter};
use crate::report::{Outcome, Times};
use crate::scratch::AttemptFolder;
use crate::store::Store;
use crate::task::Task;
use crate::trainer_process::{End, Said, SpawnError};
use crate::trainers::Trainers;
use crate::wait::{at, finish};

mod ending;
mod group;
mod log;
mod start;

use ending::{
    Clock, Ended, Verdict, class_name, end, failure, refused, trainer_error, trainer_failed,
};
use group::Group;
use log::StoredLog;

/// What an attempt uses and does not own.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) fleet: Fleet,
    pub(crate) terms: Terms,
    pub(crate) shutdown: CancellationToken,
}

/// How an attempt ended and where its time went.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) times: Times,
    /// Set when the trainer's binary could not be started: this worker is of no use.
    pub(crate) unusable: Option<SpawnError>,
    /// Whether it was dropped because no renewal got through: its lease may still live.
    pub(crate) unheard: bool,
    /// The next task, already leased.
    pub(crate) next: Option<v1::Assignment>,
}

/// Everything that can happen to an attempt.
#[derive(Debug)]
enum Event {
    /// No renewal got through for a lease's lifetime.
    LeaseOver,
    /// The coordinator has the last word of this attempt.
    Ended(Result<Ended, Refusal>),
    /// A checkpoint is committed, or cannot be.
    Uploaded(Result<CheckpointRef, UploadError>),
    /// The coordinator answered a renewal that was sent then.
    Renewed(Instant, Result<v1::RenewResponse, Refusal>),
    /// What there is of the trainer's log is stored, or cannot be.
    LogKept,
    /// The inputs are there, or cannot be had.
    Fetched(Result<Inputs, FetchError>),
    /// This worker is to stop.
    Shutdown,
    /// The trainer was told to stop and did not in time.
    StopOverdue,
    /// Nobody else has said why the group has failed.
    NobodyBlamed,
    /// It is time to renew.
    RenewalDue,
    /// The trainer said something.
    Trainer(Said),
}

/// Work on one lease.
pub(crate) struct Attempt<'a> {
    around: &'a Surroundings,
    task: Task,
    folder: AttemptFolder,

    fetching: Option<BoxFuture<'static, Result<Inputs, FetchError>>>,
    trainer: Option<Trainers>,
    /// In which the trainers work.
    training: Span,
    uploading: Option<BoxFuture<'static, Result<CheckpointRef, UploadError>>>,
    ending: Option<BoxFuture<'static, Result<Ended, Refusal>>>,
    renewing: Option<BoxFuture<'static, (Instant, Result<v1::RenewResponse, Refusal>)>>,

    /// The others that hold the lease.
    group: Group,
    /// What a member has fetched that does not know yet where its group meets.
    waiting: Option<Inputs>,

    queue: Queue,
    log: StoredLog,
    /// Folders that are being removed.
    chores: JoinSet<()>,
    progress: Option<v1::Progress>,
    meter: Meter,
    verdict: Option<Verdict>,
    stderr: String,
    unusable: Option<SpawnError>,

    /// When the lease is over unless it is renewed.
    lease_over: Instant,
    renewal_due: Instant,
    stop_overdue: Option<Instant>,
    stopping: bool,
    unheard: bool,
    next: Option<v1::Assignment>,
    clock: Clock,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(around: &'a Surroundings, task: Task, folder: AttemptFolder) -> Self {
        let now = Instant::now();
        let fetching = inputs::fetch(around.store.clone(), task.clone(), folder.clone())
            .instrument(info_span!(target: TRACE_ONLY, "fetch"));
        Self {
            around,
            group: Group::of(&task),
            waiting: None,
            log: StoredLog::new(&around.store, task.part, folder.log()),
            task,
            folder,
            fetching: Some(fetching.boxed()),
            trainer: None,
            training: Span::none(),
            uploading: None,
            ending: None,
            renewing: None,
            queue: Queue::default(),
            chores: JoinSet::new(),
            progress: None,
            meter: Meter::default(),
            verdict: None,
            stderr: String::new(),
            unusable: None,
            lease_over: now + around.terms.lease_ttl,
            renewal_due: now,
            stop_overdue: None,
            stopping: false,
            unheard: false,
            next: None,
            clock: Clock::new(now),
        }
    }

    /// Works until the lease has ended one way or another, and cleans up.
    pub(crate) async fn run(mut self) -> Report {
        let outcome = loop {
            let event = self.choose().await;
            if let Some(outcome) = self.apply(event) {
                break outcome;
            }
        };
        self.clean_up().await;
        Report {
            outcome,
            times: self.clock.times(Instant::now()),
            unusable: self.unusable,
            unheard: self.unheard,
            next: self.next,
        }
    }

    async fn choose(&mut self) -> Event {
        let shutdown = &self.around.shutdown;
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(self.lease_over) => Event::LeaseOver,
            it = finish(&mut self.ending) => Event::Ended(it),
            it = finish(&mut self.uploading) => Event::Uploaded(it),
            (sent, it) = finish(&mut self.renewing) => Event::Renewed(sent, it),
            () = self.log.kept() => Event::LogKept,
            it = finish(&mut self.fetching) => Event::Fetched(it),
            () = shutdown.cancelled(), if !self.stopping => Event::Shutdown,
            () = at(self.stop_overdue) => Event::StopOverdue,
            () = at(self.group.blames_until) => Event::NobodyBlamed,
            () = tokio::time::sleep_until(self.renewal_due), if self.renewing.is_none() => {
                Event::RenewalDue
            }
            it = listen(&mut self.trainer) => Event::Trainer(it),
        }
    }

    /// Returns how the attempt ended, once it has.
    fn apply(&mut self, event: Event) -> Option<Outcome> {
        let ended = match event {
            Event::LeaseOver => {
                tracing::warn!("no renewal got through in time; dropping the attempt");
                self.unheard = true;
                Some(Outcome::Lost)
            }
            Event::Ended(Ok(Ended { outcome, next })) => {
                self.next = next;
                Some(outcome)
            }
            Event::Ended(Err(refusal)) => Some(refused(&refusal)),
            Event::Uploaded(result) => self.uploaded(result),
            Event::Renewed(sent, answer) => self.renewed(sent, answer),
            Event::Fetched(result) => self.fetched(result),
            Event::Shutdown => self.shut_down(),
            Event::StopOverdue => self.kill_overdue(),
            Event::NobodyBlamed => {
                self.group.blames_until = None;
                None
            }
            Event::LogKept => None,
            Event::RenewalDue => self.renew(),
            Event::Trainer(Said::Event(event)) => self.heard(event),
            Event::Trainer(Said::Ended(end)) => self.trainer_ended(&end),
        };
        if ended.is_none() {
            self.go_on();
        }
        ended
    }

    /// Starts what can start now: the next upload, or the end.
    fn go_on(&mut self) {
        while self.uploading.is_none()
            && let Some(next) = self.queue.pop()
        {
            match next {
                Next::Store(ready) => self.upload(ready),
                Next::Drop(ready) => self.discard(ready),
            }
        }
        let busy = self.fetching.is_some()
            || self.trainer.is_some()
            || self.uploading.is_some()
            || self.log.is_storing()
            || self.group.blames_until.is_some()
            || self.ending.is_some();
        if busy {
            return;
        }
        if let Some(verdict) = self.verdict.take() {
            self.ending = Some(
                end(
                    self.around.fleet.clone(),
                    self.task.part,
                    verdict,
                    self.log.rest(),
                    std::mem::take(&mut self.stderr),
                    !self.stopping,
                )
                .boxed(),
            );
        }
    }

    fn upload(&mut self, ready: Ready) {
        let (store, fleet) = (self.around.store.clone(), self.around.fleet.clone());
        let span = info_span!(target: TRACE_ONLY, "store", role = %ready.role, step = ready.step);
        let upload = checkpoints::upload(store, fleet, self.task.claim, ready);
        self.uploading = Some(upload.instrument(span).boxed());
    }

    /// Removes the folder of a checkpoint that is of no use.
    fn discard(&mut self, ready: Ready) {
        while self.chores.try_join_next().is_some() {}
        let chore = async move {
            if let Err(error) = checkpoints::discard(&ready).await {
                tracing::warn!(error = %chain(&error), "a useless checkpoint is left in the scratch folder");
            }
        };
        self.chores.spawn(chore.in_current_span());
    }

    fn renew(&mut self) -> Option<Outcome> {
        let (fleet, terms) = (self.around.fleet.clone(), self.around.terms);
        let (part, says) = (self.task.part, self.group.says(self.progress));
        // An answer that is lost must leave time for more tries.
        let within = (terms.lease_ttl / 4).max(terms.renew_every);
        let is_waiting = self.waiting.is_some() || self.trainer.is_none();
        self.renewal_due = Instant::now() + self.group.renews_after(terms, is_waiting);
        self.renewing = Some(
            async move {
                let sent = Instant::now();
                (sent, fleet.renew(part, says, within).await)
            }
            .boxed(),
        );
        None
    }

    fn renewed(
        &mut self,
        sent: Instant,
        answer: Result<v1::RenewResponse, Refusal>,
    ) -> Option<Outcome> {
        reached(Point::WorkerAfterRenew);
        match answer {
            // The last call is under way: its answer says how the attempt ended. A renewal that
            // was overtaken by it says nothing.
            Err(Refusal::Stale { .. }) if self.ending.is_some() => None,
            Ok(answer) if answer.directive() == v1::Directive::Stop => {
                let ended = if self.group.is_member() {
                    Outcome::Attended
                } else {
                    Outcome::Cancelled
                };
                self.ending.is_none().then_some(ended)
            }
            Ok(answer) => {
                self.lease_over = sent + self.around.terms.lease_ttl;
                self.around.config.answered();
                if answer.store_log {
                    self.show_log(sent);
                }
                self.directed(&answer);
                None
            }
            Err(refusal @ (Refusal::Stale { .. } | Refusal::UnknownTask(_))) => {
                Some(refused(&refusal))
            }
            Err(refusal) => {
                measure::renewal_failed();
                tracing::warn!(%refusal, "the lease could not be renewed; trying again");
                // Sooner than a renewal that went well: the lease is running out.
                self.renewal_due = Instant::now() + self.around.terms.renew_every / 4;
                None
            }
        }
    }

    /// Somebody follows the trainer's log: keeps it, and hears soon whether to go on with that.
    fn show_log(&mut self, asked: Instant) {
        if self.trainer.is_some() {
            self.log.keep();
        }
        self.renewal_due = self.renewal_due.min(asked + FOLLOWED_EVERY);
    }

    /// Does what a renewal that kept the lease says besides.
    fn directed(&mut self, answer: &v1::RenewResponse) {
        if self.group.is_invited_by(answer)
            && let Some(inputs) = self.waiting.take()
        {
            self.start(&inputs);
        }
        match answer.directive() {
            v1::Directive::Checkpoint => {
                if let Some(trainer) = &self.trainer {
                    trainer.tell(Command::CheckpointNow(v1::CheckpointNow {}));
                }
            }
            v1::Directive::Release if self.group.part_ways() => {
                tracing::info!("a member is to stop: the lease goes back");
                self.wind_up();
            }
            v1::Directive::Continue
            | v1::Directive::Release
            | v1::Directive::Stop
            | v1::Directive::Unspecified => {}
        }
    }

    fn fetched(&mut self, result: Result<Inputs, FetchError>) -> Option<Outcome> {
        match result {
            Ok(inputs) => {
                reached(Point::WorkerAfterFetch);
                if self.group.can_meet() {
                    self.start(&inputs);
                } else {
                    self.waiting = Some(inputs);
                }
            }
            Err(error) => self.conclude(Verdict::Failed(error.into())),
        }
        None
    }

    fn heard(&mut self, event: trainer_event::Event) -> Option<Outcome> {
        match event {
            trainer_event::Event::Progress(progress) => {
                self.meter.heard(&progress);
                self.progress = Some(progress);
            }
            trainer_event::Event::Meeting(v1::Meeting { port }) => {
                match self.group.listens(&self.around.config.advertise, port) {
                    // The members wait to be told.
                    Ok(()) => self.renewal_due = Instant::now(),
                    Err(error) => self.abort(trainer_error(error.to_string())),
                }
            }
            trainer_event::Event::CheckpointReady(ready) => self.take(&ready),
            trainer_event::Event::Done(observation) => match Observation::try_from(observation) {
                Ok(observation) => self.conclude(Verdict::Done(observation)),
                Err(error) => self.abort(trainer_error(error.to_string())),
            },
            trainer_event::Event::Stopped(said) => match self.stopped(said) {
                verdict @ Verdict::Failed(_) => self.abort(verdict),
                verdict @ (Verdict::Stopped(_) | Verdict::Done(_)) => self.conclude(verdict),
            },
            trainer_event::Event::Failed(failed) => {
                self.group.blame(&failed, self.around.terms);
                self.conclude(trainer_failed(failed, self.task.resume.as_ref()));
            }
        }
        None
    }

    /// What it means that the trainer has stopped: it was told to, or has come to where it was to stop.
    fn stopped(&self, said: v1::Stopped) -> Verdict {
        let interim = match interim("Stopped.seconds", said.curve, said.seconds) {
            Ok(interim) => interim,
            Err(error) => return trainer_error(error.to_string()),
        };
        let reached = interim.curve.reached();
        match self.task.stop_after {
            _ if self.stopping || self.group.is_parting() => Verdict::Stopped(interim),
            Some(epochs) if reached >= epochs => Verdict::Stopped(interim),
            Some(epochs) => trainer_error(format!(
                "expected the trainer to stop after {epochs} epochs, found that it did after {reached}"
            )),
            None => trainer_error("the trainer stopped without being told".to_owned()),
        }
    }

    /// Queues a checkpoint that the trainer has written.
    fn take(&mut self, ready: &v1::CheckpointReady) {
        let outputs = self.task.spec.outputs();
        match Ready::new(ready, &self.folder.checkpoints(), &outputs) {
            Ok(ready) => {
                if let Some(superseded) = self.queue.push(ready) {
                    self.discard(superseded);
                }
            }
            Err(error) => self.abort(trainer_error(error.to_string())),
        }
    }

    fn uploaded(&mut self, result: Result<CheckpointRef, UploadError>) -> Option<Outcome> {
        match result {
            // What is left of an attempt that is lost: where to go on, and what was printed until then.
            Ok(_checkpoint) => self.log.keep(),
            Err(UploadError::Refused(
                refusal @ (Refusal::Stale { .. } | Refusal::UnknownTask(_)),
            )) => return Some(refused(&refusal)),
            Err(error) => {
                self.queue.clear();
                self.abort(Verdict::Failed(error.into()));
            }
        }
        None
    }

    fn trainer_ended(&mut self, end: &End) -> Option<Outcome> {
        self.trainer = None;
        self.training = Span::none();
        self.stop_overdue = None;
        self.progress = None;
        self.clock.storing(Instant::now());
        self.stderr = end.stderr.text();
        let is_well = end.status.is_some_and(|status| status.success());
        if self.group.is_member() && is_well && self.verdict.is_none() {
            // Its ranks have done their part. The rest is the leader's, and the end of its lease the end
            // of this one's part.
            self.renewal_due = Instant::now();
            return None;
        }
        if self.verdict.is_none() {
            let message = format!("{} ended without a word, {}", end.who, end.describe());
            let class = v1::FailureClass::TrainerCrashed;
            self.conclude(Verdict::Failed(failure(class, message)));
        }
        None
    }

    fn shut_down(&mut self) -> Option<Outcome> {
        self.stopping = true;
        self.wind_up();
        None
    }

    /// Brings the attempt to an end that costs as little as may be: with a checkpoint. A member asks its
    /// leader for that.
    fn wind_up(&mut self) {
        if self.fetching.take().is_some() || self.waiting.take().is_some() {
            self.conclude(Verdict::Stopped(Interim::default()));
            return;
        }
        let overdue = Some(Instant::now() + self.around.config.grace);
        if self.group.is_member() && self.verdict.is_none() {
            if self.trainer.is_some() {
                tracing::info!("asking the group's leader for a checkpoint and its end");
                self.group.leave();
                self.renewal_due = Instant::now();
            }
            self.stop_overdue = overdue;
        } else if let Some(trainer) = &self.trainer {
            tracing::info!("asking the trainer for a checkpoint and its end");
            trainer.tell(Command::Stop(v1::Stop {}));
            self.stop_overdue = overdue;
        }
    }

    fn kill_overdue(&mut self) -> Option<Outcome> {
        tracing::warn!("the trainer did not end in time; killing it");
        self.stop_overdue = None;
        self.abort(Verdict::Stopped(Interim::default()));
        None
    }

    /// Settles how the attempt will end and ends the trainer at once.
    fn abort(&mut self, verdict: Verdict) {
        self.conclude(verdict);
        self.stop_overdue = None;
        if let Some(trainer) = &mut self.trainer {
            trainer.kill();
        }
    }

    /// Settles how the attempt will end. The first word counts, except that a result whose
    /// checkpoints cannot be stored is none, and neither is a stop at a rung.
    fn conclude(&mut self, verdict: Verdict) {
        match (&self.verdict, &verdict) {
            (None, _) | (Some(Verdict::Done(_)), Verdict::Failed(_)) => {}
            (Some(Verdict::Stopped(_)), Verdict::Failed(_)) if !self.stopping => {}
            (Some(Verdict::Done(_) | Verdict::Stopped(_) | Verdict::Failed(_)), _) => return,
        }
        if let Verdict::Failed(failure) = &verdict {
            tracing::warn!(
                class = class_name(failure.class),
                cause = failure.message,
                "the attempt fails"
            );
        }
        self.verdict = Some(verdict);
        if self.trainer.is_some() && self.stop_overdue.is_none() {
            self.stop_overdue = Some(Instant::now() + LAST_WORD_TO_EXIT);
        }
    }

    /// Drops everything under way, makes sure that the trainer is gone, removes the folder.
    async fn clean_up(&mut self) {
        self.fetching = None;
        self.uploading = None;
        self.log.drop_storing();
        self.ending = None;
        self.renewing = None;
        if let Some(mut trainer) = self.trainer.take() {
            trainer.kill();
            while let Said::Event(_) = trainer.next().await {}
        }
        if let Err(error) = self.folder.remove().await {
            tracing::warn!(%error, folder = %self.folder, "the attempt's scratch folder is left behind");
        }
    }
}

/// How often a log that is followed is stored, if it grows.
const FOLLOWED_EVERY: Duration = Duration::from_secs(1);

/// How long a trainer may take from its last word to its exit.
const LAST_WORD_TO_EXIT: Duration = Duration::from_secs(10);

async fn listen(trainer: &mut Option<Trainers>) -> Said {
    match trainer {
        Some(trainer) => trainer.next().await,
        None => std::future::pending().await,
    }
}
