//! `…Similar`: rows by their likeness, over vectors that the job `embed` has made.

use datasets::DatasetSpec;
use jobs::{RunRequest, RunState};
use serde_json::{Value, json};

use super::{Rig, who};

const ROWS: &str = r#"
{"id": 1, "subject": "card stolen", "body": "my card was stolen on the train", "team": "fraud"}
{"id": 2, "subject": "card gone", "body": "the train took my card", "team": "cards"}
{"id": 3, "subject": "top up", "body": "how do I top up my account", "team": "cards"}
{"id": 4, "subject": "rate", "body": "the exchange rate is wrong", "team": "fx"}
"#;

pub(super) async fn rig() -> Rig {
    let rig = Rig::new().await;
    let spec = "name = \"mail\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"int64\"}, \
                {name = \"subject\", type = \"text\"}, {name = \"body\", type = \"text\"}, \
                {name = \"team\", type = \"text\"}]";
    rig.create(DatasetSpec::from_toml(spec, "test").unwrap()).await;
    rig.ingest("mail", ROWS.trim_start()).await;
    embed(&rig).await;
    rig
}

async fn embed(rig: &Rig) {
    let params = json!({"dataset": "mail", "embedder": "ngram", "dimension": 64});
    let request = RunRequest { job: "embed".into(), params, ..RunRequest::default() };
    let record = rig.runner.submit(&who(), request).await.unwrap().wait().await.unwrap();
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
}

fn ids(answer: &Value) -> Vec<i64> {
    let matches = answer["mailSimilar"]["matches"].as_array().unwrap();
    matches.iter().map(|found| found["node"]["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn rows_come_with_their_scores_the_most_similar_first() {
    let rig = rig().await;
    let answer = rig
        .data(
            "{ mailSimilar(to: {text: \"my card was stolen\"}, k: 2) { version vectorsVersion embedder candidates \
             matches { score node { id subject } } } }",
        )
        .await;
    let found = &answer["mailSimilar"];
    assert_eq!(ids(&answer), [1, 2]);
    assert_eq!(found["matches"][0]["node"]["subject"], "card stolen");
    let scores: Vec<f64> =
        (0..2).map(|at| found["matches"][at]["score"].as_f64().unwrap()).collect();
    assert!(scores[0] > scores[1] && scores[0] < 1.0 && scores[1] > 0.0, "{scores:?}");
    assert_eq!(
        (&found["version"], &found["vectorsVersion"], &found["candidates"]),
        (&json!(1), &json!(1), &json!("4"))
    );
    assert!(found["embedder"].as_str().unwrap().starts_with("ngram@"));
}

#[tokio::test]
async fn a_row_or_a_vector_can_be_asked_for_and_a_filter_is_applied_before() {
    let rig = rig().await;
    let of_row = "{ mailSimilar(to: {id: \"1\"}, k: 10, where: {team: {ne: \"cards\"}}) { candidates \
                  matches { node { id } } } }";
    let answer = rig.data(of_row).await;
    assert_eq!((ids(&answer), &answer["mailSimilar"]["candidates"]), (vec![4], &json!("2")));
    let vectors = rig.data("{ embeddings(where: {id: {eq: \"3\"}}) { nodes { vector } } }").await;
    let vector = &vectors["embeddings"]["nodes"][0]["vector"];
    let query = "query($v: Vector!) { mailSimilar(to: {vector: $v}, minScore: 0.99) { matches { score \
                 node { id } } } }";
    let answer = rig.ask_with(query, json!({"v": vector})).await;
    assert_eq!(ids(&answer["data"]), [3], "{answer:#}");
    let score = answer["data"]["mailSimilar"]["matches"][0]["score"].as_f64().unwrap();
    assert!((score - 1.0).abs() < 1e-6, "{score}");
}

#[tokio::test]
async fn a_row_that_is_gone_is_not_found_and_leaves_no_gap() {
    let rig = rig().await;
    let body = "the train took my card";
    let batch = rig.engine.session(&who(), &[]).await.unwrap();
    let frame = batch.sql("SELECT * FROM mail WHERE id > 2").await.unwrap();
    let kept = batch.collect(frame).await.unwrap();
    rig.write("mail", engine::WriteMode::Overwrite, kept).await;
    let query = format!(
        "{{ mailSimilar(to: {{text: \"{body}\"}}, k: 2) {{ matches {{ node {{ id }} }} }} }}"
    );
    let mut found = ids(&rig.data(&query).await);
    found.sort_unstable();
    assert_eq!(found, [3, 4]);
    let query = query.replace("k: 2)", "k: 2, asOf: {version: 1})");
    assert_eq!(ids(&rig.data(&query).await)[0], 2);
}

#[tokio::test]
async fn a_wrong_question_says_what_is_wrong() {
    let rig = rig().await;
    for (arguments, code, expected) in [
        ("to: {id: \"9\"}", "NOT_FOUND", "to.id: no row of mail with this id has a vector"),
        ("to: {text: \"\"}", "BAD_INPUT", "to.text: expected a text, found none"),
        ("to: {vector: [1, 2]}", "BAD_INPUT", "to.vector: expected 64 numbers"),
        ("to: {vector: [\"a\"]}", "BAD_INPUT", "to.vector: expected numbers"),
        ("to: {text: \"a\"}, k: 0", "BAD_INPUT", "k: expected a number of rows, 1 or more"),
        ("to: {text: \"a\"}, k: 1001", "LIMIT_EXCEEDED", "k"),
        ("to: {text: \"a\"}, minScore: 2", "BAD_INPUT", "minScore: expected -1 to 1, found 2"),
        ("to: {text: \"a\"}, vectors: \"none\"", "NOT_FOUND", "mail has no vectors in none"),
        ("to: {text: \"a\"}, vectors: \"../x\"", "BAD_INPUT", "vectors: "),
    ] {
        let query = format!("{{ mailSimilar({arguments}) {{ matches {{ score }} }} }}");
        let answer = rig.ask(&query).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{query} {answer:#}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
    for arguments in ["to: {}", "to: {text: \"a\", id: \"1\"}"] {
        let query = format!("{{ mailSimilar({arguments}) {{ matches {{ score }} }} }}");
        let answer = rig.ask(&query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_INPUT", "{answer:#}");
    }
}
