#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

/// Case, activity, who did it, and the minutes at which it began and was done.
type Step<'a> = (Option<&'a str>, &'a str, Option<&'a str>, Option<i64>, Option<i64>);

async fn steps(engine: &Engine, of: &[Step<'_>]) {
    let time = |get: &dyn Fn(&Step<'_>) -> Option<i64>| {
        let micros = of.iter().map(|step| get(step).map(|minute| minute * 60_000_000));
        Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC")) as ArrayRef
    };
    let case: StringArray = of.iter().map(|step| step.0).collect();
    let activity = StringArray::from_iter_values(of.iter().map(|step| step.1));
    let who: StringArray = of.iter().map(|step| step.2).collect();
    let columns = [
        ("case_id", ColumnType::Text, Arc::new(case) as ArrayRef),
        ("activity", ColumnType::Text, Arc::new(activity)),
        ("resource", ColumnType::Text, Arc::new(who)),
        ("started_at", ColumnType::Timestamp, time(&|step| step.3)),
        ("ended_at", ColumnType::Timestamp, time(&|step| step.4)),
    ];
    write(engine, "steps", WriteMode::Append, &columns).await;
}

fn asked(more: Value) -> Value {
    let mut params = json!({ "dataset": "steps" });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

/// Nine cases take an order, check it and ship it; one ships it twice and checks nothing.
async fn orders(engine: &Engine) {
    let cases: Vec<String> = (0..10).map(|case| format!("c{case}")).collect();
    let mut all = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let begin = at as i64 * 100;
        let step = |activity, who, from, to| {
            (Some(case.as_str()), activity, Some(who), Some(begin + from), Some(begin + to))
        };
        all.push(step("take", "ann", 0, 1));
        if at < 9 {
            all.push(step("check", "bob", 5, 15));
        } else {
            all.push(step("ship", "ann", 2, 3));
        }
        all.push(step("ship", "ann", 20, 22));
    }
    // Rows come in any order.
    all.reverse();
    steps(engine, &all).await;
}

#[tokio::test]
async fn what_follows_what_and_how_long_it_waits() {
    let engine = engine().await;
    orders(&engine).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let counts = ["events", "cases", "activities", "edges", "variants"];
    assert_eq!(counts.map(|name| summary[name].as_u64().unwrap()), [30, 10, 3, 4, 2], "{summary}");
    let edges = "SELECT from_activity, to_activity, count, cases, waiting_mean_seconds, rank FROM process_edges ORDER BY rank";
    let expected = [
        "check ship 9 9 300.0 1",
        "take check 9 9 240.0 2",
        "ship ship 1 1 1020.0 3",
        "take ship 1 1 60.0 4",
    ];
    assert_eq!(rows(&engine, edges).await, expected);
    let share = rows(&engine, "SELECT sum(waiting_share) FROM process_edges").await;
    assert!((share[0].parse::<f64>().unwrap() - 1.0).abs() < 1e-12);
    let activities = "SELECT activity, events, cases, starts, ends, loops, returns, working_total_seconds FROM process_activities ORDER BY 1";
    let expected =
        ["check 9 9 0 0 0 0 5400.0", "ship 11 10 0 10 1 0 1260.0", "take 10 10 10 0 0 0 600.0"];
    assert_eq!(rows(&engine, activities).await, expected);
    let hands = "SELECT from_resource, to_resource, count FROM process_hand_overs ORDER BY 1";
    assert_eq!(rows(&engine, hands).await, ["ann bob 9", "bob ann 9"]);
    let ways = "SELECT variant, activities, cases, share, covered, example_case, duration_median_seconds FROM process_variants ORDER BY 1";
    let expected = [
        r#"1 ["take","check","ship"] 9 0.9 0.9 c0 1320.0"#,
        r#"2 ["take","ship","ship"] 1 0.1 1.0 c9 1320.0"#,
    ];
    assert_eq!(rows(&engine, ways).await, expected);
}

#[tokio::test]
async fn cases_are_held_against_a_model_of_the_most_frequent_ways_or_a_given_one() {
    let engine = engine().await;
    orders(&engine).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!((&summary["model"], &summary["no_model"]), (&json!("discovered"), &Value::Null));
    let model =
        "SELECT origin, tree, from_variants, from_share, cases, cases_that_fit FROM process_models";
    let expected = ["discovered ->( 'take', 'check', 'ship' ) 1 0.9 10 9"];
    assert_eq!(rows(&engine, model).await, expected);
    let odd = "SELECT case_id, variant, cost, deviations, repeats, hand_overs, duration_seconds, working_seconds, waiting_seconds \
               FROM process_cases WHERE cost > 0 OR fitness < 1";
    let expected = [r#"c9 2 2 ["missing: check","extra: ship"] 1 0 1320.0 240.0 1080.0"#];
    assert_eq!(rows(&engine, odd).await, expected);
    // What was written can be given, and says the same; all ways make a model that all fit.
    let pnml = rows(&engine, "SELECT pnml FROM process_models").await.remove(0);
    let bpmn = rows(&engine, "SELECT bpmn FROM process_models").await.remove(0);
    let fits = "SELECT case_id, fitness, cost, deviations FROM process_cases ORDER BY 1";
    let before = rows(&engine, fits).await;
    for given in [pnml, bpmn] {
        summary_of(&engine, NAME, asked(json!({ "model": given }))).await;
        assert_eq!(rows(&engine, fits).await, before);
        assert_eq!(rows(&engine, "SELECT origin, tree FROM process_models").await, ["given "]);
    }
    summary_of(&engine, NAME, asked(json!({ "model_share": 1.0 }))).await;
    let all = rows(&engine, "SELECT cases_that_fit, fitness FROM process_models").await;
    assert_eq!(all, ["10 1.0"]);
}

#[tokio::test]
async fn rows_that_say_too_little_are_counted_and_equal_instants_have_an_order() {
    let engine = engine().await;
    let some = [
        (Some("a"), "two", None, None, Some(5)),
        (Some("a"), "one", None, None, Some(5)),
        (Some("a"), "open", None, Some(7), None),
        (Some("b"), "one", None, Some(9), Some(8)),
        (Some("b"), "never", None, None, None),
        (None, "one", None, Some(1), Some(2)),
    ];
    steps(&engine, &some).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let counts =
        ["events_left_out", "events_that_end_before_they_begin", "events_without_end", "events"];
    assert_eq!(counts.map(|name| summary[name].as_u64().unwrap()), [2, 1, 1, 4], "{summary}");
    let ways = rows(&engine, "SELECT activities FROM process_variants ORDER BY 1").await;
    assert_eq!(ways, [r#"["one","two","open"]"#, r#"["one"]"#]);
    let far = [
        (Some("far"), "one", None, Some(i64::MIN / 60_000_000), Some(i64::MAX / 60_000_000)),
        (Some(""), "one", None, None, Some(1)),
        (Some("c"), "", None, None, Some(1)),
    ];
    steps(&engine, &far).await;
    let again = summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!((&again["events_left_out"], &again["events"]), (&json!(5), &json!(4)), "{again}");
    // Of no rows nothing is said, and nothing fails.
    let none = summary_of(&engine, NAME, asked(json!({ "where": "activity = 'x'" }))).await;
    assert_eq!((&none["cases"], &none["no_model"]), (&json!(0), &json!("there are no events")));
    assert!(rows(&engine, "SELECT * FROM process_cases").await.is_empty());
}

#[tokio::test]
async fn results_of_another_dataset_stay() {
    let engine = engine().await;
    orders(&engine).await;
    summary_of(&engine, NAME, asked(json!({}))).await;
    let copy = json!({ "query": "SELECT * FROM steps WHERE case_id <> 'c9'", "output": "others" });
    summary_of(&engine, "sql", copy).await;
    for _ in 0..2 {
        summary_of(&engine, NAME, json!({ "dataset": "others" })).await;
    }
    let count = "SELECT source, count(*) FROM process_cases GROUP BY source ORDER BY 1";
    assert_eq!(rows(&engine, count).await, ["others 9", "steps 10"]);
    let models = "SELECT source, cases_that_fit FROM process_models ORDER BY 1";
    assert_eq!(rows(&engine, models).await, ["others 9", "steps 9"]);
}

/// What is told of a way does not depend on those that were looked at before.
#[tokio::test]
async fn ways_through_a_model_of_many_states_are_all_aligned() {
    let engine = engine().await;
    let mut noise = analysis::Noise::new(3);
    let names: Vec<String> = (0..16).map(|at| format!("a{at:02}")).collect();
    let cases: Vec<String> = (0..600).map(|case| format!("c{case}")).collect();
    let mut all = Vec::new();
    for case in &cases {
        let mut left: Vec<&String> = names.iter().collect();
        for minute in 0..16 {
            let next = left.remove((noise.uniform() * left.len() as f64) as usize);
            all.push((Some(case.as_str()), next.as_str(), None, None, Some(minute)));
        }
    }
    steps(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(json!({ "model_share": 1.0 }))).await;
    assert_eq!((&summary["cases_not_aligned"], &summary["cases"]), (&json!(0), &json!(600)));
    assert_eq!(rows(&engine, "SELECT DISTINCT cost FROM process_cases").await, ["0"]);
}

#[tokio::test]
async fn bad_parameters_and_models_are_refused_by_name() {
    let engine = engine().await;
    orders(&engine).await;
    for (params, says) in [
        (json!({ "case_column": "cas" }), "parameter \"case_column\": dataset steps has no column"),
        (json!({ "end_column": "activity" }), "expected a timestamp or date, found text"),
        (
            json!({ "start_column": null, "end_column": null }),
            "without instants nothing has an order",
        ),
        (json!({ "model_share": 0 }), "expected above 0 and at most 1, found 0"),
        (json!({ "where": "x > 1" }), "parameter \"where\""),
        (json!({ "edges_output": "process_cases" }), "is the name of another output"),
        (json!({ "model": "no xml" }), "parameter \"model\": no XML"),
        (
            json!({ "model": "<a/>" }),
            "parameter \"model\": expected <pnml> or the <definitions> of BPMN, found <a>",
        ),
        (
            json!({ "model": "<pnml><place id=\"p\"><initialMarking><text>1</text></initialMarking></place><place id=\"q\"/>\
                             <transition id=\"t\"/><arc source=\"p\" target=\"t\"/><arc source=\"t\" target=\"p\"/></pnml>" }),
            "parameter \"model\": no case can end by it",
        ),
        (
            json!({ "model": "<pnml><place id=\"p\"/></pnml>" }),
            "expected one place with a token at the beginning, found none",
        ),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(params.clone())).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
}
