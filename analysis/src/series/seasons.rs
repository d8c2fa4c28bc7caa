//! Which seasons a regular series has.
//!
//! A season holds if it predicts: each value is predicted by the mean of the other cycles at the same
//! phase. Seasons are tried from the shortest on, each on what the shorter ones leave, so that a week
//! counts beside a day only if weekdays differ.

use super::decompose::filled;
use super::spread::{median, spread};

/// Cycles without which a season cannot be checked.
const CYCLES_MIN: usize = 2;
/// Cycles below which the gain varies widely by chance.
const FEW_CYCLES: usize = 4;
/// Least gain of a season of the calendar, and with few cycles.
const GAIN_MIN: f64 = 0.05;
const GAIN_OF_FEW_MIN: f64 = 0.3;
/// Least gain of a season that only the data suggests.
const GAIN_OF_OTHERS_MIN: f64 = 0.3;
/// A longer season has at least this number of a shorter one.
const RATIO_MIN: f64 = 1.9;
/// Seasons of a series.
const SEASONS_MAX: usize = 3;
/// Values this number of robust standard deviations away count as that far.
const CLIPPED_AT: f64 = 4.0;

/// The seasons of `values`, which are one interval apart and NaN where missing, in values, rising.
/// `calendar` has the lengths that the calendar suggests, `others` those that the data suggests.
/// O(n) for each.
pub fn seasons(values: &[f64], calendar: &[usize], others: &[usize]) -> Vec<usize> {
    remove_seasons(&mut values.to_vec(), calendar, others)
}

/// The same, and removes the seasons from `values`.
pub fn remove_seasons(values: &mut [f64], calendar: &[usize], others: &[usize]) -> Vec<usize> {
    let of_calendar = calendar.iter().map(|season| (*season, true));
    let of_data = others.iter().filter(|season| !calendar.contains(season));
    let mut candidates: Vec<(usize, bool)> =
        of_calendar.chain(of_data.map(|season| (*season, false))).collect();
    candidates.sort_unstable();
    let Some(first) = values.iter().position(|value| value.is_finite()) else { return Vec::new() };
    let left = &mut values[first..];
    // Rare events coincide by chance.
    let least_of_rare = if is_mostly_equal(left) { GAIN_OF_OTHERS_MIN } else { 0.0 };
    let mut found: Vec<usize> = Vec::new();
    for (season, is_of_calendar) in candidates {
        let cycles = left.len() / season.max(1);
        let is_apart = found.iter().all(|shorter| season as f64 >= RATIO_MIN * *shorter as f64);
        if season < 2 || cycles < CYCLES_MIN || !is_apart || found.len() == SEASONS_MAX {
            continue;
        }
        let least = match (cycles < FEW_CYCLES, is_of_calendar) {
            (true, _) => GAIN_OF_FEW_MIN,
            (false, true) => GAIN_MIN,
            (false, false) => GAIN_OF_OTHERS_MIN,
        };
        let least = least_of_rare.max(least);
        let cycle = Cycle::of(left, season);
        if cycle.gain().is_some_and(|gain| gain >= least) {
            cycle.remove_from(left);
            found.push(season);
        }
    }
    found
}

/// Whether more than half of the finite values are equal.
pub fn is_mostly_equal(values: &[f64]) -> bool {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let usual = median(&mut known);
    let equal = known.iter().filter(|value| Some(**value) == usual).count();
    2 * equal > known.len()
}

/// A series around its level, by the phase of a season.
struct Cycle {
    season: usize,
    /// Without the level; NaN where missing. Far values are clipped.
    around: Vec<f64>,
    /// Sum and number of the values of each phase.
    phases: Vec<(f64, f64)>,
}

impl Cycle {
    fn of(values: &[f64], season: usize) -> Self {
        let level = level(&filled(values), season);
        let mut around: Vec<f64> =
            values.iter().zip(&level).map(|(value, level)| value - level).collect();
        let finite: Vec<f64> = around.iter().copied().filter(|value| value.is_finite()).collect();
        let limit = CLIPPED_AT * spread(&finite).sigma;
        if limit > 0.0 {
            around.iter_mut().for_each(|value| *value = value.clamp(-limit, limit));
        }
        // A mean that clipping has moved is no season.
        let known = || around.iter().copied().filter(|value| value.is_finite());
        let mean = known().sum::<f64>() / known().count().max(1) as f64;
        around.iter_mut().for_each(|value| *value -= mean);
        let mut phases = vec![(0.0, 0.0); season];
        for (at, value) in around.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let phase = &mut phases[at % season];
            *phase = (phase.0 + value, phase.1 + 1.0);
        }
        Self { season, around, phases }
    }

    /// The part of the variance that the other cycles predict, at most 1. Below 0 for noise.
    fn gain(&self) -> Option<f64> {
        let (mut left, mut whole, mut count) = (0.0, 0.0, 0_usize);
        for (at, value) in self.around.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let (sum, of_phase) = self.phases[at % self.season];
            if of_phase < 2.0 {
                continue;
            }
            let predicted = (sum - value) / (of_phase - 1.0);
            left += (value - predicted).powi(2);
            whole += value.powi(2);
            count += 1;
        }
        (whole > 0.0 && count >= CYCLES_MIN * self.season).then(|| 1.0 - left / whole)
    }

    /// Removes the median of each phase.
    fn remove_from(&self, values: &mut [f64]) {
        for phase in 0..self.season {
            let of_phase = self.around.iter().skip(phase).step_by(self.season);
            let mut known: Vec<f64> = of_phase.copied().filter(|value| value.is_finite()).collect();
            let Some(usual) = median(&mut known) else { continue };
            values.iter_mut().skip(phase).step_by(self.season).for_each(|value| *value -= usual);
        }
    }
}

/// The mean of one season around each value. Before the first and after the last whole season it
/// continues along a line.
fn level(values: &[f64], season: usize) -> Vec<f64> {
    let (length, half) = (values.len(), season / 2);
    let mut sums = vec![0.0; length + 1];
    for (at, value) in values.iter().enumerate() {
        sums[at + 1] = sums[at] + value;
    }
    // Of an even season the first and the last value count half.
    let mean = |at: usize| {
        let (from, to) = (at - half, at + half + 1);
        let sum = sums[to] - sums[from];
        match season.is_multiple_of(2) {
            true => (sum - (values[from] + values[to - 1]) / 2.0) / season as f64,
            false => sum / season as f64,
        }
    };
    let (first, last) = (half, length.saturating_sub(half + 1));
    if first >= last {
        let mean = sums[length] / length.max(1) as f64;
        return vec![mean; length];
    }
    let known: Vec<f64> = (first..=last).map(mean).collect();
    // The slope of about one season at each end.
    let steps = season.min(known.len() - 1) as f64;
    let slope_at_begin = (known[steps as usize] - known[0]) / steps;
    let slope_at_end = (known[known.len() - 1] - known[known.len() - 1 - steps as usize]) / steps;
    (0..length)
        .map(|at| match at {
            at if at < first => known[0] - slope_at_begin * (first - at) as f64,
            at if at > last => known[known.len() - 1] + slope_at_end * (at - last) as f64,
            at => known[at - first],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout)]
    use std::f64::consts::TAU;

    use super::*;
    use crate::Noise;
    use crate::testing::{number_from, seed};

    /// A name, and the value at a place.
    type Shape<'a> = (&'static str, &'a dyn Fn(usize, &mut Noise) -> f64);

    fn wave(at: usize, period: usize) -> f64 {
        (at as f64 / period as f64 * TAU).sin()
    }

    fn weekend(at: usize) -> f64 {
        if at / 24 % 7 < 5 { 1.0 } else { 0.0 }
    }

    /// Of 100 series, how often each set of seasons was found.
    fn found(
        length: usize,
        calendar: &[usize],
        others: &[usize],
        value: impl Fn(usize, &mut Noise) -> f64,
    ) -> Vec<(Vec<usize>, usize)> {
        let mut counts: Vec<(Vec<usize>, usize)> = Vec::new();
        for seed in 0..100 {
            let mut noise = Noise::new(seed);
            let values: Vec<f64> = (0..length).map(|at| value(at, &mut noise)).collect();
            let found = seasons(&values, calendar, others);
            match counts.iter_mut().find(|(of, _)| *of == found) {
                Some((_, count)) => *count += 1,
                None => counts.push((found, 1)),
            }
        }
        counts.sort();
        counts
    }

    fn often(of: &[(Vec<usize>, usize)], wanted: &[usize]) -> usize {
        of.iter().find(|(found, _)| found == wanted).map_or(0, |(_, count)| *count)
    }

    #[test]
    fn a_day_and_a_week_are_found_where_weekdays_differ() {
        let hours = [24, 168];
        let both = |at: usize, noise: &mut Noise| {
            100.0 + 40.0 * wave(at, 24) + 70.0 * weekend(at) + 10.0 * noise.normal()
        };
        // Nine weeks, and two and a half.
        assert_eq!(often(&found(9 * 168, &hours, &[], both), &[24, 168]), 100);
        assert_eq!(often(&found(420, &hours, &[], both), &[24, 168]), 100);
        let day = |at: usize, noise: &mut Noise| 40.0 * wave(at, 24) + 10.0 * noise.normal();
        assert!(often(&found(9 * 168, &hours, &[], day), &[24]) >= 99);
        let week = |at: usize, noise: &mut Noise| 20.0 * weekend(at) + 10.0 * noise.normal();
        let of_week = found(9 * 168, &hours, &[], week);
        assert!(often(&of_week, &[168]) >= 95, "{of_week:?}");
    }

    #[test]
    fn short_series_have_the_seasons_of_the_calendar() {
        let trending = |season: usize| {
            move |at: usize, noise: &mut Noise| {
                100.0 + at as f64 + 10.0 * wave(at, season) + 2.0 * noise.normal()
            }
        };
        assert!(often(&found(12, &[4], &[], trending(4)), &[4]) >= 95);
        assert!(often(&found(30, &[12], &[], trending(12)), &[12]) >= 95);
        assert_eq!(often(&found(120, &[12], &[], trending(12)), &[12]), 100);
        // Less than two cycles show nothing.
        assert_eq!(often(&found(7, &[4], &[], trending(4)), &[]), 100);
    }

    #[test]
    fn noise_steps_and_lines_have_none() {
        let lengths = [(60, vec![7]), (150, vec![12]), (1_500, vec![24, 168])];
        for (length, calendar) in lengths {
            let step = |at: usize, noise: &mut Noise| {
                if at < length / 2 { noise.normal() } else { 20.0 + noise.normal() }
            };
            let rare = |_: usize, noise: &mut Noise| if noise.uniform() < 0.05 { 1.0 } else { 0.0 };
            let shapes: [Shape<'_>; 5] = [
                ("noise", &|_, noise| noise.normal()),
                ("line", &|at, noise| at as f64 + noise.normal()),
                ("step", &step),
                ("constant", &|_, _| 4.0),
                ("rare", &rare),
            ];
            for (name, value) in shapes {
                let found = found(length, &calendar, &[5], value);
                assert!(often(&found, &[]) >= 95, "{name} of {length}: {found:?}");
            }
        }
    }

    #[test]
    fn a_spike_neither_makes_nor_hides_a_season() {
        let spiked = |at: usize, noise: &mut Noise| {
            let spike = if at == 474 { 400.0 } else { 0.0 };
            10.0 + 3.0 * wave(at, 24) + 0.1 * noise.normal() + spike
        };
        assert_eq!(often(&found(504, &[24, 168], &[], spiked), &[24]), 100);
        let flat = |at: usize, noise: &mut Noise| if at == 50 { 400.0 } else { noise.normal() };
        assert!(often(&found(504, &[24, 168], &[], flat), &[]) >= 99);
    }

    #[test]
    fn a_season_that_only_the_data_suggests_must_be_clear() {
        let of = |amplitude: f64| {
            move |at: usize, noise: &mut Noise| amplitude * wave(at, 30) + noise.normal()
        };
        assert!(often(&found(600, &[7], &[30], of(2.0)), &[30]) >= 99);
        assert!(often(&found(600, &[7], &[30], of(0.3)), &[]) >= 90);
    }

    #[test]
    fn missing_values_are_left_out() {
        let gappy = |at: usize, noise: &mut Noise| {
            if at > 0 && noise.uniform() < 0.3 { f64::NAN } else { 5.0 * wave(at, 7) }
        };
        assert!(often(&found(70, &[7], &[], gappy), &[7]) >= 95);
        assert_eq!(seasons(&[f64::NAN; 30], &[7], &[]), [0; 0]);
        assert_eq!(seasons(&[], &[7], &[]), [0; 0]);
    }

    /// `COLONNADE_SERIES` and `COLONNADE_TEST_SEED` choose how many series, and which.
    #[test]
    fn planted_pairs_of_seasons_are_found() {
        let (count, seed) = (number_from("COLONNADE_SERIES", 40), seed());
        println!("{count} series, COLONNADE_TEST_SEED={seed}");
        let mut noise = Noise::new(seed);
        let mut right = 0;
        for _ in 0..count {
            let pairs = [(24, 168, 1_344), (7, 365, 1_500), (12, 60, 480), (48, 336, 2_016)];
            let (short, long, length) = pairs[(noise.uniform() * 4.0) as usize];
            let profile = |season: usize, noise: &mut Noise| -> Vec<f64> {
                (0..season).map(|_| noise.normal()).collect()
            };
            let (first, second) = (profile(short, &mut noise), profile(long, &mut noise));
            let slope = 0.01 * noise.normal();
            let values: Vec<f64> = (0..length)
                .map(|at| {
                    let seasons = first[at % short] + second[at % long];
                    seasons + slope * at as f64 + 0.7 * noise.normal()
                })
                .collect();
            right += u64::from(seasons(&values, &[short, long], &[]) == [short, long]);
        }
        assert!(right as f64 >= 0.95 * count as f64, "{right} of {count}");
    }
}
