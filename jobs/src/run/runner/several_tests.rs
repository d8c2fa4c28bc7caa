//! Several runners on one root, and what a dead one leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::{CommitLabel, Principal, RunId, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use super::tests::{hold, holding, metrics, request, run};
use super::{RunHandle, Runner, RunnerOptions, Takes};
use crate::control::{ControlStore, DeviceNeed, LOSSES_MAX, NewRun, Room, SqlStore, Wants};
use crate::kinds::Jobs;
use crate::run::document::Document;
use crate::run::key::application_id;
use crate::run::record::{RunFilter, RunRecord, RunState, now};
use crate::testing::{Does, append, engine_at};

fn options() -> RunnerOptions {
    RunnerOptions { gpu: GpuPolicy::Off, threads: 1, ..RunnerOptions::default() }
}

async fn ended(runner: &Runner, id: RunId) -> RunRecord {
    let record = runner.get(&Principal::local(), id).await.unwrap();
    let handle = RunHandle { id, record: runner.shared.watch(&Default::default(), &record) };
    tokio::time::timeout(Duration::from_secs(30), handle.wait()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_is_at_work_goes_on_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    append(&engine, "metrics", &metrics()).await;
    let one = RunnerOptions { concurrent_runs: 1, ..options() };
    let (first, _) = holding(&engine, one.clone()).await;
    let who = Principal::local();
    let held = hold(&first, &who).await;
    let waiting = first.submit(&who, request("anomalies", json!({}))).await.unwrap();
    let (held_id, waiting_id) = (held.id(), waiting.id());
    first.shutdown().await;
    let says = waiting.wait().await.unwrap_err().to_string();
    assert!(says.contains("it goes on when a server is there again"), "{says}");

    let (second, places) = holding(&engine, one).await;
    places.add_permits(1);
    for id in [held_id, waiting_id] {
        let record = ended(&second, id).await;
        assert_eq!((record.state, record.attempts.len()), (RunState::Succeeded, 0), "{record:?}");
    }
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_stop_holds_up_no_end_and_is_cancelled_where_it_would_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    // It hears of nothing while it works, and is at it for a minute.
    let deaf = Does::new("deaf", move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { std::thread::sleep(Duration::from_secs(60)) }
    });
    let jobs = Jobs::default().with(deaf);
    let options =
        RunnerOptions { jobs, threads: 2, end_time_max: Duration::from_millis(300), ..options() };
    let first = Runner::start(engine.clone(), options.clone()).await.unwrap();
    let who = Principal::local();
    let id = first.submit(&who, request("deaf", Value::Null)).await.unwrap().id();
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let wish = first.cancel(&who, id);
    assert!(tokio::time::timeout(Duration::from_millis(500), wish).await.is_err());
    let before = Instant::now();
    first.shutdown().await;
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    drop(first);
    let second = Runner::start(engine, options).await.unwrap();
    let record = ended(&second, id).await;
    assert_eq!(
        (record.state, begun.load(Ordering::SeqCst)),
        (RunState::Cancelled, 1),
        "{record:?}"
    );
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_process_are_seen_and_cancelled_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    let other = engine_at(folder.path()).await;
    let (first, places) = holding(&engine, options()).await;
    // It works at its own alone, and has none.
    let second =
        Runner::start(other, RunnerOptions { takes: Takes::Own, ..options() }).await.unwrap();
    let who = Principal::local();
    let held = hold(&first, &who).await;
    let seen = second.get(&who, held.id()).await.unwrap();
    assert_eq!(seen.state, RunState::Running);
    let listed = second.list(&who, RunFilter::default()).await.unwrap();
    assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [held.id()]);
    let begun = Instant::now();
    let cancelled = second.cancel(&who, held.id()).await.unwrap();
    assert_eq!(cancelled.state, RunState::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(held.wait().await.unwrap().state, RunState::Cancelled);
    // Its end is heard of, too.
    let held = hold(&first, &who).await;
    let mut updates = second.updates();
    places.add_permits(1);
    let heard = loop {
        let update = updates.recv().await.unwrap();
        if update.state.is_final() {
            break update;
        }
    };
    assert_eq!((heard.id, heard.state), (held.id(), RunState::Succeeded));
    second.shutdown().await;
    first.shutdown().await;
}

/// A run that a worker was at which is gone.
async fn orphan(store: &SqlStore, of: &RunRecord, losses: i64) -> RunRecord {
    let id = RunId::new();
    let record = RunRecord {
        id,
        key: format!("{}-{id}", of.key),
        state: RunState::Queued,
        outputs: vec![],
        finished_at: None,
        summary: Value::Null,
        requested_at: now(),
        ..of.clone()
    };
    let document =
        Document { gpu: GpuPolicy::Off, ..Document::ended(record.clone()) }.to_text().unwrap();
    let new = NewRun {
        id: record.id.to_string(),
        tenant: "default".into(),
        job: record.job.clone(),
        key: record.key.clone(),
        priority: 0,
        now_us: 0,
        due_us: 0,
        memory_bytes: 0,
        device: DeviceNeed::default(),
        deadline_us: None,
        attempts_max: 1,
        kept_for: None,
        document,
    };
    store.enqueue(&new, Room { open_max: 9, of_tenant_max: 9 }).await.unwrap();
    for number in 0..=losses {
        let worker = format!("ghost-{number}");
        store.join(&worker, "gone", None, None, 0).await.unwrap();
        let wants = Wants {
            worker: worker.clone(),
            now_us: 1,
            free_bytes: 1,
            device: None,
            of_job_max: Vec::new(),
            of_tenant_max: 9,
            only_kept: false,
        };
        assert_eq!(store.claim(&wants).await.unwrap().unwrap().id, record.id.to_string());
        if number < losses {
            let workers = store.workers().await.unwrap();
            let gone = workers.iter().find(|other| other.id == worker).unwrap();
            assert_eq!(store.dead(gone).await.unwrap(), 1);
        }
    }
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_dead_process_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    append(&engine, "metrics", &metrics()).await;
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let done = run(&runner, "anomalies", json!({})).await;
    runner.shutdown().await;
    let file = folder.path().join(".colonnade.control.db");
    let who = Principal::local();
    let output = done.outputs[0].dataset.clone();
    let session = engine.session(&who, &[]).await.unwrap();
    let rows = session.collect(session.table(&output).await.unwrap()).await.unwrap();
    assert!(rows.iter().any(|batch| batch.num_rows() > 0));
    for (has_committed, is_replaced) in [(false, false), (true, false), (true, true)] {
        let store = SqlStore::open_file(&file).await.unwrap();
        let record = orphan(&store, &done, 0).await;
        if has_committed {
            let label = CommitLabel {
                run_id: Some(record.id),
                operation: "anomalies".into(),
                idempotency: Some((application_id(&record.key), 1)),
                ..CommitLabel::default()
            };
            let rows = rows.clone();
            engine.write(&who, &output, WriteMode::Overwrite, rows, label).await.unwrap();
        }
        if is_replaced {
            // By another run, before anybody looked.
            let label = CommitLabel { operation: "other".into(), ..CommitLabel::default() };
            engine.write(&who, &output, WriteMode::Overwrite, vec![], label).await.unwrap();
        }
        store.close().await;
        let before = engine.history(&who, &output, 100).await.unwrap().len();
        let runner = Runner::start(engine.clone(), options()).await.unwrap();
        let ended = ended(&runner, record.id).await;
        assert_eq!(ended.state, RunState::Succeeded, "{:?}", ended.error);
        assert_eq!((ended.outputs.len(), ended.repeated_of), (1, None));
        let made = engine.history(&who, &output, 100).await.unwrap().len() - before;
        assert_eq!(made, usize::from(!has_committed), "it committed {has_committed} before");
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_its_processes_is_given_up_unless_it_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    append(&engine, "metrics", &metrics()).await;
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let done = run(&runner, "anomalies", json!({})).await;
    runner.shutdown().await;
    let file = folder.path().join(".colonnade.control.db");
    let who = Principal::local();
    let output = done.outputs[0].dataset.clone();
    for has_committed in [false, true] {
        let store = SqlStore::open_file(&file).await.unwrap();
        // The worker that is at it is the last that may be gone.
        let record = orphan(&store, &done, LOSSES_MAX - 1).await;
        if has_committed {
            let label = CommitLabel {
                run_id: Some(record.id),
                operation: "anomalies".into(),
                idempotency: Some((application_id(&record.key), 1)),
                ..CommitLabel::default()
            };
            engine.write(&who, &output, WriteMode::Append, vec![], label).await.unwrap();
        }
        store.close().await;
        let before = engine.history(&who, &output, 100).await.unwrap().len();
        let runner = Runner::start(engine.clone(), options()).await.unwrap();
        let ended = ended(&runner, record.id).await;
        match (has_committed, &ended.error) {
            (true, None) => assert_eq!(ended.state, RunState::Succeeded),
            (false, Some(error)) => {
                assert_eq!((ended.state, ended.attempts.len()), (RunState::Failed, 0));
                assert!(error.message.contains("ended before the run did, 5 times"), "{error:?}");
            }
            _ => panic!("it committed {has_committed}: {ended:?}"),
        }
        assert_eq!(engine.history(&who, &output, 100).await.unwrap().len(), before);
        runner.shutdown().await;
        let said = crate::run::logs::run_log(&engine, &who, record.id, (0, 0)).await.unwrap();
        let begins = "memory; 5 of 5 that were at it before ended before it did";
        assert!(said[0].message.ends_with(begins), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_known_from_the_dataset_where_control_state_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    append(&engine, "metrics", &metrics()).await;
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let first = run(&runner, "anomalies", json!({})).await;
    let failed = run(&runner, "anomalies", json!({"value_column": "no"})).await;
    runner.shutdown().await;
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!(".colonnade.control.db{ending}")));
    }
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let listed = runner.list(&Principal::local(), RunFilter::default()).await.unwrap();
    let known: Vec<_> = listed.iter().map(|run| (run.id, run.state)).collect();
    assert_eq!(known, [(failed.id, RunState::Failed), (first.id, RunState::Succeeded)]);
    // What was done before is still known to be done.
    assert_eq!(run(&runner, "anomalies", json!({})).await.repeated_of, Some(first.id));
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reads_what_another_process_committed_a_moment_ago() {
    let folder = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (engine_at(folder.path()).await, engine_at(folder.path()).await);
    append(&elsewhere, "metrics", &metrics()).await;
    let runner = Runner::start(here, options()).await.unwrap();
    for number in 0..5 {
        append(&elsewhere, "metrics", &metrics()).await;
        let newest = elsewhere.catalog(&Principal::local()).await.unwrap();
        let newest = newest.dataset(&"metrics".parse().unwrap()).unwrap().version;
        let done = run(&runner, "anomalies", json!({ "output": format!("o{number}") })).await;
        assert_eq!(done.inputs[0].version, newest, "try {number}");
    }
    runner.shutdown().await;
}

/// The database was away when its end was to be told, and its commit is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_committed_that_is_said_to_have_failed_is_not_committed_again() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_at(folder.path()).await;
    append(&engine, "metrics", &metrics()).await;
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let done = run(&runner, "anomalies", json!({})).await;
    runner.shutdown().await;
    let store = SqlStore::open_file(&folder.path().join(".colonnade.control.db")).await.unwrap();
    let said = RunRecord { state: RunState::Failed, outputs: vec![], ..done.clone() };
    let document = Document { gpu: GpuPolicy::Off, ..Document::ended(said) }.to_text().unwrap();
    let says = sqlx::query("UPDATE runs SET state = 'failed', document = $2 WHERE id = $1");
    let says = says.bind(done.id.to_string()).bind(document);
    says.execute(store.pool()).await.unwrap();
    store.close().await;
    let runner = Runner::start(engine.clone(), options()).await.unwrap();
    let who = Principal::local();
    let output = &done.outputs[0].dataset;
    let before = engine.history(&who, output, 100).await.unwrap().len();
    let again = runner.retry(&who, done.id).await.unwrap().wait().await.unwrap();
    assert_eq!((again.state, again.repeated_of), (RunState::Succeeded, Some(done.id)));
    assert_eq!(again.outputs[0].version, done.outputs[0].version);
    assert_eq!(engine.history(&who, output, 100).await.unwrap().len(), before);
    runner.shutdown().await;
}
