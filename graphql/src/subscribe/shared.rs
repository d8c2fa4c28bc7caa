//! Results that many subscribers ask for at once, computed once.
//!
//! When a commit wakes a thousand subscribers, most of them ask the same question of the same version.
//! The first computes, the others wait for it; a computer that goes away in the middle is replaced by
//! one who waits. Bounded by entries and by bytes, oldest out first.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// Bytes of results that are kept where nothing else is said.
const BYTES_MAX: usize = 64 << 20;

type Cell = Arc<OnceCell<Arc<dyn Any + Send + Sync>>>;

/// The results.
pub(crate) struct SharedResults {
    entries_max: usize,
    bytes_max: usize,
    kept: Mutex<Kept>,
    computed: AtomicU64,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<String, Entry>,
    order: VecDeque<String>,
    bytes: usize,
}

struct Entry {
    cell: Cell,
    bytes: usize,
}

/// A result that can say how much memory it takes.
pub(crate) trait Weigh: Any + Send + Sync {
    /// Bytes, roughly.
    fn bytes(&self) -> usize;
}

impl SharedResults {
    /// Keeps at most so many results.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self::with_bytes(entries_max, BYTES_MAX)
    }

    /// The same, and at most so many bytes of them.
    pub(crate) fn with_bytes(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries_max: entries_max.max(1),
            bytes_max,
            kept: Mutex::default(),
            computed: AtomicU64::new(0),
        }
    }

    /// The result called `key`, computed by `compute` if nobody did. An error is not kept.
    pub(crate) async fn get<T: Weigh>(
        &self,
        key: String,
        compute: impl Future<Output = Result<T>> + Send,
    ) -> Result<Arc<T>> {
        let cell = self.cell(&key);
        let result = cell
            .get_or_try_init(|| async {
                self.computed.fetch_add(1, Ordering::Relaxed);
                let result = compute.await?;
                self.weigh(&key, &cell, result.bytes());
                Ok::<_, Error>(Arc::new(result) as Arc<dyn Any + Send + Sync>)
            })
            .await?;
        result
            .clone()
            .downcast::<T>()
            .map_err(|_| Error::internal("two kinds of result under one key"))
    }

    /// The result called `key`, where it is there.
    pub(crate) fn find<T: Weigh>(&self, key: &str) -> Option<Arc<T>> {
        let cell = Arc::clone(&self.kept.lock().entries.get(key)?.cell);
        cell.get()?.clone().downcast::<T>().ok()
    }

    /// Keeps a result that was made elsewhere, unless there is one; gives what is kept.
    pub(crate) fn keep<T: Weigh>(&self, key: &str, result: T) -> Arc<T> {
        let (cell, bytes, result) = (self.cell(key), result.bytes(), Arc::new(result));
        if cell.set(result.clone()).is_ok() {
            self.weigh(key, &cell, bytes);
            return result;
        }
        // Somebody was first.
        let first = cell.get().cloned().and_then(|first| first.downcast::<T>().ok());
        first.unwrap_or(result)
    }

    /// How often something was computed.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    fn cell(&self, key: &str) -> Cell {
        let mut kept = self.kept.lock();
        if let Some(entry) = kept.entries.get(key) {
            return entry.cell.clone();
        }
        let cell = Cell::default();
        kept.entries.insert(key.to_owned(), Entry { cell: cell.clone(), bytes: 0 });
        kept.order.push_back(key.to_owned());
        kept.shrink(self.entries_max, self.bytes_max);
        cell
    }

    fn weigh(&self, key: &str, cell: &Cell, bytes: usize) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        if let Some(entry) =
            kept.entries.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.cell, cell))
        {
            kept.bytes = kept.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
            kept.shrink(self.entries_max, self.bytes_max);
        }
    }
}

impl Kept {
    fn shrink(&mut self, entries_max: usize, bytes_max: usize) {
        while self.entries.len() > entries_max || self.bytes > bytes_max {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::Code;

    impl Weigh for u64 {
        fn bytes(&self) -> usize {
            8
        }
    }

    impl Weigh for Vec<u8> {
        fn bytes(&self) -> usize {
            self.len()
        }
    }

    #[tokio::test]
    async fn a_question_that_many_ask_is_computed_once() {
        let shared = SharedResults::new(4);
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let gate = Mutex::new(Some(gate));
        let ask = || {
            shared.get("q".to_owned(), async {
                let first = gate.lock().take();
                if let Some(gate) = first {
                    gate.await.ok();
                }
                Ok(7u64)
            })
        };
        let (a, b, c, ()) = futures::join!(ask(), ask(), ask(), async {
            open.send(()).ok();
        });
        assert_eq!((*a.unwrap(), *b.unwrap(), *c.unwrap()), (7, 7, 7));
        assert_eq!(shared.computed(), 1);
    }

    #[tokio::test]
    async fn an_error_is_not_kept() {
        let shared = SharedResults::new(4);
        let failed: Result<Arc<u64>> =
            shared.get("q".to_owned(), async { Err(Error::user(Code::NotFound, "gone")) }).await;
        assert!(failed.is_err());
        assert_eq!(*shared.get("q".to_owned(), async { Ok(1u64) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn entries_and_bytes_are_bounded() {
        let shared = SharedResults::new(3);
        for i in 0..10u64 {
            shared.get(format!("{i}"), async { Ok(i) }).await.unwrap();
        }
        assert_eq!(shared.kept.lock().entries.len(), 3);
        for i in 0..3 {
            shared
                .get(format!("big {i}"), async { Ok(vec![0u8; BYTES_MAX / 2 + 1]) })
                .await
                .unwrap();
        }
        let kept = shared.kept.lock();
        assert!(kept.bytes <= BYTES_MAX, "{} bytes kept", kept.bytes);
        assert_eq!(kept.entries.len(), 1);
    }
}
