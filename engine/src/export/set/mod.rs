//! An export: rows as a set of files that says what it holds, and is whole or known not to be.
//!
//! ```text
//!  plan ─▶ parts, some at a time: rows ─▶ files, then their record ─▶ manifest, when all are there
//! ```
//!
//! A dataset is exported in parts, each of some of its files. Of each part that is written there is a record beside it, and of what is
//! exported a plan, so that the same export goes on where it ended, however that was. The manifest is written last: without one a set is
//! not whole. Nothing is held of the rows but what the encoders of those parts hold that are being written.

mod file;
mod files;
mod made;
mod manifest;
mod own;
mod place;
mod plan;
mod request;
mod work;

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{SecondsFormat, TimeDelta, Utc};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

pub use self::made::{MadeFiles, export_made};
pub use self::manifest::{File as ExportsFile, Manifest, Pinned, verify_export};
pub use self::own::{ExportedFile, SweptExports};
pub use self::request::{ExportPlace, ExportRequest, ExportSource, ExportWatch, IfThere};

use self::files::{MANIFEST, PLAN};
use self::manifest::{Column, Described, File};
use self::work::{Owner, Room, Writing, forget};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::export::{Form, Formulas};
use crate::identity::Principal;
use crate::session::{Part, Session};
use crate::storage::Target;

/// Most rows of one file, where nothing else is said.
pub const EXPORT_FILE_ROWS: usize = 1_000_000;

/// Writes an export from what `session` sees, which is one of `who`.
pub async fn export(
    engine: &Engine,
    who: &Principal,
    session: &Session,
    request: &ExportRequest,
    watch: &dyn ExportWatch,
) -> Result<Manifest> {
    let (target, left) = place::open(engine, who, session, &request.to).await?;
    if let Some(whole) = own::made_before(&target, &request.to, request.run_id.as_deref()).await? {
        return Ok(whole);
    }
    let owner = Owner::take(&target).await?;
    let (frame, plan) = plan::planned(engine, who, session, request).await?;
    let plan = match place::begun(&target, request, &plan).await? {
        Some(begun) => begun,
        None => {
            put_json(&target, PLAN, &plan).await?;
            plan
        }
    };
    work::sweep(&target).await;
    let session = session.in_order();
    let (rows, all) = (AtomicU64::new(0), plan.parts.len());
    let on_rows = |more: u64| {
        watch.rows(rows.fetch_add(more, Ordering::Relaxed) + more);
        watch.check()
    };
    let digest = plan.digest()?;
    let writing = Writing {
        session: &session,
        target: &target,
        options: &request.options,
        file_rows: request.file_rows,
        partition_by: &request.partition_by,
        plan: &digest,
        owner: &owner,
        room: &Room::new(left),
        on_rows: &on_rows,
    };
    let at_a_time = match request.options.form {
        // What a workbook becomes is held until its end.
        Form::Xlsx => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(all.max(1)),
    };
    // Each is made when it is its turn: there may be many.
    let part =
        |(number, part): (usize, Option<Part>)| -> BoxFuture<'_, Result<(usize, Vec<File>)>> {
            let (session, writing, frame) = (&session, &writing, &frame);
            Box::pin(async move {
                watch.check()?;
                let frame = match part {
                    None => frame.clone(),
                    Some(files) => plan::of_part(session, request, files).await?,
                };
                writing.part(number, frame).await
            })
        };
    let parts: Vec<(usize, Option<Part>)> = plan.parts.iter().cloned().enumerate().collect();
    let parts = stream::iter(parts).map(part).buffer_unordered(at_a_time);
    let mut files: Vec<(usize, Vec<File>)> = parts.try_collect().await?;
    files.sort_by_key(|(number, _)| *number);
    let files: Vec<File> = files.into_iter().flat_map(|(_, files)| files).collect();
    watch.check()?;
    work::tidy(&target, &files).await?;
    let contents = Contents {
        source: plan.source,
        datasets: plan.datasets,
        form: plan.form,
        packing: plan.packing,
        has_escaped_formulas: request.options.form == Form::Csv
            && request.options.csv.formulas == Formulas::Escaped,
        columns: plan.columns,
        partition_by: plan.partition_by,
        files,
    };
    let writer =
        Writer { who, session: &session, to: &request.to, run_id: request.run_id.as_deref() };
    ended(&target, &owner, &writer, contents).await
}

/// Who has an export written, and where to.
struct Writer<'a> {
    who: &'a Principal,
    session: &'a Session,
    to: &'a ExportPlace,
    run_id: Option<&'a str>,
}

/// What an export holds.
#[derive(Default)]
struct Contents {
    source: Described,
    datasets: Vec<Pinned>,
    form: String,
    packing: String,
    has_escaped_formulas: bool,
    columns: Vec<Column>,
    partition_by: Vec<String>,
    files: Vec<File>,
}

/// Says what an export holds whose files are all there: from now on it is whole.
async fn ended(
    target: &Target,
    owner: &Owner,
    writer: &Writer<'_>,
    contents: Contents,
) -> Result<Manifest> {
    owner.require(target).await?;
    let (now, grants) = (Utc::now(), writer.session.grants());
    let (expires_at, sees) = match writer.to {
        ExportPlace::Elsewhere(_) => (None, None),
        ExportPlace::Own { keep_days, .. } => {
            let expires_at = now + TimeDelta::days((*keep_days).into());
            (Some(expires_at), Some(grants.digest().to_owned()))
        }
    };
    let Contents { files, .. } = &contents;
    let manifest = Manifest {
        format_version: Manifest::FORMAT,
        written_by: format!("colonnade {}", env!("CARGO_PKG_VERSION")),
        requested_by: writer.who.subject.clone(),
        run_id: writer.run_id.map(str::to_owned),
        finished_at: now.to_rfc3339_opts(SecondsFormat::Millis, true),
        expires_at,
        is_part: !grants.is_all(),
        sees,
        rows: files.iter().map(|file| file.rows).fold(0, u64::saturating_add),
        bytes: files.iter().map(|file| file.bytes).fold(0, u64::saturating_add),
        source: contents.source,
        datasets: contents.datasets,
        form: contents.form,
        packing: contents.packing,
        has_escaped_formulas: contents.has_escaped_formulas,
        columns: contents.columns,
        partition_by: contents.partition_by,
        files: contents.files,
    };
    put_json(target, MANIFEST, &manifest).await?;
    forget(target).await;
    Ok(manifest)
}

async fn put_json(target: &Target, name: &str, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Error::bug("a manifest as JSON", e))?;
    text.push(b'\n');
    target.put(name, text).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(format!("writing rows stopped: {error}")))
}
