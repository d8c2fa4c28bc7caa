//! What remains of each pair of a small set given all others of it: −K_ij / √(K_ii·K_jj), with K the inverse of the correlations.
//!
//! With few samples that inverse is mostly noise, so the correlations are drawn towards none by as much as their own variance says
//! (O. Ledoit & M. Wolf, "Improved estimation of the covariance matrix of stock returns", 2003; J. Schäfer & K. Strimmer, "A
//! shrinkage approach to large-scale covariance matrix estimation", 2005, target D):
//!
//! ```text
//!   R* = (1 − λ)·R + λ·I        λ = Σ_{i≠j} var(r_ij) / Σ_{i≠j} r_ij², 0 to 1
//!   var(r) = n/(n−1)³ · Σ_t (w_t − w̄)² · n/effective          w_t the product of both, standardised
//! ```
//!
//! The last factor is ours: samples that repeat each other say less (A. Sancetta, "Sample covariance shrinkage for high
//! dimensional dependent data", 2008). With many samples λ is next to nothing.
//!
//! p-values are those of r/(1 − λ), whose range is −1 to 1 again (V. Bernal et al., "Exact hypothesis testing for shrinkage-based
//! Gaussian graphical models", 2019), with the samples less all others of the set; under strong shrinkage that is too careful.
//!
//! O(m²·n + m³) for m series of n samples.

use super::samples::{Shared, Spacing};
use super::{COLLINEAR, SAMPLES_MIN, Unknown};
use crate::cholesky::{Cholesky, dot};
use crate::significance::p_value;

/// Series of a set, at most.
pub const SERIES_MAX: usize = 64;
/// A row of which others leave no more than that part of the variance follows from them.
const LEFT_MIN: f64 = 1e-8;

/// How far correlations are drawn towards none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Shrinkage {
    /// As far as their variance says.
    #[default]
    Estimated,
    /// By this part, 0 to 1.
    Fixed(f64),
}

/// Each pair of a set given all others of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenAll {
    /// Series of the set.
    pub series: usize,
    /// Samples that all of them have.
    pub samples: usize,
    /// λ.
    pub shrinkage: f64,
    /// Row after row, with each pair twice.
    given: Vec<Given>,
}

/// A pair given all others of a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Given {
    /// −1 to 1, drawn towards 0 with the correlations.
    pub r: f64,
    /// Independent samples that there are of what the others leave.
    pub effective: f64,
    /// Probability of one at least as far from zero where nothing remains; `None` where fewer than three samples are left beside
    /// the others.
    pub p: Option<f64>,
}

impl GivenAll {
    /// Of two different series of the set.
    pub fn get(&self, a: usize, b: usize) -> Option<Given> {
        (a != b && a < self.series && b < self.series).then(|| self.given[a * self.series + b])
    }
}

/// What remains of each pair of 2 to [`SERIES_MAX`] rows given the others, over the samples that all have.
pub fn given_all(rows: &[&[f64]], shrinkage: Shrinkage) -> Result<GivenAll, Unknown> {
    let m = rows.len();
    if !(2..=SERIES_MAX).contains(&m) {
        return Err(Unknown::Rows { found: m, least: 2, most: SERIES_MAX });
    }
    let shared = Shared::of(rows, SAMPLES_MIN)?;
    let (n, spacing) = (shared.len(), shared.spacing());
    let row = |index: usize| &shared.rows[index][..];
    let correlations: Vec<f64> =
        (0..m * m).map(|at| dot(row(at / m), row(at % m)).clamp(-1.0, 1.0)).collect();
    check_independent(&correlations, m, n)?;
    let shrinkage = match shrinkage {
        Shrinkage::Estimated => estimated(&shared, &spacing, &correlations),
        Shrinkage::Fixed(part) if part > 0.0 => part.min(1.0),
        Shrinkage::Fixed(_) if n <= m => return Err(Unknown::Few { found: n, needed: m + 1 }),
        Shrinkage::Fixed(_) => 0.0,
    };
    let drawn = |(at, r): (usize, &f64)| if at / m == at % m { 1.0 } else { (1.0 - shrinkage) * r };
    let inverse = inverse(correlations.iter().enumerate().map(drawn).collect(), m);
    // What all others leave of each, but for a factor.
    let left: Vec<Vec<f64>> = inverse
        .chunks(m)
        .map(|factors| {
            let mut left = vec![0.0; n];
            for (factor, row) in factors.iter().zip(&shared.rows) {
                left.iter_mut().zip(row).for_each(|(left, value)| *left += factor * value);
            }
            left
        })
        .collect();
    let repetition: Vec<_> = left.iter().map(|left| spacing.autocorrelation(left)).collect();
    let mut given = vec![Given { r: 1.0, effective: n as f64, p: None }; m * m];
    for a in 0..m {
        for b in 0..a {
            let scale = (inverse[a * m + a] * inverse[b * m + b]).sqrt();
            let r = (-inverse[a * m + b] / scale).clamp(-1.0, 1.0);
            let effective = spacing.effective(&repetition[a], &repetition[b]);
            let free = effective - (m - 2) as f64;
            let whole =
                if shrinkage < 1.0 { (r / (1.0 - shrinkage)).clamp(-1.0, 1.0) } else { 0.0 };
            let found = Given { r, effective, p: (free >= 3.0).then(|| p_value(whole, free)) };
            (given[a * m + b], given[b * m + a]) = (found, found);
        }
    }
    Ok(GivenAll { series: m, samples: n, shrinkage, given })
}

/// Fails where a row follows from others; with no more samples than rows, each does, and copies alone are looked for.
fn check_independent(correlations: &[f64], m: usize, n: usize) -> Result<(), Unknown> {
    let copy = |at: &usize| at % m < at / m && 1.0 - correlations[*at].powi(2) <= COLLINEAR;
    if let Some(at) = (0..m * m).find(copy) {
        return Err(Unknown::Collinear { row: at / m });
    }
    if n > m {
        let inverse = inverse(correlations.to_vec(), m);
        let most = |row: &usize| inverse[row * m + row];
        let row = (0..m).max_by(|a, b| most(a).total_cmp(&most(b))).unwrap_or(0);
        // What the others leave of it is 1 / K_ii.
        if most(&row).is_nan() || most(&row) >= 1.0 / LEFT_MIN {
            return Err(Unknown::Collinear { row });
        }
    }
    Ok(())
}

fn inverse(matrix: Vec<f64>, m: usize) -> Vec<f64> {
    let cholesky = Cholesky::of(matrix, m);
    let unit = |row: usize| (0..m).map(|at| if at == row { 1.0 } else { 0.0 }).collect();
    (0..m).flat_map(|row| cholesky.solve(unit(row))).collect()
}

/// λ.
fn estimated(shared: &Shared, spacing: &Spacing, correlations: &[f64]) -> f64 {
    let (m, n) = (shared.rows.len(), shared.len() as f64);
    let repetition: Vec<_> = shared.rows.iter().map(|row| spacing.autocorrelation(row)).collect();
    let (mut variances, mut squares) = (0.0, 0.0);
    for a in 0..m {
        for b in 0..a {
            let r = correlations[a * m + b];
            let (x, y) = (&shared.rows[a], &shared.rows[b]);
            // Rows have length 1, so that w is n − 1 times their product.
            let off = |(x, y): (&f64, &f64)| (n - 1.0) * (x * y - r / n);
            let sum: f64 = x.iter().zip(y).map(off).map(|off| off * off).sum();
            let repeated = n / spacing.effective(&repetition[a], &repetition[b]);
            variances += n / (n - 1.0).powi(3) * sum * repeated;
            squares += r * r;
        }
    }
    if squares > 0.0 { (variances / squares).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::made::{assert_near, plus, scrambled, three};
    use super::super::partial::partial;
    use super::*;

    /// Two of which the fourth follows the first, and the last nothing.
    fn set() -> [Vec<f64>; 5] {
        let [x, y, z] = three();
        let follower = plus(&scrambled(3, 60), 0.5, &x);
        [x, y, z, follower, scrambled(4, 60)]
    }

    fn given(rows: &[Vec<f64>], shrinkage: Shrinkage) -> Result<GivenAll, Unknown> {
        given_all(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), shrinkage)
    }

    #[test]
    fn without_shrinkage_it_is_what_pingouin_says() {
        let found = given(&set(), Shrinkage::Fixed(0.0)).unwrap();
        // pingouin 0.7: pcorr
        for (a, b, expected) in [
            (0, 1, 0.162450926508334),
            (0, 2, 0.373320900312367),
            (0, 3, 0.525024639446314),
            (1, 2, 0.432837599060161),
            (2, 4, -0.057099173346769),
            (3, 4, -0.085546074950578),
        ] {
            assert_near(found.get(a, b).unwrap().r, expected);
            assert_eq!(found.get(b, a), found.get(a, b));
        }
        // scipy: t with 60 − 3 − 2 degrees of freedom.
        assert_near(found.get(0, 1).unwrap().p.unwrap(), 0.227299374716897);
        assert_eq!((found.get(1, 1), found.get(0, 5), found.get(5, 0)), (None, None, None));
        assert_eq!((found.series, found.samples, found.shrinkage), (5, 60, 0.0));
        // With one other it is the partial correlation.
        let [x, y, z] = three();
        let rest = partial(&x, &y, &z).unwrap().rest;
        let found = given(&three(), Shrinkage::Fixed(0.0)).unwrap().get(0, 1).unwrap();
        assert_near(found.r, rest.r);
        assert_near(found.p.unwrap(), rest.p);
    }

    #[test]
    fn correlations_are_drawn_in_as_far_as_they_vary() {
        let found = given(&set(), Shrinkage::Estimated).unwrap();
        // numpy: the formulas one by one.
        assert_near(found.shrinkage, 0.101987747534936);
        for (a, b, r, effective, p) in [
            (0, 1, 0.174707113084161, 60.0, 0.147012102021143),
            (0, 3, 0.460291296076607, 59.3978535631323, 5.04183530168261e-05),
            (1, 4, 0.090490125376747, 60.0, 0.455774978713720),
        ] {
            let found = found.get(a, b).unwrap();
            assert_near(found.r, r);
            assert_near(found.effective, effective);
            assert_near(found.p.unwrap(), p);
        }
    }

    /// Correlations that vary more than they are large are drawn in wholly, and never beyond nothing.
    #[test]
    fn unrelated_series_are_drawn_in_wholly() {
        let drawn_in = |k: usize| {
            let rows = [scrambled(k, 60), scrambled(k + 1, 60)];
            given(&rows, Shrinkage::Estimated).unwrap().shrinkage
        };
        let all: Vec<f64> = (0..20).map(drawn_in).collect();
        assert!(all.iter().all(|of| (0.0..=1.0).contains(of)), "{all:?}");
        assert!(all.iter().filter(|of| **of == 1.0).count() > 3, "{all:?}");
    }

    #[test]
    fn more_series_than_samples_have_numbers_only_when_drawn_in() {
        let rows: Vec<Vec<f64>> = (0..12).map(|k| scrambled(k, 10)).collect();
        let found = given(&rows, Shrinkage::Estimated).unwrap();
        assert!(found.shrinkage > 0.3, "{}", found.shrinkage);
        for (a, b) in (0..12).flat_map(|a| (0..a).map(move |b| (a, b))) {
            let pair = found.get(a, b).unwrap();
            assert!(pair.r.abs() < 1.0 && pair.p.is_none(), "{pair:?}");
        }
        let none = Err(Unknown::Few { found: 10, needed: 13 });
        assert_eq!(given(&rows, Shrinkage::Fixed(0.0)), none);
        assert_eq!(
            given(&rows[..10], Shrinkage::Fixed(0.0)),
            Err(Unknown::Few { found: 10, needed: 11 })
        );
        assert!(given(&rows[..9], Shrinkage::Fixed(0.0)).is_ok());
        // p is there as long as three samples are left.
        let p = |count: usize| {
            given(&rows[..count], Shrinkage::Estimated).unwrap().get(0, 1).unwrap().p
        };
        assert!(p(8).is_some() && p(10).is_none());
        let all = given(&rows, Shrinkage::Fixed(7.0)).unwrap();
        assert_eq!((all.shrinkage, all.get(0, 1).unwrap().r), (1.0, 0.0));
        assert_eq!(given(&set(), Shrinkage::Fixed(1.0)).unwrap().get(0, 1).unwrap().p, Some(1.0));
    }

    #[test]
    fn a_series_that_follows_from_others_is_named() {
        let [x, y, z, ..] = set();
        let mut rows = vec![x, y, z];
        rows.push(plus(&plus(&rows[0], 1.0, &rows[1]), -2.0, &rows[2]));
        assert!(matches!(given(&rows, Shrinkage::Estimated), Err(Unknown::Collinear { .. })));
        rows[3] = plus(&rows[3], 0.1, &scrambled(4, 60));
        assert!(given(&rows, Shrinkage::Estimated).is_ok());
        let copies = [scrambled(0, 8), scrambled(1, 8), scrambled(2, 8), scrambled(1, 8)];
        let copies = [&copies[..], &(4..9).map(|k| scrambled(k, 8)).collect::<Vec<_>>()].concat();
        assert_eq!(given(&copies, Shrinkage::Estimated), Err(Unknown::Collinear { row: 3 }));
    }

    #[test]
    fn a_set_has_two_to_64_series_that_vary() {
        let rows: Vec<Vec<f64>> = (0..65).map(|k| scrambled(k, 90)).collect();
        let beyond = |found| Err(Unknown::Rows { found, least: 2, most: 64 });
        assert_eq!(given(&rows, Shrinkage::Estimated), beyond(65));
        assert_eq!(given(&rows[..1], Shrinkage::Estimated), beyond(1));
        assert_eq!(given(&rows[..64], Shrinkage::Estimated).unwrap().series, 64);
        assert_eq!(given(&rows[..2], Shrinkage::Estimated).unwrap().samples, 90);
        let flat = [scrambled(0, 60), vec![1.0; 60]];
        assert_eq!(given(&flat, Shrinkage::Estimated), Err(Unknown::Constant { row: 1 }));
    }
}
