//! How a call is matched with a row of a price list, and what sums are if there is no match.
#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use datasets::ColumnType;
use engine::WriteMode;
use serde_json::json;

use super::NAME;
use super::tests::{Said, asked, calls, prices, put, said, text};
use crate::testing::{engine, rows, summary_of, write};

#[tokio::test]
async fn names_match_without_case_and_the_results_state_the_match() {
    let engine = engine().await;
    let columns = [
        ("model", ColumnType::Text, text([Some("g-5"), Some("g-5"), Some("t")])),
        ("provider", ColumnType::Text, text([Some("openai"), Some("azure"), None])),
        (
            "input_cost_per_token",
            ColumnType::Float64,
            Arc::new(Float64Array::from(vec![1e-6, 2e-6, 3e-6])) as ArrayRef,
        ),
        (
            "input_cost_per_token_batches",
            ColumnType::Float64,
            Arc::new(Float64Array::from(vec![None, None, Some(5e-7)])),
        ),
    ];
    write(&engine, "prices", WriteMode::Overwrite, &columns).await;
    let of = |provider, model, tier| Said { provider, tier, ..said(0, model, 1_000_000, 0) };
    let some = [
        of(Some("OpenAI"), "G-5", None),
        of(None, "openai/g-5", None),
        of(Some("openrouter"), "Azure/g-5", None),
        of(None, "t", Some("Batch")),
        of(None, "T", Some("BATCHES")),
        of(None, "t", Some("priority")),
    ];
    calls(&engine, &some).await;
    summary_of(&engine, NAME, asked(json!({}))).await;
    let all = "SELECT call_id, CAST(cost AS DOUBLE), listed_as, listed_provider, listed_tier FROM call_costs ORDER BY 1";
    let expected = [
        "c0 1.0 g-5 openai ",
        "c1 1.0 g-5 openai ",
        "c2 2.0 g-5 azure ",
        "c3 0.5 t  batches",
        "c4 0.5 t  batches",
        "c5 3.0 t  ",
    ];
    assert_eq!(rows(&engine, all).await, expected);
}

#[tokio::test]
async fn costs_of_an_unlisted_model_are_null_even_if_its_calls_failed() {
    let engine = engine().await;
    prices(&engine).await;
    let failed = |of: Said| Said { status: Some("error"), ..of };
    let some = [
        said(0, "new", 1, 1),
        failed(said(0, "new", 1, 1)),
        failed(said(0, "m", 1, 1)),
        Said { user: Some("u"), ..failed(Said { model: None, ..said(0, "m", 1, 1) }) },
        Said { user: Some("u"), ..said(0, "new", 1, 1) },
    ];
    calls(&engine, &some).await;
    let sums = "SELECT dimension, value, cost FROM model_costs WHERE dimension <> 'all' AND value <> '' \
                AND dimension IN ('model', 'user_id') ORDER BY 1, 2";
    let expected = ["model m 0.000000000000000000", "model new ", "user_id u "];
    let by_call = "SELECT sum(cost) FROM call_costs WHERE model = 'new'";
    for more in [json!({}), json!({ "full": true })] {
        summary_of(&engine, NAME, asked(more)).await;
        assert_eq!(rows(&engine, sums).await, expected);
        assert_eq!(rows(&engine, by_call).await, [""]);
    }
    // An incremental run leaves sums null when more calls without a price arrive.
    put(&engine, "calls", WriteMode::Append, some.len(), &[failed(said(0, "new", 1, 1))]).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    assert!(summary["incremental"]["from_version"].is_number(), "{summary}");
    assert_eq!(rows(&engine, sums).await, expected);
    // One call with a price makes the sum known.
    put(&engine, "calls", WriteMode::Append, 9, &[Said { user: Some("u"), ..said(0, "m", 1, 0) }])
        .await;
    summary_of(&engine, NAME, asked(json!({}))).await;
    let of_user = "SELECT cost FROM model_costs WHERE dimension = 'user_id' AND value = 'u'";
    assert_eq!(rows(&engine, of_user).await, ["0.000001000000000000"]);
}
