//! A million tickets: how long a run takes. Not part of the usual tests: it takes minutes and gigabytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use arrow::array::RecordBatch;
use datasets::generate::{Generator, GeneratorOptions};
use engine::{CommitLabel, Engine, EngineOptions, Principal, WriteMode};
use serde_json::json;

use crate::record::{RunRecord, RunState};
use crate::runner::RunnerOptions;

use super::tests::run_with;

fn tickets_wanted() -> usize {
    std::env::var("COLONNADE_TICKETS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

async fn append(engine: &Engine, batches: Vec<RecordBatch>) {
    let who = Principal::local();
    let spec = Generator::new("tickets", GeneratorOptions::default()).unwrap().spec().clone();
    engine.ensure_dataset(&who, &spec).await.unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&who, &spec.name, WriteMode::Append, batches, label).await.unwrap();
}

/// All tickets, the last `new` of them apart.
fn tickets(rows: usize, new: usize) -> (Vec<RecordBatch>, Vec<RecordBatch>) {
    let options = GeneratorOptions { seed: 1, rows: (rows + new) as u64, ..Default::default() };
    let (mut old, mut later, mut seen) = (Vec::new(), Vec::new(), 0);
    for batch in Generator::new("tickets", options).unwrap().map(Result::unwrap) {
        let first = rows.saturating_sub(seen).min(batch.num_rows());
        seen += batch.num_rows();
        old.push(batch.slice(0, first));
        later.push(batch.slice(first, batch.num_rows() - first));
    }
    (old, later)
}

async fn run(engine: &Engine) -> (RunRecord, f64) {
    let began = std::time::Instant::now();
    let options = RunnerOptions { memory_budget_bytes: 8 << 30, ..RunnerOptions::default() };
    let record = run_with(engine, json!({}), options).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let seconds = began.elapsed().as_secs_f64();
    for stage in &record.stages {
        let mib = stage.peak_memory_bytes >> 20;
        eprintln!("  {}: {:.2} s, +{mib} MiB, {}", stage.name, stage.wall_seconds, stage.facts);
    }
    (record, seconds)
}

#[tokio::test]
#[ignore = "takes minutes and gigabytes; its figures stand in benches/RESULTS.md"]
async fn a_million_tickets_and_one_in_a_hundred_more() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("file:{}", folder.path().display());
    let engine = Engine::open(EngineOptions { root, ..EngineOptions::default() }).await.unwrap();
    let rows = tickets_wanted();
    let (old, new) = tickets(rows, rows / 100);
    append(&engine, old).await;
    let (record, full) = run(&engine).await;
    eprintln!("{rows} tickets: {full:.2} s, {}", record.summary);
    append(&engine, new).await;
    let (record, more) = run(&engine).await;
    eprintln!("{} more: {more:.2} s, {:.1} %; {}", rows / 100, 100.0 * more / full, record.summary);
}
