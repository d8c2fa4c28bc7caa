//! Runs done again as they were: each job kind, on the processor.
#![allow(clippy::unwrap_used, clippy::panic)]

use analysis::series::Series;
use arrow::array::RecordBatch;
use datasets::DatasetName;
use datasets::generate::{Generator, GeneratorOptions};
use engine::{Code, Engine, IngestRequest, IngestRows, Principal, Role, TenantId};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use super::{RunRequest, Runner, RunnerOptions};
use crate::run::record::{RunRecord, RunState};
use crate::testing::{Noise, append, engine, reran, sampled};

async fn ingest(engine: &Engine, dataset: &str, rows: u64, seed: u64) {
    let who = Principal::local();
    let options = GeneratorOptions { seed, rows, ..GeneratorOptions::default() };
    let generator = Generator::new(dataset, options).unwrap();
    let spec = generator.spec().clone();
    engine.ensure_dataset(&who, &spec).await.unwrap();
    let batches: Vec<RecordBatch> = generator.map(Result::unwrap).collect();
    let request = IngestRequest { rows: IngestRows::Batches(batches), producer: None };
    engine.ingest(&who, &spec.name, request).await.unwrap();
}

/// One that jumps, and one that follows it.
fn series(seed: u64) -> Vec<Series> {
    let mut noise = Noise::new(seed);
    let mut level = 0.0;
    let first: Vec<f64> = (0..1_500)
        .map(|i| {
            level = 0.9 * level + noise.normal();
            50.0 + level + if i == 900 { 80.0 } else { 0.0 }
        })
        .collect();
    let second = first.iter().map(|value| value * 2.0 + noise.normal() * 0.1).collect();
    vec![sampled("first", 300, first), sampled("second", 300, second)]
}

async fn runner(engine: &Engine) -> Runner {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

async fn run(runner: &Runner, job: &str, params: Value) -> RunRecord {
    let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
    let record = runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap();
    assert_eq!(record.state, RunState::Succeeded, "{job}: {:?}", record.error);
    assert!(!record.contents.is_empty(), "{job}");
    record
}

/// That a run comes out as it did, though its inputs and outputs have gone on.
async fn same(runner: &Runner, record: &RunRecord) {
    let again = reran(runner, record.id).await;
    assert!(again.is_same, "{}: {again:#?}", record.job);
    let rows: u64 = again.outputs.iter().map(|output| output.found.rows).sum();
    assert!(rows > 0, "{}: nothing was compared", record.job);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_makes_the_same_rows_on_what_it_read_then() {
    let engine = engine().await;
    ingest(&engine, "tickets", 600, 1).await;
    append(&engine, "metrics", &series(1)).await;
    let runner = runner(&engine).await;
    let query = json!({
        "query": "SELECT id, length(body) AS letters FROM tickets", "output": "letters",
        "mode": "append", "incremental": "tickets",
    });
    let trained = run(&runner, "triage_train", json!({"embedder": "ngram"})).await;
    let mut records = vec![
        run(&runner, "anomalies", json!({})).await,
        run(&runner, "correlate", json!({})).await,
        run(&runner, "embed", json!({"embedder": "ngram"})).await,
        run(&runner, "duplicates", json!({})).await,
        run(&runner, "sql", query.clone()).await,
        run(&runner, "promote", json!({})).await,
        run(&runner, "triage", json!({})).await,
        run(&runner, "vector_index", json!({})).await,
        trained,
    ];
    // Everything goes on, and what reads only what is new reads that.
    ingest(&engine, "tickets", 40, 2).await;
    append(&engine, "metrics", &[sampled("third", 300, vec![1.0; 300])]).await;
    records.push(run(&runner, "sql", query).await);
    records.push(run(&runner, "embed", json!({"embedder": "ngram"})).await);
    records.push(run(&runner, "duplicates", json!({})).await);
    records.push(run(&runner, "triage", json!({})).await);
    for record in &records {
        same(&runner, record).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_out_otherwise_is_told_and_what_can_not_be_known_refused() {
    let engine = engine().await;
    ingest(&engine, "tickets", 50, 1).await;
    let runner = runner(&engine).await;
    let who = Principal::local();
    let query = json!({"query": "SELECT id, body FROM tickets", "output": "texts"});
    let record = run(&runner, "sql", query).await;
    let commits = engine.history(&who, &DatasetName::new("texts").unwrap(), 10).await.unwrap();
    same(&runner, &record).await;
    let after = engine.history(&who, &DatasetName::new("texts").unwrap(), 10).await.unwrap();
    assert_eq!(after.len(), commits.len(), "it committed something");

    let failing = RunRequest {
        job: "sql".into(),
        params: json!({"query": "SELECT 1 / (length(id) * 0) AS x FROM tickets", "output": "never"}),
        ..RunRequest::default()
    };
    let failed = runner.submit(&who, failing).await.unwrap().wait().await.unwrap();
    assert_eq!(failed.state, RunState::Failed, "{failed:?}");
    let error = runner.rerun(&who, failed.id).await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains("found it failed"), "{error}");

    // Who may not run jobs may not have one done again either, and nobody one of another tenant.
    let reader = Principal { roles: vec![Role::Reader], ..who.clone() };
    assert_eq!(runner.rerun(&reader, record.id).await.unwrap_err().code(), Code::Forbidden);
    let other = Principal { tenant: TenantId::new("other").unwrap(), ..who.clone() };
    assert_eq!(runner.rerun(&other, record.id).await.unwrap_err().code(), Code::NotFound);
    // Of one that was done again, the first is.
    let again = runner.rerun(&who, record.id).await.unwrap().wait().await.unwrap();
    assert_eq!(runner.rerun(&who, again.id).await.unwrap().record().as_it_was, Some(record.id));

    let mut forged = record.clone();
    let content = forged.contents.values_mut().next().unwrap();
    content.rows += 1;
    content.columns.clear();
    let found = super::rerun::compare(&forged, &record.contents);
    assert!(!found.is_same);
    assert_eq!(found.outputs[0].differing, ["body", "id"]);
    runner.shutdown().await;
}
