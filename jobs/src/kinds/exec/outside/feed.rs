//! Writes the input to stdin.

use std::io;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio_util::sync::CancellationToken;

use super::error::{BoxError, Failure};

/// Rows of one message at most: bounds the copy that is encoded, and what the program must hold at a time.
const MESSAGE_ROWS: usize = 65_536;

/// Writes all batches and closes stdin; gives the rows written. A program that closes stdin or ends needs no more.
///
/// Dropped before, it leaves stdin open: a program whose output is at fault shall not fail for its input instead.
pub(super) async fn feed<E: Into<BoxError> + Send + 'static>(
    schema: SchemaRef,
    input: BoxStream<'static, Result<RecordBatch, E>>,
    stdin: &mut Option<ChildStdin>,
    ended: &CancellationToken,
) -> Result<u64, Failure> {
    let mut rows = 0;
    if let Some(pipe) = stdin {
        tokio::select! {
            biased;
            fed = write(schema, input, pipe, &mut rows) => fed?,
            () = ended.cancelled() => {}
        }
    }
    *stdin = None;
    Ok(rows)
}

async fn write<E: Into<BoxError> + Send + 'static>(
    schema: SchemaRef,
    mut input: BoxStream<'static, Result<RecordBatch, E>>,
    stdin: &mut ChildStdin,
    rows: &mut u64,
) -> Result<(), Failure> {
    let first = schema.clone();
    let (mut encoder, bytes) = encode(move || {
        let mut encoder = StreamWriter::try_new(Vec::new(), &first)?;
        let bytes = std::mem::take(encoder.get_mut());
        Ok((encoder, bytes))
    })
    .await?;
    if !write_all(stdin, &bytes).await? {
        return Ok(());
    }
    while let Some(batch) = input.next().await {
        let batch = batch.map_err(|source| Failure::Input(source.into()))?;
        check(&schema, &batch)?;
        let mut start = 0;
        while start < batch.num_rows() {
            let part = batch.slice(start, MESSAGE_ROWS.min(batch.num_rows() - start));
            let part_rows = part.num_rows();
            let bytes;
            (encoder, bytes) = encode(move || {
                encoder.write(&part)?;
                let bytes = std::mem::take(encoder.get_mut());
                Ok((encoder, bytes))
            })
            .await?;
            if !write_all(stdin, &bytes).await? {
                return Ok(());
            }
            start += part_rows;
            *rows += part_rows as u64;
        }
    }
    encoder.finish().map_err(|source| Failure::Input(source.into()))?;
    write_all(stdin, encoder.get_ref()).await?;
    Ok(())
}

/// The writer would not notice, and the program would read nonsense.
fn check(schema: &SchemaRef, batch: &RecordBatch) -> Result<(), Failure> {
    let types = |schema: &SchemaRef| -> Vec<_> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    let (expected, found) = (types(schema), types(&batch.schema()));
    if expected == found {
        return Ok(());
    }
    let why = format!("a batch has columns of the types {found:?}; {expected:?} are expected");
    Err(Failure::Input(why.into()))
}

/// Encodes on a thread that may take its time.
async fn encode<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArrowError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(encoded) => encoded.map_err(|source| Failure::Input(source.into())),
        Err(source) => Err(Failure::Input(source.into())),
    }
}

/// Writes; false where the program reads no more.
async fn write_all(stdin: &mut ChildStdin, bytes: &[u8]) -> Result<bool, Failure> {
    match stdin.write_all(bytes).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(source) => Err(Failure::Pipe { what: "writing to its stdin", source }),
    }
}
