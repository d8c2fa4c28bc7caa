//! The spec of a dataset: the one description that storage, checks, GraphQL and documents are made from.
//!
//! A spec is a value, written as TOML by people and as JSON into the table's own metadata, so that a
//! dataset describes itself wherever its files go.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::name::{DatasetName, check_identifier};

/// Most columns that one dataset may have.
pub const COLUMNS_MAX: usize = 1_024;

/// Arrow field metadata key that holds the [`ColumnType`] as text, for types that Arrow does not tell apart.
pub const TYPE_METADATA_KEY: &str = "colonnade.type";
/// Arrow field metadata key that holds the unit of a column.
pub const UNIT_METADATA_KEY: &str = "colonnade.unit";

/// Everything Colonnade knows of a dataset before it has rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSpec {
    /// Its name.
    pub name: DatasetName,
    /// One line of what a row is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Columns that name a row; may be empty. Not enforced to be unique: ingest is append-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The column that says when a row happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
    /// What happens to columns that the spec does not name.
    #[serde(default)]
    pub evolution: Evolution,
    /// Columns that split the files into folders, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<PartitionSpec>,
    /// The columns, in order.
    pub columns: Vec<ColumnSpec>,
    /// Checks beyond type and nullability; a row that fails one goes to quarantine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// Its name, `snake_case`.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: ColumnType,
    /// Whether a row may leave it empty.
    #[serde(default)]
    pub nullable: bool,
    /// Unit of its values: `ms`, `tokens`, `usd`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// One line of what it holds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

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

/// What happens when rows bring a column that the spec does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evolution {
    /// It is an error that names the column.
    #[default]
    Fixed,
    /// It becomes a new nullable column.
    AddNullable,
}

/// One level of partition folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// The partition column. With a transform it is a column of its own, computed on ingest.
    pub column: String,
    /// The column that it is computed from; the partition column itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How it is computed.
    #[serde(default)]
    pub transform: PartitionTransform,
}

/// How a partition value comes from its source column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionTransform {
    /// The value itself.
    #[default]
    Identity,
    /// The UTC day of a timestamp, as a date.
    Day,
    /// The first day of a timestamp's UTC month, as a date.
    Month,
}

/// A check that a row must pass. A null passes every check but the column's own nullability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case", deny_unknown_fields)]
pub enum Validation {
    /// A number within bounds, both included.
    Range {
        /// The column.
        column: String,
        /// Least value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// Greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
    /// A float that is neither NaN nor infinite.
    Finite {
        /// The column.
        column: String,
    },
    /// A text that is not empty.
    NonEmpty {
        /// The column.
        column: String,
    },
    /// A text of at most so many bytes.
    MaxBytes {
        /// The column.
        column: String,
        /// The bound.
        max: u64,
    },
    /// A text out of a fixed set.
    OneOf {
        /// The column.
        column: String,
        /// The set.
        values: Vec<String>,
    },
    /// A text that a regular expression matches.
    Matches {
        /// The column.
        column: String,
        /// The expression, in the `regex` crate's syntax.
        pattern: String,
    },
    /// A text that is a JSON document.
    ValidJson {
        /// The column.
        column: String,
    },
    /// One instant not before another, or one number not below another.
    Ordered {
        /// The lesser column.
        low: String,
        /// The greater column.
        high: String,
    },
}

impl DatasetSpec {
    /// Reads a spec from TOML; `source_name` is for error messages.
    pub fn from_toml(text: &str, source_name: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text).map_err(|e| Error::Spec {
            dataset: source_name.into(),
            problem: e.to_string().trim_end().to_owned(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// Reads a spec from the JSON of a table's metadata.
    pub fn from_json(text: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(text).map_err(|e| Error::Spec {
            dataset: "table metadata".into(),
            problem: e.to_string(),
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// Writes the spec as JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::Internal(format!("spec as JSON: {e}")))
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&ColumnSpec> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The Arrow schema that rows are stored in: the columns, then the computed partition columns.
    pub fn arrow_schema(&self) -> SchemaRef {
        let computed =
            self.computed_partitions().map(|p| Field::new(&p.column, DataType::Date32, true));
        let fields: Vec<Field> =
            self.columns.iter().map(ColumnSpec::field).chain(computed).collect();
        Arc::new(Schema::new(fields))
    }

    /// The partition columns that are not columns of the source.
    pub fn computed_partitions(&self) -> impl Iterator<Item = &PartitionSpec> {
        self.partition_by.iter().filter(|p| p.transform != PartitionTransform::Identity)
    }

    /// Checks that the spec agrees with itself.
    pub fn check(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Spec { dataset: self.name.to_string(), problem });
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            return fail(format!("{} columns; expected 1 to {COLUMNS_MAX}", self.columns.len()));
        }
        let mut seen = HashSet::new();
        for column in &self.columns {
            check_identifier("column name", &column.name)?;
            if !seen.insert(column.name.as_str()) {
                return fail(format!("column {:?} stands twice", column.name));
            }
        }
        for key in &self.key {
            match self.column(key) {
                None => return fail(format!("key column {key:?} is not a column")),
                Some(c) if c.nullable => return fail(format!("key column {key:?} is nullable")),
                Some(_) => {}
            }
        }
        if let Some(time) = &self.time_column {
            match self.column(time).map(|c| &c.data_type) {
                Some(ColumnType::Timestamp | ColumnType::Date) => {}
                Some(other) => {
                    return fail(format!(
                        "time column {time:?} is {other}; expected timestamp or date"
                    ));
                }
                None => return fail(format!("time column {time:?} is not a column")),
            }
        }
        for partition in &self.partition_by {
            self.check_partition(partition)?;
        }
        for validation in &self.validations {
            validation.check(self)?;
        }
        Ok(())
    }

    fn check_partition(&self, partition: &PartitionSpec) -> Result<()> {
        let fail = |problem: String| Err(Error::Spec { dataset: self.name.to_string(), problem });
        check_identifier("partition column", &partition.column)?;
        let from = partition.from.as_deref().unwrap_or(&partition.column);
        let Some(source) = self.column(from) else {
            return fail(format!(
                "partition {:?} is made from {from:?}, which is not a column",
                partition.column
            ));
        };
        match partition.transform {
            PartitionTransform::Identity => {
                if from != partition.column {
                    return fail(format!(
                        "partition {:?} has no transform; `from` must be absent",
                        partition.column
                    ));
                }
                if matches!(
                    source.data_type,
                    ColumnType::List(_)
                        | ColumnType::Vector(_)
                        | ColumnType::Bytes
                        | ColumnType::Json
                ) {
                    return fail(format!(
                        "partition {from:?} is {}; expected a scalar",
                        source.data_type
                    ));
                }
            }
            PartitionTransform::Day | PartitionTransform::Month => {
                if source.data_type != ColumnType::Timestamp {
                    return fail(format!(
                        "partition {:?} is made from {from:?}, which is {}; expected timestamp",
                        partition.column, source.data_type
                    ));
                }
                if self.column(&partition.column).is_some() {
                    return fail(format!(
                        "partition {:?} is computed, and also a column",
                        partition.column
                    ));
                }
            }
        }
        Ok(())
    }
}

impl ColumnSpec {
    /// The Arrow field of this column.
    pub fn field(&self) -> Field {
        let mut metadata = std::collections::HashMap::new();
        metadata.insert(TYPE_METADATA_KEY.to_owned(), self.data_type.to_string());
        if let Some(unit) = &self.unit {
            metadata.insert(UNIT_METADATA_KEY.to_owned(), unit.clone());
        }
        Field::new(&self.name, self.data_type.arrow_type(), self.nullable).with_metadata(metadata)
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
                if *s >= 0 =>
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

impl Validation {
    /// The columns that it looks at.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::Range { column, .. }
            | Self::Finite { column }
            | Self::NonEmpty { column }
            | Self::MaxBytes { column, .. }
            | Self::OneOf { column, .. }
            | Self::Matches { column, .. }
            | Self::ValidJson { column } => vec![column],
            Self::Ordered { low, high } => vec![low, high],
        }
    }

    fn check(&self, spec: &DatasetSpec) -> Result<()> {
        let fail = |problem: String| Err(Error::Spec { dataset: spec.name.to_string(), problem });
        let mut types = Vec::new();
        for name in self.columns() {
            match spec.column(name) {
                Some(column) => types.push((name, &column.data_type)),
                None => {
                    return fail(format!("a validation names {name:?}, which is not a column"));
                }
            }
        }
        let textual = |t: &ColumnType| matches!(t, ColumnType::Text | ColumnType::Json);
        for (name, data_type) in &types {
            let (fits, expected) = match self {
                Self::Range { .. } => (data_type.is_numeric(), "a number"),
                Self::Finite { .. } => {
                    (matches!(data_type, ColumnType::Float32 | ColumnType::Float64), "a float")
                }
                Self::Ordered { .. } => (
                    data_type.is_numeric()
                        || matches!(data_type, ColumnType::Timestamp | ColumnType::Date),
                    "a number, timestamp or date",
                ),
                _ => (textual(data_type), "text"),
            };
            if !fits {
                return fail(format!(
                    "a validation of {name:?} expects {expected}; the column is {data_type}"
                ));
            }
        }
        if let [(low, low_type), (high, high_type)] = types[..]
            && low_type != high_type
        {
            return fail(format!(
                "{low:?} is {low_type} and {high:?} is {high_type}; expected equal types"
            ));
        }
        if let Self::Matches { pattern, .. } = self
            && let Err(e) = regex::Regex::new(pattern)
        {
            return fail(format!("pattern {pattern:?}: {e}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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

    #[test]
    fn a_spec_that_contradicts_itself_says_where() {
        let text = r#"
            name = "calls"
            key = ["id"]
            time_column = "at"
            columns = [{name = "id", type = "text"}, {name = "at", type = "int64"}]
        "#;
        let message = DatasetSpec::from_toml(text, "calls.toml").unwrap_err().to_string();
        assert_eq!(
            message,
            r#"spec of calls: time column "at" is int64; expected timestamp or date"#
        );
    }
}
