//! The running queries of this process, and which of them is cancelled first when memory runs low.
//!
//! Limits and the memory pool are the first defence: a query that would take too much fails before it allocates. This is the
//! second defence, for allocations that neither of them counts. When the process approaches its memory limit, the largest query
//! is cancelled, so that the kernel does not kill the process for every tenant.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;
use std::time::{Duration, Instant};

use datafusion::common::Result as PlanResult;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use futures::task::AtomicWaker;
use kernels::Control;
use parking_lot::Mutex;

use super::spilling::cancellable_disk_manager;
use crate::error::{Code, Error};

/// How often the resident memory of the process is read.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time for a cancelled query to release its memory before the next one is cancelled.
const PATIENCE: Duration = Duration::from_millis(500);

/// The queries of one engine.
#[derive(Debug, Default)]
pub(super) struct Queries(Mutex<Vec<Weak<Query>>>);

/// A running query.
#[derive(Debug)]
pub(super) struct Query {
    control: Control,
    began: Instant,
    /// Bytes reserved by its operators.
    reserved: AtomicUsize,
    is_shed: AtomicBool,
    /// Wakes the task that waits for rows of the query.
    waker: AtomicWaker,
}

impl Query {
    /// `error`, or the reason for which the query was cancelled.
    pub(super) fn why(&self, error: Error) -> Error {
        match error.code() == Code::Cancelled && self.is_shed.load(Ordering::Relaxed) {
            true => Error::user(
                Code::ResourcesExhausted,
                "the server ran low on memory, and this query held the most; expected a query that reads fewer or shorter rows at a time",
            ),
            false => error,
        }
    }

    /// The context of the query. Its memory pool counts the query's reservations. Its disk manager
    /// rejects spills once the query is cancelled.
    pub(super) fn query_context(self: &Arc<Self>, context: TaskContext) -> PlanResult<TaskContext> {
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        let (pool, query) = (Arc::clone(&runtime.memory_pool), Arc::clone(self));
        runtime.memory_pool = Arc::new(Counted { pool, query });
        runtime.disk_manager = cancellable_disk_manager(&runtime.disk_manager, &self.control)?;
        Ok(context.with_runtime(Arc::new(runtime)))
    }

    /// Cancels the query because memory runs low.
    fn shed(&self) {
        self.is_shed.store(true, Ordering::Relaxed);
        self.control.cancel();
        self.waker.wake();
    }

    /// Whether the query was cancelled because memory ran low. If that happens later, the task of
    /// `cx` is woken.
    pub(super) fn is_shed(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.is_shed.load(Ordering::Relaxed)
    }
}

impl Queries {
    /// Registers a query that `control` cancels, until it is dropped.
    pub(super) fn begin(&self, control: &Control) -> Arc<Query> {
        let query = Arc::new(Query {
            control: control.clone(),
            began: Instant::now(),
            reserved: AtomicUsize::new(0),
            is_shed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut running = self.0.lock();
        running.retain(|query| query.strong_count() > 0);
        running.push(Arc::downgrade(&query));
        query
    }

    /// Cancels the query that holds the most memory, the youngest on a tie. Returns whether there
    /// was one.
    fn shed(&self) -> bool {
        let running: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let running = running.iter().filter(|query| !query.is_shed.load(Ordering::Relaxed));
        let key = |query: &&Arc<Query>| (query.reserved.load(Ordering::Relaxed), query.began);
        let Some(largest) = running.max_by_key(key) else { return false };
        largest.shed();
        let bytes = largest.reserved.load(Ordering::Relaxed);
        tracing::warn!(bytes, "memory runs low: the largest query was cancelled");
        true
    }

    /// Cancels queries of this engine, largest first, while the process holds more than `most` bytes.
    pub(super) fn keep_below(self: &Arc<Self>, most: u64) {
        let queries = Arc::downgrade(self);
        let watch = move || {
            while let Some(queries) = queries.upgrade() {
                let is_short = resident_bytes().is_some_and(|bytes| bytes > most);
                let pause = if is_short && queries.shed() { PATIENCE } else { LOOK_EVERY };
                drop(queries);
                std::thread::sleep(pause);
            }
        };
        let thread = std::thread::Builder::new().name("memory guard".to_owned());
        if let Err(error) = thread.spawn(watch) {
            tracing::warn!(%error, "cannot start the thread that watches the memory of the process");
        }
    }
}

/// Resident memory of this process; `None` if the system does not report it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The shared pool, with a count of the bytes that one query reserved.
struct Counted {
    pool: Arc<dyn MemoryPool>,
    query: Arc<Query>,
}

impl Counted {
    /// Grows the reservation of a repartition although the pool has no room. Returns whether it
    /// grew.
    ///
    /// A repartition that cannot reserve memory spills the batch, and its query may then hang: the
    /// reader waits at the older of two files for a batch in the newer one
    /// (apache/datafusion#24883). So a repartition always gets memory, and other operators spill
    /// instead. A repartition that needs more than the whole pool cancels the query.
    fn overcommit(&self, reservation: &MemoryReservation, additional: usize) -> bool {
        if !reservation.consumer().name().starts_with("RepartitionExec") {
            return false;
        }
        if let MemoryLimit::Finite(max_bytes) = self.pool.memory_limit()
            && reservation.size().saturating_add(additional) > max_bytes
        {
            self.query.shed();
            return false;
        }
        self.pool.grow(reservation, additional);
        true
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pool)
    }
}

impl MemoryPool for Counted {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.query.reserved.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.query.reserved.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> PlanResult<()> {
        if let Err(error) = self.pool.try_grow(reservation, additional)
            && !self.overcommit(reservation, additional)
        {
            return Err(error);
        }
        self.query.reserved.fetch_add(additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_query_ends_first() {
        let (queries, controls) = (Queries::default(), [(); 3].map(|()| Control::new()));
        let running = controls.each_ref().map(|control| queries.begin(control));
        running[1].reserved.store(7, Ordering::Relaxed);
        let ended = || controls.each_ref().map(Control::is_cancelled);
        assert!(queries.shed());
        assert_eq!(ended(), [false, true, false]);
        let why = running[1].why(Error::user(Code::Cancelled, "cancelled"));
        assert_eq!(why.code(), Code::ResourcesExhausted);
        let other = running[0].why(Error::user(Code::Cancelled, "cancelled"));
        assert_eq!(other.code(), Code::Cancelled);
        assert!(queries.shed());
        assert_eq!(ended(), [false, true, true], "the youngest");
        drop(running);
        assert!(!queries.shed());
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
