//! Pairs over shared samples on a CUDA device: tiles of pairs, the six products of a tile in one launch for each slab.
//!
//! ```text
//!   a slab   rows: values │ masks │ squares │ columns: values │ masks │ squares       packed panels of 64, [sample][64]
//!   C        x·x' │ m·m' │ x·m' │ m·x' │ q·m' │ m·q'   ── combined ──▶  r, NaN, or 2 where two passes are needed
//! ```
//! The coefficients of a whole tile come back; the host computes those that cancelled again, and the sink sees all.

use std::sync::Mutex;

use rayon::prelude::*;

use super::{KINDS, LEAST_PART, PRODUCTS, Side, pack_panel, two_passes};
use crate::budget::{halving, largest_tile, zeroed};
use crate::correlate::sink::{ScoreBlock, Taker};
use crate::correlate::{OPERATION, Pairing, Tiles};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Rows of a panel: those of `product_parts`.
const PANEL: usize = 64;
/// Panels of the largest tile in each direction.
const MOST_PANELS: usize = 64;
/// Samples of a slab.
const SLAB: usize = 1024;
const THREADS: usize = 256;
/// What the device writes where a coefficient must be computed again: no coefficient is larger than 1.
const AGAIN: f64 = 2.0;
/// Rows that are handed to the sink together.
const BLOCK_ROWS: usize = 256;

pub(super) struct Task<'a, T> {
    pub(super) left: Side<'a, T>,
    pub(super) right: Side<'a, T>,
    pub(super) pairing: Pairing,
    pub(super) min_overlap: usize,
    /// What the host holds besides.
    pub(super) fixed_bytes: usize,
}

impl<T: Element> Task<'_, T> {
    pub(super) fn run<B: Backend>(
        &self,
        devices: &[B],
        sink: &mut dyn Taker,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<()> {
        let (rows, cols) = (self.left.view.rows(), self.right.view.rows());
        let plan =
            |panels: usize| Plan { side: panels * PANEL, slab: SLAB.min(self.left.view.cols()) };
        let most = rows.max(cols).div_ceil(PANEL * devices.len()).min(MOST_PANELS);
        let host_cost = |panels| self.fixed_bytes + devices.len() * plan(panels).host_bytes::<B>();
        let host_bytes = execution.budget.host_bytes;
        let on_host = largest_tile(OPERATION, Memory::Host, host_bytes, most, host_cost)?;
        let bytes = device_bytes(devices, execution)?;
        let on_device = largest_tile(OPERATION, Memory::Device, bytes, most, |panels| {
            plan(panels).device_bytes::<B>()
        })?;
        let ((states, panels), halvings) = halving(on_host.min(on_device), |panels| {
            let allocate = |backend| Buffers::allocate(backend, &plan(panels));
            Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, panels))
        })?;
        stats.halvings += halvings;
        stats.peak_bytes = host_cost(panels) as u64;
        let plan = plan(panels);
        let tiles = Tiles { rows, cols, tile: plan.side, pairing: self.pairing };
        let corners: Vec<_> = tiles.corners().collect();
        execution.control.begin(corners.len() as u64);
        let shared = Mutex::new((sink, stats));
        let pool = execution.threads()?;
        spread(OPERATION, devices, states, corners, &pool, |backend, mut buffers, tiles| {
            while let Some(corner) = tiles.next() {
                let again = self.compute(backend, &plan, corner, &mut buffers, execution)?;
                let blocks = self.blocks(&plan, corner, &buffers.host_scores);
                let (sink, stats) =
                    &mut *shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                // Only a lock that no other device waits for may be held while all threads work: see `spread`.
                if devices.len() == 1 {
                    sink.take_blocks(&blocks)?;
                } else {
                    sink.take_blocks_alone(&blocks)?;
                }
                stats.fallbacks += again;
                stats.tiles += 1;
                execution.control.advance(1);
            }
            Ok(())
        })
    }

    /// Leaves a tile's coefficients in the host's buffer. Returns how many were computed twice.
    fn compute<B: Backend>(
        &self,
        backend: &B,
        plan: &Plan,
        (row0, col0): (usize, usize),
        buffers: &mut Buffers<B>,
        execution: &Execution,
    ) -> Result<u64> {
        backend.clear(&mut buffers.sums)?;
        backend.upload(&mut buffers.row_kinds, 0, &self.kinds(&self.left, row0, plan.side))?;
        backend.upload(&mut buffers.col_kinds, 0, &self.kinds(&self.right, col0, plan.side))?;
        let samples = self.left.view.cols();
        let depth = |slab: usize| plan.slab.min(samples - slab * plan.slab);
        let fill = |slab: usize, bytes: &mut [u8]| {
            let (start, depth) = (slab * plan.slab, depth(slab));
            let used = 2 * KINDS * depth * plan.side * size_of::<f64>();
            let packed: &mut [f64] = bytemuck::cast_slice_mut(&mut bytes[..used]);
            let (a, b) = packed.split_at_mut(KINDS * depth * plan.side);
            pack_tile(&self.left, row0, start, depth, a);
            pack_tile(&self.right, col0, start, depth, b);
            used
        };
        let panels = plan.side / PANEL;
        let launch = Launch {
            kernel: "product_parts",
            grid: (panels as u32, (panels * PRODUCTS.len()) as u32),
            block: THREADS as u32,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        let within = i32::from(self.pairing == Pairing::Within);
        let sums = &buffers.sums;
        buffers.slabs.run(backend, samples.div_ceil(plan.slab), fill, |slab, packed| {
            execution.control.check(OPERATION)?;
            // (packed, c, depth, side, row0, col0, within)
            backend.launch(
                launch,
                &[
                    Argument::Buffer(packed),
                    Argument::Buffer(sums),
                    int(OPERATION, depth(slab))?,
                    int(OPERATION, plan.side)?,
                    int(OPERATION, row0)?,
                    int(OPERATION, col0)?,
                    Argument::Int(within),
                ],
            )
        })?;
        let launch = Launch {
            kernel: "combine_parts",
            grid: (plan.side.div_ceil(THREADS) as u32, plan.side as u32),
            ..launch
        };
        // (c, row_kinds, col_kinds, side, samples, min_overlap, least_part, again)
        backend.launch(
            launch,
            &[
                Argument::Buffer(&buffers.sums),
                Argument::Buffer(&buffers.row_kinds),
                Argument::Buffer(&buffers.col_kinds),
                int(OPERATION, plan.side)?,
                int(OPERATION, samples)?,
                // One beyond the samples is as good as any more.
                int(OPERATION, self.min_overlap.min(samples + 1))?,
                Argument::Double(LEAST_PART),
                Argument::Double(AGAIN),
            ],
        )?;
        let scores = &mut buffers.host_scores[..];
        backend.download(&buffers.sums, 0, bytemuck::cast_slice_mut(scores))?;
        let (rows, cols) = (self.left.view.rows(), self.right.view.rows());
        let twice = scores.par_chunks_mut(plan.side).enumerate().map(|(row, scores)| {
            execution.control.check(OPERATION)?;
            let row = row0 + row;
            let mut again = 0;
            for (col, score) in (col0..cols).zip(scores) {
                let is_pair = row < rows && (within == 0 || col > row);
                if is_pair && *score == AGAIN {
                    again += 1;
                    *score = two_passes(
                        self.left.view.row(row),
                        self.right.view.row(col),
                        (&self.left.rows[row].normal, &self.right.rows[col].normal),
                    );
                }
            }
            Ok(again)
        });
        twice.try_reduce(|| 0, |a, b| Ok(a + b))
    }

    /// 0 for a series that is left out, 1 for one with gaps, 2 for one without.
    fn kinds(&self, side: &Side<'_, T>, first: usize, count: usize) -> Vec<u8> {
        let mut kinds = vec![0; count];
        for (kind, row) in kinds.iter_mut().zip(&side.rows[first..]) {
            *kind = match row.normal.exclusion {
                Some(_) => 0,
                None => 1 + u8::from(row.is_complete),
            };
        }
        kinds
    }

    fn blocks<'s>(
        &self,
        plan: &Plan,
        (row0, col0): (usize, usize),
        scores: &'s [f64],
    ) -> Vec<ScoreBlock<'s>> {
        let rows = plan.side.min(self.left.view.rows() - row0);
        let cols = plan.side.min(self.right.view.rows() - col0);
        scores
            .chunks(BLOCK_ROWS * plan.side)
            .take(rows.div_ceil(BLOCK_ROWS))
            .enumerate()
            .map(|(index, scores)| ScoreBlock {
                row0: row0 + index * BLOCK_ROWS,
                col0,
                rows: BLOCK_ROWS.min(rows - index * BLOCK_ROWS),
                cols,
                stride: plan.side,
                symmetric: self.pairing == Pairing::Within,
                scores,
            })
            .collect()
    }
}

/// The sizes of a tile: rows and columns in whole panels, samples of a slab.
#[derive(Clone, Copy)]
struct Plan {
    side: usize,
    slab: usize,
}

impl Plan {
    fn slab_bytes(&self) -> usize {
        2 * KINDS * self.slab * self.side * size_of::<f64>()
    }

    fn host_bytes<B: Backend>(&self) -> usize {
        let scores = self.side * self.side * size_of::<f64>();
        Feed::<B>::bytes(self.slab_bytes()) + scores + 2 * self.side
    }

    fn device_bytes<B: Backend>(&self) -> usize {
        let sums = PRODUCTS.len() * self.side * self.side * size_of::<f64>();
        Feed::<B>::bytes(self.slab_bytes()) + sums + 2 * self.side
    }
}

struct Buffers<B: Backend> {
    slabs: Feed<B>,
    host_scores: Vec<f64>,
    sums: B::Buffer,
    row_kinds: B::Buffer,
    col_kinds: B::Buffer,
}

impl<B: Backend> Buffers<B> {
    fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        let pairs = plan.side * plan.side;
        Ok(Self {
            slabs: Feed::allocate(backend, OPERATION, plan.slab_bytes())?,
            host_scores: zeroed(OPERATION, pairs)?,
            sums: backend.allocate(OPERATION, PRODUCTS.len() * pairs * size_of::<f64>())?,
            row_kinds: backend.allocate(OPERATION, plan.side)?,
            col_kinds: backend.allocate(OPERATION, plan.side)?,
        })
    }
}

/// Values, masks and squares of the rows from `row0` on, one after the other. Rows that are not there become zeros.
fn pack_tile<T: Element>(
    side: &Side<'_, T>,
    row0: usize,
    start: usize,
    depth: usize,
    packed: &mut [f64],
) {
    let (values, rest) = packed.split_at_mut(packed.len() / KINDS);
    let (masks, squares) = rest.split_at_mut(rest.len() / 2);
    let rows = side.view.rows();
    let panel = depth * PANEL;
    values
        .par_chunks_mut(panel)
        .zip(masks.par_chunks_mut(panel))
        .zip(squares.par_chunks_mut(panel))
        .enumerate()
        .for_each(|(index, ((values, masks), squares))| {
            let first = rows.min(row0 + index * PANEL);
            let places = first..rows.min(first + PANEL);
            pack_panel(side, places, PANEL, start, depth, values, Some((masks, squares)));
        });
}
