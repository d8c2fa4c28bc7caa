//! Exponential smoothing in component form, as textbooks print it, and a simplex search. Slow and obviously right.

use super::model::{Errors, Ets, Season, Trend};
use super::result::{Parameters, States};

/// A model run over a series.
pub(super) struct Run {
    /// n·ln Σe² + 2·Σ ln|f| of what is there.
    pub(super) deviance: f64,
    pub(super) squares: f64,
    /// The one-step forecast of each sample.
    pub(super) fitted: Vec<f64>,
    /// What holds after the last one; the season's next first.
    pub(super) last: States,
}

/// One step's forecast of a state.
fn forecast(model: Ets, phi: f64, state: &States, steps: usize) -> f64 {
    let trend = match model.trend {
        Trend::None => 0.0,
        Trend::Additive => steps as f64 * state.trend,
        Trend::Damped => (1..=steps).map(|step| phi.powi(step as i32)).sum::<f64>() * state.trend,
    };
    let base = state.level + trend;
    match model.season {
        Season::None => base,
        Season::Additive => base + state.season[(steps - 1) % state.season.len()],
        Season::Multiplicative => base * state.season[(steps - 1) % state.season.len()],
    }
}

/// The state after `y` was seen: Hyndman et al. 2008, table 2.1, in the terms β = αβ* and γ of the errors.
fn next(model: Ets, p: &Parameters, state: &States, y: f64) -> States {
    let phi = if model.trend == Trend::Damped { p.phi } else { 1.0 };
    let growth = if model.has_trend() { phi * state.trend } else { 0.0 };
    let before = state.level + growth;
    let season = state.season.first().copied().unwrap_or(0.0);
    let adjusted = match model.season {
        Season::None => y,
        Season::Additive => y - season,
        Season::Multiplicative => y / season,
    };
    let level = p.alpha * adjusted + (1.0 - p.alpha) * before;
    let trend = if model.has_trend() {
        let share = p.beta / p.alpha;
        share * (level - state.level) + (1.0 - share) * growth
    } else {
        0.0
    };
    let mut seasons = state.season.clone();
    if model.has_season() {
        let detrended = if model.season == Season::Additive { y - before } else { y / before };
        seasons.remove(0);
        seasons.push(p.gamma * detrended + (1.0 - p.gamma) * season);
    }
    States { level, trend, season: seasons }
}

/// Runs a model over a series that may have gaps.
pub(super) fn run(series: &[f64], model: Ets, p: &Parameters, initial: &States) -> Run {
    let phi = if model.trend == Trend::Damped { p.phi } else { 1.0 };
    let mut state = initial.clone();
    let (mut squares, mut logarithms, mut n) = (0.0, 0.0, 0.0);
    let mut fitted = Vec::new();
    for &y in series {
        let f = forecast(model, phi, &state, 1);
        fitted.push(f);
        // Where nothing is seen, the forecast is what would surprise nobody.
        let seen = if y.is_finite() { y } else { f };
        let relative = model.error == Errors::Multiplicative;
        let e = if relative { (seen - f) / f } else { seen - f };
        if y.is_finite() {
            n += 1.0;
            squares += e * e;
            logarithms += if relative { f.abs().ln() } else { 0.0 };
        }
        state = next(model, p, &state, seen);
    }
    Run { deviance: n * squares.ln() + 2.0 * logarithms, squares, fitted, last: state }
}

/// Forecasts after a run.
pub(super) fn ahead(model: Ets, p: &Parameters, run: &Run, horizon: usize) -> Vec<f64> {
    let phi = if model.trend == Trend::Damped { p.phi } else { 1.0 };
    (1..=horizon).map(|steps| forecast(model, phi, &run.last, steps)).collect()
}

/// The least value that Nelder & Mead's simplex finds from `start`, begun anew with each of `sizes` from where it ended.
#[cfg_attr(not(test), allow(dead_code))]
pub(super) fn simplex(value: &dyn Fn(&[f64]) -> f64, start: &[f64], sizes: &[f64]) -> f64 {
    let n = start.len();
    let (mut best, mut least) = (start.to_vec(), value(start));
    for &size in sizes {
        let mut points: Vec<(f64, Vec<f64>)> = vec![(least, best.clone())];
        for at in 0..n {
            let mut point = best.clone();
            point[at] += size;
            points.push((value(&point), point));
        }
        for _ in 0..200 * n {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if points[n].0 - points[0].0 < 1e-9 {
                break;
            }
            let centre: Vec<f64> = (0..n)
                .map(|at| points[..n].iter().map(|p| p.1[at]).sum::<f64>() / n as f64)
                .collect();
            let towards = |factor: f64| {
                let point: Vec<f64> = centre
                    .iter()
                    .zip(&points[n].1)
                    .map(|(centre, worst)| centre + factor * (centre - worst))
                    .collect();
                (value(&point), point)
            };
            let reflected = towards(1.0);
            let candidate = if reflected.0 < points[0].0 {
                let expanded = towards(2.0);
                if expanded.0 < reflected.0 { expanded } else { reflected }
            } else if reflected.0 < points[n - 1].0 {
                reflected
            } else {
                towards(if reflected.0 < points[n].0 { 0.5 } else { -0.5 })
            };
            if candidate.0 < points[n].0 {
                points[n] = candidate;
                continue;
            }
            let first = points[0].1.clone();
            for (worth, point) in &mut points[1..] {
                point.iter_mut().zip(&first).for_each(|(x, first)| *x = 0.5 * (*x + first));
                *worth = value(point);
            }
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (least, best) = points.swap_remove(0);
    }
    least
}
