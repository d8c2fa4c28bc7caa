//! From a fitted model to forecasts, intervals and fitted values.
//!
//! **Mean.** ℓ + φₕ·b with φₕ = φ + … + φʰ, plus or times the season of the place (Hyndman et al. 2008, table 2.2).
//!
//! **Variance** (same book, §6.2 and 6.3), with cⱼ = α + β·φⱼ + γ·[j is a multiple of the period]:
//! - additive errors: vₕ = σ²·(1 + Σ_{j<h} cⱼ²);
//! - multiplicative errors, season not multiplied: vₕ = (1 + σ²)·θₕ − μₕ², θₕ = μₕ² + σ²·Σ_{j<h} cⱼ²·θ₍h₋ⱼ₎;
//! - multiplied season: no closed form; quantiles of simulated paths, normal errors from a seed and the row's number.

use super::cpu::{Point, Prepared};
use super::likelihood::logarithm;
use super::model::{Errors, Ets, Season};
use crate::random::Random;

/// A model that has seen its series.
pub(super) struct Track {
    model: Ets,
    point: Point,
    /// Place in the period of the first forecast.
    place: usize,
    /// Σe².
    pub(super) squares: f64,
    /// -2 log likelihood but for a constant, of the scaled series and without the floor of the search.
    pub(super) deviance: f64,
}

impl Track {
    /// `model` at `point`, before the first sample.
    pub(super) fn begin(model: Ets, point: Point) -> Self {
        Self { model, point, place: 0, squares: 0.0, deviance: 0.0 }
    }

    /// Runs `model` from `point` over the series. `each` gets the forecast of every sample.
    pub(super) fn new(
        prepared: &Prepared,
        model: Ets,
        point: Point,
        mut each: impl FnMut(usize, f64),
    ) -> Self {
        let mut track = Self::begin(model, point);
        let mut logarithms = 0.0;
        let relative = model.error == Errors::Multiplicative;
        for (at, &sample) in prepared.series.samples.iter().enumerate() {
            let (forecast, e) = track.see(sample);
            each(at, forecast);
            if relative && !sample.is_nan() {
                logarithms += logarithm(forecast);
            }
            track.squares += e * e;
        }
        let n = prepared.series.observed as f64;
        let floor = prepared.series.floor(relative);
        track.deviance = n * logarithm(track.squares + n * floor) + 2.0 * logarithms;
        track
    }

    /// Goes on by a sample, NaN where it is missing: what was forecast of it, and the error as the model counts it.
    pub(super) fn see(&mut self, sample: f64) -> (f64, f64) {
        let forecast = self.ahead(1);
        let r = if sample.is_nan() { 0.0 } else { sample - forecast };
        let e = if self.model.error == Errors::Multiplicative { r / forecast } else { r };
        self.take(r, e);
        (forecast, e)
    }

    /// The next state, after an error.
    fn take(&mut self, r: f64, e: f64) {
        let Point { smoothing, level, trend, season } = &mut self.point;
        let q = *level + smoothing.phi * *trend;
        let multiplied = self.model.season == Season::Multiplicative;
        let change = if multiplied { q * e } else { r };
        *level = q + smoothing.alpha * change;
        *trend = smoothing.phi * *trend + smoothing.beta * change;
        if let Some(s) = season.get_mut(self.place) {
            *s += smoothing.gamma * if multiplied { *s * e } else { r };
            self.place = (self.place + 1) % season.len();
        }
    }

    /// The forecast `steps` ahead, 1 or more.
    fn ahead(&self, steps: usize) -> f64 {
        let Point { level, trend, season, .. } = &self.point;
        let q = level + self.damped(steps) * trend;
        if season.is_empty() {
            return q;
        }
        let s = season[(self.place + steps - 1) % season.len()];
        if self.model.season == Season::Multiplicative { q * s } else { q + s }
    }

    /// φ + … + φ^steps.
    fn damped(&self, steps: usize) -> f64 {
        let phi = self.point.smoothing.phi;
        if phi == 1.0 {
            return steps as f64;
        }
        (1..=steps).fold((0.0, 1.0), |(sum, power), _| (sum + power * phi, power * phi)).0
    }

    /// Forecasts for 1, 2, … steps.
    pub(super) fn mean(&self, mean: &mut [f64]) {
        for (step, value) in mean.iter_mut().enumerate() {
            *value = self.ahead(step + 1);
        }
    }

    /// The variances of the forecasts; none where there is no closed form.
    pub(super) fn variances(&self, sigma2: f64, mean: &[f64]) -> Option<Vec<f64>> {
        let Point { smoothing, season, .. } = &self.point;
        let c = |steps: usize| {
            let seasonal = !season.is_empty() && steps.is_multiple_of(season.len());
            let gamma = if seasonal { smoothing.gamma } else { 0.0 };
            smoothing.alpha + smoothing.beta * self.damped(steps) + gamma
        };
        let squares: Vec<f64> = (1..=mean.len()).map(|steps| c(steps).powi(2)).collect();
        match (self.model.error, self.model.season) {
            (_, Season::Multiplicative) => None,
            (Errors::Additive, _) => {
                let mut sum = 1.0;
                Some(
                    squares
                        .iter()
                        .map(|square| {
                            let variance = sigma2 * sum;
                            sum += square;
                            variance
                        })
                        .collect(),
                )
            }
            (Errors::Multiplicative, _) => {
                let mut theta = Vec::with_capacity(mean.len());
                for (step, mu) in mean.iter().enumerate() {
                    let past: f64 = (1..=step).map(|j| squares[j - 1] * theta[step - j]).sum();
                    theta.push(mu * mu + sigma2 * past);
                }
                Some(
                    theta
                        .iter()
                        .zip(mean)
                        .map(|(theta, mu)| (1.0 + sigma2) * theta - mu * mu)
                        .collect(),
                )
            }
        }
    }

    /// Simulated values, by step and then sorted: `paths` of them for each of `steps`.
    pub(super) fn simulate(&self, sigma2: f64, steps: usize, paths: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        let sigma = sigma2.sqrt();
        let mut values = vec![0.0; steps * paths];
        let mut track = Self { point: self.point.clone(), ..*self };
        for path in 0..paths {
            track.point.clone_from(&self.point);
            track.place = self.place;
            for step in 0..steps {
                let forecast = track.ahead(1);
                let noise = sigma * normal(&mut random);
                let relative = self.model.error == Errors::Multiplicative;
                let (r, e) = if relative { (forecast * noise, noise) } else { (noise, noise) };
                values[step * paths + path] = forecast + r;
                track.take(r, e);
            }
        }
        values.chunks_mut(paths).for_each(|step| step.sort_unstable_by(f64::total_cmp));
        values
    }
}

/// The quantile of sorted values, linear between neighbours.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() as f64 - 1.0);
    let low = sorted[position.floor() as usize];
    let high = sorted[position.ceil() as usize];
    low + (high - low) * (position - position.floor())
}

/// A standard normal error, by the quantile of a uniform one: not by pairs, so that each takes one word.
fn normal(random: &mut Random) -> f64 {
    normal_quantile(((random.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64)
}

/// The seed of a row's own stream.
pub(super) fn row_seed(seed: u64, row: usize) -> u64 {
    Random::new(seed ^ Random::new(row as u64).bits()).bits()
}

/// The value that a standard normal variable is below with probability `p`: Wichura, "Algorithm AS 241", Applied
/// Statistics 37 (1988), PPND16; relative error about 1e-16.
pub(super) fn normal_quantile(p: f64) -> f64 {
    let ratio = |r: f64, above: &[f64; 8], below: &[f64; 8]| {
        let sum = |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * r + term);
        sum(above) / sum(below)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(0.180625 - q * q, &A, &B);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail.is_nan() || tail <= 0.0 {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let r = (-tail.ln()).sqrt();
    let value = if r <= 5.0 { ratio(r - 1.6, &C, &D) } else { ratio(r - 5.0, &E, &F) };
    if q < 0.0 { -value } else { value }
}

const A: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const B: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_545,
];
const C: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    7.745_450_142_783_414e-4,
];
const D: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const E: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    0.001_242_660_947_388_078_4,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const F: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_7e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_quantiles_are_the_tables() {
        // Wichura's own checks, and the two everyone knows.
        for (p, z) in [
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_814),
            (1e-20, -9.262_340_089_798_408),
            (0.975, 1.959_963_984_540_054),
            (0.5, 0.0),
        ] {
            assert!((normal_quantile(p) - z).abs() <= 1e-14 * z.abs(), "{p}");
        }
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    }

    #[test]
    fn rows_have_streams_of_their_own() {
        assert_ne!(row_seed(1, 0), row_seed(1, 1));
        assert_ne!(row_seed(1, 0), row_seed(2, 0));
        let mut random = Random::new(7);
        let values: Vec<f64> = (0..20_000).map(|_| normal(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|value| value * value).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
