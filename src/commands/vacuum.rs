//! `colonnade vacuum`: files go that no kept version has.

use chrono::{TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Code, Engine, Error, Keep, Result};
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
            "--keep-days 0: no earlier version can be read afterwards, by a query with a version or time nor by `rerun --as-it-was`",
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
