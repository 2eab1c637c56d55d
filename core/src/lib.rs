//! The rules of `autorep`: what a manifest means, which tasks a plan holds, who may do
//! what in the ledger, and which points form the front.
//!
//! **Invariant:** nothing in this crate is async, reads a clock, draws a random number,
//! touches a file or a socket, or knows a tensor. Time and chance are arguments.

pub mod blank;
pub mod candidate;
pub mod checkpoint;
pub mod cost;
pub mod data;
pub mod digest;
pub mod failure;
pub mod front;
pub mod growth;
pub mod id;
pub mod lease;
pub mod ledger;
pub mod limit;
pub mod manifest;
pub mod net;
pub mod observation;
pub mod offer;
pub mod pace;
pub mod patience;
pub mod plan;
pub mod planted;
pub mod recipe;
pub mod retry;
pub mod roster;
pub mod schedule;
pub mod searched;
pub mod strategy;
pub mod task;
pub mod terms;
pub mod text;
pub mod weights;
