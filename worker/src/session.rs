//! A worker's life: register, wait for a lease, work on it, repeat.

use std::sync::Arc;
use std::time::Duration;

use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::Interim;
use autorep_core::text::without_digits;
use autorep_failpoint::{Point, reached};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_transport::{CredentialsError, trace};
use object_store::ObjectStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::RunError;
use crate::attempt::{Attempt, Report, Surroundings};
use crate::backoff::Backoff;
use crate::causes::chain;
use crate::config::Config;
use crate::fleet::{Failure, Fleet, Terms, passes};
use crate::measure;
use crate::report::{Outcome, Summary, Times};
use crate::scratch::WorkerFolder;
use crate::store::Store;
use crate::task::{self, Task};

/// How long one request for a task waits. A new one shows the coordinator that the worker lives.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);

/// An empty answer sooner than this is not a long poll: something has to slow the worker down.
const TOO_SOON: Duration = Duration::from_millis(500);

/// How often it is told that the coordinator is waited for, for the same kind of reason.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Failures in a row after which a worker waits before it takes another task: if it is broken
/// itself, it must not use up the attempts of a whole sweep.
const SUSPICIOUS_FAILURES: u32 = 3;

/// A worker from its start to its end.
pub(crate) struct Session {
    config: Config,
    store: Store,
    fleet: Fleet,
    scratch: WorkerFolder,
    shutdown: CancellationToken,
    summary: Summary,
    backoff: Backoff,
    failures: u32,
    /// The lease of an attempt that was dropped because no renewal got through. If it still lives
    /// (the coordinator stood still, or the line was cut), it is given back before another task is
    /// asked for: else it would look as if the task had taken this worker with it.
    dropped: Option<(LeasePart, Span)>,
    /// Whether the coordinator has let it in before: then its token is one, or was.
    was_registered: bool,
}

/// Why a session waits for tasks no longer.
enum Pause {
    /// The coordinator is away or has forgotten this worker.
    Lost,
    /// There is nothing more to do, or this worker is to stop.
    Over,
}

impl Session {
    pub(crate) fn new(
        config: Config,
        store: Arc<dyn ObjectStore>,
        scratch: WorkerFolder,
        shutdown: CancellationToken,
    ) -> Result<Self, CredentialsError> {
        Ok(Self {
            store: Store::new(store, config.store_patience),
            fleet: Fleet::new(&config)?,
            config,
            scratch,
            shutdown,
            summary: Summary::default(),
            backoff: Backoff::new(),
            failures: 0,
            dropped: None,
            was_registered: false,
        })
    }

    /// Works until told to stop or, if so configured, until nothing is left to do.
    pub(crate) async fn run(mut self) -> Result<Summary, RunError> {
        loop {
            let Some(terms) = self.register().await? else {
                break;
            };
            match self.serve(terms).await? {
                Pause::Lost => {}
                Pause::Over => break,
            }
        }
        self.summary.log(&self.config.name);
        Ok(self.summary)
    }

    /// Makes the worker known, however long it takes; `None` on shutdown.
    async fn register(&mut self) -> Result<Option<Terms>, RunError> {
        let (waiting_since, waited) = (Instant::now(), self.summary.waiting);
        let shutdown = self.shutdown.clone();
        let mut told: Option<(String, Instant)> = None;
        let registered = loop {
            let Some(answer) = shutdown.run_until_cancelled(self.fleet.register()).await else {
                break Ok(None);
            };
            match answer {
                Ok(answer) => match self.agree(answer).await {
                    Ok(Some(terms)) => break Ok(Some(terms)),
                    Ok(None) => self.pause(None).await,
                    Err(error) => break Err(error),
                },
                Err(refusal)
                    if refusal.is_transient() || self.was_registered && passes(&refusal) =>
                {
                    // Some count seconds.
                    let why = without_digits(&refusal.to_string());
                    let is_told = (told.as_ref())
                        .is_some_and(|(it, at)| *it == why && at.elapsed() < TELL_EVERY);
                    if is_told {
                        tracing::debug!(%refusal, "waiting for the coordinator");
                    } else {
                        told = Some((why, Instant::now()));
                        tracing::warn!(%refusal, coordinator = %self.config.coordinator, "waiting for the coordinator");
                    }
                    self.pause(refusal.retry_after()).await;
                }
                Err(refusal) => break Err(RunError::Refused(refusal)),
            }
        };
        // The pauses among it have been counted already.
        self.summary.waiting = waited + waiting_since.elapsed();
        if let Ok(Some(terms)) = &registered {
            self.was_registered = true;
            reached(Point::WorkerAfterRegister);
            self.config.answered();
            tracing::info!(
                worker = self.config.name,
                lease_ttl_s = terms.lease_ttl.as_secs_f64(),
                renew_every_s = terms.renew_every.as_secs_f64(),
                "registered"
            );
        }
        registered
    }

    /// Takes what the coordinator says, if it is of this worker's own store; `None` while that
    /// store does not answer, or on shutdown.
    async fn agree(&mut self, answer: v1::RegisterResponse) -> Result<Option<Terms>, RunError> {
        let shutdown = self.shutdown.clone();
        self.config
            .health
            .not_ready("it has not found its coordinator's store where --store says");
        let looking = self.store.known_as(&answer.store_id);
        match shutdown.run_until_cancelled(looking).await {
            None => Ok(None),
            Some(Ok(store)) => {
                self.store = store;
                Terms::try_from(answer)
                    .map(Some)
                    .map_err(RunError::Protocol)
            }
            // No task is taken before: all of them would fail.
            Some(Err(error)) if error.is_unanswered() => {
                tracing::warn!(error = %chain(&error), "waiting for the store");
                Ok(None)
            }
            Some(Err(error)) => Err(RunError::Store(error)),
        }
    }

    /// Takes and does tasks until the coordinator is lost or the work is over.
    async fn serve(&mut self, terms: Terms) -> Result<Pause, RunError> {
        let shutdown = self.shutdown.clone();
        loop {
            self.give_back_dropped().await;
            let asked = Instant::now();
            let acquire = self.fleet.acquire(ACQUIRE_WAIT);
            let answer = shutdown.run_until_cancelled(acquire).await;
            self.summary.waiting += asked.elapsed();
            let response = match answer {
                None => return Ok(Pause::Over),
                Some(Ok(response)) => {
                    self.config.answered();
                    response
                }
                // The coordinator has started anew, or another process has this worker's name.
                Some(Err(refusal @ Refusal::UnknownWorker(_))) => {
                    tracing::warn!(%refusal, "registering again");
                    let why = "its coordinator has started anew, or another process has its name";
                    self.config.health.not_ready(why);
                    self.pause(refusal.retry_after()).await;
                    return Ok(Pause::Lost);
                }
                Some(Err(refusal)) if passes(&refusal) => {
                    // It stays ready for a minute: many restarts are shorter.
                    tracing::warn!(%refusal, "lost the coordinator");
                    self.pause(refusal.retry_after()).await;
                    return Ok(Pause::Lost);
                }
                Some(Err(refusal)) => return Err(RunError::Refused(refusal)),
            };
            match response.assignment {
                Some(assignment) => {
                    self.backoff = Backoff::new();
                    let mut given = Some(assignment);
                    while let Some(assignment) = given {
                        reached(Point::WorkerAfterAcquire);
                        given = self.work(assignment, terms).await?;
                    }
                    if shutdown.is_cancelled() {
                        return Ok(Pause::Over);
                    }
                }
                None if response.idle && self.config.exit_when_idle => return Ok(Pause::Over),
                None if asked.elapsed() < TOO_SOON => self.pause(None).await,
                None => self.backoff = Backoff::new(),
            }
        }
    }

    /// Tells the coordinator of an attempt that was dropped, if it can be told; whatever it says, the
    /// lease is not this worker's any more.
    async fn give_back_dropped(&mut self) {
        let Some((part, span)) = self.dropped.take() else {
            return;
        };
        let nothing = Interim::default();
        let release = self.fleet.release(part, &nothing);
        let released = tokio::time::timeout(ACQUIRE_WAIT, release).instrument(span.clone());
        let released = released.await;
        span.in_scope(|| match released {
            Ok(Ok(())) => tracing::info!("gave the lease of the dropped attempt back"),
            Ok(Err(refusal)) => tracing::debug!(%refusal, "the dropped attempt's lease had ended"),
            Err(_elapsed) => tracing::warn!("the dropped attempt's lease was not given back"),
        });
    }

    /// Waits a little, at least as long as the coordinator asks for, or until shutdown.
    async fn pause(&mut self, asked: Option<Duration>) {
        let waiting_since = Instant::now();
        let shutdown = self.shutdown.clone();
        if shutdown
            .run_until_cancelled(self.backoff.wait_at_least(asked))
            .await
            .is_none()
        {
            tracing::debug!("shutdown ends the wait");
        }
        self.summary.waiting += waiting_since.elapsed();
    }

    /// Does one task; returns the next, if the coordinator gave one with its last answer. What is
    /// given is worked on whatever happens: a worker that is to stop gives it back.
    async fn work(
        &mut self,
        assignment: v1::Assignment,
        terms: Terms,
    ) -> Result<Option<v1::Assignment>, RunError> {
        let part = task::part(&assignment).map_err(RunError::Protocol)?;
        let claim = part.claim;
        // Of the highest level, so that no filter lets a line through and keeps back what it is about.
        let span = tracing::error_span!(
            parent: None,
            "attempt",
            task = claim.task.short(),
            generation = claim.generation.0,
            node = part.node,
            worker = self.config.name,
            sweep = assignment.sweep,
            attempt = assignment.attempt,
            otel.status_code = tracing::field::Empty,
        );
        trace::continue_from(&span, &assignment.traceparent, "");
        let report = match Task::new(part, assignment) {
            Ok(task) => self.attempt(task, terms).instrument(span.clone()).await,
            Err(error) => {
                self.refuse(part, &chain(&error), terms)
                    .instrument(span.clone())
                    .await
            }
        };
        if report.outcome == Outcome::Failed {
            span.record("otel.status_code", "ERROR");
        }
        self.record(&report);
        if let Some(error) = report.unusable {
            return Err(RunError::Trainer(error));
        }
        self.dropped = report.unheard.then_some((part, span));
        if report.outcome == Outcome::Failed {
            self.failures += 1;
            if self.failures >= SUSPICIOUS_FAILURES {
                self.pause(None).await;
            }
        } else {
            self.failures = 0;
        }
        Ok(report.next)
    }

    async fn attempt(&self, task: Task, terms: Terms) -> Report {
        tracing::info!(kind = %task.spec.kind(), seed = task.spec.seed, resumed = task.resume.is_some(), "begins");
        let around = Surroundings {
            config: self.config.clone(),
            store: self.store.clone(),
            fleet: self.fleet.clone(),
            terms,
            shutdown: self.shutdown.clone(),
        };
        let LeaseClaim {
            task: id,
            generation,
        } = task.claim;
        let folder = self
            .scratch
            .attempt(&format!("{}-g{generation}", id.short()));
        let report = Attempt::new(&around, task, folder).run().await;
        let times = report.times;
        tracing::info!(
            outcome = report.outcome.name(),
            fetching_s = times.fetching.as_secs_f64(),
            training_s = times.training.as_secs_f64(),
            storing_s = times.storing.as_secs_f64(),
            "ends"
        );
        report
    }

    /// Says that an assignment is not one that this worker can work on.
    async fn refuse(&self, part: LeasePart, message: &str, terms: Terms) -> Report {
        tracing::error!(cause = message, "the assignment cannot be worked on");
        let failure = Failure {
            class: v1::FailureClass::TrainerError,
            message: message.to_owned(),
            bad_checkpoint: None,
        };
        let fail = self.fleet.fail(part, &failure, "");
        let outcome = match tokio::time::timeout(terms.lease_ttl, fail).await {
            Ok(Ok(_will_retry)) => Outcome::Failed,
            Ok(Err(_)) | Err(_) => Outcome::Lost,
        };
        Report {
            outcome,
            times: Times::default(),
            unusable: None,
            unheard: false,
            next: None,
        }
    }

    fn record(&mut self, report: &Report) {
        self.summary.add(report.outcome, report.times);
        measure::attempt_ended(report.outcome, report.times);
    }
}
