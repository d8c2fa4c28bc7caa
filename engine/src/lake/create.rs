//! Making datasets and letting them grow columns.

use std::sync::Arc;

use async_trait::async_trait;
use datasets::name::{NAME_MAX_BYTES, QUARANTINE_SUFFIX};
use datasets::{ColumnSpec, DatasetName, DatasetSpec, LoadSettings, RelationSpec, specs};
use deltalake_core::kernel::Action;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;
use object_store::ObjectStore;
use uuid::Uuid;

use super::column_ids::Fate;
use super::commit::commit_info;
use super::data_files::is_data_file;
use super::dropped::name_is_taken;
use super::history::CommitRecord;
use super::log::entry_bytes;
use super::table::places;
use super::{Author, CommitLabel, Head, Lake, Proposal, Table, schema};
use crate::bus::CommitKind;
use crate::catalog::DatasetEntry;
use crate::derived::{is_kept_name, refuse_results, require_for_clients};
use crate::error::{Code, Error, Result};
use crate::identity::{Principal, TenantId};
use crate::session::check_semantics;

impl Lake {
    /// Creates a dataset; an equal one that exists is taken for it.
    pub(crate) async fn create_dataset(
        &self,
        who: &Principal,
        spec: &DatasetSpec,
    ) -> Result<DatasetEntry> {
        self.require_relations(who, spec).await?;
        let (table, created) = self.find_or_create(who, spec).await?;
        let entry = table.entry();
        require_for_clients(&entry.spec, spec)?;
        // Loads may have stored more settings in the dataset.
        let there = &entry.spec.load;
        let merged = there.with(&spec.load, spec.name.as_str());
        let load = match merged {
            Ok(merged) if merged == *there => there.clone(),
            _ => spec.load.clone(),
        };
        let spec = &DatasetSpec { load, ..spec.clone() };
        if !created && entry.spec != *spec {
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "dataset {} exists with another spec: {}",
                    spec.name,
                    schema::differences(&entry.spec, spec).join("; ")
                ),
            ));
        }
        Ok(entry.as_ref().clone())
    }

    /// Creates a dataset, or lets it grow the nullable columns that `spec` has more.
    pub(crate) async fn ensure_dataset(
        &self,
        who: &Principal,
        spec: &DatasetSpec,
    ) -> Result<DatasetEntry> {
        self.require_relations(who, spec).await?;
        let (table, _) = self.find_or_create(who, spec).await?;
        let there = table.entry();
        require_for_clients(&there.spec, spec)?;
        if spec.derived && !there.spec.derived && !self.has_only_results(who, &spec.name).await? {
            return Err(refuse_results(&spec.name));
        }
        if table.entry().spec != *spec {
            let mut author = Ensure { wanted: spec };
            let label = CommitLabel { operation: "evolve".to_owned(), ..CommitLabel::default() };
            self.commit(&table, &who.subject, &label, &mut author).await?;
        }
        Ok(table.entry().as_ref().clone())
    }

    /// Fails where a dataset that is there could not be made to have the columns of `spec`, and changes nothing.
    pub(crate) async fn require_ensurable(
        &self,
        who: &Principal,
        spec: &DatasetSpec,
    ) -> Result<()> {
        let table = self.table(&who.tenant, &spec.name).await?;
        require_for_clients(&table.entry().spec, spec)?;
        let mut head = table.head().await;
        Ensure { wanted: spec }.propose(&table, &mut head).await.map(drop)
    }

    /// Fails where the tenant has no room for a dataset of clients, or for the columns that `spec` has more than it.
    pub(crate) async fn require_room(&self, who: &Principal, spec: &DatasetSpec) -> Result<()> {
        let catalog = self.catalog(&who.tenant).await?;
        let there = catalog.datasets.get(&spec.name);
        let width = there.map_or(0, |there| there.spec.width());
        let more = spec.width().saturating_sub(width);
        catalog.require_room(usize::from(there.is_none()), more)
    }

    /// Fails where a dataset is there that a new relation of `spec` does not fit.
    async fn require_relations(&self, who: &Principal, spec: &DatasetSpec) -> Result<()> {
        // A built-in one fits built-in datasets, and is no reason to refuse rows where another has such a name.
        let is_built_in =
            || specs::by_name(spec.name.as_str()).is_some_and(|it| it.relations == spec.relations);
        if spec.relations.is_empty() || is_built_in() {
            return Ok(());
        }
        let catalog = self.catalog(&who.tenant).await?;
        let there = catalog.datasets.get(&spec.name);
        if there.is_some_and(|there| there.spec.relations == spec.relations) {
            return Ok(());
        }
        for relation in spec.relations.iter().filter(|relation| relation.to != spec.name) {
            if let Some(to) = catalog.datasets.get(&relation.to) {
                relation.target(spec, &to.spec)?;
            }
        }
        Ok(())
    }

    /// Whether all rows of a dataset were made by runs, as far as its log goes back: one of a root that is older than the word
    /// `derived`.
    async fn has_only_results(&self, who: &Principal, name: &DatasetName) -> Result<bool> {
        if is_kept_name(name) {
            return Ok(true);
        }
        let commits = self.history(&who.tenant, name, usize::MAX).await?;
        let is_ours = |commit: &CommitRecord| match commit.operation.as_str() {
            "create" | "evolve" | "drop" | "restore" => true,
            // It may have brought rows of clients back.
            "repair" => commit.files_added == 0,
            _ => commit.run_id.is_some(),
        };
        Ok(commits.iter().all(is_ours) && commits.iter().any(|commit| commit.run_id.is_some()))
    }

    /// The dataset of that name, made from `spec` when there is none. Says whether it was made.
    pub(crate) async fn find_or_create(
        &self,
        who: &Principal,
        spec: &DatasetSpec,
    ) -> Result<(Arc<Table>, bool)> {
        self.require_writer()?;
        if let Some(table) = self.find(&who.tenant, &spec.name).await? {
            // One without a row may have been taken back since.
            if table.entry().files == 0 {
                self.look_for_next(&table).await?;
            }
            if let Some(table) = self.find(&who.tenant, &spec.name).await? {
                return Ok((table, false));
            }
        }
        spec.check_new()?;
        check_semantics(spec)?;
        require_room_for_quarantine(&spec.name)?;
        if let Some(table) = self.find_any(&who.tenant, &spec.name).await? {
            return self.make_anew(who, table, spec).await;
        }
        let root = self.root();
        let (metadata, protocol) = (schema::metadata_of(spec)?, schema::protocol()?);
        let operation = DeltaOperation::Create {
            mode: SaveMode::ErrorIfExists,
            location: root.location().clone(),
            protocol: protocol.clone(),
            metadata: metadata.clone(),
        };
        let actions = vec![Action::Protocol(protocol.clone()), Action::Metadata(metadata.clone())];
        let label = CommitLabel { operation: "create".to_owned(), ..CommitLabel::default() };
        let id = Uuid::now_v7().to_string();
        let info = commit_info(&id, &who.subject, &label);
        let bytes = entry_bytes(actions, operation, info, Vec::new())?;

        let entry_bytes = bytes.len() as u64;

        let (log, store) = places(root, &who.tenant, &spec.name)?;
        if has_data_files(store.as_ref()).await? {
            // Another writer may have made it since.
            return match self.find(&who.tenant, &spec.name).await? {
                Some(table) => Ok((table, false)),
                None => Err(without_log(&who.tenant, &spec.name)
                    .while_doing(format_args!("creating dataset {}", spec.name))),
            };
        }
        let put = log.write_commit_entry(0, CommitOrBytes::LogBytes(bytes), Uuid::new_v4()).await;
        match put {
            Ok(()) => {
                let head = Head::of_new(spec, metadata, protocol, entry_bytes)?;
                let table = Table::with_head(root, &who.tenant, &spec.name, (log, store), head);
                let table = self.shelf(&who.tenant).keep(table);
                self.metrics().commits.add(1);
                tracing::info!(tenant = %who.tenant, dataset = %spec.name, "dataset created");
                let head = table.head.lock().await;
                if head.version == 0 {
                    table.mark_newest(&head, &self.beside);
                    self.announce(&table, &head, CommitKind::Create, None, 0, None);
                }
                drop(head);
                Ok((table, true))
            }
            Err(failure) => {
                // Another came first, or the answer got lost: what the store has is what counts.
                match Table::open(root, &who.tenant, &spec.name).await {
                    Ok(table) => {
                        let ours = matches!(&failure, TransactionError::ObjectStore { .. })
                            || table.entry_is(0, &id).await;
                        Ok((self.shelf(&who.tenant).keep(table), ours))
                    }
                    Err(_) => Err(Error::from(failure)
                        .while_doing(format_args!("creating dataset {}", spec.name))),
                }
            }
        }
    }

    /// The dataset of that name, when there is one; CONFLICT where one is dropped.
    pub(crate) async fn find(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Option<Arc<Table>>> {
        let found = self.find_dropped(tenant, name).await?;
        match found.as_ref().and_then(|table| table.entry().dropped_at) {
            Some(at) => Err(name_is_taken(name, at)),
            None => Ok(found),
        }
    }

    /// The dataset of that name, when there is one, also where it is dropped.
    pub(super) async fn find_dropped(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Option<Arc<Table>>> {
        let found = self.find_any(tenant, name).await?;
        if let Some(table) = found.as_ref().filter(|table| table.entry().is_unmade) {
            // Another of its name may have come since.
            self.look_for_next(table).await?;
        }
        Ok(found.filter(|table| !table.entry().is_unmade))
    }

    /// The same, also where it was taken back before it had a row.
    pub(super) async fn find_any(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Option<Arc<Table>>> {
        let shelf = self.shelf(tenant);
        if let Some(table) = shelf.get(name) {
            return Ok(Some(table));
        }
        match self.open(tenant, name).await {
            Ok(table) => Ok(Some(shelf.keep(table))),
            Err(e) if e.code() == Code::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Takes `columns` as the dataset's, when they are what the dataset has with nullable ones added. Returns the names of those that
    /// it did not have.
    pub(crate) async fn evolve(
        &self,
        who: &Principal,
        table: &Arc<Table>,
        columns: Vec<ColumnSpec>,
    ) -> Result<Vec<String>> {
        let names = self.require_room_for(who, table, &columns).await?;
        let label = CommitLabel { operation: "evolve".to_owned(), ..CommitLabel::default() };
        self.commit(table, &who.subject, &label, &mut Grow { columns }).await?;
        Ok(names)
    }

    /// Fails where the catalogue has no room for those of `columns` that `table` lacks; returns their names.
    pub(crate) async fn require_room_for(
        &self,
        who: &Principal,
        table: &Table,
        columns: &[ColumnSpec],
    ) -> Result<Vec<String>> {
        let catalog = self.catalog(&who.tenant).await?;
        let spec = &table.entry().spec;
        let new = || columns.iter().filter(|column| spec.column(&column.name).is_none());
        catalog.require_room(0, new().map(ColumnSpec::width).sum())?;
        Ok(new().map(|column| column.name.clone()).collect())
    }
}

impl Table {
    async fn entry_is(&self, version: u64, id: &str) -> bool {
        matches!(self.entry_at(version).await, Ok(Some(entry)) if entry.commit_id() == Some(id))
    }
}

/// Whether a table's folder has files of rows.
pub(super) async fn has_data_files(table: &dyn ObjectStore) -> Result<bool> {
    let mut objects = table.list(None);
    while let Some(object) = objects.try_next().await? {
        if is_data_file(&object.location) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The error for a folder with rows of which no log says what they are: an empty table would hide them.
pub(super) fn without_log(tenant: &TenantId, name: &DatasetName) -> Error {
    Error::user(
        Code::StorageUnavailable,
        format!(
            "{tenant}/{name} has data files and no log; put its `_delta_log` back, or move the folder away"
        ),
    )
}

/// A dataset's quarantine is a dataset too, with a longer name.
pub(super) fn require_room_for_quarantine(name: &DatasetName) -> Result<()> {
    if name.is_quarantine() || DatasetName::new(name.quarantine().as_str()).is_ok() {
        return Ok(());
    }
    let length_max = NAME_MAX_BYTES - QUARANTINE_SUFFIX.len();
    Err(Error::user(
        Code::BadInput,
        format!(
            "dataset name {name}: expected at most {length_max} characters, so that its quarantine \
             has a name too"
        ),
    ))
}

/// Adds columns that rows brought.
struct Grow {
    columns: Vec<ColumnSpec>,
}

#[async_trait]
impl Author for Grow {
    async fn propose(&mut self, _: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        head.require_writable()?;
        let spec = with_columns(head, &self.columns)?;
        Ok(spec.map(|spec| Proposal { spec: Some(spec), ..Proposal::without_rows() }))
    }
}

/// The spec with those of `columns` that it lacks; `None` if it lacks none.
pub(crate) fn with_columns(head: &Head, columns: &[ColumnSpec]) -> Result<Option<DatasetSpec>> {
    for column in columns {
        require_new(head, &column.name)?;
    }
    grown(&head.spec, columns)
}

/// Fails for a column that was called so, and is called otherwise now or was dropped: whoever sends it does not know.
fn require_new(head: &Head, name: &str) -> Result<()> {
    let fate = match head.spec.column(name) {
        None => head.column_ids.fate(name, &head.spec),
        Some(_) => None,
    };
    let is_so = match fate {
        None => return Ok(()),
        Some(Fate::Renamed(now)) => format!("is called {now:?} now; send it under that name"),
        Some(Fate::Dropped) => "was dropped; leave it out".to_owned(),
    };
    let dataset = &head.spec.name;
    Err(Error::user(
        Code::Conflict,
        format!(
            "dataset {dataset}: column {name:?} {is_so}, or add another with `colonnade alter {dataset} --add`"
        ),
    ))
}

/// Makes the dataset have at least the columns of a spec.
struct Ensure<'a> {
    wanted: &'a DatasetSpec,
}

#[async_trait]
impl Author for Ensure<'_> {
    async fn propose(&mut self, table: &Table, head: &mut Head) -> Result<Option<Proposal>> {
        let wanted = self.wanted;
        for (what, differs) in [
            ("partitioning", head.spec.partition_by != wanted.partition_by),
            ("key", head.spec.key != wanted.key),
            ("time column", head.spec.time_column != wanted.time_column),
        ] {
            if differs {
                return Err(Error::user(
                    Code::Conflict,
                    format!("dataset {} exists with another {what}", wanted.name),
                ));
            }
        }
        let grown = Grow { columns: wanted.columns.clone() }.propose(table, head).await?;
        let grown = declared(grown, &head.spec, wanted)?;
        if head.spec.derived || !wanted.derived {
            return Ok(grown);
        }
        let mut proposal = grown.unwrap_or_else(Proposal::without_rows);
        let spec = proposal.spec.take().unwrap_or_else(|| head.spec.as_ref().clone());
        proposal.spec = Some(DatasetSpec { derived: true, ..spec });
        Ok(Some(proposal))
    }
}

/// What is proposed, with the relations of `wanted` whose columns are there, where it has some, and so with what it declares.
fn declared(
    proposed: Option<Proposal>,
    spec: &DatasetSpec,
    wanted: &DatasetSpec,
) -> Result<Option<Proposal>> {
    let after = proposed.as_ref().and_then(|it| it.spec.clone()).unwrap_or_else(|| spec.clone());
    let is_there = |relation: &&RelationSpec| after.column(&relation.column).is_some();
    let relations: Vec<_> = wanted.relations.iter().filter(is_there).cloned().collect();
    fn or<T: Clone>(wanted: &[T], there: &[T]) -> Vec<T> {
        (if wanted.is_empty() { there } else { wanted }).to_vec()
    }
    let load = after.load.with(&wanted.load, spec.name.as_str())?;
    let declared = DatasetSpec {
        // A policy that the dataset already has stays.
        load: LoadSettings { on_conflict: after.load.on_conflict.or(load.on_conflict), ..load },
        relations: or(&relations, &after.relations),
        dimensions: or(&wanted.dimensions, &after.dimensions),
        measures: or(&wanted.measures, &after.measures),
        ..after.clone()
    };
    if declared == after {
        return Ok(proposed);
    }
    declared.check()?;
    if declared.dimensions != after.dimensions || declared.measures != after.measures {
        check_semantics(&declared)?;
    }
    let after = declared;
    let proposed = proposed.unwrap_or_else(Proposal::without_rows);
    Ok(Some(Proposal { spec: Some(after), ..proposed }))
}

/// `spec` with those of `columns` added that it has not; `None` when it has them all.
pub(crate) fn grown(spec: &DatasetSpec, columns: &[ColumnSpec]) -> Result<Option<DatasetSpec>> {
    let mut grown = spec.clone();
    for column in columns {
        match spec.column(&column.name) {
            Some(existing) if existing.data_type != column.data_type => {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "dataset {}: column {:?} is {}, and {} was given; a type does not change",
                        spec.name, column.name, existing.data_type, column.data_type
                    ),
                ));
            }
            Some(_) => {}
            None if !column.nullable => {
                return Err(Error::user(
                    Code::Conflict,
                    format!(
                        "dataset {}: new column {:?} is not nullable, and rows that are there have \
                         no value for it",
                        spec.name, column.name
                    ),
                ));
            }
            None => grown.columns.push(column.clone()),
        }
    }
    if grown.columns.len() == spec.columns.len() {
        return Ok(None);
    }
    grown.check()?;
    Ok(Some(grown))
}
