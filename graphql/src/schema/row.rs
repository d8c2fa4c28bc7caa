//! The object type of a dataset's rows: one field for each column.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use async_graphql::dynamic::{FieldValue, Object};
use async_graphql::{SelectionField, Value};

use super::nested::{object_name, shown_type};
use super::node::{NODE, NODE_ID, id_field};
use super::related::{Related, related_field};
use super::resolve::part;
use crate::links::Links;
use crate::shape::Shape;

/// Values of columns, by their position in the shape.
pub(crate) type Columns = HashMap<usize, Vec<Value>>;

/// Rows of an answer that were read together.
#[derive(Default)]
pub(crate) struct Block {
    /// Values of their columns.
    pub columns: Arc<Columns>,
    /// What they are related to.
    pub related: Related,
}

impl Block {
    /// Rows of which no relation is shown.
    pub(crate) fn of(columns: Arc<Columns>) -> Arc<Self> {
        Arc::new(Self { columns, related: Related::default() })
    }
}

/// One row of an answer.
pub(crate) struct RowRef {
    /// The rows that it is one of.
    pub block: Arc<Block>,
    /// Its place among them.
    pub row: usize,
}

/// Whether rows have an id among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowIds {
    /// By their key.
    Key,
    /// They have none.
    None,
}

/// `ModelCallsRow`.
pub(crate) fn row_type(shape: &Arc<Shape>, links: &Links, ids: RowIds) -> Object {
    let description = match shape.description.is_empty() {
        true => format!("A row of {}.", shape.name),
        false => shape.description.clone(),
    };
    let row = Object::new(shape.type_of("Row")).description(description);
    let row = shape.columns.iter().enumerate().fold(row, |row, (position, column)| {
        let kind = shown_type(&object_name(shape, &column.name), &column.kind, column.nullable);
        let field = part(&column.field, kind, move |parent: &RowRef| {
            let values = parent.block.columns.get(&position);
            let value = values.and_then(|values| values.get(parent.row)).cloned();
            value.ok_or_else(|| engine::Error::internal("a column that was not read is shown"))
        });
        row.field(field.description(&column.description))
    });
    let row = match ids {
        RowIds::Key => row.implement(NODE).field(id_field(shape)),
        RowIds::None => row,
    };
    match related_field(shape, links) {
        Some(related) => row.field(related),
        None => row,
    }
}

/// Some rows of `block`.
pub(crate) fn row_values<'a>(block: &Arc<Block>, rows: Range<usize>) -> Vec<FieldValue<'a>> {
    rows.map(|row| row_value(block, row)).collect()
}

/// One row of `block`.
pub(crate) fn row_value<'a>(block: &Arc<Block>, row: usize) -> FieldValue<'a> {
    FieldValue::owned_any(RowRef { block: block.clone(), row })
}

/// The columns that selections of rows show.
pub(crate) fn selected(shape: &Shape, rows: &[SelectionField<'_>]) -> BTreeSet<usize> {
    let fields = rows.iter().flat_map(SelectionField::selection_set);
    fields
        .flat_map(|field| match field.name() {
            NODE_ID => shape.key.clone(),
            name => shape.position(name).into_iter().collect(),
        })
        .collect()
}
