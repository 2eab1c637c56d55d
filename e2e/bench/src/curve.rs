//! What a front costs: its hypervolume over the epochs spent on it.

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
    let points: Vec<Value> = curve
        .iter()
        .map(|point| json!([point.epochs, point.hypervolume]))
        .collect();
    Ok(json!({
        "epochs": curve.last().map(|point| point.epochs),
        "hypervolume": curve.last().map(|point| point.hypervolume),
        "curve": points,
    }))
}
