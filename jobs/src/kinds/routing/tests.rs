#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

const MINUTE_US: i64 = 60_000_000;

/// A call.
#[derive(Clone, Copy)]
struct Call {
    minute: Option<i64>,
    kind: &'static str,
    tokens: Option<i64>,
    model: Option<&'static str>,
    cost: Option<f64>,
    quality: Option<f64>,
    served: Option<bool>,
}

async fn calls(engine: &Engine, of: &[Call]) {
    let text = |get: fn(&Call) -> Option<&'static str>| -> ArrayRef {
        Arc::new(of.iter().map(get).collect::<StringArray>())
    };
    let float = |get: fn(&Call) -> Option<f64>| -> ArrayRef {
        Arc::new(of.iter().map(get).collect::<Float64Array>())
    };
    let at = of.iter().map(|call| call.minute.map(|minute| minute * MINUTE_US));
    let at = TimestampMicrosecondArray::from(at.collect::<Vec<_>>()).with_timezone("UTC");
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
        ("kind", ColumnType::Text, text(|of| Some(of.kind))),
        (
            "tokens",
            ColumnType::Int64,
            Arc::new(of.iter().map(|of| of.tokens).collect::<Int64Array>()) as ArrayRef,
        ),
        ("model", ColumnType::Text, text(|of| of.model)),
        ("cost", ColumnType::Float64, float(|of| of.cost)),
        ("good", ColumnType::Float64, float(|of| of.quality)),
        (
            "served",
            ColumnType::Bool,
            Arc::new(of.iter().map(|of| of.served).collect::<BooleanArray>()) as ArrayRef,
        ),
    ];
    write(engine, "asked", WriteMode::Overwrite, &columns).await;
}

fn params(more: Value) -> Value {
    let mut params = json!({
        "dataset": "asked", "kind_column": "kind", "length_column": "tokens", "quality": "good",
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

/// Each minute calls of both kinds and lengths by both models: the cheap one costs a tenth; `quality` is what it is worth.
fn day(minutes: i64, quality: impl Fn(i64, &str, &str, i64) -> f64) -> Vec<Call> {
    let mut all = Vec::new();
    for minute in 0..minutes {
        for kind in ["easy", "hard"] {
            for (tokens, price) in [(100, 1.0), (3_000, 30.0)] {
                for (model, part) in [("dear", 1.0), ("cheap", 0.1)] {
                    all.push(Call {
                        minute: Some(minute),
                        kind,
                        tokens: Some(tokens),
                        model: Some(model),
                        cost: Some(price * part),
                        quality: Some(quality(minute, kind, model, tokens)),
                        served: Some(true),
                    });
                }
            }
        }
    }
    all
}

/// The cheap one is of use for what is easy alone.
fn by_kind(minute: i64, kind: &str, model: &str, _: i64) -> f64 {
    match (kind, model) {
        ("hard", "cheap") => f64::from(u8::from(minute % 2 == 0)),
        _ => 1.0,
    }
}

const POLICIES: &str = "SELECT policy, level, routed, round(cost, 9), round(quality, 9), round(saving, 9), round(loss, 9), on_frontier, sure, recommended FROM routing_policies WHERE source = 'asked' ORDER BY policy";

#[tokio::test]
async fn the_kind_that_a_cheaper_model_does_is_sent_to_it() {
    let engine = engine().await;
    calls(&engine, &day(400, by_kind)).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["recommended"], "cheapest by kind, 0.01 worse at most", "{summary}");
    assert_eq!(
        [&summary["calls"], &summary["requests"], &summary["kinds"], &summary["models"]],
        [&json!(3_200), &json!(1_600), &json!(2), &json!(2)],
    );
    // A call costs (1 + 30) × (1 + 0.1) / 4 in the mean; easy ones (1 + 30) × 0.1 / 2.
    let expected = [
        "all to cheap all 1600 1.55 0.75 0.818181818 0.125 true false false",
        "all to dear all 1600 15.5 1.0 -0.818181818 -0.125 true false false",
        "as it was  0 8.525 0.875 0.0 0.0 false false false",
        "cheapest by kind, 0.01 worse at most kind 800 5.0375 0.875 0.409090909 0.0 true true true",
    ];
    assert_eq!(rows(&engine, POLICIES).await, expected);
    let rules = "SELECT kind, length, length_from, length_to, model, requests, round(cost_before, 9), round(cost_after, 9), quality_before, quality_after \
                 FROM routing_rules WHERE policy LIKE 'cheapest%' ORDER BY 1, 3";
    let expected = [
        "easy 91 to 127 91 127 cheap 400 0.55 0.1 1.0 1.0",
        "easy 2897 to 4095 2897 4095 cheap 400 16.5 3.0 1.0 1.0",
    ];
    assert_eq!(rows(&engine, rules).await, expected);
    // Without kinds there is nothing to tell them by.
    let summary = summary_of(&engine, NAME, params(json!({ "kind_column": null }))).await;
    assert_eq!(summary["recommended"], Value::Null, "{summary}");
    // Who may lose a fifth is told to take it for all.
    let summary = summary_of(&engine, NAME, params(json!({ "max_loss": 0.2 }))).await;
    assert_eq!(summary["recommended"], "all to cheap", "{summary}");
}

#[tokio::test]
async fn where_what_is_cheaper_is_worse_nothing_is_recommended() {
    let engine = engine().await;
    let worse = |minute: i64, _: &str, model: &str, _: i64| {
        f64::from(u8::from(model == "dear" || minute % 10 != 0))
    };
    calls(&engine, &day(400, worse)).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["recommended"], Value::Null, "{summary}");
    let because = "none is sure to save what is asked without losing more";
    assert_eq!(summary["nothing_because"], because);
    assert_eq!(
        rows(&engine, "SELECT count(*) FROM routing_policies WHERE recommended OR sure").await,
        ["0"]
    );
    let saving = rows(&engine, "SELECT saving > 0.5, round(loss, 9), loss_upper > 0.05 FROM routing_policies WHERE policy = 'all to cheap'").await;
    assert_eq!(saving, ["true 0.05 true"], "it is told what it would cost");
}

#[tokio::test]
async fn calls_that_answered_nobody_say_what_their_model_can() {
    let engine = engine().await;
    let mut all = day(400, |_, _, _, _| 1.0);
    // Only the dear one answered; the cheap one was tried beside it.
    for call in &mut all {
        call.served = (call.model != Some("cheap")).then_some(true);
    }
    calls(&engine, &all).await;
    let summary = summary_of(&engine, NAME, params(json!({ "served": "served" }))).await;
    assert_eq!(summary["recommended"], "all to cheap", "{summary}");
    assert_eq!([&summary["calls"], &summary["requests"]], [&json!(3_200), &json!(800)]);
    let saved = "SELECT round(cost, 9), round(saving, 9) FROM routing_policies WHERE policy IN ('as it was', 'all to cheap') ORDER BY 1";
    assert_eq!(rows(&engine, saved).await, ["1.55 0.9", "15.5 0.0"]);
}

#[tokio::test]
async fn what_says_nothing_is_left_out_and_counted() {
    let engine = engine().await;
    let mut all = day(400, by_kind);
    let whole = all[0];
    all.extend([
        Call { minute: None, ..whole },
        Call { model: None, ..whole },
        Call { model: Some(""), ..whole },
        Call { cost: None, ..whole },
        Call { cost: Some(-1.0), ..whole },
        Call { cost: Some(f64::NAN), ..whole },
        Call { cost: Some(2e9), ..whole },
        Call { quality: None, ..whole },
        Call { quality: Some(f64::NAN), ..whole },
        Call { tokens: None, ..whole },
        Call { tokens: Some(-5), ..whole },
    ]);
    calls(&engine, &all).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    let counts = ["calls", "calls_not_judged", "rows_left_out"];
    assert_eq!(counts.map(|name| summary[name].as_u64().unwrap()), [3_204, 2, 7], "{summary}");
    assert_eq!(summary["recommended"], "cheapest by kind, 0.01 worse at most", "{summary}");
    // The same again says the same, and other sources keep their rows.
    let before = rows(&engine, POLICIES).await;
    summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(rows(&engine, POLICIES).await, before);
}

#[tokio::test]
async fn of_too_little_nothing_is_said() {
    let engine = engine().await;
    calls(&engine, &day(30, by_kind)).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["recommended"], Value::Null);
    assert!(
        summary["nothing_because"].as_str().unwrap().starts_with("fewer than 20 stretches"),
        "{summary}"
    );
    assert_eq!(rows(&engine, "SELECT count(*) FROM routing_policies").await, ["0"]);
    calls(&engine, &[]).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["calls"], 0, "{summary}");
    assert_eq!(summary["nothing_because"], "no row has an instant, a model and a cost");
    let mut unjudged = day(400, by_kind);
    unjudged.iter_mut().for_each(|of| of.quality = None);
    calls(&engine, &unjudged).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["nothing_because"], "of no answer it is known how good it was");
    // One model alone leaves nothing to choose.
    let one: Vec<Call> =
        day(400, by_kind).into_iter().filter(|of| of.model == Some("dear")).collect();
    calls(&engine, &one).await;
    let summary = summary_of(&engine, NAME, params(json!({}))).await;
    assert_eq!(summary["recommended"], Value::Null, "{summary}");
}

#[tokio::test]
async fn qualities_are_of_0_to_1_and_others_are_told() {
    let engine = engine().await;
    for (quality, more) in [(1.5, 1), (5.0, 1), (-0.1, 1), (f64::INFINITY, 3)] {
        let mut all = day(400, by_kind);
        all.iter_mut().take(more).for_each(|of| of.quality = Some(quality));
        calls(&engine, &all).await;
        let refusal = refusal_of(&engine, NAME, params(json!({}))).await;
        let says = format!("; {more} of {} have another number", all.len());
        assert!(
            refusal.contains("parameter \"quality\": ") && refusal.contains(&says),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn instants_are_those_that_the_dataset_declares() {
    let engine = engine().await;
    calls(&engine, &day(200, by_kind)).await;
    let mut before = summary_of(&engine, NAME, params(json!({}))).await;
    let query = "SELECT at AS done_at, arrow_cast(0, 'Timestamp(Microsecond, Some(\"UTC\"))') AS at, kind, tokens, model, cost, good, served FROM asked";
    let copy = json!({ "query": query, "output": "named", "time_column": "done_at" });
    summary_of(&engine, "sql", copy).await;
    let mut named = params(json!({ "dataset": "named" }));
    before["source"] = json!("named");
    assert!(before["policies"].as_u64().unwrap() > 0, "{before}");
    assert_eq!(summary_of(&engine, NAME, named.clone()).await, before);
    named["time_column"] = json!("at");
    assert_ne!(summary_of(&engine, NAME, named).await, before);
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let engine = engine().await;
    calls(&engine, &day(30, by_kind)).await;
    for (more, says) in [
        (json!({ "dataset": "none" }), "none"),
        (
            json!({ "time_column": "kind" }),
            "parameter \"time_column\": column \"kind\" of dataset asked: expected a timestamp or date",
        ),
        (
            json!({ "model_column": "name" }),
            "parameter \"model_column\": dataset asked has no column \"name\"",
        ),
        (
            json!({ "model_column": "name", "kind_column": "sort" }),
            "routing: dataset asked has none of the columns \"name\" (model_column), \"sort\" (kind_column)",
        ),
        (json!({ "kind_column": "cost" }), "parameter \"kind_column\""),
        (
            json!({ "length_column": "cost" }),
            "parameter \"length_column\": column \"cost\" of dataset asked: expected a whole number",
        ),
        (json!({ "cost": "model" }), "parameter \"cost\": \"model\": expected a number, found"),
        (json!({ "cost": "good > 0" }), "parameter \"cost\""),
        (
            json!({ "quality": "model" }),
            "parameter \"quality\": \"model\": expected a number or a truth value",
        ),
        (json!({ "quality": "" }), "parameter \"quality\""),
        (json!({ "where": "price > 1" }), "parameter \"where\""),
        (json!({ "served": "cost" }), "parameter \"served\""),
        (json!({ "learn": 0.95 }), "parameter \"learn\": expected 0.1 to 0.9, found 0.95"),
        (json!({ "max_loss": -0.1 }), "parameter \"max_loss\": expected 0 to 1, found -0.1"),
        (json!({ "min_saving": 2 }), "parameter \"min_saving\""),
        (json!({ "alpha": 0 }), "parameter \"alpha\""),
        (json!({ "min_calls": 9 }), "parameter \"min_calls\": expected 10 to 1,000,000, found 9"),
        (json!({ "output": "tickets" }), "parameter \"output\": tickets is a built-in dataset"),
        (json!({ "rules_output": "asked" }), "parameter \"rules_output\""),
        (json!({ "rules_output": "routing_policies" }), "parameter \"rules_output\""),
    ] {
        let refused = refusal_of(&engine, NAME, params(more.clone())).await;
        assert!(refused.contains(says), "{more}: {refused}");
    }
}

/// Requests that both models answer, of which the cheap one is right in most and knows in which it is not.
async fn answered_twice(engine: &Engine, minutes: i64) {
    let mut at = Vec::new();
    let (mut models, mut requests, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut costs, mut good, mut sure, mut served) = (vec![], vec![], vec![], vec![]);
    for minute in 0..minutes {
        for call in 0..4 {
            let is_hard = (minute + call) % 4 == 0;
            for (model, cost, is_good, confidence) in [
                ("dear", 1.0, true, 0.99),
                ("cheap", 0.1, !is_hard, if is_hard { 0.3 } else { 0.75 }),
            ] {
                at.push(minute * MINUTE_US + call);
                models.push(model);
                requests.push(format!("{minute}-{call}"));
                // Every second minute what was asked in the one before it.
                prompts.push(Some(format!("{}-{call}", minute / 2)));
                costs.push(cost);
                good.push(f64::from(u8::from(is_good)));
                sure.push(confidence);
                served.push(model == "dear");
            }
        }
    }
    let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
    let texts = |of: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(of)) };
    let floats = |of: Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(of)) };
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
        ("kind", ColumnType::Text, texts(models.iter().map(|_| Some("any".into())).collect())),
        ("model", ColumnType::Text, texts(models.iter().map(|of| Some((*of).into())).collect())),
        ("request", ColumnType::Text, texts(requests.into_iter().map(Some).collect())),
        ("prompt", ColumnType::Text, texts(prompts)),
        ("cost", ColumnType::Float64, floats(costs)),
        ("good", ColumnType::Float64, floats(good)),
        ("sure", ColumnType::Float64, floats(sure)),
        ("served", ColumnType::Bool, Arc::new(BooleanArray::from(served)) as ArrayRef),
    ];
    write(engine, "asked", WriteMode::Overwrite, &columns).await;
}

#[tokio::test]
async fn a_cheap_model_that_knows_when_it_is_wrong_is_asked_first() {
    let engine = engine().await;
    answered_twice(&engine, 400).await;
    let asked = |more: Value| {
        let mut asked = params(json!({ "length_column": null, "served": "served" }));
        more.as_object().unwrap().iter().for_each(|(name, value)| asked[name] = value.clone());
        asked
    };
    // The cheap one alone is wrong in a quarter.
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!(
        (&summary["recommended"], &summary["models"]),
        (&Value::Null, &json!(2)),
        "{summary}"
    );
    let chained =
        json!({ "request_column": "request", "confidence": "sure", "thresholds": [0.2, 0.5, 0.8] });
    let summary = summary_of(&engine, NAME, asked(chained)).await;
    assert_eq!(
        (&summary["calls"], &summary["models"], &summary["requests"]),
        (&json!(3_200), &json!(5), &json!(800))
    );
    let rules = "SELECT DISTINCT r.model, cost_before, round(cost_after, 9), quality_before, quality_after FROM routing_rules AS r \
                 JOIN routing_policies AS p ON r.source = p.source AND r.policy = p.policy WHERE p.recommended";
    // A tenth of all, and the whole of the quarter that it is not sure of.
    assert_eq!(rows(&engine, rules).await, ["cheap, then dear below 0.5 1.0 0.35 1.0 1.0"]);
    let saving = summary["saving"][1].as_f64().unwrap();
    assert!((saving - 0.65).abs() < 1e-9, "{summary}");
}

#[tokio::test]
async fn what_was_asked_before_is_answered_by_what_was_kept() {
    let engine = engine().await;
    answered_twice(&engine, 400).await;
    let mut asked = params(
        json!({ "length_column": null, "served": "served", "cache_column": "prompt", "cache_seconds": 60 }),
    );
    let summary = summary_of(&engine, NAME, asked.clone()).await;
    assert_eq!(
        (&summary["calls"], &summary["kinds"], &summary["models"]),
        (&json!(3_200), &json!(2), &json!(3))
    );
    let rules = "SELECT DISTINCT r.kind, r.model, cost_before, round(cost_after, 9), quality_after FROM routing_rules AS r \
                 JOIN routing_policies AS p ON r.source = p.source AND r.policy = p.policy WHERE p.recommended";
    assert_eq!(
        rows(&engine, rules).await,
        ["any (asked again) the cache 1.0 0.0 1.0"],
        "{summary}"
    );
    assert!((summary["saving"][1].as_f64().unwrap() - 0.5).abs() < 1e-9, "{summary}");
    // An answer that is not kept so long is none.
    asked["cache_seconds"] = json!(59);
    let summary = summary_of(&engine, NAME, asked).await;
    assert_eq!(
        (&summary["recommended"], &summary["kinds"]),
        (&Value::Null, &json!(1)),
        "{summary}"
    );
}

#[tokio::test]
async fn what_is_asked_of_chains_and_the_cache_must_be_there() {
    let engine = engine().await;
    answered_twice(&engine, 10).await;
    for (more, expected) in [
        (
            json!({ "request_column": "request", "confidence": "sure" }),
            "parameter \"served\": expected which calls of a request answered it, beside `request_column`",
        ),
        (
            json!({ "request_column": "request", "confidence": "sure", "served": "served", "thresholds": [0.5, 0.5] }),
            "parameter \"thresholds\": 0.5 is named twice",
        ),
        (
            json!({ "request_column": "request" }),
            "parameter \"confidence\": expected one beside `request_column`",
        ),
        (
            json!({ "confidence": "sure" }),
            "parameter \"request_column\": expected one beside `confidence`",
        ),
        (
            json!({ "request_column": "nope", "confidence": "sure", "served": "served" }),
            "parameter \"request_column\": dataset asked has no column \"nope\"",
        ),
        (
            json!({ "request_column": "request", "confidence": "model", "served": "served" }),
            "parameter \"confidence\": \"model\": expected a number",
        ),
        (
            json!({ "request_column": "request", "confidence": "sure", "thresholds": [] }),
            "parameter \"thresholds\": expected 1 to 10, found 0",
        ),
        (
            json!({ "cache_column": "nope" }),
            "parameter \"cache_column\": dataset asked has no column \"nope\"",
        ),
        (
            json!({ "cache_column": "prompt", "cache_seconds": 0 }),
            "parameter \"cache_seconds\": expected 1 to 31622400, found 0",
        ),
    ] {
        let mut asked = params(json!({ "length_column": null }));
        more.as_object().unwrap().iter().for_each(|(name, value)| asked[name] = value.clone());
        let says = refusal_of(&engine, NAME, asked).await;
        assert!(says.contains(expected), "{more}: {says}");
    }
}
