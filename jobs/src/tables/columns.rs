//! Short words for specs and columns of results, so that a job's output reads as a table of its columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use datasets::{
    ColumnSpec, ColumnType, DatasetName, DatasetSpec, Evolution, PartitionSpec, PartitionTransform,
};
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

/// A type by the name that datasets have for it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let known = ColumnType::from_arrow(data_type);
    known.map_or_else(|| data_type.to_string(), |known| known.to_string())
}

/// The same column with a unit.
pub(crate) fn with_unit(column: ColumnSpec, unit: &str) -> ColumnSpec {
    ColumnSpec { unit: Some(unit.into()), ..column }
}

/// A text that is always there.
pub(crate) fn text(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Text, false, about)
}

/// A text, where there is one.
pub(crate) fn some_text(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Text, true, about)
}

/// A whole number that is always there.
pub(crate) fn whole(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Int64, false, about)
}

/// A number, where there is one.
pub(crate) fn float(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Float64, true, about)
}

/// The same in seconds.
pub(crate) fn seconds(name: &str, about: &str) -> ColumnSpec {
    with_unit(float(name, about), "s")
}

/// The dataset that a row is about: the first column of [`of_sources`].
pub(crate) fn source() -> ColumnSpec {
    text("source", "The dataset that was looked at")
}

/// At which version: the last one.
pub(crate) fn version() -> ColumnSpec {
    with_unit(whole("source_version", "Version of the dataset that was read"), "version")
}

/// The spec of rows that a job makes of other datasets, one partition for each `source`.
pub(crate) fn of_sources<const N: usize>(
    name: DatasetName,
    description: &str,
    key: [&str; N],
    time_column: Option<&str>,
    columns: Vec<ColumnSpec>,
) -> DatasetSpec {
    DatasetSpec {
        name,
        description: description.into(),
        owner: None,
        derived: true,
        key: key.map(String::from).into(),
        time_column: time_column.map(String::from),
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: vec![PartitionSpec {
            column: "source".into(),
            from: None,
            transform: PartitionTransform::Identity,
        }],
        columns,
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Instants in microseconds as a column of type timestamp.
pub(crate) fn timestamps(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// The same where some rows have none.
pub(crate) fn instants(micros: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
}

/// The texts in a column of a batch, whatever kind of text it is of.
pub(crate) fn texts(batch: &RecordBatch, column: usize) -> Result<StringArray> {
    let texts = arrow::compute::cast(batch.column(column), &DataType::Utf8)?;
    let texts = texts.as_string_opt::<i32>();
    texts.cloned().ok_or_else(|| Error::internal(format!("column {column} is not a text")))
}
