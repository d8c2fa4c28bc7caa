//! From rows to a matrix: every series of a cohort on one grid of equal buckets. Polars groups a few series
//! at a time into bucket means, and the means go straight into their rows of the matrix, so that the long
//! and the wide form never exist in full at once. Polars' own `pivot` is not used: it filters all rows once
//! for each column, which is quadratic in the number of series.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::series::{Series, Span};
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch};
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
        let (mut ids, mut buckets, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut placed: Vec<usize> = Vec::new();
        for series in chunk {
            let Some(&row) = rows.get(series.name.as_str()) else { continue };
            let before = ids.len();
            for (&time, &value) in series.times.iter().zip(&series.values) {
                let bucket = time.div_euclid(self.interval.micros()) - self.first_bucket;
                if value.is_finite() && (0..self.buckets as i64).contains(&bucket) {
                    ids.push(placed.len() as i32);
                    buckets.push(bucket);
                    values.push(value);
                }
            }
            if ids.len() > before {
                placed.push(row);
            }
        }
        if placed.is_empty() {
            return Ok(());
        }
        self.samples += ids.len() as u64;
        let means = bucket_means(ids, buckets, values)?;
        self.copy(&means, &placed).map_err(polars_failed)
    }

    fn copy(&mut self, means: &DataFrame, placed: &[usize]) -> PolarsResult<()> {
        let (ids, buckets, means) =
            (means.column(ID)?.i32()?, means.column(BUCKET)?.i64()?, means.column(MEAN)?.f64()?);
        for ((id, bucket), mean) in ids.iter().zip(buckets.iter()).zip(means.iter()) {
            let row = id.and_then(|id| placed.get(id as usize));
            if let (Some(row), Some(bucket), Some(mean)) = (row, bucket, mean) {
                self.values[row * self.buckets + bucket as usize] = mean;
            }
        }
        Ok(())
    }
}

const ID: &str = "id";
const BUCKET: &str = "bucket";
const MEAN: &str = "mean";

/// The mean of the values of each series in each bucket, in no order.
fn bucket_means(ids: Vec<i32>, buckets: Vec<i64>, values: Vec<f64>) -> Result<DataFrame> {
    let schema = Schema::new(vec![
        Field::new(ID, DataType::Int32, false),
        Field::new(BUCKET, DataType::Int64, false),
        Field::new(MEAN, DataType::Float64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(ids)),
        Arc::new(Int64Array::from(buckets)),
        Arc::new(Float64Array::from(values)),
    ];
    let long = engine::to_polars(&[RecordBatch::try_new(Arc::new(schema), columns)?])?;
    let means = long.lazy().group_by([col(ID), col(BUCKET)]).agg([col(MEAN).mean()]);
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
