//! Structures, maps and lists of them from a source's Arrow types to a column's, part by part.
//!
//! Fields are found by their names. What would lose something, or has to be read as a text, is not carried here: the caller
//! takes the values' documents instead, which tell each row's fault.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::kernels::cmp::distinct;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use super::cast::{Way, arrow_cast, way};
use super::narrowing::overflowed;
use crate::column_type::{ColumnType, StructField, item_of};

/// Whether values of `from` can be values of `target`, if each of them fits.
pub(super) fn has_way(from: &DataType, target: &ColumnType) -> bool {
    match target {
        ColumnType::Struct(fields) => match from {
            DataType::Struct(sources) => matched(sources, fields).is_some_and(|matched| {
                matched.iter().zip(fields).all(|(source, field)| {
                    source.is_none_or(|at| has_way(sources[at].data_type(), &field.data_type))
                })
            }),
            _ => false,
        },
        ColumnType::Map(value) => {
            let DataType::Map(entries, _) = from else { return false };
            let DataType::Struct(parts) = entries.data_type() else { return false };
            let [key, of] = &parts[..] else { return false };
            way(key.data_type(), &ColumnType::Text, None).is_some()
                && has_way(of.data_type(), value)
        }
        ColumnType::List(item) => {
            item_of(from).is_some_and(|inner| has_way(inner.data_type(), item))
        }
        scalar => way(from, scalar, None).is_some(),
    }
}

/// The field of the source for each of `fields`; `None` where one of the source's is none of them, or two are one.
pub(super) fn matched(sources: &Fields, fields: &[StructField]) -> Option<Vec<Option<usize>>> {
    let mut matched = vec![None; fields.len()];
    for (index, source) in sources.iter().enumerate() {
        let at = StructField::position(fields, source.name())?;
        if matched[at].replace(index).is_some() {
            return None;
        }
    }
    Some(matched)
}

/// The values as those of `target`; `None` where one would be another, or has to be read.
pub(super) fn carried(
    array: &ArrayRef,
    target: &ColumnType,
) -> Result<Option<ArrayRef>, ArrowError> {
    let to = target.arrow_type();
    if array.data_type() == &to {
        return Ok(Some(Arc::clone(array)));
    }
    match (target, &to) {
        (ColumnType::Struct(fields), DataType::Struct(of)) => {
            let Some(structure) = array.as_struct_opt() else { return Ok(None) };
            let Some(matched) = matched(structure.fields(), fields) else { return Ok(None) };
            let mut columns = Vec::with_capacity(fields.len());
            for (field, source) in fields.iter().zip(matched) {
                let column = match source {
                    Some(at) => carried(structure.column(at), &field.data_type)?,
                    None => Some(new_null_array(&field.data_type.arrow_type(), array.len())),
                };
                let Some(column) = column else { return Ok(None) };
                columns.push(column);
            }
            let nulls = structure.nulls().cloned();
            Ok(Some(Arc::new(StructArray::try_new(of.clone(), columns, nulls)?)))
        }
        (ColumnType::Map(value), DataType::Map(entry, _)) => {
            let Some(map) = array.as_map_opt() else { return Ok(None) };
            let DataType::Struct(parts) = entry.data_type() else { return Ok(None) };
            let keys = carried(map.keys(), &ColumnType::Text)?;
            let values = carried(map.values(), value)?;
            let (Some(keys), Some(values)) = (keys, values) else { return Ok(None) };
            let entries = StructArray::try_new(parts.clone(), vec![keys, values], None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let carried = MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, false)?;
            Ok(Some(Arc::new(carried)))
        }
        (ColumnType::List(item), DataType::List(field)) => {
            let Some(of) = item_of(array.data_type()) else { return Ok(None) };
            let lists = match array.data_type() {
                DataType::List(_) => Arc::clone(array),
                _ => {
                    let items = Field::new("element", of.data_type().clone(), true);
                    arrow_cast(array, &DataType::List(Arc::new(items)))?
                }
            };
            let Some(lists) = lists.as_list_opt::<i32>() else { return Ok(None) };
            let Some(items) = carried(lists.values(), item)? else { return Ok(None) };
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            let carried = ListArray::try_new(Arc::clone(field), offsets, items, nulls)?;
            Ok(Some(Arc::new(carried)))
        }
        _ => carried_scalars(array, target, &to),
    }
}

fn carried_scalars(
    array: &ArrayRef,
    target: &ColumnType,
    to: &DataType,
) -> Result<Option<ArrayRef>, ArrowError> {
    let way = way(array.data_type(), target, None);
    if !matches!(way, Some(Way::Same | Way::Arrow | Way::ThereAndBack)) {
        return Ok(None);
    }
    let carried = arrow_cast(array, to)?;
    if carried.logical_null_count() != array.logical_null_count()
        || !overflowed(array, &carried)?.is_empty()
    {
        return Ok(None);
    }
    if way == Some(Way::ThereAndBack) {
        let back = arrow_cast(&carried, array.data_type())?;
        if distinct(&back, array)?.true_count() > 0 {
            return Ok(None);
        }
    }
    Ok(Some(carried))
}

/// Whether each vector is as long as it is to be.
pub(super) fn fits(array: &ArrayRef, target: &ColumnType) -> bool {
    match target {
        ColumnType::Struct(fields) => array.as_struct_opt().is_some_and(|structure| {
            let columns = structure.columns().iter().zip(fields);
            columns.into_iter().all(|(column, field)| fits(column, &field.data_type))
        }),
        ColumnType::Map(value) => array.as_map_opt().is_some_and(|map| fits(map.values(), value)),
        ColumnType::List(item) => {
            array.as_list_opt::<i32>().is_some_and(|lists| fits(lists.values(), item))
        }
        ColumnType::Vector(length) => array.as_list_opt::<i32>().is_some_and(|lists| {
            let is_long = |row: usize| lists.value_length(row) as u64 == u64::from(*length);
            lists.values().null_count() == 0
                && (0..lists.len()).all(|row| lists.is_null(row) || is_long(row))
        }),
        _ => true,
    }
}
