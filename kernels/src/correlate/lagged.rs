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
//! and 32·(L+1) bytes for each series.

use std::time::Instant;

use rayon::prelude::*;

use super::check_samples;
use super::normalise::{Normal, excluded, normals};
use crate::device::{self, Device};
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::product::{MicroKernel, micro_kernel_f64, pack};
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
    /// Every row with every later one.
    All,
    /// These, as (row, col).
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
    /// The record of the operation.
    pub stats: Stats,
}

/// Finds for each pair the lag within `max_lag` at which the coefficient is largest in magnitude.
///
/// There is no CUDA path. Fails on series too short for the lags, on a pair whose row does not exist, on a
/// budget too small for one panel, on `gpu = required`, and when cancelled.
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
    T::correlate_lagged(x, pairs, options, execution)
}

pub(crate) fn run_lagged<T: Element>(
    x: MatrixView<'_, T>,
    pairs: Pairs<'_>,
    options: &LagOptions,
    execution: &Execution,
) -> Result<Lagged> {
    let start = Instant::now();
    check(x, pairs, options)?;
    let mut stats = Stats::new(device::choose(OPERATION, execution.gpu, no_device)?.0);
    let pool = execution.threads()?;
    let normals = pool.run(|| normals(x));
    let excluded = excluded(&normals);
    stats.excluded_rows = excluded.len() as u64;

    let kernel = micro_kernel_f64();
    let span =
        Span { samples: x.cols(), max_lag: options.max_lag, min_overlap: options.min_overlap };
    let panel_bytes = span.panel_bytes(&kernel);
    let fixed = x.rows() * (size_of::<Normal>() + span.edge_bytes());
    let threads =
        (execution.budget.host_bytes.saturating_sub(fixed) / panel_bytes).min(pool.threads());
    if threads == 0 && x.rows() > 0 {
        return Err(Error::BudgetTooSmall {
            operation: OPERATION,
            memory: Memory::Host,
            budget_bytes: execution.budget.host_bytes,
            least_bytes: fixed + panel_bytes,
        });
    }
    let pool = match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < pool.threads() => Pool::with_threads(fewer)?,
        _ => pool,
    };
    stats.peak_bytes = (fixed + threads * panel_bytes) as u64;

    let found = pool.run(|| {
        let edges: Vec<Edges> = (0..x.rows())
            .into_par_iter()
            .map(|row| Edges::of(x.row(row), &normals[row], &span))
            .collect();
        let tasks = match pairs {
            Pairs::All => all_tasks(&normals, kernel.rows),
            Pairs::Listed(list) => listed_tasks(&normals, list, kernel.rows),
        };
        execution.control.begin(tasks.len() as u64);
        stats.tiles = tasks.len() as u64;
        let found: Result<Vec<Vec<(u64, LaggedPair)>>> = tasks
            .par_iter()
            .map_init(
                || Scratch::new(&kernel, &span),
                |scratch, task| {
                    execution.control.check(OPERATION)?;
                    let found = task.run(x, &normals, &edges, &kernel, &span, scratch);
                    execution.control.advance(1);
                    Ok(found)
                },
            )
            .collect();
        found
    })?;
    let mut found: Vec<(u64, LaggedPair)> = found.into_iter().flatten().collect();
    found.sort_unstable_by_key(|&(place, _)| place);
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(Lagged { pairs: found.into_iter().map(|(_, pair)| pair).collect(), excluded, stats })
}

fn check<T: Element>(x: MatrixView<'_, T>, pairs: Pairs<'_>, options: &LagOptions) -> Result<()> {
    check_samples(OPERATION, x)?;
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
    if let Pairs::Listed(list) = pairs
        && let Some(&(row, col)) = list.iter().find(|&&(row, col)| row.max(col) >= x.rows())
    {
        return Err(Error::Option {
            operation: OPERATION,
            option: "pairs",
            found: format!("({row}, {col})"),
            expected: format!("rows below {} are there", x.rows()),
        });
    }
    Ok(())
}

fn no_device() -> std::result::Result<(Device, ()), String> {
    Err("correlate_lagged has no CUDA path".into())
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

    fn padded_lags(&self, kernel: &MicroKernel<f64>) -> usize {
        self.lags().next_multiple_of(kernel.cols)
    }

    fn panel_bytes(&self, kernel: &MicroKernel<f64>) -> usize {
        let lags = self.padded_lags(kernel);
        (self.samples * kernel.rows + self.samples + lags + kernel.rows * lags) * size_of::<f64>()
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

/// A panel of first series against a list of second ones.
struct Task {
    rows: Vec<usize>,
    columns: Vec<Column>,
}

/// A second series and the pairs that are wanted of it: place in the panel, place in the result.
struct Column {
    col: usize,
    wanted: Vec<(usize, u64)>,
}

/// Second series in one task: enough to make packing the panel cheap, few enough to share the work.
const COLUMNS_PER_TASK: usize = 64;

fn all_tasks(normals: &[Normal], width: usize) -> Vec<Task> {
    let usable: Vec<usize> =
        (0..normals.len()).filter(|&row| normals[row].exclusion.is_none()).collect();
    let total = normals.len() as u64;
    let mut tasks = Vec::new();
    for (panel, rows) in usable.chunks(width).enumerate() {
        for cols in usable[panel * width..].chunks(COLUMNS_PER_TASK) {
            let wanted = |col: usize| {
                let earlier = rows.iter().enumerate().filter(|&(_, &row)| row < col);
                earlier
                    .map(|(place, &row)| (place, row as u64 * total + col as u64))
                    .collect::<Vec<_>>()
            };
            let columns = cols.iter().map(|&col| Column { col, wanted: wanted(col) });
            let columns: Vec<Column> = columns.filter(|column| !column.wanted.is_empty()).collect();
            if !columns.is_empty() {
                tasks.push(Task { rows: rows.to_vec(), columns });
            }
        }
    }
    tasks
}

fn listed_tasks(normals: &[Normal], list: &[(usize, usize)], width: usize) -> Vec<Task> {
    let usable = |row: usize| normals[row].exclusion.is_none();
    let mut places: Vec<usize> =
        (0..list.len()).filter(|&place| usable(list[place].0) && usable(list[place].1)).collect();
    places.sort_unstable_by_key(|&place| (list[place].1, place));
    places
        .chunk_by(|&a, &b| list[a].1 == list[b].1)
        .flat_map(|same| same.chunks(width))
        .map(|places| Task {
            rows: places.iter().map(|&place| list[place].0).collect(),
            columns: vec![Column {
                col: list[places[0]].1,
                wanted: places
                    .iter()
                    .enumerate()
                    .map(|(panel, &place)| (panel, place as u64))
                    .collect(),
            }],
        })
        .collect()
}

/// The buffers of one thread.
struct Scratch {
    panel: Vec<f64>,
    shifted: Vec<f64>,
    sums: Vec<f64>,
}

impl Scratch {
    fn new(kernel: &MicroKernel<f64>, span: &Span) -> Self {
        let lags = span.padded_lags(kernel);
        Self {
            panel: vec![0.0; span.samples * kernel.rows],
            // max_lag zeros, the series, and zeros to the last lag of the last panel.
            shifted: vec![0.0; span.samples + lags],
            sums: vec![0.0; kernel.rows * lags],
        }
    }
}

impl Task {
    fn run<T: Element>(
        &self,
        x: MatrixView<'_, T>,
        normals: &[Normal],
        edges: &[Edges],
        kernel: &MicroKernel<f64>,
        span: &Span,
        scratch: &mut Scratch,
    ) -> Vec<(u64, LaggedPair)> {
        let slices: Vec<&[T]> = self.rows.iter().map(|&row| x.row(row)).collect();
        let apply = |place: usize, value: T| normals[self.rows[place]].apply(value);
        pack(&mut scratch.panel, kernel.rows, &slices, apply);
        let lags = span.padded_lags(kernel);
        let mut found = Vec::new();
        for column in &self.columns {
            let normal = &normals[column.col];
            let shifted = &mut scratch.shifted[span.max_lag..span.max_lag + span.samples];
            pack(shifted, 1, &[x.row(column.col)], |_, value| normal.apply(value));
            scratch.sums.fill(0.0);
            for start in (0..span.samples).step_by(kernel.depth) {
                let depth = kernel.depth.min(span.samples - start);
                let a = &scratch.panel[start * kernel.rows..][..depth * kernel.rows];
                for lag in (0..lags).step_by(kernel.cols) {
                    let b = &scratch.shifted[start + lag..];
                    kernel.add(depth, a, b, 1, &mut scratch.sums[lag..], lags);
                }
            }
            for &(place, result) in &column.wanted {
                let sums = &scratch.sums[place * lags..][..span.lags()];
                let (row, col) = (self.rows[place], column.col);
                found.push((result, best_lag(row, col, sums, &edges[row], &edges[col], span)));
            }
        }
        found
    }
}

/// `sums[max_lag + lag]` = Σ xₜ·yₜ₊lag.
fn best_lag(row: usize, col: usize, sums: &[f64], x: &Edges, y: &Edges, span: &Span) -> LaggedPair {
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
