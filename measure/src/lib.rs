//! What both daemons need to be measured: how a metric is declared, the store behind a counter, and
//! whether a daemon is ready.
//!
//! A daemon's metrics stand in one table each (`TABLE` in the coordinator's and the worker's
//! `measure`); what is served has help, kind and buckets from there, and `docs/metrics.md` is held to
//! it by a test. Whoever records goes through the macros of the `metrics` crate and costs next to
//! nothing where nobody has installed a recorder.

mod health;
pub mod http;
pub mod process;
pub mod store;
mod table;

pub use health::Health;
pub use store::MeasuredStore;
pub use table::{Kind, Metric, SECONDS, Unit};
