//! `colonnade vacuum`: files go that no kept version has.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Code, Engine, Error, Keep, Principal, Result};
use jobs::Runner;
use serde_json::json;

use super::schedules::with_runner_of;
use super::{close, open_to_write};
use crate::cli::Vacuum;
use crate::config::Settings;
use crate::output::{Output, columns, count, size};

/// Takes files away, dataset by dataset.
pub async fn vacuum(arguments: Vacuum, settings: &Settings, output: &Output) -> Result<()> {
    let named: Vec<DatasetName> =
        arguments.datasets.iter().map(DatasetName::new).collect::<Result<_, _>>()?;
    if named.is_empty() && !arguments.all {
        let says = "vacuum: expected the names of datasets, or --all";
        return Err(Error::user(Code::BadInput, says));
    }
    if arguments.keep_days == 0 && !arguments.dry_run {
        output.note(
            "--keep-days 0: earlier versions cannot be read afterwards, neither by queries with a version or time nor by `rerun --as-it-was`",
        );
    }
    let engine = open_to_write(settings, "colonnade vacuum").await?;
    let done = vacuum_all(&engine, &arguments, named, settings, output).await;
    close(&engine, done).await
}

async fn vacuum_all(
    engine: &Engine,
    arguments: &Vacuum,
    named: Vec<DatasetName>,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let datasets = match named.is_empty() {
        true => engine.catalog(&who).await?.datasets.keys().cloned().collect(),
        false => named,
    };
    let (mut rows, mut documents, mut failed) = (Vec::new(), Vec::new(), None::<Error>);
    let since = Utc::now() - TimeDelta::days(i64::from(arguments.keep_days));
    with_runner_of(engine, settings, "colonnade vacuum", async |runner| {
        if arguments.keep_days == 0 && !arguments.dry_run && !arguments.yes {
            let losses = losses(engine, runner, &who, &datasets, since).await?;
            require_confirmed(&losses, output)?;
        }
        for dataset in datasets {
            let gone = async {
                let from = runner.pinned(&who, &dataset).await?;
                engine.vacuum(&who, &dataset, Keep { since, from }, arguments.dry_run).await
            };
            let gone = match gone.await {
                Ok(gone) => gone,
                // The others are done all the same.
                Err(error) => {
                    output.note(&format!("{dataset}: {error}"));
                    failed.get_or_insert(error);
                    continue;
                }
            };
            documents.push(json!({
                "dataset": dataset.as_str(),
                "files": gone.files,
                "bytes": gone.bytes,
                "kept_from": gone.kept_from.0,
            }));
            rows.push(vec![
                dataset.to_string(),
                count(gone.files),
                size(gone.bytes),
                gone.kept_from.to_string(),
            ]);
        }
        Ok(())
    })
    .await?;
    if output.is_json() {
        output.document(&documents)?;
    } else if !rows.is_empty() {
        let files = if arguments.dry_run { "files to go" } else { "files gone" };
        output.line(&columns(&["dataset", files, "size", "kept from version"], &rows))?;
    }
    failed.map_or(Ok(()), Err)
}

/// What `--keep-days 0` would delete, one line for each dataset that has older versions.
async fn losses(
    engine: &Engine,
    runner: &Runner,
    who: &Principal,
    datasets: &[DatasetName],
    since: DateTime<Utc>,
) -> Result<Vec<String>> {
    let mut losses = Vec::new();
    for dataset in datasets {
        let from = runner.pinned(who, dataset).await?;
        // A dataset that cannot be examined is left unchanged; the vacuum itself reports it.
        let Ok(gone) = engine.vacuum(who, dataset, Keep { since, from }, true).await else {
            continue;
        };
        if gone.files > 0 {
            losses.push(format!(
                "{dataset}: all versions before {}, with {} files of {}",
                gone.kept_from,
                count(gone.files),
                size(gone.bytes)
            ));
        }
    }
    Ok(losses)
}

/// Most datasets that the question names.
const NAMED_MAX: usize = 20;

/// Fails unless there is nothing to lose, or the user agrees at the terminal.
fn require_confirmed(losses: &[String], output: &Output) -> Result<()> {
    if losses.is_empty() {
        return Ok(());
    }
    let more = losses.len().saturating_sub(NAMED_MAX);
    let mut lost: Vec<String> = losses.iter().take(NAMED_MAX).cloned().collect();
    if more > 0 {
        lost.push(format!("{more} more datasets"));
    }
    let is_asked = !output.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal();
    if !is_asked {
        let says = format!(
            "vacuum --keep-days 0: expected --yes, because this cannot be undone; it would delete {}; --keep-days N keeps the versions of \
             the last N days",
            lost.join("; ")
        );
        return Err(Error::user(Code::BadInput, says));
    }
    output.note("vacuum --keep-days 0 ends time travel, and cannot be undone. It deletes:");
    lost.iter().for_each(|line| output.note(&format!("  {line}")));
    let asked = write!(io::stderr().lock(), "Continue? [y/N] ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let answered = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    answered.map_err(|e| Error::environment(Code::Internal, "reading the answer", e))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::user(Code::Cancelled, "vacuum: nothing was deleted")),
    }
}
