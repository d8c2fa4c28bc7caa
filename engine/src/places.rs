//! Places of which one tenant takes at most a part, so that what one asks for leaves room for the others; and where that is asked for,
//! one subject a part of its tenant's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::identity::{Principal, TenantId};
use crate::lanes::{Usage, Using};

/// Some places.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    share: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Share>>>,
    subjects: Mutex<Subjects>,
    usage: Option<Arc<Usage>>,
}

/// What subjects have, or wait for. There may be any number of them, and of those who have nothing nothing is kept.
#[derive(Debug, Default)]
struct Subjects {
    shares: HashMap<(TenantId, String), Weak<Share>>,
    /// At so many it is looked which of them have nothing.
    looked_at: usize,
}

/// Subjects that are known before it is looked for the first time which of them have nothing.
const SUBJECTS_FEW: usize = 64;

/// What one tenant, or one subject, may have of them.
#[derive(Debug)]
struct Share {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Share {
    fn of(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0) }
    }
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
    of_subject: Option<(OwnedSemaphorePermit, Arc<Share>)>,
}

impl Taken {
    /// Frees all but `count` of them.
    pub fn keep(&mut self, count: usize) {
        let of_subject = self.of_subject.as_mut().map(|(permits, _)| permits);
        for permits in [&mut self.of_all, &mut self.of_tenant].into_iter().chain(of_subject) {
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
        Self {
            all: Arc::new(Semaphore::new(all)),
            share,
            tenants: Mutex::default(),
            subjects: Mutex::default(),
            usage: None,
        }
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

    /// Most that one subject takes, where it is asked for by [`Places::take_of`].
    pub fn share_of_subject(&self) -> usize {
        (self.share / 2).max(1)
    }

    /// Waits for `count` places, which are not more than the subject's share.
    pub async fn take_of(&self, who: &Principal, count: u32) -> Result<Taken, AcquireError> {
        let share = self.of_subject(who);
        let of_subject = Arc::clone(&share.places).acquire_many_owned(count).await?;
        let taken = self.take(&who.tenant, count).await?;
        Ok(Taken { of_subject: Some((of_subject, share)), ..taken })
    }

    /// The same; `None` where so many of the tenant wait already, or half of them of the subject.
    pub async fn queue_of(
        &self,
        who: &Principal,
        count: u32,
        waiting_max: usize,
    ) -> Result<Option<Taken>, AcquireError> {
        let share = self.of_subject(who);
        let free = Arc::clone(&share.places).try_acquire_many_owned(count);
        let of_subject = match free {
            Ok(of_subject) => of_subject,
            Err(_) => {
                let most = waiting_max.div_ceil(2);
                if share.waiting.fetch_add(1, Ordering::Relaxed) >= most {
                    drop(Waiting(&share));
                    return Ok(None);
                }
                let _waiting = Waiting(&share);
                Arc::clone(&share.places).acquire_many_owned(count).await?
            }
        };
        let taken = self.queue(&who.tenant, count, waiting_max).await?;
        Ok(taken.map(|taken| Taken { of_subject: Some((of_subject, share)), ..taken }))
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
        Taken { _using: using, of_all, of_tenant, of_subject: None }
    }

    fn of_subject(&self, who: &Principal) -> Arc<Share> {
        let mut subjects = self.subjects.lock();
        let key = (who.tenant.clone(), who.subject.clone());
        if let Some(share) = subjects.shares.get(&key).and_then(Weak::upgrade) {
            return share;
        }
        if subjects.shares.len() >= subjects.looked_at.max(SUBJECTS_FEW) {
            subjects.shares.retain(|_, share| share.strong_count() > 0);
            subjects.looked_at = subjects.shares.len() * 2;
        }
        let share = Arc::new(Share::of(self.share_of_subject()));
        subjects.shares.insert(key, Arc::downgrade(&share));
        share
    }

    fn of(&self, tenant: &TenantId) -> Arc<Share> {
        let mut tenants = self.tenants.lock();
        let new = || Arc::new(Share::of(self.share));
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
    async fn a_subject_takes_half_of_its_tenants_and_leaves_the_other() {
        let who = |subject: &str| Principal::new("a".parse().unwrap(), subject, &[]);
        let places = Places::new(16);
        let (one, other) = (who("one"), who("other"));
        let mut held = places.take_of(&one, 4).await.unwrap();
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(places.queue_of(&one, 2, 4))).collect();
        for more in &mut waiting {
            assert!(futures::poll!(more.as_mut()).is_pending());
        }
        // Half of those who may wait are of one subject, and others of the tenant do not wait for it.
        assert!(places.queue_of(&one, 1, 4).await.unwrap().is_none());
        let others = places.queue_of(&other, 4, 4).await.unwrap().unwrap();
        assert!(futures::poll!(waiting[0].as_mut()).is_pending());
        held.keep(2);
        assert!(waiting.remove(0).await.unwrap().is_some());
        drop((held, waiting, others));
        assert!(places.take_of(&one, 4).await.is_ok());
    }

    #[tokio::test]
    async fn of_subjects_that_have_nothing_nothing_is_kept() {
        let places = Places::new(8);
        for number in 0..1_000 {
            let who = Principal::new("a".parse().unwrap(), number.to_string(), &[]);
            places.take_of(&who, 1).await.unwrap();
        }
        assert!(places.subjects.lock().shares.len() <= SUBJECTS_FEW);
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
