//! What `colonnade metric` and `colonnade feature` do: definitions in files of TOML that are made, checked, removed and listed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use engine::{Code, Error, Principal, Result};
use jobs::{
    Applied, DEFINITIONS_TEXT_MAX_BYTES, Kept, KeptParams, KeptState, RunRecord, RunState, Runner,
};
use serde_json::json;

use super::run::{Works, start_runner};
use super::schedules::with_runner;
use super::{close, open_to_run};
use crate::config::Settings;
use crate::output::{Output, columns, count, plain};

/// Makes definitions what files say, or only says what is wrong with them. `label`: what this process is to others.
pub(super) async fn apply<P: KeptParams>(
    files: &[PathBuf],
    only_check: bool,
    label: &str,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let asked = definitions(files, Kept::<P>::from_toml)?;
    match only_check {
        true => {
            let checked = async |runner: &Runner| runner.check_definitions(&who, &asked).await;
            with_runner(settings, label, checked).await?;
            let names: Vec<&str> = asked.iter().map(Kept::name).collect();
            match output.is_json() {
                true => output.document(&json!({ "right": names })),
                false => output.line(&format!("{}: nothing is wrong", names.join(", "))),
            }
        }
        false => make(&asked, &who, label, settings, output).await,
    }
}

/// Removes one.
pub(super) async fn remove<P: KeptParams>(
    name: &str,
    label: &str,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let removed = async |runner: &Runner| runner.remove_definition::<P>(&who, name).await;
    let last = with_runner(settings, label, removed).await?;
    match output.is_json() {
        true => output.document(&last),
        false => output.line(&format!(
            "{} {name}: it is kept up to date no more; its {} stay in {}",
            P::KIND,
            P::MADE,
            last.definition.output()
        )),
    }
}

/// Lists them: `row` has what is shown of one, under `header`; whether it is kept up to date comes last.
pub(super) async fn list<P: KeptParams>(
    header: &[&str],
    row: impl Fn(&KeptState<P>) -> Vec<String>,
    label: &str,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let listed = async |runner: &Runner| runner.definitions::<P>(&who).await;
    let all = with_runner(settings, label, listed).await?;
    if output.is_json() {
        return output.document(&all);
    }
    if all.is_empty() {
        let kind = P::KIND;
        let says = format!("no {kind}s yet; `colonnade {kind} apply FILE` makes some");
        return output.line(&says);
    }
    let whole = |of: &KeptState<P>| {
        let last = match (of.schedule.is_paused, of.schedule.last_state) {
            (true, _) => "paused".to_owned(),
            (false, Some(state)) => state.to_string(),
            (false, None) => "-".to_owned(),
        };
        row(of).into_iter().chain([last]).collect()
    };
    let rows: Vec<Vec<String>> = all.iter().map(whole).collect();
    let header: Vec<&str> = header.iter().copied().chain(["last"]).collect();
    output.line(&columns(&header, &rows))
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

async fn make<P: KeptParams>(
    asked: &[Kept<P>],
    who: &Principal,
    label: &str,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let engine = open_to_run(settings, label).await?;
    let applied = async {
        let runner = start_runner(&engine, settings, Works::Own, label.to_owned()).await?;
        let applied = applied(&runner, who, asked).await;
        runner.shutdown().await;
        applied
    };
    let applied = applied.await;
    let applied = close(&engine, applied).await?;
    let mut failed = Vec::new();
    let mut made = Vec::new();
    for (state, applied, run) in &applied {
        let error = (run.state != RunState::Succeeded).then(|| {
            let error = run.error.as_ref().map(|error| error.message.clone());
            error.unwrap_or_else(|| run.state.to_string())
        });
        let what = match applied {
            Applied::Added => "is new",
            Applied::Changed => "is changed",
            Applied::Same => "is as it was",
        };
        if !output.is_json() {
            let has = match &error {
                Some(error) => format!("it could not be computed: {}", plain(error)),
                None => computed(state, run),
            };
            output.line(&format!("{} {}: {what}; {has}", P::KIND, state.name))?;
        }
        failed.extend(error.is_some().then(|| state.name.clone()));
        made.push(json!({ "applied": applied, P::KIND: state, "run": run }));
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

/// What a run that succeeded did.
fn computed<P: KeptParams>(state: &KeptState<P>, run: &RunRecord) -> String {
    if let Some(why) = run.summary["nothing_new"].as_str() {
        return plain(why);
    }
    let (made, output) = (P::MADE, state.definition.output());
    let number = |name: &str| count(run.summary[name].as_u64().unwrap_or(0));
    match run.summary["values_removed"].is_u64() {
        true => format!("its {} {made} went from {output} with the rows", number("values_removed")),
        false => match number("values_missing").as_str() {
            "0" => format!("{} {made} written to {output}", number(made)),
            missing => {
                format!(
                    "{} {made} written to {output}, {missing} of them without a value",
                    number(made)
                )
            }
        },
    }
}

type Made<P> = (KeptState<P>, Applied, RunRecord);

async fn applied<P: KeptParams>(
    runner: &Runner,
    who: &Principal,
    asked: &[Kept<P>],
) -> Result<Vec<Made<P>>> {
    let mut all = Vec::new();
    for defined in runner.define(who, asked).await? {
        all.push(runner.computed(who, defined).await?);
    }
    Ok(all)
}
