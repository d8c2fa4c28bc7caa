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
    /// The last sample, of the run.
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
