//! From rows to a matrix: every series of a cohort on one grid of equal buckets. Polars groups a few series
//! at a time into bucket means, and the means go straight into their rows of the matrix, so that the long
//! and the wide form never exist in full at once. Polars' own `pivot` is not used: it filters all rows once
//! for each column, which is quadratic in the number of series.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::series::rows::{Placed, put};
use analysis::series::{Series, Span};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use engine::{Error, Result};
use polars::prelude::{DataFrame, IntoLazy, PolarsResult, col};

use super::extent::Cohort;

/// A cohort on its grid.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Names of the rows.
    pub(super) series: Vec<String>,
    /// Number of the first bucket: its start is this times the interval since 1970.
    pub(super) first_bucket: i64,
    pub(super) interval: Span,
    /// Buckets in a row.
    pub(super) buckets: usize,
    /// Row after row; NaN in empty buckets.
    pub(super) values: Vec<f64>,
    /// Rows of samples that fell into the grid.
    pub(super) samples: u64,
}

impl Grid {
    /// An empty grid for `cohort`.
    pub(super) fn new(cohort: &Cohort, interval: Span) -> Self {
        let first_bucket = cohort.first_us.div_euclid(interval.micros());
        let last_bucket = cohort.last_us.div_euclid(interval.micros());
        let buckets = usize::try_from(last_bucket - first_bucket + 1).unwrap_or(0);
        Self {
            series: cohort.series.clone(),
            first_bucket,
            interval,
            buckets,
            values: vec![f64::NAN; cohort.series.len() * buckets],
            samples: 0,
        }
    }

    /// Values that a grid for `cohort` would hold.
    pub(super) fn size(cohort: &Cohort, interval: Span) -> u128 {
        let buckets = (cohort.last_us - cohort.first_us) / interval.micros() + 2;
        cohort.series.len() as u128 * buckets.unsigned_abs() as u128
    }

    /// The start of a bucket, in microseconds since 1970.
    pub(super) fn start_us(&self, bucket: usize) -> i64 {
        (self.first_bucket + bucket as i64) * self.interval.micros()
    }

    /// Puts series into their rows: bucket, mean, pivot, copy.
    pub(super) fn place(&mut self, chunk: &[Series]) -> Result<()> {
        let rows: HashMap<&str, usize> =
            self.series.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect();
        let mut placed = Placed::default();
        let cells = self.first_bucket..self.first_bucket + self.buckets as i64;
        for series in chunk {
            if let Some(&row) = rows.get(series.name.as_str()) {
                placed.add(row, series, self.interval.micros(), &cells);
            }
        }
        if placed.values.is_empty() {
            return Ok(());
        }
        self.samples += placed.values.len() as u64;
        let means = bucket_means(placed)?;
        self.copy(means).map_err(polars_failed)
    }

    fn copy(&mut self, mut means: DataFrame) -> PolarsResult<()> {
        let means = means.rechunk_mut();
        let (rows, cells) = (means.column(ROW)?.i64()?, means.column(CELL)?.i64()?);
        let means = means.column(MEAN)?.f64()?;
        put(
            &mut self.values,
            self.buckets,
            rows.cont_slice()?,
            cells.cont_slice()?,
            means.cont_slice()?,
        );
        Ok(())
    }
}

const ROW: &str = "row";
const CELL: &str = "cell";
const MEAN: &str = "mean";

/// The mean of the samples in each cell of each row, in no order.
fn bucket_means(placed: Placed) -> Result<DataFrame> {
    let schema = Schema::new(vec![
        Field::new(ROW, DataType::Int64, false),
        Field::new(CELL, DataType::Int64, false),
        Field::new(MEAN, DataType::Float64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(placed.rows)),
        Arc::new(Int64Array::from(placed.cells)),
        Arc::new(Float64Array::from(placed.values)),
    ];
    let long = engine::to_polars(&[RecordBatch::try_new(Arc::new(schema), columns)?])?;
    let means = long.lazy().group_by([col(ROW), col(CELL)]).agg([col(MEAN).mean()]);
    means.collect().map_err(polars_failed)
}

fn polars_failed(problem: polars::error::PolarsError) -> Error {
    Error::internal(format!("correlate: means of buckets: {problem}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bucket_holds_the_mean_of_its_samples_and_an_empty_one_nothing() {
        let second = |s: f64| (s * 1e6) as i64;
        let cohort = Cohort {
            series: vec!["a".into(), "b".into()],
            first_us: second(20.0),
            last_us: second(59.0),
        };
        let mut grid = Grid::new(&cohort, "10s".parse().unwrap());
        let a = Series {
            name: "a".into(),
            times: [19.0, 20.0, 29.9, 31.0, 55.0, 61.0].map(second).into(),
            values: vec![100.0, 1.0, 3.0, f64::NAN, 7.0, 100.0],
        };
        let other = Series { name: "not asked for".into(), ..a.clone() };
        grid.place(&[other, a]).unwrap();
        assert_eq!((grid.buckets, grid.samples), (4, 3));
        assert_eq!(grid.start_us(1), second(30.0));
        let row: Vec<Option<f64>> =
            grid.values[..4].iter().map(|v| (!v.is_nan()).then_some(*v)).collect();
        assert_eq!(row, [Some(2.0), None, None, Some(7.0)]);
        assert!(grid.values[4..].iter().all(|v| v.is_nan()));
    }
}
