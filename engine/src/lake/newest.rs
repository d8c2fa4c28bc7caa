//! The newest version of each table, stored outside its log.
//!
//! A log without its last entry is still valid, only older. So each table's folder has a small object, the *mark*, that states
//! the newest version. Opening a table compares the log with it, and so does `doctor`.
//!
//! The mark is a hint, and no commit waits for it. It is written after a commit, at most once per [`MARK_EVERY`] and table, and
//! again when the engine shuts down. A process that dies may leave its last commits unmarked. A table without a mark is
//! accepted, and so is one with an older mark or another table's mark.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deltalake_core::kernel::Metadata;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::check::{LogFiles, advised};
use super::{Head, Table};
use crate::error::{Code, Error, Result};

/// The mark in a table's folder. Delta readers skip names that begin with `_`.
pub(super) const MARK: &str = "_newest";
/// Shortest interval between two marks of one table by one process, on a disk.
const MARK_EVERY: Duration = Duration::from_millis(200);
/// The same on an object store, where each request costs money.
const MARK_OBJECTS_EVERY: Duration = Duration::from_secs(1);
/// Largest mark that is read. Larger objects are not marks.
const MARK_BYTES_MAX: u64 = 1 << 10;

/// The content of a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The id in the table's metadata. A new table in the same folder has a new id.
    table: String,
    /// The newest committed version.
    pub(super) version: u64,
}

impl Mark {
    /// Reads the mark in a table's folder. An object that is not a valid mark is ignored.
    pub(super) async fn read(table: &dyn ObjectStore) -> Result<Option<Self>> {
        let found = match table.get(&Path::from(MARK)).await {
            Ok(found) if found.meta.size > MARK_BYTES_MAX => return Ok(None),
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(serde_json::from_slice(&found).ok())
    }

    async fn write(&self, table: &dyn ObjectStore) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::bug("a mark as JSON", e))?;
        table.put(&Path::from(MARK), bytes.into()).await?;
        Ok(())
    }

    /// Whether this mark states at least the version of `other`, for the same table.
    fn covers(&self, other: &Self) -> bool {
        self.table == other.table && self.version >= other.version
    }

    /// The version that was committed to this table but is missing from its log, if any. `newest` is the newest version that
    /// was found in the log.
    pub(super) async fn lost_after(
        self,
        table: &dyn ObjectStore,
        metadata: &Metadata,
        newest: u64,
    ) -> Result<Option<u64>> {
        if self.table != metadata.id() || self.version <= newest {
            return Ok(None);
        }
        // The log may have been listed before the marked version was committed.
        let listed = LogFiles::list_newest(table).await?.last();
        Ok((listed < Some(self.version)).then_some(self.version))
    }
}

/// The error for a table whose log ends before a committed version.
pub(super) fn lost(newest: u64, committed: u64) -> Error {
    Error::user(
        Code::StorageUnavailable,
        format!(
            "the table's log is damaged: version {committed} was committed, and the log ends at version {newest}"
        ),
    )
}

/// The state of one table's mark in this process.
#[derive(Debug)]
pub(super) struct Marking {
    /// The mark to write.
    wanted: Mutex<Mark>,
    /// The mark that was last read or written.
    marked: Mutex<Option<Mark>>,
    /// Whether a task is writing marks.
    is_running: AtomicBool,
    /// Locked while a mark is written. False once the table is purged.
    may_write: tokio::sync::Mutex<bool>,
}

impl Marking {
    pub(super) fn new(head: &Head) -> Self {
        Self {
            wanted: Mutex::new(head.mark()),
            marked: Mutex::default(),
            is_running: AtomicBool::new(false),
            may_write: tokio::sync::Mutex::new(true),
        }
    }

    /// Records the mark that was found when the table was opened.
    pub(super) fn found(&self, mark: Option<Mark>) {
        *self.marked.lock() = mark;
    }

    fn want(&self, mark: Mark) {
        let mut wanted = self.wanted.lock();
        if mark.version >= wanted.version {
            *wanted = mark;
        }
    }

    fn is_due(&self) -> bool {
        let wanted = self.wanted.lock().clone();
        !self.marked.lock().as_ref().is_some_and(|marked| marked.covers(&wanted))
    }
}

impl Table {
    /// Marks the version of `head`, which this process committed, as the newest. The task runs on
    /// `background`, a runtime that outlives the committing task.
    pub(super) fn mark_newest(self: &Arc<Self>, head: &Head, background: &Handle) {
        self.marking.want(head.mark());
        if self.marking.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        // A weak reference, so that the task does not delay an engine that shuts down.
        let table = Arc::downgrade(self);
        background.spawn(async move {
            while let Some(table) = table.upgrade() {
                let is_due = table.marking.is_due();
                let is_marked = is_due && table.try_mark().await;
                if !is_marked {
                    table.marking.is_running.store(false, Ordering::Release);
                    // After a failure the next commit tries again. If no mark was due, a commit just before the line above may
                    // have seen a running task and not started its own.
                    let is_missed = !is_due && table.marking.is_due();
                    if !is_missed || table.marking.is_running.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
                let every = if table.failures_are_final { MARK_EVERY } else { MARK_OBJECTS_EVERY };
                drop(table);
                tokio::time::sleep(every).await;
            }
        });
    }

    /// Writes the mark now, also for known versions that other processes committed.
    pub(super) async fn settle_mark(&self) {
        // A commit that holds the lock marks its own version.
        if let Ok(head) = self.head.try_lock() {
            // A read-only engine writes no marks.
            if head.require_ours().is_err() {
                return;
            }
            self.marking.want(head.mark());
        }
        if self.marking.is_due() {
            self.try_mark().await;
        }
    }

    /// Fails if the log ends before a committed version; `head` was found to be its end. Otherwise a process that fell behind
    /// would reuse the number of a lost version.
    pub(super) async fn require_end(&self, head: &Head) -> Result<()> {
        let store = self.store.as_ref();
        let Some(mark) = Mark::read(store).await? else { return Ok(()) };
        match mark.lost_after(store, &head.metadata, head.version).await? {
            None => Ok(()),
            Some(committed) => {
                self.is_damaged.store(true, Ordering::Relaxed);
                Err(advised(lost(head.version, committed)))
            }
        }
    }

    /// Stops writing marks, because the table's folder is about to be removed.
    pub(super) async fn stop_marking(&self) {
        *self.marking.may_write.lock().await = false;
    }

    /// Returns whether the mark is up to date now.
    async fn try_mark(&self) -> bool {
        match self.mark().await {
            Ok(marked) => marked,
            Err(error) => {
                tracing::warn!(
                    tenant = %self.tenant, dataset = %self.name, error = error.detail(),
                    "the newest version was not marked; the next commit tries again"
                );
                false
            }
        }
    }

    async fn mark(&self) -> Result<bool> {
        let may_write = self.marking.may_write.lock().await;
        if !*may_write {
            return Ok(false);
        }
        let store = self.store.as_ref();
        let wanted = self.marking.wanted.lock().clone();
        let found = Mark::read(store).await?.filter(|found| found.table == wanted.table);
        if let Some(found) = found.as_ref().filter(|found| found.covers(&wanted)) {
            self.marking.found(Some(found.clone()));
            return Ok(true);
        }
        // Another process may have purged the table. Its folder must then stay empty.
        if found.is_none() && LogFiles::list_newest(store).await?.last() < Some(wanted.version) {
            return Ok(false);
        }
        wanted.write(store).await?;
        self.marking.found(Some(wanted));
        Ok(true)
    }
}

impl Head {
    fn mark(&self) -> Mark {
        Mark { table: self.metadata.id().to_owned(), version: self.version }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn an_object_that_is_not_a_mark_is_ignored() {
        let store = InMemory::new();
        assert_eq!(Mark::read(&store).await.unwrap(), None);
        for text in ["", "{", "7", "{\"version\": 3}", "{\"table\": \"a\", \"version\": -1}"] {
            store.put(&Path::from(MARK), text.to_owned().into()).await.unwrap();
            assert_eq!(Mark::read(&store).await.unwrap(), None, "{text}");
        }
        store.put(&Path::from(MARK), vec![b' '; 4_096].into()).await.unwrap();
        assert_eq!(Mark::read(&store).await.unwrap(), None);
        let mark = Mark { table: "a".to_owned(), version: 3 };
        mark.write(&store).await.unwrap();
        assert_eq!(Mark::read(&store).await.unwrap(), Some(mark));
    }
}
