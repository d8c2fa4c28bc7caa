//! Begins what can begin of a pipeline, and says when nothing can any more.

use std::collections::HashMap;

use engine::{Principal, Result, RunId};

use super::{Graph, goes_on, of_step, state_of};
use crate::control::{ScheduleEntry, TickOf, TickState};
use crate::run::record::RunState;
use crate::run::runner::Runner;
use crate::schedules::{Begun, Schedule, fire_run, owner};

/// Whether a run of a pipeline goes on.
pub(crate) async fn is_going_on(runner: &Runner, entry: &ScheduleEntry) -> Result<bool> {
    Ok(!runner.store().open_ticks(&entry.tenant, &entry.name).await?.is_empty())
}

/// Begins a run of a pipeline for something that is due, unless it had one.
pub(crate) async fn begin(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
    tick: &TickOf,
) -> Result<bool> {
    let begun = runner.store().begin_tick(tick, &RunId::new().to_string()).await?;
    if begun {
        advance(runner, entry, schedule).await?;
    } else if is_going_on(runner, entry).await? {
        // Somebody began one just now: it is due still.
        return Err(goes_on(&schedule.name, None));
    }
    Ok(begun)
}

/// Queues the steps that can begin in the runs that go on, and ends those of which none can. Answers with how many it queued.
pub(crate) async fn advance(
    runner: &Runner,
    entry: &ScheduleEntry,
    schedule: &Schedule,
) -> Result<u64> {
    let open = runner.store().open_ticks(&entry.tenant, &entry.name).await?;
    if open.is_empty() {
        return Ok(0);
    }
    let graph = Graph::of(&schedule.name, &schedule.steps, runner.jobs())?;
    let who = owner(entry, schedule)?;
    let mut begun = 0;
    for tick in open {
        begun += advance_run(runner, &who, schedule, &graph, &tick).await?;
    }
    Ok(begun)
}

async fn advance_run(
    runner: &Runner,
    who: &Principal,
    schedule: &Schedule,
    graph: &Graph,
    tick: &TickState,
) -> Result<u64> {
    let (store, tenant) = (runner.store(), who.tenant.as_str());
    let mut begun = 0;
    loop {
        let ticks = store.ticks_of(tenant, &tick.run).await?;
        let mut states: HashMap<&str, RunState> = HashMap::new();
        for node in &graph.nodes {
            let of = of_step(&schedule.name, &node.step.name);
            if let Some(tick) = ticks.iter().find(|tick| tick.schedule == of) {
                states.insert(&node.step.name, state_of(tick)?);
            }
        }
        let is_done = |step: &str| states.get(step) == Some(&RunState::Succeeded);
        let can_begin = graph.nodes.iter().filter(|node| {
            let name = node.step.name.as_str();
            !states.contains_key(name) && graph.before(name).all(is_done)
        });
        let mut is_new = false;
        for node in can_begin {
            let step = &node.step;
            // What was made by another process may not have been heard of here.
            for dataset in &node.inputs {
                runner.engine().look_for(who, dataset, None).await?;
            }
            let request = schedule.request_of(step);
            let of = TickOf {
                tenant: tenant.to_owned(),
                schedule: of_step(&schedule.name, &step.name),
                logical: tick.run.clone(),
                due_us: runner.now().timestamp_micros(),
                moves: None,
                also_paused: true,
            };
            match fire_run(runner, who, request, &of, 0).await? {
                Begun::Queued => begun += 1,
                // Others may be able to begin, or none.
                Begun::InVain => is_new = true,
                Begun::Not => {}
            }
        }
        if is_new {
            continue;
        }
        let is = |state: RunState| states.values().any(|of| *of == state);
        let ended = match () {
            () if begun > 0 || is(RunState::Queued) || is(RunState::Running) => None,
            () if is(RunState::Failed) => Some(RunState::Failed),
            () if is(RunState::Cancelled) => Some(RunState::Cancelled),
            () if graph.nodes.iter().all(|node| is_done(&node.step.name)) => {
                Some(RunState::Succeeded)
            }
            // Another began some just now.
            () => None,
        };
        if let Some(ended) = ended {
            // Steps that were taken out of the pipeline meanwhile are no part of what is done.
            let is_done = ended == RunState::Succeeded;
            store.end_tick(tenant, &tick.run, Some((ended.as_str(), is_done))).await?;
        }
        return Ok(begun);
    }
}
