//! `asOf`: which version a field reads.

use async_graphql::Value;
use chrono::{DateTime, Utc};
use engine::{AsOf, Result, Version};

use super::literals::shown;
use crate::error::bad_input;

/// Reads the argument: nothing, `{version: 12}` or `{time: "2026-01-01T00:00:00Z"}`.
pub(crate) fn as_of(value: Option<&Value>) -> Result<AsOf> {
    let fields = match value {
        None | Some(Value::Null) => return Ok(AsOf::Latest),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            return Err(bad_input(format!("asOf: expected an object, found {}", shown(other))));
        }
    };
    match fields.iter().next() {
        Some((name, value)) if name == "version" => {
            Ok(AsOf::Version(version(value, "asOf.version")?))
        }
        Some((name, Value::String(text))) if name == "time" => {
            let at = DateTime::parse_from_rfc3339(text).map_err(|_| {
                bad_input(format!(
                    "asOf.time: expected an instant as RFC 3339, like \"2026-01-01T00:00:00Z\", found {}",
                    shown(&Value::String(text.clone()))
                ))
            })?;
            Ok(AsOf::Time(at.with_timezone(&Utc)))
        }
        _ => Err(bad_input("asOf: expected either `version` or `time`")),
    }
}

/// A version as a user writes it.
pub(crate) fn version(value: &Value, place: &str) -> Result<Version> {
    match value {
        Value::Number(number) => number.as_u64().map(Version),
        _ => None,
    }
    .ok_or_else(|| {
        bad_input(format!("{place}: expected a version (0, 1, …), found {}", shown(value)))
    })
}
