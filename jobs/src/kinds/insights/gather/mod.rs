//! Findings of each job as they stand in its results, in the one form in which they are compared: a file for those of each form.

mod alike;
mod checks;
mod models;
mod moments;
mod operations;
mod targets;

use std::collections::HashMap;

use datasets::DatasetName;
use engine::{Result, Version};
use serde_json::{Value, json};

use super::NAME;
use super::finding::{Evidence, Finding, only};
use super::params::Params;
use super::rows::Rows;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::words::instant;

/// Rows of one dataset that are looked at, the most severe first.
const ROWS_MAX: usize = 20_000;
/// Names of series that units are looked up for.
const UNITS_MAX: usize = 100_000;

/// Where findings are read from.
pub(super) struct Gather<'a> {
    pub(super) ctx: &'a RunContext,
    pub(super) params: &'a Params,
    /// The first instant of the days that are looked at; none where all are. And the first one behind them.
    pub(super) since_us: Option<i64>,
    pub(super) until_us: i64,
}

/// A dataset of findings, at a version.
struct From<'a> {
    gather: &'a Gather<'a>,
    name: &'a DatasetName,
    version: Version,
}

impl Gather<'_> {
    /// All findings, and from how many datasets.
    pub(super) async fn all(&self) -> Result<(Vec<Finding>, usize)> {
        let mut found = Vec::new();
        let mut datasets = 0;
        let parts = self.params.forms().iter().filter(|(_, names)| !names.is_empty()).count();
        for (at, (form, names)) in self.params.forms().into_iter().enumerate() {
            for name in names {
                self.ctx.check()?;
                let input = self.ctx.inputs().iter().find(|input| input.dataset == *name);
                let Some(version) = input.map(|input| input.version) else { continue };
                datasets += 1;
                let from = From { gather: self, name, version };
                let more = match form {
                    "anomalies" => from.anomalies().await,
                    "trends" => from.trends().await,
                    "forecasts" => from.forecasts().await,
                    "correlations" => from.correlations().await,
                    "explanations" => from.explanations().await,
                    "duplicates" => from.duplicates().await,
                    "triage" => from.triage().await,
                    "drifts" => from.drifts().await,
                    "routing" => from.savings().await,
                    "comparisons" => from.comparisons().await,
                    "metrics" => from.target_misses().await,
                    "accuracies" => from.worse_models().await,
                    "challengers" => from.better_models().await,
                    "checks" => from.failed_checks().await,
                    _ => from.quarantine().await,
                };
                let is_of_form = |error: &engine::Error| error.code() == engine::Code::BadInput;
                found.extend(more.map_err(|error| match is_of_form(&error) {
                    true => bad(
                        NAME,
                        form,
                        format!("{name} is not of the form that it should be: {error}"),
                    ),
                    false => error,
                })?);
            }
            self.ctx.progress(0.8 * (at + 1) as f64 / parts.max(1) as f64);
        }
        found.retain(|finding: &Finding| finding.severity >= self.params.min_severity);
        Ok((found, datasets))
    }
}

impl<'a> From<'a> {
    async fn rows(&self, sql: &str) -> Result<Rows> {
        Rows::of(self.gather.ctx.session(), sql).await
    }

    /// The dataset's name as it stands in SQL.
    fn table(&self) -> String {
        format!("\"{}\"", self.name)
    }

    /// Its rows, with a number of the run of periods (`at`), one after another, that are alike in a `flag`, of each of what `of` names.
    fn episodes(&self, of: &str, flag: &str) -> String {
        let place = |by: &str| format!("row_number() OVER (PARTITION BY {by} ORDER BY at)");
        let alike = format!("{of}, {flag}");
        format!("(SELECT *, {} - {} AS episode FROM {})", place(of), place(&alike), self.table())
    }

    /// An instant within the days that are looked at, as a condition.
    fn within(&self, column: &str) -> String {
        let until = format!("{column} < {}", sql_instant(self.gather.until_us));
        match self.gather.since_us {
            Some(since_us) => format!("{column} >= {} AND {until}", sql_instant(since_us)),
            None => until,
        }
    }

    fn evidence(&self, condition: String) -> Evidence {
        Evidence { dataset: self.name.to_string(), version: self.version.0, condition }
    }

    /// Of rows of the dataset one column by another.
    fn chart(&self, mark: &str, condition: &str, x: (&str, &str), y: (&str, &str)) -> Value {
        json!({
            "dataset": self.name,
            "where": condition,
            "mark": mark,
            "encoding": {
                "x": { "field": x.0, "type": x.1 },
                "y": { "field": y.0, "type": y.1 },
            },
        })
    }

    /// What the values of series are in, where the dataset that they are of says so.
    async fn units(&self, source: &str) -> Result<HashMap<String, String>> {
        let session = self.gather.ctx.present().await?;
        let Ok(name) = DatasetName::new(source) else { return Ok(HashMap::new()) };
        let has = |column: &str| {
            let spec = session.catalog().datasets.get(&name).map(|entry| &entry.spec);
            spec.is_some_and(|spec| spec.columns.iter().any(|own| own.name == column))
        };
        let unit = match () {
            () if !has("series") => return Ok(HashMap::new()),
            () if has("unit") => "unit",
            () if has("tags") => "tags->>'unit'",
            () => return Ok(HashMap::new()),
        };
        let sql = format!(
            "SELECT series, max({unit}) AS unit FROM \"{source}\" GROUP BY series HAVING max({unit}) IS NOT NULL LIMIT {UNITS_MAX}"
        );
        let rows = Rows::of(session, &sql).await?;
        rows.iter()
            .map(|row| Ok((row.text("series")?.to_owned(), row.text("unit")?.to_owned())))
            .collect()
    }
}

/// An instant as it stands in SQL.
fn sql_instant(at_us: i64) -> String {
    format!("TIMESTAMP '{}'", instant(at_us))
}

/// A chart of a series around a time, in Vega-Lite's words beside the rows that it is of.
fn line(source: &str, series: &str, started_us: i64, ended_us: i64, interval_us: i64) -> Value {
    let around = (ended_us.saturating_sub(started_us))
        .saturating_mul(2)
        .max(interval_us.saturating_mul(100));
    let of = format!(
        "{} AND at BETWEEN {} AND {}",
        only(&[("series", series)]),
        sql_instant(started_us.saturating_sub(around)),
        sql_instant(ended_us.saturating_add(around))
    );
    json!({
        "dataset": source,
        "where": of,
        "mark": "line",
        "encoding": {
            "x": { "field": "at", "type": "temporal" },
            "y": { "field": "value", "type": "quantitative" },
        },
    })
}

/// Bars of counts by a column.
fn bars(dataset: &str, condition: &str, by: &str) -> Value {
    json!({
        "dataset": dataset,
        "where": condition,
        "mark": "bar",
        "encoding": {
            "x": { "field": by, "type": "nominal" },
            "y": { "aggregate": "count", "type": "quantitative" },
        },
    })
}
