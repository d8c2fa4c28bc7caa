#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use datasets::DatasetName;
use engine::{Code, Engine, Principal, Role};
use kernels::GpuPolicy;
use parking_lot::Mutex;
use serde_json::json;

use super::when::next_times;
use super::{Schedule, Trigger, fire_due};
use crate::control::{Asked, Lease, ScheduleEntry, Verdict, Wants};
use crate::kinds::Jobs;
use crate::run::clock::Clock;
use crate::run::record::{RunFilter, RunState};
use crate::run::records::records_of;
use crate::run::runner::{RunRequest, Runner, RunnerOptions, Takes};
use crate::testing::{Does, append, engine, sampled};

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

fn clock(cron: &str, zone: &str, catch_up: &str, jitter_seconds: u32) -> Trigger {
    Trigger::Clock {
        cron: cron.into(),
        zone: zone.into(),
        catch_up: catch_up.into(),
        jitter_seconds,
    }
}

fn schedule(name: &str, cron: &str, zone: &str) -> Schedule {
    Schedule {
        name: name.into(),
        job: "anomalies".into(),
        params: json!({}),
        gpu: None,
        steps: Vec::new(),
        trigger: clock(cron, zone, "all", 0),
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
        up_to: from.timestamp_micros(),
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
        let cron = one.trigger.times().unwrap().unwrap();
        let expected: Vec<String> = next_times(&cron, from, 1_000)
            .into_iter()
            .filter(|tick| tick.due <= now)
            .map(|tick| tick.logical)
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

/// The runner's clock is the one that counts, also for what is recorded of runs, and no time has a second run when it goes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_makes_no_run_twice() {
    let engine = engine().await;
    let shows = Arc::new(Mutex::new(at("2026-05-01T10:30:00Z")));
    let of = shows.clone();
    let options = RunnerOptions {
        clock: Clock::new(move || *of.lock()),
        jobs: Jobs::default().with(Does::new("nothing", || async {})),
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine, options).await.unwrap();
    let hourly = Schedule { job: "nothing".into(), ..schedule("hourly", "0 * * * *", "UTC") };
    let state = runner.add_schedule(&Principal::local(), hourly).await.unwrap();
    assert_eq!(state.schedule.created_at, at("2026-05-01T10:30:00Z"));
    for (now, runs) in [
        ("2026-05-01T10:59:59Z", 0),
        ("2026-05-01T11:00:01Z", 1),
        ("2026-05-01T10:10:00Z", 1),
        ("2026-05-01T11:00:30Z", 1),
        ("2026-05-01T12:00:05Z", 2),
        ("2026-05-01T11:00:02Z", 2),
        ("2026-05-01T13:00:00Z", 3),
    ] {
        *shows.lock() = at(now);
        fire_due(&runner, runner.now()).await.unwrap();
        let all = runner.list(&Principal::local(), RunFilter::default()).await.unwrap();
        assert_eq!(all.len(), runs, "{now}");
        let Some(newest) = all.first() else { continue };
        // At once, by a clock that stands.
        let handle = runner.follow(&Principal::local(), newest.id).await.unwrap();
        let ended = handle.wait().await.unwrap();
        assert_eq!(ended.state, RunState::Succeeded);
        assert_eq!(
            (ended.started_at, ended.finished_at),
            (Some(ended.requested_at), Some(ended.requested_at))
        );
        let local = ended.requested_at.format("%Y-%m-%dT%H:00:00").to_string();
        assert!(ended.logical_time.unwrap().starts_with(&local), "{local}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_made_up_for_as_the_schedule_says() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let runner = idle(&engine).await;
    let from = at("2026-05-01T12:30:00Z");
    for catch_up in ["none", "latest", "all"] {
        let hourly = Schedule {
            trigger: clock("0 * * * *", "UTC", catch_up, 0),
            ..schedule(catch_up, "0 * * * *", "UTC")
        };
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

/// More begins when some of it has ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_up_for_leaves_room_to_others() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        takes: Takes::Own,
        concurrent_runs: 2,
        queue_runs_max: 38,
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let hourly = Schedule {
        trigger: clock("0 * * * *", "UTC", "all", 0),
        ..schedule("hourly", "0 * * * *", "UTC")
    };
    made_at(&runner, hourly, at("2026-05-01T12:30:00Z")).await;
    for day in [24, 25] {
        fire_due(&runner, at(&format!("2026-05-{day}T13:00:02Z"))).await.unwrap();
        assert_eq!(logical_times(&runner, "hourly").await.len(), 30);
    }
    let who = Principal::local();
    let open = runner.list(&who, RunFilter { limit: 20, ..RunFilter::default() }).await.unwrap();
    for run in open {
        runner.cancel(&who, run.id).await.unwrap();
    }
    fire_due(&runner, at("2026-05-25T13:00:03Z")).await.unwrap();
    let times = logical_times(&runner, "hourly").await;
    assert_eq!((times.len(), times[49].as_str()), (50, "2026-05-03T14:00:00+00:00"));
    assert_eq!(runner.schedule(&who, "hourly").await.unwrap().missed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_told_when_it_is_made() {
    let engine = engine().await;
    let runner = idle(&engine).await;
    let who = Principal::local();
    let right = schedule("nightly", "0 2 * * *", "Europe/Berlin");
    send(&engine, 3).await;
    let waiting = |trigger| Schedule { trigger, ..right.clone() };
    for (wrong, says) in [
        (waiting(clock("0 0 30 2 *", "UTC", "all", 0)), "never ticks"),
        (waiting(clock("0 2 * *", "UTC", "all", 0)), "expected 5 fields"),
        (waiting(clock("0 2 * * *", "Europe/Berlln", "all", 0)), "Europe/Berlin"),
        (waiting(clock("0 2 * * *", "UTC", "some", 0)), "none, latest or all"),
        (Schedule { name: "Nightly".into(), ..right.clone() }, "lower-case letters"),
        (waiting(clock("0 2 * * *", "UTC", "all", 3_601)), "at most 3600 s"),
        (waiting(change("metrics", 0, 60)), "expected 1 to"),
        (waiting(change("metrics", 1, 604_801)), "at most 604800 s"),
        (waiting(change("metrix", 1, 60)), "did you mean metrics?"),
        (waiting(after("anomalis")), "did you mean anomalies?"),
        (waiting(after("nightly")), "for ever: nightly -> nightly"),
        (waiting(after("anomalies")), "for ever: nightly -> nightly"),
        (
            Schedule { job: "anomaly".into(), ..right.clone() },
            "expected one of accuracy, agents, alerts, anomalies",
        ),
        (Schedule { params: json!({"treshold": 3}), ..right.clone() }, "did you mean threshold"),
        (Schedule { params: json!({"value_column": "valeu"}), ..right.clone() }, "valeu"),
        (
            Schedule {
                job: "sql".into(),
                params: json!({"query": "SELECT nope FROM metrics", "output": "x"}),
                ..right.clone()
            },
            "there is no column \"nope\"",
        ),
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

fn change(dataset: &str, rows_min: u64, every_seconds: u32) -> Trigger {
    Trigger::Change { on_change: DatasetName::new(dataset).unwrap(), rows_min, every_seconds }
}

fn after(after: &str) -> Trigger {
    Trigger::After { after: after.into() }
}

/// So many points more, as one commit.
async fn send(engine: &Engine, points: usize) {
    append(engine, "metrics", &[sampled("a", 60, vec![1.0; points])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_that_changes_starts_a_run_when_enough_of_it_has() {
    let engine = engine().await;
    let who = Principal::local();
    send(&engine, 5).await;
    let one = idle(&engine).await;
    let schedule = Schedule { trigger: change("metrics", 10, 60), ..schedule("fresh", "", "") };
    let made = one.add_schedule(&who, schedule).await.unwrap();
    assert_eq!((made.next_at, made.missed), (None, 0));
    assert!(one.next_times(&who, "fresh", 3).await.unwrap().is_empty());
    let begun = at("2026-05-01T12:00:00Z");
    let later = |seconds| begun + TimeDelta::seconds(seconds);

    // What was there is no change, and less than ten rows are not enough.
    assert_eq!(fire_due(&one, begun).await.unwrap(), 0);
    send(&engine, 7).await;
    assert_eq!(fire_due(&one, begun).await.unwrap(), 0);
    send(&engine, 3).await;
    // Whoever looks, however many: one run.
    let looks = futures::future::join_all([&one, &one, &one, &one].map(|it| fire_due(it, begun)));
    assert_eq!(looks.await.into_iter().map(Result::unwrap).sum::<u64>(), 1);
    assert_eq!(logical_times(&one, "fresh").await, ["metrics@3"]);

    // The next not before a minute has passed, and then for all that came.
    send(&engine, 25).await;
    send(&engine, 20).await;
    assert_eq!(fire_due(&one, later(59)).await.unwrap(), 0);
    assert_eq!(fire_due(&one, later(60)).await.unwrap(), 1);
    assert_eq!(logical_times(&one, "fresh").await, ["metrics@3", "metrics@5"]);

    // Files that are put together are no change, and columns are none; a change while it rests is not made up for.
    engine.compact(&who, &DatasetName::new("metrics").unwrap()).await.unwrap();
    assert_eq!(fire_due(&one, later(600)).await.unwrap(), 0);
    one.pause_schedule(&who, "fresh").await.unwrap();
    send(&engine, 30).await;
    assert_eq!(fire_due(&one, later(700)).await.unwrap(), 0);
    one.resume_schedule(&who, "fresh").await.unwrap();
    assert_eq!(fire_due(&one, later(700)).await.unwrap(), 0);
    send(&engine, 10).await;
    assert_eq!(fire_due(&one, later(800)).await.unwrap(), 1);
    // A clock that went back puts nothing off, and rows that go are a change.
    let going = engine::Revision { going: engine::Going::All, coming: engine::Coming::Nothing };
    let label = engine::CommitLabel { operation: "delete".into(), ..Default::default() };
    engine.revise(&who, &DatasetName::new("metrics").unwrap(), going, label).await.unwrap();
    assert_eq!(fire_due(&one, begun).await.unwrap(), 0, "one row is not ten");
    send(&engine, 9).await;
    assert_eq!(fire_due(&one, begun).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_succeeds_starts_those_that_wait_for_it_once_each() {
    let engine = engine().await;
    let who = Principal::local();
    send(&engine, 60).await;
    let runner = idle(&engine).await;
    for (name, job, trigger) in [
        ("second", "correlate", after("first")),
        ("first", "anomalies", clock("0 * * * *", "UTC", "latest", 0)),
        ("any", "correlate", after("anomalies")),
    ] {
        let params = json!({"output": format!("of_{name}")});
        let schedule = Schedule { job: job.into(), params, trigger, ..schedule(name, "", "") };
        match name {
            // There is no such schedule yet.
            "second" => {
                let error = runner.add_schedule(&who, schedule).await.unwrap_err();
                assert!(error.to_string().contains("\"first\": expected the name"), "{error}");
            }
            _ => drop(runner.add_schedule(&who, schedule).await.unwrap()),
        }
    }
    let params = json!({"output": "of_second"});
    let second = Schedule {
        job: "correlate".into(),
        params,
        trigger: after("first"),
        ..schedule("second", "", "")
    };
    runner.add_schedule(&who, second.clone()).await.unwrap();
    // In a circle nothing would end.
    let params = json!({"output": "of_third"});
    let third =
        Schedule { params, trigger: change("of_second", 1, 0), ..schedule("third", "", "") };
    let error = runner.add_schedule(&who, third.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound, "{error}");

    // By hand: `any` waits for the kind, `second` for the schedule alone.
    let request = RunRequest { job: "anomalies".into(), ..RunRequest::default() };
    let by_hand = runner.submit(&who, request).await.unwrap().wait().await.unwrap();
    assert_eq!(by_hand.state, RunState::Succeeded, "{by_hand:?}");
    let now = Utc::now();
    assert_eq!(fire_due(&runner, now).await.unwrap(), 1);
    assert_eq!(logical_times(&runner, "any").await, [by_hand.id.to_string()]);
    assert!(logical_times(&runner, "second").await.is_empty());
    assert_eq!(fire_due(&runner, now).await.unwrap(), 0);

    let hour = now + TimeDelta::hours(1);
    assert_eq!(fire_due(&runner, hour).await.unwrap(), 1, "the clock's");
    // It and the one of `any` are done by somebody.
    let store = runner.store();
    store.join("w", "by hand", None, None, 0).await.unwrap();
    let wants = Wants {
        worker: "w".into(),
        now_us: i64::MAX,
        free_bytes: i64::MAX,
        device: None,
        of_job_max: Vec::new(),
        of_tenant_max: i64::MAX,
        only_kept: false,
    };
    while let Some(entry) = store.claim(&wants).await.unwrap() {
        let lease = Lease { id: entry.id, worker: "w".into(), attempt: entry.attempt };
        let verdict = Verdict::Ended { state: "succeeded", ended_us: 1, worked_us: 1, cost: None };
        assert!(store.settle(&lease, verdict, &entry.document).await.unwrap());
    }
    assert_eq!(fire_due(&runner, hour).await.unwrap(), 2, "for `second` and for `any`");
    assert_eq!(logical_times(&runner, "second").await.len(), 1);

    // What `second` writes is there by now.
    let spec = crate::kind("correlate").unwrap().outputs(&second.params).unwrap().remove(0);
    engine.ensure_derived(&who, &spec).await.unwrap();
    runner.add_schedule(&who, third).await.unwrap();
    assert_eq!(runner.remove_schedule(&who, "first").await.unwrap(), ["second"]);
    let first = Schedule {
        params: json!({"output": "of_first"}),
        trigger: after("third"),
        ..schedule("first", "", "")
    };
    let error = runner.add_schedule(&who, first).await.unwrap_err();
    assert!(error.to_string().contains("first -> second -> third -> first"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_schedule_needs_is_not_taken_from_it_in_silence() {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let (runner, who) = (idle(&engine).await, Principal::local());
    let metrics = DatasetName::new("metrics").unwrap();
    runner.add_schedule(&who, schedule("odd", "@daily", "UTC")).await.unwrap();
    let query =
        json!({"query": "SELECT at, max(value) AS top FROM metrics GROUP BY at", "output": "tops"});
    let tops = Schedule { job: "sql".into(), params: query, ..schedule("tops", "@daily", "UTC") };
    runner.add_schedule(&who, tops).await.unwrap();
    let refused =
        async |column: Option<&str>| match runner.require_unused(&who, &metrics, column).await {
            Ok(()) => None,
            Err(error) => {
                assert_eq!(error.code(), Code::Conflict);
                Some(error.to_string())
            }
        };
    // By name, by default, and as a word of a query.
    let says = refused(Some("value")).await.unwrap();
    assert_eq!(
        says,
        "column \"value\" of metrics is used by the schedule odd (job anomalies), the schedule tops (job sql); pause or change what uses it first"
    );
    assert!(
        refused(Some("series"))
            .await
            .unwrap()
            .ends_with("the schedule odd (job anomalies); pause or change what uses it first")
    );
    assert_eq!(refused(Some("valu")).await, None);
    assert!(refused(None).await.is_some());
    // What it makes is looked after as well.
    let tops = DatasetName::new("tops").unwrap();
    let says = runner.require_unused(&who, &tops, None).await.unwrap_err().to_string();
    assert!(says.starts_with("dataset tops is used by the schedule tops (job sql)"), "{says}");
    let other = DatasetName::new("tickets").unwrap();
    runner.require_unused(&who, &other, None).await.unwrap();
    for name in ["odd", "tops"] {
        runner.pause_schedule(&who, name).await.unwrap();
    }
    assert_eq!(refused(None).await, None);
}
