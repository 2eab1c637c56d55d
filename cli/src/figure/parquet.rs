//! The front as one row group of an Apache Parquet file, columns as in the CSV.
//!
//! The sweep's name, the hypervolume and the version of the shape are in the file's key-value
//! metadata. Nothing in the file tells when or by which build it was written.

use std::sync::Arc;

use ::parquet::basic::{LogicalType, Repetition, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::types::{Type, TypePtr};
use autorep_core::front::{FrontReport, FrontRow};

use super::{FigureError, relu_share};

/// Names the shape of the file, as [`super::json`] does for JSON.
const SCHEMA: &str = "autorep.front/v1";

pub(super) fn render(report: &FrontReport) -> Result<Vec<u8>, FigureError> {
    let entry = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let properties = WriterProperties::builder()
        .set_created_by("autorep".to_owned())
        .set_key_value_metadata(Some(vec![
            entry("autorep.schema", SCHEMA.to_owned()),
            entry("autorep.sweep", report.sweep.to_string()),
            entry("autorep.hypervolume", report.hypervolume.to_string()),
        ]))
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema()?, Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let rows = &report.rows;
    let text = |value: &str| ByteArray::from(value.as_bytes().to_vec());

    write::<ByteArrayType>(&mut group, &each(rows, |row| text(&row.candidate)))?;
    write::<Int64Type>(&mut group, &counts(rows, |row| row.budget)?)?;
    write::<Int64Type>(&mut group, &counts(rows, |row| row.relu_count)?)?;
    write::<Int64Type>(&mut group, &counts(rows, |row| row.relu_total)?)?;
    write::<DoubleType>(&mut group, &each(rows, |row| row.accuracy_mean))?;
    write::<DoubleType>(&mut group, &each(rows, |row| row.accuracy_std))?;
    write::<Int64Type>(&mut group, &counts(rows, |row| row.seeds.into())?)?;
    write::<BoolType>(&mut group, &each(rows, |row| row.on_front))?;
    write::<ByteArrayType>(&mut group, &each(rows, |row| text(row.kind.name())))?;
    write::<Int64Type>(&mut group, &counts(rows, |row| row.seeds_planned.into())?)?;
    write_optional(&mut group, &each(rows, relu_share))?;
    write_optional(&mut group, &each(rows, |row| row.validation_mean))?;
    write::<ByteArrayType>(&mut group, &each(rows, |row| text(&row.id.to_string())))?;
    write::<ByteArrayType>(&mut group, &each(rows, |row| text(&row.data)))?;
    write::<ByteArrayType>(&mut group, &each(rows, |row| text(&row.net)))?;
    write::<ByteArrayType>(&mut group, &each(rows, |row| text(row.strategy.name())))?;
    write_optional(&mut group, &each(rows, |row| row.accuracy_se))?;
    write_optional(&mut group, &each(rows, |row| row.p_on_front))?;
    write_optional(&mut group, &each(rows, |row| row.front_low))?;
    write_optional(&mut group, &each(rows, |row| row.front_high))?;
    write_optional_as::<Int64Type>(&mut group, &optional_counts(rows, |row| row.lies_under)?)?;
    write_optional(&mut group, &each(rows, |row| row.selection_bias))?;
    write_optional(&mut group, &each(rows, |row| row.selection_bias_se))?;
    let convergence = |row: &FrontRow| row.convergence.map(|it| text(it.name()));
    write_optional_as::<ByteArrayType>(&mut group, &each(rows, convergence))?;
    write_optional(&mut group, &each(rows, |row| row.projection_cost))?;

    group.close()?;
    Ok(file.into_inner()?)
}

fn schema() -> Result<TypePtr, FigureError> {
    use Physical::{BOOLEAN, BYTE_ARRAY, DOUBLE, INT64};
    let (required, optional) = (Repetition::REQUIRED, Repetition::OPTIONAL);
    let columns = [
        ("candidate", BYTE_ARRAY, required),
        ("budget", INT64, required),
        ("relu_count", INT64, required),
        ("relu_total", INT64, required),
        ("accuracy_mean", DOUBLE, required),
        ("accuracy_std", DOUBLE, required),
        ("seeds", INT64, required),
        ("on_front", BOOLEAN, required),
        ("kind", BYTE_ARRAY, required),
        ("seeds_planned", INT64, required),
        ("relu_share", DOUBLE, optional),
        ("validation_mean", DOUBLE, optional),
        ("id", BYTE_ARRAY, required),
        ("data", BYTE_ARRAY, required),
        ("net", BYTE_ARRAY, required),
        ("strategy", BYTE_ARRAY, required),
        ("accuracy_se", DOUBLE, optional),
        ("p_on_front", DOUBLE, optional),
        ("front_low", DOUBLE, optional),
        ("front_high", DOUBLE, optional),
        ("lies_under", INT64, optional),
        ("selection_bias", DOUBLE, optional),
        ("selection_bias_se", DOUBLE, optional),
        ("convergence", BYTE_ARRAY, optional),
        ("projection_cost", DOUBLE, optional),
    ];
    let mut fields = vec![];
    for (name, physical, repetition) in columns {
        let text = (physical == BYTE_ARRAY).then_some(LogicalType::String);
        let column = Type::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_logical_type(text)
            .build()?;
        fields.push(Arc::new(column));
    }
    let message = Type::group_type_builder("front").with_fields(fields);
    Ok(Arc::new(message.build()?))
}

fn each<T>(rows: &[FrontRow], of: impl Fn(&FrontRow) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// Counts as the signed integers that every reader of Parquet understands.
fn counts(rows: &[FrontRow], of: impl Fn(&FrontRow) -> u64) -> Result<Vec<i64>, FigureError> {
    rows.iter().map(|row| count(of(row))).collect()
}

fn optional_counts(
    rows: &[FrontRow],
    of: impl Fn(&FrontRow) -> Option<u64>,
) -> Result<Vec<Option<i64>>, FigureError> {
    let rows = rows.iter();
    rows.map(|row| of(row).map(count).transpose()).collect()
}

fn count(found: u64) -> Result<i64, FigureError> {
    i64::try_from(found).map_err(|_too_large| FigureError::TooLarge { found })
}

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

fn write<T: DataType>(group: &mut Group<'_>, values: &[T::T]) -> Result<(), FigureError> {
    write_levels::<T>(group, values, None)
}

fn write_optional(group: &mut Group<'_>, values: &[Option<f64>]) -> Result<(), FigureError> {
    write_optional_as::<DoubleType>(group, values)
}

fn write_optional_as<T: DataType>(
    group: &mut Group<'_>,
    values: &[Option<T::T>],
) -> Result<(), FigureError> {
    let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
    let present: Vec<T::T> = values.iter().flatten().cloned().collect();
    write_levels::<T>(group, &present, Some(&levels))
}

fn write_levels<T: DataType>(
    group: &mut Group<'_>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), FigureError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, levels, None)?;
        column.close()?;
    }
    Ok(())
}
