//! A worker whose trainer does nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::digest::Digest;
use autorep_core::lease::LeaseClaim;
use autorep_core::observation::{Accuracy, LearningCurve, Observation};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::v1::fleet_client::FleetClient;
use autorep_proto::{PROTOCOL_VERSION, v1};
use tonic::transport::Channel;

/// The longest wait for a task.
const WAIT: Duration = Duration::from_secs(30);

/// One worker with its connection.
#[derive(Clone)]
pub(crate) struct Worker {
    name: String,
    fleet: FleetClient<Channel>,
    relu_total: u64,
}

/// A task that it holds.
pub(crate) struct Held {
    pub(crate) claim: LeaseClaim,
    spec: TaskSpec,
}

impl Held {
    /// What an assignment says.
    pub(crate) fn of(assignment: v1::Assignment) -> Result<Self> {
        let claim = assignment.claim.context("an assignment has a claim")?;
        Ok(Self {
            claim: claim.try_into()?,
            spec: serde_json::from_slice(&assignment.spec)?,
        })
    }
}

impl Worker {
    /// Registers; also says how long leases live.
    pub(crate) async fn register(
        channel: Channel,
        name: String,
        relu_total: u64,
    ) -> Result<(Self, Duration)> {
        let mut worker = Self {
            name,
            fleet: FleetClient::new(channel),
            relu_total,
        };
        let ttl = worker.greet().await?;
        Ok((worker, ttl))
    }

    /// Registers again; says how long leases live.
    pub(crate) async fn greet(&mut self) -> Result<Duration> {
        let request = v1::RegisterRequest {
            worker: self.name.clone(),
            protocol_version: PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            ..v1::RegisterRequest::default()
        };
        let known = self.fleet.register(request).await?.into_inner();
        Ok(Duration::from_millis(known.lease_ttl_ms))
    }

    /// The next task; `None` when there is none.
    pub(crate) async fn acquire(&mut self) -> Result<Option<Held>> {
        self.ask().await?.assignment.map(Held::of).transpose()
    }

    /// The answer to a request for a task.
    pub(crate) async fn ask(&mut self) -> Result<v1::AcquireResponse> {
        let request = v1::AcquireRequest {
            worker: self.name.clone(),
            wait_ms: u64::try_from(WAIT.as_millis())?,
            ..v1::AcquireRequest::default()
        };
        Ok(self.fleet.acquire(request).await?.into_inner())
    }

    /// Keeps a lease.
    pub(crate) async fn renew(&mut self, held: &Held) -> Result<()> {
        let request = v1::RenewRequest {
            claim: Some(held.claim.into()),
            rendezvous: String::new(),
            leaving: false,
            progress: Some(v1::Progress {
                epoch: 1,
                epochs: 4,
                loss: Some(0.5),
                ..v1::Progress::default()
            }),
        };
        let answer = self.fleet.renew(request).await?.into_inner();
        ensure!(answer.directive() == v1::Directive::Continue, "{answer:?}");
        Ok(())
    }

    /// Commits every output and reports the result. Each is durable when its call returns.
    pub(crate) async fn complete(&mut self, held: &Held) -> Result<()> {
        self.end(held, false).await.map(|_next| ())
    }

    /// The same, and takes the next task with it, if one is ready.
    async fn end(&mut self, held: &Held, take_next: bool) -> Result<Option<Held>> {
        for name in held.spec.outputs() {
            let request = v1::CommitRequest {
                claim: Some(held.claim.into()),
                checkpoint: Some(output(held.claim, name).into()),
            };
            self.fleet.commit(request).await?;
        }
        let request = v1::FinishRequest {
            claim: Some(held.claim.into()),
            observation: Some(observation(&held.spec, self.relu_total).into()),
            take_next,
            started_unix_ns: 0,
        };
        let answer = self.fleet.finish(request).await?.into_inner();
        answer.next.map(Held::of).transpose()
    }

    /// Works until a time or until nothing is left, as `autorep-worker` does if the next task is taken
    /// with a result; returns how many tasks were done.
    pub(crate) async fn race_until(&mut self, end: Instant, take_next: bool) -> Result<usize> {
        let mut done = 0;
        let mut given = None;
        while Instant::now() < end {
            let held = match given.take() {
                Some(held) => held,
                None => match self.acquire().await? {
                    Some(held) => held,
                    None => break,
                },
            };
            given = self.end(&held, take_next).await?;
            if Instant::now() < end {
                done += 1;
            }
        }
        Ok(done)
    }

    /// Works with a request for each task, until a time or until nothing is left; returns how long
    /// each request took.
    pub(crate) async fn work_until(
        &mut self,
        end: Instant,
        task: Duration,
    ) -> Result<Vec<Duration>> {
        let mut waits = Vec::new();
        while Instant::now() < end {
            let asked = Instant::now();
            let Some(held) = self.acquire().await? else {
                break;
            };
            let waited = asked.elapsed();
            tokio::time::sleep(task).await;
            self.complete(&held).await?;
            if Instant::now() < end {
                waits.push(waited);
            }
        }
        Ok(waits)
    }
}

/// A made-up checkpoint.
pub(crate) fn output(claim: LeaseClaim, name: String) -> CheckpointRef {
    CheckpointRef {
        task: claim.task,
        generation: claim.generation,
        role: CheckpointRole::Output(name),
        step: 100,
        manifest: Digest::of(b"made up"),
    }
}

/// What a trainer would have measured.
pub(crate) fn observation(spec: &TaskSpec, relu_total: u64) -> Observation {
    let relu_count = match &spec.work {
        Work::Baseline { .. } => relu_total,
        Work::Replace { budgets, .. } => budgets[0],
        Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => *budget,
    };
    // Different nets are differently good, so that the front has something to compare.
    let digest = spec.id().0.to_string();
    let luck = u64::from_str_radix(&digest[..4], 16).unwrap_or(0) % 1000;
    let accuracy = Accuracy {
        correct: 7000 + relu_count / 100 % 1000 + luck,
        images: 10_000,
    };
    Observation {
        relu_count,
        relu_total,
        validation: Some(accuracy),
        test: matches!(spec.work, Work::Evaluate { .. }).then_some(accuracy),
        searched_count: None,
        selected_epoch: Some(1),
        epochs: 1,
        seconds: 2.0,
        skipped_images: 0,
        curve: LearningCurve::default(),
        searched: None,
    }
}
