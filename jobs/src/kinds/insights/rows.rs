//! Rows of a query, cell by cell.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use engine::{Error, Result, Session};

use super::NAME;

/// A table in which each column is a text, a number or an instant.
pub(super) struct Rows {
    batch: RecordBatch,
}

/// One row of it.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    rows: &'a Rows,
    at: usize,
}

impl Rows {
    /// What a query gives, which must be few rows.
    pub(super) async fn of(session: &Session, sql: &str) -> Result<Self> {
        let frame = session.sql(sql).await?;
        let schema = frame.schema().as_arrow().clone();
        let batches = session.collect(frame).await?;
        let schema = batches.first().map_or_else(|| schema.into(), RecordBatch::schema);
        let batch = concat_batches(&schema, &batches)?;
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let mut columns = Vec::new();
        for column in batch.columns() {
            let as_one = match column.data_type() {
                kind if kind.is_integer() => DataType::Int64,
                kind if kind.is_floating() => DataType::Float64,
                kind if kind.is_temporal() => instant.clone(),
                DataType::Boolean => DataType::Boolean,
                _ => DataType::Utf8,
            };
            columns.push(cast(column, &as_one)?);
        }
        let names = batch.schema();
        let named = names.fields().iter().map(|field| field.name().as_str()).zip(columns);
        Ok(Self { batch: RecordBatch::try_from_iter(named)? })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.batch.num_rows()).map(|at| Row { rows: self, at })
    }
}

impl Row<'_> {
    fn column(&self, name: &str) -> Result<&dyn Array> {
        let column = self.rows.batch.column_by_name(name);
        let column =
            column.ok_or_else(|| Error::internal(format!("{NAME}: no column {name:?}")))?;
        Ok(column.as_ref())
    }

    fn broken(name: &str) -> Error {
        Error::internal(format!("{NAME}: column {name:?} is of another type"))
    }

    /// A text; empty where there is none.
    pub(super) fn text(&self, name: &str) -> Result<&str> {
        let column = self.column(name)?;
        let texts = column.as_string_opt::<i32>().ok_or_else(|| Self::broken(name))?;
        Ok(if texts.is_valid(self.at) { texts.value(self.at) } else { "" })
    }

    /// A number; none where there is none, or where it is not finite.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        let column = self.column(name)?;
        if column.is_null(self.at) {
            return Ok(None);
        }
        let number = match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().value(self.at) as f64,
            DataType::Float64 => column.as_primitive::<Float64Type>().value(self.at),
            _ => return Err(Self::broken(name)),
        };
        Ok(Some(number).filter(|number| number.is_finite()))
    }

    /// A count; 0 where there is none.
    pub(super) fn count(&self, name: &str) -> Result<u64> {
        Ok(self.number(name)?.unwrap_or(0.0).max(0.0) as u64)
    }

    /// An instant in microseconds; 0 where there is none.
    pub(super) fn instant(&self, name: &str) -> Result<i64> {
        let column = self.column(name)?;
        let instants = column.as_primitive_opt::<TimestampMicrosecondType>();
        let instants = instants.ok_or_else(|| Self::broken(name))?;
        Ok(if instants.is_valid(self.at) { instants.value(self.at) } else { 0 })
    }
}
