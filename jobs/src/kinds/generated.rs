//! Every kind on generated data, from ingest to committed results, scored against what was planted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta};
use datasets::generate::{Generator, GeneratorOptions, Truth};
use engine::{Engine, IngestRequest, IngestRows, Principal};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::series::evaluate::{Pair, Window, score_groups, score_pairs, score_windows};
use crate::testing::engine;

async fn ingest(engine: &Engine, dataset: &str, rows: u64, seed: u64) -> Truth {
    let who = Principal::local();
    let options = GeneratorOptions { seed, rows, ..GeneratorOptions::default() };
    let generator = Generator::new(dataset, options).unwrap();
    let (spec, truth) = (generator.spec().clone(), generator.truth().clone());
    engine.ensure_dataset(&who, &spec).await.unwrap();
    let batches: Vec<RecordBatch> = generator.map(Result::unwrap).collect();
    let request = IngestRequest { rows: IngestRows::Batches(batches), producer: None };
    let receipt = engine.ingest(&who, &spec.name, request).await.unwrap();
    assert_eq!((receipt.accepted, receipt.quarantined), (rows, 0));
    truth
}

async fn run(engine: &Engine, job: &str, params: Value) -> (RunRecord, Vec<RecordBatch>) {
    let who = Principal::local();
    let options = RunnerOptions { gpu: GpuPolicy::Off, ..RunnerOptions::default() };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
    let record = runner.submit(&who, request).await.unwrap().wait().await.unwrap();
    runner.shutdown().await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let session = engine.session(&who, &[]).await.unwrap();
    let output = record.outputs.iter().rfind(|of| of.dataset.as_str() != "lead_lag").unwrap();
    let frame = session.table(&output.dataset).await.unwrap();
    let rows = session.collect(frame).await.unwrap();
    (record, rows)
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).unwrap();
    let column = arrow::compute::cast(column, &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

fn windows(batches: &[RecordBatch]) -> Vec<Window> {
    let mut found = Vec::new();
    for batch in batches {
        let time = |column: &str, row: usize| {
            let column = batch.column_by_name(column).unwrap();
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            DateTime::from_timestamp_micros(micros).unwrap()
        };
        found.extend(texts(batch, "series").into_iter().enumerate().map(|(row, series)| Window {
            series,
            start: time("started_at", row),
            end: time("ended_at", row),
        }));
    }
    found
}

fn pairs(batches: &[RecordBatch]) -> Vec<Pair> {
    let mut found = Vec::new();
    for batch in batches {
        let lags = batch.column_by_name("lag_seconds").unwrap().as_primitive::<Float64Type>();
        let names = texts(batch, "series_a").into_iter().zip(texts(batch, "series_b"));
        found.extend(names.enumerate().map(|(row, (series_a, series_b))| Pair {
            series_a,
            series_b,
            lag_ms: (lags.value(row) * 1e3) as i64,
        }));
    }
    found
}

#[tokio::test]
async fn what_was_planted_in_generated_metrics_is_found() {
    let engine = engine().await;
    let truth = ingest(&engine, "metrics", 60_000, 1).await;

    let (record, rows) = run(&engine, "anomalies", json!({})).await;
    let planted: Vec<Window> = truth
        .anomalies
        .iter()
        .map(|a| Window { series: a.series.clone(), start: a.start, end: a.end })
        .collect();
    let found = windows(&rows);
    let score = score_windows(&planted, &found, TimeDelta::zero());
    eprintln!(
        "anomalies: {} planted, {} hit, {} false among {}; {}",
        planted.len(),
        score.hit.len(),
        score.false_alarms.len(),
        found.len(),
        stages(&record)
    );
    let missed: Vec<_> = score.missed.iter().map(|i| &truth.anomalies[*i]).collect();
    assert!(planted.len() >= 20 && missed.is_empty(), "{missed:?}");
    let false_alarms: Vec<&Window> = score.false_alarms.iter().map(|i| &found[*i]).collect();
    assert!(false_alarms.len() <= 1, "{false_alarms:?}");

    let (record, rows) = run(&engine, "correlate", json!({})).await;
    let planted: Vec<Pair> = truth
        .correlations
        .iter()
        .map(|c| Pair {
            series_a: c.a.clone(),
            series_b: c.b.clone(),
            lag_ms: c.lag_samples * 300_000,
        })
        .collect();
    let found = pairs(&rows);
    let score = score_pairs(&planted, &found, 0);
    eprintln!(
        "correlate: {} planted, {} found, {} at the right lag, {} false among {}; {}",
        planted.len(),
        score.found.len(),
        score.lag_right.len(),
        score.false_pairs.len(),
        found.len(),
        stages(&record)
    );
    assert_eq!((planted.len(), score.lag_right.len()), (4, 4), "missed {:?}", score.missed);
    assert_eq!(score.false_pairs, [0; 0]);
}

#[tokio::test]
async fn tickets_that_were_sent_again_are_found_and_no_others() {
    let engine = engine().await;
    let truth = ingest(&engine, "tickets", 12_000, 1).await;
    let (record, rows) = run(&engine, "duplicates", json!({})).await;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for batch in &rows {
        for (cluster, id) in texts(batch, "cluster_id").into_iter().zip(texts(batch, "id")) {
            found.entry(cluster).or_default().push(id);
        }
    }
    let found: Vec<Vec<String>> = found.into_values().collect();
    let score = score_groups(&truth.duplicates, &found);
    eprintln!("duplicates: {score:?}; {}", stages(&record));
    assert!(score.planted > 500, "{score:?}");
    assert_eq!((score.found, score.false_pairs), (score.planted, 0));
    // The oldest ticket of a group is the one that the others repeat.
    for members in &truth.duplicates {
        let cluster = found.iter().find(|cluster| cluster.contains(&members[0])).unwrap();
        assert_eq!(cluster.iter().min(), members.iter().min());
    }
}

fn stages(record: &RunRecord) -> String {
    let of = |s: &crate::run::record::StageRecord| format!("{} {:.3} s", s.name, s.wall_seconds);
    record.stages.iter().map(of).collect::<Vec<_>>().join(", ")
}
