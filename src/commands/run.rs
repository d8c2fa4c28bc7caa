//! `colonnade run`: one job, its record at the end.

use std::fs;
use std::path::Path;

use chrono::Utc;
use clap::CommandFactory as _;
use engine::{Code, Error, Principal, Result, RunId, Urgency};
use graphql::ApiKey;
use jobs::{Exports, RunHandle, RunRecord, RunRequest, RunState, Runner, RunnerOptions, Takes};
use serde_json::{Map, Value};

use super::progress::Drawing;
use super::{close, open_to_run, pins, stop_signal, words};
use crate::cli::{Arguments, Run};
use crate::config::Settings;
use crate::output::{Output, columns, count};

/// Runs the job and prints its record; a failed run is this command's error.
pub async fn run(arguments: Run, settings: &Settings, output: &Output) -> Result<()> {
    let Some(job) = arguments.job.clone().filter(|_| !arguments.help) else {
        return help(arguments.job.as_deref(), output);
    };
    let settings = settings.with_flag("gpu", arguments.gpu.clone());
    let request = RunRequest {
        job: job.clone(),
        params: params(&arguments.params)?,
        gpu: Some(settings.gpu()?),
        pins: pins(&arguments.as_of)?,
        priority: arguments.priority,
        deadline_at: arguments.deadline.map(|time| Utc::now() + time),
    };
    let engine = open_to_run(&settings, format!("colonnade run {job}")).await?;
    let work = Work::New(Box::new(request));
    let record = run_to_end(&engine, &settings, work, output).await;
    let record = close(&engine, record).await?;
    report(&record, output)
}

/// What the command takes, and what the job does.
fn help(job: Option<&str>, output: &Output) -> Result<()> {
    let Some(job) = job else {
        let mut command = Arguments::command();
        let run = command.find_subcommand_mut("run");
        let run = run.ok_or_else(|| Error::internal("there is no command `run`"))?;
        output.line(&run.render_help().to_string())?;
        let kinds: Vec<Vec<String>> = jobs::kinds()
            .iter()
            .map(|kind| vec![kind.name().to_owned(), first_sentence(kind.description())])
            .collect();
        return output.line(&columns(&["job", "what it does"], &kinds));
    };
    let kind = jobs::kind(job)?;
    output.line(&format!("{}: {}\n", kind.name(), kind.description()))?;
    let parameters = words::parameters(&kind.parameters_schema());
    output.line(&columns(&["parameter", "value", "default", "what it is"], &parameters))?;
    output.line(&format!(
        "\ncolonnade run {job} --param NAME=VALUE…; `colonnade run --help` says what else there is"
    ))
}

fn first_sentence(text: &str) -> String {
    text.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

/// What a command runs.
pub(super) enum Work {
    /// What it was asked for.
    New(Box<RunRequest>),
    /// What this run did not do.
    Again(RunId),
    /// What this run did, to compare what comes out.
    AsItWas(RunId),
}

/// Runs a job to its end, or to its record where it is told to stop.
pub(super) async fn run_to_end(
    engine: &engine::Engine,
    settings: &Settings,
    work: Work,
    output: &Output,
) -> Result<RunRecord> {
    let label = match &work {
        Work::New(request) => format!("colonnade run {}", request.job),
        Work::Again(_) => "colonnade runs retry".to_owned(),
        Work::AsItWas(_) => "colonnade rerun".to_owned(),
    };
    let runner = start_runner(engine, settings, Works::Own, label).await?;
    let drawing = Drawing::of(&runner, output);
    let record = async {
        let who = settings.principal()?;
        // Listened for from here on: the default would end the process without a record.
        let stop = stop_signal();
        let mut stop = std::pin::pin!(stop);
        let run = tokio::select! {
            biased;
            run = submit(&runner, &who, work) => run?,
            () = stop.as_mut() => return Err(Error::user(Code::Cancelled, "it was told to stop before the run began")),
        };
        let id = run.id();
        let mut ended = std::pin::pin!(run.wait());
        tokio::select! {
            record = &mut ended => return record,
            () = stop.as_mut() => {}
        }
        output.note(&format!("run {id} is being cancelled; once more to stop without a record"));
        let cancel = async {
            match runner.cancel(&who, id).await {
                // It came to its end at that moment.
                Err(error) if error.code() == Code::Conflict => ended.await,
                record => record,
            }
        };
        tokio::select! {
            record = cancel => record,
            () = stop_signal() => {
                let says = format!("run {id} was left without a record of its end");
                output.error(&Error::user(Code::Cancelled, says));
                // Whatever computes is not waited for.
                std::process::exit(Code::Cancelled.exit_code().into());
            }
        }
    }
    .await;
    if let Some(drawing) = drawing {
        drawing.end();
    }
    runner.shutdown().await;
    record
}

async fn submit(runner: &Runner, who: &Principal, work: Work) -> Result<RunHandle> {
    match work {
        Work::New(request) => runner.submit(who, *request).await,
        Work::Again(id) => runner.retry(who, id).await,
        Work::AsItWas(id) => runner.rerun(who, id).await,
    }
}

/// Runs that a command works at at a time.
const OWN_RUNS: usize = 2;

/// What a process works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Works {
    /// Runs of anybody, as the setting `workers` says, and leaves the cores to who asks it something.
    Serving,
    /// Runs of anybody, as the setting `concurrent` says, and leaves the cores to servers.
    Working,
    /// What it asks for itself.
    Own,
}

/// A runner with the settings' device policy, memory and models.
pub async fn start_runner(
    engine: &engine::Engine,
    settings: &Settings,
    works: Works,
    label: String,
) -> Result<Runner> {
    let keys = settings.api_keys()?;
    let (takes, urgency, concurrent_runs) = match works {
        Works::Serving => (Takes::All, Urgency::Patient, settings.workers()?),
        Works::Working => (Takes::All, Urgency::Patient, settings.concurrent()?),
        Works::Own => (Takes::Own, Urgency::Prompt, OWN_RUNS),
    };
    // Whoever types a command has this machine.
    let exports = match takes {
        Takes::Own => Exports::Anywhere,
        Takes::All => Exports::Nowhere,
    };
    Runner::start(
        engine.clone(),
        RunnerOptions {
            has_tenants: has_tenants(&keys),
            gpu: settings.gpu()?,
            memory_budget_bytes: settings.memory()?.runs,
            models: Some(settings.models()?),
            search_bytes_max: settings.memory()?.searches,
            online_bytes_max: settings.memory()?.entities,
            urgency,
            takes,
            concurrent_runs,
            label,
            control: settings.control(),
            programs: settings.programs(),
            programs_user: settings.programs_user()?,
            exports,
            exports_bytes_max: settings.exports_bytes()?,
            prices: settings.prices()?,
            quotas: settings.quotas()?,
            of_job_max: settings.job_limits()?,
            weights: settings.weights()?,
            run_timeout: settings.run_time()?,
            ..RunnerOptions::default()
        },
    )
    .await
}

/// Whether the keys open more than one tenant.
fn has_tenants(keys: &[ApiKey]) -> bool {
    keys.windows(2).any(|pair| pair[0].tenant != pair[1].tenant)
}

/// A failed or cancelled run as the error of the command that waited for it.
pub fn succeeded(record: RunRecord) -> Result<RunRecord> {
    match (record.state, &record.error) {
        (RunState::Succeeded, _) => Ok(record),
        (_, Some(error)) => Err(Error::user(
            Code::ALL
                .into_iter()
                .find(|code| code.as_str() == error.code)
                .unwrap_or(Code::Internal),
            format!("run {} of {}: {}", record.id, record.job, error.message),
        )),
        (state, None) => Err(Error::user(
            Code::Cancelled,
            format!("run {} of {}: {state}", record.id, record.job),
        )),
    }
}

/// Prints what became of a run; one that failed is this command's error.
pub(super) fn report(record: &RunRecord, output: &Output) -> Result<()> {
    if output.is_json() {
        output.document(record)?;
        // The document is the record, failed or not; the exit code still says which.
        return succeeded(record.clone()).map(drop);
    }
    let record = succeeded(record.clone())?;
    output.line(&format!("run {} of {}: {}", record.id, record.job, record.outcome()))?;
    let unchanged = record.nothing_written();
    if unchanged.is_some() {
        output.line(
            "the inputs, the parameters and the earlier results have not changed, so nothing was computed and no row was added",
        )?;
    }
    if let Some(replaces) = record.summary.get("replaces").and_then(Value::as_str) {
        output.line(&format!("it replaces {replaces}"))?;
    }
    let stages: Vec<Vec<String>> = record
        .stages
        .iter()
        .map(|s| {
            vec![
                s.name.clone(),
                s.device.clone(),
                format!("{:.3}", s.wall_seconds),
                count(s.rows_in),
                count(s.rows_out),
                s.reason.clone(),
            ]
        })
        .collect();
    output.line(&columns(
        &["stage", "device", "seconds", "rows in", "rows out", "why there"],
        &stages,
    ))?;
    for written in &record.outputs {
        let rows = written.rows.map_or_else(|| "?".to_owned(), count);
        let whose = if unchanged.is_some() { ", written by that run" } else { "" };
        output.line(&format!(
            "{} version {}: {rows} rows{whose}",
            written.dataset, written.version
        ))?;
    }
    let result = words::result(&record.summary);
    match result.is_empty() {
        true => Ok(()),
        false => output.line(&format!("\n{}", columns(&["result", ""], &result))),
    }
}

/// Parameters of a job, as they are given one by one.
pub(super) fn params(texts: &[String]) -> Result<Value> {
    let mut params = Map::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Error::user(
                Code::BadInput,
                format!("--param {text:?}: expected NAME=VALUE"),
            ));
        };
        let value = match value.strip_prefix('@').filter(|path| !path.is_empty()) {
            Some(path) => Value::String(text_of_file(name, Path::new(path))?),
            None => serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned())),
        };
        if params.insert(name.to_owned(), value).is_some() {
            return Err(Error::user(Code::BadInput, format!("--param {name}: given twice")));
        }
    }
    Ok(Value::Object(params))
}

/// The most bytes of a parameter's file.
const PARAMETER_FILE_MAX: u64 = 16 << 20;

/// A value that stands in a file, as a text.
fn text_of_file(name: &str, path: &Path) -> Result<String> {
    let refused = |says: String| {
        Error::user(Code::BadInput, format!("--param {name}: {}: {says}", path.display()))
    };
    let bytes = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if bytes > PARAMETER_FILE_MAX {
        return Err(refused(format!("expected at most {PARAMETER_FILE_MAX} bytes, found {bytes}")));
    }
    fs::read_to_string(path).map_err(|error| refused(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_parameter_is_json_or_text_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.pnml");
        fs::write(&path, "<pnml/>").unwrap();
        let at = format!("model=@{}", path.display());
        let given = ["a=1", "b=one", "c=@", "d=", &at].map(str::to_owned);
        let expected = json!({ "a": 1, "b": "one", "c": "@", "d": "", "model": "<pnml/>" });
        assert_eq!(params(&given).unwrap(), expected);
        let missing = params(&["model=@none.pnml".to_owned()]).unwrap_err().to_string();
        assert!(missing.contains("--param model: none.pnml: "), "{missing}");
        fs::File::create(&path).unwrap().set_len(PARAMETER_FILE_MAX + 1).unwrap();
        let large = params(&[at]).unwrap_err().to_string();
        assert!(large.contains("expected at most 16777216 bytes, found 16777217"), "{large}");
        fs::write(&path, [0xff_u8]).unwrap();
        let broken = params(&[format!("model=@{}", path.display())]).unwrap_err().to_string();
        assert!(broken.contains("UTF-8"), "{broken}");
    }

    #[test]
    fn keys_of_two_tenants_are_told_from_those_of_one() {
        let keys = |tenants: &[&str]| -> Vec<ApiKey> {
            let key = |tenant: &&str| ApiKey::new("secret", tenant.parse().unwrap(), "s", vec![]);
            tenants.iter().map(key).collect()
        };
        assert!(!has_tenants(&keys(&[])) && !has_tenants(&keys(&["a"])));
        assert!(!has_tenants(&keys(&["a", "a", "a"])));
        assert!(has_tenants(&keys(&["a", "a", "b"])) && has_tenants(&keys(&["b", "a"])));
    }
}
