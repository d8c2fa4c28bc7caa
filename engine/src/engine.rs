//! The engine: one handle to all datasets of a root.
//!
//! This file is the list of what can be done with datasets, each with its permission; how it is done
//! stands in the rooms below (`lake`, `ingest`, `session`). Cloning the handle is free.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datasets::read::{Format, Source};
use datasets::{DatasetName, DatasetSpec};

use crate::bus::CommitBus;
use crate::catalog::{Catalog, DatasetEntry};
use crate::error::Result;
use crate::identity::{Principal, Role, Version};
use crate::ingest::{Ingest, IngestReceipt, IngestRequest, LoadOptions};
use crate::lake::{Batches, Commit, CommitLabel, CommitRecord, Lake, WriteMode};
use crate::metrics::EngineMetrics;
use crate::options::{Access, EngineOptions};
use crate::session::{AsOf, Changes, Session, Sessions};
use crate::storage::{Root, WriterLock};

/// All datasets of one root.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Rooms>);

#[derive(Debug)]
struct Rooms {
    lake: Arc<Lake>,
    ingest: Ingest,
    sessions: Sessions,
    lock: Option<WriterLock>,
}

impl Engine {
    /// Opens `options.root`; makes sure first that it can be reached and, for a writer, written.
    pub async fn open(options: EngineOptions) -> Result<Self> {
        let root = Root::open(&options.root, &options.storage_options, &options.access)?;
        Self::open_root(root, options).await
    }

    #[tracing::instrument(name = "open", skip_all, fields(root = root.kind_name()))]
    pub(crate) async fn open_root(root: Root, options: EngineOptions) -> Result<Self> {
        let writable = matches!(options.access, Access::Writer { .. });
        root.probe(writable).await?;
        let lock = match &options.access {
            Access::Writer { holder } => root.lock(holder)?,
            Access::ReadOnly => None,
        };
        let sessions = Sessions::new(&options, &root)?;
        let lake = Arc::new(Lake::new(root, writable));
        let ingest = Ingest::new(Arc::clone(&lake), options.ingest.clone());
        tracing::info!(writable, "engine opened");
        Ok(Self(Arc::new(Rooms { lake, ingest, sessions, lock })))
    }

    #[cfg(test)]
    pub(crate) fn lake(&self) -> &Arc<Lake> {
        &self.0.lake
    }

    /// Commits what is queued, then gives up the right to write. Later ingests are refused.
    pub async fn shutdown(&self) -> Result<()> {
        self.0.ingest.shutdown().await;
        self.0.lake.settle().await;
        if let Some(lock) = &self.0.lock {
            lock.release();
        }
        tracing::info!("engine closed");
        Ok(())
    }

    /// Whether the store can be reached now.
    pub async fn ready(&self) -> Result<()> {
        self.0.lake.root().probe_reachable().await
    }

    /// The tenant's datasets, as last known: current with every commit of this process.
    pub async fn catalog(&self, who: &Principal) -> Result<Arc<Catalog>> {
        who.require(Role::Reader)?;
        self.0.lake.catalog(&who.tenant).await
    }

    /// The tenant's datasets, read anew from the store.
    pub async fn refresh_catalog(&self, who: &Principal) -> Result<Arc<Catalog>> {
        who.require(Role::Reader)?;
        self.0.lake.refresh_catalog(&who.tenant).await
    }

    /// Creates a dataset. Equal to one that exists: that one. Different from it: CONFLICT.
    pub async fn create_dataset(&self, who: &Principal, spec: DatasetSpec) -> Result<DatasetEntry> {
        who.require(Role::Writer)?;
        self.0.lake.create_dataset(who, &spec).await
    }

    /// Creates a dataset, or adds the columns to it that `spec` has more, when they are nullable.
    pub async fn ensure_dataset(
        &self,
        who: &Principal,
        spec: &DatasetSpec,
    ) -> Result<DatasetEntry> {
        who.require(Role::Writer)?;
        self.0.lake.ensure_dataset(who, spec).await
    }

    /// Takes rows; answers when they are committed.
    pub async fn ingest(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        request: IngestRequest,
    ) -> Result<IngestReceipt> {
        who.require(Role::Writer)?;
        self.0.ingest.ingest(who, dataset, request).await
    }

    /// Takes one file of any size as one commit; nothing is committed when it fails.
    pub async fn load(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        source: Source,
        format: Format,
        options: LoadOptions,
    ) -> Result<IngestReceipt> {
        who.require(Role::Writer)?;
        self.0.ingest.load(who, dataset, source, format, options).await
    }

    /// Commits rows that a job made. They must have the columns of the dataset's spec, by name.
    pub async fn write(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        mode: WriteMode,
        batches: impl Into<Batches>,
        commit: CommitLabel,
    ) -> Result<Commit> {
        who.require(Role::Writer)?;
        self.0.lake.write(who, dataset, mode, batches.into(), commit).await
    }

    /// The newest `limit` commits, newest first, as far back as the log is kept.
    pub async fn history(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        limit: usize,
    ) -> Result<Vec<CommitRecord>> {
        who.require(Role::Reader)?;
        self.0.lake.history(&who.tenant, dataset, limit).await
    }

    /// The version that was the newest at an instant; NOT_FOUND says which instants there are.
    pub async fn version_at(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        at: DateTime<Utc>,
    ) -> Result<Version> {
        who.require(Role::Reader)?;
        self.0.lake.version_at(&who.tenant, dataset, at).await
    }

    /// What changed from version `from` (itself excluded) to version `to`, net.
    pub async fn changes(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        from: Version,
        to: Version,
    ) -> Result<Changes> {
        who.require(Role::Reader)?;
        self.0.sessions.changes(&self.0.lake, &who.tenant, dataset, from, to).await
    }

    /// A session over the tenant's datasets, each at one version from start to end: that of `pins`,
    /// or the newest that this engine knows of. What another process committed meanwhile is known
    /// after [`refresh_catalog`](Self::refresh_catalog).
    pub async fn session(&self, who: &Principal, pins: &[(DatasetName, AsOf)]) -> Result<Session> {
        who.require(Role::Reader)?;
        self.0.sessions.open(&self.0.lake, &who.tenant, pins).await
    }

    /// Where commits of this engine are announced.
    pub fn commits(&self) -> &CommitBus {
        self.0.lake.bus()
    }

    /// What this engine did so far.
    pub fn metrics(&self) -> &EngineMetrics {
        self.0.lake.metrics()
    }
}
