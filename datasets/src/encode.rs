//! Values of any Arrow type as text: JSON, and CSV.
//!
//! The `arrow-json` writer knows no maps with keys that are not text, no unions and no intervals, and turns
//! NaN into null. Here every type has a form, since a rejected row is kept as JSON. Bytes are base64, numbers
//! that JSON lacks and types without a JSON form are quoted, map keys become member names. Only an instant
//! or duration outside the range that can be formatted is an error.

mod csv;
mod shown;
mod sink;

use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, AsArray, LargeStringArray, RecordBatch, StringArray,
    StringBuilder, StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, UnionMode};
use arrow::error::ArrowError;

pub use self::csv::{CsvOptions, Formulas, Header, NestedAs, Quoting};
pub use self::shown::Shown;
pub use self::sink::{Sink, TextPieces};
use self::sink::{push_bytes, push_parts};
use crate::parse;
use crate::read::json;
use crate::spec::TYPE_METADATA_KEY;

/// Writes rows of one array as JSON.
pub(crate) struct JsonEncoder<'a> {
    nulls: Option<NullBuffer>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// The formatted value is JSON as it is.
    Raw(Shown<'a>),
    /// As above, unless it is NaN or infinite.
    Float(Shown<'a>),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    /// A value that JSON holds as text.
    Quoted(Shown<'a>),
    Bytes(&'a dyn Array),
    Null,
    List {
        item: Box<JsonEncoder<'a>>,
        bounds: Bounds<'a>,
    },
    Struct(Vec<(String, JsonEncoder<'a>)>),
    Map {
        keys: Box<JsonEncoder<'a>>,
        values: Box<JsonEncoder<'a>>,
        bounds: Bounds<'a>,
    },
    /// A value elsewhere: of a dictionary, a run or a union's child.
    Indirect {
        children: Vec<JsonEncoder<'a>>,
        find: Box<dyn Fn(usize) -> (usize, usize) + 'a>,
    },
}

/// Each value of an array as a text of JSON, null where there is none.
pub fn json_texts(array: &dyn Array) -> Result<ArrayRef, ArrowError> {
    let encoder = JsonEncoder::new(array)?;
    let mut builder = StringBuilder::new();
    let mut text = String::new();
    for row in 0..array.len() {
        if encoder.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        encoder.write(row, &mut text)?;
        append(&mut builder, &text)?;
    }
    Ok(Arc::new(builder.finish()))
}

/// Appends a text unless all texts take more than the array can address.
fn append(builder: &mut StringBuilder, text: &str) -> Result<(), ArrowError> {
    let bytes = builder.values_slice().len().saturating_add(text.len());
    if i32::try_from(bytes).is_err() {
        return Err(ArrowError::OffsetOverflowError(bytes));
    }
    builder.append_value(text);
    Ok(())
}

/// `array`, or where CSV has no field for its values, texts that are read back as the same: lists, structures and maps as JSON, bytes as
/// base64.
pub fn as_text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        kind if kind.is_nested() => json_texts(array)?,
        kind if kind.is_binary() => {
            let text = |row| parse::base64_text(bytes_of(array.as_ref(), row));
            let mut builder = StringBuilder::new();
            for row in 0..array.len() {
                match array.is_valid(row) {
                    true => append(&mut builder, &text(row))?,
                    false => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        _ => Arc::clone(array),
    })
}

/// Rows of a batch as JSON objects that are read back as the same rows: a column that is JSON stands as it is, bytes are base64, and a
/// float that JSON has no number for is a text.
pub struct JsonRows<'a> {
    columns: Vec<(String, Cells<'a>)>,
}

enum Cells<'a> {
    Values(JsonEncoder<'a>),
    Documents(&'a StringArray),
}

impl<'a> JsonRows<'a> {
    /// Those of `batch`.
    pub fn new(batch: &'a RecordBatch) -> Result<Self, ArrowError> {
        let fields = batch.schema_ref().fields().iter().zip(batch.columns());
        let columns = fields.map(|(field, array)| {
            let name = serde_json::Value::from(field.name().as_str()).to_string();
            let is_json =
                field.metadata().get(TYPE_METADATA_KEY).is_some_and(|kind| kind == "json");
            let cells = match array.as_string_opt::<i32>().filter(|_| is_json) {
                Some(documents) => Cells::Documents(documents),
                None => Cells::Values(JsonEncoder::new(array.as_ref())?),
            };
            Ok((name, cells))
        });
        Ok(Self { columns: columns.collect::<Result<_, ArrowError>>()? })
    }

    /// Appends one row, in one line. Fails, and leaves a part of the row, if a value cannot be
    /// formatted.
    pub fn write(&self, row: usize, out: &mut impl Sink) -> Result<(), ArrowError> {
        out.text().push('{');
        for (at, (name, cells)) in self.columns.iter().enumerate() {
            if at > 0 {
                out.text().push(',');
            }
            out.text().push_str(name);
            out.text().push(':');
            match cells {
                Cells::Values(encoder) => {
                    encoder.write(row, out).map_err(|error| in_column(plain_name(name), error))?;
                }
                Cells::Documents(documents) if documents.is_null(row) => {
                    out.text().push_str("null");
                }
                Cells::Documents(documents) => {
                    let document = documents.value(row);
                    match json::check_document(document.as_bytes()) {
                        // In a document a line's end stands between values only.
                        Ok(()) => push_parts(out, document, |part, text| {
                            let no_line_end = |c| if matches!(c, '\n' | '\r') { ' ' } else { c };
                            text.extend(part.chars().map(no_line_end));
                        })?,
                        Err(_) => push_text(document, out)?,
                    }
                }
            }
            out.flush_if_full()?;
        }
        out.text().push('}');
        Ok(())
    }
}

type Bounds<'a> = Box<dyn Fn(usize) -> std::ops::Range<usize> + 'a>;

impl<'a> JsonEncoder<'a> {
    /// An encoder of `array`; fails for types that can't be shown at all.
    pub(crate) fn new(array: &'a dyn Array) -> Result<Self, ArrowError> {
        use DataType as D;
        let child = |array: &'a ArrayRef| Self::new(array.as_ref());
        let formatter = || Shown::new(array);
        let kind = match array.data_type() {
            D::Null => Kind::Null,
            t if t.is_integer() => Kind::Raw(formatter()?),
            D::Boolean
            | D::Decimal32(..)
            | D::Decimal64(..)
            | D::Decimal128(..)
            | D::Decimal256(..) => Kind::Raw(formatter()?),
            t if t.is_floating() => Kind::Float(formatter()?),
            t if t.is_binary() => Kind::Bytes(array),
            D::List(_) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets();
                Kind::List {
                    item: Box::new(child(list.values())?),
                    bounds: Box::new(|row| offsets[row] as usize..offsets[row + 1] as usize),
                }
            }
            D::LargeList(_) => {
                let list = array.as_list::<i64>();
                let offsets = list.value_offsets();
                Kind::List {
                    item: Box::new(child(list.values())?),
                    bounds: Box::new(|row| offsets[row] as usize..offsets[row + 1] as usize),
                }
            }
            D::ListView(_) => {
                let list = array.as_list_view::<i32>();
                Kind::List {
                    item: Box::new(child(list.values())?),
                    bounds: Box::new(|row| {
                        let start = list.value_offset(row) as usize;
                        start..start + list.value_size(row) as usize
                    }),
                }
            }
            D::LargeListView(_) => {
                let list = array.as_list_view::<i64>();
                Kind::List {
                    item: Box::new(child(list.values())?),
                    bounds: Box::new(|row| {
                        let start = list.value_offset(row) as usize;
                        start..start + list.value_size(row) as usize
                    }),
                }
            }
            D::FixedSizeList(_, _) => {
                let list = array.as_fixed_size_list();
                let width = list.value_length() as usize;
                Kind::List {
                    item: Box::new(child(list.values())?),
                    bounds: Box::new(move |row| {
                        let start = list.value_offset(row) as usize;
                        start..start + width
                    }),
                }
            }
            D::Struct(fields) => {
                let columns = array.as_struct().columns();
                let members = fields.iter().zip(columns).map(|(field, column)| {
                    Ok((serde_json::Value::from(field.name().as_str()).to_string(), child(column)?))
                });
                Kind::Struct(members.collect::<Result<_, ArrowError>>()?)
            }
            D::Map(_, _) => {
                let map = array.as_map();
                let offsets = map.value_offsets();
                Kind::Map {
                    keys: Box::new(child(map.keys())?),
                    values: Box::new(child(map.values())?),
                    bounds: Box::new(|row| offsets[row] as usize..offsets[row + 1] as usize),
                }
            }
            D::Dictionary(_, _) => {
                let dictionary = array.as_any_dictionary();
                let keys = keys_of(dictionary);
                Kind::Indirect {
                    children: vec![child(dictionary.values())?],
                    find: Box::new(move |row| (0, keys[row])),
                }
            }
            D::Union(fields, mode) => {
                let union = array.as_union();
                let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
                let children = ids.iter().map(|id| child(union.child(*id)));
                let dense = *mode == UnionMode::Dense;
                Kind::Indirect {
                    children: children.collect::<Result<_, _>>()?,
                    find: Box::new(move |row| {
                        let id = union.type_id(row);
                        let at = ids.iter().position(|other| *other == id).unwrap_or_default();
                        (at, if dense { union.value_offset(row) } else { row })
                    }),
                }
            }
            D::Utf8 => Kind::Text(array.as_string()),
            D::LargeUtf8 => Kind::LargeText(array.as_string()),
            D::Utf8View => Kind::TextView(array.as_string_view()),
            _ => Kind::Quoted(formatter()?),
        };
        Ok(Self { nulls: array.logical_nulls(), kind })
    }

    /// Appends the JSON of row `row` to `out`. Fails, and leaves a part of the value, if it cannot be
    /// formatted.
    pub(crate) fn write(&self, row: usize, out: &mut impl Sink) -> Result<(), ArrowError> {
        if self.is_null(row) {
            out.text().push_str("null");
            return Ok(());
        }
        match &self.kind {
            Kind::Null => out.text().push_str("null"),
            Kind::Raw(value) => value.push(row, out.text())?,
            Kind::Float(value) => {
                let out = out.text();
                let begin = out.len();
                value.push(row, out)?;
                if !out.ends_with(|c: char| c.is_ascii_digit()) {
                    out.insert(begin, '"');
                    out.push('"');
                }
            }
            Kind::Text(texts) => push_text(texts.value(row), out)?,
            Kind::LargeText(texts) => push_text(texts.value(row), out)?,
            Kind::TextView(texts) => push_text(texts.value(row), out)?,
            Kind::Quoted(value) => {
                let text = out.text();
                let begin = text.len();
                value.push(row, text)?;
                match is_plain(&text[begin..]) {
                    true => {
                        text.insert(begin, '"');
                        text.push('"');
                    }
                    false => {
                        let value = text.split_off(begin);
                        push_text(&value, out)?;
                    }
                }
            }
            Kind::Bytes(array) => {
                out.text().push('"');
                push_base64(bytes_of(*array, row), out)?;
                out.text().push('"');
            }
            Kind::List { item, bounds } => {
                out.text().push('[');
                for (at, index) in bounds(row).enumerate() {
                    if at > 0 {
                        out.text().push(',');
                    }
                    item.write(index, out)?;
                    out.flush_if_full()?;
                }
                out.text().push(']');
            }
            Kind::Struct(members) => {
                out.text().push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        out.text().push(',');
                    }
                    out.text().push_str(name);
                    out.text().push(':');
                    member.write(row, out)?;
                    out.flush_if_full()?;
                }
                out.text().push('}');
            }
            Kind::Map { keys, values, bounds } => {
                out.text().push('{');
                for (at, index) in bounds(row).enumerate() {
                    if at > 0 {
                        out.text().push(',');
                    }
                    keys.write_name(index, out)?;
                    out.text().push(':');
                    values.write(index, out)?;
                    out.flush_if_full()?;
                }
                out.text().push('}');
            }
            Kind::Indirect { children, find } => {
                let (child, index) = find(row);
                match children.get(child) {
                    Some(child) => child.write(index, out)?,
                    None => out.text().push_str("null"),
                }
            }
        }
        Ok(())
    }

    /// Appends the value of a row, or the reason why it cannot be formatted.
    pub(crate) fn write_or_reason(&self, row: usize, out: &mut String) {
        let begin = out.len();
        if let Err(error) = self.write(row, out) {
            out.truncate(begin);
            out.push_str(&serde_json::Value::from(error.to_string()).to_string());
        }
    }

    /// Appends a key of a map. JSON member names are strings.
    fn write_name(&self, row: usize, out: &mut impl Sink) -> Result<(), ArrowError> {
        if matches!(self.kind, Kind::Text(_) | Kind::LargeText(_) | Kind::TextView(_)) {
            return self.write(row, out);
        }
        let mut key = String::new();
        self.write(row, &mut key)?;
        match key.starts_with('"') {
            true => out.text().push_str(&key),
            false => push_text(&key, out)?,
        }
        Ok(())
    }

    /// Whether a row has no value.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

fn push_text(text: &str, out: &mut impl Sink) -> Result<(), ArrowError> {
    out.text().push('"');
    push_parts(out, text, |part, out| match is_plain(part) {
        true => out.push_str(part),
        false => {
            let quoted = serde_json::Value::from(part).to_string();
            out.push_str(&quoted[1..quoted.len() - 1]);
        }
    })?;
    out.text().push('"');
    Ok(())
}

/// Where each row's value lies in a dictionary. The place of a null has no meaning.
fn keys_of(dictionary: &dyn AnyDictionaryArray) -> Vec<usize> {
    match dictionary.values().is_empty() {
        true => vec![0; dictionary.len()],
        false => dictionary.normalized_keys(),
    }
}

/// A name without the quotes of JSON.
fn plain_name(quoted: &str) -> &str {
    quoted.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(quoted)
}

/// `error`, with the column whose value cannot be formatted.
pub fn in_column(name: &str, error: ArrowError) -> ArrowError {
    match error {
        ArrowError::CastError(reason) => ArrowError::CastError(format!(
            "column {name}: {reason}: the value cannot be formatted; use Arrow or Parquet, which store it as a number"
        )),
        other => other,
    }
}

fn push_base64(bytes: &[u8], out: &mut impl Sink) -> Result<(), ArrowError> {
    push_bytes(out, bytes, |part, out| out.push_str(&parse::base64_text(part)))
}

/// Whether a text stands in JSON as it is.
fn is_plain(text: &str) -> bool {
    // All of it, without a way out: so it is many bytes at once.
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    !text.bytes().fold(false, |found, byte| found | is_escaped(byte))
}

fn bytes_of(array: &dyn Array, row: usize) -> &[u8] {
    match array.data_type() {
        DataType::Binary => array.as_binary::<i32>().value(row),
        DataType::LargeBinary => array.as_binary::<i64>().value(row),
        DataType::BinaryView => array.as_binary_view().value(row),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().value(row),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::Int32Builder;
    use arrow::array::{BinaryArray, Float64Array, Int32Array, MapBuilder, StructArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn json(array: &dyn Array) -> Vec<String> {
        let encoder = JsonEncoder::new(array).unwrap();
        (0..array.len())
            .map(|row| {
                let mut text = String::new();
                encoder.write(row, &mut text).unwrap();
                text
            })
            .collect()
    }

    #[test]
    fn every_type_has_a_form() {
        let floats = Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(1e300), None]);
        assert_eq!(json(&floats), ["1.5", "\"NaN\"", "1e300", "null"]);
        assert_eq!(json(&StringArray::from(vec!["a\"\n"])), [r#""a\"\n""#]);
        assert_eq!(json(&BinaryArray::from(vec![&b"hello"[..]])), ["\"aGVsbG8=\""]);
        let mut map = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        map.keys().append_value(7);
        map.values().append_value("x");
        map.append(true).unwrap();
        assert_eq!(json(&map.finish()), [r#"{"7":"x"}"#]);
        let inner: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None]));
        let field = Arc::new(Field::new("a b", DataType::Int32, true));
        assert_eq!(
            json(&StructArray::from(vec![(field, inner)])),
            [r#"{"a b":1}"#, r#"{"a b":null}"#]
        );
    }

    #[test]
    fn long_documents_and_keys_are_written_in_parts() {
        let long = "ä\u{1}".repeat(50_000);
        let document = serde_json::json!({"a": long}).to_string();
        let is_json = [(TYPE_METADATA_KEY.to_owned(), "json".to_owned())].into();
        let documents = Field::new("d", DataType::Utf8, true).with_metadata(is_json);
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value(&long);
        map.values().append_value(7);
        map.append(true).unwrap();
        let map = map.finish();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec![document.as_str()])), Arc::new(map.clone())];
        let fields = vec![documents, Field::new("m", map.data_type().clone(), true)];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut written = Vec::new();
        let mut out = TextPieces::new(&mut written);
        JsonRows::new(&batch).unwrap().write(0, &mut out).unwrap();
        out.finish().unwrap();
        let row: serde_json::Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(row, serde_json::json!({"d": {"a": long}, "m": {(long.clone()): 7}}));
    }

    #[test]
    fn rows_are_lines_that_are_read_back() {
        let is_json = [(TYPE_METADATA_KEY.to_owned(), "json".to_owned())].into();
        let documents = Field::new("d", DataType::Utf8, true).with_metadata(is_json);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("{\"a\":\n 1.10}"), Some("{"), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"hello"[..]), None, Some(b"")])),
            Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(0.5), None])),
        ];
        let fields = [
            documents,
            Field::new("b", DataType::Binary, true),
            Field::new("f", DataType::Float64, true),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap();
        let rows = JsonRows::new(&batch).unwrap();
        let line = |row| {
            let mut line = String::new();
            rows.write(row, &mut line).unwrap();
            line
        };
        assert_eq!(
            [line(0), line(1), line(2)],
            [
                r#"{"d":{"a":  1.10},"b":"aGVsbG8=","f":"NaN"}"#,
                r#"{"d":"{","b":null,"f":0.5}"#,
                r#"{"d":null,"b":"","f":null}"#
            ]
        );
        let texts = as_text(batch.column(1)).unwrap();
        let texts = texts.as_string::<i32>();
        assert_eq!(texts.iter().collect::<Vec<_>>(), [Some("aGVsbG8="), None, Some("")]);
    }
}
