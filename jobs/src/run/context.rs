//! What the runner gives a run. A job reaches inputs, devices, progress and commits through this and
//! nothing else, so that pinning, cancelling, costs and "one commit or none" hold for every kind
//! without its doing.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datasets::{DatasetName, DatasetSpec};
use engine::{
    Batches, Code, Coming, Commit, CommitLabel, CommitRecord, Engine, Error, ExportPlace, Going,
    Prepared, Principal, Result, Revised, Revision, RunId, Session, TableIdentity, Uncomputed,
    Version, WriteMode,
};
use futures::StreamExt;
use futures::future::BoxFuture;
use kernels::{Budget, Control, Execution, GpuPolicy, Pool};
use models::Sha256Hash;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::job::Outcome;
use crate::kinds::exec::ProgramsUser;
use crate::kinds::export::Exports;
use crate::registry::embedders::Embedders;
use crate::run::clock::Clock;
use crate::run::content::Content;
use crate::run::key;
use crate::run::logs::RunLog;
use crate::run::record::{DatasetVersion, StageRecord};
use crate::run::stage::{Elsewhere, Stage};

/// One run's view of the world.
pub struct RunContext {
    pub(crate) principal: Principal,
    pub(crate) run_id: RunId,
    pub(crate) log: RunLog,
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) session: Arc<Session>,
    pub(crate) inputs: Vec<DatasetVersion>,
    pub(crate) key: String,
    /// The number that a commit to each output is made under.
    pub(crate) numbers: HashMap<DatasetName, i64>,
    pub(crate) job: &'static str,
    pub(crate) gpu: GpuPolicy,
    pub(crate) memory_budget_bytes: usize,
    pub(crate) device_bytes: Option<usize>,
    pub(crate) embedders: Arc<Embedders>,
    pub(crate) programs: Option<PathBuf>,
    pub(crate) programs_user: Option<ProgramsUser>,
    pub(crate) exports: Exports,
    pub(crate) exports_bytes_max: u64,
    pub(crate) pool: Arc<rayon::ThreadPool>,
    pub(crate) kernel_pool: Pool,
    pub(crate) control: Control,
    pub(crate) cancellation: CancellationToken,
    pub(crate) work: TaskTracker,
    pub(crate) stages: Arc<Mutex<Vec<StageRecord>>>,
    pub(crate) on_progress: Arc<dyn Fn(f64) + Send + Sync>,
    pub(crate) on_activity: Arc<dyn Fn(Value) + Send + Sync>,
    pub(crate) commits: Arc<AsyncMutex<Commits>>,
    pub(crate) scratch: OnceCell<tempfile::TempDir>,
    /// What there is beside its inputs, and how it was where a run is done again as it was.
    pub(crate) beside: Beside,
    /// Rows that what is asked for could not be computed of.
    pub(crate) uncomputed: Arc<Uncomputed>,
    /// What it committed, by dataset.
    pub(crate) contents: Arc<Mutex<BTreeMap<DatasetName, Content>>>,
    pub(crate) pins:
        Arc<dyn Fn(DatasetName) -> BoxFuture<'static, Result<Option<Version>>> + Send + Sync>,
}

/// What the run has committed, and whether it still may.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    pub(crate) closed: bool,
    /// Whether it commits to more than one dataset, and so to all of them at its end.
    pub(crate) together: bool,
    pub(crate) prepared: Vec<Prepared>,
    pub(crate) done: Vec<Commit>,
    /// Whether another run committed first where its results would follow from.
    pub(crate) is_overtaken: bool,
}

impl RunContext {
    /// Who asked for the run.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.run_id
    }

    /// The engine, for what the session does not offer.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A session in which every input stands at its pinned version.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The inputs at their versions.
    pub fn inputs(&self) -> &[DatasetVersion] {
        &self.inputs
    }

    /// What tells a dataset from another one of its name.
    pub(crate) fn identity_of(&self, dataset: &DatasetName) -> Result<TableIdentity> {
        Ok(self.session().catalog().dataset(dataset)?.identity())
    }

    /// A session of what there was when the run first asked for it: what it reads beside its inputs, such as results of earlier runs.
    /// Which versions of its own outputs these are is recorded.
    pub(crate) async fn present(&self) -> Result<&Session> {
        let open = || async {
            let session = match &self.beside.as_it_was {
                Some(was) => self.engine.session_as_it_was(&self.principal, was).await?,
                None => self.engine.session(&self.principal, &[]).await?,
            };
            let seen = self.beside.datasets.iter();
            let seen = seen.map(|name| (name.clone(), session.version(name))).collect();
            *self.beside.seen.lock() = seen;
            Ok(session)
        };
        self.beside.session.get_or_try_init(open).await
    }

    /// The newest `limit` commits of a dataset; none, where it is not there. Of a run that is done again, those that it saw.
    pub(crate) async fn history(
        &self,
        dataset: &DatasetName,
        limit: usize,
    ) -> Result<Vec<CommitRecord>> {
        let read = async |limit| match self.engine.history(&self.principal, dataset, limit).await {
            Err(error) if error.code() == Code::NotFound => Ok(Vec::new()),
            history => history,
        };
        let Some(was) = &self.beside.as_it_was else {
            let history = read(limit).await?;
            // It may have gone on since the run began; what was looked at last is what counts.
            let mut seen = self.beside.seen.lock();
            seen.retain(|(name, _)| name != dataset);
            seen.push((dataset.clone(), history.first().map(|commit| commit.version)));
            return Ok(history);
        };
        let last = was.iter().find(|(name, _)| name == dataset).and_then(|(_, version)| *version);
        let newest = read(1).await?.first().map(|commit| commit.version);
        let (Some(last), Some(newest)) = (last, newest) else { return Ok(Vec::new()) };
        let later = usize::try_from(newest.0.saturating_sub(last.0)).unwrap_or(usize::MAX);
        let mut history = read(limit.saturating_add(later)).await?;
        history.retain(|commit| commit.version <= last);
        history.truncate(limit);
        Ok(history)
    }

    /// The version that an input is pinned to.
    pub fn input(&self, dataset: &DatasetName) -> Result<&DatasetVersion> {
        self.inputs.iter().find(|i| i.dataset == *dataset).ok_or_else(|| {
            Error::internal(format!("{}: {dataset} is not a declared input", self.job))
        })
    }

    /// The oldest version of a dataset that an open run reads; none, where no run does.
    pub(crate) async fn pinned(&self, dataset: &DatasetName) -> Result<Option<Version>> {
        (self.pins)(dataset.clone()).await
    }

    /// The device policy of this run.
    pub fn gpu(&self) -> GpuPolicy {
        self.gpu
    }

    /// How much memory the run may hold beside the session's own pool, in bytes.
    pub fn memory_budget_bytes(&self) -> usize {
        self.memory_budget_bytes
    }

    /// The text embedders that there are.
    pub(crate) fn embedders(&self) -> &Arc<Embedders> {
        &self.embedders
    }

    /// The folder of programs that may run, where some may.
    pub(crate) fn programs(&self) -> Option<&Path> {
        self.programs.as_deref()
    }

    /// The user that programs run as, if it differs from the user of this process.
    pub(crate) fn programs_user(&self) -> Option<ProgramsUser> {
        self.programs_user
    }

    /// Where rows may be exported to.
    pub(crate) fn exports(&self) -> Exports {
        self.exports
    }

    /// The root's own place for what this run exports.
    pub(crate) fn own_export_place(&self, keep_days: u32) -> ExportPlace {
        let (id, bytes_max) = (self.run_id.to_string(), self.exports_bytes_max);
        ExportPlace::Own { id, keep_days, bytes_max }
    }

    /// A folder of this run alone, removed at its end.
    pub async fn scratch(&self) -> Result<&Path> {
        let folder = self
            .scratch
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(|| {
                    let prefix = format!("{SCRATCH}{}-", std::process::id());
                    tempfile::Builder::new().prefix(&prefix).tempdir()
                })
                .await
                .map_err(|e| Error::internal(format!("scratch folder: {e}")))?
                .map_err(|e| {
                    Error::environment(Code::StorageUnavailable, "scratch folder: can't be made", e)
                })
            })
            .await?;
        Ok(folder.path())
    }

    /// Counts rows that what is asked for can't be computed of; the summary tells of them.
    pub(crate) fn uncomputed(&self) -> &Arc<Uncomputed> {
        &self.uncomputed
    }

    /// `outcome`, which tells of rows that something could not be computed of.
    pub(crate) fn told(&self, mut outcome: Outcome) -> Outcome {
        let mut told = Vec::new();
        for (of, rows, because) in self.uncomputed.told() {
            self.log.warning(format!("{of} can't be computed of {rows} rows: {because}"));
            told.push(json!({ "of": of, "rows": rows, "because": because }));
        }
        if let (false, Value::Object(summary)) = (told.is_empty(), &mut outcome.summary) {
            summary.insert("rows_not_computed".to_owned(), told.into());
        }
        outcome
    }

    /// Now, by the clock of whoever works at the run.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Where the run says what is to be read of it later.
    pub(crate) fn log(&self) -> &RunLog {
        &self.log
    }

    /// Keeps bytes that are no rows, for a row that this run commits to name them.
    pub(crate) async fn keep_artifact(&self, bytes: Vec<u8>) -> Result<String> {
        // What is done again to be compared keeps nothing.
        if self.beside.as_it_was.is_some() {
            return Ok(Sha256Hash::of(&bytes).to_string());
        }
        self.engine.keep_artifact(&self.principal, bytes.into()).await
    }

    /// Says how far the run is, 0 to 1.
    pub fn progress(&self, part: f64) {
        (self.on_progress)(part);
    }

    /// A clone-able sink for [`RunContext::progress`], for use on the numeric threads.
    pub fn progress_sink(&self) -> Arc<dyn Fn(f64) + Send + Sync> {
        self.on_progress.clone()
    }

    /// Tells whoever watches the run what it is at, by the step's own names; more than twice a second is not passed on.
    pub fn activity_sink(&self) -> Arc<dyn Fn(Value) + Send + Sync> {
        self.on_activity.clone()
    }

    /// Cancelled when the run shall stop; numeric loops look at it now and then.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// Fails with `CANCELLED` when the run shall stop.
    pub fn check(&self) -> Result<()> {
        check(&self.cancellation)
    }

    /// The threads for the job's own numeric work.
    pub fn pool(&self) -> &Arc<rayon::ThreadPool> {
        &self.pool
    }

    /// What a kernel needs beside its input: device policy, budget, threads, and a handle that is
    /// cancelled with the run.
    pub fn execution(&self, budget_bytes: usize) -> Execution {
        Execution {
            gpu: self.gpu,
            budget: Budget { device_bytes: self.device_bytes, ..Budget::host(budget_bytes) },
            pool: Some(self.kernel_pool.clone()),
            control: self.control.clone(),
            ..Execution::default()
        }
    }

    /// Runs numeric work away from the async threads; a panic in it becomes an error.
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.check()?;
        // The slot of a cancelled run stays taken until its threads have really stopped.
        let at_work = self.work.token();
        let task = tokio::task::spawn_blocking(move || {
            let _at_work = at_work;
            work()
        });
        match task.await {
            Ok(result) => result,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => Err(panicked(panic.as_ref())),
                Err(_) => Err(cancelled()),
            },
        }
    }

    /// Begins a step; its record is taken when the guard is finished or dropped.
    pub fn stage(&self, name: &str) -> Stage {
        Stage::begin(name, self.stages.clone(), self.log.clone())
    }

    /// Commits `batches` to the dataset of `spec`, which is made when absent, marked with the run and its
    /// key. When a run with the same key has committed there before, and that still is as it made it, no second commit is made.
    ///
    /// Of a job of several outputs nothing is committed before it has ended well, and then all of it, to be seen at once.
    pub async fn commit(
        &self,
        spec: DatasetSpec,
        mode: WriteMode,
        batches: Vec<RecordBatch>,
    ) -> Result<()> {
        self.commit_rows(spec, Place::As(mode), batches, Vec::new()).await
    }

    /// The same in the place of the rows of which `part` is true; all others stay.
    pub async fn commit_part(
        &self,
        spec: DatasetSpec,
        part: Expr,
        batches: Vec<RecordBatch>,
    ) -> Result<()> {
        self.commit_rows(spec, Place::Of(part), batches, Vec::new()).await
    }

    /// The same in the place that is said, for rows that may come as they are made, too; the commit keeps `marks`
    /// ([`CommitLabel::marks`]).
    pub(crate) async fn commit_rows(
        &self,
        spec: DatasetSpec,
        place: Place,
        batches: impl Into<Batches>,
        marks: Vec<(String, i64)>,
    ) -> Result<()> {
        self.check()?;
        let mut stage = self.stage("commit");
        let (batches, content) = self.counted(&spec, batches.into(), stage.elsewhere()).await?;
        let dataset = spec.name.clone();
        if let Batches::Memory(batches) = &batches {
            stage.record.rows_in = batches.iter().map(|b| b.num_rows() as u64).sum();
        }
        if self.beside.as_it_was.is_some() {
            drained(batches).await?;
            self.contents.lock().entry(dataset).or_default().merge(&content.lock());
            return Ok(());
        }
        let (engine, who, commits) =
            (self.engine.clone(), self.principal.clone(), self.commits.clone());
        let label = CommitLabel {
            run_id: Some(self.run_id),
            operation: self.job.to_owned(),
            idempotency: Some((
                key::application_id(&self.key),
                self.numbers.get(&spec.name).copied().unwrap_or(1),
            )),
            marks,
        };
        // A task of its own: a run that is cancelled now must still learn whether it has committed.
        let at_work = self.work.token();
        let task = tokio::spawn(async move {
            let _at_work = at_work;
            let mut commits = commits.lock().await;
            if commits.closed {
                return Err(cancelled());
            }
            engine.ensure_derived(&who, &spec).await?;
            let commit = match place {
                Place::As(mode) if commits.together => {
                    let prepared = engine.prepare(&who, &spec.name, mode, batches, label).await;
                    commits.is_overtaken |= is_overtaken(&prepared);
                    let prepared = prepared?;
                    let written = (prepared.rows(), prepared.bytes());
                    commits.prepared.push(prepared);
                    return Ok(written);
                }
                Place::As(mode) => engine.write(&who, &spec.name, mode, batches, label).await?,
                Place::Of(_) | Place::OfKeys if commits.together => {
                    let says =
                        "a job of several outputs can not replace parts of one by a condition";
                    return Err(Error::internal(format!("{}: {says}", label.operation)));
                }
                Place::Of(_) | Place::OfKeys => {
                    let Batches::Memory(batches) = batches else {
                        return Err(Error::internal("rows take the place of others all at once"));
                    };
                    let going = match place {
                        Place::Of(part) => Going::Where(part),
                        Place::OfKeys | Place::As(_) => Going::SameKey,
                    };
                    let revision = Revision { going, coming: Coming::Rows(batches) };
                    let revised = engine.revise_derived(&who, &spec.name, revision, label).await?;
                    let Revised { version, added: rows, bytes, duplicate, .. } = revised;
                    Commit { dataset: spec.name.clone(), version, rows, bytes, duplicate }
                }
            };
            let written = (commit.rows, commit.bytes);
            commits.done.push(commit);
            Ok(written)
        });
        let written = task.await;
        let (rows, bytes) =
            written.map_err(|e| Error::internal(format!("{}: commit: {e}", self.job)))??;
        self.contents.lock().entry(dataset).or_default().merge(&content.lock());
        // Of rows that came one by one nobody knew before how many there are.
        stage.record.rows_in = stage.record.rows_in.max(rows);
        stage.record.rows_out = rows;
        stage.record.bytes_written = bytes;
        stage.finish();
        Ok(())
    }

    /// The batches, and what is in them, which of a stream is known when it has passed by. The time that the stream takes is another
    /// step's.
    async fn counted(
        &self,
        spec: &DatasetSpec,
        batches: Batches,
        elsewhere: Elsewhere,
    ) -> Result<(Batches, Arc<Mutex<Content>>)> {
        let (content, spec) = (Arc::<Mutex<Content>>::default(), spec.clone());
        let counting = content.clone();
        let batches = match batches {
            Batches::Memory(batches) => {
                let count = move || {
                    let mut counting = counting.lock();
                    batches.iter().try_for_each(|batch| counting.add(&spec, batch))?;
                    Ok(Batches::Memory(batches))
                };
                self.compute(count).await?
            }
            Batches::Stream(stream) => {
                let schema = stream.schema();
                let timed = futures::stream::unfold(stream, move |mut stream| {
                    let elsewhere = elsewhere.clone();
                    async move {
                        let began = Instant::now();
                        let batch = stream.next().await;
                        elsewhere.since(began);
                        batch.map(|batch| (batch, stream))
                    }
                });
                let counted = timed.map(move |batch| {
                    let batch = batch?;
                    let added = counting.lock().add(&spec, &batch);
                    added.map_err(|e| DataFusionError::External(Box::new(e)))?;
                    Ok(batch)
                });
                Batches::Stream(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
            }
        };
        Ok((batches, content))
    }

    /// Publishes what was prepared. From here on the run is not cancelled any more: it is decided.
    pub(crate) async fn publish(&self) -> Result<()> {
        let mut commits = self.commits.lock().await;
        if commits.prepared.is_empty() {
            return Ok(());
        }
        self.check()?;
        let stage = self.stage("publish");
        let prepared = std::mem::take(&mut commits.prepared);
        let made = self.engine.publish(&self.principal, prepared).await;
        stage.finish();
        commits.is_overtaken |= is_overtaken(&made);
        commits.done = made?;
        Ok(())
    }

    /// Takes away what will not be published.
    pub(crate) async fn discard(&self) {
        let prepared = std::mem::take(&mut self.commits.lock().await.prepared);
        for one in prepared {
            self.engine.discard(one).await;
        }
    }
}

/// Whether another run committed first where rows follow from.
fn is_overtaken<T>(made: &Result<T>) -> bool {
    made.as_ref().is_err_and(|error| error.code() == Code::Conflict)
}

/// Rows that are counted and not committed.
async fn drained(batches: Batches) -> Result<()> {
    if let Batches::Stream(mut stream) = batches {
        while let Some(batch) = stream.next().await {
            batch?;
        }
    }
    Ok(())
}

/// How the names of scratch folders begin; the number of their process is next.
pub(crate) const SCRATCH: &str = "colonnade-run-";

/// Datasets at their versions, or not there yet.
type Versions = Vec<(DatasetName, Option<Version>)>;

/// What there is beside a run's inputs.
#[derive(Default)]
pub(crate) struct Beside {
    /// The datasets whose versions are recorded: its own outputs.
    pub(crate) datasets: Vec<DatasetName>,
    /// Of a run that is done again: the versions that it saw, if they were there.
    pub(crate) as_it_was: Option<Versions>,
    pub(crate) session: OnceCell<Session>,
    pub(crate) seen: Arc<Mutex<Versions>>,
}

/// Where rows are committed.
pub(crate) enum Place {
    As(WriteMode),
    /// Where this is true of those that are there.
    Of(Expr),
    /// Where those that are there have their keys.
    OfKeys,
}

/// Fails with `CANCELLED` when `token` is.
pub(crate) fn check(token: &CancellationToken) -> Result<()> {
    if token.is_cancelled() { Err(cancelled()) } else { Ok(()) }
}

pub(crate) fn cancelled() -> Error {
    Error::user(Code::Cancelled, "the run was asked to stop; nothing was committed")
}

/// The error of a run whose worker ended before it did, each time.
pub(crate) fn interrupted() -> Error {
    let says = format!(
        "interrupted: each process that worked at it ended before the run did, {} times. It may be the run that ends them, as by \
         taking all memory",
        crate::control::LOSSES_MAX
    );
    Error::user(Code::ResourcesExhausted, says)
}

/// The error for a caught panic.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::internal(format!("the job panicked: {text}"))
}
