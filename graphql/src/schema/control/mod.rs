//! The control plane: what is there, what runs, and how to change it. One file for each noun.

pub(crate) mod alerts;
pub(crate) mod catalog;
pub(crate) mod columns;
pub(crate) mod datasets;
pub(crate) mod declared;
pub(crate) mod devices;
pub(crate) mod explain;
pub(crate) mod exports;
pub(crate) mod features;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod labels;
pub(crate) mod metrics;
pub(crate) mod pipelines;
pub(crate) mod reports;
pub(crate) mod runs;
pub(crate) mod schedules;

use async_graphql::Value;
use async_graphql::dynamic::ResolverContext;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Map;

use super::resolve::argument;
use crate::error::bad_input;

/// An argument, the parameter that it stands for, and what it is.
type FieldOf = (&'static str, &'static str, &'static str);

const CONDITION: FieldOf =
    ("where", "where", "Only rows of which this is true, as it stands in SQL behind WHERE.");
const TIME_COLUMN: FieldOf =
    ("timeColumn", "time_column", "The column of instants; the declared one when absent.");
const EVERY_SECONDS: FieldOf = (
    "everySeconds",
    "every_seconds",
    "It is computed no more often than once in so many seconds; 10 when absent.",
);

/// The arguments of a field that stand for parameters, under the names of those: `names` has both. Of a list of one the client may leave
/// the brackets out.
fn given(
    context: &ResolverContext<'_>,
    field: &str,
    names: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> engine::Result<Map<String, serde_json::Value>> {
    let mut given = Map::new();
    for (name, parameter) in names {
        let Some(value) = argument(context, name) else { continue };
        let value = match value {
            value if is_list(name) && !matches!(value, Value::List(_) | Value::Null) => {
                Value::List(vec![value])
            }
            value => value,
        };
        let value = value.into_json();
        let value = value.map_err(|error| bad_input(format!("{field}.{name}: {error}")))?;
        given.insert(parameter.to_owned(), value);
    }
    Ok(given)
}

/// Whether an argument is a list of texts.
fn is_list(name: &str) -> bool {
    matches!(name, "dimensions" | "by" | "group" | "entity")
}

/// An instant as the scalar `DateTime`.
fn instant(at: &DateTime<Utc>) -> Value {
    Value::from(at.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// An instant that may be missing.
fn optional_instant(at: Option<&DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant)
}

/// A 64-bit number as the scalar `BigInt`.
pub(super) fn big(number: u64) -> Value {
    Value::from(number.to_string())
}

/// A serializable value as the scalar `JSON`.
fn json(value: impl serde::Serialize) -> engine::Result<Value> {
    let value = serde_json::to_value(value)
        .map_err(|error| engine::Error::internal(format!("a value as JSON: {error}")))?;
    Value::from_json(value)
        .map_err(|error| engine::Error::internal(format!("a value as GraphQL JSON: {error}")))
}
