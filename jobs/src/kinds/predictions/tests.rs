#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use analysis::Noise;
use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{engine, refusal_of, rows, summary_of, write};

/// Case, activity, and the minutes at which it began and was done.
type Step = (String, &'static str, Option<i64>, Option<i64>);

async fn steps(engine: &Engine, of: &[Step]) {
    let time = |get: &dyn Fn(&Step) -> Option<i64>| {
        let micros = of.iter().map(|step| get(step).map(|minute| minute * 60_000_000));
        Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC")) as ArrayRef
    };
    let case = StringArray::from_iter_values(of.iter().map(|step| step.0.as_str()));
    let activity = StringArray::from_iter_values(of.iter().map(|step| step.1));
    let who: StringArray = of.iter().map(|step| (step.1 != "done").then_some("ann")).collect();
    let columns = [
        ("case_id", ColumnType::Text, Arc::new(case) as ArrayRef),
        ("activity", ColumnType::Text, Arc::new(activity)),
        ("resource", ColumnType::Text, Arc::new(who)),
        ("started_at", ColumnType::Timestamp, time(&|step| step.2)),
        ("ended_at", ColumnType::Timestamp, time(&|step| step.3)),
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

fn name(case: i64) -> String {
    format!("c{case:04}")
}

const CHOSEN: &str = "SELECT target, model FROM prediction_accuracy WHERE is_chosen AND source = 'steps' ORDER BY target";

/// What comes next is what came five steps before, which three last activities do not say.
#[tokio::test]
async fn what_lies_further_back_than_counts_look_is_learned_by_the_network_which_is_taken() {
    let engine = engine().await;
    let mut noise = Noise::new(1);
    let mut all = Vec::new();
    for case in 0..250i64 {
        let first: Vec<&str> =
            (0..5).map(|_| ["a", "b", "c"][(noise.uniform() * 3.0) as usize]).collect();
        // The last two go on, side by side: of one five events are there, of one six.
        let length = if case >= 248 { case - 243 } else { 12 };
        let begin = if case >= 248 { 7_450 } else { case * 30 };
        for step in 0..length {
            let at = begin + step * 5;
            all.push((name(case), first[step as usize % 5], Some(at), Some(at + 1)));
        }
        if length == 12 {
            all.push((name(case), "done", Some(begin + 60), Some(begin + 60)));
        }
    }
    steps(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let counts = ["cases", "cases_ended", "cases_open", "cases_abandoned"];
    assert_eq!(counts.map(|of| summary[of].as_u64().unwrap()), [250, 248, 2, 0], "{summary}");
    assert_eq!(
        (&summary["ended_by"], &summary["final_activities"]),
        (&json!("learned activities"), &json!(["done"]))
    );
    assert_eq!(summary["not_predicted"], json!({ "outcome": "`success` is not told" }));
    let chosen = rows(&engine, CHOSEN).await;
    assert_eq!(chosen, ["next_activity network", "remaining_time network"]);
    let held = "SELECT model, accuracy > 0.65, accuracy < 0.45, difference_lower > 0.2, validation_difference > 0.2, events FROM prediction_accuracy \
                WHERE target = 'next_activity' ORDER BY model";
    let expected = ["markov false true false false 588", "network true false true true 588"];
    assert_eq!(rows(&engine, held).await, expected);
    // What goes on repeats the first of its five.
    let next = "SELECT case_id, next_activity, next_probability > 0.8, next_model FROM case_predictions ORDER BY 1";
    let expected: Vec<String> = [248i64, 249]
        .map(|case| {
            let of = |at: usize| all.iter().filter(|step| step.0 == name(case)).nth(at).unwrap().1;
            format!("{} {} true network", name(case), of(if case == 248 { 0 } else { 1 }))
        })
        .to_vec();
    assert_eq!(rows(&engine, next).await, expected);
    let times = "SELECT bool_and(remaining_lower_seconds >= 0 AND remaining_lower_seconds <= remaining_seconds AND remaining_seconds <= remaining_upper_seconds) \
                 FROM case_predictions";
    assert_eq!(rows(&engine, times).await, ["true"]);
    // The same rows say the same.
    const ALL: &str = "SELECT * FROM case_predictions ORDER BY case_id";
    let before = rows(&engine, ALL).await;
    summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!(rows(&engine, ALL).await, before);
}

/// Tickets are opened, replied to, and then escalated, refunded or closed; escalated ones are mostly solved. All follows from the last step.
fn tickets() -> Vec<Step> {
    let mut noise = Noise::new(2);
    let mut all = Vec::new();
    for case in 0..500i64 {
        let mut at = case.min(495) * 20;
        let mut push = |activity: &'static str, minutes: i64| {
            all.push((name(case), activity, Some(at), Some(at + 1)));
            at += minutes;
        };
        push("open", 10 + (noise.uniform() * 3.0) as i64);
        push("reply", 5 + (noise.uniform() * 3.0) as i64);
        if case >= 495 {
            continue;
        }
        let step = ["escalate", "refund", "wait"][(noise.uniform() * 3.0) as usize];
        push(step, 20);
        let chance = if step == "escalate" { 0.9 } else { 0.4 };
        push(if noise.uniform() < chance { "solved" } else { "closed" }, 0);
    }
    all
}

#[tokio::test]
async fn where_the_last_activity_says_all_counts_are_taken_and_what_helped_is_suggested() {
    let engine = engine().await;
    steps(&engine, &tickets()).await;
    let success = json!({ "success": "activity = 'solved'" });
    let summary = summary_of(&engine, NAME, asked(success.clone())).await;
    let counts = ["cases_ended", "cases_open", "suggestions"];
    assert_eq!(counts.map(|of| summary[of].as_u64().unwrap()), [495, 5, 5], "{summary}");
    let expected = ["next_activity markov", "outcome markov", "remaining_time markov"];
    assert_eq!(rows(&engine, CHOSEN).await, expected);
    let held = "SELECT target, model, cases, brier < 0.25, auc > 0.55, coverage BETWEEN 0.65 AND 1, mae_seconds < 120 FROM prediction_accuracy \
                WHERE target <> 'next_activity' ORDER BY 1, 2";
    let expected = [
        "outcome markov 99 true true  ",
        "outcome network 99 true true  ",
        "remaining_time markov 99   true true",
        "remaining_time network 99   true true",
    ];
    assert_eq!(rows(&engine, held).await, expected);
    let found = "SELECT DISTINCT last_activity, suggested_activity, suggestion_cases > 100, suggestion_success > 0.8, suggestion_success_lower > 0.75, \
                 otherwise_cases > 250, otherwise_success < 0.5, suggestion_p < 0.001, success_model FROM case_predictions";
    assert_eq!(rows(&engine, found).await, ["reply escalate true true true true true true markov"]);
    // Those that are named took that step and were solved.
    let named = "SELECT suggestion_evidence FROM case_predictions LIMIT 1";
    let named: Vec<String> = serde_json::from_str(&rows(&engine, named).await[0]).unwrap();
    assert_eq!(named.len(), 3);
    for case in named {
        let did = format!("SELECT activity FROM steps WHERE case_id = '{case}' ORDER BY ended_at");
        assert_eq!(rows(&engine, &did).await[2..], ["escalate", "solved"]);
    }
    // Other datasets keep their rows, and one without success says nothing of it.
    let copy = json!({ "query": "SELECT * FROM steps WHERE case_id < 'c0300' OR case_id > 'c0494'", "output": "others" });
    summary_of(&engine, "sql", copy).await;
    for _ in 0..2 {
        summary_of(&engine, NAME, json!({ "dataset": "others" })).await;
    }
    let count = "SELECT source, count(*), count(suggested_activity), count(success_probability) FROM case_predictions GROUP BY source ORDER BY 1";
    assert_eq!(rows(&engine, count).await, ["others 5 0 0", "steps 5 5 5"]);
    let count = "SELECT source, count(*) FROM prediction_accuracy GROUP BY source ORDER BY 1";
    assert_eq!(rows(&engine, count).await, ["others 4", "steps 6"]);
}

#[tokio::test]
async fn final_activities_may_be_named_and_what_nobody_goes_on_with_is_counted() {
    let engine = engine().await;
    let mut all = tickets();
    // Long ago somebody wrote once and then twice, and no more.
    all.push(("old".into(), "open", Some(0), Some(1)));
    all.push(("old".into(), "reply", Some(10), Some(11)));
    steps(&engine, &all).await;
    let named = json!({ "final_activities": ["solved", "closed", "lost"], "success": "activity = 'solved'" });
    let summary = summary_of(&engine, NAME, asked(named)).await;
    let counts = ["cases_ended", "cases_open", "cases_abandoned"];
    assert_eq!(counts.map(|of| summary[of].as_u64().unwrap()), [495, 5, 1], "{summary}");
    assert_eq!(summary["final_activities_unknown"], json!(["lost"]));
    assert_eq!(summary["ended_by"], "given activities");
    // A case that has succeeded and goes on nevertheless succeeds, and needs no advice.
    let named =
        json!({ "final_activities": ["solved", "closed"], "success": "activity = 'reply'" });
    summary_of(&engine, NAME, asked(named)).await;
    let found = "SELECT DISTINCT success_probability, suggested_activity FROM case_predictions";
    assert!(rows(&engine, found).await.iter().all(|row| row.trim() == "" || row.trim() == "1.0"));
}

#[tokio::test]
async fn of_too_little_it_says_so_and_goes_on() {
    let engine = engine().await;
    steps(&engine, &tickets().into_iter().take(40).collect::<Vec<_>>()).await;
    let summary =
        summary_of(&engine, NAME, asked(json!({ "success": "activity = 'solved'" }))).await;
    let says = "ended cases to learn from, found";
    let problems = summary["not_predicted"].as_object().unwrap();
    assert!(problems.len() == 3, "{summary}");
    assert!(problems.values().all(|of| of.as_str().unwrap().contains(says)), "{summary}");
    assert!(rows(&engine, "SELECT * FROM prediction_accuracy").await.is_empty());
    // Of no rows nothing is said either.
    let none = summary_of(&engine, NAME, asked(json!({ "where": "activity = 'x'" }))).await;
    assert_eq!((&none["cases"], &none["cases_open"]), (&json!(0), &json!(0)), "{none}");
    // A success that each case has, or none.
    let engine = crate::testing::engine().await;
    steps(&engine, &tickets()).await;
    for (success, says) in [
        ("true", "expected events before those of success"),
        ("false", "expected cases that succeed"),
    ] {
        let summary = summary_of(&engine, NAME, asked(json!({ "success": success }))).await;
        let problem = summary["not_predicted"]["outcome"].as_str().unwrap();
        assert!(problem.contains(says), "{summary}");
        assert_eq!(summary["suggestions"], 0, "{summary}");
    }
}

#[tokio::test]
async fn one_activity_equal_instants_and_times_that_run_backwards_break_nothing() {
    let engine = engine().await;
    let mut all: Vec<Step> = Vec::new();
    for case in 0..200i64 {
        // All at the same instant, ends before starts, and no end.
        let at = Some(case / 2 * 10);
        all.push((name(case), "begin", at, at));
        all.push((name(case), "do", at.map(|at| at + 3), at));
        all.push((name(case), "do", at, None));
    }
    all.push(("none".into(), "do", None, None));
    steps(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let counts =
        ["events_left_out", "events_that_end_before_they_begin", "events_without_end", "cases"];
    assert_eq!(counts.map(|of| summary[of].as_u64().unwrap()), [1, 200, 200, 200], "{summary}");
    let chosen = rows(&engine, CHOSEN).await;
    assert_eq!(chosen.len(), 2, "{summary}");
    let wrong = "SELECT count(*) FROM case_predictions WHERE NOT (remaining_seconds >= 0 AND remaining_lower_seconds >= 0)";
    assert_eq!(rows(&engine, wrong).await, ["0"]);
    // Where one activity is all there is, it ends cases, and nothing comes before.
    let one = summary_of(&engine, NAME, asked(json!({ "where": "activity = 'do'" }))).await;
    let problem = one["not_predicted"]["next_activity"].as_str().unwrap();
    assert!(problem.contains("expected events before those that end cases"), "{one}");
    // Without a column of ends, and without one of starts.
    for more in
        [json!({ "end_column": null }), json!({ "start_column": null, "resource_column": null })]
    {
        let summary = summary_of(&engine, NAME, asked(more)).await;
        assert!(summary["cases"].as_u64().unwrap() >= 200, "{summary}");
    }
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let engine = engine().await;
    steps(&engine, &tickets().into_iter().take(8).collect::<Vec<_>>()).await;
    let many: Vec<String> = (0..1_001).map(|of| of.to_string()).collect();
    for (more, says) in [
        (json!({ "dataset": "none" }), "none"),
        (json!({ "case_column": "cas" }), "parameter \"case_column\": dataset steps has no column"),
        (json!({ "activity_column": "ended_at" }), "parameter \"activity_column\""),
        (json!({ "end_column": "activity" }), "expected a timestamp or date, found text"),
        (
            json!({ "start_column": null, "end_column": null }),
            "without instants nothing has an order",
        ),
        (json!({ "where": "x > 1" }), "parameter \"where\""),
        (json!({ "success": "x > 1" }), "parameter \"success\""),
        (json!({ "success": "activity" }), "parameter \"success\""),
        (json!({ "success": "ended_at < now()" }), "parameter \"success\""),
        (json!({ "final_activities": [] }), "parameter \"final_activities\": expected 1 to 1000"),
        (json!({ "final_activities": many }), "found 1001"),
        (json!({ "seed": -1 }), "seed"),
        (json!({ "accuracy_output": "case_predictions" }), "is the name of another output"),
        (json!({ "output": "steps" }), "parameter \"output\""),
        (json!({ "horizon": 3 }), "horizon"),
    ] {
        let refused = refusal_of(&engine, NAME, asked(more.clone())).await;
        assert!(refused.contains(says), "{more}: {refused}");
    }
}
