//! `colonnade drop`, `restore` and `rename`: a dataset goes, comes back, goes for good, or has another name.

use datasets::DatasetName;
use engine::{Engine, Principal, Result};
use serde_json::json;

use super::{close, open_to_mend, open_to_write};
use crate::cli::{Drop, Rename, Restore};
use crate::config::Settings;
use crate::output::{Output, count};

/// Drops a dataset; with `--purge` its files go, too.
pub async fn drop(arguments: Drop, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let engine = match arguments.purge {
        // Whoever has the dataset open would take one that is made anew for it.
        true => open_to_mend(settings, "colonnade drop --purge").await?,
        false => open_to_write(settings, "colonnade drop").await?,
    };
    let who = settings.principal()?;
    let control = settings.control();
    let unused = jobs::require_unused(&engine, control.as_deref(), &who, &dataset, None).await;
    let dropped = match (unused, arguments.purge) {
        (Err(error), _) => Err(error),
        (Ok(()), true) => purge(&engine, &who, &dataset, output).await,
        (Ok(()), false) => hide(&engine, &who, &dataset, output).await,
    };
    close(&engine, dropped).await
}

async fn hide(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    output: &Output,
) -> Result<()> {
    let version = engine.drop_dataset(who, dataset).await?;
    if output.is_json() {
        return output.document(&json!({"dataset": dataset.as_str(), "version": version.0}));
    }
    output.line(&format!(
        "{dataset} is dropped and keeps its files: `colonnade restore {dataset}` brings it back, \
         `colonnade drop {dataset} --purge` deletes them"
    ))
}

/// One that is there is dropped first.
async fn purge(
    engine: &Engine,
    who: &Principal,
    dataset: &DatasetName,
    output: &Output,
) -> Result<()> {
    if engine.catalog(who).await?.has(dataset)? {
        engine.drop_dataset(who, dataset).await?;
    }
    let files = engine.purge_dataset(who, dataset).await?;
    if output.is_json() {
        return output.document(&json!({"dataset": dataset.as_str(), "files": files}));
    }
    output.line(&format!("{dataset} is gone: {} files were deleted", count(files)))
}

/// Brings a dropped dataset back.
pub async fn restore(arguments: Restore, settings: &Settings, output: &Output) -> Result<()> {
    let dataset = DatasetName::new(&arguments.dataset)?;
    let engine = open_to_write(settings, "colonnade restore").await?;
    let restored = async {
        let who = settings.principal()?;
        let was_there = engine.catalog(&who).await?.datasets.contains_key(&dataset);
        let entry = engine.restore_dataset(&who, &dataset).await?;
        if output.is_json() {
            let (rows, version) = (entry.rows, entry.version.0);
            let document = json!({"dataset": dataset.as_str(), "version": version, "rows": rows});
            return output.document(&document);
        }
        let rows = entry.rows.map_or_else(|| "?".to_owned(), count);
        let word = if was_there { "was not dropped" } else { "is back" };
        output.line(&format!("{dataset} {word}: {rows} rows, version {}", entry.version))
    };
    let restored = restored.await;
    close(&engine, restored).await
}

/// Gives a dataset another name.
pub async fn rename(arguments: Rename, settings: &Settings, output: &Output) -> Result<()> {
    let (from, to) = (DatasetName::new(&arguments.dataset)?, DatasetName::new(&arguments.to)?);
    settings.require_grants_for(from.as_str(), to.as_str())?;
    let engine = open_to_mend(settings, "colonnade rename").await?;
    let renamed = async {
        let who = settings.principal()?;
        let control = settings.control();
        jobs::require_unused(&engine, control.as_deref(), &who, &from, None).await?;
        let (was, is) = (from.as_str(), to.as_str());
        jobs::require_keys_for(&engine, control.as_deref(), &who.tenant, was, is).await?;
        let version = engine.rename_dataset(&who, &from, &to).await?;
        let labels = jobs::labels::follow_rename(&engine, &who, &from, &to).await?;
        if output.is_json() {
            let (dataset, version) = (to.as_str(), version.0);
            return output
                .document(&json!({"dataset": dataset, "version": version, "labels": labels}));
        }
        let labels = match labels {
            0 => String::new(),
            labels => format!(", and {} labels by hand with it", count(labels)),
        };
        output.line(&format!("{from} is called {to}: version {version}{labels}"))
    };
    let renamed = renamed.await;
    close(&engine, renamed).await
}
