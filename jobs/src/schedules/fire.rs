//! Looks at the clock and queues what is due.

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Code, Principal, Result, Role, TenantId};

use super::Schedule;
use super::when::{Due, Tick, due, jitter};
use crate::control::{ScheduleEntry, TickOf};
use crate::run::runner::{Runner, can_pass};

/// A time that is at most so late is on time.
const GRACE: TimeDelta = TimeDelta::seconds(60);

/// Queues the runs of all schedules, of all tenants, that are due at `now`. Answers with how many it queued. What can not be queued
/// now, as where the store is away, is due the next time.
pub(crate) async fn fire_due(runner: &Runner, now: DateTime<Utc>) -> Result<u64> {
    let mut fired = 0;
    for entry in runner.store().schedules(None).await? {
        if entry.is_paused {
            continue;
        }
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

async fn fire(runner: &Runner, entry: &ScheduleEntry, now: DateTime<Utc>) -> Result<u64> {
    let Some(last) = DateTime::from_timestamp_micros(entry.up_to_us) else { return Ok(0) };
    if last >= now {
        return Ok(0);
    }
    let schedule = Schedule::of(entry)?;
    let Due { run, missed, up_to } =
        due(&schedule.times()?, last, now, schedule.catch_up()?, GRACE);
    if run.is_empty() && missed.count == 0 {
        return Ok(0);
    }
    let mut fired = 0;
    for tick in &run {
        fired += u64::from(fire_tick(runner, entry, &schedule, tick).await?);
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
    let up_to_us = up_to.timestamp_micros();
    runner.store().handled(&entry.tenant, &entry.name, up_to_us, missed).await?;
    Ok(fired)
}

/// Queues the run of a time, unless it had one; one that can not begin is recorded as failed.
async fn fire_tick(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    tick: &Tick,
) -> Result<bool> {
    let who = Principal {
        tenant: TenantId::new(&entry.tenant)?,
        subject: schedule.created_by.clone(),
        roles: vec![Role::Reader, Role::Operator],
    };
    let mut document = match runner.prepare(&who, schedule.request()).await {
        Ok(document) => document,
        // It is due still when that has passed, or when a runner is there again.
        Err(error) if can_pass(&error) || error.code() == Code::Cancelled => return Err(error),
        Err(error) => runner.prepared_in_vain(&who, schedule.request(), &error),
    };
    document.record.schedule = Some(schedule.name.clone());
    document.record.logical_time = Some(tick.logical.clone());
    let most = TimeDelta::seconds(i64::from(schedule.jitter_seconds));
    let id = format!("{}/{}", entry.tenant, entry.name);
    let due_us = (tick.due + jitter(&id, &tick.logical, most)).timestamp_micros();
    let tick = TickOf {
        tenant: entry.tenant.clone(),
        schedule: entry.name.clone(),
        logical: tick.logical.clone(),
        due_us: tick.due.timestamp_micros(),
    };
    runner.fire(&who, &tick, document, due_us).await
}
