//! -2 log likelihood of sixteen series at once, and its gradient by every parameter and initial state.
//!
//! **Recursion** (error correction form of Hyndman et al. 2008, tables 2.2 and 2.3). With q = ℓ + φ·b:
//! ```text
//!   season      forecast f    r            new level      new trend       new season
//!   none        q             y − f        q + α·r        φ·b + β·r
//!   added       q + s         y − f        q + α·r        φ·b + β·r       s + γ·r
//!   multiplied  q · s         (y − f)/f    q + α·q·r      φ·b + β·q·r     s + γ·s·r
//! ```
//! The error is e = y − f or (y − f)/f; where the season does not multiply, both kinds of error move the states alike.
//! A sample that is missing has r = 0: the states move on as expected, and the likelihood does not count it.
//!
//! **Value.** n·ln(Σe² + δ), and for multiplicative errors 2·Σ ln f besides (same book, eq. 5.3). δ is 1e-16 of the
//! series' variance for each sample: without it a series that a model fits exactly would have no maximum.
//! The sum of logarithms is kept as a product whose exponent is taken out at each step.
//!
//! **Gradient.** The adjoint of the recursion, backwards over a tape of q, b, s and e (Griewank & Walther, "Evaluating
//! Derivatives", 2008, §3.2). It costs about two values, whatever the number of parameters.
//!
//! **Lanes.** Every lane is one series with its own parameters, all of one model. A recursion can't be vectorised along
//! time, and its steps wait for each other; sixteen lanes are two or four vectors, whose waits overlap.

use super::model::{Errors, Ets, Season};
use crate::simd::{Work, vectorised};

/// Series that are worked on together.
pub(super) const LANES: usize = 16;
/// One value for each lane.
pub(super) type Lane = [f64; LANES];
/// Forecasts of a multiplicative error below this share of the largest value are refused.
const LEAST_FORECAST: f64 = 1e-12;

/// What one step leaves for the way back.
#[derive(Clone, Copy)]
struct Step {
    q: Lane,
    b: Lane,
    s: Lane,
    e: Lane,
}

/// Parameters, or the derivatives by them.
#[derive(Clone)]
pub(super) struct Points {
    pub(super) alpha: Lane,
    pub(super) beta: Lane,
    pub(super) gamma: Lane,
    pub(super) phi: Lane,
    pub(super) level: Lane,
    pub(super) trend: Lane,
    /// By the place of the sample in its period.
    pub(super) season: Vec<Lane>,
}

impl Points {
    fn new(period: usize) -> Self {
        let zero = [0.0; LANES];
        Self {
            alpha: zero,
            beta: zero,
            gamma: zero,
            phi: zero,
            level: zero,
            trend: zero,
            season: vec![zero; period],
        }
    }
}

/// The series in the lanes, where the likelihood is wanted, and what it is there.
pub(super) struct Lanes {
    samples: Vec<Lane>,
    observed: Lane,
    floor: Lane,
    steps: usize,
    /// Where the value is wanted.
    pub(super) at: Points,
    /// -2 log likelihood but for a constant; infinite where the point is outside the model.
    pub(super) value: Lane,
    /// The gradient.
    pub(super) by: Points,
    tape: Vec<Step>,
    season: Vec<Lane>,
}

impl Lanes {
    pub(super) fn new(samples: usize, period: usize) -> Self {
        let zero = [0.0; LANES];
        Self {
            samples: vec![[f64::NAN; LANES]; samples],
            observed: zero,
            floor: zero,
            steps: 0,
            at: Points::new(period),
            value: zero,
            by: Points::new(period),
            tape: vec![Step { q: zero, b: zero, s: zero, e: zero }; samples],
            season: vec![zero; period],
        }
    }

    pub(super) fn bytes(samples: usize, period: usize) -> usize {
        size_of::<Self>() + LANES * size_of::<f64>() * (5 * samples + 3 * period)
    }

    /// Puts a series into a lane. Samples that are missing are NaN.
    pub(super) fn load(&mut self, lane: usize, samples: &[f64], observed: usize, floor: f64) {
        for (row, value) in
            self.samples.iter_mut().zip(samples.iter().copied().chain(std::iter::repeat(f64::NAN)))
        {
            row[lane] = value;
        }
        self.observed[lane] = observed as f64;
        self.floor[lane] = floor;
        self.steps = self.steps.max(samples.len());
    }

    /// Empties a lane.
    pub(super) fn clear(&mut self, lane: usize) {
        self.load(lane, &[], 0, 1.0);
        let at = &mut self.at;
        (at.alpha[lane], at.beta[lane], at.gamma[lane], at.phi[lane]) = (0.5, 0.0, 0.0, 1.0);
        (at.level[lane], at.trend[lane]) = (1.0, 0.0);
        self.at.season.iter_mut().for_each(|season| season[lane] = 1.0);
    }

    /// Computes `value` and `by` at `at`, for every lane.
    pub(super) fn evaluate(&mut self, model: Ets, period: usize) {
        vectorised(Evaluate { lanes: self, model, period });
    }
}

struct Evaluate<'a> {
    lanes: &'a mut Lanes,
    model: Ets,
    period: usize,
}

const NONE: u8 = 0;
const ADDED: u8 = 1;
const MULTIPLIED: u8 = 2;

impl Work for Evaluate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { lanes, model, period } = self;
        let trend = model.has_trend();
        match (model.error, trend, model.season) {
            (Errors::Additive, false, Season::None) => pass::<false, false, NONE>(lanes, 1),
            (Errors::Additive, true, Season::None) => pass::<false, true, NONE>(lanes, 1),
            (Errors::Additive, false, _) => pass::<false, false, ADDED>(lanes, period),
            (Errors::Additive, true, _) => pass::<false, true, ADDED>(lanes, period),
            (_, false, Season::None) => pass::<true, false, NONE>(lanes, 1),
            (_, true, Season::None) => pass::<true, true, NONE>(lanes, 1),
            (_, false, Season::Additive) => pass::<true, false, ADDED>(lanes, period),
            (_, true, Season::Additive) => pass::<true, true, ADDED>(lanes, period),
            (_, false, Season::Multiplicative) => pass::<true, false, MULTIPLIED>(lanes, period),
            (_, true, Season::Multiplicative) => pass::<true, true, MULTIPLIED>(lanes, period),
        }
    }
}

/// Forwards and back again.
#[inline(always)]
fn pass<const RELATIVE: bool, const TREND: bool, const SEASON: u8>(
    lanes: &mut Lanes,
    period: usize,
) {
    let steps = lanes.steps;
    let (alpha, beta, gamma, phi) =
        (&lanes.at.alpha, &lanes.at.beta, &lanes.at.gamma, &lanes.at.phi);
    let samples = &lanes.samples[..steps];
    let tape = &mut lanes.tape[..steps];
    let season = &mut lanes.season[..period];
    season.copy_from_slice(&lanes.at.season[..period]);
    let (mut level, mut trend) = (lanes.at.level, lanes.at.trend);
    let (mut squares, mut product, mut exponents) = ([0.0; LANES], [1.0f64; LANES], [0i64; LANES]);
    let mut least = [f64::INFINITY; LANES];
    let mut place = 0;
    for (y, step) in samples.iter().zip(tape.iter_mut()) {
        let s = &mut season[place];
        for k in 0..LANES {
            let q = if TREND { level[k] + phi[k] * trend[k] } else { level[k] };
            let f = match SEASON {
                NONE => q,
                ADDED => q + s[k],
                _ => q * s[k],
            };
            let seen = !y[k].is_nan();
            let r = if seen { y[k] - f } else { 0.0 };
            let e = if RELATIVE { r / f } else { r };
            step.q[k] = q;
            step.e[k] = e;
            if TREND {
                step.b[k] = trend[k];
            }
            let change = if SEASON == MULTIPLIED { q * e } else { r };
            level[k] = q + alpha[k] * change;
            if TREND {
                trend[k] = phi[k] * trend[k] + beta[k] * change;
            }
            if SEASON != NONE {
                step.s[k] = s[k];
                let change = if SEASON == MULTIPLIED { s[k] * e } else { r };
                s[k] += gamma[k] * change;
            }
            squares[k] += e * e;
            if RELATIVE {
                let factor = if seen { f } else { 1.0 };
                least[k] = if factor < least[k] { factor } else { least[k] };
                let bits = (product[k] * factor).to_bits();
                exponents[k] += (bits >> 52) as i64 - 1023;
                product[k] = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
            }
        }
        place = if place + 1 == period { 0 } else { place + 1 };
    }

    let mut weight = [0.0; LANES];
    for k in 0..LANES {
        let n = lanes.observed[k];
        let sum = squares[k] + lanes.floor[k] * n;
        let mut value = n * logarithm(sum);
        if RELATIVE {
            value += 2.0 * (logarithm(product[k]) + exponents[k] as f64 * std::f64::consts::LN_2);
            value = if least[k] >= LEAST_FORECAST { value } else { f64::INFINITY };
        }
        lanes.value[k] = value;
        weight[k] = 2.0 * n / sum;
    }

    let zero = [0.0; LANES];
    let (mut by_alpha, mut by_beta, mut by_gamma, mut by_phi) = (zero, zero, zero, zero);
    let (mut by_level, mut by_trend) = (zero, zero);
    let by_season = &mut lanes.by.season[..period];
    by_season.fill(zero);
    for (y, step) in samples.iter().zip(tape.iter()).rev() {
        place = if place == 0 { period - 1 } else { place - 1 };
        let by_s = &mut by_season[place];
        for k in 0..LANES {
            let (q, b, s, e) = (step.q[k], step.b[k], step.s[k], step.e[k]);
            let seen = !y[k].is_nan();
            let mut by_q = by_level[k];
            let by_f;
            if SEASON == MULTIPLIED {
                let f = q * s;
                let moved =
                    alpha[k] * by_level[k] + if TREND { beta[k] * by_trend[k] } else { 0.0 };
                let by_e = q * moved + s * (gamma[k] * by_s[k]) + weight[k] * e;
                by_alpha[k] += q * e * by_level[k];
                if TREND {
                    by_beta[k] += q * e * by_trend[k];
                }
                by_gamma[k] += s * e * by_s[k];
                by_q += e * moved;
                by_f = if seen { (2.0 - by_e * (1.0 + e)) / f } else { 0.0 };
                by_q += by_f * s;
                by_s[k] = by_s[k] * (1.0 + gamma[k] * e) + by_f * q;
            } else {
                let f = if SEASON == ADDED { q + s } else { q };
                let r = if !RELATIVE {
                    e
                } else if seen {
                    y[k] - f
                } else {
                    0.0
                };
                let mut moved = alpha[k] * by_level[k];
                by_alpha[k] += by_level[k] * r;
                if TREND {
                    moved += beta[k] * by_trend[k];
                    by_beta[k] += by_trend[k] * r;
                }
                if SEASON == ADDED {
                    moved += gamma[k] * by_s[k];
                    by_gamma[k] += by_s[k] * r;
                }
                let weighted = weight[k] * e;
                by_f = if !seen {
                    0.0
                } else if RELATIVE {
                    (2.0 - weighted * (1.0 + e)) / f - moved
                } else {
                    -(moved + weighted)
                };
                by_q += by_f;
                if SEASON == ADDED {
                    by_s[k] += by_f;
                }
            }
            if TREND {
                let both = by_trend[k] + by_q;
                by_phi[k] += b * both;
                by_trend[k] = phi[k] * both;
            }
            by_level[k] = by_q;
        }
    }
    let by = &mut lanes.by;
    (by.alpha, by.beta, by.gamma, by.phi) = (by_alpha, by_beta, by_gamma, by_phi);
    (by.level, by.trend) = (by_level, by_trend);
}

/// ln x for x > 0, to about 1 unit in the last place, by operations that every device rounds alike: ln m = 2·artanh z
/// with z = (m − 1)/(m + 1) and m in [√½, √2), as a series in z².
pub(super) fn logarithm(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 || x == f64::INFINITY {
        return if x > 0.0 { x } else { f64::NAN };
    }
    let (x, shift) =
        if x < f64::MIN_POSITIVE { (x * 18014398509481984.0, -54.0) } else { (x, 0.0) };
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64 + shift;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let w = z * z;
    // z² < 0.0295: twelve terms reach 1e-18.
    let mut sum = 0.0;
    let mut odd = 23.0;
    while odd > 2.0 {
        sum = (sum + 1.0 / odd) * w;
        odd -= 2.0;
    }
    2.0 * z + 2.0 * z * sum + exponent * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        for x in [1e-320, 1e-300, 0.1, 0.7, 0.7072, 1.0, 1.0 + 1e-9, 1.4143, 2.0, 3.7e5, 1e300] {
            let (found, expected) = (logarithm(x), f64::ln(x));
            assert!(
                (found - expected).abs() <= 4e-16 * expected.abs().max(1e-9),
                "ln {x}: {found}"
            );
        }
        assert_eq!(logarithm(0.0), f64::NEG_INFINITY);
        assert!(logarithm(-1.0).is_nan() && logarithm(f64::NAN).is_nan());
        assert_eq!(logarithm(f64::INFINITY), f64::INFINITY);
    }
}
