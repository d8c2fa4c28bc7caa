//! One statistic over the windows of every row.

use std::error::Error;
use std::rc::Rc;

use kernels::rolling::{
    RollingOptions, RollingOutput, Statistic, TimeOptions, Times, rolling, rolling_by_time,
};
use kernels::{Execution, MatrixView, MatrixViewMut};

use super::{Case, Run, last_column, timed};
use crate::setup::{Setup, wandering};

/// Rows of the case whose peer is too slow for all of them.
const FEW_ROWS: usize = 20;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 2_000), setup.size("cols", 8_760));
    let (window, few) = (setup.size("window", 168), setup.size("few", FEW_ROWS).min(rows));
    let values = Rc::new(wandering(rows, cols));
    setup.write("x.f64", &values, f64::to_le_bytes)?;
    let case = |name, rows: usize, statistic, peers, tolerance, note: String| {
        let (values, mut results) = (values.clone(), vec![0.0; rows * cols]);
        let run = move || {
            let x = MatrixView::new(&values[..rows * cols], rows, cols)?;
            windows(x, &mut results, statistic, window, &setup.execution)
        };
        Case { name, peers, tolerance, note, run: Box::new(run) }
    };
    let by_time = {
        let (values, mut results) = (values.clone(), vec![0.0; few * cols]);
        let times: Vec<i64> = (0..cols as i64).collect();
        move || {
            let x = MatrixView::new(&values[..few * cols], few, cols)?;
            windows_by_time(x, &times, &mut results, window as i64, &setup.execution)
        }
    };
    Ok(vec![
        case(
            "rolling median",
            rows,
            Statistic::Median,
            &["bottleneck", "polars"],
            1e-9,
            "bottleneck has one thread; numbagg has no rolling median".into(),
        ),
        // Running sums of the peers drift by this much.
        case(
            "rolling mean",
            rows,
            Statistic::Mean,
            &["bottleneck", "numbagg", "polars"],
            1e-7,
            String::new(),
        ),
        case(
            "rolling std",
            rows,
            Statistic::Std,
            &["bottleneck", "numbagg", "polars"],
            1e-7,
            String::new(),
        ),
        case(
            "rolling min",
            rows,
            Statistic::Min,
            &["bottleneck", "polars"],
            1e-12,
            "bottleneck has one thread; numbagg has no rolling minimum".into(),
        ),
        case(
            "rolling rank, few rows",
            few,
            Statistic::Rank,
            &["pandas"],
            1e-9,
            format!("{few} rows; pandas has one thread"),
        ),
        Case {
            name: "rolling mean by time, few rows",
            peers: &["pandas"],
            tolerance: 1e-7,
            note: format!("{few} rows; pandas has one thread"),
            run: Box::new(by_time),
        },
        case(
            "rolling MAD, few rows",
            few,
            Statistic::Mad,
            &["numpy, sliding windows"],
            1e-9,
            format!("{few} rows; bottleneck, numbagg and polars have no rolling MAD"),
        ),
    ])
}

fn windows(
    x: MatrixView<'_, f64>,
    results: &mut [f64],
    statistic: Statistic,
    window: usize,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let (rows, cols) = (x.rows(), x.cols());
    let work = move || {
        let values = MatrixViewMut::new(&mut *results, rows, cols)?;
        let options = RollingOptions::trailing(window);
        rolling(x, &options, &mut [RollingOutput::new(statistic, values)], execution)?;
        Ok(results)
    };
    timed(work, |results| last_column(results, rows, cols))
}

fn windows_by_time(
    x: MatrixView<'_, f64>,
    times: &[i64],
    results: &mut [f64],
    width: i64,
    execution: &Execution,
) -> Result<Run, kernels::Error> {
    let (rows, cols) = (x.rows(), x.cols());
    let work = move || {
        let values = MatrixViewMut::new(&mut *results, rows, cols)?;
        let output = RollingOutput::new(Statistic::Mean, values);
        let options = TimeOptions { min_periods: width as usize, ..TimeOptions::trailing(width) };
        rolling_by_time(x, Times::Shared(times), &options, &mut [output], execution)?;
        Ok(results)
    };
    timed(work, |results| last_column(results, rows, cols))
}
