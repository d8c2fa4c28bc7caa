//! The lag at which two series agree best.
//!
//! **Idea.** For every lag the inner product of one series with the other one shifted. The shifted
//! copies of a series are overlapping windows of the same memory, so the matrix product of
//! [`correlate`](super::correlate) serves with a column step of one sample, and nothing is copied.
//!
//! **Formula.** At lag ℓ ≥ 0, over the overlap t = 0 … m−ℓ−1 of n = m−ℓ samples:
//! r(ℓ) = (Σ xₜ·yₜ₊ℓ − n·x̄·ȳ) / √(Mx·My), where x̄, ȳ and the centred sums of squares Mx, My are those of
//! the overlap and not of the whole series: a trend would otherwise pull every lag towards zero
//! (compare Box, Jenkins & Reinsel, "Time Series Analysis", §12.1). Negative lags swap the two.
//!
//! **Sign.** A lag of +3 says that the second series (`col`) follows the first one (`row`) by 3 samples.
//!
//! **Hazards.** Sums run over series centred and scaled in f64, whatever the input type. A lag
//! whose overlap is constant in either series has no coefficient and is passed over. Where nearly all of
//! a series' spread lies outside the overlap, digits are lost in proportion: within 1e-10 for ordinary
//! series ([`tolerance::LAGGED`](crate::tolerance::LAGGED)).
//!
//! **Cost.** pairs × (2L+1) × m multiply-adds. Memory: one packed panel (8 to 14 series) for each thread,
//! and 32·(L+1) bytes for each series; on a device the sums of a tile of pairs for every lag.

mod cpu;
pub(super) mod cuda;

use std::time::Instant;

use rayon::prelude::*;

use super::normalise::{Normal, excluded, normals};
use super::{SOURCE, check_lengths, check_samples};
use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::device;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

const OPERATION: &str = "correlate_lagged";

/// Which lags are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagOptions {
    /// The largest shift either way, in samples.
    pub max_lag: usize,
    /// The least samples an overlap must have, 2 or more. Few samples give large coefficients by chance.
    pub min_overlap: usize,
}

impl Default for LagOptions {
    fn default() -> Self {
        Self { max_lag: 24, min_overlap: 3 }
    }
}

/// Which pairs are compared.
#[derive(Debug, Clone, Copy)]
pub enum Pairs<'a> {
    /// Every row with every later one; of two matrices, every row of the first with every row of the second.
    All,
    /// These, as (row, col); of two matrices, a row of the first and one of the second.
    Listed(&'a [(usize, usize)]),
}

/// The best lag of two series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaggedPair {
    /// The first series.
    pub row: usize,
    /// The second series.
    pub col: usize,
    /// By how many samples the second series follows the first; negative where it leads.
    pub lag: i64,
    /// The coefficient at that lag, the largest in magnitude; of equal ones that of the smaller
    /// shift, and of those the positive.
    pub r: f64,
    /// The coefficient at lag 0.
    pub r_unshifted: f64,
    /// Samples that overlap at the best lag.
    pub overlap: usize,
}

/// Result of [`correlate_lagged`].
#[derive(Debug, Clone, PartialEq)]
pub struct Lagged {
    /// By row and column for [`Pairs::All`], in the order of the list for [`Pairs::Listed`]. Pairs of a
    /// series that was left out are not there.
    pub pairs: Vec<LaggedPair>,
    /// Rows that were left out, by index.
    pub excluded: Vec<(usize, Exclusion)>,
    /// Rows of the second matrix that were left out; empty where there is only one.
    pub excluded_cols: Vec<(usize, Exclusion)>,
    /// The record of the operation.
    pub stats: Stats,
}

/// Finds for each pair the lag within `max_lag` at which the coefficient is largest in magnitude.
///
/// On a device a tile of pairs is computed as a whole: a list that names few of the pairs of its tiles goes to the
/// CPU, unless a device is required. Fails on series too short for the lags, on a pair whose row does not exist, on a
/// budget too small for one panel, on a device that is required and not there, and when cancelled.
///
/// ```
/// use kernels::correlate::{LagOptions, Pairs, correlate_lagged};
/// use kernels::{Execution, MatrixView};
///
/// let wave = |t: i32| (f64::from(t) * 0.7).sin() + (f64::from(t) * 0.31).cos();
/// let series: Vec<f64> = (0..100).map(wave).chain((0..100).map(|t| wave(t - 4))).collect();
/// let options = LagOptions { max_lag: 8, ..LagOptions::default() };
/// let found = correlate_lagged(MatrixView::new(&series, 2, 100)?, Pairs::All, &options, &Execution::default())?;
/// assert_eq!(found.pairs[0].lag, 4); // the second row follows the first by 4 samples
/// # Ok::<(), kernels::Error>(())
/// ```
pub fn correlate_lagged<T: Element>(
    x: MatrixView<'_, T>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    T::correlate_lagged(x, None, pairs, options, execution)
}

/// As [`correlate_lagged`], of pairs of a row of `x` with a row of `y`.
///
/// Fails as it does, and when the series of the two differ in length.
pub fn correlate_lagged_between<T: Element>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    T::correlate_lagged(x, Some(y), pairs, options, execution)
}

pub(crate) fn run_lagged<T: Element>(
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    check(x, y, pairs, options)?;
    let cols = y.map_or(x.rows(), |y| y.rows());
    let count = match (pairs, y) {
        (Pairs::Listed(list), _) => list.len() as f64,
        (Pairs::All, None) => x.rows() as f64 * (x.rows() as f64 - 1.0) / 2.0,
        (Pairs::All, Some(_)) => x.rows() as f64 * cols as f64,
    };
    let lags = options.max_lag.saturating_mul(2).saturating_add(1);
    let work = Work {
        amount: count * lags as f64 * x.cols() as f64,
        unit: "multiply-adds",
        least: execution.crossover.correlate_lagged,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || {
        if lags > cuda::MOST_LAGS {
            return Err(device::Refusal::NoPath(format!(
                "{lags} lags are beyond the {} of its kernels",
                cuda::MOST_LAGS
            )));
        }
        if let Pairs::Listed(list) = pairs
            && execution.gpu != device::GpuPolicy::Required
            && cuda::is_sparse(list)
        {
            let reason = "the list names too few of the pairs of its tiles";
            return Err(device::Refusal::Absent(reason.into()));
        }
        Ok(Gpu::open_all(&SOURCE)?)
    })?;
    run_on(&gpus, Stats::new(report), x, y, pairs, options, execution)
}

/// On `devices`, or on the CPU without one.
pub(super) fn run_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    let start = Instant::now();
    let span =
        Span { samples: x.cols(), max_lag: options.max_lag, min_overlap: options.min_overlap };
    let pool = execution.threads()?;
    let (own, others) = pool.run(|| (normals(x), y.map(|y| normals(y)).unwrap_or_default()));
    let (excluded, excluded_cols) = (excluded(&own), excluded(&others));
    stats.excluded_rows = (excluded.len() + excluded_cols.len()) as u64;
    let series = own.len() + others.len();
    let fixed_bytes = series * (size_of::<Normal>() + span.edge_bytes());
    let sides = Sides {
        left: Side { view: x, normals: &own },
        right: match y {
            Some(view) => Side { view, normals: &others },
            None => Side { view: x, normals: &own },
        },
        is_within: y.is_none(),
    };
    let mut found = match devices {
        [] => cpu::run(sides, pairs, &span, fixed_bytes, execution, &mut stats),
        _ => cuda::run(devices, sides, pairs, &span, fixed_bytes, execution, &mut stats),
    }?;
    found.sort_unstable_by_key(|&(place, _)| place);
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    let pairs = found.into_iter().map(|(_, pair)| pair).collect();
    Ok(Lagged { pairs, excluded, excluded_cols, stats })
}

/// A best lag, and its place in the result.
type Found = (u64, LaggedPair);

/// One matrix with what normalises its rows.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    view: MatrixView<'a, T>,
    normals: &'a [Normal],
}

impl<T: Element> Side<'_, T> {
    /// Of every row. To be called inside the pool.
    fn edges(&self, span: &Span) -> Vec<Edges> {
        let edges = |row| Edges::of(self.view.row(row), &self.normals[row], span);
        (0..self.view.rows()).into_par_iter().map(edges).collect()
    }

    fn is_usable(&self, row: usize) -> bool {
        self.normals[row].exclusion.is_none()
    }
}

/// The first series and the second ones.
#[derive(Clone, Copy)]
struct Sides<'a, T> {
    left: Side<'a, T>,
    right: Side<'a, T>,
    /// They are the same matrix.
    is_within: bool,
}

fn check<T: Element>(
    x: MatrixView<'_, T>,
    y: Option<MatrixView<'_, T>>,
    pairs: Pairs<'_>,
    options: &LagOptions,
) -> Result<()> {
    check_samples(OPERATION, x)?;
    if let Some(y) = y {
        check_lengths(OPERATION, x, y)?;
    }
    if options.min_overlap < 2 {
        return Err(Error::Option {
            operation: OPERATION,
            option: "min_overlap",
            found: options.min_overlap.to_string(),
            expected: "at least 2 samples are needed".into(),
        });
    }
    if x.rows() > 0 && options.max_lag.saturating_add(options.min_overlap) > x.cols() {
        return Err(Error::Option {
            operation: OPERATION,
            option: "max_lag",
            found: format!("{} with series of length {}", options.max_lag, x.cols()),
            expected: format!(
                "max_lag + min_overlap ({}) must be at most that length",
                options.min_overlap
            ),
        });
    }
    let (rows, cols) = (x.rows(), y.map_or(x.rows(), |y| y.rows()));
    if let Pairs::Listed(list) = pairs
        && let Some(&(row, col)) = list.iter().find(|&&(row, col)| row >= rows || col >= cols)
    {
        return Err(Error::Option {
            operation: OPERATION,
            option: "pairs",
            found: format!("({row}, {col})"),
            expected: match y {
                None => format!("rows below {rows} are there"),
                Some(_) => format!("rows below {rows} and columns below {cols} are there"),
            },
        });
    }
    Ok(())
}

/// The lengths everything depends on.
#[derive(Clone, Copy)]
struct Span {
    samples: usize,
    max_lag: usize,
    min_overlap: usize,
}

impl Span {
    fn lags(&self) -> usize {
        2 * self.max_lag + 1
    }

    fn edge_bytes(&self) -> usize {
        2 * (self.max_lag + 1) * size_of::<Edge>() + size_of::<Edges>()
    }
}

/// Mean and centred sum of squares of a part of a normalised series.
#[derive(Debug, Clone, Copy, Default)]
struct Edge {
    mean: f64,
    squares: f64,
}

/// Of the first m − ℓ samples and of the last m − ℓ, for each ℓ.
#[derive(Debug, Default)]
struct Edges {
    heads: Vec<Edge>,
    tails: Vec<Edge>,
}

impl Edges {
    fn of<T: Element>(row: &[T], normal: &Normal, span: &Span) -> Self {
        if normal.exclusion.is_some() {
            return Self::default();
        }
        let values = || row.iter().map(|&value| normal.apply(value));
        Self { heads: Self::one_side(values(), span), tails: Self::one_side(values().rev(), span) }
    }

    /// Welford's recurrence never subtracts, so that a short constant overlap is seen as one.
    /// (B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products", 1962)
    fn one_side(values: impl Iterator<Item = f64>, span: &Span) -> Vec<Edge> {
        let mut edges = vec![Edge::default(); span.max_lag + 1];
        let mut edge = Edge::default();
        for (index, value) in values.enumerate() {
            let count = index + 1;
            let delta = value - edge.mean;
            edge.mean += delta / count as f64;
            edge.squares += delta * (value - edge.mean);
            if let Some(slot) = edges.get_mut(span.samples - count) {
                *slot = edge;
            }
        }
        edges
    }
}

/// `sums[max_lag + lag]` = Σ xₜ·yₜ₊lag.
fn best_lag(
    row: usize,
    col: usize,
    sums: &[f64],
    (x, y): (&Edges, &Edges),
    span: &Span,
) -> LaggedPair {
    let unshifted = sums[span.max_lag].clamp(-1.0, 1.0);
    let mut best = LaggedPair {
        row,
        col,
        lag: 0,
        r: unshifted,
        r_unshifted: unshifted,
        overlap: span.samples,
    };
    for shift in 1..=span.max_lag {
        let overlap = span.samples - shift;
        if overlap < span.min_overlap {
            break;
        }
        let sides = [
            (shift as i64, sums[span.max_lag + shift], x.heads[shift], y.tails[shift]),
            (-(shift as i64), sums[span.max_lag - shift], x.tails[shift], y.heads[shift]),
        ];
        for (lag, sum, x, y) in sides {
            let squares = x.squares * y.squares;
            if squares > 0.0 {
                let r =
                    ((sum - overlap as f64 * x.mean * y.mean) / squares.sqrt()).clamp(-1.0, 1.0);
                if r.abs() > best.r.abs() {
                    best = LaggedPair { lag, r, overlap, ..best };
                }
            }
        }
    }
    best
}
