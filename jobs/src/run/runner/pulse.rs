//! The pulse of a runner: it says that it lives, hears what others want of it, tells what others did, and sees who is gone.
//!
//! Whether another lives is seen on a local root by the mark that it holds, which ends with its process. Elsewhere by its beat: one
//! that stands still for [`LEASE`] by this process's own clock is gone. No clocks of two machines are compared, so that one that
//! jumps takes no run away from who works at it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{Code, CommitEvent, Error, Result, RunId, TenantId};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::clocks::Clocks;
use super::{Runner, Shared, join};
use crate::control::{Lease, Worker};
use crate::run::document::Document;
use crate::run::record::{RunError, RunState};
use crate::run::records::is_known_dead;
use crate::schedules::fire_due;

/// How often it is looked what others did, and how soon one hears that a run is to be cancelled.
const PULSE: Duration = Duration::from_millis(250);
/// How often it is looked which schedules are due, where no commit says so, and how soon at most after the last look.
const CLOCK: Duration = Duration::from_secs(1);
const LOOK_AFTER: Duration = Duration::from_millis(10);
/// Pulses between two of the other duties.
const BEAT_EVERY: u64 = 2;
const NOTE_EVERY: u64 = 4;
const FORGET_EVERY: u64 = 14_400;
/// A worker whose beat stands still for so long is gone.
const LEASE: Duration = Duration::from_secs(15);
/// Changes of others that are told at a time.
const CHANGES_MAX: i64 = 500;
/// How long runs that ended stay in control state; the dataset `runs` has them always.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// Beats until the runner has ended what it was at. `seen` is the number of the last change of which somebody heard.
pub(super) async fn beat(shared: Arc<Shared>, mut seen: i64) {
    let (mut others, mut strays, mut clocks) = (HashMap::new(), Vec::new(), Clocks::default());
    let mut is_failing = false;
    for count in 0_u64.. {
        if shared.closing.is_cancelled() && shared.at_work.lock().is_empty() {
            return;
        }
        let done = pulse(&shared, count, &mut seen, &mut others, &mut strays).await;
        if done.is_ok() && count.is_multiple_of(NOTE_EVERY) {
            compare_clocks(&shared, &mut clocks).await;
        }
        if done.is_err() {
            // While it could not look, others may have beaten; and they could not either.
            others.clear();
        }
        match &done {
            Ok(()) if is_failing => tracing::info!("the control database answers again"),
            Err(error) if !is_failing => {
                tracing::warn!(detail = error.detail(), "the control database does not answer");
            }
            _ => {}
        }
        is_failing = done.is_err();
        tokio::select! {
            () = tokio::time::sleep(PULSE) => {}
            () = shared.closing.cancelled(), if !shared.closing.is_cancelled() => {}
        }
    }
}

/// Queues the runs of schedules when they are due, until the runner ends: a commit to a dataset that one waits for is looked at at once.
pub(super) async fn look_at_the_clock(runner: Runner) {
    let shared = &runner.shared;
    // From before the first look, so that none is missed.
    let mut commits = shared.engine.commits().subscribe();
    while !shared.closing.is_cancelled() {
        let began = Instant::now();
        // What came until here is looked at now.
        while !matches!(commits.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        if let Err(error) = fire_due(&runner, runner.now()).await {
            tracing::debug!(detail = error.detail(), "schedules could not be looked at");
        }
        // A look that takes long is not taken all the time.
        let pause = began.elapsed().max(LOOK_AFTER);
        tokio::select! {
            () = tokio::time::sleep(CLOCK) => {}
            () = shared.clock.notified() => {}
            () = watched(shared, &mut commits) => tokio::time::sleep(pause).await,
            () = shared.closing.cancelled() => {}
        }
    }
}

impl Runner {
    /// Now, by the runner's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.shared.now()
    }

    /// Has the clock be looked at when one of these datasets changes, beside every second.
    pub(crate) fn watch(&self, datasets: HashSet<(TenantId, DatasetName)>) {
        *self.shared.watched.lock() = datasets;
    }
}

/// Comes back when a dataset changed whose changes a schedule waits for.
async fn watched(shared: &Shared, commits: &mut Receiver<Arc<CommitEvent>>) {
    loop {
        match commits.recv().await {
            Ok(commit) => {
                let dataset = (commit.tenant.clone(), commit.dataset.clone());
                if shared.watched.lock().contains(&dataset) {
                    return;
                }
            }
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

async fn pulse(
    shared: &Arc<Shared>,
    count: u64,
    seen: &mut i64,
    others: &mut HashMap<String, (i64, Instant)>,
    strays: &mut Vec<Lease>,
) -> Result<()> {
    follow(shared, seen).await?;
    if count.is_multiple_of(BEAT_EVERY) {
        say_that_it_lives(shared).await?;
    }
    if count.is_multiple_of(NOTE_EVERY) {
        note(shared).await?;
        put_back_strays(shared, strays).await?;
        end_what_is_overdue(shared).await?;
        bury(shared, others).await?;
    }
    if count % FORGET_EVERY == FORGET_EVERY - 1 {
        let before = shared.now() - KEPT;
        shared.records.store().forget(before.timestamp_micros()).await?;
    }
    Ok(())
}

/// Tells what others changed.
async fn follow(shared: &Shared, seen: &mut i64) -> Result<()> {
    let last = shared.records.store().last_change().await?;
    // Who comes to listen meanwhile hears of what came before, too.
    let is_heard = !shared.asked.lock().is_empty() || shared.updates.receiver_count() > 0;
    if !is_heard {
        *seen = last;
    }
    if last == *seen {
        return Ok(());
    }
    let changed = shared.records.store().changed(*seen, CHANGES_MAX).await?;
    for entry in changed {
        *seen = entry.change;
        let Ok(document) = Document::of(&entry) else { continue };
        let record = document.record;
        // Of these more is known here.
        if shared.at_work.lock().contains_key(&record.id) {
            continue;
        }
        shared.tell(record);
    }
    Ok(())
}

async fn say_that_it_lives(shared: &Shared) -> Result<()> {
    let worker = shared.worker.lock().id.clone();
    match shared.records.store().beat(&worker).await? {
        Some(to_cancel) => {
            for id in to_cancel.iter().filter_map(|id| id.parse::<RunId>().ok()) {
                if let Some(run) = shared.at_work.lock().get(&id) {
                    run.cancel();
                }
            }
        }
        None => {
            // Its runs are others' by now: what it still did would be done twice.
            tracing::error!("others took this process for dead; it lets go of its runs");
            for run in shared.at_work.lock().values() {
                run.cancellation.cancel();
            }
            let joined =
                join(&shared.engine, &shared.records, &shared.options, shared.device.as_ref())
                    .await?;
            *shared.worker.lock() = joined;
        }
    }
    Ok(())
}

/// Writes how far runs are, for who looks from elsewhere.
async fn note(shared: &Shared) -> Result<()> {
    let news: Vec<_> = {
        let at_work = shared.at_work.lock();
        let news = at_work.values().filter(|run| run.is_news.swap(false, Ordering::Relaxed));
        news.cloned().collect()
    };
    for run in news {
        let record = run.record.borrow().as_ref().clone();
        let document = Document { record, gpu: run.asked, grants: run.grants.clone() };
        shared.records.store().note(&run.lease, &document.to_text()?).await?;
    }
    Ok(())
}

/// Lets others have runs that this process is said to be at and is not, since an answer of the database was lost: those that were so
/// the last time, too.
async fn put_back_strays(shared: &Shared, strays: &mut Vec<Lease>) -> Result<()> {
    let worker = shared.worker.lock().id.clone();
    let mut held = shared.records.store().held(&worker).await?;
    held.retain(|lease| {
        let id = lease.id.parse::<RunId>().ok();
        !id.is_some_and(|id| shared.at_work.lock().contains_key(&id))
    });
    for lease in held.iter().filter(|lease| strays.contains(lease)) {
        if shared.records.store().put_back(lease).await? {
            tracing::warn!(run = lease.id, "a run that nobody was at waits again");
            shared.wake.notify_one();
        }
    }
    *strays = held;
    Ok(())
}

/// Ends runs that wait and should have ended by now.
async fn end_what_is_overdue(shared: &Shared) -> Result<()> {
    let now = shared.now();
    let overdue = shared.records.store().overdue(now.timestamp_micros(), CHANGES_MAX).await?;
    let has_cancelled = overdue.iter().any(|entry| entry.is_cancel_asked);
    let is_worked = has_cancelled && somebody_works(shared).await?;
    for entry in overdue {
        let Document { mut record, gpu, grants } = match Document::of(&entry) {
            Ok(document) => document,
            // It must not hold up the others.
            Err(error) => {
                tracing::error!(run = entry.id, detail = error.detail(), "a run can not be read");
                continue;
            }
        };
        let (state, code, says) = match entry.is_cancel_asked {
            // Who takes it finds what it had committed, and ends it.
            true if is_worked => continue,
            true => (
                RunState::Cancelled,
                Code::Cancelled,
                "the run was asked to stop, and the process ended that was at it; what it had committed by then stays",
            ),
            false => (
                RunState::Failed,
                Code::Timeout,
                "the deadline of the run passed while it waited for its turn; nothing was done",
            ),
        };
        record.state = state;
        record.finished_at = Some(now);
        record.error = Some(RunError::from(&Error::user(code, says)));
        let document = Document { record: record.clone(), gpu, grants }.to_text()?;
        let (state, ended_us) = (record.state.as_str(), now.timestamp_micros());
        if shared.records.store().end_waiting(&entry.id, state, ended_us, &document).await? {
            shared.tell(record);
            shared.ended.notify_one();
        }
    }
    Ok(())
}

/// Whether anybody takes runs that wait.
async fn somebody_works(shared: &Shared) -> Result<bool> {
    let workers = shared.records.store().workers().await?;
    Ok(workers.iter().any(|worker| worker.runs_max.is_some_and(|most| most > 0)))
}

/// Warns about processes whose clocks differ from this one's.
async fn compare_clocks(shared: &Shared, clocks: &mut Clocks) {
    let Ok(workers) = shared.records.store().workers().await else { return };
    for (worker, ahead) in clocks.differing(&workers, shared.now().timestamp_micros()) {
        tracing::warn!(
            worker = worker.label,
            ahead_seconds = ahead.num_seconds(),
            "the clock of another process differs: a schedule is due by the clock of the process that checks it first"
        );
    }
}

/// Takes the runs of workers that are gone.
async fn bury(shared: &Shared, others: &mut HashMap<String, (i64, Instant)>) -> Result<()> {
    let own = shared.worker.lock().id.clone();
    let workers = shared.records.store().workers().await?;
    others.retain(|id, _| workers.iter().any(|worker| worker.id == *id));
    let mut first = None;
    for worker in &workers {
        if worker.id == own || !is_gone(shared, worker, others) {
            // Those that take their own runs alone see to nothing else.
            first = first.or(worker.runs_max.map(|_| &worker.id));
            continue;
        }
        let taken = shared.records.store().dead(worker).await?;
        if taken > 0 {
            tracing::warn!(
                worker = worker.label,
                runs = taken,
                "took over the runs of a worker that is gone"
            );
            shared.wake.notify_one();
            shared.ended.notify_one();
        }
    }
    // Of several that could put files together the first that came does.
    shared.engine.leave_upkeep_to_others(first.is_some_and(|first| *first != own));
    Ok(())
}

fn is_gone(shared: &Shared, worker: &Worker, others: &mut HashMap<String, (i64, Instant)>) -> bool {
    if is_known_dead(&shared.engine, worker) {
        return true;
    }
    let (beat, since) =
        others.entry(worker.id.clone()).or_insert_with(|| (worker.beat, Instant::now()));
    if *beat != worker.beat {
        (*beat, *since) = (worker.beat, Instant::now());
    }
    since.elapsed() > LEASE
}
