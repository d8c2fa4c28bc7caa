//! Column builders for the types of a spec: the one place where single values become Arrow arrays.
//!
//! A row is first read whole into slots and then appended, because a row that turns out to be bad in its
//! last field must leave no trace in the columns before it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListArray, MapArray, StringBuilder,
    StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

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
    Struct(Box<StructBuilder>),
    Map(Box<MapBuilder>),
}

/// Builds a list column: `offsets[i]..offsets[i + 1]` are the elements of row i.
pub(crate) struct ListBuilder {
    items: ColumnBuilder,
    item_type: DataType,
    offsets: Vec<i32>,
    valid: Vec<bool>,
    count: i32,
}

/// Builds a column of structures.
pub(crate) struct StructBuilder {
    fields: Fields,
    columns: Vec<ColumnBuilder>,
    valid: Vec<bool>,
}

/// Builds a column of maps, as a list of entries.
pub(crate) struct MapBuilder {
    entries: ListBuilder,
    entry: FieldRef,
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
            ColumnType::Struct(fields) => {
                let columns = fields.iter().map(|field| Self::new(&field.data_type));
                let columns = columns.collect::<Result<_>>()?;
                let DataType::Struct(fields) = data_type.arrow_type() else {
                    return Err(Error::Internal("a structure without fields".into()));
                };
                Self::Struct(Box::new(StructBuilder { fields, columns, valid: Vec::new() }))
            }
            ColumnType::Map(value) => {
                let DataType::Map(entry, _) = data_type.arrow_type() else {
                    return Err(Error::Internal("a map without entries".into()));
                };
                let DataType::Struct(fields) = entry.data_type().clone() else {
                    return Err(Error::Internal("a map without entries".into()));
                };
                let columns = vec![Self::Text(StringBuilder::new()), Self::new(value)?];
                let items = StructBuilder { fields, columns, valid: Vec::new() };
                let entries =
                    ListBuilder::new(Self::Struct(Box::new(items)), entry.data_type().clone());
                Self::Map(Box::new(MapBuilder { entries, entry }))
            }
        })
    }

    fn list(item: &ColumnType) -> Result<Self> {
        Ok(Self::List(Box::new(ListBuilder::new(Self::new(item)?, item.arrow_type()))))
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
            (Self::Struct(structure), slot) => return structure.push(slot),
            (Self::Map(map), slot) => return map.push(slot),
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
            Self::Struct(structure) => structure.finish()?,
            Self::Map(map) => map.finish()?,
        })
    }
}

impl ListBuilder {
    fn new(items: ColumnBuilder, item_type: DataType) -> Self {
        Self { items, item_type, offsets: vec![0], valid: Vec::new(), count: 0 }
    }

    fn push(&mut self, slot: &Slot<'_>) -> Result<()> {
        match slot {
            Slot::Null => self.end(0, false),
            Slot::List(items) => {
                for item in items {
                    self.items.push(item)?;
                }
                self.end(items.len(), true)
            }
            slot => Err(Error::Internal(format!("{slot:?} pushed into a list column"))),
        }
    }

    /// Ends a row, of which `count` items were pushed.
    fn end(&mut self, count: usize, is_valid: bool) -> Result<()> {
        self.count = i32::try_from(count)
            .ok()
            .and_then(|more| self.count.checked_add(more))
            .ok_or_else(|| Error::Internal("more than 2^31 list elements".into()))?;
        self.valid.push(is_valid);
        self.offsets.push(self.count);
        Ok(())
    }

    /// Where each row's items are, all items, and which rows are null.
    fn parts(&mut self) -> Result<(OffsetBuffer<i32>, ArrayRef, Option<NullBuffer>)> {
        let items = self.items.finish()?;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        self.count = 0;
        Ok((OffsetBuffer::new(ScalarBuffer::from(offsets)), items, nulls(&mut self.valid)))
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let (offsets, items, nulls) = self.parts()?;
        let field = Arc::new(Field::new("element", self.item_type.clone(), true));
        ListArray::try_new(field, offsets, items, nulls)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|e| Error::Internal(format!("list column: {e}")))
    }
}

impl StructBuilder {
    fn push(&mut self, slot: &Slot<'_>) -> Result<()> {
        match slot {
            Slot::Null => {
                self.columns.iter_mut().try_for_each(|column| column.push(&Slot::Null))?;
            }
            Slot::Struct(values) if values.len() == self.columns.len() => {
                let mut columns = self.columns.iter_mut().zip(values);
                columns.try_for_each(|(column, value)| column.push(value))?;
            }
            slot => {
                return Err(Error::Internal(format!(
                    "{slot:?} pushed into a column of structures"
                )));
            }
        }
        self.valid.push(*slot != Slot::Null);
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let columns: Vec<ArrayRef> =
            self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<_>>()?;
        let rows = self.valid.len();
        let nulls = nulls(&mut self.valid);
        StructArray::try_new_with_length(self.fields.clone(), columns, nulls, rows)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|e| Error::Internal(format!("column of structures: {e}")))
    }
}

impl MapBuilder {
    fn push(&mut self, slot: &Slot<'_>) -> Result<()> {
        match slot {
            Slot::Null => self.entries.end(0, false),
            Slot::Map(entries) => {
                let ColumnBuilder::Struct(items) = &mut self.entries.items else {
                    return Err(Error::Internal("a map without entries".into()));
                };
                for (key, value) in entries {
                    let [keys, values] = &mut items.columns[..] else {
                        return Err(Error::Internal("a map without keys".into()));
                    };
                    keys.push(&Slot::Text(Cow::Borrowed(key)))?;
                    values.push(value)?;
                    items.valid.push(true);
                }
                self.entries.end(entries.len(), true)
            }
            slot => Err(Error::Internal(format!("{slot:?} pushed into a column of maps"))),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let (offsets, entries, nulls) = self.entries.parts()?;
        let entries = entries.as_struct().clone();
        MapArray::try_new(Arc::clone(&self.entry), offsets, entries, nulls, false)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|e| Error::Internal(format!("column of maps: {e}")))
    }
}

/// Which rows are null, if any is.
fn nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(std::mem::take(valid))).filter(|nulls| nulls.null_count() > 0)
}

fn narrow(value: i64) -> Result<i32> {
    i32::try_from(value)
        .map_err(|_| Error::Internal(format!("{value} pushed into a 32-bit column")))
}
