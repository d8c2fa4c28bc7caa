//! Forecasts of many series at once, with the model of each chosen by the data.
//!
//! **Idea.** Exponential smoothing keeps a level, perhaps a trend and a season, and corrects each by a share of every
//! error. Fifteen such models are fitted to each series by maximum likelihood and the one with the lowest AICc
//! forecasts. A fit needs hundreds of passes over a series, each a recursion that no vector can help with along time:
//! so sixteen series run side by side, and the gradient of the likelihood, by its adjoint, takes the place of the
//! simplex that R and statsforecast search with. That one has not converged after its thousand values on a monthly
//! model; this one has after two or three hundred, from two ends.
//!
//! **Methods.**
//! - [`Method::AutoEts`]: Hyndman, Koehler, Snyder & Grose, IJF 18 (2002), as R's `ets` and statsforecast's `AutoETS`
//!   do it: error A or M, trend N, A or Ad, season N, A or M. Multiplied errors and seasons only for series that are
//!   positive everywhere; additive errors never with a multiplied season; no multiplied trends. Seasons of up to
//!   [`MOST_SEASON`] samples: each of them is a parameter.
//! - [`Method::Ets`]: one of these models for every series.
//! - [`Method::Theta`]: the standard theta method (Assimakopoulos & Nikolopoulos, IJF 16, 2000) as simple exponential
//!   smoothing with half of the slope as drift (Hyndman & Billah, IJF 19, 2003). The season, of any length, is taken
//!   out before by a classical decomposition if the autocorrelation at its lag says at 90 % that there is one.
//! - [`Method::SeasonalNaive`]: the value one season ago.
//!
//! **Criterion.** With k = parameters + free initial states + 1 (for σ²) and n samples that are there:
//! AICc = n·ln Σe² + 2·Σ ln|f| (of multiplied errors only) + 2k + 2k(k + 1)/(n − k − 1); σ² = Σe²/(n − k − 1). The
//! constants that R leaves out are left out here, too, so that the numbers are the same.
//!
//! **Missing values.** NaN and infinities are missing. Before the first value nothing happens; at a later gap the state
//! moves on as the model expects it, no error is counted, and n is less by one. This is what the recursion means where
//! there is no error to learn from; filling the gap by a line would count invented samples as evidence. A line fills
//! gaps for the states that the search starts from only. A gap at the end is forecast through: forecasts follow
//! the last column, not the last value.
//!
//! **More of the same series.** [`SeriesForecast::after`] takes a fitted model on through samples that came since, in one pass: its
//! states follow, its parameters stay.
//!
//! **Short and constant series.** A model needs n ≥ parameters + 3; a season needs n > its length besides. Models that
//! need more are not compared. Where none is left, the (seasonal) naive forecast stands in: [`Status::TooShort`]. A
//! series that never changes goes on as it is: [`Status::Constant`]. One without any value has NaN:
//! [`Status::Empty`]. Fewer than [`LEAST_SAMPLES`] columns are an error.
//!
//! **Hazards.** The likelihood has several maxima now and then; two searches start far from each other and may still
//! miss the highest. Beside spikes many times the level, a search with multiplied errors may end where it begins. A
//! series that a model fits exactly has no finite likelihood, so Σe² has a floor of 1e-16 of the variance. A multiplied
//! error with a forecast near 0 is refused. Series are scaled by a power of two, so that nothing overflows.
//!
//! **Precision.** f64 throughout, whatever the input. Searches use only operations that are rounded alike everywhere,
//! in one order: CPU and CUDA take the same steps and choose the same model, bit for bit; neither tiles nor threads
//! change a bit. How near a maximum is to the true one: [`tolerance::FORECAST`](crate::tolerance::FORECAST).
//!
//! **Cost.** Series × models × about 300 × samples steps of some 40 operations: time grows with the first power of
//! series and samples, and with the square of the season (each sample of it is a parameter, and the search keeps a
//! matrix of them). Memory: for each thread 640 bytes × samples and 16 matrices of the season squared; for each series
//! of a tile 8 bytes × samples and 15 × (season + 6) × 8 bytes.
//!
//! ```
//! use kernels::forecast::{ForecastOptions, Model, forecast};
//! use kernels::{Execution, MatrixView};
//!
//! // Five years of months with a trend and a season.
//! let wave = [0.8, 0.7, 0.9, 1.0, 1.1, 1.3, 1.5, 1.4, 1.1, 0.9, 0.7, 0.6];
//! let sales: Vec<f64> = (0..60).map(|t| (100.0 + t as f64) * wave[t % 12] + [0.5, -0.5, 0.25][t % 3]).collect();
//! let options = ForecastOptions { horizon: 3, season: 12, levels: vec![0.95], ..ForecastOptions::default() };
//! let found = forecast(MatrixView::new(&sales, 1, 60)?, &options, &Execution::default())?;
//! for (mean, expected) in found.mean(0).iter().zip([128.0, 112.7, 145.8]) {
//!     assert!((mean / expected - 1.0).abs() < 0.02, "{mean} {expected}");
//! }
//! assert!(matches!(found.series[0].model, Model::Ets(_)));
//! assert!(found.lower(0, 0)[0] < found.mean(0)[0]);
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;
mod cuda;
#[cfg(test)]
mod edges;
mod finish;
mod forward;
mod initial;
mod likelihood;
mod model;
mod options;
mod predict;
mod result;
mod search;

#[cfg(any(test, feature = "suite"))]
mod reference;
#[cfg(any(test, feature = "suite"))]
mod suite;

pub use model::{Errors, Ets, MOST_SEASON, Season, Trend};
pub use options::{Fitted, ForecastOptions, LEAST_SAMPLES, Method};
pub use result::{Forecasts, Model, Parameters, SeriesForecast, States, Status};
#[cfg(any(test, feature = "suite"))]
pub(crate) use suite::DEVICE;

use std::num::NonZeroUsize;
use std::time::Instant;

use rayon::prelude::*;

use crate::budget::largest_tile;
use crate::crossover::Work;
use crate::cuda::backend::{Backend, kernel_seconds};
use crate::cuda::driver::Gpu;
use crate::cuda::nvrtc::{Source, source};
use crate::device;
use crate::element::Element;
use crate::error::{Error, Memory, Result};
use crate::execution::Execution;
use crate::pool::Pool;
use crate::stats::Stats;
use crate::view::MatrixView;
use cpu::{Fit, Prepared};

const OPERATION: &str = "forecast";

/// The kernels of this operation.
pub(crate) const SOURCE: Source = source!(["likelihood.cuh", "search.cuh"] "forecast.cu");

/// Forecasts every row of `x`.
///
/// Fails on an option that means nothing, on fewer than [`LEAST_SAMPLES`] columns, on a season longer than
/// [`MOST_SEASON`] for exponential smoothing, on a budget too small for one thread's work, on a device that is
/// required and not there, and when cancelled.
pub fn forecast<T: Element>(
    x: MatrixView<'_, T>,
    options: &ForecastOptions,
    execution: &Execution,
) -> Result<Forecasts> {
    T::forecast(x, options, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    options: &ForecastOptions,
    execution: &Execution,
) -> Result<Forecasts> {
    check(x, options)?;
    let models = options.models();
    let work = Work {
        amount: (x.rows() * x.cols()) as f64 * models.len() as f64,
        unit: "series x samples x models",
        least: execution.crossover.forecast,
    };
    let (report, gpus) = device::choose(OPERATION, execution, work, || {
        if models.is_empty() {
            let reason = "the seasonal naive method has nothing to fit";
            return Err(device::Refusal::NoPath(reason.into()));
        }
        Ok(Gpu::open_all(&SOURCE)?)
    })?;
    run_on(&gpus, Stats::new(report), x, options, execution)
}

fn check<T: Element>(x: MatrixView<'_, T>, options: &ForecastOptions) -> Result<()> {
    options.check()?;
    if x.rows() == 0 || x.cols() >= LEAST_SAMPLES {
        return Ok(());
    }
    Err(Error::Shape {
        operation: OPERATION,
        found: format!("{} series of {} samples", x.rows(), x.cols()),
        expected: format!("at least {LEAST_SAMPLES} samples are needed"),
    })
}

/// On `devices`, or on the CPU without one.
fn run_on<B: Backend, T: Element>(
    devices: &[B],
    stats: Stats,
    x: MatrixView<'_, T>,
    options: &ForecastOptions,
    execution: &Execution,
) -> Result<Forecasts> {
    let start = Instant::now();
    let mut forecasts = Forecasts::new(x, options, stats)?;
    if x.rows() > 0 {
        let pool = execution.threads()?;
        let staged = match devices {
            [] => 0,
            _ => cuda::host_bytes::<B>(x.cols(), &options.models(), options.fitted_season()),
        };
        let plan = Plan::new(x, options, execution, pool.threads(), staged)?;
        forecasts.stats.peak_bytes = plan.cost(plan.threads, plan.rows) as u64;
        let pool = match NonZeroUsize::new(plan.threads) {
            Some(fewer) if plan.threads < pool.threads() => Pool::of_size(fewer)?,
            _ => pool,
        };
        plan.run(devices, &pool, x, options, execution, &mut forecasts)?;
    }
    forecasts.stats.kernel_seconds = kernel_seconds(devices)?;
    forecasts.stats.seconds = start.elapsed().as_secs_f64();
    Ok(forecasts)
}

/// How many rows are worked on together, and by how many threads.
struct Plan {
    thread_bytes: usize,
    row_bytes: usize,
    threads: usize,
    rows: usize,
}

impl Plan {
    fn new<T: Element>(
        x: MatrixView<'_, T>,
        options: &ForecastOptions,
        execution: &Execution,
        most_threads: usize,
        staged: usize,
    ) -> Result<Self> {
        let (samples, period) = (x.cols(), options.season);
        let models = options.models();
        let dimension = models.iter().map(|model| model.dimension(period)).max().unwrap_or(0);
        // What a search holds; and while a row is read or finished: copies of it, its parts, and simulated paths.
        let fitting = cpu::task_bytes(samples, period, dimension);
        let paths = options.simulates();
        let row = size_of::<f64>() * (8 * samples + 8 * period + 8 * options.horizon + 2 * paths);
        let fit = size_of::<Option<Fit>>() + dimension * size_of::<f64>();
        let states = 3 * (size_of::<initial::Start>() + period * size_of::<f64>());
        let prepared = size_of::<Option<Prepared>>() + samples * size_of::<f64>() + states;
        let mut plan = Self {
            thread_bytes: fitting.max(row),
            // The parts of a tile are copied once when they are put together.
            row_bytes: 2 * (models.len() * fit) + prepared + size_of::<SeriesForecast>() + staged,
            threads: 1,
            rows: 1,
        };
        let budget_bytes = execution.budget.host_bytes;
        let tile = |most, cost: &dyn Fn(usize) -> usize| {
            largest_tile(OPERATION, Memory::Host, budget_bytes, most, cost)
        };
        let least = likelihood::LANES.min(x.rows());
        plan.threads = tile(most_threads, &|threads| plan.cost(threads, least))?;
        plan.rows = tile(x.rows(), &|rows| plan.cost(plan.threads, rows.max(least)))?.max(least);
        Ok(plan)
    }

    fn cost(&self, threads: usize, rows: usize) -> usize {
        threads * self.thread_bytes + rows * self.row_bytes
    }

    fn run<B: Backend, T: Element>(
        &self,
        devices: &[B],
        pool: &Pool,
        x: MatrixView<'_, T>,
        options: &ForecastOptions,
        execution: &Execution,
        forecasts: &mut Forecasts,
    ) -> Result<()> {
        execution.control.begin(x.rows().div_ceil(self.rows) as u64);
        execution.control.check(OPERATION)?;
        let models = options.models();
        let period = options.fitted_season();
        for first in (0..x.rows()).step_by(self.rows) {
            let rows = first..(first + self.rows).min(x.rows());
            let ready: Vec<finish::Ready> = pool.run(|| {
                let each = rows.clone().into_par_iter();
                each.map(|row| finish::ready(x.row(row), options)).collect()
            });
            let (prepared, adjustments): (Vec<Option<Prepared>>, Vec<_>) =
                ready.into_iter().map(|ready| (ready.prepared, ready.adjustment)).unzip();
            let fits = match devices {
                [] => pool.run(|| cpu::fit(&prepared, &models, period, execution))?,
                // Not on the pool: while one device waits for the others, they need its threads.
                _ => {
                    let stats = &mut forecasts.stats;
                    cuda::fit(devices, &prepared, &models, period, execution, stats)?
                }
            };
            let finish = |index: usize, row: usize, out: result::Target<'_>| {
                execution.control.check(OPERATION)?;
                let candidates = models
                    .iter()
                    .zip(&fits)
                    .filter_map(|(&model, fits)| Some((model, fits.get(index)?.as_ref()?)));
                finish::finish(
                    x.row(row),
                    prepared[index].as_ref(),
                    adjustments[index].as_ref(),
                    candidates,
                    row,
                    options,
                    out,
                );
                Ok(())
            };
            pool.run(|| forecasts.take_tile(rows, finish))?;
            forecasts.stats.tiles += 1;
            execution.control.advance(1);
        }
        Ok(())
    }
}
