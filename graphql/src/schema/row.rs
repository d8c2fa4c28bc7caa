//! The object type of a dataset's rows: one field for each column.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_graphql::dynamic::{FieldValue, Object};
use async_graphql::{Lookahead, Value};

use super::nested::{object_name, shown_type};
use super::resolve::part;
use crate::shape::Shape;

/// Values of columns, by their position in the shape.
pub(crate) type Columns = HashMap<usize, Vec<Value>>;

/// One row of an answer.
struct RowRef {
    columns: Arc<Columns>,
    row: usize,
}

/// `ModelCallsRow`.
pub(crate) fn row_type(shape: &Shape) -> Object {
    let description = match shape.description.is_empty() {
        true => format!("A row of {}.", shape.name),
        false => shape.description.clone(),
    };
    let row = Object::new(shape.type_of("Row")).description(description);
    shape.columns.iter().enumerate().fold(row, |row, (position, column)| {
        let kind = shown_type(&object_name(shape, &column.name), &column.kind, column.nullable);
        let field = part(&column.field, kind, move |parent: &RowRef| {
            let values = parent.columns.get(&position);
            let value = values.and_then(|values| values.get(parent.row)).cloned();
            value.ok_or_else(|| engine::Error::internal("a column that was not read is shown"))
        });
        row.field(field.description(&column.description))
    })
}

/// Rows `0..count` of `columns`.
pub(crate) fn row_values<'a>(columns: &Arc<Columns>, count: usize) -> Vec<FieldValue<'a>> {
    (0..count).map(|row| row_value(columns, row)).collect()
}

/// One row of `columns`.
pub(crate) fn row_value<'a>(columns: &Arc<Columns>, row: usize) -> FieldValue<'a> {
    FieldValue::owned_any(RowRef { columns: columns.clone(), row })
}

/// The columns that a selection of rows shows.
pub(crate) fn selected(shape: &Shape, rows: &Lookahead<'_>) -> BTreeSet<usize> {
    rows.selection_fields()
        .iter()
        .flat_map(|field| field.selection_set())
        .filter_map(|field| shape.position(field.name()))
        .collect()
}
