//! How many bytes of uploads are held at once.
//!
//! They are counted as they come, so what a client announces and does not send takes nothing from others; of one tenant they
//! are half of all at most. Where no room is left, uploads wait with what they have. One of each tenant goes on in a lane
//! beside the others, so that those which wait for each other come to an end.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Code, Error, Places, Result, Taken, TenantId};
use parking_lot::Mutex;
use tokio::sync::{Mutex as Lane, OwnedMutexGuard};

use crate::error::busy;

/// Uploads of one tenant that wait for room; one more is refused.
const WAITING_MAX: usize = 256;
/// The unit in which bytes are counted.
const UNIT_BYTES: usize = 256 << 10;

/// The room for uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    room: Arc<Places>,
    lanes: Mutex<HashMap<TenantId, Arc<Lane<()>>>>,
}

impl Uploads {
    /// Room for so many bytes; one upload of each tenant in its lane comes on top.
    pub(super) fn new(bytes_max: usize) -> Self {
        let room = Arc::new(Places::new(bytes_max / UNIT_BYTES));
        Self { room, lanes: Mutex::default() }
    }

    /// An upload of `tenant`, of which nothing has come.
    pub(super) fn begin(&self, tenant: &TenantId) -> Held {
        let lane = Arc::clone(self.lanes.lock().entry(tenant.clone()).or_default());
        Held {
            tenant: tenant.clone(),
            room: Arc::clone(&self.room),
            lane,
            units: 0,
            taken: Vec::new(),
            in_lane: None,
        }
    }
}

/// What one upload holds; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Held {
    tenant: TenantId,
    room: Arc<Places>,
    /// Of the tenant.
    lane: Arc<Lane<()>>,
    units: usize,
    taken: Vec<Taken>,
    in_lane: Option<OwnedMutexGuard<()>>,
}

impl Held {
    /// Waits until it may hold `bytes` in all.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<()> {
        let wanted = bytes.div_ceil(UNIT_BYTES);
        if wanted <= self.units || self.in_lane.is_some() {
            return Ok(());
        }
        // More at once than the tenant may ever hold would wait for ever.
        let more = (wanted - self.units).min(self.room.share());
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let room = self.room.queue(&self.tenant, more, WAITING_MAX);
        let lane = Arc::clone(&self.lane).lock_owned();
        tokio::select! {
            biased;
            taken = room => {
                let ending = |_| Error::user(Code::Cancelled, "the server is ending");
                let what = "requests of one tenant that wait for room";
                let too_many = || busy(what, WAITING_MAX);
                self.taken.push(taken.map_err(ending)?.ok_or_else(too_many)?);
                self.units = wanted;
            }
            lane = lane => self.in_lane = Some(lane),
        }
        Ok(())
    }

    /// `bytes` that have this room: it is given back when nobody has any of them, which may be after the request has ended.
    pub(super) fn with(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Upload { bytes, _held: self })
    }
}

/// An upload that has come, and its room.
struct Upload {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Upload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::time::timeout;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn uploads_that_wait_for_each_other_all_come_to_an_end() {
        let uploads = Uploads::new(8 * UNIT_BYTES);
        let one = async |name: &str| {
            let mut held = uploads.begin(&tenant(name));
            for units in 1..=6 {
                held.grow(units * UNIT_BYTES).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let all = (0..50).map(|i| one(["a", "b", "c"][i % 3]));
        timeout(Duration::from_secs(10), join_all(all)).await.unwrap();
    }

    #[tokio::test]
    async fn a_tenant_that_holds_all_it_may_leaves_room_for_others() {
        let uploads = Uploads::new(8 * UNIT_BYTES);
        let mut held: Vec<Held> = (0..5).map(|_| uploads.begin(&tenant("a"))).collect();
        for upload in &mut held {
            // Four fit its share, and one is in the lane.
            upload.grow(UNIT_BYTES).await.unwrap();
        }
        let mut sixth = uploads.begin(&tenant("a"));
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, sixth.grow(UNIT_BYTES)).await.is_err());
        let mut other = uploads.begin(&tenant("b"));
        timeout(wait, other.grow(4 * UNIT_BYTES)).await.unwrap().unwrap();
        held.pop();
        timeout(wait, sixth.grow(UNIT_BYTES)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn bytes_have_their_room_until_nobody_has_any_of_them() {
        let uploads = Uploads::new(8 * UNIT_BYTES);
        let mut all: Vec<Held> = (0..3).map(|_| uploads.begin(&tenant("a"))).collect();
        all[0].grow(4 * UNIT_BYTES).await.unwrap();
        // One has all room of the tenant, and one its lane.
        all[1].grow(1).await.unwrap();
        let bytes = all.remove(0).with(Bytes::from_static(b"some rows"));
        // As of a request that ended while its rows are being read.
        let reading = bytes.slice(5..);
        drop(bytes);
        assert_eq!(&reading[..], b"rows");
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, all[1].grow(1)).await.is_err());
        drop(reading);
        timeout(wait, all[1].grow(1)).await.unwrap().unwrap();
    }
}
