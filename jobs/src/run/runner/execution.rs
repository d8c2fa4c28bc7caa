//! One attempt at a run, from its claim to what is said of it: look for the same work done before, do the work, and say how it
//! ended. Every way out passes through [`Run::end`], so that no run is forgotten: error, panic, cancellation, deadline.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{Code, Error, Principal, Result, Role, RunId, Session, TenantId};
use futures::FutureExt;
use kernels::{Control, GpuPolicy};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, OnceCell, watch};
use tokio_util::task::TaskTracker;

use super::recovery::{self, Before};
use super::rerun::pins;
use super::tries::{OVERTAKEN_MAX, OVERTAKEN_WAIT, backoff, can_pass, deadline};
use super::{AtWork, Shared, bound, label};
use crate::control::{Cost, Entry, LOSSES_MAX, Lease, Need, Verdict, Wants};
use crate::job::{Job, Outcome};
use crate::run::context::{Beside, Commits, RunContext, cancelled, interrupted, panicked};
use crate::run::document::Document;
use crate::run::key;
use crate::run::logs::RunLog;
use crate::run::memory::PeakMemory;
use crate::run::quotas::Moment;
use crate::run::record::{DatasetVersion, RunError, RunRecord, RunState, StageRecord};

/// How often it is looked for runs that others queued or that have become due.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The least time between two tellings of what a run is at.
const ACTIVITY_EVERY: Duration = Duration::from_millis(500);
/// How long what became of a run is told to a control database that does not answer, before it is left to be found out.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(300);
const SETTLE_AGAIN: Duration = Duration::from_millis(500);

/// Takes runs whose turn it is, a few at a time, until the runner ends.
pub(super) async fn work(shared: Arc<Shared>) {
    while !shared.closing.is_cancelled() {
        // From here on a wake is kept.
        let woken = shared.wake.notified();
        while shared.at_work.lock().len() < shared.options.concurrent_runs
            && !shared.closing.is_cancelled()
        {
            match claim(&shared).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    // The pulse says when it does not answer.
                    tracing::debug!(detail = error.detail(), "no run could be claimed");
                    break;
                }
            }
        }
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shared.closing.cancelled() => {}
        }
    }
}

/// Claims a run and begins it; false where there is none.
async fn claim(shared: &Arc<Shared>) -> Result<bool> {
    let memory = shared.memory();
    let of_job_max = &shared.options.of_job_max;
    let wants = Wants {
        worker: shared.worker.lock().id.clone(),
        now_us: shared.now().timestamp_micros(),
        free_bytes: memory.fits(),
        device: shared.device.clone(),
        of_job_max: of_job_max.iter().map(|(job, most)| (job.clone(), bound(*most))).collect(),
        of_tenant_max: bound(shared.share()),
        only_kept: shared.options.takes == super::Takes::Own,
    };
    let Some(entry) = shared.records.store().claim(&wants).await? else { return Ok(false) };
    let memory_bytes = memory.grant(entry.memory_bytes);
    let run = match Run::of(shared, &entry, &wants.worker, memory_bytes) {
        Ok(run) => run,
        Err(error) => {
            // A record that can not be read is no run that can be worked at; it stays as it is, failed.
            tracing::error!(run = entry.id, detail = error.detail(), "a run can not be begun");
            let lease = lease_of(&entry, &wants.worker);
            let verdict = Verdict::Ended {
                state: RunState::Failed.as_str(),
                ended_us: wants.now_us,
                worked_us: 0,
                cost: None,
            };
            shared.records.store().settle(&lease, verdict, &entry.document).await?;
            return Ok(true);
        }
    };
    let executing = shared.tasks.track_future(run.execute(shared.clone()));
    drop(shared.threads.spawn(executing)?);
    Ok(true)
}

fn lease_of(entry: &Entry, worker: &str) -> Lease {
    Lease { id: entry.id.clone(), worker: worker.to_owned(), attempt: entry.attempt }
}

/// A run that was claimed.
pub(super) struct Run {
    pub(super) who: Principal,
    pub(super) live: AtWork,
    /// Whether somebody was at it before.
    is_later_attempt: bool,
    /// Workers that ended while they were at it; at [`LOSSES_MAX`] nobody is to try again.
    pub(super) losses: i64,
    /// How often it is tried, that it lost a worker aside.
    attempts_max: i64,
    began: Instant,
    pub(super) attempt_began_at: DateTime<Utc>,
    memory: PeakMemory,
    log: RunLog,
}

/// How the work of a run ended.
enum End {
    Done(Outcome, Vec<DatasetVersion>, Option<RunId>),
    Stopped(Error),
    /// Another run committed first where its results would follow from.
    Overtaken(Error),
}

impl Run {
    fn of(shared: &Shared, entry: &Entry, worker: &str, memory_bytes: usize) -> Result<Self> {
        let Document { mut record, gpu: asked, grants } = Document::of(entry)?;
        let tenant = TenantId::new(&entry.tenant)?;
        // Who may run jobs may have their results written, without the right to write anything else.
        let roles = [Role::Reader, Role::Writer];
        let mut who = Principal::new(tenant.clone(), &*record.requested_by, &roles);
        who.grants = grants.clone();
        let attempt_began_at = shared.now();
        record.started_at.get_or_insert(attempt_began_at);
        record.next_attempt_at = None;
        record.workers_lost = u32::try_from(entry.losses).unwrap_or(u32::MAX);
        let lease = lease_of(entry, worker);
        // What the GPU has too little memory for is done by the CPU.
        let is_too_much = entry.device.need == Need::Preferred && entry.has_device.is_none();
        let gpu = match is_too_much && shared.device.is_some() {
            true => GpuPolicy::Off,
            false => asked,
        };
        let device_bytes = entry.has_device.as_ref().map(|_| entry.device.bytes);
        let device_bytes = device_bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let live = AtWork {
            tenant,
            record: watch::channel(Arc::new(record.clone())).0,
            gpu,
            asked,
            grants,
            lease,
            memory_bytes,
            device_bytes: device_bytes.filter(|bytes| *bytes > 0),
            is_alone: Arc::new(AtomicBool::new(!shared.has_company())),
            cancellation: shared.closing.child_token(),
            is_cancelled: Arc::new(AtomicBool::new(false)),
            is_news: Arc::new(AtomicBool::new(true)),
        };
        if entry.is_cancel_asked {
            live.cancel();
        }
        shared.at_work.lock().insert(record.id, live.clone());
        shared.tell(record);
        let is_later_attempt = entry.attempt > 1;
        let (losses, attempts_max) = (entry.losses, entry.attempts_max);
        let (began, memory) = (Instant::now(), PeakMemory::watch());
        let id = live.record.borrow().id;
        let log = shared.logs.of_run(&live.tenant, id, entry.attempt, &live.record.borrow().job);
        Ok(Self {
            who,
            live,
            is_later_attempt,
            losses,
            attempts_max,
            began,
            attempt_began_at,
            memory,
            log,
        })
    }

    async fn execute(self, shared: Arc<Shared>) {
        let mib = self.live.memory_bytes >> 20;
        let by = label(&shared.engine, &shared.options);
        let again = match self.losses {
            0 => String::new(),
            lost => format!("; {lost} of {LOSSES_MAX} that were at it before ended before it did"),
        };
        self.log.info(format!("begins, by {by}, with {mib} MiB of memory{again}"));
        let end = self.work(&shared).await;
        self.end(&shared, end).await;
        shared.wake.notify_one();
        shared.ended.notify_one();
    }

    async fn work(&self, shared: &Arc<Shared>) -> End {
        let record = RunRecord::clone(&self.live.record.borrow());
        if let Some(of) = record.as_it_was {
            return match self.again(shared, &record, of).await {
                Ok(outcome) => End::Done(outcome, Vec::new(), None),
                Err(error) => End::Stopped(error),
            };
        }
        let begun = async {
            let job = shared.options.jobs.get(&record.job)?;
            shared.require_device(job.name(), self.live.gpu)?;
            key::require_code(job.as_ref(), &record, shared.options.programs.as_deref())?;
            let session = Arc::new(shared.engine.session(&self.who, &pins(&record)).await?);
            let is_later = self.is_later_attempt;
            let before = recovery::before(shared, &self.who, job.as_ref(), &record, is_later).await;
            Ok((job, session, before?))
        };
        let begun = async {
            tokio::select! {
                biased;
                // What somebody was at before may have been committed: that is seen first.
                () = self.live.cancellation.cancelled(), if !self.is_later_attempt => Err(cancelled()),
                error = deadline(shared.options.run_timeout, record.deadline_at, shared.now()) => Err(error),
                begun = begun => begun,
            }
        };
        let (job, session, numbers) = match begun.await {
            Ok((_, _, Before { done: Some(earlier), .. })) => {
                let repeated_of = (earlier.id != record.id).then_some(earlier.id);
                let outcome = Outcome { summary: earlier.summary };
                return End::Done(outcome, earlier.outputs, repeated_of);
            }
            Ok(_) if self.losses >= LOSSES_MAX => return End::Stopped(interrupted()),
            Ok((job, session, Before { numbers, .. })) => (job, session, numbers),
            Err(error) => return End::Stopped(error),
        };
        let begins = (shared.records.store(), Moment::Begins);
        let quotas = &shared.options.quotas;
        if let Err(error) = quotas.check(&shared.engine, &self.who, shared.now(), begins).await {
            return End::Stopped(error);
        }
        let stages = Arc::new(Mutex::new(Vec::new()));
        let expected = job.outputs(&record.params).map_or(usize::MAX, |specs| specs.len());
        let context = self.context(shared, &job, &record, session, stages.clone(), numbers);
        context.commits.lock().await.together = expected > 1;
        let control = context.control.clone();
        let (commits, tracker) = (context.commits.clone(), context.work.clone());
        let (seen, contents) = (context.beside.seen.clone(), context.contents.clone());
        let took = |record: &mut RunRecord| {
            record.stages = stages.lock().clone();
            record.beside = seen.lock().clone();
            record.contents = contents.lock().clone();
        };
        let ended = self.do_it(shared, job.as_ref(), &context, &record).await;
        let ended = match ended {
            Ok(outcome) => match context.publish().await {
                Ok(()) => Ok(outcome),
                Err(error) => {
                    // It may have been decided all the same, and made by whoever saw that.
                    let before = recovery::before(shared, &self.who, job.as_ref(), &record, true);
                    match before.await {
                        Ok(Before { done: Some(own), .. }) if own.id == record.id => {
                            self.change(shared, took);
                            return End::Done(outcome, own.outputs, None);
                        }
                        _ => Err(error),
                    }
                }
            },
            Err(error) => Err(error),
        };
        // Whatever is still at work is told to stop and waited for; a commit that got through counts.
        if ended.is_err() {
            control.cancel();
            self.live.cancellation.cancel();
        }
        tracker.close();
        tracker.wait().await;
        context.discard().await;
        if ended.is_ok() {
            context.clear_checkpoints();
        }
        let mut commits = commits.lock().await;
        commits.closed = true;
        self.change(shared, took);
        let outputs: Vec<DatasetVersion> = commits
            .done
            .iter()
            .map(|commit| DatasetVersion {
                dataset: commit.dataset.clone(),
                version: commit.version,
                rows: Some(commit.rows),
                made_at: None,
            })
            .collect();
        match ended {
            Ok(outcome) if commits.done.iter().any(|commit| commit.duplicate) => {
                // A run of the same work committed while this one computed: its commit is the result.
                let before = recovery::before(shared, &self.who, job.as_ref(), &record, true);
                match before.await {
                    Ok(Before { done: Some(earlier), .. }) => {
                        let repeated_of = (earlier.id != record.id).then_some(earlier.id);
                        End::Done(outcome, earlier.outputs, repeated_of)
                    }
                    Ok(_) => End::Done(outcome, outputs, None),
                    Err(error) => End::Stopped(error),
                }
            }
            Ok(outcome) => End::Done(outcome, outputs, None),
            // Stopped, but after its only commit: the result is there, so the run has succeeded.
            Err(_) if expected > 0 && outputs.len() == expected => {
                End::Done(Outcome::default(), outputs, None)
            }
            // A job without outputs may have done much.
            Err(error) if expected == 0 && error.code() == Code::Cancelled => {
                let says = "the run was asked to stop; what it had done by then stays";
                End::Stopped(Error::user(Code::Cancelled, says))
            }
            Err(error) if commits.is_overtaken => End::Overtaken(error),
            Err(error) => End::Stopped(error),
        }
    }

    pub(super) fn context(
        &self,
        shared: &Arc<Shared>,
        job: &Arc<dyn Job>,
        record: &RunRecord,
        session: Arc<Session>,
        stages: Arc<Mutex<Vec<StageRecord>>>,
        numbers: HashMap<DatasetName, i64>,
    ) -> RunContext {
        let control = Control::new();
        let (live, told) = (self.live.clone(), shared.clone());
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
                live.is_news.store(true, Ordering::Relaxed);
                told.tell(RunRecord::clone(&live.record.borrow()));
            }
        };
        let (live, told) = (self.live.clone(), shared.clone());
        let last = Mutex::new(None::<Instant>);
        let on_activity = move |activity: Value| {
            let mut last = last.lock();
            if last.is_some_and(|last| last.elapsed() < ACTIVITY_EVERY) {
                return;
            }
            *last = Some(Instant::now());
            live.record.send_modify(|record| Arc::make_mut(record).activity = activity);
            live.is_news.store(true, Ordering::Relaxed);
            told.tell(RunRecord::clone(&live.record.borrow()));
        };
        RunContext {
            principal: self.who.clone(),
            run_id: record.id,
            engine: shared.engine.clone(),
            session,
            log: self.log.clone(),
            clock: shared.options.clock.clone(),
            inputs: record.inputs.clone(),
            key: record.key.clone(),
            numbers,
            job: job.name(),
            gpu: self.live.gpu,
            memory_budget_bytes: self.live.memory_bytes,
            device_bytes: self.live.device_bytes,
            embedders: shared.embedders.clone(),
            programs: shared.options.programs.clone(),
            programs_user: shared.options.programs_user,
            exports: shared.options.exports,
            exports_bytes_max: shared.options.exports_bytes_max,
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
            beside: Beside {
                datasets: job
                    .outputs(&record.params)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|spec| spec.name)
                    .collect(),
                ..Beside::default()
            },
            uncomputed: Arc::default(),
            contents: Arc::default(),
            pins: {
                let (asked, tenant) = (shared.clone(), self.who.tenant.clone());
                Arc::new(move |dataset| {
                    let (asked, tenant) = (asked.clone(), tenant.clone());
                    Box::pin(async move { asked.pinned(&tenant, &dataset).await })
                })
            },
        }
    }

    /// Does the work of the job, unless the run is to end before.
    pub(super) async fn do_it(
        &self,
        shared: &Shared,
        job: &dyn Job,
        context: &RunContext,
        record: &RunRecord,
    ) -> Result<Outcome> {
        let work = engine::stopped_by(context.control.clone(), job.run(context, &record.params));
        let work = AssertUnwindSafe(work).catch_unwind();
        tokio::select! {
            // What is to end does not begin.
            biased;
            () = self.live.cancellation.cancelled() => Err(cancelled()),
            error = deadline(shared.options.run_timeout, record.deadline_at, shared.now()) => Err(error),
            ended = work => ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map(|it| context.told(it)),
        }
    }

    /// What it took, for those that come.
    fn cost(&self, record: &RunRecord, worked_us: i64) -> Cost {
        let rows = record.estimate.map_or(0, |estimate| estimate.rows);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let grown = match self.live.is_alone.load(Ordering::Relaxed) {
            true => i64::try_from(self.memory.grown_bytes()).unwrap_or(i64::MAX),
            false => 0,
        };
        Cost { rows, wall_us: worked_us, memory_rows: rows, memory_bytes: grown }
    }

    /// Says what became of the run and lets go of it.
    async fn end(self, shared: &Shared, end: End) {
        let mut record = RunRecord::clone(&self.live.record.borrow());
        let finished_at = shared.now();
        record.activity = Value::Null;
        let worked_us = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        let is_cancelled = self.live.is_cancelled.load(Ordering::Relaxed);
        let (mut memory_bytes, mut cost) = (None, None);
        let again_at = match end {
            End::Done(outcome, outputs, repeated_of) => {
                record.state = RunState::Succeeded;
                record.progress = 1.0;
                if repeated_of.is_none() {
                    cost = Some(self.cost(&record, worked_us));
                }
                record.outputs = outputs;
                record.summary = outcome.summary;
                record.repeated_of = repeated_of;
                None
            }
            // Nobody asked for its end: the process ends, and the run goes on in the next, or others took this one for dead.
            End::Stopped(error)
                if error.code() == Code::Cancelled
                    && !is_cancelled
                    && (shared.goes_on() || !shared.closing.is_cancelled()) =>
            {
                Some(finished_at)
            }
            End::Overtaken(error) if !is_cancelled && record.attempts.len() < OVERTAKEN_MAX => {
                tracing::debug!(run = %record.id, job = record.job, detail = error.detail(), "a run begins anew");
                record.attempts.push(self.attempt(&error, &mut record.stages, finished_at));
                Some(finished_at + OVERTAKEN_WAIT)
            }
            End::Stopped(error)
                if can_pass(&error)
                    && !self.had_all(shared, &error)
                    && !is_cancelled
                    && self.losses < LOSSES_MAX
                    && bound(record.attempts.len() + 1) < self.attempts_max =>
            {
                let wait = backoff(record.attempts.len(), &record.id.to_string());
                tracing::warn!(
                    run = %record.id, job = record.job, detail = error.detail(),
                    again_in_ms = wait.num_milliseconds(), "a run is tried again"
                );
                record.attempts.push(self.attempt(&error, &mut record.stages, finished_at));
                // With more memory, if that was what it had too little of.
                if error.code() == Code::ResourcesExhausted {
                    let more = self.live.memory_bytes.saturating_mul(2);
                    memory_bytes = Some(bound(more.min(shared.memory().most())));
                }
                Some(finished_at + wait)
            }
            End::Stopped(error) | End::Overtaken(error) => {
                record.state = match error.code() {
                    Code::Cancelled => RunState::Cancelled,
                    _ => RunState::Failed,
                };
                record.error = Some(RunError::from(&error));
                record.contents.clear();
                None
            }
        };
        let verdict = match again_at {
            Some(at) => {
                record.state = RunState::Queued;
                record.contents.clear();
                record.beside.clear();
                record.next_attempt_at = Some(at);
                record.stages.clear();
                record.progress = 0.0;
                Verdict::Again { due_us: at.timestamp_micros(), worked_us, memory_bytes }
            }
            None => {
                record.finished_at = Some(finished_at);
                Verdict::Ended {
                    state: record.state.as_str(),
                    ended_us: finished_at.timestamp_micros(),
                    worked_us,
                    cost,
                }
            }
        };
        let is_settled = self.settle(shared, &verdict, &record).await;
        let id = record.id;
        if is_settled {
            self.log.ended(&record, self.began.elapsed());
            tracing::info!(
                run = %id, job = record.job, state = %record.state,
                error = record.error.as_ref().map(|e| e.message.as_str()), "run ended"
            );
            self.live.record.send_replace(Arc::new(record.clone()));
            if record.schedule.is_some() {
                shared.clock.notify_one();
            }
        }
        {
            let mut at_work = shared.at_work.lock();
            // Another attempt of it may be at work here by now.
            if at_work.get(&id).is_some_and(|run| run.lease == self.live.lease) {
                at_work.remove(&id);
            }
        }
        let record = match is_settled {
            true => Some(record),
            // The answer may have been lost, and not the word.
            false => shared.records.get(&shared.engine, &self.who, id).await.ok(),
        };
        if let Some(record) = record {
            shared.tell(record);
        }
    }

    /// Tells control state what became of the run. False where it is somebody else's by now, or where nobody could be told.
    async fn settle(&self, shared: &Shared, verdict: &Verdict<'_>, record: &RunRecord) -> bool {
        let (gpu, grants) = (self.live.asked, self.live.grants.clone());
        let document = match (Document { record: record.clone(), gpu, grants }).to_text() {
            Ok(document) => document,
            Err(error) => {
                tracing::error!(run = %record.id, detail = error.detail(), "a record can not be written");
                return false;
            }
        };
        let (begun, mut is_said) = (Instant::now(), false);
        loop {
            let store = shared.records.store();
            match store.settle(&self.live.lease, verdict.clone(), &document).await {
                Ok(true) => return true,
                Ok(false) => {
                    tracing::warn!(run = %record.id, "what became of a run counts no more: others took it over");
                    return false;
                }
                Err(error) if begun.elapsed() > SETTLE_TIME_MAX => {
                    // Whoever takes the run over finds its commits, or their absence.
                    tracing::error!(run = %record.id, %error, "the end of a run could not be recorded");
                    return false;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_said, true) {
                        tracing::warn!(run = %record.id, %error, "the end of a run is not recorded yet");
                    }
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
            }
        }
    }

    /// Changes the record and tells whoever listens.
    pub(super) fn change(&self, shared: &Shared, change: impl FnOnce(&mut RunRecord)) {
        self.live.record.send_modify(|record| change(Arc::make_mut(record)));
        self.live.is_news.store(true, Ordering::Relaxed);
        shared.tell(RunRecord::clone(&self.live.record.borrow()));
    }
}
