//! The runner: takes requests, pins their inputs, runs them a few at a time, and keeps the record of
//! each. It lives in the process of `serve`, `run` or `demo`. Everything it must remember beyond its
//! life stands in datasets, so a killed process loses no result: what a dead run did or did not commit
//! is read back from the tables themselves.

mod execution;
#[cfg(test)]
mod faults;
mod recovery;
#[cfg(test)]
mod repeat_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datasets::DatasetName;
use engine::{
    AsOf, Catalog, Code, Engine, Error, Places, Principal, Result, Role, RunId, Session, TenantId,
    Threads, Urgency, WorkMark, is_kept_name,
};
use kernels::GpuPolicy;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::{OnceCell, broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::job::Job;
use crate::kinds::{kind, makers};
use crate::parameters::bad;
use crate::registry::embedders::Embedders;
use crate::run::key::run_key;
use crate::run::ledger;
use crate::run::record::{DatasetVersion, RunFilter, RunRecord, RunState, now};
use crate::similar::{Searches, Similar, SimilarRequest};

/// Updates that a slow listener may lag behind before it misses some.
pub const UPDATES_MAX: usize = 1_024;

/// What a runner may use.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// Device policy of runs that do not state their own.
    pub gpu: GpuPolicy,
    /// Runs at work at one time.
    pub concurrent_runs: usize,
    /// Runs that may wait; one more is refused with `LIMIT_EXCEEDED`.
    pub queue_runs_max: usize,
    /// Whether there are several tenants: then at most half of what works and of what waits is of one.
    pub has_tenants: bool,
    /// Memory of all runs together, beside the sessions' own pool, in bytes.
    pub memory_budget_bytes: usize,
    /// Threads for numeric work; 0 takes one per core.
    pub threads: usize,
    /// A run that works for longer is stopped with `TIMEOUT`.
    pub run_timeout: Option<Duration>,
    /// The folder of models that were pulled, each in a folder of its name.
    pub models: Option<PathBuf>,
    /// Memory of the vectors that searches keep, beside that of runs, in bytes.
    pub search_bytes_max: usize,
    /// Whether runs leave the cores to others of the process, or take their share of them.
    pub urgency: Urgency,
}

impl Default for RunnerOptions {
    fn default() -> Self {
        Self {
            gpu: GpuPolicy::default(),
            concurrent_runs: 2,
            queue_runs_max: 256,
            has_tenants: false,
            memory_budget_bytes: 1 << 30,
            threads: 0,
            run_timeout: None,
            models: None,
            search_bytes_max: 1 << 29,
            urgency: Urgency::default(),
        }
    }
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct RunRequest {
    /// The job kind.
    pub job: String,
    /// Its parameters, an object; `null` takes every default.
    pub params: Value,
    /// Device policy; the runner's own when `None`.
    pub gpu: Option<GpuPolicy>,
    /// Inputs that are not to be read at their latest version.
    pub pins: Vec<(DatasetName, AsOf)>,
}

/// Runs jobs in this process. Clones share everything.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

/// A run that was taken on.
pub struct RunHandle {
    id: RunId,
    record: watch::Receiver<Arc<RunRecord>>,
}

struct Shared {
    engine: Engine,
    options: RunnerOptions,
    threads: Threads,
    pool: Arc<rayon::ThreadPool>,
    kernel_pool: kernels::Pool,
    embedders: Arc<Embedders>,
    searches: Searches,
    slots: Places,
    live: Mutex<HashMap<RunId, Live>>,
    /// Tenants whose interrupted runs are closed.
    recovered: Mutex<HashMap<TenantId, Arc<OnceCell<()>>>>,
    updates: broadcast::Sender<Arc<RunRecord>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A run that has not ended.
#[derive(Clone)]
struct Live {
    tenant: TenantId,
    record: watch::Sender<Arc<RunRecord>>,
    cancellation: CancellationToken,
    /// Says to other processes that somebody works at it.
    _mark: Option<Arc<WorkMark>>,
}

impl Runner {
    /// Starts a runner, and closes the records of runs that a dead process left open: as succeeded
    /// when their commit is there, as failed when it is not. Of tenant `default` at once, of another
    /// before its first request is answered.
    ///
    /// On a local root other runners may be at work: what they are at is marked and left to them. On an
    /// object store a second runner would take the first one's runs for dead.
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
        let shared = Shared {
            slots: match options.has_tenants {
                true => Places::new(options.concurrent_runs),
                false => Places::of_one_tenant(options.concurrent_runs),
            },
            live: Mutex::default(),
            recovered: Mutex::default(),
            updates: broadcast::channel(UPDATES_MAX).0,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            threads: job_threads,
            pool: Arc::new(pool),
            kernel_pool,
            embedders,
            searches,
            engine,
            options,
        };
        let runner = Self { shared: Arc::new(shared) };
        match runner.recover(&TenantId::default()).await {
            // Who asks for runs is told; everything else can be asked for.
            Err(error) if error.code() == Code::StorageUnavailable => {
                tracing::error!(detail = error.detail(), "runs can not be read");
            }
            recovered => recovered?,
        }
        Ok(runner)
    }

    /// Takes a run on and returns once its record is committed. Everything that can be known to be
    /// wrong before work starts is an error here: kind, parameters, inputs, pins, device.
    pub async fn submit(&self, who: &Principal, request: RunRequest) -> Result<RunHandle> {
        self.submit_job(who, kind(&request.job)?, request).await
    }

    async fn submit_job(
        &self,
        who: &Principal,
        job: &'static dyn Job,
        request: RunRequest,
    ) -> Result<RunHandle> {
        who.require(Role::Operator)?;
        self.recover(&who.tenant).await?;
        let shared = &self.shared;
        if shared.closing.is_cancelled() {
            return Err(Error::user(
                Code::Cancelled,
                "the runner is shutting down; no run is taken",
            ));
        }
        let params = job.canonical(&request.params)?;
        let inputs = job.inputs(&params)?;
        // The names of its own that a kind has when it is not asked for others.
        let own = job.outputs(&Value::Object(Map::new())).unwrap_or_default();
        for output in job.outputs(&params)? {
            if is_kept_name(&output.name) && own.iter().all(|own| own.name != output.name) {
                return Err(bad(
                    job.name(),
                    "output",
                    format!("{} is kept for other records; expected another name", output.name),
                ));
            }
            if inputs.contains(&output.name) && !job.appends_to_inputs() {
                return Err(bad(
                    job.name(),
                    "output",
                    format!("expected another dataset than the input {}", output.name),
                ));
            }
        }
        let gpu = request.gpu.unwrap_or(shared.options.gpu);
        execution::require_device(job.name(), gpu)?;
        let session = shared.engine.session(who, &pins(&request, &inputs)?).await;
        let catalog = shared.engine.catalog(who).await?;
        let session = Arc::new(session.map_err(|e| saying_who_makes(e, &catalog, &inputs))?);
        let inputs = inputs
            .into_iter()
            .map(|dataset| {
                let entry = catalog.dataset(&dataset)?;
                let version = session.version(&dataset).unwrap_or(entry.version);
                // The catalogue counts the rows of the newest version only.
                let rows = entry.rows.filter(|_| version == entry.version);
                Ok(DatasetVersion { dataset, version, rows })
            })
            .collect::<Result<Vec<_>>>()?;
        let record = RunRecord {
            id: RunId::new(),
            job: job.name().into(),
            state: RunState::Queued,
            key: run_key(job.name(), job.revision(), &params, &inputs),
            params,
            inputs,
            outputs: Vec::new(),
            stages: Vec::new(),
            requested_by: who.subject.clone(),
            requested_at: now(),
            started_at: None,
            finished_at: None,
            progress: 0.0,
            activity: Value::Null,
            repeated_of: None,
            error: None,
            summary: Value::Null,
        };
        let live = self.enter(who, &record)?;
        let handle = RunHandle { id: record.id, record: live.record.subscribe() };
        // Who may run jobs may have their results written, without the right to write anything else.
        let worker = Principal { roles: vec![Role::Reader, Role::Writer], ..who.clone() };
        let run = execution::Run { who: worker, job, gpu, session, live };
        let slot = shared.slots.try_take(&who.tenant);
        // A task of its own from here on: a caller that goes away must not leave a run half begun.
        let (began, has_begun) = oneshot::channel();
        let run = run.execute(shared.clone(), slot, began);
        drop(shared.threads.spawn(shared.tasks.track_future(run))?);
        has_begun.await.map_err(|_| Error::internal("a run ended before it began"))??;
        Ok(handle)
    }

    /// Asks a run to stop and returns its record once it has: cancelled, or succeeded when its commit
    /// came first. `CONFLICT` when it had ended before.
    pub async fn cancel(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        who.require(Role::Operator)?;
        // One that has just ended may still be there.
        let live = self.live(who, id).filter(|live| !live.record.borrow().state.is_final());
        let Some(live) = live else {
            let record = self.get(who, id).await?;
            return Err(Error::user(
                Code::Conflict,
                format!(
                    "cancel run {id}: expected a run that has not ended, found it {}",
                    record.state
                ),
            ));
        };
        let receiver = live.record.subscribe();
        live.cancellation.cancel();
        drop(live);
        RunHandle { id, record: receiver }.wait().await
    }

    /// The record of a run; `NOT_FOUND` when the tenant has none with this id.
    pub async fn get(&self, who: &Principal, id: RunId) -> Result<RunRecord> {
        who.require(Role::Reader)?;
        if let Some(live) = self.live(who, id) {
            return Ok(RunRecord::clone(&live.record.borrow()));
        }
        self.recover(&who.tenant).await?;
        ledger::get(&self.shared.engine, who, &id.to_string()).await?.ok_or_else(|| {
            Error::user(Code::NotFound, format!("run {id}: there is no run with this id"))
        })
    }

    /// The runs that `filter` asks for, newest first.
    pub async fn list(&self, who: &Principal, filter: RunFilter) -> Result<Vec<RunRecord>> {
        who.require(Role::Reader)?;
        self.recover(&who.tenant).await?;
        // Live first: a run that ends between the two readings is then in both, and never in neither.
        let live: HashMap<RunId, RunRecord> = {
            let live = self.shared.live.lock();
            live.iter()
                .filter(|(_, run)| run.tenant == who.tenant)
                .map(|(id, run)| (*id, RunRecord::clone(&run.record.borrow())))
                .collect()
        };
        // A live run's row may be older than its state, so the state is asked for after merging.
        let asked = RunFilter { limit: filter.limit.saturating_add(live.len()), ..filter.clone() };
        let mut records = ledger::list(&self.shared.engine, who, &asked).await?;
        records.retain(|record| !live.contains_key(&record.id) || record.state.is_final());
        let ended: Vec<RunId> = records.iter().map(|record| record.id).collect();
        records.extend(
            live.into_values().filter(|r| !ended.contains(&r.id)).filter(|r| filter.takes(r)),
        );
        records.sort_unstable_by_key(|record| std::cmp::Reverse(record.id));
        records.truncate(filter.limit);
        Ok(records)
    }

    /// The rows of a dataset that are most like a text, a row or a vector. `session` says which versions are
    /// searched; it must have been opened by who asks.
    pub async fn similar(&self, session: &Session, request: SimilarRequest) -> Result<Similar> {
        self.shared.searches.run(session, request).await
    }

    /// Every change of state or progress of every run from now on. Records of all tenants come through:
    /// who hands them on must look at [`Runner::get`] with the asker's principal first.
    pub fn updates(&self) -> broadcast::Receiver<Arc<RunRecord>> {
        self.shared.updates.subscribe()
    }

    /// Takes no more runs, stops those at work, and returns when all have ended.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Closes the interrupted runs of a tenant, once.
    async fn recover(&self, tenant: &TenantId) -> Result<()> {
        let recovered = {
            let mut all = self.shared.recovered.lock();
            Arc::clone(all.entry(tenant.clone()).or_default())
        };
        let close = || recovery::close_interrupted(&self.shared.engine, tenant);
        recovered.get_or_try_init(close).await.copied()
    }

    /// Counts the run in, unless too many wait already.
    fn enter(&self, who: &Principal, record: &RunRecord) -> Result<Live> {
        let shared = &self.shared;
        let mut all = shared.live.lock();
        let options = &shared.options;
        let most = options.concurrent_runs.max(1) + options.queue_runs_max;
        let mut bounds = vec![("", all.len(), most)];
        if options.has_tenants {
            let own = all.values().filter(|run| run.tenant == who.tenant).count();
            let of_tenant = shared.slots.share() + options.queue_runs_max / 2;
            bounds.push((" of the tenant", own, of_tenant));
        }
        for (whose, found, most) in bounds {
            if found >= most {
                return Err(Error::user(
                    Code::LimitExceeded,
                    format!(
                        "{}: {found} runs{whose} are queued or running; expected fewer than {most}, try again later",
                        record.job
                    ),
                ));
            }
        }
        let mark = shared.engine.mark(&record.id.to_string())?;
        let live = Live {
            _mark: mark.map(Arc::new),
            tenant: who.tenant.clone(),
            record: watch::channel(Arc::new(record.clone())).0,
            cancellation: shared.closing.child_token(),
        };
        all.insert(record.id, live.clone());
        Ok(live)
    }

    fn live(&self, who: &Principal, id: RunId) -> Option<Live> {
        self.shared.live.lock().get(&id).filter(|run| run.tenant == who.tenant).cloned()
    }
}

impl RunHandle {
    /// The run's id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The record as it is now.
    pub fn record(&self) -> RunRecord {
        RunRecord::clone(&self.record.borrow())
    }

    /// Waits for the end of the run, in whatever state.
    pub async fn wait(mut self) -> Result<RunRecord> {
        let last = self.record.wait_for(|record| record.state.is_final()).await;
        match last {
            Ok(record) => Ok(RunRecord::clone(&record)),
            Err(_) => {
                Err(Error::internal(format!("run {}: its task ended without a record", self.id)))
            }
        }
    }
}

/// The pins of the session: each input, at the version that the request names or at the latest.
fn pins(request: &RunRequest, inputs: &[DatasetName]) -> Result<Vec<(DatasetName, AsOf)>> {
    if let Some((stray, _)) = request.pins.iter().find(|(dataset, _)| !inputs.contains(dataset)) {
        let names: Vec<_> = inputs.iter().map(DatasetName::as_str).collect();
        return Err(Error::user(
            Code::BadInput,
            format!(
                "{}: version of {stray}: expected a dataset that the job reads ({})",
                request.job,
                names.join(", ")
            ),
        ));
    }
    Ok(inputs
        .iter()
        .map(|dataset| {
            let pin = request.pins.iter().find(|(pinned, _)| pinned == dataset);
            (dataset.clone(), pin.map_or(AsOf::Latest, |(_, as_of)| *as_of))
        })
        .collect())
}

/// For an input that is not there yet, and that another job makes: which.
fn saying_who_makes(error: Error, catalog: &Catalog, inputs: &[DatasetName]) -> Error {
    let is_there = |dataset: &&DatasetName| catalog.datasets.contains_key(*dataset);
    let Some(missing) = inputs.iter().find(|dataset| !is_there(dataset)) else { return error };
    let makers = makers(missing);
    if error.code() != Code::NotFound || makers.is_empty() {
        return error;
    }
    let text = format!("dataset {missing} is not there yet; it is made by {}", makers.join(" or "));
    Error::user(Code::NotFound, text)
}
