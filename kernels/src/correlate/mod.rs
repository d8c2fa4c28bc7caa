//! Pearson's correlation of all pairs of series.
//!
//! **Idea.** Centre each series and divide it by its norm; the coefficient of two series is then
//! their inner product, and all of them together are a matrix product Z·Zᵀ of which only the upper
//! half is computed. The n² coefficients never exist at once: a [sink](PairSink) sees them tile by
//! tile and keeps what it is for.
//!
//! **Formula.** r = Σ(xₜ − x̄)(yₜ − ȳ) / √(Σ(xₜ − x̄)² · Σ(yₜ − ȳ)²)
//! (K. Pearson, "Notes on regression and inheritance in the case of two parents", 1895).
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
//! coefficient do not depend on the tile, the number of threads or the other rows.
//!
//! **Cost.** n²/2·m multiply-adds for n series of m samples. Memory: 8 bytes for each coefficient of
//! a tile and 256 packed samples of its rows, within the [budget](crate::Budget); 32 bytes for each series.
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
mod normalise;
mod sink;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod suite;

use std::time::Instant;

pub(crate) use lagged::run_lagged;
pub use lagged::{LagOptions, Lagged, LaggedPair, Pairs, correlate_lagged};
pub use sink::{
    Best, Dense, Neighbour, Pair, PairSink, ScoreBlock, Strength, Threshold, TopPairs, TopPerRow,
};
pub(crate) use sink::{Pairing, Taker};

use crate::cuda::backend::Backend;
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::Source;
use crate::device::{self, GpuPolicy};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

const OPERATION: &str = "correlate";

/// The kernels of this operation.
pub(crate) const SOURCE: Source =
    Source { file: "correlate.cu", text: include_str!("correlate.cu") };

/// Opening a device and loading its code takes about as long as this many multiply-adds on a CPU core.
const LEAST_WORK_FOR_DEVICE: f64 = 4e9;

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
    T::correlate(x, x, Pairing::Within, sink, execution)
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
    if x.cols() != y.cols() {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} x {} against {} x {}", x.rows(), x.cols(), y.rows(), y.cols()),
            expected: "series of the same length are needed".into(),
        });
    }
    T::correlate(x, y, Pairing::Between, sink, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    check_samples(OPERATION, x)?;
    check_samples(OPERATION, y)?;
    let (report, gpu) = device::choose(OPERATION, execution.gpu, || {
        let work = x.rows() as f64 * y.rows() as f64 * x.cols() as f64;
        if execution.gpu == GpuPolicy::Preferred && work < LEAST_WORK_FOR_DEVICE {
            return Err(format!(
                "{work:.1e} multiply-adds are less than starting a device is worth"
            ));
        }
        Gpu::open(&SOURCE)
    })?;
    run_on(gpu.as_ref(), Stats::new(report), x, y, pairing, sink, execution)
}

/// On `device`, or on the CPU without one.
fn run_on<B: Backend, T: Element>(
    device: Option<&B>,
    mut stats: Stats,
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairing: Pairing,
    sink: &mut dyn Taker,
    execution: &Execution,
) -> Result<Summary> {
    let start = Instant::now();
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
        pool.run(|| match device {
            Some(device) => cuda::run(device, left, right, pairing, sink, execution, &mut stats),
            None => cpu::run(left, right, pairing, sink, execution, &mut stats),
        })?;
    }
    let (excluded, excluded_cols) = (normalise::excluded(&normals), normalise::excluded(&others));
    stats.excluded_rows = (excluded.len() + excluded_cols.len()) as u64;
    stats.seconds = start.elapsed().as_secs_f64();
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

/// Corners of the square tiles that hold at least one pair, row by row.
fn tile_corners(rows: usize, cols: usize, tile: usize, pairing: Pairing) -> Vec<(usize, usize)> {
    (0..rows)
        .step_by(tile)
        .flat_map(|row| {
            let first = if pairing == Pairing::Within { row } else { 0 };
            (first..cols).step_by(tile).map(move |col| (row, col))
        })
        .collect()
}
