#![allow(clippy::unwrap_used, clippy::print_stderr)]

use analysis::Noise;
use analysis::series::Series;
use datasets::DatasetName;
use engine::{Coming, CommitLabel, Engine, Going, Principal, Revision};
use serde_json::{Value, json};

use super::super::NAME;
use super::state::REVISION;
use crate::testing::{append, engine, refusal_of, rows, sampled, summary_of};

fn online(more: &Value) -> Value {
    let mut params = json!({ "method": "online" });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

async fn found(engine: &Engine, output: &str) -> Vec<String> {
    rows(
        engine,
        &format!(
            "SELECT series, kind, started_at, ended_at, peak_at, observed, expected, score, severity, level, samples, \
             interval_seconds, explanation FROM {output} ORDER BY series, started_at, kind"
        ),
    )
    .await
}

/// A day that repeats itself, with noise, of the usual size.
fn usual(count: usize, noise: &mut Noise) -> Vec<f64> {
    let day = |at: usize| 10.0 * (at as f64 / 48.0 * std::f64::consts::TAU).sin();
    (0..count).map(|at| 100.0 + day(at) + noise.normal()).collect()
}

async fn delete(engine: &Engine, condition: &str) {
    let (who, name) = (Principal::local(), DatasetName::new("metrics").unwrap());
    let session = engine.session(&who, &[]).await.unwrap();
    let condition = session.condition(&name, condition).await.unwrap();
    let revision = Revision { going: Going::Where(condition), coming: Coming::Nothing };
    let label = CommitLabel { operation: "delete".into(), ..CommitLabel::default() };
    engine.revise(&who, &name, revision, label).await.unwrap();
}

/// A spike, silence, and a value that stays.
fn with_faults() -> Series {
    let mut values = usual(1_400, &mut Noise::new(1));
    values[900] = 190.0;
    values[1_200..1_320].fill(100.0);
    let mut series = sampled("a", 1_800, values);
    series.times[600..].iter_mut().for_each(|at| *at += 40 * 1_800_000_000);
    series
}

#[tokio::test]
async fn faults_are_found_and_told_in_words() {
    let engine = engine().await;
    let quiet = sampled("quiet", 1_800, usual(1_400, &mut Noise::new(2)));
    let short = sampled("short", 1_800, usual(150, &mut Noise::new(3)));
    let none = sampled("none", 1_800, vec![f64::NAN; 3]);
    append(&engine, "metrics", &[with_faults(), quiet, short, none]).await;
    let summary = summary_of(&engine, NAME, online(&json!({}))).await;
    assert_eq!((&summary["series"], &summary["samples"]), (&json!(4), &json!(2_950)), "{summary}");
    assert_eq!(summary["series_skipped"]["no values"]["examples"], json!(["none"]));
    assert_eq!(
        summary["series_skipped"]["no more than 150 samples so far"]["examples"],
        json!(["short"])
    );
    let kinds = rows(&engine, "SELECT DISTINCT kind FROM anomalies ORDER BY kind").await;
    assert!(["missing", "stuck"].iter().all(|kind| kinds.contains(&(*kind).to_owned())));
    let told =
        rows(&engine, "SELECT explanation FROM anomalies WHERE observed = 190 OR kind <> 'level'")
            .await;
    let says =
        |text: &str| assert!(told.iter().any(|told| told.contains(text)), "{text}: {told:#?}");
    says("value 190 at 2026-01-20T14:00:00Z, where ");
    says(
        "no value for 20 hours: 40 missing with one expected each 30 minutes, the first at 2026-01-13T12:00:00Z and the last at 2026-01-14T07:30:00Z",
    );
    says("the value stays at exactly 100 for 120 samples from 2026-01-26T20:00:00Z");
    let others = rows(&engine, "SELECT count(*) FROM anomalies WHERE series <> 'a'").await;
    assert_eq!(others, ["0"]);
    let severities = rows(
        &engine,
        "SELECT round(severity, 6) = round(100 * (1 - power(10, 2.3 - abs(score))), 6) FROM anomalies \
         WHERE kind NOT IN ('missing', 'stuck')",
    )
    .await;
    assert!(!severities.is_empty() && severities.iter().all(|is| is == "true"), "{severities:?}");
}

#[tokio::test]
async fn a_run_reads_what_came_and_what_came_late_has_its_series_read_again() {
    let engine = engine().await;
    let (mut first, mut noise) = (with_faults(), Noise::new(4));
    let rest = Series {
        name: "a".into(),
        times: first.times.split_off(1_000),
        values: first.values.split_off(1_000),
    };
    let other = sampled("b", 1_800, usual(400, &mut noise));
    append(&engine, "metrics", &[first, other]).await;
    let summary = summary_of(&engine, NAME, online(&json!({}))).await;
    let why = "nothing is known of series of metrics yet";
    assert_eq!(summary["read"]["all_because"], why);
    append(&engine, "metrics", &[rest]).await;
    let summary = summary_of(&engine, NAME, online(&json!({}))).await;
    assert_eq!(summary["read"], json!({ "from_version": 1, "series_again": 0 }));
    assert_eq!((&summary["series"], &summary["samples"]), (&json!(2), &json!(400)));
    // Where nothing came nothing is read, and what is told may be less.
    let all = found(&engine, "anomalies").await.len();
    let summary = summary_of(&engine, NAME, online(&json!({ "min_severity": "high" }))).await;
    assert_eq!(summary["read"], json!({ "from_version": 2, "series_again": 0 }));
    assert_eq!((&summary["series"], &summary["samples"]), (&json!(2), &json!(0)));
    let high = found(&engine, "anomalies").await.len();
    assert!(0 < high && high < all, "{high} of {all}");
    // One that is late, and one of the last instant.
    let mut late = sampled("b", 1_800, usual(400, &mut noise));
    (late.times, late.values) = (vec![late.times[399]], vec![-500.0]);
    append(&engine, "metrics", &[late]).await;
    let summary = summary_of(&engine, NAME, online(&json!({}))).await;
    assert_eq!(summary["read"], json!({ "from_version": 2, "series_again": 1 }));
    assert_eq!(summary["samples"], 400);
    let parts = found(&engine, "anomalies").await;
    assert!(parts.iter().any(|row| row.starts_with("b ")), "{parts:#?}");
    // A series that goes, and a part of one.
    delete(&engine, "series = 'b'").await;
    delete(&engine, "series = 'a' AND at > '2026-01-26'").await;
    let summary = summary_of(&engine, NAME, online(&json!({}))).await;
    assert_eq!((&summary["series"], &summary["read"]["series_again"]), (&json!(1), &json!(2)));
    let whole = json!({ "output": "whole", "state": "whole_state" });
    summary_of(&engine, NAME, online(&whole)).await;
    assert_eq!(found(&engine, "anomalies").await, found(&engine, "whole").await);
}

#[tokio::test]
async fn what_is_known_counts_for_the_same_question_only() {
    let engine = engine().await;
    append(&engine, "metrics", &[with_faults()]).await;
    summary_of(&engine, NAME, online(&json!({}))).await;
    let all = found(&engine, "anomalies").await;
    // What is left out of the findings is not asked of the state.
    append(&engine, "metrics", &[sampled("z", 60, vec![1.0])]).await;
    let high = json!({ "min_severity": "high", "from": "2026-01-20T00:00:00Z" });
    let summary = summary_of(&engine, NAME, online(&high)).await;
    assert_eq!(summary["read"]["from_version"], 1);
    let some = found(&engine, "anomalies").await;
    assert!(!some.is_empty() && some.len() < all.len() && some.iter().all(|row| all.contains(row)));
    append(&engine, "metrics", &[sampled("z", 60, vec![f64::NAN, 2.0])]).await;
    let summary = summary_of(&engine, NAME, online(&json!({ "rarity": 3.0 }))).await;
    assert_eq!(
        summary["read"]["all_because"],
        "what is known of its series is of other parameters"
    );
    let asked = rows(&engine, "SELECT DISTINCT asked FROM anomaly_state").await;
    assert!(asked.len() == 1 && asked[0].starts_with(&format!("{REVISION}-")), "{asked:?}");
}

#[tokio::test]
async fn limits_of_the_other_method_are_refused() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 60, vec![1.0])]).await;
    for (params, says) in [
        (json!({ "method": "windows", "rarity": 2.0 }), "rarity"),
        (json!({ "method": "online", "threshold": 3.0 }), "threshold"),
        (json!({ "method": "online", "series": ["a"] }), "series"),
        (json!({ "method": "online", "joint": true }), "joint"),
        (json!({ "method": "online", "rarity": 0.4 }), "0.5 to 8"),
        (json!({ "method": "online", "rest_samples": 0 }), "1 to 100000"),
        (json!({ "method": "online", "state": "anomalies" }), "another dataset"),
        (json!({ "method": "online", "value_column": "values" }), "value_column"),
        (json!({ "method": "offline" }), "online"),
    ] {
        let refusal = refusal_of(&engine, NAME, params.clone()).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
}

/// A history of a dataset: what comes in each commit, and what goes after it.
struct World {
    commits: Vec<Vec<Series>>,
    gone: Vec<Option<String>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut noise = Noise::new(seed);
        let mut chance = move || noise.uniform();
        let count = 2 + (chance() * 5.0) as usize;
        let mut commits: Vec<Vec<Series>> = vec![Vec::new(); count];
        for name in ["a", "b", "c"] {
            let samples = 200 + (chance() * 400.0) as usize;
            let mut series = sampled(name, 1_800, usual(samples, &mut Noise::new(seed * 7 + 1)));
            for _ in 0..4 {
                let at = (chance() * samples as f64) as usize;
                match (chance() * 5.0) as usize {
                    0 => series.values[at] += 60.0,
                    1 => series.values[at..].iter_mut().for_each(|value| *value += 30.0),
                    2 => series.values[at..].iter_mut().take(110).for_each(|value| *value = 7.0),
                    3 => series.times[at..].iter_mut().for_each(|time| *time += 100_000_000_000),
                    _ => series.values[at] = f64::NAN,
                }
            }
            // One sample in a hundred is there twice, with two values.
            for at in 0..samples {
                if chance() < 0.01 {
                    series.times.push(series.times[at]);
                    series.values.push(chance() * 200.0);
                }
            }
            // To each commit a part, of which few samples come late.
            let late = if chance() < 0.5 { 0.0 } else { 0.004 };
            let mut cuts: Vec<usize> =
                (1..count).map(|_| (chance() * samples as f64) as usize).collect();
            cuts.sort_unstable();
            let mut parts = vec![Series { name: name.into(), ..Series::default() }; count];
            for (at, (time, value)) in series.times.iter().zip(&series.values).enumerate() {
                let due = cuts.partition_point(|cut| *cut <= at.min(samples - 1));
                let is_late = chance() < late;
                let part = if is_late { count - 1 } else { due };
                parts[part].times.push(*time);
                parts[part].values.push(*value);
            }
            commits.iter_mut().zip(parts).for_each(|(commit, part)| commit.push(part));
        }
        let gone = (0..count).map(|_| {
            let condition = match (chance() * 12.0) as usize {
                0 => "series = 'b'",
                1 => "series = 'a' AND value > 108",
                2 => "at < '2026-01-03'",
                _ => return None,
            };
            Some(condition.to_owned())
        });
        let gone = gone.collect();
        Self { commits, gone }
    }
}

async fn online_equals_whole(seed: u64) -> (usize, usize) {
    let engine = engine().await;
    let (world, mut gone_on) = (World::new(seed), 0);
    for (commit, gone) in world.commits.iter().zip(&world.gone) {
        append(&engine, "metrics", commit).await;
        if let Some(condition) = gone {
            delete(&engine, condition).await;
        }
        let summary = summary_of(&engine, NAME, online(&json!({}))).await;
        gone_on += usize::from(summary["read"]["from_version"].is_u64());
    }
    let whole = json!({ "output": "whole", "state": "whole_state" });
    let summary = summary_of(&engine, NAME, online(&whole)).await;
    assert!(summary["read"]["all_because"].is_string());
    let (parts, whole) = (found(&engine, "anomalies").await, found(&engine, "whole").await);
    assert_eq!(parts, whole, "seed {seed}");
    let states = async |dataset: &str| {
        let sql =
            format!("SELECT series, last_at, samples, findings, state FROM {dataset} ORDER BY 1");
        rows(&engine, &sql).await
    };
    assert_eq!(states("anomaly_state").await, states("whole_state").await, "seed {seed}");
    (whole.len(), gone_on)
}

/// `COLONNADE_TRIES` histories, 12 unless told otherwise, from `SEED` on.
#[tokio::test]
async fn however_the_samples_come_the_findings_are_those_of_one_run_over_all() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (tries, seed) = (number("COLONNADE_TRIES").unwrap_or(12), number("SEED").unwrap_or(1));
    let (mut findings, mut gone_on) = (0, 0);
    for seed in seed..seed + tries {
        let (some, runs) = online_equals_whole(seed).await;
        (findings, gone_on) = (findings + some, gone_on + runs);
    }
    eprintln!(
        "{tries} histories from seed {seed} on: {gone_on} runs went on, {findings} findings, all equal"
    );
    assert!(findings as u64 > tries && gone_on as u64 > tries, "{findings} {gone_on}");
}
