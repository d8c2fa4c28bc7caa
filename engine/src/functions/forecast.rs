//! `forecast(at, value, horizon [, season])`: what follows a series.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::forecast::{ForecastOptions, LEAST_SAMPLES, MOST_SEASON, Method, forecast};
use kernels::{Execution, MatrixView};

use super::arguments::{beyond, count, failed, nullable, numeric, whole};
use super::gather::Analysis;
use super::series::{Grid, instant, timestamps};

/// The share of probability that `lower` and `upper` enclose.
const LEVEL: f64 = 0.95;
/// The farthest step: what lies beyond is no forecast, and its intervals cost the square of it.
const HORIZON_MAX: usize = 10_000;
const USAGE: &str = "forecast(at, value, horizon [, season])";

/// Forecasts by exponential smoothing, the model chosen by AICc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Forecast;

/// How far, and with which season.
#[derive(Debug, Clone)]
pub(super) struct Options {
    horizon: usize,
    season: usize,
}

impl Analysis for Forecast {
    type Options = Options;

    fn name(&self) -> &'static str {
        "forecast"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if !(3..=4).contains(&given.len()) {
            return plan_err!("forecast: {} arguments; expected {USAGE}", given.len());
        }
        let series = [instant("forecast", &given[0])?, numeric("forecast", "value", &given[1])?];
        Ok(series.into_iter().chain(given[2..].iter().map(whole)).collect())
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>> {
        let at = given.first().cloned().unwrap_or(DataType::Timestamp(TimeUnit::Microsecond, None));
        Ok(vec![
            Field::new("at", at, false),
            Field::new("value", DataType::Float64, true),
            Field::new("lower", DataType::Float64, true),
            Field::new("upper", DataType::Float64, true),
        ])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<Options> {
        let Some(horizon) = count("forecast", "horizon", given.first())? else {
            return plan_err!("forecast: no horizon; expected {USAGE}");
        };
        if horizon > HORIZON_MAX {
            return Err(beyond(format!(
                "forecast: horizon is {horizon}; at most {HORIZON_MAX} steps are forecast"
            )));
        }
        Ok(Options { horizon, season: count("forecast", "season", given.get(1))?.unwrap_or(1) })
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        options: &Options,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [at, value] = columns else {
            return plan_err!("forecast: expected {USAGE}");
        };
        let grid = Grid::of("forecast", at, value)?;
        let zone = timestamps(at)?.timezone().map(str::to_owned);
        // One short series among many is no reason to fail the query: nothing is known of what follows it.
        let Some(grid) = grid.filter(|grid| grid.values.len() >= LEAST_SAMPLES) else {
            let none = TimestampMicrosecondArray::from(Vec::<i64>::new()).with_timezone_opt(zone);
            return Ok(vec![
                Arc::new(none),
                Arc::new(nullable([])),
                Arc::new(nullable([])),
                Arc::new(nullable([])),
            ]);
        };
        let settings = ForecastOptions {
            horizon: options.horizon,
            season: options.season,
            levels: vec![LEVEL],
            method: if options.season > MOST_SEASON { Method::Theta } else { Method::AutoEts },
            ..ForecastOptions::default()
        };
        let found = MatrixView::new(&grid.values, 1, grid.values.len())
            .and_then(|x| forecast(x, &settings, execution))
            .map_err(failed)?;
        let next = TimestampMicrosecondArray::from_iter_values(
            (0..options.horizon).map(|step| grid.at(grid.values.len() + step)),
        );
        Ok(vec![
            Arc::new(next.with_timezone_opt(zone)),
            Arc::new(nullable(found.mean(0).iter().copied())),
            Arc::new(nullable(found.lower(0, 0).iter().copied())),
            Arc::new(nullable(found.upper(0, 0).iter().copied())),
        ])
    }
}
