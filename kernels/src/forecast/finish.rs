//! One series before and after its searches: what is taken out of it, which model is chosen, what is forecast.

use super::cpu::{Fit, Point, Prepared};
use super::initial::{SEASONS, Series, decompose, line};
use super::model::{Errors, Ets, Season};
use super::options::{ForecastOptions, Method};
use super::predict::{Track, normal_quantile, quantile, row_seed};
use super::result::{Model, Parameters, States, Status, Target};
use crate::element::Element;

/// What the theta method takes out of a series, and puts back into its forecasts; scaled.
pub(super) struct Adjustment {
    kind: Season,
    /// By the place in the period; neutral where there is no season.
    season: Vec<f64>,
    /// Half of the slope of the adjusted series.
    drift: f64,
}

/// A row before its searches.
pub(super) struct Ready {
    pub(super) prepared: Option<Prepared>,
    pub(super) adjustment: Option<Adjustment>,
}

pub(super) fn ready<T: Element>(row: &[T], options: &ForecastOptions) -> Ready {
    let Some(mut series) = Series::read(row).filter(|_| options.method != Method::SeasonalNaive)
    else {
        return Ready { prepared: None, adjustment: None };
    };
    let mut filled = series.filled();
    let mut adjustment = None;
    let mut period = options.season;
    if options.method == Method::Theta {
        let taken = take_out(&mut series, &mut filled, period);
        adjustment = Some(taken);
        period = 1;
    }
    let starts = SEASONS
        .into_iter()
        .filter(|season| period > 1 || *season == Season::None)
        .map(|season| series.start(&filled, season, period))
        .collect();
    Ready { prepared: Some(Prepared { series, starts }), adjustment }
}

/// Takes the season out, if there is one.
fn take_out(series: &mut Series, filled: &mut [f64], period: usize) -> Adjustment {
    let mut adjustment = Adjustment { kind: Season::Additive, season: vec![0.0], drift: 0.0 };
    if period > 1 && !series.constant && is_seasonal(filled, period) {
        let mut kind = if series.positive { Season::Multiplicative } else { Season::Additive };
        let mut season = decompose(filled, kind, period);
        // A season that nearly vanishes can't be divided by.
        if kind == Season::Multiplicative && season.iter().any(|part| *part < 0.02) {
            kind = Season::Additive;
            season = decompose(filled, kind, period);
        }
        for values in [&mut series.samples[..], &mut *filled] {
            for (value, part) in values.iter_mut().zip(season.iter().cycle()) {
                *value = if kind == Season::Multiplicative { *value / part } else { *value - part };
            }
        }
        (adjustment.kind, adjustment.season) = (kind, season);
    }
    adjustment.drift = 0.5 * line(filled).1;
    adjustment
}

/// Whether the autocorrelation at the season's lag is beyond 90 % of those of series without one (Bartlett's formula;
/// as R's `thetaf` tests).
fn is_seasonal(values: &[f64], period: usize) -> bool {
    let n = values.len();
    if n <= 2 * period {
        return false;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let at_lag = |lag: usize| -> f64 {
        values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let all = at_lag(0);
    let before: f64 = (1..period).map(|lag| (at_lag(lag) / all).powi(2)).sum();
    let bound = normal_quantile(0.95) * ((1.0 + 2.0 * before) / n as f64).sqrt();
    (at_lag(period) / all).abs() > bound
}

/// Chooses among `candidates` and writes what the best one says.
pub(super) fn finish<'a, T: Element>(
    row: &[T],
    prepared: Option<&Prepared>,
    adjustment: Option<&Adjustment>,
    candidates: impl Iterator<Item = (Ets, &'a Fit)>,
    number: usize,
    options: &ForecastOptions,
    out: Target<'_>,
) {
    out.fitted.fill(f64::NAN);
    let Some(prepared) = prepared else {
        return naive(row, options, out);
    };
    out.series.observed = prepared.series.observed;
    if prepared.series.constant && prepared.series.observed >= super::LEAST_SAMPLES {
        return constant(prepared, row.len(), options, out);
    }
    let n = prepared.series.observed as f64;
    let period = prepared.starts.last().map_or(1, |start| start.season.len().max(1));
    let best = candidates
        .map(|(model, fit)| {
            let k = model.dimension(period) as f64 + 1.0;
            let penalty = 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0);
            (fit.value + penalty, model, fit)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, model, fit)) = best else {
        return naive(row, options, out);
    };
    smooth(prepared, adjustment, model, fit, period, number, options, out);
}

/// What a fitted model says.
#[allow(clippy::too_many_arguments)]
fn smooth(
    prepared: &Prepared,
    adjustment: Option<&Adjustment>,
    model: Ets,
    fit: &Fit,
    period: usize,
    number: usize,
    options: &ForecastOptions,
    out: Target<'_>,
) {
    let Target { series, values, fitted } = out;
    let scale = prepared.series.scale;
    let point = Point::of(prepared, model, period, &fit.x);
    let relative = model.error == Errors::Multiplicative;
    series.status = Status::Fitted;
    series.model = Model::Ets(model);
    series.parameters = Parameters {
        alpha: point.smoothing.alpha,
        beta: if model.has_trend() { point.smoothing.beta } else { f64::NAN },
        gamma: if model.has_season() { point.smoothing.gamma } else { f64::NAN },
        phi: if point.smoothing.phi < 1.0 { point.smoothing.phi } else { f64::NAN },
    };
    let seasonal_scale = if model.season == Season::Multiplicative { 1.0 } else { scale };
    series.initial = States {
        level: point.level * scale,
        trend: point.trend * scale,
        season: point.season.iter().map(|part| part * seasonal_scale).collect(),
    };
    let alpha = point.smoothing.alpha;
    // Rows begin with what is missing before the first value.
    let first = fitted.len().saturating_sub(prepared.series.samples.len());
    let learnt = |samples: usize| (1.0 - (1.0 - alpha).powf(samples as f64)) / alpha;
    let track = Track::new(prepared, model, point, |at, forecast| {
        if let Some(value) = fitted.get_mut(first + at) {
            let drift = adjustment.map_or(0.0, |part| part.drift * learnt(at));
            *value = scale * put_back(adjustment, at, forecast + drift);
        }
    });
    let n = prepared.series.observed as f64;
    let k = model.dimension(period) as f64 + 1.0;
    let left = n - k - 1.0;
    let sigma2 = track.squares / left;
    series.sigma2 = if relative { sigma2 } else { sigma2 * scale * scale };
    series.aicc = track.deviance + 2.0 * n * scale.ln() + 2.0 * k + 2.0 * k * (k + 1.0) / left;

    let samples = prepared.series.samples.len();
    let (mean, ends) = values.split_at_mut(options.horizon);
    track.mean(mean);
    let variances = if options.levels.is_empty() {
        Some(Vec::new())
    } else if adjustment.is_some() {
        Some((0..mean.len()).map(|step| sigma2 * (1.0 + alpha * alpha * step as f64)).collect())
    } else {
        track.variances(sigma2, mean)
    };
    if let Some(part) = adjustment {
        series.model = Model::Theta;
        series.parameters.beta = part.drift * scale;
        series.aicc = f64::NAN;
        for (step, value) in mean.iter_mut().enumerate() {
            *value += part.drift * (step as f64 + learnt(samples));
        }
    }
    match variances {
        Some(variances) => intervals(mean, &variances, &options.levels, ends),
        None => {
            let seed = row_seed(options.seed, number);
            let paths = track.simulate(sigma2, options.horizon, options.paths, seed);
            let halves = ends.chunks_mut(2 * options.horizon);
            for (level, ends) in options.levels.iter().zip(halves) {
                let (lower, upper) = ends.split_at_mut(options.horizon);
                for (step, sorted) in paths.chunks(options.paths).enumerate() {
                    lower[step] = quantile(sorted, 0.5 - 0.5 * level);
                    upper[step] = quantile(sorted, 0.5 + 0.5 * level);
                }
            }
        }
    }
    for part in values.chunks_mut(options.horizon) {
        for (step, value) in part.iter_mut().enumerate() {
            *value = scale * put_back(adjustment, samples + step, *value);
        }
    }
}

/// A value of the adjusted series as one of the series itself.
fn put_back(adjustment: Option<&Adjustment>, at: usize, value: f64) -> f64 {
    let Some(Adjustment { kind, season, .. }) = adjustment else { return value };
    let part = season[at % season.len()];
    if *kind == Season::Multiplicative { value * part } else { value + part }
}

/// Normal intervals around `mean`, lower and upper of each level.
fn intervals(mean: &[f64], variances: &[f64], levels: &[f64], ends: &mut [f64]) {
    for (level, ends) in levels.iter().zip(ends.chunks_mut(2 * mean.len())) {
        let z = normal_quantile(0.5 + 0.5 * level);
        let (lower, upper) = ends.split_at_mut(mean.len());
        for (step, (mean, variance)) in mean.iter().zip(variances).enumerate() {
            // Rounding may leave a little less than 0.
            let width = if *variance < 0.0 { 0.0 } else { z * variance.sqrt() };
            (lower[step], upper[step]) = (mean - width, mean + width);
        }
    }
}

fn constant(prepared: &Prepared, samples: usize, options: &ForecastOptions, out: Target<'_>) {
    let Target { series, values, fitted } = out;
    let value = prepared.series.mean * prepared.series.scale;
    series.status = Status::Constant;
    series.model =
        if options.method == Method::Theta { Model::Theta } else { Model::Ets(Ets::SIMPLE) };
    series.sigma2 = 0.0;
    series.initial.level = value;
    values.fill(value);
    let first = samples - prepared.series.samples.len();
    if let Some(fitted) = fitted.get_mut(first..) {
        fitted.fill(value);
    }
}

/// The value one season ago, or as many seasons as it takes to find one.
fn naive<T: Element>(row: &[T], options: &ForecastOptions, out: Target<'_>) {
    let Target { series, values, fitted } = out;
    let samples: Vec<f64> = row
        .iter()
        .map(|value| value.to_f64())
        .map(|value| if value.is_finite() { value } else { f64::NAN })
        .collect();
    series.model = Model::SeasonalNaive;
    series.observed = samples.iter().filter(|value| !value.is_nan()).count();
    if series.observed == 0 {
        series.status = Status::Empty;
        values.fill(f64::NAN);
        return;
    }
    series.status =
        if options.method == Method::SeasonalNaive { Status::Fitted } else { Status::TooShort };
    // A season that was not seen once would leave places without any value.
    let season = if samples.len() > options.season { options.season } else { 1 };
    let mut last = vec![f64::NAN; season];
    let (mut squares, mut count) = (0.0, 0.0);
    for (at, sample) in samples.iter().enumerate() {
        let before = last[at % season];
        if let Some(value) = fitted.get_mut(at) {
            *value = before;
        }
        if !(sample - before).is_nan() {
            squares += (sample - before).powi(2);
            count += 1.0;
        }
        if !sample.is_nan() {
            last[at % season] = *sample;
        }
    }
    series.sigma2 = squares / count;
    let (mean, ends) = values.split_at_mut(options.horizon);
    for (step, value) in mean.iter_mut().enumerate() {
        *value = last[(samples.len() + step) % season];
    }
    let variances: Vec<f64> =
        (0..mean.len()).map(|step| series.sigma2 * (1 + step / season) as f64).collect();
    intervals(mean, &variances, &options.levels, ends);
}
