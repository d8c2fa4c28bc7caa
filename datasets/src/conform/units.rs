//! Lengths of time of a source as whole numbers in the units that columns and fields state.
//!
//! A file counts in nanoseconds what a dataset keeps in milliseconds: a number that is not multiplied or divided on its way is
//! another length. One that is no whole number of the unit fits no more than a fraction fits an integer.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit};
use arrow::error::ArrowError;

use super::cast::arrow_cast;
use super::nested::matched;
use crate::column_type::{ColumnType, item_of};

/// What a source's lengths of time are counted in, as a unit of a column.
pub(crate) fn name_of(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// Whether there are lengths of time among the values, or among their parts.
pub(super) fn has_lengths(data_type: &DataType) -> bool {
    match data_type {
        DataType::Duration(_) => true,
        DataType::Dictionary(_, values) => has_lengths(values),
        DataType::RunEndEncoded(_, values) => has_lengths(values.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_lengths(field.data_type())),
        DataType::Map(entries, _) => has_lengths(entries.data_type()),
        other => item_of(other).is_some_and(|item| has_lengths(item.data_type())),
    }
}

/// The values with numbers where lengths of time are, and whether each of them fits; one that does not is null.
pub(super) struct InUnits {
    pub(super) values: ArrayRef,
    pub(super) all_fit: bool,
}

/// `array`, on its way to `target`, in `unit` or, of a structure, in the units of its fields. Where none is stated that is a
/// length of time, numbers stay as they are.
pub(super) fn in_units(
    array: &ArrayRef,
    target: &ColumnType,
    unit: Option<&str>,
) -> Result<InUnits, ArrowError> {
    let mut all_fit = true;
    let values = walk(array, target, unit, None, &mut all_fit)?;
    Ok(InUnits { values, all_fit })
}

/// `shown` says which values count: those in structures that are null do not.
fn walk(
    array: &ArrayRef,
    target: &ColumnType,
    unit: Option<&str>,
    shown: Option<&NullBuffer>,
    all_fit: &mut bool,
) -> Result<ArrayRef, ArrowError> {
    if !has_lengths(array.data_type()) {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), target) {
        (DataType::Dictionary(_, values), _) => {
            walk(&cast(array, values)?, target, unit, shown, all_fit)
        }
        (DataType::RunEndEncoded(_, values), _) => {
            walk(&cast(array, values.data_type())?, target, unit, shown, all_fit)
        }
        (DataType::Duration(from), _) => {
            let numbers = cast(array, &DataType::Int64)?;
            let from = nanoseconds(name_of(*from));
            let factor = from.zip(unit.and_then(nanoseconds)).filter(|(from, to)| from != to);
            let Some((from, to)) = factor else { return Ok(numbers) };
            let of = |value: i64| {
                let exact = i128::from(value) * from;
                i64::try_from(exact / to).ok().filter(|_| exact % to == 0)
            };
            let numbers = numbers.as_primitive::<Int64Type>();
            let turned: Int64Array = numbers.iter().map(|value| value.and_then(of)).collect();
            *all_fit &= (0..turned.len()).all(|row| {
                let is_shown = shown.is_none_or(|shown| shown.is_valid(row));
                !is_shown || turned.is_null(row) == numbers.is_null(row)
            });
            Ok(Arc::new(turned))
        }
        (DataType::Struct(sources), ColumnType::Struct(fields)) => {
            let Some(matched) = matched(sources, fields) else { return Ok(Arc::clone(array)) };
            let structure = array.as_struct();
            let shown = NullBuffer::union(shown, structure.nulls());
            let mut columns = structure.columns().to_vec();
            for (field, at) in fields.iter().zip(matched) {
                if let Some(at) = at {
                    let (target, unit) = (&field.data_type, field.unit.as_deref());
                    columns[at] = walk(&columns[at], target, unit, shown.as_ref(), all_fit)?;
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
            columns[1] = walk(&columns[1], value, unit, None, all_fit)?;
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
            let items = walk(&items, item, unit, None, all_fit)?;
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
