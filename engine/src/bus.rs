//! The commit bus: every commit is an event, told once, here.
//!
//! Schedules, subscriptions and caches all listen to this one channel instead of each polling the
//! store. It is a bounded broadcast: a listener that is too slow learns that it missed events and
//! re-reads the versions from the store, so that no listener can hold up a commit.
//!
//! Who follows one dataset hears of that one alone, and only how far it is: thousands who follow others are not woken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

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
    followed: Mutex<HashMap<(TenantId, DatasetName), watch::Sender<Version>>>,
    /// How often each tenant committed since somebody began to follow all of it.
    tenants: Mutex<HashMap<TenantId, watch::Sender<u64>>>,
}

impl CommitBus {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::channel(BUS_EVENTS_MAX).0,
            followed: Mutex::default(),
            tenants: Mutex::default(),
        }
    }

    /// Every commit from now on, in the order of each dataset's versions.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CommitEvent>> {
        self.sender.subscribe()
    }

    /// The newest version of one dataset that was announced since somebody began to follow it.
    pub fn follow(&self, tenant: &TenantId, dataset: &DatasetName) -> watch::Receiver<Version> {
        let mut followed = self.followed.lock();
        let key = (tenant.clone(), dataset.clone());
        // What nobody follows any more may be of a dataset that had this name.
        if let Some(news) = followed.get(&key).filter(|news| news.receiver_count() > 0) {
            return news.subscribe();
        }
        followed.retain(|_, news| news.receiver_count() > 0);
        followed.entry(key).or_insert_with(|| watch::channel(Version(0)).0).subscribe()
    }

    /// Changes with each commit of one tenant.
    pub fn follow_all(&self, tenant: &TenantId) -> watch::Receiver<u64> {
        let mut tenants = self.tenants.lock();
        if let Some(news) = tenants.get(tenant) {
            return news.subscribe();
        }
        tenants.retain(|_, news| news.receiver_count() > 0);
        tenants.entry(tenant.clone()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Has those look who follow all of a tenant.
    pub(crate) fn stir(&self, tenant: &TenantId) {
        if let Some(news) = self.tenants.lock().get(tenant) {
            news.send_modify(|commits| *commits += 1);
        }
    }

    pub(crate) fn announce(&self, event: CommitEvent) {
        let key = (event.tenant.clone(), event.dataset.clone());
        if let Some(news) = self.followed.lock().get(&key) {
            news.send_modify(|newest| {
                *newest = match event.kind {
                    CommitKind::Create => event.version,
                    _ => event.version.max(*newest),
                }
            });
        }
        self.stir(&event.tenant);
        // Nobody listening is fine: an event is news, not a record.
        let _ = self.sender.send(Arc::new(event));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(dataset: &str, version: u64, kind: CommitKind) -> CommitEvent {
        CommitEvent {
            tenant: TenantId::default(),
            dataset: DatasetName::new(dataset).unwrap(),
            version: Version(version),
            previous: None,
            run_id: None,
            kind,
            rows_added: 0,
            at: DateTime::UNIX_EPOCH,
            committed_at_monotonic: Instant::now(),
        }
    }

    #[test]
    fn who_follows_a_dataset_hears_of_it_alone_and_of_none_that_had_its_name() {
        let (bus, tenant) = (CommitBus::new(), TenantId::default());
        let name = DatasetName::new("a").unwrap();
        let mut news = bus.follow(&tenant, &name);
        bus.announce(event("b", 7, CommitKind::Append));
        assert!(!news.has_changed().unwrap());
        bus.announce(event("a", 40, CommitKind::Append));
        bus.announce(event("a", 39, CommitKind::Append));
        assert_eq!(*news.borrow_and_update(), Version(40));
        // Who follows now hears from now on.
        let second = bus.follow(&tenant, &name);
        assert!(!second.has_changed().unwrap());
        bus.announce(event("a", 0, CommitKind::Create));
        assert_eq!(*news.borrow_and_update(), Version(0));
        drop((news, second));
        bus.announce(event("a", 5, CommitKind::Append));
        assert_eq!(*bus.follow(&tenant, &name).borrow(), Version(0));
    }
}
