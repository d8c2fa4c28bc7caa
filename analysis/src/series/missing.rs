//! Missing data: silence where samples usually come, and a sensor that repeats itself. Both are what the
//! other steps can't see, because a value that is not there, or is always the usual one, is no outlier.

use super::samples::Samples;
use super::span::Span;

/// A stretch without values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// The last sample before it.
    pub before: usize,
    /// Intervals without a value.
    pub intervals: u64,
    /// Intervals without a value that are usual in the series.
    pub usual: u64,
}

/// A run of equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first sample.
    pub first: usize,
    /// The last sample.
    pub last: usize,
}

/// A run must be this many times as long as the next longest of its series.
const RUN_RATIO: usize = 4;

/// Intervals without a value that are no gap.
const INTERVALS_MIN: u64 = 2;
/// A gap is this number of times as long as the distances between samples that are usual.
const USUAL_TIMES: u64 = 3;
/// One distance in this number is not usual, and this number of distances at least.
const UNUSUAL_EVERY: usize = 100;
const UNUSUAL_MIN: usize = 2;

/// Intervals without a value that are no gap, if nothing else is asked for: an hour, and two intervals.
pub fn usual_gap(interval_us: i64) -> u64 {
    let of_hour = Span::HOUR.micros() / interval_us.max(1);
    u64::try_from(of_hour).unwrap_or_default().max(INTERVALS_MIN)
}

/// Stretches of more than `most` intervals without a value, which are also clearly longer than the
/// distances between samples usually are: of a series without weekends, a weekend is no gap.
pub fn gaps(samples: &Samples, most: u64) -> Vec<Gap> {
    let distance =
        |pair: &[i64]| u64::try_from((pair[1] - pair[0]) / samples.interval_us).unwrap_or(0);
    let mut distances: Vec<u64> = samples.times.windows(2).map(distance).collect();
    let unusual = UNUSUAL_MIN.max(distances.len() / UNUSUAL_EVERY);
    let place = distances.len().saturating_sub(unusual + 1);
    let longest = match distances.is_empty() {
        true => 1,
        false => *distances.select_nth_unstable(place).1,
    };
    let usual = most.max((USUAL_TIMES * longest.max(1)).saturating_sub(1));
    let pairs = samples.times.windows(2).map(distance).enumerate();
    let intervals = pairs.map(|(before, distance)| (before, distance.saturating_sub(1)));
    let gaps = intervals.filter(|(_, intervals)| *intervals > usual);
    gaps.map(|(before, intervals)| Gap { before, intervals, usual }).collect()
}

/// The longest run of equal values, when it has `least` samples and stands out from every other run. A
/// counter that rests, or a value that is mostly zero, has many long runs and none that stands out.
pub fn stuck(samples: &Samples, least: usize) -> Option<Run> {
    if least == 0 {
        return None;
    }
    let (mut longest, mut next) = (Run { first: 0, last: 0 }, 0);
    let mut first = 0;
    for at in 1..=samples.values.len() {
        if at < samples.values.len() && samples.values[at] == samples.values[first] {
            continue;
        }
        let run = Run { first, last: at - 1 };
        if run.samples() > longest.samples() {
            next = longest.samples();
            longest = run;
        } else {
            next = next.max(run.samples());
        }
        first = at;
    }
    // A series that never moves is not stuck: nothing says that it should move.
    let moves = longest.samples() < samples.values.len() / 2;
    (moves && longest.samples() >= least && longest.samples() >= RUN_RATIO * next)
        .then_some(longest)
}

impl Run {
    /// How many samples it has.
    pub fn samples(self) -> usize {
        self.last - self.first + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: Vec<f64>) -> Samples {
        let times = (0..values.len() as i64).map(|at| at * 10).collect();
        Samples { name: "s".into(), times, values, interval_us: 10 }
    }

    #[test]
    fn a_run_is_stuck_from_its_least_length_on_where_it_stands_out() {
        let run = |length: usize, other: usize| {
            let mut values: Vec<f64> = (0..60).map(f64::from).collect();
            values[10..10 + length].fill(7.5);
            values[40..40 + other].fill(8.5);
            stuck(&samples(values), 12)
        };
        assert_eq!(run(12, 1), Some(Run { first: 10, last: 21 }));
        assert_eq!((run(11, 1), run(12, 4)), (None, None));
        assert_eq!(run(12, 3), Some(Run { first: 10, last: 21 }));
    }

    #[test]
    fn a_gap_is_more_intervals_than_are_usual() {
        let with = |missing: &[std::ops::Range<i64>], most: u64| {
            let mut silent = samples(vec![0.0; 0]);
            let is_known = |at: &i64| !missing.iter().any(|missing| missing.contains(at));
            silent.times = (0..120).filter(is_known).map(|at| at * 10).collect();
            silent.values = vec![0.0; silent.times.len()];
            let found = gaps(&silent, most);
            found.into_iter().map(|gap| (gap.before, gap.intervals)).collect::<Vec<_>>()
        };
        assert_eq!(with(&[20..23, 60..72], 2), [(19, 3), (56, 12)]);
        assert_eq!(with(&[20..22, 60..72], 3), [(57, 12)]);
        // Without weekends a weekend is no gap, and two weeks are one.
        let weekends: Vec<_> = (0..17).map(|week| week * 7 + 5..week * 7 + 7).collect();
        assert_eq!(with(&weekends, 2), []);
        let mut holidays = weekends.clone();
        holidays.push(26..40);
        assert_eq!(with(&holidays, 2), [(19, 16)]);
    }

    #[test]
    fn a_usual_gap_is_an_hour_and_two_intervals() {
        let minutes = [1, 5, 30, 60, 1_440].map(|minutes: i64| usual_gap(minutes * 60_000_000));
        assert_eq!(minutes, [60, 12, 2, 2, 2]);
        assert_eq!(usual_gap(0), 3_600_000_000);
    }
}
