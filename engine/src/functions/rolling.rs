//! `rolling_mean`, `rolling_std`, `rolling_min`, `rolling_max`, `rolling_median`, `rolling_mad`, `rolling_rank`,
//! `rolling_quantile` and `anomaly_score`: statistics over the last rows of a partition.
//!
//! SQL's own frames can say `ROWS BETWEEN 23 PRECEDING AND CURRENT ROW`, but `median` over them sorts every frame
//! anew; these cost about the same whatever the length of the window. NULL, NaN and infinities are skipped. A window with
//! fewer than `least` values (the whole window when absent) gives NULL.
//!
//! The score of a row is its distance from the median of the `window` rows before it, in robust standard deviations:
//! 1.4826 · MAD, or 1.2533 · mean absolute deviation where more than half of the window is one value (Iglewicz &
//! Hoaglin, "How to Detect and Handle Outliers", 1993). The row itself is left out, so that a spike does not widen
//! its own measure. Where the window is constant, the score is 0 for the same value and infinite for any other.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDFImpl};
use kernels::rolling::{RollingOptions, RollingOutput, Statistic, rolling};
use kernels::{MatrixView, MatrixViewMut};

use super::arguments::{Shared, count, failed, nullable, number, numbers, numeric, whole};

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

    pub(super) fn name(self) -> &'static str {
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
    execution: Shared,
}

impl Rolling {
    pub(super) fn new(kind: Kind, execution: Shared) -> Self {
        Self { kind, signature: Signature::user_defined(Volatility::Immutable), execution }
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
        let name = self.name();
        let most = if self.kind == Kind::Quantile { 4 } else { 3 };
        if !(most - 1..=most).contains(&given.len()) {
            let usage = self.kind.usage();
            return plan_err!("{name}: {} arguments; expected {usage}", given.len());
        }
        let argument = |(place, given): (usize, &DataType)| match place {
            0 => numeric(name, "value", given),
            2 if self.kind == Kind::Quantile => numeric(name, "quantile", given),
            _ => Ok(whole(given)),
        };
        given.iter().enumerate().map(argument).collect()
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
        if let Some(least) = least.filter(|&least| least > window) {
            return plan_err!("{name}: least is {least}; the window has {window} rows");
        }
        let quantile = quantile.unwrap_or(0.5);
        if !(0.0..=1.0).contains(&quantile) {
            return plan_err!("{name}: quantile is {quantile}; it must be 0 to 1");
        }
        let options = RollingOptions { min_periods: least, ..RollingOptions::trailing(window) };
        let execution = self.execution.clone();
        Ok(Box::new(Evaluator { kind: self.kind, options, quantile, execution }))
    }
}

#[derive(Debug)]
struct Evaluator {
    kind: Kind,
    options: RollingOptions,
    quantile: f64,
    execution: Shared,
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
        let results = self.rolling(&values, &self.options, statistics)?;
        Ok(Arc::new(match results.as_slice() {
            [medians, mads] => nullable(self.scores(&values, medians, mads)?),
            [result] => nullable(result.iter().copied()),
            _ => nullable([]),
        }))
    }
}

impl Evaluator {
    /// Statistics of one series.
    fn rolling(
        &self,
        values: &[f64],
        options: &RollingOptions,
        statistics: &[Statistic],
    ) -> Result<Vec<Vec<f64>>> {
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
        MatrixView::new(values, 1, values.len())
            .and_then(|x| rolling(x, options, &mut outputs, &self.execution))
            .map_err(failed)?;
        Ok(results)
    }

    /// Each value beside the window that ends before it.
    fn scores(&self, values: &[f64], medians: &[f64], mads: &[f64]) -> Result<Vec<f64>> {
        let deviations = self.mean_deviations(values, medians, mads)?;
        let score = |row: usize| {
            let Some(before) = row.checked_sub(1) else {
                return f64::NAN;
            };
            let (distance, mad) = (values[row] - medians[before], mads[before]);
            match deviations.get(&before) {
                // A window that is one value.
                Some(_) if distance == 0.0 => 0.0,
                Some(deviation) => distance / (MEAN_DEVIATION_TO_SIGMA * deviation),
                None => distance / (MAD_TO_SIGMA * mad),
            }
        };
        Ok((0..values.len()).map(score).collect())
    }

    /// For the windows whose MAD is 0, by their last row, the mean distance from their median.
    ///
    /// Windows with one median share their distances. More than half of each is that median, so that few
    /// medians can lie near each other, and the stretches below are in sum a few times as long as the series.
    fn mean_deviations(
        &self,
        values: &[f64],
        medians: &[f64],
        mads: &[f64],
    ) -> Result<BTreeMap<usize, f64>> {
        let window = self.options.window;
        let mut of_median: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for last in (0..mads.len()).filter(|&row| mads[row] == 0.0) {
            // 0 is also −0.
            of_median.entry((medians[last] + 0.0).to_bits()).or_default().push(last);
        }
        let mean = RollingOptions { min_periods: Some(1), ..RollingOptions::trailing(window) };
        let mut found = BTreeMap::new();
        for lasts in of_median.values() {
            for near in lasts.chunk_by(|a, b| b - a <= window) {
                let [first, ..] = near else { continue };
                let start = (first + 1).saturating_sub(window);
                let end = near.last().map_or(start, |last| last + 1);
                let distances: Vec<f64> = values[start..end]
                    .iter()
                    .map(|value| (value - medians[*first]).abs())
                    .collect();
                let means = self.rolling(&distances, &mean, &[Statistic::Mean])?;
                let means = means.first().map_or(&[][..], |means| means);
                found.extend(near.iter().map(|&last| (last, means[last - start])));
            }
        }
        Ok(found)
    }
}
