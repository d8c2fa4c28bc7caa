//! The rows that `anomalies` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};

use super::explain::Anomaly;
use super::labelled::Labelled;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset that was looked at"),
        required("series", ColumnType::Text, "The series"),
        required(
            "kind",
            ColumnType::Text,
            "outlier, seasonal_outlier, level_shift, missing, stuck, discord, joint or unlike; of the method online level, excursion, \
             activity, drift, roughness, shape, missing or stuck",
        ),
        required("started_at", ColumnType::Timestamp, "First instant that is unusual"),
        required("ended_at", ColumnType::Timestamp, "Last instant that is unusual"),
        required("peak_at", ColumnType::Timestamp, "Instant furthest from the usual"),
        column(
            "observed",
            ColumnType::Float64,
            true,
            "Value at the peak; null where there is none",
        ),
        column("expected", ColumnType::Float64, true, "Usual value at the peak"),
        with_unit(
            required(
                "score",
                ColumnType::Float64,
                "Signed distance from the usual, of discord, unlike and the method online -log10 of how often that is; for missing the \
                 intervals without a value, for stuck the samples without a change",
            ),
            "robust standard deviations",
        ),
        with_unit(
            required(
                "severity",
                ColumnType::Float64,
                "0 at the threshold, 50 at twice, 90 at ten times it; of discord, unlike and the method online where it is twice, ten times as rare",
            ),
            "0 to 100",
        ),
        required("level", ColumnType::Text, "low below 50, medium below 80, high from there"),
        with_unit(required("samples", ColumnType::Int64, "Samples from start to end"), "samples"),
        with_unit(
            required("interval_seconds", ColumnType::Float64, "Usual distance of samples"),
            "s",
        ),
        with_unit(
            column(
                "season_seconds",
                ColumnType::Float64,
                true,
                "Season that was taken out, if one was",
            ),
            "s",
        ),
        required("explanation", ColumnType::Text, "What was seen, what was expected, in words"),
        column(
            "label",
            ColumnType::Text,
            true,
            "What a person says that it is: real, or not_an_anomaly of one that is more severe now; null where nobody spoke",
        ),
    ];
    of_sources(
        name,
        "What is unusual in the series of a dataset, one row for each finding",
        ["source", "series", "kind", "started_at"],
        Some("started_at"),
        columns,
    )
}

/// The findings of one source as rows.
pub(super) fn batch(
    spec: &DatasetSpec,
    source: &str,
    found: &[Anomaly],
    labelled: &Labelled,
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Anomaly) -> String| {
        Arc::new(StringArray::from_iter_values(found.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Anomaly) -> Option<f64>| {
        Arc::new(Float64Array::from_iter(found.iter().map(get))) as ArrayRef
    };
    let times = |get: &dyn Fn(&Anomaly) -> i64| timestamps(found.iter().map(get));
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => texts(&|_| source.to_owned()),
                "series" => texts(&|a| a.series.clone()),
                "kind" => texts(&|a| a.kind.as_str().to_owned()),
                "started_at" => times(&|a| a.started_at),
                "ended_at" => times(&|a| a.ended_at),
                "peak_at" => times(&|a| a.peak_at),
                "observed" => floats(&|a| a.observed),
                "expected" => floats(&|a| a.expected),
                "score" => floats(&|a| Some(a.score)),
                "severity" => floats(&|a| Some(a.severity)),
                "level" => texts(&|a| a.level().as_str().to_owned()),
                "samples" => {
                    Arc::new(Int64Array::from_iter_values(found.iter().map(|a| a.samples)))
                }
                "interval_seconds" => floats(&|a| Some(a.interval_us as f64 / 1e6)),
                "season_seconds" => floats(&|a| a.season.map(|season| season.seconds())),
                "explanation" => texts(&|a| a.explanation.clone()),
                "label" => {
                    let words = found.iter().map(|found| labelled.word(found));
                    Arc::new(StringArray::from_iter(words))
                }
                other => {
                    return Err(Error::internal(format!(
                        "anomalies: no value for column {other:?}"
                    )));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
