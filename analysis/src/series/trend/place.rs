//! Where between two levels the change is, by the likelihood of an autoregression of order 1: what is new in a value is its distance
//! from its level less ρ times that of the value before. With ρ = 0 that is the cut with the least squares; with ρ near 1 it is the
//! largest step. O(n).

use std::ops::Range;

use super::Present;
use super::noise::Ar1;

/// What is new in one value counts for at most 4 standard deviations of it, squared, where a change is placed.
const SURPRISE_MAX: f64 = 16.0;
/// Twice the logarithm of the likelihood that a place may fall short of the best one: each side's best excess is exponential, so
/// (1 − e^(−x/2))² = 0.95.
const SHORTFALL: f64 = 7.352_052;

/// Where a change is, as indices of what is there.
pub(super) struct Place {
    pub best: usize,
    pub low: usize,
    pub high: usize,
}

/// The likeliest place of the change between two levels, within `start..end`. What is new in a value is its distance from its level
/// less ρ times that of the one before; moving the change by one changes two of these.
pub(super) fn place(
    present: &Present,
    within: Range<usize>,
    levels: (f64, f64),
    noise: Ar1,
) -> Place {
    let (start, end) = (within.start, within.end);
    let most = SURPRISE_MAX * noise.sigma * noise.sigma;
    // The distance from its level at `t` where the new level begins at `cut`.
    let from_level =
        |t: usize, cut: usize| present.values[t] - if t < cut { levels.0 } else { levels.1 };
    let surprise = |t: usize, cut: usize| {
        let own = from_level(t, cut);
        // Of neighbours with a gap between them the one says less about the other.
        let gap = if t > start { present.at[t] - present.at[t - 1] } else { 0 };
        if gap == 0 {
            return (own * own).min(most);
        }
        let rho = noise.rho.powi(gap.min(1_000) as i32);
        let rest = own - rho * from_level(t - 1, cut);
        (rest * rest / (1.0 - rho * rho)).min(most)
    };
    // Twice the logarithm of the likelihood, less a constant, negative.
    let mut shortfalls = Vec::with_capacity(end - start - 1);
    let mut sum = 0.0;
    for cut in start + 1..end {
        shortfalls.push(sum);
        let both = |t: usize| surprise(t, cut + 1) - surprise(t, cut);
        sum += both(cut) + if cut + 1 < end { both(cut + 1) } else { 0.0 };
    }
    let least = shortfalls.iter().copied().fold(f64::INFINITY, f64::min);
    let bound = least + SHORTFALL * noise.sigma * noise.sigma;
    let first = |at_most: f64| shortfalls.iter().position(|sum| *sum <= at_most);
    let last = shortfalls.iter().rposition(|sum| *sum <= bound);
    let at = |index: Option<usize>| start + 1 + index.unwrap_or(0);
    Place { best: at(first(least)), low: at(first(bound)), high: at(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_likeliest_and_its_range_falls_short_by_at_most_the_bound() {
        // Without autocorrelation a cut between 0 and 3 that is off by k costs 9 more for each value on the wrong side.
        let of = |values: &[f64], rho: f64| {
            let present = Present { at: (0..values.len()).collect(), values: values.to_vec() };
            let found = place(&present, 0..values.len(), (0.0, 3.0), Ar1 { sigma: 1.0, rho });
            (found.best, found.low, found.high)
        };
        assert_eq!(of(&[0.0, 0.0, 0.0, 3.0, 3.0, 3.0], 0.0), (3, 3, 3));
        // (3 − x)² − x² = 9 − 6x is at most 7.352 from x = 0.2747 on.
        assert_eq!(of(&[0.0, 0.0, 0.274, 3.0, 3.0, 3.0], 0.0), (3, 3, 3));
        assert_eq!(of(&[0.0, 0.0, 0.276, 3.0, 3.0, 3.0], 0.0), (3, 2, 3));
        assert_eq!(of(&[0.0, 0.0, 0.0, 2.726, 3.0, 3.0], 0.0), (3, 3, 3));
        assert_eq!(of(&[0.0, 0.0, 0.0, 2.724, 3.0, 3.0], 0.0), (3, 3, 4));
        // What neighbours repeat is no news: 0.9, 0.9, 0.9 goes on from below and jumps with the third.
        assert_eq!(of(&[0.0, 1.6, 1.6, 4.6, 4.6, 4.6], 0.0).0, 1);
        assert_eq!(of(&[0.0, 1.6, 1.6, 4.6, 4.6, 4.6], 0.9).0, 3);
        // One wild value counts for 16 at most.
        assert_eq!(of(&[0.0, 100.0, 0.0, 0.0, 0.0, 3.0, 3.0, 3.0], 0.0).0, 5);
    }
}
