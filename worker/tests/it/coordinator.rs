//! A coordinator that grants what the test offers, answers as the test says, and remembers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use autorep_core::checkpoint::{CheckpointManifest, CheckpointRef, MANIFEST_OBJECT};
use autorep_core::digest::Digest;
use autorep_core::id::Generation;
use autorep_proto::PROTOCOL_VERSION;
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::fleet_server::{Fleet, FleetServer};
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// What a worker said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Call {
    Register,
    Acquire,
    Renew(Option<v1::Progress>),
    Commit(v1::CheckpointRef),
    Finish(v1::Observation),
    Fail(Box<v1::FailRequest>),
    Release,
}

/// How renewals are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renewals {
    Directive(v1::Directive),
    Stale,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) calls: Vec<Call>,
    pub(crate) offers: VecDeque<v1::Assignment>,
    pub(crate) renewals: Renewals,
    /// Where members are told that their group meets.
    pub(crate) rendezvous: String,
    /// How many follow the trainer's log.
    pub(crate) followers: u32,
    /// The latest renewal as it came.
    pub(crate) renewed: v1::RenewRequest,
    pub(crate) idle: bool,
    pub(crate) terms: v1::RegisterResponse,
    pub(crate) protocol_version: u32,
    pub(crate) refuses_results: bool,
    registered: bool,
    /// What a commit promised and the store did not hold.
    pub(crate) broken_promises: Vec<String>,
}

/// Lives through restarts of the server, as a real coordinator's state does.
#[derive(Clone)]
pub(crate) struct Recorder {
    state: Arc<watch::Sender<State>>,
    objects: Arc<dyn ObjectStore>,
}

impl Recorder {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        let state = State {
            calls: Vec::new(),
            offers: VecDeque::new(),
            renewals: Renewals::Directive(v1::Directive::Continue),
            rendezvous: String::new(),
            followers: 0,
            renewed: v1::RenewRequest::default(),
            idle: false,
            terms: v1::RegisterResponse {
                // Longer than any test: no lease ends by itself.
                lease_ttl_ms: 600_000,
                renew_every_ms: 20,
                store_id: String::new(),
            },
            protocol_version: PROTOCOL_VERSION,
            refuses_results: false,
            registered: false,
            broken_promises: Vec::new(),
        };
        Self {
            state: Arc::new(watch::Sender::new(state)),
            objects,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// Waits until the state is as it should be.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&State) -> bool) {
        let mut state = self.state.subscribe();
        let wait = state.wait_for(|it| fits(it));
        if tokio::time::timeout(Duration::from_secs(30), wait)
            .await
            .is_err()
        {
            panic!("{what}: not in time, only {:#?}", self.state.borrow());
        }
    }

    /// The calls that change a task, in order.
    pub(crate) fn effects(&self) -> Vec<Call> {
        self.look(|state| {
            let soft = |it: &&Call| !matches!(it, Call::Register | Call::Acquire | Call::Renew(_));
            state.calls.iter().filter(soft).cloned().collect()
        })
    }

    fn record(&self, call: Call) {
        self.change(|state| state.calls.push(call));
    }

    /// Checks what a commit promises: the manifest is the one that was named, every part is there
    /// and was so before it.
    async fn check(&self, checkpoint: v1::CheckpointRef) -> Result<(), String> {
        let checkpoint = CheckpointRef::try_from(checkpoint).map_err(|it| it.to_string())?;
        let folder = checkpoint.folder();
        let read = async |name: &str| {
            let object = self.objects.get(&format!("{folder}/{name}").into()).await;
            let object = object.map_err(|it| it.to_string())?;
            let written = object.meta.last_modified;
            let bytes = object.bytes().await.map_err(|it| it.to_string())?;
            Ok::<_, String>((bytes, written))
        };
        let (manifest, completed) = read(MANIFEST_OBJECT).await?;
        if Digest::of(&manifest) != checkpoint.manifest {
            return Err(format!("{folder}: another manifest"));
        }
        let manifest: CheckpointManifest =
            serde_json::from_slice(&manifest).map_err(|it| it.to_string())?;
        for part in manifest.parts {
            let (bytes, written) = read(&part.name).await?;
            if bytes.len() as u64 != part.bytes || Digest::of(&bytes) != part.sha256 {
                return Err(format!("{folder}: another part {}", part.name));
            }
            if written > completed {
                return Err(format!("{folder}: part {} after the manifest", part.name));
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Fleet for Recorder {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        self.record(Call::Register);
        let expected = self.look(|it| it.protocol_version);
        let found = request.into_inner().protocol_version;
        if found != expected {
            return Err(Refusal::ProtocolVersion {
                caller: found,
                callee: expected,
            }
            .into());
        }
        self.change(|it| it.registered = true);
        Ok(Response::new(self.look(|it| it.terms.clone())))
    }

    async fn acquire(
        &self,
        request: Request<v1::AcquireRequest>,
    ) -> Result<Response<v1::AcquireResponse>, Status> {
        let request = request.into_inner();
        self.record(Call::Acquire);
        if !self.look(|it| it.registered) {
            return Err(Refusal::UnknownWorker(request.worker).into());
        }
        let mut state = self.state.subscribe();
        let something = state.wait_for(|it| it.idle || !it.offers.is_empty());
        let wait = Duration::from_millis(request.wait_ms);
        if tokio::time::timeout(wait, something).await.is_err() {
            return Ok(Response::new(v1::AcquireResponse::default()));
        }
        let mut assignment = None;
        self.change(|it| assignment = it.offers.pop_front());
        Ok(Response::new(v1::AcquireResponse {
            idle: assignment.is_none(),
            assignment,
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let request = request.into_inner();
        self.record(Call::Renew(request.progress));
        self.change(|it| it.renewed.clone_from(&request));
        match self.look(|it| it.renewals) {
            Renewals::Directive(directive) => Ok(Response::new(v1::RenewResponse {
                directive: directive.into(),
                rendezvous: self.look(|it| it.rendezvous.clone()),
                store_log: self.look(|it| it.followers > 0),
            })),
            Renewals::Stale => {
                let held = Generation(request.claim.unwrap_or_default().generation);
                let current = held.next();
                Err(Refusal::Stale { held, current }.into())
            }
        }
    }

    async fn commit(
        &self,
        request: Request<v1::CommitRequest>,
    ) -> Result<Response<v1::CommitResponse>, Status> {
        let checkpoint = request.into_inner().checkpoint.unwrap_or_default();
        if let Err(problem) = self.check(checkpoint.clone()).await {
            self.change(|it| it.broken_promises.push(problem));
        }
        self.record(Call::Commit(checkpoint));
        Ok(Response::new(v1::CommitResponse {
            adoption: v1::Adoption::Adopted.into(),
        }))
    }

    async fn finish(
        &self,
        request: Request<v1::FinishRequest>,
    ) -> Result<Response<v1::FinishResponse>, Status> {
        if self.look(|it| it.refuses_results) {
            return Err(Refusal::NotReady("an output is missing".to_owned()).into());
        }
        let v1::FinishRequest {
            observation,
            take_next,
            ..
        } = request.into_inner();
        self.record(Call::Finish(observation.unwrap_or_default()));
        let mut next = None;
        if take_next {
            self.change(|it| next = it.offers.pop_front());
        }
        Ok(Response::new(v1::FinishResponse { next }))
    }

    async fn fail(
        &self,
        request: Request<v1::FailRequest>,
    ) -> Result<Response<v1::FailResponse>, Status> {
        self.record(Call::Fail(Box::new(request.into_inner())));
        Ok(Response::new(v1::FailResponse { will_retry: true }))
    }

    async fn release(
        &self,
        _request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.record(Call::Release);
        Ok(Response::new(v1::ReleaseResponse {}))
    }
}

/// A serving coordinator, in a runtime of its own so that it can vanish with every connection.
pub(crate) struct Server {
    runtime: Option<Runtime>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Serves `recorder` at `address`; port 0 stands for any.
    pub(crate) fn start(recorder: &Recorder, address: SocketAddr) -> Self {
        // What a coordinator knows of its workers is not durable.
        recorder.change(|it| it.registered = false);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        // Within the runtime that drives it, whichever thread this is.
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let service = FleetServer::new(recorder.clone());
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
                .await
                .unwrap();
        });
        Self {
            runtime: Some(runtime),
            address,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
