//! Tests of the built programs and of the source tree.
//!
//! They use the programs beside them in the build folder and start no build of their own:
//! `make test` builds before it tests, and so does
//! `cargo build --workspace --bins && cargo test -p autorep-e2e`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bucket;
mod conform;
mod crew;
mod daemons;
mod dataset;
mod full;
mod groups;
mod hosts;
mod interrupt;
mod kept;
mod kill;
mod late;
mod lines;
mod logs;
mod manifests;
mod moody;
mod network;
mod pictures;
mod probe;
mod ranks;
mod repair;
mod s3;
mod sandbox;
mod seaweed;
mod secured;
mod skip;
mod standby;
mod store;
mod sts;
mod sweep;
mod tidy;
mod traces;
mod ways;
mod weed;
mod wire;
