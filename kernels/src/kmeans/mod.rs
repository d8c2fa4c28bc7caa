//! Clusters of rows: k-means.
//!
//! **Idea.** Every row is given to the nearest of k centres, every centre moves to the mean of its rows, and so on until
//! nothing changes. The first step is a matrix product in disguise and takes nearly all the time. It is done in the type
//! of the rows, as a screen (on devices each f32 is two bfloat16): with a bound on its rounding it proves most rows' nearest
//! centre, and the few rows that it can't prove are measured again in f64 ([`Stats::fallbacks`] counts them). The second step
//! is in f64.
//!
//! **Formula.** Minimise the inertia Σᵢ ‖xᵢ − c(i)‖² (S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf.
//! Theory 28(2), 1982). The screen compares ‖c‖² − 2·x·c. Starts: random rows, or k-means++, where each next centre
//! is a row drawn with a chance proportional to its squared distance from the centres so far (D. Arthur & S.
//! Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007). Mini-batches: D. Sculley, "Web-scale
//! k-means clustering", WWW 2010, with all rows of a batch applied at once, c ← (w·c + Σx) / (w + m) for a
//! centre that had w rows so far and got m.
//!
//! **Definitions.**
//! - *Label*: the index of the centre with the least Σ(x − c)², the lower index where two are equal.
//! - *Converged*: no label changed, or the centres together moved by at most `tolerance` × the mean variance of the
//!   columns (squared distance, as scikit-learn has it). With mini-batches only the second.
//! - *Result*: labels, sizes and inertia are those of the centres that are returned; `iterations` counts the times that
//!   they moved. With 0 iterations rows are only given to the start's centres; if these are given, any number of rows will do.
//! - *A centre without rows* takes the row that is farthest from its own centre, among clusters of two rows or more (the
//!   lower index where two are equal), in the order of the centres. Where every row lies on its centre, it stays. After
//!   the last iteration, and with mini-batches, it stays, too: [`Clustering::sizes`] shows it.
//! - *Rows that are left out*: those with a NaN, an infinity or a value beyond ±1e140. They have no label, and are counted
//!   in [`Stats::excluded_rows`].
//!
//! **Hazards.**
//! - *Offsets.* With all values near 1e6, ‖c‖² − 2·x·c loses every digit that tells the centres apart. The screen
//!   therefore works on rows minus the mean of all rows, scaled to a length of at most 1.
//! - *Ties.* Rows on a grid, and centres on the same place, are often exactly as far from two centres: each
//!   such row costs k·d operations in f64.
//! - *Chaos.* One label that differs sends later iterations elsewhere. Hence labels and sums do not depend on threads,
//!   tile, instruction set or device, bit by bit: sums run over 4,096 rows, then 32 of those, in the order of rows.
//!
//! **Precision.** As if computed in f64 throughout: labels are the f64 ones wherever squared distances differ by more than
//! [`tolerance::KMEANS`](crate::tolerance) relative to the larger. Centres and inertia are f64.
//!
//! **Cost.** n·k·d multiply-adds and n·d additions for each iteration of n rows, k clusters and d columns: linear in each.
//! k-means++ adds n·k·d in f64 at the speed of memory; it runs on the CPU. Memory: 12 bytes for each row, 20
//! for each value of the centres, and for each thread 8 more and about 300 rows.
//!
//! ```
//! use kernels::kmeans::{KMeansOptions, kmeans};
//! use kernels::{Execution, MatrixView};
//!
//! let rows = [
//!     0.0, 0.1, //
//!     0.2, 0.1, //
//!     5.0, 5.1, //
//!     f64::NAN, 0.0, // left out
//!     5.2, 5.1, //
//! ];
//! let found = kmeans(MatrixView::new(&rows, 5, 2)?, &KMeansOptions::new(2), &Execution::default())?;
//!
//! assert!(found.converged);
//! assert_eq!(found.labels[0], found.labels[1]);
//! assert_ne!(found.labels[0], found.labels[2]);
//! assert_eq!(found.labels[3], None);
//! assert!((found.inertia - 0.04).abs() < 1e-12);
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
mod distance;
mod lloyd;
mod screen;
mod start;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

use std::time::Instant;

pub(crate) use lloyd::least_bytes;

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

const OPERATION: &str = "kmeans";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!(["frame.cuh", "assign.cuh"] "kmeans.cu");

/// Rows whose sum is taken first, one after the other. Fewer in unit tests, so that small inputs have several.
const SEGMENT: usize = if cfg!(test) { 256 } else { 4096 };
/// Segments whose sum is taken next.
const GROUP: usize = if cfg!(test) { 2 } else { 32 };
/// The label of a row that has none, as the steps write it.
const NONE: u32 = u32::MAX;
/// The largest magnitude whose squares can be summed.
const LARGEST: f64 = 1e140;

/// Where the centres are at first.
#[derive(Debug, Clone, Copy, Default)]
pub enum Start<'a> {
    /// Rows that are far from each other, by k-means++.
    #[default]
    PlusPlus,
    /// Random rows, all different.
    Sampled,
    /// Given centres: clusters × columns.
    Centres(MatrixView<'a, f64>),
}

/// What to look for, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct KMeansOptions<'a> {
    /// Number of centres, 1 or more.
    pub clusters: usize,
    /// The most times that centres are moved. 100 by default.
    pub iterations: usize,
    /// Movement at which to stop, relative to the mean variance of the columns. 1e-4 by default.
    pub tolerance: f64,
    /// Everything random follows from it. 0 by default.
    pub seed: u64,
    /// Where the centres are at first. k-means++ by default.
    pub start: Start<'a>,
    /// Random rows that each iteration looks at, drawn with replacement; all rows when absent, as by default.
    pub batch: Option<usize>,
}

impl KMeansOptions<'_> {
    /// All defaults but for the number of clusters.
    pub fn new(clusters: usize) -> Self {
        Self {
            clusters,
            iterations: 100,
            tolerance: 1e-4,
            seed: 0,
            start: Start::PlusPlus,
            batch: None,
        }
    }

    /// Centres that are given and stay need no rows.
    fn needed_rows(&self) -> usize {
        let is_given = matches!(self.start, Start::Centres(_));
        if is_given && self.iterations == 0 { 0 } else { self.clusters }
    }

    fn check(&self, cols: usize) -> Result<()> {
        let wrong = |option, found: String, expected: &str| {
            Err(Error::Option { operation: OPERATION, option, found, expected: expected.into() })
        };
        if self.clusters == 0 || self.clusters >= NONE as usize {
            return wrong("clusters", self.clusters.to_string(), "it must be 1 to 4,294,967,294");
        }
        if !(self.tolerance >= 0.0 && self.tolerance.is_finite()) {
            return wrong(
                "tolerance",
                self.tolerance.to_string(),
                "it must be 0 or more, and finite",
            );
        }
        if self.batch == Some(0) {
            return wrong("batch", "0".into(), "at least 1 row is needed");
        }
        let Start::Centres(centres) = self.start else {
            return Ok(());
        };
        if (centres.rows(), centres.cols()) != (self.clusters, cols) {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!("{} x {} centres to start from", centres.rows(), centres.cols()),
                expected: format!("clusters x columns, {} x {cols}, is needed", self.clusters),
            });
        }
        let odd = |index: &usize| !distance::is_usable(centres.row(*index));
        match (0..centres.rows()).find(odd) {
            None => Ok(()),
            Some(index) => Err(Error::Option {
                operation: OPERATION,
                option: "start",
                found: format!("a centre {index} with a value that is not finite or beyond 1e140"),
                expected: "centres to start from must be finite".into(),
            }),
        }
    }
}

/// The clusters that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The centres, row after row: clusters × columns.
    pub centres: Vec<f64>,
    /// For each row the index of its centre; none where the row was left out.
    pub labels: Vec<Option<u32>>,
    /// For each centre its number of rows.
    pub sizes: Vec<u64>,
    /// The sum of the squared distances of all rows from their centres.
    pub inertia: f64,
    /// Times that the centres were moved.
    pub iterations: usize,
    /// Whether it ended because nothing moved any more, not because of `iterations`.
    pub converged: bool,
    /// The record of the operation.
    pub stats: Stats,
}

/// Clusters the rows of `x`.
///
/// Fails on rows without columns, on fewer usable rows than clusters that are to move, on options that mean nothing, on a budget too small
/// for one thread, on a device that is required and not there, and when cancelled.
pub fn kmeans<T: Element>(
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Clustering> {
    T::kmeans(x, options, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Clustering> {
    options.check(x.cols())?;
    let rows = options.batch.unwrap_or(x.rows()).min(x.rows()) as f64;
    let work = Work {
        amount: rows * options.clusters as f64 * x.cols() as f64 * (options.iterations + 1) as f64,
        unit: "multiply-adds",
        least: execution.crossover.kmeans,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || Gpu::open_all(&SOURCE))?;
    run_on(&gpus, Stats::new(report), x, options, execution)
}

/// On `devices`, or on the CPU without one.
fn run_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    x: MatrixView<'_, T>,
    options: &KMeansOptions<'_>,
    execution: &Execution,
) -> Result<Clustering> {
    let start = Instant::now();
    if x.rows() > 0 && x.cols() == 0 {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} rows without columns", x.rows()),
            expected: "at least 1 column is needed".into(),
        });
    }
    if x.rows() < options.needed_rows() {
        return Err(too_few_rows(x.rows(), options.clusters));
    }
    let mut found = lloyd::cluster(devices, x, options, execution, &mut stats)?;
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    found.stats = stats;
    Ok(found)
}

fn too_few_rows(usable: usize, clusters: usize) -> Error {
    Error::Shape {
        operation: OPERATION,
        found: format!("{usable} usable rows for {clusters} clusters"),
        expected: "at least as many rows as clusters are needed".into(),
    }
}
