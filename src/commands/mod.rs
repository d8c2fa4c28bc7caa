//! One file per command; this one opens what they share.

mod alerts;
mod alter;
mod audit;
mod backfill;
mod change;
mod compact;
mod config;
mod datasets;
mod demo;
mod devices;
mod doctor;
mod drop;
mod export;
mod features;
mod guess;
mod ingest;
mod insights;
mod kept;
mod keys;
mod label;
mod lineage;
mod metrics;
mod models;
mod pipelines;
mod progress;
mod queue;
mod report;
mod rerun;
mod run;
mod runs;
mod schedules;
mod schema;
mod serve;
mod sql;
mod together;
mod usage;
mod vacuum;
mod words;
mod worker;

use std::ops::Deref;

use ::datasets::DatasetName;
use engine::{Access, AsOf, Code, Engine, EngineOptions, Error, Result};
use jobs::CommitNotices;

use crate::cli::Command;
use crate::config::Settings;
use crate::output::Output;

/// Runs a command to its end.
pub async fn dispatch(command: Command, settings: &Settings, output: &Output) -> Result<()> {
    match command {
        Command::Demo(arguments) => demo::demo(arguments, settings, output).await,
        Command::Serve(arguments) => serve::serve(arguments, settings, output).await,
        Command::Worker(arguments) => worker::worker(arguments, settings, output).await,
        Command::Ingest(arguments) => ingest::ingest(arguments, settings, output).await,
        Command::Export(arguments) => export::export(arguments, settings, output).await,
        Command::Report(arguments) => report::report(arguments, settings, output).await,
        Command::Compact(arguments) => compact::compact(arguments, settings, output).await,
        Command::Vacuum(arguments) => vacuum::vacuum(arguments, settings, output).await,
        Command::Delete(arguments) => change::delete(arguments, settings, output).await,
        Command::Update(arguments) => change::update(arguments, settings, output).await,
        Command::Drop(arguments) => drop::drop(arguments, settings, output).await,
        Command::Rename(arguments) => drop::rename(arguments, settings, output).await,
        Command::Restore(arguments) => drop::restore(arguments, settings, output).await,
        Command::Label(arguments) => label::label(arguments, settings, output).await,
        Command::Alter(arguments) => alter::alter(arguments, settings, output).await,
        Command::Run(arguments) => run::run(arguments, settings, output).await,
        Command::Sql(arguments) => sql::sql(arguments, settings, output).await,
        Command::Datasets(arguments) => datasets::datasets(arguments, settings, output).await,
        Command::Runs(arguments) => runs::runs(arguments, settings, output).await,
        Command::Schedule(arguments) => schedules::change(arguments, settings, output).await,
        Command::Backfill(arguments) => backfill::backfill(arguments, settings, output).await,
        Command::Schedules(arguments) => schedules::schedules(arguments, settings, output).await,
        Command::Pipeline(arguments) => pipelines::pipeline(arguments, settings, output).await,
        Command::Pipelines(_) => pipelines::pipelines(settings, output).await,
        Command::Alert(arguments) => alerts::alert(arguments, settings, output).await,
        Command::Alerts(arguments) => alerts::alerts(arguments, settings, output).await,
        Command::Metric(arguments) => metrics::metric(arguments, settings, output).await,
        Command::Metrics(_) => metrics::metrics(settings, output).await,
        Command::Feature(arguments) => features::feature(arguments, settings, output).await,
        Command::Features(_) => features::features(settings, output).await,
        Command::Insights(arguments) => insights::insights(arguments, settings, output).await,
        Command::Lineage(arguments) => lineage::lineage(arguments, settings, output).await,
        Command::Queue(_) => queue::queue(settings, output).await,
        Command::Rerun(arguments) => rerun::rerun(arguments, settings, output).await,
        Command::Usage(arguments) => usage::usage(arguments, settings, output).await,
        Command::Devices(arguments) => devices::devices(&arguments, settings, output),
        Command::Models(arguments) => models::models(arguments, settings, output).await,
        Command::Doctor(arguments) => doctor::doctor(&arguments, settings, output).await,
        Command::Schema { markdown } => schema::schema(settings, markdown, output).await,
        Command::Keys(arguments) => keys::keys(arguments, settings, output).await,
        Command::Audit(arguments) => audit::audit(arguments, settings, output).await,
        Command::Config(_) => config::config(settings, output).await,
    }
}

/// An engine that a command has opened.
struct Opened {
    engine: Engine,
    /// Says what it commits to servers that would find it late.
    notices: Option<CommitNotices>,
}

impl Deref for Opened {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

/// Opens the data to read it only; a server may hold it at the same time.
async fn open_to_read(settings: &Settings) -> Result<Opened> {
    open(settings, Access::ReadOnly).await
}

/// Opens the data to write it, beside whoever else does; `holder` is what is said of this process to who must be alone.
async fn open_to_write(settings: &Settings, holder: impl Into<String>) -> Result<Opened> {
    let mut opened = open_to_run(settings, holder).await?;
    // Without the setting, servers look at a disk themselves, twice a second, and elsewhere do not share runs.
    let control = settings.control();
    opened.notices = control.map(|control| CommitNotices::begin(&opened.engine, control));
    Ok(opened)
}

/// The same for who has a runner, which says what is committed.
async fn open_to_run(settings: &Settings, holder: impl Into<String>) -> Result<Opened> {
    open(settings, Access::Writer { holder: holder.into() }).await
}

/// Opens the data to mend it: nobody else may write to it.
async fn open_to_mend(settings: &Settings, holder: impl Into<String>) -> Result<Opened> {
    open(settings, Access::Alone { holder: holder.into() }).await
}

async fn open(settings: &Settings, access: Access) -> Result<Opened> {
    let engine = Engine::open(EngineOptions {
        root: settings.data().to_owned(),
        storage_options: settings.storage_options(),
        memory_budget_bytes: settings.memory()?.queries,
        resident_bytes_max: Some(settings.resident_bytes_max()?),
        spill_dir: settings.spill_dir(),
        spill_budget_bytes: settings.spill_bytes()?,
        access,
        gpu: settings.gpu()?,
        expected: jobs::expected_datasets()?,
        ..EngineOptions::default()
    })
    .await
    .map_err(|error| naming(error, settings.data()))?;
    Ok(Opened { engine, notices: None })
}

/// Adds the name of the folder to an error about opening it. The user typed that name, so it is no secret.
fn naming(error: Error, data: &str) -> Error {
    match data.contains("://") || data.starts_with("memory:") || error.code() == Code::Conflict {
        true => error,
        false => error.while_doing(format_args!("data {data}")),
    }
}

/// Closes the engine after a command, whose own error is the one to show.
async fn close<T>(opened: &Opened, outcome: Result<T>) -> Result<T> {
    let closed = opened.shutdown().await;
    if let Some(notices) = &opened.notices {
        notices.end().await;
    }
    let value = outcome?;
    closed?;
    Ok(value)
}

/// Reads `dataset@version` or `dataset@time`.
fn pins(texts: &[String]) -> Result<Vec<(DatasetName, AsOf)>> {
    texts
        .iter()
        .map(|text| {
            let expected = || {
                Error::user(
                    Code::BadInput,
                    format!("--as-of {text:?}: expected DATASET@VERSION or DATASET@TIME, such as metrics@3 or metrics@2026-01-01T00:00:00Z"),
                )
            };
            let (name, at) = text.split_once('@').ok_or_else(expected)?;
            let name = DatasetName::new(name)?;
            let at = match at.parse::<u64>() {
                Ok(version) => AsOf::Version(engine::Version(version)),
                Err(_) => AsOf::Time(
                    chrono::DateTime::parse_from_rfc3339(at).map_err(|_| expected())?.to_utc(),
                ),
            };
            Ok((name, at))
        })
        .collect()
}

/// Resolves on the first request to stop: Ctrl-C or a termination signal.
async fn stop_signal() {
    let interrupt = async {
        // Without a handler the default action stays, which also stops the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pin_is_a_version_or_a_time() {
        let texts = ["metrics@3".to_owned(), "metrics@2026-01-01T00:00:00Z".to_owned()];
        let pins = pins(&texts).unwrap();
        assert!(matches!(pins[0].1, AsOf::Version(engine::Version(3))));
        assert!(matches!(pins[1].1, AsOf::Time(_)));
        for bad in ["metrics", "metrics@", "metrics@soon", "Metrics@1"] {
            assert!(super::pins(&[bad.to_owned()]).is_err(), "{bad:?} passed");
        }
    }
}
