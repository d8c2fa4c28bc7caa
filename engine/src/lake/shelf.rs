//! One tenant's tables: found by listing the store, kept open, summed up as a catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datasets::DatasetName;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parking_lot::Mutex;

use super::check::is_unreadable;
use super::create::{has_data_files, without_log};
use super::holding::Holding;
use super::table::{Showing, places};
use super::{Lake, Table, was_dropped};
use crate::catalog::Catalog;
use crate::error::{Code, Error, Result};
use crate::expected::Expected;
use crate::identity::{TenantId, Version};

/// Tables opened at once while listing a tenant.
const OPENING_MAX: usize = 16;

/// How long it is believed that a dataset has no quarantine: another server may make it.
const QUARANTINE_MAX_AGE: Duration = Duration::from_secs(60);

/// The tables of one tenant.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    tables: Mutex<BTreeMap<DatasetName, Arc<Table>>>,
    unreadable: Mutex<BTreeMap<DatasetName, Error>>,
    /// Set once the store was listed; held while it is.
    pub(super) listed: tokio::sync::Mutex<bool>,
    /// Moves with every commit.
    stamp: AtomicU64,
    catalog: Mutex<Option<(u64, Arc<Catalog>)>>,
    /// What is committed and not shown yet.
    pub(super) holding: Mutex<Holding>,
    /// Held while results of a run become visible.
    pub(super) publishing: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// Notes that a table moved on.
    pub(super) fn touch(&self) {
        self.stamp.fetch_add(1, Ordering::Release);
    }

    /// The names of all that is known, also of what can not be read.
    pub(super) fn known(&self) -> BTreeSet<DatasetName> {
        let opened: Vec<DatasetName> = self.tables.lock().keys().cloned().collect();
        opened.into_iter().chain(self.unreadable.lock().keys().cloned()).collect()
    }

    pub(super) fn opened(&self) -> Vec<Arc<Table>> {
        self.tables.lock().values().cloned().collect()
    }

    /// The names of datasets that cannot be read or have damaged logs.
    fn unreadable(&self) -> BTreeSet<DatasetName> {
        let is_damaged = |table: &Arc<Table>| table.is_damaged.load(Ordering::Relaxed);
        let damaged = self.opened().into_iter().filter(is_damaged).map(|table| table.name.clone());
        damaged.chain(self.unreadable.lock().keys().cloned()).collect()
    }

    pub(super) fn get(&self, name: &DatasetName) -> Option<Arc<Table>> {
        self.tables.lock().get(name).cloned()
    }

    /// Keeps a table open; one that is already there stays, so that there is one head per table.
    pub(super) fn keep(&self, table: Table) -> Arc<Table> {
        let kept = Arc::clone(
            self.tables.lock().entry(table.name.clone()).or_insert_with(|| Arc::new(table)),
        );
        self.unreadable.lock().remove(&kept.name);
        self.expect_rest(&kept);
        self.stamp.fetch_add(1, Ordering::Release);
        kept
    }

    /// Lets go of a table that is gone.
    pub(super) fn remove(&self, name: &DatasetName) {
        self.tables.lock().remove(name);
        self.unreadable.lock().remove(name);
        self.stamp.fetch_add(1, Ordering::Release);
    }

    /// Lets go of those of `before` that a listing did not find. What came while it was made stays.
    fn forget(&self, before: &[DatasetName], found: &[DatasetName]) {
        let stays = |name: &DatasetName| found.contains(name) || !before.contains(name);
        self.tables.lock().retain(|name, _| stays(name));
        self.unreadable.lock().retain(|name, _| found.contains(name));
        self.stamp.fetch_add(1, Ordering::Release);
    }

    fn catalog(&self, tenant: &TenantId, expected: &Expected) -> Arc<Catalog> {
        // Nothing is shown meanwhile.
        let _holding = self.holding.lock();
        let stamp = self.stamp.load(Ordering::Acquire);
        let mut cached = self.catalog.lock();
        if let Some((at, catalog)) = &*cached
            && *at == stamp
        {
            return Arc::clone(catalog);
        }
        let (mut datasets, mut dropped) = (BTreeMap::new(), BTreeMap::new());
        for (name, table) in self.tables.lock().iter() {
            let entry = table.entry();
            match entry.dropped_at {
                Some(_) if entry.is_unmade => {}
                Some(at) => drop(dropped.insert(name.clone(), at)),
                None => drop(datasets.insert(name.clone(), entry.as_ref().clone())),
            }
        }
        let (tenant, unreadable) = (tenant.clone(), self.unreadable.lock().clone());
        let none = BTreeMap::new();
        let mut catalog =
            Catalog { tenant, datasets, expected: none, dropped, unreadable, generation: 1 };
        catalog.expected = expected.beside(&catalog);
        if let Some((_, before)) = &*cached {
            let (old, new) = (before.datasets.values(), catalog.datasets.values());
            let same = old.map(|entry| &entry.spec).eq(new.map(|entry| &entry.spec));
            catalog.generation = before.generation + u64::from(!same);
        }
        let catalog = Arc::new(catalog);
        *cached = Some((stamp, Arc::clone(&catalog)));
        catalog
    }
}

impl Lake {
    /// The tenants of whom something was asked.
    pub(super) fn asked_for(&self) -> Vec<TenantId> {
        self.shelves.lock().keys().cloned().collect()
    }

    pub(super) fn shelf(&self, tenant: &TenantId) -> Arc<Shelf> {
        Arc::clone(self.shelves.lock().entry(tenant.clone()).or_default())
    }

    /// Datasets of all tenants of which it is known that they can not be read, or that their logs are damaged.
    pub(crate) fn unreadable(&self) -> usize {
        let shelves: Vec<Arc<Shelf>> = self.shelves.lock().values().cloned().collect();
        shelves.iter().map(|shelf| shelf.unreadable().len()).sum()
    }

    /// The same for one tenant.
    pub(crate) fn unreadable_of(&self, tenant: &TenantId) -> Vec<DatasetName> {
        let shelf = self.shelves.lock().get(tenant).cloned();
        shelf.map_or_else(Vec::new, |shelf| shelf.unreadable().into_iter().collect())
    }

    /// The catalogue, from the store the first time and from memory afterwards.
    pub(crate) async fn catalog(&self, tenant: &TenantId) -> Result<Arc<Catalog>> {
        let shelf = self.shelf(tenant);
        let mut listed = shelf.listed.lock().await;
        if !*listed {
            self.list(tenant, &shelf).await?;
            self.finish_publications(tenant).await?;
            *listed = true;
        }
        drop(listed);
        Ok(shelf.catalog(tenant, &self.expected))
    }

    /// The catalogue, from the store.
    pub(crate) async fn refresh_catalog(&self, tenant: &TenantId) -> Result<Arc<Catalog>> {
        let shelf = self.shelf(tenant);
        let mut listed = shelf.listed.lock().await;
        self.list(tenant, &shelf).await?;
        for table in shelf.opened() {
            let mut head = table.head.lock().await;
            match self.catch_up(&table, &mut head).await {
                Err(error) if is_unreadable(&error) => {
                    tracing::warn!(
                        %tenant, dataset = %table.name, error = error.detail(),
                        "dataset is not readable any more"
                    );
                    shelf.unreadable.lock().insert(table.name.clone(), error);
                    shelf.stamp.fetch_add(1, Ordering::Release);
                }
                Err(error) => return Err(error),
                Ok(_) => {
                    if shelf.unreadable.lock().remove(&table.name).is_some() {
                        shelf.stamp.fetch_add(1, Ordering::Release);
                    }
                }
            }
        }
        self.finish_publications(tenant).await?;
        *listed = true;
        drop(listed);
        Ok(shelf.catalog(tenant, &self.expected))
    }

    /// Opens what the store has and the shelf has not.
    pub(super) async fn list(&self, tenant: &TenantId, shelf: &Shelf) -> Result<()> {
        let before: Vec<DatasetName> = shelf.tables.lock().keys().cloned().collect();
        let folder = Path::from(tenant.as_str());
        let listing = self
            .root()
            .store()
            .list_with_delimiter(Some(&folder))
            .await
            .map_err(|e| Error::from(e).while_doing("listing the datasets"))?;
        // A folder of another shape (`_artifacts`) is no dataset.
        let names: Vec<DatasetName> = listing
            .common_prefixes
            .iter()
            .filter_map(|path| DatasetName::new(path.filename()?).ok())
            .collect();
        shelf.forget(&before, &names);
        let unopened: Vec<_> = names.into_iter().filter(|name| shelf.get(name).is_none()).collect();
        stream::iter(unopened)
            .map(|name| async move {
                match self.open_or_none(tenant, &name).await {
                    Ok(Some(table)) => drop(shelf.keep(table)),
                    // One that another has opened meanwhile can be read.
                    _ if shelf.get(&name).is_some() => {}
                    Ok(None) => drop(shelf.unreadable.lock().remove(&name)),
                    Err(e) => {
                        tracing::warn!(
                            %tenant, dataset = %name, error = e.detail(), "dataset is not readable"
                        );
                        shelf.unreadable.lock().insert(name, e);
                        shelf.stamp.fetch_add(1, Ordering::Release);
                    }
                }
                Ok::<_, Error>(())
            })
            .buffer_unordered(OPENING_MAX)
            .try_collect::<()>()
            .await
    }

    /// Opens a table for all that come after.
    pub(super) async fn open(&self, tenant: &TenantId, name: &DatasetName) -> Result<Table> {
        let table = Table::open(self.root(), tenant, name).await?;
        if self.writable {
            table.checkpoint_long_log().await;
        }
        Ok(table)
    }

    /// The table of a folder; `None` for one that is just being made, or none.
    async fn open_or_none(&self, tenant: &TenantId, name: &DatasetName) -> Result<Option<Table>> {
        let open = async || match self.open(tenant, name).await {
            Err(e) if e.code() == Code::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        if let Some(table) = open().await? {
            return Ok(Some(table));
        }
        let (_, folder) = places(self.root(), tenant, name)?;
        if !has_data_files(folder.as_ref()).await? {
            return Ok(None);
        }
        // It may have been made since.
        open().await?.map_or_else(|| Err(without_log(tenant, name)), |table| Ok(Some(table)))
    }

    /// An open table; NOT_FOUND names those that are spelt alike, and says of one that is dropped that it is.
    pub(crate) async fn table(&self, tenant: &TenantId, name: &DatasetName) -> Result<Arc<Table>> {
        let table = self.table_or_dropped(tenant, name).await?;
        match table.entry().dropped_at {
            Some(at) => Err(was_dropped(name, at)),
            None => Ok(table),
        }
    }

    /// An open table, also one that is dropped; NOT_FOUND names those that are spelt alike.
    pub(super) async fn table_or_dropped(
        &self,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Arc<Table>> {
        match self.find_dropped(tenant, name).await? {
            Some(table) => Ok(table),
            None => Err(self.unknown(tenant, name).await),
        }
    }

    /// The error of whoever asks for a dataset that there is not.
    pub(super) async fn unknown(&self, tenant: &TenantId, name: &DatasetName) -> Error {
        match self.catalog(tenant).await {
            Ok(catalog) => catalog.unknown(name.as_str()),
            Err(error) => error,
        }
    }

    /// The table of rows that `table` rejected, if there are any. That there are none is believed for a while; those of this
    /// process are known at once.
    pub(crate) async fn quarantine_of(&self, table: &Table) -> Result<Option<Arc<Table>>> {
        let name = table.name.quarantine();
        if let Some(quarantine) = self.shelf(&table.tenant).get(&name) {
            return Ok(Some(quarantine));
        }
        let is_known = |at: Instant| at.elapsed() < QUARANTINE_MAX_AGE;
        if table.without_quarantine.lock().is_some_and(is_known) {
            return Ok(None);
        }
        let at = Instant::now();
        let found = match self.find(&table.tenant, &name).await {
            // Rows that are rejected fail on it; those that are not need not know of it.
            Err(error) if is_unreadable(&error) => {
                tracing::warn!(
                    tenant = %table.tenant, dataset = %name, error = error.detail(),
                    "quarantine is not readable"
                );
                None
            }
            found => found?,
        };
        *table.without_quarantine.lock() = found.is_none().then_some(at);
        Ok(found)
    }

    /// Fails with NOT_FOUND and the range unless the table has `version`.
    pub(crate) async fn require_version(&self, table: &Arc<Table>, version: Version) -> Result<()> {
        if version > table.entry().version {
            let mut head = table.head.lock().await;
            self.catch_up(table, &mut head).await?;
        }
        let Showing { entry, shape } = table.shown();
        if shape.is_set_aside(version) {
            let name = &table.name;
            return Err(Error::user(
                Code::NotFound,
                format!(
                    "dataset {name}: version {version} was damaged, and a repair set it aside; expected another version, as \
                     the newest, {}",
                    entry.version
                ),
            ));
        }
        let newest = entry.version;
        let is_kept = version >= shape.kept_from();
        if version <= newest && is_kept && table.has_state(version) {
            return Ok(());
        }
        if version <= newest && is_kept && table.is_known_kept(version) {
            return Ok(());
        }
        let oldest = table.find_oldest_version(newest).await?;
        if (oldest..=newest).contains(&version) {
            return Ok(());
        }
        let name = &table.name;
        Err(Error::user(
            Code::NotFound,
            if version < oldest {
                format!(
                    "dataset {name}: version {version} is no longer kept; versions {oldest} to {newest} are"
                )
            } else {
                format!(
                    "dataset {name} has no version {version}; versions {oldest} to {newest} exist"
                )
            },
        ))
    }
}
