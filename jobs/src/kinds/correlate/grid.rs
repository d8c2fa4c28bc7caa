//! From rows to a matrix: every series of a cohort on one grid of equal buckets, each the mean of its samples. They go straight
//! into their rows of the matrix, a part of the input at a time.

use std::collections::HashMap;

use analysis::series::rows::put_means;
use analysis::series::{Series, Span};

use super::extent::Cohort;
use crate::series::ORIGIN_US;

/// A cohort on its grid.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Names of the rows.
    pub(super) series: Vec<String>,
    /// Number of the first bucket: its start is so many intervals after the origin of all intervals.
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
        let bucket = |at_us: i64| (at_us - ORIGIN_US).div_euclid(interval.micros());
        let (first_bucket, last_bucket) = (bucket(cohort.first_us), bucket(cohort.last_us));
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
        ORIGIN_US + (self.first_bucket + bucket as i64) * self.interval.micros()
    }

    /// Puts series into their rows, with zeros between and behind their samples where they are so. A series comes once.
    pub(super) fn place(&mut self, chunk: &[Series], is_zero: bool) {
        let rows: HashMap<&str, usize> =
            self.series.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect();
        let mut counts = Vec::new();
        // What divides the time before the origin has the same intervals from 1970 on.
        let shift_us = ORIGIN_US.rem_euclid(self.interval.micros());
        let first = self.first_bucket + (ORIGIN_US - shift_us) / self.interval.micros();
        for series in chunk {
            if let Some(&row) = rows.get(series.name.as_str()) {
                let shifted = (shift_us > 0).then(|| Series {
                    times: series.times.iter().map(|at_us| at_us - shift_us).collect(),
                    ..series.clone()
                });
                let series = shifted.as_ref().unwrap_or(series);
                let row = &mut self.values[row * self.buckets..(row + 1) * self.buckets];
                self.samples += put_means(series, self.interval.micros(), first, row, &mut counts);
                if let (true, Some(first_us)) = (is_zero, series.times.first()) {
                    let begun = first_us.div_euclid(self.interval.micros()) - first;
                    let begun = row.iter_mut().skip(usize::try_from(begun).unwrap_or(0));
                    begun.filter(|value| value.is_nan()).for_each(|value| *value = 0.0);
                }
            }
        }
    }
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
        // A bucket more on either side than there are whole ones between.
        assert_eq!(Grid::size(&cohort, "10s".parse().unwrap()), 2 * (3 + 2));
        let mut grid = Grid::new(&cohort, "10s".parse().unwrap());
        let a = Series {
            name: "a".into(),
            times: [19.0, 20.0, 29.9, 31.0, 55.0, 61.0].map(second).into(),
            values: vec![100.0, 1.0, 3.0, f64::NAN, 7.0, 100.0],
        };
        let other = Series { name: "not asked for".into(), ..a.clone() };
        let b = Series { name: "b".into(), times: vec![second(59.0)], values: vec![9.0] };
        grid.place(&[other, a], false);
        grid.place(&[b], false);
        assert_eq!((grid.buckets, grid.samples), (4, 4));
        assert_eq!(grid.start_us(1), second(30.0));
        let row: Vec<Option<f64>> =
            grid.values[..4].iter().map(|v| (!v.is_nan()).then_some(*v)).collect();
        assert_eq!(row, [Some(2.0), None, None, Some(7.0)]);
        assert!(grid.values[4..7].iter().all(|v| v.is_nan()));
        assert_eq!(grid.values[7..], [9.0]);
    }

    #[test]
    fn weeks_begin_on_mondays_as_those_of_measures_do() {
        let second = |s: i64| s * 1_000_000;
        // 2026-01-05 is a Monday.
        let monday = second(1_767_571_200);
        let week = second(7 * 86_400);
        let cohort =
            Cohort { series: vec!["a".into()], first_us: monday, last_us: monday + 2 * week - 1 };
        let mut grid = Grid::new(&cohort, "1w".parse().unwrap());
        let times = vec![monday, monday + week - 1, monday + week];
        grid.place(&[Series { name: "a".into(), times, values: vec![1.0, 3.0, 7.0] }], false);
        assert_eq!((grid.start_us(0), grid.values), (monday, vec![2.0, 7.0]));
    }

    #[test]
    fn what_counts_rows_is_zero_where_there_are_none_from_its_first_one_on() {
        let second = |s: i64| s * 1_000_000;
        let cohort = Cohort { series: vec!["a".into()], first_us: second(0), last_us: second(49) };
        let count =
            Series { name: "a".into(), times: [10, 30].map(second).into(), values: vec![2.0, 1.0] };
        let mut grid = Grid::new(&cohort, "10s".parse().unwrap());
        grid.place(std::slice::from_ref(&count), true);
        assert!(grid.values[0].is_nan());
        assert_eq!(grid.values[1..], [2.0, 0.0, 1.0, 0.0]);
        // One that began before the grid.
        let cohort = Cohort { first_us: second(20), ..cohort };
        let mut grid = Grid::new(&cohort, "10s".parse().unwrap());
        grid.place(&[count], true);
        assert_eq!(grid.values, [0.0, 1.0, 0.0]);
    }
}
