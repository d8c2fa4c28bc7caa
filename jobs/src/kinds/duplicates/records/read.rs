//! Records out of datasets.

use analysis::linkage::{ColumnBuilder, Records};
use arrow::array::{
    Array, AsArray, LargeStringArray, LargeStringBuilder, RecordBatch, StringArray,
};
use arrow::datatypes::DataType;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, cast, ident};
use engine::{Code, Error, Result, Session};
use futures::StreamExt;

use super::plan::ROW_BYTES;
use super::{Compare, Field};
use crate::kinds::duplicates::{NAME, Params};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::tables::input::{InputTable, is_text};

/// The records of a dataset, the oldest first.
pub(crate) struct RecordTable {
    pub(crate) ids: LargeStringArray,
    pub(crate) records: Records,
    pub(crate) without_id: u64,
    /// Rows in which no field has a value.
    pub(crate) without_value: u64,
    pub(crate) rows_read: u64,
    pub(crate) bytes_read: u64,
}

/// Reads all records of the dataset of `params`, with `fields`.
pub(crate) async fn read_records(
    ctx: &RunContext,
    params: &Params,
    fields: &[Field],
) -> Result<RecordTable> {
    let mut rows = open(ctx, params, fields).await?;
    let mut columns: Vec<ColumnBuilder> = fields.iter().cloned().map(ColumnBuilder::new).collect();
    let mut ids = LargeStringBuilder::new();
    let (mut without_id, mut without_value, mut rows_read, mut bytes_read) = (0, 0, 0, 0);
    // Vectors have a quarter.
    let parts = if params.vectors.is_some() { 2 } else { 3 };
    let bytes_max = ctx.memory_budget_bytes() / 4 * parts;
    let mut id_bytes = 0;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        rows_read += batch.num_rows() as u64;
        bytes_read += batch.get_array_memory_size() as u64;
        let texts = texts(&batch)?;
        for row in 0..batch.num_rows() {
            let value =
                |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
            let Some(id) = value(&texts[0]) else {
                without_id += 1;
                continue;
            };
            let values: Vec<Option<String>> = texts[1..].iter().map(value).collect();
            if values.iter().all(Option::is_none) {
                without_value += 1;
                continue;
            }
            id_bytes += id.len() + size_of::<i64>() + fields.len() * ROW_BYTES;
            ids.append_value(&id);
            for (column, value) in columns.iter_mut().zip(&values) {
                column.push(value.as_deref());
            }
        }
        let taken = id_bytes + columns.iter().map(ColumnBuilder::bytes).sum::<usize>();
        if taken > bytes_max {
            return Err(Error::user(
                Code::ResourcesExhausted,
                format!(
                    "{NAME}: the first {rows_read} records take {taken} bytes; {parts} quarters of the memory budget, \
                     {bytes_max} bytes, are for them: take fewer `fields`, or a larger budget"
                ),
            ));
        }
    }
    let ids = ids.finish();
    let columns = columns.into_iter().map(|column| column.finish(ids.len())).collect();
    let records = Records { columns };
    require_values(params, &records, records.len() as u64 + without_value)?;
    Ok(RecordTable { ids, records, without_id, without_value, rows_read, bytes_read })
}

/// Fails with `BAD_INPUT` naming the parameter when a column is not there or of a wrong type.
pub(in super::super) async fn check<'a>(
    session: &Session,
    params: &'a Params,
    fields: &[Field],
) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    let id_fits = |t: &DataType| t.is_integer() || is_text(t);
    table.check("id_column", &params.id_column, "a text or whole number", id_fits)?;
    for Field { column, compare } in fields {
        let whole = |t: &DataType| is_text(t) || t.is_integer();
        match compare {
            Compare::Name | Compare::Text => {
                table.check(
                    "fields",
                    column,
                    "a text, to be compared as a name or text",
                    is_text,
                )?;
            }
            Compare::Digits => {
                table.check(
                    "fields",
                    column,
                    "a text or whole number, to be compared by digits",
                    whole,
                )?;
            }
            Compare::Exact => {
                let fits = |t: &DataType| whole(t) || t.is_temporal() || *t == DataType::Boolean;
                table.check("fields", column, "a text, whole number, date or boolean", fits)?;
            }
            Compare::Number => {
                let fits = |t: &DataType| is_text(t) || t.is_numeric();
                table.check("fields", column, "a number, or a text that holds one", fits)?;
            }
            Compare::Date => {
                let fits = |t: &DataType| {
                    is_text(t)
                        || t.is_integer()
                        || matches!(
                            t,
                            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
                        )
                };
                table.check(
                    "fields",
                    column,
                    "a date or timestamp, or a text that holds one",
                    fits,
                )?;
            }
        }
    }
    if let Some(column) = &params.order_column {
        let fits = |t: &DataType| t.is_temporal() || t.is_numeric() || is_text(t);
        table.check("order_column", column, "a timestamp, number or text", fits)?;
    }
    Ok(table)
}

async fn open(
    ctx: &RunContext,
    params: &Params,
    fields: &[Field],
) -> Result<SendableRecordBatchStream> {
    let table = check(ctx.session(), params, fields).await?;
    let mut order = vec![ident(&params.id_column).sort(true, false)];
    if let Some(column) = &params.order_column {
        order.insert(0, ident(column).sort(true, false));
    }
    let mut columns: Vec<Expr> = vec![cast(ident(&params.id_column), DataType::Utf8).alias("id")];
    for (index, field) in fields.iter().enumerate() {
        columns.push(cast(ident(&field.column), DataType::Utf8).alias(format!("field_{index}")));
    }
    ctx.session().stream(table.frame.sort(order)?.select(columns)?).await
}

fn texts(batch: &RecordBatch) -> Result<Vec<StringArray>> {
    let text = |column: &std::sync::Arc<dyn Array>| {
        let column = arrow::compute::cast(column, &DataType::Utf8)?;
        let column = column.as_string_opt::<i32>().cloned();
        column.ok_or_else(|| Error::internal("records: not a text"))
    };
    batch.columns().iter().map(text).collect()
}

/// Fails when a field has no value in any row.
fn require_values(params: &Params, records: &Records, rows: u64) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let Some(column) = records.columns.iter().find(|column| column.values.is_empty()) else {
        return Ok(());
    };
    let Field { column: name, compare } = &column.field;
    let found = match &column.unreadable_example {
        Some(example) => {
            let example: String = example.chars().take(40).collect();
            format!("found {} that can't be read, such as {example:?}", column.unreadable)
        }
        None => "found only missing ones".into(),
    };
    let problem = format!(
        "column {name:?} of dataset {}: expected values to compare as {compare:?}, {found} in {rows} rows",
        params.dataset
    );
    Err(bad(NAME, "fields", problem))
}
