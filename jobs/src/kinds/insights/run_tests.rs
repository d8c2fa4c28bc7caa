//! From results of other jobs to what is said of them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use analysis::series::Series;
use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use datasets::{ColumnType, DatasetName};
use engine::{Engine, Principal, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::insight_feedback::{self, Verdict};
use crate::testing::{Noise, append, engine, refusal_of, rows, sampled, summary_of, write};

/// 2026-01-01, in seconds.
const BEGIN_S: i64 = 1_767_225_600;

/// Noise of 2,000 samples by five minutes, a few of which are far out.
fn noisy(name: &str, seed: u64, odd: std::ops::Range<usize>) -> Series {
    let mut noise = Noise::new(seed);
    let mut values: Vec<f64> = (0..2_000).map(|_| 50.0 + noise.normal()).collect();
    values[odd].iter_mut().for_each(|value| *value = 90.0);
    sampled(name, 300, values)
}

async fn told(engine: &Engine) -> Vec<String> {
    rows(engine, "SELECT day, rank, kind, subject FROM insights ORDER BY day, rank").await
}

#[tokio::test]
async fn a_finding_is_said_on_one_day_and_others_on_the_next() {
    let engine = engine().await;
    append(&engine, "metrics", &[noisy("a", 1, 700..703), noisy("b", 2, 0..0)]).await;
    summary_of(&engine, "anomalies", json!({})).await;
    summary_of(&engine, "trends", json!({})).await;
    let first = summary_of(&engine, NAME, json!({ "day": "2026-01-04" })).await;
    assert_eq!((&first["datasets"], &first["insights"]), (&json!(2), &json!(1)), "{first}");
    assert_eq!(told(&engine).await, ["2026-01-04 1 anomaly a"]);
    // The same day again takes the place of it.
    summary_of(&engine, NAME, json!({ "day": "2026-01-04", "min_score": 9 })).await;
    assert_eq!(told(&engine).await, ["2026-01-04 1 anomaly a"]);
    // Another series has something on the day after; what was said is not said again.
    append(&engine, "metrics", &[noisy("c", 3, 1_000..1_004)]).await;
    summary_of(&engine, "anomalies", json!({})).await;
    let second = summary_of(&engine, NAME, json!({ "day": "2026-01-05" })).await;
    assert_eq!((&second["said_before"], &second["insights"]), (&json!(1), &json!(1)), "{second}");
    assert_eq!(told(&engine).await, ["2026-01-04 1 anomaly a", "2026-01-05 1 anomaly c"]);
    // Nothing is new on the third, which has a digest that says so.
    let third = summary_of(&engine, NAME, json!({ "day": "2026-01-06" })).await;
    assert_eq!(third["insights"], 0, "{third}");
    let digests =
        rows(&engine, "SELECT day, insights, text FROM insight_digests ORDER BY day").await;
    assert!(
        digests[0].contains("one insight") && digests[0].contains("1. **a of metrics: value 90"),
        "{digests:?}"
    );
    assert!(digests[2].contains("Nothing is new"), "{digests:?}");
    // What lies in the future of a day is not known on it.
    let before = summary_of(&engine, NAME, json!({ "day": "2026-01-02", "output": "early" })).await;
    assert_eq!((&before["findings"], &before["insights"]), (&json!(0), &json!(0)), "{before}");
}

#[tokio::test]
async fn evidence_finds_the_rows_that_it_names() {
    let engine = engine().await;
    append(&engine, "metrics", &[noisy("it's {odd}", 1, 700..703)]).await;
    summary_of(&engine, "anomalies", json!({})).await;
    summary_of(&engine, NAME, json!({ "day": "2026-01-04" })).await;
    let shown = rows(&engine, "SELECT evidence FROM insights").await;
    let evidence: Value = serde_json::from_str(&shown[0]).unwrap();
    let of = &evidence[0];
    assert_eq!((&of["dataset"], of["version"].is_u64()), (&json!("anomalies"), true), "{evidence}");
    let condition = of["where"].as_str().unwrap();
    let found = rows(&engine, &format!("SELECT series FROM anomalies WHERE {condition}")).await;
    assert_eq!(found, ["it's {odd}"]);
    let chart = rows(&engine, "SELECT chart FROM insights").await;
    let chart: Value = serde_json::from_str(&chart[0]).unwrap();
    let condition = chart["where"].as_str().unwrap();
    let drawn = rows(&engine, &format!("SELECT count(*) FROM metrics WHERE {condition}")).await;
    assert!(drawn[0].parse::<u64>().unwrap() > 100, "{drawn:?}");
}

#[tokio::test]
async fn what_is_called_wrong_is_said_no_more() {
    let (engine, who) = (engine().await, Principal::local());
    append(&engine, "metrics", &[noisy("a", 1, 700..703), noisy("b", 2, 800..803)]).await;
    summary_of(&engine, "anomalies", json!({})).await;
    summary_of(&engine, NAME, json!({ "day": "2026-01-04" })).await;
    let dataset = DatasetName::new("insights").unwrap();
    let id = rows(&engine, "SELECT id FROM insights WHERE subject = 'a'").await[0].clone();
    let rate = async |id: &str, comment| {
        insight_feedback::rate(&engine, &who, &dataset, id, Verdict::Wrong, comment).await
    };
    let unknown = rate("nothing", None).await.unwrap_err().to_string();
    assert!(unknown.contains("insight \"nothing\": insights has none of that id"), "{unknown}");
    let long = "x".repeat(4_097);
    let long = rate(&id, Some(long.as_str())).await.unwrap_err().to_string();
    assert!(long.contains("expected at most 4096 bytes, found 4097"), "{long}");
    let metrics = DatasetName::new("metrics").unwrap();
    let rated = insight_feedback::rate(&engine, &who, &metrics, &id, Verdict::Wrong, None).await;
    let foreign = rated.unwrap_err().to_string();
    assert!(foreign.contains("expected one of the job insights, found metrics"), "{foreign}");
    rate(&id, Some("a test run")).await.unwrap();
    // The next run of the same day minds it, and the one after it, too, though the insight is gone.
    for _ in 0..2 {
        let again = summary_of(&engine, NAME, json!({ "day": "2026-01-04"})).await;
        assert_eq!((&again["dismissed"], &again["insights"]), (&json!(1), &json!(1)), "{again}");
        assert_eq!(rows(&engine, "SELECT subject FROM insights").await, ["b"]);
        let factor =
            rows(&engine, "SELECT feedback FROM insights").await[0].parse::<f64>().unwrap();
        assert!((factor - 2.0 / 3.0).abs() < 1e-9, "{factor}");
    }
    // It comes on no other day.
    let next = summary_of(&engine, NAME, json!({ "day": "2026-01-05" })).await;
    assert_eq!((&next["dismissed"], &next["said_before"]), (&json!(1), &json!(1)), "{next}");
    let kept = rows(&engine, "SELECT verdict, comment FROM insight_feedback").await;
    assert_eq!(kept, ["wrong a test run"]);
}

/// What `forecast` says of values that came: far out, a little out, and a few in a row.
async fn accuracy(engine: &Engine) {
    let hours: Vec<i64> = (0..40).collect();
    let actual = |hour: i64| match hour {
        // Four times as far as the interval is wide on that side.
        5 => 140.0,
        // One in twenty is outside anyway.
        12 => 113.0,
        // Four in a row.
        20..24 => 84.0,
        30..33 => 84.0,
        _ => 101.0,
    };
    let at = hours.iter().map(|hour| (BEGIN_S + hour * 3_600) * 1_000_000);
    let times = || {
        Arc::new(TimestampMicrosecondArray::from_iter_values(at.clone()).with_timezone("UTC"))
            as ArrayRef
    };
    let same = |value: f64| {
        Arc::new(arrow::array::Float64Array::from(vec![value; hours.len()])) as ArrayRef
    };
    let texts = |text: &str| Arc::new(StringArray::from(vec![text; hours.len()])) as ArrayRef;
    let actuals =
        arrow::array::Float64Array::from_iter_values(hours.iter().map(|hour| actual(*hour)));
    let within = BooleanArray::from_iter(
        hours.iter().map(|hour| Some((90.0..=110.0).contains(&actual(*hour)))),
    );
    let columns = [
        ("source", ColumnType::Text, texts("calls")),
        ("question", ColumnType::Text, texts("count(*)")),
        ("series", ColumnType::Text, texts("eu")),
        ("made_at", ColumnType::Timestamp, times()),
        ("at", ColumnType::Timestamp, times()),
        ("value", ColumnType::Float64, same(100.0)),
        ("lower_95", ColumnType::Float64, same(90.0)),
        ("upper_95", ColumnType::Float64, same(110.0)),
        ("actual", ColumnType::Float64, Arc::new(actuals) as ArrayRef),
        ("within_95", ColumnType::Bool, Arc::new(within) as ArrayRef),
        ("interval_seconds", ColumnType::Float64, same(3_600.0)),
    ];
    write(engine, "accuracy", WriteMode::Overwrite, &columns).await;
}

#[tokio::test]
async fn a_forecast_is_missed_far_out_or_several_times_in_a_row() {
    let engine = engine().await;
    accuracy(&engine).await;
    let params = json!({ "forecasts": ["accuracy"], "day": "2026-01-03" });
    summary_of(&engine, NAME, params).await;
    let found = rows(
        &engine,
        "SELECT kind, reach, CAST(started_at AS TEXT) AS began, headline FROM insights ORDER BY started_at",
    )
    .await;
    assert_eq!(found.len(), 2, "{found:?}");
    let far = "forecast_miss 1 2026-01-01T05:00:00Z eu of calls: 140 at 2026-01-01T05:00:00Z; the forecast was 100, its \
               interval of 95 % from 90 to 110";
    assert_eq!(found[0], far);
    assert!(found[1].starts_with("forecast_miss 4 2026-01-01T20:00:00Z"), "{found:?}");
    assert!(
        found[1].ends_with(
            "4 values in a row, from 2026-01-01T20:00:00Z to 2026-01-01T23:00:00Z, are outside"
        ),
        "{found:?}"
    );
}

/// Of two series of which one is the other some time later nothing is sure at one instant, and everything at the lag.
#[tokio::test]
async fn series_that_move_together_with_a_lag_are_sure_of_it() {
    let engine = engine().await;
    let mut noise = Noise::new(5);
    let values: Vec<f64> = (0..1_005).map(|_| noise.normal()).collect();
    let series = [("a", 5), ("b", 0)].map(|(name, from)| {
        let own = values[from..from + 1_000].iter().map(|value| value + 0.3 * noise.normal());
        sampled(name, 300, own.collect())
    });
    append(&engine, "metrics", &series).await;
    summary_of(&engine, "correlate", json!({})).await;
    summary_of(&engine, NAME, json!({ "day": "2026-01-05" })).await;
    let found = rows(&engine, "SELECT kind, confidence, headline FROM insights").await;
    let [one] = found.as_slice() else { panic!("{found:?}") };
    let says = "correlation 1.0 a and b of metrics move together: r = 0.9";
    assert!(
        one.starts_with(says) && one.ends_with("over 1000 intervals, b 25 minutes after a"),
        "{one}"
    );
}

#[tokio::test]
async fn copies_and_texts_of_no_class_are_said_with_their_share() {
    let engine = engine().await;
    let texts = |text: &dyn Fn(usize) -> String, count: usize| {
        Arc::new(StringArray::from_iter_values((0..count).map(text))) as ArrayRef
    };
    write(
        &engine,
        "notes",
        WriteMode::Append,
        &[("id", ColumnType::Text, texts(&|at| at.to_string(), 100))],
    )
    .await;
    let clusters = [
        ("source", ColumnType::Text, texts(&|_| "notes".into(), 10)),
        (
            "cluster_id",
            ColumnType::Text,
            texts(&|at| if at < 7 { "1".into() } else { "2".into() }, 10),
        ),
        ("id", ColumnType::Text, texts(&|at| at.to_string(), 10)),
        (
            "is_representative",
            ColumnType::Bool,
            Arc::new(BooleanArray::from_iter((0..10).map(|at| Some(at == 0 || at == 7))))
                as ArrayRef,
        ),
        (
            "members",
            ColumnType::Int64,
            Arc::new(Int64Array::from_iter_values((0..10).map(|at| if at < 7 { 7 } else { 3 })))
                as ArrayRef,
        ),
        (
            "similarity",
            ColumnType::Float64,
            Arc::new(arrow::array::Float64Array::from(vec![1.0; 10])) as ArrayRef,
        ),
    ];
    write(&engine, "clusters", WriteMode::Append, &clusters).await;
    let answers = [
        ("source", ColumnType::Text, texts(&|_| "notes".into(), 50)),
        ("model", ColumnType::Text, texts(&|_| "triage@1".into(), 50)),
        ("label", ColumnType::Text, texts(&|_| "a".into(), 50)),
        (
            "out_of_scope",
            ColumnType::Bool,
            Arc::new(BooleanArray::from_iter((0..50).map(|at| Some(at < 10)))) as ArrayRef,
        ),
    ];
    write(&engine, "answers", WriteMode::Append, &answers).await;
    let params = json!({ "duplicates": ["clusters"], "triage": ["answers"], "day": "2026-01-03" });
    summary_of(&engine, NAME, params.clone()).await;
    let found =
        rows(&engine, "SELECT kind, severity, headline FROM insights ORDER BY subject").await;
    let expected = [
        // Five limits of three less one: 7 of 3.
        "duplicates 57.14285714285714 notes: 7 rows repeat each other, among them 1",
        "duplicates 87.5 notes: 8 rows of 100 (8 %) repeat another row, in 2 clusters of up to 7 rows",
        "out_of_scope 75.0 notes: 10 of 50 texts (20 %) are in none of the classes of triage@1",
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_by_name() {
    let engine = engine().await;
    for (params, says) in [
        (json!({}), "none of anomalies, trends, forecast_accuracy"),
        (json!({ "day": "tomorrow" }), "parameter \"day\""),
        (json!({ "days": 0 }), "expected 1 to 3660 days, found 0"),
        (json!({ "min_score": 101 }), "parameter \"min_score\": expected 0 to 100, found 101"),
        (json!({ "insights_max": 0 }), "expected 1 to 10000 insights, found 0"),
        (json!({ "digests": "insights" }), "expected another dataset than insights"),
        (json!({ "anomalies": ["insights"] }), "insights is what the job itself commits to"),
    ] {
        let refusal = refusal_of(&engine, NAME, params.clone()).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
    append(&engine, "metrics", &[noisy("a", 1, 0..0)]).await;
    let other = json!({ "anomalies": ["metrics"] });
    let refusal = refusal_of(&engine, NAME, other).await;
    assert!(refusal.contains("parameter \"anomalies\": metrics is not of the form"), "{refusal}");
}
