//! Bytes of values as if each were written out on its own.
//!
//! Arrow's own count of an array's memory is what its buffers take. A view of a text is 16 bytes there, and the key of a
//! dictionary is 8, however long the text is. A function that copies such values allocates the text for each row.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// Whether rows of a type may share the bytes of one value.
pub(crate) fn is_shared(of: &DataType) -> bool {
    match of {
        DataType::Utf8View
        | DataType::BinaryView
        | DataType::Dictionary(..)
        | DataType::RunEndEncoded(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => is_shared(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| is_shared(field.data_type())),
        _ => false,
    }
}

/// Bytes of a constant.
pub(crate) fn constant_bytes(value: &ScalarValue) -> u64 {
    if let Some(text) = value.try_as_str() {
        return text.map_or(0, str::len) as u64;
    }
    match value {
        ScalarValue::Binary(bytes)
        | ScalarValue::LargeBinary(bytes)
        | ScalarValue::BinaryView(bytes) => bytes.as_ref().map_or(0, Vec::len) as u64,
        ScalarValue::Null => 0,
        ScalarValue::Boolean(_) => 1,
        // A null takes the full width.
        ScalarValue::FixedSizeBinary(length, _) => u64::try_from(*length).unwrap_or(0),
        ScalarValue::List(one) => total_bytes(one.as_ref()),
        ScalarValue::LargeList(one) => total_bytes(one.as_ref()),
        ScalarValue::FixedSizeList(one) => total_bytes(one.as_ref()),
        ScalarValue::Struct(one) => total_bytes(one.as_ref()),
        ScalarValue::Map(one) => total_bytes(one.as_ref()),
        other => match other.data_type().primitive_width() {
            Some(width) => width as u64,
            None => other.size() as u64,
        },
    }
}

/// Bytes of the values of a batch.
pub fn rows_bytes(batch: &RecordBatch) -> usize {
    let bytes = batch.columns().iter().map(|column| total_bytes(column.as_ref()));
    usize::try_from(bytes.fold(0, u64::saturating_add)).unwrap_or(usize::MAX)
}

/// Bytes of all values of an array.
pub(crate) fn total_bytes(array: &dyn Array) -> u64 {
    fn span<O: OffsetSizeTrait>(offsets: &[O]) -> u64 {
        match offsets {
            [first, .., last] => (last.as_usize() - first.as_usize()) as u64,
            _ => 0,
        }
    }
    let rows = array.len() as u64;
    match array.data_type() {
        DataType::Utf8 => span(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => span(array.as_string::<i64>().value_offsets()),
        DataType::Binary => span(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => span(array.as_binary::<i64>().value_offsets()),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            total_between(lists.value_offsets(), lists.values().as_ref())
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            total_between(lists.value_offsets(), lists.values().as_ref())
        }
        DataType::FixedSizeList(..) => total_bytes(array.as_fixed_size_list().values().as_ref()),
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .map(|column| total_bytes(column.as_ref()))
            .fold(0, u64::saturating_add),
        other => match other.primitive_width() {
            Some(width) => rows.saturating_mul(width as u64),
            None => row_bytes(array).into_iter().fold(0, u64::saturating_add),
        },
    }
}

fn total_between<O: OffsetSizeTrait>(offsets: &[O], values: &dyn Array) -> u64 {
    match offsets {
        [first, .., last] => {
            let (first, last) = (first.as_usize(), last.as_usize());
            total_bytes(values.slice(first, last - first).as_ref())
        }
        _ => 0,
    }
}

/// Bytes of each row's value.
pub(crate) fn row_bytes(array: &dyn Array) -> Vec<u64> {
    measured(array, 0, &|leaf| leaf_bytes(leaf))
}

/// The number of values in each row, at all depths: 1 for a number, and one more than its length for a flat list.
pub(crate) fn row_values(array: &dyn Array) -> Vec<u64> {
    measured(array, 1, &|leaf| vec![1; leaf.len()])
}

/// Bytes of a null. A type of a fixed length takes it for each null, too.
pub(crate) fn null_bytes(of: &DataType) -> u64 {
    match of {
        DataType::FixedSizeList(item, length) => {
            u64::try_from(*length).unwrap_or(0).saturating_mul(null_bytes(item.data_type()))
        }
        DataType::FixedSizeBinary(length) => u64::try_from(*length).unwrap_or(0),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| null_bytes(field.data_type()));
            fields.fold(0, u64::saturating_add)
        }
        other => other.primitive_width().unwrap_or(size_of::<u64>()) as u64,
    }
}

/// Bytes of each value of an array whose type has no others inside.
fn leaf_bytes(array: &dyn Array) -> Vec<u64> {
    match array.data_type() {
        DataType::Utf8 => spans(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => spans(array.as_string::<i64>().value_offsets()),
        DataType::Binary => spans(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => spans(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => viewed(array, array.as_string_view().views()),
        DataType::BinaryView => viewed(array, array.as_binary_view().views()),
        DataType::Null => vec![0; array.len()],
        DataType::FixedSizeBinary(width) => vec![u64::try_from(*width).unwrap_or(0); array.len()],
        DataType::Boolean => vec![1; array.len()],
        other => {
            let width = match other.primitive_width() {
                Some(width) => width,
                // A type without a case of its own counts as all of its memory.
                None => array.get_array_memory_size(),
            };
            vec![width as u64; array.len()]
        }
    }
}

/// The lengths in the lower halves of views.
fn viewed(array: &dyn Array, views: &[u128]) -> Vec<u64> {
    let length = |(row, view): (usize, &u128)| match array.is_null(row) {
        true => 0,
        false => (*view & u128::from(u32::MAX)) as u64,
    };
    views.iter().enumerate().map(length).collect()
}

fn spans<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<u64> {
    let length = |pair: &[O]| match pair {
        [begin, end] => (end.as_usize() - begin.as_usize()) as u64,
        _ => 0,
    };
    offsets.windows(2).map(length).collect()
}

/// The sum of `measure` over all values in each row that have no others inside, and `own` for each list.
fn measured(array: &dyn Array, own: u64, measure: &dyn Fn(&dyn Array) -> Vec<u64>) -> Vec<u64> {
    match array.data_type() {
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            summed(lists.value_offsets(), lists.values(), own, measure)
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            summed(lists.value_offsets(), lists.values(), own, measure)
        }
        DataType::Map(..) => {
            let maps = array.as_map();
            let entries: ArrayRef = std::sync::Arc::new(maps.entries().clone());
            summed(maps.value_offsets(), &entries, own, measure)
        }
        DataType::ListView(_) => {
            let lists = array.as_list_view::<i32>();
            viewed_lists(lists.value_offsets(), lists.value_sizes(), lists.values(), own, measure)
        }
        DataType::LargeListView(_) => {
            let lists = array.as_list_view::<i64>();
            viewed_lists(lists.value_offsets(), lists.value_sizes(), lists.values(), own, measure)
        }
        DataType::FixedSizeList(_, length) => {
            let items = measured(array.as_fixed_size_list().values().as_ref(), own, measure);
            let length = usize::try_from(*length).unwrap_or(0);
            let list = |row: usize| own + total(&items, row * length, (row + 1) * length);
            (0..array.len()).map(list).collect()
        }
        DataType::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            let columns: Vec<_> = columns.map(|of| measured(of.as_ref(), own, measure)).collect();
            let sum = |row: usize| columns.iter().filter_map(|of| of.get(row)).sum();
            (0..array.len()).map(sum).collect()
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = measured(dictionary.values().as_ref(), own, measure);
            if values.is_empty() {
                return vec![0; array.len()];
            }
            let keys = dictionary.normalized_keys().into_iter();
            keys.map(|key| values.get(key).copied().unwrap_or(0)).collect()
        }
        DataType::Union(fields, _) => {
            let union = array.as_union();
            let children =
                fields.iter().map(|(id, _)| measured(union.child(id).as_ref(), own, measure));
            let longest = children.flatten().max().unwrap_or(0);
            vec![longest; array.len()]
        }
        DataType::RunEndEncoded(..) => vec![array.get_array_memory_size() as u64; array.len()],
        _ => measure(array),
    }
}

fn total(items: &[u64], begin: usize, end: usize) -> u64 {
    items.get(begin..end).unwrap_or_default().iter().copied().fold(0, u64::saturating_add)
}

/// A number for the lists between `offsets` of `values`: those of their items, added.
fn summed<O: OffsetSizeTrait>(
    offsets: &[O],
    values: &ArrayRef,
    own: u64,
    measure: &dyn Fn(&dyn Array) -> Vec<u64>,
) -> Vec<u64> {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Vec::new() };
    let (first, last) = (first.as_usize(), last.as_usize());
    if values.data_type().primitive_width().is_some() && first < last {
        // All numbers are equally long.
        let each = measure(values.slice(first, 1).as_ref()).first().copied().unwrap_or(0);
        return spans(offsets).into_iter().map(|items| own + items.saturating_mul(each)).collect();
    }
    let items = measured(values.slice(first, last - first).as_ref(), own, measure);
    let list = |pair: &[O]| match pair {
        [begin, end] => own + total(&items, begin.as_usize() - first, end.as_usize() - first),
        _ => 0,
    };
    offsets.windows(2).map(list).collect()
}

fn viewed_lists<O: OffsetSizeTrait>(
    offsets: &[O],
    sizes: &[O],
    values: &ArrayRef,
    own: u64,
    measure: &dyn Fn(&dyn Array) -> Vec<u64>,
) -> Vec<u64> {
    let items = measured(values.as_ref(), own, measure);
    let lists = offsets.iter().zip(sizes);
    lists
        .map(|(begin, size)| {
            own + total(&items, begin.as_usize(), begin.as_usize() + size.as_usize())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{Int8Array, Int64Array, ListArray, StringArray, StructArray};
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Int64Type};

    use super::*;

    fn long(texts: &[usize]) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(texts.iter().map(|length| "x".repeat(*length))))
    }

    #[test]
    fn a_shared_text_counts_for_each_row() {
        let texts = long(&[5, 100, 0, 100]);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for of in [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View, DataType::Binary] {
            let column = cast(&texts, &of).unwrap();
            assert_eq!(row_bytes(&column), [5, 100, 0, 100], "{of}");
            assert_eq!(row_bytes(&column.slice(1, 2)), [100, 0], "{of}");
            assert_eq!(total_bytes(&column.slice(1, 2)), 100, "{of}");
        }
        let column = cast(&texts, &dictionary).unwrap();
        assert_eq!(row_bytes(&column), [5, 100, 0, 100]);
        assert_eq!(total_bytes(&column.slice(1, 3)), 200);
    }

    #[test]
    fn a_list_has_the_bytes_of_its_items() {
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(3); 10]),
        ]));
        assert_eq!(row_bytes(&lists), [16, 0, 80]);
        assert_eq!(row_values(&lists), [3, 1, 11]);
        assert_eq!(row_bytes(&lists.slice(2, 1)), [80]);
        assert_eq!((total_bytes(&lists), total_bytes(&lists.slice(2, 1))), (96, 80));
        let nested = StructArray::from(vec![
            (Arc::new(Field::new("a", lists.data_type().clone(), true)), Arc::clone(&lists)),
            (Arc::new(Field::new("t", DataType::Utf8, true)), long(&[1, 2, 3])),
        ]);
        assert_eq!(row_bytes(&nested), [17, 2, 83]);
        assert_eq!(row_values(&nested), [4, 2, 12]);
        let fixed = DataType::new_fixed_size_list(DataType::Int8, 3, true);
        let items = Field::new_list_field(DataType::Int8, true);
        let fixed_lists = arrow::array::FixedSizeListArray::new(
            Arc::new(items),
            3,
            Arc::new(Int8Array::from(vec![0; 6])),
            None,
        );
        assert_eq!(fixed_lists.data_type(), &fixed);
        assert_eq!(row_bytes(&fixed_lists), [3, 3]);
        assert_eq!(total_bytes(&Int64Array::from(vec![1, 2])), 16);
    }
}
