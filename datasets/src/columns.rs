//! Column builders for the types of a spec: the one place where single values become Arrow arrays.
//!
//! A row is first read whole into slots and then appended, because a row that turns out to be bad in its
//! last field must leave no trace in the columns before it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int32Builder, Int64Builder, ListArray, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};

use crate::column_type::ColumnType;
use crate::error::{Error, Result};
use crate::parse::Slot;

/// Builds one column.
pub(crate) enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Text(StringBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Decimal(Decimal128Builder),
    Bytes(BinaryBuilder),
    List(Box<ListBuilder>),
}

/// Builds a list column: `offsets[i]..offsets[i + 1]` are the elements of row i.
pub(crate) struct ListBuilder {
    items: ColumnBuilder,
    item_type: DataType,
    offsets: Vec<i32>,
    valid: Vec<bool>,
    count: i32,
}

impl ColumnBuilder {
    pub(crate) fn new(data_type: &ColumnType) -> Result<Self> {
        Ok(match data_type {
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float32 => Self::Float32(Float32Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Text | ColumnType::Json => Self::Text(StringBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(data_type.arrow_type()),
            ),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Decimal(precision, scale) => Self::Decimal(
                Decimal128Builder::new()
                    .with_precision_and_scale(*precision, *scale as i8)
                    .map_err(|e| Error::Internal(format!("column type {data_type}: {e}")))?,
            ),
            ColumnType::Bytes => Self::Bytes(BinaryBuilder::new()),
            ColumnType::List(item) => Self::list(item)?,
            ColumnType::Vector(_) => Self::list(&ColumnType::Float32)?,
        })
    }

    fn list(item: &ColumnType) -> Result<Self> {
        Ok(Self::List(Box::new(ListBuilder {
            items: Self::new(item)?,
            item_type: item.arrow_type(),
            offsets: vec![0],
            valid: Vec::new(),
            count: 0,
        })))
    }

    /// Appends a value. The slot must be of the column's own kind, as the parsing functions make it.
    pub(crate) fn push(&mut self, slot: &Slot<'_>) -> Result<()> {
        match (self, slot) {
            (Self::Bool(b), Slot::Bool(v)) => b.append_value(*v),
            (Self::Bool(b), Slot::Null) => b.append_null(),
            (Self::Int32(b), Slot::Int(v)) => b.append_value(narrow(*v)?),
            (Self::Int32(b), Slot::Null) => b.append_null(),
            (Self::Int64(b), Slot::Int(v)) => b.append_value(*v),
            (Self::Int64(b), Slot::Null) => b.append_null(),
            (Self::Float32(b), Slot::Float(v)) => b.append_value(*v as f32),
            (Self::Float32(b), Slot::Null) => b.append_null(),
            (Self::Float64(b), Slot::Float(v)) => b.append_value(*v),
            (Self::Float64(b), Slot::Null) => b.append_null(),
            (Self::Text(b), Slot::Text(v)) => b.append_value(v),
            (Self::Text(b), Slot::Null) => b.append_null(),
            (Self::Timestamp(b), Slot::Int(v)) => b.append_value(*v),
            (Self::Timestamp(b), Slot::Null) => b.append_null(),
            (Self::Date(b), Slot::Int(v)) => b.append_value(narrow(*v)?),
            (Self::Date(b), Slot::Null) => b.append_null(),
            (Self::Decimal(b), Slot::Decimal(v)) => b.append_value(*v),
            (Self::Decimal(b), Slot::Null) => b.append_null(),
            (Self::Bytes(b), Slot::Bytes(v)) => b.append_value(v),
            (Self::Bytes(b), Slot::Null) => b.append_null(),
            (Self::List(list), slot) => return list.push(slot),
            (_, slot) => {
                return Err(Error::Internal(format!(
                    "{slot:?} pushed into a column of another type"
                )));
            }
        }
        Ok(())
    }

    /// The rows so far as an array; the builder is empty again.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Bool(b) => Arc::new(b.finish()),
            Self::Int32(b) => Arc::new(b.finish()),
            Self::Int64(b) => Arc::new(b.finish()),
            Self::Float32(b) => Arc::new(b.finish()),
            Self::Float64(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Timestamp(b) => Arc::new(b.finish()),
            Self::Date(b) => Arc::new(b.finish()),
            Self::Decimal(b) => Arc::new(b.finish()),
            Self::Bytes(b) => Arc::new(b.finish()),
            Self::List(list) => list.finish()?,
        })
    }
}

impl ListBuilder {
    fn push(&mut self, slot: &Slot<'_>) -> Result<()> {
        match slot {
            Slot::Null => self.valid.push(false),
            Slot::List(items) => {
                for item in items {
                    self.items.push(item)?;
                }
                self.count = i32::try_from(items.len())
                    .ok()
                    .and_then(|more| self.count.checked_add(more))
                    .ok_or_else(|| Error::Internal("more than 2^31 list elements".into()))?;
                self.valid.push(true);
            }
            slot => return Err(Error::Internal(format!("{slot:?} pushed into a list column"))),
        }
        self.offsets.push(self.count);
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let items = self.items.finish()?;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let valid = std::mem::take(&mut self.valid);
        self.count = 0;
        let field = Arc::new(Field::new("element", self.item_type.clone(), true));
        ListArray::try_new(
            field,
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            items,
            Some(NullBuffer::from(valid)).filter(|n| n.null_count() > 0),
        )
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|e| Error::Internal(format!("list column: {e}")))
    }
}

fn narrow(value: i64) -> Result<i32> {
    i32::try_from(value)
        .map_err(|_| Error::Internal(format!("{value} pushed into a 32-bit column")))
}
