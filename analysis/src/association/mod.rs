//! What lies behind a pair of series that move together.
//!
//! - [`partial`]: what remains of a pair given a third series.
//! - [`origin`]: which third series explains most of it, and whether it does.
//! - [`precision`]: what remains of each pair given all others of a small set.
//! - [`stability`]: whether a pair moves together all the time, and since or until when: [`split`].
//! - [`lead`]: who comes first, over all pairs with a lag.
//!
//! Rows are of one grid, as [`rows`](crate::series::rows) makes them, with the same positions. What is not finite is missing, and
//! samples are those that all rows in question have. A pair that agrees at a lag is passed with one row shifted.
//!
//! **Effective samples.** As in [`significance`](crate::significance), of the series whose coefficient it is: where something was
//! taken out, of what is left. With gaps, with ρ(k) from the samples that are k apart, and as many of those as there are:
//!
//! ```text
//!   n / (1 + 2 Σ_k pairs(k)/n·ρ_a(k)·ρ_b(k))
//! ```
//!
//! **Intervals** are those of R. A. Fisher's z = atanh r ("On the probable error of a coefficient of correlation", 1921), variance
//! d/(effective − conditions − 3). Its d is 1 for normal values and more where tails are heavy: the mean square of
//! ψ = ab − r(a² + b²)/2 over (1 − r²)², with a and b standardised (the influence of a sample on r; S. J. Devlin, R. Gnanadesikan &
//! J. R. Kettenring, "Robust estimation and outlier detection with correlation coefficients", 1975). p-values need no d: where
//! there is no relation it is 1.

pub mod lead;
pub mod origin;
pub mod partial;
pub mod precision;
mod samples;
pub mod split;
pub mod stability;

#[cfg(test)]
mod made;
#[cfg(test)]
mod pinned_tests;
#[cfg(test)]
mod worlds;

use crate::series::trend::slope::Z_95;
use crate::significance::p_value;
use samples::Shared;

/// Least samples that rows must share.
pub const SAMPLES_MIN: usize = 8;
/// What a row has beside others is a rounding up to that part of its variance.
const COLLINEAR: f64 = 1e-10;
/// Fisher's z is that of this at most.
const R_MAX: f64 = 1.0 - 1e-12;

/// Why there is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Rows differ in length.
    Lengths,
    /// Fewer rows than that, or more.
    Rows {
        /// How many there are.
        found: usize,
        /// At least.
        least: usize,
        /// At most.
        most: usize,
    },
    /// Too few samples in common.
    Few {
        /// How many there are.
        found: usize,
        /// At least.
        needed: usize,
    },
    /// Samples repeat each other so much that they are worth too few.
    Repeated {
        /// What they are worth, rounded down.
        found: usize,
        /// At least.
        needed: usize,
    },
    /// A row has one value only where the others are there.
    Constant {
        /// Its place among those that were passed.
        row: usize,
    },
    /// A row follows from others.
    Collinear {
        /// Its place among those that were passed.
        row: usize,
    },
}

/// A coefficient, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficient {
    /// −1 to 1.
    pub r: f64,
    /// Samples that it is of.
    pub samples: usize,
    /// Independent ones that they are worth, 3 to `samples`; what is conditioned on is not taken off.
    pub effective: f64,
    /// Probability of one at least as far from zero where there is no relation.
    pub p: f64,
    /// Least value with 95 % confidence.
    pub low: f64,
    /// Greatest value.
    pub high: f64,
}

impl Coefficient {
    /// Given so many other series, and with variance `dispersion` times that of normal values.
    fn of(r: f64, samples: usize, effective: f64, conditions: usize, dispersion: f64) -> Self {
        let left = effective - conditions as f64;
        let (low, high) = if left > 3.0 {
            let reach = Z_95 * (dispersion / (left - 3.0)).sqrt();
            ((fisher(r) - reach).tanh().min(r), (fisher(r) + reach).tanh().max(r))
        } else {
            (-1.0, 1.0)
        };
        Self { r, samples, effective, p: p_value(r, left), low, high }
    }
}

/// The coefficient of two rows.
pub fn pair(x: &[f64], y: &[f64]) -> Result<Coefficient, Unknown> {
    let shared = Shared::of(&[x, y], SAMPLES_MIN)?;
    Ok(shared.coefficient(0, &shared.rows[0], &shared.rows[1]))
}

/// atanh r.
fn fisher(r: f64) -> f64 {
    r.clamp(-R_MAX, R_MAX).atanh()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::made::{assert_near, smooth, three};
    use super::*;

    const NAN: f64 = f64::NAN;

    /// r, effective samples, p, low and high.
    pub(super) fn assert_is(found: &Coefficient, expected: [f64; 5]) {
        let found = [found.r, found.effective, found.p, found.low, found.high];
        found.into_iter().zip(expected).for_each(|(found, expected)| assert_near(found, expected));
    }

    #[test]
    fn a_pair_is_what_scipy_says_and_repeated_samples_count_less() {
        let [x, y, _] = three();
        // numpy 2 and scipy 1.17.1: pearsonr; atanh r ± 1.96·√(d/(n − 3)) with d by its formula, 1.0624.
        let expected =
            [0.553725737672952, 60.0, 4.44912675607655e-06, 0.341825216883850, 0.712044873034585];
        assert_is(&pair(&x, &y).unwrap(), expected);
        // The same with n/(1 + 2Σ(1 − k/n)ρρ) samples, t with as many less two; d = 1.6125.
        let expected = [
            0.711921927431542,
            19.9612160331951,
            0.000436482338253375,
            0.279142904951022,
            0.904311368207116,
        ];
        let found = pair(&smooth(&x), &smooth(&y)).unwrap();
        assert_is(&found, expected);
        assert_eq!(found.samples, 60);
    }

    #[test]
    fn gaps_leave_the_distances_of_samples() {
        let [x, y, _] = three();
        let (mut x, mut y) = (smooth(&x), smooth(&y));
        (3..60).step_by(7).for_each(|at| x[at] = NAN);
        y[20..30].fill(f64::INFINITY);
        let found = pair(&x, &y).unwrap();
        // numpy: over pairs of samples k apart, one by one.
        assert_near(found.r, 0.767508163884945);
        assert_near(found.effective, 14.0224916635620);
        assert_eq!(found.samples, 42);
        // What is missing at the ends is no gap.
        let (x, y) = (smooth(&three()[0]), smooth(&three()[1]));
        let padded = |row: &[f64]| [&[NAN; 9], row, &[NAN; 5]].concat();
        assert_eq!(pair(&padded(&x), &padded(&y)), pair(&x, &y));
    }

    #[test]
    fn the_scale_of_a_row_does_not_matter() {
        let [x, y, _] = three();
        let expected = pair(&x, &y).unwrap();
        for (scale, level) in [(1e300, 0.0), (1e-300, 0.0), (-5.0, 1e7), (1e-6, 1.0)] {
            let moved: Vec<f64> = x.iter().map(|x| scale * x + level).collect();
            let found = pair(&moved, &y).unwrap();
            assert!((found.r.abs() - expected.r).abs() < 1e-8, "{scale}: {found:?}");
            assert!((found.effective - expected.effective).abs() < 1e-6, "{scale}: {found:?}");
        }
    }

    #[test]
    fn what_has_no_coefficient_says_why() {
        let row: Vec<f64> = (0..10_i32).map(|t| f64::from(t * t % 7)).collect();
        let constant = [0.1; 10];
        assert_eq!(pair(&row, &row[1..]), Err(Unknown::Lengths));
        assert_eq!(pair(&[], &[]), Err(Unknown::Few { found: 0, needed: 8 }));
        assert_eq!(pair(&row[..7], &row[..7]), Err(Unknown::Few { found: 7, needed: 8 }));
        assert!(pair(&row[..8], &row[2..]).is_ok());
        assert_eq!(pair(&row, &[NAN; 10]), Err(Unknown::Few { found: 0, needed: 8 }));
        assert_eq!(pair(&row, &constant), Err(Unknown::Constant { row: 1 }));
        let rounded: Vec<f64> = (0..10).map(|t| if t % 2 == 0 { 0.3 } else { 0.1 + 0.2 }).collect();
        assert_eq!(pair(&rounded, &row), Err(Unknown::Constant { row: 0 }));
        // Constant where the other is there.
        let mut apart = row.clone();
        apart[9] = NAN;
        let mut step = constant;
        step[9] = 5.0;
        assert_eq!(pair(&apart, &step), Err(Unknown::Constant { row: 1 }));
    }

    #[test]
    fn a_copy_has_an_interval_that_holds_it() {
        let [x, ..] = three();
        let found = pair(&x, &x).unwrap();
        assert!(
            found.r > 1.0 - 1e-12 && found.high >= found.r && found.low > 0.999_999,
            "{found:?}"
        );
        assert!(found.p < 1e-100, "{found:?}");
        assert_eq!(samples::dispersion(&x, &x, 1.0), 1.0);
        let negative: Vec<f64> = x.iter().map(|x| -x).collect();
        let found = pair(&x, &negative).unwrap();
        assert!(found.r < -1.0 + 1e-12 && found.low <= found.r && found.high < -0.999_999);
    }

    #[test]
    fn with_three_samples_left_an_interval_says_nothing() {
        let wide = Coefficient::of(0.5, 9, 4.0, 1, 1.0);
        assert_eq!((wide.low, wide.high), (-1.0, 1.0));
        assert!(wide.p < 1.0);
        let narrow = Coefficient::of(0.5, 9, 4.1, 1, 1.0);
        assert!(narrow.low > -1.0 && narrow.high < 1.0, "{narrow:?}");
        assert_eq!(Coefficient::of(0.5, 9, 3.9, 1, 1.0).p, 1.0);
    }
}
