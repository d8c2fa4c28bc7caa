//! Some files of a table as a table by themselves.
//!
//! The library replays and plans over a table's whole file list, even for a scan of two of its files; that
//! is what following a table of many files would cost, commit by commit. The files that commits added are
//! read through a log of one entry instead, in memory, that names them and no others. The table's location
//! is the real one, so that their data is read where it lies.

use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::kernel::{Action, Add, Metadata, Protocol};
use deltalake_core::logstore::{StorageConfig, default_logstore};
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};

use super::check::entry_path;
use super::file_list::Listing;
use super::table::{Showing, folder_of, load_state};
use super::{Head, Snapshot, Table, schema};
use crate::error::{Error, Result};
use crate::identity::Version;

/// How the files of a table are read, and since which version.
#[derive(Debug)]
pub(super) struct Shape {
    /// The version that brought it, or a later one: the first that it is known to hold for.
    since: u64,
    metadata: Metadata,
    protocol: Protocol,
}

impl Shape {
    pub(super) fn of_head(head: &Head) -> Self {
        Self {
            since: head.shaped_at,
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
        let known = (shape.since..=entry.version.0).contains(&version.0);
        if !known || schema::read_only_reason(&shape.metadata, &shape.protocol).is_some() {
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
}
