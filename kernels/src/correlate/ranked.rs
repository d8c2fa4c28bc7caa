//! Spearman's coefficient: ranks, and then the products of them.
//!
//! ```text
//!            band of columns            the ranks of two bands of series are held at a time, in the type of the
//!          ┌───────┬───────┬──          series; where the budget holds all of them there is one band only
//!   band   │ ranks · ranks │  …
//!   of     ├───────┼───────┤            ranks of 7 3 3 9:  3 1.5 1.5 4
//!   rows   │       │       │  …
//! ```
//! A rank is at most the number of samples, and so exact: up to 2²³ samples in `f32`.

use rayon::prelude::*;

use super::sink::{ScoreBlock, Strength, Taker};
use super::{OPERATION, Pairing, Summary, Tiles, products_on};
use crate::budget::{Budget, zeroed};
use crate::cuda::backend::Backend;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

pub(super) fn run_on<B: Backend, T: Element>(
    devices: &[B],
    stats: Stats,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    let threads = execution.threads()?.threads();
    let rows = x.rows().max(y.rows()).max(1);
    let bands = if pairing == Pairing::Within { 1 } else { 2 };
    let sides = |band: usize| if band < rows { 2 } else { bands };
    let bytes = |band: usize| {
        let sorting = threads * x.cols() * size_of::<(u64, u32)>();
        sorting + sides(band) * band * x.cols() * size_of::<T>()
    };
    // The products need the rest, and care less for it.
    let host_bytes = execution.budget.host_bytes;
    let fits = |band: usize| bytes(band) <= host_bytes / 4 * 3;
    let mut band = if fits(rows) { rows } else { (1..rows).rev().find(|&b| fits(b)).unwrap_or(1) };
    loop {
        let budget_bytes = host_bytes.saturating_sub(bytes(band));
        let budget = Budget { host_bytes: budget_bytes, ..execution.budget };
        let inner = Execution { budget, ..execution.clone() };
        let bands = Bands { x, y, pairing, band, bytes: bytes(band) };
        match bands.run(devices, stats.clone(), sink, &inner) {
            // Nothing has reached the sink: the first pair of bands is the largest.
            Err(Error::BudgetTooSmall { .. }) if band > 1 => band = 1,
            Err(Error::BudgetTooSmall { operation, memory, least_bytes, .. })
                if memory == crate::error::Memory::Host =>
            {
                let least_bytes = least_bytes + bytes(band);
                let budget_bytes = host_bytes;
                return Err(Error::BudgetTooSmall { operation, memory, budget_bytes, least_bytes });
            }
            result => return result,
        }
    }
}

struct Bands<'a, T> {
    x: MatrixView<'a, T>,
    y: MatrixView<'a, T>,
    pairing: Pairing,
    band: usize,
    bytes: usize,
}

impl<T: Element> Bands<'_, T> {
    fn run<B: Backend>(
        &self,
        devices: &[B],
        stats: Stats,
        sink: &mut dyn Taker,
        execution: &Execution,
    ) -> Result<Summary> {
        let tiles = Tiles {
            rows: self.x.rows(),
            cols: self.y.rows(),
            tile: self.band,
            pairing: self.pairing,
        };
        let is_one = tiles.count() <= 1;
        let mut inner = execution.clone();
        if !is_one {
            // Its tiles are a part of this operation's.
            inner.control = execution.control.part();
            execution.control.begin(tiles.count() as u64);
        }
        let mut all = Summary { stats, excluded: Vec::new(), excluded_cols: Vec::new() };
        let mut rows = Vec::new();
        let mut first_row = None;
        // Two bands need more memory than one: where it is too little, the first pair shows it.
        for (row0, col0) in tiles.corners_diagonal_last() {
            if first_row != Some(row0) {
                // Let go first: there is room for one band only.
                drop(std::mem::take(&mut rows));
                rows = self.ranks(self.x, row0, execution)?;
                first_row = Some(row0);
            }
            let x = MatrixView::new(&rows, rows.len() / self.x.cols(), self.x.cols())?;
            let is_diagonal = self.pairing == Pairing::Within && row0 == col0;
            let cols = if is_diagonal { Vec::new() } else { self.ranks(self.y, col0, execution)? };
            let y = if is_diagonal {
                x
            } else {
                MatrixView::new(&cols, cols.len() / self.y.cols(), self.y.cols())?
            };
            let pairing = if is_diagonal { Pairing::Within } else { Pairing::Between };
            let mut shifted = Shifted {
                sink: &mut *sink,
                row0,
                col0,
                symmetric: self.pairing == Pairing::Within,
            };
            let stats = Stats::new(all.stats.device.clone());
            let part = products_on(devices, stats, x, y, pairing, &mut shifted, &inner)?;
            all.add(part, self.pairing, (row0, col0), self.bytes);
            if !is_one {
                execution.control.advance(1);
            }
        }
        Ok(all)
    }

    /// The ranks of a band of rows.
    fn ranks(&self, view: MatrixView<'_, T>, row0: usize, execution: &Execution) -> Result<Vec<T>> {
        let (count, cols) = (self.band.min(view.rows() - row0), view.cols());
        let mut ranks = zeroed(OPERATION, count * cols)?;
        execution.threads()?.run(|| {
            ranks.par_chunks_mut(cols).enumerate().try_for_each_init(
                Vec::new,
                |keys, (row, ranks)| {
                    execution.control.check(OPERATION)?;
                    rank(view.row(row0 + row), keys, ranks);
                    Ok(())
                },
            )
        })?;
        Ok(ranks)
    }
}

impl Summary {
    /// Takes up what one pair of bands gave.
    fn add(&mut self, part: Self, pairing: Pairing, (row0, col0): (usize, usize), bytes: usize) {
        let is_first = if pairing == Pairing::Within { row0 == col0 } else { col0 == 0 };
        if is_first {
            self.excluded.extend(part.excluded.into_iter().map(|(row, why)| (row0 + row, why)));
        }
        if pairing == Pairing::Between && row0 == 0 {
            let cols = part.excluded_cols.into_iter();
            self.excluded_cols.extend(cols.map(|(col, why)| (col0 + col, why)));
        }
        let stats = &mut self.stats;
        stats.tiles += part.stats.tiles;
        stats.halvings += part.stats.halvings;
        stats.fallbacks += part.stats.fallbacks;
        stats.peak_bytes = stats.peak_bytes.max(part.stats.peak_bytes + bytes as u64);
        stats.excluded_rows = (self.excluded.len() + self.excluded_cols.len()) as u64;
        stats.kernel_seconds += part.stats.kernel_seconds;
    }
}

/// The ranks of one series, from 1; NaN all through where a value is not finite.
fn rank<T: Element>(row: &[T], keys: &mut Vec<(u64, u32)>, ranks: &mut [T]) {
    keys.clear();
    // Room for exactly a row: what grows by doubling takes more than the budget knows of.
    keys.reserve_exact(row.len());
    let mut poison = 0.0;
    keys.extend(row.iter().enumerate().map(|(index, value)| {
        // -0 becomes 0.
        let value = value.to_f64() + 0.0;
        poison += value * 0.0;
        let bits = value.to_bits();
        let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
        (ordered, index as u32)
    }));
    if poison != 0.0 {
        ranks.fill(T::NAN);
        return;
    }
    keys.sort_unstable_by_key(|&(key, _)| key);
    let mut before = 0;
    for same in keys.chunk_by(|a, b| a.0 == b.0) {
        let shared = T::from_f64(before as f64 + 0.5 * (same.len() + 1) as f64);
        for &(_, index) in same {
            ranks[index as usize] = shared;
        }
        before += same.len();
    }
}

/// A sink that sees the blocks of two bands where they lie in the whole result.
struct Shifted<'a> {
    sink: &'a mut dyn Taker,
    row0: usize,
    col0: usize,
    symmetric: bool,
}

impl Shifted<'_> {
    fn moved<'b>(&self, blocks: &[ScoreBlock<'b>]) -> Vec<ScoreBlock<'b>> {
        let moved = |block: &ScoreBlock<'b>| ScoreBlock {
            row0: block.row0 + self.row0,
            col0: block.col0 + self.col0,
            symmetric: self.symmetric,
            ..*block
        };
        blocks.iter().map(moved).collect()
    }
}

impl Taker for Shifted<'_> {
    fn take_blocks(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        let blocks = self.moved(blocks);
        self.sink.take_blocks(&blocks)
    }

    fn take_blocks_alone(&mut self, blocks: &[ScoreBlock<'_>]) -> Result<()> {
        let blocks = self.moved(blocks);
        self.sink.take_blocks_alone(&blocks)
    }

    fn floor(&self) -> Option<(Strength, f64)> {
        self.sink.floor()
    }
}
