//! `changepoints(at, value [, penalty])`: where the level of a series changes.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::physical_expr::PhysicalExpr;
use kernels::changepoint::{Cost, PeltOptions, Penalty, pelt};
use kernels::{Execution, MatrixView};

use super::arguments::{failed, nullable, number, numeric};
use super::gather::Analysis;
use super::series::{in_order, instant, timestamps};

const USAGE: &str = "changepoints(at, value [, penalty])";
/// The fewest values between two changes: one or two beside the others are outliers and no new level.
const MIN_SEGMENT: usize = 5;

/// Changes of the mean, by PELT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Changepoints;

impl Analysis for Changepoints {
    /// The cost of a change, in variances of the noise; by the Bayesian criterion where none is given.
    type Options = Option<f64>;

    fn name(&self) -> &'static str {
        "changepoints"
    }

    fn coerce(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=3).contains(&given.len()) {
            return plan_err!("changepoints: {} arguments; expected {USAGE}", given.len());
        }
        let mut wanted =
            vec![instant("changepoints", &given[0])?, numeric("changepoints", "value", &given[1])?];
        if let Some(penalty) = given.get(2) {
            wanted.push(numeric("changepoints", "penalty", penalty)?);
        }
        Ok(wanted)
    }

    fn columns(&self) -> usize {
        2
    }

    fn answer(&self, given: &[DataType]) -> Result<Vec<Field>> {
        let at = given.first().cloned().unwrap_or(DataType::Timestamp(TimeUnit::Microsecond, None));
        Ok(vec![
            Field::new("at", at, false),
            Field::new("before", DataType::Float64, true),
            Field::new("after", DataType::Float64, true),
        ])
    }

    fn options(&self, given: &[Arc<dyn PhysicalExpr>]) -> Result<Option<f64>> {
        match number("changepoints", "penalty", given.first())? {
            Some(penalty) if penalty <= 0.0 => {
                plan_err!("changepoints: penalty is {penalty}; a number above 0 is needed")
            }
            penalty => Ok(penalty),
        }
    }

    fn compute(
        &self,
        columns: &[ArrayRef],
        penalty: &Option<f64>,
        execution: &Execution,
    ) -> Result<Vec<ArrayRef>> {
        let [at, value] = columns else {
            return plan_err!("changepoints: expected {USAGE}");
        };
        let zone = timestamps(at)?.timezone().map(str::to_owned);
        let points = in_order(at, value)?;
        let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        let penalty = penalty.map_or(Penalty::Bic, Penalty::Noise);
        let options = PeltOptions { cost: Cost::Mean, penalty, min_segment: MIN_SEGMENT };
        let found = MatrixView::new(&values, 1, values.len())
            .and_then(|x| pelt(x, &options, execution))
            .map_err(failed)?;
        let changes = found.rows.first().map_or(&[][..], |row| &row.points);
        let starts: Vec<usize> = std::iter::once(0).chain(changes.iter().copied()).collect();
        let ends = changes.iter().copied().chain([values.len()]);
        let levels: Vec<f64> =
            starts.iter().zip(ends).map(|(&start, end)| mean(&values[start..end])).collect();
        let instants = TimestampMicrosecondArray::from_iter_values(
            changes.iter().filter_map(|&change| points.get(change)).map(|(at, _)| *at),
        );
        let before: Float64Array = nullable(levels.iter().copied().take(changes.len()));
        let after: Float64Array = nullable(levels.iter().copied().skip(1));
        Ok(vec![Arc::new(instants.with_timezone_opt(zone)), Arc::new(before), Arc::new(after)])
    }
}

/// The mean of the values that are there.
fn mean(values: &[f64]) -> f64 {
    let there = values.iter().filter(|value| value.is_finite());
    let (sum, count) = there.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}
