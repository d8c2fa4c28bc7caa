//! Forecasts of monthly series, the last season held out.

use std::error::Error;

use benches::Random;
use kernels::forecast::{Ets, ForecastOptions, Forecasts, Method, forecast};
use kernels::{Execution, MatrixView};

use super::{Case, Run, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (rows, cols) = (setup.size("rows", 1_000), setup.size("cols", 400));
    let season = setup.size("season", 12);
    let whole = monthly(rows, cols + season, season);
    setup.write("x.f64", &whole, f64::to_le_bytes)?;
    let auto = ForecastOptions {
        horizon: season,
        season,
        levels: vec![0.8, 0.95],
        ..ForecastOptions::default()
    };
    let simple = ForecastOptions { method: Method::Ets(Ets::SIMPLE), season: 1, ..auto.clone() };
    let held = whole.clone();
    Ok(vec![
        Case {
            name: "AutoETS",
            peers: &["statsforecast"],
            tolerance: 0.05,
            note: "compared: mean sMAPE of the held-out season, with intervals at 80 and 95 %; \
                   the peer's simplex ends at 1,000 values, unconverged for seasonal models; its \
                   processes' cpu time is not counted"
                .into(),
            run: Box::new(move || {
                run(&held, rows, cols, season, &auto, &setup.execution, |found| {
                    vec![smape(found, &held, rows, cols, season)]
                })
            }),
        },
        Case {
            name: "ETS(A,N,N)",
            peers: &["statsforecast"],
            tolerance: 2e-3,
            note: "one model, both converge; compared: forecasts".into(),
            run: Box::new(move || {
                run(&whole, rows, cols, season, &simple, &setup.execution, |found| {
                    (0..rows).step_by((rows / 16).max(1)).map(|row| found.mean(row)[0]).collect()
                })
            }),
        },
    ])
}

fn run(
    whole: &[f64],
    rows: usize,
    cols: usize,
    season: usize,
    options: &ForecastOptions,
    execution: &Execution,
    sample: impl FnOnce(&Forecasts) -> Vec<f64>,
) -> Result<Run, kernels::Error> {
    let x = MatrixView::with_stride(whole, rows, cols, cols + season)?;
    timed(|| forecast(x, options, execution), |found| sample(&found))
}

/// 200·|f − y| / (|f| + |y|), the mean over all that was held out.
fn smape(found: &Forecasts, whole: &[f64], rows: usize, cols: usize, season: usize) -> f64 {
    let of = |row: usize| {
        let actual = &whole[row * (cols + season) + cols..][..season];
        let pairs = found.mean(row).iter().zip(actual);
        pairs.map(|(f, y)| 200.0 * (f - y).abs() / (f.abs() + y.abs())).sum::<f64>()
    };
    (0..rows).map(of).sum::<f64>() / (rows * season) as f64
}

/// Positive series with a level that wanders, a trend, and a season that adds or multiplies.
fn monthly(rows: usize, cols: usize, season: usize) -> Vec<f64> {
    let mut random = Random::new(0x5eed_f0ca);
    let mut values = Vec::with_capacity(rows * cols);
    for _ in 0..rows {
        let mut level = 50.0 + 100.0 * random.uniform();
        let mut slope = 0.2 * (random.uniform() - 0.3);
        let strength = 0.4 * random.uniform();
        let shape: Vec<f64> = (0..season).map(|_| strength * (random.uniform() - 0.5)).collect();
        let base = level;
        let multiplied = random.uniform() < 0.5;
        let noise = 0.01 + 0.05 * random.uniform();
        for t in 0..cols {
            slope += 0.002 * random.normal();
            level = (level + slope + 0.3 * random.normal()).max(10.0);
            let scale = if multiplied { level } else { base };
            let value = level + scale * (shape[t % season] + noise * random.normal());
            values.push(value.max(0.5));
        }
    }
    values
}
