//! Rows that are written as text are those that the library makes of the same fields.

use serde_json::{Value, json};

use super::Rig;
use crate::limits::Limits;

/// What `nodes` and the nodes of `edges`, whose fields are resolved one by one, show of the same fields.
async fn both(rig: &Rig, arguments: &str, fields: &str, more: &str) -> (Value, Value) {
    let ask = |rows: &str| format!("{{ calls{arguments} {{ {rows} }} }} {more}");
    let written = rig.data(&ask(&format!("nodes {{ {fields} }}"))).await;
    let resolved = rig.data(&ask(&format!("edges {{ node {{ {fields} }} }}"))).await;
    let resolved = resolved["calls"]["edges"].as_array().unwrap().iter();
    (written["calls"]["nodes"].clone(), resolved.map(|edge| edge["node"].clone()).collect())
}

#[tokio::test]
async fn each_field_is_shown_as_it_is_when_it_is_resolved() {
    let rig = Rig::with_calls().await;
    let fragments = "fragment Some on CallsRow { payload again: id ...More } fragment More on CallsRow { model }";
    for (arguments, fields, more) in [
        (
            "",
            "id at model inputTokens retries latencyMs cost day isOk payload digest tags embedding",
            "",
        ),
        ("(first: 0)", "id", ""),
        ("(last: 3)", "id at", ""),
        ("(where: {id: {eq: \"none\"}})", "id", ""),
        ("(first: 4)", "__typename id of: __typename first: id second: id id", ""),
        ("(first: 4)", "id ...Some ... on CallsRow { at } ... { retries }", fragments),
        (
            "(first: 4)",
            "id model @skip(if: true) at @include(if: false) retries @include(if: true)",
            "",
        ),
        // Of which one field is no column's.
        ("(first: 4)", "nodeId id", ""),
    ] {
        let (written, resolved) = both(&rig, arguments, fields, more).await;
        assert_eq!(written, resolved, "{arguments} {fields}");
        if !arguments.contains("none") && arguments != "(first: 0)" {
            assert!(written.as_array().unwrap().len() > 2, "{arguments}: {written}");
        }
    }
}

#[tokio::test]
async fn lists_beside_each_other_have_the_rows_of_their_own() {
    let rig = Rig::with_calls().await;
    let asked =
        "{ a: calls(first: 1) { nodes { id } pageInfo { hasNextPage endCursor } totalCount }
        b: calls(last: 1) { x: nodes { id } y: nodes { model } nodes { id } nodes { retries } } }";
    let data = rig.data(asked).await;
    assert_eq!(data["a"]["nodes"], json!([{"id": "c0"}]));
    assert_eq!(
        (&data["a"]["pageInfo"]["hasNextPage"], &data["a"]["totalCount"]),
        (&json!(true), &json!("10"))
    );
    assert!(data["a"]["pageInfo"]["endCursor"].is_string());
    let alone = rig.data("{ calls(last: 1) { x: nodes { id } y: nodes { model } } }").await;
    for list in ["x", "y"] {
        assert_eq!(data["b"][list], alone["calls"][list], "{list}");
    }
    assert_eq!(data["b"]["x"][0]["id"], "c9");
    let keys: Vec<&String> = data["b"]["nodes"][0].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 2, "{data}");
    let edges = rig.data("{ calls(first: 1) { nodes { id } edges { node { id model } } } }").await;
    let row = json!({"nodes": [{"id": "c0"}], "edges": [{"node": {"id": "c0", "model": "alpha"}}]});
    assert_eq!(edges["calls"], row);
}

#[tokio::test]
async fn what_is_asked_for_twice_under_one_key_is_put_together() {
    let rig = Rig::with_calls().await;
    let whole = rig.data("{ calls(first: 2) { nodes { id model nodeId } totalCount } }").await;
    for asked in [
        "{ calls(first: 2) { nodes { id model } } calls(first: 2) { nodes { nodeId } totalCount } }",
        "{ calls(first: 2) { nodes { id nodeId } totalCount } calls(first: 2) { nodes { model } } }",
        "{ ...A ...B } fragment A on Query { calls(first: 2) { nodes { id } } }
         fragment B on Query { calls(first: 2) { nodes { model nodeId } totalCount } }",
        "{ calls(first: 2) { nodes { id } } calls(first: 2) { nodes { model nodeId } edges { cursor } totalCount } }",
    ] {
        let mut found = rig.data(asked).await;
        found["calls"].as_object_mut().unwrap().remove("edges");
        assert_eq!(found, whole, "{asked}");
    }
    // Of a mutation each would be done.
    let twice = "mutation { declareMeasure(dataset: \"calls\", name: \"m\", expression: \"count(*)\") { version }
                 declareMeasure(dataset: \"calls\", name: \"m\", expression: \"count(*)\") { dataset } }";
    let refused = rig.ask(twice).await;
    let error = &refused["errors"][0];
    assert_eq!(error["extensions"]["code"], "BAD_INPUT", "{refused}");
    assert!(error["message"].as_str().unwrap().starts_with("declareMeasure: "), "{error}");
    assert!(
        rig.ask("{ dataset(name: \"calls\") { version } }")
            .await
            .to_string()
            .contains("\"version\":1")
    );
}

#[tokio::test]
async fn a_long_text_is_refused_before_there_is_more_of_it_than_an_answer_may_have() {
    let limits = Limits { answer_bytes_max: 1 << 20, ..Limits::default() };
    let rig = Rig::with_limits(limits).await;
    rig.create(super::calls_spec()).await;
    // As text six times as long as it is.
    let row = |row: usize| {
        let long = "\u{1}".repeat(8_000);
        json!({"id": row.to_string(), "at": "2026-01-01T00:00:00Z", "model": long}).to_string()
    };
    rig.ingest("calls", &(0..100).map(row).collect::<Vec<_>>().join("\n")).await;
    let fields: String = (0..200).map(|n| format!("a{n}: model ")).collect();
    let begun = std::time::Instant::now();
    let answer = rig.ask(&format!("{{ calls {{ nodes {{ {fields} }} }} }}")).await;
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "LIMIT_EXCEEDED", "{error}");
    // All of it would be a gigabyte.
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_written_counts_as_much_of_the_answer_as_it_is_long() {
    let asked = "{ calls { nodes { id model } } }";
    let rows = async |limits: Limits| {
        let rig = Rig::with_limits(limits).await;
        rig.create(super::calls_spec()).await;
        let row = |row: usize| {
            let long = "\"long\" ".repeat(400);
            json!({"id": row.to_string(), "at": "2026-01-01T00:00:00Z", "model": long}).to_string()
        };
        rig.ingest("calls", &(0..20).map(row).collect::<Vec<_>>().join("\n")).await;
        rig.ask(asked).await
    };
    let long = rows(Limits::default()).await["data"]["calls"]["nodes"].to_string().len();
    for (most, fits) in [(long + 512, true), (long - 1, false)] {
        let answer = rows(Limits { answer_bytes_max: most, ..Limits::default() }).await;
        assert_eq!(answer.get("errors").is_none(), fits, "{most}: {answer}");
        if !fits {
            let error = &answer["errors"][0];
            assert_eq!(error["extensions"]["code"], "LIMIT_EXCEEDED");
            assert!(error["message"].as_str().unwrap().contains("bytes of the answer"), "{error}");
        }
    }
}
