//! Checkpoints: the whole file list as one Parquet file, so that opening a table reads that and the few
//! log entries after it. Made beside the commits, never in their way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use deltalake_core::DeltaTable;
use deltalake_core::protocol::checkpoints;
use deltalake_core::table::config::TablePropertiesExt;
use futures::{StreamExt, stream};
use tokio::runtime::Handle;

use super::check::is_damage;
use super::{Lake, Table, schema};
use crate::error::Result;

/// Versions behind a checkpoint that is not waited for to be made while others are committed: every process that opens the table
/// reads them all, and one that dies soon after never makes one.
const LOG_MAX: u64 = 2 * schema::CHECKPOINT_INTERVAL;

/// Marks of newest versions that are written concurrently when the engine shuts down.
const MARKS_AT_A_TIME: usize = 16;

/// Commits until one that failed is tried again.
const COMMITS_TO_NEXT_TRY: u64 = 10;

/// The version that the next checkpoint is due at, after that of the last one.
pub(super) fn due_after(last: Option<u64>) -> u64 {
    last.map_or(0, |version| version.saturating_add(1)) + schema::CHECKPOINT_INTERVAL - 1
}

impl Table {
    /// Starts a checkpoint of `version` when one is due and none is being made. It is due as long as it was not made: who dies
    /// before that leaves it to the next, and does not let the log grow by as much again. It is made by the runtime `beside`, which ends after all
    /// that commit: what computes has threads of its own, and these may end first.
    pub(super) fn checkpoint_when_due(self: &Arc<Self>, version: u64, beside: &Handle) {
        if version < self.checkpoint_due.load(Ordering::Relaxed) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.checkpointing).try_lock_owned() else { return };
        let table = Arc::clone(self);
        let made = async move {
            table.try_checkpoint(version).await;
            drop(turn);
        };
        beside.spawn(made);
    }

    /// Makes the checkpoint of a table that was just opened, when it is long overdue.
    pub(super) async fn checkpoint_long_log(&self) {
        let version = self.head().await.version;
        if version >= self.checkpoint_due.load(Ordering::Relaxed).saturating_add(LOG_MAX) {
            self.try_checkpoint(version).await;
        }
    }

    async fn try_checkpoint(&self, version: u64) {
        let made = self.checkpoint(version).await;
        let next = if made.is_ok() { schema::CHECKPOINT_INTERVAL } else { COMMITS_TO_NEXT_TRY };
        self.checkpoint_due.store(version + next, Ordering::Relaxed);
        if let Err(e) = made {
            // Where the log is whole without it, the next one is tried again.
            self.is_damaged.fetch_or(is_damage(&e), Ordering::Relaxed);
            tracing::warn!(
                tenant = %self.tenant, dataset = %self.name, version, error = e.detail(),
                "checkpoint failed"
            );
        }
    }

    async fn checkpoint(&self, version: u64) -> Result<()> {
        self.require_whole_log(version).await?;
        let mut table = DeltaTable::new(Arc::clone(&self.log));
        table.state = Some(self.state(version).await?);
        checkpoints::create_checkpoint(&table, None).await?;
        self.checkpointed.fetch_max(version, Ordering::AcqRel);
        // Keeps what the table's log retention asks for: 30 days unless it says otherwise.
        if table.snapshot()?.table_config().enable_expired_log_cleanup() {
            let cleaned = checkpoints::cleanup_metadata(&table, None).await;
            self.forget_oldest_version();
            cleaned?;
        }
        tracing::debug!(tenant = %self.tenant, dataset = %self.name, version, "checkpoint made");
        Ok(())
    }
}

impl Lake {
    /// Waits for background work after commits, and marks the newest version of each table.
    pub(crate) async fn settle(&self) {
        let shelves: Vec<_> = self.shelves.lock().values().cloned().collect();
        for shelf in shelves {
            let tables = shelf.opened();
            if self.writable {
                let mark = |table: Arc<Table>| async move { table.settle_mark().await };
                let marks = stream::iter(tables.clone()).map(mark);
                marks.buffer_unordered(MARKS_AT_A_TIME).collect::<()>().await;
            }
            for table in tables {
                drop(table.checkpointing.lock().await);
            }
        }
    }
}
