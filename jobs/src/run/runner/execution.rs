//! One run from its first record to its last: wait for a place, look for the same work done before, do
//! the work, and say how it ended. Every way out passes through [`Run::end`], so that no run is
//! forgotten: error, panic, cancellation, deadline.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datasets::DatasetName;
use engine::{Code, Error, Principal, Result, RunId, Session, Taken};
use futures::FutureExt;
use kernels::{Control, GpuPolicy};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, oneshot};
use tokio_util::task::TaskTracker;

use super::recovery::{self, Before};
use super::{Live, Shared};
use crate::job::{Job, Outcome};
use crate::run::context::{Commits, RunContext, cancelled, panicked};
use crate::run::ledger;
use crate::run::record::{DatasetVersion, RunError, RunRecord, RunState, StageRecord, now};

/// A run that was taken on.
pub(super) struct Run {
    pub(super) who: Principal,
    pub(super) job: &'static dyn Job,
    pub(super) gpu: GpuPolicy,
    pub(super) session: Arc<Session>,
    pub(super) live: Live,
}

/// How the work of a run ended.
enum End {
    Done(Outcome, Vec<DatasetVersion>, Option<RunId>),
    Stopped(RunState, RunError),
}

impl Run {
    /// Does the work, in a place of its own. `began` hears when the first row of the run is committed.
    pub(super) async fn execute(
        self,
        shared: Arc<Shared>,
        slot: Option<Taken>,
        began: oneshot::Sender<Result<()>>,
    ) {
        if let Err(error) = self.begin(&shared, slot.is_some()).await {
            shared.live.lock().remove(&self.live.record.borrow().id);
            // Nobody listens when the caller has gone; then nobody was promised anything either.
            let _ = began.send(Err(error));
            return;
        }
        let _ = began.send(Ok(()));
        let end = match self.wait_for_slot(&shared, slot).await {
            Ok(slot) => {
                let end = self.work(&shared).await;
                drop(slot);
                end
            }
            Err(error) => End::of(&error),
        };
        self.end(&shared, end).await;
    }

    /// Writes the row that says that the run waits, or works.
    async fn begin(&self, shared: &Shared, has_slot: bool) -> Result<()> {
        self.change(shared, |record| {
            if has_slot {
                record.state = RunState::Running;
                record.started_at = Some(now());
            }
        });
        let record = self.live.record.borrow().clone();
        ledger::append(&shared.engine, &self.who, &record).await
    }

    async fn wait_for_slot(&self, shared: &Shared, slot: Option<Taken>) -> Result<Taken> {
        if let Some(slot) = slot {
            return Ok(slot);
        }
        let slot = tokio::select! {
            slot = shared.slots.take(&self.who.tenant, 1) => {
                slot.map_err(|_| Error::internal("the runner's places are gone"))?
            }
            () = self.live.cancellation.cancelled() => return Err(cancelled()),
        };
        self.begin(shared, true).await?;
        Ok(slot)
    }

    async fn work(&self, shared: &Arc<Shared>) -> End {
        let record = self.live.record.borrow().clone();
        let numbers = match recovery::before(&shared.engine, &self.who, self.job, &record).await {
            Ok(Before { done: Some(earlier), .. }) => {
                let outcome = Outcome { summary: earlier.summary.clone() };
                return End::Done(outcome, earlier.outputs, Some(earlier.id));
            }
            Ok(Before { numbers, .. }) => numbers,
            Err(error) => return End::of(&error),
        };
        let stages = Arc::new(Mutex::new(Vec::new()));
        let context = self.context(shared, &record, stages.clone(), numbers);
        let control = context.control.clone();
        let (commits, tracker) = (context.commits.clone(), context.work.clone());
        let ended = {
            let work = AssertUnwindSafe(self.job.run(&context, &record.params)).catch_unwind();
            tokio::select! {
                ended = work => ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))),
                () = self.live.cancellation.cancelled() => Err(cancelled()),
                error = deadline(shared.options.run_timeout) => Err(error),
            }
        };
        // Whatever is still at work is told to stop and waited for; a commit that got through counts.
        if ended.is_err() {
            control.cancel();
            self.live.cancellation.cancel();
        }
        tracker.close();
        tracker.wait().await;
        let mut commits = commits.lock().await;
        commits.closed = true;
        self.change(shared, |record| record.stages = stages.lock().clone());
        let outputs: Vec<DatasetVersion> = commits
            .done
            .iter()
            .map(|commit| DatasetVersion {
                dataset: commit.dataset.clone(),
                version: commit.version,
                rows: Some(commit.rows),
            })
            .collect();
        let expected = self.job.outputs(&record.params).map_or(usize::MAX, |specs| specs.len());
        match ended {
            Ok(outcome) if commits.done.iter().any(|commit| commit.duplicate) => {
                // A run of the same work committed while this one computed: its commit is the result.
                match recovery::before(&shared.engine, &self.who, self.job, &record).await {
                    Ok(Before { done: Some(earlier), .. }) => {
                        End::Done(outcome, earlier.outputs, Some(earlier.id))
                    }
                    Ok(_) => End::Done(outcome, outputs, None),
                    Err(error) => End::of(&error),
                }
            }
            Ok(outcome) => End::Done(outcome, outputs, None),
            // Stopped, but after its last commit: the result is there, so the run has succeeded.
            Err(_) if expected > 0 && outputs.len() == expected => {
                End::Done(Outcome::default(), outputs, None)
            }
            Err(error) => End::of(&error),
        }
    }

    fn context(
        &self,
        shared: &Arc<Shared>,
        record: &RunRecord,
        stages: Arc<Mutex<Vec<StageRecord>>>,
        numbers: HashMap<DatasetName, i64>,
    ) -> RunContext {
        let control = Control::new();
        let (live, updates) = (self.live.clone(), shared.updates.clone());
        let on_progress = move |part: f64| {
            let part = part.clamp(0.0, 1.0);
            let changed = live.record.send_if_modified(|record| {
                // Whole percents only: listeners are people and dashboards.
                let moved = part > record.progress && part - record.progress >= 0.01;
                if moved {
                    Arc::make_mut(record).progress = part;
                }
                moved
            });
            if changed {
                let _ = updates.send(live.record.borrow().clone());
            }
        };
        let (live, updates) = (self.live.clone(), shared.updates.clone());
        let last = Mutex::new(None::<Instant>);
        let on_activity = move |activity: Value| {
            let mut last = last.lock();
            if last.is_some_and(|last| last.elapsed() < ACTIVITY_EVERY) {
                return;
            }
            *last = Some(Instant::now());
            live.record.send_modify(|record| Arc::make_mut(record).activity = activity);
            let _ = updates.send(live.record.borrow().clone());
        };
        RunContext {
            principal: self.who.clone(),
            run_id: record.id,
            engine: shared.engine.clone(),
            session: self.session.clone(),
            inputs: record.inputs.clone(),
            key: record.key.clone(),
            numbers,
            job: self.job.name(),
            gpu: self.gpu,
            memory_budget_bytes: shared.options.memory_budget_bytes
                / shared.options.concurrent_runs.max(1),
            embedders: shared.embedders.clone(),
            pool: shared.pool.clone(),
            kernel_pool: shared.kernel_pool.clone(),
            control,
            cancellation: self.live.cancellation.clone(),
            work: TaskTracker::new(),
            stages,
            on_progress: Arc::new(on_progress),
            on_activity: Arc::new(on_activity),
            commits: Arc::new(AsyncMutex::new(Commits::default())),
            scratch: OnceCell::new(),
        }
    }

    /// Writes the last row of the run and lets go of it.
    async fn end(self, shared: &Shared, end: End) {
        let before = self.live.record.borrow().clone();
        let mut record = RunRecord::clone(&before);
        record.finished_at = Some(now());
        record.activity = Value::Null;
        match end {
            End::Done(outcome, outputs, repeated_of) => {
                record.state = RunState::Succeeded;
                record.progress = 1.0;
                record.outputs = outputs;
                record.summary = outcome.summary;
                record.repeated_of = repeated_of;
            }
            End::Stopped(state, error) => {
                record.state = state;
                record.error = Some(error);
            }
        }
        if let Err(error) = ledger::append(&shared.engine, &self.who, &record).await {
            // The next start finds the commit, or its absence, and writes the row then.
            tracing::error!(run = %record.id, %error, "the end of a run could not be recorded");
        }
        tracing::info!(
            run = %record.id, job = record.job, state = %record.state,
            error = record.error.as_ref().map(|e| e.message.as_str()), "run ended"
        );
        let id = record.id;
        self.change(shared, |current| *current = record);
        shared.live.lock().remove(&id);
    }

    /// Changes the record and tells whoever listens.
    fn change(&self, shared: &Shared, change: impl FnOnce(&mut RunRecord)) {
        self.live.record.send_modify(|record| change(Arc::make_mut(record)));
        let _ = shared.updates.send(self.live.record.borrow().clone());
    }
}

/// The least time between two tellings of what a run is at.
const ACTIVITY_EVERY: Duration = Duration::from_millis(500);

impl End {
    fn of(error: &Error) -> Self {
        let state = match error.code() {
            Code::Cancelled => RunState::Cancelled,
            _ => RunState::Failed,
        };
        Self::Stopped(state, RunError::from(error))
    }
}

/// Fails before any work when a GPU is required and none can be used.
pub(super) fn require_device(job: &str, gpu: GpuPolicy) -> Result<()> {
    if gpu != GpuPolicy::Required {
        return Ok(());
    }
    let devices = kernels::devices();
    let usable = devices.found.iter().any(|d| d.device != kernels::Device::Cpu);
    if usable {
        return Ok(());
    }
    let reason = devices.cuda_absent.unwrap_or_else(|| "no CUDA device was found".into());
    Err(Error::user(Code::DeviceUnavailable, format!("{job}: gpu = required, but {reason}")))
}

async fn deadline(timeout: Option<Duration>) -> Error {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Error::user(
                Code::Timeout,
                format!(
                    "the run was stopped after {} s; nothing was committed",
                    timeout.as_secs_f64()
                ),
            )
        }
        None => std::future::pending().await,
    }
}
