//! A raw series made fit for statistics: finite values only, one per instant, and the interval at which
//! they usually come. Slots that have no value are not filled in, because a series with two bursts a year
//! apart would fill the memory with nothing; what needs a grid counts in intervals.

use super::Series;

/// A clean series.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The name of the series.
    pub name: String,
    /// Microseconds since 1970 in UTC, strictly rising.
    pub times: Vec<i64>,
    /// Finite.
    pub values: Vec<f64>,
    /// The median distance of neighbours in microseconds; 1 or more.
    pub interval_us: i64,
}

/// What was set aside on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Rows whose value is null, NaN or infinite.
    pub values_missing: u64,
    /// Rows at an instant that another row has, too; the mean of all is taken.
    pub duplicates: u64,
}

/// Cleans a series in time order. The interval of one with fewer than two instants is taken as one second.
pub fn clean(series: Series) -> (Samples, Cleaning) {
    let mut cleaning = Cleaning::default();
    let mut times: Vec<i64> = Vec::with_capacity(series.times.len());
    let mut values: Vec<f64> = Vec::with_capacity(series.times.len());
    let mut at_instant = 0.0;
    for (&time, &value) in series.times.iter().zip(&series.values) {
        if !value.is_finite() {
            cleaning.values_missing += 1;
            continue;
        }
        match (times.last(), values.last_mut()) {
            (Some(&last), Some(mean)) if last == time => {
                cleaning.duplicates += 1;
                at_instant += 1.0;
                *mean += (value - *mean) / at_instant;
            }
            _ => {
                times.push(time);
                values.push(value);
                at_instant = 1.0;
            }
        }
    }
    let interval_us = median_interval(&times).unwrap_or(1_000_000);
    (Samples { name: series.name, times, values, interval_us }, cleaning)
}

/// The median distance of neighbouring instants.
fn median_interval(times: &[i64]) -> Option<i64> {
    let mut distances: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if distances.is_empty() {
        return None;
    }
    let middle = distances.len() / 2;
    Some((*distances.select_nth_unstable(middle).1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(i64, f64)]) -> Series {
        Series {
            name: "s".into(),
            times: points.iter().map(|p| p.0).collect(),
            values: points.iter().map(|p| p.1).collect(),
        }
    }

    #[test]
    fn missing_and_doubled_rows_are_counted_and_one_value_is_left_for_each_instant() {
        let raw = series(&[
            (0, 1.0),
            (10, f64::NAN),
            (20, 2.0),
            (20, 4.0),
            (20, 6.0),
            (30, f64::INFINITY),
            (40, 5.0),
            (60, 5.0),
        ]);
        let (samples, cleaning) = clean(raw);
        assert_eq!(samples.times, [0, 20, 40, 60]);
        assert_eq!(samples.values, [1.0, 4.0, 5.0, 5.0]);
        assert_eq!(samples.interval_us, 20);
        assert_eq!(cleaning, Cleaning { values_missing: 2, duplicates: 2 });
    }

    #[test]
    fn the_interval_is_the_usual_one_whatever_the_gaps() {
        let times: Vec<(i64, f64)> =
            [0, 5, 10, 15, 1_000, 1_005, 1_011].iter().map(|&t| (t, 0.0)).collect();
        assert_eq!(clean(series(&times)).0.interval_us, 5);
        assert_eq!(clean(series(&[])).0.interval_us, 1_000_000);
        assert_eq!(clean(series(&[(7, 1.0)])).0.interval_us, 1_000_000);
    }
}
