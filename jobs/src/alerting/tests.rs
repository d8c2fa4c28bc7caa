#![allow(clippy::unwrap_used)]
use std::time::Duration;

use analysis::series::Series;
use kernels::GpuPolicy;

use super::*;
use crate::run::runner::RunnerOptions;
use crate::testing::{append, engine, rows, sampled};

fn of(name: &str, fields: &Value) -> AlertDefinition {
    AlertDefinition::new(name, fields.as_object().unwrap().clone()).unwrap()
}

async fn started(engine: &engine::Engine) -> Runner {
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

async fn define(runner: &Runner, asked: &[AlertDefinition]) -> Result<Vec<Applied>> {
    let made = runner.define_alerts(&Principal::local(), asked).await?;
    for run in made.runs {
        run.wait().await?;
    }
    Ok(made.applied.into_iter().map(|(_, applied)| applied).collect())
}

/// One sample of a series an hour later than the last.
fn later(value: f64, hour: usize) -> Series {
    let mut series = sampled("a", 3_600, vec![value; hour + 1]);
    series.times.drain(..hour);
    series.values.drain(..hour);
    series
}

const EVENTS: &str = "SELECT event, rule FROM alert_events ORDER BY known_at, event";

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_defined_looked_after_acknowledged_silenced_and_removed() {
    let (engine, who) = (engine().await, Principal::local());
    append(&engine, "metrics", &[later(1.0, 0)]).await;
    let runner = started(&engine).await;
    let high = of(
        "high",
        &json!({ "dataset": "metrics", "condition": "value > 5", "by": ["series"], "time": "at" }),
    );
    let low = of("low", &json!({ "dataset": "metrics", "condition": "value < 0", "time": "at" }));
    let both = [high.clone(), low];
    assert_eq!(define(&runner, &both).await.unwrap(), [Applied::Added, Applied::Added]);
    assert_eq!(define(&runner, &both).await.unwrap(), [Applied::Same, Applied::Same]);
    assert_eq!(runner.schedules(&who).await.unwrap().len(), 1);
    // What is committed is looked at by itself, and soon.
    append(&engine, "metrics", &[later(9.0, 1)]).await;
    let happened = async |count: usize| {
        for _ in 0..1_000 {
            if engine
                .session(&who, &[])
                .await
                .unwrap()
                .version(&dataset_name("alert_events"))
                .is_some()
            {
                let events = rows(&engine, EVENTS).await;
                if events.len() >= count {
                    return events;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Vec::new()
    };
    assert_eq!(happened(1).await, ["firing high"]);
    let state = runner.alert(&who, "high").await.unwrap();
    assert_eq!((state.firing, state.pending), (1, 0));
    for run in runner.acknowledge_alert(&who, ("high", "series=a"), "mine").await.unwrap() {
        run.wait().await.unwrap();
    }
    assert_eq!(happened(2).await, ["firing high", "acknowledged high"]);
    let alerts = "SELECT state, acknowledged_by, comment FROM alerts";
    assert_eq!(rows(&engine, alerts).await, ["acknowledged local mine"]);
    // An alert that is silenced is there, and nobody is told.
    let silence = |name: &str, until: &str| {
        let silence = json!({ "name": name, "rules": ["low"], "from": "2026-01-01T00:00:00Z", "until": until,
            "reason": "known", "by": "", "created_at": "2026-01-01T00:00:00Z" });
        serde_json::from_value::<Silence>(silence).unwrap()
    };
    let made = runner.silence_alerts(&who, silence("quiet", "2100-01-01T00:00:00Z")).await.unwrap();
    assert_eq!(made.by, "local");
    append(&engine, "metrics", &[later(-1.0, 2)]).await;
    let events = happened(4).await;
    for event in ["firing low", "resolved high"] {
        assert!(events.iter().any(|it| it == event), "{events:?}");
    }
    assert_eq!(
        rows(&engine, "SELECT rule FROM alert_outbox ORDER BY known_at").await,
        ["high", "high", "high"]
    );
    assert_eq!(
        rows(&engine, "SELECT state, silenced_by FROM alerts WHERE rule = 'low'").await,
        ["firing quiet"]
    );
    // Its end is told.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let ended = runner.end_silence(&who, "quiet").await.unwrap();
    assert!(ended.until <= now());
    let told = "SELECT rule FROM alert_outbox ORDER BY known_at";
    for _ in 0..1_000 {
        if rows(&engine, told).await.len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rows(&engine, told).await, ["high", "high", "high", "low"]);
    assert!(runner.silences(&who).await.unwrap().is_empty());
    // One that looks elsewhere ends what it fired.
    let (last, runs) = runner.remove_alert(&who, "low").await.unwrap();
    assert_eq!(last.firing, 1);
    for run in runs {
        run.wait().await.unwrap();
    }
    assert!(rows(&engine, "SELECT state FROM alerts WHERE rule = 'low'").await.is_empty());
    let over = "SELECT note FROM alert_events WHERE rule = 'low' AND event = 'resolved'";
    assert_eq!(rows(&engine, over).await.len(), 1);
    assert_eq!(runner.schedules(&who).await.unwrap().len(), 1);
    runner.remove_alert(&who, "high").await.unwrap();
    assert!(runner.schedules(&who).await.unwrap().is_empty());
    for (error, says) in [
        (runner.alert(&who, "hihg").await.map(drop), "there is none"),
        (runner.end_silence(&who, "quiet").await.map(drop), "none of that name that is not over"),
        (runner.acknowledge_alert(&who, ("x", ""), "").await.map(drop), "no such alert"),
        (
            runner.silence_alerts(&who, silence("b", "2025-01-01T00:00:00Z")).await.map(drop),
            "silence b: ",
        ),
    ] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_moves_leaves_no_schedule_behind() {
    let (engine, who) = (engine().await, Principal::local());
    append(&engine, "metrics", &[later(1.0, 0)]).await;
    append(&engine, "others", &[later(1.0, 0)]).await;
    let runner = started(&engine).await;
    let on = |name: &str, dataset: &str| {
        of(name, &json!({ "dataset": dataset, "condition": "value > 5", "time": "at" }))
    };
    let schedules = async || {
        let all = runner.schedules(&who).await.unwrap();
        all.into_iter().map(|state| state.schedule.name).collect::<Vec<_>>()
    };
    define(&runner, &[on("a", "metrics"), on("b", "metrics")]).await.unwrap();
    define(&runner, &[on("a", "others")]).await.unwrap();
    assert_eq!(schedules().await, ["alerts-metrics", "alerts-others"]);
    define(&runner, &[on("b", "others")]).await.unwrap();
    assert_eq!(schedules().await, ["alerts-others"]);
    runner.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_nothing_is_made() {
    let options = engine::EngineOptions {
        root: "memory:".into(),
        expected: crate::expected_datasets().unwrap(),
        ..engine::EngineOptions::default()
    };
    let (engine, who) = (engine::Engine::open(options).await.unwrap(), Principal::local());
    append(&engine, "metrics", &[later(1.0, 0)]).await;
    let runner = started(&engine).await;
    let good = of("good", &json!({ "dataset": "metrics", "condition": "value > 5" }));
    let bad = of("bad", &json!({ "dataset": "metrics", "condition": "valeu > 5" }));
    // One that Colonnade makes may be yet to come.
    let early = of("early", &json!({ "dataset": "insights", "condition": "severity > 5" }));
    let never = of("never", &json!({ "dataset": "other", "condition": "x > 5" }));
    // One that no row that is there can be held against.
    let none = of("none", &json!({ "dataset": "metrics", "condition": "CAST(series AS INT) > 5" }));
    let refused = runner.check_alerts(&who, std::slice::from_ref(&none)).await.unwrap_err();
    let says = refused.to_string();
    assert!(says.contains("alert none: it can't be computed of 1 row, of none it can: "), "{says}");
    for asked in [
        vec![good.clone(), bad],
        vec![good.clone(), none],
        vec![good.clone(), good.clone()],
        vec![good.clone(), never],
    ] {
        assert!(runner.check_alerts(&who, &asked).await.is_err());
        assert!(define(&runner, &asked).await.is_err());
    }
    assert!(runner.alerts(&who).await.unwrap().is_empty());
    assert_eq!(define(&runner, &[early]).await.unwrap(), [Applied::Added]);
    let reader = Principal::new(who.tenant.clone(), "reader", &[Role::Reader]);
    assert_eq!(runner.define_alerts(&reader, &[good]).await.err().unwrap().code(), Code::Forbidden);
    runner.shutdown().await;
}

#[test]
fn definitions_are_read_and_refused_by_name() {
    let good = "[[alert]]\nname = \"a\"\ndataset = \"d\"\ncondition = \"x > 1\"\nfor = \"5m\"\n\n[alert.labels]\nteam = \"ops\"\n";
    let read = AlertDefinition::from_toml(good, "a.toml").unwrap();
    assert_eq!((read[0].name(), read[0].rule.hold.us()), ("a", 300_000_000));
    assert_eq!(read[0].rule.labels["team"], "ops");
    let long = "d".repeat(57);
    for (text, says) in [
        ("", "a.toml: expected 1 to 500 tables [[alert]], found 0"),
        ("[[alerts]]\n", "expected tables [[alert]] and nothing else, found \"alerts\""),
        ("alert = 1\n", "expected alert as tables [[alert]]"),
        ("[[alert]]\ndataset = \"a\"\n", "[[alert]] 1: expected a text as `name`"),
        ("[[alert]]\nname = \"a\"\n", "alert a: dataset: expected the dataset"),
        ("[[alert]]\nname = \"a\"\ndataset = \"d\"\n", "alert a: condition: "),
        (
            "[[alert]]\nname = \"a\"\ndataset = \"d\"\ncondition = \"x > 1\"\nfro = \"5m\"\n",
            "unknown field `fro`",
        ),
        (
            &format!("[[alert]]\nname = \"a\"\ndataset = \"{long}\"\ncondition = \"x > 1\"\n"),
            "at most 56 bytes",
        ),
    ] {
        let error = AlertDefinition::from_toml(text, "a.toml").unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}
