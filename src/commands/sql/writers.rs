//! Rows as a table for people, and in the forms of the engine's encoders, as they come.

use std::io;
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::{Encoder, ExportOptions, Form, Result};

use crate::cli::SqlFormat;
use crate::output::{Output, count, plain};

/// Rows that the table form holds back to align its columns; beyond them it starts a new table.
const TABLE_ROWS: usize = 10_000;

/// Takes batches and writes them. Breaks off once nobody reads any more.
pub(super) enum RowWriter<'a> {
    Table(TableWriter<'a>),
    Encoder(Box<Encoder>),
}

impl<'a> RowWriter<'a> {
    /// One that writes rows of `schema` to stdout; a table has the first `rows_max` of them, all where it is 0.
    pub(super) fn new(
        format: SqlFormat,
        schema: SchemaRef,
        rows_max: usize,
        output: &'a Output,
    ) -> Result<Self> {
        let form = match format {
            SqlFormat::Table => {
                let rows_max = if rows_max == 0 { usize::MAX } else { rows_max };
                let (held, held_rows, shown, all, printed) = (Vec::new(), 0, 0, 0, false);
                return Ok(Self::Table(TableWriter {
                    schema,
                    held,
                    held_rows,
                    shown,
                    all,
                    rows_max,
                    output,
                    printed,
                }));
            }
            SqlFormat::Csv => Form::Csv,
            SqlFormat::Json => Form::Json,
            SqlFormat::Ndjson => Form::Ndjson,
            SqlFormat::Arrow => Form::ArrowStream,
        };
        let stdout = io::BufWriter::new(io::stdout());
        let encoder = Encoder::new(stdout, &schema, &ExportOptions::of(form))?;
        Ok(Self::Encoder(Box::new(encoder)))
    }

    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>> {
        match self {
            Self::Table(table) => table.write(batch).map(ControlFlow::Continue),
            Self::Encoder(encoder) => encoder.write(batch),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Table(table) => table.finish(),
            Self::Encoder(encoder) => encoder.finish().map(|_| ()),
        }
    }
}

pub(super) struct TableWriter<'a> {
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    held_rows: usize,
    /// Rows of the table, and rows that there are.
    shown: usize,
    all: usize,
    rows_max: usize,
    output: &'a Output,
    printed: bool,
}

impl TableWriter<'_> {
    fn print(&mut self) -> Result<()> {
        let table = arrow::util::pretty::pretty_format_batches_with_schema(
            self.schema.clone(),
            &self.held,
        )?;
        self.held.clear();
        self.held_rows = 0;
        self.printed = true;
        self.output.line(&plain(&table.to_string()))
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.all += batch.num_rows();
        let rows = batch.num_rows().min(self.rows_max - self.shown);
        if rows == 0 {
            return Ok(());
        }
        self.held.push(batch.slice(0, rows));
        self.held_rows += rows;
        self.shown += rows;
        if self.held_rows >= TABLE_ROWS {
            self.print()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.held_rows > 0 || !self.printed {
            self.print()?;
        }
        if self.all > self.shown {
            let (shown, all) = (count(self.shown as u64), count(self.all as u64));
            self.output.note(&format!(
                "the first {shown} of {all} rows (--rows N shows more, --rows 0 and the other formats all)"
            ));
        }
        Ok(())
    }
}
