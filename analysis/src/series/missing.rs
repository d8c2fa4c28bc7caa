//! Missing data: silence where samples usually come, and a sensor that repeats itself. Both are what the
//! other steps can't see, because a value that is not there, or is always the usual one, is no outlier.

use super::samples::Samples;

/// A stretch without values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gap {
    /// The last sample before it.
    pub before: usize,
    /// Intervals without a value.
    pub intervals: u64,
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

/// Stretches of more than `most` intervals without a value.
pub fn gaps(samples: &Samples, most: u64) -> Vec<Gap> {
    samples
        .times
        .windows(2)
        .enumerate()
        .filter_map(|(before, pair)| {
            let distance = (pair[1] - pair[0]) / samples.interval_us;
            let intervals = u64::try_from(distance - 1).unwrap_or(0);
            (intervals > most).then_some(Gap { before, intervals })
        })
        .collect()
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
        let mut silent = samples(vec![0.0; 4]);
        silent.times = vec![0, 10, 50, 90];
        assert_eq!(gaps(&silent, 3), []);
        let found = gaps(&silent, 2);
        assert_eq!(found, [Gap { before: 1, intervals: 3 }, Gap { before: 2, intervals: 3 }]);
    }
}
