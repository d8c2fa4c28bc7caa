//! `colonnade metric` and `colonnade metrics`: measures that are kept up to date as series.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::{Code, Error, Principal, Result};
use jobs::{
    Applied, DEFINITIONS_TEXT_MAX_BYTES, MetricDefinition, MetricState, RunRecord, RunState, Runner,
};
use serde_json::json;

use super::run::{Works, start_runner};
use super::schedules::with_runner;
use super::{close, open_to_run};
use crate::cli::{Metric, MetricCommand};
use crate::config::Settings;
use crate::output::{Output, columns, count, plain};

/// What this process is to others.
const LABEL: &str = "colonnade metric";

/// Makes or removes some.
pub async fn metric(arguments: Metric, settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    match arguments.command {
        MetricCommand::Apply { files, check } => {
            let asked = definitions(&files, MetricDefinition::from_toml)?;
            match check {
                true => only_check(&asked, &who, settings, output).await,
                false => apply(&asked, &who, settings, output).await,
            }
        }
        MetricCommand::Remove { name } => {
            let removed = with_runner(settings, LABEL, async |runner| {
                runner.remove_metric(&who, &name).await
            });
            let last = removed.await?;
            match output.is_json() {
                true => output.document(&last),
                false => output.line(&format!(
                    "metric {name}: it is kept up to date no more; its values stay in {}",
                    last.definition.output
                )),
            }
        }
    }
}

/// What files define.
pub(super) fn definitions<T>(
    files: &[PathBuf],
    of: impl Fn(&str, &str) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let text = read(file).map_err(|e| Error::user(Code::BadInput, format!("{name}: {e}")))?;
        all.extend(of(&text, &name)?);
    }
    Ok(all)
}

/// A file, or the beginning of one that is too long.
fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?
        .take(DEFINITIONS_TEXT_MAX_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

async fn only_check(
    asked: &[MetricDefinition],
    who: &Principal,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    with_runner(settings, LABEL, async |runner| runner.check_metrics(who, asked).await).await?;
    let names: Vec<&str> = asked.iter().map(MetricDefinition::name).collect();
    match output.is_json() {
        true => output.document(&json!({ "right": names })),
        false => output.line(&format!("{}: nothing is wrong", names.join(", "))),
    }
}

async fn apply(
    asked: &[MetricDefinition],
    who: &Principal,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let engine = open_to_run(settings, LABEL).await?;
    let applied = async {
        let runner = start_runner(&engine, settings, Works::Own, LABEL.to_owned()).await?;
        let applied = applied(&runner, who, asked).await;
        runner.shutdown().await;
        applied
    };
    let applied = applied.await;
    let applied = close(&engine, applied).await?;
    let mut failed = Vec::new();
    let mut made = Vec::new();
    for (state, applied, run) in &applied {
        let values = run.as_ref().map(|run| run.summary["values"].as_u64().unwrap_or(0));
        let error = run.as_ref().filter(|run| run.state != RunState::Succeeded).map(|run| {
            let error = run.error.as_ref().map(|error| error.message.clone());
            error.unwrap_or_else(|| run.state.to_string())
        });
        let what = match applied {
            Applied::Added => "is new",
            Applied::Changed => "is changed",
            Applied::Same => "is as it was",
        };
        if !output.is_json() {
            let has = match (&error, values) {
                (Some(error), _) => format!("; it could not be computed: {}", plain(error)),
                (None, Some(values)) => {
                    format!("; {} values in {}", count(values), state.definition.output)
                }
                (None, None) => String::new(),
            };
            output.line(&format!("metric {}: {what}{has}", state.name))?;
        }
        failed.extend(error.is_some().then(|| state.name.clone()));
        made.push(json!({ "applied": applied, "metric": state, "run": run }));
    }
    if output.is_json() {
        output.document(&made)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => {
            let says =
                format!("{} could not be computed; `colonnade runs` says why", failed.join(", "));
            Err(Error::user(Code::BadInput, says))
        }
    }
}

type AppliedMetric = (MetricState, Applied, Option<RunRecord>);

async fn applied(
    runner: &Runner,
    who: &Principal,
    asked: &[MetricDefinition],
) -> Result<Vec<AppliedMetric>> {
    let mut all = Vec::new();
    for (state, applied, run) in runner.define_metrics(who, asked).await? {
        let record = match run {
            Some(run) => Some(run.wait().await?),
            None => None,
        };
        all.push((state, applied, record));
    }
    Ok(all)
}

/// Lists them.
pub async fn metrics(settings: &Settings, output: &Output) -> Result<()> {
    let who = settings.principal()?;
    let all = with_runner(settings, LABEL, async |runner| runner.metrics(&who).await).await?;
    if output.is_json() {
        return output.document(&all);
    }
    if all.is_empty() {
        return output.line("no metrics yet; `colonnade metric apply FILE` makes some");
    }
    let row = |metric: &MetricState| {
        let of = &metric.definition;
        let last = match (metric.schedule.is_paused, metric.schedule.last_state) {
            (true, _) => "paused".to_owned(),
            (false, Some(state)) => state.to_string(),
            (false, None) => "-".to_owned(),
        };
        let by = if of.dimensions.is_empty() { "-".to_owned() } else { of.dimensions.join(", ") };
        vec![
            metric.name.clone(),
            of.dataset.to_string(),
            plain(&of.measure),
            by,
            of.interval.to_string(),
            last,
        ]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    output.line(&columns(&["metric", "dataset", "measure", "by", "interval", "last"], &rows))
}
