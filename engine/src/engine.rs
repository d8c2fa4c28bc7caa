//! The engine: one handle to all datasets of a root.
//!
//! This file is the list of what can be done with datasets, each with its permission; how it is done
//! stands in the rooms below (`lake`, `ingest`, `session`). Cloning the handle is free.
//!
//! Every future is boxed here: as an `async fn` it would have all of Delta's and DataFusion's futures in its type, and whoever
//! awaits it would be compiled with them, a minute for a crate like `jobs`.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datasets::read::{Format, Source};
use datasets::{DatasetName, DatasetSpec};
use futures::future::BoxFuture;

use crate::bus::CommitBus;
use crate::catalog::{Catalog, DatasetEntry};
use crate::compact::{self, Compacted};
use crate::derived;
use crate::error::{Error, Result};
use crate::expected::Expected;
use crate::grants::Grants;
use crate::identity::{Principal, Role, Version};
use crate::ingest::{Ingest, IngestReceipt, IngestRequest, LoadOptions};
use crate::lake::{
    Batches, Commit, CommitLabel, CommitRecord, Examined, Keep, Lake, Layout, Table, Vacuumed,
    WriteMode,
};
use crate::lanes::{Lanes, Usage};
use crate::metrics::EngineMetrics;
use crate::options::EngineOptions;
use crate::revise::{self, Coming, Reshape, Reshaped, Revised, Reviser, Revision};
use crate::session::{AsOf, Changes, Session, Sessions};
use crate::storage::{Root, WriterLock};
use crate::upkeep::Upkeep;

/// All datasets of one root.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Rooms>);

#[derive(Debug)]
pub(crate) struct Rooms {
    pub(crate) lake: Arc<Lake>,
    /// Of a writer.
    ingest: Option<Arc<Ingest>>,
    reviser: Option<Reviser>,
    usage: Arc<Usage>,
    pub(crate) sessions: Sessions,
    pub(crate) upkeep: Upkeep,
    pub(crate) lock: Option<WriterLock>,
}

impl Engine {
    /// Opens `options.root`; makes sure first that it can be reached and, for a writer, written.
    pub fn open(options: EngineOptions) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let root = Root::open(&options.root, &options.storage_options, &options.access)?;
            Self::open_root(root, options).await
        })
    }

    #[tracing::instrument(name = "open", skip_all, fields(root = root.kind_name()))]
    pub(crate) async fn open_root(root: Root, mut options: EngineOptions) -> Result<Self> {
        let writable = options.access.writes();
        root.probe(writable).await?;
        let lock = root.lock(&options.access)?;
        let sessions = Sessions::new(&options, &root)?;
        let expected = Expected::new(std::mem::take(&mut options.expected));
        let lake = Arc::new(Lake::new(root, writable, expected));
        let usage = Arc::new(Usage::default());
        let ingest = match writable {
            true => Some(Ingest::new(Arc::clone(&lake), options.ingest.clone(), usage.clone())?),
            false => None,
        }
        .map(Arc::new);
        let reviser = writable.then(|| Reviser::new(usage.clone())).transpose()?;
        tracing::info!(writable, "engine opened");
        let upkeep = Upkeep::default();
        Ok(Self(Arc::new(Rooms { lake, ingest, reviser, usage, sessions, upkeep, lock })))
    }

    pub(crate) fn rooms(&self) -> &Rooms {
        &self.0
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    pub(crate) fn lake(&self) -> &Arc<Lake> {
        &self.0.lake
    }

    pub(crate) fn ingesting(&self) -> Result<&Arc<Ingest>> {
        self.0.lake.require_writer()?;
        self.0.ingest.as_ref().ok_or_else(|| Error::internal("a writer without threads"))
    }

    fn reviser(&self) -> Result<&Reviser> {
        self.0.lake.require_writer()?;
        self.0.reviser.as_ref().ok_or_else(|| Error::internal("a writer without threads"))
    }

    /// Threads for `count` tasks at a time that compute, called `name`. Which tenants are first there is told by what each used
    /// lately of all such threads, and of those that take rows.
    pub fn lanes(&self, name: &'static str, count: usize) -> Result<Lanes> {
        Lanes::new(Arc::clone(&self.0.usage), name, count)
    }

    /// The folder of a root on a disk.
    pub fn folder(&self) -> Option<&Path> {
        self.0.lake.root().folder()
    }

    /// Whether what is committed outlives the process.
    pub fn is_kept(&self) -> bool {
        self.0.lake.root().is_kept()
    }

    /// From now on sees to tables of many small files, beside what commits to them, until it is shut down.
    pub fn keep_up(&self) -> Result<()> {
        self.0.lake.require_writer()?;
        self.0.upkeep.begin(&self.0)
    }

    /// Puts the small files of a dataset together. Its rows stay as they are; who reads an older version finds its files, too.
    pub fn compact<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
    ) -> BoxFuture<'a, Result<Compacted>> {
        self.compact_as(who, dataset, Layout::default())
    }

    /// The same into files of a size, with rows in an order. Files that say nothing of their rows, as some other writers leave them,
    /// are written anew with their statistics.
    pub fn compact_as<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        layout: Layout,
    ) -> BoxFuture<'a, Result<Compacted>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            let session = self.session(who, &[]).await?;
            compact::compact(&self.0.lake, &session, who, dataset, layout).await
        })
    }

    /// Takes away files of a dataset that only versions have which are not to be kept, and old ones that no commit has; nothing, if
    /// `is_dry`. An older version can not be asked for any more. Who just reads one fails.
    pub fn vacuum<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        keep: Keep,
        is_dry: bool,
    ) -> BoxFuture<'a, Result<Vacuumed>> {
        Box::pin(async move {
            who.require(Role::Admin)?;
            self.0.lake.vacuum(who, dataset, keep, is_dry).await
        })
    }

    /// Commits what is queued, then gives up the right to write. Later ingests are refused.
    pub fn shutdown(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(ingest) = &self.0.ingest {
                ingest.shutdown().await;
            }
            self.0.upkeep.end().await;
            self.0.lake.settle().await;
            if let Some(lock) = &self.0.lock {
                lock.release();
            }
            tracing::info!("engine closed");
            Ok(())
        })
    }

    /// Whether the store can be reached now.
    pub fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move { self.0.lake.ready().await })
    }

    /// Datasets of all tenants that were found unreadable, as last known.
    pub fn unreadable(&self) -> usize {
        self.0.lake.unreadable()
    }

    /// The tenant's datasets, as last known: current with every commit of this process.
    pub fn catalog<'a>(&'a self, who: &'a Principal) -> BoxFuture<'a, Result<Arc<Catalog>>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            let Rooms { lake, sessions, .. } = &*self.0;
            sessions.catalog(lake, &who.tenant, &who.sees()).await
        })
    }

    /// Fails where one of `grants` does not fit its dataset, and names those that are not there. For whoever gives them.
    pub async fn require_fitting(&self, who: &Principal, of: &Grants) -> Result<Vec<String>> {
        who.require(Role::Admin)?;
        self.0.sessions.require_fitting(&*self.0.lake.catalog(&who.tenant).await?, of)
    }

    /// The tenant's datasets, read anew from the store.
    pub fn refresh_catalog<'a>(
        &'a self,
        who: &'a Principal,
    ) -> BoxFuture<'a, Result<Arc<Catalog>>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            let Rooms { lake, sessions, .. } = &*self.0;
            lake.refresh_catalog(&who.tenant).await?;
            sessions.catalog(lake, &who.tenant, &who.sees()).await
        })
    }

    /// Creates a dataset for rows of clients. Equal to one that exists: that one. Different from it: CONFLICT. A name that is
    /// kept for what Colonnade writes by itself: FORBIDDEN.
    pub fn create_dataset<'a>(
        &'a self,
        who: &'a Principal,
        spec: DatasetSpec,
    ) -> BoxFuture<'a, Result<DatasetEntry>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            derived::refuse_derived(&spec)?;
            self.0.lake.require_room(who, &spec).await?;
            self.0.lake.create_dataset(who, &spec).await
        })
    }

    /// Creates a dataset for rows of clients, or adds the columns to it that `spec` has more, when they are nullable. A name
    /// that is kept for what Colonnade writes by itself: FORBIDDEN.
    pub fn ensure_dataset<'a>(
        &'a self,
        who: &'a Principal,
        spec: &'a DatasetSpec,
    ) -> BoxFuture<'a, Result<DatasetEntry>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            derived::refuse_derived(spec)?;
            self.0.lake.require_room(who, spec).await?;
            self.0.lake.ensure_dataset(who, spec).await
        })
    }

    /// The same for what Colonnade writes by itself: the spec says `derived`. CONFLICT where the name is a client's dataset.
    pub fn ensure_derived<'a>(
        &'a self,
        who: &'a Principal,
        spec: &'a DatasetSpec,
    ) -> BoxFuture<'a, Result<DatasetEntry>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            if !spec.derived {
                let name = &spec.name;
                return Err(Error::internal(format!("the spec of {name} does not say `derived`")));
            }
            self.0.lake.ensure_dataset(who, spec).await
        })
    }

    /// Drops a dataset with its quarantine, as one commit each: whoever asks for it is told so. Answers with the version.
    pub fn drop_dataset<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
    ) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.require_no_audit(who, dataset).await?;
            self.0.lake.drop_dataset(who, dataset).await
        })
    }

    /// Brings a dropped dataset back, with its rows and versions.
    pub fn restore_dataset<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
    ) -> BoxFuture<'a, Result<DatasetEntry>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.0.lake.restore_dataset(who, dataset).await
        })
    }

    /// Gives a dataset another name, and its quarantine with it. Answers with the version that has it.
    pub fn rename_dataset<'a>(
        &'a self,
        who: &'a Principal,
        from: &'a DatasetName,
        to: &'a DatasetName,
    ) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            who.require(Role::Admin)?;
            self.0.lake.require_writer()?;
            self.require_no_audit(who, from).await?;
            self.0.lake.rename_dataset(who, from, to).await
        })
    }

    /// Takes the files of a dropped dataset away, for good. Answers with how many there were.
    pub fn purge_dataset<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            who.require(Role::Admin)?;
            self.0.lake.purge_dataset(who, dataset).await
        })
    }

    /// Takes rows; answers when they are committed.
    pub fn ingest<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        request: IngestRequest,
    ) -> BoxFuture<'a, Result<IngestReceipt>> {
        Box::pin(async move {
            self.require_whole(who, Role::Writer, dataset).await?;
            self.ingesting()?.ingest(who, dataset, request).await
        })
    }

    /// Takes one file of any size as one commit; nothing is committed when it fails.
    pub fn load<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        source: Source,
        format: Format,
        options: LoadOptions,
    ) -> BoxFuture<'a, Result<IngestReceipt>> {
        Box::pin(async move {
            self.require_whole(who, Role::Writer, dataset).await?;
            let session = self.session(who, &[]).await?;
            self.ingesting()?.load(who, &session, dataset, source, format, options).await
        })
    }

    /// The same for one of many files that come at a time: each tenant's in turn, on the engine's own threads. Who gives up waiting
    /// leaves a load that goes on.
    pub fn load_in_turn<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        source: Source,
        format: Format,
        options: LoadOptions,
    ) -> BoxFuture<'a, Result<IngestReceipt>> {
        Box::pin(async move {
            self.require_whole(who, Role::Writer, dataset).await?;
            let ingest = Arc::clone(self.ingesting()?);
            let session = self.session(who, &[]).await?;
            ingest.load_in_turn(who, session, dataset, source, format, options).await
        })
    }

    /// Commits rows that a job made. They must have the columns of the dataset's spec, by name.
    pub fn write<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        mode: WriteMode,
        batches: impl Into<Batches>,
        commit: CommitLabel,
    ) -> BoxFuture<'a, Result<Commit>> {
        let batches = batches.into();
        Box::pin(async move {
            who.require(Role::Writer)?;
            self.0.lake.write(who, dataset, mode, batches, commit).await
        })
    }

    /// Changes rows of clients that are there, as one commit. FORBIDDEN for rows that are Colonnade's own; only from a quarantine
    /// they may be taken away.
    pub fn revise<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        revision: Revision,
        label: CommitLabel,
    ) -> BoxFuture<'a, Result<Revised>> {
        Box::pin(async move {
            self.revisable(who, dataset, &revision).await?;
            let reviser = self.reviser()?;
            let session = self.session(who, &[]).await?;
            reviser.revise(&self.0.lake, session, who, dataset, revision, label).await
        })
    }

    /// How many rows would be changed or go by it. Fails where [`revise`](Self::revise) would, and changes nothing.
    pub fn try_revise<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        revision: &'a Revision,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let table = self.revisable(who, dataset, revision).await?;
            let session = self.session(who, &[]).await?;
            revise::try_out(&table, &session, revision).await
        })
    }

    /// Changes the columns of a dataset of clients. Where that is more than one column more, all rows are written anew, as one
    /// commit. Requests that are on their way with rows for the columns of before are refused.
    pub fn reshape<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        change: Reshape,
        label: CommitLabel,
    ) -> BoxFuture<'a, Result<Reshaped>> {
        Box::pin(async move {
            self.reshapable(who, dataset, &change).await?;
            let reviser = self.reviser()?;
            let session = self.session(who, &[]).await?;
            reviser.reshape(&self.0.lake, session, who, dataset, change, label).await
        })
    }

    /// What it would come to. Fails where [`reshape`](Self::reshape) would, and changes nothing.
    pub fn try_reshape<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        change: &'a Reshape,
    ) -> BoxFuture<'a, Result<Reshaped>> {
        Box::pin(async move {
            let table = self.reshapable(who, dataset, change).await?;
            let session = self.session(who, &[]).await?;
            revise::try_out_columns(&table, &session, change).await
        })
    }

    async fn reshapable(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        change: &Reshape,
    ) -> Result<Arc<Table>> {
        let table = self.changeable(who, dataset, false).await?;
        let wider = change.wider(&table.entry().spec);
        if wider > 0 {
            self.0.lake.catalog(&who.tenant).await?.require_room(0, wider)?;
        }
        Ok(table)
    }

    async fn revisable(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        revision: &Revision,
    ) -> Result<Arc<Table>> {
        let only_removes = matches!(revision.coming, Coming::Nothing);
        self.changeable(who, dataset, dataset.is_quarantine() && only_removes).await
    }

    /// The table, if it is a client's to change, or what is Colonnade's may be changed like that, too.
    async fn changeable(
        &self,
        who: &Principal,
        dataset: &DatasetName,
        also_derived: bool,
    ) -> Result<Arc<Table>> {
        who.require(Role::Writer)?;
        let table = self.0.lake.table(&who.tenant, dataset).await?;
        if table.entry().spec.derived && !also_derived {
            return Err(derived::refuse_change(dataset));
        }
        Ok(table)
    }

    /// The same for what Colonnade writes by itself, as part of a run.
    pub fn revise_derived<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        revision: Revision,
        label: CommitLabel,
    ) -> BoxFuture<'a, Result<Revised>> {
        Box::pin(async move {
            who.require(Role::Writer)?;
            let session = self.session(who, &[]).await?;
            revise::revise(&self.0.lake, &session, who, dataset, revision, &label).await
        })
    }

    /// The newest `limit` commits, newest first, as far back as the log is kept.
    pub fn history<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<CommitRecord>>> {
        Box::pin(async move {
            self.require_whole(who, Role::Reader, dataset).await?;
            self.0.lake.history(&who.tenant, dataset, limit).await
        })
    }

    /// Whether what the commit of `version` made is still as it made it, whatever came since.
    pub fn is_as_made<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        version: Version,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            who.require(Role::Reader)?;
            self.0.lake.is_as_made(&who.tenant, dataset, version).await
        })
    }

    /// The last number of [`CommitLabel::idempotency`] that a commit was made under, for its id.
    pub fn last_number<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<i64>>> {
        Box::pin(async move {
            who.require(Role::Reader)?;
            self.0.lake.last_number(&who.tenant, dataset, id).await
        })
    }

    /// The version that was the newest at an instant; NOT_FOUND says which instants there are.
    pub fn version_at<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        at: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            who.require(Role::Reader)?;
            self.0.lake.version_at(&who.tenant, dataset, at).await
        })
    }

    /// What changed from version `from` (itself excluded) to version `to`, net.
    pub fn changes<'a>(
        &'a self,
        who: &'a Principal,
        dataset: &'a DatasetName,
        from: Version,
        to: Version,
    ) -> BoxFuture<'a, Result<Changes>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            let Rooms { lake, sessions, .. } = &*self.0;
            sessions.changes(lake, &who.tenant, &who.sees(), dataset, from, to).await
        })
    }

    /// What is wrong with the tables of all tenants; mended, where it can be, if `repair` says so. For whoever has the root
    /// itself: nothing else may write to it meanwhile.
    pub fn examine<'a>(
        &'a self,
        who: &'a Principal,
        repair: bool,
    ) -> BoxFuture<'a, Result<Vec<Examined>>> {
        Box::pin(async move {
            who.require(Role::Admin)?;
            self.0.lake.examine(who, repair).await
        })
    }

    /// A session over the tenant's datasets, each at one version from start to end: that of `pins`,
    /// or the newest that this engine knows of. What another process committed meanwhile is known
    /// after [`refresh_catalog`](Self::refresh_catalog).
    pub fn session<'a>(
        &'a self,
        who: &'a Principal,
        pins: &'a [(DatasetName, AsOf)],
    ) -> BoxFuture<'a, Result<Session>> {
        Box::pin(async move {
            who.require_in_part(Role::Reader)?;
            self.0.sessions.open(&self.0.lake, &who.tenant, &who.sees(), pins).await
        })
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
