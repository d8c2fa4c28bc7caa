//! Where the records of runs are: in control state, and of those that ended long ago in the dataset `runs` alone.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Code, Engine, Error, Principal, Result, Role, RunId};
use futures::future::BoxFuture;

use crate::control::{
    Asked, ControlError, ControlStore, Entry, Need, PASSED_OVER_MAX, SqlStore, Worker,
};
use crate::run::document::Document;
use crate::run::ledger;
use crate::run::memory::size_in_words;
use crate::run::record::{RUNS_LISTED_MAX, RunFilter, RunRecord, RunState, now};

/// The file of control state in the folder of a root. A leading dot is no tenant.
const CONTROL_FILE: &str = ".colonnade.control.db";

/// What a run waits for that nobody will take.
const NO_WORKER: &str = "no worker is there to take it; `colonnade worker` is one";
/// The same of one that is said to be at work.
const IS_GONE: &str =
    "the process that was at it is gone; a server or `colonnade worker` takes it over";

/// The records of runs.
pub(crate) struct Records {
    store: Arc<dyn ControlStore>,
    is_durable: bool,
}

impl From<ControlError> for Error {
    fn from(error: ControlError) -> Self {
        let says = error.to_string();
        match error {
            ControlError::Unavailable(_) => Self::environment(
                Code::StorageUnavailable,
                "the control database can not be reached",
                error,
            ),
            ControlError::Damaged(..) | ControlError::TooNew { .. } => {
                Self::user(Code::StorageUnavailable, says)
            }
            ControlError::Setting(..) => Self::user(Code::BadInput, says),
            ControlError::Refused(_) => Self::internal(says),
        }
    }
}

impl Records {
    /// Opens control state where `control` says, or where it is by itself.
    pub(crate) fn open<'a>(
        engine: &'a Engine,
        control: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Self>> {
        Box::pin(async move {
            let (store, is_durable) = match (control, file_of(engine)) {
                (Some(url), _) => {
                    let store = SqlStore::open(url).await?;
                    require_own(engine, &store).await?;
                    (store, true)
                }
                (None, Some(file)) => (SqlStore::open_file(&file).await?, true),
                (None, None) => {
                    if engine.is_kept() {
                        tracing::warn!(
                            "runs that wait are lost with this process; the setting `control` names a database that keeps them"
                        );
                    }
                    (SqlStore::in_memory().await?, false)
                }
            };
            Ok(Self { store: Arc::new(store), is_durable })
        })
    }

    /// The same for who only looks, where there is one that can be opened.
    pub(crate) async fn open_if_there(
        engine: &Engine,
        control: Option<&str>,
    ) -> Result<Option<Self>> {
        match (control, file_of(engine)) {
            (None, None) => Ok(None),
            (None, Some(file)) if !file.exists() => Ok(None),
            // If this user can neither write nor read the file, the dataset `runs` must do.
            (None, Some(file)) => Self::open_file_to_read(&file).await,
            (Some(url), _) => {
                match (Self::open(engine, control).await, url.strip_prefix("sqlite:")) {
                    (Err(error), Some(file)) if error.code() == Code::StorageUnavailable => {
                        let store =
                            SqlStore::open_to_read(Path::new(file)).await.map_err(|_| error)?;
                        Ok(Some(Self { store: Arc::new(store), is_durable: true }))
                    }
                    (opened, _) => opened.map(Some),
                }
            }
        }
    }

    async fn open_file_to_read(file: &Path) -> Result<Option<Self>> {
        let store = match SqlStore::open_file(file).await {
            Err(ControlError::Unavailable(_)) => match SqlStore::open_to_read(file).await {
                Err(ControlError::Unavailable(_)) => return Ok(None),
                opened => opened?,
            },
            opened => opened?,
        };
        Ok(Some(Self { store: Arc::new(store), is_durable: true }))
    }

    pub(crate) fn store(&self) -> &dyn ControlStore {
        self.store.as_ref()
    }

    pub(crate) fn shared_store(&self) -> Arc<dyn ControlStore> {
        Arc::clone(&self.store)
    }

    /// Whether what waits outlives the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// The record of a run; `NOT_FOUND` when the tenant has none with this id.
    pub(crate) async fn get(
        &self,
        engine: &Engine,
        who: &Principal,
        id: RunId,
    ) -> Result<RunRecord> {
        let (tenant, text) = (who.tenant.as_str(), id.to_string());
        if let Some(entry) = self.store.get(tenant, &text).await? {
            let mut record = [Document::of(&entry)?.record];
            self.say_what_they_wait_for(engine, &[entry], &mut record).await?;
            let [record] = record;
            return Ok(record);
        }
        let earlier = self.store.earlier(tenant).await?;
        let found = match !earlier.is_read || earlier.has_older {
            true => ledger::get(engine, who, &text).await?,
            false => None,
        };
        found.ok_or_else(|| no_such_run(id))
    }

    /// The runs that `filter` asks for, newest first.
    pub(crate) async fn list(
        &self,
        engine: &Engine,
        who: &Principal,
        filter: &RunFilter,
    ) -> Result<Vec<RunRecord>> {
        let limit = filter.limit.min(RUNS_LISTED_MAX);
        let asked = Asked {
            job: filter.job.clone(),
            state: filter.state.map(|state| state.as_str().to_owned()),
            before: filter.before.map(|before| before.to_string()),
            key: None,
            routine: filter.routine,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let entries = self.store.list(who.tenant.as_str(), &asked).await?;
        let mut records = records_of(&entries);
        let earlier = self.store.earlier(who.tenant.as_str()).await?;
        if records.len() < limit && (!earlier.is_read || earlier.has_older) {
            let older = ledger::list(engine, who, &RunFilter { limit, ..filter.clone() }).await?;
            let known: HashSet<RunId> = records.iter().map(|r| r.id).collect();
            records.extend(older.into_iter().filter(|record| !known.contains(&record.id)));
            records.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
            records.truncate(limit);
        }
        self.say_what_they_wait_for(engine, &entries, &mut records).await?;
        Ok(records)
    }

    /// All workers that live, as far as that is known here.
    pub(crate) async fn workers(&self, engine: &Engine) -> Result<Vec<Worker>> {
        let mut workers = self.store.workers().await?;
        workers.retain(|worker| !is_known_dead(engine, worker));
        Ok(workers)
    }

    /// Says of runs whose turn could be now why it is not: nobody is there who would take them, or what they need is not free; and of
    /// those that nobody is at any more.
    async fn say_what_they_wait_for(
        &self,
        engine: &Engine,
        entries: &[Entry],
        records: &mut [RunRecord],
    ) -> Result<()> {
        let now = now();
        let waits = |record: &&mut RunRecord| {
            record.state == RunState::Queued && record.next_attempt_at.is_none_or(|at| at <= now)
        };
        let is_open = |record: &RunRecord| !record.state.is_final();
        if !records.iter().any(is_open) {
            return Ok(());
        }
        let mut workers = self.workers(engine).await?;
        let there: HashSet<String> = workers.iter().map(|worker| worker.id.clone()).collect();
        workers.retain(|worker| worker.runs_max.is_some_and(|runs| runs > 0));
        let entries: HashMap<&str, &Entry> =
            entries.iter().map(|entry| (entry.id.as_str(), entry)).collect();
        for record in records.iter_mut().filter(|record| record.state == RunState::Running) {
            let by = entries.get(record.id.to_string().as_str()).and_then(|of| of.worker.as_ref());
            let is_gone = by.is_some_and(|by| !there.contains(by));
            record.waits_for = is_gone.then(|| IS_GONE.to_owned());
        }
        for record in records.iter_mut().filter(waits) {
            let entry = entries.get(record.id.to_string().as_str()).copied();
            record.waits_for = match entry {
                _ if workers.is_empty() => Some(NO_WORKER.to_owned()),
                Some(entry) => waits_for(entry, &workers),
                None => None,
            };
        }
        Ok(())
    }

    /// The newest `limit` runs with this key that succeeded.
    pub(crate) async fn with_key(
        &self,
        engine: &Engine,
        who: &Principal,
        key: &str,
        state: RunState,
        limit: usize,
    ) -> Result<Vec<RunRecord>> {
        let asked = Asked {
            key: Some(key.to_owned()),
            state: Some(state.as_str().to_owned()),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            ..Asked::default()
        };
        let records = records_of(&self.store.list(who.tenant.as_str(), &asked).await?);
        // Of those that did not succeed nothing is known any more when they are old.
        if state != RunState::Succeeded
            || !records.is_empty()
            || !self.store.earlier(who.tenant.as_str()).await?.has_older
        {
            return Ok(records);
        }
        ledger::with_key(engine, who, key, limit).await
    }
}

/// What a run that could be next has to wait for beside its turn.
fn waits_for(entry: &Entry, workers: &[Worker]) -> Option<String> {
    let device = entry.device;
    let has_room =
        |worker: &Worker| worker.device.as_ref().is_some_and(|of| device.bytes <= of.bytes);
    if device.need == Need::Required && !workers.iter().any(has_room) {
        let bytes = size_in_words(device.bytes.unsigned_abs());
        return Some(format!(
            "a worker with a GPU of {bytes}: none of the {} that are there has one",
            workers.len()
        ));
    }
    let memory = size_in_words(entry.memory_bytes.unsigned_abs());
    let of_device = match device.need {
        Need::None => String::new(),
        _ => format!(" and {} of a GPU's", size_in_words(device.bytes.unsigned_abs())),
    };
    (entry.passed_over > 0).then(|| {
        format!(
            "memory: it needs {memory}{of_device}; {} smaller runs began before it, after {PASSED_OVER_MAX} none does",
            entry.passed_over
        )
    })
}

/// The records of entries; one that is damaged must not hide the others.
pub(crate) fn records_of(entries: &[Entry]) -> Vec<RunRecord> {
    let readable = |entry: &Entry| match Document::of(entry) {
        Ok(document) => Some(RunRecord {
            workers_lost: u32::try_from(entry.losses).unwrap_or(u32::MAX),
            ..document.record
        }),
        Err(error) => {
            tracing::warn!(detail = error.detail(), "a run is left out");
            None
        }
    };
    entries.iter().filter_map(readable).collect()
}

/// Whether a worker is gone: on a local root its mark ends with its process. Elsewhere only its beat tells.
pub(crate) fn is_known_dead(engine: &Engine, worker: &Worker) -> bool {
    engine.folder().is_some() && !engine.is_marked(&worker.id)
}

/// That the database is that of this root: of two that shared one each would take the other's runs.
async fn require_own(engine: &Engine, store: &SqlStore) -> Result<()> {
    // Who only reads a root of before gives it no id.
    let Some(own) = engine.root_id().await? else { return Ok(()) };
    let of = store.root(&own).await?;
    if of == own {
        return Ok(());
    }
    Err(Error::user(
        Code::Conflict,
        format!(
            "the control database that the setting `control` names is that of another root (id {of}; this root's is {own}); expected one \
             of this root alone: name another database, such as postgres://USER@HOST/ANOTHER_DATABASE"
        ),
    ))
}

/// Where control state is by itself.
fn file_of(engine: &Engine) -> Option<PathBuf> {
    Some(engine.folder()?.join(CONTROL_FILE))
}

/// The recorded runs that `filter` asks for, newest first, for who has no runner. `control` is that of the runners
/// ([`RunnerOptions::control`](crate::RunnerOptions::control)).
pub fn recorded_runs<'a>(
    engine: &'a Engine,
    control: Option<&'a str>,
    who: &'a Principal,
    filter: &'a RunFilter,
) -> BoxFuture<'a, Result<Vec<RunRecord>>> {
    Box::pin(async move {
        who.require(Role::Reader)?;
        match Records::open_if_there(engine, control).await? {
            Some(records) => records.list(engine, who, filter).await,
            None => ledger::list(engine, who, filter).await,
        }
    })
}

/// The record of one run; NOT_FOUND where there is none.
pub fn recorded_run<'a>(
    engine: &'a Engine,
    control: Option<&'a str>,
    who: &'a Principal,
    id: RunId,
) -> BoxFuture<'a, Result<RunRecord>> {
    Box::pin(async move {
        who.require(Role::Reader)?;
        match Records::open_if_there(engine, control).await? {
            Some(records) => records.get(engine, who, id).await,
            None => ledger::get(engine, who, &id.to_string()).await?.ok_or_else(|| no_such_run(id)),
        }
    })
}

/// What a look at control state found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// Runs that wait or are at work, of all tenants.
    pub open_runs: u64,
    /// Schedules and pipelines.
    pub schedules: u64,
}

/// Looks whether the control database is sound, where there is one; `STORAGE_UNAVAILABLE` says what to do where it is not.
pub fn examine_control<'a>(
    engine: &'a Engine,
    control: Option<&'a str>,
) -> BoxFuture<'a, Result<Option<ControlState>>> {
    Box::pin(async move {
        if control.is_none() && file_of(engine).is_none_or(|file| !file.exists()) {
            return Ok(None);
        }
        let records = Records::open(engine, control).await?;
        let store = records.store();
        store.look_through().await?;
        let open: i64 = store.counts().await?.iter().map(|of| of.runs).sum();
        let schedules = store.schedules(None).await?.len() as u64;
        store.close().await;
        Ok(Some(ControlState { open_runs: u64::try_from(open).unwrap_or_default(), schedules }))
    })
}

pub(crate) fn no_such_run(id: RunId) -> Error {
    Error::user(Code::NotFound, format!("run {id}: there is no run with this id"))
}
