//! Operations whose size can be chosen, with their input made before any clock runs.

use kernels::correlate::{LagOptions, Pairs, Strength, TopPairs, correlate, correlate_lagged};
use kernels::forecast::{ForecastOptions, forecast};
use kernels::isolation_forest::{Forest, ForestOptions};
use kernels::kmeans::{KMeansOptions, Start, kmeans};
use kernels::matrix_profile::{ProfileOptions, matrix_profile};
use kernels::minhash::{MinHashOptions, TextsView, signatures};
use kernels::nearest::{Metric, NearestOptions, nearest_within};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Execution, MatrixView, MatrixViewMut, Result};

use crate::data::{texts, uniform};

pub struct Ladder {
    /// The field of `kernels::Crossover`.
    pub name: &'static str,
    /// Work of the first step, in the field's unit.
    pub least: f64,
    /// An operation of about so much work.
    pub make: fn(work: f64) -> Step,
}

type Run = dyn FnMut(&Execution) -> Result<()>;

pub struct Step {
    /// How much work it is.
    pub work: f64,
    pub run: Box<Run>,
}

impl Step {
    fn new(work: usize, run: impl FnMut(&Execution) -> Result<()> + 'static) -> Self {
        Self { work: work as f64, run: Box::new(run) }
    }
}

pub const LADDERS: &[Ladder] = &[
    Ladder { name: "correlate", least: 1e7, make: correlate_step },
    Ladder { name: "correlate_lagged", least: 1e7, make: lagged_step },
    Ladder { name: "rolling", least: 1e5, make: rolling_step },
    Ladder { name: "nearest", least: 1e7, make: nearest_step },
    Ladder { name: "kmeans", least: 1e7, make: kmeans_step },
    Ladder { name: "forecast", least: 1e4, make: forecast_step },
    Ladder { name: "matrix_profile", least: 1e6, make: profile_step },
    Ladder { name: "minhash", least: 1e6, make: minhash_step },
    Ladder { name: "isolation_forest", least: 1e5, make: forest_step },
];

fn correlate_step(work: f64) -> Step {
    let cols = 1_024;
    let rows = (work / cols as f64).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    Step::new(rows * rows * cols, move |execution| {
        let mut sink = TopPairs::new(Strength::Magnitude, 10);
        correlate(MatrixView::new(&values, rows, cols)?, &mut sink, execution)?;
        Ok(())
    })
}

fn lagged_step(work: f64) -> Step {
    let (cols, max_lag) = (512, 24);
    let lags = 2 * max_lag + 1;
    let rows = (work / (cols * lags) as f64 * 2.0).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    Step::new(rows * (rows - 1) / 2 * cols * lags, move |execution| {
        let options = LagOptions { max_lag, ..LagOptions::default() };
        correlate_lagged(MatrixView::new(&values, rows, cols)?, Pairs::All, &options, execution)?;
        Ok(())
    })
}

fn rolling_step(work: f64) -> Step {
    let cols = 8_760;
    let rows = (work / cols as f64).ceil() as usize;
    let values = uniform(rows * cols);
    let mut median = vec![0.0; values.len()];
    Step::new(rows * cols, move |execution| {
        let view = MatrixViewMut::new(&mut median, rows, cols)?;
        let output = RollingOutput::new(Statistic::Median, view);
        let x = MatrixView::new(&values, rows, cols)?;
        rolling(x, &RollingOptions::trailing(168), &mut [output], execution)?;
        Ok(())
    })
}

fn nearest_step(work: f64) -> Step {
    let cols = 384;
    let rows = (work / cols as f64).sqrt().max(2.0) as usize;
    let values = uniform(rows * cols);
    Step::new(rows * rows * cols, move |execution| {
        let options = NearestOptions::new(Metric::Cosine, 10);
        nearest_within(MatrixView::new(&values, rows, cols)?, &options, execution)?;
        Ok(())
    })
}

fn kmeans_step(work: f64) -> Step {
    let (cols, clusters, iterations) = (64, 64, 10);
    let rows = ((work / (cols * clusters * iterations) as f64) as usize).max(clusters);
    let values = uniform(rows * cols);
    Step::new(rows * cols * clusters * iterations, move |execution| {
        let options = KMeansOptions {
            iterations,
            tolerance: 0.0,
            start: Start::Sampled,
            ..KMeansOptions::new(clusters)
        };
        kmeans(MatrixView::new(&values, rows, cols)?, &options, execution)?;
        Ok(())
    })
}

fn forecast_step(work: f64) -> Step {
    // Nine models have no season.
    let (cols, models) = (128, 9);
    let rows = ((work / (cols * models) as f64) as usize).max(1);
    let values = uniform(rows * cols);
    Step::new(rows * cols * models, move |execution| {
        let options = ForecastOptions { horizon: 8, ..ForecastOptions::default() };
        forecast(MatrixView::new(&values, rows, cols)?, &options, execution)?;
        Ok(())
    })
}

fn profile_step(work: f64) -> Step {
    let window = 64;
    let windows = (2.0 * work).sqrt().max(2.0) as usize;
    let values = uniform(windows + window - 1);
    Step::new(windows * windows / 2, move |execution| {
        matrix_profile(&values, &ProfileOptions::window(window), execution)?;
        Ok(())
    })
}

fn minhash_step(work: f64) -> Step {
    let (length, options) = (100, MinHashOptions::default());
    let count = ((work / (length * options.functions) as f64) as usize).max(1);
    let (bytes, offsets) = texts(count, length);
    let mut out = vec![0; count * options.functions];
    Step::new(count * length * options.functions, move |execution| {
        let view = TextsView::new(&bytes, &offsets[..])?;
        let results = MatrixViewMut::new(&mut out, count, options.functions)?;
        signatures(view, &options, results, execution)?;
        Ok(())
    })
}

fn forest_step(work: f64) -> Step {
    let (cols, options) = (16, ForestOptions::default());
    let rows = ((work / options.trees as f64) as usize).max(2);
    let values = uniform(rows * cols);
    let mut scores = vec![0.0; rows];
    Step::new(rows * options.trees, move |execution| {
        let x = MatrixView::new(&values, rows, cols)?;
        let forest = Forest::fit(x, &options, execution)?;
        forest.score(x, &mut scores, execution)?;
        Ok(())
    })
}
