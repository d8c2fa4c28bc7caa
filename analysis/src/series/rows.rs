//! Rows of a grid: a value for each of some equal stretches of time, NaN where there is none.

use super::spread::MEAN_SIGMA_PART;
use super::{Samples, Season, deseasonalise, spread};

/// Fills gaps of at most `most` cells by a straight line; those at the ends stay.
pub fn bridge(row: &mut [f64], most: usize) -> u64 {
    let mut bridged = 0;
    let mut last: Option<usize> = None;
    for at in 0..row.len() {
        if row[at].is_nan() {
            continue;
        }
        if let Some(before) = last {
            let gap = at - before - 1;
            if (1..=most).contains(&gap) {
                let step = (row[at] - row[before]) / (gap + 1) as f64;
                for offset in 1..=gap {
                    row[before + offset] = row[before] + step * offset as f64;
                }
                bridged += gap as u64;
            }
        }
        last = Some(at);
    }
    bridged
}

/// Takes a day or a week out of a row, where either explains enough; `starts` are the starts of its cells in microseconds.
/// Returns whether it did.
pub fn take_season_out(row: &mut [f64], starts: &[i64], interval_us: i64) -> bool {
    let there: Vec<usize> = (0..row.len()).filter(|&at| !row[at].is_nan()).collect();
    let samples = Samples {
        name: String::new(),
        times: there.iter().map(|&at| starts[at]).collect(),
        values: there.iter().map(|&at| row[at]).collect(),
        interval_us,
    };
    let flat = deseasonalise(&samples, Season::Auto);
    for (at, value) in there.into_iter().zip(flat.residual) {
        row[at] = value;
    }
    flat.season.is_some()
}

/// Moves values beyond `clip` standard deviations to that bound, and missing ones to the mean.
pub fn clip_and_fill(row: &mut [f64], clip: f64) {
    let there: Vec<f64> = row.iter().copied().filter(|value| !value.is_nan()).collect();
    let whole = spread(&there);
    // More than half of the values are equal where the MAD is zero.
    let sigma = if whole.sigma > 0.0 { whole.sigma } else { MEAN_SIGMA_PART * whole.mean_sigma };
    if clip > 0.0 && sigma > 0.0 {
        let (low, high) = (whole.centre - clip * sigma, whole.centre + clip * sigma);
        for value in row.iter_mut() {
            // A NaN stays one.
            *value = value.clamp(low, high);
        }
    }
    let (sum, count) = row
        .iter()
        .filter(|value| !value.is_nan())
        .fold((0.0, 0.0), |(sum, count), value| (sum + (value - whole.centre), count + 1.0));
    let mean = if count > 0.0 { whole.centre + sum / count } else { 0.0 };
    for value in row.iter_mut().filter(|value| value.is_nan()) {
        *value = mean;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_gaps_are_bridged_and_long_ones_and_the_ends_stay() {
        let nan = f64::NAN;
        let mut row = [nan, 1.0, nan, nan, 4.0, nan, nan, nan, 5.0, nan];
        assert_eq!(bridge(&mut row, 2), 2);
        assert_eq!(row[1..5], [1.0, 2.0, 3.0, 4.0]);
        assert!(row[0].is_nan() && row[9].is_nan() && row[5..8].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn what_is_missing_adds_nothing_and_a_wild_value_little() {
        let mut row: Vec<f64> = (0..100).map(|i| f64::from(i % 10)).collect();
        (row[3], row[50]) = (1e9, f64::NAN);
        clip_and_fill(&mut row, 6.0);
        assert!(row[3] < 50.0, "{}", row[3]);
        let mean = row.iter().sum::<f64>() / 100.0;
        assert!((row[50] - mean).abs() < 1e-9);
    }
}
