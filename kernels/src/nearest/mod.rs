//! The nearest vectors: the k best of a set for every query, and all pairs within a threshold. Exact.
//!
//! **Idea.** Scoring every pair precisely is what costs; almost no pair is among the best. So every pair is scored
//! coarsely first, with a bound on how far the coarse score can be off: 8-bit integers on the CPU, bfloat16 on the
//! tensor cores of a CUDA device. Only a pair whose coarse score plus its bound reaches the k-th best score found so
//! far is scored again, in f64, from the vectors as they came in. What is left out was proven not to belong to the
//! result; what is returned was scored in f64. The coarse scores of a tile are looked at in registers and in the
//! first-level cache, and never stored.
//!
//! **Formulas.** [`Metric`] has the scores. The screen works on shifted vectors z = x − μ and w = q − ω, with μ and
//! ω about the means of either set, because a bound is as wide as the vectors are long:
//! q·x = w·z + ω·z + q·μ, and −½‖q − x‖² = w·z + (ω − μ)·z − ½‖z‖² − ½‖q − μ‖². The terms without w belong to a base
//! row and are kept with it; those without z belong to the query and move its threshold. With ẑ = z − e what a short
//! format makes of z, and ŵ = w − f of w, |w·z − ŵ·ẑ| ≤ ‖ŵ‖‖e‖ + ‖f‖‖z‖ (Cauchy and Schwarz). The four norms are
//! measured for each vector, not estimated. `space.rs` adds what the arithmetic of the screen itself rounds.
//!
//! **Order and ties.** Nearest first; equal scores by index. Scores are summed in one fixed order, the same on every
//! device, so that tiles, threads and devices change no bit of a result.
//!
//! **What has no place.** A vector that holds a NaN or an infinity, or whose norm is beyond 1e140, is left out, and
//! under [`Metric::Cosine`] one whose norm is 0 or below 1e-140: as a query it gets no neighbours, in the base it is
//! nobody's. They are listed in [`Summary`] and counted in [`Stats::excluded_rows`]. Where fewer than k rows can be
//! results (k is larger than the base, a filter is narrow) a query gets all of them, and `row(i).len()` says how many.
//!
//! **Hazards.** Vectors that differ by less than the screen resolves (copies of one vector, scores that agree to
//! 1e-3 of the norms) are all scored in f64: exact, and up to ten times slower. [`Stats::fallbacks`] counts the
//! queries for which a screen did not pay: on the CPU those that had more than an eighth of a part of the base scored
//! again, on a device the lists of candidates that overflowed, so that a part was scored in f64 as a whole (or, for a
//! join, done again in halves).
//!
//! **Precision.** [`tolerance::NEAREST`](crate::tolerance::NEAREST), for both types, against f64 throughout. Which
//! rows are returned is exact for these scores.
//!
//! **Cost.** q·n·d coarse multiply-adds for q queries, n base rows and d dimensions; time grows with the product.
//! Memory besides the result: d bytes for each row of a part of the base within the budget, a block of queries for
//! each thread, 12 bytes for each row of both sets. A few queries are scored directly, at the speed of memory. A base
//! that is searched by few queries at a time, again and again, keeps its coarse form ([`Codes`]): each search then reads
//! a quarter of it.
//!
//! ```
//! use kernels::nearest::{JoinOptions, Metric, NearestOptions, PairList, join_within, nearest};
//! use kernels::{Execution, MatrixView};
//!
//! let base = [1.0f32, 0.0, 0.8, 0.6, 0.0, 1.0, -1.0, 0.0];
//! let base = MatrixView::new(&base, 4, 2)?;
//! let query = MatrixView::new(&[2.0f32, 1.0], 1, 2)?;
//!
//! let found = nearest(query, base, &NearestOptions::new(Metric::Cosine, 2), &Execution::default())?;
//! let rows: Vec<usize> = found.row(0).iter().map(|neighbour| neighbour.index).collect();
//! assert_eq!(rows, [1, 0]);
//!
//! let mut pairs = PairList::with_limit(100);
//! join_within(base, &JoinOptions::new(Metric::SquaredL2, 0.5), &mut pairs, &Execution::default())?;
//! assert_eq!(pairs.into_pairs().len(), 1); // rows 0 and 1
//! # Ok::<(), kernels::Error>(())
//! ```

mod codes;
mod cpu;
mod cuda;
mod device;
mod direct;
mod launches;
mod part;
mod result;
mod score;
mod screen;
mod search;
mod space;

#[cfg(test)]
mod cases;
#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

use std::time::Instant;

pub use codes::Codes;
pub(crate) use codes::{code, run_by_codes};
pub use result::{Nearest, Neighbour, Pair, PairList, PairSink, Summary};

use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device::{self as devices, Device};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;
use search::Pairing;
pub(crate) use search::Search;
use space::Problem;

const OPERATION: &str = "nearest";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("nearest.cu");

/// What makes two vectors near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Metric {
    /// q·x / (‖q‖‖x‖), -1 to 1; the larger the nearer.
    #[default]
    Cosine,
    /// q·x; the larger the nearer.
    Dot,
    /// ‖q − x‖², the square of the Euclidean distance; the smaller the nearer.
    SquaredL2,
}

impl Metric {
    /// A number that is larger for what is nearer.
    #[inline(always)]
    fn rank(self, score: f64) -> f64 {
        match self {
            Self::Cosine | Self::Dot => score,
            Self::SquaredL2 => -score,
        }
    }
}

/// Which rows of the base may be results.
#[derive(Debug, Clone, Copy, Default)]
pub enum Rows<'a> {
    /// All.
    #[default]
    All,
    /// Those whose bit is set: row r is bit r % 64 of word r / 64. Words that are not there are zeros.
    Bits(&'a [u64]),
    /// These, in ascending order.
    Listed(&'a [usize]),
}

/// What [`nearest`] looks for.
#[derive(Debug, Clone, Copy)]
pub struct NearestOptions<'a> {
    /// What makes two vectors near.
    pub metric: Metric,
    /// Neighbours of each query; a query gets all where there are fewer.
    pub k: usize,
    /// Which rows of the base may be results.
    pub allowed: Rows<'a>,
}

impl NearestOptions<'_> {
    /// The `k` nearest of all rows.
    pub fn new(metric: Metric, k: usize) -> Self {
        Self { metric, k, allowed: Rows::All }
    }
}

/// What [`join`] looks for.
#[derive(Debug, Clone, Copy)]
pub struct JoinOptions<'a> {
    /// What makes two vectors near.
    pub metric: Metric,
    /// The least cosine or product, or the largest squared distance, of a pair that is found.
    pub threshold: f64,
    /// Which rows of the base may be in a pair; where there is one set only, on either side of it.
    pub allowed: Rows<'a>,
}

impl JoinOptions<'_> {
    /// All pairs that reach `threshold`.
    pub fn new(metric: Metric, threshold: f64) -> Self {
        Self { metric, threshold, allowed: Rows::All }
    }
}

/// Finds the `k` rows of `base` that are nearest to each row of `queries`.
///
/// Fails when the vectors of the two differ in length, on a filter that names rows which are not there, on a budget
/// too small for one tile, on a device that is required and not there, and when cancelled.
pub fn nearest<T: Element>(
    queries: MatrixView<'_, T>,
    base: MatrixView<'_, T>,
    options: &NearestOptions<'_>,
    execution: &Execution,
) -> Result<Nearest> {
    let (metric, allowed) = (options.metric, options.allowed);
    let search = Search { queries, base, pairing: Pairing::Between, metric, allowed };
    T::nearest(&search, options.k, execution)
}

/// Finds the `k` rows of `x` that are nearest to each row of `x`, itself excluded by its index: an equal vector in
/// another row is a neighbour. A filter says which rows may be results; every row is a query.
///
/// Fails as [`nearest`] does.
pub fn nearest_within<T: Element>(
    x: MatrixView<'_, T>,
    options: &NearestOptions<'_>,
    execution: &Execution,
) -> Result<Nearest> {
    let (metric, allowed) = (options.metric, options.allowed);
    let search = Search { queries: x, base: x, pairing: Pairing::Within, metric, allowed };
    T::nearest(&search, options.k, execution)
}

/// Gives `sink` every pair of a row of `x` and a row of `y` whose score reaches the threshold.
///
/// Fails as [`nearest`] does, on a threshold that is not a number, and when the sink fails.
pub fn join<T: Element>(
    x: MatrixView<'_, T>,
    y: MatrixView<'_, T>,
    options: &JoinOptions<'_>,
    sink: &mut dyn PairSink,
    execution: &Execution,
) -> Result<Summary> {
    let (metric, allowed) = (options.metric, options.allowed);
    let search = Search { queries: x, base: y, pairing: Pairing::Between, metric, allowed };
    T::join(&search, options.threshold, sink, execution)
}

/// Gives `sink` every pair of rows of `x` whose score reaches the threshold, once, with its smaller index first.
///
/// Fails as [`join`] does.
pub fn join_within<T: Element>(
    x: MatrixView<'_, T>,
    options: &JoinOptions<'_>,
    sink: &mut dyn PairSink,
    execution: &Execution,
) -> Result<Summary> {
    let (metric, allowed) = (options.metric, options.allowed);
    let search = Search { queries: x, base: x, pairing: Pairing::Within, metric, allowed };
    T::join(&search, options.threshold, sink, execution)
}

pub(crate) fn run<T: Element>(
    search: &Search<'_, T>,
    k: usize,
    execution: &Execution,
) -> Result<Nearest> {
    search.check()?;
    let (report, gpus) = devices::choose(OPERATION, execution, search.work(execution), || {
        let places = k.min(search.base.rows());
        if places > device::MOST_NEIGHBOURS {
            let most = device::MOST_NEIGHBOURS;
            return Err(devices::Refusal::NoPath(format!(
                "{places} neighbours are beyond the {most} of its kernels"
            )));
        }
        open(search)
    })?;
    nearest_on(&gpus, Stats::new(report), search, k, execution)
}

pub(crate) fn run_join<T: Element>(
    search: &Search<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
) -> Result<Summary> {
    search.check()?;
    check_threshold(threshold)?;
    let (report, gpus) =
        devices::choose(OPERATION, execution, search.work(execution), || open(search))?;
    join_on(&gpus, Stats::new(report), search, threshold, sink, execution)
}

fn open<T: Element>(
    search: &Search<'_, T>,
) -> std::result::Result<(Device, Vec<Gpu>), devices::Refusal> {
    let (dimensions, most) = (search.base.cols(), device::MOST_DIMENSIONS);
    if !(1..=most).contains(&dimensions) {
        return Err(devices::Refusal::NoPath(format!(
            "{dimensions} dimensions are not within the 1 to {most} of its kernels"
        )));
    }
    Ok(Gpu::open_all(&SOURCE)?)
}

fn check_threshold(threshold: f64) -> Result<()> {
    if !threshold.is_nan() {
        return Ok(());
    }
    Err(Error::Option {
        operation: OPERATION,
        option: "threshold",
        found: threshold.to_string(),
        expected: "a number is needed".into(),
    })
}

/// On `devices`, or on the CPU without one.
fn nearest_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    search: &Search<'_, T>,
    k: usize,
    execution: &Execution,
) -> Result<Nearest> {
    let start = Instant::now();
    let mut nearest = execution.threads()?.run(|| {
        let (problem, mut summary) = Problem::prepare(search, stats.clone(), false);
        let mut nearest = Nearest::allocate(search.queries.rows(), k, &problem)?;
        if !problem.is_empty() && nearest.width() > 0 {
            match devices {
                [] => cpu::nearest(&problem, &mut nearest, execution, &mut stats)?,
                _ => cuda::nearest(devices, &problem, &mut nearest, execution, &mut stats)?,
            }
        }
        stats.kernel_seconds = kernel_seconds(devices)?;
        stats.excluded_rows = summary.stats.excluded_rows;
        summary.stats = stats;
        nearest.summary = summary;
        Ok::<_, Error>(nearest)
    })?;
    nearest.summary.stats.seconds = start.elapsed().as_secs_f64();
    Ok(nearest)
}

/// On `devices`, or on the CPU without one.
fn join_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    search: &Search<'_, T>,
    threshold: f64,
    sink: &mut dyn PairSink,
    execution: &Execution,
) -> Result<Summary> {
    let start = Instant::now();
    let mut summary = execution.threads()?.run(|| {
        let (problem, mut summary) = Problem::prepare(search, stats.clone(), true);
        if !problem.is_empty() {
            match devices {
                [] => cpu::join(&problem, threshold, sink, execution, &mut stats)?,
                _ => cuda::join(devices, &problem, threshold, sink, execution, &mut stats)?,
            }
        }
        stats.kernel_seconds = kernel_seconds(devices)?;
        stats.excluded_rows = summary.stats.excluded_rows;
        summary.stats = stats;
        Ok::<_, Error>(summary)
    })?;
    summary.stats.seconds = start.elapsed().as_secs_f64();
    Ok(summary)
}
