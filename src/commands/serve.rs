//! `colonnade serve`: GraphQL, subscriptions and ingest over HTTP, until told to stop.

use engine::{Engine, Result};
use graphql::{Server, ServerOptions};
use jobs::Runner;

use super::run::start_runner;
use super::{close, open_to_write, stop_signal};
use crate::cli::Serve;
use crate::config::Settings;
use crate::output::Output;

/// Serves until Ctrl-C or a termination signal, then finishes what was begun.
pub async fn serve(arguments: Serve, settings: &Settings, output: &Output) -> Result<()> {
    let settings = settings
        .with_flag("listen", arguments.listen.map(|address| address.to_string()))
        .with_flag("gpu", arguments.gpu);
    let engine =
        open_to_write(&settings, format!("colonnade serve on {}", settings.listen()?)).await?;
    let served = async {
        let runner = start_runner(&engine, &settings).await?;
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
    let server = Server::bind(engine.clone(), runner.clone(), options).await?;
    output.note(&format!("listening on http://{}", server.address()));
    server.run(stop_signal()).await
}
