//! A million tickets: how long a run takes. Not part of the usual tests: it takes minutes and gigabytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use datasets::generate::{Generator, GeneratorOptions};
use engine::{CommitLabel, Engine, EngineOptions, Principal, WriteMode};
use serde_json::json;

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::RunnerOptions;
use crate::series::evaluate::score_groups;

use super::tests::{ask, run_with};

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

/// All tickets, the last `new` of them apart, and which are duplicates.
fn tickets(rows: usize, new: usize) -> (Vec<RecordBatch>, Vec<RecordBatch>, Vec<Vec<String>>) {
    let options = GeneratorOptions { seed: 1, rows: (rows + new) as u64, ..Default::default() };
    let (mut old, mut later, mut seen) = (Vec::new(), Vec::new(), 0);
    let mut generator = Generator::new("tickets", options).unwrap();
    for batch in generator.by_ref().map(Result::unwrap) {
        let first = rows.saturating_sub(seen).min(batch.num_rows());
        seen += batch.num_rows();
        old.push(batch.slice(0, first));
        later.push(batch.slice(first, batch.num_rows() - first));
    }
    (old, later, generator.truth().duplicates.clone())
}

async fn run(engine: &Engine, params: serde_json::Value) -> (RunRecord, f64) {
    let began = std::time::Instant::now();
    let options = RunnerOptions { memory_budget_bytes: 8 << 30, ..RunnerOptions::default() };
    let record = run_with(engine, params, options).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let seconds = began.elapsed().as_secs_f64();
    for stage in &record.stages {
        let mib = stage.peak_memory_bytes >> 20;
        eprintln!("  {}: {:.2} s, +{mib} MiB, {}", stage.name, stage.wall_seconds, stage.facts);
    }
    (record, seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and gigabytes; its figures stand in benches/RESULTS.md"]
async fn a_million_tickets_and_one_in_a_hundred_more() {
    let folder = tempfile::tempdir().unwrap();
    let root = format!("file:{}", folder.path().display());
    let engine = Engine::open(EngineOptions { root, ..EngineOptions::default() }).await.unwrap();
    let rows = tickets_wanted();
    let (old, new, planted) = tickets(rows, rows / 100);
    append(&engine, old).await;
    let (record, full) = run(&engine, json!({})).await;
    eprintln!("{rows} tickets: {full:.2} s, {}", record.summary);
    append(&engine, new).await;
    let (record, more) = run(&engine, json!({})).await;
    eprintln!("{} more: {more:.2} s, {:.1} %; {}", rows / 100, 100.0 * more / full, record.summary);
    assert_eq!(record.summary["all_because"], serde_json::Value::Null);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in ask(&engine, "SELECT cluster_id, id FROM duplicate_clusters").await {
        found.entry(row[0].clone()).or_default().push(row[1].clone());
    }
    let score = score_groups(&planted, &found.into_values().collect::<Vec<_>>());
    eprintln!("of the pairs within planted groups: {score:?}");
    assert!(score.found as f64 >= 0.99 * score.planted as f64, "{score:?}");
    assert!(score.false_pairs as f64 <= 0.01 * score.planted as f64, "{score:?}");

    // The same, of all rows at once.
    let apart = json!({
        "index_output": null, "pairs_output": "all_pairs", "clusters_output": "all_clusters",
    });
    let (_, seconds) = run(&engine, apart).await;
    eprintln!("all rows again: {seconds:.2} s");
    let columns = [
        ("pairs", "id_a, id_b, grounds, similarity, reason, cluster_id"),
        ("clusters", "id, cluster_id, is_representative, members, similarity"),
    ];
    for (of, columns) in columns {
        let rows = |name: &str| format!("SELECT {columns} FROM {name}_{of} ORDER BY 1, 2");
        let found = ask(&engine, &rows("duplicate")).await;
        let expected = ask(&engine, &rows("all")).await;
        eprintln!("{of}: {} rows, of all rows at once {}", found.len(), expected.len());
        assert!(found == expected, "{of} differ");
    }
}
