//! One file that takes rows.

use std::ops::ControlFlow;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::blocking;
use super::manifest::File;
use crate::error::{Error, Result};
use crate::export::{Encoder, ExportOptions, Pieces, Tally};
use crate::storage::{Target, Upload};

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 4 << 20;

/// A file that takes rows. It is there under its name once it is finished.
pub(super) struct OpenFile {
    name: String,
    /// There until it failed.
    encoder: Option<Encoder>,
    upload: Upload,
    pieces: Pieces,
    tally: Tally,
    rows: usize,
}

impl OpenFile {
    pub(super) async fn begin(
        target: &Target,
        name: String,
        schema: &SchemaRef,
        options: &ExportOptions,
    ) -> Result<Self> {
        let pieces = Pieces::default();
        let (tally, writer) = Tally::over(pieces.clone());
        let encoder = Some(Encoder::new(writer, schema, options)?);
        let upload = target.begin(&name).await?;
        Ok(Self { name, encoder, upload, pieces, tally, rows: 0 })
    }

    /// Rows that it has.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Writes rows; the bytes that came of them so far and were handed on.
    pub(super) async fn write(&mut self, batch: RecordBatch) -> Result<u64> {
        let Some(mut encoder) = self.encoder.take() else {
            return Err(Error::internal("rows for a file that failed"));
        };
        self.rows += batch.num_rows();
        // To write them takes long, and others are to be served meanwhile.
        let (encoder, written) = blocking(move || {
            let written = encoder.write(&batch);
            (encoder, written)
        })
        .await?;
        require_taken(written?)?;
        self.encoder = Some(encoder);
        self.send(PIECE_BYTES).await
    }

    /// Writes its end, and makes it a file; the bytes of that end.
    pub(super) async fn finish(mut self) -> Result<(File, u64)> {
        let written = match self.encoder.take() {
            None => Err(Error::internal("a file that failed was to be whole")),
            Some(encoder) => blocking(move || encoder.finish()).await.flatten(),
        };
        let sent = match written.and_then(require_taken) {
            Ok(()) => self.send(1).await,
            Err(error) => Err(error),
        };
        let end = match sent {
            Ok(end) => end,
            Err(error) => {
                self.upload.abort().await;
                return Err(error);
            }
        };
        self.upload.finish().await?;
        let tallied = self.tally.tallied();
        let (bytes, sha256) = (tallied.bytes, tallied.sha256);
        Ok((File { name: self.name, rows: self.rows as u64, bytes, sha256 }, end))
    }

    /// Leaves nothing of it.
    pub(super) async fn abort(self) {
        self.upload.abort().await;
    }

    async fn send(&mut self, least: usize) -> Result<u64> {
        if self.pieces.len() < least {
            return Ok(0);
        }
        let mut sent = 0;
        while let Some(bytes) = self.pieces.take_some() {
            sent += bytes.len() as u64;
            self.upload.write(bytes).await?;
        }
        Ok(sent)
    }
}

/// What is held here takes everything.
fn require_taken(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::internal("a file takes no more bytes")),
    }
}
