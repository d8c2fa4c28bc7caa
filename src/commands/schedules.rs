//! `colonnade schedule` and `colonnade schedules`: when jobs run by themselves.

use std::path::Path;

use chrono::{DateTime, Utc};
use datasets::DatasetName;
use engine::{Code, Engine, Error, Result};
use jobs::{Runner, Schedule, ScheduleState, Trigger};

use super::run::{Works, params, start_runner};
use super::runs::ID_SHOWN;
use super::{close, open_to_read, open_to_run};
use crate::cli::{ScheduleCommand, Schedules, When};
use crate::config::Settings;
use crate::output::{Output, columns};

/// Adds, pauses, resumes or removes one.
pub async fn change(
    arguments: crate::cli::Schedule,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    with_runner(settings, "colonnade schedule", async |runner| {
        let who = settings.principal()?;
        match arguments.command {
            ScheduleCommand::Add(add) => {
                let add = *add;
                let gpu = add.gpu.map(|word| word.parse().map_err(Error::from)).transpose()?;
                let schedule = Schedule {
                    name: add.name,
                    job: add.job,
                    params: params(&add.params)?,
                    gpu,
                    steps: Vec::new(),
                    trigger: trigger(add.when)?,
                    priority: add.priority,
                    created_by: who.subject.clone(),
                    created_at: Utc::now(),
                };
                let made = runner.add_schedule(&who, schedule).await?;
                let first = first(&made, "first");
                tell(output, &made, &format!("{first}, by a server or worker on this root"))
            }
            ScheduleCommand::Pause(named) => {
                let paused = runner.pause_schedule(&who, &named.name).await?;
                tell(output, &paused, "it is paused; times that pass meanwhile are not made up for")
            }
            ScheduleCommand::Resume(named) => {
                let resumed = runner.resume_schedule(&who, &named.name).await?;
                let next = first(&resumed, "next");
                tell(output, &resumed, &next)
            }
            ScheduleCommand::Run(named) => {
                let run = runner.run_schedule(&who, &named.name).await?;
                match output.is_json() {
                    true => output.document(&serde_json::json!({ "run": run })),
                    false => output.line(&format!(
                        "schedule {}: run {run} is queued; a server or worker on this root executes it",
                        named.name
                    )),
                }
            }
            ScheduleCommand::Reset(named) => {
                let reset = runner.reset_schedule(&who, &named.name).await?;
                let next = first(&reset, "next");
                tell(output, &reset, &next)
            }
            ScheduleCommand::Remove(named) => {
                let last = runner.schedule(&who, &named.name).await?;
                let wait = runner.remove_schedule(&who, &named.name).await?;
                tell(output, &last, &removed(&wait))
            }
        }
    })
    .await
}

/// What is said of one that is removed, which these come after.
pub(super) fn removed(wait: &[String]) -> String {
    match wait.is_empty() {
        true => "it is removed; its runs stay".to_owned(),
        false => format!(
            "it is removed; its runs stay. {} came after it, and waits until there is one of its name again",
            wait.join(", ")
        ),
    }
}

/// Lists them, or shows one.
pub async fn schedules(arguments: Schedules, settings: &Settings, output: &Output) -> Result<()> {
    require_kept(settings.data())?;
    let who = settings.principal()?;
    // Read-only control state is enough for a list.
    let engine = open_to_read(settings).await?;
    let control = settings.control();
    let all = jobs::recorded_schedules(&engine, control.as_deref(), &who).await;
    let all = close(&engine, all).await?;
    if let Some(name) = &arguments.name {
        let found = all.iter().find(|state| state.schedule.name == *name);
        let state = found.ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|state| state.schedule.name.as_str()).collect();
            jobs::no_such_schedule(name, &names)
        })?;
        let times = state.schedule.trigger.next_times(Utc::now(), arguments.next as usize)?;
        if output.is_json() {
            return output.document(&serde_json::json!({ "schedule": state, "next_times": times }));
        }
        output.line(&table(std::slice::from_ref(state), None))?;
        if times.is_empty() {
            return Ok(());
        }
        let rows: Vec<Vec<String>> =
            times.iter().map(|time| vec![shown(Some(time.at)), time.local.clone()]).collect();
        return output.line(&format!("\n{}", columns(&["next (UTC)", "on its clock"], &rows)));
    }
    if output.is_json() {
        return output.document(&all);
    }
    match all.is_empty() {
        true => output.line("no schedules yet; `colonnade schedule add` adds one"),
        false => output.line(&table(&all, output.columns())),
    }
}

/// Fails for a root in memory, which does not outlive this command.
fn require_kept(data: &str) -> Result<()> {
    match data.starts_with("memory:") {
        true => {
            let says =
                "it does not outlive this command; expected a folder or the URL of an object store";
            Err(Error::user(Code::BadInput, format!("data {data}: {says}")))
        }
        false => Ok(()),
    }
}

/// A runner beside others, which works at nothing.
pub(super) async fn with_runner<T>(
    settings: &Settings,
    label: &str,
    work: impl AsyncFnOnce(&Runner) -> Result<T>,
) -> Result<T> {
    let data = settings.data();
    require_kept(data)?;
    // A folder that is not there is not made by looking at what waits in it.
    if !data.contains("://") && !Path::new(data).exists() {
        let opened = open_to_read(settings).await?;
        close(&opened, Ok(())).await?;
    }
    let engine = open_to_run(settings, label).await?;
    let done = with_runner_of(&engine, settings, label, work).await;
    close(&engine, done).await
}

/// The same on an engine that is open.
pub(super) async fn with_runner_of<T>(
    engine: &Engine,
    settings: &Settings,
    label: &str,
    work: impl AsyncFnOnce(&Runner) -> Result<T>,
) -> Result<T> {
    let runner = start_runner(engine, settings, Works::Own, label.to_owned()).await?;
    let done = work(&runner).await;
    runner.shutdown().await;
    done
}

fn tell(output: &Output, state: &ScheduleState, says: &str) -> Result<()> {
    match output.is_json() {
        true => output.document(state),
        false => output.line(&format!("schedule {}: {says}", state.schedule.name)),
    }
}

/// Letters of what a schedule waits for that a list shows, however narrow the terminal is.
const RUNS_SHOWN_MIN: usize = 12;

/// The schedules, on so many columns where that is said: what they wait for is cut.
fn table(states: &[ScheduleState], room: Option<usize>) -> String {
    let row = |state: &ScheduleState| {
        let schedule = &state.schedule;
        let next = match (state.is_paused, &schedule.trigger) {
            (true, _) => "paused".to_owned(),
            (false, _) if state.progress.is_some_and(|progress| progress.is_over()) => {
                "-".to_owned()
            }
            (false, Trigger::Backfill { .. }) => "now".to_owned(),
            (false, Trigger::Clock { .. }) => shown(state.next_at),
            (false, _) => "-".to_owned(),
        };
        vec![
            schedule.name.clone(),
            schedule.job.clone(),
            schedule.trigger.says(),
            next,
            match (state.last_same_as, state.last_state) {
                (Some(run), _) => {
                    let run: String = run.to_string().chars().take(ID_SHOWN).collect();
                    format!("unchanged, same as {run}")
                }
                (None, Some(state)) => state.to_string(),
                (None, None) => "-".to_owned(),
            },
            state.missed.to_string(),
            state.progress.map(|progress| progress.says()).unwrap_or_default(),
        ]
    };
    let mut rows: Vec<Vec<String>> = states.iter().map(row).collect();
    let mut header = vec!["schedule", "job", "runs", "next (UTC)", "last", "missed", "done"];
    if states.iter().all(|state| state.progress.is_none()) {
        header.pop();
        rows.iter_mut().for_each(|row| row.truncate(header.len()));
    }
    let width = columns(&header, &rows).lines().map(|line| line.chars().count()).max();
    let too_much = room.map_or(0, |room| width.unwrap_or(0).saturating_sub(room));
    if too_much > 0 {
        let longest = rows.iter().map(|row| row[2].chars().count()).max().unwrap_or(0);
        let most = longest.saturating_sub(too_much).max(RUNS_SHOWN_MIN);
        for says in rows.iter_mut().map(|row| &mut row[2]).filter(|of| of.chars().count() > most) {
            *says = says.chars().take(most - 1).chain(['…']).collect();
        }
    }
    columns(&header, &rows)
}

fn trigger(when: When) -> Result<Trigger> {
    let When { cron, zone, catch_up, jitter: jitter_seconds, .. } = when;
    Ok(match (cron, when.on_change, when.after) {
        (_, Some(dataset), _) => Trigger::Change {
            on_change: DatasetName::new(&dataset)?,
            rows_min: when.at_least.unwrap_or(1),
            every_seconds: when.every.unwrap_or(60),
        },
        (_, _, Some(after)) => Trigger::After { after },
        (cron, None, None) => {
            let cron = cron.unwrap_or_default();
            Trigger::Clock { cron, zone, catch_up, jitter_seconds }
        }
    })
}

/// When it runs for the first time, or the next.
fn first(state: &ScheduleState, which: &str) -> String {
    match &state.schedule.trigger {
        Trigger::Clock { .. } => format!("it runs {which} at {} UTC", shown(state.next_at)),
        Trigger::Change { on_change, rows_min: 1, .. } => {
            format!("it runs {which} when {on_change} changes")
        }
        Trigger::Change { on_change, rows_min, .. } => {
            format!("it runs {which} when {rows_min} rows of {on_change} have changed")
        }
        Trigger::Backfill { .. } => {
            let progress = state.progress.unwrap_or_default();
            format!("{} done, the {which} is due now", progress.says())
        }
        Trigger::After { after } => {
            format!("it runs {which} after the next run of {after} that succeeds")
        }
        Trigger::ByHand { .. } => "it runs when it is told to".to_owned(),
    }
}

fn shown(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| at.format("%Y-%m-%d %H:%M").to_string())
}
