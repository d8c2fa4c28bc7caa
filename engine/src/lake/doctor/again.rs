//! Rows of entries that were set aside, committed again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use datasets::ColumnSpec;
use deltalake_core::kernel::{Add, Remove};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::super::head::Size;
use super::super::log::{LogEntry, rows_of};
use super::super::{
    Author, CommitLabel, Head, Proposal, Table, TakenRequest, first_of, schema, width,
};
use super::{DAMAGED_FOLDER, Examination, FindingKind, PENDING, shown};
use crate::bus::CommitKind;
use crate::error::Result;

impl Examination<'_> {
    /// Commits the rows again of entries that were set aside, now or when a repair was cut off.
    pub(super) async fn restore(&mut self, table: &Arc<Table>) -> Result<()> {
        let folder = Path::from(DAMAGED_FOLDER);
        let objects: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await?;
        let mut pending: Vec<Path> = objects.into_iter().map(|object| object.location).collect();
        pending.retain(|path| path.as_ref().ends_with(PENDING));
        pending.sort();
        if pending.is_empty() {
            return Ok(());
        }
        let (mut again, lost) = self.gather(table, &pending).await?;
        let files = again.adds.len();
        if !self.changed {
            let found = format!(
                "a repair was cut off: {files} files of entries that were set aside are not in the table"
            );
            self.finds(FindingKind::Damage, found, "their rows are committed again", self.repair);
        }
        if !lost.is_empty() {
            let found = format!("rows of requests that were taken are lost: {}", shown(&lost));
            let remedy =
                "their numbers are not taken for done by this; their producers may send them again";
            self.finds(FindingKind::Damage, found, remedy, self.repair);
        }
        if self.repair {
            let columns = std::mem::take(&mut again.columns);
            self.lake.evolve(self.who, table, columns).await?;
            if files > 0 || !again.sequences.is_empty() {
                self.commit(table, again).await?;
            }
            for path in &pending {
                let done = path.as_ref().trim_end_matches(PENDING);
                self.rename(path, &Path::from(done)).await?;
            }
        }
        Ok(())
    }

    /// What entries hold that were set aside, and the requests of which nothing is there any more.
    async fn gather(&self, table: &Table, pending: &[Path]) -> Result<(Again, Vec<String>)> {
        let named = self.logged().await?.named;
        let state = table.state(table.entry().version.0).await?;
        let mut known: HashSet<Path> =
            state.log_data().iter().map(|file| file.object_store_path()).collect();
        // Committed again before the repair was cut off.
        known.extend(named);
        let (mut again, mut lost) = (Again::default(), Vec::new());
        for path in pending {
            let bytes = self.store.get(path).await?.bytes().await?;
            let mut entry = LogEntry::salvaged(&bytes);
            let is_whole = LogEntry::parse(0, &bytes).is_ok();
            let mut came_back = is_whole && entry.adds.is_empty();
            for add in std::mem::take(&mut entry.adds) {
                let file = Path::from_url_path(&add.path).map_err(object_store::Error::from)?;
                if known.contains(&file) {
                    came_back = true;
                } else if self.size_of(&file).await?.is_some() {
                    came_back = true;
                    known.insert(file);
                    again.adds.push(add);
                }
            }
            if let Some(metadata) = &entry.metadata {
                again.row_bytes = again.row_bytes.max(width::stated(metadata));
                again.columns.extend(schema::spec_of(self.name, metadata)?.columns);
            }
            match came_back {
                true => again.take(entry),
                false => lost.extend(
                    entry.requests.iter().map(|of| format!("{:?} {}", of.producer, of.sequence)),
                ),
            }
        }
        Ok((again, lost))
    }

    pub(super) async fn commit(&self, table: &Arc<Table>, mut author: Again) -> Result<()> {
        let label = CommitLabel { operation: "repair".to_owned(), ..CommitLabel::default() };
        self.lake.commit(table, &self.who.subject, &label, &mut author).await.map(drop)
    }
}

/// The author of a repair.
#[derive(Default)]
pub(super) struct Again {
    adds: Vec<Add>,
    row_bytes: u64,
    columns: Vec<ColumnSpec>,
    removes: Vec<Remove>,
    removed: Size,
    /// Of the producers whose rows are committed again.
    sequences: HashMap<String, i64>,
    requests: Vec<TakenRequest>,
}

impl Again {
    /// One that takes files out of the table.
    pub(super) fn without(removes: Vec<Remove>, removed: Size) -> Self {
        Self { removes, removed, ..Self::default() }
    }

    /// Where an entry is torn its requests are at hand and the rest may not be. What it holds of them is not taken twice.
    fn take(&mut self, entry: LogEntry) {
        let of_requests = entry.requests.iter().map(|of| (of.producer.clone(), of.sequence));
        for (producer, sequence) in entry.txns.into_iter().chain(of_requests) {
            let last = self.sequences.entry(producer).or_insert(sequence);
            *last = (*last).max(sequence);
        }
        self.requests.extend(entry.requests);
    }
}

/// The author of a version that takes the place of one that was set aside, and has no rows.
pub(super) struct Filler {
    /// The first and the last version that can not be asked for any more.
    pub(super) set_aside: Option<(u64, u64)>,
}

#[async_trait]
impl Author for Filler {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        let none = Size { rows: Some(0), ..Size::default() };
        Ok(Some(Proposal {
            kind: Some(CommitKind::Schema),
            added: none,
            removed: none,
            set_aside: self.set_aside,
            ..Proposal::default()
        }))
    }
}

#[async_trait]
impl Author for Again {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        for TakenRequest { producer, sequence, .. } in &self.requests {
            let first = first_of(producer);
            if head.last_sequence(table, producer).await?.is_none() {
                let known = self.sequences.entry(first).or_insert(*sequence);
                *known = (*known).min(*sequence);
            }
        }
        let rows: Option<u64> = self.adds.iter().map(rows_of).sum();
        let bytes = self.adds.iter().map(|add| u64::try_from(add.size).unwrap_or_default()).sum();
        let kind = match self.removes.is_empty() {
            true => CommitKind::Append,
            false => CommitKind::Overwrite,
        };
        Ok(Some(Proposal {
            kind: Some(kind),
            adds: self.adds.clone(),
            added: Size { rows, bytes, files: self.adds.len() as u64 },
            row_bytes: self.row_bytes,
            removes: self.removes.clone(),
            removed: Size { rows: Some(self.removed.rows.unwrap_or(0)), ..self.removed },
            sequences: self.sequences.clone().into_iter().collect(),
            requests: self.requests.clone(),
            ..Proposal::default()
        }))
    }
}
