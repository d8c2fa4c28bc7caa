//! Whether a coefficient means anything. Three corrections, each of which changes the answer on real series:
//!
//! - *Autocorrelation.* Neighbouring samples repeat each other, so n of them say less than n. The effective
//!   sample size is n / (1 + 2 Σₖ (1 − k/n)·ρₐ(k)·ρ_b(k)) (M. S. Bartlett, "Some aspects of the time-correlation
//!   problem", 1935; G. V. Bayley & J. M. Hammersley, "The 'effective' number of independent observations in
//!   an autocorrelated time series", 1946), k up to a fifth of n (Pyper & Peterman, 1998) and at most
//!   [`LAGS_MAX`].
//! - *Many lags.* The best of L lags is better than one by chance: p becomes 1 − (1 − p)ᴸ (Z. Šidák, 1967).
//! - *Many pairs.* The false-discovery rate of Benjamini & Hochberg (1995) over every pair that was tested, not
//!   only those that are reported. The p-values of all pairs do not fit in memory, so they are counted in
//!   bins of 1/[`BINS_PER_DECADE`] of a decade; a q-value is rounded up by at most that much.

mod permutation;
mod repetition;

pub use permutation::permutation_p;
pub use repetition::Repetition;
use statrs::function::beta::beta_reg;
use statrs::function::erf::erfc;

/// Lags of the autocorrelation that enter the effective sample size, at most.
pub(crate) const LAGS_MAX: usize = 100;
/// Resolution of the counted p-values.
const BINS_PER_DECADE: f64 = 100.0;
/// p-values below 1e-300 are counted as that.
const DECADES: f64 = 300.0;

/// The autocorrelation of a series at lags 1, 2, …; as many as the effective sample size needs.
pub fn autocorrelation(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n.max(1) as f64;
    let centred: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let variance: f64 = centred.iter().map(|value| value * value).sum();
    if variance <= 0.0 {
        return Vec::new();
    }
    (1..=(n / 5).min(LAGS_MAX))
        .map(|lag| centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).sum::<f64>() / variance)
        .collect()
}

/// How many independent samples `n` samples of two series with these autocorrelations are worth; 3 to n.
pub fn effective_samples(n: usize, a: &[f64], b: &[f64]) -> f64 {
    let n = n as f64;
    let repeated: f64 = a
        .iter()
        .zip(b)
        .enumerate()
        .map(|(index, (a, b))| (1.0 - (index + 1) as f64 / n).max(0.0) * a * b)
        .sum();
    (n / (1.0 + 2.0 * repeated).max(1.0)).clamp(3.0_f64.min(n), n)
}

/// Probability of a coefficient at least as large in magnitude when there is none: Student's t with
/// `samples` − 2 degrees of freedom, two-sided. 1 for fewer than 3 samples.
pub fn p_value(r: f64, samples: f64) -> f64 {
    if samples < 3.0 || r.is_nan() {
        return 1.0;
    }
    // P(|T| > t) = I_x(ν/2, 1/2) with x = ν/(ν + t²), which is 1 − r² here.
    let x = (1.0 - r * r).clamp(0.0, 1.0);
    match x {
        0.0 => 0.0,
        1.0 => 1.0,
        x => beta_reg((samples - 2.0) / 2.0, 0.5, x).clamp(0.0, 1.0),
    }
}

/// The p-value of the best of `lags`.
pub fn of_best(p: f64, lags: usize) -> f64 {
    -(lags as f64 * (-p).ln_1p()).exp_m1()
}

/// Counts of p-values, for the false-discovery rate over all of them.
#[derive(Clone, Debug)]
pub struct PValues {
    /// From the smallest p-values to the largest.
    bins: Vec<u64>,
    tested: u64,
}

impl PValues {
    /// No p-values yet.
    pub fn none() -> Self {
        Self { bins: vec![0; (DECADES * BINS_PER_DECADE) as usize + 1], tested: 0 }
    }

    /// The bin of a p-value. Bin 0 holds everything up to 1e-300.
    pub fn bin(p: f64) -> usize {
        let last = (DECADES * BINS_PER_DECADE) as usize;
        if p <= 0.0 {
            return 0;
        }
        ((p.log10() + DECADES) * BINS_PER_DECADE).ceil().clamp(0.0, last as f64) as usize
    }

    /// How often each bin is among `bins`.
    pub fn counts(mut bins: Vec<usize>) -> Vec<(usize, u64)> {
        bins.sort_unstable();
        bins.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u64)).collect()
    }

    /// Counts `count` p-values of a bin.
    pub fn add(&mut self, bin: usize, count: u64) {
        self.bins[bin] += count;
        self.tested += count;
    }

    /// Moves one p-value to another bin.
    pub fn replace(&mut self, bin: usize, other: usize) {
        if self.bins[bin] > 0 {
            self.bins[bin] -= 1;
            self.bins[other] += 1;
        }
    }

    /// Adds the counts of another.
    pub fn add_all(&mut self, other: &Self) {
        self.bins.iter_mut().zip(&other.bins).for_each(|(mine, other)| *mine += other);
        self.tested += other.tested;
    }

    /// P-values counted.
    pub fn tested(&self) -> u64 {
        self.tested
    }

    /// For each bin the q-value of the p-values in it: min over p' ≥ p of tested·p' / #{p ≤ p'}, with the
    /// upper edges of the bins for p'.
    pub fn q_values(&self) -> Vec<f64> {
        let mut at_most = 0;
        let mut q: Vec<f64> = self
            .bins
            .iter()
            .enumerate()
            .map(|(bin, count)| {
                at_most += count;
                let edge = 10_f64.powf(bin as f64 / BINS_PER_DECADE - DECADES);
                if at_most == 0 {
                    1.0
                } else {
                    (self.tested as f64 * edge / at_most as f64).min(1.0)
                }
            })
            .collect();
        for bin in (1..q.len()).rev() {
            q[bin - 1] = q[bin - 1].min(q[bin]);
        }
        q
    }
}

/// Probability of a standard normal value at least as far from zero.
pub(crate) fn two_sided(z: f64) -> f64 {
    if z.is_nan() {
        return 1.0;
    }
    erfc(z.abs() / std::f64::consts::SQRT_2).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_the_t_test() {
        // R: 2 * pt(-abs(r * sqrt((n - 2) / (1 - r^2))), n - 2)
        for (r, n, expected) in [
            (0.5, 20.0, 0.024_769_558_804_1),
            (0.1, 100.0, 0.322_217_363_0),
            (0.9, 10.0, 0.000_387_156_25),
        ] {
            let p = p_value(r, n);
            assert!((p / expected - 1.0).abs() < 1e-6, "r {r} n {n}: {p}");
            assert_eq!(p_value(-r, n), p);
        }
        assert_eq!((p_value(1.0, 10.0), p_value(0.0, 10.0), p_value(0.9, 2.0)), (0.0, 1.0, 1.0));
    }

    #[test]
    fn white_noise_keeps_its_samples_and_a_random_walk_does_not() {
        let mut state = 1_u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        let noise: Vec<f64> = (0..2_000).map(|_| uniform()).collect();
        let walk: Vec<f64> = noise
            .iter()
            .scan(0.0, |sum, step| {
                *sum += step;
                Some(*sum)
            })
            .collect();
        let (noise, walk) = (autocorrelation(&noise), autocorrelation(&walk));
        assert!(effective_samples(2_000, &noise, &noise) > 1_600.0);
        assert!(effective_samples(2_000, &walk, &walk) < 60.0);
        assert_eq!(effective_samples(2, &[], &[]), 2.0);
        // 100 / (1 + 2·(0.99·0.5·0.4 + 0.98·0.2·0.1))
        let expected = 100.0 / (1.0 + 2.0 * (0.198 + 0.0196));
        assert!((effective_samples(100, &[0.5, 0.2], &[0.4, 0.1]) - expected).abs() < 1e-9);
    }

    #[test]
    fn q_values_are_those_of_benjamini_and_hochberg_rounded_up_by_a_bin() {
        let p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216];
        let mut counted = PValues::none();
        p.iter().for_each(|p| counted.add(PValues::bin(*p), 1));
        let q = counted.q_values();
        // R: p.adjust(p, "BH")
        let expected = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.105_714, 0.216, 0.216, 0.216];
        for (p, expected) in p.iter().zip(expected) {
            let q = q[PValues::bin(*p)];
            assert!(
                q >= expected * 0.999 && q <= expected * 1.024,
                "p {p}: q {q}, expected {expected}"
            );
        }
        assert_eq!(counted.tested(), 10);
    }

    #[test]
    fn the_best_of_many_lags_needs_a_smaller_p() {
        assert!((of_best(0.01, 49) - 0.388_9).abs() < 1e-3);
        assert!((of_best(1e-20, 49) / 4.9e-19 - 1.0).abs() < 1e-9);
        assert_eq!((of_best(1.0, 3), of_best(0.0, 3)), (1.0, 0.0));
    }

    #[test]
    fn the_tails_of_the_normal_distribution_are_those_of_scipy() {
        // scipy 1.17.1: 2 * norm.sf(z)
        for (z, expected) in
            [(0.0, 1.0), (1.0, 0.317_310_507_862_914_1), (1.959_963_984_540_054, 0.05)]
        {
            assert!((two_sided(z) - expected).abs() < 1e-10, "{z}");
            assert_eq!(two_sided(z), two_sided(-z));
        }
        assert!((two_sided(8.0) / 1.244_192_114_854_356_8e-15 - 1.0).abs() < 1e-6);
        assert_eq!((two_sided(f64::INFINITY), two_sided(f64::NAN)), (0.0, 1.0));
    }

    #[test]
    fn p_values_are_two_sided() {
        // R: 2 * pnorm(-1.96)
        assert!((two_sided(1.96) - 0.049_995_790_296_440_86).abs() < 1e-9);
        assert_eq!((two_sided(-1.96), two_sided(0.0)), (two_sided(1.96), 1.0));
    }
}
