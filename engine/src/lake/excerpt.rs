//! Some files of a table as a table by themselves.
//!
//! The library replays and plans over a table's whole file list, even for a scan of two of its files; that
//! is what following a table of many files would cost, commit by commit. The files that commits added are
//! read through a log of one entry instead, in memory, that names them and no others. The table's location
//! is the real one, so that their data is read where it lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use deltalake_core::kernel::{Action, Add, Metadata, Protocol};
use deltalake_core::logstore::{StorageConfig, default_logstore};
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};

use super::check::entry_path;
use super::file_list::Listing;
use super::table::{Showing, folder_of, load_state};
use super::{Head, Snapshot, Table, schema};
use crate::error::{Error, Result};
use crate::identity::Version;

/// Log entries that are read at most, each time that a version is asked for which lies further back, to find since when a table has had
/// its shape.
const BACK_MAX: u64 = 1_000;
/// Log entries read at once.
const READING_MAX: usize = 16;

/// How the files of a table are read, and since which version.
#[derive(Debug)]
pub(super) struct Shape {
    since: ShapedAt,
    metadata: Metadata,
    protocol: Protocol,
}

/// The version that brought a shape, or a later one: the first that it is known to hold for. Whoever learns of an earlier one tells all
/// others that hold the same shape.
#[derive(Clone, Debug)]
pub(super) struct ShapedAt(Arc<AtomicU64>);

impl ShapedAt {
    pub(super) fn new(version: u64) -> Self {
        Self(Arc::new(AtomicU64::new(version)))
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn goes_back_to(&self, version: u64) {
        self.0.fetch_min(version, Ordering::AcqRel);
    }
}

impl Shape {
    pub(super) fn of_head(head: &Head) -> Self {
        Self {
            since: head.shaped_at.clone(),
            metadata: head.metadata.clone(),
            protocol: head.protocol.clone(),
        }
    }

    /// The first version whose files are kept.
    pub(super) fn kept_from(&self) -> Version {
        Version(schema::kept_from(&self.metadata))
    }

    /// Whether a repair set that version aside.
    pub(super) fn is_set_aside(&self, version: Version) -> bool {
        schema::is_set_aside(&self.metadata, version.0)
    }
}

impl Table {
    /// Some files of it, as a table by themselves; none where it takes the whole log to read them.
    pub(crate) async fn snapshot_of(&self, adds: &[Add]) -> Result<Option<Snapshot>> {
        let line = |add: &Add| serde_json::to_vec(&Action::Add(add.clone())).map(Bytes::from);
        let lines = adds.iter().map(line).collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|e| Error::bug("added files as JSON", e))?;
        self.excerpt(self.entry().version, &lines).await
    }

    /// The table at `version` as if it had only the files that `adds` name, which are actions of its log.
    ///
    /// `None` when only the whole log tells how they are read: for a version before the last change of
    /// columns, and for the tables of other writers, whose features may reach beyond an action.
    pub(super) async fn excerpt(
        &self,
        version: Version,
        adds: &[Bytes],
    ) -> Result<Option<Snapshot>> {
        let Showing { entry, shape } = self.shown();
        if version > entry.version
            || schema::read_only_reason(&shape.metadata, &shape.protocol).is_some()
            || !self.has_had(&shape, version).await
        {
            return Ok(None);
        }
        let mut log = Vec::new();
        for action in
            [Action::Protocol(shape.protocol.clone()), Action::Metadata(shape.metadata.clone())]
        {
            serde_json::to_writer(&mut log, &action)
                .map_err(|e| Error::bug("an excerpt of a table's log as JSON", e))?;
            log.push(b'\n');
        }
        for add in adds {
            log.extend_from_slice(add);
            log.push(b'\n');
        }

        let folder = folder_of(&self.tenant, &self.name);
        let root: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let place = folder.parts().chain(entry_path(0).parts()).collect();
        root.put(&place, log.into()).await?;
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), folder));
        let location = self.log.root_url();
        let log = default_logstore(store, root, location, &StorageConfig::default());
        let state = load_state(&log, None).await?;
        Ok(Some(Snapshot { entry, version, state, files: Listing::default() }))
    }
    /// Whether the table is known to have had that shape at `version`, which is not newer than what it is of.
    ///
    /// A table that was just opened is known by its newest version alone; whoever follows its commits from where they left off asks for
    /// one after another of those before. Their entries say whether one of them changed more than rows.
    async fn has_had(&self, shape: &Shape, version: Version) -> bool {
        let since = shape.since.get();
        let back_to = version.0.max(since.saturating_sub(BACK_MAX));
        let mut entries = stream::iter((back_to + 1..=since).rev())
            .map(async |at| (at, self.entry_at(at).await))
            .buffered(READING_MAX);
        while let Some((at, entry)) = entries.next().await {
            // Of one that is kept no more, or can't be read, nothing is known: the whole log may still tell.
            let Ok(Some(entry)) = entry else { return false };
            if entry.changes_more_than_rows() {
                return false;
            }
            shape.since.goes_back_to(at - 1);
        }
        version.0 >= shape.since.get()
    }
}
