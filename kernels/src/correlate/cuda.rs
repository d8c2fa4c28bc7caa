//! All pairs on a CUDA device: tiles of the result, each summed over slabs of samples.
//!
//! ```text
//!   host     normalise and pack a slab of the tile's rows ──▶ device  product: C += A·Bᵀ
//!            … until the samples end                                   select: what reaches the sink's floor
//!            sink  ◀── the few selected pairs, or all of C ───────────
//! ```
//! Centring happens on the host, in f64, while the rows are copied anyway: the device sees values of order
//! 1/√m and needs no second copy of the input. A threshold sends back only the pairs that reach it; when they
//! are more than the list holds, the whole tile comes back instead ([`Stats::fallbacks`]). Where there is a floor, tiles
//! are [screened](super::screen) on tensor cores first.

use std::sync::Mutex;

use super::cpu::{Block, Side, finish, pack_side};
use super::sink::{ScoreBlock, Strength, Taker};
use super::{OPERATION, Pairing, Tiles, screen};
use crate::budget::{halving, largest_tile, zeroed};
use crate::cuda::backend::{Argument, Backend, Feed, Launch, Results, device_bytes, int, spread};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::stats::Stats;

/// Samples of a slab. Each slab adds to C once, in f64.
const SLAB: usize = 2048;
/// Rows of the largest tile.
const MOST_ROWS: usize = 16_384;
/// Threads of a block, in every kernel.
const THREADS: u32 = 256;
/// Rows that are handed to the sink together.
const BLOCK_ROWS: usize = 256;

pub(super) fn run<B: Backend, T: Element>(
    devices: &[B],
    x: Side<'_, T>,
    y: Side<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let (x_rows, y_rows) = (x.view.rows(), y.view.rows());
    let plan = |tile: usize| Plan::new::<T>(tile.min(x_rows), tile.min(y_rows), x.view.cols());
    // Several devices need several tiles.
    let most = x_rows.max(y_rows).div_ceil(devices.len()).min(MOST_ROWS);
    let host_bytes = execution.budget.host_bytes / devices.len();
    let on_host = largest_tile(OPERATION, Memory::Host, host_bytes, most, |tile| {
        plan(tile).host_bytes::<B>(size_of::<T>())
    })?;
    let on_device =
        largest_tile(OPERATION, Memory::Device, device_bytes(devices, execution)?, most, |tile| {
            plan(tile).device_bytes::<B>(size_of::<T>())
        })?;
    let (buffers, halvings) = halving(on_host.min(on_device), |tile| {
        let allocate = |backend| Buffers::allocate::<T>(backend, &plan(tile));
        Ok((devices.iter().map(allocate).collect::<Result<Vec<_>>>()?, tile))
    })?;
    let (buffers, tile) = buffers;
    stats.halvings += halvings;
    stats.peak_bytes = (devices.len() * plan(tile).host_bytes::<B>(size_of::<T>())) as u64;
    let tiles = Tiles { rows: x_rows, cols: y_rows, tile, pairing };
    let corners: Vec<_> = tiles.corners().collect();
    execution.control.begin(corners.len() as u64);
    let is_alone = devices.len() == 1;
    let shared = Mutex::new((sink, stats));
    spread(
        OPERATION,
        devices,
        buffers,
        corners,
        &execution.threads()?,
        |backend, mut buffers, tiles| {
            let can_screen = backend.shared_bytes() >= screen::SHARED_BYTES;
            while let Some((row0, col0)) = tiles.next() {
                let plan =
                    Plan::new::<T>(tile.min(x_rows - row0), tile.min(y_rows - col0), x.view.cols());
                let tile = Tile { backend, x, y, row0, col0, pairing, plan };
                let lock = || shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let floor = || lock().0.floor();
                let lowered = screen::floor_of(floor(), x.view.cols()).filter(|_| can_screen);
                let mut fallbacks = 0;
                let mut pairs = None;
                if let Some(lowered) = lowered {
                    pairs = tile.screened(&mut buffers, lowered, execution)?;
                    fallbacks += u64::from(pairs.is_none());
                }
                if pairs.is_none() {
                    tile.multiply(&mut buffers, execution)?;
                    if let Some(floor) = floor().filter(is_of_use) {
                        pairs = tile.select(&mut buffers, floor, plan.capacity)?;
                        fallbacks += u64::from(pairs.is_none());
                    }
                }
                let all;
                let blocks: Vec<ScoreBlock<'_>> = match &pairs {
                    Some(pairs) => tile.blocks_of(pairs),
                    None => {
                        all = tile.all_blocks(&mut buffers)?;
                        all.iter().map(Block::view).collect()
                    }
                };
                let (sink, stats) = &mut *lock();
                // Only a lock that no other device waits for may be held while all threads work: see `spread`.
                if is_alone {
                    sink.take_blocks(&blocks)?;
                } else {
                    sink.take_blocks_alone(&blocks)?;
                }
                stats.fallbacks += fallbacks;
                stats.tiles += 1;
                execution.control.advance(1);
            }
            Ok(())
        },
    )
}

/// Whether some coefficients are below a floor.
fn is_of_use((strength, floor): &(Strength, f64)) -> bool {
    *floor > if *strength == Strength::Magnitude { 0.0 } else { -1.0 }
}

/// The sizes of a tile.
#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    cols: usize,
    /// Rows and columns of one block's part of C: those of `correlate.cu`.
    panel_rows: usize,
    panel_cols: usize,
    kernel: &'static str,
    slab: usize,
    capacity: usize,
}

impl Plan {
    fn new<T: Element>(rows: usize, cols: usize, samples: usize) -> Self {
        let (kernel, panel_rows, panel_cols) = if size_of::<T>() == size_of::<f32>() {
            ("product_f32", 128, 64)
        } else {
            ("product_f64", 64, 64)
        };
        let capacity = (rows * cols / 64).clamp(1024, 1 << 20);
        Self { rows, cols, panel_rows, panel_cols, kernel, slab: SLAB.min(samples), capacity }
    }

    /// Whole panels of the product, and whole blocks of the screen.
    fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of(screen::SIDE)
    }

    fn padded_cols(&self) -> usize {
        self.cols.next_multiple_of(screen::SIDE)
    }

    /// A slab of the rows, and behind it one of the columns, for the product or for the screen: what it takes at most.
    fn slab_bytes(&self, element_bytes: usize) -> usize {
        let product = self.slab * element_bytes;
        let screen = self.slab.next_multiple_of(screen::STEP) * size_of::<u16>();
        (self.padded_rows() + self.padded_cols()) * product.max(screen)
    }

    fn packed_and_scores<B: Backend>(&self, element_bytes: usize) -> usize {
        Feed::<B>::bytes(self.slab_bytes(element_bytes))
            + self.padded_rows() * self.padded_cols() * size_of::<f64>()
    }

    fn host_bytes<B: Backend>(&self, element_bytes: usize) -> usize {
        self.packed_and_scores::<B>(element_bytes)
            + self.capacity * 2 * FOUND_BYTES
            + self.rows
            + self.cols
    }

    fn device_bytes<B: Backend>(&self, element_bytes: usize) -> usize {
        self.packed_and_scores::<B>(element_bytes)
            + self.capacity * FOUND_BYTES
            + self.rows
            + self.cols
            + 4
    }
}

/// Two indices and a score.
const FOUND_BYTES: usize = 2 * size_of::<i32>() + size_of::<f64>();

struct Buffers<B: Backend> {
    slabs: Feed<B>,
    host_scores: Vec<f64>,
    scores: B::Buffer,
    row_defined: B::Buffer,
    col_defined: B::Buffer,
    count: B::Buffer,
    found_rows: B::Buffer,
    found_cols: B::Buffer,
    found_scores: B::Buffer,
}

impl<B: Backend> Buffers<B> {
    fn allocate<T: Element>(backend: &B, plan: &Plan) -> Result<Self> {
        let scores = plan.padded_rows() * plan.padded_cols();
        let device = |bytes| backend.allocate(OPERATION, bytes);
        Ok(Self {
            slabs: Feed::allocate(backend, OPERATION, plan.slab_bytes(size_of::<T>()))?,
            host_scores: zeroed(OPERATION, scores)?,
            scores: device(scores * size_of::<f64>())?,
            row_defined: device(plan.rows)?,
            col_defined: device(plan.cols)?,
            count: device(size_of::<u32>())?,
            found_rows: device(plan.capacity * size_of::<i32>())?,
            found_cols: device(plan.capacity * size_of::<i32>())?,
            found_scores: device(plan.capacity * size_of::<f64>())?,
        })
    }
}

/// One tile at its place in the result.
struct Tile<'a, B, T> {
    backend: &'a B,
    x: Side<'a, T>,
    y: Side<'a, T>,
    row0: usize,
    col0: usize,
    pairing: Pairing,
    plan: Plan,
}

impl<B: Backend, T: Element> Tile<'_, B, T> {
    fn multiply(&self, buffers: &mut Buffers<B>, execution: &Execution) -> Result<()> {
        let plan = &self.plan;
        self.backend.clear(&mut buffers.scores)?;
        let samples = self.x.view.cols();
        let depth = |slab: usize| SLAB.min(samples - slab * SLAB);
        let launch = Launch {
            kernel: plan.kernel,
            grid: (
                (plan.padded_cols() / plan.panel_cols) as u32,
                (plan.padded_rows() / plan.panel_rows) as u32,
            ),
            block: THREADS,
            shared_bytes: 0,
            results: Results::Fixed,
        };
        let fill = |slab: usize, bytes: &mut [u8]| {
            let (start, depth) = (slab * SLAB, depth(slab));
            let used = depth * self.sent_rows() * size_of::<T>();
            let packed: &mut [T] = bytemuck::cast_slice_mut(&mut bytes[..used]);
            let (a, b) = packed.split_at_mut(depth * plan.padded_rows());
            pack_side(self.x, self.row0, plan.rows, plan.panel_rows, start, depth, a);
            if !b.is_empty() {
                pack_side(self.y, self.col0, plan.cols, plan.panel_rows, start, depth, b);
            }
            used
        };
        let scores = &buffers.scores;
        buffers.slabs.run(self.backend, samples.div_ceil(SLAB), fill, |slab, packed| {
            execution.control.check(OPERATION)?;
            // (packed, c, depth, stride, row0, col0, within, b_first)
            self.backend.launch(
                launch,
                &[
                    Argument::Buffer(packed),
                    Argument::Buffer(scores),
                    int(OPERATION, depth(slab))?,
                    int(OPERATION, plan.padded_cols())?,
                    int(OPERATION, self.row0)?,
                    int(OPERATION, self.col0)?,
                    self.within(),
                    int(OPERATION, self.sent_rows() - plan.padded_cols())?,
                ],
            )
        })
    }

    /// The pairs that reach the floor, and some others, with their exact coefficients; `None` where the screen lets too
    /// many through. `floor` is the lowered one.
    fn screened(
        &self,
        buffers: &mut Buffers<B>,
        floor: (Strength, f64),
        execution: &Execution,
    ) -> Result<Option<Vec<(usize, usize, f64)>>> {
        self.multiply_screen(buffers, execution)?;
        let most = screen::most_candidates(self.plan.rows, self.plan.cols);
        let Some(mut pairs) = self.select(buffers, floor, most)? else {
            return Ok(None);
        };
        screen::exact((self.x, self.row0), (self.y, self.col0), &mut pairs, execution)?;
        Ok(Some(pairs))
    }

    fn multiply_screen(&self, buffers: &mut Buffers<B>, execution: &Execution) -> Result<()> {
        let plan = &self.plan;
        self.backend.clear(&mut buffers.scores)?;
        let samples = self.x.view.cols();
        let depth = |slab: usize| SLAB.min(samples - slab * SLAB);
        let stride = |slab: usize| depth(slab).next_multiple_of(screen::STEP);
        let side = screen::SIDE;
        let launch = Launch {
            kernel: "screen_bf16",
            grid: ((plan.padded_cols() / side) as u32, (plan.padded_rows() / side) as u32),
            block: THREADS,
            shared_bytes: screen::SHARED_BYTES as u32,
            results: Results::Fixed,
        };
        let fill = |slab: usize, bytes: &mut [u8]| {
            let (start, depth, stride) = (slab * SLAB, depth(slab), stride(slab));
            let used = self.sent_rows() * stride * size_of::<u16>();
            let packed: &mut [u16] = bytemuck::cast_slice_mut(&mut bytes[..used]);
            let (a, b) = packed.split_at_mut(plan.padded_rows() * stride);
            screen::pack(self.x, self.row0, plan.rows, start, depth, stride, a);
            if !b.is_empty() {
                screen::pack(self.y, self.col0, plan.cols, start, depth, stride, b);
            }
            used
        };
        let scores = &buffers.scores;
        buffers.slabs.run(self.backend, samples.div_ceil(SLAB), fill, |slab, packed| {
            execution.control.check(OPERATION)?;
            // (packed, c, depth, stride, row0, col0, within, b_first)
            self.backend.launch(
                launch,
                &[
                    Argument::Buffer(packed),
                    Argument::Buffer(scores),
                    int(OPERATION, stride(slab))?,
                    int(OPERATION, plan.padded_cols())?,
                    int(OPERATION, self.row0)?,
                    int(OPERATION, self.col0)?,
                    self.within(),
                    int(OPERATION, self.sent_rows() - plan.padded_cols())?,
                ],
            )
        })
    }

    fn blocks_of<'p>(&self, pairs: &'p [(usize, usize, f64)]) -> Vec<ScoreBlock<'p>> {
        pairs
            .iter()
            .map(|(row, col, r)| ScoreBlock {
                row0: self.row0 + row,
                col0: self.col0 + col,
                rows: 1,
                cols: 1,
                stride: 1,
                symmetric: self.pairing == Pairing::Within,
                scores: std::slice::from_ref(r),
            })
            .collect()
    }

    /// The pairs of the tile that reach `floor`, by row and column; `None` where they are more than `most` or than the
    /// list holds.
    fn select(
        &self,
        buffers: &mut Buffers<B>,
        (strength, floor): (Strength, f64),
        most: usize,
    ) -> Result<Option<Vec<(usize, usize, f64)>>> {
        let plan = &self.plan;
        let defined = |side: Side<'_, T>, first: usize, count: usize| -> Vec<u8> {
            side.normals[first..first + count]
                .iter()
                .map(|n| u8::from(n.exclusion.is_none()))
                .collect()
        };
        self.backend.upload(&mut buffers.row_defined, 0, &defined(self.x, self.row0, plan.rows))?;
        self.backend.upload(&mut buffers.col_defined, 0, &defined(self.y, self.col0, plan.cols))?;
        self.backend.clear(&mut buffers.count)?;
        let launch = Launch {
            kernel: "select_pairs",
            grid: (plan.cols.div_ceil(THREADS as usize) as u32, plan.rows as u32),
            block: THREADS,
            shared_bytes: 0,
            results: Results::Unordered,
        };
        // (c, row_defined, col_defined, rows, cols, stride, row0, col0, within, by_magnitude, minimum,
        //  capacity, count, found_rows, found_cols, found_scores)
        self.backend.launch(
            launch,
            &[
                Argument::Buffer(&buffers.scores),
                Argument::Buffer(&buffers.row_defined),
                Argument::Buffer(&buffers.col_defined),
                int(OPERATION, plan.rows)?,
                int(OPERATION, plan.cols)?,
                int(OPERATION, plan.padded_cols())?,
                int(OPERATION, self.row0)?,
                int(OPERATION, self.col0)?,
                self.within(),
                Argument::Int(i32::from(strength == Strength::Magnitude)),
                Argument::Double(floor),
                Argument::Unsigned(plan.capacity as u32),
                Argument::Buffer(&buffers.count),
                Argument::Buffer(&buffers.found_rows),
                Argument::Buffer(&buffers.found_cols),
                Argument::Buffer(&buffers.found_scores),
            ],
        )?;
        let mut count = [0u32];
        self.backend.download(&buffers.count, 0, bytemuck::cast_slice_mut(&mut count))?;
        let count = count[0] as usize;
        if count > plan.capacity.min(most) {
            return Ok(None);
        }
        let (mut rows, mut cols, mut scores) =
            (vec![0i32; count], vec![0i32; count], vec![0f64; count]);
        self.backend.download(&buffers.found_rows, 0, bytemuck::cast_slice_mut(&mut rows))?;
        self.backend.download(&buffers.found_cols, 0, bytemuck::cast_slice_mut(&mut cols))?;
        self.backend.download(&buffers.found_scores, 0, bytemuck::cast_slice_mut(&mut scores))?;
        let mut pairs = Vec::with_capacity(count);
        for ((row, col), score) in rows.into_iter().zip(cols).zip(scores) {
            match (usize::try_from(row), usize::try_from(col)) {
                (Ok(row), Ok(col)) if row < plan.rows && col < plan.cols => {
                    pairs.push((row, col, score))
                }
                _ => {
                    return Err(Error::Internal {
                        operation: OPERATION,
                        found: format!(
                            "the device selected ({row}, {col}) of a {} x {} tile",
                            plan.rows, plan.cols
                        ),
                    });
                }
            }
        }
        pairs.sort_unstable_by_key(|&(row, col, _)| (row, col));
        Ok(Some(pairs))
    }

    /// All coefficients of the tile.
    fn all_blocks<'b>(&self, buffers: &'b mut Buffers<B>) -> Result<Vec<Block<'b>>> {
        let plan = &self.plan;
        let stride = plan.padded_cols();
        let scores = &mut buffers.host_scores[..plan.padded_rows() * stride];
        self.backend.download(&buffers.scores, 0, bytemuck::cast_slice_mut(scores))?;
        let mut blocks: Vec<Block<'_>> = scores
            .chunks_mut(BLOCK_ROWS * stride)
            .take(plan.rows.div_ceil(BLOCK_ROWS))
            .enumerate()
            .map(|(index, scores)| {
                let row = index * BLOCK_ROWS;
                let rows = BLOCK_ROWS.min(plan.rows - row);
                Block::new(
                    (self.row0 + row, self.col0),
                    (rows, plan.cols),
                    stride,
                    self.pairing,
                    scores,
                )
            })
            .collect();
        finish(self.x, self.y, &mut blocks);
        Ok(blocks)
    }

    /// Rows that a slab holds: those of the tile's rows and behind them those of its columns, or once those that are both.
    fn sent_rows(&self) -> usize {
        let Self { plan, row0, col0, pairing, .. } = self;
        let is_both = *pairing == Pairing::Within && row0 == col0 && plan.rows == plan.cols;
        if is_both { plan.padded_rows() } else { plan.padded_rows() + plan.padded_cols() }
    }

    fn within<Buffer>(&self) -> Argument<'static, Buffer> {
        Argument::Int(i32::from(self.pairing == Pairing::Within))
    }
}

#[cfg(test)]
mod tests;
