//! Brings a coordinator up and down.

use std::sync::Arc;
use std::time::Duration;

use autorep_failpoint::{Point, reached};
use autorep_proto::FILE_DESCRIPTOR_SET;
use autorep_proto::v1::fleet_server::FleetServer;
use autorep_proto::v1::lab_server::LabServer;
use autorep_transport::{LiveTokens, ServerTls};
use object_store::ObjectStore;
use tokio::net::TcpListener;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tower::layer::util::{Identity, Stack};

use crate::ask::{Ask, Desk};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, millis};
use crate::connections::{limited, secured};
use crate::garbage::collect_regularly;
use crate::identity::{IdentityError, identity};
use crate::measure::rpc::RpcLayer;
use crate::owner::Owner;
use crate::probe::{ProbeError, probe};
use crate::restore::{RestoreError, restore};
use crate::rpc::fleet::FleetService;
use crate::rpc::guard::Guard;
use crate::rpc::lab::LabService;
use crate::standby;
use crate::state::{ReadError, State, StateStore as _, WriteError};

/// The longest message from a worker: a failure with its last words.
const FLEET_MESSAGE_BYTES: usize = 1 << 20;

/// Calls that one connection may have open: a person's tools or a worker need a few.
const CALLS_PER_CONNECTION: usize = 256;

/// Bytes of headers that a call may have.
const HEADER_BYTES: u32 = 16 << 10;

/// A peer that does not answer a ping for so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Why a coordinator ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Nobody can tell which store it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state cannot be opened.
    #[error("open the state in the store")]
    Open(#[source] slatedb::Error),
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state makes no sense.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The state cannot be written, or another coordinator has taken it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The services cannot be served.
    #[error("serve gRPC")]
    Serve(#[source] tonic::transport::Error),
    /// The services cannot be described to clients.
    #[error("describe the services for gRPC reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
}

/// Where a coordinator is reached, and by whom.
#[derive(Debug)]
pub struct Door {
    /// What it listens on.
    pub listener: TcpListener,
    /// How connections are encrypted; absent: not at all.
    pub tls: Option<ServerTls>,
    /// Who may call what; absent: everybody everything.
    pub tokens: Option<LiveTokens>,
}

impl Door {
    /// Says what whoever has set it up may not have meant.
    fn tell(&self) {
        if self.tokens.is_none() && self.tls.as_ref().is_some_and(ServerTls::asks_clients) {
            tracing::warn!(
                "there are no tokens: whoever has a certificate that is asked for may do everything; \
                 give tokens to tell people from workers and owners from one another"
            );
        }
    }
}

impl From<TcpListener> for Door {
    /// Nothing is encrypted and nobody is asked who they are: for an address that only this machine
    /// reaches.
    fn from(listener: TcpListener) -> Self {
        Self {
            listener,
            tls: None,
            tokens: None,
        }
    }
}

/// Serves at `door` with its state in `store`, until `shutdown` is cancelled: then it grants
/// nothing more, makes everything durable, and returns.
///
/// Starting takes the state from any other coordinator that has it open; that one ends with
/// [`WriteError::Fenced`]. There is no other start than this: it goes on where the state says,
/// whether that is after a crash, after a clean end, or from nothing.
pub async fn run(
    config: Config,
    store: Arc<dyn ObjectStore>,
    door: impl Into<Door>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let config = config.checked()?;
    let door = door.into();
    door.tell();
    let Door {
        listener,
        tls,
        tokens,
    } = door;
    // From before the state is opened, which may take longer than a standby is patient; and beside
    // the owner, which may be busy for as long.
    let beating = AbortOnDropHandle::new(tokio::spawn(standby::beat(Arc::clone(&store))));
    let Opened {
        owner,
        desk,
        asks,
        store_id,
    } = open(&config, Arc::clone(&store)).await?;

    // Ends the services, when told to or when the owner has ended.
    let stop = shutdown.child_token();
    let fleet = FleetService::new(desk.clone(), config.clone(), store_id);
    let heart = Arc::clone(&store);
    let collecting = collect_regularly(desk.clone(), Arc::clone(&store), &config);
    let lab = LabService::new(desk, config.clone(), store, stop.clone());
    let router = router(&config, fleet, lab, Guard::new(tokens)).await?;
    config.health.ready();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let incoming = limited(incoming, config.max_connections, config.first_call_within);
    let incoming = secured(incoming, tls, config.max_connections);
    let serving = router.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let owning = owner.run(asks, stop.clone());
    tokio::pin!(serving, owning);
    let ended = tokio::select! {
        () = collecting => unreachable!("collecting goes on for ever"),
        ended = &mut owning => {
            stop.cancel();
            // Calls that were answered last still have to reach their callers.
            match tokio::time::timeout(config.stop_grace, serving).await {
                Ok(served) => ended.map_err(RunError::Write).and(served.map_err(RunError::Serve)),
                Err(_elapsed) => ended.map_err(RunError::Write),
            }
        }
        served = &mut serving => {
            stop.cancel();
            owning.await.map_err(RunError::Write).and(served.map_err(RunError::Serve))
        }
    };
    config.health.not_ready("it has ended");
    match &ended {
        Ok(()) => {
            drop(beating);
            standby::stop(&*heart).await;
            tracing::info!("coordinator stopped");
        }
        Err(error) => tracing::error!(%error, "coordinator ended"),
    }
    ended
}

/// A coordinator that has read its state.
pub(crate) struct Opened {
    pub(crate) owner: Owner<State>,
    /// The two ends of the way to it.
    pub(crate) desk: Desk,
    pub(crate) asks: Receiver<Ask>,
    /// By which workers know the store.
    pub(crate) store_id: String,
}

/// Takes the state from any other coordinator and reads it.
pub(crate) async fn open(config: &Config, store: Arc<dyn ObjectStore>) -> Result<Opened, RunError> {
    let clock = Clock::start();
    let abilities = probe(&*store).await?;
    let store_id = identity(&*store).await?;
    reached(Point::CoordinatorBeforeOpen);
    let state = State::open(store, abilities).await;
    let state = state.map_err(RunError::Open)?;
    reached(Point::CoordinatorAfterOpen);
    let records = state.read().await?;
    let (lease_ttl_ms, now_ms) = (millis(config.lease_ttl), clock.now_ms());
    let quotas = config.quotas.clone();
    let restoring =
        tokio::task::spawn_blocking(move || restore(records, lease_ttl_ms, quotas, now_ms));
    let restored = restoring.await.unwrap_or_else(|error| {
        // Restoring is not cancelled, so it has panicked.
        std::panic::resume_unwind(error.into_panic())
    })?;
    tracing::info!(
        sweeps = restored.sweeps.len(),
        tasks = restored.ledger.task_count(),
        leases = restored.ledger.lease_count(),
        took_ms = clock.now_ms(),
        "coordinator ready"
    );
    let (desk, asks) = Desk::new(config);
    let owner = Owner::new(config.clone(), clock, state, restored);
    Ok(Opened {
        owner,
        desk,
        asks,
        store_id,
    })
}

/// The services, each call to which is counted.
type Measured = Router<Stack<Guard, Stack<RpcLayer, Identity>>>;

/// All services with their limits.
async fn router(
    config: &Config,
    fleet: FleetService,
    lab: LabService,
    guard: Guard,
) -> Result<Measured, RunError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FleetServer<FleetService>>().await;
    health.set_serving::<LabServer<LabService>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(RunError::Reflection)?;
    let calls = u32::try_from(CALLS_PER_CONNECTION).unwrap_or(u32::MAX);
    Ok(Server::builder()
        .layer(RpcLayer::new())
        .max_concurrent_streams(calls)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .tcp_keepalive(Some(KEEPALIVE))
        .layer(guard)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(FleetServer::new(fleet).max_decoding_message_size(FLEET_MESSAGE_BYTES))
        .add_service(LabServer::new(lab).max_decoding_message_size(4 * config.max_manifest_bytes)))
}
