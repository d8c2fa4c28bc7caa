//! Windows by time: for samples that do not come at equal steps.

use super::{OPERATION, RollingOptions, RollingOutput};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::MatrixView;

/// When the samples were taken, in any unit. Times of a series must not fall; equal ones are in order.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// One time for each column.
    Shared(&'a [i64]),
    /// One time for each value.
    Each(MatrixView<'a, i64>),
}

/// A window by time. It ends with its sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOptions {
    /// How far back a window reaches, in the unit of the times, 1 or more: it holds its sample and the earlier ones
    /// that are less than this before it, `(tₙ − width, tₙ]`.
    pub width: i64,
    /// Values a window must hold to have a result, 1 or more.
    pub min_periods: usize,
}

impl TimeOptions {
    /// A window of `width` in which one value is enough.
    pub fn trailing(width: i64) -> Self {
        Self { width, min_periods: 1 }
    }

    fn check(&self) -> Result<()> {
        let (option, found) = match self {
            Self { width: ..1, .. } => ("width", self.width.to_string()),
            Self { min_periods: 0, .. } => ("min_periods", self.min_periods.to_string()),
            _ => return Ok(()),
        };
        let expected = "it must be 1 or more".into();
        Err(Error::Option { operation: OPERATION, option, found, expected })
    }
}

/// Computes every output's statistic over the windows of every row of `x`, as [`rolling`](super::rolling) does, with
/// windows of equal time instead of equal count.
///
/// There is no CUDA path. Fails as `rolling` does, on times of another shape, on times that fall, and on `gpu =
/// required`.
///
/// ```
/// use kernels::rolling::{RollingOutput, Statistic, TimeOptions, Times, rolling_by_time};
/// use kernels::{Execution, MatrixView, MatrixViewMut};
///
/// let (times, values) = ([0, 10, 12, 30, 31], [1.0, 2.0, 6.0, f64::NAN, 5.0]);
/// let mut means = [0.0; 5];
/// let output = RollingOutput::new(Statistic::Mean, MatrixViewMut::new(&mut means, 1, 5)?);
/// let x = MatrixView::new(&values, 1, 5)?;
/// let options = TimeOptions::trailing(10);
/// rolling_by_time(x, Times::Shared(&times), &options, &mut [output], &Execution::default())?;
/// assert_eq!(means[..3], [1.0, 2.0, 4.0]);
/// assert!(means[3].is_nan());
/// assert_eq!(means[4], 5.0);
/// # Ok::<(), kernels::Error>(())
/// ```
pub fn rolling_by_time<T: Element>(
    x: MatrixView<'_, T>,
    times: Times<'_>,
    options: &TimeOptions,
    outputs: &mut [RollingOutput<'_, T>],
    execution: &Execution,
) -> Result<Stats> {
    T::rolling(x, Windows::Time(times, *options), outputs, execution)
}

/// What windows there are.
#[derive(Debug, Clone, Copy)]
pub enum Windows<'a> {
    /// Of a count of samples.
    Count(RollingOptions),
    /// Of a time.
    Time(Times<'a>, TimeOptions),
}

impl<'a> Times<'a> {
    /// Those of one row.
    pub(super) fn row(&self, row: usize) -> &'a [i64] {
        match self {
            Self::Shared(times) => times,
            Self::Each(times) => times.row(row),
        }
    }

    /// The most samples that a window holds. Fails on times that do not fit `x`.
    pub(super) fn longest<T: Element>(
        &self,
        x: MatrixView<'_, T>,
        options: &TimeOptions,
    ) -> Result<usize> {
        options.check()?;
        let (found, expected) = match self {
            Self::Shared(times) => ((1, times.len()), (1, x.cols())),
            Self::Each(times) => ((times.rows(), times.cols()), (x.rows(), x.cols())),
        };
        if found != expected {
            return Err(Error::Shape {
                operation: OPERATION,
                found: format!("times of {} x {}", found.0, found.1),
                expected: format!("{} x {} are needed", expected.0, expected.1),
            });
        }
        let mut longest = 1;
        for row in 0..if matches!(self, Self::Shared(_)) { 1 } else { x.rows() } {
            let times = self.row(row);
            if let Some(at) = (1..times.len()).find(|&at| times[at] < times[at - 1]) {
                return Err(Error::Option {
                    operation: OPERATION,
                    option: "times",
                    found: format!(
                        "{} after {} at sample {at} of row {row}",
                        times[at],
                        times[at - 1]
                    ),
                    expected: "times must not fall".into(),
                });
            }
            let mut bounds = Recent { times, width: options.width.unsigned_abs(), start: 0 };
            for at in 0..times.len() {
                longest = longest.max(at + 1 - bounds.start_of(at));
            }
        }
        Ok(longest)
    }
}

/// Where the windows by time begin, from one sample to the next.
pub(super) struct Recent<'a> {
    pub(super) times: &'a [i64],
    pub(super) width: u64,
    pub(super) start: usize,
}

impl Recent<'_> {
    /// The first sample of the window that ends with `at`. To be asked in order.
    #[inline(always)]
    pub(super) fn start_of(&mut self, at: usize) -> usize {
        // Times do not fall, so that the difference is a u64 whatever the signs.
        let age = |start: usize| self.times[at].wrapping_sub(self.times[start]) as u64;
        let mut start = self.start;
        while start < at && age(start) >= self.width {
            start += 1;
        }
        self.start = start;
        start
    }
}
