//! The spec of a dataset: the one description that storage, checks, GraphQL and documents are made from.
//!
//! A spec is a value, written as TOML by people and as JSON into the table's own metadata, so that a
//! dataset describes itself wherever its files go.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::measure::{self, DIMENSIONS_MAX, DimensionSpec, MEASURES_MAX, MeasureSpec};
use crate::name::{DatasetName, check_identifier};
use crate::pattern;
use crate::relation::{RELATIONS_MAX, RelationSpec};

mod load;

pub(crate) use load::shown_mark;
pub use load::{KeyPolicy, LoadSettings};

/// Most columns that one dataset may have.
pub const COLUMNS_MAX: usize = 1_024;
/// Most validations: some for each column.
pub const VALIDATIONS_MAX: usize = 2_048;
/// Most validations that are patterns. Together they are compiled in well below a second, whatever they are.
pub const PATTERNS_MAX: usize = 16;
/// Most columns that split the files into folders.
pub const PARTITIONS_MAX: usize = 16;
/// Longest description of a dataset or column, and longest owner and unit, in bytes.
pub const TEXT_MAX_BYTES: usize = 16 << 10;
/// Most bytes of all values of one set, each with 16 for itself.
pub const SET_MAX_BYTES: usize = 256 << 10;

/// Problems of a spec that an error tells.
const PROBLEMS_TOLD_MAX: usize = 20;

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
    /// Whether Colonnade writes its rows by itself (results, records, labels, quarantines): those of clients are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// Columns that name a row; may be empty. Not enforced to be unique: ingest is append-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The column that says when a row happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_column: Option<String>,
    /// What happens to columns that the spec does not name.
    #[serde(default)]
    pub evolution: Evolution,
    /// How rows are loaded: the policy for existing keys, and how text files are written.
    #[serde(default, skip_serializing_if = "LoadSettings::is_empty")]
    pub load: LoadSettings,
    /// Columns that split the files into folders, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<PartitionSpec>,
    /// The columns, in order.
    pub columns: Vec<ColumnSpec>,
    /// Checks beyond type and nullability; a row that fails one goes to quarantine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
    /// Columns whose values name rows of a dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<RelationSpec>,
    /// What is computed of one row, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<DimensionSpec>,
    /// What is computed of many rows, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<MeasureSpec>,
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
    /// Columns, the fields of all structures in them, and what is computed by name.
    pub fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(ColumnSpec::width).sum();
        columns + self.dimensions.len() + self.measures.len()
    }

    /// Reads a spec from TOML; `source_name` is for error messages.
    pub fn from_toml(text: &str, source_name: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text).map_err(|e| Error::Spec {
            dataset: source_name.into(),
            problem: toml_problem(text, &e),
        })?;
        spec.check()?;
        Ok(spec)
    }

    /// Reads a spec from the JSON of a table's metadata. How large it is was asked when the table was made, by the bounds of then.
    pub fn from_json(text: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(text).map_err(|e| Error::Spec {
            dataset: "table metadata".into(),
            problem: e.to_string(),
        })?;
        spec.check_shape()?;
        Ok(spec)
    }

    /// Writes the spec as TOML, as [`from_toml`](Self::from_toml) reads it.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::Internal(format!("spec as TOML: {e}")))
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

    /// Checks a spec that someone asks for: that it is within bounds, and agrees with itself.
    pub fn check(&self) -> Result<()> {
        self.check_size()?;
        self.check_shape()?;
        self.check_load()?;
        if let Some(at) = (1..self.key.len()).find(|at| self.key[..*at].contains(&self.key[*at])) {
            let problem = format!("key column {:?} stands twice", self.key[at]);
            return Err(Error::Spec { dataset: self.name.to_string(), problem });
        }
        measure::check(self)?;
        self.validations.iter().try_for_each(|validation| validation.check_bounds(self))
    }

    /// Checks a spec that a dataset is to be made from. One that is there may have what was taken once.
    pub fn check_new(&self) -> Result<()> {
        self.check()?;
        let key = self.key.iter().filter_map(|name| self.column(name));
        let floats = [ColumnType::Float32, ColumnType::Float64];
        let float = key.into_iter().find(|column| floats.contains(&column.data_type));
        let Some(ColumnSpec { name, data_type, .. }) = float else { return Ok(()) };
        let problem = format!(
            "key column {name:?} is {data_type}, of which some values tell no rows apart (NaN, -0.0); expected whole numbers, decimals, \
             texts or times"
        );
        Err(Error::Spec { dataset: self.name.to_string(), problem })
    }

    /// Checks that the spec agrees with itself, and says all that does not.
    fn check_shape(&self) -> Result<()> {
        let of = |problem: String| Error::Spec { dataset: self.name.to_string(), problem };
        if self.columns.is_empty() {
            return Err(of("0 columns; expected at least 1".to_owned()));
        }
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        for column in &self.columns {
            errors.extend(check_identifier("column name", &column.name).err());
            // A type made in code has not been read from text, where its bounds are checked.
            errors.extend(column.data_type.to_string().parse::<ColumnType>().err());
            if !seen.insert(column.name.as_str()) {
                errors.push(of(format!("column {:?} stands twice", column.name)));
            }
        }
        for key in &self.key {
            let problem = match self.column(key) {
                None => "is not a column".to_owned(),
                Some(column) if column.nullable => "is nullable".to_owned(),
                Some(column) if column.data_type.is_nested() => {
                    format!("is {}; expected a scalar", column.data_type)
                }
                Some(_) => continue,
            };
            errors.push(of(format!("key column {key:?} {problem}")));
        }
        if let Some(time) = &self.time_column {
            let problem = match self.column(time).map(|column| &column.data_type) {
                Some(ColumnType::Timestamp | ColumnType::Date) => None,
                Some(other) => Some(format!("is {other}; expected timestamp or date")),
                None => Some("is not a column".to_owned()),
            };
            let problem = problem.map(|problem| of(format!("time column {time:?} {problem}")));
            errors.extend(problem);
        }
        let partitions = self.partition_by.iter().map(|partition| self.check_partition(partition));
        errors.extend(partitions.filter_map(Result::err));
        let validations = self.validations.iter().map(|validation| validation.check(self));
        errors.extend(validations.filter_map(Result::err));
        for (at, relation) in self.relations.iter().enumerate() {
            errors.extend(relation.check(self).err());
            let name = relation.name();
            if self.relations[..at].iter().any(|before| before.name() == name) {
                errors.push(of(format!("relation {name:?} stands twice")));
            }
        }
        let count = errors.len();
        if count <= 1 {
            return errors.pop().map_or(Ok(()), Err);
        }
        let told = errors.into_iter().take(PROBLEMS_TOLD_MAX).map(|error| match error {
            Error::Spec { problem, .. } => problem,
            other => other.to_string(),
        });
        let mut problem = told.collect::<Vec<_>>().join("; ");
        if count > PROBLEMS_TOLD_MAX {
            problem.push_str(&format!("; {} more problems", count - PROBLEMS_TOLD_MAX));
        }
        Err(of(problem))
    }

    /// Checks how rows are loaded.
    fn check_load(&self) -> Result<()> {
        let of = |problem: String| Error::Spec { dataset: self.name.to_string(), problem };
        self.load.check().map_err(|error| of(format!("load: {error}")))?;
        let needs_key = |policy: &KeyPolicy| *policy != KeyPolicy::Add;
        match self.load.on_conflict.filter(needs_key) {
            Some(policy) if self.key.is_empty() => Err(of(format!(
                "load: on_conflict {:?} needs a key, and the dataset has none; expected `key`, or \"add\"",
                policy.name()
            ))),
            _ => Ok(()),
        }
    }

    /// What can be long is bounded, before anything is done with it.
    fn check_size(&self) -> Result<()> {
        let fail = |problem: String| Err(Error::Spec { dataset: self.name.to_string(), problem });
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            return fail(format!("{} columns; expected 1 to {COLUMNS_MAX}", self.columns.len()));
        }
        let is_pattern =
            |validation: &&Validation| matches!(validation, Validation::Matches { .. });
        let patterns = self.validations.iter().filter(is_pattern).count();
        for (what, found, most) in [
            ("key columns", self.key.len(), COLUMNS_MAX),
            ("partition columns", self.partition_by.len(), PARTITIONS_MAX),
            ("validations", self.validations.len(), VALIDATIONS_MAX),
            ("validations that are patterns", patterns, PATTERNS_MAX),
            ("relations", self.relations.len(), RELATIONS_MAX),
            ("dimensions", self.dimensions.len(), DIMENSIONS_MAX),
            ("measures", self.measures.len(), MEASURES_MAX),
        ] {
            if found > most {
                return fail(format!("{found} {what}; expected at most {most}"));
            }
        }
        let of_columns = self.columns.iter().flat_map(|column| {
            [("description", Some(&column.description)), ("unit", column.unit.as_ref())]
        });
        let of_relations = self.relations.iter().map(|it| ("description", Some(&it.description)));
        let own = [("description", Some(&self.description)), ("owner", self.owner.as_ref())];
        let of_dimensions = (self.dimensions.iter())
            .flat_map(|it| [("description", Some(&it.description)), ("unit", it.unit.as_ref())]);
        let of_measures = (self.measures.iter())
            .flat_map(|it| [("description", Some(&it.description)), ("unit", it.unit.as_ref())]);
        let texts = own.into_iter().chain(of_columns).chain(of_relations);
        for (what, text) in texts.chain(of_dimensions).chain(of_measures) {
            let found = text.map_or(0, String::len);
            if found > TEXT_MAX_BYTES {
                return fail(format!(
                    "a {what} of {found} bytes; expected at most {TEXT_MAX_BYTES}"
                ));
            }
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
                if !source.data_type.is_scalar()
                    || matches!(source.data_type, ColumnType::Bytes | ColumnType::Json)
                {
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

/// What is wrong with a text of TOML and where, in one line.
pub fn toml_problem(text: &str, error: &toml::de::Error) -> String {
    let reason = error.message().lines().collect::<Vec<_>>().join(", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return reason };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {reason}")
}

impl ColumnSpec {
    /// One, and the fields of all structures in it.
    pub fn width(&self) -> usize {
        1 + self.data_type.fields()
    }

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
        Ok(())
    }

    /// Checks what is not about columns, and may be wrong in a table that was made when more passed.
    fn check_bounds(&self, spec: &DatasetSpec) -> Result<()> {
        let fail = |problem: String| Err(Error::Spec { dataset: spec.name.to_string(), problem });
        match self {
            Self::Range { column, min: Some(min), max: Some(max) } if min > max => fail(format!(
                "a validation of {column:?} has min {min} above max {max}; no row can pass it"
            )),
            Self::Matches { column, pattern } => match pattern::compiled(pattern) {
                Ok(_) => Ok(()),
                Err(problem) => fail(format!("a validation of {column:?}: {problem}")),
            },
            Self::OneOf { column, values } => {
                let bytes: usize = values.iter().map(|value| value.len() + 16).sum();
                match bytes > SET_MAX_BYTES {
                    true => fail(format!(
                        "a validation of {column:?} has {} values of {bytes} bytes; expected at most {SET_MAX_BYTES}",
                        values.len()
                    )),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
