//! What trainings measure: the dataset `model_evaluations`, one row for each figure of a version.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datasets::{ColumnType, DatasetSpec, Evolution};
use engine::Result;

use crate::parameters::dataset_name;
use crate::tables::columns::column;

/// A figure: what was measured, of which class, beside what other, and the value.
pub(crate) type Measured<'a> = (&'a str, Option<&'a str>, Option<&'a str>, f64);

/// The spec of `model_evaluations`.
pub(crate) fn spec() -> DatasetSpec {
    let text = |name, nullable, about| column(name, ColumnType::Text, nullable, about);
    DatasetSpec {
        name: dataset_name("model_evaluations"),
        description:
            "What each version of a model was measured to be, on rows that it did not learn from"
                .into(),
        owner: None,
        derived: true,
        // Class and other are null where they mean nothing.
        key: Vec::new(),
        time_column: None,
        evolution: Evolution::AddNullable,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            text("model", false, "The model"),
            text("version", false, "The version"),
            text(
                "measure",
                false,
                "accuracy, macro_f1, calibration_error, precision, recall, f1, support, confusion, recall_at_1, …",
            ),
            text("class", true, "The class that it is about; of confusion the true one"),
            text(
                "other",
                true,
                "Of confusion the class that was answered; of a comparison the other version",
            ),
            column("value", ColumnType::Float64, false, "What was found"),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Rows of a version.
pub(crate) fn batch(model: &str, version: &str, rows: &[Measured<'_>]) -> Result<RecordBatch> {
    let all = |text: &str| {
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows.len()))) as ArrayRef
    };
    let columns: Vec<ArrayRef> = vec![
        all(model),
        all(version),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
    ];
    Ok(RecordBatch::try_new(spec().arrow_schema(), columns)?)
}
