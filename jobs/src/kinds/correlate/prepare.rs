//! What is done to each row of a grid before it is compared: short gaps are bridged, season and trend (or
//! all but the change) are taken out, wild values are moved to a bound, and what is still missing becomes
//! the series' own centre, which adds nothing to any product. Two series that both grow, or both follow the
//! day, are correlated without having anything to do with each other; that is what this is for (G. U. Yule,
//! "Why do we sometimes get nonsense-correlations between time-series?", 1926).

use std::collections::BTreeMap;

use analysis::series::rows::{
    append_changes, bridge, clip_and_fill, missing, normalise, presence, remove_line, subtract,
    varies,
};
use analysis::series::{is_mostly_equal, remove_seasons};
use engine::Result;
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{DeviceReport, Execution, MatrixView, MatrixViewMut};
use rayon::prelude::*;

use super::grid::Grid;
use super::params::{Detrend, Params};

/// Rows that the trend is computed for at one time, in values.
const TREND_VALUES_MAX: usize = 1 << 22;

/// A matrix that can be compared: every value is finite.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) series: Vec<String>,
    /// Samples in a row.
    pub(super) cols: usize,
    pub(super) values: Vec<f64>,
    /// Which of a row's samples were observed or bridged; `None` where every one of every row was.
    pub(super) present: Option<Vec<Vec<u64>>>,
    /// Series that were left out, by reason.
    pub(super) dropped: BTreeMap<&'static str, Vec<String>>,
    pub(super) cells_bridged: u64,
    pub(super) cells_missing: u64,
    pub(super) series_with_season: u64,
    pub(super) device: Option<DeviceReport>,
}

/// What one row gave.
struct Row {
    bridged: u64,
    has_season: bool,
}

/// Prepares the rows of `grid`.
pub(super) fn prepare(
    mut grid: Grid,
    params: &Params,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Prepared> {
    let cols = grid.buckets;
    let rows: Vec<Row> = pool.install(|| {
        let calendar = grid.intervals.seasons();
        grid.values
            .par_chunks_mut(cols.max(1))
            .map(|row| {
                normalise(row);
                let bridged = bridge(row, params.fill_buckets);
                let has_season = params.detrend == Detrend::Seasonal
                    && !remove_seasons(row, &calendar, &[]).is_empty();
                Row { bridged, has_season }
            })
            .collect()
    });
    let mut prepared = keep_usable(grid, params);
    prepared.cells_bridged = rows.iter().map(|row| row.bridged).sum();
    prepared.series_with_season = rows.iter().filter(|row| row.has_season).count() as u64;
    match params.detrend {
        Detrend::None => {}
        Detrend::Difference => difference(&mut prepared),
        Detrend::Seasonal => take_trend_out(&mut prepared, params.trend_buckets, execution)?,
    }
    let cols = prepared.cols;
    prepared.cells_missing = missing(&prepared.values) as u64;
    prepared.present = (prepared.cells_missing > 0)
        .then(|| prepared.values.chunks(cols.max(1)).map(presence).collect());
    pool.install(|| {
        prepared.values.par_chunks_mut(cols.max(1)).for_each(|row| clip_and_fill(row, params.clip));
    });
    Ok(prepared)
}

/// Leaves out rows with too little in them.
fn keep_usable(grid: Grid, params: &Params) -> Prepared {
    let mut prepared = Prepared {
        series: Vec::new(),
        cols: grid.buckets,
        values: Vec::with_capacity(grid.values.len()),
        present: None,
        dropped: BTreeMap::new(),
        cells_bridged: 0,
        cells_missing: 0,
        series_with_season: 0,
        device: None,
    };
    for (name, row) in grid.series.into_iter().zip(grid.values.chunks(grid.buckets.max(1))) {
        let reason = if missing(row) as f64 > params.max_missing * row.len() as f64 {
            Some("too many empty buckets")
        } else if !varies(row) {
            Some("constant")
        } else {
            None
        };
        match reason {
            Some(reason) => prepared.dropped.entry(reason).or_default().push(name),
            None => {
                prepared.series.push(name);
                prepared.values.extend_from_slice(row);
            }
        }
    }
    prepared
}

/// Replaces each value by the change from the one before; the first cell of each row goes.
fn difference(prepared: &mut Prepared) {
    let cols = prepared.cols;
    let mut changes = Vec::with_capacity(prepared.values.len());
    prepared.values.chunks(cols.max(1)).for_each(|row| append_changes(row, &mut changes));
    prepared.values = changes;
    prepared.cols = cols.saturating_sub(1);
}

/// A trend is the mean of at most this part of a row, so that short rows have one, too.
const TREND_PART: usize = 3;
/// The least number of buckets whose mean is a trend.
const TREND_BUCKETS_MIN: usize = 8;

/// Subtracts a line from each row, because a rolling mean leaves one at both ends, and then the centred
/// rolling mean, a few rows at a time. Rare events have no trend: what it leaves of them is their distance.
fn take_trend_out(prepared: &mut Prepared, window: usize, execution: &Execution) -> Result<()> {
    let cols = prepared.cols;
    if cols == 0 || prepared.series.is_empty() {
        return Ok(());
    }
    let window = window.min((cols / TREND_PART).max(TREND_BUCKETS_MIN));
    let options = RollingOptions { min_periods: Some(1), ..RollingOptions::centred(window) };
    let rows_at_once = (TREND_VALUES_MAX / cols).max(1);
    for rows in prepared.values.chunks_mut(rows_at_once * cols) {
        let count = rows.len() / cols;
        let is_rare: Vec<bool> = rows.chunks(cols).map(is_mostly_equal).collect();
        let of_trend = |rows: &mut [f64], change: &mut dyn FnMut(usize, &mut [f64])| {
            let each = rows.chunks_mut(cols).enumerate();
            each.filter(|(row, _)| !is_rare[*row]).for_each(|(row, values)| change(row, values));
        };
        of_trend(rows, &mut |_, row| remove_line(row));
        let mut trend = vec![0.0; rows.len()];
        let mut outputs =
            [RollingOutput::new(Statistic::Mean, MatrixViewMut::new(&mut trend, count, cols)?)];
        let stats =
            rolling(MatrixView::new(rows, count, cols)?, &options, &mut outputs, execution)?;
        prepared.device = Some(stats.device);
        of_trend(rows, &mut |at, row| subtract(row, &trend[at * cols..(at + 1) * cols]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use analysis::calendar;
    use analysis::series::Span;

    use super::super::extent::Cohort;
    use super::*;

    /// Rows of four buckets.
    fn grid(rows: &[[f64; 4]]) -> Grid {
        let series = (0..rows.len()).map(|row| row.to_string()).collect();
        let cohort = Cohort { series, first_us: 0, last_us: 39 };
        let tens = Span::from_micros(10).unwrap();
        let mut grid = Grid::new(&cohort, &calendar::Grid::fixed(tens, 0));
        grid.values = rows.concat();
        grid
    }

    fn params(params: serde_json::Value) -> Params {
        serde_json::from_value(params).unwrap()
    }

    #[test]
    fn as_many_buckets_as_allowed_may_be_empty() {
        let rows = [[1.0, f64::NAN, 2.0, 3.0], [f64::NAN, f64::NAN, 2.0, 3.0]];
        let kept = |most: f64| {
            keep_usable(grid(&rows), &params(serde_json::json!({ "max_missing": most }))).series
        };
        assert_eq!(kept(0.25), ["0"]);
        assert_eq!(kept(0.5), ["0", "1"]);
        assert!(kept(0.24).is_empty());
    }

    #[test]
    fn one_missing_cell_is_stated() {
        let params =
            params(serde_json::json!({ "detrend": "none", "fill_buckets": 0, "max_missing": 0.5 }));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let prepared =
            |rows: &[[f64; 4]]| prepare(grid(rows), &params, &Execution::default(), &pool).unwrap();
        let whole = prepared(&[[1.0, 5.0, 2.0, 3.0]]);
        assert_eq!((whole.cells_missing, whole.present), (0, None));
        let lacking = prepared(&[[1.0, f64::NAN, 2.0, 3.0]]);
        assert_eq!((lacking.cells_missing, lacking.present), (1, Some(vec![vec![0b1101]])));
        assert_eq!(lacking.values, [0.25, 0.5, 0.5, 0.75]);
    }
}
