//! Queries in SQL, whose rows are streamed: a place of a stream, a turn for each piece, and nothing held while the client takes one, as
//! for rows of GraphQL ([`super::rows`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{
    AsOf, Encoder, ExportOptions, Form, Pieces, Principal, Result, Session, SqlQuery, Taken,
    Version,
};
use futures::TryStreamExt as _;

use super::{Room, Service, ServiceInner, before, in_time, no_places};
use crate::error::{busy, over_limit};

/// Bytes that are handed over at once, about.
const PIECE_BYTES: usize = 256 << 10;

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
    service: Arc<ServiceInner>,
    who: Principal,
    /// Those that are not made yet.
    rows: Option<Rows>,
    /// Made, and not taken.
    piece: Option<Bytes>,
    /// Of the piece that the client takes.
    room: Option<Room>,
    until: Instant,
    _place: Taken,
}

struct Rows {
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
        let (began, waiting_max) = (Instant::now(), limits.queries_waiting_max);
        let place = async {
            let place = self.0.streams.queue_of(who, 1, waiting_max).await.map_err(no_places)?;
            let what = "streamed pages of one tenant that wait, half of them of one subject";
            place.ok_or_else(|| busy(what, waiting_max))
        };
        let place = in_time(limits.operation_time_max, place).await?;
        let held = in_time(limits.operation_time_max, self.0.admit(who, waiting_max)).await?;
        let (service, asks, bytes_max) = (self.0.clone(), who.clone(), limits.stream_bytes_max);
        let work = Box::pin(async move {
            let session = service.engine.session(&asks, &request.pins).await?;
            let (mut rows, versions) = Rows::begin(session, &request, bytes_max).await?;
            let piece = rows.piece().await?;
            let room = held.room.of(piece.as_ref().map_or(0, Bytes::len));
            Ok((rows, versions, piece, room))
        });
        let work = async { self.0.lanes.run(&who.tenant, work).await.flatten() };
        let until = began + limits.operation_time_max;
        let (rows, versions, piece, room) = before(until, limits.operation_time_max, work).await?;
        self.0.meter.streams_begun.add(1);
        self.0.meter.stream_bytes.add(piece.as_ref().map_or(0, Bytes::len) as u64);
        Ok(SqlAnswer {
            versions,
            service: self.0.clone(),
            who: who.clone(),
            rows: Some(rows),
            piece,
            room: Some(room),
            until: began + limits.stream_time_max,
            _place: place,
        })
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

    /// The next piece; none behind the last. Where this fails the answer is not whole, and is not to look so.
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

impl SqlAnswer {
    /// Counts it as one that is not whole.
    pub(crate) fn count_broken(&self) {
        self.service.meter.streams_broken.add(1);
    }

    /// The next piece, once the client has the one before; none behind the last. Where this fails the answer is not whole.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(piece) = self.piece.take() {
            return Ok(Some(piece));
        }
        self.room = None;
        let Some(mut rows) = self.rows.take() else { return Ok(None) };
        let service = Arc::clone(&self.service);
        let work = async {
            let held = service.turn(&self.who).await?;
            let work = async move {
                let piece = rows.piece().await?;
                let room = held.room.of(piece.as_ref().map_or(0, Bytes::len));
                Ok::<_, engine::Error>((rows, piece, room))
            };
            service.lanes.run(&self.who.tenant, work).await.flatten()
        };
        let time_max = service.limits.stream_time_max;
        let (rows, piece, room) = before(self.until, time_max, work).await?;
        if piece.is_some() {
            (self.rows, self.room) = (Some(rows), Some(room));
        }
        service.meter.stream_bytes.add(piece.as_ref().map_or(0, Bytes::len) as u64);
        Ok(piece)
    }
}
