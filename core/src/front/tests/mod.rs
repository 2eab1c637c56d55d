//! Tests of the front: against definitions spelt out by brute force, in any order.

use crate::candidate::PointKind;
use crate::digest::Digest;
use crate::front::FrontRow;
use crate::id::CandidateId;

mod certainty;
mod estimate;
mod pareto;
mod sweep;
mod undertrained;

/// A replaced candidate's row before anything was said of it among others.
fn row(relu_count: u64, accuracy_mean: f64, accuracy_std: f64, seeds: u32) -> FrontRow {
    FrontRow {
        id: CandidateId(Digest::of(b"any")),
        candidate: "default".to_owned(),
        kind: PointKind::Replaced,
        strategy: crate::strategy::Strategy::Independent,
        data: "cifar-100".to_owned(),
        net: "resnet18".to_owned(),
        budget: relu_count,
        relu_count,
        relu_total: 1_000,
        accuracy_mean,
        accuracy_std,
        accuracy_se: None,
        p_on_front: None,
        front_low: None,
        front_high: None,
        validation_mean: None,
        seeds,
        seeds_planned: seeds,
        on_front: false,
        lies_under: None,
        selection_bias: None,
        selection_bias_se: None,
        convergence: None,
        projection_cost: None,
    }
}
