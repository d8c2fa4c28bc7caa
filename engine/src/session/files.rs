//! Files of this machine as tables of a query: `FROM 'data/*.parquet'`.
//!
//! They are read as `ingest` reads them, in each of its formats, and have the columns that a dataset made of the first would have.
//! For whoever has the machine: a session knows of files only where it was told to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datasets::conform::Conformer;
use datasets::infer::{GuessOptions, guess};
use datasets::read::{
    Format, ReadOptions, Renames, RepeatedNames, Source, TextEncoding, recognise,
};
use datasets::{DatasetName, DatasetSpec, Evolution, LoadSettings};

use crate::error::{Code, Error, Result};

/// Files that one name stands for, at most.
const FILES_MAX: usize = 10_000;
/// Batches that wait for whoever reads them, of each file.
const BATCHES_WAITING: usize = 2;

/// Whether a table's name is meant to be that of files: no dataset is called so.
pub(super) fn is_path(name: &str) -> bool {
    DatasetName::new(name).is_err()
}

/// The rows of all files that `pattern` names.
pub(super) async fn table(pattern: &str) -> Result<Arc<dyn TableProvider>> {
    let pattern = pattern.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&pattern));
    opened.await.map_err(|e| Error::bug("looking at a file stopped", e))?
}

fn open(pattern: &str) -> Result<Arc<dyn TableProvider>> {
    let paths = paths(pattern)?;
    let name = DatasetName::new("file").map_err(|e| Error::bug("a name for files", e))?;
    let mut spec: Option<Arc<DatasetSpec>> = None;
    let mut read = options(&LoadSettings::default());
    let mut parts: Vec<Arc<dyn PartitionStream>> = Vec::with_capacity(paths.len());
    for path in paths {
        let source = Source::File { name: path.display().to_string(), path };
        let format = recognise(&source, &name)?;
        let spec = match &spec {
            Some(spec) => Arc::clone(spec),
            None => {
                let options = GuessOptions { read: read.clone(), ..GuessOptions::default() };
                let found = guess(&name, &source, format, &options)?;
                read.renames.columns = found.renames;
                let found = DatasetSpec { evolution: Evolution::Fixed, ..found.spec };
                Arc::clone(spec.insert(Arc::new(found)))
            }
        };
        let schema = spec.arrow_schema();
        let read = read.clone();
        parts.push(Arc::new(FilePart { source, format, spec, schema, read }));
    }
    let schema = spec.map(|spec| spec.arrow_schema());
    let schema = schema.ok_or_else(|| Error::internal("files without one"))?;
    Ok(Arc::new(StreamingTable::try_new(schema, parts)?))
}

/// The options with which `ingest` reads files by default. A query cannot rename columns with the same name, so they are
/// numbered.
fn options(load: &LoadSettings) -> ReadOptions {
    let csv = load.csv_options(TextEncoding::Found);
    let renames = Renames { repeated: RepeatedNames::Numbered, ..Renames::default() };
    ReadOptions { csv, renames, ..ReadOptions::default() }
}

/// The files that a pattern names, by name.
fn paths(pattern: &str) -> Result<Vec<PathBuf>> {
    let bad = |says: String| Error::user(Code::BadInput, format!("FROM '{pattern}': {says}"));
    if Path::new(pattern).is_file() {
        return Ok(vec![pattern.into()]);
    }
    let found = glob::glob(pattern).map_err(|e| bad(e.to_string()))?;
    let mut paths = Vec::new();
    for path in found {
        let path = path.map_err(|e| {
            let doing = format!("look for the files of '{pattern}'");
            Error::environment(Code::StorageUnavailable, doing, std::io::Error::from(e))
        })?;
        if path.is_file() {
            paths.push(path);
        }
        if paths.len() > FILES_MAX {
            return Err(bad(format!("these are more than {FILES_MAX} files")));
        }
    }
    match paths.is_empty() {
        true => Err(Error::user(
            Code::NotFound,
            format!("FROM '{pattern}': there is no such file, and no dataset can be called so"),
        )),
        false => Ok(paths),
    }
}

/// One file.
#[derive(Debug)]
struct FilePart {
    source: Source,
    format: Format,
    spec: Arc<DatasetSpec>,
    schema: SchemaRef,
    read: ReadOptions,
}

impl PartitionStream for FilePart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_WAITING);
        let (batches, source) = (builder.tx(), self.source.clone());
        let (format, spec, read) = (self.format, Arc::clone(&self.spec), self.read.clone());
        builder.spawn_blocking(move || {
            let ours = |e: Error| DataFusionError::External(Box::new(e));
            let mut reader = Rows::open(source, format, &spec, &read).map_err(ours)?;
            while let Some(batch) = reader.next().map_err(ours)? {
                if batches.blocking_send(Ok(batch)).is_err() {
                    // Nobody reads any more.
                    return Ok(());
                }
            }
            Ok(())
        });
        builder.build()
    }
}

/// The rows of a file, of which all must fit.
struct Rows {
    reader: Box<dyn datasets::read::RowReader>,
    conformer: Conformer,
}

impl Rows {
    fn open(
        source: Source,
        format: Format,
        spec: &DatasetSpec,
        read: &ReadOptions,
    ) -> Result<Self> {
        let name = source.name().to_owned();
        let unlike = |e: datasets::Error| {
            let says = "of several files the first says which columns they have";
            Error::user(Code::BadInput, format!("{}; {says}", Error::from(e)))
        };
        let read = ReadOptions { csv: spec.load.csv_options(TextEncoding::Found), ..read.clone() };
        let reader = datasets::read::open(source, format, Some(spec), &read).map_err(unlike)?;
        let conformer = Conformer::new(spec, &reader.schema(), &name).map_err(unlike)?;
        Ok(Self { reader, conformer })
    }

    fn next(&mut self) -> Result<Option<arrow::array::RecordBatch>> {
        let Some(chunk) = self.reader.next_chunk()? else { return Ok(None) };
        let conformed = self.conformer.conform(&chunk)?;
        match conformed.rejected.first() {
            None => Ok(Some(conformed.accepted)),
            Some(row) => Err(Error::user(
                Code::BadInput,
                format!(
                    "{}: {}; `colonnade ingest` sets such rows aside and loads the others",
                    row.position, row.reason
                ),
            )),
        }
    }
}
