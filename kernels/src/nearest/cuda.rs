//! Nearest vectors on CUDA devices: tiles of queries stay, pieces of the base stream past them.
//!
//! ```text
//!   host     fill piece 0 │ fill piece 1 │ …        vectors as they came in, only those that can be results
//!   device                │ code 0, then part by part: screen, settle │ code 1, …
//!                           parts: 256 rows, 256, 512, 1024, …
//! ```
//! A part is as long as all before it: the k best of what was seen leave about k of it, and those that the screen
//! cannot tell from them. So the lists of candidates stay short, and thresholds are known for all but the first.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::device::{Buffers, Plan, Work};
use super::result::{Give, Nearest, PairSink, Top, shared};
use super::space::Problem;
use super::{OPERATION, Pairing};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Backend, device_bytes, spread};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Rows and columns of a block of the screen.
pub(super) const TILE: usize = 128;
/// Rows of the largest part of the base.
const MOST_PART: usize = 1 << 18;
/// Blocks of `TILE` rows in the largest tile and the largest piece.
const MOST_BLOCKS: usize = 2048;
/// The same where pairs are listed: the list holds at least one block's columns of every query.
const MOST_PAIR_BLOCKS: usize = 64;
/// Bytes that are gathered on the host before they are copied.
pub(super) const STAGE_BYTES: usize = 1 << 18;

pub(super) fn nearest<B: Backend, T: Element>(
    devices: &[B],
    problem: &Problem<'_, T>,
    nearest: &mut Nearest,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let k = nearest.width();
    let mut tops = nearest.tops_of(&problem.queries.rows);
    let lists = problem.queries.rows.len() * size_of::<Top<'_>>();
    let plan = |blocks: usize| Plan::of_nearest(problem, blocks, k);
    let tiles = |rows: usize| {
        let mut left = tops.drain(..);
        let tile = |first| Tile { first, tops: left.by_ref().take(rows).collect() };
        (0..problem.queries.rows.len()).step_by(rows).map(tile).collect()
    };
    let most = MOST_BLOCKS;
    run(devices, problem, (most, lists), plan, tiles, execution, stats, |stage, tile, buffers| {
        stage.nearest(tile, buffers, execution)
    })
}

pub(super) fn join<B: Backend, T: Element>(
    devices: &[B],
    problem: &Problem<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let give = shared(sink);
    let plan = |blocks: usize| Plan::of_pairs(problem, blocks);
    let queries = problem.queries.rows.len();
    let tiles = |rows: usize| {
        let tile = |first| Tile { first, tops: Vec::new() };
        (0..queries).step_by(rows).map(tile).collect()
    };
    let most = MOST_PAIR_BLOCKS;
    run(devices, problem, (most, 0), plan, tiles, execution, stats, |stage, tile, buffers| {
        stage.pairs(tile, threshold, buffers, &give, execution)
    })
}

/// Queries that are on the device together.
struct Tile<'a> {
    first: usize,
    /// Where their results go; none where pairs are looked for.
    tops: Vec<Top<'a>>,
}

#[allow(clippy::too_many_arguments)]
fn run<'t, B: Backend, T: Element>(
    devices: &[B],
    problem: &Problem<'_, T>,
    (most, lists_bytes): (usize, usize),
    plan: impl Fn(usize) -> Plan + Sync,
    tiles: impl FnOnce(usize) -> Vec<Tile<'t>>,
    execution: &Execution,
    stats: &mut Stats,
    work: impl Fn(&Stage<'_, B, T>, &mut Tile<'t>, &mut Buffers<B>) -> Result<u64> + Sync,
) -> Result<()> {
    let largest = problem.queries.rows.len().max(problem.base.rows.len()).div_ceil(TILE);
    let most = most.min(largest);
    let fixed = problem.bytes() + lists_bytes;
    let on_host =
        largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, |tile| {
            fixed + devices.len() * plan(tile).host_bytes::<B>()
        })?;
    let on_device =
        largest_tile(OPERATION, Memory::Device, device_bytes(devices, execution)?, most, |tile| {
            plan(tile).device_bytes::<B>()
        })?;
    let ((buffers, plan), halvings) = halving(on_host.min(on_device), |tile| {
        // Several devices need several tiles.
        let plan = plan(tile).for_devices(devices.len(), problem.queries.rows.len());
        let allocate = |backend| Buffers::allocate(backend, &plan);
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, plan))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = (fixed + devices.len() * plan.host_bytes::<B>()) as u64;
    let tiles = tiles(plan.rows);
    let pieces = problem.base.rows.len().div_ceil(plan.piece);
    stats.tiles += (tiles.len() * pieces) as u64;
    execution.control.begin(stats.tiles);
    let fallbacks = AtomicU64::new(0);
    let pool = execution.threads()?;
    spread(OPERATION, devices, buffers, tiles, &pool, |backend, mut buffers, tiles| {
        let stage = Stage { backend, problem, plan };
        stage.send_space(&mut buffers.work)?;
        while let Some(mut tile) = tiles.next() {
            fallbacks.fetch_add(work(&stage, &mut tile, &mut buffers)?, Ordering::Relaxed);
        }
        Ok(())
    })?;
    stats.fallbacks += fallbacks.into_inner();
    Ok(())
}

/// One device and what it works on.
pub(super) struct Stage<'a, B, T> {
    pub(super) backend: &'a B,
    pub(super) problem: &'a Problem<'a, T>,
    pub(super) plan: Plan,
}

impl<B: Backend, T: Element> Stage<'_, B, T> {
    /// The centres, which stay.
    fn send_space(&self, work: &mut Work<B>) -> Result<()> {
        let problem = self.problem;
        let lists = [
            (&mut work.q_centre, &problem.queries.centre),
            (&mut work.x_centre, &problem.base.centre),
            (&mut work.tilt, &problem.tilt),
        ];
        for (buffer, values) in lists {
            self.backend.upload(buffer, 0, bytemuck::cast_slice(values))?;
        }
        Ok(())
    }

    /// Finds the nearest rows of a tile's queries. Returns how many lists overflowed.
    fn nearest(
        &self,
        tile: &mut Tile<'_>,
        buffers: &mut Buffers<B>,
        execution: &Execution,
    ) -> Result<u64> {
        let rows = tile.tops.len();
        let Buffers { feed, work } = buffers;
        self.send_queries(tile.first, rows, None, work)?;
        for buffer in [&mut work.counts, &mut work.top_counts, &mut work.overflows] {
            self.backend.clear(buffer)?;
        }
        let base = &self.problem.base;
        let pieces = base.rows.len().div_ceil(self.plan.piece);
        let fill = |piece: usize, bytes: &mut [u8]| self.fill(piece, bytes);
        feed.run(self.backend, pieces, fill, |piece, vectors| {
            execution.control.check(OPERATION)?;
            let range = self.piece(piece);
            self.code_base(&range, vectors, work)?;
            let mut part = 0;
            while part < range.len() {
                // Part by part, each as long as all before it.
                let before = range.start + part;
                let most = before.clamp(self.plan.capacity, MOST_PART) / TILE * TILE;
                let cols = most.min(range.len() - part);
                self.screen(part, cols, rows, work)?;
                self.settle(&range, vectors, part, cols, rows, work)?;
                part += cols;
            }
            execution.control.advance(1);
            Ok(())
        })?;
        self.take_tops(&mut tile.tops, work)?;
        let mut overflows = [0u32];
        self.backend.download(&work.overflows, 0, bytemuck::cast_slice_mut(&mut overflows))?;
        Ok(u64::from(overflows[0]))
    }

    /// Gives the pairs of a tile's queries. Returns how often the list overflowed.
    fn pairs(
        &self,
        tile: &Tile<'_>,
        threshold: f64,
        buffers: &mut Buffers<B>,
        give: &Give<'_>,
        execution: &Execution,
    ) -> Result<u64> {
        let rows = self.plan.rows.min(self.problem.queries.rows.len() - tile.first);
        let Buffers { feed, work } = buffers;
        self.send_queries(tile.first, rows, Some(threshold), work)?;
        let pieces = self.problem.base.rows.len().div_ceil(self.plan.piece);
        let mut fallbacks = 0;
        let fill = |piece: usize, bytes: &mut [u8]| self.fill(piece, bytes);
        feed.run(self.backend, pieces, fill, |piece, vectors| {
            execution.control.check(OPERATION)?;
            let range = self.piece(piece);
            self.code_base(&range, vectors, work)?;
            let mut parts = Vec::from([Range { start: 0, end: range.len() }]);
            while let Some(part) = parts.pop() {
                execution.control.check(OPERATION)?;
                let found = self.screen_pairs(tile.first, rows, &range, &part, work)?;
                if found <= self.plan.capacity {
                    self.give_pairs(tile.first, &range, vectors, found, threshold, work, give)?;
                    continue;
                }
                fallbacks += 1;
                let half = (part.len() / 2).next_multiple_of(TILE);
                if half >= part.len() {
                    return Err(Error::Internal {
                        operation: OPERATION,
                        found: format!("{found} pairs of {rows} x {} rows", part.len()),
                    });
                }
                parts.extend([part.start + half..part.end, part.start..part.start + half]);
            }
            execution.control.advance(1);
            Ok(())
        })?;
        Ok(fallbacks)
    }

    /// Positions of a piece of the base.
    fn piece(&self, piece: usize) -> Range<usize> {
        let first = piece * self.plan.piece;
        first..(first + self.plan.piece).min(self.problem.base.rows.len())
    }

    /// Fills a piece: reciprocals of norms, then vectors. Returns the bytes up to the end of the last one.
    fn fill(&self, piece: usize, bytes: &mut [u8]) -> usize {
        let (range, base) = (self.piece(piece), &self.problem.base);
        let (inverses, values) = bytes.split_at_mut(self.plan.piece * size_of::<f64>());
        let inverses: &mut [f64] = bytemuck::cast_slice_mut(inverses);
        inverses[..range.len()].copy_from_slice(&base.inverses[range.clone()]);
        let values: &mut [T] = bytemuck::cast_slice_mut(values);
        values
            .par_chunks_mut(self.plan.cols)
            .zip(range.clone())
            .for_each(|(row, position)| row.copy_from_slice(base.vector(position)));
        self.plan.piece * size_of::<f64>() + range.len() * self.plan.cols * size_of::<T>()
    }

    /// Uploads a tile's queries with all that belongs to them, and codes them.
    fn send_queries(
        &self,
        first: usize,
        rows: usize,
        threshold: Option<f64>,
        work: &mut Work<B>,
    ) -> Result<()> {
        let (plan, problem) = (&self.plan, self.problem);
        let queries = &problem.queries;
        let rests: Vec<f64> =
            (first..first + rows).into_par_iter().map(|query| problem.rest(query)).collect();
        let mut thresholds = vec![f32::INFINITY; plan.padded_rows()];
        for (least, rest) in thresholds.iter_mut().zip(&rests) {
            *least = problem.threshold(threshold, *rest);
        }
        let own: Vec<i32> = (first..first + rows).map(|query| self.own(query)).collect();
        self.backend.upload(&mut work.rests, 0, bytemuck::cast_slice(&rests))?;
        self.backend.upload(&mut work.thresholds, 0, bytemuck::cast_slice(&thresholds))?;
        self.backend.upload(&mut work.own, 0, bytemuck::cast_slice(&own))?;
        let inverses = bytemuck::cast_slice(&queries.inverses[first..first + rows]);
        self.backend.upload(&mut work.queries, 0, inverses)?;
        let row_bytes = plan.cols * size_of::<T>();
        let stage_rows = (STAGE_BYTES / row_bytes).max(1);
        let mut stage: Vec<T> = Vec::with_capacity(stage_rows.min(rows) * plan.cols);
        for start in (0..rows).step_by(stage_rows) {
            stage.clear();
            for row in start..(start + stage_rows).min(rows) {
                stage.extend_from_slice(queries.vector(first + row));
            }
            let offset = plan.rows * size_of::<f64>() + start * row_bytes;
            self.backend.upload(&mut work.queries, offset, bytemuck::cast_slice(&stage))?;
        }
        let coded = [&work.q_codes, &work.q_size, &work.q_error, &work.q_bias];
        let space = [&work.q_centre, &work.tilt];
        self.code(queries, true, &work.queries, plan.rows, rows, plan.padded_rows(), space, coded)
    }

    /// The position in the base of a query that is a row of it; -1 where that does not matter.
    fn own(&self, query: usize) -> i32 {
        if self.problem.pairing == Pairing::Between {
            return -1;
        }
        let row = self.problem.queries.rows[query];
        self.problem.base.rows.binary_search(&row).map_or(-1, |position| position as i32)
    }
}
