#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ident, lit};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{CommitLabel, Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::similar::{Likeness, Method, Similar, SimilarRequest};
use crate::tables::columns::column;
use crate::testing::{Noise, engine, ensure};

const DIMENSIONS: usize = 16;

struct Rig {
    engine: Engine,
    runner: Runner,
}

impl Rig {
    async fn new() -> Self {
        let engine = engine().await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..RunnerOptions::default() };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        Self { engine, runner }
    }

    /// Rows with vectors in `groups` directions, and noise.
    async fn vectors(&self, rows: std::ops::Range<usize>, groups: usize, mode: WriteMode) {
        let text = |name| column(name, ColumnType::Text, false, "");
        let spec = DatasetSpec {
            name: name("embeddings"),
            description: String::new(),
            owner: None,
            derived: true,
            key: Vec::new(),
            time_column: None,
            evolution: Evolution::Fixed,
            load: datasets::LoadSettings::default(),
            partition_by: Vec::new(),
            columns: vec![
                text("source"),
                text("id"),
                text("embedder"),
                text("text_hash"),
                column("vector", ColumnType::Vector(DIMENSIONS as u32), false, ""),
            ],
            validations: Vec::new(),
            relations: Vec::new(),
            dimensions: Vec::new(),
            measures: Vec::new(),
        };
        let who = Principal::local();
        ensure(&self.engine, &spec).await;
        let values: Vec<f32> = rows.clone().flat_map(|row| vector(row, groups)).collect();
        let DataType::List(field) = ColumnType::Vector(1).arrow_type() else { panic!() };
        let lengths = OffsetBuffer::from_lengths(rows.clone().map(|_| DIMENSIONS));
        let lists =
            ListArray::try_new(field, lengths, Arc::new(Float32Array::from(values)), None).unwrap();
        let same = |text: &str| {
            let texts = std::iter::repeat_n(text, rows.len());
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let ids = StringArray::from_iter_values(rows.clone().map(|row| format!("r{row:04}")));
        let columns: Vec<ArrayRef> =
            vec![same("mail"), Arc::new(ids), same("noise@1"), same(""), Arc::new(lists)];
        let batch = RecordBatch::try_new(spec.arrow_schema(), columns).unwrap();
        let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
        self.engine.write(&who, &spec.name, mode, vec![batch], label).await.unwrap();
    }

    async fn run(&self, params: Value) -> RunRecord {
        let mut all = json!({"dataset": "mail", "queries": 100});
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let request =
            RunRequest { job: "vector_index".into(), params: all, ..RunRequest::default() };
        let run = self.runner.submit(&Principal::local(), request).await.unwrap();
        run.wait().await.unwrap()
    }

    async fn index(&self, params: Value) -> Value {
        let record = self.run(params).await;
        assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
        record.summary
    }

    async fn search(&self, row: usize, exact: bool) -> Similar {
        let session = self.engine.session(&Principal::local(), &[]).await.unwrap();
        let request = SimilarRequest {
            dataset: name("mail"),
            id_column: "id".into(),
            vectors: name("embeddings"),
            index: name("vector_index"),
            exact,
            to: Likeness::Id(format!("r{row:04}")),
            k: 10,
            min_score: None,
            filter: None,
        };
        self.runner.similar(&session, request).await.unwrap()
    }
}

fn name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

fn vector(row: usize, groups: usize) -> Vec<f32> {
    let (mut group, mut own) = (Noise::new((row % groups) as u64), Noise::new(1000 + row as u64));
    (0..DIMENSIONS).map(|_| (group.normal() + 0.3 * own.normal()) as f32).collect()
}

#[tokio::test]
async fn an_index_finds_as_much_as_it_says_and_looks_into_few_lists() {
    let rig = Rig::new().await;
    rig.vectors(0..3000, 40, WriteMode::Append).await;
    assert_eq!(rig.search(7, false).await.method, Method::Exact);
    let summary = rig.index(json!({"lists": 64, "min_recall": 0.9})).await;
    let (probes, recall) =
        (summary["probes"].as_u64().unwrap(), summary["recall"].as_f64().unwrap());
    assert!((1..16).contains(&probes) && (0.9..=1.0).contains(&recall), "{summary}");
    let curve: Vec<f64> = summary["curve"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at["recall"].as_f64().unwrap())
        .collect();
    assert!(curve.is_sorted() && curve[..curve.len() - 1].iter().all(|at| *at < 0.9), "{curve:?}");
    let (mut hits, mut all) = (0, 0);
    for row in (3..3000).step_by(30) {
        let (found, exact) = (rig.search(row, false).await, rig.search(row, true).await);
        assert_eq!(exact.method, Method::Exact);
        assert_eq!(found.method, Method::Ivf { probes: probes as usize, lists: 64, recall });
        all += exact.rows.len();
        hits += exact.rows.iter().filter(|row| found.rows.iter().any(|f| f.id == row.id)).count();
        for row in &found.rows {
            if let Some(exact) = exact.rows.iter().find(|exact| exact.id == row.id) {
                assert!((exact.score - row.score).abs() < 1e-5, "{row:?} {exact:?}");
            }
        }
    }
    // Other rows than those that it was measured with: within what chance does to 1,000 of them.
    let found = hits as f64 / all as f64;
    assert!((found - recall).abs() < 0.05, "{found} beside {recall}");
}

#[tokio::test]
async fn rows_that_came_since_are_found_and_rows_that_are_gone_are_not() {
    let rig = Rig::new().await;
    rig.vectors(0..1000, 10, WriteMode::Append).await;
    rig.index(json!({"lists": 16, "min_recall": 0.99})).await;
    rig.vectors(500..1500, 10, WriteMode::Overwrite).await;
    let found = rig.search(1234, false).await;
    assert!(matches!(found.method, Method::Ivf { .. }) && found.candidates == 1000, "{found:?}");
    let ids: Vec<usize> = found.rows.iter().map(|row| row.id[1..].parse().unwrap()).collect();
    assert!(ids.len() == 10 && ids.iter().all(|id| (500..1500).contains(id)), "{ids:?}");
    assert!(ids.iter().any(|id| *id >= 1000), "{ids:?}");
    assert!(ids.iter().filter(|id| *id % 10 == 4).count() >= 9, "{ids:?}");
}

#[tokio::test]
async fn a_narrow_filter_is_searched_exactly() {
    let rig = Rig::new().await;
    rig.vectors(0..1000, 10, WriteMode::Append).await;
    rig.index(json!({"lists": 16})).await;
    // The rows of the source are those of the vectors here.
    let session = rig.engine.session(&Principal::local(), &[]).await.unwrap();
    let request = |least: &str| SimilarRequest {
        dataset: name("mail"),
        id_column: "id".into(),
        vectors: name("embeddings"),
        index: name("vector_index"),
        exact: false,
        to: Likeness::Id("r0003".into()),
        k: 5,
        min_score: None,
        filter: Some(ident("id").gt_eq(lit(least))),
    };
    let spec = DatasetSpec {
        name: name("mail"),
        description: String::new(),
        owner: None,
        derived: false,
        key: vec!["id".into()],
        time_column: None,
        evolution: Evolution::Fixed,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns: vec![column("id", ColumnType::Text, false, "")],
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    };
    drop(session);
    let who = Principal::local();
    rig.engine.ensure_dataset(&who, &spec).await.unwrap();
    let ids = StringArray::from_iter_values((0..1000).map(|row| format!("r{row:04}")));
    let batch = RecordBatch::try_new(spec.arrow_schema(), vec![Arc::new(ids)]).unwrap();
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    rig.engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await.unwrap();
    let session = rig.engine.session(&who, &[]).await.unwrap();
    let few = rig.runner.similar(&session, request("r0980")).await.unwrap();
    assert_eq!((few.method, few.candidates, few.rows.len()), (Method::Exact, 20, 5));
    let many = rig.runner.similar(&session, request("r0100")).await.unwrap();
    assert!(matches!(many.method, Method::Ivf { .. }) && many.candidates == 900, "{many:?}");
    assert!(many.rows.iter().all(|row| *row.id >= *"r0100"), "{many:?}");
}

#[tokio::test]
async fn an_index_of_another_embedder_is_not_taken_and_nothing_can_not_be_indexed() {
    let rig = Rig::new().await;
    rig.vectors(0..500, 10, WriteMode::Append).await;
    let other = rig.run(json!({"dataset": "chat"})).await;
    let message = other.error.unwrap().message;
    assert!(message.contains("chat has no vectors in embeddings"), "{message}");
    let few = rig.index(json!({"min_recall": 1.0})).await;
    assert_eq!(few["recall"], 1.0, "{few}");
    let who = Principal::local();
    let request = RunRequest {
        job: "vector_index".into(),
        params: json!({"min_recall": 0}),
        ..RunRequest::default()
    };
    let message = rig.runner.submit(&who, request).await.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("parameter \"min_recall\": expected above 0"), "{message}");
}
