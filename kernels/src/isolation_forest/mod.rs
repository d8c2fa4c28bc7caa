//! How easily each row of a table is told apart from the others: an isolation forest.
//!
//! **Idea.** Cut a small random sample of the rows at random places until every row is alone. A row that lies apart is
//! alone after few cuts, one in a crowd after many. Many such trees on many samples average the luck away. No
//! distance is computed, so that the cost is linear in the rows and columns need no common scale.
//!
//! **Formula.** s(x) = 2^(−E[h(x)] / c(ψ)), with h(x) the cuts on the way to x's leaf plus c(leaf's rows), and
//! c(n) = 2(ln(n − 1) + γ) − 2(n − 1)/n the mean path of an unsuccessful search in a binary tree of n, c(2) = 1,
//! c(1) = c(0) = 0. ψ is the rows of a sample, at most `sample`; trees end at depth ⌈log₂ ψ⌉ (Liu, Ting & Zhou,
//! "Isolation Forest", ICDM 2008, eqs. 1 and 2). Scores are in (0, 1]: near 1 for what lies apart, well below 0.5 for
//! what does not. scikit-learn's `score_samples` is −s.
//!
//! **Cuts.** [`Cut::Axis`] takes one column that is not constant among the rows at hand, and a threshold evenly between
//! its least and largest value there. [`Cut::Oblique`] is the extended forest (Hariri, Carrasco Kind & Brunner,
//! "Extended Isolation Forest", TKDE 33(4), 2021): a normal direction over several columns, through a point evenly
//! in the box of the rows; it has no artefacts along the axes, and a cut may leave one side empty.
//!
//! **Missing values.** A row with a NaN or an infinity takes no part in the fit, and its score is NaN;
//! [`Stats::excluded_rows`] and [`Scores::excluded`] count such rows. No other score is NaN. Rows that are all equal, or
//! a single one, can't be told apart: every score is then the same (0.5 for a single row).
//!
//! **Hazards.** Trees are random: scores of two seeds differ by about 0.02 with 100 trees. Take more trees, not
//! a larger sample, for smoother scores: a larger sample makes groups of outliers hide each other.
//!
//! **Precision.** Rows take the same way on every device, as values are compared in their own type and sums of oblique
//! cuts are rounded the same way everywhere. Path lengths are stored as f32 and summed in f64 in the order of the
//! trees: see [`tolerance::ISOLATION_FOREST`](crate::tolerance). Neither threads, tiles nor devices change a bit; a
//! seed gives one forest.
//!
//! **Cost.** Fit: O(trees · ψ · depth) besides one look at every value. Score: rows × trees × depth steps (times
//! `columns` of an oblique cut); time grows with exponent 1 in the rows. A forest holds 12 (f32) or 16 (f64) bytes ×
//! 2^depth for each tree; each thread some rows' values besides.
//!
//! ```
//! use kernels::isolation_forest::{Forest, ForestOptions};
//! use kernels::{Execution, MatrixView};
//!
//! // 200 points in a small square, and one apart.
//! let mut points: Vec<f32> = (0..400).map(|t| ((t * 7919) % 101) as f32 / 101.0).collect();
//! points.extend([9.0, 9.0]);
//! let rows = MatrixView::new(&points, 201, 2)?;
//!
//! let forest = Forest::fit(rows, &ForestOptions::default(), &Execution::default())?;
//! let mut scores = vec![0.0; 201];
//! forest.score(rows, &mut scores, &Execution::default())?;
//! assert!(scores[200] > 0.7);
//! assert!(scores[..200].iter().all(|&score| score < 0.65));
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
mod grow;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

use std::time::Instant;

use rayon::prelude::*;

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device::{self, DeviceReport};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

const OPERATION: &str = "isolation_forest";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("isolation_forest.cu");

/// The most rows of a tree's sample, and the most trees.
const MOST: usize = 1 << 16;
/// Scores that are finished together.
const CHUNK: usize = 4096;

/// How the rows at hand are cut in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cut {
    /// At a threshold of one column.
    #[default]
    Axis,
    /// By a plane with a random direction over `columns` columns.
    Oblique {
        /// 1 to the columns of the data; all of them is the fully extended forest.
        columns: usize,
    },
}

/// The forest to be grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForestOptions {
    /// Trees, 1 to 65,536.
    pub trees: usize,
    /// Rows that a tree is grown from, 1 to 65,536; all where the data has fewer.
    pub sample: usize,
    /// How rows are cut.
    pub cut: Cut,
    /// Decides samples and cuts.
    pub seed: u64,
}

impl Default for ForestOptions {
    /// What the paper found to be enough: 100 trees of 256 rows.
    fn default() -> Self {
        Self { trees: 100, sample: 256, cut: Cut::Axis, seed: 0 }
    }
}

impl ForestOptions {
    fn check(&self, columns: usize) -> Result<()> {
        let within = |option, found: usize, most: usize| {
            if (1..=most).contains(&found) {
                return Ok(());
            }
            Err(Error::Option {
                operation: OPERATION,
                option,
                found: found.to_string(),
                expected: format!("it must be 1 to {most}"),
            })
        };
        within("trees", self.trees, MOST)?;
        within("sample", self.sample, MOST)?;
        match self.cut {
            Cut::Axis => Ok(()),
            Cut::Oblique { columns: cut } => within("cut columns", cut, columns),
        }
    }
}

/// Trees that were grown from rows of `columns` values.
///
/// ```text
///   a tree of depth 2, in one row of each array     threshold, column (and weight)    leaf
///        0                                           [0 | 1 | 2 ]                      [00 | 01 | 10 | 11]
///      1   2       left: 2i + 1, right: 2i + 2       a branch that ends early goes left all the way:
///     00 01 10 11                                    its threshold is infinite
/// ```
/// Every way has the same length, so that rows go down side by side without a branch.
#[derive(Debug, Clone)]
pub struct Forest<T> {
    columns: usize,
    /// Columns of a cut.
    terms: usize,
    /// Cuts on every way.
    depth: usize,
    trees: usize,
    /// The mean path length c(ψ) that scores are relative to.
    normal: f64,
    /// trees × (2^depth − 1): rows whose sum is at most this go left.
    thresholds: Vec<T>,
    /// trees × (2^depth − 1) × terms.
    cut_columns: Vec<u32>,
    /// As many; empty where a cut has one column and no direction.
    weights: Vec<T>,
    /// trees × 2^depth path lengths.
    leaves: Vec<f32>,
    fitted: Stats,
}

/// What scoring did.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Rows whose score is NaN because they hold a NaN or an infinity.
    pub excluded: u64,
    /// What was done.
    pub stats: Stats,
}

impl<T: Element> Forest<T> {
    /// Grows a forest from the rows of `x`: rows are observations, columns what was observed.
    ///
    /// It runs on the CPU, as the samples are small. Fails on options out of their range, on data without a column or
    /// without a row that is free of missing values, on a budget too small for one tree's sample, and when cancelled.
    pub fn fit(
        x: MatrixView<'_, T>,
        options: &ForestOptions,
        execution: &Execution,
    ) -> Result<Self> {
        T::fit_forest(x, options, execution)
    }

    /// Writes the score of every row of `x`: above 0 and up to 1, the higher the odder.
    ///
    /// Fails on rows of another width than the forest's, on another number of scores than rows, on a budget too
    /// small for some rows' values, on a device that is required and not there, and when cancelled.
    pub fn score(
        &self,
        x: MatrixView<'_, T>,
        scores: &mut [f64],
        execution: &Execution,
    ) -> Result<Scores> {
        T::score_forest(self, x, scores, execution)
    }

    /// Number of trees.
    pub fn trees(&self) -> usize {
        self.trees
    }

    /// Values of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What the fit did.
    pub fn fitted(&self) -> &Stats {
        &self.fitted
    }

    /// Cuts of a tree.
    fn cuts(&self) -> usize {
        (1 << self.depth) - 1
    }

    fn tree(&self, tree: usize) -> Tree<'_, T> {
        let (cuts, terms) = (self.cuts(), self.terms);
        let part = |len: usize| tree * len..(tree + 1) * len;
        Tree {
            depth: self.depth,
            terms,
            thresholds: &self.thresholds[part(cuts)],
            columns: &self.cut_columns[part(cuts * terms)],
            weights: if self.weights.is_empty() { &[] } else { &self.weights[part(cuts * terms)] },
            leaves: &self.leaves[part(cuts + 1)],
        }
    }

    /// The score of a row whose path lengths add up to `sum`.
    fn score_of(&self, sum: f64) -> f64 {
        if self.normal > 0.0 {
            return (-sum / (self.trees as f64 * self.normal)).exp2();
        }
        // A sample of one row: nothing can be told. As in scikit-learn.
        if sum.is_nan() { sum } else { 0.5 }
    }
}

/// One tree of a [`Forest`].
#[derive(Clone, Copy)]
struct Tree<'a, T> {
    depth: usize,
    terms: usize,
    thresholds: &'a [T],
    columns: &'a [u32],
    weights: &'a [T],
    leaves: &'a [f32],
}

/// c(n), the mean path of an unsuccessful search among n: eq. 1 of Liu, Ting & Zhou.
fn mean_path(rows: usize) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match rows {
        0 | 1 => 0.0,
        2 => 1.0,
        _ => {
            let others = rows as f64 - 1.0;
            2.0 * (others.ln() + EULER) - 2.0 * others / rows as f64
        }
    }
}

pub(crate) fn fit<T: Element>(
    x: MatrixView<'_, T>,
    options: &ForestOptions,
    execution: &Execution,
) -> Result<Forest<T>> {
    let start = Instant::now();
    options.check(x.cols().max(1))?;
    let mut stats = Stats::new(DeviceReport::cpu("samples are too small for a device"));
    let mut forest = execution.threads()?.run(|| grow::run(x, options, execution, &mut stats))?;
    stats.seconds = start.elapsed().as_secs_f64();
    forest.fitted = stats;
    Ok(forest)
}

pub(crate) fn score<T: Element>(
    forest: &Forest<T>,
    x: MatrixView<'_, T>,
    scores: &mut [f64],
    execution: &Execution,
) -> Result<Scores> {
    if x.cols() != forest.columns {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("rows of {} columns", x.cols()),
            expected: format!("the {} of the fitted rows are needed", forest.columns),
        });
    }
    if x.rows() != scores.len() {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} scores for {} rows", scores.len(), x.rows()),
            expected: "one for each row is needed".into(),
        });
    }
    let work = Work {
        amount: x.rows() as f64 * forest.trees as f64,
        unit: "rows x trees",
        least: execution.crossover.isolation_forest,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || Gpu::open_all(&SOURCE))?;
    score_on(&gpus, Stats::new(report), forest, x, scores, execution)
}

/// On `devices`, or on the CPU without one.
fn score_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    forest: &Forest<T>,
    x: MatrixView<'_, T>,
    scores: &mut [f64],
    execution: &Execution,
) -> Result<Scores> {
    let start = Instant::now();
    let pool = execution.threads()?;
    if x.rows() > 0 {
        match devices {
            [] => pool.run(|| cpu::sums(forest, x, scores, execution, &mut stats))?,
            // Not in the pool: what waits for a device must not keep a thread from those that feed another.
            _ => cuda::sums(devices, forest, x, scores, execution, &mut stats)?,
        }
    }
    let finish = |scores: &mut [f64]| {
        scores.iter_mut().for_each(|score| *score = forest.score_of(*score));
        scores.iter().filter(|score| score.is_nan()).count() as u64
    };
    let excluded = pool.run(|| scores.par_chunks_mut(CHUNK).map(finish).sum());
    stats.excluded_rows = excluded;
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(Scores { excluded, stats })
}
