//! Whether levels mean anything, whatever the distribution of the values.
//!
//! The search for change points assumes noise that is about normal. Counts, 0/1 values and heavy tails
//! make it find levels in independent values. So the search is repeated on what the levels leave of the
//! values, in random order: a level that is often beaten by the largest of a random order means nothing.
//! Blocks of neighbours keep their order, because neighbours may repeat each other. If no order beats a
//! level, its probability follows from a Gumbel distribution of the largest ones.
//!
//! The statistic is the difference of mean ranks of two neighbouring segments in standard errors.

use super::Present;
use super::change_points::{Options, penalty};
use super::noise::Ar1;
use super::outliers::drawn_in;
use super::segmentation::segment;
use crate::Noise;
use crate::series::median;
use crate::significance::two_sided;

/// Random orders.
const ORDERS: usize = 299;
/// Orders after which a level can be sure, and its probability then.
const ORDERS_MIN: usize = 49;
const SURE_P: f64 = 1e-6;
/// Orders that beat a level, at which no more are tried.
const BEATEN_MAX: usize = 12;
/// Blocks have this number of times the values over which neighbours repeat each other.
const BLOCK_LENGTHS: f64 = 3.0;
/// Autocorrelation that chance makes.
const RHO_MIN: f64 = 0.15;
/// A series has at least this number of blocks.
const BLOCKS_MIN: usize = 10;

/// For each change point at `cuts` of a series, the probability of one as clear if nothing changes.
/// `noise` is what the levels leave. O(n) for each of 299 random orders.
pub fn level_p(
    series: &[f64],
    cuts: &[usize],
    noise: Ar1,
    options: Options,
    seed: u64,
) -> Vec<f64> {
    let present = Present::of(series);
    let index = |position: &usize| present.at.partition_point(|at| at < position);
    let cuts: Vec<usize> = cuts.iter().map(index).collect();
    let (values, count) = (&present.values, present.len());
    let observed = differences(&ranks(values), &cuts);
    let left = without_levels(values, &cuts);
    let ranks = ranks(&left);
    let block = block_length(noise.rho, count);
    let penalty = penalty(count, noise.long_run_variance());
    let mut random = Noise::new(seed);
    let mut beaten = vec![0_usize; cuts.len()];
    let mut all_largest = Vec::with_capacity(ORDERS);
    while all_largest.len() < ORDERS {
        let largest = (all_largest.len() >= ORDERS_MIN).then(|| Gumbel::of(&all_largest));
        let is_open = |(beaten, z): (&usize, &f64)| match beaten {
            0 => largest.as_ref().is_none_or(|largest| largest.p_value(*z) >= SURE_P),
            beaten => *beaten < BEATEN_MAX,
        };
        if !beaten.iter().zip(&observed).any(is_open) {
            break;
        }
        let order = shuffled(count, block, &mut random);
        let permuted: Vec<f64> = order.iter().map(|at| left[*at]).collect();
        let (drawn, _) = drawn_in(&permuted, options.length_min);
        let found = segment(&drawn, penalty, options.length_min).cuts;
        let permuted: Vec<f64> = order.iter().map(|at| ranks[*at]).collect();
        let largest = differences(&permuted, &found).into_iter().fold(0.0, f64::max);
        for (beaten, observed) in beaten.iter_mut().zip(&observed) {
            *beaten += usize::from(largest >= *observed);
        }
        all_largest.push(largest);
    }
    let orders = all_largest.len();
    let largest = Gumbel::of(&all_largest);
    let independent = ((1.0 - noise.rho) / (1.0 + noise.rho)).clamp(0.0, 1.0).sqrt();
    let places = (count * count.saturating_sub(1) / 2) as f64;
    beaten
        .into_iter()
        .zip(observed)
        .map(|(beaten, z)| {
            let of_orders = (beaten + 1) as f64 / (orders + 1) as f64;
            // Ranks are about normal; of all pairs of places the best was taken.
            let of_ranks = (places * two_sided(z * independent)).min(1.0);
            match beaten {
                0 => of_orders.min(of_ranks).min(largest.p_value(z)),
                _ => of_orders,
            }
        })
        .collect()
}

/// Values less the median of their segment.
fn without_levels(values: &[f64], cuts: &[usize]) -> Vec<f64> {
    let ends = cuts.iter().copied().chain([values.len()]);
    let mut left = Vec::with_capacity(values.len());
    for end in ends {
        let segment = &values[left.len().min(end)..end];
        let level = median(&mut segment.to_vec()).unwrap_or_default();
        left.extend(segment.iter().map(|value| value - level));
    }
    left
}

/// The distribution of the largest of many values, by its moments.
struct Gumbel {
    place: f64,
    scale: f64,
}

/// The mean of the Gumbel distribution with place 0 and scale 1.
const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;

impl Gumbel {
    fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let scale = (6.0 * variance).sqrt() / std::f64::consts::PI;
        Self { place: mean - EULER_GAMMA * scale, scale }
    }

    /// Probability of a value at least as large; 1 if nothing is known of the distribution.
    fn p_value(&self, value: f64) -> f64 {
        if self.scale > 0.0 { -(-(-(value - self.place) / self.scale).exp()).exp_m1() } else { 1.0 }
    }
}

/// Neighbours that are kept together.
fn block_length(rho: f64, count: usize) -> usize {
    if rho < RHO_MIN {
        return 1;
    }
    let length = (BLOCK_LENGTHS * (1.0 + rho) / (1.0 - rho)).ceil();
    (length as usize).clamp(1, (count / BLOCKS_MIN).max(1))
}

/// The places of values in an order of random blocks.
fn shuffled(count: usize, block: usize, random: &mut Noise) -> Vec<usize> {
    let mut starts: Vec<usize> = (0..count).step_by(block).collect();
    random.shuffle(&mut starts);
    starts.into_iter().flat_map(|start| start..(start + block).min(count)).collect()
}

/// Ranks from 0 on; equal values have their mean rank.
pub(in crate::series) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for equal in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let rank = start as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|at| ranks[*at] = rank);
        start += equal.len();
    }
    ranks
}

/// For each cut the difference of mean ranks of its two segments, in standard errors.
fn differences(ranks: &[f64], cuts: &[usize]) -> Vec<f64> {
    let count = ranks.len() as f64;
    let mean = |ranks: &[f64]| ranks.iter().sum::<f64>() / ranks.len() as f64;
    let middle = mean(ranks);
    let variance = ranks.iter().map(|rank| (rank - middle).powi(2)).sum::<f64>() / count;
    let mut start = 0;
    let ends = cuts.iter().skip(1).copied().chain([ranks.len()]);
    cuts.iter()
        .zip(ends)
        .map(|(cut, end)| {
            let (before, after) = (&ranks[start..*cut], &ranks[*cut..end]);
            start = *cut;
            let inverse = 1.0 / before.len() as f64 + 1.0 / after.len() as f64;
            let z = (mean(after) - mean(before)).abs() / (variance * inverse).sqrt();
            if z.is_finite() { z } else { 0.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::change_points::change_points;
    use super::super::samples::{Tails, noise as sample};
    use super::*;

    /// The smallest p of the changes of a series, 1 without any.
    fn smallest_p(values: &[f64], seed: u64) -> f64 {
        let options = Options { length_min: 12 };
        let found = change_points(values, options);
        let cuts: Vec<usize> = found.found.iter().map(|change| change.at).collect();
        let p = level_p(values, &cuts, found.noise, options, seed);
        p.into_iter().fold(1.0, f64::min)
    }

    #[test]
    fn independent_values_of_any_shape_have_few_levels() {
        type Shape = (&'static str, fn(&mut Noise) -> f64);
        let shapes: [Shape; 6] = [
            ("0/1", |noise| f64::from(u8::from(noise.uniform() < 0.3))),
            ("rare", |noise| f64::from(u8::from(noise.uniform() < 0.03))),
            ("counts", |noise| (0..5).map(|_| f64::from(u8::from(noise.uniform() < 0.1))).sum()),
            ("zeros", |noise| if noise.uniform() < 0.7 { 0.0 } else { noise.normal().abs() }),
            ("lognormal", |noise| (1.5 * noise.normal()).exp()),
            ("heavy", |noise| noise.normal() / noise.uniform().max(1e-3)),
        ];
        for (name, shape) in shapes {
            let significant = |seed: &u64| {
                let mut noise = Noise::new(*seed);
                let values: Vec<f64> = (0..150).map(|_| shape(&mut noise)).collect();
                smallest_p(&values, *seed) <= 0.01
            };
            let count = (0..100).filter(significant).count();
            assert!(count <= 4, "{name}: {count} of 100");
        }
    }

    #[test]
    fn planted_levels_are_found_in_any_shape() {
        type Shape = (&'static str, fn(&mut Noise, bool) -> f64);
        let shapes: [Shape; 4] = [
            ("0/1", |noise, high| {
                f64::from(u8::from(noise.uniform() < if high { 0.8 } else { 0.3 }))
            }),
            ("normal", |noise, high| noise.normal() + if high { 2.0 } else { 0.0 }),
            ("lognormal", |noise, high| (noise.normal() + if high { 2.0 } else { 0.0 }).exp()),
            ("counts", |noise, high| {
                let part = if high { 0.4 } else { 0.1 };
                (0..5).map(|_| f64::from(u8::from(noise.uniform() < part))).sum()
            }),
        ];
        for (name, shape) in shapes {
            let found = |seed: &u64| {
                let mut noise = Noise::new(1_000 + seed);
                let values: Vec<f64> = (0..150).map(|at| shape(&mut noise, at >= 80)).collect();
                smallest_p(&values, *seed) <= 0.01
            };
            let count = (0..40).filter(found).count();
            assert!(count >= 34, "{name}: {count} of 40");
        }
    }

    #[test]
    fn a_short_level_among_many_values_that_repeat_each_other_is_sure() {
        for seed in 0..5 {
            let mut values = sample(7_500, 0.6, Tails::Normal, 90 + seed);
            values[4_000..4_094].iter_mut().for_each(|value| *value -= 6.0);
            let p = smallest_p(&values, seed);
            assert!(p < 1e-4, "{seed}: {p}");
        }
    }

    #[test]
    fn a_gumbel_distribution_has_its_own_moments() {
        // scipy 1.17.1: gumbel_r(2, 0.5).sf(4) = 0.018149
        let of_part = |at: usize| 2.0 - 0.5 * (-((at as f64 + 0.5) / 2_000.0).ln()).ln();
        let found = Gumbel::of(&(0..2_000).map(of_part).collect::<Vec<f64>>());
        assert!((found.place - 2.0).abs() < 0.01 && (found.scale - 0.5).abs() < 0.01);
        assert!((found.p_value(4.0) / 0.018_149 - 1.0).abs() < 0.05);
        assert_eq!(Gumbel::of(&[3.0; 4]).p_value(3.0), 1.0);
    }

    #[test]
    fn blocks_keep_neighbours_that_repeat_each_other() {
        assert_eq!([0.0, 0.1, 0.5, 0.9].map(|rho| block_length(rho, 1_000)), [1, 1, 9, 58]);
        assert_eq!(block_length(0.9, 100), 10);
        let mut places = shuffled(20, 6, &mut Noise::new(1));
        assert!(places.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count() >= 16);
        places.sort_unstable();
        assert_eq!(places, (0..20).collect::<Vec<_>>());
        let count = (0..60)
            .filter(|seed| {
                let values = sample(300, 0.6, Tails::Normal, 40 + seed);
                smallest_p(&values, *seed) <= 0.01
            })
            .count();
        assert!(count <= 4, "{count} of 60");
    }

    #[test]
    fn equal_values_have_their_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 1.0, 9.0, 1.0]), [3.0, 1.0, 1.0, 4.0, 1.0]);
        // Means 0.5 and 2.5, variance 1.25.
        let z = differences(&[0.0, 1.0, 2.0, 3.0], &[2])[0];
        assert!((z - 2.0 / 1.25_f64.sqrt()).abs() < 1e-12, "{z}");
        assert_eq!(differences(&[1.0; 4], &[2]), [0.0]);
    }
}
