//! The memory of window functions: the results of rows that are not handed on yet, and the rows that a function keeps of its frame.
//! DataFusion counts neither.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use super::widths::total_bytes;

/// Rows whose results a streaming window operator holds at a time.
const HELD_ROWS: usize = 8_192;
/// Bytes that a function keeps of each row of its frame, besides the row's values.
const ROW_BYTES: usize = 80;
/// Changes of less than this are not worth a reservation.
const STEP_BYTES: usize = 1 << 20;

/// The memory of one window function in one query.
#[derive(Clone, Debug)]
pub(super) struct Results {
    pool: Arc<dyn MemoryPool>,
    /// The results of all partitions, which an operator that does not stream holds until its end.
    all: Option<Arc<MemoryReservation>>,
}

impl Results {
    /// `streams` says whether the operator hands results on while it reads.
    pub(super) fn of(pool: &Arc<dyn MemoryPool>, streams: bool) -> Self {
        let all = (!streams).then(|| Arc::new(reservation(pool)));
        Self { pool: Arc::clone(pool), all }
    }

    /// Those of one partition, with values of type `of`.
    pub(super) fn of_partition(&self, of: &DataType) -> Recent {
        Recent {
            results: self.clone(),
            is_fixed: of.primitive_width().is_some(),
            sizes: VecDeque::new(),
            held: Held::of(&self.pool),
        }
    }

    /// Counts an array of results, which the operator holds until its end.
    pub(super) fn add(&self, bytes: u64) -> Result<()> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match &self.all {
            Some(all) => all.try_grow(bytes),
            None => reservation(&self.pool).try_grow(bytes),
        }
    }

    /// The rows of a frame.
    pub(super) fn frame(&self) -> Held {
        Held::of(&self.pool)
    }
}

fn reservation(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
    MemoryConsumer::new("window functions").register(pool)
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

/// Results of one partition that the operator may hold.
#[derive(Debug)]
pub(super) struct Recent {
    results: Results,
    /// Numbers take no more than their column does.
    is_fixed: bool,
    sizes: VecDeque<usize>,
    held: Held,
}

impl Recent {
    pub(super) fn add(&mut self, bytes: usize) -> Result<()> {
        if self.is_fixed {
            return Ok(());
        }
        if let Some(all) = &self.results.all {
            return all.try_grow(bytes);
        }
        self.sizes.push_back(bytes);
        self.held.grow(bytes)?;
        if self.sizes.len() > HELD_ROWS
            && let Some(oldest) = self.sizes.pop_front()
        {
            self.held.shrink(oldest);
        }
        Ok(())
    }
}

/// Bytes that change often, and are reserved in steps.
#[derive(Debug)]
pub(super) struct Held {
    reservation: MemoryReservation,
    bytes: usize,
}

impl Held {
    fn of(pool: &Arc<dyn MemoryPool>) -> Self {
        Self { reservation: reservation(pool), bytes: 0 }
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

    /// Counts the rows of `values`, which the function keeps.
    pub(super) fn keep(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.grow(kept(values))
    }

    /// The opposite of [`Self::keep`].
    pub(super) fn drop_rows(&mut self, values: &[ArrayRef]) {
        self.shrink(kept(values));
    }
}

fn kept(values: &[ArrayRef]) -> usize {
    let rows = values.first().map_or(0, |column| column.len());
    let bytes = values.iter().map(|column| total_bytes(column.as_ref()));
    let bytes = usize::try_from(bytes.fold(0, u64::saturating_add)).unwrap_or(usize::MAX);
    bytes.saturating_add(rows.saturating_mul(ROW_BYTES))
}
