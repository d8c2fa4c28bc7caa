//! Jobs that go wrong, one way each, and what is left of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datasets::{DatasetName, DatasetSpec};
use engine::{Code, Error, Principal, Result, WriteMode};
use futures::future::BoxFuture;
use kernels::GpuPolicy;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{RunRequest, Runner, RunnerOptions};
use crate::job::{Job, Outcome};
use crate::kinds::Jobs;
use crate::run::context::RunContext;
use crate::run::record::{RunRecord, RunState};
use crate::testing::{Does, engine, spec};

/// Does what its parameter `fault` says, then commits one row.
struct Faulty;

/// How often a run was tried whose fault passes.
static PASSING: AtomicUsize = AtomicUsize::new(0);

/// Told by a run that has come to its wait.
static WAITING: Notify = Notify::const_new();

/// What it commits to.
fn result() -> DatasetSpec {
    DatasetSpec { derived: true, ..spec("result") }
}

impl Job for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn description(&self) -> &'static str {
        "goes wrong"
    }

    fn parameters_schema(&self) -> Value {
        json!({})
    }

    fn canonical(&self, params: &Value) -> Result<Value> {
        Ok(params.clone())
    }

    fn inputs(&self, _: &Value) -> Result<Vec<DatasetName>> {
        Ok(vec![])
    }

    fn outputs(&self, _: &Value) -> Result<Vec<DatasetSpec>> {
        Ok(vec![result()])
    }

    fn run<'a>(&'a self, ctx: &'a RunContext, params: &'a Value) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(async move {
            let fault = params["fault"].as_str().unwrap_or_default().to_owned();
            match fault.as_str() {
                "panic" => panic!("by zero, say"),
                "pass" if PASSING.fetch_add(1, Ordering::Relaxed) < 2 => {
                    let says = "the store is away";
                    return Err(Error::environment(Code::StorageUnavailable, says, says));
                }
                "bad input" => return Err(Error::user(Code::BadInput, "it is wrong")),
                "panic on a thread" => {
                    ctx.compute(|| -> Result<()> { panic!("on a thread") }).await?
                }
                "wait" => {
                    WAITING.notify_one();
                    std::future::pending::<()>().await;
                }
                "compute until cancelled" => {
                    let token = ctx.cancellation().clone();
                    ctx.compute(move || {
                        WAITING.notify_one();
                        while !token.is_cancelled() {
                            std::thread::yield_now();
                        }
                        Ok(())
                    })
                    .await?;
                }
                _ => {}
            }
            let spec = result();
            let batch = RecordBatch::try_new(
                spec.arrow_schema(),
                vec![
                    Arc::new(StringArray::from(vec!["s"])),
                    Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")),
                    Arc::new(Float64Array::from(vec![1.0])),
                ],
            )?;
            ctx.commit(spec, WriteMode::Append, vec![batch]).await?;
            if fault == "wait after the commit" {
                WAITING.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(Outcome { summary: json!({"rows": 1}) })
        })
    }
}

async fn runner(run_timeout: Option<Duration>) -> Runner {
    let jobs =
        Jobs::default().with(Arc::new(Faulty)).with(Does::new("stalled", std::future::pending));
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        run_timeout,
        jobs,
        ..RunnerOptions::default()
    };
    Runner::start(engine().await, options).await.unwrap()
}

async fn run(runner: &Runner, fault: &str) -> RunRecord {
    submit(runner, fault).await.wait().await.unwrap()
}

async fn submit(runner: &Runner, fault: &str) -> super::RunHandle {
    let params = json!({ "fault": fault });
    let request = RunRequest { job: "faulty".into(), params, ..RunRequest::default() };
    runner.submit(&Principal::local(), request).await.unwrap()
}

/// Commits that hold rows.
async fn commits(runner: &Runner) -> usize {
    let name = DatasetName::new("result").unwrap();
    let history = runner.shared.engine.history(&Principal::local(), &name, 100).await;
    history.map_or(0, |h| h.iter().filter(|c| c.rows_added.is_some_and(|rows| rows > 0)).count())
}

/// One test, because the runs share the static that says where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_is_recorded_and_commits_all_or_nothing() {
    let runner = runner(None).await;
    for (fault, message) in [
        ("panic", "the job panicked: by zero, say"),
        ("panic on a thread", "the job panicked: on a thread"),
    ] {
        let record = run(&runner, fault).await;
        let error = record.error.unwrap();
        assert_eq!((record.state, error.code.as_str()), (RunState::Failed, "INTERNAL"));
        assert!(error.message.contains(message), "{}", error.message);
    }
    let wrong = run(&runner, "bad input").await;
    assert_eq!((wrong.state, wrong.attempts.len()), (RunState::Failed, 0));
    for fault in ["wait", "compute until cancelled"] {
        let handle = submit(&runner, fault).await;
        WAITING.notified().await;
        let record = runner.cancel(&Principal::local(), handle.id()).await.unwrap();
        assert_eq!(record.state, RunState::Cancelled, "{fault}");
    }
    assert_eq!(commits(&runner).await, 0);

    // Asked to stop after its commit: the result is there, and is said to be.
    let handle = submit(&runner, "wait after the commit").await;
    WAITING.notified().await;
    let record = runner.cancel(&Principal::local(), handle.id()).await.unwrap();
    assert_eq!((record.state, record.outputs.len()), (RunState::Succeeded, 1));
    assert_eq!(commits(&runner).await, 1);
    let again = run(&runner, "wait after the commit").await;
    assert_eq!((again.repeated_of, commits(&runner).await), (Some(record.id), 1));

    // Two runs of the same work at the same time make one commit.
    let (a, b) = tokio::join!(submit(&runner, "none"), submit(&runner, "none"));
    let (a, b) = (a.wait().await.unwrap(), b.wait().await.unwrap());
    assert_eq!((a.state, b.state), (RunState::Succeeded, RunState::Succeeded));
    assert_eq!(a.outputs, b.outputs);
    assert_eq!(commits(&runner).await, 2);
    assert!((a.repeated_of == Some(b.id)) ^ (b.repeated_of == Some(a.id)));
}

#[tokio::test]
async fn a_run_is_tried_again_where_its_error_can_pass() {
    let runner = runner(None).await;
    let mut updates = runner.updates();
    let handle = submit(&runner, "pass").await;
    let waiting = loop {
        let update = updates.recv().await.unwrap();
        if update.next_attempt_at.is_some() {
            break update;
        }
    };
    assert_eq!((waiting.state, waiting.attempts.len()), (RunState::Queued, 1));
    let wait = waiting.next_attempt_at.unwrap() - waiting.attempts[0].ended_at;
    assert!((500..1_500).contains(&wait.num_milliseconds()), "{wait}");
    let record = handle.wait().await.unwrap();
    assert_eq!((record.state, record.error), (RunState::Succeeded, None));
    let errors: Vec<_> =
        record.attempts.iter().map(|attempt| attempt.error.code.as_str()).collect();
    assert_eq!(errors, ["STORAGE_UNAVAILABLE"; 2]);
    assert_eq!((record.next_attempt_at, commits(&runner).await), (None, 1));
}

#[tokio::test]
async fn a_run_beyond_its_deadline_is_stopped() {
    let runner = runner(Some(Duration::from_millis(1))).await;
    let request = RunRequest { job: "stalled".into(), ..RunRequest::default() };
    let handle = runner.submit(&Principal::local(), request).await.unwrap();
    let record = handle.wait().await.unwrap();
    let error = record.error.unwrap();
    assert_eq!((record.state, error.code.as_str()), (RunState::Failed, "TIMEOUT"));
    assert_eq!(error.message, "the run was stopped after 0.001 s; nothing was committed");
}
