//! What a simulation needs of the coordinator: the same start and the same services, on a store of
//! its own and without a network.

use std::collections::BTreeMap;
use std::sync::Arc;

use autorep_core::checkpoint::Place;
use autorep_core::front::{FrontReport, SweepFront};
use autorep_core::id::SweepName;
use autorep_core::ledger::retention::Verdict;
use autorep_core::ledger::{Event, Ledger, Quotas, SweepState};
use autorep_proto::status::Refusal;
use autorep_proto::v1;
use autorep_proto::v1::fleet_server::Fleet;
use autorep_proto::v1::lab_server::Lab;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use tokio_util::sync::CancellationToken;

use crate::ask::{Ask, Desk};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, millis};
use crate::owner::Owner;
use crate::restore::{RestoreError, restore};
use crate::rpc::fleet::FleetService;
use crate::rpc::lab::LabService;
use crate::state::{Batch, ReadError, Records, StateStore, WriteError};

/// Sees every event: the ledger before it, the event, the ledger after it.
pub type Witness = Box<dyn FnMut(&Ledger, &Event, &Ledger) + Send>;

/// Keys and values as they are stored.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Why a store of rows takes no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowsError {
    /// Somebody else has opened it.
    Fenced,
    /// It fails; nobody knows whether the rows are written.
    Failed(String),
}

impl From<RowsError> for WriteError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Fenced => Self::Fenced,
            RowsError::Failed(text) => Self::State(slatedb::Error::unavailable(text)),
        }
    }
}

/// A store that keeps rows, opened by one coordinator.
pub trait RowStore: Send + Sync + 'static {
    /// All rows.
    fn read(&self) -> BoxFuture<'_, Result<Rows, RowsError>>;

    /// Writes all rows or none, and returns when they are durable.
    fn write(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> BoxFuture<'_, Result<(), RowsError>>;

    /// Returns when somebody else has opened it.
    fn lost(&self) -> BoxFuture<'_, RowsError>;
}

struct RowState<R>(R);

impl<R: RowStore> StateStore for RowState<R> {
    async fn read(&self) -> Result<Records, ReadError> {
        let rows =
            self.0.read().await.map_err(|error| {
                ReadError::State(slatedb::Error::unavailable(format!("{error:?}")))
            })?;
        Records::of_rows(&rows)
    }

    async fn write(&self, batch: Batch) -> Result<(), WriteError> {
        Ok(self.0.write(batch.into_rows()).await?)
    }

    async fn lost(&self) -> WriteError {
        self.0.lost().await.into()
    }

    async fn close(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state makes no sense.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// The services of one coordinator.
#[derive(Clone, Debug)]
pub struct Services {
    fleet: FleetService,
    lab: LabService,
    desk: Desk,
}

impl Services {
    /// What workers call.
    pub const fn fleet(&self) -> &impl Fleet {
        &self.fleet
    }

    /// What people call. `submit` is not for simulations: it uses a thread of its own.
    pub const fn lab(&self) -> &impl Lab {
        &self.lab
    }

    /// Gives up the outputs that nothing can reach, as a collection of garbage begins.
    pub async fn drop_unneeded(&self) -> Result<(), Refusal> {
        let dry_run = false;
        let dropped = self.desk.ask(|reply| Ask::Drop { dry_run, reply }).await;
        dropped.map(|_tasks| ())
    }

    /// Whether each of these checkpoints may be deleted.
    pub async fn are_dead(&self, places: Vec<Place>) -> Result<Vec<bool>, Refusal> {
        let judged = self.desk.ask(|reply| Ask::Judge { places, reply }).await?;
        Ok(judged.into_iter().map(Verdict::is_dead).collect())
    }

    /// `submit` on the caller's own thread.
    pub async fn submit(&self, request: v1::SubmitRequest) -> Result<v1::SubmitResponse, Refusal> {
        self.lab.submit_here(request).await
    }
}

/// A coordinator that has read its state.
pub struct Started {
    /// To be called.
    pub services: Services,
    /// The owner's life; it must be polled for any call to be answered. Dropping it is a crash.
    pub life: BoxFuture<'static, Result<(), WriteError>>,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

/// Starts a coordinator as [`crate::run`] does, on rows that have been opened for it.
pub async fn start<R: RowStore>(
    config: Config,
    rows: R,
    witness: Witness,
    shutdown: CancellationToken,
) -> Result<Started, StartError> {
    let config = config.checked()?;
    let clock = Clock::start();
    let state = RowState(rows);
    let records = state.read().await?;
    let restored = restore(
        records,
        millis(config.lease_ttl),
        config.quotas.clone(),
        clock.now_ms(),
    )?;
    let (desk, asks) = Desk::new(&config);
    let fleet = FleetService::new(desk.clone(), config.clone(), String::new());
    let store = Arc::new(InMemory::new());
    let lab = LabService::new(desk.clone(), config.clone(), store, shutdown.clone());
    let mut owner = Owner::new(config, clock, state, restored);
    owner.witness = Some(witness);
    Ok(Started {
        services: Services { fleet, lab, desk },
        life: Box::pin(owner.run(asks, shutdown)),
    })
}

/// What has become of the sweeps in these rows, in the order of submission.
pub fn states(rows: &Rows) -> Result<Vec<(SweepName, SweepState)>, StartError> {
    let restored = restore(Records::of_rows(rows)?, 0, Quotas::default(), 0)?;
    let states = restored.ledger.sweeps();
    Ok(states
        .map(|sweep| (sweep.name().clone(), sweep.state()))
        .collect())
}

/// The fronts that these rows hold, in the order of submission.
pub fn fronts(rows: &Rows) -> Result<Vec<FrontReport>, StartError> {
    let restored = restore(Records::of_rows(rows)?, 0, Quotas::default(), 0)?;
    Ok(restored.fronts.iter().map(SweepFront::report).collect())
}
