//! `COPY … TO 'file'`: rows of a query as a file. It is there whole, or not at all.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use engine::{Code, DataFrame, Error, Result, Session, with_json_texts};
use futures::StreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;

use crate::output::{Output, count};

/// What a file's rows are written as.
#[derive(Clone, Copy)]
enum Form {
    Parquet,
    Csv,
    Ndjson,
    Arrow,
}

impl Form {
    /// As it was said, or as the file's name ends.
    fn of(path: &Path, said: Option<&str>) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = said.or(ending).unwrap_or_default().to_ascii_lowercase();
        Ok(match name.as_str() {
            "parquet" => Self::Parquet,
            "csv" => Self::Csv,
            "ndjson" | "jsonl" | "json" => Self::Ndjson,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            _ => {
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "COPY … TO '{}': expected a name that ends in .parquet, .csv, .ndjson or .arrow, or STORED AS one of these",
                        path.display()
                    ),
                ));
            }
        })
    }
}

/// Writes rows to a file, and says how many there were.
pub(super) async fn copy(
    session: &Session,
    rows: DataFrame,
    to: &str,
    said: Option<&str>,
    output: &Output,
) -> Result<u64> {
    let path = Path::new(to);
    let form = Form::of(path, said)?;
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let says = format!("COPY … TO '{to}': there is a file already; it stays as it is");
            Error::user(Code::Conflict, says)
        }
        std::io::ErrorKind::NotFound => {
            Error::user(Code::NotFound, format!("COPY … TO '{to}': there is no such folder"))
        }
        _ => Error::environment(Code::StorageUnavailable, format!("write {to}"), e),
    };
    if path.exists() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = temporary(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    let mut stream = session.stream(rows).await?;
    let mut writer = FileWriter::new(form, file.reopen().map_err(failed)?, stream.schema())?;
    let mut written = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?.sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    output.note(&format!("{} rows were written to {to}", count(written)));
    Ok(written)
}

/// A file that has the permissions of any that is made: a temporary one is its owner's alone otherwise.
fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder)
}

/// Rows in one of the forms.
enum FileWriter {
    Parquet(Box<ArrowWriter<File>>),
    Csv(Box<arrow::csv::Writer<BufWriter<File>>>, SchemaRef, bool),
    Ndjson(arrow::json::LineDelimitedWriter<BufWriter<File>>),
    Arrow(Box<arrow::ipc::writer::FileWriter<BufWriter<File>>>),
}

impl FileWriter {
    fn new(form: Form, file: File, schema: SchemaRef) -> Result<Self> {
        Ok(match form {
            Form::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(Error::from)?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                Self::Parquet(Box::new(ArrowWriter::try_new(file, schema, Some(properties))?))
            }
            Form::Csv => {
                let writer = arrow::csv::WriterBuilder::new().with_header(true);
                Self::Csv(Box::new(writer.build(BufWriter::new(file))), schema, false)
            }
            Form::Ndjson => {
                let writer = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
                Self::Ndjson(writer.build(BufWriter::new(file)))
            }
            Form::Arrow => Self::Arrow(Box::new(arrow::ipc::writer::FileWriter::try_new(
                BufWriter::new(file),
                &schema,
            )?)),
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.write(batch)?,
            Self::Csv(writer, _, has_header) => {
                *has_header = true;
                writer.write(&with_json_texts(batch)?)?;
            }
            Self::Ndjson(writer) => writer.write(batch)?,
            Self::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<File> {
        if let Self::Csv(_, schema, false) = &self {
            // No row came: the header still says which columns there are.
            let none = RecordBatch::new_empty(schema.clone());
            self.write(&none)?;
        }
        let flushed = |file: BufWriter<File>| {
            file.into_inner().map_err(|e| {
                Error::environment(Code::StorageUnavailable, "write a file", e.into_error())
            })
        };
        match self {
            Self::Parquet(writer) => Ok(writer.into_inner()?),
            Self::Csv(writer, ..) => flushed(writer.into_inner()),
            Self::Ndjson(mut writer) => {
                writer.finish()?;
                flushed(writer.into_inner())
            }
            Self::Arrow(mut writer) => {
                writer.finish()?;
                flushed(writer.into_inner()?)
            }
        }
    }
}
