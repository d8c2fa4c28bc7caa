//! Schedules that are paused or moved while a server looks at them as they were.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta};
use engine::{Engine, Principal};
use kernels::GpuPolicy;
use serde_json::json;

use super::fire::fire;
use super::{Schedule, Trigger};
use crate::run::record::RunFilter;
use crate::run::runner::{Runner, RunnerOptions, Takes};
use crate::testing::{append, engine, sampled};

fn counting(name: &str, trigger: Trigger) -> Schedule {
    Schedule {
        name: name.into(),
        job: "sql".into(),
        params: json!({ "query": "SELECT count(*) AS n FROM metrics", "output": name }),
        gpu: None,
        steps: Vec::new(),
        trigger,
        priority: 0,
        created_by: String::new(),
        created_at: DateTime::UNIX_EPOCH,
    }
}

async fn idle() -> (Engine, Runner) {
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, vec![1.0; 50])]).await;
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        concurrent_runs: 0,
        takes: Takes::Own,
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    (engine, runner)
}

async fn runs(runner: &Runner) -> usize {
    runner.list(&Principal::local(), RunFilter::default()).await.unwrap().len()
}

#[tokio::test]
async fn a_schedule_that_is_paused_while_a_server_looks_at_it_has_no_run() {
    let (engine, runner) = idle().await;
    let who = Principal::local();
    let clock = Trigger::Clock {
        cron: "0 * * * *".into(),
        zone: "UTC".into(),
        catch_up: "latest".into(),
        jitter_seconds: 0,
    };
    let change = Trigger::Change {
        on_change: datasets::DatasetName::new("metrics").unwrap(),
        rows_min: 1,
        every_seconds: 1,
    };
    for (name, trigger) in [("clock", clock), ("change", change)] {
        runner.add_schedule(&who, counting(name, trigger)).await.unwrap();
    }
    append(&engine, "metrics", &[sampled("b", 300, vec![1.0; 50])]).await;
    let later = runner.now() + TimeDelta::hours(2);
    for name in ["clock", "change"] {
        let seen = runner.entry_of(&who, name).await.unwrap().unwrap();
        runner.pause_schedule(&who, name).await.unwrap();
        assert_eq!(fire(&runner, &seen, later).await.unwrap(), 0, "{name}");
        assert!(runner.schedule(&who, name).await.unwrap().is_paused, "{name}");
    }
    assert_eq!(runs(&runner).await, 0);
    // The run of a person is no time of its own.
    runner.run_schedule(&who, "clock").await.unwrap();
    assert_eq!(runs(&runner).await, 1);
}

#[tokio::test]
async fn a_dataset_that_began_again_resumes_no_schedule_that_was_paused() {
    let (_engine, runner) = idle().await;
    let who = Principal::local();
    let trigger = Trigger::Change {
        on_change: datasets::DatasetName::new("metrics").unwrap(),
        rows_min: 1,
        every_seconds: 1,
    };
    runner.add_schedule(&who, counting("change", trigger)).await.unwrap();
    // It has handled more versions than the dataset has now.
    runner.store().place_schedule("default", "change", None, 99).await.unwrap();
    let seen = runner.entry_of(&who, "change").await.unwrap().unwrap();
    runner.pause_schedule(&who, "change").await.unwrap();
    fire(&runner, &seen, runner.now()).await.unwrap();
    let entry = runner.entry_of(&who, "change").await.unwrap().unwrap();
    assert_eq!((entry.is_paused, entry.up_to), (true, -1));
}
