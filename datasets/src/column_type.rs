//! The types that a column may have: few enough that every store, query and client has an equal for each.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::infer::{to_identifier, unit_of};
use crate::name::check_identifier;

/// Most types within each other: a list of numbers has two.
pub const TYPE_NESTING_MAX: usize = 16;
/// Most fields that the structures of one column have.
pub const TYPE_FIELDS_MAX: usize = 1_024;
/// Longest unit of a field, in bytes.
const UNIT_MAX_BYTES: usize = 64;

/// The type of a column. Written as text: `int64`, `decimal(18,6)`, `list(int64)`, `vector(384)`,
/// `struct(city: text, wait: int64 [ms])`, `map(text, int64)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ColumnType {
    /// True or false.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
    /// UTF-8 text.
    Text,
    /// Instant in UTC, microseconds.
    Timestamp,
    /// Calendar day.
    Date,
    /// Exact decimal: precision (1 to 38), scale (0 to precision).
    Decimal(u8, u8),
    /// A JSON document, kept as text.
    Json,
    /// Bytes.
    Bytes,
    /// A list of values of one type, each of which may be null.
    List(Box<ColumnType>),
    /// A vector of 32-bit floats, all of one length.
    Vector(u32),
    /// Fields with names, each of which may be null; in the order of storage.
    Struct(Vec<StructField>),
    /// Values of one type, which may be null, by texts.
    Map(Box<ColumnType>),
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StructField {
    /// Its name, by the rule of a column's.
    pub name: String,
    /// Its type.
    pub data_type: ColumnType,
    /// What its values are counted in, those within a list or map included. Without brackets, commas and colons.
    pub unit: Option<String>,
}

impl StructField {
    /// Where among `fields` the one stands that a source calls `name`: by that name, or by the identifier made of it.
    pub(crate) fn position(fields: &[Self], name: &str) -> Option<usize> {
        let position = |name: &str| fields.iter().position(|field| field.name == name);
        position(name).or_else(|| position(&to_identifier(name)))
    }
}

/// The items of an Arrow type whose values are lists, whatever their layout.
pub(crate) fn item_of(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

impl ColumnType {
    /// The Arrow type that values are held in.
    pub fn arrow_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Text | Self::Json => DataType::Utf8,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => DataType::Date32,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
            Self::Bytes => DataType::Binary,
            Self::List(item) => {
                DataType::List(Arc::new(Field::new("element", item.arrow_type(), true)))
            }
            // Delta knows no fixed-size lists; the length is kept by the spec and checked on ingest.
            Self::Vector(_) => {
                DataType::List(Arc::new(Field::new("element", DataType::Float32, true)))
            }
            Self::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|field| Field::new(&field.name, field.data_type.arrow_type(), true))
                    .collect(),
            ),
            // As Delta's own library calls its parts.
            Self::Map(value) => {
                let key = Field::new("key", DataType::Utf8, false);
                let value = Field::new("value", value.arrow_type(), true);
                let entries = DataType::Struct([key, value].into_iter().collect());
                DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
            }
        }
    }

    /// Whether a value is one, and not several: no list, vector, structure or map.
    pub fn is_scalar(&self) -> bool {
        !matches!(self, Self::List(_) | Self::Vector(_) | Self::Struct(_) | Self::Map(_))
    }

    /// Whether values have values of their own that are more than numbers of a row.
    pub fn is_nested(&self) -> bool {
        match self {
            Self::Struct(_) | Self::Map(_) => true,
            Self::List(item) => !item.is_scalar(),
            _ => false,
        }
    }

    /// Whether values are numbers.
    pub fn is_numeric(&self) -> bool {
        matches!(
            self,
            Self::Int32 | Self::Int64 | Self::Float32 | Self::Float64 | Self::Decimal(..)
        )
    }

    /// The type of a column of a table that was not made by Colonnade, or `None` when it has no equal here.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        let found = Self::from_arrow_within(data_type, TYPE_NESTING_MAX)?;
        (found.fields() <= TYPE_FIELDS_MAX).then_some(found)
    }

    /// Fields of all its structures.
    pub fn fields(&self) -> usize {
        match self {
            Self::List(item) | Self::Map(item) => item.fields(),
            Self::Struct(fields) => fields.iter().map(|field| 1 + field.data_type.fields()).sum(),
            _ => 0,
        }
    }

    fn from_arrow_within(data_type: &DataType, nesting: usize) -> Option<Self> {
        let nesting = nesting.checked_sub(1)?;
        let within = |item: &Field| Self::from_arrow_within(item.data_type(), nesting);
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::UInt8
            | DataType::UInt16 => Self::Int32,
            DataType::Int64 | DataType::UInt32 => Self::Int64,
            DataType::UInt64 => Self::Decimal(20, 0),
            DataType::Float16 | DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Timestamp(_, _) | DataType::Date64 => Self::Timestamp,
            DataType::Date32 => Self::Date,
            DataType::Decimal256(p @ 1..=38, s @ 0..=38) if s <= &(*p as i8) => {
                Self::Decimal(*p, *s as u8)
            }
            // A column of nulls has no type yet, and text accepts every later value. Where no type holds all values, their text
            // is exact.
            DataType::Null
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Interval(_)
            | DataType::Decimal256(..) => Self::Text,
            DataType::RunEndEncoded(_, values) => within(values)?,
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
                if (1..=38).contains(p) && (0..=*p as i8).contains(s) =>
            {
                Self::Decimal(*p, *s as u8)
            }
            // Integers that end in zeros.
            DataType::Decimal32(1..=38, ..0)
            | DataType::Decimal64(1..=38, ..0)
            | DataType::Decimal128(1..=38, ..0) => Self::Text,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::FixedSizeList(item, length)
                if item.data_type() == &DataType::Float32 && (1..=65_536).contains(length) =>
            {
                Self::Vector(u32::try_from(*length).ok()?)
            }
            DataType::Struct(fields) => {
                let mut names = BTreeSet::new();
                let fields: Option<Vec<StructField>> = fields
                    .iter()
                    .map(|field| {
                        let name = to_identifier(field.name());
                        let data_type = within(field)?;
                        let unit = unit_of(field).filter(|unit| is_unit(unit));
                        names.insert(name.clone()).then_some(StructField { name, data_type, unit })
                    })
                    .collect();
                Self::Struct(fields.filter(|fields| !fields.is_empty())?)
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(entries) = entries.data_type() else { return None };
                let [key, value] = &entries[..] else { return None };
                let is_key = |kind: &Self| matches!(kind, Self::Text | Self::Int32 | Self::Int64);
                Self::from_arrow(key.data_type()).filter(is_key)?;
                Self::Map(Box::new(within(value)?))
            }
            // A length of time: the column's or field's unit says which.
            DataType::Duration(_) => Self::Int64,
            DataType::Dictionary(_, value) => Self::from_arrow_within(value, nesting)?,
            other => Self::List(Box::new(within(item_of(other)?)?)),
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Text => f.write_str("text"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Date => f.write_str("date"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Json => f.write_str("json"),
            Self::Bytes => f.write_str("bytes"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Vector(length) => write!(f, "vector({length})"),
            Self::Struct(fields) => {
                f.write_str("struct(")?;
                for (at, StructField { name, data_type, unit }) in fields.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}{name}: {data_type}")?;
                    if let Some(unit) = unit {
                        write!(f, " [{unit}]")?;
                    }
                }
                f.write_str(")")
            }
            Self::Map(value) => write!(f, "map(text, {value})"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = Self::parse(text, TYPE_NESTING_MAX)?;
        match parsed.fields() {
            0..=TYPE_FIELDS_MAX => Ok(parsed),
            _ => Err(Error::Name {
                what: "column type",
                name: text.chars().take(80).collect(),
                expected: format!("at most {TYPE_FIELDS_MAX} fields"),
            }),
        }
    }
}

impl ColumnType {
    /// The type that `text` says, of at most `nesting` types within each other.
    fn parse(text: &str, nesting: usize) -> Result<Self> {
        let fail = |expected: &str| {
            Err(Error::Name {
                what: "column type",
                name: text.chars().take(80).collect(),
                expected: expected.into(),
            })
        };
        let Some(nesting) = nesting.checked_sub(1) else {
            return fail(&format!("at most {TYPE_NESTING_MAX} types within each other"));
        };
        let (head, argument) = match text.trim().split_once('(') {
            Some((head, rest)) => match rest.strip_suffix(')') {
                Some(argument) => (head, Some(argument.trim())),
                None => return fail("a closing `)`"),
            },
            None => (text, None),
        };
        Ok(match (head.trim(), argument) {
            ("bool", None) => Self::Bool,
            ("int32", None) => Self::Int32,
            ("int64", None) => Self::Int64,
            ("float32", None) => Self::Float32,
            ("float64", None) => Self::Float64,
            ("text", None) => Self::Text,
            ("timestamp", None) => Self::Timestamp,
            ("date", None) => Self::Date,
            ("json", None) => Self::Json,
            ("bytes", None) => Self::Bytes,
            ("decimal", Some(argument)) => {
                let parsed = argument.split_once(',').and_then(|(p, s)| {
                    Some((p.trim().parse::<u8>().ok()?, s.trim().parse::<u8>().ok()?))
                });
                match parsed {
                    Some((precision @ 1..=38, scale)) if scale <= precision => {
                        Self::Decimal(precision, scale)
                    }
                    _ => {
                        return fail(
                            "decimal(PRECISION,SCALE) with 1 ≤ precision ≤ 38 and scale ≤ precision",
                        );
                    }
                }
            }
            ("list", Some(argument)) => Self::List(Box::new(Self::parse(argument, nesting)?)),
            ("map", Some(argument)) => match argument.split_once(',') {
                Some((key, value)) if key.trim() == "text" => {
                    Self::Map(Box::new(Self::parse(value, nesting)?))
                }
                _ => return fail("map(text, TYPE)"),
            },
            ("struct", Some(argument)) => {
                let mut fields: Vec<StructField> = Vec::new();
                for part in parts(argument) {
                    let Some((name, data_type)) = part.split_once(':') else {
                        return fail("struct(NAME: TYPE, …)");
                    };
                    let (data_type, unit) = match data_type.trim().strip_suffix(']') {
                        Some(rest) => match rest.rsplit_once('[') {
                            Some((data_type, unit)) if is_unit(unit.trim()) => {
                                (data_type, Some(unit.trim().to_owned()))
                            }
                            _ => return fail("a unit in brackets, as in struct(wait: int64 [ms])"),
                        },
                        None => (data_type, None),
                    };
                    let name = name.trim().to_owned();
                    check_identifier("name of a field", &name)?;
                    if fields.iter().any(|field| field.name == name) {
                        return fail(&format!("each field once, and {name:?} stands twice"));
                    }
                    let data_type = Self::parse(data_type, nesting)?;
                    fields.push(StructField { name, data_type, unit });
                }
                Self::Struct(fields)
            }
            ("vector", Some(argument)) => match argument.parse::<u32>() {
                Ok(length @ 1..=65_536) => Self::Vector(length),
                _ => return fail("vector(LENGTH) with 1 ≤ length ≤ 65536"),
            },
            _ => {
                return fail(
                    "bool, int32, int64, float32, float64, text, timestamp, date, decimal(P,S), json, bytes, list(TYPE), vector(LENGTH), struct(NAME: TYPE,…) or map(text,TYPE)",
                );
            }
        })
    }
}

/// Whether a text can be the unit of a field: it stands between brackets.
fn is_unit(text: &str) -> bool {
    let is_mark = |letter: char| "()[],:".contains(letter) || letter.is_control();
    (1..=UNIT_MAX_BYTES).contains(&text.len()) && text.trim() == text && !text.contains(is_mark)
}

/// What stands between the commas of `text`, those in brackets aside.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

impl TryFrom<String> for ColumnType {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(data_type: ColumnType) -> Self {
        data_type.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_decimal_beyond_its_bounds_has_no_equal() {
        let of = |p, s| ColumnType::from_arrow(&DataType::Decimal128(p, s));
        assert_eq!(of(4, 2), Some(ColumnType::Decimal(4, 2)));
        for (precision, scale) in [(0, 0), (39, 0), (4, 5)] {
            assert_eq!(of(precision, scale), None, "decimal({precision},{scale})");
        }
        let wide = |p, s| ColumnType::from_arrow(&DataType::Decimal256(p, s));
        assert_eq!(wide(38, 10), Some(ColumnType::Decimal(38, 10)));
        // Our decimals cannot hold all of these; text can.
        assert_eq!([of(4, -1), wide(39, 2), wide(76, 76)], [const { Some(ColumnType::Text) }; 3]);
    }

    #[test]
    fn types_are_read_back_as_written() {
        for text in [
            "bool",
            "int64",
            "decimal(18,6)",
            "list(int64)",
            "vector(384)",
            "json",
            "timestamp",
            "list(list(int64))",
            "struct(city: text, price: decimal(18,2), tags: list(text))",
            "struct(wait: int64 [ms], rates: list(float64) [1/s], of: struct(a: int32 [°C]) [x y])",
            "list(struct(sku: text, sizes: map(text, struct(a: int32))))",
            "map(text, int64)",
        ] {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "int",
            "decimal(39,0)",
            "decimal(3,4)",
            "struct()",
            "struct(city)",
            "struct(City: text)",
            "struct(a: text, a: text)",
            "struct(a: text",
            "struct(a: text, )",
            "struct(a: text [])",
            "struct(a: text ms])",
            "struct(a: [ms])",
            "struct(a: text [ms)",
            "struct(a: text [a,b])",
            "int64 [ms]",
            "map(int64, text)",
            "map(text)",
            "vector(0)",
            "list(int64",
        ] {
            assert!(bad.parse::<ColumnType>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn types_within_types_are_bounded() {
        let nested = |count: usize| {
            let (open, close) = ("list(".repeat(count - 1), ")".repeat(count - 1));
            format!("{open}text{close}")
        };
        let deepest: ColumnType = nested(TYPE_NESTING_MAX).parse().unwrap();
        assert_eq!(ColumnType::from_arrow(&deepest.arrow_type()), Some(deepest.clone()));
        let deeper = DataType::new_list(deepest.arrow_type(), true);
        assert_eq!(ColumnType::from_arrow(&deeper), None);
        for count in [TYPE_NESTING_MAX + 1, 100_000] {
            assert!(nested(count).parse::<ColumnType>().is_err());
        }
        let wide = |count: usize| {
            let fields: Vec<String> = (0..count).map(|at| format!("a{at}: text")).collect();
            format!("struct({})", fields.join(", "))
        };
        let widest: ColumnType = wide(TYPE_FIELDS_MAX).parse().unwrap();
        assert_eq!(ColumnType::from_arrow(&widest.arrow_type()), Some(widest));
        assert!(wide(TYPE_FIELDS_MAX + 1).parse::<ColumnType>().is_err());
    }

    #[test]
    fn structures_of_others_get_names_that_fields_may_have() {
        let fields = |names: [&str; 2]| {
            let field = |name: &str| Field::new(name, DataType::Utf8View, true);
            DataType::Struct(names.map(field).into_iter().collect())
        };
        let found = ColumnType::from_arrow(&fields(["Post Code", "cityName"])).unwrap();
        assert_eq!(found.to_string(), "struct(post_code: text, city_name: text)");
        assert_eq!(ColumnType::from_arrow(&fields(["a", "A"])), None);
        assert_eq!(
            ColumnType::from_arrow(&DataType::Struct(arrow::datatypes::Fields::empty())),
            None
        );
    }
}
