//! Immediate actions on schedules, and clocks that were wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use engine::{Code, Engine, Principal};
use kernels::GpuPolicy;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Backfill, Every, Schedule, Trigger, fire_due};
use crate::kinds::Jobs;
use crate::run::clock::Clock;
use crate::run::record::{Routine, RunFilter, RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions, Takes};
use crate::testing::{Does, append, engine, rows, sampled};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn hourly(name: &str, job: &str, params: Value, catch_up: &str) -> Schedule {
    Schedule {
        name: name.into(),
        job: job.into(),
        params,
        gpu: None,
        steps: Vec::new(),
        trigger: Trigger::Clock {
            cron: "0 * * * *".into(),
            zone: "UTC".into(),
            catch_up: catch_up.into(),
            jitter_seconds: 0,
        },
        priority: 0,
        created_by: String::new(),
        created_at: DateTime::UNIX_EPOCH,
    }
}

/// A runner whose clock the test controls.
async fn at_clock(engine: &Engine, takes: Takes) -> (Runner, Arc<Mutex<DateTime<Utc>>>) {
    let shows = Arc::new(Mutex::new(at("2026-05-01T10:30:00Z")));
    let of = shows.clone();
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        takes,
        clock: Clock::new(move || *of.lock()),
        jobs: Jobs::default().with(Does::new("nothing", || async {})),
        ..RunnerOptions::default()
    };
    (Runner::start(engine.clone(), options).await.unwrap(), shows)
}

async fn runs_of(runner: &Runner, schedule: &str) -> Vec<RunRecord> {
    let filter = RunFilter { limit: 1_000, ..RunFilter::default() };
    let mut runs = runner.list(&Principal::local(), filter).await.unwrap();
    runs.retain(|run| run.schedule.as_deref() == Some(schedule));
    runs.reverse();
    runs
}

async fn ended(runner: &Runner, run: &RunRecord) -> RunRecord {
    let followed = runner.follow(&Principal::local(), run.id).await.unwrap();
    followed.wait().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_days_ahead_stops_no_schedule() {
    let engine = engine().await;
    let (runner, shows) = at_clock(&engine, Takes::Own).await;
    let who = Principal::local();
    runner.add_schedule(&who, hourly("h", "nothing", json!({}), "latest")).await.unwrap();
    *shows.lock() = at("2026-05-04T10:30:10Z");
    fire_due(&runner, runner.now()).await.unwrap();
    assert_eq!(runs_of(&runner, "h").await.len(), 1);
    // The clock is right again.
    *shows.lock() = at("2026-05-01T10:31:00Z");
    let next = at("2026-05-01T11:00:00Z");
    for _ in 0..2 {
        assert_eq!(runner.schedule(&who, "h").await.unwrap().next_at, Some(next));
        assert_eq!(runner.next_times(&who, "h", 1).await.unwrap()[0].at, next);
        fire_due(&runner, runner.now()).await.unwrap();
    }
    assert_eq!(runs_of(&runner, "h").await.len(), 1);
    for hour in 11..15 {
        *shows.lock() = at(&format!("2026-05-01T{hour}:00:01Z"));
        assert_eq!(fire_due(&runner, runner.now()).await.unwrap(), 1, "{hour}");
    }
    // A time that already ran while the clock was ahead does not run again.
    *shows.lock() = at("2026-05-04T10:00:01Z");
    fire_due(&runner, runner.now()).await.unwrap();
    let times: Vec<String> =
        runs_of(&runner, "h").await.into_iter().map(|run| run.logical_time.unwrap()).collect();
    let ahead = times.iter().filter(|time| time.starts_with("2026-05-04T10:00")).count();
    assert_eq!(ahead, 1, "{times:?}");
    // A few seconds between the clocks of two servers move no schedule back.
    *shows.lock() = at("2026-05-04T11:00:01Z");
    assert_eq!(fire_due(&runner, runner.now()).await.unwrap(), 1);
    let up_to = runner.entry_of(&who, "h").await.unwrap().unwrap().up_to;
    *shows.lock() = at("2026-05-04T10:59:58Z");
    fire_due(&runner, runner.now()).await.unwrap();
    assert_eq!(runner.entry_of(&who, "h").await.unwrap().unwrap().up_to, up_to);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_runs_now_and_its_next_time_is_reset() {
    let engine = engine().await;
    let (runner, shows) = at_clock(&engine, Takes::Own).await;
    let who = Principal::local();
    runner.add_schedule(&who, hourly("h", "nothing", json!({}), "all")).await.unwrap();
    let run = runner.run_schedule(&who, "h").await.unwrap();
    let [queued] = &runs_of(&runner, "h").await[..] else { panic!("expected one run") };
    assert_eq!((queued.id, queued.state), (run, RunState::Queued));
    assert_eq!(queued.logical_time.as_deref(), Some("by hand at 2026-05-01T10:30:00+00:00"));
    assert_eq!(runner.run_schedule(&who, "h").await.unwrap_err().code(), Code::Conflict);
    // The schedule's times do not change, even while it is paused.
    runner.pause_schedule(&who, "h").await.unwrap();
    *shows.lock() = at("2026-05-01T10:40:00Z");
    runner.run_schedule(&who, "h").await.unwrap();
    runner.resume_schedule(&who, "h").await.unwrap();
    let next = runner.schedule(&who, "h").await.unwrap().next_at;
    assert_eq!(next, Some(at("2026-05-01T11:00:00Z")));
    // After a reset, missed times are not made up for.
    *shows.lock() = at("2026-05-01T15:30:00Z");
    let reset = runner.reset_schedule(&who, "h").await.unwrap();
    assert_eq!(reset.next_at, Some(at("2026-05-01T16:00:00Z")));
    assert_eq!(fire_due(&runner, runner.now()).await.unwrap(), 0);
    let none = runner.run_schedule(&who, "nope").await.unwrap_err();
    assert_eq!(none.code(), Code::NotFound);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scheduled_append_adds_rows_and_a_repeated_command_adds_none() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let (runner, shows) = at_clock(&engine, Takes::All).await;
    let who = Principal::local();
    let params = json!({
        "query": "SELECT count(*) AS n FROM metrics", "output": "ap", "mode": "append",
    });
    runner.add_schedule(&who, hourly("h", "sql", params.clone(), "all")).await.unwrap();
    *shows.lock() = at("2026-05-01T13:30:00Z");
    fire_due(&runner, runner.now()).await.unwrap();
    let runs = runs_of(&runner, "h").await;
    assert_eq!(runs.len(), 3);
    for run in &runs {
        let run = ended(&runner, run).await;
        assert_eq!((run.state, run.repeated_of), (RunState::Succeeded, None), "{run:?}");
    }
    assert_eq!(rows(&engine, "SELECT n FROM ap").await, ["50", "50", "50"]);
    // The same work twice by command adds its rows once, and the second run says so.
    let request = RunRequest { job: "sql".into(), params, ..RunRequest::default() };
    let first = runner.submit(&who, request.clone()).await.unwrap().wait().await.unwrap();
    let second = runner.submit(&who, request).await.unwrap().wait().await.unwrap();
    assert_eq!(first.nothing_written(), None);
    assert_eq!(second.nothing_written(), Some(first.id));
    assert_eq!(second.outcome(), format!("nothing written, same as {}", first.id));
    assert_eq!(rows(&engine, "SELECT count(*) FROM ap").await, ["4"]);
    // A job that replaces finds its earlier results, and the schedule says so.
    let params = json!({ "query": "SELECT count(*) AS n FROM metrics", "output": "re" });
    runner.add_schedule(&who, hourly("r", "sql", params, "latest")).await.unwrap();
    for hour in ["14", "15"] {
        *shows.lock() = at(&format!("2026-05-01T{hour}:00:01Z"));
        fire_due(&runner, runner.now()).await.unwrap();
        ended(&runner, runs_of(&runner, "r").await.last().unwrap()).await;
    }
    let made = runs_of(&runner, "r").await[0].id;
    assert_eq!(runner.schedule(&who, "r").await.unwrap().last_same_as, Some(made));
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backfill_has_no_open_partition_and_continues_on_request() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 21_600, vec![1.0; 40])]).await;
    let (runner, _) = at_clock(&engine, Takes::Own).await;
    let who = Principal::local();
    let query = "SELECT date_trunc('day', at) AS day, count(*) AS n FROM metrics WHERE at >= $from AND at < $to GROUP BY 1";
    let asked = Backfill {
        name: Some("days".into()),
        job: "sql".into(),
        params: json!({"query": query, "output": "d", "time_column": "day", "mode": "partition"}),
        gpu: None,
        from: "2026-01-01".into(),
        to: "2026-01-09".into(),
        every: Every::Day,
        zone: "UTC".into(),
        at_once: 3,
    };
    runner.backfill(&who, &asked).await.unwrap();
    fire_due(&runner, runner.now()).await.unwrap();
    let open = async || runner.schedule(&who, "days").await.unwrap().progress.unwrap().open;
    assert_eq!(open().await, 3);
    let cancelled = runner.cancel_backfill(&who, "days").await.unwrap();
    assert!(cancelled.is_paused);
    assert_eq!((open().await, cancelled.progress.unwrap().failed), (0, 3));
    fire_due(&runner, runner.now()).await.unwrap();
    assert_eq!(open().await, 0);
    runner.backfill(&who, &asked).await.unwrap();
    fire_due(&runner, runner.now()).await.unwrap();
    assert_eq!(open().await, 3);
    let reset = runner.reset_schedule(&who, "days").await.unwrap_err();
    assert!(reset.to_string().contains("is a backfill"), "{reset}");
    runner.add_schedule(&who, hourly("h", "nothing", json!({}), "all")).await.unwrap();
    let other = runner.cancel_backfill(&who, "h").await.unwrap_err();
    assert!(other.to_string().contains("expected a backfill"), "{other}");
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_over_a_dataset_that_nothing_writes_is_refused() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let (runner, _) = at_clock(&engine, Takes::Own).await;
    let who = Principal::local();
    let sql = |table: &str, output: &str| json!({ "query": format!("SELECT count(*) AS n FROM {table}"), "output": output });
    let refused = runner.add_schedule(&who, hourly("a", "sql", sql("metrcs", "x"), "all")).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.to_string().starts_with("schedule a: "), "{refused}");
    assert!(refused.to_string().contains("metrcs"), "{refused}");
    let anomalies = hourly("b", "anomalies", json!({ "dataset": "nothing" }), "all");
    assert_eq!(runner.add_schedule(&who, anomalies).await.unwrap_err().code(), Code::NotFound);
    // Another schedule may still write its dataset.
    runner.add_schedule(&who, hourly("c", "sql", sql("metrics", "counts"), "all")).await.unwrap();
    runner.add_schedule(&who, hourly("d", "sql", sql("counts", "more"), "all")).await.unwrap();
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routine_runs_are_listed_on_request() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let (runner, _) = at_clock(&engine, Takes::Own).await;
    let who = Principal::local();
    let rule = json!({ "name": "high", "condition": "value > 5", "time": "at" });
    for (job, params) in
        [("alerts", json!({ "dataset": "metrics", "rules": [rule] })), ("nothing", json!({}))]
    {
        let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
        let run = runner.submit(&who, request).await.unwrap().wait().await.unwrap();
        assert_eq!(run.state, RunState::Succeeded, "{run:?}");
    }
    let listed = async |filter: RunFilter| {
        let runs = runner.list(&who, filter).await.unwrap();
        runs.into_iter().map(|run| run.job).collect::<Vec<_>>()
    };
    let hidden = || RunFilter { routine: Routine::Hidden, ..RunFilter::default() };
    assert_eq!(listed(hidden()).await, ["nothing"]);
    assert_eq!(listed(RunFilter::default()).await, ["nothing", "alerts"]);
    let succeeded = Some(RunState::Succeeded);
    assert_eq!(listed(RunFilter { state: succeeded, ..hidden() }).await, ["nothing"]);
    assert_eq!(listed(RunFilter { job: Some("alerts".into()), ..hidden() }).await, ["alerts"]);
    runner.shutdown().await;
}
