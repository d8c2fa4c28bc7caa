//! The parameters of `metric`.

use analysis::series::Span;
use datasets::DatasetName;
use engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::parameters::{bad, dataset_name};
use crate::series::EmptyAs;

/// Longest name of a metric, in bytes.
const NAME_MAX_BYTES: usize = 200;
/// Columns by which it is told apart, at most.
const DIMENSIONS_MAX: usize = 8;
/// Shortest interval.
const INTERVAL_MIN_US: i64 = 1_000_000;

/// What is measured, of which rows, by what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// The metric's name; null takes the text of the measure. Default: null.
    pub metric: Option<String>,
    /// Dataset whose rows are measured. Default: model_calls.
    #[schemars(with = "String")]
    pub dataset: DatasetName,
    /// Column with the instant of a row; null takes the one that the dataset declares. Default: null.
    pub time_column: Option<String>,
    /// What is computed of the rows of each interval, such as "count(*)", "sum(cost_usd)",
    /// "count(*) FILTER (WHERE status = 'error') / count(*)", or the name of a measure that the dataset declares. Default: "count(*)".
    pub measure: String,
    /// Only rows of which this is true, as it stands in SQL behind WHERE. Default: null.
    #[serde(rename = "where")]
    pub condition: Option<String>,
    /// Columns, or declared dimensions, of which each combination of values is a series of its own, at most 8. Default: [].
    pub dimensions: Vec<String>,
    /// Length of an interval, such as "5m", from 1 s on. Default: 1h.
    pub interval: Span,
    /// What an interval of a series without rows is: "zero", "missing", or "auto": zero where the measure is a count or a sum.
    /// Default: auto.
    pub empty: EmptyAs,
    /// What the values are in, such as "USD" or "ms"; null takes the unit of the measure, if it declares one. Default: null.
    pub unit: Option<String>,
    /// Compute all anew, and not only the intervals that rows came to. Default: false.
    pub full: bool,
    /// Dataset that the values are committed to. Default: metric_values.
    #[schemars(with = "String")]
    pub output: DatasetName,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            metric: None,
            dataset: dataset_name("model_calls"),
            time_column: None,
            measure: "count(*)".into(),
            condition: None,
            dimensions: Vec::new(),
            interval: Span::HOUR,
            empty: EmptyAs::Auto,
            unit: None,
            full: false,
            output: dataset_name("metric_values"),
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let name = self.metric();
        if name.trim().is_empty() || name.len() > NAME_MAX_BYTES || name.contains(char::is_control)
        {
            let says = format!(
                "expected 1 to {NAME_MAX_BYTES} bytes without control characters, found {} bytes",
                name.len()
            );
            let parameter = if self.metric.is_some() { "metric" } else { "measure" };
            let hint =
                if self.metric.is_some() { "" } else { "; `metric` gives it a shorter name" };
            return Err(bad(NAME, parameter, says + hint));
        }
        if self.dimensions.len() > DIMENSIONS_MAX {
            let found = self.dimensions.len();
            let says = format!("expected at most {DIMENSIONS_MAX} columns, found {found}");
            return Err(bad(NAME, "dimensions", says));
        }
        for (at, dimension) in self.dimensions.iter().enumerate() {
            if self.dimensions[..at].contains(dimension) {
                return Err(bad(NAME, "dimensions", format!("{dimension:?} stands there twice")));
            }
        }
        if self.interval.micros() < INTERVAL_MIN_US {
            return Err(bad(
                NAME,
                "interval",
                format!("expected 1 s at least, found {}", self.interval),
            ));
        }
        Ok(())
    }

    /// The metric's name.
    pub(super) fn metric(&self) -> &str {
        self.metric.as_deref().unwrap_or(&self.measure)
    }
}
