//! `COPY … TO 'file'`: rows of a query as a file. It is there whole, or not at all.

use std::path::Path;

use engine::{Code, DataFrame, Error, Result, Session};
use futures::StreamExt as _;
use tempfile::NamedTempFile;

use super::writers::Form;
use crate::output::{Output, count};

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
    let mut writer = form.writer(file.reopen().map_err(failed)?, stream.schema())?;
    let mut written = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    writer.finish()?;
    file.as_file().sync_all().map_err(failed)?;
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
