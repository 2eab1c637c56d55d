//! A worker: holds leases, runs trainers as child processes, moves checkpoints.
//!
//! [`run`] registers with the coordinator, waits for a lease, works on it, and so on until it is
//! told to stop. One lease is one attempt: inputs are fetched from the store and verified, a
//! trainer process is started on them, its checkpoints are stored and committed while it trains,
//! and what it measured ends the task. The lease is renewed all along.
//!
//! What a trainer prints is stored when its attempt ends, before the coordinator is told of the
//! end. Until then it is in the scratch folder alone, and an attempt that loses its lease or is
//! cancelled leaves none.
//!
//! The crate knows nothing of training: a trainer is a process behind a socket. It knows nothing
//! of the coordinator but its service. It never decides whether a lease is held: it repeats its
//! claim with every call, and once it is told or has to assume that the lease has ended, it kills
//! the trainer and writes nothing more.
//!
//! Reading order: [`config`], `session` (register, acquire, repeat), `attempt` (one lease),
//! `inputs` and `checkpoints` (to and from the store), `trainer_process`.

mod attempt;
mod backoff;
mod causes;
mod checkpoints;
pub mod config;
mod fleet;
mod inputs;
mod logs;
pub mod machine;
pub mod measure;
pub mod report;
mod scratch;
mod session;
mod store;
mod stream;
mod task;
mod trainer_process;
mod trainers;
mod wait;

use std::sync::Arc;

use autorep_proto::convert::BadMessage;
use autorep_proto::status::Refusal;
use autorep_transport::CredentialsError;
use object_store::ObjectStore;
use tokio_util::sync::CancellationToken;

pub use crate::config::Config;
pub use crate::report::Summary;

/// Why a worker stopped that nobody told to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The scratch folder cannot be used.
    #[error(transparent)]
    Scratch(#[from] scratch::ScratchError),
    /// What it should show the coordinator, or know it by, cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The coordinator does not want this worker.
    #[error("the coordinator refuses this worker")]
    Refused(#[source] Refusal),
    /// The coordinator sent something that the protocol does not allow.
    #[error("the coordinator broke the protocol")]
    Protocol(#[source] BadMessage),
    /// The worker's store is not the coordinator's, or cannot be read.
    #[error("the store is of no use for this coordinator's tasks")]
    Store(#[source] store::IdentityError),
    /// The trainer's binary could not be started. The task that was to run was given back.
    #[error("the trainer could not be started")]
    Trainer(#[source] trainer_process::SpawnError),
}

/// Works for the coordinator until `shutdown` is cancelled or, with
/// [`Config::exit_when_idle`], until nothing is left to do.
///
/// A coordinator that is away is waited for. On shutdown the trainer is asked for a resume
/// checkpoint, which is stored and committed before the lease is given back.
pub async fn run(
    config: Config,
    store: Arc<dyn ObjectStore>,
    shutdown: CancellationToken,
) -> Result<Summary, RunError> {
    let config = config.checked()?;
    let scratch = scratch::WorkerFolder::open(&config.scratch, &config.name)?;
    session::Session::new(config, store, scratch, shutdown)?
        .run()
        .await
}
