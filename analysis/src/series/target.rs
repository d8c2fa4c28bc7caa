//! Where a series misses what is wanted of it, and whether by more than its noise.
//!
//! A miss is a run of values, one after the other, on the wrong side of the target. How much it counts is its mean shortfall in
//! standard errors of a mean of as many values: a rate that flickers around its target misses it every other hour and says nothing,
//! and one that lies a little below it for a month says a lot. The noise is that of the differences from value to value, which a
//! level that fell does not inflate: that of most of them, and no less than that of those outside the miss, so that rare large values
//! count, as those of errors among few calls. There each counts for no more than a few times what most are, so that one miss does not
//! hide another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spread::{median, spread};

/// Part of the target, or of what is usual where that is more, that the noise is taken for at least: values of a series that hardly
/// moves are no misses by their last digits.
const NOISE_PART_MIN: f64 = 0.01;

/// The largest difference that counts as noise, in standard deviations of most.
const DIFFERENCE_MAX: f64 = 10.0;
/// Values from which on noise is known.
const VALUES_MIN: usize = 8;

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Values at or above the target meet it.
    Up,
    /// Values at or below the target meet it.
    Down,
}

impl Direction {
    /// As it stands in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// What stands before the target in words.
    pub fn limit(self) -> &'static str {
        match self {
            Self::Up => "at least",
            Self::Down => "at most",
        }
    }
}

/// What is wanted of the values of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// What they should reach or not exceed.
    pub value: f64,
    /// Which of both.
    pub direction: Direction,
}

/// Values one after the other that miss the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Miss {
    /// Place of the first.
    pub start: usize,
    /// Place behind the last.
    pub end: usize,
    /// Their mean.
    pub mean: f64,
    /// The one that is farthest from the target.
    pub worst: f64,
    /// The mean shortfall in standard errors.
    pub score: f64,
}

impl Target {
    /// By how much a value misses it; nothing or less where it meets it.
    pub fn shortfall(&self, value: f64) -> f64 {
        match self.direction {
            Direction::Up => self.value - value,
            Direction::Down => value - self.value,
        }
    }

    /// Whether a value meets it.
    pub fn is_met(&self, value: f64) -> bool {
        self.shortfall(value) <= 0.0
    }

    /// All misses among finite values, in their order; none of fewer than 8 values, whose noise is not known.
    pub fn misses(&self, values: &[f64]) -> Vec<Miss> {
        if values.len() < VALUES_MIN {
            return Vec::new();
        }
        let scatter = Scatter::of(values, self.value);
        let mut found: Vec<Miss> = Vec::new();
        let mut start = 0;
        for run in values.chunk_by(|a, b| (self.shortfall(*a) > 0.0) == (self.shortfall(*b) > 0.0))
        {
            let end = start + run.len();
            if self.shortfall(run[0]) > 0.0 {
                let count = run.len() as f64;
                let mean = run.iter().map(|value| value / count).sum::<f64>();
                let farther = |a: f64, b: f64| {
                    if self.shortfall(b) > self.shortfall(a) { b } else { a }
                };
                found.push(Miss {
                    start,
                    end,
                    mean,
                    worst: run.iter().copied().fold(run[0], farther),
                    score: self.shortfall(mean) * count.sqrt() / scatter.outside(start, end),
                });
            }
            start = end;
        }
        found
    }
}

/// How far values lie from each other that mean the same.
struct Scatter {
    /// The standard deviation of most, at least.
    most: f64,
    /// Sums of squared differences between neighbours, up to each value.
    squares: Vec<f64>,
}

impl Scatter {
    fn of(values: &[f64], target: f64) -> Self {
        let differences: Vec<f64> = values.windows(2).map(|two| two[1] - two[0]).collect();
        let of = spread(&differences);
        let noise = of.at_least_of_mean() / std::f64::consts::SQRT_2;
        let mut sizes: Vec<f64> = values.iter().map(|value| value.abs()).collect();
        let usual = median(&mut sizes).unwrap_or(0.0);
        let least = NOISE_PART_MIN * target.abs().max(usual);
        let most = noise.max(least).max(f64::MIN_POSITIVE);
        let limit = DIFFERENCE_MAX * std::f64::consts::SQRT_2 * most;
        let mut sum = 0.0;
        let sums = differences.iter().map(|of| {
            sum += of.abs().min(limit).powi(2);
            sum
        });
        Self { most, squares: std::iter::once(0.0).chain(sums).collect() }
    }

    /// The standard deviation of a value, as it is outside some.
    fn outside(&self, start: usize, end: usize) -> f64 {
        let last = self.squares.len() - 1;
        let (first, behind) = (start.saturating_sub(1), end.min(last));
        let count = first + last - behind;
        if count == 0 {
            return self.most;
        }
        let squares = self.squares[first] + (self.squares[last] - self.squares[behind]).max(0.0);
        self.most.max((squares / count as f64 / 2.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Noise;

    const UP: Target = Target { value: 10.0, direction: Direction::Up };
    const DOWN: Target = Target { value: 10.0, direction: Direction::Down };

    #[test]
    fn a_miss_is_a_run_on_the_wrong_side_and_what_is_equal_meets_the_target() {
        let values = [10.0, 9.0, 7.0, 10.0, 12.0, 8.0, 10.0, 10.0];
        let places = |target: Target| -> Vec<(usize, usize, f64, f64)> {
            let of = target.misses(&values).into_iter();
            of.map(|miss| (miss.start, miss.end, miss.mean, miss.worst)).collect()
        };
        assert_eq!(places(UP), [(1, 3, 8.0, 7.0), (5, 6, 8.0, 8.0)]);
        assert_eq!(places(DOWN), [(4, 5, 12.0, 12.0)]);
        assert!(UP.misses(&[]).is_empty());
    }

    #[test]
    fn a_score_is_the_mean_shortfall_in_standard_errors_of_the_noise() {
        let values = [11.0, 13.0, 11.0, 13.0, 11.0, 5.0, 7.0, 5.0, 7.0, 11.0, 13.0];
        // Differences: 2 -2 2 -2 -6 2 -2 2 4 2; their median is 2, the distances from it 0 4 0 4 8 0 4 0 2 0 with the median 1, and the
        // mean 2.2, which is less than those outside the miss.
        let miss = UP.misses(&values);
        assert_eq!(miss.len(), 1);
        assert!((miss[0].score - 4.0 * 2.0 / 2.0_f64.sqrt()).abs() < 1e-12, "{miss:?}");
        // Outside this one none differ: it is of most of them, 1.4826 · 0 or 0.6 · 1.2533 · 8 / 7.
        let most = 0.6 * 1.253_314_137_315_5 * (8.0 / 7.0) / 2.0_f64.sqrt();
        let miss = UP.misses(&[10.0, 10.0, 10.0, 10.0, 10.0, 6.0, 10.0, 10.0]);
        assert!((miss[0].score - 4.0 / most).abs() < 1e-12, "{miss:?}");
        // Nothing moves: a hundredth of the target, or of what is usual.
        let still = |value: f64, target: Target| target.misses(&[value; 9])[0].score;
        assert!((still(9.9, UP) - 0.1 * 3.0 / 0.1).abs() < 1e-9);
        assert!((still(20.0, DOWN) - 10.0 * 3.0 / 0.2).abs() < 1e-9);
        let none = Target { value: 0.0, direction: Direction::Down };
        assert!((still(3.0, none) - 3.0 * 3.0 / 0.03).abs() < 1e-9);
        assert!(none.misses(&[0.0; 9]).is_empty());
        assert!(none.misses(&[3.0; 7]).is_empty() && none.misses(&[3.0; 8]).len() == 1);
    }

    /// An outage of an hour does not hide that another hour was slow.
    #[test]
    fn a_miss_does_not_hide_a_smaller_one() {
        let mut noise = Noise::new(3);
        let mut values: Vec<f64> = (0..720).map(|_| 0.2 + 0.01 * noise.normal()).collect();
        (values[100], values[500]) = (60.0, 2.0);
        let misses = Target { value: 0.5, direction: Direction::Down }.misses(&values);
        assert_eq!(misses.iter().map(|miss| miss.start).collect::<Vec<_>>(), [100, 500]);
        assert!(misses.iter().all(|miss| miss.score > 10.0), "{misses:?}");
    }

    /// Of ten calls an hour one in a hundred fails: two failures in an hour are no miss that counts, an hour of four is.
    #[test]
    fn rare_large_values_are_noise_until_they_are_larger() {
        let mut noise = Noise::new(9);
        let mut failed =
            |chance: f64| (0..10).filter(|_| noise.uniform() < chance).count() as f64 / 10.0;
        let mut values: Vec<f64> = (0..2_000).map(|_| failed(0.01)).collect();
        assert!(values.iter().filter(|value| **value == 0.2).count() > 3);
        values.extend([0.4, 0.4, 0.0]);
        let misses = Target { value: 0.1, direction: Direction::Down }.misses(&values);
        let counted: Vec<_> = misses.iter().filter(|miss| miss.score > 4.0).collect();
        assert_eq!(counted.len(), 1, "{counted:?}");
        assert_eq!((counted[0].start, counted[0].end), (2_000, 2_002));
    }

    #[test]
    fn noise_around_the_target_is_no_miss_that_counts_and_a_small_lasting_one_is() {
        let mut noise = Noise::new(5);
        let mut normal = move || noise.normal();
        let worst = (0..200)
            .flat_map(|_| {
                let values: Vec<f64> = (0..1_000).map(|_| 10.0 + normal()).collect();
                UP.misses(&values)
            })
            .fold(0.0, |most: f64, miss| most.max(miss.score));
        assert!(worst < 5.0, "{worst}");
        let values: Vec<f64> =
            (0..1_000).map(|at| normal() * 0.2 + if at < 700 { 10.6 } else { 9.4 }).collect();
        let most =
            UP.misses(&values).into_iter().max_by(|a, b| a.score.total_cmp(&b.score)).unwrap();
        assert!(most.score > 20.0 && most.start >= 695, "{most:?}");
    }
}
