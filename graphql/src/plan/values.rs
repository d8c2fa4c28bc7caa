//! Columns of an answer, from Arrow to GraphQL values, a whole column at a time.
//!
//! JSON has no NaN, no infinity and no safe 64-bit integer: those floats become null and are counted
//! for a warning, and 64-bit integers become strings.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use async_graphql::{Number, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use datasets::ColumnType;
use engine::{Error, Result};

/// One column of an answer.
pub(crate) struct Converted {
    /// A value for each row.
    pub values: Vec<Value>,
    /// Values that JSON can not express and that are null here.
    pub not_finite: u64,
}

/// The values of `array`, which holds a column of type `kind`.
pub(crate) fn to_values(array: &ArrayRef, kind: &ColumnType) -> Result<Converted> {
    let array = canonical(array, kind)?;
    let mut not_finite = 0;
    let values = scalars(&array, kind, &mut not_finite)?;
    Ok(Converted { values, not_finite })
}

/// `array` in the Arrow type that `kind` is held in; readers may give views or dictionaries.
pub(crate) fn canonical(array: &ArrayRef, kind: &ColumnType) -> Result<ArrayRef> {
    let wanted = kind.arrow_type();
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), kind) {
        // The name of a list's items differs between writers, and is nothing to cast for.
        (DataType::List(_), ColumnType::List(_) | ColumnType::Vector(_)) => Ok(array.clone()),
        _ => Ok(cast(array, &wanted)?),
    }
}

fn scalars(array: &ArrayRef, kind: &ColumnType, not_finite: &mut u64) -> Result<Vec<Value>> {
    let mut finite = |value: f64| match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => {
            *not_finite += 1;
            Value::Null
        }
    };
    let or_null = |value: Option<Value>| value.unwrap_or(Value::Null);
    Ok(match kind {
        ColumnType::Bool => {
            array.as_boolean().iter().map(|v| or_null(v.map(Value::Boolean))).collect()
        }
        ColumnType::Int32 => {
            array.as_primitive::<Int32Type>().iter().map(|v| or_null(v.map(Value::from))).collect()
        }
        ColumnType::Int64 => array
            .as_primitive::<Int64Type>()
            .iter()
            .map(|v| or_null(v.map(|v| Value::String(v.to_string()))))
            .collect(),
        ColumnType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|v| or_null(v.map(|v| finite(shortest(v)))))
            .collect(),
        ColumnType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| or_null(v.map(&mut finite)))
            .collect(),
        ColumnType::Text => array
            .as_string::<i32>()
            .iter()
            .map(|v| or_null(v.map(|v| Value::String(v.to_owned()))))
            .collect(),
        ColumnType::Json => array.as_string::<i32>().iter().map(|v| or_null(v.map(json))).collect(),
        ColumnType::Timestamp => array
            .as_primitive::<TimestampMicrosecondType>()
            .iter()
            .map(|v| or_null(v.and_then(instant)))
            .collect(),
        ColumnType::Date => {
            array.as_primitive::<Date32Type>().iter().map(|v| or_null(v.and_then(day))).collect()
        }
        ColumnType::Decimal(..) => {
            let array = array.as_primitive::<Decimal128Type>();
            (0..array.len())
                .map(|i| match array.is_null(i) {
                    true => Value::Null,
                    false => Value::String(array.value_as_string(i)),
                })
                .collect()
        }
        ColumnType::Bytes => array
            .as_binary::<i32>()
            .iter()
            .map(|v| or_null(v.map(|v| Value::String(STANDARD.encode(v)))))
            .collect(),
        ColumnType::List(item) => lists(array, item, not_finite)?,
        ColumnType::Vector(_) => lists(array, &ColumnType::Float32, not_finite)?,
    })
}

fn lists(array: &ArrayRef, item: &ColumnType, not_finite: &mut u64) -> Result<Vec<Value>> {
    let Some(array) = array.as_list_opt::<i32>() else {
        return Err(Error::internal(format!("a list column is read as {}", array.data_type())));
    };
    let mut out = Vec::with_capacity(array.len());
    for row in array.iter() {
        out.push(match row {
            Some(items) => Value::List(scalars(&canonical(&items, item)?, item, not_finite)?),
            None => Value::Null,
        });
    }
    Ok(out)
}

/// The double that prints as the single does: 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    if !value.is_finite() {
        return f64::from(value);
    }
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn json(text: &str) -> Value {
    serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|json| Value::from_json(json).ok())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn instant(micros: i64) -> Option<Value> {
    let at = DateTime::from_timestamp_micros(micros)?;
    Some(Value::String(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}

fn day(days: i32) -> Option<Value> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let day = epoch.checked_add_signed(TimeDelta::try_days(i64::from(days))?)?;
    Some(Value::String(day.format("%Y-%m-%d").to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow::array::{Float32Array, Float64Array, Int64Array, StringViewArray};
    use std::sync::Arc;

    fn values(array: ArrayRef, kind: &ColumnType) -> (serde_json::Value, u64) {
        let converted = to_values(&array, kind).unwrap();
        (Value::List(converted.values).into_json().unwrap(), converted.not_finite)
    }

    #[test]
    fn what_json_can_not_hold_is_null_and_counted() {
        let array = Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY]));
        assert_eq!(values(array, &ColumnType::Float64), (serde_json::json!([1.5, null, null]), 2));
    }

    #[test]
    fn long_integers_are_strings_and_singles_stay_short() {
        let array = Arc::new(Int64Array::from(vec![Some(i64::MAX), None]));
        assert_eq!(
            values(array, &ColumnType::Int64).0,
            serde_json::json!(["9223372036854775807", null])
        );
        let array = Arc::new(Float32Array::from(vec![0.1f32]));
        assert_eq!(values(array, &ColumnType::Float32).0, serde_json::json!([0.1]));
    }

    #[test]
    fn views_are_read_as_text() {
        let array = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        assert_eq!(values(array, &ColumnType::Text).0, serde_json::json!(["a", null]));
    }
}
