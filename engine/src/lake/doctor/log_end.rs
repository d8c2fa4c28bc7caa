//! A log that ends before its end: a version is missing or can not be read, and all behind it with it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use datasets::{ColumnSpec, DatasetSpec};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::super::check::{LogFiles, settled};
use super::super::create::grown;
use super::super::data_files::is_data_file;
use super::super::head::Size;
use super::super::log::LogEntry;
use super::super::newest::MARK;
use super::super::table::{load_state, places};
use super::super::{CommitLabel, Head, Table, schema};
use super::again::Filler;
use super::{ASKING_MAX, Examination, FindingKind, PENDING, REPAIR, aside, entry_path, shown};
use crate::error::{Code, Error, Result};

/// Versions that may be missing of a log; where more are, a file stands there that is none of it.
const MISSING_MAX: u64 = 1_000;

/// Where a log ends before its end.
pub(super) struct Break {
    /// The first version that can not be read.
    pub(super) version: u64,
    reason: String,
    /// It, as far as it can be read, and those after it, each with whether it is whole.
    entries: Vec<(LogEntry, bool)>,
    last: u64,
}

impl Break {
    /// Whether no row was committed behind it.
    fn only_moves(&self) -> bool {
        self.entries.iter().all(|(entry, _)| entry.is_to_move()) && !self.is_count_lost()
    }

    /// Whether an entry is missing or torn, so that nobody knows how many rows were committed.
    fn is_count_lost(&self) -> bool {
        let missing = self.entries.len() as u64 <= self.last - self.version;
        missing || self.entries.iter().any(|(entry, is_whole)| !is_whole && !entry.is_to_move())
    }
}

impl Examination<'_> {
    /// The first version that can not be read. Beside a writer a listing may be half: what is found is looked at again.
    pub(super) async fn find_break(&self) -> Result<Option<Break>> {
        let found = settled(|| async {
            match self.look_for_break().await? {
                None => Ok(()),
                Some(found) => Err(Error::user(Code::StorageUnavailable, found.reason)),
            }
        });
        match found.await {
            Ok(()) => Ok(None),
            Err(_) => self.look_for_break().await,
        }
    }

    async fn look_for_break(&self) -> Result<Option<Break>> {
        let files = LogFiles::list(self.store.as_ref()).await?;
        let first = files.checkpoints.last().map_or(0, |checkpoint| checkpoint.saturating_add(1));
        let missing = files.first_missing();
        let reason = |version| format!("version {version} of the log is missing");
        let (mut broken, mut behind) = (None, Vec::new());
        let versions = files.entries.iter().copied().filter(|version| *version >= first);
        let read = |version| async move {
            Ok::<_, Error>((version, self.log.read_commit_entry(version).await?))
        };
        let mut entries = stream::iter(versions).map(read).buffered(ASKING_MAX);
        while let Some((version, bytes)) = entries.try_next().await? {
            // One without bytes is there, and can not be parsed.
            if let Some(missing) = missing.filter(|at| broken.is_none() && *at < version) {
                broken = Some((missing, reason(missing)));
            }
            let bytes = bytes.unwrap_or_default();
            if broken.is_none()
                && let Err(error) = LogEntry::parse(version, &bytes)
            {
                broken = Some((version, error.to_string()));
            }
            if broken.is_some() {
                let is_whole = LogEntry::parse(version, &bytes).is_ok();
                behind.push((LogEntry::salvaged(&bytes), is_whole));
            }
        }
        Ok(broken.map(|(version, reason)| {
            let last = files.last().unwrap_or(version).max(version);
            Break { version, reason, entries: behind, last }
        }))
    }

    /// Ends a log before its break, so that it can be read again.
    pub(super) async fn cut(&mut self, broken: &Break) -> Result<()> {
        let Break { version, reason, entries, last } = broken;
        let range = match version == last {
            true => format!("version {version}"),
            false => format!("versions {version} to {last}"),
        };
        let found = format!("{reason}; {range} can not be read in place");
        // What the entries say that are there is at least what was committed.
        self.is_count_known = self.is_count_known && !broken.is_count_lost();
        if *version == 0 {
            let remedy = "none: without its first version nothing says what the columns are";
            self.finds(FindingKind::Damage, found, remedy, false);
            return Ok(());
        }
        let missing = (last - version).saturating_sub(entries.len() as u64);
        if missing > MISSING_MAX {
            let remedy = format!(
                "none: more than {MISSING_MAX} versions are missing; if {} is none of this log, move it away, and look again",
                self.in_root(&entry_path(*last))
            );
            self.finds(FindingKind::Damage, found, remedy, false);
            return Ok(());
        }
        let before = load_state(&self.log, Some(version - 1)).await?;
        let head = Head::of_state(self.name, &before)?;
        let entries = || entries.iter().map(|(entry, _)| entry).filter(|entry| !entry.is_to_move());
        let rows: Option<u64> = entries().map(LogEntry::rows_added).sum();
        self.rows_committed = Size::of_state(&before).rows.zip(rows).map(|(a, b)| a + b);
        if let Err(error) = head.require_writable() {
            self.finds(FindingKind::Damage, found, format!("none: {error}"), false);
            return Ok(());
        }
        let spec = schema::spec_of(self.name, before.metadata())?;
        let reshaped = head.column_ids.reshaped;
        let fits = |entry: &LogEntry| entry.reshaped().is_none_or(|of| of == reshaped);
        let can_be_added = entries().all(|entry| entry.only_adds() && fits(entry))
            && grows(&spec, &broken.entries);
        let can_be_added = can_be_added && !self.was_decided_against(*last).await?;
        let table = self.table_with(head)?;
        let salvaged = broken.entries.iter().flat_map(|(entry, _)| entry.added_paths.iter());
        let unnamed = match broken.is_count_lost() {
            true => self.unnamed(&table, salvaged).await?,
            false => Vec::new(),
        };
        let known = |rows: Option<u64>| {
            rows.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string())
        };
        let kept = match can_be_added {
            true if broken.only_moves() => "it only put files together: no row is lost".to_owned(),
            true => {
                let gathered = self.gather(&table, self.behind(broken).await?).await?;
                let rows = gathered.again.rows();
                if !self.repair {
                    self.tells(&gathered);
                }
                match rows {
                    Some(0) => {
                        "no rows can be read there, and those that were committed then are lost"
                            .to_owned()
                    }
                    rows => format!(
                        "{} rows that can be read there are committed again, and what can not be read is lost; rows that \
                         version {version} replaced, if it did, come back",
                        known(rows)
                    ),
                }
            }
            false => format!(
                "later versions replaced rows or columns: the table is again as it was at {}; {} rows that they add are \
                 only there",
                version - 1,
                known(rows)
            ),
        };
        if self.repair {
            self.set_aside(*version, *last, can_be_added).await?;
        }
        let (verb, folder) = (if version == last { "is" } else { "are" }, self.damaged_folder());
        let remedy = format!("{range} {verb} set aside in {folder}; {kept}");
        self.finds(FindingKind::Damage, found, remedy, self.repair);
        self.finds_unnamed(&unnamed);
        Ok(())
    }

    fn finds_unnamed(&mut self, unnamed: &[String]) {
        if unnamed.is_empty() {
            return;
        }
        let found = format!(
            "{} not in any readable commit, and may hold rows that were lost: {}",
            match unnamed.len() {
                1 => "1 data file is".to_owned(),
                many => format!("{many} data files are"),
            },
            shown(unnamed)
        );
        let remedy = "none: copy each away and load it with `colonnade ingest SCRATCH FILE --create` to see its rows; add what \
                      is missing and will not be sent again by its producer";
        self.finds(FindingKind::Oddity, found, remedy, false);
    }

    /// Reports versions up to `committed` that were committed but are missing from the log of `table`. Returns the last version
    /// that [`fill`](Self::fill) has to skip.
    pub(super) async fn lost_end(&mut self, table: &Table, committed: u64) -> Result<Option<u64>> {
        let newest = table.entry().version.0;
        // An unfinished repair moved these aside; they are reported when their entries are committed again.
        let aside = self.set_aside_before().await?.iter().map(|(version, _)| *version).max();
        let first = aside.unwrap_or_default().max(newest).saturating_add(1);
        if committed < first {
            return Ok(Some(committed));
        }
        self.is_count_known = false;
        let (range, were) = match first == committed {
            true => (format!("version {committed}"), "was"),
            false => (format!("versions {first} to {committed}"), "were"),
        };
        let found = format!("{range} {were} committed, and the log ends at version {newest}");
        if committed - newest > MISSING_MAX {
            let remedy = format!(
                "none: more than {MISSING_MAX} versions are missing; put their entries back, or delete {} to accept the table as \
                 it is at version {newest}",
                self.in_root(&Path::from(MARK))
            );
            self.finds(FindingKind::Damage, found, remedy, false);
            return Ok(None);
        }
        let unnamed = self.unnamed(table, std::iter::empty()).await?;
        let remedy = format!(
            "put the missing entries back, if a copy exists; else the table stays as it is at version {newest}, what {range} \
             changed is lost, and the next commits follow version {committed}"
        );
        self.finds(FindingKind::Damage, found, remedy, self.repair);
        self.finds_unnamed(&unnamed);
        Ok(Some(committed))
    }

    /// The entries of a break that a repair adds again.
    async fn behind(&self, broken: &Break) -> Result<Vec<(LogEntry, bool)>> {
        let mut behind = Vec::new();
        for version in broken.version..=broken.last {
            if let Some(bytes) = self.contents(&entry_path(version)).await? {
                let is_whole = LogEntry::parse(version, &bytes).is_ok();
                behind.push((LogEntry::salvaged(&bytes), is_whole));
            }
        }
        Ok(behind)
    }

    /// A table that ends at `head`, which is not the newest.
    fn table_with(&self, head: Head) -> Result<Table> {
        let (root, tenant) = (self.lake.root(), &self.who.tenant);
        let places = places(root, tenant, self.name)?;
        Ok(Table::with_head(root, tenant, self.name, places, head))
    }

    /// Whole data files that no entry names, neither of the log nor of those behind its break.
    async fn unnamed<'a>(
        &self,
        table: &Table,
        behind: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<String>> {
        let version = table.entry().version.0;
        let mut named = self.logged(version).await?.named;
        let state = table.state(version).await?;
        named.extend(state.log_data().iter().map(|file| file.object_store_path()));
        named.extend(behind.filter_map(|path| Path::from_url_path(path).ok()));
        let objects: Vec<ObjectMeta> = self.store.list(None).try_collect().await?;
        let mut unnamed = Vec::new();
        for object in objects {
            let path = &object.location;
            if is_data_file(path)
                && !named.contains(path)
                && self.problem_of(path, object.size, None).await?.is_none()
            {
                unnamed.push(self.in_root(path));
            }
        }
        Ok(unnamed)
    }

    /// Whether a repair that was cut off had set later entries aside whose rows can not be added.
    async fn was_decided_against(&self, last: u64) -> Result<bool> {
        let before = self.set_aside_before().await?;
        let mut later = before.iter().filter(|(version, _)| *version > last).peekable();
        let is_unfinished = later.peek().is_some();
        Ok(is_unfinished && later.all(|(_, object)| !object.location.as_ref().ends_with(PENDING)))
    }

    async fn set_aside(&self, first: u64, last: u64, can_be_added: bool) -> Result<()> {
        let (at, end) = (Utc::now(), if can_be_added { PENDING } else { "" });
        let before = self.set_aside_before().await?;
        // The newest first: a table that ends early is a table, one with a hole is not.
        for version in (first..=last).rev() {
            let from = entry_path(version);
            let mut is_aside = false;
            for (_, object) in before.iter().filter(|(of, _)| *of == version) {
                is_aside |= self.is_same(&object.location, &from).await?;
            }
            match is_aside {
                // Copied before a repair was cut off: what was decided of it then stays so.
                true => self.store.delete(&from).await?,
                false => self.rename(&from, &aside(&format!("{version:020}"), at, end)).await?,
            }
        }
        Ok(())
    }

    async fn is_same(&self, a: &Path, b: &Path) -> Result<bool> {
        let (a, b) = (self.contents(a).await?, self.contents(b).await?);
        Ok(a.is_some() && a == b)
    }

    async fn contents(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Skips the version numbers that were moved aside, and those up to `lost`. A reader of one of those versions must never
    /// see other rows under its number.
    pub(super) async fn fill(&self, table: &Arc<Table>, lost: Option<u64>) -> Result<()> {
        let before = self.set_aside_before().await?;
        let highest = before.iter().map(|(version, _)| *version).max().max(lost);
        let Some(highest) = highest.filter(|_| self.repair) else { return Ok(()) };
        let (version, is_gone) = {
            let head = table.head().await;
            (head.version, schema::is_set_aside(&head.metadata, head.version))
        };
        if version > highest || (version == highest && !self.changed && !is_gone) {
            return Ok(());
        }
        let missing = (highest - version).saturating_sub(before.len() as u64);
        if missing > MISSING_MAX {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "{} has an entry of version {highest}, and more than {MISSING_MAX} before it are missing; move it away, \
                     and look again",
                    self.damaged_folder()
                ),
            ));
        }
        let label = CommitLabel { operation: REPAIR.to_owned(), ..CommitLabel::default() };
        for next in version + 1..=highest + 1 {
            let range = (next == version + 1 && next <= highest).then_some((next, highest));
            let mut filler = Filler { set_aside: range };
            self.lake.commit(table, &self.who.subject, &label, &mut filler).await?;
        }
        Ok(())
    }
}

/// Whether columns come at most, and none goes or changes.
fn grows(spec: &DatasetSpec, entries: &[(LogEntry, bool)]) -> bool {
    let mut spec = spec.clone();
    entries.iter().filter_map(|(entry, _)| entry.metadata.as_ref()).all(|metadata| {
        let Ok(next) = schema::spec_of(&spec.name, metadata) else { return false };
        let is_kept = |column: &ColumnSpec| next.column(&column.name).is_some();
        let is_alike = next.partition_by == spec.partition_by && spec.columns.iter().all(is_kept);
        match grown(&spec, &next.columns) {
            Ok(grown) if is_alike => spec = grown.unwrap_or_else(|| spec.clone()),
            _ => return false,
        }
        true
    })
}
