//! Tests of the front: against definitions spelt out by brute force, in any order.

mod certainty;
mod estimate;
mod pareto;
mod sweep;
