//! How a series moves in the long run: its slope, whether it rises or falls at all, where its level changed, whether its season
//! did, and which of its last values are records.
//!
//! Series are regular: values one interval apart, NaN where one is missing. Values that are not finite count as missing, and
//! positions are those of the whole series. Nothing here takes times, units or names.
//!
//! - [`slope`]: the slope by Theil and Sen with its confidence interval.
//! - [`mann_kendall`], [`seasonal`]: whether there is a trend, for neighbours that repeat each other and for seasons too.
//! - [`change_points`]: where the level changed; by [`segmentation`], in units of the [`noise`].
//! - [`level_test`]: whether these levels mean anything, whatever the distribution.
//! - [`season_change`]: whether the amplitude or the shape of the season changed.
//! - [`records`]: highest and lowest values ever.

pub mod change_points;
pub mod level_test;
pub mod mann_kendall;
pub mod noise;
mod outliers;
mod place;
pub mod records;
pub mod season_change;
pub mod seasonal;
pub mod segmentation;
pub mod slope;
mod whole_seasons;

#[cfg(test)]
mod calibration;
#[cfg(test)]
mod pinned_tests;
#[cfg(test)]
mod pinned_trend_tests;
#[cfg(test)]
pub(in crate::series) mod samples;

/// The values of a series that are there, with their positions.
#[derive(Clone, Debug, Default)]
struct Present {
    at: Vec<usize>,
    values: Vec<f64>,
}

impl Present {
    fn of(series: &[f64]) -> Self {
        let at: Vec<usize> = (0..series.len()).filter(|at| series[*at].is_finite()).collect();
        let values = at.iter().map(|at| series[*at]).collect();
        Self { at, values }
    }

    fn len(&self) -> usize {
        self.at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_infinite_values_leave_the_positions_of_the_others() {
        let present = Present::of(&[1.0, f64::NAN, 3.0, f64::INFINITY, 5.0, f64::NEG_INFINITY]);
        assert_eq!((present.at.as_slice(), present.len()), ([0, 2, 4].as_slice(), 3));
        assert_eq!(present.values, [1.0, 3.0, 5.0]);
    }
}
