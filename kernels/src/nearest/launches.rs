//! The launches of `nearest.cu`, and what comes back from them.

use std::ops::Range;

use super::cuda::{STAGE_BYTES, Stage, TILE};
use super::device::Work;
use super::result::{Give, Neighbour, Pair, Top};
use super::space::Side;
use super::{Metric, OPERATION, Pairing};
use crate::cuda::backend::{Argument, Backend, Launch, Results, int};
use crate::element::Element;
use crate::error::{Error, Result};

/// Threads of a block, in every kernel.
const THREADS: u32 = 256;
/// Rows, or pairs, that one block of a kernel with a warp for each of them has.
const WARPS: usize = THREADS as usize / 32;
/// Shared memory of the screen: three stages of a slice of both sides.
const SCREEN_BYTES: u32 = 3 * 2 * TILE as u32 * 80;

impl<B: Backend, T: Element> Stage<'_, B, T> {
    /// Codes a piece of the base.
    pub(super) fn code_base(
        &self,
        range: &Range<usize>,
        vectors: &B::Buffer,
        work: &Work<B>,
    ) -> Result<()> {
        let coded = [&work.x_codes, &work.x_size, &work.x_error, &work.x_bias];
        let space = [&work.x_centre, &work.tilt];
        let padded = range.len().next_multiple_of(TILE);
        let room = self.plan.piece;
        self.code(&self.problem.base, false, vectors, room, range.len(), padded, space, coded)
    }

    /// Codes some vectors, and measures what that costs.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn code(
        &self,
        side: &Side<'_, T>,
        is_query: bool,
        vectors: &B::Buffer,
        room: usize,
        rows: usize,
        padded_rows: usize,
        [centre, tilt]: [&B::Buffer; 2],
        [codes, size, error, bias]: [&B::Buffer; 4],
    ) -> Result<()> {
        let kernel = if is_single::<T>() { "code_f32" } else { "code_f64" };
        let grid = ((padded_rows / WARPS) as u32, 1);
        // (vectors, room, gain, centre, tilt, cols, padded, rows, is_query, metric, codes, size, error, bias)
        self.backend.launch(
            Launch { kernel, grid, block: THREADS, shared_bytes: 0, results: Results::Fixed },
            &[
                Argument::Buffer(vectors),
                int(OPERATION, room)?,
                Argument::Double(side.gain),
                Argument::Buffer(centre),
                Argument::Buffer(tilt),
                int(OPERATION, self.plan.cols)?,
                int(OPERATION, self.plan.padded_cols())?,
                int(OPERATION, rows)?,
                Argument::Int(i32::from(is_query)),
                self.metric(),
                Argument::Buffer(codes),
                Argument::Buffer(size),
                Argument::Buffer(error),
                Argument::Buffer(bias),
            ],
        )
    }

    fn screen_launch(&self, kernel: &'static str, rows: usize, cols: usize) -> Launch {
        Launch {
            kernel,
            grid: (rows.div_ceil(TILE) as u32, cols.div_ceil(TILE) as u32),
            block: THREADS,
            shared_bytes: SCREEN_BYTES,
            results: Results::Unordered,
        }
    }

    fn screened<'b>(&self, work: &'b Work<B>) -> [Argument<'b, B::Buffer>; 8] {
        [
            Argument::Buffer(&work.q_codes),
            Argument::Buffer(&work.q_size),
            Argument::Buffer(&work.q_error),
            Argument::Buffer(&work.thresholds),
            Argument::Buffer(&work.x_codes),
            Argument::Buffer(&work.x_size),
            Argument::Buffer(&work.x_error),
            Argument::Buffer(&work.x_bias),
        ]
    }

    /// Lists the candidates of a part for every query.
    pub(super) fn screen(
        &self,
        part: usize,
        cols: usize,
        rows: usize,
        work: &Work<B>,
    ) -> Result<()> {
        let [a, b, c, d, e, f, g, h] = self.screened(work);
        // (q_codes, q_size, q_error, thresholds, x_codes, x_size, x_error, x_bias, padded, part, capacity, counts,
        //  list)
        self.backend.launch(
            self.screen_launch("screen", rows, cols),
            &[
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                h,
                int(OPERATION, self.plan.padded_cols())?,
                int(OPERATION, part)?,
                int(OPERATION, self.plan.capacity)?,
                Argument::Buffer(&work.counts),
                Argument::Buffer(&work.list),
            ],
        )
    }

    /// Scores the candidates of a part.
    pub(super) fn settle(
        &self,
        range: &Range<usize>,
        vectors: &B::Buffer,
        part: usize,
        cols: usize,
        rows: usize,
        work: &Work<B>,
    ) -> Result<()> {
        let plan = &self.plan;
        let entry_bytes = size_of::<f64>() + size_of::<i32>();
        let launch = Launch {
            kernel: if is_single::<T>() { "settle_f32" } else { "settle_f64" },
            grid: (rows as u32, 1),
            block: THREADS,
            shared_bytes: ((plan.k + plan.capacity) * entry_bytes) as u32,
            results: Results::Fixed,
        };
        // (queries, queries_room, base, base_room, cols, metric, k, capacity, part, part_cols, piece, own, rests, unit,
        //  thresholds, counts, list, top_scores, top_rows, top_counts, overflows)
        self.backend.launch(
            launch,
            &[
                Argument::Buffer(&work.queries),
                int(OPERATION, plan.rows)?,
                Argument::Buffer(vectors),
                int(OPERATION, plan.piece)?,
                int(OPERATION, plan.cols)?,
                self.metric(),
                int(OPERATION, plan.k)?,
                int(OPERATION, plan.capacity)?,
                int(OPERATION, part)?,
                int(OPERATION, cols)?,
                int(OPERATION, range.start)?,
                Argument::Buffer(&work.own),
                Argument::Buffer(&work.rests),
                Argument::Double(self.problem.unit()),
                Argument::Buffer(&work.thresholds),
                Argument::Buffer(&work.counts),
                Argument::Buffer(&work.list),
                Argument::Buffer(&work.top_scores),
                Argument::Buffer(&work.top_rows),
                Argument::Buffer(&work.top_counts),
                Argument::Buffer(&work.overflows),
            ],
        )
    }

    /// Brings the nearest rows of a tile's queries back.
    pub(super) fn take_tops(&self, tops: &mut [Top<'_>], work: &Work<B>) -> Result<()> {
        let k = self.plan.k;
        let entry_bytes = size_of::<f64>() + size_of::<i32>();
        let stage =
            (STAGE_BYTES / (k * entry_bytes + size_of::<i32>())).clamp(1, tops.len().max(1));
        let (mut scores, mut rows) = (vec![0f64; stage * k], vec![0i32; stage * k]);
        let mut counts = vec![0i32; stage];
        for (index, tops) in tops.chunks_mut(stage).enumerate() {
            let (first, len) = (index * stage, tops.len());
            let (scores, rows) = (&mut scores[..len * k], &mut rows[..len * k]);
            let counts = &mut counts[..len];
            let download = |buffer, width: usize, into: &mut [u8]| {
                self.backend.download(buffer, first * width, into)
            };
            download(&work.top_scores, 8 * k, bytemuck::cast_slice_mut(scores))?;
            download(&work.top_rows, 4 * k, bytemuck::cast_slice_mut(rows))?;
            download(&work.top_counts, 4, bytemuck::cast_slice_mut(counts))?;
            let lists = scores.chunks(k).zip(rows.chunks(k)).zip(counts);
            for (top, ((scores, rows), count)) in tops.iter_mut().zip(lists) {
                let found = scores.iter().zip(rows).take(usize::try_from(*count).unwrap_or(0));
                for (place, (&score, &position)) in top.places.iter_mut().zip(found) {
                    *place = Neighbour { index: self.row_of(position)?, score };
                    *top.count += 1;
                }
            }
        }
        Ok(())
    }

    /// The row of the base at a position that a device gave.
    fn row_of(&self, position: i32) -> Result<usize> {
        let row = usize::try_from(position).ok().and_then(|at| self.problem.base.rows.get(at));
        row.map(|&row| row as usize).ok_or_else(|| Error::Internal {
            operation: OPERATION,
            found: format!("position {position} of {} rows", self.problem.base.rows.len()),
        })
    }

    /// Lists the pairs of a part that may reach the threshold. Returns how many there are.
    pub(super) fn screen_pairs(
        &self,
        first: usize,
        rows: usize,
        range: &Range<usize>,
        part: &Range<usize>,
        work: &mut Work<B>,
    ) -> Result<usize> {
        self.backend.clear(&mut work.found)?;
        let work = &*work;
        let [a, b, c, d, e, f, g, h] = self.screened(work);
        let half = self.problem.pairing == Pairing::Within;
        // (the eight of `screen`, padded, part, first, piece, half, capacity, count, found_rows, found_cols)
        self.backend.launch(
            self.screen_launch("screen_pairs", rows, part.len()),
            &[
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                h,
                int(OPERATION, self.plan.padded_cols())?,
                int(OPERATION, part.start)?,
                int(OPERATION, first)?,
                int(OPERATION, range.start)?,
                Argument::Int(i32::from(half)),
                Argument::Unsigned(self.plan.capacity as u32),
                Argument::Buffer(&work.found),
                Argument::Buffer(&work.found_rows),
                Argument::Buffer(&work.found_cols),
            ],
        )?;
        let mut found = [0u32];
        self.backend.download(&work.found, 0, bytemuck::cast_slice_mut(&mut found))?;
        Ok(found[0] as usize)
    }

    /// Scores the pairs that were listed, and gives those that reach the threshold.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn give_pairs(
        &self,
        first: usize,
        range: &Range<usize>,
        vectors: &B::Buffer,
        found: usize,
        threshold: f64,
        work: &Work<B>,
        give: &Give<'_>,
    ) -> Result<()> {
        if found == 0 {
            return Ok(());
        }
        let launch = Launch {
            kernel: if is_single::<T>() { "pairs_f32" } else { "pairs_f64" },
            grid: (found.div_ceil(WARPS) as u32, 1),
            block: THREADS,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        // (queries, queries_room, base, base_room, cols, metric, pairs, found_rows, found_cols, scores)
        self.backend.launch(
            launch,
            &[
                Argument::Buffer(&work.queries),
                int(OPERATION, self.plan.rows)?,
                Argument::Buffer(vectors),
                int(OPERATION, self.plan.piece)?,
                int(OPERATION, self.plan.cols)?,
                self.metric(),
                int(OPERATION, found)?,
                Argument::Buffer(&work.found_rows),
                Argument::Buffer(&work.found_cols),
                Argument::Buffer(&work.found_scores),
            ],
        )?;
        let metric = self.problem.metric;
        let stage = (STAGE_BYTES / 16).min(found);
        let (mut rows, mut cols) = (vec![0i32; stage], vec![0i32; stage]);
        let mut scores = vec![0f64; stage];
        let mut pairs = Vec::with_capacity(stage);
        for start in (0..found).step_by(stage) {
            let len = stage.min(found - start);
            let (rows, cols, scores) = (&mut rows[..len], &mut cols[..len], &mut scores[..len]);
            let download = |buffer, width: usize, into: &mut [u8]| {
                self.backend.download(buffer, start * width, into)
            };
            download(&work.found_rows, 4, bytemuck::cast_slice_mut(rows))?;
            download(&work.found_cols, 4, bytemuck::cast_slice_mut(cols))?;
            download(&work.found_scores, 8, bytemuck::cast_slice_mut(scores))?;
            for ((&mut row, &mut col), &mut score) in rows.iter_mut().zip(cols).zip(scores) {
                if metric.rank(score) >= metric.rank(threshold) {
                    let row = self.query_of(first, row)?;
                    let col = self.row_of(col.saturating_add(range.start as i32))?;
                    pairs.push(Pair { row, col, score });
                }
            }
            give(&mut pairs)?;
        }
        Ok(())
    }

    /// The row of a tile's query that a device gave.
    fn query_of(&self, first: usize, row: i32) -> Result<usize> {
        let at =
            usize::try_from(row).ok().and_then(|row| self.problem.queries.rows.get(first + row));
        at.map(|&row| row as usize).ok_or_else(|| Error::Internal {
            operation: OPERATION,
            found: format!("row {row} of a tile of {} queries", self.plan.rows),
        })
    }

    fn metric<Buffer>(&self) -> Argument<'static, Buffer> {
        Argument::Int(match self.problem.metric {
            Metric::Cosine => 0,
            Metric::Dot => 1,
            Metric::SquaredL2 => 2,
        })
    }
}

fn is_single<T>() -> bool {
    size_of::<T>() == size_of::<f32>()
}
