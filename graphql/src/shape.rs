//! A dataset as GraphQL sees it: its columns with their fields, in the order of storage.
//!
//! Everything that is generated for a dataset (types, inputs, plans) is made from this one value, so
//! that a field can not mean one column in a filter and another in a result.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use datasets::{ColumnSpec, ColumnType, DatasetName, DatasetSpec};

use crate::names;

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
    /// The key, as positions in `columns`.
    pub key: Vec<usize>,
    /// The time column, as a position in `columns`.
    pub time: Option<usize>,
    /// What tells its columns, by name and type, from others of the dataset.
    pub digest: u64,
    by_field: HashMap<String, usize>,
}

/// A column.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name in storage.
    pub name: String,
    /// Its field in a row.
    pub field: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it may be empty.
    pub nullable: bool,
    /// What it is, for the schema's documentation.
    pub description: String,
    /// Whether it is computed from another one.
    pub computed: bool,
}

impl Shape {
    /// The shape of a dataset with this spec.
    pub(crate) fn new(spec: &DatasetSpec) -> Arc<Self> {
        let mut columns: Vec<Column> = spec
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                field: names::camel(&column.name),
                kind: column.data_type.clone(),
                nullable: column.nullable,
                description: described(column),
                computed: false,
            })
            .collect();
        columns.extend(spec.computed_partitions().map(|partition| Column {
            name: partition.column.clone(),
            field: names::camel(&partition.column),
            kind: ColumnType::Date,
            nullable: true,
            description: format!(
                "computed from {} on ingest; files are split by it",
                partition.from.as_deref().unwrap_or(&partition.column)
            ),
            computed: true,
        }));
        let mut hasher = DefaultHasher::new();
        columns.iter().for_each(|c| (&c.name, c.kind.to_string()).hash(&mut hasher));
        let position = |name: &String| columns.iter().position(|c| c.name == *name);
        let key = spec.key.iter().filter_map(position).collect();
        let time = spec.time_column.as_ref().and_then(position);
        let by_field = columns.iter().enumerate().map(|(i, c)| (c.field.clone(), i)).collect();
        Arc::new(Self {
            name: spec.name.clone(),
            field: names::dataset_field(spec.name.as_str()),
            type_name: names::pascal(spec.name.as_str()),
            description: spec.description.clone(),
            columns,
            key,
            time,
            digest: hasher.finish(),
            by_field,
        })
    }

    /// The position of the column behind a row's field.
    pub(crate) fn position(&self, field: &str) -> Option<usize> {
        self.by_field.get(field).copied()
    }

    /// The name of a type of this dataset.
    pub(crate) fn type_of(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.type_name)
    }
}

fn described(column: &ColumnSpec) -> String {
    let kind = match &column.unit {
        Some(unit) => format!("{}, in {unit}", column.data_type),
        None => column.data_type.to_string(),
    };
    match column.description.is_empty() {
        true => kind,
        false => format!("{} ({kind})", column.description),
    }
}

impl Column {
    /// Whether rows can be sorted and paged by it.
    pub(crate) fn is_sortable(&self) -> bool {
        !matches!(self.kind, ColumnType::List(_) | ColumnType::Vector(_) | ColumnType::Json)
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
