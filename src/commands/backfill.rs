//! `colonnade backfill`: a job over each day or hour of the past.

use std::time::Duration;

use engine::{Code, Engine, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use jobs::{Backfill, Runner, ScheduleState};

use super::run::{Works, params, start_runner};
use super::schedules::with_runner_of;
use super::{close, open_to_run, stop_signal};
use crate::config::Settings;
use crate::output::Output;

/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What this process is to others.
const LABEL: &str = "colonnade backfill";

/// Begins one or has it go on, and sees it to its end where it is waited for or where nobody else would do it.
pub async fn backfill(
    arguments: crate::cli::Backfill,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let asked = Backfill {
        name: arguments.name,
        job: arguments.job,
        params: params(&arguments.params)?,
        gpu: arguments.gpu.map(|word| word.parse().map_err(Error::from)).transpose()?,
        from: arguments.from,
        to: arguments.to,
        every: arguments.every.parse()?,
        zone: arguments.zone,
        at_once: arguments.at_once,
    };
    let engine = open_to_run(settings, LABEL).await?;
    let state = begin(&engine, &asked, arguments.wait, settings, output).await;
    let state = close(&engine, state).await?;
    let progress = state.progress.unwrap_or_default();
    let name = &state.schedule.name;
    match output.is_json() {
        true => output.document(&state)?,
        false => output.line(&format!("backfill {name}: {} done", progress.says()))?,
    }
    match progress.is_over() && progress.failed > 0 {
        true => Err(Error::user(
            Code::BadInput,
            format!(
                "backfill {name}: {} of {} partitions failed; `colonnade runs --job {}` says why, and the same command again runs those",
                progress.failed, progress.total, state.schedule.job
            ),
        )),
        false => Ok(()),
    }
}

async fn begin(
    engine: &Engine,
    asked: &Backfill,
    wait: bool,
    settings: &Settings,
    output: &Output,
) -> Result<ScheduleState> {
    let who = settings.principal()?;
    let (state, is_worked_at) = with_runner_of(engine, settings, LABEL, async |runner| {
        let state = runner.backfill(&who, asked).await?;
        let workers = runner.workers().await?;
        let is_worked_at = workers.iter().any(|worker| worker.runs_max.is_some_and(|n| n > 0));
        if is_worked_at && wait {
            return Ok((see_to_its_end(runner, settings, state, output).await?, true));
        }
        Ok((state, is_worked_at))
    })
    .await?;
    if is_worked_at {
        return Ok(state);
    }
    // Nobody is there to do it: this process works as a worker does until it is over.
    let runner = start_runner(engine, settings, Works::Working, LABEL.to_owned()).await?;
    let done = see_to_its_end(&runner, settings, state, output).await;
    runner.shutdown().await;
    done
}

/// Waits for its end, or for the request to stop.
async fn see_to_its_end(
    runner: &Runner,
    settings: &Settings,
    mut state: ScheduleState,
    output: &Output,
) -> Result<ScheduleState> {
    let who = settings.principal()?;
    let total = state.progress.unwrap_or_default().total;
    let bar = output.shows_progress().then(|| ProgressBar::new(total));
    if let Some(bar) = &bar
        && let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {elapsed}")
    {
        bar.set_style(style);
    }
    let stop = stop_signal();
    let mut stop = std::pin::pin!(stop);
    let ended = loop {
        let progress = state.progress.unwrap_or_default();
        if let Some(bar) = &bar {
            bar.set_message(format!("{}: {}", state.schedule.name, progress.says()));
            bar.set_position(progress.done + progress.failed);
        }
        if progress.is_over() {
            break Ok(state);
        }
        if state.is_paused {
            output.note("it is paused; `colonnade schedule resume` has it go on");
            break Ok(state);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.as_mut() => {
                output.note("it stays as it is; the same command again has it go on");
                break Ok(state);
            }
        }
        state = match runner.schedule(&who, &state.schedule.name).await {
            Ok(state) => state,
            Err(error) => break Err(error),
        };
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ended
}
