//! What was read from a dataset and is kept for the next search, within so many bytes: the longest unused goes
//! first. What is being read is read once, however many wait for it, and goes on when they stop waiting.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use engine::{Code, Error, Result};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// A value that knows what it takes.
pub(super) trait Shelved: Send + Sync + 'static {
    /// Bytes of memory.
    fn bytes(&self) -> usize;
}

/// Values by key.
pub(super) struct Shelf<K, V> {
    bytes_max: usize,
    slots: Mutex<Slots<K, V>>,
}

struct Slots<K, V> {
    by_key: HashMap<K, Slot<V>>,
    /// Counts uses.
    clock: u64,
}

struct Slot<V> {
    cell: Arc<OnceCell<Arc<V>>>,
    bytes: usize,
    used: u64,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static, V: Shelved> Shelf<K, V> {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let slots = Slots { by_key: HashMap::new(), clock: 0 };
        Arc::new(Self { bytes_max, slots: Mutex::new(slots) })
    }

    /// The value of `key`, made by `make` when it is not here. Keys that `replaces` takes are dropped then: they
    /// are this one's earlier versions.
    pub(super) async fn get<F>(
        self: &Arc<Self>,
        key: K,
        replaces: impl Fn(&K) -> bool,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Arc<V>>
    where
        F: Future<Output = Result<V>> + Send,
    {
        let cell = {
            let mut slots = self.slots.lock();
            slots.clock += 1;
            let clock = slots.clock;
            if !slots.by_key.contains_key(&key) {
                slots.by_key.retain(|other, _| !replaces(other));
            }
            let slot = slots.by_key.entry(key.clone()).or_insert_with(|| Slot {
                cell: Arc::default(),
                bytes: 0,
                used: clock,
            });
            slot.used = clock;
            slot.cell.clone()
        };
        if let Some(value) = cell.get() {
            return Ok(value.clone());
        }
        let shelf = self.clone();
        // A task of its own: who asked may give up, and the next one would begin again.
        let task = tokio::spawn(async move {
            let made = cell.get_or_try_init(|| async { Ok(Arc::new(make().await?)) }).await;
            match made {
                Ok(value) => {
                    shelf.settle(&key, value.bytes());
                    Ok(value.clone())
                }
                Err(error) => {
                    shelf.forget(&key, &cell);
                    Err(error)
                }
            }
        });
        task.await.map_err(|e| Error::internal(format!("reading for a search: {e}")))?
    }

    /// Drops the longest unused until `bytes` more fit. `RESOURCES_EXHAUSTED` when they never do.
    pub(super) fn make_room(&self, bytes: usize, for_what: &str) -> Result<()> {
        if bytes > self.bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{for_what}: {bytes} bytes are needed; at most {}, a part of the setting `memory`, are for that: \
                     take more",
                    self.bytes_max
                ),
            ));
        }
        let mut slots = self.slots.lock();
        slots.shrink(self.bytes_max - bytes, None);
        Ok(())
    }

    fn settle(&self, key: &K, bytes: usize) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.by_key.get_mut(key) {
            slot.bytes = bytes;
        }
        slots.shrink(self.bytes_max, Some(key));
    }

    fn forget(&self, key: &K, cell: &Arc<OnceCell<Arc<V>>>) {
        let mut slots = self.slots.lock();
        if slots.by_key.get(key).is_some_and(|slot| Arc::ptr_eq(&slot.cell, cell)) {
            slots.by_key.remove(key);
        }
    }
}

impl<K: Clone + Eq + Hash, V> Slots<K, V> {
    /// Drops the longest unused, but not `kept`, until the others take at most `bytes_max`.
    fn shrink(&mut self, bytes_max: usize, kept: Option<&K>) {
        let mut taken: usize = self.by_key.values().map(|slot| slot.bytes).sum();
        while taken > bytes_max {
            // One that is still being read has no bytes yet, and stays.
            let others =
                self.by_key.iter().filter(|(key, slot)| slot.bytes > 0 && Some(*key) != kept);
            let Some(key) = others.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone())
            else {
                return;
            };
            taken -= self.by_key.remove(&key).map_or(0, |slot| slot.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    impl Shelved for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    async fn take(shelf: &Arc<Shelf<u32, usize>>, key: u32, bytes: usize) -> bool {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let make = move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(bytes)
        };
        assert_eq!(*shelf.get(key, |_| false, make).await.unwrap(), bytes);
        made.load(Ordering::SeqCst) == 1
    }

    #[tokio::test]
    async fn the_longest_unused_goes_when_there_is_no_room() {
        let shelf = Shelf::new(100);
        assert!(take(&shelf, 1, 40).await && take(&shelf, 2, 40).await);
        assert!(!take(&shelf, 1, 40).await);
        assert!(take(&shelf, 3, 40).await);
        assert!(!take(&shelf, 1, 40).await && !take(&shelf, 3, 40).await);
        assert!(take(&shelf, 2, 40).await);
        shelf.make_room(100, "x").unwrap();
        assert!(take(&shelf, 3, 40).await);
        let message = shelf.make_room(101, "vectors of tickets").unwrap_err().to_string();
        assert!(
            message.contains("vectors of tickets: 101 bytes are needed; at most 100"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_new_version_takes_the_place_of_the_old_one() {
        let shelf = Shelf::<u32, usize>::new(100);
        take(&shelf, 10, 30).await;
        shelf.get(11, |other| other / 10 == 1, || async { Ok(30) }).await.unwrap();
        assert!(take(&shelf, 10, 30).await);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_and_what_is_made_is_made_once() {
        let shelf = Shelf::<u32, usize>::new(100);
        let failed = shelf.get(1, |_| false, || async { Err(Error::internal("no")) }).await;
        assert!(failed.is_err());
        assert!(take(&shelf, 1, 5).await);
        let slow = || async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Ok(7)
        };
        let first = shelf.get(2, |_| false, slow);
        let never = || async { Err(Error::internal("made a second time")) };
        let (first, second) = tokio::join!(first, shelf.get(2, |_| false, never));
        assert_eq!((*first.unwrap(), *second.unwrap()), (7, 7));
    }
}
