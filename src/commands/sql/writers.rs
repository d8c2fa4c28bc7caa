//! Rows as a table for people, and in the forms of files, streamed as they come.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use ::datasets::encode::{JsonRows, with_texts};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use engine::{Code, Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cli::SqlFormat;
use crate::output::{Output, count};

/// Rows that the table form holds back to align its columns; beyond them it starts a new table.
const TABLE_ROWS: usize = 10_000;

/// Takes batches and writes them in one form. `write` answers false once nobody reads any more.
pub(super) trait RowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool>;
    fn finish(self: Box<Self>) -> Result<()>;
}

/// One that writes rows of `schema`; a table has the first `rows_max` of them, all where it is 0.
pub(super) fn writer(
    format: SqlFormat,
    schema: SchemaRef,
    rows_max: usize,
    output: &Output,
) -> Result<Box<dyn RowWriter + '_>> {
    let stdout = || io::BufWriter::new(io::stdout());
    Ok(match format {
        SqlFormat::Table => {
            let rows_max = if rows_max == 0 { usize::MAX } else { rows_max };
            let (held, held_rows, shown, all) = (Vec::new(), 0, 0, 0);
            let printed = false;
            Box::new(TableWriter { schema, held, held_rows, shown, all, rows_max, output, printed })
        }
        SqlFormat::Csv => Box::new(CsvWriter::new(stdout(), schema)),
        SqlFormat::Json => Box::new(JsonWriter { to: stdout(), rows: 0 }),
        SqlFormat::Arrow => Box::new(StreamWriter(
            arrow::ipc::writer::StreamWriter::try_new(stdout(), &schema).map_err(Error::from)?,
        )),
    })
}

/// What a file's rows are written as.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Parquet,
    Csv,
    Ndjson,
    Arrow,
}

impl Form {
    /// A writer of rows of `schema` to a file.
    pub(super) fn writer(self, file: File, schema: SchemaRef) -> Result<Box<dyn RowWriter>> {
        let file = io::BufWriter::new(file);
        Ok(match self {
            Self::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(Error::from)?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                Box::new(ParquetWriter(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
            Self::Csv => Box::new(CsvWriter::new(file, schema)),
            Self::Ndjson => Box::new(NdjsonWriter(file)),
            Self::Arrow => {
                Box::new(FileWriter(arrow::ipc::writer::FileWriter::try_new(file, &schema)?))
            }
        })
    }
}

struct TableWriter<'a> {
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
        self.output.line(&table.to_string())
    }
}

impl RowWriter for TableWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.all += batch.num_rows();
        let rows = batch.num_rows().min(self.rows_max - self.shown);
        if rows == 0 {
            return Ok(true);
        }
        self.held.push(batch.slice(0, rows));
        self.held_rows += rows;
        self.shown += rows;
        if self.held_rows >= TABLE_ROWS {
            self.print()?;
        }
        Ok(true)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
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

/// Of these columns, and whether the header was written.
struct CsvWriter<W: Write>(arrow::csv::Writer<Piped<W>>, SchemaRef, bool, Rc<Cell<bool>>);

/// A writer that knows whether its reader went away: the CSV library keeps of an error its text alone.
struct Piped<W>(W, Rc<Cell<bool>>);

impl<W: Write> Write for Piped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes);
        self.watched(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        self.watched(flushed)
    }
}

impl<W> Piped<W> {
    fn watched<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            self.1.set(true);
        }
        done
    }
}

impl<W: Write> CsvWriter<W> {
    fn new(to: W, schema: SchemaRef) -> Self {
        let is_gone = Rc::new(Cell::new(false));
        let to = Piped(to, Rc::clone(&is_gone));
        Self(arrow::csv::WriterBuilder::new().with_header(true).build(to), schema, false, is_gone)
    }
}

impl<W: Write> RowWriter for CsvWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.2 = true;
        match self.0.write(&with_texts(batch)?) {
            Err(_) if self.3.get() => Ok(false),
            written => still_read(written),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.2 {
            // No batch came: the header still says which columns there are.
            self.write(&RecordBatch::new_empty(self.1.clone()))?;
        }
        flushed(self.0.into_inner().flush())
    }
}

/// One array of objects, a line each.
struct JsonWriter<W: Write> {
    to: W,
    rows: u64,
}

impl<W: Write> RowWriter for JsonWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        let rows = JsonRows::new(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            text.push_str(if self.rows == 0 { "[" } else { ",\n" });
            rows.write(row, &mut text);
            self.rows += 1;
        }
        still_read(self.to.write_all(text.as_bytes()).map_err(ArrowError::from))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let end: &[u8] = if self.rows == 0 { b"[]\n" } else { b"]\n" };
        flushed(self.to.write_all(end).and_then(|()| self.to.flush()))
    }
}

struct NdjsonWriter<W: Write>(W);

impl<W: Write> RowWriter for NdjsonWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        let rows = JsonRows::new(batch)?;
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            rows.write(row, &mut text);
            text.push('\n');
        }
        still_read(self.0.write_all(text.as_bytes()).map_err(ArrowError::from))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        flushed(self.0.flush())
    }
}

struct ParquetWriter<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> RowWriter for ParquetWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.0.write(batch)?;
        Ok(true)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        flushed(self.0.into_inner()?.flush())
    }
}

struct FileWriter<W: Write>(arrow::ipc::writer::FileWriter<W>);

impl<W: Write> RowWriter for FileWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        still_read(self.0.write(batch))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        still_read(self.0.finish())?;
        flushed(self.0.get_mut().flush())
    }
}

struct StreamWriter<W: Write>(arrow::ipc::writer::StreamWriter<W>);

impl<W: Write> RowWriter for StreamWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        still_read(self.0.write(batch))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        still_read(self.0.finish())?;
        flushed(self.0.get_mut().flush())
    }
}

/// A reader that went away ends the output without an error.
fn still_read(written: Result<(), ArrowError>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(ArrowError::IoError(_, e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(ArrowError::IoError(message, e)) => {
            Err(Error::environment(Code::StorageUnavailable, format!("write rows: {message}"), e))
        }
        Err(e) => Err(e.into()),
    }
}

fn flushed(flushed: io::Result<()>) -> Result<()> {
    match flushed {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::environment(Code::StorageUnavailable, "write rows", e))
        }
        _ => Ok(()),
    }
}
