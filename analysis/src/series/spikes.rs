//! Single values that are unlike all others: they say nothing about the values that follow.

use std::borrow::Cow;

use super::spread::{median, spread};

/// Neighbours, or values of the same phase, that a value is compared with.
const NEIGHBOURS: usize = 8;
/// A spike is this number of robust standard deviations from its neighbours.
const SIGMAS: f64 = 10.0;
/// It is also this number of times as far away as all but two in a hundred of the others.
const TIMES_USUAL: f64 = 6.0;
const USUAL_PART: f64 = 0.98;
/// Part of the values that can be spikes; of more, none is.
const PART_MAX: f64 = 0.01;
/// Values in a row that can be spikes. More are another level.
const RUN_MAX: usize = 2;
/// Part of the limit that the value before a spike at the end may be off.
const USUAL_BEFORE: f64 = 1.0 / 3.0;
/// Values without which no value is unlike the others.
const VALUES_MIN: usize = 16;

/// `values`, which are one interval apart and NaN where missing, with the usual value of its place for
/// each spike. `season` is 1 without a season. O(n).
pub fn without_spikes(values: &[f64], season: usize) -> Cow<'_, [f64]> {
    let found = spikes(values, season);
    if found.is_empty() {
        return Cow::Borrowed(values);
    }
    let mut usual = values.to_vec();
    found.into_iter().for_each(|(at, value)| usual[at] = value);
    Cow::Owned(usual)
}

/// The place of each spike, and the usual value there.
fn spikes(values: &[f64], season: usize) -> Vec<(usize, f64)> {
    let season = if values.len() >= 4 * season { season.max(1) } else { 1 };
    let usual: Vec<f64> = (0..values.len())
        .map(|at| median(&mut near(values, at, season)).unwrap_or(f64::NAN))
        .collect();
    let off: Vec<f64> = values.iter().zip(&usual).map(|(value, usual)| value - usual).collect();
    let known: Vec<f64> = off.iter().copied().filter(|off| off.is_finite()).collect();
    if known.len() < VALUES_MIN {
        return Vec::new();
    }
    let mut sizes: Vec<f64> = known.iter().map(|off| off.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let most = ((PART_MAX * known.len() as f64) as usize).max(1);
    // Without the values that could be spikes.
    let rest = &sizes[..sizes.len() - most];
    let largest_usual = rest[((USUAL_PART * rest.len() as f64) as usize).min(rest.len() - 1)];
    let limit = (SIGMAS * spread(&known).sigma).max(TIMES_USUAL * largest_usual);
    // Without any variation, each other value is infinitely far away.
    if limit <= 0.0 {
        return Vec::new();
    }
    let far: Vec<usize> = (0..off.len()).filter(|at| off[*at].abs() > limit).collect();
    let runs = far.chunk_by(|one, next| one + 1 == *next);
    // At the end, two values may be the begin of another level.
    let is_at_end = |run: &[usize]| run.last() == Some(&(off.len() - 1));
    let before_is_usual = |run: &[usize]| {
        run.len() == 1 && off.len() > 1 && off[off.len() - 2].abs() <= USUAL_BEFORE * limit
    };
    let is_spike =
        |run: &&[usize]| run.len() <= RUN_MAX && (!is_at_end(run) || before_is_usual(run));
    let spikes: Vec<usize> = runs.filter(is_spike).flatten().copied().collect();
    if spikes.len() > most {
        return Vec::new();
    }
    spikes.into_iter().map(|at| (at, usual[at])).collect()
}

/// The values nearest to a place, at the same phase of the season.
fn near(values: &[f64], at: usize, season: usize) -> Vec<f64> {
    let mut near = Vec::with_capacity(NEIGHBOURS);
    let known = |place: usize| values.get(place).copied().filter(|value| value.is_finite());
    for cycle in 1..=2 * NEIGHBOURS {
        let before = at.checked_sub(cycle * season).and_then(known);
        let after = known(at + cycle * season);
        near.extend(before.into_iter().chain(after));
        if near.len() >= NEIGHBOURS {
            break;
        }
    }
    near
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::Noise;

    fn spikes(values: &[f64], season: usize) -> Vec<usize> {
        let without = without_spikes(values, season);
        let differ = |at: &usize| without[*at].to_bits() != values[*at].to_bits();
        (0..values.len()).filter(differ).collect()
    }

    fn of(length: usize, value: impl Fn(usize, &mut Noise) -> f64) -> Vec<f64> {
        let mut noise = Noise::new(5);
        (0..length).map(|at| value(at, &mut noise)).collect()
    }

    #[test]
    fn single_values_far_from_all_others_are_spikes() {
        let day = |at: usize| 10.0 + 3.0 * (at as f64 / 24.0 * TAU).sin();
        let with = |spike: usize| {
            of(
                504,
                move |at, noise| if at == spike { 40.0 } else { day(at) + 0.01 * noise.normal() },
            )
        };
        for at in [0, 30, 474, 503] {
            assert_eq!(spikes(&with(at), 24), [at]);
            assert!((without_spikes(&with(at), 24)[at] - day(at)).abs() < 0.03);
        }
        let last = of(240, |at, noise| if at == 239 { 150.0 } else { 100.0 + noise.normal() });
        assert_eq!(spikes(&last, 1), [239]);
        // In a random walk, neighbours are near.
        let mut walk = 0.0;
        let mut values = of(300, |_, noise| noise.normal());
        values.iter_mut().for_each(|value| {
            walk += *value;
            *value = walk;
        });
        assert_eq!(spikes(&values, 1), [0; 0]);
        values[150] += 100.0;
        assert_eq!(spikes(&values, 1), [150]);
    }

    #[test]
    fn usual_variation_levels_and_rare_events_are_none() {
        let mut heavy = 0;
        for seed in 0..20 {
            let mut noise = Noise::new(seed);
            let normal: Vec<f64> = (0..400).map(|_| noise.normal()).collect();
            assert_eq!(spikes(&normal, 1), [0; 0]);
            let lognormal: Vec<f64> = (0..400).map(|_| noise.normal().exp()).collect();
            heavy += usize::from(!spikes(&lognormal, 1).is_empty());
            let rare: Vec<f64> =
                (0..400).map(|_| f64::from(u8::from(noise.uniform() < 0.05))).collect();
            assert_eq!(spikes(&rare, 1), [0; 0]);
            let step: Vec<f64> =
                (0..400).map(|at| if at < 396 { 0.0 } else { 50.0 } + noise.normal()).collect();
            assert_eq!(spikes(&step, 1), [0; 0]);
        }
        // The largest of 400 lognormal values is sometimes unlike all others.
        assert!(heavy <= 2, "{heavy} of 20");
        assert_eq!(spikes(&[100.0; 50], 1), [0; 0]);
        assert_eq!(spikes(&[], 1), [0; 0]);
        assert_eq!(spikes(&[f64::NAN; 50], 24), [0; 0]);
    }

    #[test]
    fn two_values_at_the_end_may_begin_another_level() {
        let ending = |last: [f64; 2]| {
            let mut values = of(100, |_, noise| 30.0 + noise.normal());
            values[98..].copy_from_slice(&last);
            spikes(&values, 1)
        };
        assert_eq!(ending([30.0, 0.0]), [99]);
        assert_eq!(ending([22.0, 0.0]), [0; 0]);
        assert_eq!(ending([0.0, 0.0]), [0; 0]);
    }
}
