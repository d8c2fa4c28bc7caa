//! Series in SQL: pairs of an instant and a value, in no particular order.

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Months, SecondsFormat, Utc};
use datafusion::common::{DataFusionError, Result, plan_datafusion_err, plan_err};

use super::arguments::numbers;

/// The type that a column of instants is cast to; anything else is an error.
pub(super) fn instant(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Timestamp(_, zone) => {
            Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Date32 | DataType::Date64 => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
        other => plan_err!("{function}: the time is {other}; a timestamp or a date is needed"),
    }
}

/// A column of instants.
pub(super) fn timestamps(column: &ArrayRef) -> Result<&TimestampMicrosecondArray> {
    column.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| {
        DataFusionError::Internal(format!("{} where instants were expected", column.data_type()))
    })
}

/// The values that have an instant, by time. Of several at one instant the mean.
pub(super) fn in_order(at: &ArrayRef, value: &ArrayRef) -> Result<Vec<(i64, f64)>> {
    let (at, values) = (timestamps(at)?, numbers(value)?);
    let mut points: Vec<(i64, f64)> =
        at.iter().zip(values).filter_map(|(at, value)| Some((at?, value))).collect();
    points.sort_by_key(|(at, _)| *at);
    let mut merged: Vec<(i64, f64)> = Vec::with_capacity(points.len());
    for same in points.chunk_by(|a, b| a.0 == b.0) {
        let there = same.iter().map(|(_, value)| *value).filter(|value| !value.is_nan());
        let (sum, count) = there.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
        merged.push((same[0].0, sum / count));
    }
    Ok(merged)
}

/// Values at equal steps of time; NaN where there is none.
#[derive(Debug)]
pub(super) struct Grid {
    /// The first instant, in microseconds.
    first: i64,
    step: Step,
    /// The values.
    pub(super) values: Vec<f64>,
}

/// From one place to the next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Micros(i64),
    Months(u32, Day),
}

/// Which day of a month.
#[derive(Debug, Clone, Copy)]
enum Day {
    /// That of the first instant.
    Same,
    /// The last one.
    Last,
}

/// A grid has at most this many places for each value on it.
const PLACES_PER_VALUE: usize = 16;
/// Of so many values one may lie farther than a quarter of a step from its place.
const VALUES_PER_STRAY: usize = 10;

impl Grid {
    /// The series on the grid of its most frequent step; none without any value. Where all instants are at one time of
    /// one day of a month, or of the last day, steps are months. A value that lies between two places goes to the
    /// nearer one; of several at one place the mean.
    pub(super) fn of(function: &str, at: &ArrayRef, value: &ArrayRef) -> Result<Option<Self>> {
        let points = in_order(at, value)?;
        let (Some(&(first, _)), Some(&(last, _))) = (points.first(), points.last()) else {
            return Ok(None);
        };
        let (units, day) = match months(&points) {
            Some((months, day)) => (months, Some(day)),
            None => {
                (points.iter().map(|(at, _)| i128::from(*at) - i128::from(first)).collect(), None)
            }
        };
        let irregular = |step: i128| {
            let span = |micros| DateTime::from_timestamp_micros(micros).unwrap_or_default();
            plan_datafusion_err!(
                "{function}: {} values from {} to {}, most often {} apart, are not at about equal steps, as is needed; \
                 date_bin and avg bring a series onto equal ones",
                points.len(),
                span(first).to_rfc3339_opts(SecondsFormat::AutoSi, true),
                span(last).to_rfc3339_opts(SecondsFormat::AutoSi, true),
                if day.is_some() { format!("{step} months") } else { format!("{step} µs") }
            )
        };
        let most_frequent = most_frequent_step(&units);
        let place = |unit: i128| (unit + most_frequent / 2) / most_frequent;
        let strays =
            |unit: &&i128| (**unit - place(**unit) * most_frequent).abs() * 4 > most_frequent;
        if units.iter().filter(strays).count() * VALUES_PER_STRAY > points.len() {
            return Err(irregular(most_frequent));
        }
        let places = usize::try_from(place(units.last().copied().unwrap_or(0)) + 1)
            .ok()
            .filter(|&places| places <= PLACES_PER_VALUE * points.len() + 1)
            .ok_or_else(|| irregular(most_frequent))?;
        let mut sums = vec![(0.0, 0u32); places];
        for (unit, (_, value)) in
            units.iter().zip(&points).filter(|(_, (_, value))| !value.is_nan())
        {
            let slot = usize::try_from(place(*unit)).ok().and_then(|place| sums.get_mut(place));
            if let Some((sum, count)) = slot {
                (*sum, *count) = (*sum + value, *count + 1);
            }
        }
        let step = match day {
            Some(day) => u32::try_from(most_frequent).ok().map(|months| Step::Months(months, day)),
            None => i64::try_from(most_frequent).ok().map(Step::Micros),
        };
        let step = step.ok_or_else(|| irregular(most_frequent))?;
        let values = sums.iter().map(|(sum, count)| sum / f64::from(*count)).collect();
        Ok(Some(Self { first, step, values }))
    }

    /// The instant of a place, also of one after the last.
    pub(super) fn at(&self, place: usize) -> i64 {
        match self.step {
            Step::Micros(step) => {
                let offset = i64::try_from(place).unwrap_or(i64::MAX).saturating_mul(step);
                self.first.saturating_add(offset)
            }
            Step::Months(step, day) => {
                let months = u32::try_from(place).unwrap_or(u32::MAX).saturating_mul(step);
                let at = DateTime::from_timestamp_micros(self.first)
                    .and_then(|first| first.checked_add_months(Months::new(months)))
                    .and_then(|at| match day {
                        Day::Same => Some(at),
                        Day::Last => at.with_day(u32::from(at.num_days_in_month())),
                    });
                at.map_or(i64::MAX, |at| at.timestamp_micros())
            }
        }
    }
}

/// Of equally frequent ones the shortest; 1 without any.
fn most_frequent_step(units: &[i128]) -> i128 {
    let mut steps: Vec<i128> = units.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let same = steps.chunk_by(|a, b| a == b);
    same.max_by_key(|same| (same.len(), std::cmp::Reverse(same[0]))).map_or(1, |same| same[0])
}

/// How many months each instant is after the first, if all are at the same time of the same day of a month, or all
/// of the last.
fn months(points: &[(i64, f64)]) -> Option<(Vec<i128>, Day)> {
    let dates: Vec<DateTime<Utc>> =
        points.iter().map(|(at, _)| DateTime::from_timestamp_micros(*at)).collect::<Option<_>>()?;
    let [first, second, ..] = dates.as_slice() else {
        return None;
    };
    let same_time = |date: &DateTime<Utc>| date.time() == first.time();
    let is_last = |date: &DateTime<Utc>| date.day() == u32::from(date.num_days_in_month());
    let day = if !dates.iter().all(same_time) {
        return None;
    } else if dates.iter().all(|date| date.day() == first.day()) {
        Day::Same
    } else if dates.iter().all(is_last) {
        Day::Last
    } else {
        return None;
    };
    // One instant twice has no step.
    (second > first).then_some(())?;
    let month = |date: &DateTime<Utc>| i128::from(date.year()) * 12 + i128::from(date.month0());
    Some((dates.iter().map(|date| month(date) - month(first)).collect(), day))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::Float64Array;

    use super::*;

    fn grid(instants: &[&str]) -> Result<Option<Grid>> {
        let micros =
            instants.iter().map(|at| DateTime::parse_from_rfc3339(at).unwrap().timestamp_micros());
        let at: TimestampMicrosecondArray = micros.map(Some).collect();
        let values: Float64Array = (0..instants.len()).map(|i| Some(i as f64)).collect();
        Grid::of("forecast", &(Arc::new(at) as ArrayRef), &(Arc::new(values) as ArrayRef))
    }

    fn day(micros: i64) -> String {
        DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%d").to_string()
    }

    #[test]
    fn months_are_steps_whatever_their_length() {
        let firsts: Vec<String> =
            (0..60).map(|m| format!("{}-{:02}-01T00:00:00Z", 2020 + m / 12, m % 12 + 1)).collect();
        let found = grid(&firsts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap().unwrap();
        assert_eq!(found.values, (0..60).map(f64::from).collect::<Vec<_>>());
        assert_eq!(
            (day(found.at(60)), day(found.at(61))),
            ("2025-01-01".into(), "2025-02-01".into())
        );
        let ends = ["2024-01-31T09:00:00Z", "2024-02-29T09:00:00Z", "2024-04-30T09:00:00Z"];
        let found = grid(&ends).unwrap().unwrap();
        assert!(found.values[2].is_nan() && found.values.len() == 4, "{found:?}");
        assert_eq!(day(found.at(4)), "2024-05-31");
    }

    #[test]
    fn what_lies_between_places_goes_to_the_nearer_and_most_must_lie_on_one() {
        let near = [
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00Z",
            "2026-01-01T02:00:00Z",
            "2026-01-01T02:00:20Z",
        ];
        assert_eq!(grid(&near).unwrap().unwrap().values, [0.0, 1.0, 2.5]);
        let off = [
            "2026-01-01T00:00:00Z",
            "2026-01-01T01:00:00Z",
            "2026-01-01T02:00:00Z",
            "2026-01-01T03:29:00Z",
        ];
        let error = grid(&off).unwrap_err().to_string();
        assert!(
            error.contains("from 2026-01-01T00:00:00Z to 2026-01-01T03:29:00Z")
                && error.contains("3600000000 µs"),
            "{error}"
        );
        let one = grid(&near[..1]).unwrap().unwrap();
        assert_eq!(one.values, [0.0]);
    }
}
