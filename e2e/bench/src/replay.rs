//! A sweep from its beginning to its end in time that is only counted: the coordinator is the real one,
//! without a network, and its workers' trainers read from a table what an epoch has come to.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use autorep_coordinator::{Config, embedded};
use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::digest::Digest;
use autorep_core::lease::LeaseClaim;
use autorep_core::observation::{LearningCurve, Observation};
use autorep_core::task::TaskSpec;
use autorep_proto::v1::fleet_server::Fleet;
use autorep_proto::v1::lab_server::Lab;
use autorep_proto::{PROTOCOL_VERSION, v1};
use futures::StreamExt as _;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::table::Traces;
use crate::worker::output;

/// What a sweep has come to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Outcome {
    /// Epochs that its workers trained.
    pub(crate) epochs: u64,
    /// The hypervolume of its front.
    pub(crate) hypervolume: f64,
}

/// Runs a manifest's sweep with so many workers. Lots decide how fast these are, and with that the order
/// in which results arrive; `order` is the lots' number.
pub(crate) async fn replay(
    manifest: &str,
    traces: &Traces,
    workers: usize,
    order: u64,
) -> Result<Outcome> {
    replay_on(Arc::new(InMemory::new()), manifest, traces, workers, order).await
}

/// The same, with a store of one's own.
pub(crate) async fn replay_on(
    store: Arc<dyn ObjectStore>,
    manifest: &str,
    traces: &Traces,
    workers: usize,
    order: u64,
) -> Result<Outcome> {
    let stop = CancellationToken::new();
    let config = Config {
        // Workers here do not vanish, and the time that they count is not the coordinator's.
        lease_ttl: Duration::from_hours(1),
        ..Config::default()
    };
    let (fleet, lab, owner) = embedded::services(config, store, stop.clone()).await?;
    let owner = tokio::spawn(owner);
    let request = v1::SubmitRequest {
        manifest: manifest.to_owned(),
        dry_run: false,
        rehearsal: None,
    };
    let sweep = lab.submit(Request::new(request)).await?.into_inner().sweep;
    let mut shift = Shift::begin(&fleet, traces, workers, order).await?;
    shift.work().await?;
    let epochs = shift.epochs;
    let hypervolume = front(&lab, sweep).await?;
    stop.cancel();
    owner.await??;
    Ok(Outcome {
        epochs,
        hypervolume,
    })
}

/// The hypervolume of a finished sweep's front, as the coordinator tells it.
async fn front(lab: &impl Lab, sweep: String) -> Result<f64> {
    let request = v1::ShowRequest {
        sweep: sweep.clone(),
    };
    let shown = lab.show(Request::new(request)).await?.into_inner();
    let state = shown.summary.context("a summary")?.state();
    ensure!(
        state == v1::SweepState::Done,
        "expected a sweep that is done, found {state:?}"
    );
    let follow = false;
    let request = v1::WatchFrontRequest { sweep, follow };
    let fronts = lab.watch_front(Request::new(request)).await?.into_inner();
    let front = std::pin::pin!(fronts).next().await.context("a front")??;
    Ok(front.hypervolume)
}

/// A worker's work on a lease.
struct Attempt<'a> {
    claim: LeaseClaim,
    spec: TaskSpec,
    /// What the task measures in the end.
    measures: &'a Observation,
    /// Epochs that are done.
    done: u32,
    /// Epochs after which the lease is given back or the task is at its end.
    until: u32,
}

/// Workers at a coordinator, and what time it is for them.
struct Shift<'a, F> {
    fleet: &'a F,
    traces: &'a Traces,
    order: u64,
    workers: Vec<Worker<'a>>,
    /// Who will have done an epoch, or an evaluation, and when: in millionths of an ordinary epoch.
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    /// Who has nothing to do, in the order in which they began to wait.
    waiting: VecDeque<usize>,
    /// Whether the coordinator has said that no work will come any more.
    idle: bool,
    epochs: u64,
}

struct Worker<'a> {
    name: String,
    attempt: Option<Attempt<'a>>,
    /// Epochs and evaluations that it has begun.
    begun: u64,
}

impl<'a, F: Fleet> Shift<'a, F> {
    async fn begin(fleet: &'a F, traces: &'a Traces, count: usize, order: u64) -> Result<Self> {
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let name = format!("w{number}");
            let request = v1::RegisterRequest {
                worker: name.clone(),
                protocol_version: PROTOCOL_VERSION,
                device: "cpu".to_owned(),
                ..v1::RegisterRequest::default()
            };
            fleet.register(Request::new(request)).await?;
            workers.push(Worker {
                name,
                attempt: None,
                begun: 0,
            });
        }
        Ok(Self {
            fleet,
            traces,
            order,
            workers,
            ends: BinaryHeap::new(),
            waiting: (0..count).collect(),
            idle: false,
            epochs: 0,
        })
    }

    /// Works until nothing is left.
    async fn work(&mut self) -> Result<()> {
        self.hand_out(0).await?;
        while let Some(Reverse((now, number))) = self.ends.pop() {
            self.go_on(number, now).await?;
            self.hand_out(now).await?;
        }
        ensure!(
            self.idle,
            "expected work until the sweep is done, found that none is leased and that some is left"
        );
        Ok(())
    }

    /// Lets those who wait ask for work, who has waited longest first, until there is none. As real
    /// requests wait at the coordinator, nobody is served before them.
    async fn hand_out(&mut self, now: u64) -> Result<()> {
        while let Some(&number) = self.waiting.front() {
            let request = v1::AcquireRequest {
                worker: self.workers[number].name.clone(),
                wait_ms: 0,
                ..v1::AcquireRequest::default()
            };
            let answer = self.fleet.acquire(Request::new(request)).await?;
            let answer = answer.into_inner();
            self.idle = answer.idle;
            let Some(assignment) = answer.assignment else {
                break; // Nor for the others, who are no different.
            };
            self.waiting.pop_front();
            let attempt = Attempt::new(assignment, self.traces)?;
            self.workers[number].attempt = Some(attempt);
            self.go_on_from(number, now);
        }
        Ok(())
    }

    /// Has a worker begin its next epoch, or its evaluation.
    fn go_on_from(&mut self, number: usize, now: u64) {
        let worker = &mut self.workers[number];
        worker.begun += 1;
        let epoch = duration(self.order, number as u64, worker.begun);
        let is_trained = worker.attempt.as_ref().is_some_and(|it| it.until > 0);
        let took = if is_trained { epoch } else { epoch / 4 };
        self.ends.push(Reverse((now + took, number)));
    }

    /// A worker has done an epoch, or its evaluation.
    async fn go_on(&mut self, number: usize, now: u64) -> Result<()> {
        let attempt = self.workers[number].attempt.as_mut();
        let attempt = attempt.context("who works has a lease")?;
        if attempt.until > 0 {
            attempt.done += 1;
            self.epochs += 1;
            attempt.renew(self.fleet).await?;
        }
        if attempt.done < attempt.until {
            self.go_on_from(number, now);
            return Ok(());
        }
        if attempt.until < attempt.measures.curve.reached() {
            attempt.stop(self.fleet).await?;
        } else {
            attempt.finish(self.fleet).await?;
        }
        self.workers[number].attempt = None;
        self.waiting.push_back(number);
        Ok(())
    }
}

impl<'a> Attempt<'a> {
    fn new(assignment: v1::Assignment, traces: &'a Traces) -> Result<Self> {
        let claim = assignment.claim.context("an assignment has a claim")?;
        let claim = LeaseClaim::try_from(claim)?;
        let measures = traces.get(&claim.task);
        let measures = measures.context("expected a task of the table")?;
        let epochs = measures.curve.reached();
        // A checkpoint's steps are epochs here.
        let done = assignment.resume.map_or(Ok(0), |it| u32::try_from(it.step));
        Ok(Self {
            claim,
            spec: serde_json::from_slice(&assignment.spec)?,
            measures,
            done: done?,
            until: assignment.stop_after.unwrap_or(epochs).min(epochs),
        })
    }

    async fn renew(&self, fleet: &impl Fleet) -> Result<()> {
        let after = self.measures.curve.after(self.done);
        let (relu_count, validation) = after.context("an epoch of the curve")?;
        let request = v1::RenewRequest {
            claim: Some(self.claim.into()),
            rendezvous: String::new(),
            leaving: false,
            progress: Some(v1::Progress {
                epoch: self.done,
                epochs: self.measures.curve.reached(),
                relu_count: Some(relu_count),
                validation: Some(validation.into()),
                ..v1::Progress::default()
            }),
        };
        let answer = fleet.renew(Request::new(request)).await?.into_inner();
        ensure!(answer.directive() == v1::Directive::Continue, "{answer:?}");
        Ok(())
    }

    /// Leaves a checkpoint to go on from, and gives the lease back with what it has come to.
    async fn stop(&self, fleet: &impl Fleet) -> Result<()> {
        let checkpoint = CheckpointRef {
            task: self.claim.task,
            generation: self.claim.generation,
            role: CheckpointRole::Resume,
            step: u64::from(self.done),
            manifest: Digest::of(b"made up"),
        };
        self.commit(fleet, checkpoint).await?;
        let whole = &self.measures.curve;
        let curve = LearningCurve {
            images: whole.images,
            epochs: whole.epochs[..self.done as usize].to_vec(),
        };
        let share = f64::from(self.done) / f64::from(whole.reached());
        let request = v1::ReleaseRequest {
            claim: Some(self.claim.into()),
            curve: Some(curve.into()),
            seconds: self.measures.seconds * share,
        };
        fleet.release(Request::new(request)).await?;
        Ok(())
    }

    async fn finish(&self, fleet: &impl Fleet) -> Result<()> {
        for name in self.spec.outputs() {
            self.commit(fleet, output(self.claim, name)).await?;
        }
        let request = v1::FinishRequest {
            claim: Some(self.claim.into()),
            observation: Some(self.measures.clone().into()),
            // It gets in line behind those who wait.
            take_next: false,
            started_unix_ns: 0,
        };
        fleet.finish(Request::new(request)).await?;
        Ok(())
    }

    async fn commit(&self, fleet: &impl Fleet, checkpoint: CheckpointRef) -> Result<()> {
        let request = v1::CommitRequest {
            claim: Some(self.claim.into()),
            checkpoint: Some(checkpoint.into()),
        };
        fleet.commit(Request::new(request)).await?;
        Ok(())
    }
}

/// How long a worker's epoch takes, in millionths of an ordinary one: workers differ by up to a factor
/// of four, and one worker's epochs by a tenth to either side. `scripts/peers/moasha_table.py` draws the
/// same lots.
fn duration(order: u64, worker: u64, number: u64) -> u64 {
    let draw = |number: u64| {
        let lot = [order, worker, number].map(u64::to_le_bytes).concat();
        let digest = Digest::of(&lot);
        let [a, b, c, d, ..] = *digest.as_bytes();
        u64::from(u32::from_le_bytes([a, b, c, d]))
    };
    (500 + draw(0) % 1501) * (900 + draw(number) % 201)
}
