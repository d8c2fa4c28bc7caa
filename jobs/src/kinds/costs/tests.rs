#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

const DAY_US: i64 = 86_400_000_000;

fn text<'a>(of: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(of.into_iter().collect::<StringArray>())
}

fn whole(of: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(of.to_vec()))
}

fn time(of: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    let of: Vec<Option<i64>> = of.into_iter().collect();
    Arc::new(TimestampMicrosecondArray::from(of).with_timezone("UTC"))
}

/// What a call says, beside its name, which is its place.
#[derive(Clone, Copy, Default)]
struct Said {
    at_us: Option<i64>,
    provider: Option<&'static str>,
    model: Option<&'static str>,
    input: Option<i64>,
    output: Option<i64>,
    cached: Option<i64>,
    status: Option<&'static str>,
    user: Option<&'static str>,
    ticket: Option<&'static str>,
    tier: Option<&'static str>,
}

fn said(at_us: i64, model: &'static str, input: i64, output: i64) -> Said {
    Said {
        at_us: Some(at_us),
        provider: Some("acme"),
        model: Some(model),
        input: Some(input),
        output: Some(output),
        ..Said::default()
    }
}

async fn calls(engine: &Engine, of: &[Said]) {
    let ids: Vec<String> = (0..of.len()).map(|at| format!("c{at}")).collect();
    let numbers = |get: fn(&Said) -> Option<i64>| whole(&of.iter().map(get).collect::<Vec<_>>());
    let columns = [
        ("id", ColumnType::Text, text(ids.iter().map(|id| Some(id.as_str())))),
        ("at", ColumnType::Timestamp, time(of.iter().map(|of| of.at_us))),
        ("provider", ColumnType::Text, text(of.iter().map(|of| of.provider))),
        ("model", ColumnType::Text, text(of.iter().map(|of| of.model))),
        ("user_id", ColumnType::Text, text(of.iter().map(|of| of.user))),
        ("ticket_id", ColumnType::Text, text(of.iter().map(|of| of.ticket))),
        ("service_tier", ColumnType::Text, text(of.iter().map(|of| of.tier))),
        ("status", ColumnType::Text, text(of.iter().map(|of| of.status))),
        ("input_tokens", ColumnType::Int64, numbers(|of| of.input)),
        ("output_tokens", ColumnType::Int64, numbers(|of| of.output)),
        ("cached_tokens", ColumnType::Int64, numbers(|of| of.cached)),
    ];
    write(engine, "calls", WriteMode::Overwrite, &columns).await;
}

/// `m` is dearer from noon on; `n` is cheap, and dearer in a batch than it should be.
async fn prices(engine: &Engine) {
    let price = |of: &[i128]| -> ArrayRef {
        let of = Decimal128Array::from(of.to_vec()).with_precision_and_scale(38, 9).unwrap();
        Arc::new(of)
    };
    let columns = [
        ("model", ColumnType::Text, text([Some("m"), Some("m"), Some("n"), Some("eur")])),
        ("currency", ColumnType::Text, text([None, Some("USD"), None, Some("eur")])),
        ("valid_from", ColumnType::Timestamp, time([None, Some(DAY_US / 2), None, None])),
        ("input_cost_per_token", ColumnType::Decimal(38, 9), price(&[1_000, 2_000, 10, 10])),
        ("output_cost_per_token", ColumnType::Decimal(38, 9), price(&[3_000, 6_000, 20, 20])),
        (
            "cache_read_input_token_cost",
            ColumnType::Float64,
            Arc::new(Float64Array::from(vec![Some(1e-7), Some(2e-7), None, None])),
        ),
        (
            "details",
            ColumnType::Text,
            text([
                None,
                Some("no JSON"),
                Some(
                    r#"{"input_cost_per_token_batches": 5e-07, "output_cost_per_token": -1, "max_tokens": 5}"#,
                ),
                None,
            ]),
        ),
    ];
    write(engine, "prices", WriteMode::Overwrite, &columns).await;
}

fn asked(more: Value) -> Value {
    let mut params = json!({ "dataset": "calls", "prices": ["prices"] });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test]
async fn calls_cost_what_their_model_does_at_their_instant() {
    let engine = engine().await;
    prices(&engine).await;
    let noon = DAY_US / 2;
    let some = [
        said(noon - 1, "m", 1_000, 10),
        said(noon, "m", 1_000, 10),
        Said { cached: Some(400), ..said(noon, "m", 1_000, 10) },
        Said { tier: Some("batch"), ..said(noon, "n", 1_000, 10) },
        Said { status: Some("error"), ..said(noon, "m", 1_000, 10) },
        said(DAY_US + 5, "n", 1_000, 0),
    ];
    calls(&engine, &some).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let all = "SELECT call_id, cost, listed_as, arrow_cast(price_from, 'Int64') IS NULL FROM call_costs ORDER BY 1";
    let expected = [
        "c0 0.001030000000000000 m true",
        "c1 0.002060000000000000 m false",
        "c2 0.001340000000000000 m false",
        "c3 0.000500200000000000 n true",
        "c4 0.000000000000000000  true",
        "c5 0.000010000000000000 n true",
    ];
    assert_eq!(rows(&engine, all).await, expected);
    let counts = ["calls", "failed", "priced", "unpriced", "prices_not_believed"];
    assert_eq!(counts.map(|name| summary[name].as_u64().unwrap()), [6, 1, 6, 0, 1], "{summary}");
    assert_eq!((&summary["cost"], &summary["recorded_cost"]), (&json!("0.0049402"), &Value::Null));
    let days = "SELECT at, dimension, value, calls, failed_calls, input_tokens, cached_tokens, output_tokens, cost FROM model_costs \
                WHERE dimension IN ('all', 'model') ORDER BY at, dimension, value";
    let expected = [
        "1970-01-01T00:00:00Z all  5 1 5000 400 50 0.004930200000000000",
        "1970-01-01T00:00:00Z model m 4 1 4000 400 40 0.004430000000000000",
        "1970-01-01T00:00:00Z model n 1 0 1000 0 10 0.000500200000000000",
        "1970-01-02T00:00:00Z all  1 0 1000 0 0 0.000010000000000000",
        "1970-01-02T00:00:00Z model n 1 0 1000 0 0 0.000010000000000000",
    ];
    assert_eq!(rows(&engine, days).await, expected);
    let failed = asked(json!({ "charge_failed": true, "where": "status = 'error'" }));
    assert_eq!(summary_of(&engine, NAME, failed).await["cost"], "0.00206");
    // What is asked for the last time is all that there is of a dataset.
    assert_eq!(rows(&engine, "SELECT count(*) FROM call_costs").await, ["1"]);
}

#[tokio::test]
async fn calls_without_a_price_are_counted_and_named() {
    let engine = engine().await;
    prices(&engine).await;
    let none = Said::default();
    let some = [
        said(0, "new", 1, 2),
        said(7, "new", 3, 4),
        said(0, "eur", 1, 1),
        Said { model: None, ..said(0, "m", 1, 1) },
        Said { at_us: None, ..said(0, "m", 1, 1) },
        Said { at_us: Some(i64::MIN), ..said(0, "m", 1, 1) },
        said(0, "m", -1, 1),
        Said { input: None, output: None, ..said(0, "m", 0, 0) },
        Said { cached: Some(2), ..said(0, "m", 1, 1) },
        said(0, "m", i64::MAX, 1),
        none,
        said(0, "m", 1, 1),
        Said { input: None, ..said(0, "m", 0, 1) },
    ];
    calls(&engine, &some).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let expected = json!({
        "its model is not listed": 2,
        "its model is listed in another currency": 1,
        "it names no model": 1,
        "it has no instant": 3,
        "it has a negative number of tokens": 1,
        "it does not say its tokens": 1,
        "more tokens were cached than sent, or reasoned than received": 1,
        "it has more than 1,000,000,000 tokens": 1,
    });
    assert_eq!(summary["unpriced_because"], expected);
    assert_eq!((&summary["unpriced"], &summary["priced"]), (&json!(11), &json!(2)), "{summary}");
    let new = "SELECT provider, model, why, calls, input_tokens, output_tokens, arrow_cast(last_at, 'Int64') FROM unpriced_calls \
               WHERE model = 'new'";
    assert_eq!(rows(&engine, new).await, ["acme new its model is not listed 2 4 6 7"]);
    let all = "SELECT sum(calls) FROM unpriced_calls";
    assert_eq!(rows(&engine, all).await, ["11"]);
    // Calls that have a price and calls that have none are one day's, and add up to all that have an instant.
    let day = "SELECT calls, unpriced_calls, cost FROM model_costs WHERE dimension = 'all'";
    assert_eq!(rows(&engine, day).await, ["10 8 0.000007000000000000"]);
    // Names that the list has otherwise, and calls that name nothing.
    let named = asked(json!({ "aliases": { "new": "n" }, "default_model": "m" }));
    let summary = summary_of(&engine, NAME, named).await;
    assert_eq!((&summary["unpriced"], &summary["cost"]), (&json!(8), &json!("0.00001116")));
    // A column that a file had nothing in is a text, and no price.
    let columns = [
        ("model", ColumnType::Text, text([Some("m"), Some("m")])),
        ("valid_from", ColumnType::Timestamp, time([Some(5), None])),
        ("input_cost_per_token", ColumnType::Text, text([Some(""), Some("2.5e-06")])),
        ("output_cost_per_token", ColumnType::Text, text([None, Some("dear")])),
    ];
    write(&engine, "texts", WriteMode::Overwrite, &columns).await;
    let of_texts = json!({ "prices": ["texts"], "where": "id IN ('c11', 'c12')" });
    let summary = summary_of(&engine, NAME, asked(of_texts)).await;
    let told = ["prices_not_believed", "unpriced", "priced"];
    assert_eq!(told.map(|name| summary[name].as_u64().unwrap()), [1, 2, 0], "{summary}");
    let euros = summary_of(&engine, NAME, asked(json!({ "currency": "EUR" }))).await;
    // A price that names no currency is in the one that is asked for.
    assert_eq!(euros["cost"], "0.00000703", "{euros}");
}

#[tokio::test]
async fn tickets_cost_what_was_called_for_them() {
    let engine = engine().await;
    prices(&engine).await;
    let some = [
        Said { ticket: Some("t1"), user: Some("ann"), ..said(0, "m", 1_000, 0) },
        Said { ticket: Some("t1"), user: Some("bob"), ..said(9, "m", 1_000, 0) },
        Said { ticket: Some("t2"), user: Some("bob"), ..said(0, "m", 4_000, 0) },
        said(0, "m", 1, 0),
    ];
    calls(&engine, &some).await;
    let columns = [
        ("id", ColumnType::Text, text([Some("t1"), Some("t2"), Some("t3")])),
        ("resolved_at", ColumnType::Timestamp, time([Some(50), None, Some(60)])),
    ];
    write(&engine, "tickets", WriteMode::Overwrite, &columns).await;
    let summary = summary_of(&engine, NAME, asked(json!({ "tickets": "tickets" }))).await;
    let told = ["tickets", "cost_per_ticket", "resolved_tickets", "cost_per_resolved_ticket"];
    assert_eq!(told.map(|name| summary[name].as_f64().unwrap()), [2.0, 0.003, 1.0, 0.006]);
    let all = "SELECT ticket_id, calls, cost, arrow_cast(last_at, 'Int64'), arrow_cast(resolved_at, 'Int64') FROM ticket_costs ORDER BY 1";
    let expected = ["t1 2 0.002000000000000000 9 50", "t2 1 0.004000000000000000 0 "];
    assert_eq!(rows(&engine, all).await, expected);
    let users = "SELECT value, calls, cost FROM model_costs WHERE dimension = 'user_id' ORDER BY 1";
    let expected =
        [" 1 0.000001000000000000", "ann 1 0.001000000000000000", "bob 2 0.005000000000000000"];
    assert_eq!(rows(&engine, users).await, expected);
}

#[tokio::test]
async fn bad_parameters_and_lists_are_refused_by_name() {
    let engine = engine().await;
    prices(&engine).await;
    calls(&engine, &[said(0, "m", 1, 1)]).await;
    let other = [("name", ColumnType::Text, text([Some("a")]))];
    write(&engine, "other", WriteMode::Overwrite, &other).await;
    let other = [
        ("model", ColumnType::Text, text([Some("a")])),
        ("input_cost_per_audio_token", ColumnType::Int64, whole(&[Some(1)])),
    ];
    write(&engine, "no_list", WriteMode::Overwrite, &other).await;
    for (params, says) in [
        (
            json!({ "prices": [] }),
            "parameter \"prices\": expected 1 to 16 datasets of prices, found 0",
        ),
        (json!({ "prices": ["prices", "prices"] }), "prices stands there twice"),
        (json!({ "prices": ["other"] }), "dataset other has no column \"model\""),
        (json!({ "prices": ["no_list"] }), "dataset no_list has no price of a token"),
        (json!({ "prices": ["missing"] }), "missing"),
        (json!({ "cached_column": "status" }), "parameter \"cached_column\""),
        (json!({ "input_column": "model" }), "expected a whole number, found Utf8"),
        (
            json!({ "provider_column": "gone" }),
            "parameter \"provider_column\": dataset calls has no column \"gone\"",
        ),
        (json!({ "cost_column": "status" }), "parameter \"cost_column\""),
        (json!({ "by": ["status", "status"] }), "\"status\" stands there twice"),
        (json!({ "by": ["at"] }), "expected a text, truth value or whole number"),
        (json!({ "interval": "1s" }), "expected 1m at least, found 1s"),
        (json!({ "currency": " " }), "expected a currency"),
        (json!({ "tickets": "other" }), "parameter \"ticket_key\""),
        (json!({ "output": "prices" }), "parameter \"output\": prices is what is read"),
        (json!({ "calls_output": "model_costs" }), "is the name of another output"),
        (json!({ "where": "x > 1" }), "parameter \"where\""),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(params.clone())).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
}
