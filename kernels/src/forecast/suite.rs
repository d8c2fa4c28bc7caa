//! One suite for every way to forecast.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

use std::sync::LazyLock;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::budget::Budget;
use crate::cuda::emulated::Emulated;
use crate::device::DeviceReport;
use crate::testing::{Check, Route, check_all, generator, on};
use crate::tolerance;

/// Monthly passengers of airlines in thousands, 1949 to 1960: Box & Jenkins, "Time Series Analysis", 1976, series G.
const PASSENGERS: [f64; 144] = [
    112., 118., 132., 129., 121., 135., 148., 148., 136., 119., 104., 118., 115., 126., 141., 135.,
    125., 149., 170., 170., 158., 133., 114., 140., 145., 150., 178., 163., 172., 178., 199., 199.,
    184., 162., 146., 166., 171., 180., 193., 181., 183., 218., 230., 242., 209., 191., 172., 194.,
    196., 196., 236., 235., 229., 243., 264., 272., 237., 211., 180., 201., 204., 188., 235., 227.,
    234., 264., 302., 293., 259., 229., 203., 229., 242., 233., 267., 269., 270., 315., 364., 347.,
    312., 274., 237., 278., 284., 277., 317., 313., 318., 374., 413., 405., 355., 306., 271., 306.,
    315., 301., 356., 348., 355., 422., 465., 467., 404., 347., 305., 336., 340., 318., 362., 348.,
    363., 435., 491., 505., 404., 359., 310., 337., 360., 342., 406., 396., 420., 472., 548., 559.,
    463., 407., 362., 405., 417., 391., 419., 461., 472., 535., 622., 606., 508., 461., 390., 432.,
];

fn cpu() -> Execution {
    on(Route::Cpu)
}

fn plain(method: Method, season: usize) -> ForecastOptions {
    ForecastOptions { method, season, horizon: 14, ..ForecastOptions::default() }
}

/// The operation by one of its routes.
fn go<T: Element>(
    route: Route,
    x: MatrixView<'_, T>,
    options: &ForecastOptions,
    execution: &Execution,
) -> Forecasts {
    static DEVICES: LazyLock<[Emulated; 2]> =
        LazyLock::new(|| std::array::from_fn(|_| Emulated::new(&SOURCE, 1 << 30)));
    if route == Route::Emulated {
        let stats = Stats::new(DeviceReport::cpu("emulated"));
        check(x, options).unwrap();
        return run_on(&DEVICES[..], stats, x, options, execution).unwrap();
    }
    forecast(x, options, execution).unwrap()
}

fn view<T>(values: &[T], rows: usize) -> MatrixView<'_, T> {
    MatrixView::new(values, rows, values.len().checked_div(rows).unwrap_or(0)).unwrap()
}

/// A series with a level, a trend, a season that adds or multiplies, noise, and gaps.
fn seasonal(rng: &mut ChaCha8Rng, samples: usize, period: usize, gaps: f64) -> Vec<f64> {
    let shape: Vec<f64> = (0..period).map(|_| rng.random_range(0.7..1.3)).collect();
    let (level, trend) = (rng.random_range(5.0..50.0), rng.random_range(-0.01..0.05));
    let multiplied = rng.random_bool(0.5);
    let mut drift = 0.0;
    (0..samples)
        .map(|t| {
            drift += rng.random_range(-0.1..0.1);
            let base = level + trend * t as f64 + drift;
            let season = shape[t % period];
            let value = if multiplied { base * season } else { base + level * (season - 1.0) };
            let noisy = value + rng.random_range(-0.4..0.4);
            if rng.random_bool(gaps) { f64::NAN } else { noisy }
        })
        .collect()
}

fn bits(forecasts: &Forecasts) -> Vec<u64> {
    let mut bits = Vec::new();
    for (row, series) in forecasts.series.iter().enumerate() {
        bits.extend([
            series.aicc.to_bits(),
            series.sigma2.to_bits(),
            series.initial.level.to_bits(),
        ]);
        bits.extend(forecasts.mean(row).iter().map(|value| value.to_bits()));
        for level in 0..forecasts.levels.len() {
            bits.extend(forecasts.lower(row, level).iter().map(|value| value.to_bits()));
            bits.extend(forecasts.upper(row, level).iter().map(|value| value.to_bits()));
        }
        bits.extend(forecasts.fitted(row).iter().map(|value| value.to_bits()));
    }
    bits
}

fn prepared(series: &[f64], period: usize) -> Prepared {
    let options = plain(Method::AutoEts, period);
    finish::ready(series, &options).prepared.unwrap()
}

/// -2 log likelihood by the textbook at a point of the search, with the search's floor.
fn by_the_book(prepared: &Prepared, model: Ets, period: usize, x: &[f64]) -> f64 {
    let point = cpu::Point::of(prepared, model, period, x);
    let smoothing = point.smoothing;
    let parameters = Parameters {
        alpha: smoothing.alpha,
        beta: smoothing.beta,
        gamma: smoothing.gamma,
        phi: smoothing.phi,
    };
    let initial = States { level: point.level, trend: point.trend, season: point.season };
    let run = reference::run(&prepared.series.samples, model, &parameters, &initial);
    if model.error == Errors::Multiplicative {
        let least = run.fitted.iter().zip(&prepared.series.samples);
        if least.filter(|(_, y)| !y.is_nan()).any(|(f, _)| *f < 1e-12) {
            return f64::INFINITY;
        }
    }
    let n = prepared.series.observed as f64;
    let floor = prepared.series.floor(model.error == Errors::Multiplicative);
    run.deviance - n * run.squares.ln() + n * (run.squares + n * floor).ln()
}

#[test]
fn value_and_gradient_are_those_of_the_textbook() {
    let mut rng = generator("forecast::gradient");
    for (samples, period) in [(40, 4), (61, 7), (30, 2)] {
        for model in Ets::all() {
            let series = seasonal(&mut rng, samples, period, 0.1);
            let prepared = prepared(&series, period);
            let x: Vec<f64> =
                (0..model.dimension(period)).map(|_| rng.random_range(-0.5..0.5)).collect();
            let (value, slopes) = cpu::probe::value_and_gradient(&prepared, model, period, &x);
            let expected = by_the_book(&prepared, model, period, &x);
            if expected == f64::INFINITY {
                assert_eq!(value, expected, "{model} where a forecast is not positive");
                continue;
            }
            assert!(
                (value - expected).abs() <= tolerance::FORECAST_MODEL * expected.abs().max(1.0),
                "{model}: {value}, expected {expected}"
            );
            for at in 0..x.len() {
                let beside = |step: f64| {
                    let mut x = x.clone();
                    x[at] += step;
                    by_the_book(&prepared, model, period, &x)
                };
                let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
                if !slope.is_finite() {
                    continue;
                }
                assert!(
                    (slopes[at] - slope).abs() <= 1e-4 * (1.0 + slope.abs()),
                    "{model}: slope {at} is {}, expected {slope}",
                    slopes[at]
                );
            }
        }
    }
}

/// What is reported is what the textbook says of the reported parameters.
fn reports_agree<T: Element>(route: Route) {
    let mut rng = generator("forecast::reports_agree");
    let shapes: &[(usize, usize, usize)] = if route == Route::Emulated {
        &[(1, 23, 2), (3, 17, 3)]
    } else {
        &[(1, 23, 2), (5, 61, 4), (17, 97, 12), (33, 40, 1)]
    };
    for &(rows, samples, season) in shapes {
        let mut x = Vec::new();
        for _ in 0..rows {
            let gaps = if rng.random_bool(0.5) { 0.1 } else { 0.0 };
            x.extend(seasonal(&mut rng, samples, season, gaps).into_iter().map(T::from_f64));
        }
        let options = ForecastOptions { fitted: Fitted::Give, ..plain(Method::AutoEts, season) };
        let found = go(route, view(&x, rows), &options, &on(route));
        for row in 0..rows {
            let series: Vec<f64> =
                view(&x, rows).row(row).iter().map(|value| value.to_f64()).collect();
            let first = series.iter().position(|value| value.is_finite()).unwrap();
            let said = &found.series[row];
            let Model::Ets(model) = said.model else {
                assert_eq!(said.status, Status::TooShort);
                continue;
            };
            let run = reference::run(&series[first..], model, &said.parameters, &said.initial);
            let k = model.dimension(season) as f64 + 1.0;
            let left = said.observed as f64 - k - 1.0;
            let aicc = run.deviance + 2.0 * k + 2.0 * k * (k + 1.0) / left;
            let close = |found: f64, expected: f64| {
                (found - expected).abs() <= tolerance::FORECAST_MODEL * (1.0 + expected.abs())
            };
            assert!(close(said.aicc, aicc), "{model}: AICc {}, expected {aicc}", said.aicc);
            assert!(close(said.sigma2, run.squares / left), "{model}: {}", said.sigma2);
            let ahead = reference::ahead(model, &said.parameters, &run, 14);
            for (found, expected) in found.mean(row).iter().zip(&ahead) {
                assert!(close(*found, *expected), "{model}: {found}, expected {expected}");
            }
            for (found, expected) in found.fitted(row)[first..].iter().zip(&run.fitted) {
                assert!(close(*found, *expected), "{model} fits {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn the_cpu_reports_what_the_textbook_says() {
    reports_agree::<f64>(Route::Cpu);
    reports_agree::<f32>(Route::Cpu);
}

#[test]
fn the_emulated_kernels_report_what_the_textbook_says() {
    reports_agree::<f64>(Route::Emulated);
    reports_agree::<f32>(Route::Emulated);
}

/// A device takes the very steps that the CPU takes.
fn devices_agree<T: Element>(route: Route) {
    let mut rng = generator("forecast::devices_agree");
    let shapes: &[(usize, usize, usize)] = if route == Route::Emulated {
        &[(5, 23, 3), (2, 16, 2)]
    } else {
        &[(1, 40, 2), (150, 61, 4), (40, 144, 12)]
    };
    for &(rows, samples, season) in shapes {
        let mut x = Vec::new();
        for row in 0..rows {
            x.extend(seasonal(&mut rng, samples, season, if row % 3 == 0 { 0.1 } else { 0.0 }));
        }
        // One row of each sort that is left out.
        if rows > 2 {
            x[..samples].fill(7.0);
            x[samples..2 * samples - 3].fill(f64::NAN);
        }
        // Half of them are floats, whatever they come as.
        x[..rows / 2 * samples].iter_mut().for_each(|value| *value = f64::from(*value as f32));
        let x: Vec<T> = x.into_iter().map(T::from_f64).collect();
        // Every model by itself, too: the best one hides what the others do.
        let models = Ets::all().map(Method::Ets);
        for method in [Method::AutoEts, Method::Theta].into_iter().chain(models) {
            let options = ForecastOptions { levels: vec![0.9], ..plain(method, season) };
            let there = go(route, view(&x, rows), &options, &on(route));
            let here = go(Route::Cpu, view(&x, rows), &options, &cpu());
            for (row, (there, here)) in there.series.iter().zip(&here.series).enumerate() {
                assert_eq!(there.model, here.model, "row {row}");
            }
            let same = bits(&there) == bits(&here);
            assert!(same, "{rows} x {samples}, season {season}, {method:?} differ");
        }
    }
}

#[test]
fn the_emulated_kernels_take_the_steps_of_the_cpu() {
    devices_agree::<f64>(Route::Emulated);
    devices_agree::<f32>(Route::Emulated);
}

/// What a device must pass.
pub(crate) const DEVICE: &[Check] = &[
    Check::new("forecast: reports, f64", || reports_agree::<f64>(Route::Cuda)),
    Check::new("forecast: reports, f32", || reports_agree::<f32>(Route::Cuda)),
    Check::new("forecast: steps of the CPU, f64", || devices_agree::<f64>(Route::Cuda)),
    Check::new("forecast: steps of the CPU, f32", || devices_agree::<f32>(Route::Cuda)),
    Check::new("forecast: little memory", || a_small_device_agrees(Route::Cuda)),
];

#[test]
fn the_device_agrees() {
    check_all(DEVICE);
}

/// Several tiles on a device that holds a few rows.
fn a_small_device_agrees(route: Route) {
    let mut rng = generator("forecast::small_device");
    let (rows, samples) = (100, 13);
    let x: Vec<f64> = (0..rows).flat_map(|_| seasonal(&mut rng, samples, 1, 0.0)).collect();
    let options = plain(Method::Ets(Ets::SIMPLE), 1);
    let whole = go(Route::Cpu, view(&x, rows), &options, &cpu());
    // Without a bound, tiles are of a half, or of a quarter beside another device.
    let budget = Budget { device_bytes: Some(8 * 1024), ..Budget::default() };
    let found = go(route, view(&x, rows), &options, &Execution { budget, ..on(route) });
    assert_eq!(bits(&found), bits(&whole));
}

#[test]
fn a_thread_that_is_done_takes_the_next_series() {
    let mut rng = generator("forecast::next_series");
    // Four tiles, each of more series than a block has threads: with one model, less than two blocks.
    let (rows, samples) = (400, 9);
    let x: Vec<f64> = (0..rows).flat_map(|_| seasonal(&mut rng, samples, 1, 0.1)).collect();
    let options = plain(Method::Ets(Ets::SIMPLE), 1);
    let (found, whole) = [Route::Emulated, Route::Cpu]
        .map(|route| go(route, view(&x, rows), &options, &on(route)))
        .into();
    assert_eq!(bits(&found), bits(&whole));
}

#[test]
fn a_small_emulated_device_agrees() {
    a_small_device_agrees(Route::Emulated);
}

#[test]
fn likelihoods_are_at_least_those_of_a_patient_simplex() {
    let mut rng = generator("forecast::simplex");
    let mut missed = 0;
    for model in Ets::all() {
        let series = seasonal(&mut rng, 36, 3, 0.0);
        let prepared = prepared(&series, 3);
        let fits = cpu::fit(&[Some(prepared)], &[model], 3, &cpu()).unwrap();
        let found = fits[0][0].as_ref().unwrap();
        let prepared = self::prepared(&series, 3);
        let value = |x: &[f64]| by_the_book(&prepared, model, 3, x);
        let mut start = vec![0.0; model.dimension(3)];
        start[..model.smoothing()].fill(-0.5);
        let expected = reference::simplex(&value, &start, &[0.5, 0.1, 0.5, 0.05, 1.0, 0.2]);
        // A maximum: near where the search ended there is nothing better. Large steps would find other maxima.
        let beside = reference::simplex(&value, &found.x, &[0.01, 0.003]);
        assert!(found.value <= beside + tolerance::FORECAST, "{model}: {} {beside}", found.value);
        if found.value > expected + tolerance::FORECAST {
            eprintln!("{model}: another maximum, {} and {expected}", found.value);
            missed += 1;
        }
    }
    // The highest of several maxima may be missed, but rarely.
    assert!(missed <= 3, "{missed} of 15 searches ended at a lower maximum");
}

#[test]
fn a_search_beside_spikes_is_no_worse_than_the_mean() {
    // A level of about 50, and five million every fortieth sample.
    let series: Vec<f64> = (0..288)
        .map(|t| if t % 40 == 20 { 5e6 } else { 42.0 + f64::from(t * 7919 % 13) })
        .collect();
    for model in Ets::all().filter(|model| !model.has_season()) {
        let prepared = prepared(&series, 1);
        let [level, trend] = prepared.flat(model);
        // Where the level hardly moves, and the trend neither.
        let mut x = vec![-0.99; model.smoothing()];
        x.extend([level, trend]);
        x.truncate(model.dimension(1));
        let flat = cpu::probe::value_and_gradient(&prepared, model, 1, &x).0;
        let fits = cpu::fit(&[Some(prepared)], &[model], 1, &cpu()).unwrap();
        let found = fits[0][0].as_ref().unwrap().value;
        assert!(found <= flat + tolerance::FORECAST, "{model}: {found}, of the mean {flat}");
    }
}

#[test]
fn a_trend_is_slow_and_slower_beside_a_season() {
    // A slope that wanders: one step ahead, the steepest trend is the likeliest.
    let mut rng = generator("forecast::slope");
    let (mut slope, mut level) = (0.0, 50.0);
    let mut next = |t: usize| {
        slope = 0.95 * slope + rng.random_range(-0.3..0.3);
        level = 0.98 * level + 1.0 + slope;
        level + 5.0 * (std::f64::consts::TAU * (t % 12) as f64 / 12.0).sin()
    };
    let series: Vec<f64> = (0..288).map(&mut next).collect();
    for model in Ets::all().filter(|model| model.has_trend()) {
        let fit = &of_one(model, &series).parameters;
        let most = 1e-4 + 0.2 * 0.9998 / if model.has_season() { 12.0 } else { 1.0 };
        assert!((1e-4..=most + 1e-12).contains(&fit.beta), "{model}: {fit:?}");
        assert!(fit.beta <= fit.alpha + 1e-12, "{model}: {fit:?}");
        // It is the bound that holds it.
        assert!(fit.beta > 0.9 * most || fit.alpha < most, "{model}: {fit:?}");
    }
}

fn of_one(model: Ets, series: &[f64]) -> SeriesForecast {
    let mut found = go(Route::Cpu, view(series, 1), &plain(Method::Ets(model), 12), &cpu());
    found.series.remove(0)
}

#[test]
fn airline_passengers_are_fitted_as_well_as_by_statsforecast() {
    // AICc of statsforecast 2.1.1. Its simplex has converged for the models without a season.
    let peer = [
        ("ETS(A,N,N)", 1733.958),
        ("ETS(A,A,N)", 1737.600),
        ("ETS(A,Ad,N)", 1740.030),
        ("ETS(M,N,N)", 1674.072),
        ("ETS(M,A,N)", 1673.411),
        ("ETS(M,Ad,N)", 1677.808),
        ("ETS(A,N,A)", 1505.404),
        ("ETS(A,A,A)", 1518.689),
        ("ETS(A,Ad,A)", 1550.894),
        ("ETS(M,N,A)", 1502.252),
        ("ETS(M,N,M)", 1458.102),
        ("ETS(M,A,A)", 1470.687),
        ("ETS(M,Ad,A)", 1501.646),
        ("ETS(M,A,M)", 1511.993),
        ("ETS(M,Ad,M)", 1582.791),
    ];
    for (name, theirs) in peer {
        let model = Ets::all().find(|model| model.to_string() == name).unwrap();
        let found = go(Route::Cpu, view(&PASSENGERS, 1), &plain(Method::Ets(model), 12), &cpu());
        let ours = found.series[0].aicc;
        assert!(ours <= theirs + tolerance::FORECAST, "{name}: {ours}, statsforecast {theirs}");
        assert!(model.has_season() || ours >= theirs - 0.5, "{name}: {ours}, {theirs}");
    }
    let found = go(Route::Cpu, view(&PASSENGERS, 1), &plain(Method::AutoEts, 12), &cpu());
    // R's `ets` (forecast 8.x) chooses a trend and a multiplied season, too.
    let Model::Ets(chosen) = found.series[0].model else { panic!("a model of smoothing") };
    assert!(chosen.has_trend() && chosen.season == Season::Multiplicative, "{chosen}");
    assert!((440.0..460.0).contains(&found.mean(0)[0]), "{:?}", found.mean(0));
}

#[test]
fn intervals_in_closed_form_are_those_of_simulated_paths() {
    let mut rng = generator("forecast::intervals");
    for model in Ets::all() {
        let series = seasonal(&mut rng, 48, 4, 0.0);
        let prepared = prepared(&series, 4);
        let x = vec![-0.3; model.dimension(4)];
        let point = cpu::Point::of(&prepared, model, 4, &x);
        let track = predict::Track::new(&prepared, model, point, |_, _| {});
        let mut mean = [0.0; 9];
        track.mean(&mut mean);
        let sigma2 = 1e-3;
        let Some(variances) = track.variances(sigma2, &mean) else {
            assert_eq!(model.season, Season::Multiplicative);
            continue;
        };
        let paths = track.simulate(sigma2, 9, 20_000, 5);
        for (step, values) in paths.chunks(20_000).enumerate() {
            let centre = values.iter().sum::<f64>() / 2e4;
            let spread = values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / 2e4;
            // Four standard errors of a variance of 20,000 normal values.
            assert!(
                (spread / variances[step] - 1.0).abs() < 0.045,
                "{model} at {step}: {spread}, expected {}",
                variances[step]
            );
        }
    }
}
