//! `colonnade datasets`: what there is, and one dataset in full.

use ::datasets::{DatasetName, DatasetSpec, Evolution, KeyPolicy};
use engine::{Catalog, CommitRecord, DatasetEntry, Engine, Result, Semantics};
use serde_json::{Value, json};

use super::{close, open_to_read};
use crate::cli::Datasets;
use crate::config::Settings;
use crate::output::{Output, columns, count, size};

/// Most versions that are shown of one dataset.
const VERSIONS_SHOWN: usize = 20;
/// Most producers that are shown of one version.
const PRODUCERS_SHOWN: usize = 3;

/// Prints the list, or one dataset.
pub async fn datasets(arguments: Datasets, settings: &Settings, output: &Output) -> Result<()> {
    let engine = open_to_read(settings).await?;
    let shown = match &arguments.dataset {
        None => list(&engine, settings, output).await,
        Some(name) if arguments.path => {
            place(&engine, &DatasetName::new(name)?, settings, output).await
        }
        Some(name) => show(&engine, &DatasetName::new(name)?, settings, output).await,
    };
    close(&engine, shown).await
}

pub(super) async fn list(engine: &Engine, settings: &Settings, output: &Output) -> Result<()> {
    let catalog = engine.catalog(&settings.principal()?).await?;
    for (name, reason) in &catalog.unreadable {
        output.note(&format!("{name} can not be read: {reason}"));
    }
    for (name, at) in &catalog.dropped {
        let at = at.format("%Y-%m-%d %H:%M");
        output.note(&format!(
            "{name} was dropped at {at} UTC; `colonnade restore {name}` brings it back"
        ));
    }
    if output.is_json() {
        let list: Vec<Value> = catalog.datasets.values().map(summary).collect();
        return output.document(&list);
    }
    if catalog.datasets.is_empty() && catalog.unreadable.is_empty() {
        return output.line("no datasets yet; `colonnade ingest` makes them");
    }
    let rows: Vec<Vec<String>> = catalog
        .datasets
        .values()
        .map(|entry| {
            vec![
                entry.spec.name.to_string(),
                entry.rows.map_or_else(|| "?".to_owned(), count),
                entry.version.to_string(),
                size(entry.bytes),
                entry.spec.description.clone(),
            ]
        })
        .collect();
    output.line(&columns(&["dataset", "rows", "version", "size", "what a row is"], &rows))
}

/// Where a dataset lies, as any reader of Delta Lake finds it.
async fn place(
    engine: &Engine,
    name: &DatasetName,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    engine.catalog(&who).await?.dataset(name)?;
    let (tenant, name) = (who.tenant.as_str(), name.as_str());
    output.line(&match engine.folder() {
        Some(folder) => folder.join(tenant).join(name).display().to_string(),
        None => format!("{}/{tenant}/{name}", settings.data().trim_end_matches('/')),
    })
}

pub(super) async fn show(
    engine: &Engine,
    name: &DatasetName,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let who = settings.principal()?;
    let history = engine.history(&who, name, VERSIONS_SHOWN).await?;
    let catalog: std::sync::Arc<Catalog> = engine.catalog(&who).await?;
    let Some(entry) = catalog.datasets.get(name) else {
        return Err(engine::Error::internal(format!("dataset {name} has a history and no entry")));
    };
    if output.is_json() {
        let mut document = summary(entry);
        document["spec"] = serde_json::to_value(&entry.spec)
            .map_err(|e| engine::Error::internal(format!("spec as JSON: {e}")))?;
        document["history"] = history.iter().map(commit).collect();
        return output.document(&document);
    }
    let spec = &entry.spec;
    output.line(&format!("{name}: {}", spec.description))?;
    output.line(&format!(
        "{} rows in {} files, {}, version {}\n",
        entry.rows.map_or_else(|| "?".to_owned(), count),
        entry.files,
        size(entry.bytes),
        entry.version
    ))?;
    let rows: Vec<Vec<String>> = spec
        .columns
        .iter()
        .map(|c| {
            let role = if spec.key.contains(&c.name) {
                "key"
            } else if spec.time_column.as_ref() == Some(&c.name) {
                "time"
            } else {
                ""
            };
            vec![
                c.name.clone(),
                c.data_type.to_string(),
                if c.nullable { "yes".into() } else { "no".into() },
                c.unit.clone().unwrap_or_default(),
                role.to_owned(),
                c.description.clone(),
            ]
        })
        .collect();
    output
        .line(&columns(&["column", "type", "nullable", "unit", "role", "what it holds"], &rows))?;
    output.line(&format!("\nhow rows are loaded: {}", loading(spec)))?;
    show_declared(spec, output)?;
    let rows: Vec<Vec<String>> = history
        .iter()
        .map(|c| {
            vec![
                c.version.to_string(),
                c.at.format("%Y-%m-%d %H:%M:%S").to_string(),
                c.operation.clone(),
                c.rows_added.map(count).unwrap_or_default(),
                author(c),
            ]
        })
        .collect();
    output.line("")?;
    output.line(&columns(&["version", "at (UTC)", "operation", "rows added", "by"], &rows))
}

/// How rows are loaded, including the defaults of settings that the spec does not state.
fn loading(spec: &DatasetSpec) -> String {
    let mut settings: Vec<(&str, String)> = spec.load.stated();
    if spec.load.on_conflict.is_none() && !spec.key.is_empty() {
        settings.insert(0, ("on_conflict", KeyPolicy::Refuse.name().to_owned()));
    }
    let evolution = match spec.evolution {
        Evolution::Fixed => "fixed",
        Evolution::AddNullable => "add_nullable",
    };
    settings.insert(0, ("evolution", evolution.to_owned()));
    let settings = settings.iter().map(|(name, value)| format!("{name}={value}"));
    settings.collect::<Vec<_>>().join(", ")
}

/// What it declares beside its columns.
fn show_declared(spec: &DatasetSpec, output: &Output) -> Result<()> {
    let semantics = Semantics::of(spec);
    let row = |name: &str, kind: Option<String>, unit: &Option<String>, how: &str, what: &str| {
        let problem = semantics.unfit().get(name).map(ToString::to_string);
        let what = problem.unwrap_or_else(|| what.to_owned());
        let (kind, unit) = (kind.unwrap_or_default(), unit.clone().unwrap_or_default());
        vec![name.to_owned(), kind, unit, how.to_owned(), what]
    };
    let dimensions: Vec<_> = (spec.dimensions.iter())
        .map(|of| {
            let found = semantics.dimensions().iter().find(|it| it.spec.name == of.name);
            let kind = found.map(|it| it.kind.to_string());
            row(&of.name, kind, &of.unit, &of.expression, &of.description)
        })
        .collect();
    let measures: Vec<_> = (spec.measures.iter())
        .map(|of| {
            let found = semantics.measures().iter().find(|it| it.spec.name == of.name);
            let kind = found.map(|it| it.kind.to_string());
            row(&of.name, kind, &of.unit, &of.expression, &of.description)
        })
        .collect();
    for (what, rows) in [("dimension", dimensions), ("measure", measures)] {
        if !rows.is_empty() {
            output.line("")?;
            output.line(&columns(&[what, "type", "unit", "how", "what it is"], &rows))?;
        }
    }
    Ok(())
}

fn summary(entry: &DatasetEntry) -> Value {
    json!({
        "name": entry.spec.name.as_str(),
        "description": entry.spec.description,
        "version": entry.version.0,
        "rows": entry.rows,
        "bytes": entry.bytes,
        "files": entry.files,
    })
}

fn commit(record: &CommitRecord) -> Value {
    json!({
        "version": record.version.0,
        "at": record.at.to_rfc3339(),
        "operation": record.operation,
        "rowsAdded": record.rows_added,
        "runId": record.run_id.as_ref().map(ToString::to_string),
        "by": record.subject,
        "producers": record.producers,
    })
}

/// Who committed, and by what.
fn author(record: &CommitRecord) -> String {
    let producers = record.producers.iter().take(PRODUCERS_SHOWN);
    let mut by: Vec<String> = record.subject.iter().cloned().collect();
    by.extend(record.run_id.map(|run| format!("run {run}")));
    by.extend(producers.map(|producer| format!("producer {producer}")));
    if record.producers.len() > PRODUCERS_SHOWN {
        by.push(format!("{} more", record.producers.len() - PRODUCERS_SHOWN));
    }
    by.join(", ")
}
