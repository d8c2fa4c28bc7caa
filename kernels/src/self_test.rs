//! A quick test of every operation on the devices at hand, for whoever sets up a machine.
//!
//! Each operation gets a small input whose answer is known without computing it, on the CPU and, where there is one,
//! on the CUDA device. It takes a second or two, most of it to open the device, and finds what is broken as
//! a whole: a driver that is too old, a compiler that is missing, memory that is bad. What the crate's own tests
//! find, it does not.

use std::time::Instant;

use crate::correlate::{LagOptions, Pairs, Strength, Threshold, correlate, correlate_lagged};
use crate::device::GpuPolicy;
use crate::error::Result;
use crate::execution::Execution;
use crate::forecast::{ForecastOptions, forecast};
use crate::isolation_forest::{Forest, ForestOptions};
use crate::kmeans::{KMeansOptions, kmeans};
use crate::matrix_profile::{ProfileOptions, matrix_profile};
use crate::minhash::{MinHashOptions, TextsView, signatures};
use crate::nearest::{Metric, NearestOptions, nearest};
use crate::random::Random;
use crate::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use crate::stats::Stats;
use crate::view::{MatrixView, MatrixViewMut};

/// How one operation did on one device.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTest {
    /// The operation.
    pub operation: &'static str,
    /// Where it ran.
    pub device: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

/// An operation on its input, and whether the answer was right.
type Test = fn(&Execution) -> Result<(Stats, bool)>;

const TESTS: &[(&str, Test)] = &[
    ("correlate", correlate_test),
    ("correlate_lagged", lagged_test),
    ("nearest", nearest_test),
    ("rolling", rolling_test),
    ("forecast", forecast_test),
    ("matrix_profile", profile_test),
    ("minhash", minhash_test),
    ("kmeans", kmeans_test),
    ("isolation_forest", forest_test),
];

/// Tests every operation on the CPU, and on the CUDA device where there is one.
pub fn run() -> Vec<SelfTest> {
    let has_device = crate::device::devices().cuda_absent.is_none();
    let policies: &[GpuPolicy] =
        if has_device { &[GpuPolicy::Off, GpuPolicy::Required] } else { &[GpuPolicy::Off] };
    let mut results = Vec::new();
    for &(operation, test) in TESTS {
        for &gpu in policies {
            let start = Instant::now();
            let outcome = test(&Execution { gpu, ..Execution::default() });
            let seconds = start.elapsed().as_secs_f64();
            let (device, error) = match outcome {
                Ok((stats, is_right)) => {
                    let error = (!is_right).then(|| "the answer is wrong".to_owned());
                    (stats.device.device.to_string(), error)
                }
                Err(error) => {
                    let device = if gpu == GpuPolicy::Off { "cpu" } else { "cuda" };
                    (device.to_owned(), Some(error.to_string()))
                }
            };
            results.push(SelfTest { operation, device, seconds, error });
        }
    }
    results
}

/// Whole numbers without a pattern.
fn scattered(count: usize) -> Vec<f64> {
    let mut random = Random::new(0);
    (0..count).map(|_| (random.bits() >> 44) as f64).collect()
}

/// Of 40 series without a pattern the last is the first turned round.
fn correlate_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols) = (40, 500);
    let mut x = scattered(rows * cols);
    for t in 0..cols {
        x[(rows - 1) * cols + t] = 3.0 - 2.0 * x[t];
    }
    let mut sink = Threshold::new(Strength::Magnitude, 0.9);
    let summary = correlate(MatrixView::new(&x, rows, cols)?, &mut sink, execution)?;
    let pairs = sink.into_pairs();
    let is_right = matches!(pairs.as_slice(), [pair]
        if (pair.row, pair.col) == (0, rows - 1) && (pair.r + 1.0).abs() < 1e-9);
    Ok((summary.stats, is_right))
}

/// The median of any 7 neighbours of a straight line is the one in their middle.
fn rolling_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols, window) = (3, 2_000, 7);
    let x: Vec<f64> = (0..rows * cols).map(|t| (t % cols) as f64).collect();
    let mut median = vec![0.0; x.len()];
    let view = MatrixViewMut::new(&mut median, rows, cols)?;
    let mut outputs = [RollingOutput::new(Statistic::Median, view)];
    let options = RollingOptions::trailing(window);
    let stats = rolling(MatrixView::new(&x, rows, cols)?, &options, &mut outputs, execution)?;
    let is_right = median.iter().enumerate().all(|(place, &found)| {
        let t = place % cols;
        if t + 1 < window { found.is_nan() } else { found == (t - window / 2) as f64 }
    });
    Ok((stats, is_right))
}

/// The second series is the first, seven samples later.
fn lagged_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (cols, lag) = (400, 7);
    let first = scattered(cols + lag);
    let x = [&first[lag..], &first[..cols]].concat();
    let options = LagOptions { max_lag: 12, ..LagOptions::default() };
    let found = correlate_lagged(MatrixView::new(&x, 2, cols)?, Pairs::All, &options, execution)?;
    let is_right = matches!(found.pairs.as_slice(), [pair]
        if pair.lag.unsigned_abs() == lag as u64 && pair.r > 1.0 - 1e-9);
    Ok((found.stats, is_right))
}

/// Every query is a row of the base, with its length changed: of the same direction there is one.
fn nearest_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols) = (300, 48);
    let base: Vec<f64> = scattered(rows * cols).into_iter().map(|v| v - 524_288.0).collect();
    let queries: Vec<f64> = base[..20 * cols].iter().map(|value| 3.0 * value).collect();
    let (queries, base) =
        (MatrixView::new(&queries, 20, cols)?, MatrixView::new(&base, rows, cols)?);
    let found = nearest(queries, base, &NearestOptions::new(Metric::Cosine, 1), execution)?;
    let is_right = (0..20).all(|query| {
        matches!(found.row(query), [best] if best.index == query && (best.score - 1.0).abs() < 1e-9)
    });
    Ok((found.summary.stats, is_right))
}

/// A season that repeats without noise goes on.
fn forecast_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols, season) = (4, 48, 6);
    let value = |t: usize| 20.0 + [0.0, 3.0, 5.0, 2.0, -4.0, -6.0][t % season];
    let noise = scattered(rows * cols);
    let x: Vec<f64> = (0..rows * cols).map(|at| value(at % cols) + noise[at] * 1e-8).collect();
    let options = ForecastOptions { horizon: season, season, ..ForecastOptions::default() };
    let found = forecast(MatrixView::new(&x, rows, cols)?, &options, execution)?;
    let is_right = (0..rows).all(|row| {
        let ahead = found.mean(row).iter().enumerate();
        ahead.into_iter().all(|(step, mean)| (mean - value(cols + step)).abs() < 0.1)
    });
    Ok((found.stats, is_right))
}

/// Two windows of a series without a pattern are the same.
fn profile_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (samples, window, first, second) = (900, 40, 100, 600);
    let mut x = scattered(samples);
    x.copy_within(first..first + window, second);
    let found = matrix_profile(&x, &ProfileOptions::window(window), execution)?;
    let distance = found.profile.distances().get(first).copied().unwrap_or(f64::NAN);
    let is_right = distance < 1e-4 && found.profile.neighbour(first) == Some(second);
    Ok((found.stats, is_right))
}

/// Equal texts have equal signatures, and texts without a common shingle (nearly) nothing in common.
fn minhash_test(execution: &Execution) -> Result<(Stats, bool)> {
    let texts = ["the quick brown fox jumps", "the quick brown fox jumps", "0123456789 0123456789"];
    let bytes = texts.concat();
    let ends = texts.iter().scan(0, |end, text| {
        *end += text.len() as i64;
        Some(*end)
    });
    let offsets: Vec<i64> = std::iter::once(0).chain(ends).collect();
    let options = MinHashOptions::default();
    let count = options.functions;
    let mut values = vec![0; texts.len() * count];
    let view = TextsView::new(bytes.as_bytes(), &offsets[..])?;
    let results = MatrixViewMut::new(&mut values, texts.len(), count)?;
    let stats = signatures(view, &options, results, execution)?;
    let (first, rest) = values.split_at(count);
    let (second, third) = rest.split_at(count);
    let common = first.iter().zip(third).filter(|(a, b)| a == b).count();
    Ok((stats, first == second && common <= 2))
}

/// Three clouds far from each other are the clusters.
fn kmeans_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols) = (300, 4);
    let noise = scattered(rows * cols);
    let x: Vec<f64> =
        (0..rows * cols).map(|at| (at / cols % 3) as f64 * 100.0 + noise[at] * 1e-6).collect();
    let found = kmeans(MatrixView::new(&x, rows, cols)?, &KMeansOptions::new(3), execution)?;
    let is_right = (0..rows)
        .all(|row| found.labels[row].is_some() && found.labels[row] == found.labels[row % 3])
        && found.sizes == [100, 100, 100];
    Ok((found.stats, is_right))
}

/// One row is far from all others.
fn forest_test(execution: &Execution) -> Result<(Stats, bool)> {
    let (rows, cols, odd) = (500, 3, 321);
    let mut x = scattered(rows * cols);
    x[odd * cols..(odd + 1) * cols].fill(1e8);
    let x = MatrixView::new(&x, rows, cols)?;
    let forest = Forest::fit(x, &ForestOptions::default(), execution)?;
    let mut scores = vec![0.0; rows];
    let found = forest.score(x, &mut scores, execution)?;
    let most = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(row, _)| row);
    Ok((found.stats, most == Some(odd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_passes_its_own_test() {
        let results = run();
        assert!(results.len() >= TESTS.len());
        for result in results {
            assert_eq!(result.error, None, "{} on {}", result.operation, result.device);
        }
    }
}
