//! `colonnade sql`: one query, its rows as a table, CSV, JSON or Arrow, streamed as they come.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::{Code, Error, Result, with_json_texts};
use futures::StreamExt as _;

use super::{close, open_to_read, pins};
use crate::cli::{Sql, SqlFormat};
use crate::config::Settings;
use crate::output::Output;

/// Rows that the table form holds back to align its columns; beyond them it starts a new table.
const TABLE_ROWS: usize = 10_000;

/// Answers the query on stdout.
pub async fn sql(arguments: Sql, settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    let answered = answer(&engine, &arguments, settings, output).await;
    close(&engine, answered).await
}

async fn answer(
    engine: &engine::Engine,
    arguments: &Sql,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let session = engine.session(&settings.principal()?, &pins(&arguments.as_of)?).await?;
    let frame = session.sql(&arguments.query).await?;
    let mut rows = session.stream(frame).await?;
    let mut writer = writer(arguments.format, rows.schema(), output)?;
    while let Some(batch) = rows.next().await {
        if !writer.write(&batch?)? {
            return Ok(());
        }
    }
    writer.finish()
}

/// Takes batches and writes them in one form. `write` answers false once nobody reads any more.
trait RowWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool>;
    fn finish(self: Box<Self>) -> Result<()>;
}

fn writer(
    format: SqlFormat,
    schema: SchemaRef,
    output: &Output,
) -> Result<Box<dyn RowWriter + '_>> {
    let stdout = || io::BufWriter::new(io::stdout());
    Ok(match format {
        SqlFormat::Table => {
            Box::new(TableWriter { schema, held: Vec::new(), held_rows: 0, output, printed: false })
        }
        SqlFormat::Csv => Box::new(CsvWriter(
            arrow::csv::WriterBuilder::new().with_header(true).build(stdout()),
            schema,
            false,
        )),
        SqlFormat::Json => Box::new(JsonWriter(
            arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(stdout()),
        )),
        SqlFormat::Arrow => Box::new(ArrowWriter(
            arrow::ipc::writer::StreamWriter::try_new(stdout(), &schema).map_err(Error::from)?,
        )),
    })
}

struct TableWriter<'a> {
    schema: SchemaRef,
    held: Vec<RecordBatch>,
    held_rows: usize,
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
        self.held.push(batch.clone());
        self.held_rows += batch.num_rows();
        if self.held_rows >= TABLE_ROWS {
            self.print()?;
        }
        Ok(true)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if self.held_rows > 0 || !self.printed {
            self.print()?;
        }
        Ok(())
    }
}

struct CsvWriter<W: Write>(arrow::csv::Writer<W>, SchemaRef, bool);

impl<W: Write> RowWriter for CsvWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        self.2 = true;
        // CSV has no lists and no structures.
        still_read(self.0.write(&with_json_texts(batch)?))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.2 {
            // No batch came: the header still says which columns there are.
            self.write(&RecordBatch::new_empty(self.1.clone()))?;
        }
        flushed(self.0.into_inner().flush())
    }
}

struct JsonWriter<W: Write>(arrow::json::ArrayWriter<W>);

impl<W: Write> RowWriter for JsonWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        still_read(self.0.write(batch))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        still_read(self.0.finish())?;
        let mut out = self.0.into_inner();
        flushed(out.write_all(b"\n").and_then(|()| out.flush()))
    }
}

struct ArrowWriter<W: Write>(arrow::ipc::writer::StreamWriter<W>);

impl<W: Write> RowWriter for ArrowWriter<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<bool> {
        still_read(self.0.write(batch))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        still_read(self.0.finish())?;
        flushed(self.0.get_mut().flush())
    }
}

/// A reader that went away ends the output without an error.
fn still_read(written: Result<(), arrow::error::ArrowError>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(arrow::error::ArrowError::IoError(_, e)) if e.kind() == io::ErrorKind::BrokenPipe => {
            Ok(false)
        }
        Err(arrow::error::ArrowError::IoError(message, e)) => {
            Err(Error::environment(Code::Internal, format!("write rows to stdout: {message}"), e))
        }
        Err(e) => Err(e.into()),
    }
}

fn flushed(flushed: io::Result<()>) -> Result<()> {
    match flushed {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::environment(Code::Internal, "write rows to stdout", e))
        }
        _ => Ok(()),
    }
}
