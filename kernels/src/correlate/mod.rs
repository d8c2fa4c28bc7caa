//! Correlation of all pairs of series: Pearson's, Spearman's, over shared samples, at lags.
//!
//! **Idea.** Centre each series and divide it by its norm; the coefficient of two series is then
//! their inner product, and all of them together are a matrix product Z·Zᵀ of which only the upper
//! half is computed. The n² coefficients never exist at once: a [sink](PairSink) sees them tile by
//! tile and keeps what it is for.
//!
//! **Formula.** r = Σ(xₜ − x̄)(yₜ − ȳ) / √(Σ(xₜ − x̄)² · Σ(yₜ − ȳ)²)
//! (K. Pearson, "Notes on regression and inheritance in the case of two parents", 1895).
//!
//! [`correlate_with`] computes Spearman's coefficient, which is this one of the ranks, or compares each pair over the samples
//! that both have, for series with gaps; [`correlate_lagged`] finds the lag at which two series agree best.
//!
//! **Hazards.**
//! - *Cancellation.* Values near 1e6 with a variance of 1e-2 lose every digit in Σxy − n·x̄·ȳ. Each value
//!   is therefore centred in f64 first, around a mean that is itself corrected.
//! - *Long f32 sums.* They are cut into chains of 32 samples, then 256, then f64.
//! - *Undefined coefficients.* A series that is constant, or that holds a NaN or an infinity, has no
//!   coefficient with any other: it is left out, listed in [`Summary`] and counted in [`Stats`]. It never
//!   reaches a threshold or a ranking; a dense block holds NaN in its place.
//!
//! **Precision.** Against f64 throughout: within 1e-6 for `f32` input and 1e-12 for `f64` input, both
//! absolute ([`tolerance::CORRELATE_F32`](crate::tolerance), [`CORRELATE_F64`](crate::tolerance)). The bits of a
//! coefficient do not depend on the tile, the number of threads or the other rows. Spearman's: the same. Pairwise:
//! [`CORRELATE_PAIRWISE`](crate::tolerance), whatever the type.
//!
//! *Screen.* On a device and where the sink has a floor, a product of bfloat16 on tensor cores finds the pairs that may
//! reach it ([`CORRELATE_SCREEN`](crate::tolerance) says how near), and those alone are computed, in f64. A tile of which
//! too many pass goes through the plain product ([`Stats::fallbacks`]), so that on a device the bits may change with the
//! tile, within the bound of the type.
//!
//! **Cost.** n²/2·m multiply-adds for n series of m samples. Memory: 8 bytes for each coefficient of
//! a tile and 256 packed samples of its rows, within the [budget](crate::Budget); 32 bytes for each series. Spearman's
//! holds the ranks of two bands of series besides, as wide as the budget allows, and sorts each series again for each band.
//! Pairwise: six times the multiply-adds, in f64, and for each thread a block of about 100 × 100 pairs.
//!
//! ```
//! use kernels::correlate::{Strength, Threshold, correlate};
//! use kernels::{Execution, MatrixView};
//!
//! let series = [
//!     1.0, 2.0, 3.0, 4.0, //
//!     2.0, 4.1, 5.9, 8.0, // follows the first
//!     4.0, 1.0, 3.0, 2.0, //
//!     7.0, 7.0, 7.0, 7.0, // constant: left out
//! ];
//! let mut strong = Threshold::new(Strength::Magnitude, 0.9);
//! let summary = correlate(MatrixView::new(&series, 4, 4)?, &mut strong, &Execution::default())?;
//!
//! let pairs = strong.into_pairs();
//! assert_eq!((pairs.len(), pairs[0].row, pairs[0].col), (1, 0, 1));
//! assert_eq!(summary.stats.excluded_rows, 1);
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
mod lagged;
mod matrix;
mod normalise;
mod options;
mod pairwise;
mod ranked;
mod screen;
mod sink;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::{DEVICE, LAGS, VARIANTS};

use std::time::Instant;

pub(crate) use lagged::run_lagged;
pub use lagged::{
    LagOptions, Lagged, LaggedPair, Pairs, correlate_lagged, correlate_lagged_between,
};
pub use matrix::CoefficientMatrix;
pub use options::{Coefficient, CorrelateOptions, Missing};
pub use sink::{
    Best, Dense, Neighbour, Pair, PairSink, ScoreBlock, Strength, Threshold, TopPairs, TopPerRow,
};
pub(crate) use sink::{Pairing, Taker};

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

const OPERATION: &str = "correlate";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("correlate.cu");

/// What was done, and which series were left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The record of the operation.
    pub stats: Stats,
    /// Rows of the first matrix that were left out, by index.
    pub excluded: Vec<(usize, Exclusion)>,
    /// Rows of the second matrix that were left out; empty where there is only one.
    pub excluded_cols: Vec<(usize, Exclusion)>,
}

/// Correlates every row of `x` with every other and gives the coefficients to `sink`, each pair once
/// with its smaller index first.
///
/// No rows is a result without pairs. Fails on series of fewer than 2 samples, on a budget too small for
/// one tile, on a device that is required and not there, when cancelled, and when the sink fails.
pub fn correlate<T: Element, S: PairSink>(
    x: MatrixView<'_, T>,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    correlate_with(x, &CorrelateOptions::default(), sink, execution)
}

/// As [`correlate`], with another coefficient or another way with missing values.
///
/// Fails as it does, and on options that mean nothing.
///
/// ```
/// use kernels::correlate::{CorrelateOptions, Strength, TopPairs, correlate_with};
/// use kernels::{Execution, MatrixView};
///
/// let series = [
///     1.0, 2.0, 3.0, 4.0, f64::NAN, //
///     1.0, 8.0, 27.0, 64.0, 125.0, //
///     9.0, 6.0, 4.0, 3.0, 2.0,
/// ];
/// let x = MatrixView::new(&series, 3, 5)?;
/// let mut best = TopPairs::new(Strength::Magnitude, 1);
/// correlate_with(x, &CorrelateOptions::spearman(), &mut best, &Execution::default())?;
/// let best = best.into_pairs();
/// assert_eq!((best[0].row, best[0].col), (1, 2)); // the first series was left out
/// assert!((best[0].r + 1.0).abs() < 1e-12);
///
/// let mut all = TopPairs::new(Strength::Magnitude, 9);
/// correlate_with(x, &CorrelateOptions::pairwise(3), &mut all, &Execution::default())?;
/// assert_eq!(all.into_pairs().len(), 3);
/// # Ok::<(), kernels::Error>(())
/// ```
pub fn correlate_with<T: Element, S: PairSink>(
    x: MatrixView<'_, T>,
    options: &CorrelateOptions,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    T::correlate(x, x, Pairing::Within, options, sink, execution)
}

/// Correlates every row of `x` with every row of `y` and gives the coefficients to `sink`.
///
/// Fails as [`correlate`] does, and when the series of the two differ in length.
pub fn correlate_between<T: Element, S: PairSink>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    correlate_between_with(x, y, &CorrelateOptions::default(), sink, execution)
}

/// As [`correlate_between`], with another coefficient or another way with missing values.
pub fn correlate_between_with<T: Element, S: PairSink>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    options: &CorrelateOptions,
    sink: &mut S,
    execution: &Execution,
) -> Result<Summary> {
    check_lengths(OPERATION, x, y)?;
    T::correlate(x, y, Pairing::Between, options, sink, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    options: &CorrelateOptions,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    options.check()?;
    check_samples(OPERATION, x)?;
    check_samples(OPERATION, y)?;
    let work = Work {
        amount: x.rows() as f64 * y.rows() as f64 * x.cols() as f64,
        unit: "multiply-adds",
        least: execution.crossover.correlate,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || Gpu::open_all(&SOURCE))?;
    run_on(&gpus, Stats::new(report), x, y, pairing, options, sink, execution)
}

/// On `devices`, or on the CPU without one.
#[allow(clippy::too_many_arguments)]
fn run_on<B: Backend, T: Element>(
    devices: &[B],
    stats: Stats,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    options: &CorrelateOptions,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    let start = Instant::now();
    let mut summary = match (options.missing, options.coefficient) {
        (Missing::Pairwise { min_overlap }, _) => {
            pairwise::run_on(devices, stats, x, y, pairing, min_overlap, sink, execution)
        }
        (Missing::LeaveOut, Coefficient::Pearson) => {
            products_on(devices, stats, x, y, pairing, sink, execution)
        }
        (Missing::LeaveOut, Coefficient::Spearman) => {
            ranked::run_on(devices, stats, x, y, pairing, sink, execution)
        }
    }?;
    summary.stats.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}

/// The products of normalised series.
fn products_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    let pool = execution.threads()?;
    let (normals, others) = pool.run(|| {
        let others = if pairing == Pairing::Between { normalise::normals(y) } else { Vec::new() };
        (normalise::normals(x), others)
    });
    let left = cpu::Side { view: x, normals: &normals };
    let right = cpu::Side {
        view: y,
        normals: if pairing == Pairing::Between { &others } else { &normals },
    };
    if x.rows() > 0 && y.rows() > 0 {
        pool.run(|| match devices {
            [] => cpu::run(left, right, pairing, sink, execution, &mut stats),
            _ => cuda::run(devices, left, right, pairing, sink, execution, &mut stats),
        })?;
    }
    let (excluded, excluded_cols) = (normalise::excluded(&normals), normalise::excluded(&others));
    stats.excluded_rows = (excluded.len() + excluded_cols.len()) as u64;
    stats.kernel_seconds = kernel_seconds(devices)?;
    Ok(Summary { stats, excluded, excluded_cols })
}

fn check_samples<T>(operation: &'static str, view: MatrixView<'_, T>) -> Result<()> {
    if view.rows() == 0 || view.cols() >= 2 {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        found: format!("{} series of length {}", view.rows(), view.cols()),
        expected: "at least 2 samples are needed".into(),
    })
}

fn check_lengths<T>(
    operation: &'static str,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
) -> Result<()> {
    if x.cols() == y.cols() {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        found: format!("{} x {} against {} x {}", x.rows(), x.cols(), y.rows(), y.cols()),
        expected: "series of the same length are needed".into(),
    })
}

/// The square tiles that hold at least one pair. On the processor they are counted and walked, and not listed: of small ones there
/// are more than there are series. Devices, whose tiles are large, share a list.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    cols: usize,
    tile: usize,
    pairing: Pairing,
}

impl Tiles {
    fn count(self) -> usize {
        let (down, across) = (self.rows.div_ceil(self.tile), self.cols.div_ceil(self.tile));
        match self.pairing {
            Pairing::Within => down * (down + 1) / 2,
            Pairing::Between => down * across,
        }
    }

    /// Their corners, row by row.
    fn corners(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.rows).step_by(self.tile).flat_map(move |row| {
            let first = if self.pairing == Pairing::Within { row } else { 0 };
            (first..self.cols).step_by(self.tile).map(move |col| (row, col))
        })
    }

    /// Their corners, row by row, of each row the one on the diagonal last.
    fn corners_diagonal_last(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.rows).step_by(self.tile).flat_map(move |row| {
            let is_within = self.pairing == Pairing::Within;
            let first = if is_within { row + self.tile } else { 0 };
            let others = (first..self.cols).step_by(self.tile);
            others.chain(is_within.then_some(row)).map(move |col| (row, col))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_counted_as_they_are_walked() {
        for (rows, cols, pairing) in
            [(1, 1, Pairing::Within), (700, 700, Pairing::Within), (7, 9, Pairing::Between)]
        {
            for tile in [1, 2, 3, 6, 7, 9, 1_000] {
                let tiles = Tiles { rows, cols, tile, pairing };
                let walked: Vec<_> = tiles.corners().collect();
                assert_eq!(tiles.count(), walked.len());
                let mut diagonal_last: Vec<_> = tiles.corners_diagonal_last().collect();
                let is_last =
                    |&(row, col): &(usize, usize)| (row, pairing == Pairing::Within && row == col);
                assert!(diagonal_last.is_sorted_by_key(is_last));
                diagonal_last.sort_unstable();
                assert_eq!(diagonal_last, walked);
            }
        }
    }
}
