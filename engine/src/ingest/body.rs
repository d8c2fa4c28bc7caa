//! From what was sent to rows that fit: read and checked before any grouping, so that a body that can't be read fails alone.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datasets::conform::{Conformer, evolve};
use datasets::read::{Chunk, ReadOptions, Source};
use datasets::{ColumnSpec, DatasetSpec, RejectedRow};

use super::IngestRows;
use super::sequence::digest;
use super::settings::stored_csv;
use crate::error::{Code, Error, Result};
use crate::identity::Principal;
use crate::lake::{Lake, Table};

/// Memory that the rows of one request may take, those included that do not fit.
const BYTES_MAX: usize = 512 << 20;

/// Rows of one request, sorted into those that fit and those that do not.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) accepted: Vec<RecordBatch>,
    pub(super) rejected: Vec<RejectedRow>,
    /// What the body is known by when it comes again.
    pub(super) digest: Option<String>,
    /// How often the columns had been changed that they were read for.
    pub(super) reshaped: u64,
    /// Columns that they brought.
    pub(super) added_columns: Vec<String>,
}

impl Rows {
    pub(super) fn accepted_rows(&self) -> usize {
        self.accepted.iter().map(RecordBatch::num_rows).sum()
    }

    /// Bytes that they take in memory, those included that are rejected.
    pub(super) fn bytes(&self) -> usize {
        let accepted: usize = self.accepted.iter().map(RecordBatch::get_array_memory_size).sum();
        let rejected: usize = self.rejected.iter().map(RejectedRow::bytes).sum();
        accepted + rejected
    }
}

/// Reads and checks `rows` for `table`, which grows the columns that they bring where it may. Those of a producer are known
/// by a digest when they come again. For a thread that may compute.
pub(super) async fn prepare(
    lake: &Lake,
    who: &Principal,
    table: &Arc<Table>,
    rows: &IngestRows,
    is_numbered: bool,
) -> Result<Rows> {
    // A second look after growing; a third is needed when another request made the table grow.
    const LOOKS_MAX: usize = 8;
    let mut added_columns = Vec::new();
    for _ in 0..LOOKS_MAX {
        let entry = table.entry();
        match look(&entry.spec, rows, is_numbered)? {
            Looked::Rows(rows) => {
                let reshaped = entry.column_ids.reshaped;
                return Ok(Rows { reshaped, added_columns, ..rows });
            }
            Looked::NewColumns(columns) => {
                added_columns.extend(lake.evolve(who, table, columns).await?);
            }
        }
    }
    Err(Error::internal("the dataset's columns did not settle"))
}

/// What one look at the rows found.
enum Looked {
    Rows(Rows),
    /// They have columns that the dataset is to get first.
    NewColumns(Vec<ColumnSpec>),
}

fn look(spec: &DatasetSpec, rows: &IngestRows, is_numbered: bool) -> Result<Looked> {
    match rows {
        IngestRows::Body { bytes, format, name } => {
            let source = Source::Body { bytes: bytes.clone(), name: name.clone() };
            let options = ReadOptions { csv: stored_csv(spec), ..ReadOptions::default() };
            let mut reader = datasets::read::open(source, *format, Some(spec), &options)?;
            let schema = reader.schema();
            let (conformer, grown) = Conformer::growing(spec, &schema, name)?;
            let conformer = conformer.in_zone(options.csv.zone);
            let mut out = Rows { digest: is_numbered.then(|| digest(bytes)), ..Rows::default() };
            let mut held = Held::default();
            while let Some(chunk) = reader.next_chunk()? {
                out.take(&conformer, &chunk)?;
                held.add(&out)?;
            }
            match grown {
                None => Ok(Looked::Rows(out)),
                Some(grown) => out.grow(spec, grown),
            }
        }
        IngestRows::Batches(batches) => {
            const NAME: &str = "batches";
            let mut out = Rows::default();
            let mut first_row = 1;
            for batch in batches {
                let schema = batch.schema();
                if let Some(grown) = evolve(spec, &schema, NAME)? {
                    return Ok(Looked::NewColumns(grown.columns));
                }
                let conformer = Conformer::new(spec, &schema, NAME)?;
                let chunk = Chunk {
                    batch: batch.clone(),
                    first_row,
                    rows: None,
                    lines: None,
                    rejected: Vec::new(),
                };
                out.take(&conformer, &chunk)?;
                first_row += batch.num_rows() as u64;
            }
            Ok(Looked::Rows(out))
        }
    }
}

/// Memory that rows take, counted as they come.
#[derive(Default)]
struct Held {
    batches: usize,
    rejected: usize,
    bytes: usize,
}

impl Held {
    /// Counts what came since. LIMIT_EXCEEDED where it is too much: a few bytes may stand for many.
    fn add(&mut self, rows: &Rows) -> Result<()> {
        let batches = rows.accepted.iter().skip(self.batches);
        self.bytes += batches.map(RecordBatch::get_array_memory_size).sum::<usize>();
        let rejected = rows.rejected.iter().skip(self.rejected);
        self.bytes += rejected.map(RejectedRow::bytes).sum::<usize>();
        (self.batches, self.rejected) = (rows.accepted.len(), rows.rejected.len());
        if self.bytes <= BYTES_MAX {
            return Ok(());
        }
        let (most, fit, not) = (BYTES_MAX >> 20, rows.accepted_rows(), self.rejected);
        Err(Error::user(
            Code::LimitExceeded,
            format!(
                "the rows of one request: expected at most {most} MiB in memory, found more after {fit} rows that fit and {not} that do \
                 not; send fewer at a time"
            ),
        ))
    }
}

impl Rows {
    /// Rows that were looked at with the columns of `grown`, of which those that only rejected rows bring are none.
    fn grow(mut self, spec: &DatasetSpec, grown: DatasetSpec) -> Result<Looked> {
        let has_values = |column: &ColumnSpec| {
            let values = |batch: &RecordBatch| {
                batch.column_by_name(&column.name).is_some_and(|c| c.null_count() < c.len())
            };
            self.rejected.is_empty() || self.accepted.iter().any(values)
        };
        let is_new = |column: &&ColumnSpec| spec.column(&column.name).is_none();
        let brought: Vec<ColumnSpec> = grown
            .columns
            .iter()
            .filter(is_new)
            .filter(|column| has_values(column))
            .cloned()
            .collect();
        if !brought.is_empty() {
            return Ok(Looked::NewColumns(brought));
        }
        let schema = spec.arrow_schema();
        for batch in &mut self.accepted {
            let kept = schema.fields().iter().map(|field| batch.schema().index_of(field.name()));
            let kept = kept.collect::<std::result::Result<Vec<_>, _>>()?;
            *batch = batch.project(&kept)?;
        }
        Ok(Looked::Rows(self))
    }

    fn take(&mut self, conformer: &Conformer, chunk: &Chunk) -> Result<()> {
        let conformed = conformer.conform(chunk)?;
        if conformed.accepted.num_rows() > 0 {
            self.accepted.push(conformed.accepted);
        }
        self.rejected.extend(conformed.rejected);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use datasets::read::Format;

    use super::*;

    #[test]
    fn columns_of_rejected_rows_alone_are_no_columns() {
        let spec = r#"{"name": "a", "evolution": "add_nullable", "columns": [{"name": "n", "type": "int64"}]}"#;
        let spec = DatasetSpec::from_json(spec).unwrap();
        let look = |text: &str| {
            let (bytes, name) = (Bytes::from(text.to_owned()), "body".to_owned());
            look(&spec, &IngestRows::Body { bytes, format: Format::Ndjson, name }, false).unwrap()
        };
        let bad = r#"{"n": "x", "bad": 1}"#;
        let Looked::Rows(rows) = look(&format!("{{\"n\": 1}}\n{bad}")) else { unreachable!() };
        assert_eq!((rows.accepted_rows(), rows.rejected.len()), (1, 1));
        assert_eq!(rows.accepted[0].schema(), spec.arrow_schema());
        let body = format!("{{\"n\": 1, \"good\": 2}}\n{bad}");
        let Looked::NewColumns(columns) = look(&body) else { unreachable!() };
        assert_eq!(columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["good"]);
    }

    #[test]
    fn rows_that_are_rejected_take_room_too() {
        let spec = r#"{"name": "a", "columns": [{"name": "n", "type": "int64"}]}"#;
        let spec = DatasetSpec::from_json(spec).unwrap();
        let line = format!("{{\"n\": \"{}\"}}\n", "x".repeat(1_000));
        let bytes = Bytes::from(line.repeat(100));
        let body = IngestRows::Body { bytes, format: Format::Ndjson, name: "body".to_owned() };
        let Looked::Rows(rows) = look(&spec, &body, false).unwrap() else { unreachable!() };
        assert_eq!((rows.accepted_rows(), rows.rejected.len()), (0, 100));
        assert!((100_000..400_000).contains(&rows.bytes()), "{}", rows.bytes());
    }
}
