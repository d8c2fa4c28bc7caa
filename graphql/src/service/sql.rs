//! Queries in SQL, whose rows are streamed.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::scalar::ScalarValue;
use datasets::DatasetName;
use engine::{
    AsOf, DataFrame, Encoder, ExportOptions, Form, Pieces, Principal, Result, Session, SqlQuery,
    Version, rows_bytes,
};
use futures::TryStreamExt as _;

use super::streamed::{Begun, InPieces, PIECE_BYTES, Piece, Streamed, bytes_of};
use super::{Held, Service, before, in_time};
use crate::error::over_limit;

/// A query.
pub(crate) struct SqlRequest {
    pub(crate) sql: String,
    /// What stands for `$name` in it.
    pub(crate) parameters: BTreeMap<String, ScalarValue>,
    /// Datasets that are not read at their newest version.
    pub(crate) pins: Vec<(DatasetName, AsOf)>,
}

/// Rows on their way to a client.
pub(crate) struct SqlAnswer<M: MadeOfRows> {
    /// What is known of them.
    pub(crate) about: AboutQuery,
    /// The rows.
    pub(crate) pieces: Streamed<Rows<M>>,
}

/// What is known of a query that was planned.
#[derive(Clone)]
pub(crate) struct AboutQuery {
    /// The columns of its rows.
    pub(crate) schema: SchemaRef,
    /// The datasets that it reads, at their versions.
    pub(crate) versions: BTreeMap<DatasetName, Version>,
}

/// What rows are made into.
pub(crate) trait MadeOfRows: Send + 'static {
    /// What of them is handed over at once.
    type Piece: Piece;
    /// Bytes of that, about.
    const BYTES: usize;

    /// Takes rows.
    fn take(&mut self, batch: RecordBatch) -> Result<()>;
    /// Takes the end of them.
    fn end(&mut self) -> Result<()>;
    /// Bytes that it has.
    fn bytes(&self) -> usize;
    /// What it has.
    fn piece(&mut self) -> Option<Self::Piece>;
}

/// Rows of a query that are being answered.
pub(crate) struct Rows<M> {
    /// Until the last was read.
    batches: Option<SendableRecordBatchStream>,
    /// Rows that were read but not yet encoded.
    batch: Option<RecordBatch>,
    made: M,
    bytes: usize,
    bytes_max: usize,
    /// Kept until the last was read.
    session: Session,
}

impl Service {
    /// Answers a query in rows, which are what `who` sees.
    pub(crate) async fn sql<M: MadeOfRows>(
        &self,
        who: &Principal,
        request: impl FnOnce() -> Result<SqlRequest> + Send + 'static,
        bytes_max: usize,
        make: impl FnOnce(&AboutQuery, &Session) -> Result<M> + Send + 'static,
    ) -> Result<SqlAnswer<M>> {
        let began = Instant::now();
        let place = self.stream_place(who).await?;
        let (service, asks) = (self.0.clone(), who.clone());
        let work = move |held: Held| async move {
            let request = request()?;
            let session = service.engine.session(&asks, &request.pins).await?;
            let (frame, about) = planned(&session, &request).await?;
            let batches = session.stream(frame).await?;
            let about = AboutQuery { schema: batches.schema(), ..about };
            let (made, batches) = (make(&about, &session)?, Some(batches));
            let batch = None;
            let mut rows = Rows { batches, batch, made, bytes: 0, bytes_max, session };
            let piece = rows.piece().await?;
            let room = Some(held.room.of(bytes_of(&piece)));
            Ok((Begun { rows, piece, room, held: None }, about))
        };
        let (begun, about) = self.admitted(who, began, work).await?;
        Ok(SqlAnswer { about, pieces: self.streamed(who, begun, began, place) })
    }

    /// Does something of `who` that ends soon and answers with little, in its turn.
    pub(crate) async fn in_turn<T: Send + 'static>(
        &self,
        who: &Principal,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let work = move |held: Held| async move {
            let done = work.await;
            drop(held);
            done
        };
        self.admitted(who, Instant::now(), work).await
    }

    /// Does something once there is room and a place for it, which it is given; within the time of an operation.
    async fn admitted<T: Send + 'static, W>(
        &self,
        who: &Principal,
        began: Instant,
        work: impl FnOnce(Held) -> W,
    ) -> Result<T>
    where
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let limits = &self.0.limits;
        let held = self.0.admit(who, limits.queries_waiting_max);
        let held = in_time(limits.operation_time_max, held).await?;
        let work = Box::pin(work(held));
        let work = async { self.0.lanes.run(&who.tenant, work).await.flatten() };
        before(began + limits.operation_time_max, limits.operation_time_max, work).await
    }
}

/// The plan of a query, and what it reads.
pub(crate) async fn planned(
    session: &Session,
    request: &SqlRequest,
) -> Result<(DataFrame, AboutQuery)> {
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
    let versions = session.reads(&frame)?.into_iter().collect();
    let schema = SchemaRef::clone(frame.schema().inner());
    Ok((frame, AboutQuery { schema, versions }))
}

impl<M: MadeOfRows> InPieces for Rows<M> {
    type Piece = M::Piece;

    async fn piece(&mut self) -> Result<Option<M::Piece>> {
        while self.made.bytes() < M::BYTES {
            if let Some(batch) = self.batch.take() {
                let (few, others) = few_of(batch, M::BYTES);
                self.batch = others;
                self.made.take(few)?;
                continue;
            }
            let Some(batches) = &mut self.batches else { break };
            match batches.try_next().await? {
                Some(batch) => {
                    self.session.hold(&batch)?;
                    self.batch = Some(batch);
                }
                None => {
                    self.batches = None;
                    self.made.end()?;
                }
            }
        }
        if self.bytes + self.made.bytes() > self.bytes_max {
            return Err(over_limit("bytes of an answer in rows", self.bytes_max, "more"));
        }
        let piece = self.made.piece();
        self.bytes += bytes_of(&piece);
        Ok(piece)
    }
}

/// The first rows of `batch`, about `bytes` of them, and the remaining ones. Several columns may share an array, so a small
/// batch can become gigabytes of text.
fn few_of(batch: RecordBatch, bytes: usize) -> (RecordBatch, Option<RecordBatch>) {
    let count = batch.num_rows();
    let row_bytes = (rows_bytes(&batch) / count.max(1)).max(1);
    let few = (bytes / row_bytes).max(1);
    match few < count {
        true => (batch.slice(0, few), Some(batch.slice(few, count - few))),
        false => (batch, None),
    }
}

/// Rows as bytes of a form.
pub(crate) struct Encoded {
    schema: SchemaRef,
    encoder: Option<Encoder>,
    pieces: Pieces,
}

impl Encoded {
    pub(crate) fn new(
        about: &AboutQuery,
        session: &Session,
        options: &ExportOptions,
    ) -> Result<Self> {
        let schema = match options.form {
            Form::ArrowStream => with_versions(&about.schema, &about.versions),
            _ => SchemaRef::clone(&about.schema),
        };
        let pieces = session.pieces();
        let encoder = Some(Encoder::new(pieces.clone(), &schema, options)?);
        Ok(Self { schema, encoder, pieces })
    }
}

impl MadeOfRows for Encoded {
    type Piece = Bytes;
    const BYTES: usize = PIECE_BYTES;

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let batch = RecordBatch::try_new(SchemaRef::clone(&self.schema), batch.columns().to_vec())?;
        // What waits for the client is nothing to the encoder.
        let _ = encoder.write(&batch)?;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if let Some(encoder) = self.encoder.take() {
            let _ = encoder.finish()?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.pieces.len()
    }

    fn piece(&mut self) -> Option<Bytes> {
        self.pieces.take_some()
    }
}

/// The schema that says which versions were read.
pub(crate) fn with_versions(
    schema: &Schema,
    versions: &BTreeMap<DatasetName, Version>,
) -> SchemaRef {
    let mut metadata = schema.metadata().clone();
    metadata.insert("colonnade.versions".to_owned(), said(versions));
    schema.clone().with_metadata(metadata).into()
}

/// Versions as JSON.
pub(crate) fn said(versions: &BTreeMap<DatasetName, Version>) -> String {
    let versions = versions.iter().map(|(name, version)| (name.to_string(), version.0.into()));
    serde_json::Value::Object(versions.collect()).to_string()
}
