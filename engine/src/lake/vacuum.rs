//! Taking away files that no kept version has.
//!
//! Rows that were deleted or replaced lie in files of older versions until those go. Which versions stay is said first, by a commit:
//! from then on nobody can ask for an older one. Then the files go that no version has which stays, and those that no commit ever
//! had, as of loads that were cut off.
//!
//! A file is only taken away when it is older than what is kept, so that none is that a load just writes; where less than
//! [`ORPHANS_KEPT`] is kept, only those that the log knows are.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use deltalake_core::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::data_files::is_data_file;
use super::removal::decoded;
use super::{Author, CommitLabel, Head, Lake, Proposal, Table};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Version};
use datasets::DatasetName;

/// How long a file is left alone that no commit has: its commit may be on the way.
const ORPHANS_KEPT: TimeDelta = TimeDelta::hours(24);
/// By how much the clocks of this process and of the store may differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);
/// Entries of the log that are read at once.
const READING_MAX: usize = 16;
/// How often a path is decoded, until it stays as it is.
const ENCODINGS_MAX: usize = 4;

/// What went, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacuumed {
    /// The oldest version that can be read from now on.
    pub kept_from: Version,
    /// Files that went.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What is to stay.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// All versions that were the newest at some time since then.
    pub since: DateTime<Utc>,
    /// Those from this one on, whatever their time.
    pub from: Option<Version>,
}

impl Lake {
    /// Takes away files that only versions have which are not to be kept; nothing, if `is_dry`. Says what went, or would go.
    pub(crate) async fn vacuum(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        keep: Keep,
        is_dry: bool,
    ) -> Result<Vacuumed> {
        self.require_writer()?;
        // What is decided and not committed has files, too.
        self.finish_publications(&who.tenant).await?;
        let table = self.table(&who.tenant, dataset).await?;
        let doing = |e: Error| e.while_doing(format_args!("vacuum of dataset {dataset}"));
        let now = Utc::now();
        let shown = table.entry().version;
        let kept_from = self.kept_from(&table, keep, shown).await.map_err(doing)?;
        // Also what is committed and not shown yet is used, and what is decided and not committed.
        let newest = self.known_by_now(&table).await.map_err(doing)?;
        let decided = self.decided_files(&table).await.map_err(doing)?;
        let unused = table.unused(kept_from, newest, now, keep.since.min(now)).await;
        let mut unused = unused.map_err(doing)?;
        let decided: HashSet<String> = decided.iter().map(|path| plain(path)).collect();
        unused.retain(|(path, _)| !decided.contains(&plain(path.as_ref())));
        let vacuumed = |unused: &[(Path, u64)]| Vacuumed {
            kept_from,
            files: unused.len() as u64,
            bytes: unused.iter().map(|(_, bytes)| bytes).sum(),
        };
        if unused.is_empty() {
            // All that could be read can be read.
            let kept_from = table.oldest_version(shown).await.map_err(doing)?;
            return Ok(Vacuumed { kept_from, ..vacuumed(&unused) });
        }
        if is_dry {
            return Ok(vacuumed(&unused));
        }
        let label = CommitLabel { operation: "vacuum".to_owned(), ..CommitLabel::default() };
        let mut author = KeepFrom(kept_from);
        self.commit(&table, &who.subject, &label, &mut author).await?;
        // What others committed meanwhile may have files again that nobody had.
        let landed = self.known_by_now(&table).await.map_err(doing)?;
        let mut since = HashSet::new();
        table.files_of(newest.0 + 1..=landed.0, &mut since).await.map_err(doing)?;
        unused.retain(|(path, _)| !since.contains(&plain(path.as_ref())));
        let vacuumed = vacuumed(&unused);
        let paths = stream::iter(unused.into_iter().map(|(path, _)| Ok(path))).boxed();
        let mut deleted = table.store.delete_stream(paths);
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(doing(e.into())),
            }
        }
        tracing::info!(
            tenant = %who.tenant, %dataset, %kept_from, files = vacuumed.files,
            bytes = vacuumed.bytes, "files that no version has were taken away"
        );
        Ok(vacuumed)
    }

    /// The newest version, after a look at what others committed.
    async fn known_by_now(&self, table: &Arc<Table>) -> Result<Version> {
        let mut head = table.head().await;
        self.catch_up(table, &mut head).await?;
        head.require_writable()?;
        Ok(head.version())
    }

    /// The oldest version that stays.
    async fn kept_from(&self, table: &Table, keep: Keep, newest: Version) -> Result<Version> {
        let oldest = table.oldest_version(newest).await?;
        let since = match self.version_at(&table.tenant, &table.name, keep.since).await {
            Ok(version) => version,
            // It is younger than that.
            Err(error) if error.code() == Code::NotFound => oldest,
            Err(error) => return Err(error),
        };
        Ok(since.min(keep.from.unwrap_or(since)).max(oldest))
    }
}

impl Table {
    /// Files, with their bytes, that no version from `kept_from` on has.
    async fn unused(
        &self,
        kept_from: Version,
        newest: Version,
        now: DateTime<Utc>,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Path, u64)>> {
        let files = |state: DeltaTableState| -> HashSet<String> {
            state.log_data().iter().map(|file| plain(&file.path())).collect()
        };
        let newest_files = files(self.state(newest.0).await?);
        let mut used = files(self.state(kept_from.0).await?);
        used.extend(newest_files.iter().cloned());
        self.files_of(kept_from.0 + 1..=newest.0, &mut used).await?;
        let is_short = now - since < ORPHANS_KEPT;
        let mut known = HashSet::new();
        if is_short {
            // As far back as the log goes.
            self.files_of(0..=kept_from.0, &mut known).await?;
        }
        let listed: Vec<_> = self.store.list(None).try_collect().await?;
        let there: HashSet<String> =
            listed.iter().map(|object| plain(object.location.as_ref())).collect();
        // Where files are called otherwise than the log says, none is known to be unused.
        if let Some(missing) = newest_files.iter().find(|path| !there.contains(*path)) {
            return Err(Error::user(
                Code::StorageUnavailable,
                format!(
                    "expected all files of the newest version to be there, found {missing} missing; nothing was taken away: \
                     `colonnade doctor` says what is damaged"
                ),
            ));
        }
        let unused = listed.into_iter().filter(|object| {
            let path = plain(object.location.as_ref());
            let age = now - object.last_modified;
            let is_old = match known.contains(&path) {
                true => true,
                false => age > (now - since).max(ORPHANS_KEPT) + CLOCKS_DIFFER,
            };
            is_data_file(&object.location) && !used.contains(&path) && is_old
        });
        Ok(unused.map(|object| (object.location, object.size)).collect())
    }

    /// Adds the files that entries of the log add, those that are not there any more left out.
    async fn files_of(
        &self,
        versions: std::ops::RangeInclusive<u64>,
        files: &mut HashSet<String>,
    ) -> Result<()> {
        let mut entries =
            stream::iter(versions).map(|version| self.entry_at(version)).buffered(READING_MAX);
        while let Some(entry) = entries.try_next().await? {
            let Some(entry) = entry else { continue };
            files.extend(entry.adds.iter().map(|add| plain(&add.path)));
            files.extend(entry.added_paths.iter().map(|path| plain(path)));
        }
        Ok(())
    }
}

/// A path without any encoding: two that may mean one file are the same.
fn plain(path: &str) -> String {
    let mut path = path.to_owned();
    for _ in 0..ENCODINGS_MAX {
        let next = decoded(&path);
        if next == path {
            break;
        }
        path = next;
    }
    path
}

/// Says which versions stay.
struct KeepFrom(Version);

#[async_trait]
impl Author for KeepFrom {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        let is_said = super::schema::kept_from(&head.metadata) >= self.0.0;
        let proposal = Proposal { kept_from: Some(self.0.0), ..Proposal::without_rows() };
        Ok((!is_said).then_some(proposal))
    }
}
