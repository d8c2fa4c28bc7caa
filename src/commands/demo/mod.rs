//! `colonnade demo`: the whole way of the data in one command, and an honest look at the result.
//!
//! Data is generated with planted truth, ingested as any producer's would be, every job runs over it, and
//! what the jobs found is counted against what was planted. Nothing of it takes a path that a user's own
//! data would not take.

mod check;
mod fill;
mod summary;

use std::time::Instant;

use engine::{Code, Engine, Error, Principal, Result};
use jobs::{RunRecord, RunRequest, Runner};
use models::{ALL_MINILM_L6_V2, ArtifactFiles, NGRAM};
use serde_json::{Value, json};

use super::run::{Works, start_runner, succeeded};
use super::serve::listen;
use super::{close, open_to_run};
use crate::cli::Demo;
use crate::config::Settings;
use crate::output::Output;
use fill::DatasetSummary;
use summary::{JobSummary, Summary};

/// The jobs that the demo runs, in order, and the dataset that each looks at.
const JOBS: &[(&str, &str)] = &[
    ("anomalies", "metrics"),
    ("correlate", "metrics"),
    ("duplicates", "tickets"),
    ("embed", "tickets"),
    ("triage", "tickets"),
];

/// What it is to others.
const LABEL: &str = "colonnade demo";

/// More texts than these take a model minutes on a processor.
const MODEL_TEXTS_MAX: u64 = 5_000;

/// Fewer tickets than these are too few to learn ten labels from.
const TRIAGE_ROWS_MIN: u64 = 100;

/// The jobs that one needs to have run before it.
fn before(job: &str) -> &'static [&'static str] {
    if job == "triage" { &["triage_train", "promote"] } else { &[] }
}

/// The parameters of a job: for texts what needs no model where there is none, so that the demo waits for no download.
async fn params(engine: &Engine, who: &Principal, job: &str, embedder: &str) -> Result<Value> {
    Ok(match job {
        "embed" => json!({ "embedder": embedder }),
        "triage_train" => json!({ "embedder": "ngram", "dimension": 256, "noise_folds": 0 }),
        "triage" => json!({ "teams": check::teams(engine, who).await? }),
        _ => json!({}),
    })
}

/// Fills, runs, checks, prints, and serves unless told not to.
pub async fn demo(arguments: Demo, settings: &Settings, output: &Output) -> Result<()> {
    let settings = settings
        .with_flag("listen", arguments.listen.clone())
        .with_flag("gpu", arguments.gpu.clone());
    let engine = open_to_run(&settings, LABEL).await?;
    let shown = show(&engine, &arguments, &settings, output).await;
    close(&engine, shown).await
}

async fn show(
    engine: &Engine,
    arguments: &Demo,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    // It waits for its own runs.
    if settings.workers()? == 0 {
        let says = "setting workers = 0: the demo works at its runs itself; expected 1 or more";
        return Err(Error::user(Code::BadInput, says));
    }
    let runner = start_runner(engine, settings, Works::Serving, LABEL.into()).await?;
    let shown = async {
        let summary = fill_and_run(engine, &runner, arguments, settings, output).await?;
        if output.is_json() {
            output.document(&summary)?;
        } else {
            output.line(&summary.to_string())?;
        }
        if arguments.no_serve {
            return Ok(());
        }
        output.note("open the address below for GraphiQL with a first query; Ctrl-C ends");
        listen(engine, &runner, settings, output).await
    }
    .await;
    runner.shutdown().await;
    shown
}

async fn fill_and_run(
    engine: &Engine,
    runner: &Runner,
    arguments: &Demo,
    settings: &Settings,
    output: &Output,
) -> Result<Summary> {
    let who = settings.principal()?;
    let began = Instant::now();
    let filled = fill::fill(engine, &who, arguments, output).await?;
    let mut jobs = Vec::new();
    let tickets = rows_of(&filled.datasets, "tickets");
    let embedder = embedder(settings, tickets, output)?;
    for &(job, dataset) in JOBS {
        if job == "triage" && tickets < TRIAGE_ROWS_MIN {
            output.note(&format!("{job}: left out, {tickets} tickets are too few to learn from"));
            continue;
        }
        let asked = Instant::now();
        for first in before(job) {
            run(engine, runner, &who, first, embedder, settings).await?;
        }
        let record = run(engine, runner, &who, job, embedder, settings).await?;
        let seconds = asked.elapsed().as_secs_f64();
        let truth = filled.truths.get(dataset).ok_or_else(|| {
            Error::internal(format!("the demo generates no {dataset}, which {job} looks at"))
        })?;
        let found = check::against_truth(engine, runner, &who, truth, &record).await?;
        jobs.push(JobSummary::new(&record, seconds, found));
    }
    Ok(Summary { datasets: filled.datasets, jobs, seconds: began.elapsed().as_secs_f64() })
}

fn rows_of(datasets: &[DatasetSummary], name: &str) -> u64 {
    datasets.iter().find(|it| it.dataset == name).map_or(0, |it| it.rows)
}

/// Who embeds the tickets: the model, where it was pulled and will not take minutes.
fn embedder(settings: &Settings, tickets: u64, output: &Output) -> Result<&'static str> {
    let folder = settings.models()?.join(ALL_MINILM_L6_V2);
    let is_here = ArtifactFiles::read(&folder).is_ok_and(|files| files.artifact().is_ok());
    let why = match (is_here, tickets <= MODEL_TEXTS_MAX) {
        (true, true) => return Ok(ALL_MINILM_L6_V2),
        (false, _) => format!("{ALL_MINILM_L6_V2} was not pulled (`colonnade models pull`)"),
        (true, false) => format!("{ALL_MINILM_L6_V2} would take minutes for {tickets} tickets"),
    };
    output.note(&format!("embed: by hashed n-grams, which know nothing of meaning: {why}"));
    Ok(NGRAM)
}

async fn run(
    engine: &Engine,
    runner: &Runner,
    who: &Principal,
    job: &str,
    embedder: &str,
    settings: &Settings,
) -> Result<RunRecord> {
    let request = RunRequest {
        job: job.to_owned(),
        params: params(engine, who, job, embedder).await?,
        gpu: Some(settings.gpu()?),
        ..RunRequest::default()
    };
    succeeded(runner.submit(who, request).await?.wait().await?)
}
