//! The sizes of a tile on a device, and its memory.

use super::OPERATION;
use super::cuda::{STAGE_BYTES, TILE};
use super::result::{Neighbour, Pair};
use super::space::Problem;
use crate::cuda::backend::{Backend, Feed};
use crate::element::Element;
use crate::error::Result;

/// The most neighbours that the kernels' shared memory holds lists for.
pub(super) const MOST_NEIGHBOURS: usize = 256;
/// The most dimensions: beyond, the bound on what the tensor cores round would let too much through.
pub(super) const MOST_DIMENSIONS: usize = 16_384;
/// Dimensions of a slice of the screen.
const SLICE: usize = 32;

/// The sizes of a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Queries.
    pub(super) rows: usize,
    /// Rows of the base in a piece.
    pub(super) piece: usize,
    /// Dimensions.
    pub(super) cols: usize,
    /// Neighbours of a query; 0 where pairs are looked for.
    pub(super) k: usize,
    /// Candidates of a query, or pairs of all.
    pub(super) capacity: usize,
    element_bytes: usize,
}

impl Plan {
    /// `blocks` of queries and of base rows.
    fn new<T: Element>(problem: &Problem<'_, T>, blocks: usize) -> Self {
        let (queries, base) = (problem.queries.rows.len(), problem.base.rows.len());
        let rows = (blocks * TILE).min(queries);
        // Three pieces at least, so that copies run beside kernels.
        let piece = (blocks * TILE).min(base.div_ceil(3).next_multiple_of(TILE)).min(base);
        let cols = problem.base.view.cols();
        Self { rows, piece, cols, k: 0, capacity: 0, element_bytes: size_of::<T>() }
    }

    pub(super) fn of_nearest<T: Element>(
        problem: &Problem<'_, T>,
        blocks: usize,
        k: usize,
    ) -> Self {
        let capacity = (8 * k).next_multiple_of(TILE).max(2 * TILE);
        Self { k, capacity, ..Self::new(problem, blocks) }
    }

    pub(super) fn of_pairs<T: Element>(problem: &Problem<'_, T>, blocks: usize) -> Self {
        let plan = Self::new(problem, blocks);
        // One block's columns of every query always fit.
        Self { capacity: plan.padded_rows() * TILE, ..plan }
    }

    /// Fewer queries, where several devices would else not each have a tile.
    pub(super) fn for_devices(self, devices: usize, queries: usize) -> Self {
        let share = queries.div_ceil(devices).next_multiple_of(TILE);
        Self { rows: self.rows.min(share), ..self }
    }

    pub(super) fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of(TILE)
    }

    fn padded_piece(&self) -> usize {
        self.piece.next_multiple_of(TILE)
    }

    pub(super) fn padded_cols(&self) -> usize {
        self.cols.next_multiple_of(SLICE)
    }

    /// Reciprocals of norms and vectors.
    fn vectors_bytes(&self, rows: usize) -> usize {
        rows * (size_of::<f64>() + self.cols * self.element_bytes)
    }

    /// Codes and three facts.
    fn coded_bytes(&self, padded: usize) -> usize {
        padded * (self.padded_cols() * size_of::<u16>() + 3 * size_of::<f32>())
    }

    fn is_of_pairs(&self) -> bool {
        self.k == 0
    }

    /// Entries of the lists of candidates: (nearest, pairs).
    fn listed(&self) -> (usize, usize) {
        if self.is_of_pairs() { (0, self.capacity) } else { (self.rows * self.capacity, 0) }
    }

    pub(super) fn host_bytes<B: Backend>(&self) -> usize {
        let entry = size_of::<Neighbour>().max(size_of::<Pair>()) + 16;
        let stages = 2 * STAGE_BYTES.min(self.rows * self.cols * self.element_bytes)
            + STAGE_BYTES / 16 * entry;
        let of_queries = self.padded_rows() * (size_of::<f64>() + 2 * size_of::<f32>());
        Feed::<B>::bytes(self.vectors_bytes(self.piece)) + stages + of_queries
    }

    pub(super) fn device_bytes<B: Backend>(&self) -> usize {
        let (listed, pairs) = self.listed();
        let of_queries = self.vectors_bytes(self.rows)
            + self.coded_bytes(self.padded_rows())
            + self.padded_rows() * size_of::<f32>()
            + self.rows * (size_of::<f64>() + 3 * size_of::<i32>())
            + self.rows * self.k * (size_of::<f64>() + size_of::<i32>());
        Feed::<B>::bytes(self.vectors_bytes(self.piece))
            + self.coded_bytes(self.padded_piece())
            + of_queries
            + listed * size_of::<i32>()
            + pairs * (size_of::<f64>() + 2 * size_of::<i32>())
            + 3 * self.cols * size_of::<f64>()
            + 16 * size_of::<f64>()
    }
}

/// The memory of one device.
pub(super) struct Buffers<B: Backend> {
    pub(super) feed: Feed<B>,
    pub(super) work: Work<B>,
}

/// All but the pieces of the base; `nearest.cu` says what each is.
pub(super) struct Work<B: Backend> {
    pub(super) queries: B::Buffer,
    pub(super) q_codes: B::Buffer,
    pub(super) q_size: B::Buffer,
    pub(super) q_error: B::Buffer,
    pub(super) q_bias: B::Buffer,
    pub(super) thresholds: B::Buffer,
    pub(super) rests: B::Buffer,
    pub(super) own: B::Buffer,
    pub(super) x_codes: B::Buffer,
    pub(super) x_size: B::Buffer,
    pub(super) x_error: B::Buffer,
    pub(super) x_bias: B::Buffer,
    pub(super) q_centre: B::Buffer,
    pub(super) x_centre: B::Buffer,
    pub(super) tilt: B::Buffer,
    pub(super) counts: B::Buffer,
    pub(super) list: B::Buffer,
    pub(super) top_scores: B::Buffer,
    pub(super) top_rows: B::Buffer,
    pub(super) top_counts: B::Buffer,
    pub(super) overflows: B::Buffer,
    pub(super) found: B::Buffer,
    pub(super) found_rows: B::Buffer,
    pub(super) found_cols: B::Buffer,
    pub(super) found_scores: B::Buffer,
}

impl<B: Backend> Buffers<B> {
    pub(super) fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        let (rows, piece) = (plan.padded_rows(), plan.padded_piece());
        let (listed, pairs) = plan.listed();
        let tops = plan.rows * plan.k;
        // A driver gives no memory of 0 bytes.
        let array = |count: usize, bytes: usize| {
            backend.allocate(OPERATION, (count * bytes).max(size_of::<u32>()))
        };
        let codes = |rows: usize| array(rows * plan.padded_cols(), size_of::<u16>());
        let floats = |count| array(count, size_of::<f32>());
        let doubles = |count| array(count, size_of::<f64>());
        let ints = |count| array(count, size_of::<i32>());
        Ok(Self {
            feed: Feed::allocate(backend, OPERATION, plan.vectors_bytes(plan.piece))?,
            work: Work {
                queries: array(plan.vectors_bytes(plan.rows), 1)?,
                q_codes: codes(rows)?,
                q_size: floats(rows)?,
                q_error: floats(rows)?,
                q_bias: floats(rows)?,
                thresholds: floats(rows)?,
                rests: doubles(plan.rows)?,
                own: ints(plan.rows)?,
                x_codes: codes(piece)?,
                x_size: floats(piece)?,
                x_error: floats(piece)?,
                x_bias: floats(piece)?,
                q_centre: doubles(plan.cols)?,
                x_centre: doubles(plan.cols)?,
                tilt: doubles(plan.cols)?,
                counts: ints(plan.rows)?,
                list: ints(listed)?,
                top_scores: doubles(tops)?,
                top_rows: ints(tops)?,
                top_counts: ints(plan.rows)?,
                overflows: ints(1)?,
                found: ints(1)?,
                found_rows: ints(pairs)?,
                found_cols: ints(pairs)?,
                found_scores: doubles(pairs)?,
            },
        })
    }
}
