//! The search for the most likely parameters: BFGS over variables without bounds.
//!
//! The likelihood is smooth, and its gradient costs about as much as two more values of it (`likelihood`), whatever
//! the number of parameters. Nelder & Mead's simplex, which R and statsforecast use, needs some hundreds of values for
//! two parameters and has not converged after a thousand for the seventeen of a monthly model with trend and season.
//!
//! **Bounds.** α and γ in (0.0001, 0.9999), β from 0.0001 to α and at most 0.2, or 0.2/m beside a season of m, φ in
//! (0.8, 0.98), as R's `ets` and statsforecast have them. Without the bound of β a trend that follows the last few
//! samples is likelier one step ahead than a season, and a day ahead it is far off. R asks for γ < 1 − α besides, which
//! forbids what weighted averages can't mean but forecasts can: errors are forgotten as long as γ < 2 − α (Hyndman,
//! Akram & Archibald, "The admissible parameter space for exponential smoothing models", AISM 60, 2008).
//! Each is a wave, ½ + x/(1 + x²), of a variable without bounds: at ±1 it reaches its ends, and there turns. Where the
//! best place is at a bound, as α often is, that is an ordinary minimum of the wave, which a sigmoid would only creep
//! up to.
//!
//! **Steps.** Dense BFGS (Nocedal & Wright, "Numerical Optimization", 2006, algorithm 6.1), with bisection for the
//! weak Wolfe conditions (Lewis & Overton, Mathematical Programming 141, 2013, algorithm 2.6), which takes any value
//! that is not finite as too far. The likelihood may have more than one maximum: a level that follows everything leaves
//! nothing to the season, and the other way round. So there are two searches, one from where trend and season hardly
//! change, one from where they change fast; each starts at the best of a few values for α, the first also where
//! the level is the mean of all samples and hardly moves: beside spikes all others may lead out of the model. A last one starts from the
//! better end with its parameters moved off their bounds: a bound that was best on the way is a place without a slope.
//!
//! **Same answer.** Only +, −, ·, / and √ are used, which every device rounds alike, in the order of `forecast.cu`.
//! It is a machine that asks for one value after the other, so that many searches share the lanes of a vector.

use super::model::{Ets, Trend};

/// Least and most of α; the least of β and γ.
pub(super) const LEAST: f64 = 1e-4;
const MOST: f64 = 0.9999;
const PHI: (f64, f64) = (0.8, 0.98);
/// Values of -2 log likelihood after which a search ends.
pub(super) const MOST_VALUES: u32 = 400;
/// It has converged when two steps in a row gain less of -2 log likelihood.
const LITTLE: f64 = 1e-7;
/// Values along one direction.
const MOST_TRIES: u32 = 16;
/// Where α is tried, β and γ beside it, as variables without bounds: first for the slow search, then for the fast one.
const STARTS: [(f64, f64); 6] =
    [(-0.63, -0.63), (-0.2, -0.63), (0.4, -0.63), (-0.63, 0.0), (-0.2, 0.0), (0.4, 0.0)];
/// Starts of each; the slow search has one more.
const STARTS_OF_ONE: usize = 3;
/// The same where the level is the mean of all samples, and hardly moves.
const FLAT: (f64, f64) = (-0.95, -0.95);
const START_PHI: f64 = 0.4;
/// How far from its turning points the last search starts.
const INSIDE: f64 = 0.8;

/// α, β, γ, φ; those that a model lacks are 0, and φ is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Smoothing {
    pub(super) alpha: f64,
    pub(super) beta: f64,
    pub(super) gamma: f64,
    pub(super) phi: f64,
}

/// From 0 at -1 to 1 at 1, and back towards ½ on either side.
fn wave(x: f64) -> f64 {
    0.5 + x / (1.0 + x * x)
}

fn wave_slope(x: f64) -> f64 {
    let square = x * x;
    let below = 1.0 + square;
    (1.0 - square) / (below * below)
}

/// The most that β may be, whatever α is.
fn most_beta(model: Ets, period: usize) -> f64 {
    let period = if model.has_season() { period } else { 1 };
    LEAST + 0.2 * (MOST - LEAST) / period as f64
}

/// The bounded parameters of the variables `x`.
pub(super) fn smoothing(model: Ets, period: usize, x: &[f64]) -> Smoothing {
    let alpha = LEAST + (MOST - LEAST) * wave(x[0]);
    let mut found = Smoothing { alpha, beta: 0.0, gamma: 0.0, phi: 1.0 };
    let mut at = 1;
    if model.has_trend() {
        let most = most_beta(model, period);
        let most = if alpha < most { alpha } else { most };
        found.beta = LEAST + (most - LEAST) * wave(x[at]);
        at += 1;
    }
    if model.has_season() {
        found.gamma = LEAST + (MOST - LEAST) * wave(x[at]);
        at += 1;
    }
    if model.trend == Trend::Damped {
        found.phi = PHI.0 + (PHI.1 - PHI.0) * wave(x[at]);
    }
    found
}

/// Turns the gradient by α, β, γ, φ into that by the variables.
pub(super) fn smoothing_slopes(
    model: Ets,
    period: usize,
    x: &[f64],
    by: Smoothing,
    slopes: &mut [f64],
) {
    let alpha = LEAST + (MOST - LEAST) * wave(x[0]);
    let mut by_alpha = by.alpha;
    let mut at = 1;
    if model.has_trend() {
        let most = most_beta(model, period);
        if alpha < most {
            by_alpha += by.beta * wave(x[at]);
        }
        let most = if alpha < most { alpha } else { most };
        slopes[at] = by.beta * ((most - LEAST) * wave_slope(x[at]));
        at += 1;
    }
    if model.has_season() {
        slopes[at] = by.gamma * ((MOST - LEAST) * wave_slope(x[at]));
        at += 1;
    }
    if model.trend == Trend::Damped {
        slopes[at] = by.phi * ((PHI.1 - PHI.0) * wave_slope(x[at]));
    }
    slopes[0] = by_alpha * ((MOST - LEAST) * wave_slope(x[0]));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starts,
    Along,
    Done,
}

/// One search.
pub(super) struct Search {
    model: Ets,
    dimension: usize,
    phase: Phase,
    values: u32,
    tries: u32,
    small: u32,
    updated: bool,
    /// Which search it is: the slow one, the fast one, the last one; and where the best of those before ended.
    stage: u32,
    kept: f64,
    /// The variables of a level that is the mean of all samples and of no trend.
    flat: [f64; 2],
    value: f64,
    step: f64,
    near: f64,
    far: f64,
    slope: f64,
    /// The best point, its gradient, the direction, the point that is asked for, and a product.
    x: Vec<f64>,
    gradient: Vec<f64>,
    direction: Vec<f64>,
    trial: Vec<f64>,
    product: Vec<f64>,
    kept_x: Vec<f64>,
    /// Of the inverse Hessian, by row.
    inverse: Vec<f64>,
}

impl Search {
    /// Room for models of at most `dimension` variables.
    pub(super) fn new(dimension: usize) -> Self {
        let vector = || vec![0.0; dimension];
        Self {
            model: Ets::SIMPLE,
            dimension: 0,
            phase: Phase::Done,
            values: 0,
            tries: 0,
            small: 0,
            updated: false,
            stage: 0,
            kept: f64::INFINITY,
            flat: [0.0; 2],
            value: f64::INFINITY,
            step: 0.0,
            near: 0.0,
            far: 0.0,
            slope: 0.0,
            x: vector(),
            gradient: vector(),
            direction: vector(),
            trial: vector(),
            product: vector(),
            kept_x: vector(),
            inverse: vec![0.0; dimension * dimension],
        }
    }

    pub(super) fn bytes(dimension: usize) -> usize {
        size_of::<Self>() + (6 * dimension + dimension * dimension) * size_of::<f64>()
    }

    /// Begins for `model`, whose states start where their variables are 0, or `flat`.
    pub(super) fn begin(&mut self, model: Ets, period: usize, flat: [f64; 2]) {
        self.flat = flat;
        self.model = model;
        self.dimension = model.dimension(period);
        self.stage = 0;
        self.kept = f64::INFINITY;
        self.restart();
    }

    fn restart(&mut self) {
        self.phase = Phase::Starts;
        (self.values, self.tries, self.small, self.updated) = (0, 0, 0, false);
        self.value = f64::INFINITY;
        self.x.fill(0.0);
        self.gradient.fill(0.0);
        self.trial.fill(0.0);
        self.start(0);
    }

    fn start(&mut self, index: usize) {
        let first = if self.stage == 1 { STARTS_OF_ONE } else { 0 };
        let is_flat = index == STARTS_OF_ONE;
        let (alpha, others) = if is_flat { FLAT } else { STARTS[(first + index) % STARTS.len()] };
        self.trial[0] = alpha;
        let mut at = 1;
        for has in [self.model.has_trend(), self.model.has_season()] {
            if has {
                self.trial[at] = others;
                at += 1;
            }
        }
        if self.model.trend == Trend::Damped {
            self.trial[at] = START_PHI;
            at += 1;
        }
        if is_flat {
            self.trial[at] = self.flat[0];
            if self.model.has_trend() {
                self.trial[at + 1] = self.flat[1];
            }
        }
    }

    /// How many starts this search has.
    fn starts(&self) -> u32 {
        match self.stage {
            0 => STARTS_OF_ONE as u32 + 1,
            1 => STARTS_OF_ONE as u32,
            _ => 1,
        }
    }

    /// Ends one search. The best end of all is the result.
    fn end(&mut self) {
        let n = self.dimension;
        if self.stage > 0 && self.kept <= self.value {
            self.value = self.kept;
            self.x[..n].copy_from_slice(&self.kept_x[..n]);
        }
        let alone = !self.model.has_trend() && !self.model.has_season();
        if self.stage == 2 || self.value == f64::INFINITY && (alone || self.stage == 1) {
            self.phase = Phase::Done;
            return;
        }
        self.kept = self.value;
        self.kept_x[..n].copy_from_slice(&self.x[..n]);
        if self.stage == 0 && !alone {
            self.stage = 1;
            self.restart();
            return;
        }
        self.stage = 2;
        self.restart();
        self.trial[..n].copy_from_slice(&self.kept_x[..n]);
        for x in &mut self.trial[..self.model.smoothing()] {
            *x = x.clamp(-INSIDE, INSIDE);
        }
    }

    /// The point whose value is wanted; none when the search is done.
    pub(super) fn wanted(&self) -> Option<&[f64]> {
        (self.phase != Phase::Done).then_some(&self.trial[..self.dimension])
    }

    /// The best point so far and its value.
    pub(super) fn best(&self) -> (&[f64], f64) {
        (&self.x[..self.dimension], self.value)
    }

    /// Takes the value and the gradient of the point that was wanted.
    pub(super) fn tell(&mut self, value: f64, gradient: &[f64]) {
        self.values += 1;
        match self.phase {
            Phase::Starts => self.tell_start(value, gradient),
            Phase::Along => self.tell_along(value, gradient),
            Phase::Done => {}
        }
    }

    fn tell_start(&mut self, value: f64, gradient: &[f64]) {
        let n = self.dimension;
        if value < self.value {
            self.value = value;
            self.x[..n].copy_from_slice(&self.trial[..n]);
            self.gradient[..n].copy_from_slice(&gradient[..n]);
        }
        if self.values < self.starts() {
            self.start(self.values as usize);
        } else if self.value < f64::INFINITY {
            self.phase = Phase::Along;
            self.steepest();
        } else {
            self.end();
        }
    }

    fn tell_along(&mut self, value: f64, gradient: &[f64]) {
        self.tries += 1;
        let lower = value <= self.value + 1e-4 * self.step * self.slope;
        if lower {
            if dot(gradient, &self.direction, self.dimension) < 0.9 * self.slope
                && self.tries < MOST_TRIES
                && self.values < MOST_VALUES
            {
                self.near = self.step;
            } else {
                self.accept(value, gradient);
                return;
            }
        } else if self.tries >= MOST_TRIES || self.values >= MOST_VALUES {
            self.end();
            return;
        } else {
            self.far = self.step;
        }
        self.step =
            if self.far < f64::INFINITY { 0.5 * (self.near + self.far) } else { 2.0 * self.step };
        self.go();
    }

    fn accept(&mut self, value: f64, gradient: &[f64]) {
        let n = self.dimension;
        let gained = self.value - value;
        // From here on `trial` is the step and `gradient` of this object the change of the gradient.
        for (at, &slope) in gradient[..n].iter().enumerate() {
            let x = self.trial[at];
            self.trial[at] = x - self.x[at];
            self.direction[at] = slope - self.gradient[at];
            self.x[at] = x;
            self.gradient[at] = slope;
        }
        self.value = value;
        self.update();
        self.small = if gained < LITTLE { self.small + 1 } else { 0 };
        if self.small >= 2 || self.values >= MOST_VALUES {
            self.end();
            return;
        }
        for row in 0..n {
            let product = dot(&self.inverse[row * n..], &self.gradient, n);
            self.direction[row] = -product;
        }
        self.slope = dot(&self.gradient, &self.direction, n);
        if self.slope < 0.0 {
            self.begin_line(1.0);
        } else {
            self.steepest();
        }
    }

    /// The inverse Hessian after the step in `trial`, along which the gradient changed by `direction`.
    fn update(&mut self) {
        let n = self.dimension;
        let curvature = dot(&self.trial, &self.direction, n);
        if curvature <= 0.0 || !curvature.is_finite() {
            return;
        }
        if !self.updated {
            let scale = curvature / dot(&self.direction, &self.direction, n);
            for at in 0..n {
                self.inverse[at * n + at] = scale;
            }
            self.updated = true;
        }
        for row in 0..n {
            self.product[row] = dot(&self.inverse[row * n..], &self.direction, n);
        }
        let rho = 1.0 / curvature;
        let factor = (1.0 + dot(&self.direction, &self.product, n) * rho) * rho;
        for row in 0..n {
            let (step, product) = (self.trial[row] * factor, self.product[row] * rho);
            let both = self.trial[row] * rho;
            for col in 0..n {
                let less = product * self.trial[col] + both * self.product[col];
                self.inverse[row * n + col] += step * self.trial[col] - less;
            }
        }
    }

    /// Forgets the curvature and goes downhill.
    fn steepest(&mut self) {
        let n = self.dimension;
        self.inverse[..n * n].fill(0.0);
        for at in 0..n {
            self.inverse[at * n + at] = 1.0;
            self.direction[at] = -self.gradient[at];
        }
        self.updated = false;
        self.slope = dot(&self.gradient, &self.direction, n);
        if self.slope < 0.0 {
            let length = (-self.slope).sqrt();
            self.begin_line(if length > 0.5 { 0.5 / length } else { 1.0 });
        } else {
            self.end();
        }
    }

    fn begin_line(&mut self, step: f64) {
        (self.step, self.near, self.far, self.tries) = (step, 0.0, f64::INFINITY, 0);
        self.go();
    }

    fn go(&mut self) {
        for at in 0..self.dimension {
            self.trial[at] = self.x[at] + self.step * self.direction[at];
        }
    }
}

/// The inner product of the first `n` values, summed from the first to the last.
fn dot(a: &[f64], b: &[f64], n: usize) -> f64 {
    a[..n].iter().zip(&b[..n]).fold(0.0, |sum, (a, b)| sum + a * b)
}
