//! `colonnade pipeline` and `colonnade pipelines`: jobs of which one waits for another.

mod draw;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::{Code, Error, Principal, Result, RunId};
use jobs::{
    Applied, PIPELINE_TEXT_MAX_BYTES, PipelineRun, PipelineState, RunState, Runner, Schedule,
    StepState,
};

use super::schedules::{removed, with_runner};
use super::together::{self, Course};
use super::{close, open_to_run};
use crate::cli::{Pipeline, PipelineCommand, PipelineOfRun};
use crate::config::Settings;
use crate::output::{Output, columns, plain};

/// What this process is to others.
const LABEL: &str = "colonnade pipeline";
/// Letters of what a step makes that are shown.
const MAKES_SHOWN: usize = 30;

/// Makes, shows, runs, retries, stops or removes one.
pub async fn pipeline(arguments: Pipeline, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    match arguments.command {
        PipelineCommand::Apply { paths, check } => apply(&paths, check, settings, output).await,
        PipelineCommand::Show(of) => {
            with_runner(settings, LABEL, async |runner| show(runner, &who, &of, output).await).await
        }
        PipelineCommand::Run { name, wait } => {
            let begin = async |runner: &Runner| runner.run_pipeline(&who, &name).await;
            see(&name, wait, settings, output, begin).await
        }
        PipelineCommand::Retry { of, wait } => {
            let begin = async |runner: &Runner| {
                runner.retry_pipeline(&who, &of.name, of.run.as_deref()).await
            };
            see(&of.name, wait, settings, output, begin).await
        }
        PipelineCommand::Cancel(of) => {
            let run = with_runner(settings, LABEL, async |runner| {
                runner.cancel_pipeline(&who, &of.name, of.run.as_deref()).await
            });
            tell(&of.name, &run.await?, output)
        }
        PipelineCommand::Remove { name } => {
            let last = with_runner(settings, LABEL, async |runner| {
                let last = runner.pipeline(&who, &name).await?;
                Ok((last, runner.remove_schedule(&who, &name).await?))
            });
            let (last, wait) = last.await?;
            match output.is_json() {
                true => output.document(&last),
                false => output.line(&format!("pipeline {name}: {}", removed(&wait))),
            }
        }
    }
}

/// Lists them.
pub async fn pipelines(settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let all = with_runner(settings, LABEL, async |runner| runner.pipelines(&who).await).await?;
    if output.is_json() {
        return output.document(&all);
    }
    if all.is_empty() {
        return output.line("no pipelines yet; `colonnade pipeline apply FILE` makes one");
    }
    let row = |state: &PipelineState| {
        let schedule = &state.schedule.schedule;
        let (at, last) = match &state.last_run {
            Some(run) => (run.due_at.format("%Y-%m-%d %H:%M").to_string(), run.state.to_string()),
            None => (String::new(), "-".to_owned()),
        };
        let waits = match state.schedule.is_paused {
            true => "paused".to_owned(),
            false => schedule.trigger.says(),
        };
        vec![schedule.name.clone(), schedule.steps.len().to_string(), waits, at, last]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    output.line(&columns(&["pipeline", "steps", "runs", "last (UTC)", "state"], &rows))
}

/// Makes pipelines what files say; all of them are read and checked before the first is made.
async fn apply(
    paths: &[PathBuf],
    only_check: bool,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let mut asked = Vec::new();
    for file in files(paths)? {
        let name = file.display().to_string();
        let text = read(&file).map_err(|e| Error::user(Code::BadInput, format!("{name}: {e}")))?;
        asked.push(Schedule::from_toml(&text, &name)?);
    }
    let who = settings.principal()?;
    with_runner(settings, LABEL, async |runner| {
        if only_check {
            runner.check_pipelines(&who, &asked).await?;
            let all = asked.iter().map(|one| one.name.as_str()).collect::<Vec<_>>();
            return match output.is_json() {
                true => output.document(&serde_json::json!({ "right": all })),
                false => output.line(&format!("{}: nothing is wrong", all.join(", "))),
            };
        }
        let mut made = Vec::new();
        for (state, applied) in runner.apply_pipelines(&who, asked).await? {
            if !output.is_json() {
                let schedule = &state.schedule.schedule;
                let what = match applied {
                    Applied::Added => "is new",
                    Applied::Changed => "is changed",
                    Applied::Same => "is as it was",
                };
                let (name, steps) = (&schedule.name, schedule.steps.len());
                let when = schedule.trigger.says();
                output.line(&format!("pipeline {name}: {what}; {steps} steps, {when}"))?;
            }
            made.push(serde_json::json!({ "applied": applied, "pipeline": state }));
        }
        match output.is_json() {
            true => output.document(&made),
            false => Ok(()),
        }
    })
    .await
}

/// A file, or the beginning of one that is too long to be a pipeline.
fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?
        .take(PIPELINE_TEXT_MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// The files that are meant: those of a folder end with `.toml`, in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let bad = |path: &Path, says: String| {
        Error::user(Code::BadInput, format!("{}: {says}", path.display()))
    };
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| bad(path, e.to_string()))?;
        let mut inside = Vec::new();
        for entry in entries {
            let file = entry.map_err(|e| bad(path, e.to_string()))?.path();
            if file.extension().is_some_and(|end| end == "toml") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(bad(path, "expected files that end with .toml, found none".to_owned()));
        }
        inside.sort_unstable();
        files.extend(inside);
    }
    Ok(files)
}

/// Draws one, with how far a run of it is.
async fn show(runner: &Runner, who: &Principal, of: &PipelineOfRun, output: &Output) -> Result<()> {
    let mut state = runner.pipeline(who, &of.name).await?;
    if let Some(id) = &of.run {
        state.last_run = Some(runner.pipeline_run(who, &of.name, Some(id)).await?);
    }
    if output.is_json() {
        return output.document(&state);
    }
    let schedule = &state.schedule.schedule;
    let paused = if state.schedule.is_paused { " (paused)" } else { "" };
    output.line(&format!("pipeline {}: {}{paused}", schedule.name, schedule.trigger.says()))?;
    let run = state.last_run.as_ref();
    let says = match run {
        Some(run) => {
            let at = run.due_at.format("%Y-%m-%d %H:%M:%S");
            format!("run {} of {at} UTC: {}\n", run.id, run.state)
        }
        None => "it has not run yet\n".to_owned(),
    };
    output.line(&says)?;
    output.line(&drawing(&state))?;
    for step in run.into_iter().flat_map(|run| &run.steps) {
        let (Some(RunState::Failed | RunState::Cancelled), Some(id)) = (step.state, step.run)
        else {
            continue;
        };
        output.line(&format!("\n{}", why(runner, who, &step.name, id).await?))?;
    }
    Ok(())
}

fn drawing(state: &PipelineState) -> String {
    let row = |(lanes, at): draw::Line| {
        let node = at.and_then(|at| state.graph.nodes.get(at));
        let Some(node) = node else { return vec![lanes] };
        let mut makes =
            node.outputs.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        if makes.chars().count() > MAKES_SHOWN {
            makes = makes.chars().take(MAKES_SHOWN - 1).chain(['…']).collect();
        }
        let of = state.last_run.as_ref();
        let step = of.and_then(|run| run.steps.iter().find(|step| step.name == node.step.name));
        let is_at = match step.map(|step| step.state) {
            None => "-".to_owned(),
            Some(None) => "waits".to_owned(),
            Some(Some(state)) => state.to_string(),
        };
        vec![format!("{lanes} {}", node.step.name), node.step.job.clone(), makes, is_at]
    };
    let rows: Vec<Vec<String>> = draw::lines(&state.graph).into_iter().map(row).collect();
    columns(&["step", "job", "makes", "state"], &rows)
}

/// Why a step has no result.
async fn why(runner: &Runner, who: &Principal, step: &str, id: RunId) -> Result<String> {
    let record = runner.get(who, id).await?;
    let error = record.error.map(|error| format!(": {}: {}", error.code, error.message));
    Ok(format!("step {step}, run {id}{}", plain(&error.unwrap_or_default())))
}

/// Begins a run or has it go on, and sees it to its end where that is asked for or where nobody else works.
async fn see(
    name: &str,
    wait: bool,
    settings: &Settings,
    output: &Output,
    begin: impl AsyncFnOnce(&Runner) -> Result<PipelineRun>,
) -> Result<()> {
    let engine = open_to_run(settings, LABEL).await?;
    let who = settings.principal()?;
    let begin = async |runner: &Runner| {
        let run = begin(runner).await?;
        Ok(Begun { run, name: name.to_owned(), who: who.clone() })
    };
    let begun = together::begin(&engine, settings, LABEL, wait, output, begin).await;
    let run = close(&engine, begun).await?.run;
    tell(name, &run, output)?;
    match run.state {
        RunState::Failed | RunState::Cancelled => {
            let of = |step: &&StepState| step.state == Some(run.state);
            let steps = run.steps.iter().filter(of).map(|step| step.name.as_str());
            let what = match run.state {
                RunState::Failed => format!("failed in {}", steps.collect::<Vec<_>>().join(", ")),
                _ => "was cancelled".to_owned(),
            };
            Err(Error::user(
                Code::BadInput,
                format!(
                    "pipeline {name}: its run {what}; `colonnade pipeline show {name}` says why, and `colonnade pipeline retry {name}` \
                     has it go on"
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn tell(name: &str, run: &PipelineRun, output: &Output) -> Result<()> {
    if output.is_json() {
        return output.document(run);
    }
    let done = run.steps.iter().filter(|step| step.state == Some(RunState::Succeeded)).count();
    let of = run.steps.len();
    output
        .line(&format!("pipeline {name}: run {} {}, {done} of {of} steps done", run.id, run.state))
}

/// A run of a pipeline and who asked for it.
struct Begun {
    run: PipelineRun,
    name: String,
    who: Principal,
}

impl Course for Begun {
    fn says(&self) -> String {
        let at_work = self.run.steps.iter().filter(|step| step.state == Some(RunState::Running));
        let at_work: Vec<&str> = at_work.map(|step| step.name.as_str()).collect();
        format!("{}: {}", self.name, at_work.join(", "))
    }

    fn ended_of(&self) -> (u64, u64) {
        let ended = |state: Option<RunState>| state.is_some_and(RunState::is_final);
        let ended = self.run.steps.iter().filter(|step| ended(step.state)).count();
        (ended as u64, self.run.steps.len() as u64)
    }

    fn is_over(&self) -> bool {
        self.run.state.is_final()
    }

    fn rests(&self) -> Option<&'static str> {
        None
    }

    fn left(&self) -> &'static str {
        "it goes on with the next server or worker; `colonnade pipeline cancel` stops it"
    }

    async fn now(&self, runner: &Runner) -> Result<Self> {
        let run = runner.pipeline_run(&self.who, &self.name, Some(&self.run.id)).await?;
        Ok(Self { run, name: self.name.clone(), who: self.who.clone() })
    }
}
