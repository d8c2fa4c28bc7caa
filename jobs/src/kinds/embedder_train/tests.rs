//! The whole way of an embedder: trained on pairs, refused where it is worse, promoted, used for vectors, searches and
//! triage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use datasets::{ColumnType, DatasetName, DatasetSpec, Evolution};
use engine::{CommitLabel, DERIVED_NAMES, Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::registry::tiny_model;
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::similar::{Likeness, SimilarRequest};
use crate::tables::columns::column;
use crate::testing::{Noise, engine, ensure, reran};
use crate::texts::labels::{PairLabel, label_pairs};

/// Meanings, each with two words.
const MEANINGS: usize = 24;
const PAIRS: usize = 160;

struct Rig {
    engine: Engine,
    runner: Runner,
    _models: tempfile::TempDir,
}

fn words() -> Vec<String> {
    let others = (0..6).map(|n| format!("the{n}"));
    (0..MEANINGS).flat_map(|n| [format!("left{n}"), format!("right{n}")]).chain(others).collect()
}

fn spec(name: &str, key: &[&str], columns: Vec<datasets::ColumnSpec>) -> DatasetSpec {
    DatasetSpec {
        name: DatasetName::new(name).unwrap(),
        description: String::new(),
        owner: None,
        derived: DERIVED_NAMES.contains(&name),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        time_column: None,
        evolution: Evolution::Fixed,
        load: datasets::LoadSettings::default(),
        partition_by: Vec::new(),
        columns,
        validations: Vec::new(),
        relations: Vec::new(),
        dimensions: Vec::new(),
        measures: Vec::new(),
    }
}

impl Rig {
    /// Tickets in pairs that say the same in other words, some that say nothing else does, and the pairs.
    async fn new() -> Self {
        let models = tempfile::tempdir().unwrap();
        tiny_model::write(models.path(), "tiny", &words());
        let engine = engine().await;
        let rig = Self { runner: runner(&engine, models.path()).await, engine, _models: models };
        let mut noise = Noise::new(3);
        let mut below = |count: usize| (noise.uniform() * count as f64) as usize;
        let (mut ids, mut bodies) = (Vec::new(), Vec::new());
        let mut labels = Vec::new();
        for pair in 0..PAIRS {
            let meanings = [below(MEANINGS), below(MEANINGS), below(MEANINGS)];
            for side in ["left", "right"] {
                ids.push(format!("t{}", ids.len()));
                let mut text: Vec<String> =
                    meanings.iter().map(|meaning| format!("{side}{meaning}")).collect();
                text.push(format!("the{}", below(6)));
                bodies.push(text.join(" "));
                labels.push(["first", "second"][pair % 2]);
            }
        }
        let text = |name| column(name, ColumnType::Text, false, "");
        let columns = vec![text("id"), text("body"), text("label")];
        let tickets = spec("tickets", &["id"], columns);
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let of_labels = Arc::new(StringArray::from(labels)) as ArrayRef;
        rig.append(&tickets, vec![texts(ids), texts(bodies), of_labels]).await;
        let columns = ["source", "id_a", "id_b"].map(text).into_iter();
        let similarity = column("similarity", ColumnType::Float64, false, "");
        let pairs = spec("duplicate_pairs", &[], columns.chain([similarity]).collect());
        let of = |to: &dyn Fn(usize) -> String| texts((0..PAIRS).map(to).collect());
        let columns = vec![
            of(&|_| "tickets".into()),
            of(&|pair| format!("t{}", 2 * pair)),
            of(&|pair| format!("t{}", 2 * pair + 1)),
            Arc::new(Float64Array::from(vec![0.9; PAIRS])) as ArrayRef,
        ];
        rig.append(&pairs, columns).await;
        rig
    }

    async fn append(&self, spec: &DatasetSpec, columns: Vec<ArrayRef>) {
        let who = Principal::local();
        ensure(&self.engine, spec).await;
        let batch = RecordBatch::try_new(spec.arrow_schema(), columns).unwrap();
        let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
        self.engine.write(&who, &spec.name, WriteMode::Append, vec![batch], label).await.unwrap();
    }

    async fn run(&self, job: &str, params: Value) -> RunRecord {
        let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
        self.runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap()
    }

    async fn done(&self, job: &str, params: Value) -> Value {
        let record = self.run(job, params).await;
        assert_eq!(record.state, RunState::Succeeded, "{job}: {:?}", record.error);
        record.summary
    }

    async fn fails(&self, job: &str, params: Value) -> String {
        let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
        match self.runner.submit(&Principal::local(), request).await {
            Err(error) => error.to_string(),
            Ok(handle) => {
                let record = handle.wait().await.unwrap();
                assert_eq!(record.state, RunState::Failed, "{job}: {}", record.summary);
                let error = record.error.unwrap();
                format!("{}: {}", error.code, error.message)
            }
        }
    }
}

async fn runner(engine: &Engine, models: &Path) -> Runner {
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 2,
        models: Some(models.to_owned()),
        ..RunnerOptions::default()
    };
    Runner::start(engine.clone(), options).await.unwrap()
}

fn with(more: Value) -> Value {
    let mut params = json!({
        "embedder": "tiny", "text_columns": ["body"], "epochs": 30, "learning_rate": 5e-3,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[tokio::test]
async fn an_embedder_is_trained_promoted_and_used() {
    let rig = Rig::new().await;
    let record = rig.run("embedder_train", with(json!({}))).await;
    let trained = record.summary.clone();
    let recall = |of: &str| trained[of]["recall_at_1"].as_f64().unwrap();
    assert!(recall("found") > recall("before") + 0.2, "{trained:#}");
    assert_eq!(
        (&trained["pairs"], &trained["train_pairs"]),
        (&json!(PAIRS), &trained["groups"]["train"])
    );
    assert_eq!(trained["compared"]["version"], trained["embedder"]);
    let steps = |of: &str| trained[of]["steps"].as_u64().unwrap();
    // It may end early.
    assert!(
        steps("training") > 0 && steps("training") <= steps("training_estimate"),
        "{trained:#}"
    );
    let one = trained["version"].as_str().unwrap().to_owned();

    // Nothing is in production yet.
    let vectors =
        json!({ "embedder": "embedder@production", "dimension": 32, "text_columns": ["body"] });
    let error = rig.fails("embed", vectors.clone()).await;
    assert!(error.contains("no version is in production"), "{error}");
    let promoted = rig.done("promote", json!({ "model": "embedder" })).await;
    assert_eq!(promoted["in_production"], json!(one));
    let embedded = rig.done("embed", vectors).await;
    assert_eq!(embedded["embedder"], format!("embedder@{one}"));

    // A text is searched for by the version that made the vectors.
    let session = rig.engine.session(&Principal::local(), &[]).await.unwrap();
    let name = |name: &str| DatasetName::new(name).unwrap();
    let request = SimilarRequest {
        dataset: name("tickets"),
        id_column: "id".into(),
        vectors: name("embeddings"),
        index: name("vector_lists"),
        to: Likeness::Text("left1 left2 left3 the1".into()),
        k: 3,
        filter: None,
        min_score: None,
        exact: true,
    };
    let found = rig.runner.similar(&session, request).await.unwrap();
    assert_eq!((found.rows.len(), &found.embedder), (3, &format!("embedder@{one}")));

    // A head on its vectors finds its encoder again.
    let params = json!({ "embedder": "embedder@production", "text_columns": ["body"] });
    let head = rig.done("triage_train", params).await;
    assert_eq!(head["classes"], 2);
    rig.done("promote", json!({})).await;
    rig.done("triage", json!({ "text_columns": ["body"], "label_column": null })).await;

    // What learned next to nothing is worse, and stays a candidate.
    let little =
        rig.done("embedder_train", with(json!({ "epochs": 1, "learning_rate": 1e-9 }))).await;
    assert_eq!(little["compared"]["version"], format!("embedder@{one}"));
    let error = rig.fails("promote", json!({ "model": "embedder" })).await;
    assert!(error.contains("is worse than") && error.contains(&one), "{error}");

    // One name, one task.
    let error = rig.fails("embedder_train", with(json!({ "model": "triage" }))).await;
    assert!(error.contains("\"triage\" has versions for triage"), "{error}");
    let error = rig
        .fails(
            "triage_train",
            json!({ "model": "embedder", "embedder": "ngram", "text_columns": ["body"] }),
        )
        .await;
    assert!(error.contains("\"embedder\" has versions for embedding"), "{error}");
    // The same again, though another is in use by now.
    let again = reran(&rig.runner, record.id).await;
    assert!(again.is_same && !again.outputs.is_empty(), "{again:#?}");
}

#[tokio::test]
async fn the_whole_encoder_of_a_classifier_is_trained_from_the_tiny_model() {
    let rig = Rig::new().await;
    for method in ["full", "low_rank"] {
        let params = json!({
            "embedder": "tiny", "text_columns": ["body"], "method": method, "epochs": 2,
        });
        let trained = rig.done("triage_train", params).await;
        assert_eq!((&trained["method"], &trained["classes"]), (&json!(method), &json!(2)));
        assert_eq!(trained["training_estimate"]["steps"], trained["training"]["steps"]);
        rig.done("promote", json!({ "force": true })).await;
        rig.done("triage", json!({ "text_columns": ["body"], "label_column": null })).await;
    }
}

#[tokio::test]
async fn pairs_by_hand_overrule_those_that_were_found() {
    let rig = Rig::new().await;
    let pair = |a: usize, b: usize, is_duplicate| PairLabel {
        id_a: format!("t{a}"),
        id_b: format!("t{b}"),
        is_duplicate,
    };
    let (who, tickets) = (Principal::local(), DatasetName::new("tickets").unwrap());
    let said = [pair(0, 1, false), pair(2, 3, false), pair(0, 2, true)];
    label_pairs(&rig.engine, &who, &tickets, &said).await.unwrap();
    label_pairs(&rig.engine, &who, &tickets, &[pair(3, 2, true)]).await.unwrap();
    let params = with(json!({ "labels": "pairs_by_hand", "epochs": 1, "method": "low_rank" }));
    let trained = rig.done("embedder_train", params).await;
    // One is gone, one was taken back, one is new.
    assert_eq!(trained["pairs"], json!(PAIRS));
    let groups: u64 = ["train", "validation", "held_out"]
        .map(|side| trained["groups"][side].as_u64().unwrap())
        .iter()
        .sum();
    assert_eq!(groups, PAIRS as u64 - 1);
    // By hand alone there are too few.
    let params = with(json!({ "labels": "pairs_by_hand", "pairs": null }));
    let error = rig.fails("embedder_train", params).await;
    assert!(error.contains("groups of duplicates for it, found 1 of 1"), "{error}");
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let rig = Rig::new().await;
    for (more, expected) in [
        (json!({ "embedder": "ngram" }), "\"ngram\" has no weights to train"),
        (json!({ "embedder": "absent" }), "model \"absent\" is not here"),
        (json!({ "embedder": "a@b@c" }), "expected the name of a model"),
        (json!({ "pairs": null }), "expected a dataset here or in labels"),
        (json!({ "min_similarity": 2 }), "expected 0 to 1, found 2"),
        (json!({ "batch_pairs": 1 }), "expected 2 to 4096, found 1"),
        (json!({ "held_out": 0 }), "expected above 0 and at most 0.5"),
        (json!({ "temperature": 0 }), "temperature: expected a number above 0"),
        (json!({ "min_similarity": 0.95 }), "found none among 0 pairs"),
        (json!({ "text_columns": ["nothing"] }), "has no column \"nothing\""),
        (json!({ "pairs": "tickets" }), "has no column \"source\""),
    ] {
        let error = rig.fails("embedder_train", with(more)).await;
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}
