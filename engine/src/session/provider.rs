//! The datasets of a session as tables, opened when a query names them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use datasets::DatasetName;

use super::files;
use super::fit::fitted;
use super::guard::{Guarded, guarded};
use super::opaque::Opaque;
use super::semantics::{Semantics, with_those_of};
use crate::catalog::{Catalog, DatasetEntry};
use crate::error::Result;
use crate::grants::{Grants, Part, seen};
use crate::identity::Version;
use crate::lake::{Lake, Snapshot};

/// What is kept back from the one who asks.
pub(super) struct Guarding {
    /// All of the tenant.
    pub(super) whole: Arc<Catalog>,
    pub(super) grants: Grants,
    pub(super) planner: Opaque<SessionContext>,
}

/// A dataset that was opened.
#[derive(Clone)]
struct Opened {
    table: Arc<dyn TableProvider>,
    entry: Arc<DatasetEntry>,
    /// What it declares, as soon as SQL names it.
    semantics: Arc<OnceLock<Arc<Semantics>>>,
}

/// A tenant's datasets at pinned versions.
pub(super) struct PinnedSchema {
    lake: Arc<Lake>,
    catalog: Arc<Catalog>,
    versions: BTreeMap<DatasetName, Version>,
    guarding: Option<Guarding>,
    /// Opened once per session: the planner asks for a table more than once.
    opened: tokio::sync::Mutex<HashMap<DatasetName, Opened>>,
    /// Whether names may be those of files of this machine.
    knows_files: AtomicBool,
}

impl PinnedSchema {
    pub(super) fn new(
        lake: Arc<Lake>,
        catalog: Arc<Catalog>,
        versions: BTreeMap<DatasetName, Version>,
        guarding: Option<Guarding>,
    ) -> Self {
        let (opened, knows_files) = (tokio::sync::Mutex::default(), AtomicBool::new(false));
        Self { lake, catalog, versions, guarding, opened, knows_files }
    }

    pub(super) fn grants(&self) -> Grants {
        self.guarding.as_ref().map_or_else(Grants::all, |guarding| guarding.grants.clone())
    }

    /// From now on, names may be those of files.
    pub(super) fn knows_files(&self) {
        self.knows_files.store(true, Ordering::Relaxed);
    }

    fn is_files(&self, name: &str) -> bool {
        self.knows_files.load(Ordering::Relaxed) && files::is_path(name)
    }

    /// The folder that everything lies in, where it is one.
    pub(super) fn root_folder(&self) -> Option<&Path> {
        self.lake.root().folder()
    }

    /// Whether a URL names a place in the root.
    pub(crate) fn has_url(&self, text: &str) -> bool {
        self.lake.root().has_url(text)
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(super) async fn artifact(&self, name: &str) -> Result<Bytes> {
        self.lake.artifact(&self.catalog.tenant, name).await
    }

    pub(super) fn versions(&self) -> &BTreeMap<DatasetName, Version> {
        &self.versions
    }

    /// The name and version of a dataset; NOT_FOUND names those that are spelt alike.
    pub(super) fn require(&self, name: &str) -> Result<(&DatasetName, Version)> {
        self.versions
            .iter()
            .find(|(dataset, _)| dataset.as_str() == name)
            .map(|(dataset, version)| (dataset, *version))
            .ok_or_else(|| self.catalog.unknown(name))
    }

    /// Bytes of the widest rows of these; 0 where all are as wide as usual.
    pub(super) fn row_bytes<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> u64 {
        let entry = |name: &str| self.catalog.datasets.get(&DatasetName::new(name).ok()?);
        let entries = names.into_iter().filter_map(entry);
        entries.map(|entry| entry.row_bytes).max().unwrap_or_default()
    }

    /// What the catalogue says of a dataset at its version.
    pub(super) async fn entry(&self, dataset: &DatasetName) -> Result<Arc<DatasetEntry>> {
        let (dataset, version) = self.require(dataset.as_str())?;
        if let Some(expected) = self.expected(dataset, version)? {
            return Ok(expected.entry);
        }
        let table = self.lake.table(&self.catalog.tenant, dataset).await?;
        Ok(self.opened(dataset, &table.snapshot(version).await?, None)?.entry)
    }

    /// A dataset that is expected and was not there when the session was opened.
    fn expected(&self, dataset: &DatasetName, version: Version) -> Result<Option<Guarded>> {
        let whole = self.guarding.as_ref().map_or(&self.catalog, |guarding| &guarding.whole);
        let Some(entry) = whole.expected.get(dataset).filter(|entry| entry.version == version)
        else {
            return Ok(None);
        };
        let table = Arc::new(EmptyTable::new(entry.spec.arrow_schema()));
        let entry = Arc::new(entry.clone());
        match self.part_of(dataset, &entry) {
            None => Ok(Some(Guarded { table, entry })),
            Some((guarding, now, part)) => {
                guarded(&guarding.planner, table, &entry, now, &part).map(Some)
            }
        }
    }

    /// The table of `snapshot`, or of some of its files, as far as it is shown.
    pub(super) fn opened(
        &self,
        dataset: &DatasetName,
        snapshot: &Snapshot,
        files: Option<Vec<String>>,
    ) -> Result<Guarded> {
        let table = fitted(self.lake.root(), &self.catalog.tenant, snapshot, files)?;
        let entry = Arc::clone(&snapshot.entry);
        match self.part_of(dataset, &entry) {
            None => Ok(Guarded { table, entry }),
            Some((guarding, now, part)) => guarded(&guarding.planner, table, &entry, now, &part),
        }
    }

    /// What the catalogue says of a dataset, as far as it is shown.
    pub(super) fn seen(&self, dataset: &DatasetName, now: &Arc<DatasetEntry>) -> Arc<DatasetEntry> {
        match self.part_of(dataset, now) {
            None => Arc::clone(now),
            Some((_, _, part)) => Arc::new(seen(now, &part, &part.grant.masks)),
        }
    }

    fn part_of<'a>(
        &'a self,
        dataset: &DatasetName,
        entry: &'a DatasetEntry,
    ) -> Option<(&'a Guarding, &'a DatasetEntry, Part<'a>)> {
        let guarding = self.guarding.as_ref()?;
        let part = guarding.grants.part_of(dataset)?;
        // One that came after the catalogue was read has no other columns yet.
        let now = guarding.whole.with_expected(dataset).unwrap_or(entry);
        Some((guarding, now, part))
    }

    /// The table of a dataset, with the columns that it stores.
    pub(super) async fn open(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        Ok(self.open_entry(name).await?.table)
    }

    /// What a dataset declares; none where there is no such dataset.
    pub(super) async fn semantics(&self, name: &str) -> Result<Option<Arc<Semantics>>> {
        if self.require(name).is_err() {
            return Ok(None);
        }
        Ok(Some(self.semantics_of(&self.open_entry(name).await?)))
    }

    /// What it declares today, of the columns that it has at the pinned version.
    fn semantics_of(&self, opened: &Opened) -> Arc<Semantics> {
        let semantics = opened.semantics.get_or_init(|| {
            let then = &opened.entry.spec;
            let now = self.catalog.datasets.get(&then.name).map_or(then, |now| &now.spec);
            Arc::new(Semantics::of(&with_those_of(then, now)))
        });
        Arc::clone(semantics)
    }

    /// The files of a dataset and their rows, where these are known; `None` where only all of them together give its rows, or some rows
    /// are kept back.
    pub(super) async fn files(
        &self,
        dataset: &DatasetName,
    ) -> Result<Option<Vec<(String, Option<usize>)>>> {
        let (dataset, version) = self.require(dataset.as_str())?;
        if self.expected(dataset, version)?.is_some() {
            return Ok(None);
        }
        let tenant = &self.catalog.tenant;
        let snapshot = self.lake.table(tenant, dataset).await?.snapshot(version).await?;
        if self.part_of(dataset, &snapshot.entry).is_some() {
            return Ok(None);
        }
        Ok(snapshot.files(self.lake.root(), tenant).map(|list| list.named().collect()))
    }

    /// Some files of a dataset, as far as their rows are shown.
    pub(super) async fn part(&self, dataset: &DatasetName, files: Vec<String>) -> Result<Guarded> {
        let (dataset, version) = self.require(dataset.as_str())?;
        let table = self.lake.table(&self.catalog.tenant, dataset).await?;
        self.opened(dataset, &table.snapshot(version).await?, Some(files))
    }

    async fn open_entry(&self, name: &str) -> Result<Opened> {
        let (dataset, version) = self.require(name)?;
        let mut opened = self.opened.lock().await;
        if let Some(opened) = opened.get(dataset) {
            return Ok(opened.clone());
        }
        let tenant = &self.catalog.tenant;
        let Guarded { table, entry } = match self.expected(dataset, version)? {
            Some(expected) => expected,
            None => {
                let snapshot = self.lake.table(tenant, dataset).await?.snapshot(version).await?;
                self.opened(dataset, &snapshot, None)?
            }
        };
        let one = Opened { table, entry, semantics: Arc::default() };
        opened.insert(dataset.clone(), one.clone());
        Ok(one)
    }

    /// The table that SQL sees: with dimensions beside the columns.
    async fn open_for_sql(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        let opened = self.open_entry(name).await?;
        self.semantics_of(&opened).beside(opened.table)
    }
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        self.versions.keys().map(DatasetName::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if self.is_files(name) {
            let table = files::table(name).await;
            return table.map(Some).map_err(|e| DataFusionError::External(Box::new(e)));
        }
        // The planner also asks for names of functions and of common table expressions.
        if !self.table_exist(name) && !self.catalog.unreadable.keys().any(|n| n.as_str() == name) {
            return Ok(None);
        }
        let opened = self.open_for_sql(name).await;
        opened.map(Some).map_err(|e| DataFusionError::External(Box::new(e)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.require(name).is_ok() || self.is_files(name)
    }
}

impl fmt::Debug for PinnedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedSchema").field("versions", &self.versions).finish()
    }
}
