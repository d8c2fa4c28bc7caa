//! `colonnade worker`: works at runs until told to end, and serves nothing.

use engine::{Engine, Result};

use super::run::{Works, start_runner};
use super::serve::require_shared;
use super::{close, open_to_run, stop_signal};
use crate::cli::Worker;
use crate::config::Settings;
use crate::output::{Output, count};

/// What it is to others.
const LABEL: &str = "colonnade worker";

/// Works until Ctrl-C or a termination signal. What it is at by then is put back, for others or the next one.
pub async fn worker(arguments: Worker, settings: &Settings, output: &Output) -> Result<()> {
    let settings =
        settings.with_flag("concurrent", arguments.concurrent).with_flag("gpu", arguments.gpu);
    // Before anything is waited for: a signal that comes while it begins ends it as well.
    settings.concurrent()?;
    let engine = open_to_run(&settings, LABEL).await?;
    let worked = work(&engine, &settings, output).await;
    close(&engine, worked).await
}

async fn work(engine: &Engine, settings: &Settings, output: &Output) -> Result<()> {
    require_shared(engine, settings, LABEL)?;
    let mut stop = std::pin::pin!(stop_signal());
    engine.keep_up()?;
    let started = start_runner(engine, settings, Works::Working, LABEL.into());
    let runner = tokio::select! {
        biased;
        // Polled first, so that it listens from here on.
        () = stop.as_mut() => return Ok(()),
        started = started => started?,
    };
    output.note(&format!(
        "{} works at runs of all tenants, {} at a time",
        runner.label(),
        count(settings.concurrent()? as u64)
    ));
    stop.await;
    runner.shutdown().await;
    Ok(())
}
