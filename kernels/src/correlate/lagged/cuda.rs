//! Best lags on a CUDA device: tiles of pairs, the products of all lags of a tile in one launch.
//!
//! ```text
//!   first series   samples           s ─────────── s + depth                packed panels of 64 rows, [sample][64]
//!   second series  samples   s − L ──────────────────────── s + depth + L   zeros beyond both ends
//!   lag ℓ          the second panel, read from L + ℓ samples on: nothing is copied for a lag
//! ```
//! When all samples have passed, a second kernel picks the best lag of every pair, so that 20 bytes of a pair come back
//! and not 8 for each lag.

use std::sync::Mutex;

use rayon::prelude::*;

use super::{Edge, Edges, Found, LaggedPair, OPERATION, Pairs, Side, Sides, Span};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::product::pack;
use crate::stats::Stats;

/// A grid has at most 65,535 rows of blocks; each lag takes one for every panel.
pub(super) const MOST_LAGS: usize = 65_535;
/// Rows of a panel: those of `product_lags`.
const PANEL: usize = 64;
/// Panels of the largest tile in each direction.
const MOST_PANELS: usize = 16;
/// Samples of a slab.
const SLAB: usize = 2048;
const THREADS: usize = 256;
/// Part of the pairs of its tiles that a list must name to be worth a device: one of so many.
const SPARSE: usize = 16;

/// Whether a list names few of the pairs of the tiles that it touches.
pub(in super::super) fn is_sparse(list: &[(usize, usize)]) -> bool {
    let mut tiles: Vec<_> = list.iter().map(|&(row, col)| (row / PANEL, col / PANEL)).collect();
    tiles.sort_unstable();
    tiles.dedup();
    list.len() * SPARSE < tiles.len() * PANEL * PANEL
}

pub(super) fn run<B: Backend, T: Element>(
    devices: &[B],
    sides: Sides<'_, T>,
    pairs: Pairs<'_>,
    span: &Span,
    fixed_bytes: usize,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<Vec<Found>> {
    let (rows, cols) = (sides.left.view.rows(), sides.right.view.rows());
    if rows == 0 || cols == 0 {
        return Ok(Vec::new());
    }
    let plan = |panels: usize| Plan { rows: panels * PANEL, cols: panels * PANEL, span: *span };
    let most = rows.max(cols).div_ceil(PANEL).min(MOST_PANELS).min(MOST_LAGS / span.lags());
    let host_cost = |panels| fixed_bytes + devices.len() * plan(panels).host_bytes::<B>();
    let host_bytes = execution.budget.host_bytes;
    let on_host = largest_tile(OPERATION, Memory::Host, host_bytes, most, host_cost)?;
    let on_device = largest_tile(
        OPERATION,
        Memory::Device,
        device_bytes(devices, execution)?,
        most,
        |panels| plan(panels).device_bytes::<B>(),
    )?;
    let ((states, panels), halvings) = halving(on_host.min(on_device), |panels| {
        let allocate = |backend| Buffers::allocate(backend, &plan(panels));
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, panels))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = host_cost(panels) as u64;
    let plan = plan(panels);
    let pool = execution.threads()?;
    let (own, others) = pool.run(|| {
        (sides.left.edges(span), if sides.is_within { Vec::new() } else { sides.right.edges(span) })
    });
    let edges = (&own[..], if sides.is_within { &own[..] } else { &others[..] });
    let tiles = match pairs {
        Pairs::All => all_tiles(&sides, plan.rows),
        Pairs::Listed(list) => listed_tiles(list, plan.rows),
    };
    stats.tiles = tiles.len() as u64;
    execution.control.begin(tiles.len() as u64);
    let found = Mutex::new(Vec::new());
    let lock = || found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    pool.run(|| {
        spread(OPERATION, devices, states, tiles, &pool, |backend, mut buffers, tiles| {
            while let Some(tile) = tiles.next() {
                let work = TileWork { backend, sides: &sides, edges, plan, tile: &tile };
                work.run(&mut buffers, execution)?;
                let own = work.take(&mut buffers, pairs)?;
                lock().extend(own);
                execution.control.advance(1);
            }
            Ok(())
        })
    })?;
    Ok(found.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

/// A tile's place, and the places in the list of the pairs that are wanted of it.
struct Tile {
    row0: usize,
    col0: usize,
    listed: Vec<usize>,
}

fn all_tiles<T>(sides: &Sides<'_, T>, side: usize) -> Vec<Tile> {
    let pairing = if sides.is_within {
        super::super::Pairing::Within
    } else {
        super::super::Pairing::Between
    };
    let (rows, cols) = (sides.left.view.rows(), sides.right.view.rows());
    let tiles = super::super::Tiles { rows, cols, tile: side, pairing };
    tiles.corners().map(|(row0, col0)| Tile { row0, col0, listed: Vec::new() }).collect()
}

fn listed_tiles(list: &[(usize, usize)], side: usize) -> Vec<Tile> {
    let corner = |place: usize| (list[place].0 / side * side, list[place].1 / side * side);
    let mut places: Vec<usize> = (0..list.len()).collect();
    places.sort_unstable_by_key(|&place| (corner(place), place));
    places
        .chunk_by(|&a, &b| corner(a) == corner(b))
        .map(|same| {
            let (row0, col0) = corner(same[0]);
            Tile { row0, col0, listed: same.to_vec() }
        })
        .collect()
}

/// The sizes of a tile, in whole panels.
#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    cols: usize,
    span: Span,
}

impl Plan {
    fn slab(&self) -> usize {
        SLAB.min(self.span.samples)
    }

    fn slab_bytes(&self) -> usize {
        let (depth, reach) = (self.slab(), 2 * self.span.max_lag);
        (depth * self.rows + (depth + reach) * self.cols) * size_of::<f64>()
    }

    fn edge_bytes(&self, series: usize) -> usize {
        2 * (self.span.max_lag + 1) * series * size_of::<Edge>()
    }

    fn best_bytes(&self) -> usize {
        self.rows * self.cols * (size_of::<i32>() + 2 * size_of::<f64>())
    }

    fn host_bytes<B: Backend>(&self) -> usize {
        let edges = self.edge_bytes(self.rows.max(self.cols));
        Feed::<B>::bytes(self.slab_bytes()) + edges + self.best_bytes()
    }

    fn device_bytes<B: Backend>(&self) -> usize {
        let sums = self.span.lags() * self.rows * self.cols * size_of::<f64>();
        let edges = self.edge_bytes(self.rows) + self.edge_bytes(self.cols);
        Feed::<B>::bytes(self.slab_bytes()) + sums + edges + self.best_bytes()
    }
}

struct Buffers<B: Backend> {
    slabs: Feed<B>,
    sums: B::Buffer,
    row_edges: B::Buffer,
    col_edges: B::Buffer,
    lags: B::Buffer,
    best: B::Buffer,
    unshifted: B::Buffer,
}

impl<B: Backend> Buffers<B> {
    fn allocate(backend: &B, plan: &Plan) -> Result<Self> {
        let device = |bytes| backend.allocate(OPERATION, bytes);
        let pairs = plan.rows * plan.cols;
        Ok(Self {
            slabs: Feed::allocate(backend, OPERATION, plan.slab_bytes())?,
            sums: device(plan.span.lags() * pairs * size_of::<f64>())?,
            row_edges: device(plan.edge_bytes(plan.rows))?,
            col_edges: device(plan.edge_bytes(plan.cols))?,
            lags: device(pairs * size_of::<i32>())?,
            best: device(pairs * size_of::<f64>())?,
            unshifted: device(pairs * size_of::<f64>())?,
        })
    }
}

/// A tile on its device.
struct TileWork<'a, B, T> {
    backend: &'a B,
    sides: &'a Sides<'a, T>,
    edges: (&'a [Edges], &'a [Edges]),
    plan: Plan,
    tile: &'a Tile,
}

impl<B: Backend, T: Element> TileWork<'_, B, T> {
    fn run(&self, buffers: &mut Buffers<B>, execution: &Execution) -> Result<()> {
        let (plan, span, tile) = (&self.plan, &self.plan.span, self.tile);
        self.backend.clear(&mut buffers.sums)?;
        let depth = |slab: usize| SLAB.min(span.samples - slab * SLAB);
        let fill = |slab: usize, bytes: &mut [u8]| {
            let (start, depth) = (slab * SLAB, depth(slab));
            let values = depth * plan.rows + (depth + 2 * span.max_lag) * plan.cols;
            let packed: &mut [f64] = bytemuck::cast_slice_mut(bytes);
            let (a, b) = packed[..values].split_at_mut(depth * plan.rows);
            pack_panels(&self.sides.left, tile.row0, start, depth, 0, a);
            pack_panels(&self.sides.right, tile.col0, start, depth, span.max_lag, b);
            values * size_of::<f64>()
        };
        let launch = Launch {
            kernel: "product_lags",
            grid: ((plan.cols / PANEL) as u32, (plan.rows / PANEL * span.lags()) as u32),
            block: THREADS as u32,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        let is_half = self.sides.is_within && tile.listed.is_empty();
        let sums = &buffers.sums;
        buffers.slabs.run(self.backend, span.samples.div_ceil(SLAB), fill, |slab, packed| {
            execution.control.check(OPERATION)?;
            // (packed, c, depth, rows, cols, lags, row0, col0, within)
            self.backend.launch(
                launch,
                &[
                    Argument::Buffer(packed),
                    Argument::Buffer(sums),
                    int(OPERATION, depth(slab))?,
                    int(OPERATION, plan.rows)?,
                    int(OPERATION, plan.cols)?,
                    int(OPERATION, span.lags())?,
                    int(OPERATION, tile.row0)?,
                    int(OPERATION, tile.col0)?,
                    Argument::Int(i32::from(is_half)),
                ],
            )
        })?;
        let rows = self.edge_table(self.edges.0, tile.row0, plan.rows);
        self.backend.upload(&mut buffers.row_edges, 0, bytemuck::cast_slice(&rows))?;
        let cols = self.edge_table(self.edges.1, tile.col0, plan.cols);
        self.backend.upload(&mut buffers.col_edges, 0, bytemuck::cast_slice(&cols))?;
        let launch = Launch {
            kernel: "best_lags",
            grid: (plan.cols.div_ceil(THREADS) as u32, plan.rows as u32),
            block: THREADS as u32,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        // (sums, row_edges, col_edges, rows, cols, max_lag, min_overlap, samples, lags, best, unshifted)
        self.backend.launch(
            launch,
            &[
                Argument::Buffer(&buffers.sums),
                Argument::Buffer(&buffers.row_edges),
                Argument::Buffer(&buffers.col_edges),
                int(OPERATION, plan.rows)?,
                int(OPERATION, plan.cols)?,
                int(OPERATION, span.max_lag)?,
                int(OPERATION, span.min_overlap)?,
                int(OPERATION, span.samples)?,
                Argument::Buffer(&buffers.lags),
                Argument::Buffer(&buffers.best),
                Argument::Buffer(&buffers.unshifted),
            ],
        )
    }

    /// For each shift: means and squares of the heads, then of the tails, each of all series of a side together.
    fn edge_table(&self, edges: &[Edges], first: usize, count: usize) -> Vec<f64> {
        let shifts = self.plan.span.max_lag + 1;
        let mut table = vec![0.0; 4 * shifts * count];
        for (place, edges) in edges.iter().skip(first).take(count).enumerate() {
            // A series that was left out has none.
            for (shift, (head, tail)) in edges.heads.iter().zip(&edges.tails).enumerate() {
                let parts = [head.mean, head.squares, tail.mean, tail.squares];
                for (part, value) in parts.into_iter().enumerate() {
                    table[(4 * shift + part) * count + place] = value;
                }
            }
        }
        table
    }

    /// The pairs that are wanted of the tile.
    fn take(&self, buffers: &mut Buffers<B>, pairs: Pairs<'_>) -> Result<Vec<Found>> {
        let (plan, tile, backend) = (&self.plan, self.tile, self.backend);
        let count = plan.rows * plan.cols;
        let mut lags = vec![0i32; count];
        let (mut best, mut unshifted) = (vec![0f64; count], vec![0f64; count]);
        backend.download(&buffers.lags, 0, bytemuck::cast_slice_mut(&mut lags))?;
        backend.download(&buffers.best, 0, bytemuck::cast_slice_mut(&mut best))?;
        backend.download(&buffers.unshifted, 0, bytemuck::cast_slice_mut(&mut unshifted))?;
        let (left, right) = (&self.sides.left, &self.sides.right);
        let pair = |row: usize, col: usize| {
            if !left.is_usable(row) || !right.is_usable(col) {
                return Ok(None);
            }
            let at = (row - tile.row0) * plan.cols + (col - tile.col0);
            let overlap = plan.span.samples.checked_sub(lags[at].unsigned_abs() as usize);
            let overlap = overlap.ok_or_else(|| Error::Internal {
                operation: OPERATION,
                found: format!("the device found the lag {} for ({row}, {col})", lags[at]),
            })?;
            let (lag, r, r_unshifted) = (i64::from(lags[at]), best[at], unshifted[at]);
            Ok(Some(LaggedPair { row, col, lag, r, r_unshifted, overlap }))
        };
        let mut found = Vec::new();
        match pairs {
            Pairs::Listed(list) => {
                for &place in &tile.listed {
                    let of_list = pair(list[place].0, list[place].1)?;
                    found.extend(of_list.map(|pair| (place as u64, pair)));
                }
            }
            Pairs::All => {
                let (rows, cols) = (left.view.rows(), right.view.rows());
                for row in tile.row0..rows.min(tile.row0 + plan.rows) {
                    let first =
                        if self.sides.is_within { tile.col0.max(row + 1) } else { tile.col0 };
                    for col in first..cols.min(tile.col0 + plan.cols) {
                        let place = row as u64 * cols as u64 + col as u64;
                        found.extend(pair(row, col)?.map(|pair| (place, pair)));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// The samples from `start − reach` to `start + depth + reach` of the rows from `row0` on, zero where there is none.
fn pack_panels<T: Element>(
    side: &Side<'_, T>,
    row0: usize,
    start: usize,
    depth: usize,
    reach: usize,
    packed: &mut [f64],
) {
    let (rows, samples) = (side.view.rows(), side.view.cols());
    let before = reach.saturating_sub(start);
    let (from, to) = (start + before - reach, samples.min(start + depth + reach));
    let panels = packed.par_chunks_mut((depth + 2 * reach) * PANEL);
    panels.enumerate().for_each(|(panel, packed)| {
        let first = (row0 + panel * PANEL).min(rows);
        let places = first..rows.min(first + PANEL);
        let slices: Vec<&[T]> = places.clone().map(|row| &side.view.row(row)[from..to]).collect();
        let normals = &side.normals[places];
        let (none, there) = packed.split_at_mut(before * PANEL);
        let (there, beyond) = there.split_at_mut((to - from) * PANEL);
        none.fill(0.0);
        beyond.fill(0.0);
        pack(there, PANEL, &slices, |row, value: T| normals[row].apply(value));
    });
}
