//! From Polars to Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Schema, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use bytemuck::NoUninit;
use bytes::Bytes;
use polars::frame::DataFrame;
use polars::prelude::CompatLevel;
use polars_arrow::array as frame;
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::{ArrowDataType, TimeUnit as FrameTimeUnit};
use polars_arrow::types::NativeType;
use polars_buffer::Buffer as FrameBuffer;

use crate::error::{Code, Error, Result};

/// The frame as batches, one per chunk of its columns. A `Datetime` is an instant in UTC.
pub fn to_arrow(frame: &DataFrame) -> Result<Vec<RecordBatch>> {
    let mut frame = frame.clone();
    frame.align_chunks_par();
    let names: Vec<String> =
        frame.get_column_names().into_iter().map(|name| name.to_string()).collect();
    frame
        .iter_chunks(CompatLevel::newest(), true)
        .map(|chunk| {
            let columns = names
                .iter()
                .zip(chunk.arrays())
                .map(|(name, array)| column(name, array.as_ref()))
                .collect::<Result<Vec<_>>>()?;
            let fields: Vec<Field> = names
                .iter()
                .zip(&columns)
                .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
                .collect();
            let rows = RecordBatchOptions::new().with_row_count(Some(chunk.len()));
            let schema = Arc::new(Schema::new(fields));
            Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
        })
        .collect()
}

fn column(name: &str, array: &dyn frame::Array) -> Result<ArrayRef> {
    Ok(match array.dtype() {
        ArrowDataType::Boolean => {
            let array: &frame::BooleanArray = downcast(name, array)?;
            Arc::new(BooleanArray::new(bits(array.values()), nulls(array.validity())))
        }
        ArrowDataType::Int8 => Arc::new(primitives::<Int8Type>(name, array)?),
        ArrowDataType::Int16 => Arc::new(primitives::<Int16Type>(name, array)?),
        ArrowDataType::Int32 => Arc::new(primitives::<Int32Type>(name, array)?),
        ArrowDataType::Int64 => Arc::new(primitives::<Int64Type>(name, array)?),
        ArrowDataType::UInt8 => Arc::new(primitives::<UInt8Type>(name, array)?),
        ArrowDataType::UInt16 => Arc::new(primitives::<UInt16Type>(name, array)?),
        ArrowDataType::UInt32 => Arc::new(primitives::<UInt32Type>(name, array)?),
        ArrowDataType::UInt64 => Arc::new(primitives::<UInt64Type>(name, array)?),
        ArrowDataType::Float32 => Arc::new(primitives::<Float32Type>(name, array)?),
        ArrowDataType::Float64 => Arc::new(primitives::<Float64Type>(name, array)?),
        ArrowDataType::Date32 => Arc::new(primitives::<Date32Type>(name, array)?),
        ArrowDataType::Timestamp(unit, _) => instants(name, array, *unit)?,
        ArrowDataType::Utf8View => {
            let array: &frame::Utf8ViewArray = downcast(name, array)?;
            Arc::new(array.iter().collect::<StringArray>())
        }
        ArrowDataType::BinaryView => {
            let array: &frame::BinaryViewArray = downcast(name, array)?;
            Arc::new(array.iter().collect::<BinaryArray>())
        }
        ArrowDataType::LargeList(_) => list(name, downcast(name, array)?)?,
        other => {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "frame column {name:?} is {other:?}, which has no way back; cast it before"
                ),
            ));
        }
    })
}

fn primitives<T>(name: &str, array: &dyn frame::Array) -> Result<PrimitiveArray<T>>
where
    T: ArrowPrimitiveType,
    T::Native: NativeType + NoUninit,
{
    let array: &frame::PrimitiveArray<T::Native> = downcast(name, array)?;
    Ok(PrimitiveArray::new(shared(array.values()), nulls(array.validity())))
}

fn instants(name: &str, array: &dyn frame::Array, unit: FrameTimeUnit) -> Result<ArrayRef> {
    let array: &frame::PrimitiveArray<i64> = downcast(name, array)?;
    let values: ScalarBuffer<i64> = match unit {
        FrameTimeUnit::Microsecond => shared(array.values()),
        FrameTimeUnit::Millisecond => array
            .values()
            .iter()
            .map(|ms| ms.checked_mul(1_000))
            .collect::<Option<Vec<i64>>>()
            .ok_or_else(|| {
                Error::user(
                    Code::BadInput,
                    format!("frame column {name:?} has an instant beyond what microseconds hold"),
                )
            })?
            .into(),
        _ => {
            return Err(Error::user(
                Code::BadInput,
                format!("frame column {name:?} counts {unit:?}s; cast it to microseconds before"),
            ));
        }
    };
    let array = PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls(array.validity()));
    Ok(Arc::new(array.with_timezone("UTC")))
}

fn list(name: &str, array: &frame::ListArray<i64>) -> Result<ArrayRef> {
    let offsets = array
        .offsets()
        .buffer()
        .iter()
        .map(|offset| i32::try_from(*offset))
        .collect::<Result<Vec<i32>, _>>()
        .map_err(|_| {
            Error::user(
                Code::LimitExceeded,
                format!("frame column {name:?} has more than {} list items in a chunk", i32::MAX),
            )
        })?;
    let values = column(name, array.values().as_ref())?;
    let item = Arc::new(Field::new("element", values.data_type().clone(), true));
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls(array.validity()))?))
}

/// Polars' buffer as Arrow's, kept alive by it.
fn shared<N: NativeType + NoUninit + arrow::datatypes::ArrowNativeType>(
    values: &FrameBuffer<N>,
) -> ScalarBuffer<N> {
    struct Owner<N>(FrameBuffer<N>);

    impl<N: NoUninit> AsRef<[u8]> for Owner<N> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(self.0.as_slice())
        }
    }

    let bytes = Bytes::from_owner(Owner(values.clone()));
    ScalarBuffer::new(Buffer::from(bytes), 0, values.len())
}

fn nulls(validity: Option<&Bitmap>) -> Option<NullBuffer> {
    validity.map(|validity| NullBuffer::new(bits(validity)))
}

fn bits(bitmap: &Bitmap) -> BooleanBuffer {
    let (bytes, offset, length) = bitmap.as_slice();
    BooleanBuffer::new(Buffer::from_slice_ref(bytes), offset, length)
}

fn downcast<'a, A: 'static>(name: &str, array: &'a dyn frame::Array) -> Result<&'a A> {
    array
        .as_any()
        .downcast_ref()
        .ok_or_else(|| Error::internal(format!("frame column {name:?} is not what its type says")))
}
