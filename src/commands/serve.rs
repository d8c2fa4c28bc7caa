//! `colonnade serve`: GraphQL, subscriptions and ingest over HTTP, until told to stop.

use engine::{Engine, Result, Urgency};
use graphql::{Server, ServerOptions};
use jobs::{Runner, Takes};

use super::run::start_runner;
use super::{close, open_to_serve, stop_signal};
use crate::cli::Serve;
use crate::config::Settings;
use crate::output::Output;

/// Serves until Ctrl-C or a termination signal, then finishes what was begun.
pub async fn serve(arguments: Serve, settings: &Settings, output: &Output) -> Result<()> {
    let settings = settings.with_flag("listen", arguments.listen).with_flag("gpu", arguments.gpu);
    let label = format!("colonnade serve on {}", settings.listen()?);
    let engine = open_to_serve(&settings, label.clone()).await?;
    let served = async {
        engine.keep_up()?;
        let runner = start_runner(&engine, &settings, Urgency::Patient, Takes::All, label).await?;
        let served = listen(&engine, &runner, &settings, output).await;
        runner.shutdown().await;
        served
    }
    .await;
    close(&engine, served).await
}

/// Binds, says where, and serves until told to stop.
pub async fn listen(
    engine: &Engine,
    runner: &Runner,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let mut options = ServerOptions {
        listen: settings.listen()?,
        keys: settings.api_keys()?,
        ..ServerOptions::default()
    };
    options.limits.ingest_bytes_max = settings.body_bytes()?;
    options.limits.connections_max = connections(options.limits.connections_max);
    let server = Server::bind(engine.clone(), runner.clone(), options).await?;
    output.note(&format!("listening on http://{}", server.address()));
    server.run(stop_signal()).await
}

/// Takes as many descriptors as this process may have. Connections get three quarters of them, `most` at most; the others are
/// for files.
#[cfg(unix)]
fn connections(most: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, all) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors = current.and_then(|current| usize::try_from(current).ok());
    descriptors.map_or(most, |descriptors| most.min(descriptors / 4 * 3).max(1))
}

#[cfg(not(unix))]
fn connections(most: usize) -> usize {
    most
}
