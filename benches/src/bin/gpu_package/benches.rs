//! Times on the device, at the sizes that the product is meant for.
//!
//! Three numbers for each case: kernels alone (by events on the device), from call to return with the input in
//! main memory, and the first call, which opens the device and loads code.

use std::time::Instant;

use benches::Random;
use kernels::correlate::{Strength, TopPairs, correlate};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::kmeans::{KMeansOptions, kmeans};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::minhash::{MinHashOptions, TextsView, signatures};
use kernels::nearest::{Metric, NearestOptions, nearest_within};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Execution, GpuPolicy, MatrixView, MatrixViewMut, Result, Stats};
use serde_json::{Value, json};

/// Rounds that are timed after the first.
const ROUNDS: usize = 5;

/// One operation at one size.
struct Case {
    name: &'static str,
    /// Its shape, in words.
    size: String,
    run: Box<dyn FnMut(&Execution) -> Result<Stats>>,
}

/// Runs the cases whose name contains `filter`; `is_small` makes them a hundredth.
pub fn run(filter: &str, is_small: bool) -> Value {
    let execution = Execution { gpu: GpuPolicy::Required, ..Execution::default() };
    let makers: &[(&str, fn(usize) -> Case)] =
        &[("correlate", correlate_case), ("rolling", rolling_case)];
    let mut results = Vec::new();
    for (name, make) in makers.iter().filter(|(name, _)| name.contains(filter)) {
        let mut case = make(if is_small { 100 } else { 1 });
        let mut measured = Vec::new();
        let mut failure = None;
        for _ in 0..=ROUNDS {
            let start = Instant::now();
            match (case.run)(&execution) {
                Ok(stats) => measured.push((start.elapsed().as_secs_f64(), stats)),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        let first = measured.first().map(|(seconds, _)| *seconds);
        let mut rest: Vec<(f64, f64)> = measured
            .iter()
            .skip(1)
            .map(|(seconds, stats)| (*seconds, stats.kernel_seconds))
            .collect();
        rest.sort_by(|a, b| a.0.total_cmp(&b.0));
        let middle = rest.get(rest.len() / 2).copied();
        eprintln!(
            "{name} {}: {:?} s to the end, {:?} s in kernels{}",
            case.size,
            middle.map(|(seconds, _)| seconds),
            middle.map(|(_, kernels)| kernels),
            failure.as_ref().map(|text| format!(", FAILED: {text}")).unwrap_or_default()
        );
        results.push(json!({
            "name": case.name,
            "size": case.size,
            "firstSeconds": first,
            "seconds": middle.map(|(seconds, _)| seconds),
            "kernelSeconds": middle.map(|(_, kernels)| kernels),
            "fallbacks": measured.last().map(|(_, stats)| stats.fallbacks),
            "tiles": measured.last().map(|(_, stats)| stats.tiles),
            "error": failure,
        }));
    }
    results.into()
}

/// Uniform numbers, the same in every run.
pub fn uniform(count: usize) -> Vec<f32> {
    let mut random = Random::new(1);
    (0..count).map(|_| (random.bits() >> 40) as f32 / (1u64 << 24) as f32).collect()
}

fn correlate_case(divisor: usize) -> Case {
    let (rows, cols) = (4_096, (1 << 20) / divisor);
    let values = uniform(rows * cols);
    Case {
        name: "correlate f32, the 100 strongest pairs",
        size: format!("{rows} x {cols}"),
        run: Box::new(move |execution| {
            let mut sink = TopPairs::new(Strength::Magnitude, 100);
            Ok(correlate(MatrixView::new(&values, rows, cols)?, &mut sink, execution)?.stats)
        }),
    }
}

fn rolling_case(divisor: usize) -> Case {
    let (rows, cols, window) = (100_000 / divisor, 8_760, 168);
    let values = uniform(rows * cols);
    let (mut median, mut mad) = (vec![0.0; values.len()], vec![0.0; values.len()]);
    Case {
        name: "rolling f32, median and MAD",
        size: format!("{rows} x {cols}, window {window}"),
        run: Box::new(move |execution| {
            let mut outputs = [
                RollingOutput::new(Statistic::Median, MatrixViewMut::new(&mut median, rows, cols)?),
                RollingOutput::new(Statistic::Mad, MatrixViewMut::new(&mut mad, rows, cols)?),
            ];
            let x = MatrixView::new(&values, rows, cols)?;
            rolling(x, &RollingOptions::trailing(window), &mut outputs, execution)
        }),
    }
}

fn nearest_case(divisor: usize) -> Case {
    let (rows, cols, k) = (1_000_000 / divisor, 384, 10);
    let values: Vec<f32> = uniform(rows * cols).into_iter().map(|value| value - 0.5).collect();
    Case {
        name: "nearest f32, each row's nearest by cosine",
        size: format!("{rows} x {rows} x {cols}, k {k}"),
        run: Box::new(move |execution| {
            let options = NearestOptions::new(Metric::Cosine, k);
            let found = nearest_within(MatrixView::new(&values, rows, cols)?, &options, execution)?;
            Ok(found.summary.stats)
        }),
    }
}

fn forecast_case(divisor: usize) -> Case {
    let (rows, cols) = (100_000 / divisor, 1_024);
    let noise = uniform(rows * cols);
    let values: Vec<f32> = (0..rows * cols)
        .map(|at| 100.0 + (at % cols) as f32 * 0.05 + ((at % 12) as f32 - 6.0) + 4.0 * noise[at])
        .collect();
    Case {
        name: "forecast f32, AutoETS",
        size: format!("{rows} x {cols}, season 12"),
        run: Box::new(move |execution| {
            let options = ForecastOptions { horizon: 12, season: 12, ..ForecastOptions::default() };
            Ok(forecast(MatrixView::new(&values, rows, cols)?, &options, execution)?.stats)
        }),
    }
}

fn profile_case(divisor: usize) -> Case {
    let (samples, window) = (1_000_000 / divisor, 256);
    let values = uniform(samples);
    Case {
        name: "matrix profile f32, self-join",
        size: format!("{samples}, window {window}"),
        run: Box::new(move |execution| {
            Ok(matrix_profile(&values, &ProfileOptions::window(window), execution)?.stats)
        }),
    }
}

fn minhash_case(divisor: usize) -> Case {
    let (texts, length) = (1_000_000 / divisor, 100);
    let letters = uniform(texts * length);
    let bytes: Vec<u8> = letters.into_iter().map(|value| b'a' + (value * 26.0) as u8).collect();
    let offsets: Vec<i64> = (0..=texts).map(|row| (row * length) as i64).collect();
    let options = MinHashOptions::default();
    let mut out = vec![0; texts * options.functions];
    Case {
        name: "minhash, signatures",
        size: format!("{texts} texts of {length} bytes, {} functions", options.functions),
        run: Box::new(move |execution| {
            let view = TextsView::new(&bytes, &offsets[..])?;
            let results = MatrixViewMut::new(&mut out, texts, options.functions)?;
            signatures(view, &options, results, execution)
        }),
    }
}

fn kmeans_case(divisor: usize) -> Case {
    let (rows, cols, clusters) = (1_000_000 / divisor, 384, 1_024 / divisor.min(16));
    let values = uniform(rows * cols);
    Case {
        name: "kmeans f32, 10 iterations",
        size: format!("{rows} x {cols}, {clusters} clusters"),
        run: Box::new(move |execution| {
            let options = KMeansOptions {
                iterations: 10,
                tolerance: 0.0,
                start: kernels::kmeans::Start::Sampled,
                ..KMeansOptions::new(clusters)
            };
            Ok(kmeans(MatrixView::new(&values, rows, cols)?, &options, execution)?.stats)
        }),
    }
}

fn forest_case(divisor: usize) -> Case {
    let (rows, cols) = (10_000_000 / divisor, 16);
    let values = uniform(rows * cols);
    let mut scores = vec![0.0; rows];
    Case {
        name: "isolation forest f32, fit and score",
        size: format!("{rows} x {cols}, 100 trees"),
        run: Box::new(move |execution| {
            let x = MatrixView::new(&values, rows, cols)?;
            let forest = Forest::fit(x, &ForestOptions::default(), execution)?;
            Ok(forest.score(x, &mut scores, execution)?.stats)
        }),
    }
}
