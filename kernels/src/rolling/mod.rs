//! Statistics over a window that slides along each series.
//!
//! **Idea.** The window is a count of samples, trailing or centred, or a [time](rolling_by_time). Order statistics
//! (median, MAD, quantile, rank) come from ranks: a stretch of the series is sorted once, each sample gets its rank,
//! and the window becomes a set of bits over those ranks. Sliding flips two bits; the k-th set bit, remembered from
//! the step before, is the k-th smallest value. Mean, minimum and maximum come from spans whose length doubles. The
//! standard deviation comes from blocks of one window length: every window is the end of one block and the start of
//! the next, so that two partial results are merged. Nothing is ever subtracted.
//!
//! **Definitions.** Over the c values of a window that are there, sorted s₀ ≤ … ≤ s₍c₋₁₎:
//! - mean: Σs / c; standard deviation: √(Σ(s − mean)² / (c − 1)), NaN for c = 1;
//! - quantile q: linear between the neighbours of position q·(c − 1) (definition 7 of Hyndman & Fan, "Sample
//!   Quantiles in Statistical Packages", The American Statistician 50(4), 1996); median: q = ½;
//! - MAD: the median of |s − m| where m is the median of the same window. No factor: multiply by
//!   1.4826 for an estimate of the standard deviation of normal data;
//! - rank: the place of the sample that the window is for, 1 for the smallest to c for the largest; equal values share the
//!   mean of their places (as pandas' `rank(method="average")`, not divided by c); NaN where that sample is missing.
//!
//! **Missing values.** NaN and infinities count as missing and are skipped ([`Stats::missing_values`] says how
//! many there were): one infinity would poison every sum it is in. A window with fewer than `min_periods`
//! values gives NaN. A window is cut off at the ends of its series; one longer than the series is never full.
//!
//! **Hazards.** Running sums drift and cancel: after a spike of 1e16 an add-and-subtract mean stays wrong for
//! good. Here no sum reaches beyond its window; parts are merged as in Chan, Golub & LeVeque (1983), eq. 2.1.
//! Squares of values beyond 1e150 overflow to an infinite standard deviation. Values beyond 1e308 / w are scaled
//! before they are added; a mean of values below 1e-308 · w beside them loses digits.
//!
//! **Precision.** See [`tolerance`](crate::tolerance): order statistics are picked, so only the average of two
//! neighbours is rounded; moments are computed in f64; minima, maxima and ranks are exact, but that an `f32` rank
//! is rounded beyond 2²³. The result does not depend on tile or threads.
//!
//! **Cost.** Order statistics: O(log² w) vector steps for each sample to sort and O(1) to slide, in practice
//! independent of w; a rank counts up to w / 64 words. Mean, minimum, maximum: log₂ w vector steps of eight samples.
//! Standard deviation: O(1). Memory for each thread: 64 bytes × 6 to 12 windows where samples are sorted, and 64 bytes for
//! each stretch of as many samples (24 windows or more, where none are); windows by time, 40 bytes more for each sample of a
//! stretch, in which the longest window counts.
//!
//! ```
//! use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
//! use kernels::{Execution, MatrixView, MatrixViewMut};
//!
//! let series = [1.0, 2.0, 9.0, f64::NAN, 4.0, 5.0];
//! let (mut median, mut mad) = ([0.0; 6], [0.0; 6]);
//! let options = RollingOptions { min_periods: Some(2), ..RollingOptions::trailing(3) };
//! rolling(
//!     MatrixView::new(&series, 1, 6)?,
//!     &options,
//!     &mut [
//!         RollingOutput::new(Statistic::Median, MatrixViewMut::new(&mut median, 1, 6)?),
//!         RollingOutput::new(Statistic::Mad, MatrixViewMut::new(&mut mad, 1, 6)?),
//!     ],
//!     &Execution::default(),
//! )?;
//! assert!(median[0].is_nan()); // one value only
//! assert_eq!(median[1..], [1.5, 2.0, 5.5, 6.5, 4.5]);
//! assert_eq!(mad[1..], [0.5, 1.0, 3.5, 2.5, 0.5]);
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
mod moments;
mod order;
mod queue;
mod select;
mod sort;
mod spans;
mod time;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;
pub(crate) use time::Windows;
pub use time::{TimeOptions, Times, rolling_by_time};

use std::time::Instant;

use rayon::prelude::*;

use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::simd::{self, vectorised};
use crate::stats::Stats;
use crate::view::{MatrixView, MatrixViewMut};

const OPERATION: &str = "rolling";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!("rolling.cu");

/// What is computed over each window. The module says how each is defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// The sample standard deviation.
    Std,
    /// The median.
    Median,
    /// The median of the distances from the window's median.
    Mad,
    /// A quantile, 0 to 1.
    Quantile(f64),
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The place of the window's own sample in order, from 1.
    Rank,
}

/// Where a window lies around the sample it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alignment {
    /// It ends with the sample: t − w + 1 … t.
    #[default]
    Trailing,
    /// The sample is in its middle: t − ⌊w/2⌋ … t + ⌈w/2⌉ − 1. Looks ahead.
    Centred,
}

/// The window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingOptions {
    /// Samples in a window, 1 or more.
    pub window: usize,
    /// Values a window must hold to have a result, 1 to `window`; the whole window when absent.
    pub min_periods: Option<usize>,
    /// Where the window lies.
    pub alignment: Alignment,
}

impl RollingOptions {
    /// A window that ends with its sample and must be full.
    pub fn trailing(window: usize) -> Self {
        Self { window, min_periods: None, alignment: Alignment::Trailing }
    }

    /// A window with its sample in the middle, that must be full.
    pub fn centred(window: usize) -> Self {
        Self { alignment: Alignment::Centred, ..Self::trailing(window) }
    }

    fn least(&self) -> usize {
        self.min_periods.unwrap_or(self.window)
    }

    /// The same windows over series of `cols` samples, without what lies beyond both ends.
    fn over(&self, cols: usize) -> Window<'static> {
        let (size, ahead) = match self.alignment {
            Alignment::Trailing => (self.window.min(cols), 0),
            Alignment::Centred => {
                let size = self.window.min(2 * cols + 1);
                (size, (size - 1) / 2)
            }
        };
        Window { size, ahead, least: self.least(), times: None }
    }

    fn check(&self) -> Result<()> {
        if self.window == 0 {
            return Err(Error::Option {
                operation: OPERATION,
                option: "window",
                found: "0".into(),
                expected: "at least 1 sample is needed".into(),
            });
        }
        if (1..=self.window).contains(&self.least()) {
            return Ok(());
        }
        Err(Error::Option {
            operation: OPERATION,
            option: "min_periods",
            found: self.least().to_string(),
            expected: format!("it must be 1 to the window of {}", self.window),
        })
    }
}

/// A window over series of one length.
#[derive(Debug, Clone, Copy)]
struct Window<'a> {
    /// Samples in it; at most, where it is one by time.
    size: usize,
    /// Samples after t that the window of t reaches.
    ahead: usize,
    /// Values it must hold.
    least: usize,
    /// The times and the width of a window by time.
    times: Option<(Times<'a>, u64)>,
}

/// A statistic and where it goes: a matrix of the shape of the input.
#[derive(Debug)]
pub struct RollingOutput<'a, T> {
    statistic: Statistic,
    values: MatrixViewMut<'a, T>,
}

impl<'a, T> RollingOutput<'a, T> {
    /// Writes `statistic` to `values`.
    pub fn new(statistic: Statistic, values: MatrixViewMut<'a, T>) -> Self {
        Self { statistic, values }
    }
}

/// Computes every output's statistic over the windows of every row of `x`.
///
/// Ask for several at once: they share the work. Fails on a window or `min_periods` that means nothing, on an
/// output of another shape, on a budget too small for one thread's stretch, on a device that is required and not
/// there, and when cancelled; the outputs then hold no result.
pub fn rolling<T: Element>(
    x: MatrixView<'_, T>,
    options: &RollingOptions,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
) -> Result<Stats> {
    T::rolling(x, Windows::Count(*options), outputs, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    windows: Windows<'_>,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
) -> Result<Stats> {
    let window = match &windows {
        Windows::Count(options) => {
            options.check()?;
            options.over(x.cols())
        }
        Windows::Time(times, options) => Window {
            size: times.longest(x, options)?,
            ahead: 0,
            least: options.min_periods,
            times: Some((*times, options.width.unsigned_abs())),
        },
    };
    for output in outputs.iter() {
        check_output(x, output)?;
    }
    let work = Work {
        amount: (x.rows() * x.cols() * outputs.len()) as f64,
        unit: "values",
        least: execution.crossover.rolling,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || {
        if window.times.is_some() {
            return Err(device::Refusal::NoPath("windows by time have no CUDA path".into()));
        }
        if window.size > cuda::LONGEST_WINDOW {
            let longest = cuda::LONGEST_WINDOW;
            return Err(device::Refusal::NoPath(format!(
                "a window of {} samples is beyond the {longest} of its kernels",
                window.size
            )));
        }
        let (device, gpus) = Gpu::open_all(&SOURCE)?;
        match cuda::refusal(&gpus, x.cols(), &window, outputs) {
            Some(reason) => Err(device::Refusal::Absent(reason)),
            None => Ok((device, gpus)),
        }
    })?;
    run_on(&gpus, Stats::new(report), x, &window, outputs, execution)
}

/// On `devices`, or on the CPU without one.
fn run_on<B: Backend, T: Element>(
    devices: &[B],
    mut stats: Stats,
    x: MatrixView<'_, T>,
    window: &Window<'_>,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
) -> Result<Stats> {
    let start = Instant::now();
    if x.rows() > 0 && x.cols() > 0 {
        execution.threads()?.run(|| match devices {
            [] => cpu::run(x, window, outputs, execution, &mut stats),
            _ => {
                stats.missing_values =
                    (0..x.rows()).into_par_iter().map(|row| missing_values(x.row(row))).sum();
                cuda::run(devices, x, window, outputs, execution, &mut stats)
            }
        })?;
    }
    stats.kernel_seconds = kernel_seconds(devices)?;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(stats)
}

/// Counts the values that are NaN or infinite.
fn missing_values<T: Element>(samples: &[T]) -> u64 {
    vectorised(Missing(samples))
}

struct Missing<'a, T>(&'a [T]);

impl<T: Element> simd::Work for Missing<'_, T> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        self.0.iter().map(|value| u64::from(!value.to_f64().is_finite())).sum()
    }
}

fn check_output<T: Element>(x: MatrixView<'_, T>, output: &RollingOutput<'_, T>) -> Result<()> {
    if let Statistic::Quantile(q) = output.statistic
        && !(0.0..=1.0).contains(&q)
    {
        return Err(Error::Option {
            operation: OPERATION,
            option: "quantile",
            found: q.to_string(),
            expected: "it must be 0 to 1".into(),
        });
    }
    if (x.rows(), x.cols()) == (output.values.rows(), output.values.cols()) {
        return Ok(());
    }
    Err(Error::Shape {
        operation: OPERATION,
        found: format!("an output of {} x {}", output.values.rows(), output.values.cols()),
        expected: format!("the input's shape, {} x {}, is needed", x.rows(), x.cols()),
    })
}
