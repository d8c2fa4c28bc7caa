#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use analysis::Noise;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{append, engine, refusal_of, rows, sampled, summary_of, write};

/// Monday 2026-01-05, in seconds.
const BEGIN_S: i64 = 1_767_571_200;
const HOUR_S: i64 = 3_600;

/// Calls: seconds since the beginning, the model, what it took.
async fn calls(engine: &Engine, mode: WriteMode, rows: &[(i64, Option<&str>, f64)]) {
    let at = TimestampMicrosecondArray::from_iter_values(
        rows.iter().map(|row| (BEGIN_S + row.0) * 1_000_000),
    );
    let model = StringArray::from_iter(rows.iter().map(|row| row.1));
    let took = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at.with_timezone("UTC")) as ArrayRef),
        ("model", ColumnType::Text, Arc::new(model)),
        ("took", ColumnType::Float64, Arc::new(took)),
    ];
    write(engine, "calls", mode, &columns).await;
}

fn asked(more: &Value) -> Value {
    let mut params = json!({ "dataset": "calls", "time_column": "at", "metric": "m" });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

async fn values(engine: &Engine, output: &str) -> Vec<String> {
    let hour = format!("CAST((date_part('epoch', at) - {BEGIN_S}) / 3600 AS INT)");
    rows(
        engine,
        &format!("SELECT series, {hour}, value, rows FROM {output} ORDER BY metric, series, at"),
    )
    .await
}

#[tokio::test]
async fn counts_have_zeros_between_and_none_before_their_first_row_or_in_what_is_not_over() {
    let engine = engine().await;
    let some = [
        (0, Some("a"), 1.0),
        (10, Some("a"), 2.0),
        (3 * HOUR_S, Some("a"), 3.0),
        (HOUR_S, Some("b"), 4.0),
        (HOUR_S, None, 4.0),
        // Not over.
        (4 * HOUR_S, Some("b"), 5.0),
    ];
    calls(&engine, WriteMode::Append, &some).await;
    let summary = summary_of(&engine, NAME, asked(&json!({ "dimensions": ["model"] }))).await;
    assert_eq!(
        (&summary["series"], &summary["values"], &summary["rows"]),
        (&json!(3), &json!(10), &json!(5))
    );
    assert!(
        summary["read"]["all_because"].as_str().unwrap().contains("no values of an earlier run")
    );
    let expected = [
        "m{model=(none)} 1 1.0 1",
        "m{model=(none)} 2 0.0 0",
        "m{model=(none)} 3 0.0 0",
        "m{model=a} 0 2.0 2",
        "m{model=a} 1 0.0 0",
        "m{model=a} 2 0.0 0",
        "m{model=a} 3 1.0 1",
        "m{model=b} 1 1.0 1",
        "m{model=b} 2 0.0 0",
        "m{model=b} 3 0.0 0",
    ];
    assert_eq!(values(&engine, "metric_values").await, expected);
    let dimensions =
        rows(&engine, "SELECT DISTINCT dimensions FROM metric_values ORDER BY 1").await;
    assert_eq!(dimensions, [r#"{"model":"a"}"#, r#"{"model":"b"}"#, r#"{"model":null}"#]);
}

#[tokio::test]
async fn a_mean_is_missing_where_there_are_no_rows_and_zero_where_that_is_asked_for() {
    let engine = engine().await;
    let some = [(0, None, 1.0), (60, None, 4.0), (2 * HOUR_S, None, 7.0), (3 * HOUR_S, None, 0.0)];
    calls(&engine, WriteMode::Append, &some).await;
    summary_of(&engine, NAME, asked(&json!({ "measure": "avg(took)" }))).await;
    assert_eq!(values(&engine, "metric_values").await, ["m 0 2.5 2", "m 2 7.0 1"]);
    let zero = json!({ "measure": "avg(took)", "empty": "zero", "output": "zeros" });
    summary_of(&engine, NAME, asked(&zero)).await;
    assert_eq!(values(&engine, "zeros").await, ["m 0 2.5 2", "m 1 0.0 0", "m 2 7.0 1"]);
    let missing = json!({ "empty": "missing", "output": "missing" });
    summary_of(&engine, NAME, asked(&missing)).await;
    assert_eq!(values(&engine, "missing").await, ["m 0 2.0 2", "m 2 1.0 1"]);
    // Rows of which the condition is not true are none; the clock of what is over goes on by them.
    let some = json!({ "where": "took > 3", "output": "some", "metric": null });
    summary_of(&engine, NAME, asked(&some)).await;
    let expected = ["count(*) 0 1.0 1", "count(*) 1 0.0 0", "count(*) 2 1.0 1"];
    assert_eq!(values(&engine, "some").await, expected);
}

#[tokio::test]
async fn a_row_of_another_age_holds_up_no_other() {
    let engine = engine().await;
    let minute = json!({ "interval": "1m" });
    calls(&engine, WriteMode::Append, &[(0, None, 1.0), (300, None, 1.0)]).await;
    summary_of(&engine, NAME, asked(&minute)).await;
    // 1970, and then what comes anyway.
    calls(&engine, WriteMode::Append, &[(-BEGIN_S, None, 1.0)]).await;
    summary_of(&engine, NAME, asked(&minute)).await;
    calls(&engine, WriteMode::Append, &[(420, None, 1.0), (480, None, 1.0)]).await;
    summary_of(&engine, NAME, asked(&minute)).await;
    let count =
        "SELECT count(*), sum(rows), sum(CASE WHEN at > '2000-01-01' THEN 1 ELSE 0 END) FROM";
    // The first, 100,000 zeros, and 8 minutes of which one is not over.
    let parts = rows(&engine, &format!("{count} metric_values")).await;
    assert_eq!(parts, ["100009 4 8"]);
    let mut whole = asked(&minute);
    whole["output"] = json!("whole");
    summary_of(&engine, NAME, whole).await;
    assert_eq!(rows(&engine, &format!("{count} whole")).await, parts);
}

#[tokio::test]
async fn a_row_that_can_not_be_computed_holds_up_no_other_and_is_told() {
    let engine = engine().await;
    let most = i64::MAX as f64;
    let some = [
        (0, Some("7"), 1.0),
        (60, Some("x"), 2.0),
        (HOUR_S, Some("8"), most),
        (HOUR_S + 60, Some("9"), most),
        (2 * HOUR_S, Some("0"), 4.0),
        (3 * HOUR_S, Some("7"), 1.0),
    ];
    calls(&engine, WriteMode::Append, &some).await;
    let told = |summary: &Value| {
        let told = summary["rows_not_computed"].as_array().unwrap();
        told.iter().map(|of| of["rows"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    // Of a condition.
    let number = json!({ "where": "14 / CAST(model AS INT) > 0.5", "output": "some" });
    let summary = summary_of(&engine, NAME, asked(&number)).await;
    assert_eq!(values(&engine, "some").await, ["m 0 1.0 1", "m 1 2.0 2", "m 2 0.0 0"]);
    assert_eq!(told(&summary), [1], "{summary}");
    let because = summary["rows_not_computed"][0]["because"].as_str().unwrap();
    assert!(because.contains("'x'"), "{because}");
    // Of what is summed; and a sum that is no whole number of 64 bits, beside one that is.
    let sum = json!({ "measure": "sum(CAST(model AS INT))", "output": "sums" });
    let summary = summary_of(&engine, NAME, asked(&sum)).await;
    assert_eq!(values(&engine, "sums").await, ["m 0 7.0 2", "m 1 17.0 2", "m 2 0.0 1"]);
    assert_eq!(told(&summary), [1], "{summary}");
    let wide = json!({ "measure": "sum(CAST(took AS BIGINT)) + count(*)", "output": "wide" });
    let summary = summary_of(&engine, NAME, asked(&wide)).await;
    // What is no whole number of 64 bits counts for nothing, and the others do.
    let found = values(&engine, "wide").await;
    assert_eq!((&*found[0], &*found[2]), ("m 0 5.0 2", "m 2 5.0 1"), "{summary}");
    let more = [(4 * HOUR_S, None, 1.0)];
    calls(&engine, WriteMode::Append, &more).await;
    let whole = json!({ "measure": "sum(CAST(took / 2 AS BIGINT)) * 4", "output": "whole" });
    let summary = summary_of(&engine, NAME, asked(&whole)).await;
    assert!(summary["rows_not_computed"].is_null(), "{summary}");
    let found = values(&engine, "whole").await;
    assert!(found[1].starts_with("m 1 3.6893488147419103e19"), "{found:?}");
}

#[tokio::test]
async fn a_run_reads_what_came_and_gives_what_one_over_all_does() {
    for seed in 0..12 {
        let engine = engine().await;
        let mut noise = Noise::new(seed);
        let mut now = 0.0;
        let measure = ["count(*)", "sum(took)", "median(took)", "avg(took)"][seed as usize % 4];
        let params = json!({ "measure": measure, "dimensions": ["model"] });
        let mut told = Vec::new();
        for _ in 0..6 {
            let count = 1 + (noise.uniform() * 40.0) as usize;
            let some: Vec<(i64, Option<&str>, f64)> = (0..count)
                .map(|_| {
                    now += noise.uniform() * 2_000.0;
                    // One in ten comes late, sometimes before all that was there.
                    let late =
                        if noise.uniform() < 0.1 { noise.uniform() * 200_000.0 } else { 0.0 };
                    let model =
                        [None, Some("a"), Some("b"), Some("c")][(noise.uniform() * 4.0) as usize];
                    ((now - late) as i64, model, (noise.uniform() * 100.0).floor())
                })
                .collect();
            calls(&engine, WriteMode::Append, &some).await;
            let summary = summary_of(&engine, NAME, asked(&params)).await;
            told.push(summary["read"]["from_version"].clone());
        }
        assert!(told.iter().skip(1).any(|from| !from.is_null()), "seed {seed}: {told:?}");
        let mut whole = asked(&params);
        whole["output"] = json!("whole");
        summary_of(&engine, NAME, whole).await;
        let (parts, whole) =
            (values(&engine, "metric_values").await, values(&engine, "whole").await);
        assert_eq!(parts, whole, "seed {seed} {measure}");
        assert!(parts.len() > 20);
    }
}

#[tokio::test]
async fn what_is_read_is_told_and_rows_that_go_have_all_computed_anew() {
    let engine = engine().await;
    let hours = |hours: std::ops::Range<i64>| -> Vec<(i64, Option<&str>, f64)> {
        hours.map(|hour| (hour * HOUR_S, Some("a"), hour as f64)).collect()
    };
    calls(&engine, WriteMode::Append, &hours(0..10)).await;
    summary_of(&engine, NAME, asked(&json!({}))).await;
    // Another metric commits to the same dataset in between, and touches no row of this one.
    summary_of(&engine, NAME, asked(&json!({ "metric": "other", "measure": "sum(took)" }))).await;
    // Rows of the interval that is not over.
    calls(&engine, WriteMode::Append, &[(9 * HOUR_S + 1, None, 1.0)]).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert!(summary["nothing_new"].as_str().unwrap().contains("not over"), "{summary}");
    calls(&engine, WriteMode::Append, &hours(10..12)).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!((&summary["values"], &summary["rows"]), (&json!(2), &json!(3)), "{summary}");
    let of = |metric: &str| {
        format!(
            "SELECT count(*), min(value), max(value) FROM metric_values WHERE metric = '{metric}'"
        )
    };
    assert_eq!(rows(&engine, &of("m")).await, ["11 1.0 2.0"]);
    assert_eq!(rows(&engine, &of("other")).await, ["9 0.0 8.0"]);
    // Everything is another.
    calls(&engine, WriteMode::Overwrite, &hours(3..8)).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert!(summary["read"]["all_because"].as_str().is_some(), "{summary}");
    assert_eq!(rows(&engine, &of("m")).await, ["4 1.0 1.0"]);
    assert_eq!(rows(&engine, &of("other")).await, ["9 0.0 8.0"]);
    let summary = summary_of(&engine, NAME, asked(&json!({ "full": true }))).await;
    assert_eq!(summary["read"]["all_because"], "`full` is asked for");
    // It goes on from there.
    calls(&engine, WriteMode::Append, &hours(8..9)).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["values"], 1, "{summary}");
}

#[tokio::test]
async fn a_value_that_could_be_taken_for_another_is_in_quotes() {
    let engine = engine().await;
    let some = [
        (0, Some("a,model=b"), 1.0),
        (0, Some("(none)"), 1.0),
        (0, Some(""), 1.0),
        (0, None, 1.0),
        (2 * HOUR_S, Some("x y"), 1.0),
        (3 * HOUR_S, None, 1.0),
    ];
    calls(&engine, WriteMode::Append, &some).await;
    let asked = asked(&json!({ "dimensions": ["model"], "empty": "missing" }));
    summary_of(&engine, NAME, asked).await;
    let series = rows(&engine, "SELECT series FROM metric_values ORDER BY 1").await;
    let expected = [
        r#"m{model=""}"#,
        r#"m{model="(none)"}"#,
        r#"m{model="a,model=b"}"#,
        "m{model=(none)}",
        "m{model=x y}",
    ];
    assert_eq!(series, expected);
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let engine = engine().await;
    calls(&engine, WriteMode::Append, &[(0, None, 1.0)]).await;
    let long = "x".repeat(201);
    for (params, says) in [
        (json!({ "measure": "sum(tok)" }), "parameter \"measure\""),
        (json!({ "measure": "model" }), "parameter \"measure\""),
        (json!({ "measure": "max(model)" }), "expected a number"),
        (
            json!({ "time_column": null }),
            "parameter \"time_column\": expected a column: dataset calls declares none",
        ),
        (json!({ "time_column": "took" }), "expected a timestamp or date, found float64"),
        (
            json!({ "dimensions": ["mode"] }),
            "has no column \"mode\"; expected one of at, model, took",
        ),
        (json!({ "dimensions": ["took"] }), "expected a text, truth value or whole number"),
        (json!({ "dimensions": ["model", "model"] }), "\"model\" stands there twice"),
        (
            json!({ "dimensions": ["a", "b", "c", "d", "e", "f", "g", "h", "i"] }),
            "expected at most 8 columns, found 9",
        ),
        (json!({ "where": "tok > 1" }), "parameter \"where\""),
        (json!({ "interval": "500ms" }), "expected 1 s at least, found 500ms"),
        (
            json!({ "metric": long }),
            "expected 1 to 200 bytes without control characters, found 201 bytes",
        ),
        (json!({ "metric": " " }), "expected 1 to 200 bytes"),
        (json!({ "dataset": "nowhere" }), "nowhere"),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(&params)).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
    // No row but in the future.
    let far = [(1_000_000_000, None, 1.0)];
    calls(&engine, WriteMode::Overwrite, &far).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert!(summary["nothing_new"].as_str().unwrap().contains("not in the future"), "{summary}");
}

#[tokio::test]
async fn values_go_with_the_last_rows_and_come_again_with_others() {
    let engine = engine().await;
    let some = [(0, Some("a"), 1.0), (HOUR_S, Some("a"), 2.0), (2 * HOUR_S, Some("a"), 3.0)];
    calls(&engine, WriteMode::Overwrite, &some).await;
    let samples = |from: usize, count: usize| {
        let mut series = sampled("s", HOUR_S, vec![1.0; from + count]);
        series.times.drain(..from);
        series.values.drain(..from);
        series
    };
    append(&engine, "metrics", &[samples(0, 3)]).await;
    let other = json!({ "dataset": "metrics", "metric": "other" });
    for params in [asked(&json!({})), other.clone()] {
        assert_eq!(summary_of(&engine, NAME, params).await["values"], 2);
    }
    calls(&engine, WriteMode::Overwrite, &[]).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["values_removed"], 2, "{summary}");
    let kept = "SELECT metric, count(*) FROM metric_values GROUP BY metric";
    assert_eq!(rows(&engine, kept).await, ["other 2"]);
    // That commit is no reason to compute another metric of the same output anew.
    append(&engine, "metrics", &[samples(3, 1)]).await;
    let summary = summary_of(&engine, NAME, other).await;
    assert!(summary["read"]["from_version"].is_u64(), "{summary}");
    // There is nothing more to take away.
    let summary = summary_of(&engine, NAME, asked(&json!({ "full": true }))).await;
    assert!(summary["nothing_new"].as_str().is_some(), "{summary}");
    calls(&engine, WriteMode::Append, &some).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["values"], 2, "{summary}");
    assert!(summary["read"]["all_because"].as_str().unwrap().contains("none of its values"));
}

/// Of 40 hours with ten calls each: those of which the share `bad` holds are slow.
fn hours(bad: impl Fn(i64) -> usize) -> Vec<(i64, Option<&'static str>, f64)> {
    (0..40 * 10)
        .map(|call| {
            let hour = call / 10;
            let took = if ((call % 10) as usize) < bad(hour) { 9.0 } else { 1.0 };
            (hour * HOUR_S + call % 10, Some(if call % 2 == 0 { "a" } else { "b" }), took)
        })
        .collect()
}

const SLOW: &str = "count(*) FILTER (WHERE took > $slow) / count(*)";

fn slow(more: &Value) -> Value {
    let mut params = json!({
        "measure": SLOW, "target": 0.25, "direction": "down", "owner": "team", "assumptions": { "slow": 5 },
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    asked(&params)
}

/// Slow are 2 of 10 calls, in each fourth hour 3, 7 of 10 in the hours 10 to 14.
#[tokio::test]
async fn values_say_whether_they_meet_the_target_and_all_do_when_it_is_another() {
    let engine = engine().await;
    let bad = |hour: i64| match hour {
        10..15 => 7,
        _ => 2 + usize::from(hour % 4 == 0),
    };
    let all = hours(bad);
    let sql = "SELECT target, direction, owner, assumptions, is_met, count(*), min(value), max(value) FROM metric_values \
               WHERE metric = 'm' GROUP BY 1, 2, 3, 4, 5 ORDER BY is_met";
    let expected = |target: f64, rows: &[&str]| -> Vec<String> {
        rows.iter().map(|row| format!("{target} down team {{\"slow\":5.0}} {row}")).collect()
    };
    for part in all.chunks(77) {
        calls(&engine, WriteMode::Append, part).await;
        summary_of(&engine, NAME, slow(&json!({}))).await;
    }
    let quarter = expected(0.25, &["false 14 0.3 0.7", "true 25 0.2 0.2"]);
    assert_eq!(rows(&engine, sql).await, quarter);
    // Another target, and then the first one again, without new rows.
    let summary = summary_of(&engine, NAME, slow(&json!({ "target": 0.3 }))).await;
    assert_eq!(summary["values_on_target"], json!(34));
    let three = expected(0.3, &["false 5 0.7 0.7", "true 34 0.2 0.3"]);
    assert_eq!(rows(&engine, sql).await, three);
    let summary = summary_of(&engine, NAME, slow(&json!({}))).await;
    let why = summary["read"]["all_because"].as_str().unwrap_or_default();
    assert!(why.contains("by other parameters"), "{summary}");
    assert_eq!(rows(&engine, sql).await, quarter);
    // One without a target says nothing of one.
    let plain = json!({ "target": null, "direction": null, "metric": "plain" });
    assert_eq!(summary_of(&engine, NAME, slow(&plain)).await["values_on_target"], Value::Null);
    let sql =
        "SELECT count(*), count(is_met), count(target) FROM metric_values WHERE metric = 'plain'";
    assert_eq!(rows(&engine, sql).await, ["39 0 0"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_target_is_said_by_name() {
    let engine = engine().await;
    calls(&engine, WriteMode::Append, &hours(|_| 1)).await;
    for (wrong, says) in [
        (json!({ "direction": null }), "parameter \"direction\": expected \"up\" or \"down\""),
        (json!({ "target": null }), "parameter \"target\": expected a number beside `direction`"),
        (json!({ "direction": "sideways" }), "sideways"),
        (
            json!({ "owner": " " }),
            "parameter \"owner\": expected a name on one line, of 200 bytes at most, found no letter",
        ),
        (json!({ "assumptions": {} }), "parameter \"measure\": $slow is none of the numbers"),
        (
            json!({ "assumptions": { "slow": 5, "quick": 1 } }),
            "\"quick\" is in neither measure nor where",
        ),
        (json!({ "assumptions": { "slow": "5" } }), "assumptions"),
        (json!({ "measure": "sum(took) + $slow + $(1)" }), "$ is none of the numbers"),
    ] {
        let refused = refusal_of(&engine, NAME, slow(&wrong)).await;
        assert!(refused.contains(says), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn months_of_a_zone_are_counted_and_empty_ones_are_zero() {
    let engine = engine().await;
    // 2026-01-05, 2026-02-28T23:30Z, which is in March in Berlin, 2026-05-10 and 2026-06-01.
    let days = |days: i64| days * 24 * HOUR_S;
    let late = days(54) + 23 * HOUR_S + HOUR_S / 2;
    let some = [0, late, days(125), days(147)].map(|at| (at, None, 1.0));
    calls(&engine, WriteMode::Append, &some[..2]).await;
    let params = asked(&json!({ "interval": "1mo", "zone": "Europe/Berlin" }));
    summary_of(&engine, NAME, params.clone()).await;
    calls(&engine, WriteMode::Append, &some[2..]).await;
    summary_of(&engine, NAME, params).await;
    let found =
        rows(&engine, "SELECT CAST(at AS TEXT) AS begin, value FROM metric_values ORDER BY at");
    let expected = [
        "2025-12-31T23:00:00Z 1.0",
        "2026-01-31T23:00:00Z 0.0",
        "2026-02-28T23:00:00Z 1.0",
        "2026-03-31T22:00:00Z 0.0",
        "2026-04-30T22:00:00Z 1.0",
    ];
    assert_eq!(found.await, expected);
}
