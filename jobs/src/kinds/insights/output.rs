//! The rows that `insights` commits, and the digest of a day.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use chrono::NaiveDate;
use datasets::{
    ColumnSpec, ColumnType, DatasetName, DatasetSpec, PartitionSpec, PartitionTransform,
};
use engine::{Error, Result};
use serde_json::{Value, json};

use super::rank::Insight;
use crate::series::words::number;
use crate::tables::columns::{column, of_sources, timestamps, with_unit};

/// Insights that a digest has.
const DIGEST_INSIGHTS: usize = 20;

/// The spec of the output dataset.
pub(super) fn spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let unit = |column, unit| with_unit(column, unit);
    let columns: Vec<ColumnSpec> = vec![
        required("day", ColumnType::Date, "The day that it was said on, in UTC"),
        required("rank", ColumnType::Int64, "1 for the highest score of the day"),
        required("id", ColumnType::Text, "What it is known by, on whichever day it is said"),
        required(
            "kind",
            ColumnType::Text,
            "anomaly, level, slope, season, record, forecast_miss, correlation, change, duplicates, out_of_scope, quality, drift, saving, better, target_miss, bad_data or worse",
        ),
        column("also", ColumnType::Json, true, "Other kinds of findings that say the same"),
        required("source", ColumnType::Text, "The dataset that it is about"),
        required(
            "subject",
            ColumnType::Text,
            "What of it: a series, a pair of series, a group of rows",
        ),
        required("headline", ColumnType::Text, "What was seen, in words"),
        required("started_at", ColumnType::Timestamp, "First instant that it is about"),
        required("ended_at", ColumnType::Timestamp, "Last instant that it is about"),
        unit(
            required(
                "score",
                ColumnType::Float64,
                "severity · confidence · (0.4 + 0.3 · novelty + 0.3 · log10(1 + reach) / 6) · feedback",
            ),
            "0 to 100",
        ),
        unit(
            required(
                "severity",
                ColumnType::Float64,
                "0 at its job's limit, 50 at twice, 80 at five times",
            ),
            "0 to 100",
        ),
        unit(
            required("confidence", ColumnType::Float64, "One less the chance that noise gives it"),
            "0 to 1",
        ),
        unit(
            required(
                "novelty",
                ColumnType::Float64,
                "1 / (1 + how often something of its kind and subject was said lately)",
            ),
            "0 to 1",
        ),
        unit(required("reach", ColumnType::Int64, "Rows or samples that it is about"), "rows"),
        unit(
            required(
                "feedback",
                ColumnType::Float64,
                "What people said of its like makes of the score",
            ),
            "0.1 to 1.5",
        ),
        column(
            "first_said_on",
            ColumnType::Date,
            true,
            "An earlier day on which it was said, and was less severe",
        ),
        required(
            "evidence",
            ColumnType::Json,
            "The rows that it was read off: dataset, version and `where` of each",
        ),
        required(
            "chart",
            ColumnType::Json,
            "What shows it: dataset, `where`, mark and encoding as in Vega-Lite",
        ),
        required("action", ColumnType::Text, "What to do about it"),
    ];
    by_day(
        name,
        "What matters of what all jobs found, ranked, once for each day on which it is new",
        ["day", "id"],
        columns,
    )
}

/// The spec of the dataset of digests.
pub(super) fn digest_spec(name: DatasetName) -> DatasetSpec {
    let required = |name, data_type, about| column(name, data_type, false, about);
    let columns = vec![
        required("day", ColumnType::Date, "The day, in UTC"),
        with_unit(required("insights", ColumnType::Int64, "Insights of the day"), "insights"),
        with_unit(required("by_kind", ColumnType::Json, "How many of each kind"), "insights"),
        required("text", ColumnType::Text, "The first of them, in Markdown"),
    ];
    by_day(name, "What matters on a day, on a page", ["day"], columns)
}

fn by_day<const N: usize>(
    name: DatasetName,
    about: &str,
    key: [&str; N],
    columns: Vec<ColumnSpec>,
) -> DatasetSpec {
    let mut spec = of_sources(name, about, key, Some("day"), columns);
    spec.partition_by = vec![PartitionSpec {
        column: "day".into(),
        from: None,
        transform: PartitionTransform::Identity,
    }];
    spec
}

/// Days since 1970.
pub(super) fn days(day: NaiveDate) -> i32 {
    i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).unwrap_or(i32::MAX)
}

fn days_of(at_us: i64) -> i32 {
    i32::try_from(at_us.div_euclid(86_400_000_000)).unwrap_or(i32::MAX)
}

/// The insights of a day as rows, in their order.
pub(super) fn batch(spec: &DatasetSpec, day: NaiveDate, of: &[Insight]) -> Result<RecordBatch> {
    let texts = |get: &dyn Fn(&Insight) -> String| {
        Arc::new(StringArray::from_iter_values(of.iter().map(get))) as ArrayRef
    };
    let floats = |get: &dyn Fn(&Insight) -> f64| {
        Arc::new(Float64Array::from_iter_values(of.iter().map(get))) as ArrayRef
    };
    let times = |get: &dyn Fn(&Insight) -> i64| timestamps(of.iter().map(get));
    let columns = spec
        .columns
        .iter()
        .map(|column| {
            Ok(match column.name.as_str() {
                "day" => Arc::new(Date32Array::from(vec![days(day); of.len()])) as ArrayRef,
                "rank" => Arc::new(Int64Array::from_iter_values(1..=of.len() as i64)),
                "id" => texts(&|one| one.id.clone()),
                "kind" => texts(&|one| one.finding.kind.as_str().to_owned()),
                "also" => Arc::new(StringArray::from_iter(of.iter().map(also))),
                "source" => texts(&|one| one.finding.source.clone()),
                "subject" => texts(&|one| one.finding.subject.clone()),
                "headline" => texts(&|one| one.finding.headline.clone()),
                "started_at" => times(&|one| one.finding.started_us),
                "ended_at" => times(&|one| one.finding.ended_us),
                "score" => floats(&|one| one.score),
                "severity" => floats(&|one| one.finding.severity),
                "confidence" => floats(&|one| one.finding.confidence),
                "novelty" => floats(&|one| one.novelty),
                "reach" => {
                    let reach =
                        |one: &Insight| i64::try_from(one.finding.reach).unwrap_or(i64::MAX);
                    Arc::new(Int64Array::from_iter_values(of.iter().map(reach)))
                }
                "feedback" => floats(&|one| one.feedback),
                "first_said_on" => {
                    let first = of.iter().map(|one| one.first_us.map(days_of));
                    Arc::new(Date32Array::from_iter(first))
                }
                "evidence" => texts(&|one| {
                    let evidence =
                        one.finding.evidence.iter().map(super::finding::Evidence::to_json);
                    Value::Array(evidence.collect()).to_string()
                }),
                "chart" => texts(&|one| one.finding.chart.to_string()),
                "action" => texts(&|one| one.finding.action.clone()),
                other => {
                    return Err(Error::internal(format!(
                        "insights: no value for column {other:?}"
                    )));
                }
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

fn also(one: &Insight) -> Option<String> {
    let kinds: Vec<&str> = one.finding.also.iter().map(|kind| kind.as_str()).collect();
    (!kinds.is_empty()).then(|| json!(kinds).to_string())
}

/// How many insights are of each kind.
pub(super) fn by_kind(of: &[Insight]) -> Value {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for one in of {
        *counts.entry(one.finding.kind.as_str()).or_default() += 1;
    }
    json!(counts)
}

/// The digest of a day as a row.
pub(super) fn digest(spec: &DatasetSpec, day: NaiveDate, of: &[Insight]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Date32Array::from(vec![days(day)])),
        Arc::new(Int64Array::from(vec![of.len() as i64])),
        Arc::new(StringArray::from(vec![by_kind(of).to_string()])),
        Arc::new(StringArray::from(vec![page(day, of)])),
    ];
    Ok(RecordBatch::try_new(spec.arrow_schema(), columns)?)
}

/// A page in Markdown.
fn page(day: NaiveDate, of: &[Insight]) -> String {
    let mut page = match of.len() {
        0 => format!("# {day}\n\nNothing is new that matters.\n"),
        1 => format!("# {day}: one insight\n\n"),
        count => format!("# {day}: {count} insights\n\n"),
    };
    for (at, one) in of.iter().take(DIGEST_INSIGHTS).enumerate() {
        let Insight { id, finding, score, .. } = one;
        let (rank, score) = (at + 1, number(*score));
        // What other people's rows say is no markup of this page.
        let headline = plain(&finding.headline);
        let line = format!(
            "{rank}. **{headline}**\n   {}. Score {score}, {}, `{id}`\n",
            plain(&finding.action),
            finding.kind.as_str()
        );
        page.push_str(&line);
    }
    if let Some(more) = of.len().checked_sub(DIGEST_INSIGHTS).filter(|more| *more > 0) {
        page.push_str(&format!("\n{more} more are in the dataset.\n"));
    }
    page
}

/// A text in which nothing is markup.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '!' | '~' => {
                plain.push('\\');
                plain.push(letter);
            }
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_rows_say_is_markup_of_the_page() {
        assert_eq!(plain("a*b_[c](d)\n# <e>"), "a\\*b\\_\\[c\\](d) \\# \\<e\\>");
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(NaiveDate::from_ymd_opt(1970, 1, 2).map(days), Some(1));
        assert_eq!(days_of(-1), -1);
        assert_eq!(days_of(86_400_000_000), 1);
    }
}
