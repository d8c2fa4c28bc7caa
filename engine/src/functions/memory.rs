//! The memory of results of functions, which counts against the pool that queries share as long as anybody holds the result.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow_buffer::{MemoryPool as ArrowPool, MemoryReservation as ArrowReservation};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, UnboundedMemoryPool,
};
use datafusion::logical_expr::ColumnarValue;

/// What an error for want of memory calls them.
const CONSUMER: &str = "results of functions";
/// Results up to this length are those of usual rows, and are not reserved.
const RESERVED_BYTES_MIN: u64 = 1 << 20;

/// Counts the arrays of `batch` against `pool` as long as anybody holds them.
pub(crate) fn claim(batch: &RecordBatch, pool: &Arc<dyn MemoryPool>) {
    let memory = Memory::of(pool);
    batch.columns().iter().for_each(|column| column.claim(&memory));
}

/// A pool that results are reserved in.
#[derive(Clone)]
pub(super) struct Memory(Arc<dyn MemoryPool>);

impl Default for Memory {
    /// One without a bound, for expressions that are planned and not executed.
    fn default() -> Self {
        Self(Arc::new(UnboundedMemoryPool::default()))
    }
}

impl Memory {
    pub(super) fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self(Arc::clone(pool))
    }

    /// Calls `make`, which allocates at most `bytes`. They are reserved before; the result keeps what it really takes. Fails with
    /// `RESOURCES_EXHAUSTED` where the pool has no room.
    pub(super) fn holds(
        &self,
        bytes: u64,
        make: impl FnOnce() -> Result<ColumnarValue>,
    ) -> Result<ColumnarValue> {
        if bytes < RESERVED_BYTES_MIN {
            return make();
        }
        let reservation = MemoryConsumer::new(CONSUMER).register(&self.0);
        reservation.try_grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        let made = make()?;
        drop(reservation);
        if let ColumnarValue::Array(array) = &made {
            array.claim(self);
        }
        Ok(made)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

// Functions are compared to find equal expressions in a plan: those of one pool are alike.
impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Memory {}

impl Hash for Memory {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl ArrowPool for Memory {
    fn reserve(&self, size: usize) -> Box<dyn ArrowReservation> {
        let reservation = MemoryConsumer::new(CONSUMER).register(&self.0);
        reservation.grow(size);
        Box::new(Reserved(reservation))
    }

    fn available(&self) -> isize {
        let free = self.capacity().saturating_sub(self.used());
        isize::try_from(free).unwrap_or(isize::MAX)
    }

    fn used(&self) -> usize {
        self.0.reserved()
    }

    fn capacity(&self) -> usize {
        match self.0.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        }
    }
}

/// Bytes of a buffer, until it is dropped.
#[derive(Debug)]
struct Reserved(MemoryReservation);

impl ArrowReservation for Reserved {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn resize(&mut self, size: usize) {
        self.0.resize(size);
    }
}
