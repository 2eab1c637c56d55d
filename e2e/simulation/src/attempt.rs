//! One lease in a worker's hands: fetch, train, store, report, and keep the lease meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use autorep_core::checkpoint::{
    CheckpointManifest, CheckpointRef, CheckpointRole, MANIFEST_OBJECT, Part, STATE_PART, folder,
};
use autorep_core::digest::Digest;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::LearningCurve;
use autorep_core::task::TaskSpec;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::bucket::BucketError;
use crate::groups::Groups;
use crate::observer::{curve, observation};
use crate::wire::{Answer, Request};
use crate::worker::{Backoff, Terms, Worker, lease_over};

/// How long a stopping worker tries to give its lease back.
const RELEASE_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// How often a leader looks whether its members are there.
const MEETING_POLL: std::time::Duration = std::time::Duration::from_millis(200);

/// How long a member that is to stop waits for its leader to give the lease back.
const PARTING: std::time::Duration = std::time::Duration::from_secs(15);

/// Tries of one object before the store counts as unavailable.
const STORE_TRIES: u32 = 5;

/// What an attempt has come to.
enum Verdict {
    Done,
    Stopped(LearningCurve),
    Failed(v1::FailureClass, Option<CheckpointRef>),
    /// The lease is gone: there is nothing to say.
    Lost,
}

/// A task in the hands of a worker.
struct Attempt<'a> {
    worker: &'a Worker,
    claim: LeaseClaim,
    /// This worker's place among those that hold the lease, of so many.
    node: u32,
    nodes: u32,
    spec: TaskSpec,
    inputs: Vec<CheckpointRef>,
    resume: Option<CheckpointRef>,
    stop_after: Option<u32>,
    /// The last call is under way: its answer says how the attempt ended.
    ending: AtomicBool,
    /// A member knows where its group meets.
    invited: AtomicBool,
    /// A member is to stop.
    leaving: AtomicBool,
    /// It goes on without a lease.
    defiant: AtomicBool,
    /// The worker is to stop, or a leader to give the lease back.
    stop: CancellationToken,
}

/// Works on an assignment until the lease has ended one way or another; returns the next one, if
/// the last answer brought one.
pub(crate) async fn run(
    worker: &Worker,
    assignment: v1::Assignment,
    terms: Terms,
) -> Option<v1::Assignment> {
    let Some(attempt) = Attempt::new(worker, assignment) else {
        worker
            .world
            .violate("an assignment can be worked on", &worker.name);
        return None;
    };
    worker.world.note(format_args!(
        "worker {}: begins {}",
        worker.name, attempt.claim
    ));
    let mut work = std::pin::pin!(attempt.work());
    let (why, next) = tokio::select! {
        biased;
        why = attempt.keep_lease(terms) => (why, None),
        next = &mut work => ("ended", next),
    };
    worker.world.note(format_args!(
        "worker {}: {}: {why}",
        worker.name, attempt.claim
    ));
    if why == "ended" {
        return next;
    }
    // A worker drops what it is doing. A defective one goes on, and nothing may come of it.
    if worker.world.fault(worker.world.profile.zombie) {
        worker
            .world
            .note(format_args!("worker {}: goes on all the same", worker.name));
        attempt.defiant.store(true, Ordering::Relaxed);
        drop(work.await);
    }
    None
}

impl<'a> Attempt<'a> {
    fn new(worker: &'a Worker, assignment: v1::Assignment) -> Option<Self> {
        let spec: TaskSpec = serde_json::from_slice(&assignment.spec).ok()?;
        let LeasePart { claim, node } = assignment.claim?.try_into().ok()?;
        let inputs = assignment.inputs.into_iter().map(TryInto::try_into);
        (spec.id() == claim.task).then_some(())?;
        Some(Self {
            worker,
            claim,
            node,
            nodes: assignment.nodes,
            spec,
            inputs: inputs.collect::<Result<_, _>>().ok()?,
            resume: assignment.resume.map(TryInto::try_into).transpose().ok()?,
            stop_after: assignment.stop_after,
            ending: AtomicBool::new(false),
            invited: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            defiant: AtomicBool::new(false),
            stop: worker.shutdown.child_token(),
        })
    }

    /// The part of the lease that it speaks under.
    fn part(&self) -> LeasePart {
        LeasePart {
            claim: self.claim,
            node: self.node,
        }
    }

    /// Where its group meets: another place for each lease.
    fn place(&self) -> String {
        let LeaseClaim { task, generation } = self.claim;
        format!("{}:{}", task.short(), 1000 + generation.0 % 60_000)
    }

    /// What a member is told of where it is to go.
    fn invite(&self, place: &str) {
        if place.is_empty() {
            return;
        }
        if place != self.place() {
            let what = format!("{}: {place}, not {}", self.part(), self.place());
            let world = &self.worker.world;
            world.violate("a member goes to where its own group meets", what);
        }
        self.invited.store(true, Ordering::Relaxed);
    }

    /// Renews the lease by the worker's own clock; returns why it is over.
    async fn keep_lease(&self, terms: Terms) -> &'static str {
        let worker = self.worker;
        let mut over = lease_over(worker, terms, Instant::now());
        loop {
            let sent = Instant::now();
            let request = Request::Renew(v1::RenewRequest {
                claim: Some(self.part().into()),
                progress: None,
                rendezvous: if self.nodes > 1 && self.node == 0 {
                    self.place()
                } else {
                    String::new()
                },
                leaving: self.leaving.load(Ordering::Relaxed),
            });
            let within = (terms.lease_ttl / 4).max(terms.renew_every);
            let renewing = worker.call(request, within);
            let answer = tokio::select! {
                biased;
                () = sleep_until(over) => return "no renewal got through in time",
                answer = renewing => answer,
            };
            let ending = self.ending.load(Ordering::Relaxed);
            let wait = match answer {
                Ok(Answer::Directive(v1::Directive::Stop, _)) if !ending => return "told to stop",
                Ok(answer) => {
                    if let Answer::Directive(directive, place) = answer {
                        self.invite(&place);
                        if directive == v1::Directive::Release {
                            self.stop.cancel();
                        }
                    }
                    over = lease_over(worker, terms, sent);
                    terms.renew_every
                }
                Err(Refusal::Stale { .. } | Refusal::UnknownTask(_)) if !ending => {
                    return "the lease is gone";
                }
                Err(_) => terms.renew_every / 4,
            };
            tokio::select! {
                biased;
                () = sleep_until(over) => return "no renewal got through in time",
                () = worker.wait(wait) => {}
            }
        }
    }

    async fn work(&self) -> Option<v1::Assignment> {
        let verdict = match self.fetch_all().await {
            Ok(()) if self.node > 0 => self.attend(&self.stop).await,
            Ok(()) => self.train(&self.stop).await,
            Err(verdict) => verdict,
        };
        self.ending.store(true, Ordering::Relaxed);
        match verdict {
            Verdict::Done => return self.finish().await,
            Verdict::Failed(class, bad) => self.fail(class, bad).await,
            Verdict::Stopped(curve) => {
                let request = Request::Release(v1::ReleaseRequest {
                    claim: Some(self.part().into()),
                    curve: Some(curve.into()),
                    seconds: 0.0,
                });
                drop(timeout(RELEASE_WITHIN, self.worker.insist(request)).await);
            }
            Verdict::Lost => {}
        }
        None
    }

    async fn finish(&self) -> Option<v1::Assignment> {
        let world = &self.worker.world;
        let request = Request::Finish(v1::FinishRequest {
            claim: Some(self.claim.into()),
            observation: Some(observation(&self.spec, self.claim.generation).into()),
            take_next: !self.worker.shutdown.is_cancelled() && world.chance.permille(700),
            started_unix_ns: self.worker.started_unix_ns,
        });
        match self.worker.insist(request).await {
            Ok(Answer::Finished(answer)) => return answer.next,
            Ok(other) => world.violate("an answer fits its request", format!("{other:?}")),
            Err(Refusal::Stale { .. } | Refusal::UnknownTask(_)) => {}
            Err(refusal) => world.violate("a right result is taken", refusal),
        }
        None
    }

    async fn fail(&self, class: v1::FailureClass, bad: Option<CheckpointRef>) {
        let request = Request::Fail(v1::FailRequest {
            claim: Some(self.part().into()),
            class: class.into(),
            message: "made up".to_owned(),
            stderr_tail: String::new(),
            bad_checkpoint: bad.map(Into::into),
        });
        drop(self.worker.insist(request).await);
    }

    async fn fetch_all(&self) -> Result<(), Verdict> {
        for checkpoint in self.inputs.iter().chain(&self.resume) {
            self.fetch(checkpoint).await?;
        }
        Ok(())
    }

    /// Fetches a checkpoint and holds it against its digests.
    async fn fetch(&self, checkpoint: &CheckpointRef) -> Result<(), Verdict> {
        let bad = || Verdict::Failed(v1::FailureClass::BadCheckpoint, Some(checkpoint.clone()));
        let manifest = self
            .get(&format!("{}/{MANIFEST_OBJECT}", checkpoint.folder()), bad)
            .await?;
        if Digest::of(&manifest) != checkpoint.manifest {
            return Err(bad());
        }
        let manifest: CheckpointManifest =
            serde_json::from_slice(&manifest).map_err(|_text| bad())?;
        for part in &manifest.parts {
            let content = self
                .get(&format!("{}/{}", checkpoint.folder(), part.name), bad)
                .await?;
            if Digest::of(&content) != part.sha256 {
                return Err(bad());
            }
        }
        Ok(())
    }

    async fn get(&self, key: &str, bad: impl Fn() -> Verdict) -> Result<Vec<u8>, Verdict> {
        let mut backoff = Backoff::new();
        for _ in 0..STORE_TRIES {
            self.worker.thaw().await;
            match self.worker.world.bucket.get(&self.worker.world, key).await {
                Ok(content) => return Ok(content),
                Err(BucketError::Missing) => {
                    self.missing(key);
                    return Err(bad());
                }
                Err(BucketError::Fails | BucketError::Taken) => backoff.wait(self.worker).await,
            }
        }
        Err(Verdict::Failed(v1::FailureClass::StoreUnavailable, None))
    }

    /// What was set aside may be gone, and so may be what a lease read that has ended.
    fn missing(&self, key: &str) {
        let world = &self.worker.world;
        if world.observer.is_live(self.claim) && !world.observer.is_reported_bad(key) {
            world.violate("what a reader is sent to is there", key);
        }
    }

    /// Makes steps, with a checkpoint here and there, and the outputs.
    async fn train(&self, shutdown: &CancellationToken) -> Verdict {
        let world = &self.worker.world;
        let begin = self.resume.as_ref().map_or(0, |resume| resume.step);
        let mut outputs = self.spec.outputs();
        if self.stops_at(begin) {
            return Verdict::Stopped(curve(&self.spec, begin));
        }
        for step in begin + 1..=4 {
            if !self.is_whole(shutdown).await {
                return Verdict::Stopped(LearningCurve::default());
            }
            let training = self.worker.wait(world.chance.ms(1, world.profile.step_ms));
            if shutdown.run_until_cancelled(training).await.is_none() {
                return match self.store(CheckpointRole::Resume, step).await {
                    Ok(()) => Verdict::Stopped(curve(&self.spec, step)),
                    Err(verdict) => verdict,
                };
            }
            if world.fault(world.profile.freeze) {
                self.worker.freeze();
                self.worker.thaw().await;
            }
            if world.fault(world.profile.trainer_fails) {
                return Verdict::Failed(made_up_failure(self.worker), None);
            }
            // A search leaves a net at each budget that it passes, but for the last.
            if self.spec.hands_out_early()
                && outputs.len() > 1
                && let Err(verdict) = self
                    .store(CheckpointRole::Output(outputs.remove(0)), step)
                    .await
            {
                return verdict;
            }
            if self.stops_at(step) {
                return match self.store(CheckpointRole::Resume, step).await {
                    Ok(()) => Verdict::Stopped(curve(&self.spec, step)),
                    Err(verdict) => verdict,
                };
            }
            if world.chance.permille(400)
                && let Err(verdict) = self.store(CheckpointRole::Resume, step).await
            {
                return verdict;
            }
        }
        // Those, too, that an earlier attempt passed.
        for output in outputs {
            if let Err(verdict) = self.store(CheckpointRole::Output(output), 4).await {
                return verdict;
            }
        }
        Verdict::Done
    }

    /// Waits until the trainers of its members are there; false if it is to stop before. A leader has no
    /// patience of its own: who ends the lease of a group that does not meet is the coordinator.
    async fn is_whole(&self, shutdown: &CancellationToken) -> bool {
        let world = &self.worker.world;
        while !world.groups.are_whole(self.claim, self.nodes) {
            if shutdown.is_cancelled() {
                return false;
            }
            if self.defiant.load(Ordering::Relaxed) {
                break;
            }
            self.worker.wait(MEETING_POLL).await;
        }
        true
    }

    /// Does what the leader's trainer does, for as long as the lease lives.
    async fn attend(&self, shutdown: &CancellationToken) -> Verdict {
        let world = &self.worker.world;
        let mut present = None;
        loop {
            let training = self.worker.wait(world.chance.ms(1, world.profile.step_ms));
            if shutdown.run_until_cancelled(training).await.is_none() {
                // The leader may still make a checkpoint; if it does, this ends with the lease.
                self.leaving.store(true, Ordering::Relaxed);
                self.worker.wait(PARTING).await;
                return Verdict::Stopped(LearningCurve::default());
            }
            if self.defiant.load(Ordering::Relaxed) || world.fault(world.profile.trainer_fails) {
                return Verdict::Failed(made_up_failure(self.worker), None);
            }
            if present.is_none() && self.invited.load(Ordering::Relaxed) {
                present = Some(Groups::join(world, self.part()));
            }
            if present.is_some() && world.fault(world.profile.freeze) {
                self.worker.freeze();
                self.worker.thaw().await;
            }
        }
    }

    /// Whether it is to stop after so many steps, each of which is an epoch then.
    fn stops_at(&self, step: u64) -> bool {
        self.stop_after.is_some_and(|stop| step >= u64::from(stop))
    }

    /// Stores parts, then the manifest, then commits.
    async fn store(&self, role: CheckpointRole, step: u64) -> Result<(), Verdict> {
        let LeaseClaim { task, generation } = self.claim;
        let prefix = folder(task, generation, &role, step);
        let content = format!("{prefix} of {}", self.worker.name).into_bytes();
        let part = Part {
            name: STATE_PART.to_owned(),
            bytes: content.len() as u64,
            sha256: Digest::of(&content),
        };
        self.put(&format!("{prefix}/{STATE_PART}"), content).await?;
        let manifest = CheckpointManifest {
            task,
            generation,
            role: role.clone(),
            step,
            parts: vec![part],
        };
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        let checkpoint = CheckpointRef {
            task,
            generation,
            role,
            step,
            manifest: Digest::of(&text),
        };
        self.put(&format!("{prefix}/{MANIFEST_OBJECT}"), text)
            .await?;
        let request = Request::Commit(v1::CommitRequest {
            claim: Some(self.claim.into()),
            checkpoint: Some(checkpoint.into()),
        });
        match self.worker.insist(request).await {
            Ok(_) => Ok(()),
            Err(Refusal::Stale { .. } | Refusal::UnknownTask(_)) => Err(Verdict::Lost),
            Err(refusal) => {
                self.worker
                    .world
                    .violate("a right checkpoint is taken", refusal);
                Err(Verdict::Lost)
            }
        }
    }

    async fn put(&self, key: &str, content: Vec<u8>) -> Result<(), Verdict> {
        let mut backoff = Backoff::new();
        let world = &self.worker.world;
        for _ in 0..STORE_TRIES {
            self.worker.thaw().await;
            match world.bucket.create(world, key, content.clone()).await {
                Ok(()) => return Ok(()),
                Err(BucketError::Taken) => {
                    world.violate("no two holders write one key", key);
                    return Err(Verdict::Lost);
                }
                Err(BucketError::Fails | BucketError::Missing) => backoff.wait(self.worker).await,
            }
        }
        Err(Verdict::Failed(v1::FailureClass::StoreUnavailable, None))
    }
}

fn made_up_failure(worker: &Worker) -> v1::FailureClass {
    let classes = [
        v1::FailureClass::TrainerCrashed,
        v1::FailureClass::OutOfMemory,
        v1::FailureClass::Diverged,
        v1::FailureClass::BadData,
        v1::FailureClass::StoreUnavailable,
        v1::FailureClass::TrainerError,
        v1::FailureClass::BudgetUnreached,
    ];
    let class = worker.world.chance.pick(&classes).copied();
    class.unwrap_or(v1::FailureClass::TrainerError)
}
