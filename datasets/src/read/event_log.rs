//! Event logs as tables, in CSV or Parquet, with the column names of XES: `case:concept:name` (the case),
//! `concept:name` (the activity), `time:timestamp` (when the step ended), `start_timestamp` (when it began; a
//! step without it is an instant), `org:resource`. Every other column goes into `attributes`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::compute::{is_not_null, kernels::zip::zip};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map as JsonMap, Value};

use super::mapped::{self, Fault, MappedCsv};
use super::parquet::ParquetReader;
use super::xes::COLUMNS;
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::encode::JsonEncoder;
use crate::error::{Error, Result};
use crate::parse::Slot;
use crate::spec::TYPE_METADATA_KEY;

const CASE: &str = "case:concept:name";
const ACTIVITY: &str = "concept:name";
const ENDED: &str = "time:timestamp";
const STARTED: &str = "start_timestamp";
const RESOURCE: &str = "org:resource";
const NAMED: [&str; 5] = [CASE, ACTIVITY, ENDED, STARTED, RESOURCE];

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    if source.head(4)? == b"PAR1" {
        return Ok(Box::new(EventTable::open(source, options)?));
    }
    let columns = mapped::columns_of("workflow_steps", &COLUMNS)?;
    let name = source.name().to_owned();
    MappedCsv::open(source, None, &columns, options, |header| {
        let [case, activity, ended] = mapped::find_columns(&name, header, [CASE, ACTIVITY, ENDED])?;
        let find = |name: &str| header.iter().position(|h| h == name);
        let (started, resource) = (find(STARTED), find(RESOURCE));
        // A first column without a name is a row number.
        let rest: Vec<(usize, String)> = header
            .iter()
            .enumerate()
            .filter(|(at, h)| *at > 0 || *h != "column_1")
            .filter(|(_, h)| !NAMED.contains(&h.as_str()))
            .map(|(at, h)| (at, h.clone()))
            .collect();
        Ok(Box::new(move |_, fields| {
            let instant = |column, at: usize| -> std::result::Result<Slot<'_>, Fault> {
                mapped::value(column, &ColumnType::Timestamp, fields[at])
            };
            let ended_at = instant("ended_at", ended)?;
            let started_at = match started.filter(|at| !fields[*at].is_empty()) {
                Some(at) => instant("started_at", at)?,
                None => ended_at.clone(),
            };
            Ok(vec![
                mapped::value("case_id", &ColumnType::Text, fields[case])?,
                mapped::value("activity", &ColumnType::Text, fields[activity])?,
                started_at,
                ended_at,
                resource.map_or(Slot::Null, |at| mapped::optional_text(fields[at])),
                attributes(&rest, fields),
            ])
        }))
    })
}

fn attributes<'a>(columns: &[(usize, String)], fields: &[&str]) -> Slot<'a> {
    let mut object = JsonMap::new();
    for (at, name) in columns {
        if !fields[*at].is_empty() {
            object.insert(name.clone(), fields[*at].into());
        }
    }
    if object.is_empty() {
        Slot::Null
    } else {
        Slot::Text(Value::Object(object).to_string().into())
    }
}

/// An event log in Parquet.
struct EventTable {
    inner: ParquetReader,
    source_name: String,
    schema: SchemaRef,
    named: [Option<usize>; 5],
    rest: Vec<usize>,
}

impl EventTable {
    fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        let inner = ParquetReader::open(source, options)?;
        let schema = inner.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        mapped::find_columns(source.name(), &names, [CASE, ACTIVITY, ENDED])?;
        let named = NAMED.map(|name| names.iter().position(|n| n == name));
        let rest: Vec<usize> = (0..names.len()).filter(|at| !named.contains(&Some(*at))).collect();
        let type_of = |at: Option<usize>| {
            at.map_or(DataType::Null, |at| schema.field(at).data_type().clone())
        };
        let [case, activity, ended, started, resource] = named;
        if started.is_some() && type_of(started) != type_of(ended) {
            return Err(Error::Mismatch {
                source_name: source.name().to_owned(),
                problem: format!(
                    "expected {STARTED:?} and {ENDED:?} of one type, found {} and {}",
                    type_of(started),
                    type_of(ended)
                ),
            });
        }
        let json = [(TYPE_METADATA_KEY.to_owned(), ColumnType::Json.to_string())];
        let fields = [
            Field::new("case_id", type_of(case), true),
            Field::new("activity", type_of(activity), true),
            Field::new("started_at", type_of(ended), true),
            Field::new("ended_at", type_of(ended), true),
            Field::new("resource", type_of(resource), true),
            Field::new("attributes", DataType::Utf8, true).with_metadata(json.into()),
        ];
        Ok(Self {
            inner,
            source_name: source.name().to_owned(),
            schema: Arc::new(Schema::new(fields.to_vec())),
            named,
            rest,
        })
    }

    fn map(
        &self,
        batch: &RecordBatch,
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let [case, activity, ended, started, resource] = self.named;
        let column = |at: Option<usize>| match at {
            Some(at) => Arc::clone(batch.column(at)),
            None => arrow::array::new_null_array(&DataType::Null, batch.num_rows()),
        };
        let ended = column(ended);
        let started = match started {
            None => Arc::clone(&ended),
            Some(at) => {
                let started = batch.column(at);
                zip(&is_not_null(started)?, started, &ended)?
            }
        };
        let columns = vec![
            column(case),
            column(activity),
            started,
            ended,
            column(resource),
            self.attributes(batch)?,
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    /// The other columns of each row as a JSON object, without those that are null.
    fn attributes(
        &self,
        batch: &RecordBatch,
    ) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
        let rest = batch.project(&self.rest)?;
        let schema = rest.schema();
        let mut columns = Vec::with_capacity(self.rest.len());
        for (field, array) in schema.fields().iter().zip(rest.columns()) {
            let name = Value::from(field.name().as_str()).to_string();
            columns.push((name, JsonEncoder::new(array.as_ref())?));
        }
        let mut builder = StringBuilder::new();
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            text.clear();
            for (name, column) in columns.iter().filter(|(_, column)| !column.is_null(row)) {
                text.push(if text.is_empty() { '{' } else { ',' });
                text.push_str(name);
                text.push(':');
                column.write(row, &mut text);
            }
            if text.is_empty() {
                builder.append_null();
            } else {
                text.push('}');
                builder.append_value(&text);
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

impl RowReader for EventTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        let Some(chunk) = self.inner.next_chunk()? else { return Ok(None) };
        let batch = self.map(&chunk.batch).map_err(|e| Error::Unreadable {
            source_name: chunk.position(&self.source_name, 0).to_string(),
            format: "event-log",
            problem: e.to_string(),
        })?;
        Ok(Some(Chunk { batch, ..chunk }))
    }
}
