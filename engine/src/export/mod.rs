//! Rows in the forms that other programs read: the one set of encoders of answers, the command line and files.
//!
//! ```text
//!  batches ─▶ form: json, csv, arrow, parquet, xlsx ─▶ packing: gzip, zstd ─▶ whatever is written to
//! ```
//!
//! An [`Encoder`] takes batches one after another and hands on what it made of each. It keeps no rows but those of the row group of
//! Parquet that is not full yet, which has a bound.
//!
//! What a form has no value for is a text that `ingest` reads as the same value. Decimals have all digits of their scale and a
//! point, instants are in UTC as RFC 3339 writes them (`2026-01-02T03:04:05Z`), days are `2026-01-02`, bytes are base64; a float that
//! JSON has no number for is `"NaN"`, `"inf"` or `"-inf"`.

mod csv;
mod json;
mod packing;
mod pieces;
mod set;
mod tally;
#[cfg(test)]
mod tests;
mod xlsx;

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

pub use datasets::encode::{CsvOptions, Formulas, Header, NestedAs, Quoting};

pub use self::packing::Packing;
pub use self::pieces::Pieces;
pub use self::set::{
    EXPORT_FILE_ROWS, ExportPlace, ExportRequest, ExportSource, ExportWatch, ExportedFile,
    ExportsFile, IfThere, MadeFiles, Manifest, Pinned, SweptExports, export, export_made,
    verify_export,
};
pub use self::tally::{Tallied, Tally, TallyWriter};

use self::packing::{Packed, Watch};
use crate::error::{Code, Error, Result, find};

/// Bytes of a row group of Parquet, about; it is held until it is full.
const ROW_GROUP_BYTES_MAX: usize = 64 << 20;

/// What rows are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON array of objects, a line each.
    Json,
    /// A JSON object in each line.
    Ndjson,
    /// Comma-separated values, as RFC 4180 has them.
    Csv,
    /// Arrow's stream of batches.
    ArrowStream,
    /// Arrow's file, also called Feather: batches and where they lie.
    ArrowFile,
    /// Parquet.
    Parquet,
    /// A workbook of one sheet, as Excel has it since 2007.
    Xlsx,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Json,
        Self::Ndjson,
        Self::Csv,
        Self::ArrowStream,
        Self::ArrowFile,
        Self::Parquet,
        Self::Xlsx,
    ];

    /// Whether it packs what is in it by itself, and the file as a whole is not packed.
    pub fn packs_within(self) -> bool {
        match self {
            Self::ArrowStream | Self::ArrowFile | Self::Parquet | Self::Xlsx => true,
            Self::Json | Self::Ndjson | Self::Csv => false,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::ArrowStream => "arrow_stream",
            Self::ArrowFile => "arrow",
            Self::Parquet => "parquet",
            Self::Xlsx => "xlsx",
        }
    }

    /// How names of its files end.
    pub fn ending(self) -> &'static str {
        match self {
            Self::ArrowStream => "arrows",
            of => of.name(),
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
            Self::ArrowFile => "application/vnd.apache.arrow.file",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        }
    }
}

/// How rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// As what.
    pub form: Form,
    /// How small: of JSON and CSV the whole, of Arrow and Parquet each column. Workbooks are packed as they always are.
    pub packing: Packing,
    /// Where they are CSV.
    pub csv: CsvOptions,
}

impl ExportOptions {
    /// As most want it: Parquet packed with zstd, and nothing else packed.
    pub fn of(form: Form) -> Self {
        let packing = match form {
            Form::Parquet => Packing::Zstd,
            _ => Packing::None,
        };
        Self { form, packing, csv: CsvOptions::default() }
    }
}

/// What makes bytes of batches.
trait Encode: Send {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError>;
    /// Writes what stands behind the last row.
    fn finish(self: Box<Self>) -> Result<Packed, ArrowError>;
}

/// Writes batches in one form. What was written is whole once [`Encoder::finish`] has returned.
pub struct Encoder {
    to: Box<dyn Encode>,
    watch: Watch,
    rows: u64,
}

impl Encoder {
    /// One of rows of `schema`. BAD_INPUT for options that do not go together.
    pub fn new(
        to: impl Write + Send + 'static,
        schema: &SchemaRef,
        options: &ExportOptions,
    ) -> Result<Self> {
        let watch = Watch::default();
        let file_packing = match options.form.packs_within() {
            true => Packing::None,
            false => options.packing,
        };
        let packed = Packed::new(Box::new(to), file_packing, &watch).map_err(unwritten)?;
        let schema = SchemaRef::clone(schema);
        let to: Box<dyn Encode> = match options.form {
            Form::Json => Box::new(json::Array::new(packed)),
            Form::Ndjson => Box::new(json::Lines::new(packed)),
            Form::Csv => Box::new(csv::Rows::new(packed, &schema, &options.csv)?),
            Form::ArrowStream => Box::new(ArrowStream(StreamWriter::try_new_with_options(
                packed,
                &schema,
                ipc_options(options.packing)?,
            )?)),
            Form::ArrowFile => Box::new(ArrowFile(FileWriter::try_new_with_options(
                packed,
                &schema,
                ipc_options(options.packing)?,
            )?)),
            Form::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(parquet_compression(options.packing)?)
                    .build();
                Box::new(Parquet(ArrowWriter::try_new(packed, schema, Some(properties))?))
            }
            Form::Xlsx => Box::new(xlsx::Sheet::new(packed, &schema)?),
        };
        Ok(Self { to, watch, rows: 0 })
    }

    /// Writes a batch. Breaks off once who would read it went away, which is no error.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<ControlFlow<()>> {
        self.rows += batch.num_rows() as u64;
        let written = self.to.write(batch);
        self.watch.outcome(written.map_err(failed))
    }

    /// Writes the end, and all that was not handed on yet.
    pub fn finish(self) -> Result<ControlFlow<()>> {
        let finished = self.to.finish().map_err(failed);
        let finished = finished.and_then(|packed| packed.finish().map_err(unwritten));
        self.watch.outcome(finished)
    }

    /// Rows that were written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes that were handed on.
    pub fn bytes(&self) -> u64 {
        self.watch.bytes()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, bytes) = (self.rows, self.bytes());
        f.debug_struct("Encoder").field("rows", &rows).field("bytes", &bytes).finish()
    }
}

struct ArrowStream(StreamWriter<Packed>);

impl Encode for ArrowStream {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)
    }

    fn finish(self: Box<Self>) -> Result<Packed, ArrowError> {
        self.0.into_inner()
    }
}

struct ArrowFile(FileWriter<Packed>);

impl Encode for ArrowFile {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)
    }

    fn finish(self: Box<Self>) -> Result<Packed, ArrowError> {
        self.0.into_inner()
    }
}

struct Parquet(ArrowWriter<Packed>);

impl Encode for Parquet {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)?;
        if self.0.memory_size() > ROW_GROUP_BYTES_MAX {
            self.0.flush()?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Packed, ArrowError> {
        Ok(self.0.into_inner()?)
    }
}

fn ipc_options(packing: Packing) -> Result<IpcWriteOptions> {
    let compression = match packing {
        Packing::None => None,
        Packing::Zstd => Some(CompressionType::ZSTD),
        Packing::Gzip => {
            return Err(Error::user(Code::BadInput, "arrow: expected no packing, or zstd"));
        }
    };
    Ok(IpcWriteOptions::default().try_with_compression(compression)?)
}

fn parquet_compression(packing: Packing) -> Result<Compression, ParquetError> {
    Ok(match packing {
        Packing::None => Compression::UNCOMPRESSED,
        Packing::Gzip => Compression::GZIP(GzipLevel::default()),
        Packing::Zstd => Compression::ZSTD(ZstdLevel::try_new(1)?),
    })
}

fn unwritten(error: io::Error) -> Error {
    // `Pieces` reports its own errors through `io::Error`.
    if let Some(refused) = find::<Error>(&error) {
        return refused.clone();
    }
    Error::environment(Code::StorageUnavailable, "write rows", error)
}

fn failed(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => unwritten(error),
        error => error.into(),
    }
}
