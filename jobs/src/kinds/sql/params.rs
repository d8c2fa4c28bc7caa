//! The parameters of `sql`.

use std::collections::BTreeMap;

use chrono::DateTime;
use datafusion::scalar::ScalarValue;
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution, parse};
use engine::{Code, Error, Result, SqlQuery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::NAME;
use crate::parameters::{bad, dataset_name, kind_of};
use crate::partition::{Partition, shown};

/// Longest query: it stands in every record of its runs.
const QUERY_MAX_BYTES: usize = 64 << 10;
/// Most values, and most bytes of them as JSON.
const VALUES_MAX: usize = 256;
const VALUES_MAX_BYTES: usize = 64 << 10;
/// Most columns of a key.
const KEY_MAX: usize = 16;

/// Which query makes which dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// One query (SELECT or WITH) over datasets; `$name` stands for a value. It must be said. Default: none.
    pub query: String,
    /// What `$name` stands for, by name: numbers, texts, true, false and null as they are; of another type as
    /// {"type": "timestamp", "value": "2026-01-01T00:00:00Z"}, by the words of a spec. Default: {}.
    pub values: BTreeMap<String, Value>,
    /// Dataset that its rows are committed to; its columns are those of the query. Default: query_results.
    #[schemars(with = "String")]
    pub output: DatasetName,
    /// Columns of it that name a row. Default: [].
    pub key: Vec<String>,
    /// Column of it that says when a row happened. Default: none.
    pub time_column: Option<String>,
    /// Whether its rows take the place of all that are there (replace), are added (append), take the place of those with their key
    /// (merge), or of those whose `time_column` is from `$from` until before `$to` (partition). Default: replace.
    pub mode: Mode,
    /// Dataset of which only the rows are read that came since the last run; with append or merge. Default: none.
    #[schemars(with = "Option<String>")]
    pub incremental: Option<DatasetName>,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In the place of all that are there.
    #[default]
    Replace,
    /// To them.
    Append,
    /// In the place of those with their key, and to the others.
    Merge,
    /// In the place of those of a stretch of time.
    Partition,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            query: String::new(),
            values: BTreeMap::new(),
            output: dataset_name("query_results"),
            key: Vec::new(),
            time_column: None,
            mode: Mode::Replace,
            incremental: None,
        }
    }
}

impl Params {
    /// Checks what the types can't.
    pub(super) fn check(&self) -> Result<()> {
        let query = self.query()?;
        if query.datasets().contains(&self.output) {
            let problem = format!(
                "the query reads {}, and a job does not write to its own input; expected another dataset",
                self.output
            );
            return Err(bad(NAME, "output", problem));
        }
        let bytes: usize = self.values.values().map(|value| value.to_string().len()).sum();
        if self.values.len() > VALUES_MAX || bytes > VALUES_MAX_BYTES {
            let problem = format!(
                "expected at most {VALUES_MAX} of {VALUES_MAX_BYTES} bytes in all, found {} of {bytes}",
                self.values.len()
            );
            return Err(bad(NAME, "values", problem));
        }
        self.bound(&query)?;
        let has_twice = |(at, name): (usize, &String)| self.key[..at].contains(name);
        if self.key.len() > KEY_MAX || self.key.iter().enumerate().any(has_twice) {
            let problem = format!("expected at most {KEY_MAX} columns, each once");
            return Err(bad(NAME, "key", problem));
        }
        if self.mode == Mode::Merge && self.key.is_empty() {
            let problem = "merge puts rows in the place of those with their key; expected `key` to name its columns";
            return Err(bad(NAME, "mode", problem));
        }
        if self.mode == Mode::Partition {
            self.partition(&query)?;
        }
        let Some(incremental) = &self.incremental else { return Ok(()) };
        if !query.datasets().contains(incremental) {
            let names: Vec<&str> = query.datasets().iter().map(DatasetName::as_str).collect();
            let read = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let problem =
                format!("expected a dataset that the query reads ({read}), found {incremental}");
            return Err(bad(NAME, "incremental", problem));
        }
        if matches!(self.mode, Mode::Replace | Mode::Partition) {
            let problem = "what the query makes of new rows alone can not take the place of all; expected mode \"append\" or \"merge\"";
            return Err(bad(NAME, "incremental", problem));
        }
        Ok(())
    }

    /// The stretch of time that a run makes; none in other modes.
    pub(super) fn partition(&self, query: &SqlQuery) -> Result<Option<(&str, Partition)>> {
        if self.mode != Mode::Partition {
            return Ok(None);
        }
        let Some(column) = &self.time_column else {
            let problem = "partition puts rows in the place of those of a stretch of time; expected `time_column` to name their column";
            return Err(bad(NAME, "mode", problem));
        };
        let bound = self.bound(query)?;
        let instant = |name: &str| match bound.get(name) {
            Some(ScalarValue::TimestampMicrosecond(Some(us), _)) => {
                DateTime::from_timestamp_micros(*us)
            }
            _ => None,
        };
        let (Some(from), Some(to)) = (instant("from"), instant("to")) else {
            let problem = "partition makes what is from `$from` until before `$to`; expected a query with both, as values of type timestamp";
            return Err(bad(NAME, "mode", problem));
        };
        if from >= to {
            let (from, to) = (shown(from), shown(to));
            let problem = format!("expected `from` before `to`, found {from} and {to}");
            return Err(bad(NAME, "values", problem));
        }
        Ok(Some((column, Partition { from, to })))
    }

    /// The same for one partition of a backfill.
    pub(super) fn with_partition(mut self, partition: Partition) -> Result<Self> {
        let query = self.query()?;
        for (name, at) in [("from", partition.from), ("to", partition.to)] {
            if !query.values().contains(name) {
                let problem = format!(
                    "expected a query that reads from $from until before $to, found no ${name}"
                );
                return Err(bad(NAME, "query", problem));
            }
            let value = json!({ "type": "timestamp", "value": shown(at) });
            if self.values.insert(name.to_owned(), value).is_some() {
                let problem = "it is the partition's, and differs from run to run; leave it out";
                return Err(bad(NAME, &format!("values.{name}"), problem));
            }
        }
        if matches!(self.mode, Mode::Replace | Mode::Append) {
            let problem = match self.mode {
                Mode::Append => "a partition that is made again would be there twice",
                _ => "each partition would take the place of all the others",
            };
            let problem = format!(
                "{problem}; expected \"partition\", with `time_column`, or \"merge\", with `key`"
            );
            return Err(bad(NAME, "mode", problem));
        }
        if self.incremental.is_some() {
            let problem = "a partition reads all rows of its time; leave it out";
            return Err(bad(NAME, "incremental", problem));
        }
        Ok(self)
    }

    /// The query.
    pub(super) fn query(&self) -> Result<SqlQuery> {
        let found = self.query.len();
        if self.query.trim().is_empty() || found > QUERY_MAX_BYTES {
            let problem = format!(
                "expected one SELECT or WITH of at most {QUERY_MAX_BYTES} bytes, found {found} bytes"
            );
            return Err(bad(NAME, "query", problem));
        }
        SqlQuery::parse(&self.query).map_err(|error| {
            Error::user(error.code(), format!("{NAME}: parameter \"query\": {error}"))
        })
    }

    /// The values of the query, each of its own type.
    pub(super) fn bound(&self, query: &SqlQuery) -> Result<BTreeMap<String, ScalarValue>> {
        let mut bound = BTreeMap::new();
        for (name, value) in &self.values {
            if !query.values().contains(name) {
                return Err(bad(NAME, "values", query.stray(name)));
            }
            let value =
                scalar(value).map_err(|problem| bad(NAME, &format!("values.{name}"), problem))?;
            bound.insert(name.clone(), value);
        }
        if let Some(missing) = query.values().iter().find(|name| !bound.contains_key(*name)) {
            let problem = format!("the query has ${missing}, for which there is no value");
            return Err(bad(NAME, "values", problem));
        }
        Ok(bound)
    }

    /// The dataset that it writes, as far as it is known without its inputs: its columns come with the query's plan.
    pub(super) fn spec(&self) -> DatasetSpec {
        DatasetSpec {
            name: self.output.clone(),
            description: String::new(),
            owner: None,
            derived: true,
            key: self.key.clone(),
            time_column: self.time_column.clone(),
            evolution: Evolution::AddNullable,
            load: datasets::LoadSettings::default(),
            partition_by: Vec::new(),
            columns: Vec::new(),
            validations: Vec::new(),
            relations: Vec::new(),
            dimensions: Vec::new(),
            measures: Vec::new(),
        }
    }
}

/// What says of which type a value is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(rename = "type")]
    data_type: ColumnType,
    value: Value,
}

/// A JSON value as one of a query.
fn scalar(value: &Value) -> Result<ScalarValue, String> {
    let expected = || {
        format!(
            "expected a number, a text, true, false, null, or {{\"type\": …, \"value\": …}}, found {}",
            kind_of(value)
        )
    };
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => ScalarValue::Boolean(Some(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ScalarValue::Int64(Some(whole)),
            (None, Some(float)) if float.fract() != 0.0 || !number.is_u64() => {
                ScalarValue::Float64(Some(float))
            }
            _ => {
                return Err(format!(
                    "{number} is no 64-bit integer; give it with a type, as decimal(20,0)"
                ));
            }
        },
        Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
        Value::Array(_) => {
            return Err(format!("{}; a list needs its type, as list(int64)", expected()));
        }
        Value::Object(_) => {
            let typed: Typed = serde_json::from_value(value.clone())
                .map_err(|problem| format!("{}: {problem}", expected()))?;
            let array = parse::value_of_document(&typed.data_type, &typed.value.to_string())
                .map_err(|problem| format!("{}: {problem}", typed.data_type))?;
            ScalarValue::try_from_array(&array, 0)
                .map_err(|problem| Error::user(Code::BadInput, problem.to_string()).to_string())?
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_the_types_that_they_are_given() {
        let utc = || Some("UTC".into());
        for (value, expected) in [
            (json!(null), ScalarValue::Null),
            (json!(true), ScalarValue::from(true)),
            (json!(-7), ScalarValue::from(-7_i64)),
            (json!(0.5), ScalarValue::from(0.5_f64)),
            (json!(1e300), ScalarValue::from(1e300_f64)),
            (json!("a'b"), ScalarValue::from("a'b")),
            (json!({"type": "int32", "value": 3}), ScalarValue::from(3_i32)),
            (json!({"type": "float64", "value": 3}), ScalarValue::from(3.0_f64)),
            (json!({"type": "text", "value": null}), ScalarValue::Utf8(None)),
            (
                json!({"type": "timestamp", "value": "1970-01-01T00:00:01Z"}),
                ScalarValue::TimestampMicrosecond(Some(1_000_000), utc()),
            ),
            (json!({"type": "date", "value": "1970-01-02"}), ScalarValue::Date32(Some(1))),
            (
                json!({"type": "decimal(6,2)", "value": "12.50"}),
                ScalarValue::Decimal128(Some(1_250), 6, 2),
            ),
        ] {
            assert_eq!(scalar(&value).unwrap(), expected, "{value}");
        }
        let list = scalar(&json!({"type": "list(int64)", "value": [1, 2]})).unwrap();
        assert!(matches!(list, ScalarValue::List(_)), "{list:?}");
        for (value, says) in [
            (json!([1]), "a list needs its type"),
            (json!({"value": 1}), "missing field `type`"),
            (json!({"type": "date", "value": "soon"}), "date: "),
            (json!({"type": "dat", "value": "soon"}), "dat"),
            (json!({"type": "int32", "value": 3_000_000_000_u64}), "int32: "),
            (json!(18_446_744_073_709_551_615_u64), "is no 64-bit integer"),
        ] {
            let problem = scalar(&value).unwrap_err();
            assert!(problem.contains(says), "{value}: {problem}");
        }
    }
}
