//! `colonnade demo`: the whole way of the data in one command, and an honest look at the result.
//!
//! Data is generated with planted truth, ingested as any producer's would be, every job runs over it, and
//! what the jobs found is counted against what was planted; too little of it is an error. Nothing of it takes a path that a user's own
//! data would not take.

mod calls;
mod check;
mod features;
mod fill;
mod matters;
mod program;
mod steps;
mod summary;

use std::time::Instant;

use ::datasets::generate::Truth;
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
use fill::{DatasetSummary, Truths};
use steps::{LooksFor, Step, steps};
use summary::{CHECKED_FROM_ROWS, JobSummary, LeftOut, Summary};

/// What it is to others.
const LABEL: &str = "colonnade demo";

/// More texts than these take a model minutes on a processor.
const MODEL_TEXTS_MAX: u64 = 5_000;

/// Fewer tickets than these are too few to learn ten labels from.
const TRIAGE_ROWS_MIN: u64 = 100;

/// Fewer groups of copies than these are too few to learn from some and judge by others.
const GROUPS_MIN: usize = 20;

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
    let programs = program::folder(settings);
    let named = programs.as_ref().ok().map(|folder| folder.path().display().to_string());
    let settings = &settings.with_flag("programs", named);
    let runner = start_runner(engine, settings, Works::Serving, LABEL.into()).await?;
    let demo = Demonstration { engine, runner: &runner, who: settings.principal()?, settings };
    let shown = async {
        let summary = demo.fill_and_run(arguments, programs.as_ref().err(), output).await?;
        if output.is_json() {
            output.document(&summary)?;
        } else {
            output.line(&summary.to_string())?;
        }
        if let Some(note) = summary.require_found()? {
            output.note(&note);
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

/// Calls of which an hour has enough to say why it stands out.
const CALLS_MIN: u64 = 50_000;

/// What the demo runs with.
struct Demonstration<'a> {
    engine: &'a Engine,
    runner: &'a Runner,
    who: Principal,
    settings: &'a Settings,
}

impl Demonstration<'_> {
    /// `no_programs` says why there are none.
    async fn fill_and_run(
        &self,
        arguments: &Demo,
        no_programs: Option<&String>,
        output: &Output,
    ) -> Result<Summary> {
        let began = Instant::now();
        let filled = fill::fill(self.engine, &self.who, arguments, output).await?;
        let (mut jobs, mut left_out) = (Vec::new(), Vec::new());
        let tickets = rows_of(&filled.datasets, "tickets");
        let (embedder, no_model) = embedder(self.settings, tickets);
        if let Some(why) = &no_model {
            output.note(&format!("embed: by hashed n-grams, which know nothing of meaning: {why}"));
        }
        for step in steps(embedder) {
            let truth = filled.truths.get(step.dataset).ok_or_else(|| {
                let (dataset, job) = (step.dataset, step.job);
                Error::internal(format!("the demo generates no {dataset}, which {job} looks at"))
            })?;
            let causes = match step.looks_for {
                LooksFor::Causes => check::causes_asked(self.engine, &self.who).await?,
                _ => Vec::new(),
            };
            let why = match step.job {
                "explain" if causes.is_empty() => {
                    Some("no hour stands out, of which a cause could be asked".to_owned())
                }
                "explain" => too_few(rows_of(&filled.datasets, "model_calls"), CALLS_MIN, "calls"),
                "exec" => no_programs.cloned(),
                "embedder_train" => no_encoder(self.settings).or_else(|| {
                    too_few(truth.duplicates.len() as u64, GROUPS_MIN as u64, "copies")
                }),
                "triage_train" | "promote" | "triage" => {
                    too_few(tickets, TRIAGE_ROWS_MIN, "tickets")
                }
                _ => None,
            };
            match why {
                Some(why) => left_out.push(LeftOut { job: step.job.to_owned(), why }),
                None => jobs.push(self.take(&step, &filled.truths, truth, &causes).await?),
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let rows = arguments.rows;
        let is_checked = rows >= CHECKED_FROM_ROWS;
        Ok(Summary { rows, is_checked, datasets: filled.datasets, jobs, left_out, seconds })
    }

    /// One step, counted.
    async fn take(
        &self,
        step: &Step,
        truths: &Truths,
        truth: &Truth,
        causes: &[Value],
    ) -> Result<JobSummary> {
        let asked = Instant::now();
        for &made in step.queries {
            self.run("sql", steps::query(made)).await?;
        }
        let mut params = step.params.clone();
        if step.looks_for == LooksFor::Teams {
            params["teams"] = json!(check::teams(self.engine, &self.who).await?);
        }
        if step.looks_for == LooksFor::HeldOutValues {
            params["to"] = json!(check::known_until(self.engine, &self.who, 24).await?);
        }
        if step.looks_for == LooksFor::Causes {
            let mut asked = causes.to_vec();
            params = asked.pop().unwrap_or(params);
            for params in asked {
                self.run(step.job, params).await?;
            }
        }
        let catalog = self.engine.catalog(&self.who).await?;
        let rows_before =
            catalog.datasets.iter().map(|(name, it)| (name.clone(), it.rows.unwrap_or(0)));
        let rows_before = rows_before.collect();
        let record = self.run(step.job, params).await?;
        let seconds = asked.elapsed().as_secs_f64();
        let counted = check::Counted {
            engine: self.engine,
            runner: self.runner,
            who: &self.who,
            truth,
            truths,
            record: &record,
            rows_before: &rows_before,
        };
        let found = counted.against_truth(step.looks_for).await?;
        Ok(JobSummary::new(&record, step.looks_for, seconds, found))
    }

    async fn run(&self, job: &str, params: Value) -> Result<RunRecord> {
        let gpu = Some(self.settings.gpu()?);
        let request = RunRequest { job: job.to_owned(), params, gpu, ..RunRequest::default() };
        succeeded(self.runner.submit(&self.who, request).await?.wait().await?)
    }
}

fn too_few(found: u64, least: u64, of: &str) -> Option<String> {
    let says = || format!("{found} {of} are too few to learn from; expected {least} or more");
    (found < least).then(says)
}

fn rows_of(datasets: &[DatasetSummary], name: &str) -> u64 {
    datasets.iter().find(|it| it.dataset == name).map_or(0, |it| it.rows)
}

/// Who embeds the tickets: the model, where it was pulled and will not take minutes; otherwise also why it does not.
fn embedder(settings: &Settings, tickets: u64) -> (&'static str, Option<String>) {
    let why = no_encoder(settings).or_else(|| {
        (tickets > MODEL_TEXTS_MAX)
            .then(|| format!("{ALL_MINILM_L6_V2} would take minutes for {tickets} tickets"))
    });
    (if why.is_some() { NGRAM } else { ALL_MINILM_L6_V2 }, why)
}

/// Why there is no encoder.
fn no_encoder(settings: &Settings) -> Option<String> {
    let is_here = settings.models().is_ok_and(|models| {
        let files = ArtifactFiles::read(&models.join(ALL_MINILM_L6_V2));
        files.is_ok_and(|files| files.artifact().is_ok())
    });
    (!is_here).then(|| format!("{ALL_MINILM_L6_V2} was not pulled (`colonnade models pull`)"))
}
