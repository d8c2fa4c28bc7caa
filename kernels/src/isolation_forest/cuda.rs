//! Scoring on CUDA devices: rows stream through in tiles, and groups of trees go over each.
//!
//! ```text
//!   host     transpose blocks of 256 rows ──▶ device   sums += path lengths of a group of trees,
//!                                                       group after group
//!            2^(−sum / …)  ◀── one sum for each row ──
//! ```
//! Powers are the host's, so that a score has the same bits wherever its row went down.

use rayon::prelude::*;

use super::{Forest, OPERATION};
use crate::budget::{halving, largest_tile};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

/// Rows of a block, and its threads.
const ROWS: usize = 256;
/// Blocks of a launch: more than any device runs at one time, so that trees are loaded rarely.
const BLOCKS: usize = 1024;
/// Blocks of rows in a tile, at most: 2^20 rows.
const MOST_BLOCKS: usize = 4096;
/// Shared memory of a block: two of them fit a multiprocessor of every supported device.
const SHARED_BYTES: usize = 80 << 10;
/// Of that, for the values of the rows.
const VALUE_BYTES: usize = 40 << 10;
/// Trees of a launch where none fits shared memory.
const LARGE_TREES: usize = 64;

pub(super) fn sums<B: Backend, T: Element>(
    devices: &[B],
    forest: &Forest<T>,
    x: MatrixView<'_, T>,
    sums: &mut [f64],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let block_bytes = ROWS * x.cols() * size_of::<T>();
    let host_cost = |blocks: usize| devices.len() * Feed::<B>::bytes(blocks * block_bytes);
    let cost = |blocks: usize| {
        forest_bytes(forest) + Feed::<B>::bytes(blocks * block_bytes) + blocks * ROWS * 8
    };
    // Three tiles for each device at least, so that copies run beside kernels.
    let blocks = x.rows().div_ceil(ROWS);
    let most = blocks.div_ceil(3 * devices.len()).min(MOST_BLOCKS);
    let host_bytes = execution.budget.host_bytes;
    let on_host = largest_tile(OPERATION, Memory::Host, host_bytes, most, host_cost)?;
    let budget_bytes = device_bytes(devices, execution)?;
    let on_device = largest_tile(OPERATION, Memory::Device, budget_bytes, most, cost)?;
    let ((states, blocks), halvings) = halving(on_host.min(on_device), |blocks| {
        let allocate = |backend: &B| {
            let values = Feed::allocate(backend, OPERATION, blocks * block_bytes)?;
            let sums = backend.allocate(OPERATION, blocks * ROWS * size_of::<f64>())?;
            Ok((Trees::send(backend, forest)?, values, sums))
        };
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, blocks))
    })?;
    stats.halvings += halvings;
    stats.peak_bytes = host_cost(blocks) as u64;
    let tiles: Vec<(usize, &mut [f64])> = sums.chunks_mut(blocks * ROWS).enumerate().collect();
    stats.tiles = tiles.len() as u64;
    execution.control.begin(stats.tiles);
    let plan = Plan::new(forest);
    let pool = execution.threads()?;
    spread(
        OPERATION,
        devices,
        states,
        tiles,
        &pool,
        |backend, (trees, mut feed, on_device), tiles| {
            let fill = |(tile, sums): &(usize, &mut [f64]), bytes: &mut [u8]| {
                let first = tile * blocks * ROWS;
                let values: &mut [T] = bytemuck::cast_slice_mut(bytes);
                let used = sums.len().div_ceil(ROWS) * ROWS * x.cols();
                let parts = values[..used].par_chunks_mut(ROWS * x.cols()).enumerate();
                pool.run(|| {
                    parts.for_each(|(block, values)| transpose(x, first + block * ROWS, values));
                });
                used * size_of::<T>()
            };
            let launch = |(_, sums): &(usize, &mut [f64]), values: &B::Buffer| {
                for group in (0..forest.trees).step_by(plan.group) {
                    execution.control.check(OPERATION)?;
                    let count = plan.group.min(forest.trees - group);
                    let rows = sums.len();
                    plan.launch(backend, forest, &trees, values, &on_device, rows, group, count)?;
                }
                Ok(())
            };
            let collect = |(_, sums): (usize, &mut [f64])| {
                backend.download(&on_device, 0, bytemuck::cast_slice_mut(sums))?;
                execution.control.advance(1);
                Ok(())
            };
            feed.run_tiles(backend, tiles, fill, launch, collect)
        },
    )
}

/// Writes the values of [`ROWS`] rows column by column; zeros behind the last row.
fn transpose<T: Element>(x: MatrixView<'_, T>, first: usize, values: &mut [T]) {
    for place in 0..ROWS {
        let to = values[place..].iter_mut().step_by(ROWS);
        if first + place < x.rows() {
            to.zip(x.row(first + place)).for_each(|(to, &value)| *to = value);
        } else {
            to.for_each(|to| *to = T::default());
        }
    }
}

fn forest_bytes<T: Element>(forest: &Forest<T>) -> usize {
    let Forest { thresholds, cut_columns, weights, leaves, .. } = forest;
    size_of_val(&thresholds[..])
        + size_of_val(&cut_columns[..])
        + size_of_val(&weights[..])
        + size_of_val(&leaves[..])
}

/// A forest on a device.
struct Trees<B: Backend> {
    thresholds: B::Buffer,
    columns: B::Buffer,
    weights: B::Buffer,
    leaves: B::Buffer,
}

impl<B: Backend> Trees<B> {
    fn send<T: Element>(backend: &B, forest: &Forest<T>) -> Result<Self> {
        let send = |bytes: &[u8]| {
            let mut buffer = backend.allocate(OPERATION, bytes.len())?;
            backend.upload(&mut buffer, 0, bytes)?;
            Ok(buffer)
        };
        Ok(Self {
            thresholds: send(bytemuck::cast_slice(&forest.thresholds))?,
            columns: send(bytemuck::cast_slice(&forest.cut_columns))?,
            weights: send(bytemuck::cast_slice(&forest.weights))?,
            leaves: send(bytemuck::cast_slice(&forest.leaves))?,
        })
    }
}

/// What goes to shared memory.
struct Plan {
    /// Trees of a launch.
    group: usize,
    shared_trees: bool,
    shared_values: bool,
    shared_bytes: usize,
}

impl Plan {
    fn new<T: Element>(forest: &Forest<T>) -> Self {
        let values = ROWS * forest.columns * size_of::<T>();
        let shared_values = values <= VALUE_BYTES;
        let values = if shared_values { values } else { 0 };
        let tree = forest_bytes(forest) / forest.trees;
        let fit = (SHARED_BYTES - values) / tree.max(1);
        let shared_trees = fit > 0;
        let group = if shared_trees { fit } else { LARGE_TREES }.min(forest.trees);
        let shared_bytes = values + if shared_trees { group * tree } else { 0 };
        Self { group, shared_trees, shared_values, shared_bytes }
    }

    #[allow(clippy::too_many_arguments)]
    fn launch<B: Backend, T: Element>(
        &self,
        backend: &B,
        forest: &Forest<T>,
        trees: &Trees<B>,
        values: &B::Buffer,
        sums: &B::Buffer,
        rows: usize,
        first: usize,
        count: usize,
    ) -> Result<()> {
        let launch = Launch {
            kernel: if size_of::<T>() == size_of::<f32>() { "paths_f32" } else { "paths_f64" },
            grid: (rows.div_ceil(ROWS).min(BLOCKS) as u32, 1),
            block: ROWS as u32,
            shared_bytes: self.shared_bytes as u32,
            results: Results::Fixed,
        };
        // (x, thresholds, cut_columns, weights, leaves, sums, rows, columns, first_tree, trees, depth, terms,
        //  oblique, shared_trees, shared_values)
        backend.launch(
            launch,
            &[
                Argument::Buffer(values),
                Argument::Buffer(&trees.thresholds),
                Argument::Buffer(&trees.columns),
                Argument::Buffer(&trees.weights),
                Argument::Buffer(&trees.leaves),
                Argument::Buffer(sums),
                int(OPERATION, rows)?,
                int(OPERATION, forest.columns)?,
                int(OPERATION, first)?,
                int(OPERATION, count)?,
                int(OPERATION, forest.depth)?,
                int(OPERATION, forest.terms)?,
                Argument::Int(i32::from(!forest.weights.is_empty())),
                Argument::Int(i32::from(self.shared_trees)),
                Argument::Int(i32::from(self.shared_values)),
            ],
        )
    }
}
