//! Values turned at any depth of lists, structures and maps, on their way to a column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use super::cast::arrow_cast;
use super::nested::matched;
use crate::column_type::{ColumnType, item_of};

/// What turns values that are no lists, structures or maps.
pub(super) trait Leaves {
    /// Whether values of this type may be turned.
    fn is_one(data_type: &DataType) -> bool;

    /// Turns values on their way to `target`, whose unit is `unit`. `shown` says which values count: those
    /// in structures that are null do not.
    fn turn(
        &mut self,
        array: &ArrayRef,
        target: &ColumnType,
        unit: Option<&str>,
        shown: Option<&NullBuffer>,
    ) -> Result<ArrayRef, ArrowError>;
}

/// Whether the type, or a part of it, is one for which `is_one`.
pub(super) fn has_leaf(data_type: &DataType, is_one: &impl Fn(&DataType) -> bool) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => has_leaf(values, is_one),
        DataType::RunEndEncoded(_, values) => has_leaf(values.data_type(), is_one),
        DataType::Struct(fields) => fields.iter().any(|field| has_leaf(field.data_type(), is_one)),
        DataType::Map(entries, _) => has_leaf(entries.data_type(), is_one),
        other => match item_of(other) {
            Some(item) => has_leaf(item.data_type(), is_one),
            None => is_one(other),
        },
    }
}

/// `array` with its leaves turned. Parts without a counterpart in `target` stay as they are.
pub(super) fn walk<L: Leaves>(
    array: &ArrayRef,
    target: &ColumnType,
    unit: Option<&str>,
    shown: Option<&NullBuffer>,
    leaves: &mut L,
) -> Result<ArrayRef, ArrowError> {
    if !has_leaf(array.data_type(), &L::is_one) {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), target) {
        (DataType::Dictionary(_, values), _) => {
            walk(&cast(array, values)?, target, unit, shown, leaves)
        }
        (DataType::RunEndEncoded(_, values), _) => {
            walk(&cast(array, values.data_type())?, target, unit, shown, leaves)
        }
        (leaf, _) if L::is_one(leaf) => leaves.turn(array, target, unit, shown),
        (DataType::Struct(sources), ColumnType::Struct(fields)) => {
            let Some(matched) = matched(sources, fields) else { return Ok(Arc::clone(array)) };
            let structure = array.as_struct();
            let shown = NullBuffer::union(shown, structure.nulls());
            let mut columns = structure.columns().to_vec();
            for (field, at) in fields.iter().zip(matched) {
                if let Some(at) = at {
                    let (target, unit) = (&field.data_type, field.unit.as_deref());
                    columns[at] = walk(&columns[at], target, unit, shown.as_ref(), leaves)?;
                }
            }
            let nulls = structure.nulls().cloned();
            let fields = typed(sources, &columns);
            let structure = StructArray::try_new_with_length(fields, columns, nulls, array.len());
            Ok(Arc::new(structure?))
        }
        (DataType::Map(entries, is_sorted), ColumnType::Map(value)) => {
            let map = array.as_map();
            let (first, offsets) = rebased(map.offsets());
            let held = map.entries().slice(first, offsets.last().copied().unwrap_or(0) as usize);
            let DataType::Struct(parts) = entries.data_type() else {
                return Ok(Arc::clone(array));
            };
            let mut columns = held.columns().to_vec();
            columns[1] = walk(&columns[1], value, unit, None, leaves)?;
            let parts = typed(parts, &columns);
            let entry = entries.as_ref().clone().with_data_type(DataType::Struct(parts.clone()));
            let held = StructArray::try_new(parts, columns, None)?;
            let nulls = map.nulls().cloned();
            Ok(Arc::new(MapArray::try_new(Arc::new(entry), offsets, held, nulls, *is_sorted)?))
        }
        (other, ColumnType::List(item)) => {
            let Some(of) = item_of(other) else { return Ok(Arc::clone(array)) };
            let of = Field::new("element", of.data_type().clone(), true);
            let array = arrow_cast(array, &DataType::List(Arc::new(of.clone())))?;
            let lists = array.as_list::<i32>();
            let (first, offsets) = rebased(lists.offsets());
            let items = lists.values().slice(first, offsets.last().copied().unwrap_or(0) as usize);
            let items = walk(&items, item, unit, None, leaves)?;
            let of = Arc::new(of.with_data_type(items.data_type().clone()));
            let nulls = lists.nulls().cloned();
            Ok(Arc::new(ListArray::try_new(of, offsets, items, nulls)?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// Where the first value stands, and offsets that begin there: those of a slice point into all values.
fn rebased(offsets: &OffsetBuffer<i32>) -> (usize, OffsetBuffer<i32>) {
    let first = offsets.first().copied().unwrap_or(0);
    (usize::try_from(first).unwrap_or(0), OffsetBuffer::from_lengths(offsets.lengths()))
}

/// The fields, as what the columns are now.
fn typed(fields: &Fields, columns: &[ArrayRef]) -> Fields {
    let fields = fields.iter().zip(columns);
    fields
        .map(|(of, column)| of.as_ref().clone().with_data_type(column.data_type().clone()))
        .collect()
}
