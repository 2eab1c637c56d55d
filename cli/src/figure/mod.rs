//! Figures: a front as a table, as data and as a picture.
//!
//! **Invariant:** every format is a function of the report alone. No clock, no locale, no font
//! or file of the machine has a part in it, so the same observations give the same bytes.

mod csv;
mod json;
mod parquet;
mod plot;
mod png;
pub mod published;
mod table;
mod text;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use autorep_core::front::{FrontReport, FrontRow};

use self::published::Series;

/// What may stand beside a sweep's front.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Overlay {
    /// Published fronts of the same data set and network.
    Published,
}

/// How a front is printed or drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// Comma-separated values.
    Csv,
    /// JSON.
    Json,
    /// Apache Parquet.
    Parquet,
    /// A vector drawing.
    Svg,
    /// A bitmap.
    Png,
}

/// A front could not be written in a format. Each of these is a fault of this program: there is
/// no report without a figure.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// The JSON writer refused.
    #[error("expected to write the front as JSON")]
    Json(#[from] serde_json::Error),
    /// The Parquet writer refused.
    #[error("expected to write the front as Parquet")]
    Parquet(#[from] ::parquet::errors::ParquetError),
    /// A number is beyond what a Parquet column can hold.
    #[error("expected at most {} in a Parquet column, found {found}", i64::MAX)]
    TooLarge {
        /// The number.
        found: u64,
    },
    /// The drawing could not be read back to make a bitmap of it.
    #[error("expected a drawing that can be made into a bitmap")]
    Drawing(#[from] resvg::usvg::Error),
    /// There was no memory for the bitmap.
    #[error("expected room for a bitmap of {width} x {height} pixels")]
    Bitmap {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// The bitmap could not be written as PNG.
    #[error("expected to write the bitmap as PNG, found: {reason}")]
    Png {
        /// What the encoder says.
        reason: String,
    },
}

/// The front in a format: text formats as UTF-8 that ends in a line break.
pub fn render(report: &FrontReport, format: Format) -> Result<Vec<u8>, FigureError> {
    render_with(report, &[], format)
}

/// The front with published series behind it, in the formats for people; the others hold what
/// the sweep measured and nothing else.
pub fn render_with(
    report: &FrontReport,
    published: &[Series],
    format: Format,
) -> Result<Vec<u8>, FigureError> {
    Ok(match format {
        Format::Table => table::render(report, published).into_bytes(),
        Format::Csv => csv::render(report).into_bytes(),
        Format::Json => json::render(report)?,
        Format::Parquet => parquet::render(report)?,
        Format::Svg => plot::render(report, published).into_bytes(),
        Format::Png => png::render(&plot::render(report, published))?,
    })
}

/// ReLUs kept, as a share of the full network's; none for a network without ReLUs.
fn relu_share(row: &FrontRow) -> Option<f64> {
    (row.relu_total > 0).then(|| row.relu_count as f64 / row.relu_total as f64)
}

/// The full network's ReLUs if all rows agree on it.
fn common_total(report: &FrontReport) -> Option<u64> {
    let first = report.rows.first()?.relu_total;
    let same = report.rows.iter().all(|row| row.relu_total == first);
    same.then_some(first)
}
