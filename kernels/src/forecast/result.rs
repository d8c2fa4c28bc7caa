//! What was found.

use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use super::OPERATION;
use super::model::Ets;
use super::options::{Fitted, ForecastOptions};
use crate::budget::zeroed;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::stats::Stats;
use crate::view::MatrixView;

/// What forecasts a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// A model of exponential smoothing.
    Ets(Ets),
    /// The theta method.
    Theta,
    /// The value one season ago; the last one without a season.
    SeasonalNaive,
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ets(model) => model.fmt(f),
            Self::Theta => f.write_str("Theta"),
            Self::SeasonalNaive => f.write_str("SeasonalNaive"),
        }
    }
}

/// How far a series could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The method was fitted.
    Fitted,
    /// All values are the same; so is the forecast, without any error.
    Constant,
    /// There are too few values, or the model is not one for them; the seasonal naive forecast stands in.
    TooShort,
    /// There is no value; forecasts are NaN.
    Empty,
}

/// Smoothing parameters; those that the model lacks are NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Of the level.
    pub alpha: f64,
    /// Of the trend; as a share of errors, so at most α. For the theta method the drift of a sample.
    pub beta: f64,
    /// Of the season.
    pub gamma: f64,
    /// Damping of the trend.
    pub phi: f64,
}

impl Parameters {
    pub(super) const NONE: Self =
        Self { alpha: f64::NAN, beta: f64::NAN, gamma: f64::NAN, phi: f64::NAN };
}

/// States before the first sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct States {
    /// Level.
    pub level: f64,
    /// Trend; 0 without one.
    pub trend: f64,
    /// Season, the first sample's first; empty without one.
    pub season: Vec<f64>,
}

/// What was found for one series.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesForecast {
    /// How far it could be used.
    pub status: Status,
    /// What forecasts it.
    pub model: Model,
    /// Its parameters.
    pub parameters: Parameters,
    /// The states that it starts from.
    pub initial: States,
    /// The criterion, lower is better; NaN for what has no likelihood.
    pub aicc: f64,
    /// Variance of one step's error; relative to the forecast for multiplicative errors.
    pub sigma2: f64,
    /// Values that are there.
    pub observed: usize,
}

/// Result of [`forecast`](super::forecast).
#[derive(Debug, Clone, PartialEq)]
pub struct Forecasts {
    /// For each row.
    pub series: Vec<SeriesForecast>,
    /// Samples that were forecast.
    pub horizon: usize,
    /// The levels of the intervals.
    pub levels: Vec<f64>,
    /// The record of the operation.
    pub stats: Stats,
    /// By row: mean, then lower and upper of each level, each of `horizon`.
    values: Vec<f64>,
    fitted: Vec<f64>,
    samples: usize,
}

/// Where the forecast of one series goes.
pub(super) struct Target<'a> {
    pub(super) series: &'a mut SeriesForecast,
    /// Mean, then lower and upper of each level.
    pub(super) values: &'a mut [f64],
    /// For each column; empty if not wanted.
    pub(super) fitted: &'a mut [f64],
}

impl Forecasts {
    pub(super) fn new<T: Element>(
        x: MatrixView<'_, T>,
        options: &ForecastOptions,
        stats: Stats,
    ) -> Result<Self> {
        let empty = SeriesForecast {
            status: Status::Empty,
            model: Model::SeasonalNaive,
            parameters: Parameters::NONE,
            initial: States::default(),
            aicc: f64::NAN,
            sigma2: f64::NAN,
            observed: 0,
        };
        let parts = 1 + 2 * options.levels.len();
        let too_many = || Error::Option {
            operation: OPERATION,
            option: "horizon",
            found: options.horizon.to_string(),
            expected: "rows x horizon x intervals must fit the address space".into(),
        };
        let count = x.rows().checked_mul(parts).and_then(|all| all.checked_mul(options.horizon));
        let fitted = if options.fitted == Fitted::Give { x.rows() * x.cols() } else { 0 };
        Ok(Self {
            series: vec![empty; x.rows()],
            horizon: options.horizon,
            levels: options.levels.clone(),
            stats,
            values: zeroed(OPERATION, count.ok_or_else(too_many)?)?,
            fitted: zeroed(OPERATION, fitted)?,
            samples: x.cols(),
        })
    }

    /// Expected values of a row. Empty for a row that is not there, as are all that follow.
    pub fn mean(&self, row: usize) -> &[f64] {
        self.part(row, 0)
    }

    /// Lower ends of the intervals of a row for `levels[level]`.
    pub fn lower(&self, row: usize, level: usize) -> &[f64] {
        if level < self.levels.len() { self.part(row, 1 + 2 * level) } else { &[] }
    }

    /// Upper ends of the intervals of a row for `levels[level]`.
    pub fn upper(&self, row: usize, level: usize) -> &[f64] {
        if level < self.levels.len() { self.part(row, 2 + 2 * level) } else { &[] }
    }

    /// The forecast of each sample of a row from those before it; NaN before the first value. Empty unless they were
    /// asked for.
    pub fn fitted(&self, row: usize) -> &[f64] {
        self.fitted.get(row * self.samples..(row + 1) * self.samples).unwrap_or(&[])
    }

    fn part(&self, row: usize, part: usize) -> &[f64] {
        let first = (row * (1 + 2 * self.levels.len()) + part) * self.horizon;
        self.values.get(first..first + self.horizon).unwrap_or(&[])
    }

    /// Lets `finish` fill the rows of a tile; it gets a row's place in the tile, its number, and where it goes.
    pub(super) fn take_tile(
        &mut self,
        rows: Range<usize>,
        finish: impl Fn(usize, usize, Target<'_>) -> Result<()> + Sync,
    ) -> Result<()> {
        let width = (1 + 2 * self.levels.len()) * self.horizon;
        let samples = if self.fitted.is_empty() { 0 } else { self.samples };
        let fitted = &mut self.fitted[rows.start * samples..rows.end * samples];
        // Rows without fitted values get an empty piece each.
        let mut pieces: Vec<&mut [f64]> = fitted.chunks_mut(samples.max(1)).collect();
        pieces.resize_with(rows.len(), Default::default);
        self.series[rows.clone()]
            .par_iter_mut()
            .zip(self.values[rows.start * width..rows.end * width].par_chunks_mut(width))
            .zip(pieces)
            .enumerate()
            .try_for_each(|(index, ((series, values), fitted))| {
                finish(index, rows.start + index, Target { series, values, fitted })
            })?;
        for series in &self.series[rows] {
            self.stats.missing_values += (self.samples - series.observed) as u64;
            self.stats.excluded_rows += u64::from(series.status == Status::Empty);
        }
        Ok(())
    }
}
