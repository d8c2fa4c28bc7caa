//! One part of an export becomes files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::compute::{cast, partition};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::file::OpenFile;
use super::files::{
    JOURNAL, LOCK, MANIFEST, OWNER, ending, file, folder, is_ours, record as record_name,
};
use super::manifest::File;
use super::{blocking, put_json};
use crate::error::{Code, Error, Result};
use crate::export::{ExportOptions, Form};
use crate::session::Session;
use crate::storage::{Target, TargetLock};

/// Most files of an export: more is a mistake in what makes folders, and no manifest for anybody.
const FILES_MAX: usize = 20_000;
/// Rows of one sheet, without the line of names.
const SHEET_ROWS_MAX: usize = (1 << 20) - 1;

/// Batches that are read and not yet written.
const BATCHES_AHEAD: usize = 2;

/// How parts are written.
pub(super) struct Writing<'a> {
    pub(super) session: &'a Session,
    pub(super) target: &'a Target,
    pub(super) options: &'a ExportOptions,
    pub(super) file_rows: usize,
    pub(super) partition_by: &'a [String],
    /// What tells what is exported from what others export.
    pub(super) plan: &'a str,
    pub(super) owner: &'a Owner,
    pub(super) room: &'a Room,
    pub(super) on_rows: &'a (dyn Fn(u64) -> Result<()> + Sync),
}

impl Writing<'_> {
    /// Writes a part, unless it is there.
    pub(super) async fn part(&self, number: usize, frame: DataFrame) -> Result<(usize, Vec<File>)> {
        if let Some(done) = self.done(number).await? {
            let rows = done.iter().map(|file| file.rows);
            (self.on_rows)(rows.fold(0, u64::saturating_add))?;
            for file in &done {
                self.room.another();
                self.room.take(file.bytes)?;
            }
            return Ok((number, done));
        }
        let mut part = Part { writing: self, number, files: Vec::new(), open: None };
        let written = part.write(frame).await;
        // Nothing is left of a file that is not whole.
        if let Some((_, open)) = part.open.take() {
            open.abort().await;
        }
        written?;
        self.owner.require(self.target).await?;
        let record = Record { plan: self.plan.to_owned(), files: part.files };
        put_json(self.target, &record_name(number), &record).await?;
        Ok((number, record.files))
    }

    /// The files of a part that was written before.
    async fn done(&self, number: usize) -> Result<Option<Vec<File>>> {
        let Some(bytes) = self.target.get(&record_name(number)).await? else { return Ok(None) };
        let Ok(Record { plan, files }) = serde_json::from_slice(&bytes) else { return Ok(None) };
        if plan != self.plan {
            return Ok(None);
        }
        for file in &files {
            // They are there under their names when they are whole, and may have been taken away since.
            if !is_ours(&file.name) || self.target.size(&file.name).await? != Some(file.bytes) {
                return Ok(None);
            }
        }
        Ok(Some(files))
    }

    fn rows_max(&self) -> usize {
        match self.options.form {
            Form::Xlsx => self.file_rows.min(SHEET_ROWS_MAX),
            _ => self.file_rows,
        }
        .max(1)
    }
}

/// Room for files: so many, and so many bytes.
pub(super) struct Room {
    files: AtomicUsize,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Room {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { files: AtomicUsize::new(0), bytes: AtomicU64::new(0), bytes_max }
    }

    /// Fails where the tenant's exports would be more than they may be.
    pub(super) fn take(&self, bytes: u64) -> Result<()> {
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if taken <= self.bytes_max {
            return Ok(());
        }
        let says = format!(
            "the tenant's exports have room for {} bytes more, and this one has more; expected fewer rows, or one that is deleted first",
            self.bytes_max
        );
        Err(Error::user(Code::LimitExceeded, says))
    }

    fn another(&self) -> bool {
        self.files.fetch_add(1, Ordering::Relaxed) < FILES_MAX
    }
}

/// What is known of a part that is written.
#[derive(Serialize, Deserialize)]
struct Record {
    /// Of which plan it is a part.
    plan: String,
    files: Vec<File>,
}

/// Who writes: of several at one place it is the last that began.
pub(super) struct Owner {
    id: String,
    _lock: Option<TargetLock>,
}

impl Owner {
    /// Takes a place over.
    pub(super) async fn take(target: &Target) -> Result<Self> {
        let (lock, id) = (target.lock(LOCK)?, Uuid::now_v7().to_string());
        target.put(OWNER, id.clone().into_bytes()).await?;
        Ok(Self { id, _lock: lock })
    }

    /// Fails where somebody else has taken it over since.
    pub(super) async fn require(&self, target: &Target) -> Result<()> {
        match target.get(OWNER).await? {
            Some(bytes) if bytes == self.id => Ok(()),
            _ => {
                let says = "another export was begun at this place meanwhile, and has it now";
                Err(Error::user(Code::Conflict, says))
            }
        }
    }
}

/// A part that is being written.
struct Part<'a> {
    writing: &'a Writing<'a>,
    number: usize,
    files: Vec<File>,
    /// The file that takes rows, in its folder.
    open: Option<(Folder, OpenFile)>,
}

/// The folder of rows, and how many files of it there were before.
#[derive(Clone, Default, PartialEq, Eq)]
struct Folder {
    name: String,
    files: usize,
}

impl Part<'_> {
    async fn write(&mut self, frame: DataFrame) -> Result<()> {
        let rows = self.writing.session.stream(frame).await?;
        let columns = Columns::of(&rows.schema(), self.writing.partition_by)?;
        let mut ahead = Ahead::of(rows);
        while let Some(batch) = ahead.next().await? {
            for (folder, rows) in columns.split(&batch)? {
                self.take(&columns.schema, folder, rows).await?;
            }
        }
        // Whoever reads the files finds the columns, if no rows.
        let is_empty = self.files.is_empty() && self.open.is_none();
        if is_empty && self.writing.partition_by.is_empty() {
            self.begin(&columns.schema, Folder::default()).await?;
        }
        self.end().await
    }

    /// Rows of one folder.
    async fn take(&mut self, schema: &SchemaRef, name: String, rows: RecordBatch) -> Result<()> {
        let (mut at, most) = (0, self.writing.rows_max());
        while at < rows.num_rows() {
            let fits = |(of, open): &(Folder, OpenFile)| of.name == name && open.rows() < most;
            if !self.open.as_ref().is_some_and(fits) {
                let before = self.open.as_ref().filter(|(of, _)| of.name == name);
                let files = before.map_or(0, |(of, _)| of.files + 1);
                self.end().await?;
                self.begin(schema, Folder { name: name.clone(), files }).await?;
            }
            let Some((_, open)) = &mut self.open else { continue };
            let more = (rows.num_rows() - at).min(most - open.rows());
            let bytes = open.write(rows.slice(at, more)).await?;
            self.writing.room.take(bytes)?;
            at += more;
            (self.writing.on_rows)(more as u64)?;
        }
        Ok(())
    }

    async fn begin(&mut self, schema: &SchemaRef, folder: Folder) -> Result<()> {
        if !self.writing.room.another() {
            let says = match self.writing.partition_by {
                [] => "file_rows: it makes more than",
                _ => "partition_by: its values make more than",
            };
            let says = format!("{says} {FILES_MAX} files; expected fewer");
            return Err(Error::user(Code::BadInput, says));
        }
        let options = self.writing.options;
        let ending = ending(options.form, options.packing);
        let name = format!("{}{}", folder.name, file(self.number, folder.files, &ending));
        let open = OpenFile::begin(self.writing.target, name, schema, options).await?;
        self.open = Some((folder, open));
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        if let Some((_, open)) = self.open.take() {
            let (file, bytes) = open.finish().await?;
            self.writing.room.take(bytes)?;
            self.files.push(file);
        }
        Ok(())
    }
}

/// Rows that are read while those before them are written.
struct Ahead {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    reading: JoinSet<()>,
}

impl Ahead {
    fn of(mut rows: SendableRecordBatchStream) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        // Ends with this.
        let mut reading = JoinSet::new();
        reading.spawn(async move {
            while let Some(batch) = rows.next().await {
                let failed = batch.is_err();
                if sender.send(batch.map_err(Error::from)).await.is_err() || failed {
                    break;
                }
            }
        });
        Self { batches, reading }
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match self.batches.recv().await {
            Some(batch) => batch.map(Some),
            None => match self.reading.join_next().await {
                Some(Err(error)) => Err(Error::internal(format!("reading rows stopped: {error}"))),
                _ => Ok(None),
            },
        }
    }
}

/// Which columns make folders, and which stand in files.
struct Columns {
    folders: Vec<(usize, String)>,
    files: Vec<usize>,
    schema: SchemaRef,
}

impl Columns {
    fn of(schema: &SchemaRef, partition_by: &[String]) -> Result<Self> {
        let folder = |name: &String| Ok((schema.index_of(name)?, name.clone()));
        let folders = partition_by.iter().map(folder).collect::<Result<Vec<_>>>()?;
        let is_folder = |at: &usize| folders.iter().any(|(folder, _)| folder == at);
        let files: Vec<usize> = (0..schema.fields().len()).filter(|at| !is_folder(at)).collect();
        let schema = Arc::new(schema.project(&files)?);
        Ok(Self { folders, files, schema })
    }

    /// Rows by their folders, which come in order.
    fn split(&self, batch: &RecordBatch) -> Result<Vec<(String, RecordBatch)>> {
        if self.folders.is_empty() {
            return Ok(vec![(String::new(), batch.clone())]);
        }
        let rows = batch.project(&self.files)?;
        let texts = self.folders.iter().map(|(at, _)| cast(batch.column(*at), &DataType::Utf8));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let mut parts = Vec::new();
        for range in partition(&texts)?.ranges() {
            let mut name = String::new();
            for ((_, column), texts) in self.folders.iter().zip(&texts) {
                let texts = arrow::array::AsArray::as_string::<i32>(texts);
                let value = (!texts.is_null(range.start)).then(|| texts.value(range.start));
                name.push_str(&folder(column, value)?);
            }
            parts.push((name, rows.slice(range.start, range.len())));
        }
        Ok(parts)
    }
}

/// Removes what a process left that ended while it wrote a file: a store shows no such thing, and a folder has it under another name.
pub(super) async fn sweep(target: &Target) {
    let Some(folder) = target.folder() else { return };
    let swept = blocking(move || {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && name.contains('=') {
                    folders.push(entry.path());
                } else if is_left(name) {
                    // Where it can not be removed, it is in nobody's way.
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    });
    let _ = swept.await;
}

fn is_left(name: &str) -> bool {
    let begun = name.rsplit_once('#');
    begun.is_some_and(|(name, number)| {
        is_ours(name) && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Removes files that are of no part: those of a try that was cut another way.
pub(super) async fn tidy(target: &Target, files: &[File]) -> Result<()> {
    let of_parts: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let there = target.list().await?;
    let is_ended = |name: &str| is_ours(name) && name != MANIFEST && !name.starts_with(JOURNAL);
    for name in there.keys().filter(|name| is_ended(name) && !of_parts.contains(name.as_str())) {
        target.remove(name).await?;
    }
    Ok(())
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
