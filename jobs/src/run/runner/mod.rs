//! The runner: takes requests, pins their inputs, and works at a few of those that wait at a time. It lives in the process of
//! `serve`, `run` or `demo`; several may share a root, and a database of control state where one is named.
//!
//! ```text
//!  submit ──▶ control: queued ──▶ claim ──▶ execution ──▶ settle ──▶ projection: a row of `runs`
//!                 ▲                 ▲            │
//!                 │               wake           └─ put back: an error that can pass, the end of the process
//!                 └── pulse: workers that are gone, requests to cancel, what others changed
//! ```
//!
//! A killed process loses no result and no run: what it was at is taken over, and what a dead attempt did or did not commit is read
//! back from the tables themselves (`recovery`).

mod acts;
mod admission;
#[cfg(test)]
mod admission_tests;
mod clocks;
mod execution;
mod exports;
#[cfg(test)]
mod faults;
mod fire;
mod handle;
mod options;
mod projection;
mod pulse;
mod reads;
mod rebuilt;
mod recovery;
#[cfg(test)]
mod repeat_tests;
mod request;
pub(crate) mod requests;
#[cfg(test)]
mod requests_tests;
mod rerun;
#[cfg(test)]
mod rerun_tests;
mod retry;
#[cfg(test)]
mod several_tests;
mod shared;
#[cfg(test)]
mod tests;
mod tries;
mod worker;

use datasets::DatasetName;
use engine::{
    Catalog, Code, Engine, Error, Grants, Principal, Result, Role, RunId, TenantId, Threads,
    Version,
};
use kernels::GpuPolicy;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Notify, OnceCell, broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::control::{Cancelled, ControlStore, DeviceNeed, DeviceRoom, Enqueued, Lease, NewRun};
use crate::kinds::Jobs;
use crate::online::Online;
use crate::registry::embedders::Embedders;
use crate::run::document::Document;
use crate::run::key::{code_of, run_key};
use crate::run::logs::LogBook;
use crate::run::notices::Notices;
use crate::run::quotas::Moment;
use crate::run::record::{RunError, RunFilter, RunRecord, RunState};
use crate::run::records::Records;
use crate::similar::Searches;
use request::{add_those_there, at_versions, new_record, pins};

pub use handle::RunHandle;
pub use options::{RunRequest, RunnerOptions, Takes};
pub(crate) use request::require_outputs;
pub use requests::{KeyedRequest, OpenRequest, part_of_request};
pub use rerun::{Rerun, RerunOutput};
use shared::Told;
pub(crate) use tries::can_pass;
pub use worker::WorkerState;
use worker::{Worker, join, label};

/// Updates that a slow listener may lag behind before it misses some.
pub const UPDATES_MAX: usize = 1_024;

/// Runs jobs in this process. Clones share everything; with the last of them it ends, without waiting for what it was at.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
    /// None in its own tasks.
    _closes: Option<Arc<DropGuard>>,
}

struct Shared {
    engine: Engine,
    options: RunnerOptions,
    threads: Threads,
    pool: Arc<rayon::ThreadPool>,
    kernel_pool: kernels::Pool,
    embedders: Arc<Embedders>,
    searches: Searches,
    online: Online,
    records: Records,
    logs: Arc<LogBook>,
    /// Set once the root has the mark of an audit chain.
    audit_mark: OnceCell<()>,
    /// The GPU that runs share.
    device: Option<DeviceRoom>,
    worker: Mutex<Worker>,
    at_work: Mutex<HashMap<RunId, AtWork>>,
    /// Runs that somebody in this process waits for.
    asked: Mutex<HashMap<RunId, Asked>>,
    /// Tenants whose runs of before are known.
    recovered: Mutex<HashMap<TenantId, Arc<OnceCell<()>>>>,
    updates: broadcast::Sender<Arc<RunRecord>>,
    /// Told when a run may be claimed, and when one has ended.
    wake: Notify,
    ended: Notify,
    /// Told when what ended may let a schedule go on.
    clock: Notify,
    /// Datasets whose changes schedules wait for.
    watched: Mutex<HashSet<(TenantId, DatasetName)>>,
    /// Told of what is none of runs.
    told: Told,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A run that somebody waits for.
struct Asked {
    tenant: TenantId,
    /// Whether it was submitted here, and not only looked at.
    is_own: bool,
    record: watch::Sender<Arc<RunRecord>>,
}

/// A run that this process works at.
#[derive(Clone)]
struct AtWork {
    tenant: TenantId,
    record: watch::Sender<Arc<RunRecord>>,
    /// The device policy that it works under, and the one that was asked for.
    gpu: GpuPolicy,
    asked: GpuPolicy,
    /// What it may see.
    grants: Grants,
    lease: Lease,
    /// What it may hold.
    memory_bytes: usize,
    /// Of a GPU; none, where it has none.
    device_bytes: Option<usize>,
    /// Whether no other was at work here meanwhile.
    is_alone: Arc<AtomicBool>,
    cancellation: CancellationToken,
    /// Whether somebody asked for its end, and not the process.
    is_cancelled: Arc<AtomicBool>,
    /// Whether its record changed since others were told.
    is_news: Arc<AtomicBool>,
}

impl Runner {
    /// Starts a runner. Runs of a dead process are taken over; those that one of an earlier release left open are closed: as
    /// succeeded when their commit is there, as failed when it is not.
    pub async fn start(engine: Engine, options: RunnerOptions) -> Result<Self> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            threads => threads,
        };
        let kernel_threads =
            std::num::NonZeroUsize::new(threads).unwrap_or(std::num::NonZeroUsize::MIN);
        let searching_pool = kernels::Pool::with_threads(kernel_threads)?;
        // A thread is as urgent as the one that starts it.
        let job_threads = Threads::new("jobs", threads, options.urgency)?;
        let pools = async move {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.thread_name(|index| format!("jobs-{index}")).build();
            let doing = format!("start {threads} threads for jobs: refused by the system");
            let refused = |e| Error::environment(Code::ResourcesExhausted, doing, e);
            Ok::<_, Error>((pool.map_err(refused)?, kernels::Pool::with_threads(kernel_threads)?))
        };
        let (pool, kernel_pool) = job_threads.run(pools).await??;
        let embedders = Arc::new(Embedders::new(options.models.clone()));
        let searches =
            Searches::new(embedders.clone(), searching_pool, options.gpu, options.search_bytes_max);
        let records = Records::open(&engine, options.control.as_deref()).await?;
        let device = options.device.clone().or_else(admission::device_here);
        let worker = join(&engine, &records, &options, device.as_ref()).await?;
        // Who works for all says whose share is larger.
        if options.takes == Takes::All {
            let weights = options.weights.iter();
            let weights = weights.map(|(tenant, weight)| (tenant.as_str(), i64::from(*weight)));
            records.store().weigh(&weights.collect::<Vec<_>>()).await?;
        }
        let seen = records.store().last_change().await?;
        let heard = records.store().last_notice().await?;
        let shared = Arc::new(Shared {
            worker: Mutex::new(worker),
            at_work: Mutex::default(),
            asked: Mutex::default(),
            recovered: Mutex::default(),
            updates: broadcast::channel(UPDATES_MAX).0,
            wake: Notify::new(),
            ended: Notify::new(),
            clock: Notify::new(),
            watched: Mutex::default(),
            told: Told::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            threads: job_threads,
            pool: Arc::new(pool),
            kernel_pool,
            embedders,
            searches,
            online: Online::new(options.online_bytes_max),
            records,
            logs: Arc::default(),
            audit_mark: OnceCell::new(),
            device,
            engine,
            options,
        });
        let closes = Some(Arc::new(shared.closing.clone().drop_guard()));
        let runner = Self { shared, _closes: closes };
        match runner.recover(&TenantId::default()).await {
            // Who asks for runs is told; everything else can be asked for.
            Err(error) if error.code() == Code::StorageUnavailable => {
                tracing::error!(detail = error.detail(), "runs can not be read");
            }
            recovered => recovered?,
        }
        let shared = &runner.shared;
        if shared.options.concurrent_runs > 0 {
            let work = shared.tasks.track_future(execution::work(shared.clone()));
            drop(shared.threads.spawn(work)?);
        }
        let writing = shared.logs.clone().write(shared.engine.clone(), shared.closing.clone());
        for task in [
            shared.threads.spawn(shared.tasks.track_future(writing))?,
            shared.threads.spawn(shared.tasks.track_future(pulse::beat(shared.clone(), seen)))?,
            shared.threads.spawn(shared.tasks.track_future(projection::project(shared.clone())))?,
            shared.threads.spawn(shared.tasks.track_future(acts::project(shared.clone())))?,
        ] {
            drop(task);
        }
        if shared.records.is_durable() {
            let (notices, store) = (Notices::default(), shared.records.shared_store());
            let (engine, closing) = (shared.engine.clone(), shared.closing.clone());
            let telling = notices.clone().tell(engine.clone(), store.clone(), closing.clone());
            drop(shared.threads.spawn(shared.tasks.track_future(telling))?);
            // Who takes its own runs alone is soon gone, and nobody asks it for what is new.
            if shared.options.takes == Takes::All {
                let hearing = notices.hear(engine, store, heard, closing);
                drop(shared.threads.spawn(shared.tasks.track_future(hearing))?);
            }
        }
        if shared.options.takes == Takes::All {
            let looking = shared.tasks.track_future(pulse::look_at_the_clock(Self {
                shared: shared.clone(),
                _closes: None,
            }));
            drop(shared.threads.spawn(looking)?);
        }
        Ok(runner)
    }

    /// Takes a run on and returns once it is in the queue. Everything that can be known to be
    /// wrong before work starts is an error here: kind, parameters, inputs, pins, device.
    pub async fn submit(&self, who: &Principal, request: RunRequest) -> Result<RunHandle> {
        if let Some(run) = self.queued_before(who).await? {
            return Ok(run);
        }
        let document = self.prepare(who, request).await?;
        self.enqueue(who, document).await
    }

    /// A run that could be queued: its inputs are pinned.
    pub(crate) async fn prepare(&self, who: &Principal, request: RunRequest) -> Result<Document> {
        let shared = &self.shared;
        let job = shared.options.jobs.get(&request.job);
        match job.as_ref().is_ok_and(|job| job.is_for_readers()) {
            true => who.require_in_part(Role::Reader)?,
            false => who.require(Role::Operator)?,
        }
        let job = job?;
        self.recover(&who.tenant).await?;
        if shared.closing.is_cancelled() {
            return Err(Error::user(
                Code::Cancelled,
                "the runner is shutting down; no run is taken",
            ));
        }
        let asked = (shared.records.store(), Moment::Asked);
        shared.options.quotas.check(&shared.engine, who, shared.now(), asked).await?;
        let params = job.canonical(&request.params)?;
        let mut inputs = job.inputs(&params)?;
        let others = job.reads_where_there(&params)?;
        if !others.is_empty() {
            add_those_there(&mut inputs, others, &*shared.engine.catalog(who).await?);
        }
        require_outputs(job.as_ref(), &params, &inputs)?;
        let gpu = request.gpu.unwrap_or(shared.options.gpu);
        // Where others work at it, theirs is the device.
        if shared.works() {
            shared.require_device(job.name(), gpu)?;
        }
        // What another process committed a moment ago is read, too.
        for input in &inputs {
            shared.engine.look_for(who, input, None).await?;
        }
        let session = shared.engine.session(who, &pins(&request, &inputs)?).await;
        let catalog = shared.engine.catalog(who).await?;
        let session = session.map_err(|e| self.saying_who_makes(e, &catalog, &inputs))?;
        let inputs = at_versions(inputs, &session, &catalog)?;
        let record = new_record(who, &request, shared.now());
        let programs = shared.options.programs.as_deref();
        let code = code_of(job.as_ref(), record.id, &params, None, programs)?;
        let key = run_key(job.name(), job.revision(), &params, &code, &inputs);
        let estimate =
            shared.estimate(&who.tenant, job.as_ref(), &params, &inputs, &catalog).await?;
        shared.device_need(job.as_ref(), gpu, &estimate)?;
        let estimate = Some(estimate);
        let record = RunRecord { params, inputs, key, estimate, ..record };
        Ok(Document { record, gpu, grants: who.grants.clone() })
    }

    /// The same for one that could not, and why.
    pub(crate) fn prepared_in_vain(
        &self,
        who: &Principal,
        request: RunRequest,
        error: &Error,
    ) -> Document {
        let gpu = request.gpu.unwrap_or(self.shared.options.gpu);
        let mut record = new_record(who, &request, self.now());
        record.state = RunState::Failed;
        record.finished_at = Some(record.requested_at);
        record.error = Some(RunError::from(error));
        Document { record, gpu, grants: who.grants.clone() }
    }

    /// The job kinds that there are.
    pub(crate) fn jobs(&self) -> &Jobs {
        &self.shared.options.jobs
    }

    /// Whether control state is gone with the process, and what is committed is not.
    pub(crate) fn forgets(&self) -> bool {
        !self.shared.records.is_durable() && self.shared.engine.is_kept()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(crate) fn store(&self) -> &dyn ControlStore {
        self.shared.records.store()
    }

    fn new_run(&self, who: &Principal, document: &Document) -> Result<NewRun> {
        let (options, record) = (&self.shared.options, &document.record);
        let now_us = record.requested_at.timestamp_micros();
        let is_own = options.takes == Takes::Own;
        let estimate = record.estimate.unwrap_or_default();
        // One that could not be prepared needs nothing any more.
        let device = match options.jobs.get(&record.job) {
            Ok(job) => self.shared.device_need(job.as_ref(), document.gpu, &estimate)?,
            Err(_) => DeviceNeed::default(),
        };
        Ok(NewRun {
            id: record.id.to_string(),
            tenant: who.tenant.to_string(),
            job: record.job.clone(),
            key: record.key.clone(),
            priority: record.priority,
            now_us,
            // At once, whatever the clock of whoever claims it shows.
            due_us: 0,
            memory_bytes: i64::try_from(estimate.memory_bytes).unwrap_or(i64::MAX),
            device,
            deadline_us: record.deadline_at.map(|at| at.timestamp_micros()),
            attempts_max: bound(tries::ATTEMPTS_MAX),
            kept_for: is_own.then(|| self.shared.worker.lock().id.clone()),
            document: document.to_text()?,
        })
    }

    async fn enqueue(&self, who: &Principal, document: Document) -> Result<RunHandle> {
        let run = self.new_run(who, &document)?;
        let shared = &self.shared;
        let record = &document.record;
        let room = shared.room();
        // Before it can be claimed: who claims it tells by this.
        let id = record.id;
        let sender = watch::channel(Arc::new(record.clone())).0;
        let handle = RunHandle { id, record: sender.subscribe() };
        shared
            .asked
            .lock()
            .insert(id, Asked { tenant: who.tenant.clone(), is_own: true, record: sender });
        requests::queues(id);
        let enqueued = shared.records.store().enqueue(&run, room).await;
        let (open, of_tenant) = match enqueued {
            Ok(Enqueued::Queued) => {
                shared.tell_queued(document.record);
                shared.wake.notify_one();
                return Ok(handle);
            }
            Ok(Enqueued::Full { open, of_tenant }) => (open, of_tenant),
            Err(error) => {
                shared.asked.lock().remove(&id);
                return Err(error.into());
            }
        };
        shared.asked.lock().remove(&id);
        requests::has_not_queued(id);
        let (whose, most) = match of_tenant {
            true => (" of the tenant", room.of_tenant_max),
            false => ("", room.open_max),
        };
        Err(Error::user(
            Code::TooMany,
            format!(
                "{}: {open} runs{whose} are queued or running, and no more than {most} may be; try again later",
                run.job
            ),
        ))
    }

    /// Asks a run to stop and returns its record once it has: cancelled, or succeeded when its commit
    /// came first. `CONFLICT` when it had ended before.
    pub async fn cancel(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        who.require(Role::Operator)?;
        let shared = &self.shared;
        if let Some(run) = self.at_work(who, id) {
            let record = run.record.borrow().clone();
            let handle = RunHandle { id, record: shared.watch(&who.tenant, &record) };
            run.cancel();
            drop(run);
            // Should this process end before the run does, whoever takes it over hears of it.
            if let Err(error) = shared.cancel_waiting(&who.tenant, RunRecord::clone(&record)).await
            {
                tracing::warn!(detail = error.detail(), "a wish to cancel could not be recorded");
            }
            return handle.wait().await;
        }
        let record = self.get(who, id).await?;
        let handle = RunHandle { id, record: shared.watch(&who.tenant, &record) };
        let cancelled = match record.state.is_final() {
            true => Cancelled::NotOpen,
            false => shared.cancel_waiting(&who.tenant, record).await?,
        };
        match cancelled {
            Cancelled::AtOnce => handle.wait().await,
            // Whoever works at it hears of it with its next beat.
            Cancelled::Asked => handle.wait().await,
            Cancelled::NotOpen => {
                // It may have ended at that moment: whoever waits for it hears how.
                let record = self.get(who, id).await?;
                let found = record.state;
                if found.is_final() {
                    shared.tell(record);
                }
                Err(Error::user(
                    Code::Conflict,
                    format!("cancel run {id}: expected a run that has not ended, found it {found}"),
                ))
            }
        }
    }

    /// A run that is there, to wait for its end, whoever works at it.
    pub async fn follow(&self, who: &Principal, id: RunId) -> Result<RunHandle> {
        let record = self.get(who, id).await?;
        let handle = RunHandle { id, record: self.shared.watch(&who.tenant, &record) };
        // It may have ended before anybody listened.
        let record = self.get(who, id).await?;
        if record.state.is_final() {
            self.shared.tell(record);
        }
        Ok(handle)
    }

    /// The record of a run; `NOT_FOUND` when the tenant has none with this id.
    pub async fn get(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        who.require(Role::Reader)?;
        if let Some(run) = self.at_work(who, id) {
            return Ok(RunRecord::clone(&run.record.borrow()));
        }
        self.recover(&who.tenant).await?;
        self.shared.records.get(&self.shared.engine, who, id).await
    }

    /// The runs that `filter` asks for, newest first.
    pub async fn list(&self, who: &Principal, filter: RunFilter) -> Result<Vec<RunRecord>> {
        who.require(Role::Reader)?;
        self.recover(&who.tenant).await?;
        let mut records = self.shared.records.list(&self.shared.engine, who, &filter).await?;
        // Of those at work here more is known than was written.
        let at_work = self.shared.at_work.lock();
        for record in &mut records {
            if let Some(run) = at_work.get(&record.id).filter(|_| !record.state.is_final()) {
                *record = RunRecord::clone(&run.record.borrow());
            }
        }
        Ok(records)
    }

    /// The oldest version of a dataset that a run which waits or works reads; none, where no run does.
    pub async fn pinned(&self, who: &Principal, dataset: &DatasetName) -> Result<Option<Version>> {
        who.require(Role::Reader)?;
        self.shared.pinned(&who.tenant, dataset).await
    }

    /// Every change of state or progress of every run from now on, of other processes too. Records of all tenants come through:
    /// who hands them on must look at [`Runner::get`] with the asker's principal first.
    pub fn updates(&self) -> broadcast::Receiver<Arc<RunRecord>> {
        self.shared.updates.subscribe()
    }

    /// Takes no more runs, stops those at work, and returns when all have ended. Where control state outlives the process, what
    /// waits and what was at work goes on with the next one.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.closing.cancel();
        shared.tasks.close();
        // A function that is called once for many rows hears of nothing before it returns.
        if tokio::time::timeout(shared.options.end_time_max, shared.tasks.wait()).await.is_err() {
            tracing::warn!("runs that do not stop are left to others");
        }
        shared.end_what_waits().await;
        projection::flush(shared).await;
        acts::flush(shared).await;
        shared.logs.flush(&shared.engine).await;
        let worker = shared.worker.lock().id.clone();
        if let Err(error) = shared.records.store().leave(&worker).await {
            tracing::warn!(%error, "the end of a worker could not be recorded");
        }
        shared.records.store().close().await;
        // Who waits for a run that goes on elsewhere hears that it does.
        shared.asked.lock().clear();
    }

    /// Knows the runs of a tenant that ended before, once.
    async fn recover(&self, tenant: &TenantId) -> Result<()> {
        let recovered = {
            let mut all = self.shared.recovered.lock();
            Arc::clone(all.entry(tenant.clone()).or_default())
        };
        let adopt = || recovery::adopt_earlier(&self.shared, tenant);
        recovered.get_or_try_init(adopt).await.copied()
    }

    fn at_work(&self, who: &Principal, id: RunId) -> Option<AtWork> {
        let at_work = self.shared.at_work.lock();
        let run = at_work.get(&id).filter(|run| run.tenant == who.tenant).cloned();
        run.filter(|run| !run.record.borrow().state.is_final())
    }

    /// For an input that is not there yet, and that another job makes: which.
    fn saying_who_makes(&self, error: Error, catalog: &Catalog, inputs: &[DatasetName]) -> Error {
        let is_there = |dataset: &&DatasetName| catalog.datasets.contains_key(*dataset);
        let Some(missing) = inputs.iter().find(|dataset| !is_there(dataset)) else { return error };
        let makers = self.shared.options.jobs.makers(missing);
        if error.code() != Code::NotFound || makers.is_empty() {
            return error;
        }
        let text =
            format!("dataset {missing} is not there yet; it is made by {}", makers.join(" or "));
        Error::user(Code::NotFound, text)
    }
}

fn bound(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
