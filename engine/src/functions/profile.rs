//! `matrix_profile(at, value, window)` and `discords(at, value, window, count)`: shapes that come but once.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::Execution;
use kernels::matrix_profile::{ProfileOptions, SelfJoin, matrix_profile};

use super::arguments::{beyond, count, failed, nullable, numeric, whole};
use super::gather::Analysis;
use super::series::{Grid, instant, timestamps};

/// Samples of one series: the profile takes the square of them, some ten seconds on two cores.
const SAMPLES_MAX: usize = 1 << 17;
/// Windows that are told as least like any other: each is compared with all that are told before.
const COUNT_MAX: usize = 1_000;

/// Which windows are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Profile {
    /// All of them.
    All,
    /// Those that are least like any other.
    Discords,
}

/// How long windows are, and how many are told at most.
#[derive(Debug, Clone)]
pub(super) struct Options {
    window: usize,
    count: usize,
}

/// Windows by their first sample, each with its nearest other and how far that is.
type Windows = Vec<(usize, Option<usize>, f64)>;

impl Profile {
    fn usage(self) -> &'static str {
        match self {
            Self::All => "matrix_profile(at, value, window)",
            Self::Discords => "discords(at, value, window, count)",
        }
    }

    fn told(self, found: &SelfJoin, options: &Options) -> Windows {
        match self {
            Self::All => {
                let distances = found.profile.distances().iter().enumerate();
                distances.map(|(at, far)| (at, found.profile.neighbour(at), *far)).collect()
            }
            Self::Discords => {
                let found = found.discords_apart(options.count, options.window).into_iter();
                found.map(|of| (of.window, Some(of.neighbour), of.distance)).collect()
            }
        }
    }
}

impl Analysis for Profile {
    type Options = Options;

    fn name(&self) -> &'static str {
        match self {
            Self::All => "matrix_profile",
            Self::Discords => "discords",
        }
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (name, expected) = (self.name(), if *self == Self::All { 3 } else { 4 });
        if given.len() != expected {
            return plan_err!("{name}: {} arguments; expected {}", given.len(), self.usage());
        }
        let series = [instant(name, &given[0])?, numeric(name, "value", &given[1])?];
        Ok(series.into_iter().chain(given[2..].iter().map(whole)).collect())
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>> {
        let at = given.first().cloned().unwrap_or(DataType::Timestamp(TimeUnit::Microsecond, None));
        Ok(vec![
            Field::new("at", at.clone(), false),
            Field::new("until", at.clone(), false),
            Field::new("nearest_at", at, true),
            Field::new("distance", DataType::Float64, true),
        ])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<Options> {
        let name = self.name();
        let Some(window) = count(name, "window", given.first())? else {
            return plan_err!("{name}: no window; expected {}", self.usage());
        };
        let count = match self {
            Self::All => usize::MAX,
            Self::Discords => match count(name, "count", given.get(1))? {
                Some(count) if count <= COUNT_MAX => count,
                Some(count) => {
                    return Err(beyond(format!("{name}: count is {count}; at most {COUNT_MAX}")));
                }
                None => return plan_err!("{name}: no count; expected {}", self.usage()),
            },
        };
        Ok(Options { window, count })
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        options: &Options,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [at, value] = columns else {
            return plan_err!("{}: expected {}", self.name(), self.usage());
        };
        let zone = timestamps(at)?.timezone().map(str::to_owned);
        let mut windows = Windows::new();
        let grid = Grid::of(self.name(), at, value)?;
        // A series without a second window has no profile, which is no reason to fail a query of many.
        let grid = grid.filter(|grid| grid.values.len() > options.window);
        if let Some(grid) = &grid {
            let samples = grid.values.len();
            if samples > SAMPLES_MAX {
                let says =
                    format!("{}: a series of {samples} steps; at most {SAMPLES_MAX}", self.name());
                return Err(beyond(says));
            }
            let asked = ProfileOptions::window(options.window);
            let found = matrix_profile(&grid.values, &asked, execution).map_err(failed)?;
            windows = self.told(&found, options);
        }
        let instant = |place: usize| grid.as_ref().map(|grid| grid.at(place));
        let instants = |of: &mut dyn Iterator<Item = Option<usize>>| -> ArrayRef {
            let instants: TimestampMicrosecondArray = of.map(|place| instant(place?)).collect();
            Arc::new(instants.with_timezone_opt(zone.clone()))
        };
        let last = options.window.saturating_sub(1);
        let distances = windows.iter().map(|of| if of.2.is_finite() { of.2 } else { f64::NAN });
        Ok(vec![
            instants(&mut windows.iter().map(|of| Some(of.0))),
            instants(&mut windows.iter().map(|of| Some(of.0 + last))),
            instants(&mut windows.iter().map(|of| of.1)),
            Arc::new(nullable(distances)),
        ])
    }
}
