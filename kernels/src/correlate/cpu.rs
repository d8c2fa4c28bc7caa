//! All pairs on the CPU: tiles of the result, each summed over the samples in steps of a few hundred.
//!
//! ```text
//!            columns (rows of y)
//!          ┌──────tile──────┬───          one step of a tile:
//!  rows    │ blk │ blk │ blk│              1. pack the tile's rows of x and of y, normalised
//!  of x    │ blk │ blk │ blk│  …           2. every block adds its panels' products, one thread each
//!          ├────────────────┼───          after the last step: the sink scans the blocks
//! ```
//! The whole width of the samples is never packed at once, so the memory does not grow with it.

use rayon::prelude::*;

use super::normalise::Normal;
use super::sink::{ScoreBlock, Taker};
use super::{OPERATION, Pairing, Tiles};
use crate::budget::{halving, largest_tile, zeroed};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::product::{MicroKernel, pack};
use crate::stats::Stats;
use crate::view::MatrixView;

/// Larger tiles save little packing, and would make cancelling slow.
const MOST_ROWS: usize = 4096;
/// Rows of a block: about what stays in the second-level cache while the columns pass.
const BLOCK_ROWS: usize = 224;
/// Columns of a block.
const BLOCK_COLS: usize = 512;

/// One matrix with what normalises its rows.
#[derive(Clone, Copy)]
pub(super) struct Side<'a, T> {
    pub(super) view: MatrixView<'a, T>,
    pub(super) normals: &'a [Normal],
}

pub(super) fn run<T: Element>(
    x: Side<'_, T>,
    y: Side<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let kernel = T::micro_kernel();
    let (x_rows, y_rows) = (x.view.rows(), y.view.rows());
    let most = x_rows.max(y_rows).min(MOST_ROWS);
    let series = if pairing == Pairing::Within { x_rows } else { x_rows + y_rows };
    let fixed = series * size_of::<Normal>();
    let plan = |tile: usize| Plan {
        // One tile for all holds the upper half only; of several, some are whole.
        is_half: pairing == Pairing::Within && tile >= x_rows,
        ..Plan::new(&kernel, tile.min(x_rows), tile.min(y_rows))
    };
    let cost = |tile: usize| fixed + plan(tile).bytes(size_of::<T>());
    let tile = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    let ((mut buffers, tile), halvings) =
        halving(tile, |tile| Ok((Buffers::allocate(&plan(tile))?, tile)))?;
    stats.halvings += halvings;
    stats.peak_bytes = cost(tile) as u64;
    let tiles = Tiles { rows: x_rows, cols: y_rows, tile, pairing };
    execution.control.begin(tiles.count() as u64);
    for (row0, col0) in tiles.corners() {
        let plan = Plan::new(&kernel, tile.min(x_rows - row0), tile.min(y_rows - col0));
        let place = Place { row0, col0, pairing };
        let mut blocks = plan.blocks(&mut buffers.scores, place);
        blocks.par_iter_mut().for_each(|block| block.scores.fill(0.0));
        add_products(
            &kernel,
            x,
            y,
            place,
            &plan,
            &mut buffers.a,
            &mut buffers.b,
            &mut blocks,
            execution,
        )?;
        finish(x, y, &mut blocks);
        give(sink, &blocks)?;
        stats.tiles += 1;
        execution.control.advance(1);
    }
    Ok(())
}

/// Where a tile lies in the result.
#[derive(Clone, Copy)]
struct Place {
    row0: usize,
    col0: usize,
    pairing: Pairing,
}

/// How a tile of `rows` × `cols` is cut into panels and blocks.
#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    cols: usize,
    panel_rows: usize,
    panel_cols: usize,
    block_rows: usize,
    block_cols: usize,
    depth: usize,
    is_half: bool,
}

impl Plan {
    fn new<T>(kernel: &MicroKernel<T>, rows: usize, cols: usize) -> Self {
        let (panel_rows, panel_cols) = (kernel.rows, kernel.cols);
        Self {
            rows,
            cols,
            panel_rows,
            panel_cols,
            block_rows: BLOCK_ROWS.next_multiple_of(panel_rows),
            block_cols: BLOCK_COLS.next_multiple_of(panel_cols),
            depth: kernel.depth,
            is_half: false,
        }
    }

    /// Coefficients that are held at one time.
    fn scores(&self) -> usize {
        if !self.is_half {
            return self.padded_rows() * self.padded_cols();
        }
        let place = Place { row0: 0, col0: 0, pairing: Pairing::Within };
        self.parts(place).map(|part| part.scores(self)).sum()
    }

    fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of(self.panel_rows)
    }

    fn padded_cols(&self) -> usize {
        self.cols.next_multiple_of(self.panel_cols)
    }

    /// What the buffers and the lists of a tile take.
    fn bytes(&self, element_bytes: usize) -> usize {
        let blocks = self.rows.div_ceil(self.block_rows) * self.cols.div_ceil(self.block_cols);
        self.depth * (self.padded_rows() + self.padded_cols()) * element_bytes
            + self.scores() * size_of::<f64>()
            + blocks * size_of::<Block<'_>>()
    }

    /// The blocks that hold a pair.
    fn parts(&self, place: Place) -> impl Iterator<Item = Part> {
        let plan = *self;
        (0..plan.rows).step_by(plan.block_rows).flat_map(move |row| {
            (0..plan.cols).step_by(plan.block_cols).filter_map(move |col| {
                let rows = plan.block_rows.min(plan.rows - row);
                let cols = plan.block_cols.min(plan.cols - col);
                let last = place.col0 + col + cols - 1;
                let is_below = place.pairing == Pairing::Within && last <= place.row0 + row;
                (!is_below).then_some(Part { row, col, rows, cols })
            })
        })
    }

    /// Gives each block its own piece of `scores`.
    fn blocks<'a>(&self, mut scores: &'a mut [f64], place: Place) -> Vec<Block<'a>> {
        let mut blocks = Vec::new();
        for part in self.parts(place) {
            let (own, rest) = scores.split_at_mut(part.scores(self));
            scores = rest;
            blocks.push(Block {
                row: part.row,
                col: part.col,
                row0: place.row0 + part.row,
                col0: place.col0 + part.col,
                rows: part.rows,
                cols: part.cols,
                stride: part.cols.next_multiple_of(self.panel_cols),
                pairing: place.pairing,
                scores: own,
            });
        }
        blocks
    }
}

/// Where a block lies in its tile.
struct Part {
    row: usize,
    col: usize,
    rows: usize,
    cols: usize,
}

impl Part {
    fn scores(&self, plan: &Plan) -> usize {
        self.rows.next_multiple_of(plan.panel_rows) * self.cols.next_multiple_of(plan.panel_cols)
    }
}

struct Buffers<T> {
    a: Vec<T>,
    b: Vec<T>,
    scores: Vec<f64>,
}

impl<T: Element> Buffers<T> {
    fn allocate(plan: &Plan) -> Result<Self> {
        Ok(Self {
            a: zeroed(OPERATION, plan.depth * plan.padded_rows())?,
            b: zeroed(OPERATION, plan.depth * plan.padded_cols())?,
            scores: zeroed(OPERATION, plan.scores())?,
        })
    }
}

/// One thread's part of a tile; `row`, `col` within the tile, `row0`, `col0` within the result.
pub(super) struct Block<'a> {
    row: usize,
    col: usize,
    row0: usize,
    col0: usize,
    rows: usize,
    cols: usize,
    stride: usize,
    pairing: Pairing,
    scores: &'a mut [f64],
}

#[allow(clippy::too_many_arguments)]
fn add_products<T: Element>(
    kernel: &MicroKernel<T>,
    x: Side<'_, T>,
    y: Side<'_, T>,
    place: Place,
    plan: &Plan,
    a: &mut [T],
    b: &mut [T],
    blocks: &mut [Block<'_>],
    execution: &Execution,
) -> Result<()> {
    let samples = x.view.cols();
    for start in (0..samples).step_by(kernel.depth) {
        execution.control.check(OPERATION)?;
        let depth = kernel.depth.min(samples - start);
        let a = &mut a[..depth * plan.padded_rows()];
        let b = &mut b[..depth * plan.padded_cols()];
        pack_side(x, place.row0, plan.rows, kernel.rows, start, depth, a);
        pack_side(y, place.col0, plan.cols, kernel.cols, start, depth, b);
        let (a, b) = (&*a, &*b);
        blocks
            .par_iter_mut()
            .with_max_len(1)
            .for_each(|block| add_block(kernel, depth, a, b, block));
    }
    Ok(())
}

pub(super) fn pack_side<T: Element>(
    side: Side<'_, T>,
    row0: usize,
    rows: usize,
    width: usize,
    start: usize,
    depth: usize,
    packed: &mut [T],
) {
    packed.par_chunks_mut(depth * width).enumerate().for_each(|(index, panel)| {
        // A panel may lie wholly in the padding.
        let first = row0 + rows.min(index * width);
        let last = (first + width).min(row0 + rows);
        let slices: Vec<&[T]> =
            (first..last).map(|row| &side.view.row(row)[start..start + depth]).collect();
        let normals = &side.normals[first..last];
        pack(panel, width, &slices, |row, value| T::from_f64(normals[row].apply(value)));
    });
}

fn add_block<T: Element>(
    kernel: &MicroKernel<T>,
    depth: usize,
    a: &[T],
    b: &[T],
    block: &mut Block<'_>,
) {
    // The columns of one panel of B stay in the first-level cache while the rows of A pass.
    for col in (0..block.cols).step_by(kernel.cols) {
        let b = &b[(block.col + col) * depth..][..depth * kernel.cols];
        for row in (0..block.rows).step_by(kernel.rows) {
            let last = block.col0 + col + kernel.cols - 1;
            if block.pairing == Pairing::Within && last <= block.row0 + row {
                break;
            }
            let a = &a[(block.row + row) * depth..][..depth * kernel.rows];
            kernel.add(
                depth,
                a,
                b,
                kernel.cols,
                &mut block.scores[row * block.stride + col..],
                block.stride,
            );
        }
    }
}

/// Marks what is not defined, and brings rounding back into -1 to 1.
pub(super) fn finish<T: Element>(x: Side<'_, T>, y: Side<'_, T>, blocks: &mut [Block<'_>]) {
    blocks.par_iter_mut().for_each(|block| {
        let columns = &y.normals[block.col0..block.col0 + block.cols];
        for (offset, row) in
            block.scores.chunks_exact_mut(block.stride).take(block.rows).enumerate()
        {
            if x.normals[block.row0 + offset].exclusion.is_some() {
                row.fill(f64::NAN);
                continue;
            }
            for (score, column) in row.iter_mut().zip(columns) {
                *score = if column.exclusion.is_some() { f64::NAN } else { score.clamp(-1.0, 1.0) };
            }
        }
    });
}

pub(super) fn give(sink: &mut dyn Taker, blocks: &[Block<'_>]) -> Result<()> {
    let blocks: Vec<ScoreBlock<'_>> = blocks.iter().map(Block::view).collect();
    sink.take_blocks(&blocks)
}

impl<'a> Block<'a> {
    /// A block that is a tile by itself.
    pub(super) fn new(
        (row0, col0): (usize, usize),
        (rows, cols): (usize, usize),
        stride: usize,
        pairing: Pairing,
        scores: &'a mut [f64],
    ) -> Self {
        Self { row: 0, col: 0, row0, col0, rows, cols, stride, pairing, scores }
    }

    pub(super) fn view(&self) -> ScoreBlock<'_> {
        ScoreBlock {
            row0: self.row0,
            col0: self.col0,
            rows: self.rows,
            cols: self.cols,
            stride: self.stride,
            symmetric: self.pairing == Pairing::Within,
            scores: self.scores,
        }
    }
}
