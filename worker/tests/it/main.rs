//! A worker against a coordinator that only records what it is told, with a real process for a
//! trainer and a real object store.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod coordinator;
mod endings;
mod fixture;
mod groups;
mod leases;
mod logs;
mod ranks;
mod runs;
mod starts;
