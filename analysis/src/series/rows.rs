//! Rows of a grid: a value for each of some equal stretches of time, NaN where there is none.

use std::collections::BTreeMap;

use super::{Series, spread};
use crate::calendar::Grid;

/// Writes the mean of the samples in each cell of `row`; the first cell begins at instant `first` of `grid`. A cell without
/// samples stays as it is; samples that are not finite or in no cell are left out. Returns how many there were in cells. `counts`
/// is room to count in. A mean is finite, whatever the samples.
pub fn put_means(
    series: &Series,
    grid: &Grid,
    first: i64,
    row: &mut [f64],
    counts: &mut Vec<u32>,
) -> u64 {
    counts.clear();
    counts.resize(row.len(), 0);
    let cells = first..first.saturating_add_unsigned(row.len() as u64);
    let samples = || {
        let samples = series.times.iter().zip(&series.values);
        samples.filter(|(_, value)| value.is_finite()).filter_map(|(at_us, &value)| {
            let cell = grid.number_before(*at_us);
            cells.contains(&cell).then(|| ((cell - first) as usize, value))
        })
    };
    let mut placed = 0;
    for (cell, value) in samples() {
        row[cell] = if counts[cell] == 0 { value } else { row[cell] + value };
        counts[cell] += 1;
        placed += 1;
    }
    let overflown = |&(cell, sum): &(usize, &f64)| sum.is_infinite() && counts[cell] > 0;
    let mut overflown: BTreeMap<usize, f64> =
        row.iter().enumerate().filter(overflown).map(|(cell, _)| (cell, 0.0)).collect();
    let several = row.iter_mut().zip(&*counts).filter(|(_, count)| **count > 1);
    several.for_each(|(value, count)| *value /= f64::from(*count));
    if !overflown.is_empty() {
        for (cell, value) in samples() {
            if let Some(mean) = overflown.get_mut(&cell) {
                // Parts of the mean are rounded, and their sum may be beyond the greatest number by that.
                *mean = (*mean + value / f64::from(counts[cell])).clamp(f64::MIN, f64::MAX);
            }
        }
        overflown.into_iter().for_each(|(cell, mean)| row[cell] = mean);
    }
    placed
}

/// Multiplies by the power of two that brings the greatest magnitude to 1 or a little below: squares of what is left neither
/// overflow nor vanish, and nothing is rounded that is not smaller by 300 orders of magnitude. A correlation stays what it is.
pub fn normalise(row: &mut [f64]) {
    let greatest =
        row.iter().filter(|value| value.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
    if greatest == 0.0 {
        return;
    }
    let exponent = greatest.log2().ceil() as i32;
    // In two steps, as the powers of the smallest numbers are out of range.
    for part in [exponent / 2, exponent - exponent / 2] {
        let factor = 2.0_f64.powi(-part);
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Whether `row` has two different values.
pub fn varies(row: &[f64]) -> bool {
    let mut there = row.iter().filter(|value| !value.is_nan());
    there.next().is_some_and(|first| there.any(|value| value != first))
}

/// Cells without a value.
pub fn missing(row: &[f64]) -> usize {
    row.iter().filter(|value| value.is_nan()).count()
}

/// Subtracts `other`, cell by cell.
pub fn subtract(row: &mut [f64], other: &[f64]) {
    row.iter_mut().zip(other).for_each(|(value, other)| *value -= other);
}

/// Subtracts the line that fits the values best, by least squares.
pub fn remove_line(row: &mut [f64]) {
    let known = || row.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let count = known().count().max(1) as f64;
    let mean = |of: &dyn Fn(usize, f64) -> f64| {
        known().map(|(at, value)| of(at, *value) / count).sum::<f64>()
    };
    let (middle, level) = (mean(&|at, _| at as f64), mean(&|_, value| value));
    let along = mean(&|at, value| (at as f64 - middle) * (value - level));
    let spread = mean(&|at, _| (at as f64 - middle).powi(2));
    let slope = if spread > 0.0 { along / spread } else { 0.0 };
    for (at, value) in row.iter_mut().enumerate() {
        *value -= level + slope * (at as f64 - middle);
    }
}

/// Appends the change from each cell to the next, one less than there are cells.
pub fn append_changes(row: &[f64], changes: &mut Vec<f64>) {
    changes.extend(row.windows(2).map(|pair| pair[1] - pair[0]));
}

/// A bit for each cell, set where there is a value.
pub fn presence(row: &[f64]) -> Vec<u64> {
    let bits = |cells: &[f64]| {
        cells
            .iter()
            .enumerate()
            .fold(0, |bits, (at, value)| bits | u64::from(!value.is_nan()) << at)
    };
    row.chunks(64).map(bits).collect()
}

/// Bits set in both.
pub fn in_both(a: &[u64], b: &[u64]) -> usize {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones() as usize).sum()
}

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

/// Moves values beyond `clip` standard deviations to that bound, and missing ones to the mean.
pub fn clip_and_fill(row: &mut [f64], clip: f64) {
    let there: Vec<f64> = row.iter().copied().filter(|value| !value.is_nan()).collect();
    let whole = spread(&there);
    let sigma = whole.or_of_mean();
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::series::Span;

    fn tens() -> Grid {
        Grid::fixed(Span::from_micros(10).unwrap(), 0)
    }

    #[test]
    fn a_cell_has_the_mean_of_its_samples_and_stays_without_any() {
        let series = Series {
            name: String::new(),
            times: vec![-1, 0, 9, 10, 19, 20, 39, 40],
            values: vec![9.0, 1.0, 2.0, f64::NAN, f64::INFINITY, 3.0, 4.0, 9.0],
        };
        let mut counts = Vec::new();
        let mut row = [7.0; 4];
        assert_eq!(put_means(&series, &tens(), 0, &mut row, &mut counts), 4);
        assert_eq!(row, [1.5, 7.0, 3.0, 4.0]);
        let mut row = [f64::NAN; 1];
        assert_eq!(put_means(&series, &tens(), -1, &mut row, &mut counts), 1);
        assert_eq!(row, [9.0]);
        let none = Series { times: Vec::new(), ..series };
        assert_eq!(put_means(&none, &tens(), 0, &mut row, &mut counts), 0);
        assert_eq!(row, [9.0]);
    }

    #[test]
    fn a_mean_of_the_greatest_numbers_is_one_of_them_and_not_infinite() {
        let series = Series {
            name: String::new(),
            times: vec![0, 1, 2, 3, 10, 11, 20, 21, 22],
            values: [&[1.5e308, 1.0, 1.5e308, 1.0, -f64::MAX, f64::MAX][..], &[f64::MAX; 3]]
                .concat(),
        };
        let mut row = [f64::NAN; 4];
        assert_eq!(put_means(&series, &tens(), 0, &mut row, &mut Vec::new()), 9);
        assert_eq!(row[..3], [7.5e307, 0.0, f64::MAX]);
        assert!(row[3].is_nan());
    }

    #[test]
    fn a_normalised_row_has_the_same_digits_and_the_least_numbers_are_not_lost() {
        for scale in [1.0, 1e160, 1e-170, 1e305, 5e-324] {
            let mut row = [1.0 * scale, -3.0 * scale, f64::NAN];
            normalise(&mut row);
            assert!((row[0] / row[1] + 1.0 / 3.0).abs() < 1e-15, "{row:?}");
            assert!((0.5..=1.0).contains(&row[1].abs()) && row[2].is_nan(), "{row:?}");
        }
        let mut row = [0.0, f64::NAN];
        normalise(&mut row);
        assert_eq!(row[0], 0.0);
    }

    #[test]
    fn presence_is_a_bit_for_each_cell() {
        let mut row = vec![f64::NAN; 130];
        (row[0], row[63], row[64], row[129]) = (1.0, 1.0, 1.0, 1.0);
        let bits = presence(&row);
        assert_eq!(bits, [1 | 1 << 63, 1, 2]);
        assert_eq!(in_both(&bits, &[1, 3, 3]), 3);
        assert_eq!(missing(&row), 126);
        assert!(!varies(&row) && !varies(&[]) && varies(&[f64::NAN, 1.0, f64::NAN, 2.0]));
    }

    #[test]
    fn a_line_is_removed_and_gaps_stay() {
        let mut row: Vec<f64> = (0..9).map(|at| 5.0 - 0.25 * f64::from(at)).collect();
        row[4] = f64::NAN;
        remove_line(&mut row);
        assert!(row[4].is_nan());
        assert!(row.iter().all(|value| value.is_nan() || value.abs() < 1e-12), "{row:?}");
        let mut one = [f64::NAN, 3.0];
        remove_line(&mut one);
        assert_eq!(one[1], 0.0);
    }

    #[test]
    fn changes_are_from_each_cell_to_the_next() {
        let mut changes = vec![7.0];
        append_changes(&[1.0, 4.0, 2.0], &mut changes);
        append_changes(&[1.0], &mut changes);
        append_changes(&[], &mut changes);
        assert_eq!(changes, [7.0, 3.0, -2.0]);
        subtract(&mut changes, &[1.0, 1.0, 1.0]);
        assert_eq!(changes, [6.0, 2.0, -3.0]);
    }

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
