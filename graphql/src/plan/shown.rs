//! Rows that are answered in columns: from what a plan gives to what was selected, under its names and in its order.
//!
//! ```text
//!  selected                        column of the answer
//!  latency: latencyMs              latency: double
//!  address { city }                address: struct(city)          its field alone
//!  items { sku }                   items: list(struct(sku))
//!  sizes { key value }             sizes: list(struct(key, value))
//!  sum { cost }                    sum: struct(cost)              of groups
//! ```
//!
//! Values are those that the columns hold: whole numbers of 64 bits are numbers, NaN is NaN, and a JSON document is its text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, ListBuilder, RecordBatch, StringBuilder,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datasets::ColumnType;
use datasets::spec::TYPE_METADATA_KEY;
use engine::{Error, Result};

use super::grouping::flags;
use super::page::named;
use super::values::canonical;

/// A column of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Its name there.
    pub key: String,
    /// What it holds.
    pub value: ShownValue,
}

/// What a column of an answer holds.
#[derive(Clone, Debug)]
pub(crate) enum ShownValue {
    /// A column of the plan, or parts of its values.
    Column {
        /// Its name in the plan.
        name: String,
        /// Its type.
        kind: ColumnType,
        /// The parts; none where it has no parts.
        parts: Vec<Part>,
    },
    /// Several, as a structure.
    Object {
        /// They.
        fields: Vec<Shown>,
        /// A column of the plan that says where it is there.
        is_there: Option<&'static str>,
    },
    /// Whether a column of the plan is null.
    IsNull(&'static str),
    /// Whether any of these columns of the plan is true.
    IsAny(Vec<String>),
    /// The texts beside which no column of the plan is true.
    Names(Vec<(String, Option<String>)>),
}

/// A part of a value: a field of a structure, or a map's keys or values.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its name in the answer.
    pub key: String,
    /// Its place.
    pub at: usize,
    /// Parts of it.
    pub parts: Vec<Part>,
}

/// The schema of an answer in columns.
pub(crate) fn schema_of(columns: &[Shown]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(Shown::field).collect::<Fields>()))
}

/// The rows of `batch`, which a plan gave, as they are shown.
pub(crate) fn shown(
    batch: &RecordBatch,
    columns: &[Shown],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let arrays = columns.iter().map(|column| column.array(batch)).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}

impl Shown {
    fn field(&self) -> FieldRef {
        let field = |kind| Field::new(&self.key, kind, true);
        Arc::new(match &self.value {
            ShownValue::Column { kind, parts, .. } if parts.is_empty() => {
                let kind_text = [(TYPE_METADATA_KEY.to_owned(), kind.to_string())];
                field(kind.arrow_type()).with_metadata(kind_text.into())
            }
            ShownValue::Column { kind, parts, .. } => field(type_of(kind, parts)),
            ShownValue::Object { fields, .. } => {
                field(DataType::Struct(fields.iter().map(Self::field).collect()))
            }
            ShownValue::IsNull(_) | ShownValue::IsAny(_) => field(DataType::Boolean),
            ShownValue::Names(_) => field(DataType::List(element(DataType::Utf8))),
        })
    }

    fn array(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let rows = batch.num_rows();
        Ok(match &self.value {
            ShownValue::Column { name, kind, parts } => {
                projected(named(batch, name)?, kind, parts)?
            }
            ShownValue::Object { fields, is_there } => {
                let arrays = fields.iter().map(|field| field.array(batch));
                let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
                let fields = fields.iter().map(Self::field).collect();
                let nulls = match is_there {
                    Some(name) => Some(NullBuffer::from(flags(batch, name, rows)?)),
                    None => None,
                };
                Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, rows)?)
            }
            ShownValue::IsNull(name) => {
                let column = named(batch, name)?;
                Arc::new(BooleanArray::from_iter((0..rows).map(|row| Some(column.is_null(row)))))
            }
            ShownValue::IsAny(names) => {
                let mut any = vec![false; rows];
                for name in names {
                    let flags = flags(batch, name, rows)?;
                    any.iter_mut().zip(flags).for_each(|(any, flag)| *any |= flag);
                }
                Arc::new(BooleanArray::from(any))
            }
            ShownValue::Names(names) => {
                let is_out = |(_, flag): &(String, Option<String>)| match flag {
                    Some(flag) => flags(batch, flag, rows),
                    None => Ok(vec![false; rows]),
                };
                let out = names.iter().map(is_out).collect::<Result<Vec<_>>>()?;
                let mut lists =
                    ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
                for row in 0..rows {
                    for ((name, _), out) in names.iter().zip(&out) {
                        if !out[row] {
                            lists.values().append_value(name);
                        }
                    }
                    lists.append(true);
                }
                Arc::new(lists.finish())
            }
        })
    }
}

/// Items of lists, as Delta and `ColumnType` call them.
fn element(kind: DataType) -> FieldRef {
    Arc::new(Field::new("element", kind, true))
}

/// The fields of what is nested, where parts of it are shown.
fn fields_of(kind: &ColumnType, parts: &[Part]) -> Fields {
    let of_map = |value: &ColumnType| [ColumnType::Text, value.clone()];
    let of = |at: usize| match kind {
        ColumnType::Struct(fields) => fields.get(at).map(|field| field.data_type.clone()),
        ColumnType::Map(value) => of_map(value).get(at).cloned(),
        _ => None,
    };
    let field = |part: &Part| {
        let kind = of(part.at).unwrap_or(ColumnType::Text);
        Field::new(&part.key, type_of(&kind, &part.parts), true)
    };
    parts.iter().map(field).collect()
}

fn type_of(kind: &ColumnType, parts: &[Part]) -> DataType {
    match kind {
        _ if parts.is_empty() => kind.arrow_type(),
        ColumnType::List(item) => DataType::List(element(type_of(item, parts))),
        ColumnType::Map(_) => DataType::List(element(DataType::Struct(fields_of(kind, parts)))),
        _ => DataType::Struct(fields_of(kind, parts)),
    }
}

/// The parts of `array`, which holds values of type `kind`. As deep as types are, which is bounded.
fn projected(array: &ArrayRef, kind: &ColumnType, parts: &[Part]) -> Result<ArrayRef> {
    let array = canonical(array, kind)?;
    let no = |what: &str| {
        Error::internal(format!("a column of {what} is read as {}", array.data_type()))
    };
    if parts.is_empty() {
        let wanted = kind.arrow_type();
        return match *array.data_type() == wanted {
            true => Ok(array),
            // Its parts may have other names.
            false => Ok(cast(&array, &wanted)?),
        };
    }
    Ok(match kind {
        ColumnType::Struct(fields) => {
            let structure = array.as_struct_opt().ok_or_else(|| no("structures"))?;
            let part = |part: &Part| match (structure.columns().get(part.at), fields.get(part.at)) {
                (Some(column), Some(field)) => projected(column, &field.data_type, &part.parts),
                _ => Err(no("structures")),
            };
            let arrays = parts.iter().map(part).collect::<Result<_>>()?;
            let nulls = structure.nulls().cloned();
            Arc::new(StructArray::try_new(fields_of(kind, parts), arrays, nulls)?)
        }
        ColumnType::List(item) => {
            let lists = array.as_list_opt::<i32>().ok_or_else(|| no("lists"))?;
            let items = projected(lists.values(), item, parts)?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Arc::new(ListArray::try_new(element(items.data_type().clone()), offsets, items, nulls)?)
        }
        ColumnType::Map(value) => {
            let maps = array.as_map_opt().ok_or_else(|| no("maps"))?;
            let part = |part: &Part| match part.at {
                0 => projected(maps.keys(), &ColumnType::Text, &part.parts),
                _ => projected(maps.values(), value, &part.parts),
            };
            let arrays = parts.iter().map(part).collect::<Result<_>>()?;
            let entries = StructArray::try_new(fields_of(kind, parts), arrays, None)?;
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            let field = element(entries.data_type().clone());
            Arc::new(ListArray::try_new(field, offsets, Arc::new(entries), nulls)?)
        }
        _ => return Err(no("values without parts")),
    })
}
