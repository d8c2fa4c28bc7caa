//! One table: its log, the head that commits go on, and the versions that readers hold.

use std::collections::VecDeque;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

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

use super::Head;
use crate::catalog::DatasetEntry;
use crate::error::{Code, Error, Result};
use crate::identity::{TenantId, Version};
use crate::storage::Root;

/// Versions whose file lists are kept in memory, per table.
const STATES_MAX: usize = 8;

/// One table of a tenant.
pub(crate) struct Table {
    pub(super) tenant: TenantId,
    pub(super) name: DatasetName,
    pub(super) log: LogStoreRef,
    /// The table's own folder.
    pub(super) store: Arc<dyn ObjectStore>,
    /// Whether a write that failed is certain not to appear later.
    pub(super) failures_are_final: bool,
    /// Held for the length of a commit: one at a time.
    pub(super) head: tokio::sync::Mutex<Head>,
    /// Held while a checkpoint is being made.
    pub(super) checkpointing: Arc<tokio::sync::Mutex<()>>,
    /// What the head was after the last commit, for those who only look.
    published: RwLock<Arc<DatasetEntry>>,
    /// File lists by version, the most recently used last.
    states: Mutex<VecDeque<DeltaTableState>>,
}

/// A table at one version, for reading.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) entry: Arc<DatasetEntry>,
    pub(crate) version: Version,
    pub(super) state: DeltaTableState,
}

impl Table {
    /// Opens the table at its newest version; NOT_FOUND when there is none.
    pub(super) async fn open(root: &Root, tenant: &TenantId, name: &DatasetName) -> Result<Self> {
        let (log, store) = places(root, tenant, name)?;
        let state = load_state(&log, None).await.map_err(|e| match e.code() {
            Code::NotFound => e,
            _ => e.while_doing(format_args!("opening dataset {name}")),
        })?;
        let head = Head::of_state(name, &state)
            .map_err(|e| e.while_doing(format_args!("opening dataset {name}")))?;
        let table = Self::with_head(root, tenant, name, (log, store), head);
        table.keep(state);
        Ok(table)
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
            published: RwLock::new(Arc::new(head.entry())),
            head: tokio::sync::Mutex::new(head),
            checkpointing: Arc::default(),
            states: Mutex::default(),
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
        Arc::clone(&self.published.read())
    }

    pub(super) fn publish(&self, head: &Head) {
        *self.published.write() = Arc::new(head.entry());
    }

    /// The table at `version`, which must exist.
    pub(crate) async fn snapshot(&self, version: Version) -> Result<Snapshot> {
        let entry = self.entry();
        let state = self.state(version.0).await.map_err(|e| {
            e.while_doing(format_args!("reading dataset {} at version {version}", self.name))
        })?;
        let entry = if entry.version == version {
            entry
        } else {
            Arc::new(Head::of_state(&self.name, &state)?.entry())
        };
        Ok(Snapshot { entry, version, state })
    }

    /// The file list at `version`, advanced from an earlier one where that is at hand.
    pub(super) async fn state(&self, version: u64) -> Result<DeltaTableState> {
        let earlier = {
            let mut states = self.states.lock();
            let best = states
                .iter()
                .enumerate()
                .filter(|(_, state)| state.version() <= version)
                .max_by_key(|(_, state)| state.version())
                .map(|(i, _)| i);
            best.and_then(|i| {
                let state = states.remove(i)?;
                states.push_back(state.clone());
                Some(state)
            })
        };
        let state = match earlier {
            Some(state) if state.version() == version => return Ok(state),
            Some(mut state) => {
                let update = state.update(self.log.as_ref(), Some(version));
                contained(update).await?;
                state
            }
            None => load_state(&self.log, Some(version)).await?,
        };
        if state.version() != version {
            return Err(Error::user(
                Code::NotFound,
                format!("dataset {} has no version {version}", self.name),
            ));
        }
        self.keep(state.clone());
        Ok(state)
    }

    /// The newest file list that the store has.
    pub(super) async fn newest_state(&self) -> Result<DeltaTableState> {
        let state = load_state(&self.log, None).await?;
        self.keep(state.clone());
        Ok(state)
    }

    /// Whether the file list at `version` is in memory.
    pub(super) fn has_state(&self, version: Version) -> bool {
        self.states.lock().iter().any(|state| state.version() == version.0)
    }

    fn keep(&self, state: DeltaTableState) {
        let mut states = self.states.lock();
        if states.iter().any(|kept| kept.version() == state.version()) {
            return;
        }
        states.push_back(state);
        while states.len() > STATES_MAX {
            states.pop_front();
        }
    }
}

impl Snapshot {
    /// A scan of the table, or of some of its files by their paths in the log.
    pub(crate) fn scan(&self, files: Option<Vec<String>>) -> Result<DeltaScanNext> {
        let config = DeltaScanConfig {
            file_column_name: None,
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
    let folder: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(
        Arc::clone(root.store()),
        Path::from_iter([tenant.as_str(), name.as_str()]),
    ));
    let log = default_logstore(
        Arc::clone(&folder),
        Arc::clone(root.store()),
        &location,
        &StorageConfig::default(),
    );
    Ok((log, folder))
}

async fn load_state(log: &LogStoreRef, version: Option<u64>) -> Result<DeltaTableState> {
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
