//! The rows that `forecast` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};

use super::NAME;
use super::accuracy::{Kept, Said};
use super::look::Forecast;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

fn required(name: &str, data_type: ColumnType, about: &str) -> ColumnSpec {
    column(name, data_type, false, about)
}

/// What both datasets say of an interval.
fn said() -> Vec<ColumnSpec> {
    let float = |name, about| column(name, ColumnType::Float64, false, about);
    vec![
        required("source", ColumnType::Text, "The dataset that was looked at"),
        required("series", ColumnType::Text, "The series"),
        required("made_at", ColumnType::Timestamp, "Instant of the last value that was known"),
        required("at", ColumnType::Timestamp, "Instant that is forecast"),
        with_unit(required("step", ColumnType::Int64, "How many intervals ahead"), "intervals"),
        float("value", "What is expected"),
        float("lower_80", "Four in five values lie between this"),
        float("upper_80", "and this"),
        float("lower_95", "Nineteen in twenty values lie between this"),
        float("upper_95", "and this"),
        required(
            "method",
            ColumnType::Text,
            "naive, intermittent, or ensemble: the mean of naive, median, ets, seasonal_ets and theta, weighted by their errors",
        ),
        with_unit(required("interval_seconds", ColumnType::Float64, "Length of an interval"), "s"),
        with_unit(
            required("source_version", ColumnType::Int64, "Version of the dataset that was read"),
            "version",
        ),
    ]
}

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let mut columns = said();
    columns.extend([
        with_unit(
            column(
                "sum_of",
                ColumnType::Int64,
                true,
                "How many series it is the sum of; null where it is none",
            ),
            "series",
        ),
        with_unit(
            column(
                "season_seconds",
                ColumnType::Float64,
                true,
                "The longest season that was found; null where none was",
            ),
            "s",
        ),
        column(
            "backtest_error",
            ColumnType::Float64,
            true,
            "Mean absolute error of the method at instants that are past; null where there were too few values",
        ),
        column(
            "backtest_naive_error",
            ColumnType::Float64,
            true,
            "The same of the value one season ago",
        ),
        with_unit(
            column(
                "coverage_80",
                ColumnType::Float64,
                true,
                "Share of the values at past instants within intervals made of the errors at the others; where it is below 0.8 they are widened",
            ),
            "0 to 1",
        ),
        with_unit(
            column("coverage_95", ColumnType::Float64, true, "The same of those of 95 %"),
            "0 to 1",
        ),
    ]);
    of_sources(
        name,
        "What comes next in the series of a dataset, one row for each interval",
        ["source", "series", "at"],
        Some("at"),
        columns,
    )
}

fn question() -> ColumnSpec {
    required(
        "question",
        ColumnType::Text,
        "The measure or column, by what, how long an interval, and of which rows",
    )
}

/// The spec of the dataset that has all that was ever said.
pub(super) fn history_spec(name: DatasetName) -> DatasetSpec {
    let mut columns = said();
    columns.push(question());
    columns.push(required("said_at", ColumnType::Timestamp, "When it was said"));
    of_sources(
        name,
        "What was forecast of the series of a dataset, one row for each interval and time that it was forecast",
        ["source", "question", "series", "made_at", "at", "said_at"],
        Some("at"),
        columns,
    )
}

/// The spec of the dataset that says how good forecasts were.
pub(super) fn accuracy_spec(name: DatasetName) -> DatasetSpec {
    let float = |name, about| column(name, ColumnType::Float64, false, about);
    let mut columns = said();
    columns.extend([
        question(),
        float("actual", "What came"),
        float("error", "What came, less what was expected"),
        required("within_80", ColumnType::Bool, "Whether it lies within the interval of 80 %"),
        required("within_95", ColumnType::Bool, "Whether it lies within the interval of 95 %"),
    ]);
    of_sources(
        name,
        "What was forecast of the series of a dataset and what came, one row for each interval and time that it was forecast",
        ["source", "question", "series", "made_at", "at"],
        Some("at"),
        columns,
    )
}

/// Of what something is said, and when.
#[derive(Clone, Copy)]
pub(super) struct As<'a> {
    pub(super) source: &'a str,
    pub(super) question: &'a str,
    pub(super) said_at: i64,
}

/// A row of one of them.
struct Row<'a> {
    of_what: As<'a>,
    series: &'a str,
    said: Said,
    /// Where it is one of the forecasts.
    of: Option<&'a Forecast>,
}

/// The forecasts of one source at a version as rows.
pub(super) fn batch(
    spec: &DatasetSpec,
    source: &str,
    version: u64,
    found: &[Forecast],
) -> Result<RecordBatch> {
    history(spec, &As { source, question: "", said_at: 0 }, version, found)
}

/// The same for the history, as said at an instant.
pub(super) fn history(
    spec: &DatasetSpec,
    of_what: &As<'_>,
    version: u64,
    found: &[Forecast],
) -> Result<RecordBatch> {
    let mut all = Vec::new();
    for of in found {
        let row = |said| Row { of_what: *of_what, series: &of.name, said, of: Some(of) };
        all.extend(Said::of(of, version as i64).map(row));
    }
    rows(spec, &all)
}

/// What was said of one source and came, as rows.
pub(super) fn accuracy(spec: &DatasetSpec, of_what: &As<'_>, came: &Kept) -> Result<RecordBatch> {
    let mut all = Vec::new();
    for (series, said) in came {
        let row = |said: &Said| Row { of_what: *of_what, series, said: said.clone(), of: None };
        all.extend(said.iter().map(row));
    }
    rows(spec, &all)
}

fn rows(spec: &DatasetSpec, rows: &[Row<'_>]) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Row<'_>) -> String| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Row<'_>) -> Option<f64>| {
        Arc::new(Float64Array::from_iter(rows.iter().map(get))) as ArrayRef
    };
    let integers = |get: &dyn Fn(&Row<'_>) -> Option<i64>| {
        Arc::new(Int64Array::from_iter(rows.iter().map(get))) as ArrayRef
    };
    let times = |get: &dyn Fn(&Row<'_>) -> i64| timestamps(rows.iter().map(get));
    let within = |level: usize| {
        let within = rows.iter().map(|row| row.said.is_within(level));
        Arc::new(BooleanArray::from_iter(within)) as ArrayRef
    };
    let season = |of: &Forecast| {
        of.seasons.last().map(|season| *season as f64 * of.interval.mean_micros() as f64 / 1e6)
    };
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => texts(&|row| row.of_what.source.to_owned()),
                "question" => texts(&|row| row.of_what.question.to_owned()),
                "series" => texts(&|row| row.series.to_owned()),
                "made_at" => times(&|row| row.said.made_at_us),
                "at" => times(&|row| row.said.at_us),
                "step" => integers(&|row| Some(row.said.step)),
                "value" => floats(&|row| Some(row.said.value)),
                "lower_80" => floats(&|row| Some(row.said.bounds[0].0)),
                "upper_80" => floats(&|row| Some(row.said.bounds[0].1)),
                "lower_95" => floats(&|row| Some(row.said.bounds[1].0)),
                "upper_95" => floats(&|row| Some(row.said.bounds[1].1)),
                "method" => texts(&|row| row.said.method.clone()),
                "interval_seconds" => floats(&|row| Some(row.said.interval_us as f64 / 1e6)),
                "source_version" => integers(&|row| Some(row.said.source_version)),
                "sum_of" => integers(&|row| row.of?.sum_of.map(|count| count as i64)),
                "season_seconds" => floats(&|row| season(row.of?)),
                "backtest_error" => floats(&|row| row.of?.tried.error),
                "backtest_naive_error" => floats(&|row| row.of?.tried.naive_error),
                "coverage_80" => floats(&|row| row.of?.tried.widths.coverage.map(|of| of[0])),
                "coverage_95" => floats(&|row| row.of?.tried.widths.coverage.map(|of| of[1])),
                "said_at" => times(&|row| row.of_what.said_at),
                "actual" => floats(&|row| row.said.actual),
                "error" => floats(&|row| row.said.actual.map(|actual| actual - row.said.value)),
                "within_80" => within(0),
                "within_95" => within(1),
                other => {
                    return Err(Error::internal(format!("{NAME}: no value for column {other:?}")));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
