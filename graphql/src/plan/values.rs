//! Columns of an answer, from Arrow to GraphQL values, a whole column at a time.
//!
//! JSON has no NaN, no infinity and no safe 64-bit integer: those floats become null and are counted
//! for a warning, and 64-bit integers become strings. A JSON document is given as it stands, with all digits of its numbers.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use async_graphql::indexmap::IndexMap;
use async_graphql::{Name, Number, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use datasets::ColumnType;
use engine::{Error, Result};
use serde::de::IgnoredAny;

use super::holding::Holding;
use crate::names::camel;

/// One column of an answer.
pub(crate) struct Converted {
    /// A value for each row.
    pub values: Vec<Value>,
    /// Values that JSON can not express and that are null here.
    pub not_finite: u64,
    /// Bytes that are counted for the values.
    pub bytes: usize,
}

/// Bytes of a GraphQL value.
const VALUE_BYTES: usize = 96;
/// Bytes that a value takes beside that where it is told as a text, its letters aside.
const TEXT_BYTES: usize = 32;
/// Of an object that a structure or an entry becomes, beside its values.
const OBJECT_BYTES: usize = 1_024;
/// Deepest JSON document that is given as one; a deeper one is given as a text, because clients' readers end there, too.
const DOCUMENT_NESTING_MAX: usize = 127;

/// The values of `array`, which holds a column of type `kind`, if the answer can hold them.
pub(crate) fn to_values(
    array: &ArrayRef,
    kind: &ColumnType,
    holding: &Holding,
) -> Result<Converted> {
    let array = canonical(array, kind)?;
    let bytes = bytes_as_values(&array, kind);
    holding.hold(bytes)?;
    let mut not_finite = 0;
    let values = scalars(&array, kind, &mut not_finite)?;
    Ok(Converted { values, not_finite, bytes })
}

/// `array` in the Arrow type that `kind` is held in; readers may give views or dictionaries.
pub(crate) fn canonical(array: &ArrayRef, kind: &ColumnType) -> Result<ArrayRef> {
    let wanted = kind.arrow_type();
    if *array.data_type() == wanted {
        return Ok(array.clone());
    }
    match (array.data_type(), kind) {
        // What parts are called differs between writers, and is nothing to cast for.
        (DataType::List(_), ColumnType::List(_) | ColumnType::Vector(_))
        | (DataType::Struct(_), ColumnType::Struct(_))
        | (DataType::Map(..), ColumnType::Map(_)) => Ok(array.clone()),
        _ => Ok(cast(array, &wanted)?),
    }
}

/// Bytes that the values will take, roughly and rather too many, without making one.
fn bytes_as_values(array: &ArrayRef, kind: &ColumnType) -> usize {
    let own = array.len() * (VALUE_BYTES + TEXT_BYTES);
    own + match kind {
        ColumnType::Text => array
            .as_string_opt::<i32>()
            .map_or(0, |texts| texts.iter().flatten().map(str::len).sum()),
        ColumnType::Bytes => array
            .as_binary_opt::<i32>()
            .map_or(0, |values| values.iter().flatten().map(|bytes| bytes.len() / 3 * 4).sum()),
        ColumnType::Json => array
            .as_string_opt::<i32>()
            .map_or(0, |texts| texts.iter().flatten().map(|text| OBJECT_BYTES + text.len()).sum()),
        ColumnType::List(item) => array.as_list_opt::<i32>().map_or(0, |lists| {
            lists.iter().flatten().map(|items| bytes_as_values(&items, item)).sum()
        }),
        ColumnType::Vector(_) => array.as_list_opt::<i32>().map_or(0, |lists| {
            (0..lists.len()).map(|row| lists.value_length(row) as usize * VALUE_BYTES).sum()
        }),
        ColumnType::Struct(fields) => array.as_struct_opt().map_or(0, |structure| {
            let parts = structure.columns().iter().zip(fields);
            let parts: usize = parts
                .map(|(part, field)| {
                    TEXT_BYTES * part.len() + bytes_as_values(part, &field.data_type)
                })
                .sum();
            parts + array.len() * OBJECT_BYTES
        }),
        ColumnType::Map(value) => array.as_map_opt().map_or(0, |maps| {
            let entries = maps.iter().flatten().map(|entries| {
                let (keys, values) = (entries.column(0), entries.column(1));
                let parts =
                    bytes_as_values(keys, &ColumnType::Text) + bytes_as_values(values, value);
                parts + entries.len() * OBJECT_BYTES
            });
            entries.sum()
        }),
        _ => 0,
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
        ColumnType::Struct(fields) => {
            let Some(structure) = array.as_struct_opt() else {
                return Err(read_as("structures", array));
            };
            let parts = structure
                .columns()
                .iter()
                .zip(fields)
                .map(|(part, field)| (Name::new(camel(&field.name)), part, &field.data_type));
            objects(parts, structure.nulls(), array.len(), not_finite)?
        }
        ColumnType::Map(value) => {
            let Some(maps) = array.as_map_opt() else { return Err(read_as("maps", array)) };
            let mut out = Vec::with_capacity(maps.len());
            for row in maps.iter() {
                let Some(entries) = row else {
                    out.push(Value::Null);
                    continue;
                };
                let parts = [("key", &ColumnType::Text), ("value", value.as_ref())];
                let parts = entries.columns().iter().zip(parts);
                let parts = parts.map(|(part, (name, kind))| (Name::new(name), part, kind));
                out.push(Value::List(objects(parts, None, entries.len(), not_finite)?));
            }
            out
        }
    })
}

fn read_as(what: &str, array: &ArrayRef) -> Error {
    Error::internal(format!("a column of {what} is read as {}", array.data_type()))
}

/// Objects made of the columns of their fields.
fn objects<'a>(
    parts: impl Iterator<Item = (Name, &'a ArrayRef, &'a ColumnType)>,
    nulls: Option<&NullBuffer>,
    rows: usize,
    not_finite: &mut u64,
) -> Result<Vec<Value>> {
    let mut objects = vec![IndexMap::new(); rows];
    for (name, part, kind) in parts {
        let values = scalars(&canonical(part, kind)?, kind, not_finite)?;
        for (object, value) in objects.iter_mut().zip(values) {
            object.insert(name.clone(), value);
        }
    }
    let is_null = |row| nulls.is_some_and(|nulls| nulls.is_null(row));
    let objects = objects.into_iter().enumerate();
    Ok(objects
        .map(|(row, object)| if is_null(row) { Value::Null } else { Value::Object(object) })
        .collect())
}

fn lists(array: &ArrayRef, item: &ColumnType, not_finite: &mut u64) -> Result<Vec<Value>> {
    let Some(array) = array.as_list_opt::<i32>() else {
        return Err(read_as("lists", array));
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

/// A document as it stands, or a text where it is none.
fn json(text: &str) -> Value {
    match compact(text) {
        Some(document) => as_it_stands(document),
        None => Value::String(text.to_owned()),
    }
}

/// A text that is JSON, as the value that it says.
pub(crate) fn as_it_stands(json: String) -> Value {
    let token = Name::new(async_graphql_value::RAW_VALUE_TOKEN);
    Value::Object(IndexMap::from_iter([(token, Value::String(json))]))
}

/// A JSON document without the white space between its values: a line break would end an event of a stream.
fn compact(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut is_escaped, mut depth) = (false, false, 0_usize);
    for letter in text.chars() {
        if in_text {
            in_text = is_escaped || letter != '"';
            is_escaped = letter == '\\' && !is_escaped;
        } else {
            match letter {
                ' ' | '\t' | '\r' | '\n' => continue,
                '"' => in_text = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DOCUMENT_NESTING_MAX {
                return None;
            }
        }
        out.push(letter);
    }
    Some(out)
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
    use arrow::array::{
        BinaryArray, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
        StringViewArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Float32Type};
    use std::sync::Arc;

    fn values(array: ArrayRef, kind: &ColumnType) -> (serde_json::Value, u64) {
        let holding = Holding::new(&crate::limits::Limits::default());
        let converted = to_values(&array, kind, &holding).unwrap();
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

    #[test]
    fn values_take_many_times_what_their_columns_do_and_are_counted_first() {
        let few = crate::limits::Limits { answer_bytes_max: 1 << 20, ..Default::default() };
        let refused = |array: ArrayRef, kind: &ColumnType| {
            let error = to_values(&array, kind, &Holding::new(&few)).err().unwrap();
            assert_eq!(error.code(), engine::Code::LimitExceeded, "{error}");
        };
        let text = |text: String| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        refused(text(format!("[{}0]", "0,".repeat(5 << 19))), &ColumnType::Json);
        refused(Arc::new(StringArray::from(vec!["{}"; 5_000])), &ColumnType::Json);
        refused(text("x".repeat(5 << 20)), &ColumnType::Text);
        refused(Arc::new(BinaryArray::from(vec![&[0; 4 << 20][..]])), &ColumnType::Bytes);
        refused(Arc::new(Int64Array::from(vec![0; 50_000])), &ColumnType::Int64);
        let numbers = [Some(vec![Some(0.0); 50_000])];
        let vector = ListArray::from_iter_primitive::<Float32Type, _, _>(numbers);
        refused(Arc::new(vector), &ColumnType::Vector(50_000));
        let texts = StringArray::from(vec![""; 50_000]);
        let (field, ends) = (Field::new_list_field(DataType::Utf8, true), [50_000]);
        let ends = OffsetBuffer::from_lengths(ends);
        let list = ListArray::new(Arc::new(field), ends, Arc::new(texts), None);
        refused(Arc::new(list), &ColumnType::List(Box::new(ColumnType::Text)));
        let numbers = text(format!("[{}0]", "0,".repeat(10_000)));
        assert!(to_values(&numbers, &ColumnType::Json, &Holding::new(&few)).is_ok());
    }

    #[test]
    fn documents_are_given_as_they_stand() {
        let shown = |document: &str| {
            let array = Arc::new(StringArray::from(vec![document]));
            let holding = Holding::new(&crate::limits::Limits::default());
            let converted = to_values(&(array as ArrayRef), &ColumnType::Json, &holding).unwrap();
            serde_json::to_string(&converted.values[0]).unwrap()
        };
        let digits = r#"{"b":[12345678901234567890.10,1e400,-0.0],"a":{"a":1,"a":2}}"#;
        assert_eq!(shown(digits), digits);
        let spaced = "{ \"a b\" :\r\n\t[ 1.50 , \" \\\" [ \\\\\" , true ] }\n";
        assert_eq!(shown(spaced), r#"{"a b":[1.50," \" [ \\",true]}"#);
        for text in ["7", "\"\"", "null", "[]"] {
            assert_eq!(shown(text), text);
        }
        for no_document in ["", "{", "[1,]", "1 2", "NaN", "'a'"] {
            assert_eq!(shown(no_document), serde_json::to_string(no_document).unwrap());
        }
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(shown(&deep(DOCUMENT_NESTING_MAX)), deep(DOCUMENT_NESTING_MAX));
        for depth in [DOCUMENT_NESTING_MAX + 1, 100_000] {
            assert_eq!(shown(&deep(depth)), format!("\"{}\"", deep(depth)));
        }
    }
}
