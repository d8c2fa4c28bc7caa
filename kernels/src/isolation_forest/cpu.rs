//! Scoring on the CPU: blocks of rows go down each tree side by side.
//!
//! ```text
//!   values   column 0: [row 0 … row 255] column 1: [row 0 … row 255] …     the block, transposed
//!   places   [row 0 … row 255]      the cut at which each row is: all of one depth, so that no row waits
//! ```
//! A step is three gathers (threshold, column, value), one comparison and a shift, for as many rows as a vector has
//! lanes. A block and a tree fit the first-level cache together, for tables that are not very wide.

use std::num::NonZeroUsize;

use rayon::prelude::*;

use super::grow::{cut_sum, is_sound};
use super::{Forest, OPERATION, Tree};
use crate::budget::{largest_tile, zeroed};
use crate::element::Element;
use crate::error::{Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::simd::{Work, vectorised};
use crate::stats::Stats;
use crate::view::MatrixView;

/// Rows of a block, at most and at least.
const ROWS: std::ops::RangeInclusive<usize> = 16..=256;
/// Values of a block, where that leaves it enough rows.
const VALUES: usize = 1 << 14;

/// Trees after which a block asks whether to stop.
const CHECKED: usize = 1024;

/// Writes for every row the sum of its path lengths; NaN for a row with missing values.
pub(super) fn sums<T: Element>(
    forest: &Forest<T>,
    x: MatrixView<'_, T>,
    sums: &mut [f64],
    execution: &Execution,
    stats: &mut Stats,
) -> Result<()> {
    let rows = (VALUES / x.cols()).clamp(*ROWS.start(), *ROWS.end()) / 16 * 16;
    let cost = |threads: usize| threads * Block::<T>::bytes(rows, x.cols());
    let most = rayon::current_num_threads();
    let host_bytes = execution.budget.host_bytes;
    let threads = largest_tile(OPERATION, Memory::Host, host_bytes, most, cost)?;
    stats.peak_bytes = cost(threads) as u64;
    stats.tiles = sums.len().div_ceil(rows) as u64;
    execution.control.begin(stats.tiles);
    let mut work = || {
        sums.par_chunks_mut(rows).enumerate().try_for_each_init(
            || Block::new(rows, x.cols()),
            |block, (index, sums)| {
                let block = block.as_mut().map_err(|_| crate::error::Error::OutOfMemory {
                    operation: OPERATION,
                    memory: Memory::Host,
                    bytes: Block::<T>::bytes(rows, x.cols()),
                })?;
                block.load(x, index * rows, sums);
                for tree in 0..forest.trees {
                    if tree % CHECKED == 0 {
                        execution.control.check(OPERATION)?;
                    }
                    block.descend(forest.tree(tree), sums);
                }
                execution.control.advance(1);
                Ok(())
            },
        )
    };
    match NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::of_size(fewer)?.run(work),
        _ => work(),
    }
}

/// Some rows, transposed.
struct Block<T> {
    values: Vec<T>,
    places: Vec<i32>,
    rows: usize,
}

impl<T: Element> Block<T> {
    fn bytes(rows: usize, columns: usize) -> usize {
        rows * (columns * size_of::<T>() + size_of::<i32>())
    }

    fn new(rows: usize, columns: usize) -> Result<Self> {
        Ok(Self {
            values: zeroed(OPERATION, rows * columns)?,
            places: zeroed(OPERATION, rows)?,
            rows,
        })
    }

    /// Takes the rows from `first`, as many as there are sums, and begins their sums.
    fn load(&mut self, x: MatrixView<'_, T>, first: usize, sums: &mut [f64]) {
        for (place, sum) in sums.iter_mut().enumerate() {
            let row = x.row(first + place);
            *sum = if is_sound(row) { 0.0 } else { f64::NAN };
            for (to, &value) in self.values[place..].iter_mut().step_by(self.rows).zip(row) {
                *to = value;
            }
        }
    }

    /// Adds every row's path length in a tree.
    fn descend(&mut self, tree: Tree<'_, T>, sums: &mut [f64]) {
        let Self { values, places, rows } = self;
        let places = &mut places[..sums.len()];
        places.fill(0);
        if tree.weights.is_empty() {
            vectorised(AxisCuts { tree, values, rows: *rows, places });
        } else {
            vectorised(ObliqueCuts { tree, values, rows: *rows, places });
        }
        let cuts = tree.thresholds.len();
        for (sum, &place) in sums.iter_mut().zip(places.iter()) {
            *sum += f64::from(tree.leaves[place as usize - cuts]);
        }
    }
}

struct AxisCuts<'a, T> {
    tree: Tree<'a, T>,
    values: &'a [T],
    rows: usize,
    places: &'a mut [i32],
}

impl<T: Element> Work for AxisCuts<'_, T> {
    type Output = ();

    #[inline(always)]
    #[allow(unsafe_code)]
    fn run(self) {
        let Self { tree, values, rows, places } = self;
        let (thresholds, columns) = (tree.thresholds.as_ptr(), tree.columns.as_ptr());
        let values = values.as_ptr();
        for _ in 0..tree.depth {
            for (row, place) in places.iter_mut().enumerate() {
                // SAFETY: a place is a cut of the tree at each of its depths, as it begins at 0 and goes from p to
                // 2p + 1 or 2p + 2; a forest's cuts name columns that it has, and a block has `rows` values of each.
                let (threshold, value) = unsafe {
                    let at = *place as isize;
                    let column = *columns.offset(at) as i32;
                    let value = column.wrapping_mul(rows as i32).wrapping_add(row as i32);
                    (*thresholds.offset(at), *values.offset(value as isize))
                };
                *place = 2 * *place + 2 - i32::from(value <= threshold);
            }
        }
    }
}

struct ObliqueCuts<'a, T> {
    tree: Tree<'a, T>,
    values: &'a [T],
    rows: usize,
    places: &'a mut [i32],
}

impl<T: Element> Work for ObliqueCuts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { tree, values, rows, places } = self;
        let terms = tree.terms;
        for (row, place) in places.iter_mut().enumerate() {
            for _ in 0..tree.depth {
                let at = *place as usize;
                let columns = &tree.columns[at * terms..][..terms];
                let weights = &tree.weights[at * terms..][..terms];
                let sum =
                    cut_sum(columns, Some(weights), |column| values[column as usize * rows + row]);
                *place = 2 * *place + 2 - i32::from(sum <= tree.thresholds[at]);
            }
        }
    }
}
