//! Series in SQL: pairs of an instant and a value, in no particular order.

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
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
    /// Microseconds between two values.
    step: i64,
    /// The values.
    pub(super) values: Vec<f64>,
}

/// A grid has at most this many places for each value on it.
const PLACES_PER_VALUE: usize = 16;

impl Grid {
    /// The series on the grid of its most frequent step; none without any value. A value that lies between two
    /// places goes to the nearer one, and of several at one place the last counts.
    pub(super) fn of(function: &str, at: &ArrayRef, value: &ArrayRef) -> Result<Option<Self>> {
        let points = in_order(at, value)?;
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return Ok(None);
        };
        let mut steps: Vec<i64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        steps.sort_unstable();
        // Of equally frequent ones the shortest.
        let step = steps
            .chunk_by(|a, b| a == b)
            .max_by_key(|same| (same.len(), std::cmp::Reverse(same[0])))
            .map_or(1, |same| same[0]);
        let places = (last.0 - first.0 + step / 2) / step + 1;
        let places = usize::try_from(places)
            .ok()
            .filter(|&places| places <= PLACES_PER_VALUE * points.len() + 1)
            .ok_or_else(|| {
                plan_datafusion_err!(
                    "{function}: {} values over {places} steps of {step} µs; a series whose steps are about equal \
                     is needed",
                    points.len()
                )
            })?;
        let mut values = vec![f64::NAN; places];
        for (at, value) in &points {
            let place = usize::try_from((at - first.0 + step / 2) / step).unwrap_or(0);
            if let Some(slot) = values.get_mut(place) {
                *slot = *value;
            }
        }
        Ok(Some(Self { first: first.0, step, values }))
    }

    /// The instant of a place, also of one after the last.
    pub(super) fn at(&self, place: usize) -> i64 {
        let offset = i64::try_from(place).unwrap_or(i64::MAX).saturating_mul(self.step);
        self.first.saturating_add(offset)
    }
}
