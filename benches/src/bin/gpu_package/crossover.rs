//! From which size on the device is faster than the processor: what `kernels::Crossover` should say.

use std::time::Instant;

use kernels::correlate::{LagOptions, Pairs, Strength, TopPairs, correlate, correlate_lagged};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::kmeans::{KMeansOptions, Start, kmeans};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::minhash::{MinHashOptions, TextsView, signatures};
use kernels::nearest::{Metric, NearestOptions, nearest_within};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Execution, GpuPolicy, MatrixView, MatrixViewMut, Result};
use serde_json::{Value, json};

use crate::benches::uniform;

/// An operation whose size can be chosen.
struct Ladder {
    /// The field of `Crossover`.
    name: &'static str,
    /// Does about `work` of the field's unit; returns how much it was.
    step: fn(work: f64, execution: &Execution) -> Result<f64>,
    /// Work of the first step.
    least: f64,
}

const LADDERS: &[Ladder] = &[
    Ladder { name: "correlate", step: correlate_step, least: 1e7 },
    Ladder { name: "correlate_lagged", step: lagged_step, least: 1e7 },
    Ladder { name: "rolling", step: rolling_step, least: 1e5 },
    Ladder { name: "nearest", step: nearest_step, least: 1e7 },
    Ladder { name: "kmeans", step: kmeans_step, least: 1e7 },
    Ladder { name: "forecast", step: forecast_step, least: 1e4 },
    Ladder { name: "matrix_profile", step: profile_step, least: 1e6 },
    Ladder { name: "minhash", step: minhash_step, least: 1e6 },
    Ladder { name: "isolation_forest", step: forest_step, least: 1e5 },
];

/// Steps of each ladder; each is four times the one before.
const STEPS: usize = 8;

/// Climbs the ladders whose name contains `filter`.
pub fn run(filter: &str, is_small: bool) -> Value {
    let mut results = Vec::new();
    for ladder in LADDERS.iter().filter(|ladder| ladder.name.contains(filter)) {
        let steps = if is_small { 2 } else { STEPS };
        let mut rows = Vec::new();
        let mut crossover = None;
        for step in 0..steps {
            let work = ladder.least * 4f64.powi(step as i32);
            let on = |gpu| {
                let execution = Execution { gpu, ..Execution::default() };
                let time = || -> Result<(f64, f64)> {
                    let start = Instant::now();
                    let done = (ladder.step)(work, &execution)?;
                    Ok((done, start.elapsed().as_secs_f64()))
                };
                // The second of two: opening the driver is paid once by a process.
                time().and_then(|_| time())
            };
            match (on(GpuPolicy::Off), on(GpuPolicy::Required)) {
                (Ok((work, cpu)), Ok((_, device))) => {
                    if device < cpu {
                        crossover = crossover.or(Some(work));
                    } else {
                        crossover = None;
                    }
                    eprintln!("{} {work:.1e}: cpu {cpu:.4} s, device {device:.4} s", ladder.name);
                    rows.push(json!({ "work": work, "cpuSeconds": cpu, "deviceSeconds": device }));
                }
                (cpu, device) => {
                    let errors: Vec<String> = [cpu.err(), device.err()]
                        .into_iter()
                        .flatten()
                        .map(|error| error.to_string())
                        .collect();
                    rows.push(json!({ "work": work, "errors": errors }));
                }
            }
        }
        results.push(json!({ "name": ladder.name, "crossover": crossover, "steps": rows }));
    }
    results.into()
}

fn correlate_step(work: f64, execution: &Execution) -> Result<f64> {
    let cols = 1_024;
    let rows = (work / cols as f64).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    let mut sink = TopPairs::new(Strength::Magnitude, 10);
    correlate(MatrixView::new(&values, rows, cols)?, &mut sink, execution)?;
    Ok((rows * rows * cols) as f64)
}

fn rolling_step(work: f64, execution: &Execution) -> Result<f64> {
    let cols = 8_760;
    let rows = (work / cols as f64).ceil() as usize;
    let values = uniform(rows * cols);
    let mut median = vec![0.0; values.len()];
    let x = MatrixView::new(&values, rows, cols)?;
    let view = MatrixViewMut::new(&mut median, rows, cols)?;
    let output = RollingOutput::new(Statistic::Median, view);
    rolling(x, &RollingOptions::trailing(168), &mut [output], execution)?;
    Ok((rows * cols) as f64)
}

fn lagged_step(work: f64, execution: &Execution) -> Result<f64> {
    let (cols, max_lag) = (512, 24);
    let rows = (work / (cols * (2 * max_lag + 1)) as f64 * 2.0).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    let options = LagOptions { max_lag, ..LagOptions::default() };
    correlate_lagged(MatrixView::new(&values, rows, cols)?, Pairs::All, &options, execution)?;
    Ok((rows * (rows - 1) / 2 * cols * (2 * max_lag + 1)) as f64)
}

fn nearest_step(work: f64, execution: &Execution) -> Result<f64> {
    let cols = 384;
    let rows = (work / cols as f64).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    let options = NearestOptions::new(Metric::Cosine, 10);
    nearest_within(MatrixView::new(&values, rows, cols)?, &options, execution)?;
    Ok((rows * rows * cols) as f64)
}

fn kmeans_step(work: f64, execution: &Execution) -> Result<f64> {
    let (cols, clusters, iterations) = (64, 64, 10);
    let rows = ((work / (cols * clusters * iterations) as f64) as usize).max(clusters);
    let values = uniform(rows * cols);
    let options = KMeansOptions {
        iterations,
        tolerance: 0.0,
        start: Start::Sampled,
        ..KMeansOptions::new(clusters)
    };
    kmeans(MatrixView::new(&values, rows, cols)?, &options, execution)?;
    Ok((rows * cols * clusters * iterations) as f64)
}

fn forecast_step(work: f64, execution: &Execution) -> Result<f64> {
    // Nine models have no season.
    let (cols, models) = (128, 9);
    let rows = ((work / (cols * models) as f64) as usize).max(1);
    let values = uniform(rows * cols);
    let options = ForecastOptions { horizon: 8, ..ForecastOptions::default() };
    forecast(MatrixView::new(&values, rows, cols)?, &options, execution)?;
    Ok((rows * cols * models) as f64)
}

fn profile_step(work: f64, execution: &Execution) -> Result<f64> {
    let window = 64;
    let samples = (2.0 * work).sqrt() as usize + window;
    let values = uniform(samples);
    matrix_profile(&values, &ProfileOptions::window(window), execution)?;
    Ok(work)
}

fn minhash_step(work: f64, execution: &Execution) -> Result<f64> {
    let (length, options) = (100, MinHashOptions::default());
    let texts = ((work / (length * options.functions) as f64) as usize).max(1);
    let letters = uniform(texts * length);
    let bytes: Vec<u8> = letters.into_iter().map(|value| b'a' + (value * 26.0) as u8).collect();
    let offsets: Vec<i64> = (0..=texts).map(|row| (row * length) as i64).collect();
    let mut out = vec![0; texts * options.functions];
    let view = TextsView::new(&bytes, &offsets[..])?;
    let results = MatrixViewMut::new(&mut out, texts, options.functions)?;
    signatures(view, &options, results, execution)?;
    Ok((texts * length * options.functions) as f64)
}

fn forest_step(work: f64, execution: &Execution) -> Result<f64> {
    let (cols, options) = (16, ForestOptions::default());
    let rows = ((work / options.trees as f64) as usize).max(2);
    let values = uniform(rows * cols);
    let x = MatrixView::new(&values, rows, cols)?;
    let forest = Forest::fit(x, &options, execution)?;
    forest.score(x, &mut vec![0.0; rows], execution)?;
    Ok((rows * options.trees) as f64)
}
