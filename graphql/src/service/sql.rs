//! Queries in SQL, whose rows are streamed.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{
    AsOf, Encoder, ExportOptions, Form, Pieces, Principal, Result, Session, SqlQuery, Version,
};
use futures::TryStreamExt as _;

use super::streamed::{Begun, InPieces, PIECE_BYTES, Streamed, bytes_of};
use super::{Service, before, in_time};
use crate::error::over_limit;

/// A query.
pub(crate) struct SqlRequest {
    pub(crate) sql: String,
    /// What stands for `$name` in it.
    pub(crate) parameters: BTreeMap<String, ScalarValue>,
    /// Datasets that are not read at their newest version.
    pub(crate) pins: Vec<(DatasetName, AsOf)>,
    pub(crate) options: ExportOptions,
}

/// Rows on their way to a client.
pub(crate) struct SqlAnswer {
    /// The datasets that are read, at their versions.
    pub(crate) versions: BTreeMap<DatasetName, Version>,
    /// The rows.
    pub(crate) pieces: Streamed<Rows>,
}

/// Rows of a query that are being answered.
pub(crate) struct Rows {
    batches: SendableRecordBatchStream,
    schema: SchemaRef,
    encoder: Option<Encoder>,
    pieces: Pieces,
    bytes_max: usize,
    /// Kept until the last was read.
    _session: Session,
}

impl Service {
    /// Answers a query in rows, which are what `who` sees.
    pub(crate) async fn sql(&self, who: &Principal, request: SqlRequest) -> Result<SqlAnswer> {
        let limits = &self.0.limits;
        let began = Instant::now();
        let place = self.stream_place(who).await?;
        let held = self.0.admit(who, limits.queries_waiting_max);
        let held = in_time(limits.operation_time_max, held).await?;
        let (service, asks, bytes_max) = (self.0.clone(), who.clone(), limits.stream_bytes_max);
        let work = Box::pin(async move {
            let session = service.engine.session(&asks, &request.pins).await?;
            let (mut rows, versions) = Rows::begin(session, &request, bytes_max).await?;
            let piece = rows.piece().await?;
            let room = Some(held.room.of(bytes_of(&piece)));
            Ok((Begun { rows, piece, room, held: None }, versions))
        });
        let work = async { self.0.lanes.run(&who.tenant, work).await.flatten() };
        let until = began + limits.operation_time_max;
        let (begun, versions) = before(until, limits.operation_time_max, work).await?;
        Ok(SqlAnswer { versions, pieces: self.streamed(who, begun, began, place) })
    }
}

impl Rows {
    async fn begin(
        session: Session,
        request: &SqlRequest,
        bytes_max: usize,
    ) -> Result<(Self, BTreeMap<DatasetName, Version>)> {
        let frame = match request.parameters.is_empty() {
            true => {
                SqlQuery::require_rows(&request.sql)?;
                session.sql(&request.sql).await?
            }
            false => {
                let query = SqlQuery::parse(&request.sql)?;
                session.query(&query, &request.parameters).await?
            }
        };
        let versions: BTreeMap<DatasetName, Version> = session.reads(&frame)?.into_iter().collect();
        let batches = session.stream(frame).await?;
        let schema = batches.schema();
        let told = match request.options.form {
            Form::ArrowStream => with_versions(&schema, &versions),
            _ => SchemaRef::clone(&schema),
        };
        let pieces = Pieces::default();
        let encoder = Some(Encoder::new(pieces.clone(), &told, &request.options)?);
        let rows = Self { batches, schema: told, encoder, pieces, bytes_max, _session: session };
        Ok((rows, versions))
    }
}

impl InPieces for Rows {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        while self.pieces.len() < PIECE_BYTES {
            let Some(encoder) = &mut self.encoder else { break };
            match self.batches.try_next().await? {
                Some(batch) => {
                    let columns = batch.columns().to_vec();
                    let batch = RecordBatch::try_new(SchemaRef::clone(&self.schema), columns)?;
                    // What waits for the client is nothing to the encoder.
                    let _ = encoder.write(&batch)?;
                    if encoder.bytes() > self.bytes_max as u64 {
                        let what = "bytes of an answer in rows";
                        return Err(over_limit(what, self.bytes_max, "more"));
                    }
                }
                None => {
                    if let Some(encoder) = self.encoder.take() {
                        let _ = encoder.finish()?;
                    }
                }
            }
        }
        let piece = self.pieces.take();
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The schema that says which versions were read.
fn with_versions(schema: &Schema, versions: &BTreeMap<DatasetName, Version>) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.insert("colonnade.versions".to_owned(), said(versions));
    schema.clone().with_metadata(metadata).into()
}

/// Versions as JSON.
pub(crate) fn said(versions: &BTreeMap<DatasetName, Version>) -> String {
    let versions = versions.iter().map(|(name, version)| (name.to_string(), version.0.into()));
    serde_json::Value::Object(versions.collect()).to_string()
}
