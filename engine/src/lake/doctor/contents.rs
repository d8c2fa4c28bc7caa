//! Data files: whether those that the log names are there and can be read, and which it does not name.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use deltalake_core::kernel::LogicalFileView;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaDataReader;

use super::super::Table;
use super::super::data_files::is_data_file;
use super::super::head::Size;
use super::super::write::require_same_paths;
use super::again::Again;
use super::{ASKING_MAX, Examination, FindingKind, Logged, UNCOMMITTED_FOLDER, counted, shown};
use crate::error::Result;

/// Least age of a file that no commit names before it is moved away: another writer may be about to commit it.
const WASTE_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How a Parquet file begins and ends.
const PARQUET_MARK: &[u8] = b"PAR1";
/// Bytes of the mark and of the length of the footer before it.
const PARQUET_END_BYTES: u64 = 8;
/// Largest file on a disk that is read as a whole; of a larger one, and of those of an object store, where each byte costs, the
/// footer is.
const CONTENTS_MAX_BYTES: u64 = 64 << 20;
/// Rows that are decoded at once.
const DECODED_ROWS: usize = 1_024;

/// What was found of a data file.
enum State {
    Sound,
    /// It can be read, and has another size than the log says.
    Odd(u64),
    /// It can not be read.
    Lost(String),
}

impl Examination<'_> {
    /// Data files: those that the log names, and those that it does not.
    pub(super) async fn files(&mut self, table: &Arc<Table>, logged: Logged) -> Result<()> {
        let state = table.state(table.entry().version.0).await?;
        let objects = self.store.list(None).map_ok(|object| (object.location.clone(), object));
        let there: BTreeMap<Path, ObjectMeta> = objects.try_collect().await?;
        let (mut lost, mut odd) = (Vec::new(), Vec::new());
        let (mut removes, mut removed) = (Vec::new(), Size { rows: Some(0), ..Size::default() });
        let mut named = logged.named;
        // One that lies elsewhere is not ours to judge.
        let mut files: Vec<LogicalFileView> = state.log_data().iter().collect();
        files.retain(|file| !file.path().contains("://"));
        named.extend(files.iter().map(LogicalFileView::object_store_path));
        for file in &files {
            let state = self.look_at(file, &there).await?;
            let path = file.object_store_path();
            match state {
                State::Sound => {}
                State::Odd(size) => odd.push(format!("{path} has {size} bytes of {}", file.size())),
                State::Lost(problem) => {
                    let of = Size::of_file(file);
                    let rows = of.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
                    lost.push(format!("{path} ({rows} rows) {problem}"));
                    removes.push(file.remove_action(true));
                    removed = removed.plus(of);
                }
            }
        }
        let committed = Size::of_state(&state).rows;
        self.rows_committed = self.rows_committed.or(committed);
        self.rows = committed.zip(removed.rows).map(|(all, lost)| all.saturating_sub(lost));
        if !odd.is_empty() {
            let found = format!(
                "{} of another size than the log says: {}",
                counted(odd.len(), "data file"),
                shown(&odd)
            );
            self.finds(FindingKind::Oddity, found, "none is needed", false);
        }
        if !lost.is_empty() {
            require_same_paths(&state, &removes)?;
            let rows = removed.rows.map_or_else(|| "their".to_owned(), |rows| rows.to_string());
            let found = format!("damaged: {}: {}", counted(lost.len(), "data file"), shown(&lost));
            if self.repair {
                self.commit(table, Again::without(removes, removed)).await?;
            }
            let remedy = format!(
                "they are taken out of the table; {rows} rows are lost, but for those that a version before these files \
                 has in others (`--as-of`)"
            );
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        let is_sure = logged.is_whole && table.head().await.require_writable().is_ok();
        let is_damaged = self.findings.iter().any(|finding| finding.kind == FindingKind::Damage);
        if is_sure && !is_damaged {
            self.waste(&there, &named).await?;
        }
        Ok(())
    }

    async fn look_at(
        &self,
        file: &LogicalFileView,
        there: &BTreeMap<Path, ObjectMeta>,
    ) -> Result<State> {
        let path = file.object_store_path();
        let stated = u64::try_from(file.size()).unwrap_or_default();
        let size = match there.get(&path) {
            Some(object) => object.size,
            // It may have come since the listing.
            None => match self.size_of(&path).await? {
                Some(size) => size,
                None => return Ok(State::Lost("is not there".to_owned())),
            },
        };
        let rows = file.num_records().map(|rows| rows as u64);
        Ok(match (self.problem_of(&path, size, rows).await?, size == stated) {
            (Some(problem), true) => State::Lost(problem),
            (Some(_), false) => State::Lost(format!("is cut off: {size} bytes of {stated}")),
            (None, true) => State::Sound,
            (None, false) => State::Odd(size),
        })
    }

    /// What is wrong with a Parquet file, which should have so many rows.
    pub(super) async fn problem_of(
        &self,
        path: &Path,
        size: u64,
        rows: Option<u64>,
    ) -> Result<Option<String>> {
        if size < PARQUET_END_BYTES + PARQUET_MARK.len() as u64 {
            return Ok(Some(format!("has {size} bytes, and no Parquet file has so few")));
        }
        let is_whole = size <= CONTENTS_MAX_BYTES && !self.lake.root().is_shared();
        let first = match is_whole {
            true => 0,
            false => {
                let end = self.store.get_range(path, size - PARQUET_END_BYTES..size).await?;
                let footer = footer_bytes(&end).filter(|bytes| *bytes + PARQUET_END_BYTES <= size);
                let Some(footer) = footer else {
                    return Ok(Some("does not end as a Parquet file does".to_owned()));
                };
                size - PARQUET_END_BYTES - footer
            }
        };
        let bytes = self.store.get_range(path, first..size).await?;
        let looked = tokio::task::spawn_blocking(move || match is_whole {
            true => rows_in(bytes),
            false => rows_of_footer(&bytes),
        });
        Ok(match looked.await {
            Ok(Ok(found)) if rows.is_none_or(|rows| rows == found) => None,
            Ok(Ok(found)) => {
                let rows = rows.unwrap_or_default();
                Some(format!("has {found} rows; the log says {rows}"))
            }
            Ok(Err(error)) => {
                Some(format!("can not be read: {}", crate::error::scrub(&error.to_string())))
            }
            // A decoder that panics on it is all that is there to read it by.
            Err(_) => Some("can not be read: it stops its decoder".to_owned()),
        })
    }

    /// Files that no version which can be asked for has.
    async fn waste(
        &mut self,
        there: &BTreeMap<Path, ObjectMeta>,
        named: &HashSet<Path>,
    ) -> Result<()> {
        let is_waste = |object: &&ObjectMeta| {
            is_data_file(&object.location) && !named.contains(&object.location)
        };
        let waste: Vec<&ObjectMeta> = there.values().filter(is_waste).collect();
        if waste.is_empty() {
            return Ok(());
        }
        let bytes: u64 = waste.iter().map(|object| object.size).sum();
        let found = format!("in no commit: {} of {bytes} bytes", counted(waste.len(), "file"));
        if !self.set_aside_before().await?.is_empty() {
            let remedy = "none: entries of the log were set aside here, and it may be their rows that these hold";
            self.finds(FindingKind::Waste, found, remedy, false);
            return Ok(());
        }
        let old = Utc::now() - WASTE_AGE_MIN;
        let due = waste.iter().filter(|object| object.last_modified < old);
        let due: Vec<Path> = due.map(|object| object.location.clone()).collect();
        let remedy = match due.len() {
            0 => {
                "none yet: they are younger than a day, and may be about to be committed".to_owned()
            }
            due => format!(
                "{due} that are older than a day are moved to {}: delete that when no rows are missed",
                self.in_root(&Path::from(UNCOMMITTED_FOLDER))
            ),
        };
        let is_done = self.repair && !due.is_empty();
        if is_done {
            // Not deleted: where the newest entry of a log was lost without a trace, these are its rows.
            let this = &*self;
            let moved = stream::iter(due).map(|from| async move {
                let to = Path::from(UNCOMMITTED_FOLDER).parts().chain(from.parts()).collect();
                this.rename(&from, &to).await
            });
            moved.buffer_unordered(ASKING_MAX).try_collect::<()>().await?;
        }
        self.finds(FindingKind::Waste, found, remedy, is_done);
        Ok(())
    }
}

/// Bytes of the footer of a Parquet file that ends like this; `None` where no such file does.
fn footer_bytes(end: &[u8]) -> Option<u64> {
    let length = end.strip_suffix(PARQUET_MARK)?;
    Some(u64::from(u32::from_le_bytes(length.try_into().ok()?)))
}

/// Rows of a file, all of which are decoded.
fn rows_in(file: Bytes) -> parquet::errors::Result<u64> {
    let rows =
        ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(DECODED_ROWS).build()?;
    let mut count = 0;
    for batch in rows {
        count += batch?.num_rows() as u64;
    }
    Ok(count)
}

/// Rows of a file as its footer says, which the end of its bytes begins with.
fn rows_of_footer(end: &Bytes) -> parquet::errors::Result<u64> {
    let footer = end.slice(..end.len() - PARQUET_END_BYTES as usize);
    let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
    Ok(u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default())
}
