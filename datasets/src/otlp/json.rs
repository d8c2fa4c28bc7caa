//! A body in JSON, as OTLP writes protobuf: names in camelCase or as in protobuf, ids in hexadecimal digits, 64-bit numbers as texts or
//! numbers, enumerations as numbers or by name. Members that are not known are skipped.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer};

use super::attributes::is_of_convention;
use super::collect::Collector;
use super::message::{
    Any, AnyValue, ArrayValue, Event, KeyValue, KeyValueList, Resource, Scope, Span, Status,
};
use super::{SPAN_BYTES_MAX, Stop};
use crate::parse;
use crate::read::json::{JsonError, Kind, RawValue, document, elements, members};

/// The names of span kinds and status codes, by number.
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// Reads an `ExportTraceServiceRequest`.
pub(super) fn read(body: &[u8], into: &mut Collector) -> Result<(), Stop> {
    let text = std::str::from_utf8(body)
        .map_err(|e| Stop::Problem(format!("not UTF-8 at byte {}", e.valid_up_to() + 1)))?;
    let body = document(text)?;
    each(&body, ["resourceSpans", "resource_spans"], |sent| {
        let mut resource = Resource::default();
        one(sent, ["resource", "resource"], |part| {
            if part.text.len() > SPAN_BYTES_MAX {
                return Err(Stop::Limit { what: "a resource".into(), limit: SPAN_BYTES_MAX });
            }
            resource = decode::<JsonResource>(part)?.into();
            Ok(())
        })?;
        into.begin_resource(&resource);
        each(sent, ["scopeSpans", "scope_spans"], |sent| {
            let mut scope = Scope::default();
            one(sent, ["scope", "scope"], |part| {
                scope = decode::<JsonScope>(part)?.into();
                Ok(())
            })?;
            into.begin_scope(scope);
            each(sent, ["spans", "spans"], |span| take(span, into))
        })
    })
}

fn take(sent: &RawValue<'_>, into: &mut Collector) -> Result<(), Stop> {
    let mut is_row = false;
    each(sent, ["attributes", "attributes"], |attribute| {
        one(attribute, ["key", "key"], |key| {
            is_row |= key.string().is_some_and(|key| is_of_convention(key.as_bytes()));
            Ok(())
        })
    })?;
    match (is_row, sent.text.len() > SPAN_BYTES_MAX) {
        (false, _) => into.pass_over(),
        (true, true) => into.refuse_large(sent.text.len()),
        (true, false) => return into.take(&decode::<JsonSpan>(sent)?.into()),
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(value: &RawValue<'_>) -> Result<T, Stop> {
    serde_json::from_str(value.text).map_err(|error| Stop::Problem(error.to_string()))
}

impl From<JsonError> for Stop {
    fn from(error: JsonError) -> Self {
        Self::Problem(error.to_string())
    }
}

/// Visits the member of an object that has one of these names, unless it is null.
fn one<'a>(
    object: &RawValue<'a>,
    names: [&str; 2],
    mut visit: impl FnMut(&RawValue<'a>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    members::<Stop>(object.text, |name, value| {
        if names.contains(&&*name) && value.kind != Kind::Null {
            visit(&value).map_err(|stop| stop.within(names[0]))?;
        }
        Ok(())
    })
}

/// Visits what is in the array that has one of these names.
fn each<'a>(
    object: &RawValue<'a>,
    names: [&str; 2],
    mut visit: impl FnMut(&RawValue<'a>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    members::<Stop>(object.text, |name, array| {
        if !names.contains(&&*name) || array.kind == Kind::Null {
            return Ok(());
        }
        let mut index = 0;
        elements::<Stop>(array.text, |element| {
            let within = |stop: Stop| stop.within(format_args!("{}[{index}]", names[0]));
            visit(&element).map_err(within)?;
            index += 1;
            Ok(())
        })
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct JsonSpan {
    #[serde(alias = "trace_id", deserialize_with = "id")]
    trace_id: Vec<u8>,
    #[serde(alias = "span_id", deserialize_with = "id")]
    span_id: Vec<u8>,
    #[serde(alias = "parent_span_id", deserialize_with = "id")]
    parent_span_id: Vec<u8>,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "kind")]
    kind: i32,
    #[serde(alias = "start_time_unix_nano", deserialize_with = "whole")]
    start_time_unix_nano: u64,
    #[serde(alias = "end_time_unix_nano", deserialize_with = "whole")]
    end_time_unix_nano: u64,
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<JsonPair>,
    #[serde(deserialize_with = "or_default")]
    events: Vec<JsonEvent>,
    status: Option<JsonStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JsonEvent {
    #[serde(alias = "time_unix_nano", deserialize_with = "whole")]
    time_unix_nano: u64,
    #[serde(deserialize_with = "or_default")]
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonStatus {
    #[serde(deserialize_with = "or_default")]
    message: String,
    #[serde(deserialize_with = "code")]
    code: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonResource {
    #[serde(deserialize_with = "or_default")]
    attributes: Vec<JsonPair>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonScope {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonPair {
    #[serde(deserialize_with = "or_default")]
    key: String,
    value: Option<JsonValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonList<T> {
    #[serde(deserialize_with = "or_default", bound(deserialize = "T: Deserialize<'de>"))]
    values: Vec<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JsonValue {
    #[serde(alias = "string_value")]
    string_value: Option<String>,
    #[serde(alias = "bool_value")]
    bool_value: Option<bool>,
    #[serde(alias = "int_value", deserialize_with = "some_whole")]
    int_value: Option<i64>,
    #[serde(alias = "double_value", deserialize_with = "some_double")]
    double_value: Option<f64>,
    #[serde(alias = "array_value")]
    array_value: Option<JsonList<JsonValue>>,
    #[serde(alias = "kvlist_value")]
    kvlist_value: Option<JsonList<JsonPair>>,
    #[serde(alias = "bytes_value")]
    bytes_value: Option<String>,
}

impl From<JsonSpan> for Span {
    fn from(of: JsonSpan) -> Self {
        let event = |JsonEvent { time_unix_nano, name }| Event { time_unix_nano, name };
        let status = |JsonStatus { message, code }| Status { message, code };
        Self {
            trace_id: of.trace_id,
            span_id: of.span_id,
            parent_span_id: of.parent_span_id,
            name: of.name,
            kind: of.kind,
            start_time_unix_nano: of.start_time_unix_nano,
            end_time_unix_nano: of.end_time_unix_nano,
            attributes: of.attributes.into_iter().map(KeyValue::from).collect(),
            events: of.events.into_iter().map(event).collect(),
            status: of.status.map(status),
        }
    }
}

impl From<JsonResource> for Resource {
    fn from(of: JsonResource) -> Self {
        Self { attributes: of.attributes.into_iter().map(KeyValue::from).collect() }
    }
}

impl From<JsonScope> for Scope {
    fn from(JsonScope { name, version }: JsonScope) -> Self {
        Self { name, version }
    }
}

impl From<JsonPair> for KeyValue {
    fn from(of: JsonPair) -> Self {
        Self { key: of.key, value: of.value.map(AnyValue::from) }
    }
}

impl From<JsonValue> for AnyValue {
    /// As deep as the value is nested, which the text's bound of nesting bounds.
    fn from(of: JsonValue) -> Self {
        let array = |list: JsonList<JsonValue>| {
            Any::Array(ArrayValue { values: list.values.into_iter().map(Self::from).collect() })
        };
        let pairs = |list: JsonList<JsonPair>| {
            let values = list.values.into_iter().map(KeyValue::from).collect();
            Any::Pairs(KeyValueList { values })
        };
        // What is no base64 stays as it came.
        let bytes = |text: String| match parse::base64_bytes(&text) {
            Some(bytes) => Any::Bytes(bytes),
            None => Any::Text(text),
        };
        let value = of.string_value.map(Any::Text);
        let value = value.or_else(|| of.bool_value.map(Any::Bool));
        let value = value.or_else(|| of.int_value.map(Any::Int));
        let value = value.or_else(|| of.double_value.map(Any::Double));
        let value = value.or_else(|| of.array_value.map(array));
        let value = value.or_else(|| of.kvlist_value.map(pairs));
        Self { value: value.or_else(|| of.bytes_value.map(bytes)) }
    }
}

/// A value, or what it is when it is null.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An id in hexadecimal digits. What is none has no bytes: its span is rejected, and not the body.
fn id<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text: String = or_default(from)?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8));
    Ok(bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty()).unwrap_or_default())
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(from.deserialize_any(Whole::<u64>(PhantomData))?.unwrap_or_default())
}

fn some_whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    from.deserialize_any(Whole::<i64>(PhantomData))
}

fn kind<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    named(from, &KINDS)
}

fn code<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
    named(from, &CODES)
}

fn named<'de, D: Deserializer<'de>>(from: D, names: &[&str]) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named {
        Number(i32),
        Name(String),
    }
    match Option::deserialize(from)? {
        None => Ok(0),
        Some(Named::Number(number)) => Ok(number),
        Some(Named::Name(name)) => match names.iter().position(|known| *known == name) {
            Some(number) => Ok(number as i32),
            None => Err(D::Error::custom(format!("expected a number or one of {names:?}"))),
        },
    }
}

fn some_double<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Double {
        Number(f64),
        // "NaN", "Infinity" and "-Infinity", and numbers as texts.
        Text(String),
    }
    match Option::deserialize(from)? {
        None => Ok(None),
        Some(Double::Number(number)) => Ok(Some(number)),
        Some(Double::Text(text)) => match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(D::Error::custom(format!("expected a number, found {text:?}"))),
        },
    }
}

/// A whole number, which may be written as a text.
struct Whole<T>(PhantomData<T>);

impl<T> Visitor<'_> for Whole<T>
where
    T: TryFrom<i64> + TryFrom<u64> + std::str::FromStr,
{
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 64 bits, as a number or a text")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(value), &self);
        T::try_from(value).map(Some).map_err(wrong)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self);
        T::try_from(value).map(Some).map_err(wrong)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        let wrong = |_| E::invalid_value(serde::de::Unexpected::Str(value), &self);
        value.parse().map(Some).map_err(wrong)
    }
}
