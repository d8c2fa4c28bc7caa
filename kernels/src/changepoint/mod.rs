//! Where series change: all change points at once by PELT, or as samples come by CUSUM.
//!
//! **Idea.** [`pelt`] cuts a series into the segments that cost least, where a segment costs what its values scatter
//! around its own mean, and each change a penalty. The best end of the series is a best end before it plus one segment;
//! a last change that can't be best any more is forgotten, which leaves few to try. [`Cusum`] sums how far
//! the samples are from a known target, sample by sample, and gives an alarm when the sum is beyond what chance does.
//!
//! **Formula** (Killick, Fearnhead & Eckley, "Optimal detection of changepoints with a linear computational cost",
//! JASA 107(500), 2012). With F(0) = −β, a cost C and a penalty β,
//! ```text
//!   F(t) = min over s of F(s) + C(s, t) + β        s is forgotten once F(s) + C(s, t) ≥ F(t)
//!   Cost::Mean          C = Σ(x − mean)²
//!   Cost::MeanVariance  C = n·(ln(variance + floor) + ln 2π + 1)     variance = Σ(x − mean)²/n
//! ```
//! The floor is 1e-8 of the whole series' variance: without it a segment of equal values would cost minus infinity.
//! It is added, not a lower bound, because PELT needs C(s, t) + C(t, u) ≤ C(s, u), which a bound would break.
//!
//! | [`Penalty`] | β for each change | for each segment | source |
//! |---|---|---|---|
//! | `Bic` | (p + 1)·ln n | | Schwarz 1978; p parameters and the place |
//! | `Mbic` | (p + 2)·ln n | ln(length/n) | Zhang & Siegmund, Biometrics 63, 2007, (2), for p = 1 |
//! | `Manual(β)` | β | | |
//! | `Noise(β)` | β | | |
//!
//! p is 1 for `Mean` and 2 for `MeanVariance`. With `Mean` all but `Manual` are in units of the noise's variance, which is taken
//! from the differences of neighbours: (1.4826·median|xₜ − xₜ₋₁|)²/2, and where that is 0 their mean square/2.
//! `Manual` is in the units of C.
//!
//! **Exact.** The result is the least cost of all ways to cut, as optimal partitioning finds it. With segments of at
//! least m values a forgotten start is still tried for m − 1 samples, in which the change that replaces it can't
//! be used yet; dropping it at once, as is often done, loses the optimum. Of equal costs the later last change is taken.
//!
//! **Missing values.** NaN and infinities are left out ([`Stats::missing_values`]): the series closes up around them. A
//! change point is the index, in the series as it came, of the first value of a segment.
//!
//! **Defined results.** A series without values, with all equal ones, or with fewer than two segments' worth has no
//! change points; nor has one whose squares overflow (values beyond 1e150).
//!
//! **Precision.** Sums run over the series minus its mean, compensated; squares around a mean are within
//! [`tolerance::CHANGE_COST`](crate::tolerance) of those of the whole series. Where two ways to cut differ by less, either
//! may come out.
//!
//! **Cost.** Time for each sample: one step for each start not forgotten, few where changes come regularly, so
//! that a series takes O(n); O(n²) at worst, in a long series without a change, which for 100,000 samples is some ten
//! seconds. Memory for each thread: 88 bytes a sample. CPU only: starts are forgotten one by one.
//!
//! ```
//! use kernels::changepoint::{Cost, Penalty, PeltOptions, pelt};
//! use kernels::{Execution, MatrixView};
//!
//! let series = [0.1, -0.1, 0.0, 0.2, 0.0, 5.1, 4.9, 5.0, 5.2, 1.9, 2.1, 2.0];
//! let options = PeltOptions { cost: Cost::Mean, penalty: Penalty::Bic, min_segment: 2 };
//! let changes = pelt(MatrixView::new(&series, 1, 12)?, &options, &Execution::default())?;
//! assert_eq!(changes.rows[0].points, [5, 9]);
//! # Ok::<(), kernels::Error>(())
//! ```

mod candidates;
mod cusum;
mod segments;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod suite;

pub use cusum::{Alarm, Cusum, CusumOptions, Direction};

use std::time::Instant;

use rayon::prelude::*;

use crate::budget::largest_tile;
use crate::device::DeviceReport;
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::MatrixView;

const OPERATION: &str = "changepoint";

/// What a segment costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cost {
    /// Squares around its mean: finds changes of the mean of normal noise that stays the same.
    #[default]
    Mean,
    /// −2·log-likelihood of a normal distribution of its own: finds changes of mean or variance.
    MeanVariance,
}

impl Cost {
    fn parameters(self) -> f64 {
        match self {
            Self::Mean => 1.0,
            Self::MeanVariance => 2.0,
        }
    }
}

/// What a change costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Penalty {
    /// The Bayesian information criterion.
    #[default]
    Bic,
    /// The modified one, which also weighs the lengths of the segments: fewer changes.
    Mbic,
    /// This much, 0 or more.
    Manual(f64),
    /// This many variances of the noise, 0 or more: the same changes whatever the unit of the values. With
    /// [`Cost::MeanVariance`], which has no unit, as `Manual`.
    Noise(f64),
}

/// How a series is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeltOptions {
    /// What a segment costs.
    pub cost: Cost,
    /// What a change costs.
    pub penalty: Penalty,
    /// Values of the shortest segment: 1 or more, 2 or more with [`Cost::MeanVariance`].
    pub min_segment: usize,
}

impl Default for PeltOptions {
    /// Changes of the mean, by BIC, segments of two values or more.
    fn default() -> Self {
        Self { cost: Cost::Mean, penalty: Penalty::Bic, min_segment: 2 }
    }
}

impl PeltOptions {
    fn check(&self) -> Result<()> {
        let wrong = |option, found: String, expected: String| {
            Err(Error::Option { operation: OPERATION, option, found, expected })
        };
        let least = self.cost.parameters() as usize;
        if self.min_segment < least {
            return wrong(
                "min_segment",
                self.min_segment.to_string(),
                format!("at least {least} is needed for {:?}", self.cost),
            );
        }
        match self.penalty {
            Penalty::Manual(penalty) if !(penalty >= 0.0 && penalty.is_finite()) => {
                wrong("penalty", penalty.to_string(), "it must be finite and at least 0".into())
            }
            _ => Ok(()),
        }
    }
}

/// The change points of one series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowChanges {
    /// Where segments begin, but for the first, in order.
    pub points: Vec<usize>,
    /// What the segments and the changes cost; 0 where there was nothing to cut.
    pub objective: f64,
    /// What one change costs, in the units of the cost.
    pub penalty: f64,
}

/// The change points of many series.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Those of each row.
    pub rows: Vec<RowChanges>,
    /// The record.
    pub stats: Stats,
}

/// Finds the change points of every row of `x`.
///
/// Fails on options that mean nothing, on a budget too small for one thread, and when cancelled.
pub fn pelt<T: Element>(
    x: MatrixView<'_, T>,
    options: &PeltOptions,
    execution: &Execution,
) -> Result<Changes> {
    T::pelt(x, options, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    options: &PeltOptions,
    execution: &Execution,
) -> Result<Changes> {
    options.check()?;
    let start = Instant::now();
    let mut stats = Stats::new(DeviceReport::cpu("changepoint has no CUDA path"));
    let most = execution.threads()?.threads();
    let cost = |threads: usize| threads * segments::bytes(x.cols());
    let threads = largest_tile(OPERATION, Memory::Host, execution.budget.host_bytes, most, cost)?;
    let pool = match std::num::NonZeroUsize::new(threads) {
        Some(fewer) if threads < most => Pool::of_size(fewer)?,
        _ => execution.threads()?,
    };
    stats.peak_bytes = cost(threads) as u64;
    stats.tiles = x.rows() as u64;
    execution.control.begin(x.rows() as u64);
    let mut rows = vec![RowChanges::default(); x.rows()];
    let missing = pool.run(|| {
        let row = |scratch: &mut segments::Scratch, (row, changes): (usize, &mut RowChanges)| {
            execution.control.check(OPERATION)?;
            let missing;
            (*changes, missing) = scratch.run(x.row(row), options, execution)?;
            execution.control.advance(1);
            Ok(missing)
        };
        rows.par_iter_mut()
            .enumerate()
            .map_init(|| segments::Scratch::new(x.cols()), row)
            .try_reduce(|| 0, |a, b| Ok(a + b))
    })?;
    stats.missing_values = missing as u64;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(Changes { rows, stats })
}
