//! Whether the last values of a series are the highest or lowest ever.
//!
//! Of n values without a trend each is the highest with probability 1/n, so the last w hold a record with probability w/n (N.
//! Glick, "Breaking Records and Breaking Boards", 1978). Above [`P_MAX`] a record says nothing and is none here. Nor is one that is
//! less than [`MARGIN_MIN`] standard deviations of the noise beyond the last, so that noise has less than half as many as p says
//! where it is normal. Nor is a record of a series that nearly always goes the same way, such as a counter: there each value is
//! one, which is said instead. One that a line leaves none of is [of the line](is_of_line). O(n).

use super::Present;
use super::noise::noise;

/// Most that the last values may be of all.
pub const P_MAX: f64 = 0.05;
/// Standard deviations of the noise that a record is beyond the last at least.
pub const MARGIN_MIN: f64 = 0.25;
/// From this part of steps in one direction on a series goes one way.
const ONE_WAY_PART: f64 = 0.95;
/// Fewer steps than this have no direction.
const STEPS_MIN: usize = 10;

/// The highest or lowest value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// Its position.
    pub at: usize,
    /// The value.
    pub value: f64,
    /// Position of the last value before the window that was as high or low as any before.
    pub previous_at: usize,
    /// That value.
    pub previous: f64,
    /// Intervals that the previous one stood.
    pub stood: usize,
    /// Beyond the previous one, in standard deviations of the noise; `None` without noise.
    pub margin: Option<f64>,
    /// Probability of a record among so many last values in a series without a trend, at most.
    pub p: f64,
}

/// What the last values of a series are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Records {
    /// A counter or alike: nearly all steps rise, or nearly all fall.
    OneWay,
    /// The records among the last values.
    Of {
        /// The highest value, where it is among them.
        highest: Option<Record>,
        /// The lowest value.
        lowest: Option<Record>,
    },
}

/// The records among the last `window` positions of a series.
pub fn records(series: &[f64], window: usize) -> Records {
    let present = Present::of(series);
    if is_one_way(&present.values) {
        return Records::OneWay;
    }
    let start = series.len().saturating_sub(window);
    let earlier = present.at.partition_point(|at| *at < start);
    let p = (present.len() - earlier) as f64 / present.len().max(1) as f64;
    if p > P_MAX {
        return Records::Of { highest: None, lowest: None };
    }
    let sigma = noise(series).sigma;
    let record = |sign: f64| {
        let extreme = |of: std::ops::Range<usize>, is_last: bool| {
            let mut best: Option<usize> = None;
            for index in of {
                let value = sign * present.values[index];
                let beats = |best: usize| {
                    let best = sign * present.values[best];
                    value > best || (is_last && value == best)
                };
                if best.is_none_or(beats) {
                    best = Some(index);
                }
            }
            best
        };
        let (previous, own) = (extreme(0..earlier, true)?, extreme(earlier..present.len(), false)?);
        let beyond = sign * (present.values[own] - present.values[previous]);
        (beyond > 0.0 && beyond >= MARGIN_MIN * sigma).then(|| Record {
            at: present.at[own],
            value: present.values[own],
            previous_at: present.at[previous],
            previous: present.values[previous],
            stood: present.at[own] - present.at[previous],
            margin: (sigma > 0.0).then(|| beyond / sigma),
            p,
        })
    };
    Records::Of { highest: record(1.0), lowest: record(-1.0) }
}

/// Whether a record among the last `window` positions is none where a line is taken out: of a series that rises each run would tell one.
/// `line` gives the line's value at a position.
pub fn is_of_line(
    series: &[f64],
    window: usize,
    record: &Record,
    line: impl Fn(usize) -> f64,
) -> bool {
    let sign = (record.value - record.previous).signum();
    let start = series.len().saturating_sub(window);
    let earlier = series[..start].iter().enumerate().filter(|(_, value)| value.is_finite());
    let best =
        earlier.map(|(at, value)| sign * (value - line(at))).fold(f64::NEG_INFINITY, f64::max);
    let beyond = sign * (record.value - line(record.at)) - best;
    !(beyond > 0.0 && beyond >= MARGIN_MIN * noise(series).sigma)
}

fn is_one_way(values: &[f64]) -> bool {
    let rising = values.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let falling = values.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let steps = rising + falling;
    steps >= STEPS_MIN && rising.max(falling) as f64 >= ONE_WAY_PART * steps as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::samples::{Tails, noise as sample, odd_series, without};
    use super::*;

    fn of(series: &[f64], window: usize) -> (Option<Record>, Option<Record>) {
        match records(series, window) {
            Records::Of { highest, lowest } => (highest, lowest),
            Records::OneWay => panic!("one way"),
        }
    }

    /// Noise between −1 and 1, with 2 at 30 and −3 at 40.
    fn usual() -> Vec<f64> {
        let mut series: Vec<f64> = (0..100).map(|t| [0.0, 1.0, -1.0, 0.5][t % 4]).collect();
        (series[30], series[40]) = (2.0, -3.0);
        series
    }

    #[test]
    fn a_record_says_what_it_beat_and_for_how_long_that_stood() {
        let mut series = usual();
        series[97] = 2.5;
        let (highest, lowest) = of(&series, 5);
        let record = highest.unwrap();
        assert_eq!(
            (record.at, record.value, record.previous_at, record.previous),
            (97, 2.5, 30, 2.0)
        );
        assert_eq!((record.stood, record.p, lowest), (67, 0.05, None));
        assert_eq!(record.margin, Some(0.5 / noise(&series).sigma));
        (series[97], series[96], series[98]) = (0.0, -3.5, -3.5);
        let (highest, lowest) = of(&series, 5);
        let record = lowest.unwrap();
        assert_eq!((highest, record.at, record.value, record.previous_at), (None, 96, -3.5, 40));
        assert_eq!((record.stood, record.previous), (56, -3.0));
        assert!(record.margin.unwrap() > 0.0);
    }

    #[test]
    fn a_tie_is_no_record_and_the_last_of_equal_ones_stood() {
        let mut series = usual();
        series[97] = 2.0;
        assert_eq!(of(&series, 5), (None, None));
        (series[97], series[60]) = (2.5, 2.0);
        assert_eq!(of(&series, 5).0.unwrap().previous_at, 60);
    }

    #[test]
    fn a_window_of_more_than_a_twentieth_has_no_records() {
        let mut series = usual();
        series[97] = 2.5;
        assert!(of(&series, 5).0.is_some());
        assert!(of(&series, 6).0.is_none() && of(&series, 1_000).0.is_none());
        assert!(
            of(&series, 3).0.is_some() && of(&series, 2).0.is_none() && of(&series, 0).0.is_none()
        );
        // What is missing does not count: 5 of 99 are too many, 4 of 98 are not.
        assert!(of(&without(&series, &[3]), 5).0.is_none());
        assert!((of(&without(&series, &[3, 96]), 5).0.unwrap().p - 4.0 / 98.0).abs() < 1e-12);
    }

    #[test]
    fn each_value_of_a_counter_is_a_record_so_none_is() {
        let rising: Vec<f64> = (0..100).map(|t| (t / 2) as f64).collect();
        assert_eq!(records(&rising, 3), Records::OneWay);
        let falling: Vec<f64> = rising.iter().map(|value| -value).collect();
        assert_eq!(records(&falling, 3), Records::OneWay);
        // 49 steps: with 2 back 0.959 are forward, with 3 back 0.939.
        let mut back = rising.clone();
        (back[20], back[21], back[40], back[41]) = (0.0, 0.0, 0.0, 0.0);
        assert_eq!(records(&back, 3), Records::OneWay);
        (back[60], back[61]) = (0.0, 0.0);
        assert!(matches!(records(&back, 3), Records::Of { .. }));
        // Ten steps have a direction, nine have none.
        let few: Vec<f64> = (0..11).map(f64::from).collect();
        assert_eq!(records(&few, 0), Records::OneWay);
        assert!(matches!(records(&few[..10], 0), Records::Of { .. }));
        // A trend with noise goes both ways.
        let mut trend = sample(200, 0.0, Tails::Normal, 1);
        trend.iter_mut().enumerate().for_each(|(t, v)| *v += t as f64 * 0.1);
        assert!(matches!(records(&trend, 5), Records::Of { .. }));
    }

    #[test]
    fn a_constant_series_has_no_noise_to_measure_by() {
        let mut series = vec![1.0; 100];
        assert_eq!(of(&series, 3), (None, None));
        series[1..].fill(f64::NAN);
        series[0] = 1.0;
        assert_eq!(of(&series, 3), (None, None));
        for series in odd_series() {
            for window in [0, 1, 3, 100] {
                let _ = records(&series, window);
            }
        }
    }

    #[test]
    fn noise_makes_a_record_as_often_as_it_says() {
        let (mut found, runs) = (0, 1_000);
        for seed in 0..runs {
            let (highest, lowest) = of(&sample(200, 0.0, Tails::Normal, 5_000 + seed), 8);
            found += usize::from(highest.is_some()) + usize::from(lowest.is_some());
        }
        // Of 2·0.04·1000 = 80 records, with a standard deviation of 9, those that are far enough beyond the last.
        assert_eq!(found, 44);
    }

    #[test]
    fn a_record_is_a_quarter_of_the_noise_beyond_the_last() {
        let mut series = usual();
        let sigma = noise(&series).sigma;
        for (margin, is_one) in [(0.02, false), (0.24, false), (0.26, true)] {
            series[97] = 2.0 + margin * sigma;
            let found = of(&series, 5).0;
            assert_eq!(found.is_some(), is_one, "{margin}");
        }
        // Of a series that hardly ever differs a little is much.
        let mut flat = vec![1.0; 100];
        flat[99] = 1.0 + 1e-9;
        assert!(of(&flat, 3).0.is_some());
    }

    #[test]
    fn a_record_that_the_line_explains_is_of_the_line_and_one_beyond_it_is_not() {
        let mut all = [0; 2];
        for seed in 0..200 {
            let mut series = sample(400, 0.0, Tails::Normal, 9_000 + seed);
            series.iter_mut().enumerate().for_each(|(at, value)| *value += 0.05 * at as f64);
            let (highest, lowest) = of(&series, 20);
            assert_eq!(lowest, None);
            let line = |at: usize| 0.05 * at as f64;
            let Some(record) = highest else { continue };
            all[0] += 1;
            all[1] += usize::from(!is_of_line(&series, 20, &record, line));
        }
        // Most runs would tell one; of those, the part that noise would have.
        assert_eq!(all, [151, 7]);
        let mut series = sample(400, 0.0, Tails::Normal, 9_000);
        series.iter_mut().enumerate().for_each(|(at, value)| *value += 0.05 * at as f64);
        series[395] += 8.0;
        let record = of(&series, 20).0.unwrap();
        assert!(!is_of_line(&series, 20, &record, |at| 0.05 * at as f64));
        // A line that goes the other way explains nothing of it.
        assert!(!is_of_line(&series, 20, &record, |at| -0.05 * at as f64));
    }
}
