//! The running queries of this process, and which of them is cancelled first when memory runs low.
//!
//! Limits and the memory pool are the first defence: a query that would take too much fails before it allocates. This is the
//! second defence, for allocations that neither of them counts. When the process approaches its memory limit, the largest query
//! is cancelled, so that the kernel does not kill the process for every tenant.

use std::cmp::Reverse;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
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
    /// Bytes of these that its repartitions reserved.
    repartitioned: AtomicUsize,
    shed: OnceLock<Cause>,
    /// The task that waits for rows of the query.
    waker: AtomicWaker,
}

/// Why a query was cancelled to free memory.
#[derive(Clone, Copy, Debug)]
enum Cause {
    /// The process approached its memory limit.
    LowMemory,
    /// The query's repartitions need more than this many bytes.
    Repartitions(usize),
}

impl Query {
    /// `error`, or the reason why the query was cancelled.
    pub(super) fn why(&self, error: Error) -> Error {
        let Some(cause) = self.shed.get().filter(|_| error.code() == Code::Cancelled) else {
            return error;
        };
        let message = match cause {
            Cause::LowMemory => "the server ran low on memory, and this query held the most; expected a query that reads fewer or shorter rows at a time".to_owned(),
            Cause::Repartitions(limit) => format!(
                "the rows that wait between the partitions of this query take more than {} MiB; expected a query with fewer or shorter rows, or a larger memory budget (`--memory` of the server or command)",
                limit >> 20
            ),
        };
        Error::user(Code::ResourcesExhausted, message)
    }

    /// The context of the query. It counts the query's reservations and rejects spills once the
    /// query is cancelled.
    pub(super) fn query_context(self: &Arc<Self>, context: TaskContext) -> PlanResult<TaskContext> {
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        let (pool, query) = (Arc::clone(&runtime.memory_pool), Arc::clone(self));
        runtime.memory_pool = Arc::new(Counted { pool, query });
        runtime.disk_manager = cancellable_disk_manager(&runtime.disk_manager, &self.control)?;
        Ok(context.with_runtime(Arc::new(runtime)))
    }

    /// Cancels the query to free memory.
    fn shed(&self, cause: Cause) {
        if self.shed.set(cause).is_ok() {
            let bytes = self.reserved.load(Ordering::Relaxed);
            tracing::warn!(bytes, ?cause, "a query was cancelled to free memory");
        }
        self.control.cancel();
        self.waker.wake();
    }

    /// Whether the query was cancelled to free memory. Registers the task of `cx` to be woken by a
    /// later cancellation.
    pub(super) fn is_shed(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.shed.get().is_some()
    }
}

impl Queries {
    /// Registers a query that `control` cancels, until it is dropped.
    pub(super) fn begin(&self, control: &Control) -> Arc<Query> {
        let query = Arc::new(Query {
            control: control.clone(),
            began: Instant::now(),
            reserved: AtomicUsize::new(0),
            repartitioned: AtomicUsize::new(0),
            shed: OnceLock::new(),
            waker: AtomicWaker::new(),
        });
        let mut running = self.0.lock();
        running.retain(|query| query.strong_count() > 0);
        running.push(Arc::downgrade(&query));
        query
    }

    /// Cancels the query that holds the most memory, the oldest on a tie: a query that just began did
    /// not fill the memory. Returns whether there was one.
    fn shed(&self) -> bool {
        let running: Vec<_> = self.0.lock().iter().filter_map(Weak::upgrade).collect();
        let running = running.iter().filter(|query| query.shed.get().is_none());
        let key =
            |query: &&Arc<Query>| (query.reserved.load(Ordering::Relaxed), Reverse(query.began));
        let Some(largest) = running.max_by_key(key) else { return false };
        largest.shed(Cause::LowMemory);
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
    /// Grows the reservation beyond the pool's limit if it belongs to a repartition. Returns
    /// whether it grew.
    ///
    /// A repartition that cannot reserve memory spills the batch. That can deadlock the query: the
    /// reader waits on the older of two files for a batch in the newer one
    /// (apache/datafusion#24883). So a repartition may exceed its share of the pool. Meanwhile
    /// other operators of all queries have less, and spill earlier or fail. A query whose
    /// repartitions together need more than the whole pool is cancelled.
    fn overcommit(&self, reservation: &MemoryReservation, additional: usize) -> bool {
        if !is_repartition(reservation) {
            return false;
        }
        if let MemoryLimit::Finite(max_bytes) = self.pool.memory_limit() {
            let held = self.query.repartitioned.load(Ordering::Relaxed);
            if held.saturating_add(additional) > max_bytes {
                self.query.shed(Cause::Repartitions(max_bytes));
                return false;
            }
        }
        self.pool.grow(reservation, additional);
        true
    }

    fn count(&self, reservation: &MemoryReservation, additional: usize) {
        self.query.reserved.fetch_add(additional, Ordering::Relaxed);
        if is_repartition(reservation) {
            self.query.repartitioned.fetch_add(additional, Ordering::Relaxed);
        }
    }
}

fn is_repartition(reservation: &MemoryReservation) -> bool {
    reservation.consumer().name().starts_with("RepartitionExec")
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
        self.count(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.query.reserved.fetch_sub(shrink, Ordering::Relaxed);
        if is_repartition(reservation) {
            self.query.repartitioned.fetch_sub(shrink, Ordering::Relaxed);
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> PlanResult<()> {
        if let Err(error) = self.pool.try_grow(reservation, additional)
            && !self.overcommit(reservation, additional)
        {
            return Err(error);
        }
        self.count(reservation, additional);
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
    #![allow(clippy::unwrap_used)]
    use std::io::Write;
    use std::sync::atomic::AtomicBool;
    use std::task::{Wake, Waker};

    use datafusion::execution::memory_pool::GreedyMemoryPool;

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
        assert_eq!(ended(), [true, true, false], "the oldest");
        drop(running);
        assert!(!queries.shed());
    }

    /// A query over a pool of `limit` bytes, with reservations of a sort and of a repartition.
    fn counted(limit: usize) -> (Arc<Query>, MemoryReservation, MemoryReservation) {
        let query = Queries::default().begin(&Control::new());
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
        let context = TaskContext::default();
        let mut runtime = RuntimeEnv::clone(&context.runtime_env());
        runtime.memory_pool = pool;
        let context = query.query_context(context.with_runtime(Arc::new(runtime))).unwrap();
        let [sort, repartition] = ["ExternalSorter[0]", "RepartitionExec[0]"]
            .map(|name| MemoryConsumer::new(name).register(context.memory_pool()));
        (query, sort, repartition)
    }

    #[test]
    fn a_query_that_was_cancelled_cannot_spill() {
        let query = Queries::default().begin(&Control::new());
        let context = query.query_context(TaskContext::default()).unwrap();
        let disk = &context.runtime_env().disk_manager;
        let mut writer = disk.create_tmp_file("a sort").unwrap().open_writer().unwrap();
        writer.write_all(b"rows").unwrap();
        query.control.cancel();
        writer.write_all(b"rows").unwrap_err();
    }

    #[test]
    fn a_query_that_waits_is_woken_when_it_is_shed() {
        let (queries, control) = (Arc::new(Queries::default()), Control::new());
        let query = queries.begin(&control);
        let (woken, waker) = flagged_waker();
        assert!(!query.is_shed(&Context::from_waker(&waker)));
        assert!(queries.shed());
        assert!(woken.load(Ordering::Relaxed));
        assert!(query.is_shed(&Context::from_waker(&waker)) && control.is_cancelled());
    }

    /// A waker, and whether it was woken.
    fn flagged_waker() -> (Arc<AtomicBool>, Waker) {
        struct Flag(Arc<AtomicBool>);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(AtomicBool::new(false));
        let waker = Waker::from(Arc::new(Flag(Arc::clone(&woken))));
        (woken, waker)
    }

    #[test]
    fn repartitions_of_a_query_may_exceed_a_full_pool_up_to_its_size() {
        let (query, sort, _) = counted(100);
        sort.try_grow(90).unwrap();
        assert!(sort.try_grow(20).is_err());
        assert!(!query.control.is_cancelled());

        let (query, sort, repartition) = counted(100);
        sort.try_grow(90).unwrap();
        repartition.try_grow(60).unwrap();
        let other = repartition.new_empty();
        other.try_grow(40).unwrap();
        assert!(!query.control.is_cancelled());
        let error = other.try_grow(1).unwrap_err();
        assert!(query.control.is_cancelled(), "{error}");
        let why = query.why(Error::user(Code::Cancelled, "cancelled"));
        assert!(why.to_string().contains("between the partitions"), "{why}");
        repartition.free();
        other.free();
        assert_eq!(query.repartitioned.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_process_knows_its_memory() {
        assert!(resident_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
