//! Requests with a key that are sent again.
#![allow(clippy::unwrap_used, clippy::panic)]

use engine::{Code, Engine, Principal, RunId};
use kernels::GpuPolicy;
use serde_json::json;

use super::requests::{AGAIN, queues};
use super::tests::{metrics, request, runner};
use super::{KeyedRequest, OpenRequest, Runner, RunnerOptions, Takes, part_of_request};
use crate::RunFilter;
use crate::schedules::Schedule;
use crate::testing::{append, engine};

/// Runs that may be queued.
const RUNS_MAX: usize = 12;

async fn open(runner: &Runner, key: &str) -> OpenRequest {
    for _ in 0..100 {
        match runner.begin_request(&Principal::local(), key, "question").await {
            Ok(KeyedRequest::New(open)) => return open,
            Ok(KeyedRequest::Answered(answer)) => panic!("it has an answer: {answer}"),
            // Its end is not stored yet.
            Err(error) => assert_eq!(error.code(), Code::Conflict, "{error}"),
        }
        tokio::time::sleep(AGAIN / 10).await;
    }
    panic!("it is being done for ever");
}

/// A runner that works at no run, and `metrics`.
async fn idle() -> (Engine, Runner) {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        takes: Takes::Own,
        concurrent_runs: 0,
        queue_runs_max: RUNS_MAX,
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    (engine, runner)
}

async fn count(runner: &Runner) -> usize {
    runner.list(&Principal::local(), RunFilter::default()).await.unwrap().len()
}

#[tokio::test]
async fn a_run_that_was_queued_without_an_answer_is_not_queued_again() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let (runner, who) = (runner(&engine).await, Principal::local());
    let submit = async |asked: OpenRequest| {
        let run = runner.submit(&who, request("anomalies", json!({})));
        (asked.doing(run).await.unwrap().id(), asked)
    };
    let (first, lost) = submit(open(&runner, "key").await).await;
    // The database broke off, so that the client heard of an error that may pass.
    lost.undone().await;
    let (second, lost) = submit(open(&runner, "key").await).await;
    lost.undone().await;
    let (third, answered) = submit(open(&runner, "key").await).await;
    answered.end("the answer").await;
    assert_eq!((second, third), (first, first));
    assert_eq!(count(&runner).await, 1);
    let again = runner.begin_request(&who, "key", "question").await.unwrap();
    assert!(matches!(again, KeyedRequest::Answered(answer) if answer == "the answer"));
}

#[tokio::test]
async fn a_run_that_the_database_commits_after_it_broke_off_is_found() {
    let (_engine, runner) = idle().await;
    let who = Principal::local();
    let asked = open(&runner, "key").await;
    let document = runner.prepare(&who, request("anomalies", json!({}))).await.unwrap();
    let late = document.record.id;
    asked.doing(async { queues(late) }).await;
    asked.undone().await;
    let run = runner.new_run(&who, &document).unwrap();
    runner.store().enqueue(&run, runner.shared.room()).await.unwrap();
    let again = open(&runner, "key").await;
    let run = again.doing(runner.submit(&who, request("anomalies", json!({})))).await.unwrap();
    again.end("done").await;
    assert_eq!((run.id(), count(&runner).await), (late, 1));
}

#[tokio::test]
async fn a_request_that_queued_nothing_is_forgotten() {
    let engine = engine().await;
    let (runner, who) = (runner(&engine).await, Principal::local());
    for _ in 0..3 {
        let asked = open(&runner, "key").await;
        let run = runner.submit(&who, request("anomalies", json!({})));
        assert_eq!(asked.doing(run).await.unwrap_err().code(), Code::NotFound);
        asked.undone().await;
    }
    // One that broke off before it was inserted exists in no table.
    let asked = open(&runner, "key").await;
    asked.doing(async { queues(RunId::new()) }).await;
    asked.undone().await;
    open(&runner, "key").await.end("done").await;
}

#[tokio::test]
async fn each_part_of_a_request_continues_with_its_own_run() {
    let (_engine, runner) = idle().await;
    let who = Principal::local();
    let submit = async |asked: &OpenRequest, part: &str| {
        let run = runner.submit(&who, request("anomalies", json!({})));
        asked.doing(part_of_request(part.to_owned(), run)).await.unwrap().id()
    };
    let lost = open(&runner, "key").await;
    let second = submit(&lost, "second").await;
    lost.undone().await;
    // The first part was refused before, and is not now.
    let again = open(&runner, "key").await;
    let first = submit(&again, "first").await;
    assert_ne!(first, second);
    assert_eq!(submit(&again, "second").await, second);
    again.undone().await;
    let again = open(&runner, "key").await;
    assert_eq!(submit(&again, "second").await, second);
    assert_eq!(submit(&again, "first").await, first);
    again.end("done").await;
    assert_eq!(count(&runner).await, 2);
}

#[tokio::test]
async fn a_schedule_that_was_run_without_an_answer_is_not_run_again() {
    let (_engine, runner) = idle().await;
    let who = Principal::local();
    let hourly = json!({
        "name": "h", "job": "anomalies", "params": {}, "gpu": null, "cron": "0 * * * *", "zone": "UTC", "catch_up": "none",
        "jitter_seconds": 0, "priority": 0, "created_by": "", "created_at": "2026-01-01T00:00:00Z",
    });
    let hourly: Schedule = serde_json::from_value(hourly).unwrap();
    runner.add_schedule(&who, hourly).await.unwrap();
    let lost = open(&runner, "key").await;
    let first = lost.doing(runner.run_schedule(&who, "h")).await.unwrap();
    lost.undone().await;
    let again = open(&runner, "key").await;
    assert_eq!(again.doing(runner.run_schedule(&who, "h")).await.unwrap(), first);
    again.end("done").await;
    assert_eq!(count(&runner).await, 1);
    // A queue that is full has room later, and nothing of the request exists that is to be searched.
    for _ in 1..RUNS_MAX {
        runner.run_schedule(&who, "h").await.unwrap();
    }
    let asked = open(&runner, "full").await;
    let full = asked.doing(runner.run_schedule(&who, "h")).await.unwrap_err();
    asked.undone().await;
    assert_eq!(full.code(), Code::TooMany, "{full}");
    let state = runner.begin_request(&who, "full", "question").await;
    assert!(matches!(state, Ok(KeyedRequest::New(_))), "it is searched");
}

#[tokio::test]
async fn a_pipeline_that_was_begun_without_an_answer_is_not_begun_again() {
    let (_engine, runner) = idle().await;
    let who = Principal::local();
    let text = "name = \"p\"\n[[steps]]\nname = \"a\"\njob = \"sql\"\n\
                params = { query = \"SELECT count(*) AS n FROM metrics\", output = \"counts\" }\n";
    let pipeline = Schedule::from_toml(text, "test").unwrap();
    runner.apply_pipelines(&who, vec![pipeline]).await.unwrap();
    let lost = open(&runner, "run").await;
    let first = lost.doing(runner.run_pipeline(&who, "p")).await.unwrap();
    lost.undone().await;
    let again = open(&runner, "run").await;
    let second = again.doing(runner.run_pipeline(&who, "p")).await.unwrap();
    again.end("done").await;
    assert_eq!((&second.id, second.steps[0].run), (&first.id, first.steps[0].run));
    // So is one whose steps had other runs.
    runner.cancel_pipeline(&who, "p", None).await.unwrap();
    let lost = open(&runner, "retry").await;
    let first = lost.doing(runner.retry_pipeline(&who, "p", None)).await.unwrap();
    lost.undone().await;
    let again = open(&runner, "retry").await;
    let second = again.doing(runner.retry_pipeline(&who, "p", None)).await.unwrap();
    again.end("done").await;
    assert_eq!((&second.id, second.steps[0].run), (&first.id, first.steps[0].run));
    assert_eq!(count(&runner).await, 2);
    let other = runner.retry_pipeline(&who, "p", None).await.unwrap_err();
    assert_eq!(other.code(), Code::Conflict);
}
