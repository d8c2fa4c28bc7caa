//! One series, watched as its samples come: what is unusual in its values, silence, and a value that no longer moves. What was found does
//! not depend on how the samples were cut into parts, because a [`Watch`] that was saved goes on as if nothing had been between.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::detector::{Aspect, Detector, Options};
use super::episodes::{EpisodeOptions, Episodes, Finding};
use crate::series::missing::usual_gap;

/// Distances of neighbours whose median is the usual one, and how many are known before there is a usual one.
const DISTANCES: usize = 63;
const DISTANCES_MIN: usize = 8;
/// Samples between two looks at what the usual distance is.
const LOOK_EVERY: u64 = 16;
/// Gaps that are remembered, the longest.
const GAPS: usize = 64;
/// Gaps that are always plausible, and in how many samples there is one more.
const GAPS_ALWAYS: usize = 2;
const GAPS_EVERY: u64 = 2_000;
/// How much longer a gap must be than those that are plausible.
const GAPS_CLEARLY: f64 = 1.5;
/// A run of equal values must be this many times as long as each before.
const RUN_RATIO: u64 = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// How values are judged.
    pub detector: Options,
    /// When what is unusual begins and ends.
    pub episodes: EpisodeOptions,
    /// Silence is more than so many usual distances without a sample.
    pub gap_intervals: Option<u64>,
    /// Equal values in a row from which on a series is stuck; 0 never.
    pub stuck_samples: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// Values that are unusual, most of all by this aspect.
    Unusual(Aspect),
    /// No samples.
    Missing,
    /// One value over and over.
    Stuck,
}

/// A finding of a [`Watch`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// What it is.
    pub sight: Sight,
    /// First instant, last instant, and the one that is furthest from the usual.
    pub start_us: i64,
    /// Last instant so far.
    pub end_us: i64,
    /// The instant furthest from the usual.
    pub peak_us: i64,
    /// Samples from the first to the last.
    pub samples: u64,
    /// Of values the severity, as −log₁₀ of how often that is; of silence the distances without a sample; of a value that does not move
    /// its samples.
    pub strength: f64,
    /// The value at the peak.
    pub observed: Option<f64>,
    /// What was expected there; of silence the last value before.
    pub expected: Option<f64>,
    /// The usual distance of samples then.
    pub interval_us: i64,
}

/// A series on watch. Its state is bounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    options: WatchOptions,
    detector: Detector,
    episodes: Episodes,
    samples: u64,
    last: Option<(i64, f64)>,
    pace: Pace,
    run: Run,
    /// Of the newest episode.
    farthest: Option<Farthest>,
}

/// The sample of an episode that is farthest from what was expected: that of the largest severity comes after it, as aspects are of several
/// samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Farthest {
    episode: u64,
    at_us: i64,
    observed: f64,
    expected: f64,
}

/// How far samples are apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pace {
    distances: VecDeque<i64>,
    usual_us: Option<i64>,
    /// The longest so far, in usual distances, the longest first.
    gaps: Vec<u64>,
}

/// The values in a row that are equal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Run {
    start_us: i64,
    samples: u64,
    is_stuck: bool,
    /// The longest of those before.
    longest: u64,
}

impl Watch {
    /// One that has seen nothing.
    pub fn new(options: WatchOptions) -> Self {
        Self {
            options,
            detector: Detector::new(options.detector),
            episodes: Episodes::new(options.episodes),
            samples: 0,
            last: None,
            pace: Pace::default(),
            run: Run::default(),
            farthest: None,
        }
    }

    /// Samples so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The instant of the last sample.
    pub fn last_us(&self) -> Option<i64> {
        self.last.map(|(at_us, _)| at_us)
    }

    /// Takes the next sample, and adds what is over with it to `over`. Whatever is no number, or not behind the last sample, is passed by.
    pub fn push(&mut self, at_us: i64, value: f64, over: &mut Vec<Sighting>) {
        if !value.is_finite() || self.last_us().is_some_and(|last_us| at_us <= last_us) {
            return;
        }
        if let Some((last_us, last)) = self.last {
            over.extend(self.pace.gap(&self.options, self.samples, (last_us, last), at_us));
            self.pace.learn(at_us.saturating_sub(last_us), self.samples);
            if value != last {
                over.extend(self.stuck());
                self.run.end();
            }
        }
        self.run.take(&self.options, self.samples, at_us);
        let mut verdict = self.detector.push(at_us, value);
        let interval_us = self.interval_us();
        let ended = self.episodes.push(at_us, &mut verdict);
        over.extend(ended.map(|finding| unusual(&finding, self.farthest, interval_us)));
        if let (Some(place), Some(expected)) = (verdict.episode, verdict.expected) {
            let now = Farthest { episode: place.number, at_us, observed: value, expected };
            let is_nearer = |of: &Farthest| of.episode == now.episode && of.by() >= now.by();
            self.farthest = self.farthest.filter(is_nearer).or(Some(now));
        }
        self.samples = self.samples.saturating_add(1);
        self.last = Some((at_us, value));
    }

    /// What is not over yet.
    pub fn open(&self) -> Vec<Sighting> {
        let of = |finding| unusual(finding, self.farthest, self.interval_us());
        let unusual = self.episodes.open().map(of);
        unusual.into_iter().chain(self.stuck()).collect()
    }

    fn stuck(&self) -> Option<Sighting> {
        let (at_us, value) = self.last.filter(|_| self.run.is_stuck)?;
        Some(Sighting {
            sight: Sight::Stuck,
            start_us: self.run.start_us,
            end_us: at_us,
            peak_us: self.run.start_us,
            samples: self.run.samples,
            strength: self.run.samples as f64,
            observed: Some(value),
            expected: None,
            interval_us: self.interval_us(),
        })
    }

    fn interval_us(&self) -> i64 {
        self.pace.usual_us.or_else(|| self.pace.distances.back().copied()).unwrap_or(1_000_000)
    }
}

impl Farthest {
    fn by(&self) -> f64 {
        (self.observed - self.expected).abs()
    }
}

fn unusual(finding: &Finding, farthest: Option<Farthest>, interval_us: i64) -> Sighting {
    let farthest = farthest.filter(|of| of.episode == finding.number);
    Sighting {
        sight: Sight::Unusual(finding.aspect.unwrap_or(Aspect::Level)),
        start_us: finding.start_us,
        end_us: finding.end_us,
        peak_us: farthest.map_or(finding.peak_us, |of| of.at_us),
        samples: finding.samples,
        strength: finding.severity,
        observed: Some(farthest.map_or(finding.observed, |of| of.observed)),
        expected: farthest.map(|of| of.expected).or(finding.expected),
        interval_us,
    }
}

impl Pace {
    /// The silence before a sample, where it is one and others were not as long.
    fn gap(
        &mut self,
        options: &WatchOptions,
        samples: u64,
        (last_us, last): (i64, f64),
        at_us: i64,
    ) -> Option<Sighting> {
        let usual_us = self.usual_us?;
        let distances = at_us.saturating_sub(last_us) / usual_us;
        let missing = u64::try_from(distances.saturating_sub(1)).unwrap_or(0);
        if missing <= options.gap_intervals.unwrap_or_else(|| usual_gap(usual_us)) {
            return None;
        }
        let as_long = |gap: &&u64| **gap as f64 * GAPS_CLEARLY > missing as f64;
        let usual = self.gaps.iter().take_while(as_long).count();
        let place = self.gaps.partition_point(|gap| *gap >= missing);
        self.gaps.insert(place, missing);
        self.gaps.truncate(GAPS);
        let plausible = usize::try_from(samples / GAPS_EVERY).unwrap_or(GAPS);
        if usual >= GAPS_ALWAYS.saturating_add(plausible).min(GAPS) {
            return None;
        }
        let start_us = last_us.saturating_add(usual_us);
        Some(Sighting {
            sight: Sight::Missing,
            start_us,
            end_us: at_us.saturating_sub(usual_us).max(start_us),
            peak_us: start_us,
            samples: 0,
            strength: missing as f64,
            observed: None,
            expected: Some(last),
            interval_us: usual_us,
        })
    }

    fn learn(&mut self, distance_us: i64, samples: u64) {
        if self.distances.len() >= DISTANCES {
            self.distances.pop_front();
        }
        self.distances.push_back(distance_us);
        let is_known = self.usual_us.is_some();
        if self.distances.len() >= DISTANCES_MIN
            && (!is_known || samples.is_multiple_of(LOOK_EVERY))
        {
            let mut sorted: Vec<i64> = self.distances.iter().copied().collect();
            let middle = sorted.len() / 2;
            self.usual_us = Some((*sorted.select_nth_unstable(middle).1).max(1));
        }
    }
}

impl Run {
    /// `samples`: those before this one.
    fn take(&mut self, options: &WatchOptions, samples: u64, at_us: i64) {
        if self.samples == 0 {
            self.start_us = at_us;
        }
        self.samples = self.samples.saturating_add(1);
        // A series that never moved is not stuck: nothing says that it should move.
        let moved = samples.saturating_add(1) > self.samples.saturating_mul(2);
        let stands_out = self.samples >= self.longest.saturating_mul(RUN_RATIO);
        let is_long = options.stuck_samples > 0 && self.samples >= options.stuck_samples;
        self.is_stuck |= is_long && moved && stands_out;
    }

    fn end(&mut self) {
        *self = Self { longest: self.longest.max(self.samples), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Noise;

    const MINUTE: i64 = 60_000_000;

    fn options() -> WatchOptions {
        WatchOptions {
            detector: Options::default(),
            episodes: EpisodeOptions::default(),
            gap_intervals: None,
            stuck_samples: 96,
        }
    }

    /// What was found over, and what is open.
    fn watch(samples: impl IntoIterator<Item = (i64, f64)>) -> (Vec<Sighting>, Vec<Sighting>) {
        let (mut watch, mut over) = (Watch::new(options()), Vec::new());
        samples.into_iter().for_each(|(at, value)| watch.push(at, value, &mut over));
        (over, watch.open())
    }

    fn noisy(count: i64, seed: u64) -> Vec<(i64, f64)> {
        let mut noise = Noise::new(seed);
        (0..count).map(|at| (at * MINUTE, 50.0 + noise.normal())).collect()
    }

    #[test]
    fn a_spike_is_open_until_it_has_rested() {
        let mut samples = noisy(1_143, 1);
        samples[1_000].1 = 90.0;
        let (over, open) = watch(samples.clone());
        assert_eq!((over.len(), open.len()), (0, 1));
        let spike = open[0];
        assert_eq!((spike.start_us, spike.observed), (1_000 * MINUTE, Some(90.0)));
        assert_eq!((spike.peak_us, spike.samples), (1_000 * MINUTE, 24));
        assert!(spike.strength > 2.3 && (spike.expected.unwrap() - 50.0).abs() < 1.0, "{spike:?}");
        samples.extend(noisy(1_200, 1).split_off(1_143));
        let (over, open) = watch(samples);
        assert_eq!((over, open), (vec![spike], vec![]));
    }

    #[test]
    fn silence_is_seen_with_the_sample_that_ends_it_and_often_it_is_no_news() {
        let gap = |before: i64, missing: i64| {
            let mut samples = noisy(before, 2);
            samples.push(((before + missing) * MINUTE, 50.0));
            watch(samples).0
        };
        // Of samples each minute, an hour is none.
        assert_eq!(gap(100, 60), []);
        let found = gap(100, 61);
        assert_eq!(found.len(), 1);
        let found = found[0];
        assert_eq!((found.sight, found.strength, found.samples), (Sight::Missing, 61.0, 0));
        assert_eq!((found.start_us, found.end_us), (100 * MINUTE, 160 * MINUTE));
        assert_eq!((found.interval_us, found.peak_us), (MINUTE, 100 * MINUTE));
        assert!(found.observed.is_none() && found.expected.is_some());
        // Nothing is usual yet after 8 samples, which are 7 distances.
        assert_eq!((gap(8, 70).len(), gap(9, 70).len()), (0, 1));
        // One every 100 samples: the first two are seen, and one that is half as long again.
        let mut at = 0;
        let samples: Vec<(i64, f64)> = (0..1_000)
            .map(|sample| {
                at += match sample {
                    850 => 111,
                    _ if sample % 100 == 50 => 71,
                    _ => 1,
                };
                (at * MINUTE, f64::from(sample % 7))
            })
            .collect();
        let strengths: Vec<f64> = watch(samples).0.iter().map(|found| found.strength).collect();
        assert_eq!(strengths, [70.0, 70.0, 110.0]);
    }

    #[test]
    fn a_value_that_stays_is_stuck_where_that_is_new() {
        let stay = |before: i64, run: usize, after: bool| {
            let mut samples = noisy(before + run as i64 + i64::from(after), 3);
            let from = before as usize;
            samples[from..from + run].iter_mut().for_each(|sample| sample.1 = 7.5);
            let (over, open) = watch(samples);
            let stuck = |found: Vec<Sighting>| -> Vec<Sighting> {
                found.into_iter().filter(|found| found.sight == Sight::Stuck).collect()
            };
            (stuck(over), stuck(open))
        };
        assert_eq!(stay(300, 95, true), (vec![], vec![]));
        let (over, open) = stay(300, 96, false);
        assert_eq!((over.len(), open.len(), open[0].samples), (0, 1, 96));
        assert_eq!((open[0].start_us, open[0].end_us), (300 * MINUTE, 395 * MINUTE));
        let (over, open) = stay(300, 96, true);
        assert_eq!((over.len(), open.len(), over[0].strength), (1, 0, 96.0));
        // Half of what there is, and as long as four others.
        assert_eq!(stay(96, 96, true), (vec![], vec![]));
        assert_eq!(stay(97, 96, false).1.len(), 1);
        let twice = |first: usize| {
            let mut samples = noisy(500, 4);
            samples[100..100 + first].iter_mut().for_each(|sample| sample.1 = 7.5);
            samples[300..396].iter_mut().for_each(|sample| sample.1 = 7.5);
            let found = watch(samples).0;
            found.iter().filter(|found| found.sight == Sight::Stuck).count()
        };
        assert_eq!((twice(24), twice(25)), (1, 0));
    }

    #[test]
    fn what_is_no_sample_changes_nothing() {
        let (mut watch, mut over) = (Watch::new(options()), Vec::new());
        noisy(200, 5).into_iter().for_each(|(at, value)| watch.push(at, value, &mut over));
        let before = watch.clone();
        for (at, value) in [(199, 1e9), (0, 1e9), (-5, 1e9), (200, f64::NAN), (200, f64::INFINITY)]
        {
            watch.push(at * MINUTE, value, &mut over);
        }
        assert_eq!((watch, over), (before, vec![]));
    }

    #[test]
    fn a_watch_that_was_saved_goes_on() {
        let mut samples = noisy(3_000, 6);
        samples[900..1_000].iter_mut().for_each(|sample| sample.1 = 3.0);
        samples[2_000..].iter_mut().for_each(|sample| sample.0 += 100 * MINUTE);
        samples[2_500].1 = 200.0;
        let (over, open) = watch(samples.clone());
        assert!(over.len() >= 3, "{over:?}");
        let (mut part, mut found) = (Watch::new(options()), Vec::new());
        for (at, (time, value)) in samples.into_iter().enumerate() {
            part.push(time, value, &mut found);
            if at % 97 == 0 {
                part = serde_json::from_str(&serde_json::to_string(&part).unwrap()).unwrap();
            }
        }
        assert_eq!((found, part.open()), (over, open));
    }
}
