//! `rolling_mean`, `rolling_std`, `rolling_min`, `rolling_max`, `rolling_median`, `rolling_mad`, `rolling_rank`,
//! `rolling_quantile` and `anomaly_score`: statistics over the last rows of a partition.
//!
//! SQL's own frames can say `ROWS BETWEEN 23 PRECEDING AND CURRENT ROW`, but `median` over them sorts every frame
//! anew; these cost about the same whatever the length of the window. NULL and NaN are skipped. A window with
//! fewer than `least` values (the whole window when absent) gives NULL.
//!
//! The score of a row is its distance from the median of the `window` rows before it, in robust standard deviations:
//! 1.4826 · MAD, or 1.2533 · mean absolute deviation where more than half of the window is one value (Iglewicz &
//! Hoaglin, "How to Detect and Handle Outliers", 1993). The row itself is left out, so that a spike does not widen
//! its own measure. Where the window is constant, the score is 0 for the same value and infinite for any other.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDFImpl};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{Execution, MatrixView, MatrixViewMut};

use super::arguments::{count, failed, nullable, number, numbers};

/// A standard deviation over a MAD, for normal data.
const MAD_TO_SIGMA: f64 = 1.4826;
/// A standard deviation over a mean absolute deviation, for normal data: √(π/2).
const MEAN_DEVIATION_TO_SIGMA: f64 = 1.253_314_137_315_500_3;

/// Which statistic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Mean,
    Std,
    Min,
    Max,
    Median,
    Mad,
    Rank,
    Quantile,
    AnomalyScore,
}

impl Kind {
    pub(super) const ALL: &[Self] = &[
        Self::Mean,
        Self::Std,
        Self::Min,
        Self::Max,
        Self::Median,
        Self::Mad,
        Self::Rank,
        Self::Quantile,
        Self::AnomalyScore,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Mean => "rolling_mean",
            Self::Std => "rolling_std",
            Self::Min => "rolling_min",
            Self::Max => "rolling_max",
            Self::Median => "rolling_median",
            Self::Mad => "rolling_mad",
            Self::Rank => "rolling_rank",
            Self::Quantile => "rolling_quantile",
            Self::AnomalyScore => "anomaly_score",
        }
    }

    /// How it is called.
    fn usage(self) -> &'static str {
        match self {
            Self::Quantile => "rolling_quantile(value, window, quantile [, least]) OVER (…)",
            Self::AnomalyScore => "anomaly_score(value, window [, least]) OVER (…)",
            _ => "(value, window [, least]) OVER (…)",
        }
    }
}

/// One of the functions.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rolling {
    kind: Kind,
    signature: Signature,
}

impl Rolling {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Rolling {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let mut wanted = vec![DataType::Float64, DataType::Int64];
        if self.kind == Kind::Quantile {
            wanted.push(DataType::Float64);
        }
        let least = wanted.len();
        wanted.push(DataType::Int64);
        if !(least..=wanted.len()).contains(&given.len()) {
            let (name, usage) = (self.name(), self.kind.usage());
            return plan_err!("{name}: {} arguments; expected {usage}", given.len());
        }
        if !given[0].is_numeric() && given[0] != DataType::Null {
            return plan_err!("{}: the value is {}; a number is needed", self.name(), given[0]);
        }
        wanted.truncate(given.len());
        Ok(wanted)
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(arguments.name(), DataType::Float64, true)))
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let (name, given) = (self.name(), arguments.input_exprs());
        let Some(window) = count(name, "window", given.get(1))? else {
            return plan_err!("{name}: no window; expected {}", self.kind.usage());
        };
        let (quantile, least) = match self.kind {
            Kind::Quantile => (number(name, "quantile", given.get(2))?, given.get(3)),
            _ => (None, given.get(2)),
        };
        let least = count(name, "least", least)?;
        let options = RollingOptions { min_periods: least, ..RollingOptions::trailing(window) };
        Ok(Box::new(Evaluator { kind: self.kind, options, quantile: quantile.unwrap_or(0.5) }))
    }
}

#[derive(Debug)]
struct Evaluator {
    kind: Kind,
    options: RollingOptions,
    quantile: f64,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, columns: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let Some(column) = columns.first() else {
            return plan_err!("{}: no value; expected {}", self.kind.name(), self.kind.usage());
        };
        let values = numbers(column)?;
        let statistics: &[Statistic] = match self.kind {
            Kind::Mean => &[Statistic::Mean],
            Kind::Std => &[Statistic::Std],
            Kind::Min => &[Statistic::Min],
            Kind::Max => &[Statistic::Max],
            Kind::Median => &[Statistic::Median],
            Kind::Mad => &[Statistic::Mad],
            Kind::Rank => &[Statistic::Rank],
            Kind::Quantile => &[Statistic::Quantile(self.quantile)],
            Kind::AnomalyScore => &[Statistic::Median, Statistic::Mad],
        };
        let mut results = vec![vec![0.0; values.len()]; statistics.len()];
        let mut outputs = results
            .iter_mut()
            .zip(statistics)
            .map(|(result, &statistic)| {
                let view = MatrixViewMut::new(result, 1, values.len())?;
                Ok(RollingOutput::new(statistic, view))
            })
            .collect::<kernels::Result<Vec<_>>>()
            .map_err(failed)?;
        MatrixView::new(&values, 1, values.len())
            .and_then(|x| rolling(x, &self.options, &mut outputs, &Execution::default()))
            .map_err(failed)?;
        Ok(Arc::new(match results.as_slice() {
            [medians, mads] => nullable(self.scores(&values, medians, mads)),
            [result] => nullable(result.iter().copied()),
            _ => nullable([]),
        }))
    }
}

impl Evaluator {
    /// Each value beside the window that ends before it.
    fn scores(&self, values: &[f64], medians: &[f64], mads: &[f64]) -> Vec<f64> {
        let score = |row: usize| {
            let Some(before) = row.checked_sub(1) else {
                return f64::NAN;
            };
            let (distance, mad) = (values[row] - medians[before], mads[before]);
            if mad > 0.0 || mad.is_nan() {
                return distance / (MAD_TO_SIGMA * mad);
            }
            let window = &values[row.saturating_sub(self.options.window)..row];
            let deviation = mean_deviation(window, medians[before]);
            if distance == 0.0 { 0.0 } else { distance / (MEAN_DEVIATION_TO_SIGMA * deviation) }
        };
        (0..values.len()).map(score).collect()
    }
}

/// The mean distance from `centre` of the values that are there.
fn mean_deviation(values: &[f64], centre: f64) -> f64 {
    let distances =
        values.iter().filter(|value| value.is_finite()).map(|value| (value - centre).abs());
    let (sum, count) = distances.fold((0.0, 0.0), |(sum, count), d| (sum + d, count + 1.0));
    sum / count
}
