//! An answer that is rows alone, in a form of its own: made a piece at a time, when its client has taken the one before.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use engine::{DataFrame, Encoder, Error, ExportOptions, Form, Pieces, Result, Session, Version};
use futures::TryStreamExt;
use parking_lot::Mutex;

use crate::error::over_limit;
use crate::plan::shown::{Shown, schema_of, shown};
use crate::service::streamed::{InPieces, PIECE_BYTES};

/// Bytes of rows that become text at once, about: a batch of long ones has many times more.
const ENCODED_BYTES: usize = 1 << 20;

/// Whether a request is answered in rows, and which ones these are once they are planned.
#[derive(Default)]
pub(crate) struct RowsSlot {
    is_asked: AtomicBool,
    given: Mutex<Option<GivenRows>>,
}

impl RowsSlot {
    /// From now on the request is answered in rows.
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Gives the rows.
    pub(crate) fn give(&self, rows: GivenRows) {
        *self.given.lock() = Some(rows);
    }

    /// The rows that were given.
    pub(crate) fn take(&self) -> Option<GivenRows> {
        self.given.lock().take()
    }
}

/// Rows of an answer before the first is read.
pub(crate) struct GivenRows {
    /// Of which dataset.
    pub dataset: String,
    /// At which version.
    pub version: Version,
    /// How many.
    pub rows: usize,
    /// Whether there are more.
    pub has_next: bool,
    /// The cursor of the last, where they have cursors.
    pub end_cursor: Option<String>,
    /// Their columns.
    pub shown: Vec<Shown>,
    /// Where they come from.
    pub source: Source,
}

/// Where rows come from.
pub(crate) enum Source {
    /// A plan.
    Plan {
        /// The session that it is of.
        session: Session,
        /// The rows, and before them some that are others'.
        frame: DataFrame,
        /// How many these are.
        skip: usize,
    },
    /// They are at hand, as the plan gave them, and are encoded into these pieces.
    Batch(RecordBatch, Pieces),
}

/// What is told of rows beside them.
#[derive(Clone, Debug)]
pub(crate) struct AboutRows {
    pub dataset: String,
    pub version: Version,
    pub rows: usize,
    pub has_next: bool,
    pub end_cursor: Option<String>,
}

impl AboutRows {
    /// As the metadata of a schema.
    fn named(&self, schema: &Schema) -> SchemaRef {
        let mut metadata = schema.metadata().clone();
        let texts = [
            ("colonnade.dataset", Some(self.dataset.clone())),
            ("colonnade.version", Some(self.version.to_string())),
            ("colonnade.rows", Some(self.rows.to_string())),
            ("colonnade.has_next_page", Some(self.has_next.to_string())),
            ("colonnade.end_cursor", self.end_cursor.clone()),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?)));
        metadata.extend(texts);
        schema.clone().with_metadata(metadata).into()
    }
}

/// Rows that are being answered.
pub(crate) struct Rows {
    /// What is told of them.
    pub about: AboutRows,
    shown: Vec<Shown>,
    /// As they are shown, and as they are told, with what is told beside them.
    schema: SchemaRef,
    told_schema: SchemaRef,
    source: Option<Reading>,
    encoder: Option<Encoder>,
    pieces: Pieces,
    /// A part of a batch that was read, and how many of its rows are encoded at once.
    left: Option<(RecordBatch, usize)>,
    rows_read: usize,
    bytes_max: usize,
}

/// Where rows are read from.
struct Reading {
    batches: SendableRecordBatchStream,
    skip: usize,
    /// Kept until the last was read.
    session: Session,
}

impl Rows {
    /// Begins to read what was given.
    pub(crate) async fn begin(
        given: GivenRows,
        options: &ExportOptions,
        bytes_max: usize,
    ) -> Result<Self> {
        let GivenRows { dataset, version, rows, has_next, end_cursor, shown, source } = given;
        let about = AboutRows { dataset, version, rows, has_next, end_cursor };
        let schema = schema_of(&shown);
        let told_schema = match options.form {
            Form::ArrowStream => about.named(&schema),
            _ => SchemaRef::clone(&schema),
        };
        let pieces = match &source {
            Source::Plan { session, .. } => session.pieces(),
            Source::Batch(_, pieces) => pieces.clone(),
        };
        let encoder = Some(Encoder::new(pieces.clone(), &told_schema, options)?);
        let (source, left) = match source {
            Source::Plan { session, frame, skip } => {
                let batches = session.stream(frame).await?;
                (Some(Reading { batches, skip, session }), None)
            }
            Source::Batch(batch, _) => (None, Some(in_steps(batch))),
        };
        let rows_read = left.as_ref().map_or(0, |(batch, _)| batch.num_rows());
        Ok(Self {
            about,
            shown,
            schema,
            told_schema,
            source,
            encoder,
            pieces,
            left,
            rows_read,
            bytes_max,
        })
    }

    /// The next rows of the page.
    async fn read(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(reading) = &mut self.source {
            let wanted = self.about.rows - self.rows_read;
            let batch = match wanted {
                0 => None,
                _ => reading.batches.try_next().await.map_err(Error::from)?,
            };
            let Some(batch) = batch else {
                self.source = None;
                break;
            };
            reading.session.hold(&batch)?;
            let skipped = reading.skip.min(batch.num_rows());
            reading.skip -= skipped;
            let rows = (batch.num_rows() - skipped).min(wanted);
            if rows > 0 {
                self.rows_read += rows;
                return Ok(Some(batch.slice(skipped, rows)));
            }
        }
        match self.rows_read == self.about.rows {
            true => Ok(None),
            false => Err(Error::internal(format!(
                "a page of {} rows gave {} when it was read again",
                self.about.rows, self.rows_read
            ))),
        }
    }
}

impl InPieces for Rows {
    type Piece = Bytes;

    async fn piece(&mut self) -> Result<Option<Bytes>> {
        while self.pieces.len() < PIECE_BYTES {
            let Some(encoder) = &mut self.encoder else { break };
            match self.left.take() {
                Some((batch, step)) => {
                    let rows = step.min(batch.num_rows());
                    let now = shown(&batch.slice(0, rows), &self.shown, &self.schema)?;
                    let now = now.with_schema(SchemaRef::clone(&self.told_schema))?;
                    // Nobody can leave a piece.
                    let _ = encoder.write(&now)?;
                    let more = batch.num_rows() - rows;
                    self.left = (more > 0).then(|| (batch.slice(rows, more), step));
                    if encoder.bytes() > self.bytes_max as u64 {
                        let what = "bytes of one streamed page (ask for fewer rows or columns)";
                        return Err(over_limit(what, self.bytes_max, "more"));
                    }
                }
                None => match self.read().await? {
                    Some(batch) => self.left = Some(in_steps(batch)),
                    None => {
                        if let Some(encoder) = self.encoder.take() {
                            let _ = encoder.finish()?;
                        }
                    }
                },
            }
        }
        Ok(self.pieces.take_some())
    }
}

/// Rows, and how many of them are few enough to be encoded at once.
fn in_steps(batch: RecordBatch) -> (RecordBatch, usize) {
    let row_bytes = (batch.get_array_memory_size() / batch.num_rows().max(1)).max(1);
    (batch, (ENCODED_BYTES / row_bytes).max(1))
}
