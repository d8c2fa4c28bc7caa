//! A row that could not be taken, with everything needed to find and mend it at its source.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde::{Deserialize, Serialize};

use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::name::DatasetName;
use crate::spec::{ColumnSpec, DatasetSpec, Evolution, LoadSettings};

/// Where in its source a row stands. Rows and lines count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's name as the user gave it, or `body` for an upload.
    pub source: String,
    /// Number of the data row (a header is not a row).
    pub row: u64,
    /// Line of a text source on which the row begins.
    pub line: Option<u64>,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line} (row {})", self.source, self.row),
            None => write!(f, "{} row {}", self.source, self.row),
        }
    }
}

/// A row that goes to quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Where it stands in its source.
    pub position: Position,
    /// The column at fault, when it is one.
    pub column: Option<String>,
    /// What was expected and what was found.
    pub reason: String,
    /// The row as it was: its text, or its values as JSON for a binary source.
    pub original: String,
}

impl RejectedRow {
    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        let column = self.column.as_ref().map_or(0, String::capacity);
        let texts = [&self.position.source, &self.reason, &self.original];
        size_of::<Self>() + column + texts.into_iter().map(String::capacity).sum::<usize>()
    }
}

/// The spec of the dataset that holds the rejected rows of `of`.
pub fn quarantine_spec(of: &DatasetName) -> DatasetSpec {
    let column =
        |name: &str, data_type: ColumnType, nullable: bool, description: &str| ColumnSpec {
            name: name.to_owned(),
            data_type,
            nullable,
            unit: None,
            description: description.to_owned(),
        };
    DatasetSpec {
        name: of.quarantine(),
        description: format!("Rows meant for {of} that failed a check."),
        owner: None,
        derived: true,
        key: Vec::new(),
        time_column: Some("rejected_at".into()),
        evolution: Evolution::Fixed,
        load: LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![
            column("rejected_at", ColumnType::Timestamp, false, "When the row was rejected."),
            column("reason", ColumnType::Text, false, "What was expected and what was found."),
            column("column", ColumnType::Text, true, "The column at fault, when it is one."),
            column("source", ColumnType::Text, false, "The file, or body."),
            column("row", ColumnType::Int64, false, "Number of the row in its source, from 1."),
            column("line", ColumnType::Int64, true, "Line on which the row begins, for text."),
            column("original", ColumnType::Text, false, "The row as it was."),
            column("producer", ColumnType::Text, true, "Who sent it."),
            column("sequence", ColumnType::Int64, true, "The producer's number of the call."),
        ],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

/// Rejected rows as a batch of [`quarantine_spec`]. `producer` is its name and the call's sequence number.
pub fn quarantine_batch(
    rows: &[RejectedRow],
    rejected_at: chrono::DateTime<chrono::Utc>,
    producer: Option<(&str, i64)>,
) -> Result<RecordBatch> {
    let text = |of: fn(&RejectedRow) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampMicrosecondArray::from_value(rejected_at.timestamp_micros(), rows.len())
                .with_timezone("UTC"),
        ),
        text(|r| &r.reason),
        Arc::new(rows.iter().map(|r| r.column.as_deref()).collect::<StringArray>()),
        text(|r| &r.position.source),
        Arc::new(rows.iter().map(|r| Some(r.position.row as i64)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.position.line.map(|l| l as i64)).collect::<Int64Array>()),
        text(|r| &r.original),
        Arc::new(rows.iter().map(|_| producer.map(|p| p.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|_| producer.map(|p| p.1)).collect::<Int64Array>()),
    ];
    // The schema is the same for every dataset.
    let schema = quarantine_spec(&DatasetName::new("rows")?).arrow_schema();
    RecordBatch::try_new(schema, columns)
        .map_err(|e| Error::Internal(format!("rejected rows as a batch: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rejected_rows_fit_their_spec() {
        let row = RejectedRow {
            position: Position { source: "a.csv".into(), row: 7, line: Some(9) },
            column: None,
            reason: "expected 3 fields, found 2".into(),
            original: "a,b".into(),
        };
        let batch = quarantine_batch(&[row], chrono::DateTime::UNIX_EPOCH, Some(("p", 4))).unwrap();
        let spec = quarantine_spec(&DatasetName::new("calls").unwrap());
        spec.check().unwrap();
        assert_eq!(spec.name.as_str(), "calls_quarantine");
        assert_eq!(batch.schema(), spec.arrow_schema());
        assert_eq!(batch.num_rows(), 1);
    }
}
