//! `colonnade serve`: GraphQL, subscriptions and ingest over HTTP, until told to stop.

use engine::{Code, Engine, Error, Principal, Result, Role};
use graphql::{ApiKey, Server, ServerOptions};
use jobs::Runner;

use super::run::{Works, start_runner};
use super::{close, open_to_run, stop_signal};
use crate::cli::Serve;
use crate::config::Settings;
use crate::output::Output;

/// Serves until Ctrl-C or a termination signal, then finishes what was begun.
pub async fn serve(arguments: Serve, settings: &Settings, output: &Output) -> Result<()> {
    let settings = settings
        .with_flag("listen", arguments.listen)
        .with_flag("flight", arguments.flight)
        .with_flag("gpu", arguments.gpu)
        .with_flag("workers", arguments.workers);
    let label = format!("colonnade serve on {}", settings.listen()?);
    let engine = open_to_run(&settings, label.clone()).await?;
    let served = async {
        if settings.workers()? == 0 {
            require_shared(&engine, &settings, "serve --workers 0")?;
        }
        engine.keep_up()?;
        let runner = start_runner(&engine, &settings, Works::Serving, label).await?;
        let served = listen(&engine, &runner, &settings, output).await;
        runner.shutdown().await;
        served
    }
    .await;
    close(&engine, served).await
}

/// That runs can be handed from one process to another: control state is where others find it.
pub(super) fn require_shared(engine: &Engine, settings: &Settings, what: &str) -> Result<()> {
    if engine.folder().is_some() || (engine.is_kept() && settings.control().is_some()) {
        return Ok(());
    }
    let says = match engine.is_kept() {
        true => format!(
            "{what}: the runs of this root would be kept in this process, where no other finds them; expected the setting `control`, \
             a database that servers and workers share, such as control = \"postgres://USER@HOST/DATABASE\""
        ),
        false => format!(
            "{what}: a root in memory is seen by this process alone; expected a folder, or a root in an object store"
        ),
    };
    Err(Error::user(Code::BadInput, says))
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
        flight: settings.flight()?,
        keys: settings.api_keys()?,
        jwt: settings.jwt()?,
        documents: settings.documents()?,
        oidc: settings.oidc()?,
        tls: settings.tls()?,
        certificates: settings.certificates()?,
        cors: settings.cors()?,
        compression: settings.compression(),
        ..ServerOptions::default()
    };
    runner.require_control_kept().await?;
    options.limits = settings.limits()?;
    options.limits.connections_max = connections(options.limits.connections_max);
    report_unfit_grants(engine, &options.keys, output).await;
    let server = Server::bind(engine.clone(), runner.clone(), options).await?;
    output.note(&format!("listening on {}", server.url()));
    if let Some(url) = server.flight_url() {
        output.note(&format!("Flight SQL on {url}"));
    }
    if settings.workers()? == 0 {
        output.note("runs are left to `colonnade worker`");
    }
    server.run(stop_signal()).await
}

/// Warns about keys in the settings whose grants do not fit their datasets, such as a mask on a missing column. Their holders
/// see nothing of those datasets. The server starts anyway, because a column may also be dropped while it runs.
async fn report_unfit_grants(engine: &Engine, keys: &[ApiKey], output: &Output) {
    for key in keys {
        let who = Principal::new(key.tenant.clone(), "colonnade serve", &[Role::Admin]);
        if let Err(error) = engine.require_fitting(&who, &key.grants).await {
            output.note(&format!("warning: key of {} in the settings: {error}", key.subject));
        }
    }
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
