//! Where a pair changes most: the split whose two sides have the most different coefficients.
//!
//! ```text
//!   D(s) = |atanh r(..s) − atanh r(s..)| / √(d/(e₁ − 3) + d/(e₂ − 3))          e the effective samples of a side
//! ```
//!
//! Where nothing changes, the largest D over all splits that leave a part h on either side is that of a Brownian bridge over its
//! standard deviation (D. Wied, W. Krämer & H. Dehling, "Testing for a change in correlation at an unspecified point in time using
//! an extended functional delta method", 2012; D. W. K. Andrews, "Tests for parameter instability and structural change with
//! unknown change point", 1993), whose tail is
//!
//! ```text
//!   P(max D ≥ x) ≈ x·exp(−x²/2)/√(2π) · (ln((1−h)²/h²)·(1 − 1/x²) + 4/x²)
//! ```
//!
//! (D. M. DeLong, "Crossing probabilities for a square root boundary by a Bessel process", 1981; M. Csörgő & L. Horváth, "Limit
//! Theorems in Change-Point Analysis", 1997). The range of the place is that of B. E. Hansen ("Sample splitting and threshold
//! estimation", 2000): splits whose D² is within 7.35 of the largest. O(n).

use std::f64::consts::TAU;

use super::samples::Shared;
use super::{Coefficient, SAMPLES_MIN, fisher};

/// Part of the samples on either side, at least.
pub const SIDE_MIN: f64 = 0.15;
/// Effective samples on either side, at least.
pub const EFFECTIVE_MIN: f64 = 8.0;
/// How far D² may be below the largest at the true place, in 95 of 100: −2 ln(1 − √0.95).
const RANGE: f64 = 7.352_276_694_155_739;
/// Part of its share of the variance that a row must have on a side: what is less may be the rest of a difference.
const VARIANCE_MIN: f64 = 1e-10;

/// The split with the most different sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Position of the first sample after it.
    pub at: usize,
    /// First position that it may be, with 95 % confidence.
    pub low: usize,
    /// Last position.
    pub high: usize,
    /// The pair before it.
    pub before: Coefficient,
    /// The pair from `at` on.
    pub after: Coefficient,
    /// The largest D.
    pub difference: f64,
    /// Probability of such a difference at the best of all splits where nothing changes.
    pub p: f64,
}

/// What a change makes of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Both sides are significant, with different signs.
    Reverses,
    /// Only what was before is significant.
    Ends,
    /// Only what comes after is significant.
    Begins,
    /// Nearer to zero afterwards.
    Weakens,
    /// Farther from zero afterwards.
    Strengthens,
}

impl Split {
    /// What changes, with `p_max` the greatest p of what counts as significant.
    pub fn turn(&self, p_max: f64) -> Turn {
        let (before, after) = (&self.before, &self.after);
        match (before.p <= p_max, after.p <= p_max) {
            (true, true) if before.r * after.r < 0.0 => Turn::Reverses,
            (true, false) => Turn::Ends,
            (false, true) => Turn::Begins,
            _ if after.r.abs() < before.r.abs() => Turn::Weakens,
            _ => Turn::Strengthens,
        }
    }
}

/// The split of two rows of `shared`. `None` with too few samples for two sides, and where a row is constant on one side of each.
pub(super) fn split(shared: &Shared, effective: f64, dispersion: f64) -> Option<Split> {
    let n = shared.len();
    let worth = effective / n as f64;
    let side = (SIDE_MIN * n as f64).max(SAMPLES_MIN as f64).max(EFFECTIVE_MIN / worth).ceil();
    let side = side as usize;
    if n < 2 * side {
        return None;
    }
    let sums = Sums::of(shared);
    let of_side = |from: usize, to: usize| {
        let samples = to - from;
        let r = sums.r(from, to)?;
        Some(Coefficient::of(r, samples, worth * samples as f64, 0, dispersion))
    };
    let variance = |side: &Coefficient| dispersion / (side.effective - 3.0);
    let differences: Vec<(usize, f64)> = (side..=n - side)
        .filter_map(|at| {
            let (before, after) = (of_side(0, at)?, of_side(at, n)?);
            let error = (variance(&before) + variance(&after)).sqrt();
            Some((at, (fisher(before.r) - fisher(after.r)).abs() / error))
        })
        .collect();
    let &(best, difference) = differences.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let near = |(_, other): &&(usize, f64)| difference * difference - other * other <= RANGE;
    let (low, high) = (differences.iter().find(near)?.0, differences.iter().rfind(near)?.0);
    Some(Split {
        at: shared.at[best],
        low: shared.at[low],
        high: shared.at[high],
        before: of_side(0, best)?,
        after: of_side(best, n)?,
        difference,
        p: largest_of_splits(difference, side as f64 / n as f64),
    })
}

/// Probability that the largest D is at least `x`, with a part of at least `side` on either side.
pub fn largest_of_splits(x: f64, side: f64) -> f64 {
    if x.is_nan() || x <= 0.0 || side.is_nan() || side <= 0.0 {
        return 1.0;
    }
    let square = x * x;
    let density = x * (-square / 2.0).exp() / TAU.sqrt();
    // Splits in the middle alone are one split, the bound of which is the second term.
    let side = side.min(0.5);
    let width = 2.0 * ((1.0 - side) / side).ln();
    let p = density * (width * (1.0 - 1.0 / square) + 4.0 / square);
    if p.is_nan() { 0.0 } else { p.clamp(0.0, 1.0) }
}

/// Sums of two rows up to each sample.
struct Sums(Vec<[f64; 5]>);

impl Sums {
    fn of(shared: &Shared) -> Self {
        let mut sum = [0.0; 5];
        let mut sums = vec![sum];
        sums.extend(shared.rows[0].iter().zip(&shared.rows[1]).map(|(a, b)| {
            let of = [*a, *b, a * a, b * b, a * b];
            sum.iter_mut().zip(of).for_each(|(sum, of)| *sum += of);
            sum
        }));
        Self(sums)
    }

    /// The coefficient of the samples from one up to another; `None` where either row is constant.
    fn r(&self, from: usize, to: usize) -> Option<f64> {
        let [a, b, aa, bb, ab]: [f64; 5] =
            std::array::from_fn(|of| self.0[to][of] - self.0[from][of]);
        let n = (to - from) as f64;
        let (of_a, of_b) = (aa - a * a / n, bb - b * b / n);
        let least = VARIANCE_MIN * n / (self.0.len() - 1) as f64;
        (of_a > least && of_b > least)
            .then(|| ((ab - a * b / n) / (of_a * of_b).sqrt()).clamp(-1.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::made::{assert_near, plus, scrambled};
    use super::*;

    /// Two rows that move together up to sample 72 of 120.
    fn ending() -> [Vec<f64>; 2] {
        let x = scrambled(0, 120);
        let mut y = plus(&x, 0.5, &scrambled(1, 120));
        y[72..].copy_from_slice(&scrambled(1, 120)[72..]);
        [x, y]
    }

    /// With what is known of all samples.
    fn split_of(x: &[f64], y: &[f64]) -> Option<Split> {
        let shared = Shared::of(&[x, y], SAMPLES_MIN).unwrap();
        let whole = shared.coefficient(0, &shared.rows[0], &shared.rows[1]);
        let dispersion =
            super::super::samples::dispersion(&shared.rows[0], &shared.rows[1], whole.r);
        split(&shared, whole.effective, dispersion)
    }

    #[test]
    fn the_split_is_the_best_of_all_that_numpy_tries() {
        let [x, y] = ending();
        let found = split_of(&x, &y).unwrap();
        // numpy: corrcoef of both sides of each split from 18 to 102, 99.457 effective samples, d = 1.3341.
        assert_eq!((found.low, found.at, found.high), (65, 77, 78));
        assert_near(found.difference, 5.396109318513131);
        assert_near(found.before.r, 0.883559721427275);
        assert_near(found.after.r, 0.0393898924243594);
        assert_near(found.p, 3.56947235700543e-06);
        assert_eq!((found.before.samples, found.after.samples), (77, 43));
        assert_near(found.before.effective, 99.45727045330965 * 77.0 / 120.0);
        assert_eq!(found.turn(0.01), Turn::Ends);
    }

    #[test]
    fn positions_are_those_of_the_row() {
        let [x, y] = ending();
        let found = split_of(&x, &y).unwrap();
        // A missing sample after each.
        let spread = |row: &[f64]| row.iter().flat_map(|x| [*x, f64::NAN]).collect::<Vec<_>>();
        let shared = Shared::of(&[&spread(&x), &spread(&y)], SAMPLES_MIN).unwrap();
        let apart = split(&shared, 99.45727045330965, 1.3340741500866058).unwrap();
        assert_eq!((apart.low, apart.at, apart.high), (130, 154, 156));
        assert_near(apart.difference, found.difference);
    }

    #[test]
    fn the_tail_is_that_of_tables_and_simulation() {
        // D. W. K. Andrews, "Tests for parameter instability … a corrigendum" (2003), one parameter, π₀ = 0.15 and 0.05: squares.
        for (square, side, level) in
            [(12.16, 0.15, 0.01), (8.68, 0.15, 0.05), (7.12, 0.15, 0.1), (9.84, 0.05, 0.05)]
        {
            let p = largest_of_splits(f64::sqrt(square), side);
            assert!(p > level && p < 1.13 * level, "{square}: {p}");
        }
        // The formula, and numpy: 20,000 bridges of 2,000 steps, 0.0439.
        assert_near(largest_of_splits(3.0, 0.15), 0.04690907219014545);
        for x in [0.0, -1.0, f64::NAN, 0.3] {
            assert_eq!(largest_of_splits(x, 0.15), 1.0);
        }
        assert_eq!(largest_of_splits(f64::INFINITY, 0.15), 0.0);
        assert_eq!(largest_of_splits(40.0, 0.15), 0.0);
        assert_eq!((largest_of_splits(3.0, 0.0), largest_of_splits(3.0, f64::NAN)), (1.0, 1.0));
        // In the middle alone.
        assert_near(largest_of_splits(3.0, 0.5), 3.0 * f64::exp(-4.5) / TAU.sqrt() * 4.0 / 9.0);
    }

    #[test]
    fn a_side_has_samples_enough_and_both_rows_vary_on_it() {
        let [x, y] = ending();
        assert_eq!(split_of(&x[..15], &y[..15]), None);
        let shared = |samples: usize| Shared::of(&[&x[..samples], &y[..samples]], 8).unwrap();
        let side = |samples, effective| split(&shared(samples), effective, 1.0).map(|of| of.at);
        assert_eq!(side(16, 16.0), Some(8));
        assert_eq!((side(100, 16.0), side(100, 15.9)), (Some(50), None));
        // A row that is constant in one part has no coefficient there, and the splits at its end are left out.
        let mut flat = x.clone();
        flat[..40].fill(0.5);
        let found = split_of(&flat, &y).unwrap();
        assert!(found.low > 40, "{found:?}");
        flat[..110].fill(0.5);
        assert_eq!(split_of(&flat, &y), None);
    }

    #[test]
    fn a_turn_has_a_name() {
        let side = |r, p| Coefficient { r, samples: 50, effective: 50.0, p, low: r, high: r };
        let turn = |before, after| {
            let split =
                Split { at: 50, low: 40, high: 60, before, after, difference: 4.0, p: 0.001 };
            split.turn(0.01)
        };
        assert_eq!(turn(side(0.8, 1e-9), side(-0.8, 1e-9)), Turn::Reverses);
        assert_eq!(turn(side(0.8, 1e-9), side(0.4, 0.01)), Turn::Weakens);
        assert_eq!(turn(side(0.8, 1e-9), side(0.4, 0.011)), Turn::Ends);
        assert_eq!(turn(side(0.1, 0.5), side(-0.4, 0.001)), Turn::Begins);
        assert_eq!(turn(side(-0.4, 1e-9), side(-0.8, 1e-9)), Turn::Strengthens);
        assert_eq!(turn(side(0.2, 0.1), side(-0.1, 0.3)), Turn::Weakens);
        assert_eq!(turn(side(0.1, 0.3), side(-0.2, 0.1)), Turn::Strengthens);
        // As far from zero is not nearer.
        assert_eq!(turn(side(0.2, 0.1), side(-0.2, 0.1)), Turn::Strengthens);
    }
}
