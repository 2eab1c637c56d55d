//! How sweeps grow, without a ledger.

mod halving;
mod seeds;
