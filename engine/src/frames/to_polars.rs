//! From Arrow to Polars.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::buffer::{Buffer as ArrowBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use polars::frame::DataFrame;
use polars::prelude::{Column, PlSmallStr, Series};
use polars_arrow::array as frame;
use polars_arrow::array::View;
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::{ArrowDataType, Field as FrameField, TimeUnit as FrameTimeUnit};
use polars_arrow::offset::OffsetsBuffer;
use polars_arrow::types::NativeType;
use polars_buffer::Buffer;

use crate::error::{Code, Error, Result};

type FrameArray = Box<dyn frame::Array>;

/// The batches, which must have one schema, as one frame; each batch is a chunk of its columns.
pub fn to_polars(batches: &[RecordBatch]) -> Result<DataFrame> {
    let Some(first) = batches.first() else { return Ok(DataFrame::empty()) };
    let schema = first.schema();
    if let Some(other) = batches.iter().find(|b| b.schema().fields() != schema.fields()) {
        return Err(Error::internal(format!(
            "a frame of batches with different columns: {:?} and {:?}",
            schema.fields().iter().map(|f| f.name()).collect::<Vec<_>>(),
            other.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>()
        )));
    }
    let height = batches.iter().map(RecordBatch::num_rows).sum();
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let name = PlSmallStr::from_str(field.name());
            let chunks = batches
                .iter()
                .map(|batch| chunk(field.name(), batch.column(i)))
                .collect::<Result<Vec<_>>>()?;
            let series = Series::try_from((name, chunks)).map_err(|e| refused(field.name(), &e))?;
            Ok(Column::from(series))
        })
        .collect::<Result<Vec<_>>>()?;
    DataFrame::new(height, columns).map_err(|e| Error::bug("making a frame", e))
}

/// A column as an array of Polars' own.
fn chunk(name: &str, array: &ArrayRef) -> Result<FrameArray> {
    Ok(match array.data_type() {
        DataType::Boolean => booleans(array.as_boolean()),
        DataType::Int8 => primitives::<Int8Type>(array, ArrowDataType::Int8),
        DataType::Int16 => primitives::<Int16Type>(array, ArrowDataType::Int16),
        DataType::Int32 => primitives::<Int32Type>(array, ArrowDataType::Int32),
        DataType::Int64 => primitives::<Int64Type>(array, ArrowDataType::Int64),
        DataType::UInt8 => primitives::<UInt8Type>(array, ArrowDataType::UInt8),
        DataType::UInt16 => primitives::<UInt16Type>(array, ArrowDataType::UInt16),
        DataType::UInt32 => primitives::<UInt32Type>(array, ArrowDataType::UInt32),
        DataType::UInt64 => primitives::<UInt64Type>(array, ArrowDataType::UInt64),
        DataType::Float32 => primitives::<Float32Type>(array, ArrowDataType::Float32),
        DataType::Float64 => primitives::<Float64Type>(array, ArrowDataType::Float64),
        DataType::Date32 => primitives::<Date32Type>(array, ArrowDataType::Date32),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let instant = ArrowDataType::Timestamp(FrameTimeUnit::Microsecond, None);
            primitives::<TimestampMicrosecondType>(array, instant)
        }
        DataType::Timestamp(_, zone) => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
            return chunk(name, &cast(array, &micros)?);
        }
        DataType::Utf8 => texts(name, array.as_string())?,
        DataType::Binary => bytes(name, array.as_binary())?,
        DataType::LargeUtf8 | DataType::Utf8View => {
            return chunk(name, &cast(array, &DataType::Utf8)?);
        }
        DataType::LargeBinary | DataType::BinaryView => {
            return chunk(name, &cast(array, &DataType::Binary)?);
        }
        DataType::Dictionary(_, values) => return chunk(name, &cast(array, values)?),
        DataType::List(_) => list(name, array.as_list())?,
        other => {
            return Err(Error::user(
                Code::BadInput,
                format!("column {name:?} is {other}, which frames have not; cast it before"),
            ));
        }
    })
}

fn primitives<T>(array: &ArrayRef, data_type: ArrowDataType) -> FrameArray
where
    T: ArrowPrimitiveType,
    T::Native: NativeType,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    let values = Buffer::from_owner(array.values().clone());
    frame::PrimitiveArray::new(data_type, values, validity(array.nulls())).boxed()
}

fn booleans(array: &BooleanArray) -> FrameArray {
    let values = bits(array.values().inner().as_slice(), array.values().offset(), array.len());
    frame::BooleanArray::new(ArrowDataType::Boolean, values, validity(array.nulls())).boxed()
}

fn texts(name: &str, array: &StringArray) -> Result<FrameArray> {
    let views = views(array.offsets(), array.values(), array.nulls());
    let data = Buffer::from_vec(vec![shared(array.values())]);
    let validity = validity(array.nulls());
    let array = frame::Utf8ViewArray::try_new(ArrowDataType::Utf8View, views, data, validity);
    Ok(array.map_err(|e| refused(name, &e))?.boxed())
}

fn bytes(name: &str, array: &BinaryArray) -> Result<FrameArray> {
    let views = views(array.offsets(), array.values(), array.nulls());
    let data = Buffer::from_vec(vec![shared(array.values())]);
    let validity = validity(array.nulls());
    let array = frame::BinaryViewArray::try_new(ArrowDataType::BinaryView, views, data, validity);
    Ok(array.map_err(|e| refused(name, &e))?.boxed())
}

/// Arrow's bytes as Polars', kept alive by them.
fn shared(bytes: &ArrowBuffer) -> Buffer<u8> {
    Buffer::from_owner(ScalarBuffer::<u8>::new(bytes.clone(), 0, bytes.len()))
}

/// Where each value lies in the one buffer of data: short ones are kept in the view itself.
fn views(offsets: &OffsetBuffer<i32>, data: &[u8], nulls: Option<&NullBuffer>) -> Buffer<View> {
    let views: Vec<View> = offsets
        .windows(2)
        .enumerate()
        .map(|(row, ends)| {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                return View::default();
            }
            let value = &data[ends[0] as usize..ends[1] as usize];
            View::new_from_bytes(value, 0, ends[0] as u32)
        })
        .collect();
    views.into()
}

fn list(name: &str, array: &ListArray) -> Result<FrameArray> {
    let (first, last) = (array.value_offsets()[0], array.value_offsets()[array.len()]);
    // A slice of a list array shares all its values; a frame need not see the others.
    let values = array.values().slice(first as usize, (last - first) as usize);
    let values = chunk(name, &values)?;
    let offsets: Vec<i64> = array.value_offsets().iter().map(|o| i64::from(o - first)).collect();
    let offsets = OffsetsBuffer::try_from(offsets).map_err(|e| refused(name, &e))?;
    let item = FrameField::new("item".into(), values.dtype().clone(), true);
    let data_type = ArrowDataType::LargeList(Box::new(item));
    let list =
        frame::ListArray::<i64>::try_new(data_type, offsets, values, validity(array.nulls()));
    Ok(list.map_err(|e| refused(name, &e))?.boxed())
}

fn validity(nulls: Option<&NullBuffer>) -> Option<Bitmap> {
    nulls
        .filter(|nulls| nulls.null_count() > 0)
        .map(|nulls| bits(nulls.buffer().as_slice(), nulls.offset(), nulls.len()))
}

/// Bits, copied as bytes; the first need not begin a byte.
fn bits(bytes: &[u8], offset: usize, length: usize) -> Bitmap {
    let (first, skipped) = (offset / 8, offset % 8);
    let end = (offset + length).div_ceil(8);
    Bitmap::from_u8_slice(&bytes[first..end], skipped + length).sliced(skipped, length)
}

fn refused(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::user(Code::BadInput, format!("column {name:?} is not one for a frame: {error}"))
}
