//! An export: rows as a set of files that says what it holds, and is whole or known not to be.
//!
//! ```text
//!  plan ─▶ parts, some at a time: rows ─▶ encoder ─▶ file, then its record ─▶ manifest, when all are there
//! ```
//!
//! A dataset is exported in parts, each of some of its files. Of each part that is written there is a record beside it, and of what is
//! exported a plan, so that the same export goes on where it ended, however that was. The manifest is written last: without one a set is
//! not whole. Nothing is held of the rows but what the encoders of those parts hold that are being written.

mod files;
mod manifest;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, ident};
use datasets::{DatasetName, DatasetSpec, did_you_mean};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

pub use self::manifest::{Column, Described, File, Manifest, Pinned, verify_export};

use self::files::{MANIFEST, PLAN, is_ours};
use crate::error::{Code, Error, Result};
use crate::export::ExportOptions;
use crate::options::Access;
use crate::session::{Part, Session};
use crate::storage::Target;

/// Rows of one file, about, where nothing else is said.
pub const EXPORT_FILE_ROWS: usize = 1_000_000;

/// What is to be exported, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// The rows.
    pub source: ExportSource,
    /// A folder, or a URL of an object store.
    pub to: String,
    /// How they are written.
    pub options: ExportOptions,
    /// What becomes of an export that lies there.
    pub there: IfThere,
    /// Rows of one file, about.
    pub file_rows: usize,
    /// Who asks for it.
    pub requested_by: String,
    /// The run that does it, where one does.
    pub run_id: Option<String>,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportSource {
    /// A dataset, at the version that the session has.
    Dataset {
        /// Which.
        dataset: DatasetName,
        /// Which of its rows, in SQL; all where there is none.
        condition: Option<String>,
        /// Which of its columns, in this order; all where there are none.
        columns: Vec<String>,
    },
    /// A query.
    Sql(String),
}

/// What becomes of an export that lies where another is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfThere {
    /// It is an error, unless it is the same one, which goes on.
    #[default]
    Refuse,
    /// It is removed first.
    Overwrite,
}

/// How an export is watched.
pub trait ExportWatch: Sync {
    /// Fails where it shall end.
    fn check(&self) -> Result<()>;
    /// Is told how many rows are written.
    fn rows(&self, rows: u64);
}

/// What is exported, as the journal has it: of two exports that write the same files it is the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plan {
    source: Described,
    datasets: Vec<Pinned>,
    columns: Vec<Column>,
    form: String,
    packing: String,
    csv: String,
    /// What tells what is seen of the datasets.
    sees: String,
    file_rows: usize,
    /// Of each part its files; none, where it is all rows.
    parts: Vec<Option<Part>>,
}

impl Plan {
    fn is_of(&self, other: &Self) -> bool {
        // The list of files may come in another order.
        let parts = other.parts.clone();
        Self { parts, ..self.clone() } == *other
    }
}

/// Writes an export from what `session` sees.
pub async fn export(
    session: &Session,
    request: &ExportRequest,
    watch: &dyn ExportWatch,
) -> Result<Manifest> {
    require_outside(session, &request.to)?;
    let target = Target::open(&request.to, &Access::Writer { holder: "an export".to_owned() })?;
    let (frame, plan) = planned(session, request).await?;
    let plan = match begun(&target, request, &plan).await? {
        Some(begun) => begun,
        None => {
            put_json(&target, PLAN, &plan).await?;
            plan
        }
    };
    work::sweep(&target).await;
    let session = session.in_order();
    let (rows, all) = (AtomicU64::new(0), plan.parts.len());
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from).min(all.max(1));
    let parts = plan.parts.iter().cloned().enumerate().map(|(number, part)| {
        let (session, target, frame, rows) = (&session, &target, &frame, &rows);
        async move {
            watch.check()?;
            let frame = match part {
                None => frame.clone(),
                Some(files) => of_part(session, request, files).await?,
            };
            let on_rows = |more: u64| {
                watch.rows(rows.fetch_add(more, Ordering::Relaxed) + more);
                watch.check()
            };
            work::part(session, target, number, frame, &request.options, &on_rows).await
        }
    });
    let mut files: Vec<(usize, File)> =
        stream::iter(parts.collect::<Vec<_>>()).buffer_unordered(at_a_time).try_collect().await?;
    files.sort_by_key(|(number, _)| *number);
    let files: Vec<File> = files.into_iter().map(|(_, file)| file).collect();
    watch.check()?;
    let manifest = Manifest {
        format_version: Manifest::FORMAT,
        written_by: format!("colonnade {}", env!("CARGO_PKG_VERSION")),
        requested_by: request.requested_by.clone(),
        run_id: request.run_id.clone(),
        finished_at: Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        is_part: !session.grants().is_all(),
        source: plan.source,
        datasets: plan.datasets,
        form: plan.form,
        packing: plan.packing,
        columns: plan.columns,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
    };
    put_json(&target, MANIFEST, &manifest).await?;
    work::forget(&target).await;
    Ok(manifest)
}

/// The rows, and what is said of them.
async fn planned(session: &Session, request: &ExportRequest) -> Result<(DataFrame, Plan)> {
    let ordered = session.in_order();
    let (frame, source, parts, datasets, spec) = match &request.source {
        ExportSource::Dataset { dataset, condition, columns: _ } => {
            let version = session
                .version(dataset)
                .ok_or_else(|| session.catalog().unknown(dataset.as_str()))?;
            let frame = narrowed(&ordered, request, ordered.table(dataset).await?).await?;
            let parts = match session.parts(dataset, request.file_rows.max(1)).await? {
                None => vec![None],
                Some(parts) if parts.is_empty() => vec![None],
                Some(parts) => parts.into_iter().map(Some).collect(),
            };
            let source = Described {
                dataset: Some(dataset.clone()),
                condition: condition.clone(),
                ..Described::default()
            };
            let datasets = vec![Pinned { dataset: dataset.clone(), version }];
            let spec = session.spec(dataset).await?;
            (frame, source, parts, datasets, Some(spec))
        }
        ExportSource::Sql(sql) => {
            let frame = ordered.sql(sql).await?;
            let read = session.reads(&frame)?.into_iter();
            let datasets = read.map(|(dataset, version)| Pinned { dataset, version }).collect();
            let source = Described { sql: Some(sql.clone()), ..Described::default() };
            (frame, source, vec![None], datasets, None)
        }
    };
    let columns = columns_of(&frame, spec.as_ref());
    let ExportOptions { form, packing, csv } = &request.options;
    let plan = Plan {
        source,
        datasets,
        columns,
        form: form.name().to_owned(),
        packing: format!("{packing:?}").to_lowercase(),
        csv: format!("{csv:?}"),
        sees: session.grants().digest().to_owned(),
        file_rows: request.file_rows,
        parts,
    };
    Ok((frame, plan))
}

async fn of_part(session: &Session, request: &ExportRequest, files: Part) -> Result<DataFrame> {
    let ExportSource::Dataset { dataset, .. } = &request.source else {
        return Err(Error::internal("a query has no parts"));
    };
    let frame = session.part(dataset, files).await?;
    narrowed(session, request, frame).await
}

/// The rows and columns that are asked for.
async fn narrowed(
    session: &Session,
    request: &ExportRequest,
    frame: DataFrame,
) -> Result<DataFrame> {
    let ExportSource::Dataset { dataset, condition, columns } = &request.source else {
        return Ok(frame);
    };
    let frame = match condition {
        None => frame,
        Some(condition) => frame.filter(session.condition(dataset, condition).await?)?,
    };
    if columns.is_empty() {
        return Ok(frame);
    }
    let there: Vec<String> =
        frame.schema().fields().iter().map(|field| field.name().clone()).collect();
    let mut shown: Vec<Expr> = Vec::with_capacity(columns.len());
    for (at, column) in columns.iter().enumerate() {
        if !there.contains(column) {
            let near = did_you_mean(column, there.iter().map(String::as_str));
            let near = near.unwrap_or_else(|| format!("it has {}", there.join(", ")));
            let says = format!("columns: {dataset} has no column {column:?}; {near}");
            return Err(Error::user(Code::BadInput, says));
        }
        if columns[..at].contains(column) {
            let says = format!("columns: {column:?} is named twice");
            return Err(Error::user(Code::BadInput, says));
        }
        shown.push(ident(column));
    }
    Ok(frame.select(shown)?)
}

fn columns_of(frame: &DataFrame, spec: Option<&DatasetSpec>) -> Vec<Column> {
    let fields = frame.schema().fields().iter();
    let column = |field: &Arc<arrow::datatypes::Field>| {
        let known = spec.and_then(|spec| spec.columns.iter().find(|c| c.name == *field.name()));
        Column {
            name: field.name().clone(),
            kind: known.map_or_else(|| field.data_type().to_string(), |c| c.data_type.to_string()),
            nullable: known.map_or(field.is_nullable(), |c| c.nullable),
            unit: known.and_then(|c| c.unit.clone()),
            description: known.map(|c| c.description.clone()).filter(|text| !text.is_empty()),
        }
    };
    fields.map(column).collect()
}

/// The plan of what was begun there, where it is this; `None` where nothing is there. Fails where something else is.
async fn begun(target: &Target, request: &ExportRequest, plan: &Plan) -> Result<Option<Plan>> {
    let there = target.list().await?;
    if let Some(other) = there.keys().find(|name| !is_ours(name)) {
        let says = format!(
            "{}: {other} lies there, which is no export's; expected an empty folder, or one with an export",
            request.to
        );
        return Err(Error::user(Code::Conflict, says));
    }
    if there.is_empty() {
        return Ok(None);
    }
    let whole = there.contains_key(MANIFEST);
    let known = match target.get(PLAN).await? {
        Some(bytes) => serde_json::from_slice::<Plan>(&bytes).ok(),
        None => None,
    };
    if request.there == IfThere::Overwrite {
        // First what says that it is whole.
        target.remove(MANIFEST).await?;
        let same = known.filter(|known| !whole && known.is_of(plan));
        if same.is_none() {
            for name in there.keys() {
                target.remove(name).await?;
            }
        }
        return Ok(same);
    }
    let refuse = |what: &str| {
        let says =
            format!("{}: {what} lies there; expected another folder, or `overwrite`", request.to);
        Err(Error::user(Code::Conflict, says))
    };
    match known.filter(|known| known.is_of(plan)) {
        _ if whole => refuse("an export"),
        Some(known) => Ok(Some(known)),
        None => refuse("a part of another export"),
    }
}

/// Files that are written among those of a root would be taken for its own.
fn require_outside(session: &Session, to: &str) -> Result<()> {
    let Some(root) = session.root_folder() else { return Ok(()) };
    if to.contains("://") {
        return Ok(());
    }
    let real = |path: &std::path::Path| {
        let mut known = std::path::absolute(path).ok()?;
        let mut rest = Vec::new();
        // What is not there yet has no real path.
        loop {
            if let Ok(real) = known.canonicalize() {
                return Some(rest.iter().rev().fold(real, |path, part| path.join(part)));
            }
            rest.push(known.file_name()?.to_owned());
            known.pop();
        }
    };
    let (root, to_path) = (real(root), real(std::path::Path::new(to)));
    match (root, to_path) {
        (Some(root), Some(to_path)) if to_path.starts_with(&root) => {
            let says =
                format!("{to}: this lies in the root of the data; expected a folder outside of it");
            Err(Error::user(Code::BadInput, says))
        }
        (_, None) => {
            let says = format!("{to}: this is no path of a folder");
            Err(Error::user(Code::BadInput, says))
        }
        _ => Ok(()),
    }
}

async fn put_json(target: &Target, name: &str, value: &impl Serialize) -> Result<()> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|e| Error::bug("a manifest as JSON", e))?;
    text.push(b'\n');
    target.put(name, text).await
}
