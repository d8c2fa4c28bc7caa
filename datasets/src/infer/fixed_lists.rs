//! Decides which fixed-length lists become vectors. A vector has a number in every place, but a file's schema often allows
//! nulls in lists that contain none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Schema};

use crate::column_type::item_of;
use crate::error::Result;
use crate::read::RowReader;

/// The schema of the rows of `reader`. A fixed-length list with a null item becomes a plain list, so that the inferred type
/// accepts every row of the file.
pub(super) fn schema_of(mut reader: Box<dyn RowReader>) -> Result<Schema> {
    let schema = reader.schema();
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    let mut open: Vec<usize> =
        (0..fields.len()).filter(|at| has_vectors(fields[*at].data_type())).collect();
    while !open.is_empty()
        && let Some(chunk) = reader.next_chunk()?
    {
        open.retain(|at| {
            let has_nulls = has_null_items(chunk.batch.column(*at));
            if has_nulls {
                let field = fields[*at].clone();
                let data_type = of_any_length(field.data_type());
                fields[*at] = field.with_data_type(data_type);
            }
            !has_nulls
        });
    }
    Ok(Schema::new(fields))
}

fn is_vector(data_type: &DataType) -> bool {
    matches!(data_type, DataType::FixedSizeList(item, _) if item.data_type() == &DataType::Float32)
}

fn has_vectors(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_vectors(field.data_type())),
        DataType::Map(entries, _) => has_vectors(entries.data_type()),
        other => {
            is_vector(other) || item_of(other).is_some_and(|item| has_vectors(item.data_type()))
        }
    }
}

fn has_null_items(array: &ArrayRef) -> bool {
    match array.data_type() {
        kind if is_vector(kind) => {
            let lists = array.as_fixed_size_list();
            lists.values().null_count() > 0
                && (0..lists.len())
                    .any(|row| lists.is_valid(row) && lists.value(row).null_count() > 0)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().any(has_null_items),
        DataType::Map(..) => has_null_items(array.as_map().values()),
        DataType::List(_) => has_null_items(array.as_list::<i32>().values()),
        DataType::LargeList(_) => has_null_items(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => has_null_items(array.as_fixed_size_list().values()),
        _ => false,
    }
}

/// The type with plain lists instead of fixed-length ones.
fn of_any_length(data_type: &DataType) -> DataType {
    let within = |field: &Arc<Field>| {
        let data_type = of_any_length(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::FixedSizeList(item, _) | DataType::List(item) => DataType::List(within(item)),
        DataType::LargeList(item) => DataType::LargeList(within(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(within).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(within(entries), *is_sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{FixedSizeListArray, Float32Array, RecordBatch, StructArray};
    use arrow::ipc::writer::StreamWriter;

    use super::super::{GuessOptions, guess};
    use crate::read::{Format, Source};

    use super::*;

    fn vectors(items: Vec<Option<f32>>, valid: Vec<bool>) -> ArrayRef {
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let items = Arc::new(Float32Array::from(items));
        Arc::new(FixedSizeListArray::try_new(item, 2, items, Some(valid.into())).unwrap())
    }

    #[test]
    fn a_list_of_fixed_length_is_a_vector_unless_an_item_is_null() {
        let whole = vectors(vec![Some(1.0), Some(2.0), None, None], vec![true, false]);
        let holed = vectors(vec![Some(1.0), Some(2.0), Some(3.0), None], vec![true, true]);
        let field = Arc::new(Field::new("part", holed.data_type().clone(), true));
        let within: ArrayRef = Arc::new(StructArray::from(vec![(field, Arc::clone(&holed))]));
        let columns = [("whole", whole), ("holed", holed), ("within", within)];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap().into();
        let source = Source::Body { bytes, name: "body".into() };
        let name = "a".parse().unwrap();
        let found = guess(&name, &source, Format::ArrowStream, &GuessOptions::default()).unwrap();
        let types: Vec<_> = found.spec.columns.iter().map(|c| c.data_type.to_string()).collect();
        assert_eq!(types, ["vector(2)", "list(float32)", "struct(part: list(float32))"]);
    }
}
