//! Pairs over the samples that both series have.
//!
//! **Idea.** With x the centred values of a series, 0 where one is missing, m its mask of ones and zeros and q = x², all
//! that a pair needs are six inner products: n = m·m', Σx = x·m', Σx' = m·x', Σx² = q·m', Σx'² = m·q' and Σxx' = x·x'. So a
//! matrix with gaps costs six matrix products in f64 instead of one.
//!
//! **Formula.** r = (Σxx' − Σx·Σx'/n) / √((Σx² − (Σx)²/n)·(Σx'² − (Σx')²/n)), sums over the shared samples.
//!
//! **Hazards.** The differences cancel where the shared samples lie far from the mean of the whole series. Each
//! series is centred by its own mean, so that this is rare; where a difference keeps less than [`LEAST_PART`] of what it
//! is taken from, the pair is computed again in two passes ([`Stats::fallbacks`]). So is one that is constant over the
//! shared samples, whose difference is not 0 but noise.

mod cuda;

use std::num::NonZeroUsize;
use std::ops::Range;

use rayon::prelude::*;

use super::normalise::Normal;
use super::sink::{ScoreBlock, Taker};
use super::{OPERATION, Pairing, Summary};
use crate::budget::zeroed;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::product::{MicroKernel, micro_kernel_f64, pack};
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

/// Part of a sum of squares that must be left for its digits to be trusted.
const LEAST_PART: f64 = 0.01;
/// Samples that are packed at a time.
const DEPTH: usize = 128;
/// Panels of a block in each direction, at most: its sums and panels stay in the second-level cache.
const MOST_PANELS: usize = 8;
/// Kinds of panels: values, masks, squares.
const KINDS: usize = 3;
const VALUES: usize = 0;
const MASK: usize = 1;
const SQUARES: usize = 2;
/// The products, as kinds of the row and of the column.
const PRODUCTS: [(usize, usize); 6] = [
    (VALUES, VALUES),
    (MASK, MASK),
    (VALUES, MASK),
    (MASK, VALUES),
    (SQUARES, MASK),
    (MASK, SQUARES),
];

/// One matrix with what is known of its rows.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    view: MatrixView<'a, T>,
    rows: &'a [Row],
}

/// One series.
struct Row {
    normal: Normal,
    is_complete: bool,
}

/// On `devices`, or on the CPU without one.
#[allow(clippy::too_many_arguments)]
pub(super) fn run_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    min_overlap: usize,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    let is_within = pairing == Pairing::Within;
    let series = x.rows() + if is_within { 0 } else { y.rows() };
    let fixed_bytes = series * size_of::<Row>();
    let row_bytes = x.cols() * size_of::<T>();
    let pool = execution.threads()?;
    let slots = match devices {
        [] => Some(Slots::within(fixed_bytes, row_bytes, pool.threads(), series, execution)?),
        _ => None,
    };
    let pool = match slots.as_ref().and_then(|slots| NonZeroUsize::new(slots.count)) {
        Some(fewer) if fewer.get() < pool.threads() => Pool::of_size(fewer)?,
        _ => pool,
    };
    let (own, others) = pool.run(|| {
        let others = if is_within { Vec::new() } else { rows(y, min_overlap) };
        (rows(x, min_overlap), others)
    });
    let left = Side { view: x, rows: &own };
    let right = Side { view: y, rows: if is_within { &own } else { &others } };
    if x.rows() > 0 && y.rows() > 0 {
        pool.run(|| match slots {
            Some(slots) => {
                stats.peak_bytes = slots.bytes as u64;
                let (kernel, plan) = (slots.kernel, slots.plan);
                let pairs = Pairs { left, right, pairing, min_overlap, kernel, plan };
                pairs.run(slots.count, sink, execution, &mut stats)
            }
            None => {
                // A series without its gaps, for each thread, goes before the tiles come.
                let fixed_bytes = fixed_bytes + pool.threads() * row_bytes;
                let task = cuda::Task { left, right, pairing, min_overlap, fixed_bytes };
                task.run(devices, sink, execution, &mut stats)
            }
        })?;
    }
    let excluded = |rows: &[Row]| -> Vec<(usize, Exclusion)> {
        let reasons = rows.iter().map(|row| row.normal.exclusion);
        reasons.enumerate().filter_map(|(row, exclusion)| Some((row, exclusion?))).collect()
    };
    let (excluded, excluded_cols) = (excluded(&own), excluded(&others));
    stats.excluded_rows = (excluded.len() + excluded_cols.len()) as u64;
    stats.kernel_seconds = kernel_seconds(devices)?;
    Ok(Summary { stats, excluded, excluded_cols })
}

/// How many blocks are worked on at a time, and how large.
struct Slots {
    kernel: MicroKernel<f64>,
    plan: Plan,
    count: usize,
    bytes: usize,
}

impl Slots {
    fn within(
        fixed_bytes: usize,
        row_bytes: usize,
        threads: usize,
        series: usize,
        execution: &Execution,
    ) -> Result<Self> {
        let kernel = micro_kernel_f64();
        let host_bytes = execution.budget.host_bytes;
        let left = host_bytes.saturating_sub(fixed_bytes);
        // A block, and before it a series without its gaps.
        let slot = |panels: usize| Plan::new(&kernel, panels).bytes() + row_bytes;
        let count = (left / slot(1)).min(threads);
        if count == 0 && series > 0 {
            return Err(Error::BudgetTooSmall {
                operation: OPERATION,
                memory: Memory::Host,
                budget_bytes: host_bytes,
                least_bytes: fixed_bytes + slot(1),
            });
        }
        let panels = (1..=MOST_PANELS).rev().find(|&panels| count * slot(panels) <= left);
        let panels = panels.unwrap_or(1);
        let bytes = fixed_bytes + count * slot(panels);
        Ok(Self { kernel, plan: Plan::new(&kernel, panels), count, bytes })
    }
}

fn rows<T: Element>(view: MatrixView<'_, T>, min_overlap: usize) -> Vec<Row> {
    let rows = (0..view.rows()).into_par_iter();
    rows.map_init(
        || Vec::with_capacity(view.cols()),
        |present, row| {
            let row = view.row(row);
            present.clear();
            present.extend(row.iter().copied().filter(|value| value.to_f64().is_finite()));
            let mut normal = Normal::of(present);
            if present.len() < min_overlap {
                normal = Normal::left_out(Exclusion::NotFinite);
            }
            Row { normal, is_complete: present.len() == row.len() }
        },
    )
    .collect()
}

/// The sizes of a block.
#[derive(Clone, Copy)]
struct Plan {
    rows: usize,
    cols: usize,
}

impl Plan {
    fn new(kernel: &MicroKernel<f64>, panels: usize) -> Self {
        Self { rows: panels * kernel.rows, cols: panels * kernel.cols }
    }

    fn packed(&self) -> usize {
        KINDS * DEPTH * (self.rows + self.cols)
    }

    fn sums(&self) -> usize {
        PRODUCTS.len() * self.rows * self.cols
    }

    fn bytes(&self) -> usize {
        (self.packed() + self.sums()) * size_of::<f64>() + size_of::<Slot>()
    }
}

/// The buffers of one block.
struct Slot {
    packed: Vec<f64>,
    sums: Vec<f64>,
}

struct Pairs<'a, T> {
    left: Side<'a, T>,
    right: Side<'a, T>,
    pairing: Pairing,
    min_overlap: usize,
    kernel: MicroKernel<f64>,
    plan: Plan,
}

impl<T: Element> Pairs<'_, T> {
    fn run(
        &self,
        threads: usize,
        sink: &mut dyn Taker,
        execution: &Execution,
        stats: &mut Stats,
    ) -> Result<()> {
        let slot = || {
            let (packed, sums) = (self.plan.packed(), self.plan.sums());
            Ok(Slot { packed: zeroed(OPERATION, packed)?, sums: zeroed(OPERATION, sums)? })
        };
        let mut slots = (0..threads).map(|_| slot()).collect::<Result<Vec<_>>>()?;
        let (row_step, col_step) = (self.plan.rows, self.plan.cols);
        let corners = || {
            (0..self.left.view.rows()).step_by(row_step).flat_map(move |row| {
                let first =
                    if self.pairing == Pairing::Within { row / col_step * col_step } else { 0 };
                (first..self.right.view.rows()).step_by(col_step).map(move |col| (row, col))
            })
        };
        execution.control.begin(corners().count() as u64);
        let mut corners = corners();
        loop {
            let batch: Vec<(usize, usize)> = corners.by_ref().take(threads).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let again: u64 = batch
                .par_iter()
                .zip(&mut slots)
                .map(|(&corner, slot)| self.fill(corner, slot, execution))
                .try_reduce(|| 0, |a, b| Ok(a + b))?;
            let blocks: Vec<ScoreBlock<'_>> =
                batch.iter().zip(&slots).map(|(&corner, slot)| self.block(corner, slot)).collect();
            sink.take_blocks(&blocks)?;
            stats.fallbacks += again;
            stats.tiles += batch.len() as u64;
            execution.control.advance(batch.len() as u64);
        }
    }

    fn block<'s>(&self, (row0, col0): (usize, usize), slot: &'s Slot) -> ScoreBlock<'s> {
        ScoreBlock {
            row0,
            col0,
            rows: self.plan.rows.min(self.left.view.rows() - row0),
            cols: self.plan.cols.min(self.right.view.rows() - col0),
            stride: self.plan.cols,
            symmetric: self.pairing == Pairing::Within,
            scores: &slot.sums[..self.plan.rows * self.plan.cols],
        }
    }

    /// Computes a block's coefficients, in the place of its first product. Returns how many were computed twice.
    fn fill(&self, corner: (usize, usize), slot: &mut Slot, execution: &Execution) -> Result<u64> {
        let (row0, col0) = corner;
        let block = self.block(corner, slot);
        let (rows, cols) = (block.rows, block.cols);
        let complete = |side: &Side<'_, T>, first: usize, count: usize| {
            side.rows[first..first + count].iter().all(|row| row.is_complete)
        };
        let is_complete = complete(&self.left, row0, rows) && complete(&self.right, col0, cols);
        // Series without gaps need no product but the first.
        let products = if is_complete { &PRODUCTS[..1] } else { &PRODUCTS[..] };
        let area = self.plan.rows * self.plan.cols;
        slot.sums[..products.len() * area].fill(0.0);
        let samples = self.left.view.cols();
        let (left, right) = slot.packed.split_at_mut(KINDS * DEPTH * self.plan.rows);
        for start in (0..samples).step_by(DEPTH) {
            execution.control.check(OPERATION)?;
            let depth = DEPTH.min(samples - start);
            let kinds = if is_complete { 1 } else { KINDS };
            pack_side(&self.left, row0, rows, self.kernel.rows, start, depth, kinds, left);
            pack_side(&self.right, col0, cols, self.kernel.cols, start, depth, kinds, right);
            for (&(row_kind, col_kind), sums) in products.iter().zip(slot.sums.chunks_mut(area)) {
                let a = &left[row_kind * DEPTH * self.plan.rows..];
                let b = &right[col_kind * DEPTH * self.plan.cols..];
                for col in (0..cols).step_by(self.kernel.cols) {
                    for row in (0..rows).step_by(self.kernel.rows) {
                        self.kernel.add(
                            depth,
                            &a[row * depth..][..depth * self.kernel.rows],
                            &b[col * depth..][..depth * self.kernel.cols],
                            self.kernel.cols,
                            &mut sums[row * self.plan.cols + col..],
                            self.plan.cols,
                        );
                    }
                }
            }
        }
        let mut again = 0;
        for row in 0..rows {
            for col in 0..cols {
                let pair = (row0 + row, col0 + col);
                if self.pairing == Pairing::Within && pair.1 <= pair.0 {
                    continue;
                }
                let at = row * self.plan.cols + col;
                let sum = |product: usize| slot.sums[product * area + at];
                let score = self.score(pair, &sum).unwrap_or_else(|| {
                    again += 1;
                    two_passes(
                        self.left.view.row(pair.0),
                        self.right.view.row(pair.1),
                        (&self.left.rows[pair.0].normal, &self.right.rows[pair.1].normal),
                    )
                });
                slot.sums[at] = score;
            }
        }
        Ok(again)
    }

    /// From the sums of [`PRODUCTS`]; `None` where they have lost too many digits.
    #[inline(always)]
    fn score(&self, (row, col): (usize, usize), sum: &impl Fn(usize) -> f64) -> Option<f64> {
        let (row, col) = (&self.left.rows[row], &self.right.rows[col]);
        if row.normal.exclusion.is_some() || col.normal.exclusion.is_some() {
            return Some(f64::NAN);
        }
        if row.is_complete && col.is_complete {
            let is_enough = self.left.view.cols() >= self.min_overlap;
            return Some(if is_enough { sum(0).clamp(-1.0, 1.0) } else { f64::NAN });
        }
        let count = sum(1);
        if count < self.min_overlap as f64 {
            return Some(f64::NAN);
        }
        let (row_squares, col_squares) = (sum(4), sum(5));
        let row_left = row_squares - sum(2) * (sum(2) / count);
        let col_left = col_squares - sum(3) * (sum(3) / count);
        if row_left <= LEAST_PART * row_squares || col_left <= LEAST_PART * col_squares {
            return None;
        }
        let both = sum(0) - sum(2) * (sum(3) / count);
        Some((both / (row_left.sqrt() * col_left.sqrt())).clamp(-1.0, 1.0))
    }
}

#[allow(clippy::too_many_arguments)]
fn pack_side<T: Element>(
    side: &Side<'_, T>,
    row0: usize,
    rows: usize,
    width: usize,
    start: usize,
    depth: usize,
    kinds: usize,
    packed: &mut [f64],
) {
    let (values, rest) = packed.split_at_mut(packed.len() / KINDS);
    let (masks, squares) = rest.split_at_mut(rest.len() / 2);
    for first in (0..rows).step_by(width) {
        let places = row0 + first..row0 + rows.min(first + width);
        let panel = first * depth..(first + width) * depth;
        let others =
            (kinds > 1).then_some((&mut masks[panel.clone()], &mut squares[panel.clone()]));
        pack_panel(side, places, width, start, depth, &mut values[panel], others);
    }
}

/// Packs a panel of values and, where they are wanted, of masks and of squares.
fn pack_panel<T: Element>(
    side: &Side<'_, T>,
    places: Range<usize>,
    width: usize,
    start: usize,
    depth: usize,
    values: &mut [f64],
    others: Option<(&mut [f64], &mut [f64])>,
) {
    let slices: Vec<&[T]> =
        places.clone().map(|row| &side.view.row(row)[start..start + depth]).collect();
    let normals = &side.rows[places];
    let value = |row: usize, value: T| {
        let is_there = value.to_f64().is_finite();
        if is_there { normals[row].normal.apply(value) } else { 0.0 }
    };
    pack(values, width, &slices, value);
    if let Some((masks, squares)) = others {
        pack(masks, width, &slices, |_, value: T| f64::from(u8::from(value.to_f64().is_finite())));
        pack(squares, width, &slices, |row, own| value(row, own).powi(2));
    }
}

/// The coefficient by its definition: means first.
fn two_passes<T: Element>(x: &[T], y: &[T], (row, col): (&Normal, &Normal)) -> f64 {
    let shared = || {
        let both =
            x.iter().zip(y).filter(|(a, b)| a.to_f64().is_finite() && b.to_f64().is_finite());
        both.map(|(&a, &b)| (row.apply(a), col.apply(b)))
    };
    let constant = |mut values: &mut dyn Iterator<Item = f64>| {
        let first = values.next();
        (&mut values).all(|value| Some(value) == first)
    };
    if constant(&mut shared().map(|pair| pair.0)) || constant(&mut shared().map(|pair| pair.1)) {
        return f64::NAN;
    }
    let (mut count, mut row_mean, mut col_mean) = (0.0, 0.0, 0.0);
    for (a, b) in shared() {
        count += 1.0;
        row_mean += (a - row_mean) / count;
        col_mean += (b - col_mean) / count;
    }
    let (mut both, mut row_squares, mut col_squares) = (0.0, 0.0, 0.0);
    let (mut row_rest, mut col_rest) = (0.0, 0.0);
    for (a, b) in shared() {
        let (a, b) = (a - row_mean, b - col_mean);
        both += a * b;
        row_squares += a * a;
        col_squares += b * b;
        row_rest += a;
        col_rest += b;
    }
    // What the rounding of the means left over.
    both -= row_rest * (col_rest / count);
    row_squares -= row_rest * (row_rest / count);
    col_squares -= col_rest * (col_rest / count);
    (both / (row_squares.sqrt() * col_squares.sqrt())).clamp(-1.0, 1.0)
}
