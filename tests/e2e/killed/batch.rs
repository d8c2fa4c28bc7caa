//! The rows of one request, in each format that ingest takes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::csv::WriterBuilder;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use serde_json::json;

#[derive(Clone, Copy, Debug)]
pub enum Format {
    Ndjson,
    Csv,
    ArrowStream,
    ArrowFile,
    Parquet,
}

impl Format {
    pub const ALL: [Self; 5] =
        [Self::Ndjson, Self::Csv, Self::ArrowStream, Self::ArrowFile, Self::Parquet];

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
            Self::ArrowFile => "application/vnd.apache.arrow.file",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

fn note(row: u64, sequence: u64) -> String {
    format!("row {row} of batch {sequence}")
}

pub fn first_row(producer: u64) -> Vec<u8> {
    batch_of(producer, 0, 1, Format::Ndjson)
}

/// `rows` rows of one producer's batch.
pub fn batch_of(producer: u64, sequence: u64, rows: u64, format: Format) -> Vec<u8> {
    let producer = format!("p{producer}");
    if let Format::Ndjson = format {
        let row = |row| {
            let note = note(row, sequence);
            format!(
                "{}\n",
                json!({"producer": producer, "sequence": sequence, "row": row, "note": note})
            )
        };
        return (0..rows).map(row).collect::<String>().into_bytes();
    }
    let text = |text: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..rows).map(text)))
    };
    let whole = |number: &dyn Fn(u64) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..rows).map(number)))
    };
    let batch = RecordBatch::try_from_iter([
        ("producer", text(&|_| producer.clone())),
        ("sequence", whole(&|_| sequence as i64)),
        ("row", whole(&|row| row as i64)),
        ("note", text(&|row| note(row, sequence))),
    ])
    .unwrap();
    let schema = batch.schema();
    let mut bytes = Vec::new();
    match format {
        Format::Ndjson => unreachable!("made above"),
        Format::Csv => {
            WriterBuilder::new().with_header(true).build(&mut bytes).write(&batch).unwrap()
        }
        Format::ArrowStream => {
            let mut writer = StreamWriter::try_new(&mut bytes, &schema).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        Format::ArrowFile => {
            let mut writer = FileWriter::try_new(&mut bytes, &schema).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
        }
    }
    bytes
}
