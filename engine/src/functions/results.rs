//! The memory of window functions: results that are not emitted yet, and the rows that a function
//! keeps of its frame. DataFusion counts neither.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use parking_lot::Mutex;

use super::widths::total_bytes;

/// Rows whose results a streaming window operator holds at a time, in all of its partitions.
const HELD_ROWS: usize = 16 << 10;
/// Bytes that a function keeps of each row of its frame, besides the row's values.
const ROW_BYTES: usize = 80;
/// Changes of less than this are not worth a reservation.
const STEP_BYTES: usize = 64 << 10;

/// The memory of one window function in one query, with all of its partitions.
#[derive(Clone, Debug)]
pub(super) struct Results {
    results: Arc<Mutex<Recent>>,
    frames: Arc<Mutex<Held>>,
}

/// The results that the operator holds.
#[derive(Debug)]
struct Recent {
    held: Held,
    /// The latest results of an operator that hands them on while it reads. Another holds them all.
    sizes: Option<VecDeque<usize>>,
}

impl Results {
    /// `streams` says whether the operator hands results on while it reads.
    pub(super) fn of(pool: &Arc<dyn MemoryPool>, streams: bool) -> Self {
        let recent = Recent { held: Held::of(pool), sizes: streams.then(VecDeque::new) };
        Self { results: Arc::new(Mutex::new(recent)), frames: Arc::new(Mutex::new(Held::of(pool))) }
    }

    /// Counts the result of one row. Results of a type with a fixed length take no more than their column does.
    pub(super) fn add(&self, bytes: usize) -> Result<()> {
        let mut results = self.results.lock();
        let Recent { held, sizes } = &mut *results;
        held.grow(bytes)?;
        if let Some(sizes) = sizes {
            sizes.push_back(bytes);
            if sizes.len() > HELD_ROWS
                && let Some(oldest) = sizes.pop_front()
            {
                held.shrink(oldest);
            }
        }
        Ok(())
    }

    /// Counts the results of all rows of a partition.
    pub(super) fn add_all(&self, bytes: u64) -> Result<()> {
        self.results.lock().held.grow(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// What one accumulator keeps of its frame.
    pub(super) fn frame(&self) -> Frame {
        Frame { frames: Arc::clone(&self.frames), bytes: 0 }
    }
}

// Two functions of one plan are the same whatever memory they count against.
impl PartialEq for Results {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Results {}

impl Hash for Results {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Bytes that change often, and are reserved in steps.
#[derive(Debug)]
struct Held {
    reservation: MemoryReservation,
    bytes: usize,
}

impl Held {
    fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        let reservation = MemoryConsumer::new("window functions").register(pool);
        Self { reservation, bytes: 0 }
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= self.reservation.size().saturating_add(STEP_BYTES) {
            self.reservation.try_resize(self.bytes)?;
        }
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.bytes.saturating_add(2 * STEP_BYTES) <= self.reservation.size() {
            self.reservation.resize(self.bytes);
        }
    }
}

/// The rows that one accumulator keeps.
#[derive(Debug)]
pub(super) struct Frame {
    frames: Arc<Mutex<Held>>,
    bytes: usize,
}

impl Frame {
    /// Counts the rows of `values`, which the accumulator keeps.
    pub(super) fn keep(&mut self, values: &[ArrayRef]) -> Result<()> {
        let bytes = kept(values);
        self.bytes = self.bytes.saturating_add(bytes);
        self.frames.lock().grow(bytes)
    }

    /// The opposite of [`Self::keep`].
    pub(super) fn release(&mut self, values: &[ArrayRef]) {
        let bytes = kept(values).min(self.bytes);
        self.bytes -= bytes;
        self.frames.lock().shrink(bytes);
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.frames.lock().shrink(self.bytes);
    }
}

fn kept(values: &[ArrayRef]) -> usize {
    let rows = values.first().map_or(0, |column| column.len());
    let bytes = values.iter().map(|column| total_bytes(column.as_ref()));
    let bytes = usize::try_from(bytes.fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
    bytes.saturating_add(rows.saturating_mul(ROW_BYTES))
}
