//! A log that ends before its end: a version is missing or can not be read, and all behind it with it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use datasets::{ColumnSpec, DatasetSpec};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::check::{LogFiles, settled};
use super::super::create::grown;
use super::super::head::Size;
use super::super::log::{LogEntry, rows_of};
use super::super::table::load_state;
use super::super::{CommitLabel, Head, Table, schema};
use super::again::Filler;
use super::{ASKING_MAX, DAMAGED_FOLDER, Examination, FindingKind, PENDING, aside, entry_path};
use crate::error::{Code, Error, Result};

/// Where a log ends before its end.
pub(super) struct Break {
    /// The first version that can not be read.
    pub(super) version: u64,
    reason: String,
    /// It, as far as it can be read, and those after it.
    entries: Vec<LogEntry>,
    last: u64,
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
        let first = files.checkpoints.last().map_or(0, |checkpoint| checkpoint + 1);
        let missing = files.first_missing();
        let reason = |version| format!("version {version} of the log is missing");
        let (mut broken, mut behind) = (None, Vec::new());
        let versions = files.entries.iter().copied().filter(|version| *version >= first);
        let read = |version| async move {
            Ok::<_, Error>((version, self.log.read_commit_entry(version).await?))
        };
        let mut entries = stream::iter(versions).map(read).buffered(ASKING_MAX);
        while let Some((version, bytes)) = entries.try_next().await? {
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
                behind.push(LogEntry::salvaged(&bytes));
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
        let found = format!("{reason}; {range} can not be read");
        if *version == 0 {
            let remedy = "none: without its first version nothing says what the columns are";
            self.finds(FindingKind::Damage, found, remedy, false);
            return Ok(());
        }
        let before = load_state(&self.log, Some(version - 1)).await?;
        let adds = || entries.iter().flat_map(|entry| &entry.adds);
        let rows: Option<u64> = adds().map(rows_of).sum();
        self.rows_committed = Size::of_state(&before).rows.zip(rows).map(|(a, b)| a + b);
        if let Err(error) = Head::of_state(self.name, &before)?.require_writable() {
            self.finds(FindingKind::Damage, found, format!("none: {error}"), false);
            return Ok(());
        }
        let spec = schema::spec_of(self.name, before.metadata())?;
        let can_be_added = entries.iter().all(LogEntry::only_adds) && grows(&spec, entries);
        let can_be_added = can_be_added && !self.was_decided_against(*last).await?;
        let rows = rows.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string());
        let kept = match (adds().count(), can_be_added) {
            (0, true) => "the rows that were committed then are lost".to_owned(),
            (_, true) => format!(
                "{rows} rows that can be read there are committed again, and what can not be read is lost; rows that version \
                 {version} replaced, if it did, come back"
            ),
            (_, false) => format!(
                "later versions replaced rows or columns: the table is again as it was at {}; {rows} rows that they add are \
                 only there",
                version - 1
            ),
        };
        if self.repair {
            self.set_aside(*version, *last, can_be_added).await?;
        }
        let remedy = format!("{range} is set aside in {DAMAGED_FOLDER}; {kept}");
        self.finds(FindingKind::Damage, found, remedy, self.repair);
        Ok(())
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

    /// Goes on behind the versions that were set aside: whoever has read one of them must not see other rows under its number.
    pub(super) async fn fill(&self, table: &Arc<Table>) -> Result<()> {
        let highest = self.set_aside_before().await?.iter().map(|(version, _)| *version).max();
        let Some(highest) = highest.filter(|_| self.repair) else { return Ok(()) };
        let (version, is_gone) = {
            let head = table.head().await;
            (head.version, schema::is_set_aside(&head.metadata, head.version))
        };
        if version > highest || (version == highest && !self.changed && !is_gone) {
            return Ok(());
        }
        let label = CommitLabel { operation: "repair".to_owned(), ..CommitLabel::default() };
        for next in version + 1..=highest + 1 {
            let range = (next == version + 1 && next <= highest).then_some((next, highest));
            let mut filler = Filler { set_aside: range };
            self.lake.commit(table, &self.who.subject, &label, &mut filler).await?;
        }
        Ok(())
    }
}

/// Whether columns come at most, and none goes or changes.
fn grows(spec: &DatasetSpec, entries: &[LogEntry]) -> bool {
    let mut spec = spec.clone();
    entries.iter().filter_map(|entry| entry.metadata.as_ref()).all(|metadata| {
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
