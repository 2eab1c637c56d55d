//! The fixture: one store, a coordinator that can be killed and started again, and clients.

#![expect(clippy::unwrap_used, reason = "a fixture for tests")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use autorep_coordinator::{Config, RunError};
use autorep_core::checkpoint::{CheckpointRef, CheckpointRole};
use autorep_core::digest::Digest;
use autorep_core::lease::{LeaseClaim, LeasePart};
use autorep_core::observation::{Accuracy, LearningCurve, Observation};
use autorep_core::task::{TaskSpec, Work};
use autorep_proto::PROTOCOL_VERSION;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::fleet_client::FleetClient;
use autorep_proto::v1::lab_client::LabClient;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Nothing here takes longer, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// ReLUs of the tiny net.
pub(crate) const TOTAL: u64 = 24_000;

/// A sweep of one seed and two budgets: a baseline, two searches, two finetunes, and three
/// evaluations.
pub(crate) const TASKS: u64 = 8;

pub(crate) fn manifest(name: &str) -> String {
    format!(
        "
apiVersion: autorep/v1
kind: Sweep
metadata: {{ name: {name} }}
spec:
  data: {{ name: fashion-mnist, train_limit: 1000 }}
  net: {{ name: resnet9, width: 8 }}
  budgets: [1K, 3K]
  seeds: [0]
  baseline: {{ epochs: 1 }}
  replace: {{ epochs: 1 }}
  finetune: {{ epochs: 1 }}
  retry: {{ attempts: 2, backoff: 0s }}
  checkpoint: {{ every: 7s }}
"
    )
}

/// A configuration in which leases end soon.
pub(crate) fn short_leases() -> Config {
    Config {
        lease_ttl: Duration::from_millis(300),
        renew_every: Duration::from_millis(50),
        ..Config::default()
    }
}

/// One store for any number of coordinators.
pub(crate) struct Lab {
    folder: TempDir,
}

/// A coordinator that runs.
pub(crate) struct Running {
    pub(crate) url: String,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        let store = LocalFileSystem::new_with_prefix(self.folder.path())
            .unwrap()
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Arc::new(store)
    }

    /// Starts a coordinator and waits until it answers.
    pub(crate) async fn start(&self, config: Config) -> Running {
        Self::start_on(self.store(), config).await
    }

    /// Starts a coordinator on another view of a store.
    pub(crate) async fn start_on(store: Arc<dyn ObjectStore>, config: Config) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(autorep_coordinator::run(
            config,
            store,
            listener,
            shutdown.clone(),
        ));
        let running = Running {
            url,
            shutdown,
            task,
        };
        let mut people = running.people().await;
        let answer = within("the first answer", people.list(v1::ListRequest {})).await;
        match answer {
            Ok(_) => running,
            Err(status) => panic!("{status}, because {:?}", running.ended().await),
        }
    }
}

impl Running {
    async fn channel(&self) -> Channel {
        // The listener is there from the start, so connecting succeeds before the server serves.
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        within("a connection", endpoint.connect()).await.unwrap()
    }

    pub(crate) async fn people(&self) -> LabClient<Channel> {
        LabClient::new(self.channel().await)
    }

    pub(crate) async fn worker(&self, name: &str) -> Worker {
        self.worker_with(name, 0).await
    }

    /// A worker that can run so many ranks.
    pub(crate) async fn worker_with(&self, name: &str, gpus: u32) -> Worker {
        let mut fleet = FleetClient::new(self.channel().await);
        let request = v1::RegisterRequest {
            worker: name.to_owned(),
            protocol_version: PROTOCOL_VERSION,
            device: "cpu".to_owned(),
            gpus,
            ..v1::RegisterRequest::default()
        };
        fleet.register(request).await.unwrap();
        Worker {
            name: name.to_owned(),
            fleet,
        }
    }

    pub(crate) async fn submit(&self, name: &str) -> v1::SubmitResponse {
        self.submit_text(manifest(name)).await
    }

    pub(crate) async fn submit_text(&self, manifest: String) -> v1::SubmitResponse {
        let mut people = self.people().await;
        let request = v1::SubmitRequest {
            manifest,
            dry_run: false,
            rehearsal: None,
        };
        let answer = people.submit(request).await;
        answer.unwrap().into_inner()
    }

    pub(crate) async fn show(&self, name: &str) -> v1::ShowResponse {
        let sweep = name.to_owned();
        let mut people = self.people().await;
        let answer = people.show(v1::ShowRequest { sweep }).await;
        answer.unwrap().into_inner()
    }

    pub(crate) async fn counts(&self, name: &str) -> v1::TaskCounts {
        self.show(name).await.summary.unwrap().counts.unwrap()
    }

    /// Ends it without any farewell, as a SIGKILL would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Asks it to end.
    pub(crate) async fn stop(self) -> Result<(), RunError> {
        self.shutdown.cancel();
        within("the end", self.task).await.unwrap()
    }

    /// Waits for an end that nobody asked for.
    pub(crate) async fn ended(self) -> Result<(), RunError> {
        within("the end", self.task).await.unwrap()
    }
}

/// A worker whose trainers are made up.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) fleet: FleetClient<Channel>,
}

/// A lease as a worker sees it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) claim: LeaseClaim,
    /// The worker's own part of it.
    pub(crate) part: LeasePart,
    pub(crate) spec: TaskSpec,
    pub(crate) assignment: v1::Assignment,
}

impl Held {
    fn of(assignment: v1::Assignment) -> Self {
        let part: LeasePart = assignment.claim.clone().unwrap().try_into().unwrap();
        let claim = part.claim;
        let spec: TaskSpec = serde_json::from_slice(&assignment.spec).unwrap();
        assert_eq!(spec.id(), claim.task);
        Self {
            claim,
            part,
            spec,
            assignment,
        }
    }
}

impl Worker {
    pub(crate) async fn try_acquire(&mut self, wait: Duration) -> v1::AcquireResponse {
        let request = v1::AcquireRequest {
            worker: self.name.clone(),
            wait_ms: wait.as_millis().try_into().unwrap(),
            ..v1::AcquireRequest::default()
        };
        let answer = within("an answer to acquire", self.fleet.acquire(request)).await;
        answer.unwrap().into_inner()
    }

    /// Waits for a task.
    pub(crate) async fn acquire(&mut self) -> Held {
        let response = self.try_acquire(Duration::from_secs(20)).await;
        Held::of(response.assignment.expect("a task in time"))
    }

    pub(crate) async fn renew(&mut self, held: &Held) -> Result<v1::Directive, Refusal> {
        Ok(self.renew_with(held, |_| {}).await?.directive())
    }

    /// Renews, and says more.
    pub(crate) async fn renew_with(
        &mut self,
        held: &Held,
        edit: impl FnOnce(&mut v1::RenewRequest),
    ) -> Result<v1::RenewResponse, Refusal> {
        let mut request = v1::RenewRequest {
            claim: Some(held.part.into()),
            rendezvous: String::new(),
            leaving: false,
            progress: Some(v1::Progress {
                epoch: 1,
                epochs: 2,
                loss: Some(f64::NAN),
                ..v1::Progress::default()
            }),
        };
        edit(&mut request);
        let answer = self.fleet.renew(request).await;
        Ok(answer.map_err(Refusal::from)?.into_inner())
    }

    pub(crate) async fn commit(
        &mut self,
        held: &Held,
        checkpoint: &CheckpointRef,
    ) -> Result<v1::Adoption, Refusal> {
        let request = v1::CommitRequest {
            claim: Some(held.part.into()),
            checkpoint: Some(checkpoint.clone().into()),
        };
        let answer = self.fleet.commit(request).await;
        Ok(answer.map_err(Refusal::from)?.into_inner().adoption())
    }

    pub(crate) async fn finish(&mut self, held: &Held) -> Result<(), Refusal> {
        self.report(held, false).await.map(|_next| ())
    }

    /// Finishes a task and takes the next, if one is ready.
    pub(crate) async fn finish_and_take_next(
        &mut self,
        held: &Held,
    ) -> Result<Option<Held>, Refusal> {
        let next = self.report(held, true).await?;
        Ok(next.map(Held::of))
    }

    async fn report(
        &mut self,
        held: &Held,
        take_next: bool,
    ) -> Result<Option<v1::Assignment>, Refusal> {
        let request = v1::FinishRequest {
            claim: Some(held.part.into()),
            observation: Some(observation(&held.spec).into()),
            take_next,
            started_unix_ns: 0,
        };
        let answer = self.fleet.finish(request).await;
        Ok(answer.map_err(Refusal::from)?.into_inner().next)
    }

    pub(crate) async fn fail(
        &mut self,
        held: &Held,
        class: v1::FailureClass,
        bad: Option<v1::CheckpointRef>,
    ) -> Result<bool, Refusal> {
        let request = v1::FailRequest {
            claim: Some(held.part.into()),
            class: class.into(),
            message: "it broke".to_owned(),
            stderr_tail: "at line 7".to_owned(),
            bad_checkpoint: bad,
        };
        let answer = self.fleet.fail(request).await;
        Ok(answer.map_err(Refusal::from)?.into_inner().will_retry)
    }

    /// Commits every output of a task and finishes it.
    pub(crate) async fn complete(&mut self, held: &Held) {
        self.commit_outputs(held).await;
        self.finish(held).await.unwrap();
    }

    pub(crate) async fn commit_outputs(&mut self, held: &Held) {
        for name in held.spec.outputs() {
            let output = checkpoint(held, CheckpointRole::Output(name), 9);
            let adoption = self.commit(held, &output).await.unwrap();
            assert_eq!(adoption, v1::Adoption::Adopted);
        }
    }

    /// Does everything there is to do.
    pub(crate) async fn work(&mut self) -> u64 {
        let mut done = 0;
        loop {
            let response = self.try_acquire(Duration::ZERO).await;
            let Some(assignment) = response.assignment else {
                assert!(response.idle, "nothing is ready and yet not all is done");
                return done;
            };
            let mut given = Some(Held::of(assignment));
            while let Some(held) = given {
                self.commit_outputs(&held).await;
                given = self.finish_and_take_next(&held).await.unwrap();
                done += 1;
            }
        }
    }
}

/// A made-up checkpoint.
pub(crate) fn checkpoint(held: &Held, role: CheckpointRole, step: u64) -> CheckpointRef {
    CheckpointRef {
        task: held.claim.task,
        generation: held.claim.generation,
        manifest: Digest::of(format!("{} {role:?} {step}", held.claim).as_bytes()),
        role,
        step,
    }
}

/// What a trainer would have measured: the more ReLUs, the better.
fn observation(spec: &TaskSpec) -> Observation {
    let relu_count = match &spec.work {
        Work::Baseline { .. } => TOTAL,
        Work::Replace { budgets, .. } => budgets[0],
        Work::Finetune { budget, .. } | Work::Evaluate { budget, .. } => *budget,
    };
    let accuracy = Accuracy {
        correct: 8000 + relu_count / 100,
        images: 10_000,
    };
    Observation {
        relu_count,
        relu_total: TOTAL,
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

/// The result of `future`, which must come soon.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("expected {what} within {PATIENCE:?}"))
}

/// Asks until the answer is there: never longer than needed, and not for ever.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "expected {what} within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
