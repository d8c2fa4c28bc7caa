//! What people say of anomalies, and what the next run makes of it.

#![allow(clippy::unwrap_used)]
use analysis::Noise;
use analysis::series::Series;
use analysis::series::online::Aspect;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::scalar::ScalarValue;
use engine::{Code, CommitLabel, Engine, Principal, Result, WriteMode};
use serde_json::{Value, json};

use super::explain::{Anomaly, Kind};
use super::{NAME, labelled, output};
use crate::anomaly_labels::{AnomalyAt, AnomalyVerdict, label_anomaly};
use crate::labels::Labelled;
use crate::parameters::dataset_name;
use crate::testing::{append, engine, ensure, rows, sampled, summary_of};

const INTERVAL_S: i64 = 300;
const SAMPLES: usize = 2_000;

/// Noise, and so many deviations more at some samples.
fn with(name: &str, seed: u64, more: &[(usize, f64)]) -> Series {
    let mut noise = Noise::new(seed);
    let mut values: Vec<f64> = (0..SAMPLES).map(|_| 50.0 + noise.normal()).collect();
    more.iter().for_each(|(at, more)| values[*at] = 50.0 + more);
    sampled(name, INTERVAL_S, values)
}

fn instant(sample: usize) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
        + TimeDelta::seconds(sample as i64 * INTERVAL_S)
}

async fn say(
    engine: &Engine,
    series: &str,
    sample: usize,
    verdict: AnomalyVerdict,
) -> Result<Labelled> {
    let of = AnomalyAt {
        dataset: dataset_name("anomalies"),
        source: dataset_name("metrics"),
        series: series.to_owned(),
        at: instant(sample),
        kind: None,
    };
    label_anomaly(engine, &Principal::local(), &of, verdict, Some("seen")).await
}

/// Series, sample of the peak and label of each finding.
async fn found(engine: &Engine) -> Vec<String> {
    let sample = format!("CAST((date_part('epoch', peak_at) - 1767225600) / {INTERVAL_S} AS INT)");
    rows(engine, &format!("SELECT series, {sample}, label FROM anomalies ORDER BY 1, 2")).await
}

#[tokio::test]
async fn what_is_no_anomaly_is_not_told_again_until_somebody_takes_it_back() {
    let engine = engine().await;
    let some =
        [with("a", 1, &[(700, 12.0), (1_200, 12.5), (1_700, 60.0)]), with("b", 2, &[(900, 12.0)])];
    append(&engine, "metrics", &some).await;
    for params in [json!({}), json!({ "method": "online" })] {
        summary_of(&engine, NAME, params.clone()).await;
        let before = found(&engine).await;
        let first = before.first().unwrap().split(' ').nth(1).unwrap();
        let (first, sample) = (format!("a {first} "), first.parse().unwrap());
        assert!(before.contains(&first), "{params}: {before:?}");
        say(&engine, "a", sample, AnomalyVerdict::NotAnAnomaly).await.unwrap();
        let summary = summary_of(&engine, NAME, params.clone()).await;
        let after = found(&engine).await;
        assert!(!after.contains(&first), "{params}: {after:?}");
        let others = |all: &[String]| all.iter().filter(|row| row.starts_with('b')).count();
        assert_eq!(others(&after), others(&before), "{params}: {after:?}");
        assert_eq!(summary["labels"]["words"], json!(1), "{summary}");
        let left_out = summary["labels"]["findings_left_out"].as_u64().unwrap();
        assert_eq!(before.len() - after.len(), left_out as usize, "{summary}");
        if params == json!({}) {
            // Its like of the same series goes with it, and what is far beyond stays.
            assert_eq!(first, "a 700 ");
            assert_eq!(after, ["a 1700 ", "b 900 "], "{before:?}");
        }
        // What is not there any more is labelled anew by what was said of it.
        say(&engine, "a", sample, AnomalyVerdict::Real).await.unwrap();
        summary_of(&engine, NAME, params.clone()).await;
        let real = found(&engine).await;
        assert!(real.contains(&format!("{first}real")), "{params}: {real:?}");
        say(&engine, "a", sample, AnomalyVerdict::TakenBack).await.unwrap();
        let summary = summary_of(&engine, NAME, params.clone()).await;
        assert_eq!(found(&engine).await, before, "{params}");
        assert_eq!(summary["labels"], Value::Null);
    }
    let said = rows(
        &engine,
        "SELECT DISTINCT series, verdict, comment, by, severity > 0 FROM anomaly_labels ORDER BY 2",
    )
    .await;
    assert_eq!(
        said,
        [
            "a not_an_anomaly seen local true",
            "a real seen local true",
            "a taken_back seen local true"
        ]
    );
}

#[tokio::test]
async fn what_was_missed_is_found_with_a_lower_threshold_of_that_series() {
    let engine = engine().await;
    let some = [
        with("a", 1, &[(700, 4.9), (1_200, 40.0)]),
        with("b", 2, &[(900, 4.9), (1_200, 40.0)]),
        with("weak", 3, &[]),
    ];
    append(&engine, "metrics", &some).await;
    summary_of(&engine, NAME, json!({})).await;
    assert_eq!(found(&engine).await, ["a 1200 ", "b 1200 "]);
    let said = say(&engine, "a", 700, AnomalyVerdict::Real).await.unwrap();
    assert!(said.warnings[0].contains("half of their thresholds"), "{:?}", said.warnings);
    // Nothing is there that half of a threshold finds; and of a series that there is not.
    say(&engine, "weak", 100, AnomalyVerdict::Real).await.unwrap();
    let refusal = say(&engine, "wek", 100, AnomalyVerdict::Real).await.unwrap_err().to_string();
    assert!(refusal.contains("metrics has none of that name; did you mean weak?"), "{refusal}");
    let summary = summary_of(&engine, NAME, json!({})).await;
    assert_eq!(found(&engine).await, ["a 700 real", "a 1200 ", "b 1200 "], "{summary}");
    // Not what else is beyond half of the threshold near it.
    let samples = rows(&engine, "SELECT samples FROM anomalies WHERE label = 'real'").await;
    assert_eq!(samples, ["1"]);
    assert_eq!(summary["labels"]["series_not_there"]["series"], json!(0));
    let of_it = rows(&engine, "SELECT severity FROM anomalies WHERE label = 'real'").await;
    assert_eq!(of_it, ["25.0"]);
    // Taken back, though it is found by now.
    say(&engine, "a", 700, AnomalyVerdict::TakenBack).await.unwrap();
    summary_of(&engine, NAME, json!({})).await;
    assert_eq!(found(&engine).await, ["a 1200 ", "b 1200 "]);
    // What is said of "weak" is of no series where none is there yet, and nobody knows where others are asked for.
    for (params, absent) in
        [(json!({"to": "2025-12-31T00:00:00Z"}), 1), (json!({"series": ["b"]}), 0)]
    {
        let summary = summary_of(&engine, NAME, params).await;
        assert_eq!(summary["labels"]["series_not_there"]["series"], json!(absent), "{summary}");
    }
}

#[tokio::test]
async fn a_shift_that_was_missed_is_found_with_a_lower_threshold_too() {
    let engine = engine().await;
    let mut noise = Noise::new(4);
    let level = |at: usize| if at < 1_000 { 50.0 } else { 56.0 };
    let values = (0..SAMPLES).map(|at| level(at) + noise.normal()).collect();
    append(&engine, "metrics", &[sampled("s", INTERVAL_S, values)]).await;
    summary_of(&engine, NAME, json!({})).await;
    let of_shift = "SELECT score FROM anomalies WHERE kind = 'level_shift'";
    let score: f64 = rows(&engine, of_shift).await[0].parse().unwrap();
    let high = json!({ "shift_threshold": 1.5 * score.abs() });
    summary_of(&engine, NAME, high.clone()).await;
    assert_eq!(rows(&engine, of_shift).await, [""; 0]);
    say(&engine, "s", 1_000, AnomalyVerdict::Real).await.unwrap();
    summary_of(&engine, NAME, high).await;
    let told = "SELECT label FROM anomalies WHERE kind = 'level_shift'";
    assert_eq!(rows(&engine, told).await, ["real"]);
}

#[tokio::test]
async fn what_is_called_real_is_told_however_often_its_like_comes() {
    let engine = engine().await;
    // So many of four deviations that they are usual.
    let many: Vec<(usize, f64)> = (1..30).map(|at| (at * 60, 4.2)).collect();
    append(&engine, "metrics", &[with("a", 1, &many)]).await;
    say(&engine, "a", 600, AnomalyVerdict::Real).await.unwrap();
    summary_of(&engine, NAME, json!({})).await;
    assert!(found(&engine).await.contains(&"a 600 real".to_owned()));
}

#[tokio::test]
async fn a_word_on_what_is_not_there_is_refused_with_what_was_meant() {
    let engine = engine().await;
    append(&engine, "metrics", &[with("requests", 1, &[(700, 12.0)])]).await;
    let refusal = |series, sample, verdict| {
        let said = say(&engine, series, sample, verdict);
        async { said.await.unwrap_err().to_string() }
    };
    let says = refusal("requests", 700, AnomalyVerdict::NotAnAnomaly).await;
    assert!(says.contains("anomalies has no finding that holds this instant"), "{says}");
    summary_of(&engine, NAME, json!({})).await;
    let says = refusal("request", 700, AnomalyVerdict::NotAnAnomaly).await;
    assert!(says.contains("did you mean requests?"), "{says}");
    let says = refusal("requests", 701, AnomalyVerdict::TakenBack).await;
    assert!(says.contains("\"requests\" of metrics at 2026-01-03T10:25:00Z"), "{says}");
    let long = "x".repeat(5_000);
    let says = refusal(&long, 700, AnomalyVerdict::Real).await;
    assert!(says.contains("series: expected at most 4096 bytes, found 5000"), "{says}");
    let verdict = "fine".parse::<AnomalyVerdict>().unwrap_err().to_string();
    assert!(verdict.contains("expected real, not_an_anomaly or taken_back"), "{verdict}");
    // What clients wrote is no finding, whatever its columns.
    let of = AnomalyAt {
        dataset: dataset_name("metrics"),
        source: dataset_name("metrics"),
        series: "requests".to_owned(),
        at: instant(700),
        kind: None,
    };
    let who = Principal::local();
    let said = label_anomaly(&engine, &who, &of, AnomalyVerdict::NotAnAnomaly, None).await;
    let says = said.unwrap_err().to_string();
    assert!(says.contains("expected one that the job anomalies fills, found metrics"), "{says}");
    // Of a kind that the finding is not.
    let of = AnomalyAt {
        dataset: dataset_name("anomalies"),
        source: dataset_name("metrics"),
        series: "requests".to_owned(),
        at: instant(700),
        kind: Some("level_shift".to_owned()),
    };
    let none = AnomalyAt { kind: Some("odd".to_owned()), ..of.clone() };
    let said = label_anomaly(&engine, &Principal::local(), &none, AnomalyVerdict::Real, None).await;
    let says = said.unwrap_err().to_string();
    assert!(
        says.contains("kind: expected one of outlier, seasonal_outlier, level_shift"),
        "{says}"
    );
    let said =
        label_anomaly(&engine, &Principal::local(), &of, AnomalyVerdict::NotAnAnomaly, None).await;
    let says = said.unwrap_err().to_string();
    assert!(says.contains("no finding of kind \"level_shift\""), "{says}");
}

const DRIFT: Kind = Kind::Unusual(Aspect::Drift);
const SHAPE: Kind = Kind::Unusual(Aspect::Shape);

/// Commits findings of the series a, by their kind, first and last sample, as a run would.
async fn tell(engine: &Engine, found: &[(Kind, usize, usize)]) {
    let us = |sample| instant(sample).timestamp_micros();
    let found: Vec<Anomaly> = found
        .iter()
        .map(|&(kind, first, last)| Anomaly {
            series: "a".to_owned(),
            kind,
            started_at: us(first),
            ended_at: us(last),
            peak_at: us(first),
            observed: None,
            expected: None,
            score: 9.0,
            severity: 60.0,
            samples: (last - first + 1) as i64,
            interval_us: INTERVAL_S * 1_000_000,
            season: None,
            explanation: String::new(),
        })
        .collect();
    let spec = output::spec(dataset_name("anomalies"));
    let batch = output::batch(&spec, "metrics", &found, &labelled::Labelled::default()).unwrap();
    ensure(engine, &spec).await;
    let mode =
        WriteMode::ReplacePartitions(vec![("source".to_owned(), ScalarValue::from("metrics"))]);
    let label = CommitLabel { operation: "test".into(), ..CommitLabel::default() };
    engine.write(&Principal::local(), &spec.name, mode, vec![batch], label).await.unwrap();
}

/// Kind, first sample and verdict of the words that were not taken back.
async fn in_force(engine: &Engine) -> Vec<String> {
    let nth = "row_number() OVER (PARTITION BY kind, started_at ORDER BY at DESC) AS nth";
    let first = format!(
        "CAST((date_part('epoch', started_at) - 1767225600) / {INTERVAL_S} AS INT) AS first"
    );
    let last = format!("SELECT kind, {first}, verdict, {nth} FROM anomaly_labels");
    let which = "nth = 1 AND verdict <> 'taken_back'";
    rows(engine, &format!("SELECT kind, first, verdict FROM ({last}) WHERE {which} ORDER BY 2, 1"))
        .await
}

#[tokio::test]
async fn what_was_taken_back_stays_so_when_another_finding_of_its_instant_is_spoken_of() {
    use AnomalyVerdict::{NotAnAnomaly, Real, TakenBack};
    let engine = engine().await;
    append(&engine, "metrics", &[with("a", 1, &[])]).await;
    let say = |verdict| say(&engine, "a", 700, verdict);
    tell(&engine, &[(Kind::Outlier, 700, 700)]).await;
    say(NotAnAnomaly).await.unwrap();
    say(TakenBack).await.unwrap();
    // Another method tells it otherwise, and does not tell it any more because of what is said.
    tell(&engine, &[(SHAPE, 700, 720)]).await;
    say(NotAnAnomaly).await.unwrap();
    tell(&engine, &[]).await;
    say(Real).await.unwrap();
    assert_eq!(in_force(&engine).await, ["shape 700 real"]);
    say(TakenBack).await.unwrap();
    assert!(in_force(&engine).await.is_empty());
    // Before a run tells it again it can be spoken of as it was last.
    say(NotAnAnomaly).await.unwrap();
    assert_eq!(in_force(&engine).await, ["shape 700 not_an_anomaly"]);
}

#[tokio::test]
async fn the_last_word_counts_where_what_it_is_of_ended_earlier_than_before() {
    use AnomalyVerdict::{NotAnAnomaly, Real, TakenBack};
    let engine = engine().await;
    append(&engine, "metrics", &[with("a", 1, &[])]).await;
    let say = |sample, verdict| say(&engine, "a", sample, verdict);
    tell(&engine, &[(DRIFT, 690, 740)]).await;
    say(700, Real).await.unwrap();
    tell(&engine, &[(DRIFT, 690, 710)]).await;
    say(700, TakenBack).await.unwrap();
    tell(&engine, &[]).await;
    // There the word that was taken back was the last one that held.
    assert_eq!(say(730, NotAnAnomaly).await.unwrap_err().code(), Code::NotFound);
    assert!(in_force(&engine).await.is_empty());
}

#[tokio::test]
async fn a_word_is_taken_back_however_a_run_tells_what_it_is_of() {
    use AnomalyVerdict::{Real, TakenBack};
    let engine = engine().await;
    append(&engine, "metrics", &[with("a", 1, &[])]).await;
    let say = |sample, verdict| say(&engine, "a", sample, verdict);
    // No run tells the outlier any more.
    tell(&engine, &[(Kind::Outlier, 700, 700)]).await;
    say(700, Real).await.unwrap();
    tell(&engine, &[(DRIFT, 690, 710)]).await;
    say(700, Real).await.unwrap();
    assert_eq!(in_force(&engine).await, ["drift 690 real", "outlier 700 real"]);
    // It began later, and what is rarest about it is another.
    tell(&engine, &[(SHAPE, 705, 740)]).await;
    say(730, TakenBack).await.unwrap();
    assert_eq!(in_force(&engine).await, ["outlier 700 real"]);
    say(700, TakenBack).await.unwrap();
    assert!(in_force(&engine).await.is_empty());
    // Found beside what was called real before.
    tell(&engine, &[]).await;
    say(800, Real).await.unwrap();
    assert_eq!(in_force(&engine).await, [" 800 real"]);
    tell(&engine, &[(Kind::Outlier, 802, 802)]).await;
    say(802, TakenBack).await.unwrap();
    assert!(in_force(&engine).await.is_empty());
    // Of one kind alone, and not of what is elsewhere.
    tell(&engine, &[(Kind::Outlier, 900, 900), (DRIFT, 880, 910), (DRIFT, 920, 930)]).await;
    say(900, Real).await.unwrap();
    say(925, Real).await.unwrap();
    let of = AnomalyAt {
        dataset: dataset_name("anomalies"),
        source: dataset_name("metrics"),
        series: "a".to_owned(),
        at: instant(900),
        kind: Some("drift".to_owned()),
    };
    label_anomaly(&engine, &Principal::local(), &of, TakenBack, None).await.unwrap();
    assert_eq!(in_force(&engine).await, ["outlier 900 real", "drift 920 real"]);
    say(900, TakenBack).await.unwrap();
    say(925, TakenBack).await.unwrap();
    assert_eq!(summary_of(&engine, NAME, json!({})).await["labels"], Value::Null);
}
