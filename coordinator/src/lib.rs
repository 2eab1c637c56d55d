//! The coordinator: owns the ledger and its state in the store, and serves workers and people.
//!
//! [`run`] is all of it: a start reads the state back ([`restore`](restore::RestoreError)),
//! one owner decides and writes (`owner`), and two gRPC services ask it (`rpc`).
//! [`read_front`] and [`read_sweeps`] tell what a store holds without a coordinator.
//!
//! **Invariant:** nobody is told anything that is not durable. `docs/protocol.md` says what each
//! answer promises and what each crash leaves.

mod ask;
mod clock;
pub mod config;
mod connections;
mod curve;
pub mod embedded;
mod followed;
mod garbage;
pub mod identity;
pub mod measure;
pub mod offline;
mod owner;
mod plaintext;
pub mod probe;
mod refuse;
pub mod restore;
mod rpc;
mod seldom;
pub mod serve;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod standby;
pub mod state;
mod wire;

pub use config::Config;
pub use curve::{Curve, CurvePoint};
pub use offline::{
    OfflineError, SweepResults, SweepStatus, read_curve, read_front, read_progress, read_results,
    read_sweeps,
};
pub use serve::{Door, RunError, run};
