//! Looks at the clock, at datasets and at runs, and queues what is due.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Code, Principal, Result, Role, TenantId};

use super::backfill::is_over;
use super::when::{CatchUp, Cron, Due, Tick, due, jitter};
use super::{Progress, Schedule, Trigger};
use crate::control::{ScheduleEntry, TickOf};
use crate::pipelines;
use crate::run::commits;
use crate::run::document::Document;
use crate::run::record::RunState;
use crate::run::runner::{RunRequest, Runner, can_pass};

/// A time that is at most so late is on time.
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// Commits of a dataset whose rows are counted; where there are more, there are enough.
const COMMITS_MAX: usize = 1_000;
/// Changes of runs that are looked at at once.
const RUNS_LOOKED_AT: i64 = 500;

/// Queues the runs of all schedules, of all tenants, that are due at `now`. Answers with how many it queued. What can not be queued
/// now, as where the store is away, is due the next time.
pub(crate) async fn fire_due(runner: &Runner, now: DateTime<Utc>) -> Result<u64> {
    let mut fired = 0;
    let entries = runner.store().schedules(None).await?;
    runner.watch(entries.iter().filter_map(changes_of).collect());
    for entry in entries {
        match fire(runner, &entry, now).await {
            Ok(runs) => fired += runs,
            // One that can not run must not hold up the others.
            Err(error) => tracing::warn!(
                tenant = entry.tenant,
                schedule = entry.name,
                detail = error.detail(),
                "a schedule is tried again"
            ),
        }
    }
    Ok(fired)
}

/// The dataset whose changes a schedule waits for.
fn changes_of(entry: &ScheduleEntry) -> Option<(TenantId, DatasetName)> {
    // What can't be read is told when it is due.
    let schedule = Schedule::of(entry).ok().filter(|_| !entry.is_paused)?;
    match schedule.trigger {
        Trigger::Change { on_change, .. } => Some((TenantId::new(&entry.tenant).ok()?, on_change)),
        _ => None,
    }
}

/// Queues what is due of one schedule. `entry` is as it was read, and may have been changed since.
pub(super) async fn fire(
    runner: &Runner,
    entry: &ScheduleEntry,
    now: DateTime<Utc>,
) -> Result<u64> {
    let schedule = Schedule::of(entry)?;
    let is_pipeline = !schedule.steps.is_empty();
    let begun = match is_pipeline {
        true => pipelines::advance(runner, entry, &schedule).await?,
        false => 0,
    };
    // What is due waits for the run of a pipeline that goes on.
    if entry.is_paused || (is_pipeline && pipelines::is_going_on(runner, entry).await?) {
        return Ok(begun);
    }
    if go_on(runner, entry, &schedule, now).await? {
        return Ok(begun + 1);
    }
    let fired = match &schedule.trigger {
        Trigger::Clock { catch_up, .. } => {
            let catch_up = catch_up.parse()?;
            fire_times(runner, entry, &schedule, catch_up, now).await
        }
        Trigger::Change { on_change, rows_min, every_seconds } => {
            let every = TimeDelta::seconds(i64::from(*every_seconds));
            fire_change(runner, entry, &schedule, (on_change, *rows_min, every), now).await
        }
        Trigger::After { after } => fire_after(runner, entry, &schedule, after, now).await,
        Trigger::Backfill { at_once, .. } => {
            fire_partitions(runner, entry, &schedule, *at_once, now).await
        }
        Trigger::ByHand { .. } => Ok(0),
    };
    fired.map(|fired| begun + fired)
}

/// A run for what the last one left, of a job that goes on from what was committed; whether there is one.
async fn go_on(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<bool> {
    let Some(job) = runner.jobs().get(&schedule.job).ok().filter(|job| job.runs_alone()) else {
        return Ok(false);
    };
    let last = runner.store().last_tick(&entry.tenant, &entry.name).await?;
    let Some(last) = last.filter(|last| !last.is_open) else { return Ok(false) };
    let run = runner.store().get(&entry.tenant, &last.run).await?;
    let run = run.as_ref().and_then(|run| Document::of(run).ok());
    if !run.is_some_and(|run| job.goes_on(&run.record.summary)) {
        return Ok(false);
    }
    let tick = Tick { due: now, logical: format!("after {}", last.run) };
    fire_tick(runner, entry, schedule, &tick, None).await
}

/// The times of a clock.
async fn fire_times(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    catch_up: CatchUp,
    now: DateTime<Utc>,
) -> Result<u64> {
    let Some(last) = DateTime::from_timestamp_micros(entry.up_to) else { return Ok(0) };
    let Some(times) = schedule.trigger.times()? else { return Ok(0) };
    if last >= now {
        return set_back(runner, entry, &times, (last, now)).await.map(|()| 0);
    }
    let Due { run, missed, up_to } = due(&times, last, now, catch_up, GRACE);
    if run.is_empty() && missed.count == 0 {
        return Ok(0);
    }
    // Of a pipeline one run goes on at a time.
    let (run, up_to) = match run.as_slice() {
        [first, _, ..] if !schedule.steps.is_empty() => (std::slice::from_ref(first), first.due),
        run => (run, up_to),
    };
    // What is made up for leaves room to others.
    let room = match run {
        [_, _, ..] => {
            let counts = runner.store().tick_counts(&entry.tenant, &entry.name).await?;
            runner.made_up_max().saturating_sub(Progress::of(0, &counts).open)
        }
        _ => 1,
    };
    let (run, up_to) = match run.get(..usize::try_from(room).unwrap_or_default()) {
        None => (run, up_to),
        Some([]) if !run.is_empty() => return Ok(0),
        Some(first) if first.len() == run.len() => (run, up_to),
        Some(first) => (first, first.last().map_or(last, |tick| tick.due)),
    };
    let mut fired = 0;
    for tick in run {
        fired += u64::from(fire_tick(runner, entry, schedule, tick, None).await?);
    }
    if missed.count > 0 {
        tracing::warn!(
            tenant = entry.tenant,
            schedule = entry.name,
            times = missed.count,
            "times of a schedule passed without a run"
        );
    }
    let missed = i64::try_from(missed.count).unwrap_or(i64::MAX);
    let up_to = up_to.timestamp_micros();
    runner.store().handled(&entry.tenant, &entry.name, up_to, missed).await?;
    Ok(fired)
}

/// Corrects a schedule whose times are handled up to an instant in the future, because a clock was ahead. Times that already
/// ran do not run again. Clocks of several processes may differ by [`GRACE`].
async fn set_back(
    runner: &Runner,
    entry: &ScheduleEntry,
    times: &Cron,
    (last, now): (DateTime<Utc>, DateTime<Utc>),
) -> Result<()> {
    let due = |after| times.next_after(after).map(|tick| tick.due);
    if last - now <= GRACE || due(now) == due(last) {
        return Ok(());
    }
    let up_to = now.timestamp_micros();
    if runner.store().place_schedule(&entry.tenant, &entry.name, Some(entry.up_to), up_to).await? {
        tracing::warn!(
            tenant = entry.tenant, schedule = entry.name, handled_up_to = %last, next = ?due(now),
            "the clock was ahead when a schedule last ran; its next time is corrected"
        );
    }
    Ok(())
}

/// What changed of a dataset, as one run.
async fn fire_change(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    (dataset, rows_min, every): (&DatasetName, u64, TimeDelta),
    now: DateTime<Utc>,
) -> Result<u64> {
    let who = owner(entry, schedule)?;
    let catalog = runner.engine().catalog(&who).await?;
    // One that is dropped may come back.
    let Some(there) = catalog.datasets.get(dataset) else { return Ok(0) };
    let newest = i64::try_from(there.version.0).unwrap_or(i64::MAX);
    let newer = newest.saturating_sub(entry.up_to);
    if newer < 0 {
        // Another of its name has begun anew.
        let from = Some(entry.up_to);
        runner.store().place_schedule(&entry.tenant, &entry.name, from, -1).await?;
    }
    let job = runner.jobs().get(&schedule.job).ok();
    let again = match &job {
        Some(job) => job.looks_again_after(&schedule.params)?,
        None => None,
    };
    if newer <= 0 && again.is_none() {
        return Ok(0);
    }
    let last = runner.store().last_tick(&entry.tenant, &entry.name).await?;
    let is_alone = job.is_some_and(|job| job.runs_alone());
    if is_alone && last.as_ref().is_some_and(|last| last.is_open) {
        return Ok(0);
    }
    let last = last.and_then(|last| DateTime::from_timestamp_micros(last.due_us));
    if newer <= 0 {
        let again = i64::from(again.unwrap_or(u32::MAX)).max(1);
        let is_soon = |last| (TimeDelta::zero()..TimeDelta::seconds(again)).contains(&(now - last));
        if last.is_some_and(is_soon) {
            return Ok(0);
        }
        // By whoever looks first in that time.
        let begins = now.timestamp().div_euclid(again) * again;
        let begins = DateTime::from_timestamp(begins, 0).unwrap_or(now);
        let logical = format!("{dataset}@{newest} at {}", begins.to_rfc3339());
        let tick = Tick { due: now, logical };
        return fire_tick(runner, entry, schedule, &tick, None).await.map(u64::from);
    }
    // By a clock that went back no run is put off for longer than usual.
    if last.is_some_and(|last| (TimeDelta::zero()..every).contains(&(now - last))) {
        return Ok(0);
    }
    let since = commits::after(runner.engine(), &who, dataset, entry.up_to, COMMITS_MAX).await?;
    let changes = since.iter().filter(|commit| commit.changes_rows);
    // Rows that went are a change, too.
    let rows: u64 = changes.map(|commit| commit.rows_added.unwrap_or(1).max(1)).sum();
    if rows == 0 && newer <= COMMITS_MAX as i64 {
        runner.store().handled(&entry.tenant, &entry.name, newest, 0).await?;
        return Ok(0);
    }
    if rows < rows_min && newer <= COMMITS_MAX as i64 {
        return Ok(0);
    }
    let moves = Some((entry.up_to, newest));
    let tick = Tick { due: now, logical: format!("{dataset}@{newest}") };
    if fire_tick(runner, entry, schedule, &tick, moves).await? {
        return Ok(1);
    }
    // Another was faster, or one of this name had such a version before, and was purged.
    let Some(made) = there.created_at else { return Ok(0) };
    let logical = format!("{} of {}", tick.logical, made.to_rfc3339());
    fire_tick(runner, entry, schedule, &Tick { logical, ..tick }, moves).await.map(u64::from)
}

/// A run for each of another that succeeded.
async fn fire_after(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    after: &str,
    now: DateTime<Utc>,
) -> Result<u64> {
    let store = runner.store();
    if store.last_change().await? <= entry.up_to {
        return Ok(0);
    }
    // A step of a pipeline is one, too.
    let is_schedule = after.contains('/')
        || store.schedules(Some(&entry.tenant)).await?.iter().any(|it| it.name == after);
    let mut fired = 0;
    let mut up_to = entry.up_to;
    for run in store.changed(entry.up_to, RUNS_LOOKED_AT).await? {
        up_to = up_to.max(run.change);
        if run.tenant != entry.tenant || run.state != RunState::Succeeded.as_str() {
            continue;
        }
        let record = match Document::of(&run) {
            Ok(document) => document.record,
            Err(error) => {
                tracing::error!(run = run.id, detail = error.detail(), "a run can not be read");
                continue;
            }
        };
        let is_it = match is_schedule {
            true => record.schedule.as_deref() == Some(after),
            // One that was done again as it was made nothing new.
            false => record.job == after && record.as_it_was.is_none(),
        };
        if is_it {
            let tick = Tick { due: now, logical: run.id.clone() };
            fired += u64::from(fire_tick(runner, entry, schedule, &tick, None).await?);
            // Of a pipeline one run goes on at a time.
            if fired > 0 && !schedule.steps.is_empty() {
                break;
            }
        }
    }
    store.handled(&entry.tenant, &entry.name, up_to, 0).await?;
    Ok(fired)
}

/// Whoever made it, as far as its runs go.
pub(crate) fn owner(entry: &ScheduleEntry, schedule: &Schedule) -> Result<Principal> {
    let tenant = TenantId::new(&entry.tenant)?;
    Ok(Principal::new(tenant, &*schedule.created_by, &[Role::Reader, Role::Operator]))
}

/// Queues the run of a time, unless it had one; one that can not begin is recorded as failed.
async fn fire_tick(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    tick: &Tick,
    moves: Option<(i64, i64)>,
) -> Result<bool> {
    let who = owner(entry, schedule)?;
    let seconds = match &schedule.trigger {
        Trigger::Clock { jitter_seconds, .. } => *jitter_seconds,
        _ => 0,
    };
    let most = TimeDelta::seconds(i64::from(seconds));
    let id = format!("{}/{}", entry.tenant, entry.name);
    let due_us = (tick.due + jitter(&id, &tick.logical, most)).timestamp_micros();
    let tick = TickOf {
        tenant: entry.tenant.clone(),
        schedule: entry.name.clone(),
        logical: tick.logical.clone(),
        due_us: tick.due.timestamp_micros(),
        moves,
        also_paused: false,
    };
    if !schedule.steps.is_empty() {
        return pipelines::begin(runner, entry, schedule, &tick).await;
    }
    let request = schedule.request(schedule.params.clone());
    Ok(fire_run(runner, &who, request, &tick, due_us).await? != Begun::Not)
}

/// What became of the run of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It waits.
    Queued,
    /// It could not begin, and is recorded as failed.
    InVain,
    /// The tick had one.
    Not,
}

/// Queues a run for a tick, unless it had one.
pub(crate) async fn fire_run(
    runner: &Runner,
    who: &Principal,
    request: RunRequest,
    tick: &TickOf,
    due_us: i64,
) -> Result<Begun> {
    let mut document = match runner.prepare(who, request.clone()).await {
        Ok(document) => document,
        // It is due still when that has passed, or when a runner is there again.
        Err(error) if can_pass(&error) || error.code() == Code::Cancelled => return Err(error),
        Err(error) => runner.prepared_in_vain(who, request, &error),
    };
    runner.schedule_as(&mut document, &tick.schedule, &tick.logical)?;
    let begun = match document.record.state.is_final() {
        true => Begun::InVain,
        false => Begun::Queued,
    };
    match runner.fire(who, tick, document, due_us).await? {
        true => Ok(begun),
        false => Ok(Begun::Not),
    }
}

/// The next partitions of a backfill, while fewer of it are open than may be.
async fn fire_partitions(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    at_once: u32,
    now: DateTime<Utc>,
) -> Result<u64> {
    if is_over(entry.up_to) {
        return Ok(0);
    }
    let (store, who) = (runner.store(), owner(entry, schedule)?);
    // Before it is counted what is open: who is behind another tries a partition that has its run, and stops.
    let ticks = store.ticks(&entry.tenant, &entry.name, i64::MAX).await?;
    let begun: HashSet<&str> = ticks.iter().map(|tick| tick.logical.as_str()).collect();
    let mut left = schedule.trigger.partitions()?;
    left.retain(|named| !begun.contains(named.logical.as_str()));
    if left.is_empty() {
        store.handled(&entry.tenant, &entry.name, entry.up_to + 1, 0).await?;
        return Ok(0);
    }
    let counts = store.tick_counts(&entry.tenant, &entry.name).await?;
    let open = Progress::of(0, &counts).open;
    let room = usize::try_from(u64::from(at_once).saturating_sub(open)).unwrap_or_default();
    let mut fired = 0;
    for named in left.iter().take(room) {
        let params = runner.jobs().of_partition(&schedule.job, &schedule.params, named.partition);
        let request = schedule.request(params?);
        let tick = TickOf {
            tenant: entry.tenant.clone(),
            schedule: entry.name.clone(),
            logical: named.logical.clone(),
            due_us: now.timestamp_micros(),
            moves: None,
            also_paused: false,
        };
        match fire_run(runner, &who, request, &tick, 0).await? {
            Begun::Not => break,
            Begun::Queued | Begun::InVain => fired += 1,
        }
    }
    Ok(fired)
}
