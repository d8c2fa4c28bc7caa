//! `colonnade backfill`: a job over each day or hour of the past.

use engine::{Code, Error, Principal, Result};
use jobs::{Backfill, Runner, ScheduleState};

use super::run::params;
use super::schedules::with_runner;
use super::together::{self, Course};
use super::{close, open_to_run};
use crate::cli::{BackfillCommand, ScheduleNamed};
use crate::config::Settings;
use crate::output::Output;

/// What this process is to others.
const LABEL: &str = "colonnade backfill";

/// Begins one or has it go on, and sees it to its end where it is waited for or where nobody else would do it.
pub async fn backfill(
    arguments: crate::cli::Backfill,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    if let Some(BackfillCommand::Cancel(named)) = arguments.command {
        return cancel(&named, settings, output).await;
    }
    let asked = Backfill {
        name: arguments.name,
        job: arguments.job.unwrap_or_default(),
        params: params(&arguments.params)?,
        gpu: arguments.gpu.map(|word| word.parse().map_err(Error::from)).transpose()?,
        from: arguments.from.unwrap_or_default(),
        to: arguments.to.unwrap_or_default(),
        every: arguments.every.parse()?,
        zone: arguments.zone,
        at_once: arguments.at_once,
    };
    let engine = open_to_run(settings, LABEL).await?;
    let who = settings.principal()?;
    let begin = async |runner: &Runner| {
        let state = runner.backfill(&who, &asked).await?;
        Ok(Begun { state, who: who.clone() })
    };
    let begun = together::begin(&engine, settings, LABEL, arguments.wait, output, begin).await;
    let state = close(&engine, begun).await?.state;
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

/// Pauses a backfill and cancels its open runs.
async fn cancel(named: &ScheduleNamed, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let state = with_runner(settings, "colonnade backfill cancel", async |runner| {
        runner.cancel_backfill(&who, &named.name).await
    })
    .await?;
    match output.is_json() {
        true => output.document(&state),
        false => {
            let progress = state.progress.unwrap_or_default();
            output.line(&format!(
                "backfill {}: cancelled, {} done; `colonnade backfill` with the same arguments continues it",
                named.name,
                progress.says()
            ))
        }
    }
}

/// A backfill and who asked for it.
struct Begun {
    state: ScheduleState,
    who: Principal,
}

impl Course for Begun {
    fn says(&self) -> String {
        let progress = self.state.progress.unwrap_or_default();
        format!("{}: {}", self.state.schedule.name, progress.says())
    }

    fn ended_of(&self) -> (u64, u64) {
        let progress = self.state.progress.unwrap_or_default();
        (progress.done + progress.failed, progress.total)
    }

    fn is_over(&self) -> bool {
        self.state.progress.unwrap_or_default().is_over()
    }

    fn rests(&self) -> Option<&'static str> {
        let says = "it is paused; `colonnade schedule resume` has it go on";
        self.state.is_paused.then_some(says)
    }

    fn left(&self) -> &'static str {
        "it stays as it is; the same command again has it go on"
    }

    async fn now(&self, runner: &Runner) -> Result<Self> {
        let state = runner.schedule(&self.who, &self.state.schedule.name).await?;
        Ok(Self { state, who: self.who.clone() })
    }
}
