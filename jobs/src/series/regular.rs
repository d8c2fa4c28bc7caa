//! A regular series: one value for each interval of a grid, NaN where there is none.

use analysis::calendar::{Grid, Holidays, Interval, Zone};
use analysis::series::Samples;

use super::measure::ORIGIN_US;

/// More of the buckets than this part may not be empty.
const EMPTY_MAX: f64 = 0.5;
/// Values beyond which sums and squares have no room.
const VALUE_MAX: f64 = 1e300;
/// Buckets that a series must have.
pub(crate) const BUCKETS_MIN: usize = 8;

/// Lengths of an interval that differ by no more than this part are the same: the usual distance of samples that are not quite regular
/// is another at every look.
const INTERVAL_OFF_MAX: f64 = 0.02;

/// Whether an interval of `micros` is that of `usual_us`.
pub(crate) fn is_about(micros: i64, usual_us: i64) -> bool {
    (micros - usual_us).unsigned_abs() as f64 <= INTERVAL_OFF_MAX * usual_us as f64
}

/// What an interval without samples is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// Not known.
    Missing,
    /// Nothing was counted, until this instant.
    ZeroUntil(i64),
}

/// The intervals that a job asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intervals {
    /// `None` infers the interval of each series from its samples.
    interval: Option<Interval>,
    zone: Zone,
    holidays: Holidays,
}

impl Intervals {
    pub(crate) fn new(interval: Option<Interval>, zone: Zone, holidays: &Holidays) -> Self {
        Self { interval, zone, holidays: holidays.clone() }
    }

    /// The grid of a series. Fixed intervals are counted from its last sample.
    pub(crate) fn grid(&self, samples: &Samples) -> Grid {
        match self.interval {
            Some(interval) => {
                let last_us = samples.times.last().copied().unwrap_or_default();
                Grid::stated(interval, self.zone, &self.holidays, last_us)
            }
            None => Grid::found(&samples.times, self.zone, &self.holidays),
        }
    }

    /// The grid of all series, with fixed intervals counted from [`ORIGIN_US`].
    pub(crate) fn stated(&self, interval: Interval) -> Grid {
        Grid::stated(interval, self.zone, &self.holidays, ORIGIN_US)
    }
}

/// A series of one value for each interval of a grid.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Regular {
    pub(crate) name: String,
    pub(crate) grid: Grid,
    /// The number of the last value's interval.
    pub(crate) last: i64,
    /// The first is there; NaN where none is.
    pub(crate) values: Vec<f64>,
}

impl Regular {
    /// The last `buckets_max` intervals of `samples`, up to the last sample, or the instant until which nothing was counted. An
    /// interval's value is the mean of its samples. Otherwise the reason why the series cannot be used.
    pub(crate) fn of(
        samples: Samples,
        grid: Grid,
        buckets_max: usize,
        empty: Empty,
    ) -> Result<Self, (&'static str, String)> {
        let Some(&last_us) = samples.times.last() else { return Err(("no values", samples.name)) };
        let last_us = match empty {
            Empty::Missing => last_us,
            Empty::ZeroUntil(until_us) => last_us.max(until_us),
        };
        let last = grid.number(last_us);
        let back = |time: i64| last - grid.number(time);
        let kept = samples.times.iter().rposition(|time| back(*time) >= buckets_max as i64);
        let first = kept.map_or(0, |at| at + 1);
        let Some(&first_us) = samples.times.get(first) else {
            return Err(("no values in its history", samples.name));
        };
        let buckets = back(first_us) as usize + 1;
        let nothing = if empty == Empty::Missing { f64::NAN } else { 0.0 };
        let mut values = vec![nothing; buckets];
        let mut in_bucket = 0.0;
        let mut latest = usize::MAX;
        for (&time, &value) in samples.times[first..].iter().zip(&samples.values[first..]) {
            let at = buckets - 1 - back(time) as usize;
            if at == latest {
                in_bucket += 1.0;
                values[at] += (value - values[at]) / in_bucket;
            } else {
                (latest, in_bucket, values[at]) = (at, 1.0, value);
            }
        }
        Self { name: samples.name, grid, last, values }.fit()
    }

    /// The instant of a value; those from the number of values on follow the last.
    pub(crate) fn at_us(&self, place: usize) -> i64 {
        let after = place as i64 + 1 - self.values.len() as i64;
        self.grid.at(self.last.saturating_add(after))
    }

    /// The instant of the last value.
    pub(crate) fn last_us(&self) -> i64 {
        self.grid.at(self.last)
    }

    /// The mean length of an interval.
    pub(crate) fn interval_us(&self) -> i64 {
        self.grid.interval().mean_micros()
    }

    /// The value of the interval that an instant belongs to.
    pub(crate) fn value_at(&self, at_us: i64) -> Option<f64> {
        let back = self.last - self.grid.number(at_us);
        let place = self.values.len().checked_sub(1)?.checked_sub(usize::try_from(back).ok()?)?;
        Some(self.values[place]).filter(|value| !value.is_nan())
    }

    /// Whether so many intervals more are still instants.
    pub(crate) fn reaches(&self, intervals: usize) -> bool {
        let end = self.at_us(self.values.len() + intervals);
        end.unsigned_abs() <= super::INSTANT_MAX_US
    }

    /// Itself, or why it can't be forecast.
    pub(crate) fn fit(self) -> Result<Self, (&'static str, String)> {
        let empty = self.values.iter().filter(|value| value.is_nan()).count();
        let reason = if self.values.len() < BUCKETS_MIN {
            "fewer than 8 intervals of history"
        } else if empty as f64 > EMPTY_MAX * self.values.len() as f64 {
            "more than half of its intervals have no value"
        } else if self.values.iter().any(|value| value.abs() > VALUE_MAX) {
            "values beyond 1e300"
        } else {
            return Ok(self);
        };
        Err((reason, self.name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use analysis::series::Span;

    use super::*;

    fn samples(points: &[(i64, f64)]) -> Samples {
        Samples {
            name: "s".into(),
            times: points.iter().map(|p| p.0).collect(),
            values: points.iter().map(|p| p.1).collect(),
            interval_us: 10,
        }
    }

    /// On a grid of 10 microseconds.
    fn of(
        points: &[(i64, f64)],
        buckets_max: usize,
        empty: Empty,
    ) -> Result<Regular, (&'static str, String)> {
        let interval = Some(Interval::Fixed(Span::from_micros(10).unwrap()));
        let asked = Intervals::new(interval, Zone::UTC, &Holidays::default());
        let samples = samples(points);
        let grid = asked.grid(&samples);
        Regular::of(samples, grid, buckets_max, empty)
    }

    fn filled(points: &[(i64, f64)], buckets_max: usize) -> Vec<Option<f64>> {
        let found = of(points, buckets_max, Empty::Missing).unwrap();
        found.values.iter().map(|value| (!value.is_nan()).then_some(*value)).collect()
    }

    #[test]
    fn samples_go_to_the_nearest_interval_and_gaps_stay() {
        let points: Vec<(i64, f64)> =
            [0, 9, 21, 30, 50, 60, 71, 80, 90].iter().map(|&t| (t, t as f64)).collect();
        let found = filled(&points, 100);
        assert_eq!(found[..4], [Some(0.0), Some(9.0), Some(21.0), Some(30.0)]);
        assert_eq!(found[4..6], [None, Some(50.0)]);
        assert_eq!((found.len(), found[9]), (10, Some(90.0)));
    }

    #[test]
    fn of_a_bucket_with_several_the_mean_is_taken_and_old_ones_are_left() {
        let mut points: Vec<(i64, f64)> = (0..20).map(|at| (at * 10, 1.0)).collect();
        points.extend([(198, 4.0), (200, 7.0), (202, 10.0)]);
        assert_eq!(filled(&points, 9), [vec![Some(1.0); 8], vec![Some(7.0)]].concat());
    }

    #[test]
    fn too_short_and_too_empty_series_are_named() {
        let fails = |points: &[(i64, f64)]| of(points, 100, Empty::Missing).unwrap_err().0;
        let large: Vec<(i64, f64)> = (0..9).map(|at| (10 * at, -2e300)).collect();
        assert_eq!(fails(&large), "values beyond 1e300");
        assert_eq!(fails(&[]), "no values");
        assert_eq!(fails(&[(0, 1.0), (10, 1.0)]), "fewer than 8 intervals of history");
        let far: Vec<(i64, f64)> = (0..8).map(|at| (at * 30, 1.0)).collect();
        assert_eq!(fails(&far), "more than half of its intervals have no value");
    }

    #[test]
    fn where_nothing_was_counted_there_was_nothing_until_now() {
        let points: Vec<(i64, f64)> = [0, 10, 30, 60].iter().map(|&t| (t, 1.0)).collect();
        let of = |until, most| of(&points, most, Empty::ZeroUntil(until));
        let found = of(90, 100).unwrap();
        assert_eq!(found.values, [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            (found.last_us(), of(10, 100).unwrap_err().0),
            (90, "fewer than 8 intervals of history")
        );
        assert_eq!(of(1_000, 10).unwrap_err().0, "no values in its history");
    }
}
