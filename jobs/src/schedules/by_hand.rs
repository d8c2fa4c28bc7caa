//! Immediate actions of an operator: run a schedule, reset its next time, cancel a backfill.

use std::collections::BTreeSet;

use engine::{Code, Error, Principal, Result, Role, RunId};
use futures::future::join_all;

use super::{Schedule, ScheduleState, Trigger};
use crate::control::{Pause, TickOf};
use crate::run::record::RunState;
use crate::run::runner::{Runner, requests};

/// Most ticks of a schedule that are searched for open runs. A backfill has no more partitions.
const TICKS_MAX: i64 = 10_000;
/// How often a backfill is searched for runs that a server started during the cancellation.
const ROUNDS_MAX: usize = 10;

impl Runner {
    /// Queues a run of a schedule now, even if it is paused. The schedule's next time does not
    /// change.
    pub async fn run_schedule(&self, who: &Principal, name: &str) -> Result<RunId> {
        who.require(Role::Operator)?;
        if let Some(run) = requests::next_before() {
            return Ok(run);
        }
        let schedule = self.schedule(who, name).await?.schedule;
        require_single(&schedule)?;
        let now = self.now();
        let tick = TickOf {
            tenant: who.tenant.to_string(),
            schedule: schedule.name.clone(),
            logical: format!("by hand at {}", now.to_rfc3339()),
            due_us: now.timestamp_micros(),
            moves: None,
            also_paused: true,
        };
        let mut document = self.prepare(who, schedule.request(schedule.params.clone())).await?;
        self.schedule_as(&mut document, &tick.schedule, &tick.logical)?;
        let run = document.record.id;
        requests::queues(run);
        match self.fire(who, &tick, document, 0).await? {
            true => Ok(run),
            false => {
                let says = format!(
                    "schedule {name}: it already has a run at this instant, or was removed"
                );
                Err(Error::user(Code::Conflict, says))
            }
        }
    }

    /// Moves the next time of a schedule to the first one after now. Missed times are not made up for.
    pub async fn reset_schedule(&self, who: &Principal, name: &str) -> Result<ScheduleState> {
        who.require(Role::Operator)?;
        let trigger = self.schedule(who, name).await?.schedule.trigger;
        if matches!(trigger, Trigger::Backfill { .. }) {
            return Err(no_backfill(name));
        }
        let up_to = self.place_now(who, &trigger).await?;
        self.store().place_schedule(who.tenant.as_str(), name, None, up_to).await?;
        self.schedule(who, name).await
    }

    /// Pauses a backfill and cancels the runs of its open partitions. Requesting the same backfill again continues it.
    pub async fn cancel_backfill(&self, who: &Principal, name: &str) -> Result<ScheduleState> {
        who.require(Role::Operator)?;
        let schedule = self.schedule(who, name).await?.schedule;
        if !matches!(schedule.trigger, Trigger::Backfill { .. }) {
            let says = format!(
                "schedule {name}: expected a backfill, found one that runs {}; `colonnade schedule pause` stops its times",
                schedule.trigger.says()
            );
            return Err(Error::user(Code::BadInput, says));
        }
        let tenant = who.tenant.as_str();
        self.store().pause_schedule(tenant, name, Pause::Begin).await?;
        let mut asked = BTreeSet::new();
        // A server may have started a partition before it saw the pause.
        for _ in 0..ROUNDS_MAX {
            let ticks = self.store().ticks(tenant, name, TICKS_MAX).await?;
            let is_open = |state: &str| {
                state == RunState::Queued.as_str() || state == RunState::Running.as_str()
            };
            let open = ticks.iter().filter(|tick| tick.state.as_deref().is_some_and(is_open));
            let open = open.map(|tick| tick.run.parse()).collect::<Result<BTreeSet<RunId>>>()?;
            let new: Vec<RunId> = open.difference(&asked).copied().collect();
            if new.is_empty() {
                break;
            }
            for cancelled in join_all(new.iter().map(|run| self.cancel(who, *run))).await {
                match cancelled {
                    // The run has already ended.
                    Err(error) if error.code() == Code::Conflict => {}
                    cancelled => drop(cancelled?),
                }
            }
            asked.extend(new);
        }
        self.schedule(who, name).await
    }
}

fn require_single(schedule: &Schedule) -> Result<()> {
    let name = &schedule.name;
    if !schedule.steps.is_empty() {
        let says =
            format!("schedule {name} is a pipeline; `colonnade pipeline run {name}` runs it");
        return Err(Error::user(Code::BadInput, says));
    }
    match schedule.trigger {
        Trigger::Backfill { .. } => Err(no_backfill(name)),
        _ => Ok(()),
    }
}

fn no_backfill(name: &str) -> Error {
    let says = format!(
        "schedule {name} is a backfill, whose partitions have no times; `colonnade backfill` with the same arguments continues it"
    );
    Error::user(Code::BadInput, says)
}
