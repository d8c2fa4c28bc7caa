//! Bounds that a query runs into while it runs.

use std::time::Duration;

use super::{Rig, calls, calls_spec};
use crate::limits::Limits;

async fn code(limits: Limits, query: &str) -> String {
    let rig = Rig::with_limits(limits).await;
    rig.create(calls_spec()).await;
    rig.append("calls", vec![calls()]).await;
    let answer = rig.ask(query).await;
    let error = &answer["errors"][0];
    assert!(error["message"].as_str().unwrap().contains("limit"), "{answer:#}");
    error["extensions"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_ended() {
    let limits = Limits { operation_time_max: Duration::ZERO, ..Limits::default() };
    assert_eq!(code(limits, "{ calls { nodes { id } } }").await, "TIMEOUT");
}

#[tokio::test]
async fn a_page_of_too_many_bytes_is_refused() {
    let limits = Limits { page_bytes_max: 100, ..Limits::default() };
    assert_eq!(code(limits, "{ calls { nodes { id payload } } }").await, "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn a_document_of_brackets_is_refused_and_overflows_nothing() {
    for bracket in ["[", "{", "("] {
        let query = format!("{{ calls(where: {}", bracket.repeat(300_000));
        assert_eq!(code(Limits::default(), &query).await, "LIMIT_EXCEEDED");
    }
}

#[tokio::test]
async fn nested_variables_are_refused_like_nested_text() {
    let rig = Rig::with_calls().await;
    let mut filter = serde_json::json!({"id": {"eq": "c1"}});
    for _ in 0..60 {
        filter = serde_json::json!({ "not": filter });
    }
    let query = "query($where: CallsWhere) { calls(where: $where) { nodes { id } } }";
    let answer = rig.ask_with(query, serde_json::json!({ "where": filter })).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "LIMIT_EXCEEDED", "{answer:#}");
}
