//! What a client gets to show again: all that it asked, as text that means nothing to it.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::FlightData;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use datasets::read::{self, Format, ReadOptions, Source};
use engine::{AsOf, Described, Error, NamedValues, Result, Version};
use futures::{Stream, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::status;
use crate::error::{bad_input, over_limit};
use crate::service::sql::SqlRequest;

/// What each message of a stream of Arrow begins with.
const CONTINUATION: [u8; 4] = [0xFF; 4];
/// Bytes of the values of one query.
const VALUES_BYTES_MAX: usize = 256 << 10;
/// The same of what they unpack to.
const VALUES_UNPACKED_MAX: usize = 1 << 20;

/// A query, with its values, at the versions that it reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    sql: String,
    /// A stream of Arrow with one row, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    versions: BTreeMap<DatasetName, u64>,
}

impl Statement {
    pub(super) fn new(sql: String) -> Self {
        Self { sql, ..Self::default() }
    }

    /// One that a client shows.
    pub(super) fn shown(handle: &[u8], what: &str) -> Result<Self> {
        serde_json::from_slice(handle).map_err(|_| {
            bad_input(format!("{what}: expected one that this server gave, found another"))
        })
    }

    /// As a client keeps it.
    pub(super) fn handle(&self) -> Result<Bytes> {
        let text = serde_json::to_vec(self);
        Ok(text.map_err(|error| Error::internal(format!("a statement as JSON: {error}")))?.into())
    }

    /// The same at the versions that it was planned with.
    pub(super) fn at(self, versions: &BTreeMap<DatasetName, Version>) -> Self {
        let versions = versions.iter().map(|(name, version)| (name.clone(), version.0)).collect();
        Self { versions, ..self }
    }

    /// The query whose values all have names.
    pub(super) fn named(&self) -> Result<NamedValues> {
        NamedValues::of(&self.sql)
    }

    /// What is to be done.
    pub(super) fn request(&self) -> Result<SqlRequest> {
        let NamedValues { text, names } = self.named()?;
        let pins = self.versions.iter();
        let pins = pins.map(|(name, version)| (name.clone(), AsOf::Version(Version(*version))));
        let parameters = match &self.values {
            Some(values) => bound(&unpacked(values)?, &names)?,
            None if names.is_empty() => BTreeMap::new(),
            None => {
                let says = format!("the query has {} values, and none was bound", names.len());
                return Err(bad_input(says));
            }
        };
        Ok(SqlRequest { sql: text, parameters, pins: pins.collect() })
    }

    /// The same with these values, a stream of Arrow.
    pub(super) fn with_values(self, stream: Vec<u8>) -> Result<Self> {
        let values = Some(STANDARD.encode(&stream));
        bound(&one_row(stream)?, &self.named()?.names)?;
        Ok(Self { values, ..self })
    }
}

fn unpacked(values: &str) -> Result<RecordBatch> {
    let wrong = || bad_input("the values of a statement: expected those that this server gave");
    let bytes = STANDARD.decode(values).map_err(|_| wrong())?;
    require_small(bytes.len())?;
    one_row(bytes)
}

fn require_small(bytes: usize) -> Result<()> {
    match bytes <= VALUES_BYTES_MAX {
        true => Ok(()),
        false => Err(over_limit("bytes of a query's values", VALUES_BYTES_MAX, bytes)),
    }
}

/// The row of a stream of Arrow, read as one that anybody may have made.
fn one_row(stream: Vec<u8>) -> Result<RecordBatch> {
    let source = Source::Body { name: "bound values".into(), bytes: stream.into() };
    let options =
        ReadOptions { decoded_budget_bytes: VALUES_UNPACKED_MAX, ..ReadOptions::default() };
    let mut rows = read::open(source, Format::ArrowStream, None, &options)?;
    let mut found: Option<RecordBatch> = None;
    while let Some(chunk) = rows.next_chunk()? {
        if chunk.batch.num_rows() == 0 {
            continue;
        }
        if found.is_some() || chunk.batch.num_rows() > 1 {
            let says = "bound values: expected one row: a query is asked once with each row of values, found more";
            return Err(bad_input(says));
        }
        found = Some(chunk.batch);
    }
    found.ok_or_else(|| bad_input("bound values: expected one row, found none"))
}

/// The values by their names: those of the columns, where these are the query's, else by their places.
fn bound(row: &RecordBatch, names: &[String]) -> Result<BTreeMap<String, ScalarValue>> {
    if row.num_columns() != names.len() {
        let (found, expected) = (row.num_columns(), names.len());
        return Err(bad_input(format!("the query has {expected} values, and {found} were bound")));
    }
    let schema = row.schema_ref();
    let is_named = names.iter().all(|name| schema.column_with_name(name).is_some());
    let mut values = BTreeMap::new();
    for (at, name) in names.iter().enumerate() {
        let at = if is_named { schema.index_of(name)? } else { at };
        values.insert(name.clone(), ScalarValue::try_from_array(row.column(at), 0)?);
    }
    Ok(values)
}

/// The values that a client sends, as a stream of Arrow.
pub(super) async fn sent_values(
    mut sent: impl Stream<Item = Result<FlightData, Status>> + Unpin,
) -> Result<Vec<u8>, Status> {
    let mut stream = Vec::new();
    while let Some(FlightData { data_header, data_body, .. }) = sent.try_next().await? {
        // The first may have nothing but what it is for.
        if data_header.is_empty() {
            continue;
        }
        require_small(stream.len() + data_header.len() + data_body.len())
            .map_err(|e| status(&e))?;
        let padded = data_header.len().next_multiple_of(8);
        stream.extend(CONTINUATION);
        stream.extend((padded as u32).to_le_bytes());
        stream.extend(&data_header);
        stream.resize(stream.len() + padded - data_header.len(), 0);
        stream.extend(&data_body);
    }
    Ok(stream)
}

/// The columns that values are bound as: text, where the query does not tell.
pub(super) fn values_schema(names: &[String], described: &Described) -> SchemaRef {
    let kind_of = |name: &String| {
        let known = described.values.iter().find(|(of, _)| of == name);
        known.and_then(|(_, kind)| kind.clone()).unwrap_or(DataType::Utf8)
    };
    let fields = names.iter().map(|name| Field::new(name, kind_of(name), true));
    Schema::new(fields.collect::<Vec<_>>()).into()
}
