//! Values far from their surroundings, drawn in, so that no short stretch makes a level of its own.

use crate::series::spread::{median, spread};

/// Robust standard deviations from the running median that a value may be away.
pub(super) const REACH: f64 = 3.0;

/// The values, outliers drawn towards the median of the 2·length_min − 1 values around, and how far values are from these medians.
pub(super) fn drawn_in(values: &[f64], length_min: usize) -> (Vec<f64>, f64) {
    let mut window = Vec::with_capacity(2 * length_min);
    let medians: Vec<f64> = (0..values.len())
        .map(|at| {
            let (low, high) =
                (at.saturating_sub(length_min - 1), (at + length_min).min(values.len()));
            window.clear();
            window.extend_from_slice(&values[low..high]);
            median(&mut window).unwrap_or(values[at])
        })
        .collect();
    let rest: Vec<f64> = values.iter().zip(&medians).map(|(v, m)| v - m).collect();
    let spread = spread(&rest);
    let sigma = spread.or_of_mean();
    let reach = REACH * sigma;
    let drawn = |rest: f64| rest.signum() * rest.abs().min((2.0 * reach - rest.abs()).max(0.0));
    let values = medians.iter().zip(&rest).map(|(median, rest)| median + drawn(*rest)).collect();
    (values, sigma)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_are_drawn_in_to_three_deviations_of_the_running_median_and_to_it_from_six_on() {
        let base: Vec<f64> = (0..200).map(|t| (t * 37 % 101) as f64 / 100.0).collect();
        let usual = |values: &[f64], t: usize| {
            median(&mut values[t.saturating_sub(2)..(t + 3).min(200)].to_vec()).unwrap()
        };
        for (off, expected) in
            [(2.9, 2.9), (3.1, 2.9), (4.0, 2.0), (5.9, 0.1), (6.1, 0.0), (1e9, 0.0)]
        {
            let mut values = base.clone();
            let sigma = drawn_in(&values, 3).1;
            for (at, sign) in [(100, 1.0), (150, -1.0)] {
                values[at] = 1e9 * sign;
                values[at] = usual(&values, at) + sign * off * sigma;
            }
            let (drawn, sigma) = drawn_in(&values, 3);
            for (at, sign) in [(100, 1.0), (150, -1.0)] {
                let away = sign * (drawn[at] - usual(&values, at)) / sigma;
                assert!((away - expected).abs() < 0.1, "{off}: {away}, expected {expected}");
            }
            let same = (0..200)
                .filter(|t| drawn[*t] == values[*t] || (drawn[*t] - values[*t]).abs() < 1e-12);
            assert!(same.count() >= 198);
        }
        let rest: Vec<f64> = (0..200).map(|t| base[t] - usual(&base, t)).collect();
        let spread = spread(&rest);
        assert_eq!(drawn_in(&base, 3).1, spread.sigma);
    }
}
