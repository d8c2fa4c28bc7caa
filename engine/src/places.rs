//! Places of which one tenant takes at most a part, so that what one asks for leaves room for the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::identity::TenantId;
use crate::lanes::{Usage, Using};

/// Some places.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    share: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Share>>>,
    usage: Option<Arc<Usage>>,
}

/// What one tenant may have of them.
#[derive(Debug)]
struct Share {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One who waits.
struct Waiting<'a>(&'a Share);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Places that are taken; dropping it frees them.
#[derive(Debug)]
pub struct Taken {
    // Counted before the place is free.
    _using: Option<Using>,
    of_all: OwnedSemaphorePermit,
    of_tenant: OwnedSemaphorePermit,
}

impl Taken {
    /// Frees all but `count` of them.
    pub fn keep(&mut self, count: usize) {
        for permits in [&mut self.of_all, &mut self.of_tenant] {
            let extra = permits.num_permits().saturating_sub(count);
            drop(permits.split(extra));
        }
    }
}

impl Places {
    /// So many places, of which a tenant takes at most half, and at least one.
    pub fn new(all: usize) -> Self {
        let all = all.clamp(1, Semaphore::MAX_PERMITS);
        let share = (all / 2).max(1);
        Self { all: Arc::new(Semaphore::new(all)), share, tenants: Mutex::default(), usage: None }
    }

    /// The same, where `usage` counts how long they are taken.
    pub(crate) fn counted(all: usize, usage: Arc<Usage>) -> Self {
        Self { usage: Some(usage), ..Self::new(all) }
    }

    /// So many places, all of which one tenant may take: where there is only one.
    pub fn of_one_tenant(all: usize) -> Self {
        let places = Self::new(all);
        Self { share: all.clamp(1, Semaphore::MAX_PERMITS), ..places }
    }

    /// Most that one tenant takes.
    pub fn share(&self) -> usize {
        self.share
    }

    /// Waits for `count` places. Those of a tenant are given in the order in which they were asked for, and so are those of
    /// all: but no tenant waits there with more than its share.
    pub async fn take(&self, tenant: &TenantId, count: u32) -> Result<Taken, AcquireError> {
        let of_tenant = Arc::clone(&self.of(tenant).places).acquire_many_owned(count).await?;
        let of_all = Arc::clone(&self.all).acquire_many_owned(count).await?;
        Ok(self.taken(tenant, of_all, of_tenant))
    }

    /// Waits for `count` places, which are not more than a tenant's share; `None` where so many of the tenant wait already.
    pub async fn queue(
        &self,
        tenant: &TenantId,
        count: u32,
        waiting_max: usize,
    ) -> Result<Option<Taken>, AcquireError> {
        if let Some(taken) = self.try_take_many(tenant, count) {
            return Ok(Some(taken));
        }
        let share = self.of(tenant);
        if share.waiting.fetch_add(1, Ordering::Relaxed) >= waiting_max {
            drop(Waiting(&share));
            return Ok(None);
        }
        let _waiting = Waiting(&share);
        self.take(tenant, count).await.map(Some)
    }

    /// A place, if there is one now.
    pub fn try_take(&self, tenant: &TenantId) -> Option<Taken> {
        self.try_take_many(tenant, 1)
    }

    /// So many places, if they are there now.
    pub fn try_take_many(&self, tenant: &TenantId, count: u32) -> Option<Taken> {
        let of_tenant = Arc::clone(&self.of(tenant).places).try_acquire_many_owned(count).ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_many_owned(count).ok()?;
        Some(self.taken(tenant, of_all, of_tenant))
    }

    fn taken(
        &self,
        tenant: &TenantId,
        of_all: OwnedSemaphorePermit,
        of_tenant: OwnedSemaphorePermit,
    ) -> Taken {
        let using = self.usage.as_ref().map(|usage| usage.begin(tenant));
        Taken { _using: using, of_all, of_tenant }
    }

    fn of(&self, tenant: &TenantId) -> Arc<Share> {
        let mut tenants = self.tenants.lock();
        let new = || {
            Arc::new(Share {
                places: Arc::new(Semaphore::new(self.share)),
                waiting: AtomicUsize::new(0),
            })
        };
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tenant_takes_half_and_leaves_the_other() {
        let (a, b): (TenantId, TenantId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let places = Places::new(4);
        let taken: Vec<_> = std::iter::from_fn(|| places.try_take(&a)).collect();
        assert_eq!(taken.len(), 2);
        let others: Vec<_> = std::iter::from_fn(|| places.try_take(&b)).collect();
        assert_eq!(others.len(), 2);
        drop(taken);
        assert!(places.try_take(&b).is_none() && places.try_take(&a).is_some());
        assert!(Places::new(0).try_take(&a).is_some());
    }

    #[tokio::test]
    async fn what_is_not_needed_is_freed() {
        let a: TenantId = "a".parse().unwrap();
        let places = Places::new(8);
        let mut taken = places.take(&a, 4).await.unwrap();
        assert!(places.try_take(&a).is_none());
        taken.keep(3);
        let one = places.try_take(&a).unwrap();
        assert!(places.try_take(&a).is_none());
        // Four of eight are taken, and not five: another has its half.
        let b = "b".parse().unwrap();
        let others = places.try_take_many(&b, 4).unwrap();
        drop((taken, one, others));
        assert!(places.take(&a, 4).await.is_ok());
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let a: TenantId = "a".parse().unwrap();
        let places = Places::new(2);
        let first = places.queue(&a, 1, 1).await.unwrap().unwrap();
        let mut second = std::pin::pin!(places.queue(&a, 1, 1));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(places.queue(&a, 1, 1).await.unwrap().is_none());
        drop(first);
        assert!(second.await.unwrap().is_some());
        assert!(places.queue(&a, 1, 1).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn several_places_are_waited_for_together() {
        let a: TenantId = "a".parse().unwrap();
        let places = Places::new(8);
        let first = places.queue(&a, 3, 1).await.unwrap().unwrap();
        let mut second = std::pin::pin!(places.queue(&a, 2, 1));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(places.queue(&a, 2, 1).await.unwrap().is_none());
        drop(first);
        let _two = second.await.unwrap().unwrap();
        assert!(places.try_take(&a).is_some() && places.queue(&a, 3, 0).await.unwrap().is_none());
    }
}
