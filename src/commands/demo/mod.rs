//! `colonnade demo`: the whole way of the data in one command, and an honest look at the result.
//!
//! Data is generated with planted truth, ingested as any producer's would be, every job runs over it, and
//! what the jobs found is counted against what was planted. Nothing of it takes a path that a user's own
//! data would not take.

mod check;
mod fill;
mod summary;

use std::time::Instant;

use engine::{Engine, Error, Result};
use jobs::{RunRequest, Runner};
use serde_json::json;

use super::run::{start_runner, succeeded};
use super::serve::listen;
use super::{close, open_to_write};
use crate::cli::Demo;
use crate::config::Settings;
use crate::output::Output;
use summary::{JobSummary, Summary};

/// The jobs that the demo runs, in order, and the dataset that each looks at.
const JOBS: &[(&str, &str)] =
    &[("anomalies", "metrics"), ("correlate", "metrics"), ("duplicates", "tickets")];

/// Fills, runs, checks, prints, and serves unless told not to.
pub async fn demo(arguments: Demo, settings: &Settings, output: &Output) -> Result<()> {
    let settings = settings
        .with_flag("listen", arguments.listen.map(|address| address.to_string()))
        .with_flag("gpu", arguments.gpu.clone());
    let engine = open_to_write(&settings, "colonnade demo").await?;
    let shown = show(&engine, &arguments, &settings, output).await;
    close(&engine, shown).await
}

async fn show(
    engine: &Engine,
    arguments: &Demo,
    settings: &Settings,
    output: &Output,
) -> Result<()> {
    let runner = start_runner(engine, settings).await?;
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
    for &(job, dataset) in JOBS {
        let asked = Instant::now();
        let request = RunRequest {
            job: job.to_owned(),
            params: json!({}),
            gpu: Some(settings.gpu()?),
            pins: Vec::new(),
        };
        let record = succeeded(runner.submit(&who, request).await?.wait().await?)?;
        let seconds = asked.elapsed().as_secs_f64();
        let truth = filled.truths.get(dataset).ok_or_else(|| {
            Error::internal(format!("the demo generates no {dataset}, which {job} looks at"))
        })?;
        let found = check::against_truth(engine, &who, job, truth, &record).await?;
        jobs.push(JobSummary::new(&record, seconds, found));
    }
    Ok(Summary { datasets: filled.datasets, jobs, seconds: began.elapsed().as_secs_f64() })
}
