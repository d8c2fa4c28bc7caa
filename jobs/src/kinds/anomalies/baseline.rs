//! What is usual at each sample of each series: rolling medians and MADs from the kernel, for all series of
//! a chunk at once. Series of like length share a call, padded with NaN, which the kernel skips.

use analysis::series::robust::Baseline;
use engine::Result;
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Device, DeviceReport, Execution, MatrixView, MatrixViewMut};

/// The short window is the window divided by this.
pub(super) const SHORT_SCALE: usize = 8;
/// Rows of one kernel call differ in length by at most this factor.
const PADDING_MAX: f64 = 1.25;
/// Values of one kernel call at most.
const MATRIX_VALUES_MAX: usize = 1 << 22;

/// What the kernel calls took.
#[derive(Clone, Debug, Default)]
pub(super) struct KernelWork {
    /// `None` when there was nothing to do.
    pub(super) device: Option<DeviceReport>,
    pub(super) seconds: f64,
    pub(super) gpu_seconds: f64,
}

/// The baselines of `series`, in their order.
pub(super) fn baselines(
    series: &[&[f64]],
    window: usize,
    execution: &Execution,
) -> Result<(Vec<Baseline>, KernelWork)> {
    let mut by_length: Vec<usize> = (0..series.len()).collect();
    by_length.sort_by_key(|&index| std::cmp::Reverse(series[index].len()));
    let mut found = vec![Baseline::default(); series.len()];
    let mut work = KernelWork::default();
    let mut rest = &by_length[..];
    while let Some(&longest) = rest.first() {
        let cols = series[longest].len().max(1);
        let alike = rest
            .iter()
            .take((MATRIX_VALUES_MAX / cols).max(1))
            .take_while(|&&index| series[index].len() as f64 * PADDING_MAX >= cols as f64)
            .count()
            .max(1);
        let (group, others) = rest.split_at(alike);
        rest = others;
        let mut values = vec![f64::NAN; group.len() * cols];
        for (row, &index) in values.chunks_mut(cols).zip(group) {
            row[..series[index].len()].copy_from_slice(series[index]);
        }
        let long = [Statistic::Median, Statistic::Mad];
        let mut long = rolled(&values, cols, window, &long, execution, &mut work)?;
        let short_window = (window / SHORT_SCALE).max(1);
        let mut short =
            rolled(&values, cols, short_window, &[Statistic::Median], execution, &mut work)?;
        let (Some(mad), Some(median), Some(short)) = (long.pop(), long.pop(), short.pop()) else {
            continue;
        };
        for (row, &index) in group.iter().enumerate() {
            let cut = |matrix: &[f64]| matrix[row * cols..][..series[index].len()].to_vec();
            found[index] =
                Baseline { median: cut(&median), mad: cut(&mad), short_median: cut(&short) };
        }
    }
    Ok((found, work))
}

/// One matrix for each of `statistics`.
fn rolled(
    values: &[f64],
    cols: usize,
    window: usize,
    statistics: &[Statistic],
    execution: &Execution,
    work: &mut KernelWork,
) -> Result<Vec<Vec<f64>>> {
    let rows = values.len() / cols;
    let mut matrices = vec![vec![0.0; values.len()]; statistics.len()];
    let options = RollingOptions { min_periods: Some(1), ..RollingOptions::trailing(window) };
    let mut outputs = matrices
        .iter_mut()
        .zip(statistics)
        .map(|(matrix, statistic)| {
            Ok(RollingOutput::new(*statistic, MatrixViewMut::new(matrix, rows, cols)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let view = MatrixView::new(values, rows, cols)?;
    let stats = rolling(view, &options, &mut outputs, execution)?;
    work.seconds += stats.seconds;
    if stats.device.device != Device::Cpu {
        work.gpu_seconds += stats.seconds;
    }
    work.device = Some(stats.device);
    drop(outputs);
    Ok(matrices)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_series_without_values_has_a_baseline_without_any() {
        let execution = Execution { gpu: kernels::GpuPolicy::Off, ..Execution::default() };
        let saw: Vec<f64> = (0..40).map(|at| f64::from(at % 4)).collect();
        let (found, _) = baselines(&[&[], &saw, &[]], 8, &execution).unwrap();
        assert!(found[0].median.is_empty() && found[2].median.is_empty());
        assert_eq!(
            (found[1].median[39], found[1].mad[39], found[1].short_median[39]),
            (1.5, 1.0, 3.0)
        );
    }
}
