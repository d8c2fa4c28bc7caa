//! Whole runs: what is kept until it comes, series of rows, parts and sums, and what is told of what can't be.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::Engine;
use serde_json::{Value, json};

use crate::testing::{engine, refusal_of, rows, summary_of, table};

const HOUR_US: i64 = 3_600_000_000;
/// 2026-01-05, a Monday, at midnight.
const MONDAY_US: i64 = 1_767_571_200_000_000;

fn at(hours: &[i64]) -> ArrayRef {
    let micros = hours.iter().map(|hour| MONDAY_US + hour * HOUR_US);
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// Hours of two series: 10, 20, 10, 20, … and 5.
async fn samples(engine: &Engine, hours: i64) {
    let all: Vec<i64> = (0..hours).chain(0..hours).collect();
    let names = (0..all.len()).map(|row| if row < hours as usize { "saw" } else { "flat" });
    let values = all.iter().enumerate().map(|(row, hour)| match row < hours as usize {
        true => 10.0 + 10.0 * (hour % 2) as f64,
        false => 5.0,
    });
    let columns = [
        ("series", ColumnType::Text, Arc::new(StringArray::from_iter_values(names)) as ArrayRef),
        ("at", ColumnType::Timestamp, at(&all)),
        ("value", ColumnType::Float64, Arc::new(Float64Array::from_iter_values(values))),
    ];
    table(engine, "samples", &columns).await;
}

async fn run(engine: &Engine, params: Value) -> Value {
    summary_of(engine, "forecast", params).await
}

#[tokio::test]
async fn forecasts_of_months_wait_for_a_year() {
    let engine = engine().await;
    // The first of each month of four years.
    let months = (2022..2026).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let times = months.map(|(year, month)| {
        let date = chrono::NaiveDate::from_ymd_opt(year, month, 1).unwrap();
        date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()
    });
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let values = (0..48).map(|month| 100.0 + f64::from(month % 12) + f64::from(month % 5) / 10.0);
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(times) as ArrayRef),
        ("value", ColumnType::Float64, Arc::new(Float64Array::from_iter_values(values))),
    ];
    table(&engine, "months", &columns).await;
    let params = json!({"dataset": "months", "series_column": null, "horizon": 12});
    let mut until = params.clone();
    until["to"] = json!("2025-01-01T00:00:00Z");
    assert_eq!(run(&engine, until).await["came"], 0);
    // All twelve values arrive at once.
    assert_eq!(run(&engine, params).await["came"], 12);
}

#[tokio::test]
async fn what_is_said_waits_for_what_comes_and_is_held_against_it_once() {
    let engine = engine().await;
    samples(&engine, 100).await;
    let params = json!({"dataset": "samples", "horizon": 4});
    let summary = run(&engine, params.clone()).await;
    assert_eq!((&summary["series_forecast"], &summary["came"]), (&json!(2), &json!(0)));
    let said_in_all = "SELECT count(*) FROM forecast_history";
    assert_eq!(rows(&engine, said_in_all).await, ["8"]);
    // Three hours later.
    samples(&engine, 103).await;
    let summary = run(&engine, params.clone()).await;
    assert_eq!((&summary["came"], &summary["came_within_95"]), (&json!(6), &json!(1.0)));
    let came = "SELECT series, step, value, actual, error, within_80, within_95 FROM forecast_accuracy \
        WHERE series = 'flat' ORDER BY step";
    let said: Vec<String> =
        (1..=3).map(|step| format!("flat {step} 5.0 5.0 0.0 true true")).collect();
    assert_eq!(rows(&engine, came).await, said);
    assert_eq!(rows(&engine, said_in_all).await, ["16"]);
    // Said again at the same instant: of what comes then there is one, and it is the last that was said.
    let again = json!({"dataset": "samples", "horizon": 3});
    run(&engine, again.clone()).await;
    samples(&engine, 104).await;
    let summary = run(&engine, again).await;
    // Of each series the fourth step of the first run, and the first of the second, said twice.
    assert_eq!(summary["came"], 4);
    // Of named series nothing is kept.
    run(&engine, json!({"dataset": "samples", "series": ["saw"], "horizon": 1})).await;
    let said = "SELECT series, count(*) FROM forecasts GROUP BY series ORDER BY series";
    assert_eq!(rows(&engine, said).await, ["flat 3", "saw 1"]);
    // As if it were then: what has come since is known at the next run.
    let then = json!({"dataset": "samples", "horizon": 2, "to": "2026-01-07T00:00:00Z"});
    run(&engine, then).await;
    let summary = run(&engine, json!({"dataset": "samples", "horizon": 2})).await;
    assert_eq!(summary["came"], 4);
    let twice = "SELECT series, made_at, at FROM forecast_accuracy GROUP BY series, made_at, at HAVING count(*) > 1";
    assert_eq!(rows(&engine, twice).await, [""; 0]);
    let wrong = "SELECT count(*) FROM forecast_accuracy WHERE abs(error - (actual - value)) > 1e-9 \
        OR within_80 <> (actual BETWEEN lower_80 AND upper_80)";
    assert_eq!(rows(&engine, wrong).await, ["0"]);
}

#[tokio::test]
async fn forecasts_of_one_question_are_not_held_against_what_comes_of_another() {
    let engine = engine().await;
    samples(&engine, 100).await;
    let plain = json!({"dataset": "samples", "horizon": 2});
    let halved = json!({"dataset": "samples", "horizon": 2, "where": "series = 'flat'"});
    run(&engine, plain.clone()).await;
    run(&engine, halved.clone()).await;
    samples(&engine, 102).await;
    assert_eq!(run(&engine, plain).await["came"], 4);
    assert_eq!(run(&engine, halved).await["came"], 2);
    let by_question =
        "SELECT question, count(*) FROM forecast_accuracy GROUP BY question ORDER BY question";
    let expected = ["value by series 4", "value by series where series = 'flat' 2"];
    assert_eq!(rows(&engine, by_question).await, expected);
}

/// Tickets: an hour has three of agent a and one of b, both of team x, and none of c of y in the last ten hours.
async fn tickets(engine: &Engine) {
    let (mut hours, mut agents, mut teams) = (Vec::new(), Vec::new(), Vec::new());
    for hour in 0..120 {
        let of_c = if hour < 110 { 2 } else { 0 };
        for (agent, team, count) in [("a", "x", 3), ("b", "x", 1), ("c", "y", of_c)] {
            for _ in 0..count {
                hours.push(hour);
                agents.push(agent);
                teams.push(team);
            }
        }
    }
    // Of the next hour only one has come yet.
    hours.push(120);
    agents.push("a");
    teams.push("x");
    let columns = [
        ("at", ColumnType::Timestamp, at(&hours)),
        ("agent", ColumnType::Text, Arc::new(StringArray::from(agents)) as ArrayRef),
        ("team", ColumnType::Text, Arc::new(StringArray::from(teams))),
    ];
    table(engine, "opened", &columns).await;
}

#[tokio::test]
async fn rows_are_counted_by_the_hour_and_sums_agree_with_their_parts() {
    let engine = engine().await;
    tickets(&engine).await;
    let params = json!({
        "dataset": "opened", "measure": "count(*)", "interval": "1h", "series_column": "agent",
        "hierarchy": ["team"], "horizon": 2,
    });
    let summary = run(&engine, params.clone()).await;
    assert_eq!((&summary["series"], &summary["sums_forecast"]), (&json!(3), &json!(3)));
    let first =
        "SELECT series, at, round(value, 1), sum_of FROM forecasts WHERE step = 1 ORDER BY 1";
    let found = rows(&engine, first).await;
    assert_eq!(found[0], "a 2026-01-10T00:00:00Z 3.0 ", "{found:?}");
    assert_eq!(found[1], "all 2026-01-10T00:00:00Z 4.0 3", "{found:?}");
    assert_eq!(found[2], "b 2026-01-10T00:00:00Z 1.0 ", "{found:?}");
    // It has had nothing for ten hours, which is no gap.
    assert_eq!(found[3], "c 2026-01-10T00:00:00Z 0.0 ", "{found:?}");
    assert!(found[4].starts_with("team=x 2026-01-10T00:00:00Z 4.0 2"), "{found:?}");
    // Where nothing is known of such hours it ended before.
    let mut missing = params.clone();
    missing["empty"] = json!("missing");
    run(&engine, missing).await;
    let found = rows(&engine, first).await;
    assert!(found.iter().any(|row| row.starts_with("c 2026-01-10T00:00:00Z 2.0")), "{found:?}");
    let where_b = json!({
        "dataset": "opened", "measure": "count(*) * 2", "interval": "1h", "series_column": null,
        "where": "agent = 'b'", "horizon": 1, "accuracy": false,
    });
    run(&engine, where_b).await;
    let found = rows(&engine, first).await;
    assert_eq!(found, ["opened 2026-01-10T00:00:00Z 2.0 "]);
}

#[tokio::test]
async fn what_can_not_be_forecast_is_told_by_the_parameter_that_is_wrong() {
    let engine = engine().await;
    tickets(&engine).await;
    let base = json!({
        "dataset": "opened", "measure": "count(*)", "interval": "1h", "series_column": "agent",
    });
    let cases = [
        (json!({"measure": "sum(cost)"}), "parameter \"measure\""),
        (json!({"measure": "max(agent)"}), "parameter \"measure\": expected a number"),
        (json!({"measure": "agent"}), "parameter \"measure\""),
        (json!({"interval": null}), "parameter \"interval\": expected a length"),
        (json!({"measure": null, "empty": "zero"}), "parameter \"empty\""),
        (json!({"measure": null}), "parameter \"value_column\""),
        (json!({"where": "agent = = 'b'"}), "parameter \"where\""),
        (
            json!({"hierarchy": ["group"]}),
            "parameter \"hierarchy\": dataset opened has no column \"group\"",
        ),
        (
            json!({"hierarchy": ["team"], "parents": {"a": "b"}}),
            "parameter \"parents\": expected either",
        ),
        (json!({"parents": {"a": "x", "x": "a"}}), "parameter \"parents\": a -> x -> a goes round"),
        (json!({"parents": {"q": "x"}}), "parameter \"parents\": there is no series \"q\""),
        (
            json!({"hierarchy": ["team", "team"]}),
            "parameter \"hierarchy\": \"team\" is there twice",
        ),
        (json!({"hierarchy": ["team"], "series": ["a"]}), "parameter \"series\": expected none"),
        (json!({"accuracy_output": "forecasts"}), "parameter \"accuracy_output\""),
        (json!({"history_output": "forecasts"}), "parameter \"history_output\""),
        (json!({"horizon": 0}), "parameter \"horizon\": expected 1 to 10000 intervals, found 0"),
        (json!({"horizon": 10_001}), "parameter \"horizon\""),
        (json!({"history": 7}), "parameter \"history\": expected 8 to 100000"),
    ];
    for (wrong, says) in cases {
        let mut params = base.clone();
        params.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let found = refusal_of(&engine, "forecast", params).await;
        assert!(found.contains(says), "{wrong}: {found}");
    }
}
