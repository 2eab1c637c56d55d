//! How sweeps grow, without a ledger.

mod budgets;
mod halving;
mod instant;
mod outlook;
mod seeds;
mod training;
