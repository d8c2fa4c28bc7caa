//! Schedules as stored in control state, also for callers without a runner.

use chrono::{DateTime, Utc};
use engine::{Engine, Principal, Result, Role};
use futures::future::BoxFuture;

use super::backfill::Progress;
use super::{Schedule, ScheduleState};
use crate::control::{ControlStore, ScheduleEntry};
use crate::run::document::Document;
use crate::run::record::now;
use crate::run::records::Records;

/// The tenant's schedules by name, for callers without a runner or with read-only control state. `control` is that of the
/// runners ([`RunnerOptions::control`](crate::RunnerOptions::control)).
pub fn recorded_schedules<'a>(
    engine: &'a Engine,
    control: Option<&'a str>,
    who: &'a Principal,
) -> BoxFuture<'a, Result<Vec<ScheduleState>>> {
    Box::pin(async move {
        who.require(Role::Reader)?;
        let Some(records) = Records::open_if_there(engine, control).await? else {
            return Ok(Vec::new());
        };
        let store = records.store();
        let states = async {
            let mut states = Vec::new();
            for entry in store.schedules(Some(who.tenant.as_str())).await? {
                states.push(state_of(store, now(), &entry).await?);
            }
            Ok(states)
        };
        let states: Result<Vec<ScheduleState>> = states.await;
        store.close().await;
        states
    })
}

/// The state of a schedule at an instant.
pub(super) async fn state_of(
    store: &dyn ControlStore,
    now: DateTime<Utc>,
    entry: &ScheduleEntry,
) -> Result<ScheduleState> {
    let schedule = Schedule::of(entry)?;
    let next_at = match schedule.trigger.times()? {
        // Counts from the current clock, because times that a wrong clock handled are corrected.
        Some(times) => times.next_after(now).map(|tick| tick.due),
        None => None,
    };
    let progress = match schedule.trigger.partitions()?.len() {
        0 => None,
        total => {
            let counts = store.tick_counts(&entry.tenant, &entry.name).await?;
            Some(Progress::of(total, &counts))
        }
    };
    let last = store.ticks(&entry.tenant, &entry.name, 1).await?.pop();
    let last_same_as = match &last {
        Some(tick) => {
            let run = store.get(&entry.tenant, &tick.run).await?;
            let run = run.as_ref().and_then(|run| Document::of(run).ok());
            run.and_then(|run| run.record.nothing_written())
        }
        None => None,
    };
    let last_state = last.and_then(|tick| tick.state).map(|state| state.parse()).transpose()?;
    Ok(ScheduleState {
        last_state,
        last_same_as,
        next_at: next_at.filter(|_| !entry.is_paused),
        is_paused: entry.is_paused,
        missed: u64::try_from(entry.missed).unwrap_or_default(),
        progress,
        schedule,
    })
}
