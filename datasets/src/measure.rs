//! Measures and dimensions: what is computed of a dataset's rows, said once and used by name.
//!
//! Their expressions are SQL. What stands in them is read where there is a planner, in the engine; here are their names, which
//! must be free, and their bounds.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::check_identifier;
use crate::spec::DatasetSpec;

/// Most measures of one dataset.
pub const MEASURES_MAX: usize = 128;
/// Most dimensions of one dataset.
pub const DIMENSIONS_MAX: usize = 64;
/// Longest expression of one.
pub const EXPRESSION_MAX_BYTES: usize = 4_096;
/// Most digits behind the point that a measure is shown with.
const DECIMALS_MAX: u8 = 12;

/// Names that mean something in groups already, or are to: the built-in measures, and the words beside them.
pub const RESERVED_WORDS: [&str; 47] = [
    "approx_distinct",
    "approx_median",
    "arg_max",
    "arg_min",
    "avg",
    "bucket",
    "change",
    "change_percent",
    "corr",
    "count",
    "count_distinct",
    "covar",
    "cumulative",
    "delta",
    "every",
    "first",
    "geomean",
    "grouping",
    "histogram",
    "is_filled",
    "is_other",
    "is_total",
    "kurtosis",
    "last",
    "level",
    "max",
    "measures",
    "median",
    "min",
    "mode",
    "moving_avg",
    "other",
    "p50",
    "p90",
    "p95",
    "p99",
    "percentile",
    "previous",
    "rank",
    "rate",
    "rollup",
    "share",
    "skewness",
    "stddev",
    "sum",
    "total",
    "variance",
];

/// Something that is computed of many rows: aggregates of columns, and what is made of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureSpec {
    /// What it is called.
    pub name: String,
    /// How it is computed, in SQL: `sum(cost) / count(*)`.
    pub expression: String,
    /// Unit of its values: `usd`, `ms`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// One line of what it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How it is to be shown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: MeasureFormat,
    /// Digits behind the point that it is to be shown with; as many as it has when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
}

/// How a measure is to be shown by whoever shows it. Its values are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasureFormat {
    /// As it is.
    #[default]
    Number,
    /// A hundredfold, with `%`.
    Percent,
    /// As an amount of money in its unit.
    Currency,
}

/// Something that is computed of one row, and used as a column is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DimensionSpec {
    /// What it is called.
    pub name: String,
    /// How it is computed, in SQL: `date_trunc('day', created)`.
    pub expression: String,
    /// Unit of its values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// One line of what it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

fn is_default(format: &MeasureFormat) -> bool {
    *format == MeasureFormat::default()
}

/// Checks the names and bounds of all that `spec` has.
pub(crate) fn check(spec: &DatasetSpec) -> Result<()> {
    let dimensions = spec.dimensions.iter().map(|it| ("dimension", &it.name, &it.expression));
    let measures = spec.measures.iter().map(|it| ("measure", &it.name, &it.expression));
    let mut known = HashSet::new();
    for (what, name, expression) in dimensions.chain(measures) {
        let fail = |problem: String| {
            let problem = format!("{what} {name:?}: {problem}");
            Err(Error::Spec { dataset: spec.name.to_string(), problem })
        };
        let kind = if what == "measure" { "measure name" } else { "dimension name" };
        check_identifier(kind, name)?;
        if spec.arrow_schema().field_with_name(name).is_ok() {
            return fail("there is a column of this name; choose another".to_owned());
        }
        if RESERVED_WORDS.contains(&name.as_str()) {
            return fail(
                "groups have something of this name already, or are to; choose another".to_owned(),
            );
        }
        if !known.insert(name) {
            return fail("a measure or dimension of this name stands before it".to_owned());
        }
        if expression.trim().is_empty() {
            return fail("its expression is empty".to_owned());
        }
        if expression.len() > EXPRESSION_MAX_BYTES {
            let found = expression.len();
            return fail(format!(
                "its expression has {found} bytes; expected at most {EXPRESSION_MAX_BYTES}"
            ));
        }
    }
    for measure in &spec.measures {
        if let Some(found) = measure.decimals.filter(|decimals| *decimals > DECIMALS_MAX) {
            let name = &measure.name;
            let problem =
                format!("measure {name:?}: {found} decimals; expected at most {DECIMALS_MAX}");
            return Err(Error::Spec { dataset: spec.name.to_string(), problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COLUMNS: &str = r#"
        name = "calls"
        columns = [{name = "at", type = "timestamp"}, {name = "cost", type = "float64"}]
        partition_by = [{column = "month", from = "at", transform = "month"}]
    "#;

    #[test]
    fn what_is_declared_survives_and_an_older_spec_is_as_it_was() {
        let old = DatasetSpec::from_toml(COLUMNS, "test").unwrap();
        let text = old.to_json().unwrap();
        assert!(!text.contains("measures") && !text.contains("dimensions"), "{text}");
        let text = format!(
            "{COLUMNS}
            dimensions = [{{name = \"tier\", expression = \"case when cost > 1 then 'dear' end\"}}]
            measures = [{{name = \"mean\", expression = \"avg(cost)\", unit = \"usd\", format = \"currency\", decimals = 2}}]"
        );
        let spec = DatasetSpec::from_toml(&text, "test").unwrap();
        assert_eq!(spec.measures[0].format, MeasureFormat::Currency);
        assert_eq!(DatasetSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
        assert_eq!(DatasetSpec::from_toml(&spec.to_toml().unwrap(), "test").unwrap(), spec);
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let long = "1 + ".repeat(1_100) + "1";
        for (declared, says) in [
            (
                r#"measures = [{name = "cost", expression = "sum(cost)"}]"#.to_owned(),
                "measure \"cost\": there is a column",
            ),
            (
                r#"dimensions = [{name = "month", expression = "at"}]"#.to_owned(),
                "dimension \"month\": there is a column",
            ),
            (
                r#"measures = [{name = "p95", expression = "sum(cost)"}]"#.to_owned(),
                "measure \"p95\": groups have something",
            ),
            (
                r#"measures = [{name = "Cost", expression = "sum(cost)"}]"#.to_owned(),
                "measure name \"Cost\": expected a lower-case",
            ),
            (
                r#"measures = [{name = "a", expression = " "}]"#.to_owned(),
                "its expression is empty",
            ),
            (
                format!(r#"measures = [{{name = "a", expression = "{long}"}}]"#),
                "has 4401 bytes; expected at most 4096",
            ),
            (
                r#"measures = [{name = "a", expression = "1", decimals = 40}]"#.to_owned(),
                "40 decimals; expected at most 12",
            ),
            (
                r#"dimensions = [{name = "a", expression = "at"}]
                measures = [{name = "a", expression = "sum(cost)"}]"#
                    .to_owned(),
                "measure \"a\": a measure or dimension of this name",
            ),
            (
                format!(
                    "measures = [{}]",
                    r#"{name = "a", expression = "1"}, "#.repeat(MEASURES_MAX + 1)
                ),
                "129 measures; expected at most 128",
            ),
        ] {
            let text = format!("{COLUMNS}\n{declared}");
            let error = DatasetSpec::from_toml(&text, "test").unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
