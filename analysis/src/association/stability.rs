//! Whether a pair moves together all the time. The rows are cut into blocks of as many samples, and the coefficients compared
//! after R. A. Fisher's z = atanh r:
//!
//! ```text
//!   w_i = (e_i − 3)/d        e_i the effective samples of a block, d its dispersion
//!   z̄ = Σ w·z / Σ w          Q = Σ w·(z − z̄)²          χ² with one degree less than there are blocks
//! ```
//!
//! (W. G. Cochran, "The combination of estimates from different experiments", 1954; L. V. Hedges & I. Olkin, "Statistical Methods
//! for Meta-Analysis", 1985, ch. 11). A change in the middle of a block, or a late one, is seen better by [`split`](super::split).
//! Both tests together count double (Bonferroni).
//!
//! What a sample is worth is taken from all of the rows, as a block has too few to tell. So is the dispersion, and a relation that
//! changes much is a little more disperse for that. Volatility that comes and goes makes coefficients vary more than either says.
//! O(n · lags).

use statrs::function::gamma::gamma_ur;

use super::samples::{Shared, dispersion, unit};
use super::split::{EFFECTIVE_MIN, Split, split};
use super::{Coefficient, SAMPLES_MIN, Unknown, fisher};
use crate::cholesky::dot;

/// Blocks at most.
pub const BLOCKS_MAX: usize = 64;
/// Samples of a block at least.
pub const BLOCK_SAMPLES_MIN: usize = 16;

/// How to look at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Blocks, 2 to [`BLOCKS_MAX`]; fewer where samples are too few for as many.
    pub blocks: usize,
    /// Greatest p of what counts as significant.
    pub p_max: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { blocks: 6, p_max: 0.01 }
    }
}

/// A pair over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stability {
    /// Over all samples.
    pub whole: Coefficient,
    /// In order.
    pub blocks: Vec<Block>,
    /// Whether blocks differ.
    pub between: Heterogeneity,
    /// Share of blocks with a coefficient that has the sign of the pooled one.
    pub same_sign: f64,
    /// Share of those that are significant beside.
    pub significant: f64,
    /// The least coefficient of a block.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// Where it changes most; `None` with too few samples.
    pub split: Option<Split>,
    /// Probability of such differences between blocks or sides of a split in a relation that does not change.
    pub p: f64,
    /// What that means.
    pub course: Course,
}

/// Some samples that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Position of the first sample.
    pub first: usize,
    /// Position of the last one.
    pub last: usize,
    /// `None` where a row is constant.
    pub coefficient: Option<Coefficient>,
}

/// Whether coefficients differ by more than chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heterogeneity {
    /// The coefficient that they would have in common.
    pub pooled: f64,
    /// Weighted squares of the distances to it.
    pub q: f64,
    /// One less than there are coefficients.
    pub degrees: usize,
    /// Probability of as large a Q where they do not differ.
    pub p: f64,
    /// Part of Q that is more than chance, 0 to 1 (I² of J. P. T. Higgins & S. G. Thompson, 2002).
    pub excess: f64,
}

/// How a relation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Nothing says that it changes.
    Steady,
    /// It changes once, at the split.
    Breaks,
    /// It changes otherwise.
    Wavers,
}

/// Whether `x` and `y` move together all the time.
pub fn stability(x: &[f64], y: &[f64], options: &Options) -> Result<Stability, Unknown> {
    let shared = Shared::of(&[x, y], SAMPLES_MIN)?;
    let (a, b) = (&shared.rows[0][..], &shared.rows[1][..]);
    let whole = shared.coefficient(0, a, b);
    let dispersion = dispersion(a, b, whole.r);
    let worth = whole.effective / whole.samples as f64;
    let blocks = blocks(&shared, worth, dispersion, options.blocks)?;
    let measured = || blocks.iter().filter_map(|block| block.coefficient);
    let between =
        heterogeneity(measured(), dispersion).ok_or_else(|| constant(&shared, &blocks))?;
    let share = |is: &dyn Fn(&Coefficient) -> bool| {
        measured().filter(is).count() as f64 / measured().count() as f64
    };
    let same = |block: &Coefficient| block.r * between.pooled > 0.0;
    let split = split(&shared, whole.effective, dispersion);
    let split_p = split.map_or(1.0, |split| split.p);
    let p = (2.0 * between.p.min(split_p)).min(1.0);
    let course = match &split {
        _ if p > options.p_max => Course::Steady,
        Some(split) if 2.0 * split_p <= options.p_max => sides(&blocks, split, dispersion, options),
        _ => Course::Wavers,
    };
    Ok(Stability {
        whole,
        between,
        same_sign: share(&same),
        significant: share(&|block| same(block) && block.p <= options.p_max),
        least: measured().map(|block| block.r).fold(f64::INFINITY, f64::min),
        greatest: measured().map(|block| block.r).fold(f64::NEG_INFINITY, f64::max),
        split,
        p,
        course,
        blocks,
    })
}

/// Blocks of as many samples, or one more.
fn blocks(
    shared: &Shared,
    worth: f64,
    dispersion: f64,
    wanted: usize,
) -> Result<Vec<Block>, Unknown> {
    let n = shared.len();
    if n < 2 * BLOCK_SAMPLES_MIN {
        return Err(Unknown::Few { found: n, needed: 2 * BLOCK_SAMPLES_MIN });
    }
    let effective = worth * n as f64;
    if effective < 2.0 * EFFECTIVE_MIN {
        let needed = (2.0 * EFFECTIVE_MIN) as usize;
        return Err(Unknown::Repeated { found: effective as usize, needed });
    }
    let most = (n / BLOCK_SAMPLES_MIN).min((effective / EFFECTIVE_MIN) as usize);
    let count = wanted.clamp(2, BLOCKS_MAX).min(most);
    let block = |index: usize| {
        let range = index * n / count..(index + 1) * n / count;
        let part = |row: &[f64]| unit(row[range.clone()].to_vec());
        let rows = part(&shared.rows[0]).zip(part(&shared.rows[1]));
        let samples = range.len();
        let coefficient = rows.map(|(a, b)| {
            let r = dot(&a, &b).clamp(-1.0, 1.0);
            Coefficient::of(r, samples, worth * samples as f64, 0, dispersion)
        });
        Block { first: shared.at[range.start], last: shared.at[range.end - 1], coefficient }
    };
    Ok((0..count).map(block).collect())
}

/// The row that is constant in more blocks, where too few have a coefficient.
fn constant(shared: &Shared, blocks: &[Block]) -> Unknown {
    let flat = |row: usize| {
        let parts = blocks.iter().map(|block| {
            let from = shared.at.partition_point(|at| *at < block.first);
            let to = shared.at.partition_point(|at| *at <= block.last);
            unit(shared.rows[row][from..to].to_vec())
        });
        parts.filter(Option::is_none).count()
    };
    Unknown::Constant { row: usize::from(flat(1) > flat(0)) }
}

/// Of coefficients whose variance is `dispersion` times that of normal values. `None` of fewer than two that have more than three
/// effective samples.
fn heterogeneity(
    coefficients: impl IntoIterator<Item = Coefficient>,
    dispersion: f64,
) -> Option<Heterogeneity> {
    let weighed: Vec<(f64, f64)> = coefficients
        .into_iter()
        .map(|of| ((of.effective - 3.0) / dispersion, fisher(of.r)))
        .filter(|(weight, z)| *weight > 0.0 && z.is_finite())
        .collect();
    let degrees = weighed.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    let total: f64 = weighed.iter().map(|(weight, _)| weight).sum();
    let mean = weighed.iter().map(|(weight, z)| weight * z).sum::<f64>() / total;
    let q: f64 = weighed.iter().map(|(weight, z)| weight * (z - mean).powi(2)).sum();
    let excess = if q > 0.0 { ((q - degrees as f64) / q).max(0.0) } else { 0.0 };
    Some(Heterogeneity { pooled: mean.tanh(), q, degrees, p: chi_square_tail(q, degrees), excess })
}

/// Whether the blocks on either side of a split agree: then the split is all there is.
fn sides(blocks: &[Block], split: &Split, dispersion: f64, options: &Options) -> Course {
    let of = |is: &dyn Fn(&Block) -> bool| {
        let side = blocks.iter().filter(|block| is(block)).filter_map(|block| block.coefficient);
        heterogeneity(side, dispersion).map_or((0.0, 0), |found| (found.q, found.degrees))
    };
    let before = of(&|block| block.last < split.at);
    let after = of(&|block| block.first >= split.at);
    let p = chi_square_tail(before.0 + after.0, before.1 + after.1);
    if 2.0 * p <= options.p_max { Course::Wavers } else { Course::Breaks }
}

/// Probability that χ² with so many degrees of freedom is at least `q`.
fn chi_square_tail(q: f64, degrees: usize) -> f64 {
    if degrees == 0 || q.is_nan() || q <= 0.0 {
        return 1.0;
    }
    if q.is_infinite() {
        return 0.0;
    }
    gamma_ur(degrees as f64 / 2.0, q / 2.0).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::made::{assert_near, plus, scrambled};
    use super::super::split::Turn;
    use super::*;

    fn of(x: &[f64], y: &[f64]) -> Result<Stability, Unknown> {
        stability(x, y, &Options::default())
    }

    /// Two rows that move together up to sample 72 of 120.
    fn ending() -> [Vec<f64>; 2] {
        let x = scrambled(0, 120);
        let mut y = plus(&x, 0.5, &scrambled(1, 120));
        y[72..].copy_from_slice(&scrambled(1, 120)[72..]);
        [x, y]
    }

    #[test]
    fn blocks_and_their_differences_are_those_of_numpy_and_statsmodels() {
        let [x, y] = ending();
        let found = of(&x, &y).unwrap();
        // numpy: corrcoef; scipy: t with 99.457/6 − 2 degrees of freedom.
        let expected = [
            (0.882159954374672, 3.9186182323333e-06),
            (0.887612178781738, 2.8187377010789e-06),
            (0.883423681645056, 3.63578684671104e-06),
            (0.677488397076982, 0.00323789631381644),
            (0.295512977038661, 0.25652374706710),
            (-0.0307125810411567, 0.90821375069582),
        ];
        assert_eq!(found.blocks.len(), 6);
        for ((index, block), (r, p)) in found.blocks.iter().enumerate().zip(expected) {
            let coefficient = block.coefficient.unwrap();
            assert_near(coefficient.r, r);
            assert_near(coefficient.p, p);
            assert_eq!((block.first, block.last), (20 * index, 20 * index + 19));
            assert_eq!(coefficient.samples, 20);
        }
        // statsmodels 0.15: combine_effects of atanh r with 1.3341/(99.457/6 − 3); scipy: chi2.sf.
        assert_near(found.between.q, 19.964288218260258);
        assert_near(found.between.pooled, 0.706874965657003);
        assert_near(found.between.excess, 0.749552804220349);
        assert_near(found.between.p, 0.00126916178346970);
        assert_eq!(found.between.degrees, 5);
        assert_near(found.whole.r, 0.577570120751614);
        assert_near(found.same_sign, 5.0 / 6.0);
        assert_near(found.significant, 4.0 / 6.0);
        assert_near(found.least, -0.0307125810411567);
        assert_near(found.greatest, 0.887612178781738);
        assert_near(found.p, 2.0 * 3.56947235700543e-06);
        assert_eq!(found.course, Course::Breaks);
        assert_eq!(found.split.unwrap().turn(0.01), Turn::Ends);
    }

    #[test]
    fn what_is_the_same_in_all_blocks_is_steady() {
        let [x, y] = [scrambled(0, 120), plus(&scrambled(0, 120), 0.5, &scrambled(1, 120))];
        let found = of(&x, &y).unwrap();
        assert_eq!((found.course, found.same_sign, found.significant), (Course::Steady, 1.0, 1.0));
        let copy = of(&x, &x).unwrap();
        assert_eq!((copy.course, copy.between.excess), (Course::Steady, 0.0));
        assert!(copy.p > 0.99 && copy.least > 0.999_999, "{copy:?}");
    }

    #[test]
    fn what_comes_and_goes_wavers_and_no_split_is_all_there_is() {
        let x = scrambled(0, 240);
        let y: Vec<f64> = plus(&x, 0.3, &scrambled(1, 240))
            .iter()
            .zip(scrambled(1, 240))
            .enumerate()
            .map(|(at, (together, apart))| if at / 40 % 2 == 0 { *together } else { apart })
            .collect();
        assert_eq!(of(&x, &y).unwrap().course, Course::Wavers);
    }

    #[test]
    fn blocks_are_as_many_as_samples_allow() {
        let [x, y] = ending();
        let count = |samples: usize, blocks: usize| {
            stability(&x[..samples], &y[..samples], &Options { blocks, ..Options::default() })
                .map(|found| found.blocks.len())
        };
        assert_eq!(count(31, 6), Err(Unknown::Few { found: 31, needed: 32 }));
        assert_eq!(count(32, 6), Ok(2));
        assert_eq!((count(72, 6), count(64, 6), count(63, 6)), (Ok(4), Ok(4), Ok(3)));
        assert_eq!((count(120, 0), count(120, 3), count(120, 1_000)), (Ok(2), Ok(3), Ok(7)));
        let long = (scrambled(0, 2_000), scrambled(1, 2_000));
        let many = Options { blocks: 1_000, ..Options::default() };
        assert_eq!(stability(&long.0, &long.1, &many).unwrap().blocks.len(), BLOCKS_MAX);
        // 33 samples: 16 and 17.
        let found = of(&x[..33], &y[..33]).unwrap();
        assert_eq!(
            (found.blocks[0].last, found.blocks[1].first, found.blocks[1].last),
            (15, 16, 32)
        );
        let slope: Vec<f64> = (0..100).map(f64::from).collect();
        let found = of(&slope, &plus(&slope, 1.0, &x[..100]));
        assert!(matches!(found, Err(Unknown::Repeated { found: 3..16, needed: 16 })), "{found:?}");
    }

    #[test]
    fn a_block_where_a_row_is_constant_has_no_coefficient_and_one_is_not_enough() {
        let [x, y] = ending();
        let mut flat = x.clone();
        flat[..48].fill(0.1);
        let found = of(&flat, &y).unwrap();
        let measured: Vec<bool> = found.blocks.iter().map(|of| of.coefficient.is_some()).collect();
        assert_eq!(measured, [false, false, true, true, true]);
        assert_eq!(found.between.degrees, 2);
        flat[..100].fill(0.1);
        assert_eq!(of(&flat, &y), Err(Unknown::Constant { row: 0 }));
        assert_eq!(of(&y, &flat), Err(Unknown::Constant { row: 1 }));
        assert_eq!(of(&x, &[1.0; 120]), Err(Unknown::Constant { row: 1 }));
        assert_eq!(of(&x, &y[1..]), Err(Unknown::Lengths));
        assert_eq!(of(&x, &[f64::NAN; 120]), Err(Unknown::Few { found: 0, needed: 8 }));
    }

    #[test]
    fn a_block_on_both_sides_of_a_split_does_not_count() {
        let side = |r| Coefficient::of(r, 20, 20.0, 0, 1.0);
        let course = |at, coefficients: [f64; 6]| {
            let block = |(index, r): (usize, f64)| Block {
                first: 20 * index,
                last: 20 * index + 19,
                coefficient: Some(side(r)),
            };
            let blocks: Vec<Block> = coefficients.into_iter().enumerate().map(block).collect();
            let (before, after) = (side(0.9), side(0.0));
            let split = Split { at, low: at, high: at, before, after, difference: 5.0, p: 1e-4 };
            sides(&blocks, &split, 1.0, &Options::default())
        };
        for at in 61..80 {
            assert_eq!(course(at, [0.9, 0.9, 0.9, -0.5, 0.0, 0.0]), Course::Breaks, "{at}");
        }
        // Up to its last sample, or from its first one on, it is on one side.
        assert_eq!(course(80, [0.9, 0.9, 0.9, -0.5, 0.0, 0.0]), Course::Wavers);
        assert_eq!(course(60, [0.9, 0.9, 0.9, 0.95, 0.0, 0.0]), Course::Wavers);
        assert_eq!(course(60, [0.9, 0.9, 0.9, 0.0, 0.0, 0.0]), Course::Breaks);
        assert_eq!(course(60, [0.9, -0.3, 0.9, 0.0, 0.0, 0.0]), Course::Wavers);
    }

    #[test]
    fn the_tail_of_chi_square_is_that_of_scipy() {
        // scipy 1.17.1: chi2.sf
        assert_near(chi_square_tail(3.3, 1), 0.0692798832220017);
        assert_near(chi_square_tail(11.07, 5), 0.0500096186224054);
        assert_near(chi_square_tail(0.5, 7), 0.999446481390425);
        assert_eq!((chi_square_tail(0.0, 3), chi_square_tail(5.0, 0)), (1.0, 1.0));
        assert_eq!((chi_square_tail(f64::INFINITY, 3), chi_square_tail(1e9, 3)), (0.0, 0.0));
    }

    #[test]
    fn few_effective_samples_do_not_count_and_one_coefficient_is_not_compared() {
        let side = |r, effective| Coefficient::of(r, 50, effective, 0, 1.0);
        assert_eq!(heterogeneity([side(0.5, 40.0)], 1.0), None);
        assert_eq!(heterogeneity([side(0.5, 40.0), side(0.1, 3.0)], 1.0), None);
        let found = heterogeneity([side(0.5, 40.0), side(0.1, 3.0), side(0.5, 9.0)], 1.0).unwrap();
        assert_eq!((found.degrees, found.p, found.excess), (1, 1.0, 0.0));
        assert_near(found.pooled, 0.5);
        // (z₁ − z₂)²·w₁w₂/(w₁ + w₂)
        let found = heterogeneity([side(0.5, 40.0), side(0.2, 23.0)], 2.0).unwrap();
        let distance = f64::atanh(0.5) - f64::atanh(0.2);
        assert_near(found.q, distance * distance * 18.5 * 10.0 / 28.5);
    }
}
