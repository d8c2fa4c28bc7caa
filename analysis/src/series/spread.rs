//! Order statistics of one series as a whole. What slides along a series or crosses many of them is a
//! kernel; this is the little that is needed once per series.

/// From the median absolute deviation to the standard deviation of normal data: 1/Φ⁻¹(¾).
pub(super) const MAD_TO_SIGMA: f64 = 1.482_602_218_505_602;
/// From the mean absolute deviation to the standard deviation of normal data: √(π/2).
const MEAN_AD_TO_SIGMA: f64 = 1.253_314_137_315_5;

/// Part of the mean absolute deviation that a standard deviation is taken for at least: more than half of the values are equal
/// where the MAD is zero.
pub(super) const MEAN_SIGMA_PART: f64 = 0.6;

/// The median of finite values; `None` of none. Reorders them.
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let (middle, odd) = (values.len() / 2, values.len() % 2 == 1);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if odd {
        return Some(*upper);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(lower / 2.0 + *upper / 2.0)
}

/// Where values lie and how far they spread, both robust.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// The median.
    pub centre: f64,
    /// Median absolute deviation, as a standard deviation of normal data.
    pub sigma: f64,
    /// Mean absolute deviation, as a standard deviation of normal data.
    pub mean_sigma: f64,
}

impl Spread {
    /// The robust standard deviation, and no less than a part of what the mean distance says.
    pub(crate) fn at_least_of_mean(&self) -> f64 {
        self.sigma.max(MEAN_SIGMA_PART * self.mean_sigma)
    }

    /// The robust standard deviation; where more than half of the values are equal, what the mean distance says.
    pub(super) fn or_of_mean(&self) -> f64 {
        if self.sigma > 0.0 { self.sigma } else { MEAN_SIGMA_PART * self.mean_sigma }
    }
}

/// The spread of finite values; all zero of none.
pub fn spread(values: &[f64]) -> Spread {
    let mut scratch = values.to_vec();
    let Some(centre) = median(&mut scratch) else { return Spread::default() };
    scratch.clear();
    scratch.extend(values.iter().map(|value| (value - centre).abs()));
    let mean = scratch.iter().map(|distance| distance / values.len() as f64).sum::<f64>();
    let sigma = median(&mut scratch).unwrap_or(0.0) * MAD_TO_SIGMA;
    Spread { centre, sigma, mean_sigma: mean * MEAN_AD_TO_SIGMA }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middle_ones() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [5.0, 1.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&mut [4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), Some(f64::MAX));
    }

    #[test]
    fn one_wild_value_does_not_move_the_robust_spread() {
        let mut values: Vec<f64> = (0..99).map(f64::from).collect();
        let before = spread(&values).sigma;
        values[0] = 1e12;
        assert!((spread(&values).sigma / before - 1.0).abs() < 0.05);
    }
}
