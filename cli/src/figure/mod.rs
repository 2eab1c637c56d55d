//! Figures: a front as a table, as data and as a picture.

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
