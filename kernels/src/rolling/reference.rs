//! The definitions, word by word, in f64. Slow and obviously right.

use super::{Alignment, RollingOptions, Statistic, TimeOptions};

/// The statistic over every window of one series.
pub(super) fn rolling(x: &[f64], options: &RollingOptions, statistic: Statistic) -> Vec<f64> {
    let behind = match options.alignment {
        Alignment::Trailing => options.window - 1,
        Alignment::Centred => options.window / 2,
    };
    let least = options.min_periods.unwrap_or(options.window);
    (0..x.len())
        .map(|t| {
            let places = (0..options.window).filter_map(|place| (t + place).checked_sub(behind));
            of_window(x[t], places.filter_map(|place| x.get(place)), least, statistic)
        })
        .collect()
}

/// The same over windows by time.
pub(super) fn rolling_by_time(
    x: &[f64],
    times: &[i64],
    options: &TimeOptions,
    statistic: Statistic,
) -> Vec<f64> {
    (0..x.len())
        .map(|t| {
            let age = |place: usize| i128::from(times[t]) - i128::from(times[place]);
            let places = (0..=t).filter(|&place| age(place) < i128::from(options.width));
            of_window(x[t], places.map(|place| &x[place]), options.min_periods, statistic)
        })
        .collect()
}

fn of_window<'a>(
    own: f64,
    values: impl Iterator<Item = &'a f64>,
    least: usize,
    statistic: Statistic,
) -> f64 {
    let mut values: Vec<f64> = values.copied().filter(|value| value.is_finite()).collect();
    if values.len() < least {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    if statistic == Statistic::Rank {
        let less = values.iter().filter(|value| **value < own).count() as f64;
        let equal = values.iter().filter(|value| **value == own).count() as f64;
        return if own.is_finite() { less + (1.0 + equal) / 2.0 } else { f64::NAN };
    }
    of_sorted(&values, statistic)
}

fn of_sorted(values: &[f64], statistic: Statistic) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let mean = mean + values.iter().map(|value| value - mean).sum::<f64>() / count;
    match statistic {
        Statistic::Mean => mean,
        Statistic::Std if values.len() == 1 => f64::NAN,
        Statistic::Std => {
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt()
        }
        Statistic::Median => quantile(values, 0.5),
        Statistic::Mad => {
            let median = quantile(values, 0.5);
            let mut distances: Vec<f64> =
                values.iter().map(|value| (value - median).abs()).collect();
            distances.sort_by(f64::total_cmp);
            quantile(&distances, 0.5)
        }
        Statistic::Quantile(q) => quantile(values, q),
        Statistic::Min => values[0],
        Statistic::Max | Statistic::Rank => values[values.len() - 1],
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[position.floor() as usize], sorted[position.ceil() as usize]);
    let part = position - position.floor();
    (1.0 - part) * low + part * high
}
