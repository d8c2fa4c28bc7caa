//! Whether one classifier is better than another on the same rows, or was lucky: McNemar's test (McNemar 1947) looks
//! only at the rows that one answered right and the other wrong.

use crate::error::{Error, Result};

/// Rows on which two differ, up to which the test is exact.
const EXACT_MAX: usize = 1000;

/// Two classifiers on the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Rows that only the first answered right.
    pub only_first: usize,
    /// Rows that only the second answered right.
    pub only_second: usize,
    /// Rows that both answered right.
    pub both: usize,
    /// Rows that neither did.
    pub neither: usize,
    /// How likely it is to differ at least so much when both are as good: two-sided; exact (binomial) for up to 1,000
    /// rows of difference, above by chi-squared with continuity correction (Edwards 1948).
    pub p_value: f64,
}

/// Compares by whether each row was answered right. Fails for lists of different lengths.
pub fn compare(first: &[bool], second: &[bool]) -> Result<Comparison> {
    if first.len() != second.len() {
        return Err(Error::Training {
            problem: format!(
                "comparison: expected answers on the same rows, found {} and {}",
                first.len(),
                second.len()
            ),
        });
    }
    let count =
        |a: bool, b: bool| first.iter().zip(second).filter(|(x, y)| (**x, **y) == (a, b)).count();
    let (only_first, only_second) = (count(true, false), count(false, true));
    let differ = only_first + only_second;
    let p_value = if differ <= EXACT_MAX {
        binomial(only_first.min(only_second), differ)
    } else {
        let distance = (only_first.abs_diff(only_second) as f64 - 1.0).max(0.0);
        // With one degree of freedom: a normal distribution's two tails.
        two_tails(distance / (differ as f64).sqrt())
    };
    Ok(Comparison {
        only_first,
        only_second,
        both: count(true, true),
        neither: count(false, false),
        p_value,
    })
}

/// Twice the probability of at most `few` heads of `tosses`, at most 1.
fn binomial(few: usize, tosses: usize) -> f64 {
    let mut log_of = -(tosses as f64) * std::f64::consts::LN_2;
    let mut sum = log_of.exp();
    for heads in 1..=few {
        log_of += ((tosses - heads + 1) as f64 / heads as f64).ln();
        sum += log_of.exp();
    }
    (2.0 * sum).min(1.0)
}

/// The probability that a normal number is farther from 0 than `z`: a continued fraction (Lentz) far out, the series of
/// the error function near.
fn two_tails(z: f64) -> f64 {
    let x = z / std::f64::consts::SQRT_2;
    if x < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / (2.0 * f64::from(n) + 1.0);
        }
        return (1.0 - sum * std::f64::consts::FRAC_2_SQRT_PI).clamp(0.0, 1.0);
    }
    let mut fraction = x;
    for n in (1..=60).rev() {
        fraction = x + f64::from(n) / 2.0 / fraction;
    }
    (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn p(only_first: usize, only_second: usize) -> f64 {
        let mut first = vec![true; only_first];
        first.extend(vec![false; only_second]);
        let second: Vec<bool> = first.iter().map(|right| !right).collect();
        compare(&first, &second).unwrap().p_value
    }

    #[test]
    fn the_exact_test_is_that_computed_by_hand() {
        // 2 (1 + 10 + 45) / 1024; 2 / 32; 2 * 1 / 1024.
        assert!((p(2, 8) - 0.109_375).abs() < 1e-12);
        assert!((p(8, 2) - 0.109_375).abs() < 1e-12);
        assert!((p(0, 5) - 0.0625).abs() < 1e-12);
        assert!((p(0, 10) - 0.001_953_125).abs() < 1e-12);
        assert_eq!((p(5, 5), p(0, 0)), (1.0, 1.0));
    }

    #[test]
    fn many_rows_are_compared_by_chi_squared() {
        // (|560 - 480| - 1)^2 / 1040 = 6.000961...; its tail by tables 0.0143.
        let found = p(560, 480);
        assert!((found - 0.014_298).abs() < 1e-5, "{found}");
        // 1.959964 is the two-sided 5 % point.
        assert!((two_tails(1.959_963_985) - 0.05).abs() < 1e-9);
        assert!((two_tails(5.0) / 5.733_031_4e-7 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn rows_are_counted_and_must_be_the_same() {
        let found = compare(&[true, true, false, false], &[true, false, true, false]).unwrap();
        assert_eq!((found.both, found.only_first, found.only_second, found.neither), (1, 1, 1, 1));
        assert!(compare(&[true], &[]).unwrap_err().to_string().contains("found 1 and 0"));
    }
}
