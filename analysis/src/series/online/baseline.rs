//! What a sample is expected to be: the median of the last samples, the usual of this time of day, or the usual of this time of the
//! week, whichever came closest lately. The usual of a half hour is the median of the means that it had, so that a few odd days can't
//! move it; between two half hours it is drawn straight, since a day that rises by several deviations of its noise in half an hour
//! would leave steps of that height.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::series::spread::median;

/// Samples that the level is the median of.
const LEVEL_SAMPLES: usize = 2048;
/// Samples that must be there for a level.
const LEVEL_SAMPLES_MIN: usize = 8;
/// The width of a slot of a day or week.
const SLOT_US: i64 = 1_800_000_000;
const SLOTS_OF_DAY: i64 = 48;
const SLOTS_OF_WEEK: i64 = 7 * SLOTS_OF_DAY;
/// Days and weeks that a profile remembers, and those it must have seen.
const DAYS: usize = 14;
const WEEKS: usize = 8;
const SEASONS_MIN: usize = 4;
/// A profile must bring the mean distance below this part of what is expected without it.
const DISTANCE_LEFT_MAX: f64 = 0.85;
/// The weight of a new one in the mean distances and the mean place in a slot.
const MEAN_WEIGHT: f64 = 1.0 / 1000.0;
/// A distance counts for this many mean ones at most, once as many distances are known as stated below it.
const DISTANCE_MAX: f64 = 6.0;
const DISTANCES_KNOWN: u32 = 200;
/// Residuals below this part of the values' size are rounding.
const ROUNDING: f64 = 1e-9;

/// What a sample is expected by: the level, the profile of the day or that of the week.
pub(super) const WAYS: usize = 3;

/// What is expected, and by which of the [`WAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Expected {
    pub(super) value: f64,
    pub(super) by: usize,
}

/// The level and both profiles, learnt as samples come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    level: Last,
    day: Profile,
    week: Profile,
    /// The half hour of the last sample, counted from 1970, the mean of its samples and how many they are.
    slot: Option<(i64, f64, u32)>,
    /// Where samples are in their half hour in the mean, after its start: what its mean is the value of.
    middle_us: f64,
    /// Mean distances from the level, the profile of the day and that of the week, and how many they are of.
    distances: [f64; WAYS],
    known: u32,
}

impl Baseline {
    pub(super) fn new() -> Self {
        Self {
            level: Last::default(),
            day: Profile::new(SLOTS_OF_DAY, DAYS),
            week: Profile::new(SLOTS_OF_WEEK, WEEKS),
            slot: None,
            middle_us: 0.0,
            distances: [0.0; WAYS],
            known: 0,
        }
    }

    /// What is expected at `at_us`; `None` before there is a level.
    pub(super) fn expected(&self, at_us: i64) -> Option<Expected> {
        self.candidates(at_us).map(|candidates| self.choose(candidates))
    }

    /// Learns a value.
    pub(super) fn learn(&mut self, at_us: i64, value: f64) {
        if let Some(candidates) = self.candidates(at_us) {
            self.weigh(candidates.map(|expected| (value - expected).abs()));
        }
        self.level.push(value);
        let (slot, within_us) = (at_us.div_euclid(SLOT_US), at_us.rem_euclid(SLOT_US) as f64);
        self.middle_us += self.weight() * (within_us - self.middle_us);
        match &mut self.slot {
            Some((last, mean, count)) if *last == slot => {
                *count = count.saturating_add(1);
                *mean += (value - *mean) / f64::from(*count);
            }
            open => {
                if let Some((last, mean, _)) = open.replace((slot, value, 1)) {
                    self.day.push(last, mean);
                    self.week.push(last, mean);
                }
            }
        }
    }

    /// The level, and where there are profiles theirs; where not, what is there.
    fn candidates(&self, at_us: i64) -> Option<[f64; WAYS]> {
        let level = self.level.median()?;
        // A slot that has begun is not in the profiles yet: they say what they said at its start.
        let day = self.day.usual_at(at_us, self.middle_us).unwrap_or(level);
        Some([level, day, self.week.usual_at(at_us, self.middle_us).unwrap_or(day)])
    }

    fn choose(&self, candidates: [f64; WAYS]) -> Expected {
        let (mut expected, mut least) =
            (Expected { value: candidates[0], by: 0 }, self.distances[0]);
        for (by, (value, distance)) in
            candidates.into_iter().zip(self.distances).enumerate().skip(1)
        {
            if distance < DISTANCE_LEFT_MAX * least {
                (expected, least) = (Expected { value, by }, distance);
            }
        }
        expected
    }

    fn weigh(&mut self, distances: [f64; WAYS]) {
        self.known = self.known.saturating_add(1);
        let weight = self.weight();
        let usual = self.distances[0];
        let is_bounded = self.known > DISTANCES_KNOWN && usual > 0.0;
        let most = if is_bounded { DISTANCE_MAX * usual } else { f64::INFINITY };
        for (mean, distance) in self.distances.iter_mut().zip(distances) {
            *mean += weight * (distance.min(most) - *mean);
        }
    }

    /// That of the newest sample in a mean.
    fn weight(&self) -> f64 {
        f64::max(1.0 / f64::from(self.known.max(1)), MEAN_WEIGHT)
    }
}

/// A value less what is expected; 0 where that is rounding.
pub(super) fn residual(value: f64, expected: f64) -> f64 {
    let residual = value - expected;
    if residual.abs() <= ROUNDING * value.abs().max(expected.abs()) { 0.0 } else { residual }
}

/// The usual of each slot of a season.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    keep: usize,
    /// For each slot the means that it had in the last seasons.
    slots: Vec<VecDeque<f64>>,
}

impl Profile {
    fn new(slots: i64, keep: usize) -> Self {
        Self { keep, slots: (0..slots).map(|_| VecDeque::new()).collect() }
    }

    fn push(&mut self, slot: i64, mean: f64) {
        let at = self.at(slot);
        let Some(means) = self.slots.get_mut(at) else { return };
        if means.len() >= self.keep {
            means.pop_front();
        }
        means.push_back(mean);
    }

    fn usual(&self, slot: i64) -> Option<f64> {
        let means = self.slots.get(self.at(slot))?;
        let mut few = [0.0; if DAYS > WEEKS { DAYS } else { WEEKS }];
        let few = few.get_mut(..means.len())?;
        few.iter_mut().zip(means).for_each(|(to, mean)| *to = *mean);
        if few.len() < SEASONS_MIN { None } else { median(few) }
    }

    /// The usual of an instant: that of its slot, drawn towards that of the nearer neighbour where it has one. A slot's is that of
    /// `middle_us` after its start.
    fn usual_at(&self, at_us: i64, middle_us: f64) -> Option<f64> {
        let slot = at_us.div_euclid(SLOT_US);
        let here = self.usual(slot)?;
        let slots = (at_us.rem_euclid(SLOT_US) as f64 - middle_us) / SLOT_US as f64;
        let beside = self.usual(if slots < 0.0 { slot - 1 } else { slot + 1 });
        let part = slots.abs();
        Some(beside.map_or(here, |beside| here * (1.0 - part) + beside * part))
    }

    fn at(&self, slot: i64) -> usize {
        slot.rem_euclid((self.slots.len() as i64).max(1)) as usize
    }
}

/// The last values, by time and by size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "VecDeque<f64>", into = "VecDeque<f64>")]
struct Last {
    by_time: VecDeque<f64>,
    /// The same ones, the smallest first.
    by_size: Vec<f64>,
}

impl Last {
    fn push(&mut self, value: f64) {
        while self.by_time.len() >= LEVEL_SAMPLES {
            let Some(oldest) = self.by_time.pop_front() else { break };
            let at = self.place(oldest);
            self.by_size.remove(at);
        }
        let at = self.place(value);
        self.by_size.insert(at, value);
        self.by_time.push_back(value);
    }

    /// Where the first value is that is not smaller.
    fn place(&self, value: f64) -> usize {
        self.by_size.partition_point(|other| other.total_cmp(&value).is_lt())
    }

    fn median(&self) -> Option<f64> {
        let count = self.by_size.len();
        (count >= LEVEL_SAMPLES_MIN)
            .then(|| self.by_size[(count - 1) / 2] / 2.0 + self.by_size[count / 2] / 2.0)
    }
}

impl From<VecDeque<f64>> for Last {
    fn from(by_time: VecDeque<f64>) -> Self {
        let mut by_size: Vec<f64> = by_time.iter().copied().collect();
        by_size.sort_unstable_by(f64::total_cmp);
        Self { by_time, by_size }
    }
}

impl From<Last> for VecDeque<f64> {
    fn from(last: Last) -> Self {
        last.by_time
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Noise;

    const HALF_HOUR: i64 = SLOT_US;
    const DAY: i64 = SLOTS_OF_DAY * SLOT_US;

    #[test]
    fn the_level_is_the_median_of_the_last_samples() {
        let mut noise = Noise::new(1);
        let (mut last, mut all) = (Last::default(), Vec::new());
        for at in 0..5000 {
            // With equal values, zeros of both signs among them.
            let value = (noise.normal() * 4.0).round() / 2.0;
            last.push(value);
            all.push(value);
            if at % 97 == 0 && all.len() >= LEVEL_SAMPLES_MIN {
                let mut kept = all[all.len().saturating_sub(LEVEL_SAMPLES)..].to_vec();
                assert_eq!(last.median(), median(&mut kept));
            }
        }
        assert_eq!((last.by_time.len(), last.by_size.len()), (2048, 2048));
        assert_eq!(Last::from(last.by_time.clone()), last);
        let mut few = Last::default();
        (0..7).for_each(|value| few.push(f64::from(value)));
        assert_eq!(few.median(), None);
        few.push(7.0);
        assert_eq!(few.median(), Some(3.5));
    }

    #[test]
    fn a_slot_has_the_median_of_the_means_that_it_had() {
        let mut day = Profile::new(SLOTS_OF_DAY, DAYS);
        for (at, mean) in [1.0, 5.0, 100.0].into_iter().enumerate() {
            day.push(3 + 48 * at as i64, mean);
        }
        assert_eq!(day.usual(3), None);
        day.push(3 - 48, 3.0);
        assert_eq!(day.usual(3 + 480), Some(4.0));
        assert_eq!(day.usual(4), None);
        (0..14).for_each(|at| day.push(3 + 48 * at, 7.0));
        assert_eq!((day.usual(3), day.slots[3].len()), (Some(7.0), 14));
    }

    #[test]
    fn a_slot_counts_with_the_mean_of_its_samples_once_it_is_over() {
        let mut baseline = Baseline::new();
        for day in 0..5 {
            for (minute, value) in [(0, 1.0), (10, 2.0), (20, 6.0), (30, 50.0)] {
                baseline.learn(day * DAY + minute * 60_000_000, value);
            }
        }
        assert_eq!(baseline.day.slots[0], [3.0; 5]);
        assert_eq!(baseline.day.slots[1], [50.0; 4]);
        assert_eq!(baseline.week.slots[48], [3.0]);
    }

    #[test]
    fn between_two_half_hours_a_day_is_drawn_straight() {
        let minute = 60_000_000;
        for step in [5, 30] {
            let mut baseline = Baseline::new();
            // A line up from midnight to the next, so that only the last half hour leads elsewhere.
            for at in (0..1440 * 5).step_by(step) {
                baseline.learn(at * minute, (at % 1440) as f64);
            }
            for at in (1440 * 5 + 30..1440 * 6 - 30).step_by(step) {
                let expected = baseline.day.usual_at(at * minute, baseline.middle_us).unwrap();
                assert!((expected - (at % 1440) as f64).abs() < 0.1, "{at}: {expected}");
            }
        }
        // Where the next half hour never had a sample, there is none to be drawn to.
        let mut hourly = Baseline::new();
        (0..24 * 5).for_each(|hour| hourly.learn(hour * 60 * minute, (hour % 24) as f64));
        assert_eq!(hourly.day.usual_at(3 * 60 * minute, hourly.middle_us), Some(3.0));
        assert_eq!(hourly.day.usual_at(210 * minute, hourly.middle_us), None);
    }

    #[test]
    fn a_day_is_expected_where_it_explains_and_the_level_where_not() {
        let (mut baseline, mut flat) = (Baseline::new(), Baseline::new());
        let mut noise = Noise::new(2);
        let shape = |at: i64| if at % 48 < 20 { 10.0 } else { 20.0 };
        for at in 0..48 * 20 {
            let noise = noise.normal();
            baseline.learn(at * HALF_HOUR, shape(at) + noise);
            flat.learn(at * HALF_HOUR, noise);
        }
        for at in [48 * 20, 48 * 20 + 30] {
            let expected = baseline.expected(at * HALF_HOUR).unwrap();
            assert!((expected.value - shape(at)).abs() < 1.0, "{expected:?}");
            let level = flat.level.median().map(|value| Expected { value, by: 0 });
            assert_eq!((expected.by, flat.expected(at * HALF_HOUR)), (1, level));
        }
    }

    #[test]
    fn a_week_is_expected_where_it_explains_more_than_a_day() {
        let mut baseline = Baseline::new();
        let mut noise = Noise::new(3);
        let shape = |at: i64| if at % 336 < 96 { 5.0 } else { 20.0 + f64::from((at % 48) as i32) };
        for at in 0..336 * 8 {
            baseline.learn(at * HALF_HOUR, shape(at) + noise.normal());
        }
        for at in [336 * 8 + 40, 336 * 8 + 300] {
            let expected = baseline.expected(at * HALF_HOUR).unwrap();
            assert!((expected.value - shape(at)).abs() < 1.5 && expected.by == 2, "{expected:?}");
        }
    }

    #[test]
    fn the_mean_distance_is_bounded_against_a_wild_value() {
        let mut baseline = Baseline::new();
        (0..200).for_each(|_| baseline.weigh([1.0, 0.5, 2.0]));
        assert_eq!((baseline.distances, baseline.known), ([1.0, 0.5, 2.0], 200));
        baseline.weigh([1e9; 3]);
        let expected = [1.0 + 5.0 / 201.0, 0.5 + 5.5 / 201.0, 2.0 + 4.0 / 201.0];
        baseline.distances.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
        assert_eq!(baseline.choose([1.0, 2.0, 3.0]).value, 2.0);
        // A profile must be clearly better.
        baseline.distances = [1.0, 0.86, 0.74];
        assert_eq!(baseline.choose([1.0, 2.0, 3.0]).value, 3.0);
        baseline.distances = [1.0, 0.86, 0.86];
        assert_eq!(baseline.choose([1.0, 2.0, 3.0]).value, 1.0);
        // A constant series has no distance to be bounded by.
        let mut constant = Baseline::new();
        (0..300).for_each(|_| constant.weigh([0.0; 3]));
        constant.weigh([1.0, 1.0, 1.0]);
        assert!(constant.distances[0] > 0.0);
    }

    #[test]
    fn rounding_is_no_residual() {
        assert_eq!(residual(0.3, 0.1 + 0.2), 0.0);
        assert_eq!(residual(1.0 + 2e-9, 1.0), (1.0 + 2e-9) - 1.0);
        assert_eq!((residual(0.0, 0.0), residual(-3.0, 1.0)), (0.0, -4.0));
    }
}
