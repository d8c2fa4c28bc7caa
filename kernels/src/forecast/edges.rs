//! What is odd: series that can't be fitted, options that mean nothing, budgets, threads, and the simple methods.

#![allow(clippy::unwrap_used)]

use std::num::NonZeroUsize;

use super::*;
use crate::budget::Budget;
use crate::device::GpuPolicy;
use crate::progress::Control;
use crate::testing::{generator, values};

fn cpu() -> Execution {
    Execution { gpu: GpuPolicy::Off, ..Execution::default() }
}

fn view(values: &[f64], rows: usize) -> MatrixView<'_, f64> {
    MatrixView::new(values, rows, values.len().checked_div(rows).unwrap_or(0)).unwrap()
}

fn plain(method: Method, season: usize) -> ForecastOptions {
    ForecastOptions { method, season, horizon: 5, levels: vec![0.8], ..ForecastOptions::default() }
}

fn of(series: &[f64], options: &ForecastOptions) -> Forecasts {
    forecast(view(series, 1), options, &cpu()).unwrap()
}

#[test]
fn a_constant_series_goes_on_without_doubt() {
    for method in [Method::AutoEts, Method::Theta, Method::Ets(Ets::SIMPLE)] {
        let options = ForecastOptions { fitted: Fitted::Give, ..plain(method, 4) };
        let found = of(&[f64::NAN, 3.0, 3.0, f64::NAN, 3.0, 3.0, 3.0, 3.0, 3.0], &options);
        assert_eq!(found.series[0].status, Status::Constant);
        assert_eq!(
            (found.mean(0), found.lower(0, 0), found.upper(0, 0)),
            (&[3.0; 5][..], &[3.0; 5][..], &[3.0; 5][..])
        );
        assert_eq!((found.series[0].sigma2, found.series[0].observed), (0.0, 7));
        assert!(found.fitted(0)[0].is_nan() && found.fitted(0)[1..] == [3.0; 8]);
    }
    let zeros = of(&[0.0; 20], &plain(Method::AutoEts, 4));
    assert_eq!(zeros.mean(0), [0.0; 5]);
}

#[test]
fn short_series_fall_back_to_what_they_can_carry() {
    let nan = f64::NAN;
    // Five values carry simple smoothing and nothing else.
    let found = of(&[1.0, 2.0, 1.5, 2.5, 2.0], &plain(Method::AutoEts, 4));
    assert_eq!(found.series[0].status, Status::Fitted);
    assert!(matches!(
        found.series[0].model,
        Model::Ets(Ets { trend: Trend::None, season: Season::None, .. })
    ));
    // Four do not: the last value stands in, or the one a season ago.
    let found = of(&[1.0, 2.0, 1.5, 2.5], &plain(Method::AutoEts, 1));
    assert_eq!(
        (found.series[0].status, found.series[0].model),
        (Status::TooShort, Model::SeasonalNaive)
    );
    assert_eq!(found.mean(0), [2.5; 5]);
    let found = of(&[1.0, 2.0, nan, nan], &plain(Method::AutoEts, 3));
    assert_eq!(found.mean(0)[0], 2.0);
    assert!(
        found.mean(0)[1].is_nan(),
        "a place of the season without a value: {:?}",
        found.mean(0)
    );
    // One value forecasts itself, without an idea of its error.
    let found = of(&[nan, 4.0, nan], &plain(Method::AutoEts, 1));
    assert_eq!((found.series[0].status, found.mean(0)), (Status::TooShort, &[4.0; 5][..]));
    assert!(found.lower(0, 0)[0].is_nan());
    // None forecasts nothing.
    let found = of(&[nan, f64::INFINITY, nan], &plain(Method::AutoEts, 1));
    assert_eq!(found.series[0].status, Status::Empty);
    assert!(found.mean(0).iter().all(|value| value.is_nan()));
    assert_eq!((found.stats.excluded_rows, found.stats.missing_values), (1, 3));
    // A model that is not one for the series: multiplied errors of negative values.
    let model = Ets { error: Errors::Multiplicative, ..Ets::SIMPLE };
    let found = of(&[-1.0, 2.0, 1.0, 3.0, -2.0, 1.0, 2.0, 0.5], &plain(Method::Ets(model), 1));
    assert_eq!(found.series[0].status, Status::TooShort);
}

#[test]
fn nothing_in_gives_nothing_out() {
    let found = forecast(view(&[], 0), &plain(Method::AutoEts, 12), &cpu()).unwrap();
    assert!(found.series.is_empty() && found.mean(0).is_empty() && found.upper(0, 0).is_empty());
}

#[test]
fn series_that_a_model_fits_exactly_or_that_are_huge_stay_finite() {
    let line: Vec<f64> = (0..40).map(|t| 3.0 + 2.0 * f64::from(t)).collect();
    let found = of(&line, &plain(Method::AutoEts, 4));
    for (step, value) in found.mean(0).iter().enumerate() {
        assert!((value - (83.0 + 2.0 * step as f64)).abs() < 1e-3, "{:?}", found.mean(0));
    }
    let mut rng = generator("forecast::huge");
    for scale in [1e-290, 1e290] {
        let noise: Vec<f64> = values::<f64>(&mut rng, 50, 10.0, 1.0);
        let scaled: Vec<f64> = noise.iter().map(|value| value * scale).collect();
        let (small, large) =
            (of(&noise, &plain(Method::AutoEts, 4)), of(&scaled, &plain(Method::AutoEts, 4)));
        assert_eq!(small.series[0].model, large.series[0].model);
        let ratio = large.mean(0)[0] / scale / small.mean(0)[0];
        assert!((ratio - 1.0).abs() < 1e-6, "{ratio}");
    }
}

#[test]
fn a_gap_moves_the_state_on_and_teaches_nothing() {
    // A line with a hole, and with one at its end: the forecast follows the last column.
    let mut line: Vec<f64> =
        (0..60).map(|t| 10.0 + f64::from(t) + if t % 2 == 0 { 0.1 } else { -0.1 }).collect();
    let model = Ets { trend: Trend::Additive, ..Ets::SIMPLE };
    line[20..25].fill(f64::NAN);
    line[57..].fill(f64::NAN);
    let found = of(&line, &plain(Method::Ets(model), 1));
    assert_eq!(found.series[0].observed, 52);
    assert!((found.mean(0)[0] - 70.0).abs() < 0.3, "{:?}", found.mean(0));
}

#[test]
fn theta_is_smoothing_with_half_the_slope() {
    let mut rng = generator("forecast::theta");
    let noise = values::<f64>(&mut rng, 60, 0.0, 1.0);
    let series: Vec<f64> =
        noise.iter().enumerate().map(|(t, e)| 20.0 + 0.5 * t as f64 + e).collect();
    let theta = of(&series, &plain(Method::Theta, 1));
    let simple = of(&series, &plain(Method::Ets(Ets::SIMPLE), 1));
    let (n, alpha) = (60.0, simple.series[0].parameters.alpha);
    let mean = (0..60).map(f64::from).sum::<f64>() / n;
    let slope = (0..60).map(|t| (f64::from(t) - mean) * series[t as usize]).sum::<f64>()
        / (0..60).map(|t| (f64::from(t) - mean).powi(2)).sum::<f64>();
    assert_eq!((theta.series[0].model, theta.series[0].parameters.alpha), (Model::Theta, alpha));
    for (step, value) in theta.mean(0).iter().enumerate() {
        let drift = 0.5 * slope * (step as f64 + (1.0 - (1.0 - alpha).powf(n)) / alpha);
        assert!((value - (simple.mean(0)[step] + drift)).abs() < 1e-9);
    }
}

#[test]
fn theta_takes_seasons_of_any_length() {
    let wave = |t: usize| 50.0 + 10.0 * (t as f64 * std::f64::consts::TAU / 48.0).sin();
    let series: Vec<f64> = (0..480).map(|t| wave(t) + 0.01 * ((t * 7919) % 13) as f64).collect();
    let found = of(&series, &plain(Method::Theta, 48));
    for (step, value) in found.mean(0).iter().enumerate() {
        assert!((value - wave(480 + step)).abs() < 0.3, "{value}, expected {}", wave(480 + step));
    }
}

#[test]
fn the_seasonal_naive_forecast_repeats_the_last_season() {
    let series = [1.0, 5.0, 2.0, 2.0, 6.0, f64::NAN, 4.0, 8.0];
    let found = of(&series, &plain(Method::SeasonalNaive, 3));
    assert_eq!(found.mean(0), [2.0, 4.0, 8.0, 2.0, 4.0]);
    // Differences of 1, 1, 2, 2 over one season.
    assert_eq!(found.series[0].sigma2, 2.5);
    let z = predict::normal_quantile(0.9);
    assert!((found.upper(0, 0)[0] - (2.0 + z * 2.5f64.sqrt())).abs() < 1e-12);
    assert!((found.upper(0, 0)[3] - (2.0 + z * 5.0f64.sqrt())).abs() < 1e-12);
}

#[test]
fn neither_budget_nor_threads_change_a_bit() {
    let mut rng = generator("forecast::threads");
    let rows = 41;
    let x = values::<f64>(&mut rng, rows * 50, 10.0, 1.0);
    let options = plain(Method::AutoEts, 4);
    let whole = forecast(view(&x, rows), &options, &cpu()).unwrap();
    let least =
        match forecast(view(&x, rows), &options, &Execution { budget: Budget::host(1), ..cpu() }) {
            Err(Error::BudgetTooSmall { least_bytes, .. }) => least_bytes,
            other => unreachable!("{other:?}"),
        };
    for (host_bytes, threads) in [(least, 1), (least + 100_000, 3), (1 << 30, 4)] {
        let pool = Some(Pool::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap());
        let execution = Execution { budget: Budget::host(host_bytes), pool, ..cpu() };
        let found = forecast(view(&x, rows), &options, &execution).unwrap();
        assert!(found.stats.tiles > 1 || host_bytes > least);
        for row in 0..rows {
            assert_eq!(found.series[row].aicc.to_bits(), whole.series[row].aicc.to_bits());
            assert_eq!(found.mean(row), whole.mean(row));
            assert_eq!(found.lower(row, 0), whole.lower(row, 0));
        }
    }
}

#[test]
fn bad_options_are_errors_that_name_them() {
    let x: Vec<f64> = (0..40).map(f64::from).collect();
    let run = |options: &ForecastOptions, execution: &Execution| {
        forecast(view(&x, 2), options, execution).unwrap_err().to_string()
    };
    let base = plain(Method::AutoEts, 4);
    let cases = [
        (
            ForecastOptions { horizon: 0, ..base.clone() },
            "forecast: horizon is 0; at least 1 sample is needed",
        ),
        (ForecastOptions { season: 0, ..base.clone() }, "forecast: season is 0; 1 means none"),
        (
            ForecastOptions { season: 25, ..base.clone() },
            "forecast: season is 25; exponential smoothing takes at most 24; the theta method takes any",
        ),
        (
            ForecastOptions { levels: vec![0.5, 1.0], ..base.clone() },
            "forecast: level is 1; it must be between 0 and 1",
        ),
        (
            ForecastOptions { paths: 1, ..base.clone() },
            "forecast: paths is 1; at least 2 are needed",
        ),
        (
            plain(Method::Ets(Ets { season: Season::Multiplicative, ..Ets::SIMPLE }), 4),
            "forecast: model is ETS(A,N,M); a multiplied season needs multiplicative errors",
        ),
        (
            plain(Method::Ets(Ets { season: Season::Additive, ..Ets::SIMPLE }), 1),
            "forecast: model is ETS(A,N,A); a season of at least 2 is needed",
        ),
    ];
    for (options, message) in cases {
        assert_eq!(run(&options, &cpu()), message);
    }
    let control = Control::new();
    control.cancel();
    assert_eq!(
        run(&base, &Execution { control, ..cpu() }),
        "forecast: cancelled after 0 of 1 steps"
    );
    let tiny = Execution { budget: Budget::host(10), ..cpu() };
    assert!(run(&base, &tiny).contains("too small for one tile; at least"));
    let error = forecast(view(&[1.0, 2.0], 1), &base, &cpu()).unwrap_err();
    assert_eq!(error.to_string(), "forecast: 1 series of 2 samples; at least 3 samples are needed");
    let huge = ForecastOptions { horizon: usize::MAX, ..base };
    assert!(run(&huge, &cpu()).contains("must fit the address space"));
    let required = Execution { gpu: GpuPolicy::Required, ..cpu() };
    let naive = plain(Method::SeasonalNaive, 4);
    assert_eq!(
        run(&naive, &required),
        "forecast: gpu = required, but the seasonal naive method has nothing to fit"
    );
}
