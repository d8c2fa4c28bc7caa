//! One table: its log, the head that commits go on, and the versions that readers hold.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use datasets::DatasetName;
use deltalake_core::DeltaTableError;
use deltalake_core::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake_core::kernel::EagerSnapshot;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::table::state::DeltaTableState;
use futures::FutureExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use parking_lot::{Mutex, RwLock};

use super::check::{LogFiles, advised, is_damage, settled};
use super::checkpoint::due_after;
use super::excerpt::Shape;
use super::file_list::{FileList, Listing};
use super::layout::FILES_MANY;
use super::log::{LogEntry, read_entry};
use super::newest::{Mark, Marking, lost};
use super::schema;
use super::{Head, Publication};
use crate::catalog::DatasetEntry;
use crate::error::{Code, Error, Result};
use crate::identity::{TenantId, Version};
use crate::storage::Root;

/// Versions whose file lists are kept in memory, per table.
const STATES_MAX: usize = 8;
/// How long a listing of the log is believed. What it says is kept only ever ends with a clean-up, and those
/// keep weeks.
const OLDEST_MAX_AGE: Duration = Duration::from_secs(60);
/// How long after a commit, by the clocks of whoever made it and of this process, it is looked for what is to be seen with it. One
/// whose maker died has a record, and is looked for however long ago that was.
const REST_MAX_AGE: TimeDelta = TimeDelta::minutes(10);

/// One table of a tenant.
pub(crate) struct Table {
    pub(super) tenant: TenantId,
    pub(super) name: DatasetName,
    pub(super) log: LogStoreRef,
    /// The table's own folder.
    pub(super) store: Arc<dyn ObjectStore>,
    /// Whether a write that failed is certain not to appear later.
    pub(super) failures_are_final: bool,
    /// Whether it is not known of some commit whether it was made.
    pub(super) is_in_doubt: AtomicBool,
    /// Whether its log was found damaged while it was open: it is looked at again before each commit.
    pub(super) is_damaged: AtomicBool,
    /// Held for the length of a commit: one at a time.
    pub(super) head: tokio::sync::Mutex<Head>,
    /// Held while rows of it are being changed: two such changes of this process come one after the other.
    pub(crate) revising: Arc<tokio::sync::Mutex<()>>,
    /// Held while a checkpoint is being made.
    pub(super) checkpointing: Arc<tokio::sync::Mutex<()>>,
    /// What the head was after the last commit that may be seen, for those who only look.
    shown: RwLock<Showing>,
    /// What its newest commit belonged to when it was opened, where that was made lately.
    pub(super) opened_in: Option<Publication>,
    /// File lists by version, the most recently used last.
    states: Mutex<VecDeque<KeptState>>,
    /// The newest checkpoint that this process made; 0 for none.
    pub(super) checkpointed: AtomicU64,
    /// The version from which on the next one is due.
    pub(super) checkpoint_due: AtomicU64,
    /// Files from which on it is looked whether some are to be put together.
    pub(super) layout_due: AtomicU64,
    /// The mark of the newest version in the table's folder.
    pub(super) marking: Marking,
    /// The oldest version that the log was last found to go back to, and when that was.
    oldest: Mutex<Option<(Version, Instant)>>,
    /// When it was last found that no row of it was ever rejected.
    pub(super) without_quarantine: Mutex<Option<Instant>>,
}

/// What is seen of a table by those who only look.
#[derive(Clone, Debug)]
pub(super) struct Showing {
    pub(super) entry: Arc<DatasetEntry>,
    /// How the files of that version are read.
    pub(super) shape: Arc<Shape>,
}

impl Showing {
    pub(super) fn of(head: &Head) -> Self {
        Self { entry: Arc::new(head.entry()), shape: Arc::new(Shape::of_head(head)) }
    }
}

/// A file list in memory.
#[derive(Clone)]
struct KeptState {
    state: DeltaTableState,
    /// The version that it was read at from the store; it was advanced from there.
    loaded_at: u64,
    files: Listing,
}

/// An opened table. `lost` is the newest committed version, if the log ends before it.
pub(super) struct Opened {
    pub(super) table: Table,
    pub(super) lost: Option<u64>,
}

/// A table at one version, for reading.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) entry: Arc<DatasetEntry>,
    pub(crate) version: Version,
    pub(super) state: DeltaTableState,
    pub(super) files: Listing,
}

impl Table {
    /// Opens the table at its newest version. Fails with NOT_FOUND if it does not exist, and with STORAGE_UNAVAILABLE if a
    /// later version was committed but is missing from the log.
    pub(super) async fn open(root: &Root, tenant: &TenantId, name: &DatasetName) -> Result<Self> {
        let opened = Self::open_as_far(root, tenant, name).await?;
        match opened.lost {
            None => Ok(opened.table),
            Some(committed) => {
                let error = advised(lost(opened.table.entry().version.0, committed));
                Err(error.while_doing(format_args!("opening dataset {name}")))
            }
        }
    }

    /// The same, but also opens a table whose log ends before a committed version.
    pub(super) async fn open_as_far(
        root: &Root,
        tenant: &TenantId,
        name: &DatasetName,
    ) -> Result<Opened> {
        let opening = |e: Error| match e.code() {
            Code::NotFound => e,
            _ => advised(e).while_doing(format_args!("opening dataset {name}")),
        };
        settled(|| Self::open_once(root, tenant, name)).await.map_err(opening)
    }

    async fn open_once(root: &Root, tenant: &TenantId, name: &DatasetName) -> Result<Opened> {
        let (log, store) = places(root, tenant, name)?;
        let files = LogFiles::list_newest(store.as_ref());
        let (files, mark) = tokio::join!(files, Mark::read(store.as_ref()));
        let (files, mark) = (files?, mark?);
        let (listed, checkpoint) = (files.newest()?, files.checkpoints.last().copied());
        // At a version that was there before it lists the log: beside a writer, its listing may have gaps behind that.
        let state = load_state(&log, listed).await?;
        let mut head = Head::of_state(name, &state)?;
        // What its reader passes over must be whole, too; another writer may have gone on since the listing.
        let newest = listed.unwrap_or_default().max(head.version);
        let entry = read_entry(&log, newest).await?;
        let entry = entry.filter(|_| newest == head.version);
        head.entry_bytes = entry.as_ref().map(|entry| entry.bytes);
        let lost = match mark.clone() {
            Some(mark) => mark.lost_after(store.as_ref(), &head.metadata, newest).await?,
            None => None,
        };
        let mut table = Self::with_head(root, tenant, name, (log, store), head);
        table.marking.found(mark);
        let is_late = |entry: &LogEntry| entry.at().is_none_or(|at| Utc::now() - at < REST_MAX_AGE);
        table.opened_in = entry.filter(is_late).and_then(|entry| entry.publication());
        table.checkpoint_due.store(due_after(checkpoint), Ordering::Relaxed);
        table.require_own_rows().await?;
        table.keep_loaded(state);
        Ok(Opened { table, lost })
    }

    pub(super) fn with_head(
        root: &Root,
        tenant: &TenantId,
        name: &DatasetName,
        (log, store): (LogStoreRef, Arc<dyn ObjectStore>),
        head: Head,
    ) -> Self {
        Self {
            tenant: tenant.clone(),
            name: name.clone(),
            log,
            store,
            failures_are_final: root.failures_are_final(),
            is_in_doubt: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
            shown: RwLock::new(Showing::of(&head)),
            marking: Marking::new(&head),
            opened_in: None,
            head: tokio::sync::Mutex::new(head),
            revising: Arc::default(),
            checkpointing: Arc::default(),
            states: Mutex::default(),
            checkpointed: AtomicU64::default(),
            checkpoint_due: AtomicU64::new(due_after(None)),
            layout_due: AtomicU64::new(FILES_MANY as u64),
            oldest: Mutex::default(),
            without_quarantine: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &DatasetName {
        &self.name
    }

    /// The head; nothing is committed while it is held.
    pub(crate) async fn head(&self) -> tokio::sync::MutexGuard<'_, Head> {
        self.head.lock().await
    }

    /// What the catalogue says of it.
    pub(crate) fn entry(&self) -> Arc<DatasetEntry> {
        Arc::clone(&self.shown.read().entry)
    }

    /// The same, with how the files of that version are read.
    pub(super) fn shown(&self) -> Showing {
        self.shown.read().clone()
    }

    /// Shows it so from now on.
    pub(super) fn show(&self, showing: Showing) {
        *self.shown.write() = showing;
    }

    /// The table at `version`, which must exist.
    pub(crate) async fn snapshot(&self, version: Version) -> Result<Snapshot> {
        let entry = self.entry();
        let KeptState { state, files, .. } = self.kept_state(version.0).await.map_err(|e| {
            self.is_damaged.fetch_or(is_damage(&e), Ordering::Relaxed);
            e.while_doing(format_args!("reading dataset {} at version {version}", self.name))
        })?;
        let entry = if entry.version == version {
            entry
        } else {
            Arc::new(Head::of_state(&self.name, &state)?.entry())
        };
        Ok(Snapshot { entry, version, state, files })
    }

    /// The file list at `version`, advanced from an earlier one where that is at hand.
    pub(super) async fn state(&self, version: u64) -> Result<DeltaTableState> {
        Ok(self.kept_state(version).await?.state)
    }

    async fn kept_state(&self, version: u64) -> Result<KeptState> {
        let earlier = {
            let mut states = self.states.lock();
            let best = states
                .iter()
                .enumerate()
                .filter(|(_, kept)| kept.state.version() <= version)
                .max_by_key(|(_, kept)| kept.state.version())
                .map(|(i, _)| i);
            best.and_then(|i| {
                let kept = states.remove(i)?;
                states.push_back(kept.clone());
                Some(kept)
            })
        };
        let kept = match earlier {
            Some(kept) if kept.state.version() == version => return Ok(kept),
            Some(mut kept) if !self.is_better_reloaded(&kept, version) => {
                let update = kept.state.update(self.log.as_ref(), Some(version));
                contained(update).await?;
                KeptState { files: Listing::default(), ..kept }
            }
            _ => {
                let state = load_state(&self.log, Some(version)).await?;
                KeptState { state, loaded_at: version, files: Listing::default() }
            }
        };
        if kept.state.version() != version {
            return Err(Error::user(
                Code::NotFound,
                format!("dataset {} has no version {version}", self.name),
            ));
        }
        self.keep(kept.clone());
        Ok(kept)
    }

    /// The newest file list that the store has.
    pub(super) async fn newest_state(&self) -> Result<DeltaTableState> {
        let state = load_state(&self.log, self.newest_listed().await?).await?;
        self.keep_loaded(state.clone());
        Ok(state)
    }

    /// Whether the file list at `version` is in memory.
    pub(crate) fn has_state(&self, version: Version) -> bool {
        self.states.lock().iter().any(|kept| kept.state.version() == version.0)
    }

    /// Whether `version`, which is not newer than the newest, is known to be kept without asking the store.
    pub(super) fn is_known_kept(&self, version: Version) -> bool {
        let oldest = self.oldest.lock();
        oldest.is_some_and(|(oldest, at)| version >= oldest && at.elapsed() < OLDEST_MAX_AGE)
    }

    /// The oldest version that can still be read, from the store.
    pub(super) async fn find_oldest_version(&self, newest: Version) -> Result<Version> {
        let at = Instant::now();
        let oldest = self.oldest_version(newest).await?;
        *self.oldest.lock() = Some((oldest, at));
        Ok(oldest)
    }

    /// Asks the store again for the oldest version when that is wanted next.
    pub(super) fn forget_oldest_version(&self) {
        *self.oldest.lock() = None;
    }

    /// Whether reading the list at `version` from the store is better than advancing `kept`: each version
    /// that a list is advanced by stays a batch of its own in it, and each scan pays for every batch. A
    /// checkpoint has them in one.
    fn is_better_reloaded(&self, kept: &KeptState, version: u64) -> bool {
        let checkpointed = self.checkpointed.load(Ordering::Acquire);
        let has_newer = kept.loaded_at < checkpointed && checkpointed <= version;
        // Other processes make checkpoints too, and do not say so.
        has_newer || version - kept.loaded_at >= 2 * schema::CHECKPOINT_INTERVAL
    }

    fn keep_loaded(&self, state: DeltaTableState) {
        let loaded_at = state.version();
        self.keep(KeptState { state, loaded_at, files: Listing::default() });
    }

    fn keep(&self, kept: KeptState) {
        let mut states = self.states.lock();
        if states.iter().any(|other| other.state.version() == kept.state.version()) {
            return;
        }
        states.push_back(kept);
        while states.len() > STATES_MAX {
            states.pop_front();
        }
    }
}

impl Snapshot {
    /// Its files, where a table of `tenant` is read by them alone.
    pub(crate) fn files(&self, root: &Root, tenant: &TenantId) -> Option<Arc<FileList>> {
        self.files.get(root, &folder_of(tenant, &self.entry.spec.name), &self.state)
    }

    /// A scan of the table, or of some of its files by their paths in the log or by what a scan calls them.
    pub(crate) fn scan(&self, files: Option<Vec<String>>) -> Result<DeltaScanNext> {
        self.scan_with(files, None)
    }

    /// The same with one column more: what it calls the file of each row.
    pub(crate) fn scan_with(
        &self,
        files: Option<Vec<String>>,
        file_column: Option<&str>,
    ) -> Result<DeltaScanNext> {
        let config = DeltaScanConfig {
            file_column_name: file_column.map(str::to_owned),
            wrap_partition_values: false,
            enable_parquet_pushdown: true,
            schema_force_view_types: false,
            schema: None,
        };
        let snapshot: EagerSnapshot = self.state.snapshot().clone();
        let scan = DeltaScanNext::new(snapshot, config)?;
        Ok(match files {
            Some(files) => scan.with_file_paths(files),
            None => scan,
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}/{})", self.tenant, self.name)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}@{})", self.entry.spec.name, self.version)
    }
}

/// The log and the folder of a table.
pub(super) fn places(
    root: &Root,
    tenant: &TenantId,
    name: &DatasetName,
) -> Result<(LogStoreRef, Arc<dyn ObjectStore>)> {
    let location = root
        .location()
        .join(&format!("{tenant}/{name}/"))
        .map_err(|e| Error::bug("table location", e))?;
    let folder: Arc<dyn ObjectStore> =
        Arc::new(PrefixStore::new(Arc::clone(root.store()), folder_of(tenant, name)));
    let log = default_logstore(
        Arc::clone(&folder),
        Arc::clone(root.store()),
        &location,
        &StorageConfig::default(),
    );
    Ok((log, folder))
}

/// Where in a root the folder of a table lies.
pub(super) fn folder_of(tenant: &TenantId, name: &DatasetName) -> Path {
    Path::from_iter([tenant.as_str(), name.as_str()])
}

pub(super) async fn load_state(log: &LogStoreRef, version: Option<u64>) -> Result<DeltaTableState> {
    contained(DeltaTableState::try_new(log.as_ref(), version)).await
}

/// Runs a call of the Delta library. It panics on some broken logs; that must end the call and not us.
async fn contained<T>(call: impl Future<Output = Result<T, DeltaTableError>>) -> Result<T> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(result) => result.map_err(Error::from),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Error::environment(
                Code::StorageUnavailable,
                "the table's log is broken in a way that stops its reader",
                text,
            ))
        }
    }
}
