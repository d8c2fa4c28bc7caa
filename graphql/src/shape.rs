//! A dataset as GraphQL sees it: its columns with their fields, in the order of storage.
//!
//! Everything that is generated for a dataset (types, inputs, plans) is made from this one value, so
//! that a field can not mean one column in a filter and another in a result.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::Expr;
use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};
use engine::{Dimension, Measure, Semantics};

use crate::names;
use crate::plan::order::by_name;

/// A dataset.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Its name.
    pub name: DatasetName,
    /// Its field at the query root.
    pub field: String,
    /// What its types' names begin with.
    pub type_name: String,
    /// One line of what a row is.
    pub description: String,
    /// Its columns, computed partition columns last.
    pub columns: Vec<Column>,
    /// Scalars within structures that are columns, and dimensions, by which rows can be grouped, too: they are numbered behind the
    /// columns.
    parts: Vec<Column>,
    /// What the spec declares of groups.
    pub measures: Vec<Declared>,
    /// The key, as positions in `columns`.
    pub key: Vec<usize>,
    /// The time column, as a position in `columns`.
    pub time: Option<usize>,
    /// What tells its columns, by name and type, its key, and what is declared of them, from others of the dataset.
    pub digest: u64,
    by_field: HashMap<String, usize>,
}

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name in storage.
    pub name: String,
    /// The fields that lead to a part of it, none for itself.
    pub path: Vec<String>,
    /// Its field in a row; of a part, its field in a group.
    pub field: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it may be empty.
    pub nullable: bool,
    /// What it is, for the schema's documentation.
    pub description: String,
    /// Whether it is computed from another one.
    pub computed: bool,
    /// What it is computed by, where it is a dimension.
    dimension: Option<Expr>,
}

/// A measure that a spec declares.
#[derive(Debug)]
pub(crate) struct Declared {
    /// Its field in a group.
    pub field: String,
    /// What it is, for the schema's documentation.
    pub description: String,
    /// How it is computed.
    pub measure: Measure,
}

impl Shape {
    /// The shape of a dataset with this spec.
    /// The same of one that was made then: another that had its name, or gets it, is another dataset.
    pub(crate) fn made_at(spec: &DatasetSpec, at: Option<DateTime<Utc>>) -> Arc<Self> {
        let mut shape = Self::new(spec);
        if let (Some(shape), Some(at)) = (Arc::get_mut(&mut shape), at) {
            let mut hasher = DefaultHasher::new();
            (shape.digest, at.timestamp_micros()).hash(&mut hasher);
            shape.digest = hasher.finish();
        }
        shape
    }

    pub(crate) fn new(spec: &DatasetSpec) -> Arc<Self> {
        let mut columns: Vec<Column> = spec
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                path: Vec::new(),
                field: names::camel_beside(&column.name, &names::ROW_WORDS),
                kind: column.data_type.clone(),
                nullable: column.nullable,
                description: described(column),
                computed: false,
                dimension: None,
            })
            .collect();
        columns.extend(spec.computed_partitions().map(|partition| Column {
            name: partition.column.clone(),
            path: Vec::new(),
            field: names::camel_beside(&partition.column, &names::ROW_WORDS),
            kind: ColumnType::Date,
            nullable: true,
            description: format!(
                "computed from {} on ingest; files are split by it",
                partition.from.as_deref().unwrap_or(&partition.column)
            ),
            computed: true,
            dimension: None,
        }));
        let mut hasher = DefaultHasher::new();
        columns.iter().for_each(|c| (&c.name, c.kind.to_string(), c.nullable).hash(&mut hasher));
        spec.key.hash(&mut hasher);
        let semantics = Semantics::of(spec);
        for of in semantics.dimensions() {
            (&of.spec.name, &of.spec.expression).hash(&mut hasher);
        }
        for of in semantics.measures() {
            (&of.spec.name, &of.spec.expression).hash(&mut hasher);
        }
        let position = |name: &String| columns.iter().position(|c| c.name == *name);
        let key = spec.key.iter().filter_map(position).collect();
        let time = spec.time_column.as_ref().and_then(position);
        let mut parts = Vec::new();
        columns.iter().for_each(|column| column.take_parts(&mut parts));
        parts.extend(semantics.dimensions().iter().map(Column::of_dimension));
        let all = columns.iter().chain(&parts).enumerate();
        let by_field = all.map(|(i, c)| (c.field.clone(), i)).collect();
        Arc::new(Self {
            name: spec.name.clone(),
            field: names::dataset_field(spec.name.as_str()),
            type_name: names::pascal(spec.name.as_str()),
            description: spec.description.clone(),
            columns,
            parts,
            measures: semantics.measures().iter().map(Declared::new).collect(),
            key,
            time,
            digest: hasher.finish(),
            by_field,
        })
    }

    /// Combinations of its columns and parts of these numbers, as rows of a dataset whose key is all of them.
    pub(crate) fn combinations(&self, of: &[usize]) -> Self {
        let column = |number: &usize| {
            let column = self.at(*number);
            Column {
                name: combined(*number),
                path: Vec::new(),
                field: column.in_group(),
                kind: column.kind.clone(),
                nullable: true,
                description: column.description.clone(),
                computed: column.computed,
                dimension: None,
            }
        };
        let columns: Vec<Column> = of.iter().map(column).collect();
        Self {
            name: self.name.clone(),
            field: format!("{}{DISTINCT}", self.field),
            type_name: self.type_name.clone(),
            description: String::new(),
            by_field: columns.iter().enumerate().map(|(at, it)| (it.field.clone(), at)).collect(),
            key: (0..columns.len()).collect(),
            columns,
            parts: Vec::new(),
            measures: Vec::new(),
            time: None,
            digest: self.digest,
        }
    }

    /// A column or a part, by its number.
    pub(crate) fn at(&self, number: usize) -> &Column {
        self.columns.get(number).unwrap_or_else(|| &self.parts[number - self.columns.len()])
    }

    /// All columns and parts, with their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().chain(&self.parts).enumerate()
    }

    /// Columns, and dimensions behind them: what conditions on rows are about.
    pub(crate) fn conditional(&self) -> impl Iterator<Item = &Column> {
        let dimensions = self.parts.iter().filter(|part| part.dimension.is_some());
        self.columns.iter().chain(dimensions)
    }

    /// The declared measure that has this field in a group.
    pub(crate) fn declared(&self, field: &str) -> Option<usize> {
        self.measures.iter().position(|declared| declared.field == field)
    }

    /// The position of the column behind a row's field, or of the part behind a group's.
    pub(crate) fn position(&self, field: &str) -> Option<usize> {
        self.by_field.get(field).copied()
    }

    /// The name of a type of this dataset.
    pub(crate) fn type_of(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.type_name)
    }
}

/// What a field beside that of a dataset is called that has combinations of its columns.
pub(crate) const DISTINCT: &str = "Distinct";

/// The name of a column among combinations. None of storage begins so.
pub(crate) fn combined(number: usize) -> String {
    format!("_{number}")
}

fn described(column: &ColumnSpec) -> String {
    about(&column.description, &column.data_type, column.unit.as_deref(), None)
}

/// What something is: what was said of it, its type and unit, and how it is computed.
fn about(says: &str, kind: &ColumnType, unit: Option<&str>, by: Option<&str>) -> String {
    let unit = unit.map(|unit| format!(", in {unit}")).unwrap_or_default();
    let by = by.map(|by| format!(": {by}")).unwrap_or_default();
    match says.is_empty() {
        true => format!("{kind}{unit}{by}"),
        false => format!("{says} ({kind}{unit}{by})"),
    }
}

impl Declared {
    fn new(measure: &Measure) -> Self {
        let spec = &measure.spec;
        let (unit, by) = (spec.unit.as_deref(), Some(spec.expression.as_str()));
        Self {
            field: names::camel_beside(&spec.name, &names::GROUP_WORDS),
            description: about(&spec.description, &measure.kind, unit, by),
            measure: measure.clone(),
        }
    }

    /// The type of its values.
    pub(crate) fn kind(&self) -> &ColumnType {
        &self.measure.kind
    }
}

impl Column {
    fn of_dimension(dimension: &Dimension) -> Self {
        let spec = &dimension.spec;
        let (unit, by) = (spec.unit.as_deref(), Some(spec.expression.as_str()));
        Self {
            name: spec.name.clone(),
            path: Vec::new(),
            field: names::camel_beside(&spec.name, &names::ROW_WORDS),
            kind: dimension.kind.clone(),
            nullable: true,
            description: about(&spec.description, &dimension.kind, unit, by),
            computed: true,
            dimension: Some(dimension.value.clone()),
        }
    }

    /// Adds the scalars of its structures.
    fn take_parts(&self, parts: &mut Vec<Self>) {
        let ColumnType::Struct(fields) = &self.kind else { return };
        for field in fields {
            let part = Self {
                name: self.name.clone(),
                path: self.path.iter().chain([&field.name]).cloned().collect(),
                // No column's field has a `_` before a letter.
                field: format!("{}_{}", self.field, names::camel(&field.name)),
                kind: field.data_type.clone(),
                nullable: true,
                description: format!("{} of {}", field.name, self.called()),
                computed: self.computed,
                dimension: None,
            };
            match &part.kind {
                ColumnType::Struct(_) => part.take_parts(parts),
                kind if kind.is_scalar() => parts.push(part),
                _ => {}
            }
        }
    }

    /// Its name, with the fields that lead to it: `address.city`.
    pub(crate) fn called(&self) -> String {
        std::iter::once(&self.name).chain(&self.path).cloned().collect::<Vec<_>>().join(".")
    }

    /// What it is called among the values of an enum. No name has two `_` in a row.
    pub(crate) fn in_enum(&self) -> String {
        let names = std::iter::once(&self.name).chain(&self.path);
        names.map(|name| names::screaming(name)).collect::<Vec<_>>().join("__")
    }

    /// Its field in a group.
    pub(crate) fn in_group(&self) -> String {
        match self.path.is_empty() {
            true => names::camel_beside(&self.name, &names::GROUP_WORDS),
            false => self.field.clone(),
        }
    }

    /// Its value in a plan.
    pub(crate) fn value(&self) -> Expr {
        if let Some(value) = &self.dimension {
            return value.clone();
        }
        self.path.iter().fold(by_name(&self.name), |value, field| get_field(value, field.as_str()))
    }

    /// Whether rows can be sorted and paged by it.
    pub(crate) fn is_sortable(&self) -> bool {
        self.kind.is_scalar() && self.kind != ColumnType::Json
    }

    /// Whether rows can be grouped by it.
    pub(crate) fn is_groupable(&self) -> bool {
        self.is_sortable() && self.kind != ColumnType::Bytes
    }

    /// Whether it holds instants or days.
    pub(crate) fn is_temporal(&self) -> bool {
        matches!(self.kind, ColumnType::Timestamp | ColumnType::Date)
    }
}
