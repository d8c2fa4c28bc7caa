//! A backfill of ninety days, whoever looks at it and whatever is killed meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::util::display::array_value_to_string;
use engine::{Code, Engine, Principal};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use super::{Backfill, Every, Progress, fire_due};
use crate::control::{Asked, Lease, Verdict, Wants};
use crate::run::record::{RunFilter, RunState, now};
use crate::run::records::records_of;
use crate::run::runner::{Runner, RunnerOptions, Takes};
use crate::testing::{append, engine, engine_at, sampled};

const QUERY: &str = "SELECT date_trunc('day', at) AS day, count(*) AS points, sum(value) AS total FROM metrics \
                     WHERE at >= $from AND at < $to GROUP BY date_trunc('day', at)";

fn params() -> Value {
    json!({"query": QUERY, "output": "by_day", "time_column": "day", "mode": "partition"})
}

fn days(from: &str, to: &str) -> Backfill {
    Backfill {
        name: Some("by-day".into()),
        job: "sql".into(),
        params: params(),
        gpu: None,
        from: from.into(),
        to: to.into(),
        every: Every::Day,
        zone: "UTC".into(),
        at_once: 4,
    }
}

/// Four points of each day from 2026-01-01 on.
async fn points(engine: &Engine, days: usize) {
    let values = (0..days * 4).map(|at| (at % 17) as f64).collect();
    append(engine, "metrics", &[sampled("a", 21_600, values)]).await;
}

async fn rows(engine: &Engine, query: &str) -> Vec<String> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame = session.query(&engine::SqlQuery::parse(query).unwrap(), &BTreeMap::new()).await;
    let mut rows = Vec::new();
    for batch in session.collect(frame.unwrap()).await.unwrap() {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|of| array_value_to_string(of, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

async fn worker(engine: &Engine, takes: Takes) -> Runner {
    let options =
        RunnerOptions { gpu: GpuPolicy::Off, threads: 1, takes, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

async fn progress(runner: &Runner) -> Progress {
    runner.schedule(&Principal::local(), "by-day").await.unwrap().progress.unwrap()
}

async fn until(runner: &Runner, is_it: impl Fn(&Progress) -> bool) -> Progress {
    let begun = Instant::now();
    loop {
        let progress = progress(runner).await;
        if is_it(&progress) {
            return progress;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "stuck at {progress:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_has_one_run_and_few_are_open_whoever_looks() {
    let engine = engine().await;
    points(&engine, 40).await;
    // They work at nothing, so that what is open stays so.
    let (one, other) = (worker(&engine, Takes::Own).await, worker(&engine, Takes::Own).await);
    // Two runners on a root in memory have a database each.
    drop(other);
    let who = Principal::local();
    let begun = one.backfill(&who, &days("2026-01-01", "2026-01-30")).await.unwrap();
    assert_eq!(begun.progress, Some(Progress { total: 30, ..Progress::default() }));
    let (store, mut ended) = (one.store(), 0);
    store.join("hand", "by hand", Some(9), None, 1).await.unwrap();
    while ended < 30 {
        let now = now();
        let (a, b, c) = tokio::join!(fire_due(&one, now), fire_due(&one, now), fire_due(&one, now));
        for looked in [a, b, c] {
            looked.unwrap();
        }
        let open = progress(&one).await.open;
        assert!((1..=4).contains(&open), "{open} are open");
        let wants = Wants {
            worker: "hand".into(),
            now_us: now.timestamp_micros(),
            free_bytes: i64::MAX,
            device: None,
            of_job_max: Vec::new(),
            of_tenant_max: 9,
            only_kept: false,
        };
        let entry = store.claim(&wants).await.unwrap().unwrap();
        let lease = Lease { id: entry.id.clone(), worker: "hand".into(), attempt: entry.attempt };
        // Each tenth fails.
        ended += 1;
        let state = if ended % 10 == 0 { "failed" } else { "succeeded" };
        let verdict = Verdict::Ended { state, ended_us: 1, worked_us: 1, cost: None };
        assert!(store.settle(&lease, verdict, &entry.document).await.unwrap());
    }
    assert_eq!(fire_due(&one, now()).await.unwrap(), 0);
    assert_eq!(progress(&one).await.says(), "27 of 30, 3 failed");
    let asked = Asked { limit: 1_000, ..Asked::default() };
    let runs = records_of(&store.list("default", &asked).await.unwrap());
    assert_eq!(runs.len(), 30);
    assert!(runs.iter().all(|run| run.priority < 0 && run.schedule.as_deref() == Some("by-day")));
    // A failed one that is retried by itself counts for its day, and once.
    let failed = runs.iter().find(|run| run.state == RunState::Failed).unwrap();
    let retried = one.retry(&who, failed.id).await.unwrap();
    assert_eq!(retried.record().logical_time, failed.logical_time);
    // Who asks for it works at it.
    assert_eq!(retried.wait().await.unwrap().state, RunState::Succeeded);
    assert_eq!(progress(&one).await, Progress { total: 30, done: 28, failed: 2, open: 0 });
    assert_eq!(one.retry(&who, failed.id).await.unwrap().record().schedule, None);
    // Of the others each has another run, and what was done has none.
    one.backfill(&who, &days("2026-01-01", "2026-01-30")).await.unwrap();
    assert_eq!(fire_due(&one, now()).await.unwrap(), 2);
    assert_eq!(progress(&one).await, Progress { total: 30, done: 28, failed: 0, open: 2 });
    assert_eq!(fire_due(&one, now()).await.unwrap(), 0);
    // It rests, goes on, and goes.
    assert!(one.pause_schedule(&who, "by-day").await.unwrap().is_paused);
    assert!(!one.resume_schedule(&who, "by-day").await.unwrap().is_paused);
    one.remove_schedule(&who, "by-day").await.unwrap();
    assert!(one.schedules(&who).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backfill_can_not_be_is_told_before_it_begins() {
    let engine = engine().await;
    points(&engine, 4).await;
    let runner = worker(&engine, Takes::Own).await;
    let who = Principal::local();
    let right = || days("2026-01-01", "2026-03-31");
    let with = |more: Value| {
        let mut params = params();
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Backfill { params, ..right() }
    };
    let blind = json!({"query": "SELECT at AS day FROM metrics"});
    for (wrong, says) in [
        (days("2026-03-31", "2026-01-01"), "expected the first day before the last one"),
        (days("1980-01-01", "2026-01-01"), "at most 10000 partitions"),
        (
            days("2026-1", "2026-01-01"),
            "from: expected a day, such as 2026-01-31, found \"2026-1\"",
        ),
        (Backfill { zone: "Europe/Berlln".into(), ..right() }, "Europe/Berlin"),
        (Backfill { at_once: 0, ..right() }, "runs at once: expected 1 to 100"),
        (
            Backfill { job: "promote".into(), ..right() },
            "has no partitions; expected one of exec, sql",
        ),
        (with(blind), "found no $from"),
        (with(json!({"mode": "replace"})), "would take the place of all the others"),
        (with(json!({"mode": "append"})), "would be there twice"),
        (with(json!({"time_column": null})), "expected `time_column`"),
        (with(json!({"values": {"from": "x"}})), "it is the partition's"),
        (with(json!({"query": QUERY.replace("metrics", "metrix")})), "metrix"),
    ] {
        let error = runner.backfill(&who, &wrong).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error} does not say {says:?}");
    }
    runner.backfill(&who, &right()).await.unwrap();
    let other = runner.backfill(&who, &days("2026-01-01", "2026-03-30")).await.unwrap_err();
    assert_eq!(other.code(), Code::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_partition_is_refused_and_a_repeat_touches_its_own_alone() {
    let engine = engine().await;
    points(&engine, 4).await;
    let runner = worker(&engine, Takes::All).await;
    let who = Principal::local();
    let done = until_over(&runner, &who, &days("2026-01-01", "2026-01-04")).await;
    assert_eq!(done, Progress { total: 4, done: 4, failed: 0, open: 0 });
    let direct = rows(&engine, &direct()).await;
    assert_eq!(rows(&engine, "SELECT day, points, total FROM by_day").await, direct);
    // More comes, and two of the days are made again.
    points(&engine, 4).await;
    let again = Backfill { name: Some("again".into()), ..days("2026-01-02", "2026-01-03") };
    until_over(&runner, &who, &again).await;
    let made = rows(&engine, "SELECT points FROM by_day").await;
    assert_eq!(made, ["4", "4", "8", "8"]);
    // A query that gives the rows of other days.
    let stray = QUERY.replace("date_trunc('day', at) AS day", "date_trunc('month', at) AS day");
    let stray = stray.replace("GROUP BY date_trunc('day', at)", "GROUP BY date_trunc('month', at)");
    let mut params = params();
    params["query"] = stray.into();
    let stray = Backfill { name: Some("stray".into()), params, ..days("2026-01-02", "2026-01-02") };
    assert_eq!(until_over(&runner, &who, &stray).await.failed, 1);
    let runs = runner.list(&who, RunFilter { limit: 1, ..RunFilter::default() }).await.unwrap();
    let error = &runs[0].error.as_ref().unwrap().message;
    assert!(error.contains("found a row of 2026-01-01T00:00:00Z"), "{error}");
    assert_eq!(rows(&engine, "SELECT points FROM by_day").await, made);
    runner.shutdown().await;
}

fn direct() -> String {
    QUERY.replace(" WHERE at >= $from AND at < $to", "")
}

async fn until_over(runner: &Runner, who: &Principal, backfill: &Backfill) -> Progress {
    let begun = runner.backfill(who, backfill).await.unwrap();
    let waiting = Instant::now();
    loop {
        let state = runner.schedule(who, &begun.schedule.name).await.unwrap();
        let progress = state.progress.unwrap();
        if progress.is_over() {
            return progress;
        }
        assert!(waiting.elapsed() < Duration::from_secs(60), "stuck at {progress:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ninety_days_are_made_once_by_two_processes_one_of_which_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (engine_at(folder.path()).await, engine_at(folder.path()).await);
    points(&here, 90).await;
    let (one, other) = (worker(&here, Takes::All).await, worker(&there, Takes::All).await);
    let who = Principal::local();
    one.backfill(&who, &days("2026-01-01", "2026-03-31")).await.unwrap();
    until(&one, |progress| progress.done >= 20).await;
    one.shutdown().await;
    let done = until(&other, Progress::is_over).await;
    assert_eq!(done, Progress { total: 90, done: 90, failed: 0, open: 0 });
    let runs = RunFilter { limit: 1_000, ..RunFilter::default() };
    let runs = other.list(&who, runs).await.unwrap();
    assert_eq!(runs.len(), 90);
    let commits = there.history(&who, &"by_day".parse().unwrap(), 1_000).await.unwrap();
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for run in commits.iter().filter_map(|commit| commit.run_id) {
        *effects.entry(run.to_string()).or_default() += 1;
    }
    assert_eq!((effects.len(), effects.values().max()), (90, Some(&1)));
    assert_eq!(
        rows(&there, "SELECT day, points, total FROM by_day").await,
        rows(&there, &direct()).await
    );
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_that_is_asked_for_at_once_is_one_and_another_is_told_apart() {
    let engine = engine().await;
    points(&engine, 10).await;
    let (runner, who) = (worker(&engine, Takes::Own).await, Principal::local());
    let asked = days("2026-01-01", "2026-01-05");
    let begun = futures::future::join_all((0..8).map(|_| runner.backfill(&who, &asked))).await;
    for state in begun {
        assert_eq!(state.unwrap().schedule.name, "by-day");
    }
    assert_eq!(runner.schedules(&who).await.unwrap().len(), 1);
    let mut other = params();
    other["query"] = format!("{QUERY} ").into();
    let refused = runner.backfill(&who, &Backfill { params: other, ..asked }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Conflict);
    assert!(refused.to_string().contains("2026-01-05 UTC, with another query)"), "{refused}");
    runner.shutdown().await;
}
