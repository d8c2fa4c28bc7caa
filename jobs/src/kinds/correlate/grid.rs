//! From rows to a matrix: every series of a cohort on one grid of buckets, each the mean of its samples. They go straight
//! into their rows of the matrix, a part of the input at a time.

use std::collections::HashMap;

use analysis::calendar;
use analysis::series::Series;
use analysis::series::rows::put_means;

use super::extent::Cohort;

/// A cohort on its grid.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// Names of the rows.
    pub(super) series: Vec<String>,
    /// The number of the first bucket among all intervals.
    first_bucket: i64,
    pub(super) intervals: calendar::Grid,
    /// Buckets in a row.
    pub(super) buckets: usize,
    /// Row after row; NaN in empty buckets.
    pub(super) values: Vec<f64>,
    /// Rows of samples that fell into the grid.
    pub(super) samples: u64,
}

impl Grid {
    /// An empty grid for `cohort`.
    pub(super) fn new(cohort: &Cohort, intervals: &calendar::Grid) -> Self {
        let [first_bucket, last_bucket] =
            [cohort.first_us, cohort.last_us].map(|at_us| intervals.number_before(at_us));
        let buckets = usize::try_from(last_bucket - first_bucket + 1).unwrap_or(0);
        Self {
            series: cohort.series.clone(),
            first_bucket,
            intervals: intervals.clone(),
            buckets,
            values: vec![f64::NAN; cohort.series.len() * buckets],
            samples: 0,
        }
    }

    /// Values that a grid for `cohort` would hold.
    pub(super) fn size(cohort: &Cohort, intervals: &calendar::Grid) -> u128 {
        let buckets = (cohort.last_us - cohort.first_us) / intervals.interval().mean_micros() + 2;
        cohort.series.len() as u128 * buckets.unsigned_abs() as u128
    }

    /// The start of a bucket, in microseconds since 1970.
    pub(super) fn start_us(&self, bucket: usize) -> i64 {
        self.intervals.at(self.first_bucket + bucket as i64)
    }

    /// Puts series into their rows, with zeros between and behind their samples where they are so. A series comes once.
    pub(super) fn place(&mut self, chunk: &[Series], is_zero: bool) {
        let rows: HashMap<&str, usize> =
            self.series.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect();
        let mut counts = Vec::new();
        for series in chunk {
            if let Some(&row) = rows.get(series.name.as_str()) {
                let row = &mut self.values[row * self.buckets..(row + 1) * self.buckets];
                let first = self.first_bucket;
                self.samples += put_means(series, &self.intervals, first, row, &mut counts);
                if let (true, Some(first_us)) = (is_zero, series.times.first()) {
                    let begun = self.intervals.number_before(*first_us) - first;
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
    use analysis::calendar::{Holidays, Interval, Zone};

    use super::*;
    use crate::series::ORIGIN_US;

    fn stated(interval: &str) -> calendar::Grid {
        let interval: Interval = interval.parse().unwrap();
        calendar::Grid::stated(interval, Zone::UTC, &Holidays::default(), ORIGIN_US)
    }

    #[test]
    fn a_bucket_holds_the_mean_of_its_samples_and_an_empty_one_nothing() {
        let second = |s: f64| (s * 1e6) as i64;
        let cohort = Cohort {
            series: vec!["a".into(), "b".into()],
            first_us: second(20.0),
            last_us: second(59.0),
        };
        // A bucket more on either side than there are whole ones between.
        assert_eq!(Grid::size(&cohort, &stated("10s")), 2 * (3 + 2));
        let mut grid = Grid::new(&cohort, &stated("10s"));
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
        let mut grid = Grid::new(&cohort, &stated("1w"));
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
        let mut grid = Grid::new(&cohort, &stated("10s"));
        grid.place(std::slice::from_ref(&count), true);
        assert!(grid.values[0].is_nan());
        assert_eq!(grid.values[1..], [2.0, 0.0, 1.0, 0.0]);
        // One that began before the grid.
        let cohort = Cohort { first_us: second(20), ..cohort };
        let mut grid = Grid::new(&cohort, &stated("10s"));
        grid.place(&[count], true);
        assert_eq!(grid.values, [0.0, 1.0, 0.0]);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let first = |month: i64| {
            chrono::DateTime::from_timestamp(0, 0).unwrap()
                + chrono::Months::new((56 * 12 + month) as u32)
        };
        let times: Vec<i64> = (0..14).map(|month| first(month).timestamp_micros()).collect();
        let cohort = Cohort { series: vec!["a".into()], first_us: times[0], last_us: times[13] };
        let mut grid = Grid::new(&cohort, &stated("1mo"));
        let values: Vec<f64> = (0..14).map(f64::from).collect();
        grid.place(
            &[Series { name: "a".into(), times: times.clone(), values: values.clone() }],
            false,
        );
        assert_eq!((grid.values.clone(), grid.start_us(13)), (values, times[13]));
    }
}
