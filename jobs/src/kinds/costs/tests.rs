#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datasets::{ColumnType, DatasetName};
use engine::{CommitLabel, Engine, Principal, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, record_of, refusal_of, rows, summary_of, write};

const DAY_US: i64 = 86_400_000_000;

pub(super) fn text<'a>(of: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(of.into_iter().collect::<StringArray>())
}

fn whole(of: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(of.to_vec()))
}

pub(super) fn time(of: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    let of: Vec<Option<i64>> = of.into_iter().collect();
    Arc::new(TimestampMicrosecondArray::from(of).with_timezone("UTC"))
}

/// What a call says, beside its name, which is its place.
#[derive(Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) at_us: Option<i64>,
    pub(super) provider: Option<&'static str>,
    pub(super) model: Option<&'static str>,
    pub(super) input: Option<i64>,
    pub(super) output: Option<i64>,
    pub(super) cached: Option<i64>,
    pub(super) status: Option<&'static str>,
    pub(super) user: Option<&'static str>,
    pub(super) ticket: Option<&'static str>,
    pub(super) tier: Option<&'static str>,
    pub(super) cost: Option<f64>,
}

pub(super) fn said(at_us: i64, model: &'static str, input: i64, output: i64) -> Said {
    Said {
        at_us: Some(at_us),
        provider: Some("acme"),
        model: Some(model),
        input: Some(input),
        output: Some(output),
        ..Said::default()
    }
}

pub(super) async fn calls(engine: &Engine, of: &[Said]) {
    put(engine, "calls", WriteMode::Overwrite, 0, of).await;
}

/// Calls from the name of `first` on.
pub(super) async fn put(
    engine: &Engine,
    dataset: &str,
    mode: WriteMode,
    first: usize,
    of: &[Said],
) {
    let ids: Vec<String> = (first..first + of.len()).map(|at| format!("c{at}")).collect();
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
        (
            "cost",
            ColumnType::Float64,
            Arc::new(Float64Array::from_iter(of.iter().map(|of| of.cost))),
        ),
    ];
    write(engine, dataset, mode, &columns).await;
}

/// `m` is dearer from noon on; `n` is cheap, and dearer in a batch than it should be.
pub(super) async fn prices(engine: &Engine) {
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

pub(super) fn asked(more: Value) -> Value {
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
async fn calls_that_failed_cost_nothing_and_where_most_did_it_is_told() {
    let engine = engine().await;
    prices(&engine).await;
    let with = |status| Said { status, ..said(0, "m", 1_000, 0) };
    let statuses = ["success", "error", "success", "OK", "", "200"].map(Some);
    let some: Vec<Said> = statuses.into_iter().chain([None]).map(with).collect();
    calls(&engine, &some).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!((&summary["failed"], &summary["cost"]), (&json!(4), &json!("0.003")), "{summary}");
    let told = summary["most_failed"].as_str().unwrap();
    assert!(told.starts_with("4 of 7 calls failed and cost nothing: their status"), "{told}");
    let columns = json!({
        "id": "id", "time": "at", "provider": "provider", "cached": "cached_tokens", "cache_write": null, "reasoning": null, "tier": "service_tier",
        "status": "status", "cost": "cost", "ticket": "ticket_id",
    });
    assert_eq!(summary["columns"], columns);
    let success = json!({ "success": "status IN ('success', '200')" });
    let summary = summary_of(&engine, NAME, asked(success)).await;
    assert_eq!((&summary["failed"], &summary["cost"]), (&json!(4), &json!("0.003")), "{summary}");
    assert_eq!(summary["most_failed"], "4 of 7 calls failed and cost nothing");
    let success = json!({ "success": "status <> 'error' OR status IS NULL" });
    let summary = summary_of(&engine, NAME, asked(success)).await;
    assert_eq!((&summary["failed"], &summary["cost"]), (&json!(1), &json!("0.006")), "{summary}");
    assert_eq!(summary["most_failed"], Value::Null);
    let charged = summary_of(&engine, NAME, asked(json!({ "charge_failed": true }))).await;
    assert_eq!((&charged["cost"], &charged["most_failed"]), (&json!("0.007"), &Value::Null));
}

#[tokio::test]
async fn another_table_of_a_name_is_another_input() {
    let engine = engine().await;
    let (who, name) = (Principal::local(), DatasetName::new("prices").unwrap());
    calls(&engine, &[said(0, "m", 1_000, 0)]).await;
    prices(&engine).await;
    let params = || asked(json!({ "full": true }));
    let first = record_of(&engine, NAME, params()).await;
    assert_eq!(first.summary["cost"], "0.001");
    engine.drop_dataset(&who, &name).await.unwrap();
    engine.purge_dataset(&who, &name).await.unwrap();
    let columns = [
        ("model", ColumnType::Text, text([Some("m")])),
        (
            "input_cost_per_token",
            ColumnType::Float64,
            Arc::new(Float64Array::from(vec![7e-6])) as ArrayRef,
        ),
    ];
    write(&engine, "prices", WriteMode::Overwrite, &columns).await;
    let second = record_of(&engine, NAME, params()).await;
    let versions = |record: &crate::RunRecord| -> Vec<u64> {
        record.inputs.iter().map(|input| input.version.0).collect()
    };
    assert_eq!(versions(&first), versions(&second));
    assert_eq!(second.summary["cost"], "0.007", "{second:?}");
}

#[tokio::test]
async fn prices_of_a_million_tokens_are_not_taken_for_those_of_one() {
    let engine = engine().await;
    let columns = [
        ("model", ColumnType::Text, text([Some("m"), Some("n"), Some("o")])),
        (
            "input_cost_per_token",
            ColumnType::Float64,
            Arc::new(Float64Array::from(vec![0.01, 0.010_000_1, 4.0])) as ArrayRef,
        ),
    ];
    write(&engine, "prices", WriteMode::Overwrite, &columns).await;
    calls(&engine, &[said(0, "m", 1, 0), said(0, "n", 1, 0), said(0, "o", 1, 0)]).await;
    for (currency, told) in [("usd", (2, "0.01")), ("JPY", (0, "4.0200001"))] {
        let summary = summary_of(&engine, NAME, asked(json!({ "currency": currency }))).await;
        let found = (summary["prices_not_believed"].as_u64(), summary["cost"].as_str());
        assert_eq!(found, (Some(told.0), Some(told.1)), "{currency}: {summary}");
    }
}

/// Calls of all kinds, with and without a price.
fn mixture(count: usize) -> Vec<Said> {
    let one = |at: usize| {
        let model = ["m", "n", "eur", "new"][at % 4];
        let at_us = DAY_US * (at % 5) as i64 + (at % 7) as i64 * DAY_US / 7;
        Said {
            at_us: (!at.is_multiple_of(11)).then_some(at_us),
            status: (at % 6 == 5).then_some("failed"),
            user: [Some("ann"), Some("bob"), None][at % 3],
            ticket: [None, Some("t1"), Some("t2"), Some("t3")][at / 2 % 4],
            cached: (at % 9 == 8).then_some(1_000_000),
            cost: (at % 5 < 3).then_some(1e-6 * (1 + at % 2) as f64),
            ..said(0, model, 1 + at as i64, 2)
        }
    };
    (0..count).map(one).collect()
}

async fn resolved(engine: &Engine, of: &[(&str, Option<i64>)]) {
    let columns = [
        ("id", ColumnType::Text, text(of.iter().map(|(id, _)| Some(*id)))),
        ("resolved_at", ColumnType::Timestamp, time(of.iter().map(|(_, at)| *at))),
    ];
    write(engine, "tickets", WriteMode::Overwrite, &columns).await;
}

/// All that is there of the calls, but for the version that says so.
async fn told(engine: &Engine) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for output in ["call_costs", "model_costs", "unpriced_calls", "ticket_costs"] {
        let columns = format!("SELECT * EXCLUDE (source_version) FROM {output}");
        let mut found = rows(engine, &format!("{columns} WHERE source = 'calls'")).await;
        found.sort();
        all.push(found);
    }
    all
}

/// What a run says, and apart from it what it read.
fn but_how(mut summary: Value) -> (Value, Value) {
    let incremental = summary["incremental"].take();
    (summary, incremental)
}

#[tokio::test]
async fn calls_that_came_are_added_to_what_is_there_and_all_is_as_if_they_had_been() {
    let all = mixture(90);
    let params = || asked(json!({ "tickets": "tickets" }));
    let whole = engine().await;
    prices(&whole).await;
    resolved(&whole, &[("t1", Some(9)), ("t2", None)]).await;
    calls(&whole, &all).await;
    let (expected, how) = but_how(summary_of(&whole, NAME, params()).await);
    let because = "model_costs has no rows of a run on it of late";
    assert_eq!(how, json!({ "all_because": because }));
    for of in ["unpriced", "failed", "calls_recorded_otherwise"] {
        assert!(expected[of].as_u64() > Some(10), "{of}: {expected}");
    }
    let found = told(&whole).await;
    assert!(found.iter().all(|rows| rows.len() >= 3), "{found:?}");

    let engine = engine().await;
    prices(&engine).await;
    resolved(&engine, &[("t1", None)]).await;
    calls(&engine, &all[..40]).await;
    put(&engine, "others", WriteMode::Overwrite, 0, &all[..9]).await;
    summary_of(&engine, NAME, params()).await;
    for (from, to) in [(40, 41), (41, 70), (70, 90)] {
        // What another dataset costs stands beside it.
        let other = json!({ "dataset": "others", "full": from == 41 });
        summary_of(&engine, NAME, asked(other)).await;
        put(&engine, "calls", WriteMode::Append, from, &all[from..to]).await;
        let (_, how) = but_how(summary_of(&engine, NAME, params()).await);
        assert!(how["from_version"].is_number(), "{from}: {how}");
        let own = "SELECT count(*), count(DISTINCT call_id) FROM call_costs WHERE source = 'calls'";
        assert_eq!(rows(&engine, own).await, [format!("{to} {to}")]);
    }
    // A ticket that was resolved since says so, though no call came.
    resolved(&engine, &[("t1", Some(9)), ("t2", None)]).await;
    let (summary, how) = but_how(summary_of(&engine, NAME, params()).await);
    assert!(how["from_version"].is_number(), "{how}");
    assert_eq!(summary, expected);
    assert_eq!(told(&engine).await, found);
    let others = "SELECT count(*) FROM call_costs WHERE source = 'others'";
    assert_eq!(rows(&engine, others).await, ["9"]);
    // And once more all of it.
    let full = asked(json!({ "tickets": "tickets", "full": true }));
    let (summary, how) = but_how(summary_of(&engine, NAME, full).await);
    assert_eq!((&summary, &how["all_because"]), (&expected, &json!("`full` is asked for")));
    assert_eq!(told(&engine).await, found);
    // Where nothing came all is said, and nothing is committed.
    let without = |full: bool| asked(json!({ "full": full }));
    let (expected, _) = but_how(summary_of(&engine, NAME, without(true)).await);
    let record = record_of(&engine, NAME, without(false)).await;
    assert!(record.outputs.is_empty(), "{record:?}");
    let (summary, how) = but_how(record.summary.clone());
    assert!(how["from_version"].is_number(), "{how}");
    assert_eq!(summary, expected);
}

#[tokio::test]
async fn whatever_is_other_than_it_was_has_all_calls_priced_anew() {
    let engine = engine().await;
    prices(&engine).await;
    let all = mixture(30);
    calls(&engine, &all[..20]).await;
    let run = async |params: Value| but_how(summary_of(&engine, NAME, asked(params)).await).1;
    let add = async |from: usize| {
        put(&engine, "calls", WriteMode::Append, from, &all[from..=from]).await;
    };
    run(json!({})).await;
    add(20).await;
    assert!(run(json!({})).await["from_version"].is_number());
    // Other parameters, then these again.
    let because = async |params: Value, says: &str| {
        let how = run(params).await;
        let found = how["all_because"].as_str().unwrap_or_default().to_owned();
        assert!(found.contains(says), "{says}: {how}");
    };
    let parameters = "is not of a run with these parameters, columns and prices";
    because(json!({ "charge_failed": true }), parameters).await;
    because(json!({}), parameters).await;
    // Prices.
    prices(&engine).await;
    add(21).await;
    because(json!({}), parameters).await;
    // Calls that went.
    calls(&engine, &all[1..22]).await;
    because(json!({}), "rows of calls went or changed after version").await;
    // A writer who did not see another's commit, and added what that had.
    add(22).await;
    let (who, output) = (Principal::local(), DatasetName::new("call_costs").unwrap());
    let last = &engine.history(&who, &output, 1).await.unwrap()[0];
    let marks: Vec<(String, i64)> = last.numbers.clone().into_iter().collect();
    let session = engine.session(&who, &[]).await.unwrap();
    let twice = session.table(&output).await.unwrap().limit(0, Some(1)).unwrap();
    let twice = session.collect(twice).await.unwrap();
    let label = CommitLabel { operation: NAME.into(), marks, ..CommitLabel::default() };
    engine.write(&who, &output, WriteMode::Append, twice, label).await.unwrap();
    because(json!({}), "call_costs has not all calls once").await;
    // Another table of the same name and version.
    let name = DatasetName::new("calls").unwrap();
    engine.drop_dataset(&who, &name).await.unwrap();
    engine.purge_dataset(&who, &name).await.unwrap();
    calls(&engine, &all[..22]).await;
    because(json!({}), parameters).await;
    // Rows of a result that somebody else wrote.
    add(22).await;
    assert!(run(json!({})).await["from_version"].is_number());
    let taken = rows(&engine, "SELECT source FROM ticket_costs LIMIT 1").await;
    assert_eq!(taken, ["calls"]);
    for output in ["ticket_costs", "call_costs", "unpriced_calls", "model_costs"] {
        let (who, name) = (Principal::local(), DatasetName::new(output).unwrap());
        let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
        engine.write(&who, &name, WriteMode::Overwrite, Vec::new(), label).await.unwrap();
        add(23).await;
        because(json!({}), &format!("{output}: the last commit")).await;
    }
    let own = "SELECT count(*) FROM call_costs";
    assert_eq!(rows(&engine, own).await, ["27"]);
}

#[tokio::test]
async fn key_and_instants_are_those_that_the_dataset_declares() {
    let engine = engine().await;
    prices(&engine).await;
    calls(&engine, &[said(0, "m", 1_000, 10), said(DAY_US, "n", 1_000, 10)]).await;
    let query = "SELECT id AS call, at AS done_at, provider, model, input_tokens, output_tokens, 'x' AS id, \
                 at + INTERVAL '9 days' AS at FROM calls";
    let copy =
        json!({ "query": query, "output": "named", "key": ["call"], "time_column": "done_at" });
    summary_of(&engine, "sql", copy).await;
    let summary = summary_of(&engine, NAME, asked(json!({ "dataset": "named" }))).await;
    let columns = &summary["columns"];
    assert_eq!(
        (&columns["id"], &columns["time"]),
        (&json!("call"), &json!("done_at")),
        "{summary}"
    );
    let costs =
        "SELECT call_id, CAST(at AS DATE) FROM call_costs WHERE source = 'named' ORDER BY 1";
    assert_eq!(rows(&engine, costs).await, ["c0 1970-01-01", "c1 1970-01-02"]);
    // What is asked for goes before what is declared.
    let asked_for = json!({ "dataset": "named", "time_column": "at" });
    let summary = summary_of(&engine, NAME, asked(asked_for)).await;
    assert_eq!(summary["columns"]["time"], json!("at"), "{summary}");
    assert_eq!(rows(&engine, costs).await, ["c0 1970-01-10", "c1 1970-01-11"]);
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
        (
            json!({ "dataset": "other" }),
            "costs: dataset other has none of the columns \"id\" (id_column), \"at\" (time_column), ",
        ),
        (json!({ "cached_column": "status" }), "parameter \"cached_column\""),
        (json!({ "input_column": "model" }), "expected a whole number, found text"),
        (
            json!({ "provider_column": "gone" }),
            "parameter \"provider_column\": dataset calls has no column \"gone\"",
        ),
        (json!({ "cost_column": "status" }), "parameter \"cost_column\""),
        (json!({ "by": ["status", "status"] }), "\"status\" stands there twice"),
        (json!({ "by": ["at"] }), "expected a text, truth value or whole number"),
        (json!({ "interval": "1s" }), "expected 1m at least, found 1s"),
        (json!({ "currency": " " }), "expected a currency"),
        (json!({ "currency": "x".repeat(101) }), "expected at most 100 bytes, found 101"),
        (json!({ "default_model": "x".repeat(1_001) }), "parameter \"default_model\""),
        (json!({ "aliases": { "a": "x".repeat(1_001) } }), "at most 1000 bytes, found 1001"),
        (json!({ "tickets": "other" }), "parameter \"ticket_key\""),
        (json!({ "output": "prices" }), "parameter \"output\": prices is what is read"),
        (json!({ "calls_output": "model_costs" }), "is the name of another output"),
        (json!({ "where": "x > 1" }), "parameter \"where\""),
        (json!({ "success": "x > 1" }), "parameter \"success\""),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(params.clone())).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
}
