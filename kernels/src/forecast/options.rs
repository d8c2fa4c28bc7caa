//! What is to be forecast, and how.

use super::OPERATION;
use super::model::{Ets, MOST_SEASON};
use crate::error::{Error, Result};

/// The fewest samples that a series must have room for.
pub const LEAST_SAMPLES: usize = 3;

/// How forecasts are made; the module says what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The model of exponential smoothing with the lowest AICc, for each series.
    #[default]
    AutoEts,
    /// This model of exponential smoothing.
    Ets(Ets),
    /// The standard theta method.
    Theta,
    /// The value one season ago.
    SeasonalNaive,
}

/// Whether the forecasts of the samples that are there are wanted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fitted {
    /// Only what follows the last sample.
    #[default]
    Leave,
    /// One for each sample, from those before it.
    Give,
}

/// What is to be forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct ForecastOptions {
    /// How.
    pub method: Method,
    /// Samples after the last column.
    pub horizon: usize,
    /// Samples of a season; 1 for none. [`spectrum`](crate::spectrum::spectrum) finds it.
    pub season: usize,
    /// Shares of probability that intervals shall cover, each between 0 and 1.
    pub levels: Vec<f64>,
    /// Whether fitted values are wanted.
    pub fitted: Fitted,
    /// Paths that are simulated for intervals without a closed form, 2 or more.
    pub paths: usize,
    /// Where their random numbers start.
    pub seed: u64,
}

impl Default for ForecastOptions {
    fn default() -> Self {
        Self {
            method: Method::AutoEts,
            horizon: 1,
            season: 1,
            levels: Vec::new(),
            fitted: Fitted::Leave,
            paths: 2_000,
            seed: 1,
        }
    }
}

impl ForecastOptions {
    /// The models that are fitted to each series.
    pub(super) fn models(&self) -> Vec<Ets> {
        match self.method {
            Method::AutoEts => {
                Ets::all().filter(|model| self.season > 1 || !model.has_season()).collect()
            }
            Method::Ets(model) => vec![model],
            Method::Theta => vec![Ets::SIMPLE],
            Method::SeasonalNaive => Vec::new(),
        }
    }

    /// The season of what is fitted: the theta method has taken it out.
    pub(super) fn fitted_season(&self) -> usize {
        if self.method == Method::Theta { 1 } else { self.season }
    }

    /// Simulated values for one series at one time, at most.
    pub(super) fn simulates(&self) -> usize {
        let multiplied = self.models().iter().any(Ets::simulates);
        if multiplied && !self.levels.is_empty() { self.horizon * self.paths } else { 0 }
    }

    pub(super) fn check(&self) -> Result<()> {
        let wrong = |option, found: String, expected: String| {
            Err(Error::Option { operation: OPERATION, option, found, expected })
        };
        if self.horizon == 0 {
            return wrong("horizon", "0".into(), "at least 1 sample is needed".into());
        }
        if self.season == 0 {
            return wrong("season", "0".into(), "1 means none".into());
        }
        let smooths = matches!(self.method, Method::AutoEts | Method::Ets(_));
        if smooths && self.season > MOST_SEASON {
            return wrong(
                "season",
                self.season.to_string(),
                format!(
                    "exponential smoothing takes at most {MOST_SEASON}; the theta method takes any"
                ),
            );
        }
        if let Some(level) = self.levels.iter().find(|level| !(**level > 0.0 && **level < 1.0)) {
            return wrong("level", level.to_string(), "it must be between 0 and 1".into());
        }
        if self.paths < 2 {
            return wrong("paths", self.paths.to_string(), "at least 2 are needed".into());
        }
        if let Method::Ets(model) = self.method {
            if !model.is_stable() {
                let expected = "a multiplied season needs multiplicative errors".into();
                return wrong("model", model.to_string(), expected);
            }
            if model.has_season() && self.season < 2 {
                return wrong(
                    "model",
                    model.to_string(),
                    "a season of at least 2 is needed".into(),
                );
            }
        }
        Ok(())
    }
}
