#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use analysis::Noise;
use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use super::{Alerts, NAME};
use crate::alert_words::acknowledge;
use crate::job::Job as _;
use crate::kinds::Jobs;
use crate::run::record::RunState;
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{
    engine, engine_at, overlapping, overlaps, refusal_of, rows, summary_of, write,
};

/// 2026-01-05T00:00:00Z, in seconds.
const BEGIN_S: i64 = 1_767_571_200;

/// Commits readings: seconds since the beginning, the host, the load.
async fn load(engine: &Engine, rows: &[(i64, &str, f64)]) {
    let at = rows.iter().map(|row| (BEGIN_S + row.0) * 1_000_000);
    let at = TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC");
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
        (
            "host",
            ColumnType::Text,
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        ),
        (
            "load",
            ColumnType::Float64,
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
        ),
    ];
    write(engine, "load", WriteMode::Append, &columns).await;
}

/// A rule that alerts of hosts whose load is above 5 for a minute.
fn busy() -> Value {
    json!({ "name": "busy", "condition": "load > 5", "value": "load", "by": ["host"], "time": "at", "for": "1m",
        "summary": "{host} has a load of {value}" })
}

fn asked(rules: &[Value]) -> Value {
    json!({ "dataset": "load", "rules": rules })
}

const EVENTS: &str = "SELECT event, rule, \"group\", CAST(date_part('epoch', at) - 1767571200 AS INT), value FROM alert_events \
                      ORDER BY known_at, at, \"group\", event";
const ALERTS: &str = "SELECT rule, \"group\", state, value, summary FROM alerts ORDER BY 1, 2";

/// The same, of what people did without the instant, which is the clock's.
const HAPPENED: &str = "SELECT event, rule, \"group\", CASE WHEN event = 'acknowledged' THEN 0 \
                        ELSE CAST(date_part('epoch', at) - 1767571200 AS INT) END, value FROM alert_events";

/// Runs of which each reads one commit, until none is left; how many there were.
async fn one_by_one(engine: &Engine, params: Value) -> usize {
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        jobs: Jobs::default().with(Arc::new(Alerts { read_max: Duration::ZERO })),
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let mut runs = 0;
    loop {
        let (job, params) = (NAME.to_owned(), params.clone());
        let request = RunRequest { job, params, ..RunRequest::default() };
        let run = runner.submit(&Principal::local(), request).await.unwrap();
        let record = run.wait().await.unwrap();
        assert_eq!(record.state, RunState::Succeeded, "{record:?}");
        runs += 1;
        if record.summary["commits_left"] == 0 {
            break;
        }
        assert_eq!(record.summary["commits"], 1);
    }
    runner.shutdown().await;
    runs
}

async fn runner(engine: &Engine, at_once: usize) -> Runner {
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        concurrent_runs: at_once,
        ..RunnerOptions::default()
    };
    Runner::start(engine.clone(), options).await.unwrap()
}

#[tokio::test]
async fn what_is_there_is_looked_at_first_and_then_what_comes() {
    let engine = engine().await;
    // Of what was over before anybody looked, nobody is told.
    load(&engine, &[(0, "a", 9.0), (60, "a", 9.5), (70, "a", 1.0)]).await;
    load(&engine, &[(60, "b", 8.0), (0, "b", 7.0), (0, "c", 1.0)]).await;
    let summary = summary_of(&engine, NAME, asked(&[busy()])).await;
    assert_eq!(
        (&summary["rows"], &summary["alerts"], &summary["notices"]),
        (&json!(6), &json!(2), &json!(1))
    );
    assert_eq!(
        rows(&engine, EVENTS).await,
        [
            "pending busy host=a 0 9.0",
            "pending busy host=b 0 7.0",
            "firing busy host=a 60 9.5",
            "firing busy host=b 60 8.0",
            "resolved busy host=a 70 9.5",
        ]
    );
    let told = rows(&engine, "SELECT text, severity FROM alert_outbox").await;
    assert_eq!(told, ["warning: b has a load of 8 warning"]);
    // A run that finds nothing new commits nothing.
    let version = async || {
        let session = engine.session(&Principal::local(), &[]).await.unwrap();
        session.version(&crate::parameters::dataset_name("alert_state"))
    };
    let before = version().await;
    assert_eq!(summary_of(&engine, NAME, asked(&[busy()])).await["commits"], 0);
    assert_eq!(version().await, before);
    load(&engine, &[(80, "b", 2.0), (80, "c", 6.0)]).await;
    load(&engine, &[(150, "c", 7.0)]).await;
    let summary = summary_of(&engine, NAME, asked(&[busy()])).await;
    assert_eq!((&summary["commits"], &summary["events"]), (&json!(2), &json!(3)));
    assert_eq!(
        rows(&engine, ALERTS).await,
        [
            "busy host=a resolved 9.5 a has a load of 9.5",
            "busy host=b resolved 8.0 b has a load of 8",
            "busy host=c firing 7.0 c has a load of 7",
        ]
    );
    // A rule that is gone ends what fired of it.
    let summary = summary_of(&engine, NAME, asked(&[])).await;
    assert_eq!(summary["events"], 1);
    let last =
        rows(&engine, "SELECT event, note FROM alert_events ORDER BY known_at DESC LIMIT 1").await;
    assert!(last[0].starts_with("resolved "), "{last:?}");
}

#[tokio::test]
async fn a_rule_that_can_not_be_computed_holds_up_no_other() {
    let engine = engine().await;
    load(&engine, &[(0, "a", 9.0), (60, "a", 9.5), (60, "7", 9.5)]).await;
    let of = |name: &str, fields: Value| {
        let mut rule = busy();
        rule["name"] = json!(name);
        rule["for"] = json!("0s");
        for (field, value) in fields.as_object().unwrap() {
            rule[field] = value.clone();
        }
        rule
    };
    let number = "CAST(host AS INT) > 5";
    let bad = of("bad", json!({ "condition": number }));
    // Of rows that it leaves out nothing is computed.
    let guarded = of("guarded", json!({ "condition": number, "where": "host <> 'a'" }));
    let summary = summary_of(&engine, NAME, asked(&[bad, guarded, of("good", json!({}))])).await;
    let unfit = summary["rules_that_do_not_fit"].to_string();
    let says = "[\"alert bad: it can't be computed of 2 rows: ";
    assert!(unfit.starts_with(says) && unfit.contains("'a'"), "{unfit}");
    // Rows of the same commit that it can be computed of are what they are.
    let fire = "SELECT rule, \"group\" FROM alerts WHERE state = 'firing' ORDER BY 1, 2";
    let all = ["bad host=7", "good host=7", "good host=a", "guarded host=7"];
    assert_eq!(rows(&engine, fire).await, all);
}

#[tokio::test]
async fn a_row_without_a_value_alerts_and_one_that_says_nothing_ends_no_alert() {
    let engine = engine().await;
    load(&engine, &[(0, "7", 9.0)]).await;
    let rule = json!({ "name": "r", "condition": "CASE WHEN host = 'x' THEN CAST(host AS INT) > 1 ELSE load > 5 END",
        "value": "CAST(host AS INT) / 2", "time": "at" });
    summary_of(&engine, NAME, asked(std::slice::from_ref(&rule))).await;
    let alert = "SELECT state, value FROM alerts";
    assert_eq!(rows(&engine, alert).await, ["firing 3.5"]);
    load(&engine, &[(60, "x", 0.0)]).await;
    let summary = summary_of(&engine, NAME, asked(std::slice::from_ref(&rule))).await;
    assert!(summary["rules_that_do_not_fit"].to_string().contains("of 1 row: "), "{summary}");
    assert_eq!(rows(&engine, alert).await, ["firing 3.5"]);
    load(&engine, &[(120, "y", 9.0)]).await;
    summary_of(&engine, NAME, asked(std::slice::from_ref(&rule))).await;
    assert_eq!(rows(&engine, alert).await, ["firing "]);
    load(&engine, &[(180, "7", 1.0)]).await;
    summary_of(&engine, NAME, asked(std::slice::from_ref(&rule))).await;
    assert_eq!(rows(&engine, "SELECT DISTINCT state FROM alerts").await, ["resolved"]);
}

#[tokio::test]
async fn however_commits_are_read_the_same_happens() {
    let mut noise = Noise::new(7);
    let mut below = |n: u64| (noise.uniform() * n as f64) as u64;
    let mut acknowledged = 0;
    for _ in 0..5 {
        let mut commits = Vec::new();
        for commit in 0..10 {
            let mut rows = Vec::new();
            for _ in 0..=below(4) {
                let host = ["a", "b", "c"][below(3) as usize];
                rows.push((commit * 60 + below(60) as i64, host, below(10) as f64));
            }
            commits.push(rows);
        }
        let rules = [
            busy(),
            json!({ "name": "any", "condition": "load > 8", "time": "at", "expires": "5m" }),
        ];
        let mut found = Vec::new();
        for way in 0..4 {
            let engine = engine().await;
            // Who looks at nothing yet begins with what is there.
            load(&engine, &[(-100, "a", 0.0)]).await;
            summary_of(&engine, NAME, asked(&rules)).await;
            for (number, commit) in commits.iter().enumerate() {
                load(&engine, commit).await;
                if number == 5 {
                    let (who, said) = (Principal::local(), "seen");
                    acknowledge(&engine, &who, "busy", "host=a", said).await.unwrap();
                }
                // Each has a millisecond of its own: what the clock brings comes between them.
                tokio::time::sleep(Duration::from_millis(2)).await;
                if way == 0 || (way == 1 && below(3) == 0) {
                    summary_of(&engine, NAME, asked(&rules)).await;
                }
            }
            // The clock is today's, and ends what expires.
            tokio::time::sleep(Duration::from_millis(1_010)).await;
            if way == 3 {
                assert_eq!(one_by_one(&engine, asked(&rules)).await, commits.len());
            }
            summary_of(&engine, NAME, asked(&rules)).await;
            let events = rows(&engine, HAPPENED).await;
            let ids = rows(&engine, "SELECT DISTINCT id FROM alert_events").await;
            assert_eq!(events.len(), ids.len());
            found.push(events.into_iter().collect::<BTreeSet<_>>());
        }
        assert!(!found[0].is_empty());
        acknowledged += found[0].iter().filter(|event| event.starts_with("acknowledged")).count();
        for way in &found[1..] {
            assert_eq!(found[0], *way);
        }
    }
    assert!(acknowledged > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_runs_that_see_the_same_one_tells() {
    let engine = engine().await;
    load(&engine, &[(0, "a", 0.0)]).await;
    let runner = runner(&engine, 6).await;
    let who = Principal::local();
    for minute in 1..6 {
        load(&engine, &[(minute * 60, "a", if minute % 2 == 0 { 1.0 } else { 9.0 })]).await;
        let mut runs = Vec::new();
        for _ in 0..6 {
            let rule = json!({ "name": "high", "condition": "load > 5", "time": "at" });
            let (job, params) = (NAME.to_owned(), asked(&[rule]));
            runs.push(
                runner
                    .submit(&who, RunRequest { job, params, ..RunRequest::default() })
                    .await
                    .unwrap(),
            );
        }
        for run in runs {
            let record = run.wait().await.unwrap();
            assert_eq!(record.state, RunState::Succeeded, "{record:?}");
        }
    }
    runner.shutdown().await;
    // At 60 s what is there is looked at.
    let events = rows(&engine, EVENTS).await;
    let expected = [
        "firing high  60 ",
        "resolved high  120 ",
        "firing high  180 ",
        "resolved high  240 ",
        "firing high  300 ",
    ];
    assert_eq!(events, expected);
    assert_eq!(rows(&engine, "SELECT count(*) FROM alert_outbox").await, ["5"]);
}

#[tokio::test]
async fn rules_that_mean_nothing_are_told_by_name() {
    let engine = engine().await;
    load(&engine, &[(0, "a", 1.0)]).await;
    for (rule, says) in [
        (json!({ "name": "x", "condition": "lod > 5" }), "alert x: condition: "),
        (json!({ "name": "x", "condition": "load" }), "expected one that is true or false"),
        (json!({ "name": "x", "condition": "load > 1", "by": ["hots"] }), "has no column \"hots\""),
        (
            json!({ "name": "x", "condition": "load > 1", "by": ["load"] }),
            "expected a text, truth value or whole number",
        ),
        (
            json!({ "name": "x", "condition": "load > 1", "time": "host" }),
            "expected a timestamp or date",
        ),
        (
            json!({ "name": "x", "condition": "load > 1", "value": "host" }),
            "alert x: value: expected a number",
        ),
        (json!({ "name": "x", "condition": "load > (SELECT 1)" }), "queries are not taken here"),
        (json!({ "name": "x", "condition": "false" }), "alert x: condition: "),
        (json!({ "name": "x" }), "alert x: condition: "),
        (json!({ "name": "X", "condition": "load > 1" }), "name: "),
        (
            json!({ "name": "x", "dataset": "other", "condition": "load > 1" }),
            "dataset: expected load",
        ),
        (json!({ "name": "x", "conditoin": "load > 1" }), "conditoin"),
    ] {
        let refused = refusal_of(&engine, NAME, asked(std::slice::from_ref(&rule))).await;
        assert!(refused.contains(says), "{rule}: {refused}");
    }
    let rule = json!({ "name": "x", "condition": "load > 1" });
    let twice = refusal_of(&engine, NAME, asked(&[rule.clone(), rule])).await;
    assert!(twice.contains("two are called x"), "{twice}");
    let own = json!({ "dataset": "load", "rules": [], "events": "load" });
    let own = refusal_of(&engine, NAME, own).await;
    assert!(own.contains("load is the dataset that the rules look at"), "{own}");
}

#[test]
fn a_run_that_left_commits_is_gone_on_with_at_once() {
    let alerts = Alerts::default();
    assert!(alerts.goes_on(&json!({ "commits_left": 1 })));
    assert!(!alerts.goes_on(&json!({ "commits_left": 0 })) && !alerts.goes_on(&Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_that_overlap_commit_each_event_once() {
    for round in 0..overlaps() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine_at(folder.path()).await;
        let other = engine_at(folder.path()).await;
        let hosts: Vec<String> = (0..10).map(|host| format!("h{host}")).collect();
        let busy_rows: Vec<(i64, &str, f64)> = hosts
            .iter()
            .flat_map(|host| [(0, host.as_str(), 9.0), (60, host.as_str(), 9.5)])
            .collect();
        load(&engine, &busy_rows).await;
        let job = Arc::new(Alerts::default());
        let records = overlapping([&engine, &other], job, &asked(&[busy()])).await;
        let states = records.each_ref().map(|record| record.state);
        assert_eq!(states, [RunState::Succeeded; 2], "{round}: {records:?}");
        engine.refresh_catalog(&Principal::local()).await.unwrap();
        let events = "SELECT count(*), count(DISTINCT id) FROM alert_events";
        assert_eq!(rows(&engine, events).await, ["20 20"], "{round}");
        let twice = "SELECT count(*) - count(DISTINCT id) FROM alert_outbox";
        assert_eq!(rows(&engine, twice).await, ["0"], "{round}");
        assert_eq!(rows(&engine, "SELECT count(*) FROM alerts").await, ["10"], "{round}");
    }
}
