//! Rows of a table with the files that they lie in.

use std::sync::Arc;

use datafusion::dataframe::DataFrame;

use super::Session;
use super::batches::frame_of;
use super::sparing::Sparing;
use crate::error::Result;
use crate::lake::Snapshot;

/// The rows of `snapshot`, or of some of its files, as they are stored, and beside them in `file_column` what their files are called.
pub(crate) fn rows_of(
    session: &Session,
    snapshot: &Snapshot,
    files: Option<Vec<String>>,
    file_column: Option<&str>,
) -> Result<DataFrame> {
    let scan = Arc::new(Sparing(Arc::new(snapshot.scan_with(files, file_column)?)));
    let frame = session.context().read_table(scan)?;
    Ok(frame_of(snapshot.entry.row_bytes, frame))
}
