//! The control plane: what is there, what runs, and how to change it. One file for each noun.

pub(crate) mod catalog;
pub(crate) mod columns;
pub(crate) mod datasets;
pub(crate) mod declared;
pub(crate) mod devices;
pub(crate) mod explain;
pub(crate) mod exports;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod labels;
pub(crate) mod metrics;
pub(crate) mod pipelines;
pub(crate) mod reports;
pub(crate) mod runs;
pub(crate) mod schedules;

use async_graphql::Value;
use chrono::{DateTime, SecondsFormat, Utc};

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
