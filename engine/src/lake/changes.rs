//! What changed between two versions, by files.
//!
//! Where commits only added, their log entries name the new files and nothing else need be read. Where
//! one removed, the two file lists are compared: a file in both did not change; rows in a removed and in
//! an added file cancel, which the session sees to.

use std::collections::HashSet;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datasets::DatasetName;
use deltalake_core::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};

use super::log::LogEntry;
use super::{Lake, Snapshot, Table};
use crate::error::{Code, Error, Result};
use crate::identity::{RunId, TenantId, Version};

/// Log entries read at once.
const READING_MAX: usize = 16;
/// Log entries that are read to see whether rows only moved.
const MOVES_MAX: u64 = 1_000;

/// Files that changed from one version to another.
#[derive(Debug)]
pub(crate) struct FileChanges {
    /// The version at the end, and those of its files that the beginning has not.
    pub(crate) to: Snapshot,
    pub(crate) added: Vec<String>,
    /// The version at the beginning, and those of its files that the end has not; when there are any.
    pub(crate) removed: Option<(Snapshot, Vec<String>)>,
    /// The runs that committed between, oldest first, each once.
    pub(crate) run_ids: Vec<RunId>,
    /// Commits between, without those that only put files together.
    pub(crate) commits: u64,
}

impl Lake {
    /// The files that changed after `from`, up to and with `to`.
    pub(crate) async fn file_changes(
        &self,
        tenant: &TenantId,
        dataset: &DatasetName,
        from: Version,
        to: Version,
    ) -> Result<FileChanges> {
        if from > to {
            return Err(Error::user(
                Code::BadInput,
                format!("changes of {dataset} from version {from} to {to}: expected from ≤ to"),
            ));
        }
        let table = self.table(tenant, dataset).await?;
        self.require_version(&table, to).await?;
        let from = match self.require_version(&table, from).await {
            Ok(()) => from,
            Err(error) if error.code() == Code::NotFound && from < to => {
                kept_with_the_same_rows(&table, from, to).await?.ok_or(error)?
            }
            Err(error) => return Err(error),
        };

        let mut run_ids = Vec::new();
        let (mut added, mut added_lines) = (Vec::new(), Vec::new());
        let (mut only_added, mut moves) = (true, 0);
        // Where the rows are those of `from`, and those of `to`, however they lie.
        let (mut begin, mut end, mut at) = (from, from, from.0);
        let mut entries = stream::iter(from.0 + 1..=to.0)
            .map(|version| table.entry_at(version))
            .buffered(READING_MAX);
        while let Some(entry) = entries.try_next().await? {
            at += 1;
            if entry.as_ref().is_some_and(LogEntry::only_moves) {
                moves += 1;
                if end == begin {
                    (begin, end) = (Version(at), Version(at));
                }
                continue;
            }
            end = Version(at);
            // An entry that was cleaned up: the file lists tell.
            let Some(entry) = entry else {
                only_added = false;
                continue;
            };
            if let Some(run_id) = entry.run_id()
                && !run_ids.contains(&run_id)
            {
                run_ids.push(run_id);
            }
            // A file that is added again without a change of data was there before.
            only_added &= entry.removes.is_empty() && entry.adds.iter().all(|a| a.data_change);
            added.extend(entry.added_paths);
            added_lines.extend(entry.added_lines);
        }
        let commits = to.0 - from.0 - moves;
        // A path that is there twice was added anew, and then its last action counts.
        let distinct = added.iter().collect::<HashSet<_>>().len() == added.len();
        if only_added
            && distinct
            && let Some(to) = table.excerpt(to, &added_lines).await?
        {
            return Ok(FileChanges { to, added, removed: None, run_ids, commits });
        }
        let to_snapshot = table.snapshot(if moves == 0 { to } else { end }).await?;
        if only_added && moves == 0 {
            return Ok(FileChanges { to: to_snapshot, added, removed: None, run_ids, commits });
        }

        let from_snapshot = table.snapshot(begin).await?;
        let (before, after) = (files_of(&from_snapshot.state)?, files_of(&to_snapshot.state)?);
        let paths = |files: &HashSet<FileKey>, other: &HashSet<FileKey>| -> Vec<String> {
            let mut paths: Vec<_> = files.difference(other).map(|f| f.path.clone()).collect();
            paths.sort_unstable();
            paths
        };
        let (added, removed) = (paths(&after, &before), paths(&before, &after));
        let removed = (!removed.is_empty()).then_some((from_snapshot, removed));
        Ok(FileChanges { to: to_snapshot, added, removed, run_ids, commits })
    }
}

/// The oldest version that is kept, up to `to`, where it has the rows of `from`, which is kept no more: if all commits between them did
/// nothing but put files together.
async fn kept_with_the_same_rows(
    table: &Table,
    from: Version,
    to: Version,
) -> Result<Option<Version>> {
    let oldest = table.find_oldest_version(table.entry().version).await?;
    if oldest > to || oldest.0.saturating_sub(from.0) > MOVES_MAX {
        return Ok(None);
    }
    let mut entries = stream::iter(from.0 + 1..=oldest.0)
        .map(|version| table.entry_at(version))
        .buffered(READING_MAX);
    while let Some(entry) = entries.try_next().await? {
        if !entry.as_ref().is_some_and(LogEntry::only_moves) {
            return Ok(None);
        }
    }
    Ok(Some(oldest))
}

/// A file with the rows that a deletion vector leaves of it.
#[derive(PartialEq, Eq, Hash)]
struct FileKey {
    /// Encoded as its writer did: that is what a scan knows it by.
    path: String,
    deletions: String,
}

fn files_of(state: &DeltaTableState) -> Result<HashSet<FileKey>> {
    let mut files = HashSet::new();
    for batch in state.add_actions_batches(true)? {
        let options = FormatOptions::default();
        let formats = |is: &dyn Fn(&str) -> bool| -> Result<Vec<ArrayFormatter<'_>>> {
            let columns = batch.schema_ref().fields().iter().zip(batch.columns());
            columns
                .filter(|(field, _)| is(field.name()))
                .map(|(_, column)| Ok(ArrayFormatter::try_new(column.as_ref(), &options)?))
                .collect()
        };
        let paths = formats(&|name| name == "path")?;
        let deletions = formats(&|name| name.starts_with("deletion_vector."))?;
        for row in 0..batch.num_rows() {
            let text = |columns: &[ArrayFormatter<'_>]| -> String {
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            files.insert(FileKey { path: text(&paths), deletions: text(&deletions) });
        }
    }
    Ok(files)
}
