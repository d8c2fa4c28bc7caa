//! The types that a column may have: few enough that every store, query and client has an equal for each.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The type of a column. Written as text: `int64`, `decimal(18,6)`, `list(int64)`, `vector(384)`.
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
    /// A list of values of one scalar type; no nulls inside.
    List(Box<ColumnType>),
    /// A vector of 32-bit floats, all of one length.
    Vector(u32),
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
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s)
                if (1..=38).contains(p) && (0..=*p as i8).contains(s) =>
            {
                Self::Decimal(*p, *s as u8)
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::List(item) | DataType::LargeList(item) => {
                Self::List(Box::new(Self::from_arrow(item.data_type())?))
            }
            DataType::FixedSizeList(item, length) if item.data_type() == &DataType::Float32 => {
                Self::Vector(u32::try_from(*length).ok()?)
            }
            DataType::Dictionary(_, value) => Self::from_arrow(value)?,
            _ => return None,
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
        }
    }
}

impl FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |expected: &str| {
            Err(Error::Name {
                what: "column type",
                name: text.chars().take(80).collect(),
                expected: expected.into(),
            })
        };
        let (head, argument) = match text.split_once('(') {
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
            ("list", Some(argument)) => match argument.parse::<Self>()? {
                Self::List(_) | Self::Vector(_) => return fail("a scalar inside list(…)"),
                item => Self::List(Box::new(item)),
            },
            ("vector", Some(argument)) => match argument.parse::<u32>() {
                Ok(length @ 1..=65_536) => Self::Vector(length),
                _ => return fail("vector(LENGTH) with 1 ≤ length ≤ 65536"),
            },
            _ => {
                return fail(
                    "bool, int32, int64, float32, float64, text, timestamp, date, decimal(P,S), json, bytes, list(TYPE) or vector(LENGTH)",
                );
            }
        })
    }
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
        for (precision, scale) in [(0, 0), (39, 0), (4, 5), (4, -1)] {
            assert_eq!(of(precision, scale), None, "decimal({precision},{scale})");
        }
    }

    #[test]
    fn types_are_read_back_as_written() {
        for text in
            ["bool", "int64", "decimal(18,6)", "list(int64)", "vector(384)", "json", "timestamp"]
        {
            assert_eq!(text.parse::<ColumnType>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "int",
            "decimal(39,0)",
            "decimal(3,4)",
            "list(list(int64))",
            "vector(0)",
            "list(int64",
        ] {
            assert!(bad.parse::<ColumnType>().is_err(), "{bad:?} passed");
        }
    }
}
