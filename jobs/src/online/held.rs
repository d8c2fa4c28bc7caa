//! The newest row of each entity of one view, found by the entity's columns.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{CastOptions, cast, cast_with_options, interleave, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, Utc};
use datafusion::functions_window::expr_fn::lead;
use datafusion::logical_expr::{Expr, ExprFunctionExt, ident};
use datafusion::prelude::DataFrame;
use datasets::DatasetSpec;
use datasets::encode::JsonRows;
use engine::{Code, DatasetEntry, Error, Result, Version, did_you_mean};
use hashbrown::HashTable;
use serde_json::{Map, Value};

use super::{OnlineRequest, OnlineRows};
use crate::kinds::features::EXPIRES;
use crate::series::microseconds;
use crate::tables::columns::type_name;

/// Rows of a batch when they are put together.
const BATCH_ROWS: usize = 1 << 16;
/// Batches of few rows that are kept before they are put together.
const BATCHES_MAX: usize = 256;
/// Memory of an entity beside its columns and its name: its place, its instant, and where it is found.
const ENTITY_BYTES: usize = 40;
/// Columns of a view that are no features.
const VERSION: &str = "source_version";

/// Rows that were put together.
pub(super) struct Packed(Vec<RecordBatch>);

/// The newest rows of a view.
pub(super) struct Held {
    version: Version,
    spec: DatasetSpec,
    /// When the dataset was made: another one of its name may have the same versions.
    made_at: Option<DateTime<Utc>>,
    schema: SchemaRef,
    /// Places of the entity's columns, of the instant and of the one at which a row counts no more.
    entity: Vec<usize>,
    time: usize,
    expires: Option<usize>,
    /// Places of what is told where nothing is chosen.
    features: Vec<usize>,
    converter: RowConverter,
    hasher: RandomState,
    by_name: HashTable<u32>,
    /// The entities' names, one behind the other, and where each ends.
    names: Vec<u8>,
    ends: Vec<usize>,
    /// Where each one's newest row is, and of when.
    places: Vec<(u32, u32)>,
    instants: Vec<i64>,
    batches: Vec<RecordBatch>,
    batch_bytes: usize,
    batch_rows: usize,
}

impl Held {
    /// Nothing yet, of a view.
    pub(super) fn of(
        entry: &DatasetEntry,
        version: Version,
        entity: &[String],
        time: &str,
    ) -> Result<Self> {
        let spec = &entry.spec;
        let schema = spec.arrow_schema();
        let place = |name: &str| schema.index_of(name).map_err(Error::from);
        let entity = entity.iter().map(|name| place(name)).collect::<Result<Vec<_>>>()?;
        let time = place(time)?;
        let expires = schema.index_of(EXPIRES).ok();
        let is_feature = |at: &usize| {
            let name = schema.field(*at).name();
            let is_own = spec.column(name).is_some();
            is_own && !spec.key.contains(name) && name != VERSION && Some(*at) != expires
        };
        let features = (0..schema.fields().len()).filter(is_feature).collect();
        let fields = entity.iter().map(|at| SortField::new(schema.field(*at).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self {
            version,
            spec: spec.clone(),
            made_at: entry.created_at,
            entity,
            time,
            expires,
            features,
            converter,
            schema,
            hasher: RandomState::new(),
            by_name: HashTable::new(),
            names: Vec::new(),
            ends: Vec::new(),
            places: Vec::new(),
            instants: Vec::new(),
            batches: Vec::new(),
            batch_bytes: 0,
            batch_rows: 0,
        })
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Says that it has all rows up to a version.
    pub(super) fn is_at(&mut self, version: Version) {
        self.version = version;
    }

    /// Whether it is of this dataset, and has its columns.
    pub(super) fn is_of(&self, entry: &DatasetEntry) -> bool {
        self.spec == entry.spec && self.made_at == entry.created_at
    }

    /// How many entities there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.batch_bytes + self.names.len() + self.places.len() * ENTITY_BYTES
    }

    /// The name of an entity.
    fn name(&self, entity: usize) -> &[u8] {
        let begin = entity.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(entity).copied().unwrap_or_default();
        self.names.get(begin.unwrap_or_default()..end).unwrap_or_default()
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let found = self.by_name.find(hash, |entity| self.name(*entity as usize) == name);
        found.map(|entity| *entity as usize)
    }

    fn columns(&self, batch: &RecordBatch, places: &[usize]) -> Result<Vec<ArrayRef>> {
        let column = |at: &usize| {
            let field = self.schema.field(*at);
            let column = batch.column_by_name(field.name());
            let column = column.ok_or_else(|| other(field.name()))?;
            Ok(cast(column, field.data_type())?)
        };
        places.iter().map(column).collect()
    }

    /// Takes in rows of any order: the newest of each entity stays, of one instant the one that comes last.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = self.columns(batch, &all)?;
        let batch = RecordBatch::try_new(nullable(&self.schema), columns)?;
        let names: Vec<ArrayRef> = self.entity.iter().map(|at| batch.column(*at).clone()).collect();
        let names = self.converter.convert_columns(&names)?;
        let micros = cast(&cast(batch.column(self.time), &microseconds())?, &DataType::Int64)?;
        let micros = micros.as_primitive_opt::<Int64Type>().ok_or_else(|| other("time"))?;
        // Rows that may stay, and of whom they are.
        let number = u32::try_from(self.batches.len()).map_err(|_| other("batches"))?;
        let mut candidates: Vec<(usize, u32)> = Vec::new();
        for (row, name) in names.iter().enumerate() {
            if micros.is_null(row) {
                continue;
            }
            let at = micros.value(row);
            let place = (number, u32::try_from(row).map_err(|_| other("rows"))?);
            let entity = match self.find(name.as_ref()) {
                Some(entity) => entity,
                None => {
                    let entity = self.places.len();
                    let number = u32::try_from(entity).map_err(|_| other("entities"))?;
                    self.names.extend_from_slice(name.as_ref());
                    self.ends.push(self.names.len());
                    self.places.push(place);
                    self.instants.push(i64::MIN);
                    let hash = self.hasher.hash_one(name.as_ref());
                    let Self { by_name, names, ends, hasher, .. } = self;
                    by_name.insert_unique(hash, number, |of| {
                        let of = *of as usize;
                        let begin = of.checked_sub(1).and_then(|before| ends.get(before)).copied();
                        let end = ends.get(of).copied().unwrap_or_default();
                        let name = names.get(begin.unwrap_or_default()..end).unwrap_or_default();
                        hasher.hash_one(name)
                    });
                    entity
                }
            };
            let (Some(of), Some(instant)) =
                (self.places.get_mut(entity), self.instants.get_mut(entity))
            else {
                continue;
            };
            if at >= *instant {
                (*of, *instant) = (place, at);
                candidates.push((entity, place.1));
            }
        }
        // Of several rows of an entity in the batch only the last one stays.
        candidates.retain(|(entity, row)| self.places.get(*entity) == Some(&(number, *row)));
        let kept: UInt32Array = candidates.iter().map(|(_, row)| *row).collect();
        for (row, (entity, _)) in candidates.iter().enumerate() {
            if let Some(place) = self.places.get_mut(*entity) {
                *place = (number, u32::try_from(row).map_err(|_| other("rows"))?);
            }
        }
        if !candidates.is_empty() {
            self.push(take_record_batch(&batch, &kept)?);
        }
        Ok(())
    }

    fn push(&mut self, batch: RecordBatch) {
        self.batch_bytes += batch.get_array_memory_size();
        self.batch_rows += batch.num_rows();
        self.batches.push(batch);
    }

    /// The rows that are the newest put together, where there are many others beside them, or many batches.
    pub(super) fn packed_if_worn(&self) -> Result<Option<Packed>> {
        let is_worn = self.batches.len() > BATCHES_MAX
            || self.batch_rows > 2 * self.places.len() + BATCH_ROWS;
        is_worn.then(|| self.packed()).transpose()
    }

    pub(super) fn packed(&self) -> Result<Packed> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let batches = self.places.chunks(BATCH_ROWS).map(|places| self.gathered(places, &all));
        Ok(Packed(batches.collect::<Result<_>>()?))
    }

    /// Lets go of all rows but these, which are made of them.
    pub(super) fn put(&mut self, Packed(packed): Packed) {
        for (at, place) in self.places.iter_mut().enumerate() {
            *place = ((at / BATCH_ROWS) as u32, (at % BATCH_ROWS) as u32);
        }
        self.batches.clear();
        (self.batch_bytes, self.batch_rows) = (0, 0);
        packed.into_iter().for_each(|batch| self.push(batch));
    }

    /// The keys of rows: their entities and instants.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<Vec<u8>>> {
        let entity = self.converter.convert_columns(&self.columns(batch, &self.entity)?)?;
        let time = self.columns(batch, &[self.time])?;
        let time = RowConverter::new(vec![SortField::new(
            self.schema.field(self.time).data_type().clone(),
        )])?
        .convert_columns(&time)?;
        let key = |row| [entity.row(row).as_ref(), time.row(row).as_ref()].concat();
        Ok((0..batch.num_rows()).map(key).collect())
    }

    /// These columns of the rows at these places.
    fn gathered(&self, places: &[(u32, u32)], columns: &[usize]) -> Result<RecordBatch> {
        let mut batches: Vec<u32> = places.iter().map(|(batch, _)| *batch).collect();
        batches.sort_unstable();
        batches.dedup();
        let within: Vec<(usize, usize)> = places
            .iter()
            .map(|(batch, row)| (batches.partition_point(|of| of < batch), *row as usize))
            .collect();
        let batches: Vec<&RecordBatch> =
            batches.iter().filter_map(|of| self.batches.get(*of as usize)).collect();
        let mut made = Vec::with_capacity(columns.len());
        for at in columns {
            let arrays: Vec<&dyn Array> =
                batches.iter().map(|batch| batch.column(*at).as_ref()).collect();
            made.push(match arrays.is_empty() {
                true => arrow::array::new_empty_array(self.schema.field(*at).data_type()),
                false => interleave(&arrays, &within)?,
            });
        }
        let schema = nullable(&self.schema.project(columns)?);
        Ok(RecordBatch::try_new(schema, made)?)
    }

    /// Answers.
    pub(super) fn read(&self, request: &OnlineRequest) -> Result<OnlineRows> {
        let features = match &request.features {
            None => self.features.clone(),
            Some(names) if names.is_empty() => {
                let says = "features: expected at least one; without it all are told";
                return Err(Error::user(Code::BadInput, says));
            }
            Some(names) => {
                for (at, name) in names.iter().enumerate() {
                    if names.iter().take(at).any(|other| other == name) {
                        let says = format!("features: {name:?} stands there twice");
                        return Err(Error::user(Code::BadInput, says));
                    }
                    // More than there are do not come this far.
                    self.feature(name)?;
                }
                names.iter().map(|name| self.feature(name)).collect::<Result<_>>()?
            }
        };
        let names = self.names_of(&request.entities)?;
        let found: Vec<Option<usize>> = names.iter().map(|name| self.find(name)).collect();
        let now = request.now.timestamp_micros();
        let places: Vec<(u32, u32)> =
            found.iter().flatten().filter_map(|entity| self.places.get(*entity).copied()).collect();
        let values = self.gathered(&places, &features)?;
        let instants = self.gathered(&places, &[self.time])?;
        let expires = match self.expires {
            Some(at) => {
                let batch = self.gathered(&places, &[at])?;
                let micros = cast(&cast(batch.column(0), &microseconds())?, &DataType::Int64)?;
                micros.as_primitive_opt::<Int64Type>().cloned()
            }
            None => None,
        };
        let is_expired = |row: usize| {
            let expires = expires.as_ref().filter(|expires| expires.is_valid(row));
            expires.is_some_and(|expires| expires.value(row) <= now)
        };
        let (values, instants) = (JsonRows::new(&values)?, JsonRows::new(&instants)?);
        let nothing: Map<String, Value> = features
            .iter()
            .map(|at| (self.schema.field(*at).name().clone(), Value::Null))
            .collect();
        let nothing = Value::Object(nothing).to_string();
        let mut rows = Vec::with_capacity(found.len());
        let (mut row, mut bytes) = (0, 0);
        for (entity, found) in request.entities.iter().zip(found) {
            let entity = Value::Object(entity.clone());
            let mut text = format!("{{\"entity\":{entity},");
            match found {
                None => text.push_str("\"at\":null,\"is_expired\":false,\"features\":"),
                Some(_) => {
                    let mut instant = String::new();
                    instants.write(row, &mut instant)?;
                    let instant = instant.trim_start_matches('{').trim_end_matches('}');
                    let instant = instant.split_once(':').map_or("null", |(_, value)| value);
                    text.push_str(&format!(
                        "\"at\":{instant},\"is_expired\":{},\"features\":",
                        is_expired(row)
                    ));
                }
            }
            match found {
                Some(_) if !is_expired(row) => values.write(row, &mut text)?,
                _ => text.push_str(&nothing),
            }
            row += usize::from(found.is_some());
            text.push('}');
            bytes += text.len();
            if bytes > request.bytes_max {
                let says = format!(
                    "expected an answer of at most {} bytes, found more; ask for fewer entities or features",
                    request.bytes_max
                );
                return Err(Error::user(Code::LimitExceeded, says));
            }
            rows.push(text);
        }
        Ok(OnlineRows { version: self.version, rows })
    }

    fn feature(&self, name: &str) -> Result<usize> {
        let named = |at: &&usize| self.schema.field(**at).name() == name;
        if let Some(at) = self.features.iter().find(named) {
            return Ok(*at);
        }
        let names = || self.features.iter().map(|at| self.schema.field(*at).name().as_str());
        let near = did_you_mean(name, names())
            .unwrap_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")));
        let says = format!("features: {} has no feature {name:?}; {near}", self.spec.name);
        Err(Error::user(Code::BadInput, says))
    }

    /// The entities' names, as rows have them.
    fn names_of(&self, entities: &[Map<String, Value>]) -> Result<Vec<Vec<u8>>> {
        let bad = |at: usize, says: String| {
            Error::user(Code::BadInput, format!("entities: {}: {says}", at + 1))
        };
        let columns: Vec<&Arc<Field>> =
            self.entity.iter().filter_map(|at| self.schema.fields().get(*at)).collect();
        for (at, entity) in entities.iter().enumerate() {
            if let Some(name) =
                entity.keys().find(|name| !columns.iter().any(|field| field.name() == *name))
            {
                let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
                let says = format!(
                    "an entity of {} has no column {name:?}; expected {}",
                    self.spec.name,
                    names.join(", ")
                );
                return Err(bad(at, says));
            }
        }
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for field in columns {
            let mut texts = Vec::with_capacity(entities.len());
            for (at, entity) in entities.iter().enumerate() {
                let text = match (entity.get(field.name()), field.data_type()) {
                    (None | Some(Value::Null), _) => {
                        return Err(bad(
                            at,
                            format!("expected {:?}, which names it", field.name()),
                        ));
                    }
                    (Some(Value::String(text)), _) => text.clone(),
                    (Some(Value::Number(number)), kind) if kind.is_integer() => number.to_string(),
                    (Some(Value::Bool(is)), DataType::Boolean) => is.to_string(),
                    (Some(found), kind) => {
                        let says = format!("{:?}: expected {kind}, found {found}", field.name());
                        return Err(bad(at, says));
                    }
                };
                texts.push(text);
            }
            let array = StringArray::from_iter_values(&texts);
            let strict = CastOptions { safe: true, ..CastOptions::default() };
            let array = cast_with_options(&array, field.data_type(), &strict)?;
            if let Some(at) = (0..array.len()).find(|at| array.is_null(*at)) {
                let found = texts.get(at).map_or("", String::as_str);
                let shown: String = found.chars().take(80).collect();
                let says = format!(
                    "{:?}: expected {}, found {shown:?}",
                    field.name(),
                    type_name(field.data_type())
                );
                return Err(bad(at, says));
            }
            arrays.push(array);
        }
        let rows = self.converter.convert_columns(&arrays)?;
        Ok(rows.iter().map(|row| row.as_ref().to_vec()).collect())
    }

    /// Of each row of a query of the newest rows: as the query has it, and as it is held.
    pub(super) fn compared(&self, batch: &RecordBatch) -> Result<Vec<(String, Option<String>)>> {
        let entity = self.columns(batch, &self.entity)?;
        let names = self.converter.convert_columns(&entity)?;
        let shown: Vec<usize> = self
            .entity
            .iter()
            .copied()
            .chain([self.time])
            .chain(self.features.iter().copied())
            .collect();
        let schema = nullable(&self.schema.project(&shown)?);
        let offline = RecordBatch::try_new(schema, self.columns(batch, &shown)?)?;
        let found: Vec<Option<usize>> = names.iter().map(|name| self.find(name.as_ref())).collect();
        let places: Vec<(u32, u32)> =
            found.iter().flatten().filter_map(|entity| self.places.get(*entity).copied()).collect();
        let online = self.gathered(&places, &shown)?;
        let (offline, online) = (JsonRows::new(&offline)?, JsonRows::new(&online)?);
        let text = |rows: &JsonRows<'_>, row: usize| -> Result<String> {
            let mut text = String::new();
            rows.write(row, &mut text)?;
            Ok(text)
        };
        let mut next = 0;
        let pair = |(row, found): (usize, Option<usize>)| {
            let held = found.map(|_| {
                next += 1;
                text(&online, next - 1)
            });
            Ok((text(&offline, row)?, held.transpose()?))
        };
        found.into_iter().enumerate().map(pair).collect()
    }
}

/// A query of the newest row of each entity.
pub(super) fn newest(frame: DataFrame, time: &str, entity: &[String]) -> Result<DataFrame> {
    const NEXT: &str = "_next";
    let columns: Vec<Expr> =
        frame.schema().fields().iter().map(|field| ident(field.name())).collect();
    let next = lead(ident(time), Some(1), None)
        .partition_by(entity.iter().map(ident).collect())
        .order_by(vec![ident(time).sort(true, false)])
        .build()?;
    let frame = frame.window(vec![next.alias(NEXT)])?;
    Ok(frame.filter(ident(NEXT).is_null())?.select(columns)?)
}

/// The same fields, each of which may be null: what is held is checked elsewhere.
fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn other(what: &str) -> Error {
    Error::internal(format!("features by entity: {what}: other rows than were asked for"))
}
