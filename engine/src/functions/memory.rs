//! The memory of function results. It counts against the shared pool until the last owner drops the result.

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

/// The name of this memory in errors about exhausted memory.
const CONSUMER: &str = "results of functions";
/// Shortest result that is reserved. Shorter results of 2,000 columns take
/// at most 128 MiB per batch.
pub(super) const RESERVED_BYTES_MIN: u64 = 64 << 10;

/// Counts the arrays of `batch` against `pool` until their last owner drops them.
pub(crate) fn claim(batch: &RecordBatch, pool: &Arc<dyn MemoryPool>) {
    let memory = Memory::of(pool);
    batch.columns().iter().for_each(|column| column.claim(&memory));
}

/// The pool in which results are reserved.
#[derive(Clone)]
pub(super) struct Memory(Arc<dyn MemoryPool>);

impl Default for Memory {
    /// An unbounded pool, for expressions that are planned but not executed.
    fn default() -> Self {
        Self(Arc::new(UnboundedMemoryPool::default()))
    }
}

impl Memory {
    pub(super) fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self(Arc::clone(pool))
    }

    /// Reserves `bytes`, then calls `make`, which allocates at most that much. Afterwards the result reserves only what it
    /// uses. Fails with `RESOURCES_EXHAUSTED` if the pool has no room.
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

// The planner compares functions to find equal expressions. Functions of the same pool are equal.
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

/// The reservation of a buffer, until it is dropped.
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
