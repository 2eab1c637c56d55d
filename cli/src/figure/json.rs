//! The front as JSON: the report as it is, with the version of its shape.

use autorep_core::front::{FrontReport, FrontRow};
use autorep_core::id::SweepName;
use serde::Serialize;

use super::FigureError;

/// Names the shape of the document. Fields may be added under the same name; a change that
/// breaks a reader gets a new one.
const SCHEMA: &str = "autorep.front/v1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    sweep: &'a SweepName,
    rows: &'a [FrontRow],
    hypervolume: f64,
}

pub(super) fn render(report: &FrontReport) -> Result<Vec<u8>, FigureError> {
    let mut bytes = serde_json::to_vec_pretty(&Document {
        schema: SCHEMA,
        sweep: &report.sweep,
        rows: &report.rows,
        hypervolume: report.hypervolume,
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}
