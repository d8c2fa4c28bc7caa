//! The rows that `explain` commits.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::logical_expr::{Expr, ident, lit};
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Error, Result};
use serde_json::json;

use super::NAME;
use super::params::Params;
use super::told::{Explanation, Finding};
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let float = |name, about| column(name, ColumnType::Float64, true, about);
    let text = |name, about| column(name, ColumnType::Text, true, about);
    let columns: Vec<ColumnSpec> = vec![
        required("source", ColumnType::Text, "The dataset whose rows were compared"),
        required(
            "question",
            ColumnType::Text,
            "What was asked: the measure, of which rows, and both periods",
        ),
        required(
            "rank",
            ColumnType::Int64,
            "0 for the change as a whole, then by how much a group stands out",
        ),
        required("outcome", ColumnType::Text, "Of the whole: found, even, noise or incomparable"),
        text("finding", "The values of the group; null for the whole"),
        column("by_column", ColumnType::Json, true, "The same, by column"),
        required("from_at", ColumnType::Timestamp, "The later period begins"),
        required("to_at", ColumnType::Timestamp, "and ends before"),
        required("before_from_at", ColumnType::Timestamp, "The earlier period begins"),
        required("before_to_at", ColumnType::Timestamp, "and ends before"),
        float(
            "before",
            "The measure in the earlier period; of a quantile's group its share of rows above the quantile",
        ),
        float("after", "The same in the later period"),
        with_unit(
            column("rows_before", ColumnType::Int64, true, "Rows in the earlier period"),
            "rows",
        ),
        with_unit(
            column("rows_after", ColumnType::Int64, true, "Rows in the later period"),
            "rows",
        ),
        float(
            "contribution",
            "What it adds to the change; those of all values of a column add up to it",
        ),
        float("share", "The same as a part of the change"),
        float("by_rate", "Of a ratio: what its own change adds"),
        float("by_mix", "Of a ratio: what the change of its part of all rows adds"),
        float("by_both", "Of a ratio: what both add together"),
        float("joint", "Of several values: what they add beyond what each leads to expect"),
        float("own", "What those of its rows add that no finding before it has"),
        float(
            "excess",
            "What these moved the measure by beyond what moving as the rest would have",
        ),
        with_unit(float("surprise", "How far its part of the whole moved"), "nats"),
        with_unit(float("z", "The excess over its standard deviation"), "standard deviations"),
        with_unit(
            float("p_value", "Chance of such a finding by noise in any group that was looked at"),
            "probability",
        ),
        required("explanation", ColumnType::Text, "What it is, in words"),
        with_unit(
            required("source_version", ColumnType::Int64, "Version of the dataset that was read"),
            "version",
        ),
    ];
    of_sources(
        name,
        "Why measures changed between two periods: what groups of rows carry the change",
        ["source", "question", "rank"],
        Some("from_at"),
        columns,
    )
}

/// What was asked, in words.
fn question(params: &Params) -> Result<String> {
    let [earlier, later] = params.periods()?;
    let of = params.condition.as_ref().map(|of| format!(" where {of}")).unwrap_or_default();
    Ok(format!("{} of {}{of}, {later}, against {earlier}", params.measure, params.dataset))
}

/// The rows that are replaced: those of the same question.
pub(super) fn part(params: &Params) -> Result<Expr> {
    let of_source = ident("source").eq(lit(params.dataset.as_str()));
    Ok(of_source.and(ident("question").eq(lit(question(params)?))))
}

/// The findings as rows, the whole first.
pub(super) fn batch(
    spec: &DatasetSpec,
    params: &Params,
    version: u64,
    told: &Explanation,
) -> Result<RecordBatch> {
    let question = question(params)?;
    let [earlier, later] = params.periods()?;
    let rows: Vec<Option<&Finding>> =
        std::iter::once(None).chain(told.findings.iter().map(Some)).collect();
    let count = rows.len();
    let same = |text: &str| Arc::new(StringArray::from(vec![text; count])) as ArrayRef;
    let texts = |get: &dyn Fn(Option<&Finding>) -> Option<String>| {
        Arc::new(StringArray::from_iter(rows.iter().map(|row| get(*row)))) as ArrayRef
    };
    let floats = |get: &dyn Fn(Option<&Finding>) -> Option<f64>| {
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| get(*row)))) as ArrayRef
    };
    let integers = |get: &dyn Fn(usize, Option<&Finding>) -> Option<i64>| {
        let rows = rows.iter().enumerate().map(|(at, row)| get(at, *row));
        Arc::new(Int64Array::from_iter(rows)) as ArrayRef
    };
    let at = |at: chrono::DateTime<chrono::Utc>| {
        timestamps(std::iter::repeat_n(at.timestamp_micros(), count))
    };
    let part = |place: usize| floats(&move |row| Some(row?.parts?[place]));
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "source" => same(params.dataset.as_str()),
                "question" => same(&question),
                "rank" => integers(&|at, _| Some(at as i64)),
                "outcome" => same(told.outcome),
                "finding" => texts(&|row| Some(row?.finding.clone())),
                "by_column" => texts(&|row| Some(json!(row?.group).to_string())),
                "from_at" => at(later.from),
                "to_at" => at(later.to),
                "before_from_at" => at(earlier.from),
                "before_to_at" => at(earlier.to),
                "before" => floats(&|row| row.map_or(told.before, |of| of.before)),
                "after" => floats(&|row| row.map_or(told.after, |of| of.after)),
                "rows_before" => integers(&|_, row| Some(row?.rows[0] as i64)),
                "rows_after" => integers(&|_, row| Some(row?.rows[1] as i64)),
                "contribution" => {
                    floats(&|row| Some(row.map_or(told.change, |of| of.contribution)))
                }
                "share" => floats(&|row| row.map_or(Some(1.0), |of| of.share)),
                "by_rate" => part(0),
                "by_mix" => part(1),
                "by_both" => part(2),
                "joint" => floats(&|row| row?.joint),
                "own" => floats(&|row| Some(row?.own)),
                "excess" => floats(&|row| Some(row?.excess)),
                "surprise" => floats(&|row| Some(row?.surprise)),
                "z" => floats(&|row| Some(row?.z).filter(|z| z.is_finite())),
                "p_value" => floats(&|row| Some(row?.p)),
                "explanation" => texts(&|row| Some(row.map_or(&told.says, |of| &of.says).clone())),
                "source_version" => integers(&|_, _| Some(version as i64)),
                other => {
                    return Err(Error::internal(format!("{NAME}: no value for column {other:?}")));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}
