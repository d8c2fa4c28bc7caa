//! The rows that `metric` commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::series::Direction;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datasets::{
    ColumnSpec, ColumnType, DatasetName, DatasetSpec, PartitionSpec, PartitionTransform,
};
use engine::{Error, Result};
use serde_json::{Map, Value, json};

use super::params::Params;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// What a row without a value of a dimension has.
const NONE: &str = "(none)";

/// The values of a series' dimensions.
pub(super) type Group = Vec<Option<String>>;

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// `None` where the rows have none, as the mean of none.
    pub(super) value: Option<f64>,
    pub(super) rows: i64,
}

/// The values of all series, in order.
pub(super) type Points = BTreeMap<Group, BTreeMap<i64, Point>>;

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset whose rows were measured"),
        required("metric", ColumnType::Text, "The metric"),
        required(
            "series",
            ColumnType::Text,
            "The metric and the values of its dimensions, as `metric{model=m1,region=eu}`",
        ),
        required("at", ColumnType::Timestamp, "Beginning of the interval"),
        column(
            "value",
            ColumnType::Float64,
            true,
            "The measure of its rows; null where they have none",
        ),
        with_unit(required("rows", ColumnType::Int64, "Rows in the interval"), "rows"),
        required("dimensions", ColumnType::Json, "Values of the dimensions, by column"),
        column("unit", ColumnType::Text, true, "What the value is in"),
        column("owner", ColumnType::Text, true, "Who answers for it"),
        column("target", ColumnType::Float64, true, "What it should reach, or not exceed"),
        column("direction", ColumnType::Text, true, "Which way is better: up or down"),
        column("is_met", ColumnType::Bool, true, "Whether the value meets the target"),
        column(
            "assumptions",
            ColumnType::Json,
            true,
            "Numbers that the measure takes as given, by name",
        ),
        with_unit(
            required("interval_seconds", ColumnType::Float64, "Mean length of an interval"),
            "s",
        ),
        with_unit(
            required("source_version", ColumnType::Int64, "Version of the dataset that was read"),
            "version",
        ),
    ];
    let mut spec = of_sources(
        name,
        "Measures of the rows of other datasets, one row for each interval of a series",
        ["metric", "series", "at"],
        Some("at"),
        columns,
    );
    spec.partition_by = vec![PartitionSpec {
        column: "metric".into(),
        from: None,
        transform: PartitionTransform::Identity,
    }];
    spec
}

/// The name of a series.
pub(super) fn series(params: &Params, group: &Group) -> String {
    if group.is_empty() {
        return params.metric().to_owned();
    }
    let parts: Vec<String> = params
        .dimensions
        .iter()
        .zip(group)
        .map(|(column, value)| format!("{column}={}", value.as_deref().map_or(NONE.into(), told)))
        .collect();
    format!("{}{{{}}}", params.metric(), parts.join(","))
}

/// A value, in quotes where it could be taken for something else.
fn told(value: &str) -> String {
    let is_plain = !value.is_empty() && value != NONE && !value.contains(['"', ',', '=', '{', '}']);
    match is_plain {
        true => value.to_owned(),
        false => Value::from(value).to_string(),
    }
}

/// The dimensions' values by column, as JSON.
fn dimensions(params: &Params, group: &Group) -> String {
    let by_column: Map<String, Value> = params
        .dimensions
        .iter()
        .zip(group)
        .map(|(column, value)| (column.clone(), value.clone().into()))
        .collect();
    Value::Object(by_column).to_string()
}

/// The values as rows.
pub(super) fn batch(
    spec: &DatasetSpec,
    params: &Params,
    unit: Option<&str>,
    version: u64,
    points: &Points,
) -> Result<RecordBatch> {
    let all: Vec<(&Group, i64, &Point)> = points
        .iter()
        .flat_map(|(group, of)| of.iter().map(move |(at, point)| (group, *at, point)))
        .collect();
    let count = all.len();
    let same = |text: Option<&str>| {
        Arc::new(StringArray::from_iter(std::iter::repeat_n(text, count))) as ArrayRef
    };
    let number = |number: Option<f64>| {
        Arc::new(Float64Array::from_iter(std::iter::repeat_n(number, count))) as ArrayRef
    };
    let each = |text: &dyn Fn(&Group) -> String| {
        let of_group = |(group, _, _): &(&Group, i64, &Point)| text(group);
        Arc::new(StringArray::from_iter_values(all.iter().map(of_group))) as ArrayRef
    };
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => same(Some(params.dataset.as_str())),
                "metric" => same(Some(params.metric())),
                "series" => each(&|group| series(params, group)),
                "at" => timestamps(all.iter().map(|(_, at, _)| *at)),
                "value" => {
                    Arc::new(Float64Array::from_iter(all.iter().map(|(_, _, point)| point.value)))
                }
                "rows" => Arc::new(Int64Array::from_iter_values(
                    all.iter().map(|(_, _, point)| point.rows),
                )),
                "dimensions" => each(&|group| dimensions(params, group)),
                "unit" => same(unit),
                "owner" => same(params.owner.as_deref()),
                "target" => number(params.target),
                "direction" => same(params.direction.map(Direction::as_str)),
                "is_met" => {
                    let is_met = |value: f64| Some(params.target()?.is_met(value));
                    let all = all.iter().map(|(_, _, point)| point.value.and_then(is_met));
                    Arc::new(BooleanArray::from_iter(all))
                }
                "assumptions" => {
                    let some = !params.assumptions.is_empty();
                    let told = some.then(|| json!(params.assumptions).to_string());
                    same(told.as_deref())
                }
                "interval_seconds" => number(Some(params.interval.mean_micros() as f64 / 1e6)),
                "source_version" => Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(
                    version as i64,
                    count,
                ))),
                other => {
                    return Err(Error::internal(format!("metric: no value for column {other:?}")));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
