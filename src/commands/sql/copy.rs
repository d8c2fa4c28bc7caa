//! `COPY … TO 'file'`: rows of a query as a file. It is there whole, or not at all.

use std::io::BufWriter;
use std::path::Path;

use engine::{Code, DataFrame, Encoder, Error, ExportOptions, Form, Packing, Result, Session};
use futures::StreamExt as _;
use tempfile::NamedTempFile;

use crate::output::{Output, count};

/// How a file is written: as it was said, or as its name ends. `.gz` behind the ending of a text packs it.
fn options_of(path: &Path, said: Option<&str>) -> Result<ExportOptions> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let (name, packing) = match name.strip_suffix(".gz") {
        Some(name) => (name, Some(Packing::Gzip)),
        None => (name.as_str(), None),
    };
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    let said = said.map(str::to_ascii_lowercase);
    let form = match said.as_deref().or(ending).unwrap_or_default() {
        "parquet" => Form::Parquet,
        "csv" => Form::Csv,
        "ndjson" | "jsonl" | "json" => Form::Ndjson,
        "arrow" | "feather" | "ipc" => Form::ArrowFile,
        _ => {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "COPY … TO '{}': expected a name that ends in .parquet, .csv, .ndjson or .arrow, or STORED AS one of these",
                    path.display()
                ),
            ));
        }
    };
    let options = ExportOptions::of(form);
    match (form, packing) {
        (_, None) => Ok(options),
        (Form::Csv | Form::Ndjson, Some(packing)) => Ok(ExportOptions { packing, ..options }),
        (_, Some(_)) => Err(Error::user(
            Code::BadInput,
            format!(
                "COPY … TO '{}': expected .gz behind .csv or .ndjson only; the other forms are packed within",
                path.display()
            ),
        )),
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
    let options = options_of(path, said)?;
    session.require_outside(to).map_err(|error| error.while_doing("COPY"))?;
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
    let opened = BufWriter::new(file.reopen().map_err(failed)?);
    let mut encoder = Encoder::new(opened, &stream.schema(), &options)?;
    while let Some(batch) = stream.next().await {
        // Nobody can leave a file.
        let _ = encoder.write(&batch?)?;
    }
    let rows = encoder.rows();
    let _ = encoder.finish()?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    output.note(&format!("{} rows were written to {to}", count(rows)));
    Ok(rows)
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
