//! The commit bus: every commit is an event, told once, here.
//!
//! Schedules, subscriptions and caches all listen to this one channel instead of each polling the
//! store. It is a bounded broadcast: a listener that is too slow learns that it missed events and
//! re-reads the versions from the store, so that no listener can hold up a commit.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use tokio::sync::broadcast;

use crate::identity::{RunId, TenantId, Version};

/// Events that a slow listener may lag behind before it misses some.
pub const BUS_EVENTS_MAX: usize = 1_024;

/// What kind of commit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommitKind {
    /// The dataset was created.
    Create,
    /// Rows were added.
    Append,
    /// All rows were replaced.
    Overwrite,
    /// The rows of some partitions were replaced.
    ReplacePartitions,
    /// Some rows were taken away, changed, or replaced by others.
    Revise,
    /// Files were put together; the rows are the same.
    Compact,
    /// The spec changed: new nullable columns, or words about them.
    Schema,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct CommitEvent {
    /// Whose dataset.
    pub tenant: TenantId,
    /// The dataset.
    pub dataset: DatasetName,
    /// The version that the commit made.
    pub version: Version,
    /// The version before it, except for the first.
    pub previous: Option<Version>,
    /// The run that committed, when one did.
    pub run_id: Option<RunId>,
    /// What it did.
    pub kind: CommitKind,
    /// Rows in the files that it added.
    pub rows_added: u64,
    /// When, by this process's clock.
    pub at: DateTime<Utc>,
    /// When, for measuring how long a reaction took.
    pub committed_at_monotonic: Instant,
}

/// Where commits are announced: those of this process when they are made, those of others when they are seen, which a server
/// looks for now and then.
#[derive(Debug)]
pub struct CommitBus {
    sender: broadcast::Sender<Arc<CommitEvent>>,
}

impl CommitBus {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(BUS_EVENTS_MAX).0 }
    }

    /// Every commit from now on, in the order of each dataset's versions.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CommitEvent>> {
        self.sender.subscribe()
    }

    pub(crate) fn announce(&self, event: CommitEvent) {
        // Nobody listening is fine: an event is news, not a record.
        let _ = self.sender.send(Arc::new(event));
    }
}
