//! Writing what a job made: append, overwrite, or replace partitions, as one commit.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::scalar::ScalarValue;
use datasets::conform::Conformer;
use datasets::read::Chunk;
use datasets::{DatasetName, DatasetSpec};
use deltalake_core::kernel::{LogicalFileView, Remove};
use deltalake_core::table::state::DeltaTableState;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::head::Size;
use super::{
    Author, Batches, Commit, CommitLabel, DataFiles, FileWriter, Head, Lake, Prepared, Proposal,
    Publication, Table, WriteMode,
};
use crate::bus::CommitKind;
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, Version};

impl Lake {
    /// Writes `batches` and commits them.
    #[tracing::instrument(
        name = "write", skip_all,
        fields(tenant = %who.tenant, %dataset, run_id = label.run_id.map(|id| id.to_string()))
    )]
    pub(crate) async fn write(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        mode: WriteMode,
        batches: Batches,
        label: CommitLabel,
    ) -> Result<Commit> {
        self.require_writer()?;
        let table = self.table(&who.tenant, dataset).await?;
        {
            let mut head = table.head.lock().await;
            head.require_writable()?;
            if label.is_made(&table, &mut head).await? {
                return Ok(duplicate(dataset, &head));
            }
        }
        let written = async {
            let prepared = self.prepare(who, dataset, mode, batches, label).await?;
            self.commit_prepared(who, prepared).await
        };
        self.noting(written.await)
    }

    /// Writes `batches` to files that are not part of the table yet.
    pub(crate) async fn prepare(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        mode: WriteMode,
        batches: Batches,
        label: CommitLabel,
    ) -> Result<Prepared> {
        self.require_writer()?;
        let table = self.table(&who.tenant, dataset).await?;
        let after = mode.after();
        let (writer, checked, replaced) = {
            let head = table.head.lock().await;
            head.require_writable()?;
            let replaced = Replaced::new(&head, mode)?;
            require_as_read(&table, &head, after, &replaced).await?;
            (FileWriter::new(&table, &head)?, Checked::new(&head), replaced)
        };
        let files = write_all(writer, checked, batches)
            .await
            .map_err(|e| e.while_doing(format_args!("writing to dataset {dataset}")))?;
        if let Err(e) = replaced.require_within(&files) {
            files.discard(&table).await;
            return Err(e);
        }
        Ok(Prepared { table, files, replaced, after, label })
    }

    /// Commits one by itself.
    pub(super) async fn commit_prepared(
        &self,
        who: &Principal,
        prepared: Prepared,
    ) -> Result<Commit> {
        let Prepared { table, files, replaced, after, label } = prepared;
        let mut author = Write { files: &files, replaced, after, label: &label, publication: None };
        let landed = self.commit(&table, &who.subject, &label, &mut author).await;
        let (rows, bytes) = (files.size.rows.unwrap_or_default(), files.size.bytes);
        let dataset = &table.name;
        match landed {
            Ok(landed) if landed.committed => Ok(Commit {
                dataset: dataset.clone(),
                version: landed.version,
                rows,
                bytes,
                duplicate: false,
            }),
            Ok(_) => {
                files.discard(&table).await;
                let head = table.head.lock().await;
                Ok(duplicate(dataset, &head))
            }
            Err(e) => {
                files.discard(&table).await;
                Err(e)
            }
        }
    }
}

impl CommitLabel {
    /// Whether a commit with this label's idempotency was made before.
    pub(crate) async fn is_made(&self, table: &Table, head: &mut Head) -> Result<bool> {
        match &self.idempotency {
            Some((id, number)) => {
                Ok(head.last_sequence(table, id).await?.is_some_and(|last| last >= *number))
            }
            None => Ok(false),
        }
    }
}

fn duplicate(dataset: &DatasetName, head: &Head) -> Commit {
    Commit { dataset: dataset.clone(), version: head.version(), rows: 0, bytes: 0, duplicate: true }
}

/// Fails when a commit came after the version that the rows follow from; where they take the place of partitions, one to these.
pub(super) async fn require_as_read(
    table: &Table,
    head: &Head,
    after: Option<Version>,
    replaced: &Replaced,
) -> Result<()> {
    let Some(after) = after else { return Ok(()) };
    if (head.changed_at..=head.version).contains(&after.0) {
        return Ok(());
    }
    let is_of_partitions = matches!(replaced, Replaced::Partitions(_));
    if is_of_partitions && after.0 < head.version {
        let files = async |version| Ok::<_, Error>(replaced.files(&table.state(version).await?));
        if files(after.0).await? == files(head.version).await? {
            return Ok(());
        }
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "dataset {}: expected version {after} to be the newest, found {}: another commit came first; try again",
            head.spec.name,
            head.version()
        ),
    ))
}

/// Writes all batches, or nothing.
async fn write_all(
    mut writer: FileWriter,
    mut checked: Checked,
    batches: Batches,
) -> Result<DataFiles> {
    let written = async {
        match batches {
            Batches::Memory(batches) => {
                for batch in batches {
                    writer.write(checked.check(&batch)?).await?;
                }
            }
            Batches::Stream(mut stream) => {
                while let Some(batch) = stream.next().await {
                    writer.write(checked.check(&batch?)?).await?;
                }
            }
        }
        Ok(())
    };
    let written = written.await;
    writer.finish_after(written).await
}

/// Holds a job's rows to the spec that everyone's rows are held to. A row that does not fit is the
/// job's error: there is nobody to mend it in a quarantine.
pub(crate) struct Checked {
    spec: Arc<DatasetSpec>,
    plan: Option<(SchemaRef, Conformer)>,
    rows: u64,
}

impl Checked {
    pub(crate) fn new(head: &Head) -> Self {
        Self::of(Arc::clone(&head.spec))
    }

    pub(crate) fn of(spec: Arc<DatasetSpec>) -> Self {
        Self { spec, plan: None, rows: 0 }
    }

    /// The rows with exactly the dataset's columns, computed partition columns included.
    pub(crate) fn check(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        // Rows that come from a dataset may have its computed columns; they are computed anew.
        let kept: Vec<usize> = batch
            .schema_ref()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| self.spec.computed_partitions().all(|p| &p.column != f.name()))
            .map(|(i, _)| i)
            .collect();
        let batch = batch.project(&kept)?;
        let schema = batch.schema();
        let conformer = match &mut self.plan {
            Some((planned, conformer)) if *planned == schema => conformer,
            plan => {
                let conformer = Conformer::new(&self.spec, &schema, "rows")?;
                &mut plan.insert((schema, conformer)).1
            }
        };
        let first_row = self.rows + 1;
        self.rows += batch.num_rows() as u64;
        let chunk = Chunk { batch, first_row, rows: None, lines: None, rejected: Vec::new() };
        let conformed = conformer.conform(&chunk)?;
        if let Some(row) = conformed.rejected.first() {
            return Err(Error::user(
                Code::BadInput,
                format!(
                    "{} rows do not fit; the first is {}: {}",
                    conformed.rejected.len(),
                    row.position,
                    row.reason
                ),
            ));
        }
        Ok(conformed.accepted)
    }
}

/// The author of a write.
pub(super) struct Write<'a> {
    pub(super) files: &'a DataFiles,
    pub(super) replaced: Replaced,
    /// The version that must still be the newest.
    pub(super) after: Option<Version>,
    pub(super) label: &'a CommitLabel,
    /// What else is to be seen together with it.
    pub(super) publication: Option<&'a Publication>,
}

#[async_trait]
impl Author for Write<'_> {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        if self.label.is_made(table, head).await? {
            return Ok(None);
        }
        require_as_read(table, head, self.after, &self.replaced).await?;
        let (removes, removed) = self.replaced.removes(table, head).await?;
        Ok(Some(Proposal {
            kind: Some(self.replaced.kind()),
            removes,
            removed,
            sequences: self.label.numbers(),
            publication: self.publication.cloned(),
            ..Proposal::adding([self.files])
        }))
    }
}

/// Which rows a write takes the place of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Replaced {
    Nothing,
    All,
    /// Values by partition column, as Delta writes them.
    Partitions(BTreeMap<String, BTreeSet<Option<String>>>),
}

impl Replaced {
    fn new(head: &Head, mode: WriteMode) -> Result<Self> {
        let replaced = match mode {
            WriteMode::Append | WriteMode::AppendAfter(_) => return Ok(Self::Nothing),
            WriteMode::Overwrite => Self::All,
            WriteMode::ReplacePartitions(values) | WriteMode::ReplacePartitionsAfter(values, _) => {
                let mut by_column: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
                for (column, value) in values {
                    let value = partition_value(head, &column, &value)?;
                    by_column.entry(column).or_default().insert(value);
                }
                if by_column.is_empty() {
                    return Err(Error::user(
                        Code::BadInput,
                        format!("dataset {}: no partition to replace was named", head.spec.name),
                    ));
                }
                Self::Partitions(by_column)
            }
        };
        head.require_replaceable()?;
        Ok(replaced)
    }

    fn kind(&self) -> CommitKind {
        match self {
            Self::Nothing => CommitKind::Append,
            Self::All => CommitKind::Overwrite,
            Self::Partitions(_) => CommitKind::ReplacePartitions,
        }
    }

    fn holds(&self, value: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Partitions(by_column) => {
                by_column.iter().all(|(column, values)| values.contains(&value(column)))
            }
        }
    }

    /// Fails when new rows lie outside the partitions that they are to replace.
    fn require_within(&self, files: &DataFiles) -> Result<()> {
        let Self::Partitions(by_column) = self else { return Ok(()) };
        for add in &files.adds {
            let value = |column: &str| add.partition_values.get(column).cloned().flatten();
            if !self.holds(value) {
                let found: Vec<String> = by_column
                    .keys()
                    .map(|c| format!("{c} = {}", value(c).unwrap_or_else(|| "null".to_owned())))
                    .collect();
                return Err(Error::user(
                    Code::BadInput,
                    format!(
                        "replacing partitions: the new rows have some at {}, which is not among \
                         those to be replaced",
                        found.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// The files of the rows that it takes the place of.
    fn files(&self, state: &DeltaTableState) -> BTreeSet<String> {
        let log = state.log_data();
        let files = log.iter().filter(|file| {
            let values = file.partition_values_map();
            self.holds(|column| values.get(column).cloned().flatten())
        });
        files.map(|file| file.path().to_string()).collect()
    }

    async fn removes(&self, table: &Table, head: &Head) -> Result<(Vec<Remove>, Size)> {
        let nothing = Size { rows: Some(0), ..Size::default() };
        if matches!(self, Self::Nothing) {
            return Ok((Vec::new(), nothing));
        }
        let state = table.state(head.version).await?;
        let files: Vec<LogicalFileView> = state
            .log_data()
            .iter()
            .filter(|file| {
                let values = file.partition_values_map();
                self.holds(|column| values.get(column).cloned().flatten())
            })
            .collect();
        let size = files.iter().map(Size::of_file).fold(nothing, |a, b| Size {
            rows: a.rows.zip(b.rows).map(|(a, b)| a + b),
            bytes: a.bytes + b.bytes,
            files: a.files + b.files,
        });
        let removes: Vec<Remove> = files.iter().map(|file| file.remove_action(true)).collect();
        require_same_paths(&state, &removes)?;
        Ok((removes, size))
    }
}

/// Makes sure that each remove will name its file as the log does. A path can be encoded in more than
/// one way, the library keeps it decoded, and a remove in another encoding would remove nothing.
pub(super) fn require_same_paths(state: &DeltaTableState, removes: &[Remove]) -> Result<()> {
    let mut paths = HashSet::new();
    for batch in state.add_actions_batches(true)? {
        if let Some(column) = batch.column_by_name("path") {
            let texts = cast(column, &DataType::Utf8)?;
            paths.extend(texts.as_string::<i32>().iter().flatten().map(str::to_owned));
        }
    }
    for remove in removes {
        let written =
            serde_json::to_value(remove).map_err(|e| Error::bug("a remove as JSON", e))?;
        let path = written.get("path").and_then(Value::as_str).unwrap_or_default();
        if !paths.contains(path) {
            return Err(Error::user(
                Code::BadInput,
                "the table's files have names that another writer encoded in its own way; its rows \
                 can't be replaced here",
            ));
        }
    }
    Ok(())
}

/// A partition value as Delta writes it into a log.
fn partition_value(head: &Head, column: &str, value: &ScalarValue) -> Result<Option<String>> {
    let fail = |problem: String| {
        Error::user(Code::BadInput, format!("dataset {}: {problem}", head.spec.name))
    };
    if !head.partition_columns().iter().any(|p| p == column) {
        return Err(fail(format!(
            "{column:?} is not one of its partition columns ({})",
            head.partition_columns().join(", ")
        )));
    }
    let data_type = head.schema.field_with_name(column)?.data_type();
    let bad = |e: &dyn std::fmt::Display| {
        fail(format!("partition value {value} of {column:?} is not a {data_type}: {e}"))
    };
    let value = value.cast_to(data_type).map_err(|e| bad(&e))?;
    if value.is_null() {
        return Ok(None);
    }
    let text = match data_type {
        // Delta's own form; Arrow would write a `T` and a zone.
        DataType::Timestamp(_, _) => match value {
            ScalarValue::TimestampMicrosecond(Some(us), _) => {
                chrono::DateTime::from_timestamp_micros(us)
                    .map(|at| at.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
                    .unwrap_or_default()
            }
            _ => String::new(),
        },
        _ => match value.cast_to(&DataType::Utf8).map_err(|e| bad(&e))? {
            ScalarValue::Utf8(Some(text)) => text,
            other => other.to_string(),
        },
    };
    Ok(Some(text))
}
