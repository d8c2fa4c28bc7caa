//! Generates the five datasets and ingests them, through the same door as any producer.

use std::collections::BTreeMap;
use std::time::Instant;

use ::datasets::generate::{Generator, GeneratorOptions, Truth};
use ::datasets::{DatasetName, specs};
use engine::{Code, Engine, Error, IngestRequest, IngestRows, Principal, ProducerSequence, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::Demo;
use crate::output::{Output, count};

/// Rows of each dataset for every hundred model calls.
const SHARES_PERCENT: &[(&str, u64)] = &[
    ("model_calls", 100),
    ("tickets", 10),
    ("workflow_steps", 25),
    ("metrics", 50),
    ("events", 50),
];

/// Rows of one ingest call: large enough that a commit's cost does not show.
const BATCH_ROWS: usize = 65_536;

/// What was ingested.
pub struct Filled {
    /// Per dataset, in the order of ingest.
    pub datasets: Vec<DatasetSummary>,
    /// What was planted, by dataset.
    pub truths: Truths,
}

/// What was planted, by dataset.
pub type Truths = BTreeMap<&'static str, Truth>;

/// One dataset of the demo.
#[derive(Debug, Serialize)]
pub struct DatasetSummary {
    /// Its name.
    pub dataset: String,
    /// Rows that are there.
    pub rows: u64,
    /// Rows that this run brought; the rest was there from an earlier run of the same demo.
    pub ingested: u64,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// Generating, checking and committing them.
    pub seconds: f64,
    /// Rows a second, of those that this run brought.
    pub rows_per_second: f64,
    /// The version that holds them.
    pub version: u64,
}

/// Generates and ingests. A second run with the same rows and seed brings nothing twice.
pub async fn fill(
    engine: &Engine,
    who: &Principal,
    arguments: &Demo,
    output: &Output,
) -> Result<Filled> {
    let mut datasets = Vec::new();
    let mut truths = BTreeMap::new();
    for &(name, percent) in SHARES_PERCENT {
        let rows = (arguments.rows * percent / 100).max(1);
        let (summary, planted) = fill_one(engine, who, name, rows, arguments, output).await?;
        datasets.push(summary);
        truths.insert(name, planted);
    }
    Ok(Filled { datasets, truths })
}

async fn fill_one(
    engine: &Engine,
    who: &Principal,
    name: &str,
    rows: u64,
    arguments: &Demo,
    output: &Output,
) -> Result<(DatasetSummary, Truth)> {
    let dataset = DatasetName::new(name)?;
    let spec = specs::by_name(name)
        .ok_or_else(|| Error::internal(format!("no built-in dataset {name}")))?;
    let before = engine.ensure_dataset(who, &spec).await?;
    let options = GeneratorOptions { seed: arguments.seed, rows, batch_rows: BATCH_ROWS };
    let mut generator = Generator::new(name, options)?;
    let producer = format!("demo seed {} rows {}", arguments.seed, arguments.rows);
    let bar = progress(output, name, rows);
    let began = Instant::now();
    let mut summary = DatasetSummary {
        dataset: name.to_owned(),
        rows: 0,
        ingested: 0,
        quarantined: 0,
        seconds: 0.0,
        rows_per_second: 0.0,
        version: before.version.0,
    };
    let mut sequence = 0;
    loop {
        // Generating is computing: it must not hold up the executor.
        let (returned, batch) = tokio::task::spawn_blocking(move || {
            let batch = generator.next();
            (generator, batch)
        })
        .await
        .map_err(|e| Error::internal(format!("generate {name}: {e}")))?;
        generator = returned;
        let Some(batch) = batch.transpose()? else { break };
        let batch_rows = batch.num_rows() as u64;
        let request = IngestRequest {
            rows: IngestRows::Batches(vec![batch]),
            producer: Some(ProducerSequence { producer: producer.clone(), sequence }),
        };
        let receipt = engine.ingest(who, &dataset, request).await?;
        sequence += 1;
        summary.version = receipt.version.0;
        summary.quarantined += receipt.quarantined;
        summary.ingested += receipt.accepted;
        bar.inc(batch_rows);
    }
    bar.finish_and_clear();
    summary.seconds = began.elapsed().as_secs_f64();
    summary.rows_per_second = summary.ingested as f64 / summary.seconds;
    summary.rows =
        engine.catalog(who).await?.datasets.get(&dataset).and_then(|e| e.rows).unwrap_or(0);
    if summary.rows + summary.quarantined != rows && summary.rows != rows {
        return Err(Error::user(
            Code::Conflict,
            format!(
                "demo: {name} holds {} rows; expected the {} of this demo alone. It was filled by something else: name an empty place with --data",
                count(summary.rows),
                count(rows)
            ),
        ));
    }
    Ok((summary, generator.truth().clone()))
}

fn progress(output: &Output, name: &str, rows: u64) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows);
    if let Ok(style) =
        ProgressStyle::with_template("{msg:16} {wide_bar} {human_pos}/{human_len} rows, {per_sec}")
    {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar
}
