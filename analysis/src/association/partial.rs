//! What remains of a pair given a third series: the correlation of what a line through the third leaves of either.
//!
//! ```text
//!   r_xy.z = (r_xy − r_xz·r_yz) / √((1 − r_xz²)(1 − r_yz²))       G. U. Yule, 1907
//! ```
//!
//! Over the samples that all three have. What is left has its own autocorrelation, which counts for the effective samples; one
//! more goes to the line. O(n · lags).

use super::samples::{Shared, of_length_1};
use super::{COLLINEAR, Coefficient, SAMPLES_MIN, Unknown};
use crate::cholesky::dot;

/// A pair given a third series, all over the same samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partial {
    /// Coefficient of the pair as it is.
    pub whole: f64,
    /// That of the first with the third.
    pub with_x: f64,
    /// That of the second with the third.
    pub with_y: f64,
    /// What remains.
    pub rest: Coefficient,
}

/// What remains of `x` and `y` given `z`.
pub fn partial(x: &[f64], y: &[f64], z: &[f64]) -> Result<Partial, Unknown> {
    Ok(Rest::of(x, y, z)?.partial())
}

/// What a third series leaves of two, before the costly part.
pub(super) struct Rest {
    shared: Shared,
    pub(super) whole: f64,
    pub(super) with_x: f64,
    pub(super) with_y: f64,
    of_x: Vec<f64>,
    of_y: Vec<f64>,
    /// Their coefficient.
    pub(super) r: f64,
}

impl Rest {
    pub(super) fn of(x: &[f64], y: &[f64], z: &[f64]) -> Result<Self, Unknown> {
        let shared = Shared::of(&[x, y, z], SAMPLES_MIN)?;
        let [x, y, z] = &shared.rows[..] else {
            return Err(Unknown::Rows { found: shared.rows.len(), least: 3, most: 3 });
        };
        let (with_x, with_y) = (dot(x, z), dot(y, z));
        let of_x = beside(x, z, with_x).ok_or(Unknown::Collinear { row: 0 })?;
        let of_y = beside(y, z, with_y).ok_or(Unknown::Collinear { row: 1 })?;
        let (whole, r) = (dot(x, y).clamp(-1.0, 1.0), dot(&of_x, &of_y).clamp(-1.0, 1.0));
        Ok(Self { whole, with_x, with_y, of_x, of_y, r, shared })
    }

    pub(super) fn samples(&self) -> usize {
        self.shared.len()
    }

    pub(super) fn partial(&self) -> Partial {
        let rest = self.shared.coefficient(1, &self.of_x, &self.of_y);
        Partial { whole: self.whole, with_x: self.with_x, with_y: self.with_y, rest }
    }
}

/// What a line through `z` leaves of `row`, of length 1; `None` where that is a rounding.
fn beside(row: &[f64], z: &[f64], r: f64) -> Option<Vec<f64>> {
    of_length_1(row.iter().zip(z).map(|(value, z)| value - r * z).collect(), COLLINEAR)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::made::{assert_near, plus, scrambled, smooth, three};
    use super::super::tests::assert_is;
    use super::*;

    #[test]
    fn what_remains_is_what_pingouin_says_with_samples_that_repeat_each_other_worth_less() {
        let [x, y, z] = three();
        let found = partial(&x, &y, &z).unwrap();
        assert_near(found.whole, 0.553725737672952);
        assert_near(found.with_x, 0.664267558394705);
        assert_near(found.with_y, 0.638525331967532);
        // pingouin 0.7: partial_corr; the interval with one sample less, d = 1.
        let expected =
            [0.225239405962475, 60.0, 0.0863092742529924, -0.0327307752816288, 0.455073145020146];
        assert_is(&found.rest, expected);
        // pingouin for r; numpy and scipy for the rest, of residuals of numpy.linalg.lstsq: d = 1.4464, t with 29.5 − 3.
        let found = partial(&smooth(&x), &smooth(&y), &smooth(&z)).unwrap();
        let expected = [
            0.236397062389888,
            29.5331309033479,
            0.221061179369667,
            -0.221783936080809,
            0.609069297045826,
        ];
        assert_is(&found.rest, expected);
        assert_eq!(found.rest.samples, 60);
    }

    #[test]
    fn the_three_count_where_all_are_there() {
        let [mut x, y, mut z] = three();
        x[50] = f64::NAN;
        z[..20].fill(f64::NAN);
        let found = partial(&x, &y, &z).unwrap();
        let rows = |row: &[f64]| [&row[20..50], &row[51..]].concat();
        let dense = partial(&rows(&x), &rows(&y), &rows(&z)).unwrap();
        assert_near(found.rest.r, dense.rest.r);
        assert_near(found.whole, dense.whole);
        assert_eq!(found.rest.samples, 39);
    }

    #[test]
    fn a_third_that_says_all_of_one_leaves_nothing() {
        let [x, y, z] = three();
        let of_x = plus(&vec![3.0; 60], -2.0, &x);
        assert_eq!(partial(&x, &y, &of_x), Err(Unknown::Collinear { row: 0 }));
        assert_eq!(partial(&x, &y, &y), Err(Unknown::Collinear { row: 1 }));
        // Nearly all.
        let near = plus(&x, 1e-3, &scrambled(4, 60));
        assert!(partial(&x, &y, &near).is_ok());
        let nearer = plus(&x, 1e-6, &scrambled(4, 60));
        assert_eq!(partial(&x, &y, &nearer), Err(Unknown::Collinear { row: 0 }));
        assert_eq!(partial(&x, &y, &vec![7.0; 60]), Err(Unknown::Constant { row: 2 }));
        assert_eq!(partial(&x, &y, &z[1..]), Err(Unknown::Lengths));
        assert_eq!(partial(&x[..7], &y[..7], &z[..7]), Err(Unknown::Few { found: 7, needed: 8 }));
    }
}
