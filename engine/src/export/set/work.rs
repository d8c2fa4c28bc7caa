//! One part of an export becomes a file.

use std::ops::ControlFlow;

use datafusion::dataframe::DataFrame;
use futures::TryStreamExt as _;

use super::files::{JOURNAL, ending, is_ours, part as part_name, record as record_name};
use super::manifest::File;
use super::put_json;
use crate::error::{Error, Result};
use crate::export::{Encoder, ExportOptions, Pieces, Tally};
use crate::session::Session;
use crate::storage::{Target, Upload};

/// Bytes that are handed to the store at once.
const PIECE_BYTES: usize = 4 << 20;

/// Writes a part, unless it is there.
pub(super) async fn part(
    session: &Session,
    target: &Target,
    number: usize,
    frame: DataFrame,
    options: &ExportOptions,
    on_rows: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<(usize, File)> {
    if let Some(done) = done(target, number).await? {
        on_rows(done.rows)?;
        return Ok((number, done));
    }
    let name = part_name(number, &ending(options.form, options.packing));
    let mut upload = Some(target.begin(&name).await?);
    let written = write(session, &name, frame, options, &mut upload, on_rows).await;
    // Nothing is left of one that failed.
    if let Some(upload) = upload {
        upload.abort().await;
    }
    let file = written?;
    put_json(target, &record_name(number), &file).await?;
    Ok((number, file))
}

/// The file of a part that was written before.
async fn done(target: &Target, number: usize) -> Result<Option<File>> {
    let Some(bytes) = target.get(&record_name(number)).await? else { return Ok(None) };
    let Ok(file) = serde_json::from_slice::<File>(&bytes) else { return Ok(None) };
    // It is there under its name when it is whole, and may have been taken away since.
    let bytes = target.size(&file.name).await?;
    Ok((bytes == Some(file.bytes)).then_some(file))
}

async fn write(
    session: &Session,
    name: &str,
    frame: DataFrame,
    options: &ExportOptions,
    upload: &mut Option<Upload>,
    on_rows: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<File> {
    let pieces = Pieces::default();
    let (tally, writer) = Tally::over(pieces.clone());
    let mut rows = session.stream(frame).await?;
    let mut encoder = Encoder::new(writer, &rows.schema(), options)?;
    while let Some(batch) = rows.try_next().await? {
        let more = batch.num_rows() as u64;
        // To write them takes long, and others are to be served meanwhile.
        let (same, written) = blocking(move || {
            let written = encoder.write(&batch);
            (encoder, written)
        })
        .await?;
        encoder = same;
        require_taken(written?)?;
        send(&pieces, PIECE_BYTES, upload).await?;
        on_rows(more)?;
    }
    let all = encoder.rows();
    require_taken(blocking(move || encoder.finish()).await??)?;
    send(&pieces, 1, upload).await?;
    if let Some(whole) = upload.take() {
        whole.finish().await?;
    }
    let tallied = tally.tallied();
    let (bytes, sha256) = (tallied.bytes, tallied.sha256);
    Ok(File { name: name.to_owned(), rows: all, bytes, sha256 })
}

async fn send(pieces: &Pieces, least: usize, upload: &mut Option<Upload>) -> Result<()> {
    if let Some(upload) = upload.as_mut().filter(|_| pieces.len() >= least) {
        upload.write(pieces.take()).await?;
    }
    Ok(())
}

/// What is held here takes everything.
fn require_taken(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::internal("a file takes no more bytes")),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("writing rows stopped: {error}")))
}

/// Removes what a process left that ended while it wrote a file: a store shows no such thing, and a folder has it under another name.
pub(super) async fn sweep(target: &Target) {
    let Some(folder) = target.folder().map(ToOwned::to_owned) else { return };
    let swept = blocking(move || {
        let left = |name: &str| {
            let begun = name.rsplit_once('#');
            begun.is_some_and(|(name, number)| {
                is_ours(name) && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(left) {
                // Where it can not be, it is in nobody's way.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    });
    let _ = swept.await;
}

/// Forgets how an export came to be that is whole. What is left of that is in nobody's way.
pub(super) async fn forget(target: &Target) {
    let names = target.list().await.unwrap_or_default();
    for name in names.keys().filter(|name| name.starts_with(JOURNAL)) {
        if let Err(error) = target.remove(name).await {
            tracing::debug!(%error, name, "a record of an export stays there");
        }
    }
    if let Some(folder) = target.folder() {
        let _ = std::fs::remove_dir(folder.join(JOURNAL));
    }
}
