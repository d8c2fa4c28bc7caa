#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use engine::{Code, Engine, Principal, Role};
use kernels::GpuPolicy;
use serde_json::json;

use super::{Schedule, fire_due, times_of};
use crate::control::{Asked, ScheduleEntry};
use crate::run::record::{RunFilter, RunState};
use crate::run::records::records_of;
use crate::run::runner::{Runner, RunnerOptions, Takes};
use crate::testing::{append, engine, sampled};

/// A runner that works at nothing, so that what is queued stays there.
async fn idle(engine: &Engine) -> Runner {
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        takes: Takes::Own,
        queue_runs_max: 100_000,
        ..RunnerOptions::default()
    };
    Runner::start(engine.clone(), options).await.unwrap()
}

fn schedule(name: &str, cron: &str, zone: &str) -> Schedule {
    Schedule {
        name: name.into(),
        job: "anomalies".into(),
        params: json!({}),
        gpu: None,
        cron: cron.into(),
        zone: zone.into(),
        catch_up: "all".into(),
        jitter_seconds: 0,
        priority: 0,
        created_by: String::new(),
        created_at: DateTime::UNIX_EPOCH,
    }
}

/// A schedule that was made at `from`.
async fn made_at(runner: &Runner, schedule: Schedule, from: DateTime<Utc>) {
    let entry = ScheduleEntry {
        tenant: "default".into(),
        name: schedule.name.clone(),
        is_paused: false,
        up_to_us: from.timestamp_micros(),
        missed: 0,
        document: serde_json::to_string(&schedule).unwrap(),
    };
    assert!(runner.store().add_schedule(&entry).await.unwrap());
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The logical times of the runs that were queued for a schedule.
async fn logical_times(runner: &Runner, name: &str) -> Vec<String> {
    let asked = Asked { limit: 1_000_000, ..Asked::default() };
    let records = records_of(&runner.store().list("default", &asked).await.unwrap());
    let of = records.into_iter().rev().filter(|run| run.schedule.as_deref() == Some(name));
    of.map(|run| run.logical_time.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_runs_once_whoever_looks_at_the_clock_and_however_often() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let runner = idle(&engine).await;
    let (from, until) = (at("2026-03-01T00:00:00Z"), at("2026-04-15T00:00:00Z"));
    let daily = schedule("daily", "30 2 * * *", "Europe/Berlin");
    let often = schedule("often", "0 */6 * * *", "Australia/Lord_Howe");
    for one in [&daily, &often] {
        made_at(&runner, one.clone(), from).await;
    }
    // Several look at once, at odd moments, and now and then the clock jumps back.
    let mut now = from;
    let mut step = 1_i64;
    while now < until {
        step = (step * 7_919) % 200_003;
        now += TimeDelta::seconds(step);
        let back = now - TimeDelta::hours(1);
        let (a, b, c) =
            tokio::join!(fire_due(&runner, now), fire_due(&runner, now), fire_due(&runner, back));
        for looked in [a, b, c] {
            looked.unwrap();
        }
    }
    for one in [&daily, &often] {
        let times = logical_times(&runner, &one.name).await;
        let unique: BTreeSet<&String> = times.iter().collect();
        assert_eq!(unique.len(), times.len(), "{}", one.name);
        let expected: Vec<String> = times_of(&one.cron, &one.zone, from, 1_000)
            .unwrap()
            .into_iter()
            .filter(|time| time.at <= now)
            .map(|time| time.local)
            .collect();
        let mut times = times.clone();
        times.sort();
        let mut sorted = expected.clone();
        sorted.sort();
        assert_eq!(times, sorted, "{}", one.name);
    }
    // 02:30 is not there on that day, and its run is.
    let berlin = logical_times(&runner, "daily").await;
    assert!(berlin.contains(&"2026-03-29T02:30:00+01:00".to_owned()), "{berlin:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_made_up_for_as_the_schedule_says() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let runner = idle(&engine).await;
    let from = at("2026-05-01T12:30:00Z");
    for catch_up in ["none", "latest", "all"] {
        let hourly =
            Schedule { catch_up: catch_up.into(), ..schedule(catch_up, "0 * * * *", "UTC") };
        made_at(&runner, hourly, from).await;
    }
    // Three days of nobody.
    fire_due(&runner, at("2026-05-04T12:30:00Z")).await.unwrap();
    assert_eq!(logical_times(&runner, "none").await, Vec::<String>::new());
    assert_eq!(logical_times(&runner, "latest").await, ["2026-05-04T12:00:00+00:00"]);
    assert_eq!(logical_times(&runner, "all").await.len(), 72);
    let missed =
        async |name: &str| runner.schedule(&Principal::local(), name).await.unwrap().missed;
    assert_eq!((missed("none").await, missed("latest").await, missed("all").await), (72, 71, 0));
    // On time again.
    fire_due(&runner, at("2026-05-04T13:00:02Z")).await.unwrap();
    for (name, runs) in [("none", 1), ("latest", 2), ("all", 73)] {
        assert_eq!(logical_times(&runner, name).await.len(), runs, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_told_when_it_is_made() {
    let engine = engine().await;
    let runner = idle(&engine).await;
    let who = Principal::local();
    let right = schedule("nightly", "0 2 * * *", "Europe/Berlin");
    for (wrong, says) in [
        (Schedule { cron: "0 0 30 2 *".into(), ..right.clone() }, "never ticks"),
        (Schedule { cron: "0 2 * *".into(), ..right.clone() }, "expected 5 fields"),
        (Schedule { zone: "Europe/Berlln".into(), ..right.clone() }, "Europe/Berlin"),
        (Schedule { catch_up: "some".into(), ..right.clone() }, "none, latest or all"),
        (Schedule { name: "Nightly".into(), ..right.clone() }, "lower-case letters"),
        (Schedule { jitter_seconds: 3_601, ..right.clone() }, "at most 3600 s"),
        (Schedule { job: "anomaly".into(), ..right.clone() }, "expected one of anomalies"),
        (Schedule { params: json!({"treshold": 3}), ..right.clone() }, "did you mean threshold"),
        (
            Schedule { params: json!({"output": "metrics"}), ..right.clone() },
            "writes to its own input metrics",
        ),
    ] {
        let error = runner.add_schedule(&who, wrong).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error} does not say {says:?}");
    }
    let made = runner.add_schedule(&who, right.clone()).await.unwrap();
    assert_eq!(made.schedule.created_by, who.subject);
    assert!(made.next_at.is_some() && !made.is_paused);
    let twice = runner.add_schedule(&who, right.clone()).await.unwrap_err();
    assert_eq!(twice.code(), Code::Conflict);
    let none = runner.pause_schedule(&who, "nightli").await.unwrap_err();
    assert!(none.to_string().contains("did you mean nightly?"), "{none}");
    let reader = Principal { roles: vec![Role::Reader], ..Principal::local() };
    assert_eq!(runner.add_schedule(&reader, right).await.unwrap_err().code(), Code::Forbidden);
    let stranger = Principal { tenant: "acme".parse().unwrap(), ..Principal::local() };
    assert!(runner.schedules(&stranger).await.unwrap().is_empty());
    assert_eq!(
        runner.remove_schedule(&stranger, "nightly").await.unwrap_err().code(),
        Code::NotFound
    );
    let paused = runner.pause_schedule(&who, "nightly").await.unwrap();
    assert_eq!((paused.is_paused, paused.next_at), (true, None));
    assert_eq!(runner.next_times(&who, "nightly", 10).await.unwrap().len(), 10);
    assert!(!runner.resume_schedule(&who, "nightly").await.unwrap().is_paused);
    runner.remove_schedule(&who, "nightly").await.unwrap();
    assert!(runner.schedules(&who).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_whose_run_can_not_begin_has_a_record_that_says_why() {
    let engine = engine().await;
    let runner = idle(&engine).await;
    made_at(&runner, schedule("early", "0 * * * *", "UTC"), at("2026-05-01T00:30:00Z")).await;
    assert_eq!(fire_due(&runner, at("2026-05-01T01:00:01Z")).await.unwrap(), 1);
    let runs = runner.list(&Principal::local(), RunFilter::default()).await.unwrap();
    let [run] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((run.state, run.params.clone()), (RunState::Failed, json!({})));
    let error = run.error.as_ref().unwrap();
    assert_eq!(error.code, "NOT_FOUND");
    assert!(error.message.contains("metrics"), "{}", error.message);
    assert_eq!(run.logical_time.as_deref(), Some("2026-05-01T01:00:00+00:00"));
}
