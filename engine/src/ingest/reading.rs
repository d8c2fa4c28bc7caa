//! A file read and checked, on a thread of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datasets::conform::Conformer;
use datasets::read::{Format, Source};
use datasets::{DatasetSpec, RejectedRow};
use tokio::sync::mpsc;

use super::conflict::Repeated;
use super::settings::reading_spec;
use super::{LoadOptions, LoadProgress};
use crate::error::{Error, Result};
use crate::lake::{Table, grown};

/// What the reading thread hands over.
pub(super) struct Checked {
    pub(super) accepted: RecordBatch,
    pub(super) rejected: Vec<RejectedRow>,
    /// The columns that they have: those of the dataset, and those that they bring.
    pub(super) spec: Arc<DatasetSpec>,
    /// How often the columns had been changed that it was read for.
    pub(super) reshaped: u64,
}

/// Fails for a file that can not be begun with, of which nothing is made.
pub(super) async fn require_readable(
    spec: &DatasetSpec,
    source: &Source,
    format: Format,
    options: &LoadOptions,
) -> Result<()> {
    let spec = reading_spec(spec.clone(), options.new_columns);
    let (source, read) = (source.clone(), options.read.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let name = source.name().to_owned();
        let reader = datasets::read::open(source, format, Some(&spec), &read)?;
        let schema = reader.schema();
        Ok(Conformer::require_fit_of_new(&spec, &schema, &name)?)
    });
    looked.await.map_err(|e| Error::bug("looking at the file stopped", e))?
}

/// The reading thread's work.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) table: Arc<Table>,
    pub(super) source: Source,
    pub(super) format: Format,
    pub(super) options: LoadOptions,
}

impl Reading {
    /// Reads all rows and returns the reader's warnings. If `repeated` is given, only the rows that are to be kept are sent.
    pub(super) fn run(
        self,
        sender: &mpsc::Sender<Checked>,
        mut repeated: Option<Repeated>,
    ) -> Result<Vec<String>> {
        let name = self.source.name().to_owned();
        let entry = self.table.entry();
        let asked = self.options.create.iter().flat_map(|spec| &spec.columns).cloned();
        let asked = grown(&entry.spec, &asked.collect::<Vec<_>>())?;
        let spec = asked.unwrap_or_else(|| entry.spec.clone());
        let spec = reading_spec(spec, self.options.new_columns);
        let read = &self.options.read;
        let mut reader = datasets::read::open(self.source, self.format, Some(&spec), read)?;
        let (conformer, brought) = Conformer::growing(&spec, &reader.schema(), &name)?;
        let conformer = conformer.in_zone(read.csv.zone);
        let spec = Arc::new(brought.unwrap_or(spec));
        let mut progress = LoadProgress::default();
        while let Some(chunk) = reader.next_chunk()? {
            let conformed = conformer.conform(&chunk)?;
            progress.accepted += conformed.accepted.num_rows() as u64;
            progress.quarantined += conformed.rejected.len() as u64;
            let (accepted, rejected) = match &mut repeated {
                Some(repeated) => (repeated.filter(&conformed.accepted)?, Vec::new()),
                None => (conformed.accepted, conformed.rejected),
            };
            let (spec, reshaped) = (Arc::clone(&spec), entry.column_ids.reshaped);
            let checked = Checked { accepted, rejected, spec, reshaped };
            if sender.blocking_send(checked).is_err() {
                // The writer failed, and tells why.
                return Ok(Vec::new());
            }
            if let Some(sink) = &self.options.progress {
                sink(progress);
            }
        }
        Ok(reader.warnings())
    }
}
