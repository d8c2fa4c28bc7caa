//! Values that a user writes in a query, as typed literals of a plan.
//!
//! A literal has the type of the column that it meets, so that a comparison never casts the column:
//! files can then be skipped by their statistics.

use async_graphql::Value;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate};
use datafusion::common::ScalarValue;
use datasets::ColumnType;
use engine::Result;

use crate::error::bad_input;

/// `value` as a literal of type `kind`; `place` is where it stands, for the error.
pub(crate) fn literal(kind: &ColumnType, value: &Value, place: &str) -> Result<ScalarValue> {
    let wrong = |expected: &str| {
        Err(bad_input(format!("{place}: expected {expected}, found {}", shown(value))))
    };
    match (kind, value) {
        (_, Value::Null) => wrong("a value; use `isNull` to ask for null"),
        (ColumnType::Bool, Value::Boolean(b)) => Ok(ScalarValue::Boolean(Some(*b))),
        (ColumnType::Bool, _) => wrong("true or false"),
        (ColumnType::Int32, Value::Number(n)) => match n.as_i64().map(i32::try_from) {
            Some(Ok(v)) => Ok(ScalarValue::Int32(Some(v))),
            _ => wrong("a 32-bit integer"),
        },
        (ColumnType::Int32, _) => wrong("a 32-bit integer"),
        (ColumnType::Int64, Value::Number(n)) => match n.as_i64() {
            Some(v) => Ok(ScalarValue::Int64(Some(v))),
            None => wrong("a 64-bit integer"),
        },
        (ColumnType::Int64, Value::String(text)) => match text.parse() {
            Ok(v) => Ok(ScalarValue::Int64(Some(v))),
            Err(_) => wrong("a 64-bit integer as a string"),
        },
        (ColumnType::Int64, _) => wrong("a 64-bit integer"),
        (ColumnType::Float32, Value::Number(n)) => match n.as_f64() {
            Some(v) => Ok(ScalarValue::Float32(Some(v as f32))),
            None => wrong("a number"),
        },
        (ColumnType::Float64, Value::Number(n)) => match n.as_f64() {
            Some(v) => Ok(ScalarValue::Float64(Some(v))),
            None => wrong("a number"),
        },
        (ColumnType::Float32 | ColumnType::Float64, _) => wrong("a number"),
        (ColumnType::Text | ColumnType::Json, Value::String(text)) => {
            Ok(ScalarValue::Utf8(Some(text.clone())))
        }
        (ColumnType::Text | ColumnType::Json, _) => wrong("a string"),
        (ColumnType::Timestamp, Value::String(text)) => match DateTime::parse_from_rfc3339(text) {
            Ok(at) => Ok(ScalarValue::TimestampMicrosecond(
                Some(at.timestamp_micros()),
                Some("UTC".into()),
            )),
            Err(_) => wrong("an instant as RFC 3339, like \"2026-01-01T00:00:00Z\""),
        },
        (ColumnType::Timestamp, _) => {
            wrong("an instant as RFC 3339, like \"2026-01-01T00:00:00Z\"")
        }
        (ColumnType::Date, Value::String(text)) => {
            match NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(days_since_epoch) {
                Some(days) => Ok(ScalarValue::Date32(Some(days))),
                None => wrong("a day like \"2026-01-31\""),
            }
        }
        (ColumnType::Date, _) => wrong("a day like \"2026-01-31\""),
        (ColumnType::Decimal(..), Value::String(text)) => match decimal(text) {
            Some(value) => Ok(value),
            None => wrong("a decimal number of at most 38 digits as a string"),
        },
        (ColumnType::Decimal(..), Value::Number(n)) => match decimal(&n.to_string()) {
            Some(value) => Ok(value),
            None => wrong("a decimal number of at most 38 digits"),
        },
        (ColumnType::Decimal(..), _) => wrong("a decimal number as a string"),
        (ColumnType::Bytes, Value::String(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(ScalarValue::Binary(Some(bytes))),
            Err(_) => wrong("bytes in base64"),
        },
        (ColumnType::Bytes, _) => wrong("bytes in base64"),
        (
            ColumnType::List(_)
            | ColumnType::Vector(_)
            | ColumnType::Struct(_)
            | ColumnType::Map(_),
            _,
        ) => wrong("nothing: what has parts has no order and no single value"),
    }
}

/// A value of a query as it may stand in an error: short.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn days_since_epoch(day: NaiveDate) -> Option<i32> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    i32::try_from(day.signed_duration_since(epoch).num_days()).ok()
}

/// A decimal with exactly the digits that were written; the plan widens it to the column's scale, so
/// that `gt: "0.0000001"` is not rounded to `gt: 0`.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let precision = whole.len() + fraction.len();
    if precision > 38 {
        return None;
    }
    let unscaled = match format!("{whole}{fraction}") {
        empty if empty.is_empty() => 0,
        digits => digits.parse::<i128>().ok()?,
    };
    let scale = i8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(precision.max(1)).ok()?;
    Some(ScalarValue::Decimal128(Some(sign * unscaled), precision, scale))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decimals_keep_every_digit() {
        let d = |text: &str| decimal(text);
        assert_eq!(d("-0.010"), Some(ScalarValue::Decimal128(Some(-1), 2, 2)));
        assert_eq!(d("12"), Some(ScalarValue::Decimal128(Some(12), 2, 0)));
        assert_eq!(d("0"), Some(ScalarValue::Decimal128(Some(0), 1, 0)));
        for bad in ["", ".", "1e3", "1.2.3", "--1", "0x1", &"9".repeat(39)] {
            assert_eq!(d(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_named_with_its_place() {
        let error =
            literal(&ColumnType::Int64, &Value::from("12x"), "where.tokens.eq").unwrap_err();
        assert_eq!(
            error.to_string(),
            "where.tokens.eq: expected a 64-bit integer as a string, found \"12x\""
        );
        let error = literal(&ColumnType::Text, &Value::Null, "where.model.eq").unwrap_err();
        assert!(error.to_string().contains("isNull"), "{error}");
    }
}
