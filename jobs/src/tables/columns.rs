//! Short words for specs and columns of results, so that a job's output reads as a table of its columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datasets::{ColumnSpec, ColumnType};
use engine::{Error, Result};

/// A column without a unit.
pub(crate) fn column(
    name: &str,
    data_type: ColumnType,
    nullable: bool,
    description: &str,
) -> ColumnSpec {
    ColumnSpec {
        name: name.into(),
        data_type,
        nullable,
        unit: None,
        description: description.into(),
    }
}

/// The same column with a unit.
pub(crate) fn with_unit(column: ColumnSpec, unit: &str) -> ColumnSpec {
    ColumnSpec { unit: Some(unit.into()), ..column }
}

/// Instants in microseconds as a column of type timestamp.
pub(crate) fn timestamps(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// The texts in a column of a batch, whatever kind of text it is of.
pub(crate) fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray> {
    let texts = arrow::compute::cast(batch.column(column), &DataType::Utf8)?;
    let texts = texts.as_string_opt::<i32>();
    texts.cloned().ok_or_else(|| Error::internal(format!("column {column} is not a text")))
}
