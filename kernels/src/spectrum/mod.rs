//! Periodograms, and the seasons that they show.
//!
//! **Idea.** A season is a peak of the periodogram. Peaks alone mislead: a trend or a slow drift puts its power into the
//! longest periods, and between two frequencies the period is known to some samples only. So each peak that is beyond
//! chance is a hint, and the autocorrelation decides: the season must be a hill of it, and the hill's top is the
//! season in whole samples (AUTOPERIOD: Vlachos, Yu & Castelli, "On periodicity detection and structural similarity",
//! SIAM Data Mining 2005).
//!
//! **Periodogram.** The series without its line of least squares, times Hann's taper w:
//! P(k/n) = 2·|Σ wₜ·xₜ·e^(−2πikt/n)|² / Σ wₜ², once instead of twice at k = 0 and n/2: the density that scipy's
//! `periodogram` gives. The taper keeps the power of a strong season from leaking over all others (Percival & Walden,
//! "Spectral Analysis for Physical Applications", 1993, §6.4).
//!
//! **Significance.** Of m ordinates of white noise the largest share g of their sum has
//! P(G > g) ≤ m·(1 − g)^(m−1) (the first term of Fisher, "Tests of significance in harmonic analysis", 1929). Peaks are
//! tested from the largest on; the sum leaves out the lobes of those before. Against drifting noise this alone would
//! be too kind; there the autocorrelation decides, and about one random walk in twenty-five still shows a season of at
//! most an eighth of its length.
//!
//! **Strength.** The autocorrelation at the season's lag, over the pairs of samples that both are there in the
//! detrended series: 1 repeats exactly, 0 not at all. A multiple of a season that is no more than a tenth stronger is
//! left out: it repeats because the season does.
//!
//! **Missing values.** NaN and infinities are missing. The line is fitted to what is there; gaps are filled by lines
//! between their neighbours after it was taken off, and with 0 at both ends. That takes power from short periods, so
//! a series of which more than half is missing is left out ([`Status::Gaps`]).
//!
//! **Constant series** and those that are their own trend line have no season: [`Status::Flat`].
//!
//! **Precision.** f64; within [`tolerance::SPECTRUM`](crate::tolerance::SPECTRUM) of the sum itself. Neither tiles nor
//! threads change a bit.
//!
//! **Cost.** n·log n for each series; about 150 bytes × n for each thread. There is no CUDA path: a batch of transforms
//! takes as long as its way to the device.
//!
//! ```
//! use kernels::spectrum::{SpectrumOptions, spectrum};
//! use kernels::{Execution, MatrixView};
//!
//! // Ten days of hours, a busy stretch each morning, and some noise.
//! let load: Vec<f64> = (0..240).map(|t| if t % 24 < 5 { 5.0 } else { 1.0 } + ((t * 7919) % 11) as f64 * 0.1).collect();
//! let found = spectrum(MatrixView::new(&load, 1, 240)?, &SpectrumOptions::default(), &Execution::default())?;
//! assert_eq!(found.season(0, 100), Some(24));
//! # Ok::<(), kernels::Error>(())
//! ```

mod cpu;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod suite;

use std::time::Instant;

use crate::crossover::Work;
use crate::device::{self, Device};
use crate::element::Element;
use crate::error::{Error, Result};
use crate::execution::Execution;
use crate::stats::Stats;
use crate::view::{MatrixView, MatrixViewMut};

const OPERATION: &str = "spectrum";

/// The fewest samples that have a period.
pub const LEAST_SAMPLES: usize = 4;

/// What is taken off a series first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detrend {
    /// Its mean.
    Mean,
    /// Its line of least squares.
    #[default]
    Line,
}

/// What a series is multiplied by before it is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Taper {
    /// Nothing.
    None,
    /// Hann's: ½ − ½·cos(2πt/n).
    #[default]
    Hann,
}

/// What counts as a season.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectrumOptions {
    /// What is taken off first.
    pub detrend: Detrend,
    /// The taper.
    pub taper: Taper,
    /// The shortest season in samples, 2 or more.
    pub shortest: usize,
    /// The longest; a third of the series when absent, so that it is seen three times.
    pub longest: Option<usize>,
    /// Seasons that are given for a series, at most.
    pub most: usize,
    /// The probability at which a peak could be chance.
    pub significance: f64,
    /// The least autocorrelation at a season's lag.
    pub least_strength: f64,
}

impl Default for SpectrumOptions {
    fn default() -> Self {
        Self {
            detrend: Detrend::Line,
            taper: Taper::Hann,
            shortest: 2,
            longest: None,
            most: 3,
            significance: 0.01,
            least_strength: 0.1,
        }
    }
}

/// A season of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Period {
    /// Its length.
    pub samples: usize,
    /// The autocorrelation at that lag.
    pub strength: f64,
    /// Frequency of the peak of the periodogram, in cycles for each sample.
    pub frequency: f64,
    /// The peak's share of the power, without that of stronger peaks.
    pub share: f64,
    /// The probability of such a share in white noise, at most.
    pub p_value: f64,
}

/// How far a series could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It was searched.
    Searched,
    /// Nothing is left of it without its trend.
    Flat,
    /// More than half of it is missing.
    Gaps,
}

/// What was found for one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesPeriods {
    /// How far it could be used.
    pub status: Status,
    /// Its seasons, the strongest first.
    pub periods: Vec<Period>,
}

/// Result of [`spectrum`].
#[derive(Debug, Clone, PartialEq)]
pub struct Spectra {
    /// For each row.
    pub series: Vec<SeriesPeriods>,
    /// The record of the operation.
    pub stats: Stats,
}

impl Spectra {
    /// The strongest season of a row that is at most `longest`; what [`forecast`](crate::forecast) wants.
    pub fn season(&self, row: usize, longest: usize) -> Option<usize> {
        let periods = &self.series.get(row)?.periods;
        periods.iter().map(|period| period.samples).find(|&samples| samples <= longest)
    }
}

/// Finds the seasons of every row of `x`.
///
/// There is no CUDA path. Fails on fewer than [`LEAST_SAMPLES`] columns, on an option that means nothing, on a budget
/// too small for one thread's work, on `gpu = required`, and when cancelled.
pub fn spectrum<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    execution: &Execution,
) -> Result<Spectra> {
    T::spectrum(x, options, execution)
}

/// Writes the periodogram of every row of `x`: the power at 0, 1/n, … ⌊n/2⌋/n cycles for each sample.
///
/// `power` has a row for each of `x`, of ⌊n/2⌋ + 1. A series that is left out has NaN. Fails as [`spectrum`] does,
/// and on another shape of `power`.
pub fn periodogram<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    power: &mut MatrixViewMut<'_, f64>,
    execution: &Execution,
) -> Result<Stats> {
    T::periodogram(x, options, power, execution)
}

pub(crate) fn run<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    execution: &Execution,
) -> Result<Spectra> {
    let start = Instant::now();
    let stats = begin(x, options, execution)?;
    let empty = SeriesPeriods { status: Status::Searched, periods: Vec::new() };
    let mut spectra = Spectra { series: vec![empty; x.rows()], stats };
    execution.threads()?.run(|| cpu::periods(x, options, &mut spectra, execution))?;
    let left_out = spectra.series.iter().filter(|series| series.status != Status::Searched);
    spectra.stats.excluded_rows = left_out.count() as u64;
    spectra.stats.seconds = start.elapsed().as_secs_f64();
    Ok(spectra)
}

pub(crate) fn run_periodogram<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    power: &mut MatrixViewMut<'_, f64>,
    execution: &Execution,
) -> Result<Stats> {
    let start = Instant::now();
    let mut stats = begin(x, options, execution)?;
    let ordinates = x.cols() / 2 + 1;
    if x.rows() > 0 && (power.rows(), power.cols()) != (x.rows(), ordinates) {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("power of {} x {}", power.rows(), power.cols()),
            expected: format!("{} x {ordinates} is needed for {} samples", x.rows(), x.cols()),
        });
    }
    execution.threads()?.run(|| cpu::power(x, options, power, &mut stats, execution))?;
    stats.seconds = start.elapsed().as_secs_f64();
    Ok(stats)
}

/// Checks what was given, and chooses the device, which is the CPU.
fn begin<T: Element>(
    x: MatrixView<'_, T>,
    options: &SpectrumOptions,
    execution: &Execution,
) -> Result<Stats> {
    let wrong = |option, found: String, expected: &str| {
        Err(Error::Option { operation: OPERATION, option, found, expected: expected.into() })
    };
    if options.shortest < 2 {
        return wrong("shortest", options.shortest.to_string(), "a season has at least 2 samples");
    }
    if let Some(longest) = options.longest
        && longest < options.shortest
    {
        return wrong("longest", longest.to_string(), "it must not be below the shortest");
    }
    if !(options.significance > 0.0 && options.significance < 1.0) {
        return wrong(
            "significance",
            options.significance.to_string(),
            "it must be between 0 and 1",
        );
    }
    if !(0.0..=1.0).contains(&options.least_strength) {
        return wrong("least_strength", options.least_strength.to_string(), "it must be 0 to 1");
    }
    if x.rows() > 0 && x.cols() < LEAST_SAMPLES {
        return Err(Error::Shape {
            operation: OPERATION,
            found: format!("{} series of {} samples", x.rows(), x.cols()),
            expected: format!("at least {LEAST_SAMPLES} samples are needed"),
        });
    }
    let work = Work { amount: 0.0, unit: "values", least: 0.0 };
    let no_device =
        || Err::<(Device, Vec<()>), _>(device::Refusal::NoPath("spectrum has no CUDA path".into()));
    Ok(Stats::new(device::choose(OPERATION, execution, work, no_device)?.0))
}
