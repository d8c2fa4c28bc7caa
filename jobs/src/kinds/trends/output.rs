//! The rows that `trends` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};

use super::NAME;
use super::look::Trend;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let float = |name, about| column(name, ColumnType::Float64, true, about);
    let seconds = |column| with_unit(column, "s");
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset that was looked at"),
        required("series", ColumnType::Text, "The series"),
        required("kind", ColumnType::Text, "level, slope, season, highest or lowest"),
        required(
            "at",
            ColumnType::Timestamp,
            "Since when it is so; the last instant of a slope, that of a record",
        ),
        required(
            "from_at",
            ColumnType::Timestamp,
            "First instant that a change may have been, with 95 % confidence; where a slope begins; the record before",
        ),
        required("until_at", ColumnType::Timestamp, "Last instant that a change may have been"),
        float(
            "before",
            "Level, amplitude or record before; the line's value where it begins. Levels and lines are seasonally adjusted if the series has a season",
        ),
        float("after", "The same after; the line's value where it ends"),
        float("change", "After, less before"),
        with_unit(float("per_day", "The slope"), "a day"),
        with_unit(
            float("per_day_lower", "The slope is more than this with 97.5 % confidence"),
            "a day",
        ),
        with_unit(float("per_day_upper", "and less than this"), "a day"),
        with_unit(
            float("score", "How large the change is; for a slope z of its test"),
            "standard deviations of the noise",
        ),
        with_unit(
            required(
                "p_value",
                ColumnType::Float64,
                "Chance of such a finding where there is none",
            ),
            "probability",
        ),
        seconds(required("interval_seconds", ColumnType::Float64, "Length of an interval")),
        seconds(float(
            "season_seconds",
            "The season that is another one, or the longest that was taken out",
        )),
        required("explanation", ColumnType::Text, "What changed, in words"),
        with_unit(
            required("source_version", ColumnType::Int64, "Version of the dataset that was read"),
            "version",
        ),
    ];
    of_sources(
        name,
        "What changed in the long run in the series of a dataset, one row for each finding",
        ["source", "series", "kind", "at"],
        Some("at"),
        columns,
    )
}

/// The findings of one source at a version as rows.
pub(super) fn batch(
    spec: &DatasetSpec,
    source: &str,
    version: u64,
    found: &[Trend],
) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Trend) -> String| {
        Arc::new(StringArray::from_iter_values(found.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Trend) -> Option<f64>| {
        let finite = |trend| get(trend).filter(|value| value.is_finite());
        Arc::new(Float64Array::from_iter(found.iter().map(finite))) as ArrayRef
    };
    let times = |get: &dyn Fn(&Trend) -> i64| timestamps(found.iter().map(get));
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => texts(&|_| source.to_owned()),
                "series" => texts(&|of| of.series.clone()),
                "kind" => texts(&|of| of.kind.as_str().to_owned()),
                "at" => times(&|of| of.at_us),
                "from_at" => times(&|of| of.from_us),
                "until_at" => times(&|of| of.until_us),
                "before" => floats(&|of| Some(of.before)),
                "after" => floats(&|of| Some(of.after)),
                "change" => floats(&|of| Some(of.after - of.before)),
                "per_day" => floats(&|of| of.per_day.map(|of| of[0])),
                "per_day_lower" => floats(&|of| of.per_day.map(|of| of[1])),
                "per_day_upper" => floats(&|of| of.per_day.map(|of| of[2])),
                "score" => floats(&|of| of.score),
                "p_value" => floats(&|of| Some(of.p)),
                "interval_seconds" => floats(&|of| Some(of.interval_us as f64 / 1e6)),
                "season_seconds" => floats(&|of| of.season_us.map(|span| span as f64 / 1e6)),
                "explanation" => texts(&|of| of.explanation.clone()),
                "source_version" => Arc::new(Int64Array::from(vec![version as i64; found.len()])),
                other => {
                    return Err(Error::internal(format!("{NAME}: no value for column {other:?}")));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
