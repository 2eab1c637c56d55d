//! What a front costs: its hypervolume over the epochs spent on it, and how far seeds differ in it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use autorep_coordinator::read_curve;
use object_store::local::LocalFileSystem;
use serde_json::{Value, json};

/// The curve of a sweep that a store has.
pub(crate) async fn read(store: &Path, sweep: &str) -> Result<Value> {
    let folder = LocalFileSystem::new_with_prefix(store)?;
    let curve = read_curve(Arc::new(folder), &sweep.parse()?).await?;
    let mean = mean(&curve.of_seeds);
    let points: Vec<Value> = (curve.points.iter())
        .map(|point| json!([point.epochs, point.hypervolume]))
        .collect();
    Ok(json!({
        "epochs": curve.epochs,
        "hypervolume": curve.points.last().map(|point| point.hypervolume),
        "of_seeds": curve.of_seeds,
        "of_seeds_mean": mean,
        "of_seeds_se": mean.and_then(|mean| standard_error(&curve.of_seeds, mean)),
        "curve": points,
    }))
}

fn mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// Standard error of a mean; none of fewer than two values.
fn standard_error(values: &[f64], mean: f64) -> Option<f64> {
    let freedom = values.len().checked_sub(1).filter(|it| *it > 0)?;
    let squares: f64 = values.iter().map(|it| (it - mean).powi(2)).sum();
    Some((squares / freedom as f64 / values.len() as f64).sqrt())
}
