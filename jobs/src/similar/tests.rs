#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use datafusion::logical_expr::{ident, lit};
use datasets::{ColumnType, DatasetSpec, Evolution};
use engine::{CommitLabel, Engine, Principal, WriteMode};
use models::{NgramEmbedder, NgramOptions, TextEmbedder};
use serde_json::json;

use super::*;
use crate::run::record::RunState;
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::tables::columns::column;
use crate::testing::engine;

const TEXTS: [&str; 6] = [
    "my card was stolen on the train",
    "the train took my card",
    "how do I top up my account",
    "top up failed twice for my account",
    "the exchange rate is wrong",
    "my card was stolen on the train",
];

struct Rig {
    engine: Engine,
    runner: Runner,
}

impl Rig {
    async fn new(options: RunnerOptions) -> Self {
        let engine = engine().await;
        let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..options };
        let runner = Runner::start(engine.clone(), options).await.unwrap();
        Self { engine, runner }
    }

    /// Six rows, `r0` to `r5`, embedded.
    async fn with_rows() -> Self {
        let rig = Self::new(RunnerOptions::default()).await;
        rig.write(WriteMode::Append, 0..6).await;
        rig.embed().await;
        rig
    }

    async fn write(&self, mode: WriteMode, rows: std::ops::Range<usize>) {
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
            columns: vec![
                column("id", ColumnType::Text, false, ""),
                column("body", ColumnType::Text, true, ""),
                column("n", ColumnType::Int64, true, ""),
            ],
            validations: Vec::new(),
            relations: Vec::new(),
            dimensions: Vec::new(),
            measures: Vec::new(),
        };
        let who = Principal::local();
        self.engine.ensure_dataset(&who, &spec).await.unwrap();
        let ids = StringArray::from_iter_values(rows.clone().map(|row| format!("r{row}")));
        let texts = StringArray::from_iter_values(rows.clone().map(|row| TEXTS[row]));
        let numbers = Int64Array::from_iter_values(rows.map(|row| row as i64));
        let batch = RecordBatch::try_new(
            spec.arrow_schema(),
            vec![Arc::new(ids), Arc::new(texts), Arc::new(numbers)],
        );
        let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
        self.engine.write(&who, &spec.name, mode, vec![batch.unwrap()], label).await.unwrap();
    }

    async fn embed(&self) {
        let params = json!({
            "dataset": "mail", "embedder": "ngram", "dimension": 64, "text_columns": ["body"],
        });
        let request = RunRequest { job: "embed".into(), params, ..RunRequest::default() };
        let run = self.runner.submit(&Principal::local(), request).await.unwrap();
        let record = run.wait().await.unwrap();
        assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    }

    async fn ask(&self, request: SimilarRequest) -> Result<Similar> {
        let session = self.engine.session(&Principal::local(), &[]).await.unwrap();
        self.runner.similar(&session, request).await
    }

    async fn ids(&self, request: SimilarRequest) -> Vec<String> {
        self.ask(request).await.unwrap().rows.into_iter().map(|row| row.id).collect()
    }

    async fn message(&self, request: SimilarRequest) -> String {
        self.ask(request).await.unwrap_err().to_string()
    }
}

fn name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

fn to(to: Likeness) -> SimilarRequest {
    SimilarRequest {
        dataset: name("mail"),
        id_column: "id".into(),
        vectors: name("embeddings"),
        index: name("vector_index"),
        exact: false,
        to,
        k: 3,
        min_score: None,
        filter: None,
    }
}

fn text(text: &str) -> SimilarRequest {
    to(Likeness::Text(text.into()))
}

fn embedded(text: &str) -> Vec<f32> {
    let embedder = NgramEmbedder::new(NgramOptions { dimension: 64 }).unwrap();
    embedder.embed(&[text], &EmbedOptions::default()).unwrap().values
}

#[tokio::test]
async fn a_text_finds_the_rows_that_are_most_like_it_with_their_cosines() {
    let rig = Rig::with_rows().await;
    let found = rig.ask(text("stolen card")).await.unwrap();
    let query = embedded("stolen card");
    let cosine = |text: &str| -> f64 {
        embedded(text).iter().zip(&query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let mut expected: Vec<(f64, String)> =
        TEXTS.iter().enumerate().map(|(row, text)| (cosine(text), format!("r{row}"))).collect();
    expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    assert_eq!(found.rows.len(), 3);
    for (row, (score, id)) in found.rows.iter().zip(&expected) {
        assert_eq!(row.id, *id);
        assert!((row.score - score).abs() < 1e-6, "{row:?} {score}");
    }
    assert_eq!((found.candidates, found.vectors_version), (6, Version(1)));
    assert!(found.embedder.starts_with("ngram@"), "{}", found.embedder);
}

#[tokio::test]
async fn a_row_finds_the_others_and_a_vector_all() {
    let rig = Rig::with_rows().await;
    let others = rig.ids(to(Likeness::Id("r0".into()))).await;
    assert_eq!((others.len(), &others[..2]), (3, &["r5".to_owned(), "r1".to_owned()][..]));
    let all = rig.ids(to(Likeness::Vector(embedded(TEXTS[0])))).await;
    assert_eq!(all[..3], ["r0", "r5", "r1"]);
    let close = SimilarRequest { min_score: Some(0.99), ..to(Likeness::Id("r0".into())) };
    assert_eq!(rig.ids(close).await, ["r5"]);
}

#[tokio::test]
async fn the_filter_is_applied_before_and_not_after() {
    let rig = Rig::with_rows().await;
    let filter = Some(ident("n").gt(lit(1_i64)).and(ident("n").lt(lit(5_i64))));
    for _ in 0..2 {
        // The second time the set of rows is kept from the first.
        let found = rig.ask(SimilarRequest { filter: filter.clone(), ..text("stolen card") }).await;
        let found = found.unwrap();
        let mut ids: Vec<&str> = found.rows.iter().map(|row| row.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!((ids, found.candidates), (vec!["r2", "r3", "r4"], 3));
    }
    let none = SimilarRequest { filter: Some(lit(false)), ..text("stolen card") };
    assert!(rig.ids(none).await.is_empty());
}

#[tokio::test]
async fn a_search_sees_the_versions_of_its_session() {
    let rig = Rig::with_rows().await;
    let before = rig.engine.session(&Principal::local(), &[]).await.unwrap();
    rig.write(WriteMode::Overwrite, 2..4).await;
    let like_r0 = || SimilarRequest { k: 10, ..to(Likeness::Vector(embedded(TEXTS[0]))) };
    assert_eq!(rig.runner.similar(&before, like_r0()).await.unwrap().rows.len(), 6);
    // The vectors are still there, the rows are not.
    let those_there = SimilarRequest { filter: Some(lit(true)), ..like_r0() };
    assert_eq!(rig.ids(those_there.clone()).await.len(), 2);
    rig.embed().await;
    assert_eq!(rig.ids(like_r0()).await.len(), 2);
    assert_eq!(rig.runner.similar(&before, like_r0()).await.unwrap().rows.len(), 6);
}

#[tokio::test]
async fn what_can_not_be_searched_says_why() {
    let rig = Rig::new(RunnerOptions::default()).await;
    rig.write(WriteMode::Append, 0..6).await;
    let missing = "mail has no vectors in embeddings: run the job `embed` with dataset = \"mail\"";
    assert!(rig.message(text("card")).await.contains(missing));
    rig.embed().await;
    let other = SimilarRequest { dataset: name("chat"), ..text("card") };
    assert!(rig.message(other).await.contains("chat has no vectors in embeddings"));
    for (request, expected) in [
        (text(" \n"), "to.text: expected a text, found none"),
        (text(&"a".repeat(TEXT_BYTES_MAX + 1)), "to.text: expected at most 1048576 bytes"),
        (to(Likeness::Id("r9".into())), "to.id: no row of mail with this id has a vector"),
        (to(Likeness::Vector(vec![1.0; 3])), "to.vector: expected 64 numbers, as ngram@"),
        (to(Likeness::Vector(vec![0.0; 64])), "to.vector: expected finite numbers, not all 0"),
        (to(Likeness::Vector(vec![f32::NAN; 64])), "to.vector: expected finite numbers"),
        (SimilarRequest { k: 0, ..text("card") }, "k: expected 1 to 10000, found 0"),
    ] {
        let message = rig.message(request).await;
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[tokio::test]
async fn vectors_that_do_not_fit_into_memory_are_refused_by_their_size() {
    let rig = Rig::new(RunnerOptions { search_bytes_max: 1600, ..RunnerOptions::default() }).await;
    rig.write(WriteMode::Append, 0..6).await;
    rig.embed().await;
    let message = rig.message(text("card")).await;
    assert!(
        message.contains("the vectors of mail: ") && message.contains("at most 750"),
        "{message}"
    );
}
