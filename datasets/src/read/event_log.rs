//! Event logs as tables, in CSV or Parquet, with the column names of XES: `case:concept:name` (the case),
//! `concept:name` (the activity), `time:timestamp` (when the step ended), `start_timestamp` (when it began; a
//! step without it is an instant), `org:resource`. Every other column goes into `attributes`. Where
//! `lifecycle:transition` is a column, the events `start` and `complete` of one activity are one step.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringBuilder};
use arrow::compute::{cast, is_not_null, kernels::zip::zip};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use chrono_tz::Tz;
use csv::ByteRecord;
use serde_json::Value;

use super::csv::CsvRecords;
use super::mapped::{self, Fault};
use super::parquet::ParquetReader;
use super::rows::{Place, RowTable};
use super::steps::{COLUMNS, Step, Steps, TRANSITION};
use super::{Chunk, ReadOptions, RowReader, Source};
use crate::column_type::ColumnType;
use crate::conform::instants;
use crate::encode::JsonEncoder;
use crate::error::{Error, Result};
use crate::local_time::{instant_in, instant_of, shown_local};
use crate::parse;
use crate::spec::TYPE_METADATA_KEY;

const CASE: &str = "case:concept:name";
const ACTIVITY: &str = "concept:name";
const ENDED: &str = "time:timestamp";
const STARTED: &str = "start_timestamp";
const RESOURCE: &str = "org:resource";
/// The index of the column with the end of a step.
const ENDED_AT: usize = 3;
const NAMED: [&str; 5] = [CASE, ACTIVITY, ENDED, STARTED, RESOURCE];

pub(crate) fn open(source: &Source, options: &ReadOptions) -> Result<Box<dyn RowReader>> {
    if source.head(4)? != b"PAR1" {
        return Ok(Box::new(EventCsv::open(source, options)?));
    }
    let table = EventTable::open(source, options)?;
    let has_transitions = table.inner.schema().field_with_name(TRANSITION).is_ok();
    let at = table.schema.field(ENDED_AT).data_type().clone();
    let is_instant = matches!(at, DataType::Timestamp(..) | DataType::Utf8 | DataType::LargeUtf8);
    if !has_transitions || !is_instant {
        return Ok(Box::new(table));
    }
    let columns = mapped::columns_of("workflow_steps", &COLUMNS)?;
    Ok(Box::new(JoinedTable {
        inner: table,
        steps: Steps::default(),
        table: RowTable::new(source.name(), &columns, options)?,
        source_name: source.name().to_owned(),
        zone: options.csv.zone.unwrap_or(Tz::UTC),
        done: false,
    }))
}

/// An event log in CSV.
struct EventCsv {
    records: CsvRecords,
    record: ByteRecord,
    /// The indexes of case, activity and end.
    required: [usize; 3],
    started: Option<usize>,
    resource: Option<usize>,
    /// The other columns, by their names.
    rest: Vec<(usize, String)>,
    /// The zone of times without an offset.
    zone: Tz,
    steps: Steps,
    table: RowTable,
    done: bool,
}

impl EventCsv {
    fn open(source: &Source, options: &ReadOptions) -> Result<Self> {
        let columns = mapped::columns_of("workflow_steps", &COLUMNS)?;
        let records = CsvRecords::open(source, None, options)?;
        let header = records.header();
        let required = mapped::find_columns(source.name(), header, [CASE, ACTIVITY, ENDED])?;
        let find = |name: &str| header.iter().position(|h| h == name);
        let (started, resource) = (find(STARTED), find(RESOURCE));
        // A first column without a name is a row number.
        let rest = header.iter().enumerate().filter(|(at, h)| *at > 0 || *h != "column_1");
        let rest = rest.filter(|(_, h)| !NAMED.contains(&h.as_str()));
        let rest = rest.map(|(at, h)| (at, h.clone())).collect();
        Ok(Self {
            record: ByteRecord::new(),
            required,
            started,
            resource,
            rest,
            zone: options.csv.zone.unwrap_or(Tz::UTC),
            steps: Steps::default(),
            table: RowTable::new(source.name(), &columns, options)?,
            done: false,
            records,
        })
    }

    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let Some(place) = self.records.next_record(&mut self.record)? else {
                self.done = true;
                return self.steps.finish(&mut self.table);
            };
            let step = match self.records.problem(place, &self.record) {
                Some(problem) => Err(Fault::row(problem)),
                None => self.step(place),
            };
            match step {
                Ok(step) => self.steps.push(step, &mut self.table)?,
                Err(fault) => {
                    let original = self.records.original(&self.record);
                    self.table.reject(place, fault.column, fault.reason, original);
                }
            }
        }
        Ok(())
    }

    fn step(&self, place: Place) -> std::result::Result<Step, Fault> {
        let fields = mapped::fields(&self.record, self.records.header().len())?;
        let [case, activity, ended] = self.required;
        let text = |column, at: usize| {
            mapped::value(column, &ColumnType::Text, fields[at]).map(|_| fields[at].to_owned())
        };
        let instant = |column, at: usize| {
            mapped::value(column, &ColumnType::Timestamp, fields[at])?;
            instant_in(fields[at].trim(), self.zone)
                .map_err(|problem| Fault::of(column, format!("{column:?}: {problem}")))
        };
        let started = self.started.filter(|at| !fields[*at].is_empty());
        let resource = self.resource.filter(|at| !fields[*at].is_empty());
        let rest = self.rest.iter().filter(|(at, _)| !fields[*at].is_empty());
        Ok(Step {
            ended_us: instant("ended_at", ended)?,
            started_us: started.map(|at| instant("started_at", at)).transpose()?,
            case_id: text("case_id", case)?,
            activity: text("activity", activity)?,
            resource: resource.map(|at| fields[at].to_owned()),
            attributes: rest.map(|(at, name)| (name.clone(), fields[*at].into())).collect(),
            place,
        })
    }
}

impl RowReader for EventCsv {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if let Err(error) = self.fill() {
            self.done = true;
            return Err(error);
        }
        self.table.take_chunk()
    }
}

/// An event log in Parquet whose events are joined into steps.
struct JoinedTable {
    inner: EventTable,
    steps: Steps,
    table: RowTable,
    source_name: String,
    /// The zone of times without an offset.
    zone: Tz,
    done: bool,
}

impl JoinedTable {
    fn fill(&mut self) -> Result<()> {
        while !self.table.is_full() {
            let Some(chunk) = self.inner.next_chunk()? else {
                self.done = true;
                return self.steps.finish(&mut self.table);
            };
            self.take(&chunk).map_err(|e| Error::Unreadable {
                source_name: chunk.position(&self.source_name, 0).to_string(),
                format: "event-log",
                problem: e.to_string(),
            })??;
        }
        Ok(())
    }

    fn take(&mut self, chunk: &Chunk) -> std::result::Result<Result<()>, arrow::error::ArrowError> {
        let text = |at: usize| cast(chunk.batch.column(at), &DataType::Utf8);
        let (case, activity, resource) = (text(0)?, text(1)?, text(4)?);
        let attributes = text(5)?;
        let mut started = micros(chunk.batch.column(ENDED_AT - 1), self.zone)?;
        let mut ended = micros(chunk.batch.column(ENDED_AT), self.zone)?;
        for row in 0..chunk.batch.num_rows() {
            let place = Place { row: chunk.position(&self.source_name, row).row, line: 0 };
            let value = |array: &ArrayRef| {
                let texts = array.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            };
            let written = value(&attributes).unwrap_or_default();
            let (found, at) = ((value(&case), value(&activity)), ended[row].take());
            let missing = match (&found, &at) {
                ((None, _), _) => Some(("case_id", CASE)),
                ((_, None), _) => Some(("activity", ACTIVITY)),
                (_, None) => Some(("ended_at", ENDED)),
                _ => None,
            };
            if let Some((column, name)) = missing {
                let reason = format!("{column:?}: expected a value in {name:?}, found none");
                self.table.reject(place, Some(column), reason, written);
                continue;
            }
            let ((Some(case_id), Some(activity)), Some(at)) = (found, at) else { continue };
            let began = started[row].take().transpose().map_err(|problem| ("started_at", problem));
            let instants = at.map_err(|problem| ("ended_at", problem));
            let (ended_us, began) = match instants.and_then(|at| Ok((at, began?))) {
                Ok(instants) => instants,
                Err((column, problem)) => {
                    let reason = format!("{column:?}: {problem}");
                    self.table.reject(place, Some(column), reason, written);
                    continue;
                }
            };
            let step = Step {
                case_id,
                activity,
                started_us: began.filter(|began| *began != ended_us),
                ended_us,
                resource: value(&resource),
                attributes: serde_json::from_str(&written).unwrap_or_default(),
                place,
            };
            if let Err(error) = self.steps.push(step, &mut self.table) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// An instant in microseconds, or why a local time is none.
type Micros = std::result::Result<i64, String>;

/// Times as instants, those without an offset in `zone`; a text that is none has none.
fn micros(
    array: &ArrayRef,
    zone: Tz,
) -> std::result::Result<Vec<Option<Micros>>, arrow::error::ArrowError> {
    if let DataType::Timestamp(_, offset) = array.data_type() {
        let zone = if offset.is_some() { Tz::UTC } else { zone };
        let instants = instants(array)?;
        let instants = instants.as_primitive::<TimestampMicrosecondType>().iter();
        let instant = |at: i64| instant_of(at, zone, || shown_local(at));
        return Ok(instants.map(|at| at.map(instant)).collect());
    }
    let texts = cast(array, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    let instant =
        |text: &str| parse::timestamp_us(text.trim()).map(|_| instant_in(text.trim(), zone));
    Ok(texts.map(|text| text.and_then(instant)).collect())
}

impl RowReader for JoinedTable {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn next_chunk(&mut self) -> Result<Option<Chunk>> {
        if self.done {
            return Ok(None);
        }
        if let Err(error) = self.fill() {
            self.done = true;
            return Err(error);
        }
        self.table.take_chunk()
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
                column.write_or_reason(row, &mut text);
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
