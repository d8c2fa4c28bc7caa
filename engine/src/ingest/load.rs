//! One file, however large, as one commit.
//!
//! ```text
//!   reading thread: read ▶ check ──▶ 4 chunks at most ──▶ encode ▶ data files ──▶ one commit
//!                                        └─ rejected ──▶ quarantine's data files ─┘ (before it)
//! ```
//! Memory holds some chunks and one row group per open file. Data files appear as they fill, and are
//! nothing until the commit; when anything fails they are deleted.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use datasets::read::{Format, Source};
use datasets::rejected::{quarantine_batch, quarantine_spec};
use datasets::{Causes, DatasetName, DatasetSpec, LoadSettings};
use tokio::sync::mpsc;

use super::brought::Brought;
use super::conflict::{Conflict, Repeated, Settled};
use super::content::{Content, content_of};
use super::group_commit::Ingest;
use super::numbered::{Numbered, producer_of, standing};
use super::reading::{Checked, Reading, require_readable};
use super::refused::{none_fits, too_many};
use super::rejects::Rejects;
use super::sequence::Standing;
use super::settings::{Numbering, complete, created_by, require_usable};
use super::{IngestReceipt, LoadOptions, OnConflict, duplicate};
use crate::bus::CommitKind;
use crate::derived::refuse_derived;
use crate::error::{Code, Error, Result};
use crate::identity::Principal;
use crate::lake::{
    Author, Before, CommitLabel, DataFiles, FileWriter, Head, Lake, Proposal, Record, Table,
    columns_were_changed, require_same_columns,
};
use crate::session::Session;

/// Chunks between the reading thread and the writer.
const CHUNKS_MAX: usize = 4;

impl Ingest {
    /// Loads a file.
    #[tracing::instrument(name = "load", skip_all, fields(tenant = %who.tenant, %dataset, format = format.name()))]
    pub(crate) async fn load(
        &self,
        who: &Principal,
        session: &Session,
        dataset: &DatasetName,
        source: Source,
        format: Format,
        mut options: LoadOptions,
    ) -> Result<IngestReceipt> {
        if let Some(producer) = producer_of(&options) {
            producer.check()?;
        }
        require_usable(&options, format, source.name())?;
        let mut is_made = false;
        if let Some(mut spec) = options.create.clone() {
            spec.name = dataset.clone();
            refuse_derived(&spec)?;
            self.lake.require_room(who, &spec).await?;
            if self.lake.find(&who.tenant, dataset).await?.is_none() {
                spec = created_by(spec, &options)?;
                complete(&mut options, &spec)?;
                require_readable(&spec, &source, format, &options).await?;
            }
            // Whoever else made it meanwhile keeps it. Columns that it has not come with the rows.
            (_, is_made) = self.lake.find_or_create(who, &spec).await?;
            self.lake.require_ensurable(who, &spec).await?;
        }
        let to = Destination { dataset, is_new: is_made };
        let loaded = self.load_into(who, session, to, source, format, options).await;
        if is_made
            && loaded.is_err()
            && let Err(error) = self.lake.unmake(who, dataset).await
        {
            tracing::warn!(%error, "an empty dataset stays of a file that failed");
        }
        loaded
    }

    /// Loads a file into a dataset that is there.
    async fn load_into(
        &self,
        who: &Principal,
        session: &Session,
        to: Destination<'_>,
        source: Source,
        format: Format,
        mut options: LoadOptions,
    ) -> Result<IngestReceipt> {
        let producer = producer_of(&options);
        let table = self.table(who, to.dataset).await?;
        let (name, rejects_max) = (source.name().to_owned(), options.rejects_max);
        let entry = table.entry();
        let spec = &entry.spec;
        let settings = complete(&mut options, spec)?;
        let has_key = !spec.key.is_empty();
        let numbering = match producer {
            Some(_) => Numbering::Numbered,
            None => Numbering::Unnumbered,
        };
        let on = match options.on_conflict.resolved(spec, numbering) {
            OnConflict::Once if has_key => OnConflict::Skip,
            on => on,
        };
        require_key(&table, on)?;
        let request = match producer {
            None => None,
            Some(producer) => {
                Some(Numbered::new(producer, content_of(&source, &options.read).await?))
            }
        };
        if let Some(duplicate) = standing(&self.lake, &table, request.as_ref()).await? {
            return Ok(duplicate);
        }
        let content = match on {
            OnConflict::Again | OnConflict::Once
                if !has_key && !is_folder(&source) && request.is_none() =>
            {
                let mut content = Content::of(&source, &options.read, on).await?;
                let at = table.head().await.version();
                if content.is_taken(&table, at).await? {
                    return Ok(duplicate(&self.lake, at));
                }
                Some(content)
            }
            _ => None,
        };

        let file = Reading { table: Arc::clone(&table), source, format, options };
        let written = self.read_and_write(who, file.clone(), request.as_ref(), None).await?;
        let (rejected, all) = (written.quarantined, written.accepted + written.quarantined);
        if let Some(most) = rejects_max.filter(|most| !most.allows(rejected, all)) {
            let causes = written.causes.clone().into_sorted();
            written.discard(&table).await;
            return Err(too_many(&name, (rejected, all), most, &causes));
        }
        if to.is_new && written.accepted == 0 && rejected > 0 {
            let causes = written.causes.clone().into_sorted();
            written.discard(&table).await;
            return Err(none_fits(&name, to.dataset, rejected, &causes));
        }
        let written = Written { settings, ..written };
        let receipt = if on == OnConflict::Add || !has_key {
            self.commit_load(who, &table, written, request, content).await?
        } else {
            let lake = &self.lake;
            let conflict = Conflict { lake, session, who, table: &table, on, name: &name };
            let settled = self.settle(&conflict, file, written, request.as_ref()).await;
            match settled {
                // A retry that runs while its first attempt commits conflicts with its own keys.
                Err(error) if error.code() == Code::Conflict => {
                    standing(lake, &table, request.as_ref()).await?.ok_or(error)?
                }
                settled => settled?,
            }
        };
        tracing::info!(
            subject = who.subject, version = %receipt.version, rows = receipt.accepted,
            rejected = receipt.quarantined, replaced = receipt.replaced, "file taken"
        );
        Ok(receipt)
    }

    /// The same where the tenant's turn is, on threads that compute.
    pub(crate) async fn load_in_turn(
        self: Arc<Self>,
        who: &Principal,
        session: Session,
        dataset: &DatasetName,
        source: Source,
        format: Format,
        options: LoadOptions,
    ) -> Result<IngestReceipt> {
        self.lake.metrics().requests.add(1);
        let turn = self.turn(&who.tenant).await?;
        let (ingest, who, dataset) = (Arc::clone(&self), who.clone(), dataset.clone());
        let tenant = who.tenant.clone();
        let loading = self.lanes.spawn(&tenant, async move {
            let _turn = turn;
            ingest.load(&who, &session, &dataset, source, format, options).await
        })?;
        self.lake.noting(loading.await.map_err(|e| Error::bug("a load stopped", e))?)
    }

    /// Reads a file, and writes what is accepted and what is rejected; where some rows of it are to be left out, nothing but
    /// those that are not.
    async fn read_and_write(
        &self,
        who: &Principal,
        file: Reading,
        request: Option<&Numbered>,
        repeated: Option<Repeated>,
    ) -> Result<Written> {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let table = Arc::clone(&file.table);
        let reading = tokio::task::spawn_blocking(move || file.run(&sender, repeated));
        let written = self.write_chunks(who, &table, chunks, request).await;
        let read = reading.await.map_err(|e| Error::bug("reading the file stopped", e)).flatten();
        match (read, written) {
            (Ok(warnings), Ok(written)) => Ok(Written { warnings, ..written }),
            (Err(e), Ok(written)) => {
                written.discard(&table).await;
                Err(e)
            }
            // The writer's failure closes the channel, which ends the reader.
            (_, Err(e)) => Err(e.while_doing(format_args!("writing to dataset {}", table.name()))),
        }
    }

    /// Commits rows of a file of which some may have keys that are there.
    async fn settle(
        &self,
        conflict: &Conflict<'_>,
        file: Reading,
        mut written: Written,
        request: Option<&Numbered>,
    ) -> Result<IngestReceipt> {
        let table = conflict.table;
        let sent = written.accepted;
        let label = CommitLabel { operation: "load".to_owned(), ..CommitLabel::default() };
        let rejects = Rejects::new(&self.lake, conflict.who, written.rejects.take(), request);
        let (mut added_columns, mut stored_settings) = (Vec::new(), String::new());
        let settled = async {
            if let Some(repeated) = conflict.repeated(&written.files).await? {
                let who = conflict.who;
                let once = self.read_and_write(who, file, None, Some(repeated)).await?;
                std::mem::replace(&mut written.files, once.files).discard(table).await;
            }
            // A refused file leaves nothing: no column that it brings, no setting, no rejected row. So all are in
            // the commit of its rows. A policy that refuses no key has columns first, because it rewrites rows.
            let known = conflict.require_new(&written.files).await?;
            let mut brought = written.brought(table);
            if !brought.columns.is_empty() && !conflict.has_fresh(&written.files).await? {
                brought.columns.clear();
            }
            let columns = &brought.columns;
            added_columns = self.lake.require_room_for(conflict.who, table, columns).await?;
            stored_settings = brought.stored(table);
            if !conflict.may_refuse() {
                std::mem::take(&mut brought).commit(&self.lake, conflict.who, table).await?;
            }
            conflict.commit(&written.files, known, &brought, &rejects, &label).await
        };
        let settled: Result<Settled> = settled.await;
        rejects.discard().await;
        let Written { files, quarantined, causes, warnings, .. } = written;
        // Those that are left of the file when some are skipped were written anew.
        if settled.is_err() || conflict.on == OnConflict::Skip {
            files.discard(table).await;
        }
        let Settled { version, accepted, replaced, repeated, is_duplicate } = settled?;
        if is_duplicate {
            return Ok(duplicate(&self.lake, version));
        }
        let metrics = self.lake.metrics();
        metrics.rows_ingested.add(accepted);
        metrics.rows_quarantined.add(quarantined);
        Ok(IngestReceipt {
            accepted,
            quarantined,
            replaced,
            repeated,
            skipped: sent - accepted,
            version,
            duplicate: false,
            causes: causes.into_sorted(),
            added_columns,
            stored_settings,
            warnings,
        })
    }

    async fn write_chunks(
        &self,
        who: &Principal,
        table: &Arc<Table>,
        mut chunks: mpsc::Receiver<Checked>,
        request: Option<&Numbered>,
    ) -> Result<Written> {
        let mut files: Option<FileWriter> = None;
        let mut rejects: Option<(Arc<Table>, FileWriter)> = None;
        let (mut accepted, mut quarantined, mut causes) = (0, 0, Causes::default());
        let mut failure = None;
        let mut columns = None;
        while let Some(checked) = chunks.recv().await {
            let Checked { accepted: rows, rejected, spec, reshaped } = checked;
            accepted += rows.num_rows() as u64;
            quarantined += rejected.len() as u64;
            rejected.iter().for_each(|row| causes.add(row));
            let written = async {
                if files.is_none() {
                    files = Some(FileWriter::growing(table, &*table.head().await, &spec)?);
                    columns = Some(spec);
                }
                if let Some(writer) = &mut files {
                    if writer.reshaped() != reshaped {
                        return Err(columns_were_changed());
                    }
                    writer.write(rows).await?;
                }
                if rejected.is_empty() {
                    return Ok(());
                }
                if rejects.is_none() {
                    let spec = quarantine_spec(table.name());
                    let (to, _) = self.lake.find_or_create(who, &spec).await?;
                    let writer = FileWriter::new(&to, &*to.head().await)?;
                    rejects = Some((to, writer));
                }
                if let Some((_, writer)) = &mut rejects {
                    let producer = request.map(|of| &of.producer);
                    let producer = producer.map(|p| (p.producer.as_str(), p.sequence));
                    writer.write(quarantine_batch(&rejected, Utc::now(), producer)?).await?;
                }
                Ok(())
            };
            if let Err(e) = written.await {
                failure = Some(e);
                break;
            }
        }
        drop(chunks);
        let finished = match failure {
            None => finish(files.take(), &mut rejects).await,
            Some(e) => Err(e),
        };
        match finished {
            Ok((files, rejects)) => {
                let settings = None;
                let warnings = Vec::new();
                Ok(Written {
                    files,
                    rejects,
                    spec: columns,
                    accepted,
                    quarantined,
                    causes,
                    settings,
                    warnings,
                })
            }
            Err(e) => {
                if let Some(writer) = files {
                    writer.abandon().await;
                }
                if let Some((_, writer)) = rejects {
                    writer.abandon().await;
                }
                Err(e)
            }
        }
    }

    async fn commit_load(
        &self,
        who: &Principal,
        table: &Arc<Table>,
        written: Written,
        request: Option<Numbered>,
        content: Option<Content>,
    ) -> Result<IngestReceipt> {
        let brought = written.brought(table);
        let added = self.lake.require_room_for(who, table, &brought.columns).await;
        let added_columns = match added {
            Ok(added) => added,
            Err(e) => {
                written.discard(table).await;
                return Err(e);
            }
        };
        let stored_settings = brought.stored(table);
        let Written { files, rejects, accepted, quarantined, causes, warnings, .. } = written;
        let (lake, request) = (&self.lake, request.as_ref());
        let rejects = Rejects::new(lake, who, rejects, request);
        let first = Some(&rejects);
        let mut author = Files { lake, files: &files, brought, request, first, content };
        let label = CommitLabel { operation: "load".to_owned(), ..CommitLabel::default() };
        let landed = lake.commit(table, &who.subject, &label, &mut author).await;
        rejects.discard().await;
        match landed {
            Ok(landed) if landed.committed || (request.is_none() && accepted == 0) => {
                let metrics = lake.metrics();
                metrics.rows_ingested.add(accepted);
                metrics.rows_quarantined.add(quarantined);
                let version = landed.version;
                let causes = causes.into_sorted();
                Ok(IngestReceipt {
                    accepted,
                    quarantined,
                    version,
                    causes,
                    added_columns,
                    stored_settings,
                    warnings,
                    ..IngestReceipt::default()
                })
            }
            Ok(landed) => {
                files.discard(table).await;
                Ok(duplicate(lake, landed.version))
            }
            Err(e) => {
                files.discard(table).await;
                Err(e)
            }
        }
    }
}

/// Where a file is loaded to.
struct Destination<'a> {
    dataset: &'a DatasetName,
    /// Whether this load created the dataset.
    is_new: bool,
}

/// Files of a load that are written and not committed.
struct Written {
    files: DataFiles,
    rejects: Option<(Arc<Table>, DataFiles)>,
    /// The columns of the rows, where there are any rows.
    spec: Option<Arc<DatasetSpec>>,
    accepted: u64,
    quarantined: u64,
    causes: Causes,
    /// Settings to store in the dataset along with the rows.
    settings: Option<LoadSettings>,
    /// The reader's warnings about skipped content.
    warnings: Vec<String>,
}

impl Written {
    /// What the accepted rows bring.
    fn brought(&self, table: &Table) -> Brought {
        let there = &table.entry().spec;
        let columns = self.spec.iter().flat_map(|spec| &spec.columns);
        let is_new = columns.clone().any(|column| there.column(&column.name).is_none());
        Brought {
            columns: if self.accepted > 0 && is_new {
                columns.cloned().collect()
            } else {
                Vec::new()
            },
            settings: self.settings.clone().filter(|_| self.accepted > 0),
        }
    }

    async fn discard(self, table: &Table) {
        self.files.discard(table).await;
        if let Some((to, files)) = self.rejects {
            files.discard(&to).await;
        }
    }
}

async fn finish(
    files: Option<FileWriter>,
    rejects: &mut Option<(Arc<Table>, FileWriter)>,
) -> Result<(DataFiles, Option<(Arc<Table>, DataFiles)>)> {
    let files = match files {
        Some(writer) => writer.finish().await?,
        None => DataFiles::none(),
    };
    let rejects = match rejects.take() {
        Some((to, writer)) => Some((to, writer.finish().await?)),
        None => None,
    };
    Ok((files, rejects))
}

/// Fails where nothing can be said of keys.
fn require_key(table: &Table, on: OnConflict) -> Result<()> {
    let needs_key = matches!(on, OnConflict::Replace | OnConflict::Skip | OnConflict::Error);
    if !needs_key || !table.entry().spec.key.is_empty() {
        return Ok(());
    }
    let says = format!(
        "dataset {}: on_conflict replace, skip and error compare keys, and its spec names no `key`; \
         expected add or refuse",
        table.name()
    );
    Err(Error::user(Code::BadInput, says))
}

fn is_folder(source: &Source) -> bool {
    matches!(source, Source::File { path, .. } if path.is_dir())
}

/// The author of files that are all there.
pub(super) struct Files<'a> {
    pub(super) lake: &'a Lake,
    pub(super) files: &'a DataFiles,
    /// What is committed with the rows.
    pub(super) brought: Brought,
    pub(super) request: Option<&'a Numbered>,
    /// Rejected rows of the same file; none where these are the rejected ones. In a quarantine gaps between numbers are natural.
    pub(super) first: Option<&'a Rejects<'a>>,
    /// The file, where it is looked for when it comes again.
    pub(super) content: Option<Content>,
}

#[async_trait]
impl Author for Files<'_> {
    fn commits_elsewhere(&self) -> bool {
        self.first.is_some_and(Before::is_left)
    }

    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        if let Some(first) = self.first {
            first.look(table, head).await?;
        }
        let record = match (self.request, self.first) {
            (None, _) => Record::default(),
            (Some(request), Some(_)) => match request.record(self.lake, table, head).await? {
                Some(record) => record,
                None => return Ok(None),
            },
            (Some(request), None) => {
                let producer = &request.producer;
                let last = head.last_sequence(table, &producer.producer).await?;
                if last.is_some_and(|last| last >= producer.sequence) {
                    return Ok(None);
                }
                request.record_of(Standing::Next, last)
            }
        };
        let spec = if self.files.adds.is_empty() { None } else { self.brought.spec(head)? };
        if let Some(first) = self.first {
            head.require_writable()?;
            require_same_columns(self.files, head)?;
            if let Some(content) = &mut self.content {
                // Somebody else may have loaded it meanwhile.
                if content.is_taken(table, head.version()).await? {
                    return Ok(None);
                }
            }
            first.commit().await?;
        }
        if self.request.is_none() && self.files.adds.is_empty() {
            return Ok(None);
        }
        Ok(Some(Proposal {
            kind: Some(CommitKind::Append),
            spec,
            sequences: record.sequences,
            requests: record.requests,
            content: self.content.as_ref().map(|content| content.digest().to_owned()),
            ..Proposal::adding([self.files])
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::Reshape;
    use crate::tests::{calls, engine, label, name, rows, who};

    use super::*;

    #[tokio::test]
    async fn rows_that_were_read_for_other_columns_are_not_written() {
        let engine = engine().await;
        let table = engine.lake().table(&who().tenant, &name("calls")).await.unwrap();
        let (sender, chunks) = mpsc::channel(1);
        let (accepted, spec) = (rows(0..1), Arc::new(calls()));
        let checked = Checked { accepted, rejected: Vec::new(), spec, reshaped: 0 };
        sender.send(checked).await.unwrap();
        drop(sender);
        let rename = Reshape::Rename { column: "model".to_owned(), to: "kind".to_owned() };
        engine.reshape(&who(), &name("calls"), rename, label("a test")).await.unwrap();
        let ingest = engine.ingesting().unwrap();
        let written = ingest.write_chunks(&who(), &table, chunks, None).await;
        assert_eq!(written.err().unwrap().code(), Code::Conflict);
    }
}
