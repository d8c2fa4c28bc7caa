//! How rare a distance is among its own past, as −log₁₀ of a probability, so that one number means the same for every detector and
//! every series. Past distances are counted in bins of an eighth of an octave, whatever their unit. Up to the largest hundredth the
//! probability is the part of the past that is as far; beyond it, where the past says little, the tail is taken for a Pareto
//! distribution whose exponent is Hill's estimate ("A simple general approach to inference about the tail of a distribution", 1975),
//! drawn to a usual one where few distances speak.

use serde::{Deserialize, Serialize};

/// Bins in an octave.
const BINS_PER_OCTAVE: f64 = 8.0;
/// Past distances that count at most: when there are more, all weigh half.
const MEMORY: f64 = 6000.0;
/// Bins that weigh less are forgotten.
const WEIGHT_MIN: f64 = 1.0 / 64.0;
/// Distances that must be known before any is rare.
const KNOWN_MIN: f64 = 32.0;
/// The part of the past that the tail is estimated from, and the least weight of it.
const TAIL_PART: f64 = 0.01;
const TAIL_WEIGHT_MIN: f64 = 10.0;
/// What the mean log excess is where nothing is known, and how many distances that counts for, where no other number is given.
const USUAL_EXCESS: f64 = 0.3;
const USUAL_EXCESS_WEIGHT: f64 = 5.0;
/// The least mean log excess.
const EXCESS_MIN: f64 = 0.02;
/// Distances between two estimates of the tail.
const REFIT_EVERY: u8 = 16;

/// The past of one detector's distances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Severity {
    /// Bins that hold something, with their weight, in order.
    bins: Vec<(i32, f64)>,
    /// The weight of all, those of distance 0 included.
    weight: f64,
    /// The bin that the tail starts with, the weight of the tail, and its mean log excess.
    tail: Option<(i32, f64, f64)>,
    until_refit: u8,
    usual_weight: f64,
}

impl Default for Severity {
    fn default() -> Self {
        let (bins, weight, tail, until_refit) = Default::default();
        Self { bins, weight, tail, until_refit, usual_weight: USUAL_EXCESS_WEIGHT }
    }
}

impl Severity {
    /// Of distances of which so many in a row are of the same samples but for one: as many say no more than one does.
    pub(super) fn of_overlapping(samples: usize) -> Self {
        Self { usual_weight: USUAL_EXCESS_WEIGHT * samples as f64, ..Self::default() }
    }

    /// How many distances are remembered; half of them once they are too many.
    pub(super) fn weight(&self) -> f64 {
        self.weight
    }

    /// How rare `distance` is. Distances are 0 or more and finite.
    pub(super) fn of(&self, distance: f64) -> f64 {
        if self.weight < KNOWN_MIN || distance <= 0.0 {
            return 0.0;
        }
        if let Some((bin, weight, excess)) = self.tail {
            let octaves = distance.log2() - middle(bin);
            if octaves > 0.0 {
                return octaves * std::f64::consts::LOG10_2 / excess
                    - (weight / self.weight).log10();
            }
        }
        let bin = bin(distance);
        let far: f64 = self.bins.iter().rev().take_while(|b| b.0 >= bin).map(|b| b.1).sum();
        -((far + 0.5) / (self.weight + 1.0)).log10()
    }

    pub(super) fn remember(&mut self, distance: f64) {
        if distance > 0.0 {
            let bin = bin(distance);
            match self.bins.binary_search_by_key(&bin, |b| b.0) {
                Ok(at) => self.bins[at].1 += 1.0,
                Err(at) => self.bins.insert(at, (bin, 1.0)),
            }
        }
        self.weight += 1.0;
        if self.weight > MEMORY {
            self.weight *= 0.5;
            self.bins.iter_mut().for_each(|b| b.1 *= 0.5);
            self.bins.retain(|b| b.1 >= WEIGHT_MIN);
        }
        match self.until_refit.checked_sub(1) {
            Some(left) => self.until_refit = left,
            None => {
                self.until_refit = REFIT_EVERY - 1;
                self.refit();
            }
        }
    }

    fn refit(&mut self) {
        let wanted = (self.weight * TAIL_PART).max(TAIL_WEIGHT_MIN);
        let (mut weight, mut first) = (0.0, None);
        for (bin, more) in self.bins.iter().rev() {
            if weight >= wanted {
                break;
            }
            weight += more;
            first = Some(*bin);
        }
        self.tail = first.map(|first| {
            let octaves = |b: &(i32, f64)| b.1 * f64::from(b.0 - first) / BINS_PER_OCTAVE;
            let far = self.bins.iter().rev().take_while(|b| b.0 >= first);
            let excess = far.map(octaves).sum::<f64>() * std::f64::consts::LN_2;
            let usual = USUAL_EXCESS * self.usual_weight;
            let mean = (excess + usual) / (weight + self.usual_weight);
            (first, weight, mean.max(EXCESS_MIN))
        });
    }
}

fn bin(distance: f64) -> i32 {
    (distance.log2() * BINS_PER_OCTAVE).floor() as i32
}

/// The binary logarithm of the middle of a bin.
fn middle(bin: i32) -> f64 {
    (f64::from(bin) + 0.5) / BINS_PER_OCTAVE
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Noise;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn within_the_past_it_is_the_part_that_is_as_far() {
        let mut past = Severity::default();
        // 1, 2, 4, ... 512, each a hundred times: every octave has a tenth.
        (0..1000).for_each(|at| past.remember(f64::from(1 << (at % 10))));
        near(past.of(2.0), -(900.5_f64 / 1001.0).log10());
        near(past.of(300.0), -(100.5_f64 / 1001.0).log10());
        near(past.of(0.5), -(1000.5_f64 / 1001.0).log10());
        assert_eq!(past.of(0.0), 0.0);
    }

    #[test]
    fn beyond_the_tail_it_grows_with_the_logarithm_of_the_distance() {
        let mut past = Severity::default();
        (0..1008).for_each(|at| past.remember(f64::from(1 << (at % 10))));
        // The tail is the bin of 512 alone, as of the last estimate, and no excess but the usual one.
        assert_eq!(past.tail, Some((72, 99.0, 0.02)));
        let at_twice = past.of(1024.0);
        near(at_twice, (1.0 - 0.5 / 8.0) * 2_f64.log10() / 0.02 - (99.0_f64 / 1008.0).log10());
        near(past.of(2048.0) - at_twice, 2_f64.log10() / 0.02);
    }

    #[test]
    fn hills_estimate_finds_the_exponent_of_a_pareto_tail() {
        // P(X > x) = x^-2: the mean log excess is 1/2, and one in a million is at 1000.
        let mut means = [0.0; 2];
        for seed in 0..50 {
            let mut noise = Noise::new(seed);
            let mut past = Severity::default();
            (0..5904).for_each(|_| past.remember((1.0 - noise.uniform()).powf(-0.5)));
            let (_, weight, excess) = past.tail.unwrap();
            assert!((59.0..80.0).contains(&weight), "{weight}");
            means[0] += excess / 50.0;
            means[1] += past.of(1000.0) / 50.0;
        }
        // Less by the usual excess that counts with it, and by half a bin.
        assert!((means[0] - 0.444).abs() < 0.01 && (means[1] - 6.54).abs() < 0.1, "{means:?}");
    }

    #[test]
    fn overlapping_distances_say_less_of_the_tail() {
        let mut pasts = [Severity::default(), Severity::of_overlapping(24)];
        let mut noise = Noise::new(6);
        for _ in 0..2000 {
            let distance = (1.0 - noise.uniform()).powf(-0.1);
            pasts.iter_mut().for_each(|past| past.remember(distance));
        }
        let [(_, weight, excess), (_, _, more)] = pasts.map(|past| past.tail.unwrap());
        let mean = |mean: f64, usual: f64| (mean * weight + 0.3 * usual) / (weight + usual);
        let own = (excess * (weight + 5.0) - 1.5) / weight;
        near(more, mean(own, 120.0));
        assert!(more > 2.0 * excess, "{excess} {more}");
    }

    #[test]
    fn what_was_never_there_is_as_rare_as_the_past_is_long() {
        let mut past = Severity::default();
        (0..999).for_each(|_| past.remember(0.0));
        near(past.of(1e-30), 2000_f64.log10());
        near(past.of(1e30), 2000_f64.log10());
        // Few samples say nothing.
        let mut short = Severity::default();
        (0..31).for_each(|_| short.remember(1.0));
        assert_eq!(short.of(1e9), 0.0);
        short.remember(1.0);
        assert!(short.of(1e9) > 1.0);
    }

    #[test]
    fn units_do_not_matter() {
        let mut noise = Noise::new(4);
        let mut pasts = [Severity::default(), Severity::default()];
        for _ in 0..2000 {
            let distance = noise.normal().abs();
            let [large, small] = [500, -500].map(|exponent| distance * 2_f64.powi(exponent));
            near(pasts[1].of(small), pasts[0].of(large));
            pasts[0].remember(large);
            pasts[1].remember(small);
        }
    }

    #[test]
    fn the_past_is_bounded_and_forgets() {
        let mut noise = Noise::new(5);
        let mut past = Severity::default();
        for _ in 0..20_000 {
            past.remember((noise.normal() * 300.0).exp2());
            assert!(past.weight <= MEMORY);
        }
        assert!(past.bins.len() <= 9_000, "{}", past.bins.len());
        past = Severity::default();
        past.remember(1e9);
        (0..50_000).for_each(|_| past.remember(1.0));
        assert_eq!(past.bins.len(), 1);
        assert!((3000.0..=6000.0).contains(&past.weight));
    }
}
