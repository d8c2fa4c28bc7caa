#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use analysis::series::Series;
use arrow::array::{AsArray, RecordBatch};
use datasets::DatasetName;
use engine::{
    AsOf, Code, CommitKind, CommitLabel, Engine, Error, Principal, Role, RunId, TenantId, Version,
    WriteMode,
};
use kernels::GpuPolicy;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{RunHandle, RunRequest, Runner, RunnerOptions};
use crate::kind;
use crate::kinds::Jobs;
use crate::run::key;
use crate::run::ledger;
use crate::run::record::{RunFilter, RunRecord, RunState};
use crate::testing::{Does, Noise, append, engine, sampled};

fn options() -> RunnerOptions {
    RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..RunnerOptions::default() }
}

pub(super) async fn runner(engine: &Engine) -> Runner {
    Runner::start(engine.clone(), options()).await.unwrap()
}

/// A runner, and what lets runs of the job `held` end.
pub(super) async fn holding(engine: &Engine, options: RunnerOptions) -> (Runner, Arc<Semaphore>) {
    let places = Arc::new(Semaphore::new(0));
    let of = places.clone();
    let held = Does::new("held", move || {
        let of = of.clone();
        async move { of.acquire().await.unwrap().forget() }
    });
    let jobs = Jobs::default().with(held);
    let runner = Runner::start(engine.clone(), RunnerOptions { jobs, ..options }).await.unwrap();
    (runner, places)
}

/// Submits a run that is held, and waits until it is at work.
pub(super) async fn hold(runner: &Runner, who: &Principal) -> RunHandle {
    let mut updates = runner.updates();
    let handle = runner.submit(who, request("held", Value::Null)).await.unwrap();
    loop {
        let update = updates.recv().await.unwrap();
        if update.id == handle.id() && update.state == RunState::Running {
            return handle;
        }
    }
}

pub(super) fn request(job: &str, params: Value) -> RunRequest {
    RunRequest { job: job.into(), params, ..RunRequest::default() }
}

/// Two series of noise, one of them with a spike.
pub(super) fn metrics() -> Vec<Series> {
    let mut noise = Noise::new(1);
    let mut values = |spike: usize| -> Vec<f64> {
        (0..1_000).map(|i| if i == spike { 90.0 } else { 50.0 + noise.normal() }).collect()
    };
    vec![sampled("quiet", 300, values(usize::MAX)), sampled("spiky", 300, values(700))]
}

pub(super) async fn run(runner: &Runner, job: &str, params: Value) -> RunRecord {
    let handle = runner.submit(&Principal::local(), request(job, params)).await.unwrap();
    handle.wait().await.unwrap()
}

pub(super) async fn rows(engine: &Engine, dataset: &str) -> Vec<RecordBatch> {
    let name = DatasetName::new(dataset).unwrap();
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame = session.table(&name).await.unwrap();
    session.collect(frame).await.unwrap()
}

pub(super) fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let cast = |batch: &RecordBatch| {
        let column = batch.column_by_name(column).unwrap();
        arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap()
    };
    let of = |batch: &RecordBatch| {
        cast(batch)
            .as_string::<i32>()
            .iter()
            .map(|t| t.unwrap_or("null").to_owned())
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

pub(super) async fn version(engine: &Engine, dataset: &str) -> Option<Version> {
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    catalog.datasets.get(&DatasetName::new(dataset).unwrap()).map(|entry| entry.version)
}

async fn submit_error(runner: &Runner, request: RunRequest) -> Error {
    match runner.submit(&Principal::local(), request).await {
        Ok(_) => panic!("the request was taken"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_run_commits_its_findings_and_its_record() {
    let engine = engine().await;
    let input = append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let record = run(&runner, "anomalies", Value::Null).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    assert_eq!(record.inputs[0].version, input);
    assert_eq!(record.inputs[0].rows, Some(2_000));
    assert_eq!(
        (record.outputs[0].dataset.as_str(), record.outputs[0].rows),
        ("anomalies", Some(1))
    );
    assert_eq!(record.params["threshold"], json!(6.0), "defaults are filled in");
    assert_eq!(record.summary["series"], json!(2));
    let stages: Vec<&str> = record.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(stages, ["detect", "commit"]);
    assert_eq!((record.stages[0].rows_in, record.stages[0].device.as_str()), (2_000, "cpu"));
    assert!(
        record.started_at >= Some(record.requested_at) && record.finished_at >= record.started_at
    );

    let found = rows(&engine, "anomalies").await;
    assert_eq!(texts(&found, "series"), ["spiky"]);
    assert_eq!(texts(&found, "source"), ["metrics"]);

    let who = Principal::local();
    assert_eq!(runner.get(&who, record.id).await.unwrap().outputs, record.outputs);
    let listed = runner.list(&who, RunFilter::default()).await.unwrap();
    assert_eq!(listed.len(), 1);
    let kept = |r: &RunRecord| (r.id, r.state, r.requested_at, r.started_at, r.finished_at);
    assert_eq!(kept(&listed[0]), kept(&record));
    assert_eq!((&listed[0].params, &listed[0].summary), (&record.params, &record.summary));
    assert_eq!(listed[0].stages.len(), 2);
    runner.shutdown().await;
    assert_eq!(texts(&rows(&engine, "runs").await, "state"), ["succeeded"]);
}

#[tokio::test]
async fn results_of_one_source_leave_those_of_another() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    append(&engine, "other", &metrics()).await;
    let runner = runner(&engine).await;
    run(&runner, "anomalies", json!({})).await;
    run(&runner, "anomalies", json!({"dataset": "other"})).await;
    run(&runner, "anomalies", json!({"dataset": "other", "threshold": 1000.0})).await;
    assert_eq!(texts(&rows(&engine, "anomalies").await, "source"), ["metrics"]);
}

#[tokio::test]
async fn a_run_that_died_after_its_commit_is_known_to_be_done() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let before = runner(&engine).await;
    let mut record = run(&before, "anomalies", json!({})).await;
    let outputs = record.outputs.clone();
    before.shutdown().await;
    // The same work under another name whose last row was never written.
    let who = Principal::local();
    (record.id, record.state) = (RunId::new(), RunState::Running);
    (record.key, record.outputs, record.finished_at) = ("other key".into(), vec![], None);
    ledger::append(&engine, &who, &[record.clone()]).await.unwrap();
    let output = outputs[0].dataset.clone();
    let label = CommitLabel {
        run_id: Some(record.id),
        operation: "anomalies".into(),
        idempotency: Some((key::application_id(&record.key), 1)),
        ..CommitLabel::default()
    };
    let commit = engine.write(&who, &output, WriteMode::Append, vec![], label).await.unwrap();

    let after = runner(&engine).await;
    let closed = after.get(&who, record.id).await.unwrap();
    assert_eq!(closed.state, RunState::Succeeded);
    assert_eq!(closed.outputs[0].version, commit.version);
}

#[tokio::test]
async fn a_run_that_died_before_its_commit_is_failed_on_the_next_start() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let before = runner(&engine).await;
    let mut record = run(&before, "correlate", json!({})).await;
    before.shutdown().await;
    (record.id, record.state, record.finished_at) = (RunId::new(), RunState::Running, None);
    record.params["output"] = json!("never_made");
    let who = Principal::local();
    ledger::append(&engine, &who, &[record.clone()]).await.unwrap();
    let after = runner(&engine).await;
    let closed = after.get(&who, record.id).await.unwrap();
    assert_eq!(closed.state, RunState::Failed);
    assert!(closed.error.unwrap().message.starts_with("interrupted: "));
}

#[tokio::test]
async fn a_cancelled_run_commits_nothing() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let one = RunnerOptions { concurrent_runs: 1, ..options() };
    let (runner, places) = holding(&engine, one).await;
    let who = Principal::local();
    // The one place is taken, so that the run waits for as long as the test needs.
    let held = hold(&runner, &who).await;
    let waiting = runner.submit(&who, request("anomalies", json!({}))).await.unwrap();
    let id = waiting.id();
    assert_eq!(runner.get(&who, id).await.unwrap().state, RunState::Queued);
    let cancelled = runner.cancel(&who, id).await.unwrap();
    assert_eq!(cancelled.state, RunState::Cancelled);
    assert_eq!(cancelled.error.as_ref().unwrap().code, "CANCELLED");
    places.add_permits(1);
    assert_eq!(held.wait().await.unwrap().state, RunState::Succeeded);
    assert_eq!(version(&engine, "anomalies").await, None);
    assert_eq!(runner.get(&who, id).await.unwrap().state, RunState::Cancelled);
    let again = runner.cancel(&who, id).await.unwrap_err();
    assert_eq!(again.code(), Code::Conflict);
    assert!(again.to_string().contains("found it cancelled"), "{again}");
}

#[tokio::test]
async fn a_run_that_is_cancelled_at_any_stage_commits_all_or_nothing() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let who = Principal::local();
    for round in 0..20 {
        // Each round is other work, stopped at the first, second, … change of its record.
        let params = json!({"threshold": 5.0 + f64::from(round) / 100.0, "output": "found"});
        let before = version(&engine, "found").await;
        let mut updates = runner.updates();
        let handle = runner.submit(&who, request("anomalies", params)).await.unwrap();
        let id = handle.id();
        for _ in 0..round % 5 {
            let update = updates.recv().await.unwrap();
            if update.id == id && update.state.is_final() {
                break;
            }
        }
        let _ = runner.cancel(&who, id).await;
        let record = handle.wait().await.unwrap();
        let after = version(&engine, "found").await;
        match record.state {
            RunState::Succeeded => assert_eq!(Some(record.outputs[0].version), after),
            RunState::Cancelled => {
                // The dataset may have been made; rows may not.
                let kinds = engine.history(&who, &DatasetName::new("found").unwrap(), 1).await;
                let by_run = kinds.ok().and_then(|h| h.first().and_then(|c| c.run_id)) == Some(id);
                assert!(!by_run && (before == after || before.is_none()), "round {round}");
            }
            other => panic!("round {round}: {other}: {:?}", record.error),
        }
    }
}

#[tokio::test]
async fn shutdown_stops_what_waits_and_takes_no_more() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let one = RunnerOptions { concurrent_runs: 1, ..options() };
    let (runner, _places) = holding(&engine, one).await;
    let held = hold(&runner, &Principal::local()).await;
    let waiting =
        runner.submit(&Principal::local(), request("anomalies", json!({}))).await.unwrap();
    runner.shutdown().await;
    assert_eq!(held.wait().await.unwrap().state, RunState::Cancelled);
    assert_eq!(waiting.wait().await.unwrap().state, RunState::Cancelled);
    let refused = submit_error(&runner, request("anomalies", json!({}))).await;
    assert_eq!(refused.code(), Code::Cancelled);
}

#[tokio::test]
async fn too_many_waiting_runs_are_refused() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let few = RunnerOptions { concurrent_runs: 1, queue_runs_max: 1, ..options() };
    let (runner, places) = holding(&engine, few).await;
    let who = Principal::local();
    let mut taken = vec![hold(&runner, &who).await];
    taken.push(runner.submit(&who, request("anomalies", json!({}))).await.unwrap());
    let refused = submit_error(&runner, request("anomalies", json!({"threshold": 9.0}))).await;
    assert_eq!(refused.code(), Code::TooMany);
    assert!(refused.to_string().contains("2 runs are queued or running"), "{refused}");
    places.add_permits(1);
    for handle in taken {
        assert_eq!(handle.wait().await.unwrap().state, RunState::Succeeded);
    }
}

#[tokio::test]
async fn one_of_several_tenants_has_half_of_what_works_and_of_what_waits() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let options =
        RunnerOptions { concurrent_runs: 2, queue_runs_max: 2, has_tenants: true, ..options() };
    let (runner, places) = holding(&engine, options).await;
    let who = Principal::local();
    let mut taken = vec![hold(&runner, &who).await];
    taken.push(runner.submit(&who, request("held", json!({"second": true}))).await.unwrap());
    let refused = submit_error(&runner, request("anomalies", json!({"threshold": 9.0}))).await;
    assert_eq!(refused.code(), Code::TooMany);
    assert!(refused.to_string().contains("2 runs of the tenant are queued"), "{refused}");
    // Another tenant has no such dataset: that is all that keeps its run from being taken.
    let other = Principal { tenant: "other".parse().unwrap(), ..Principal::local() };
    let asked = runner.submit(&other, request("anomalies", json!({}))).await;
    assert_eq!(asked.err().map(|error| error.code()), Some(Code::NotFound));
    taken.push(hold(&runner, &other).await);
    assert_eq!(taken[1].record().state, RunState::Queued);
    places.add_permits(3);
    for handle in taken {
        assert_eq!(handle.wait().await.unwrap().state, RunState::Succeeded);
    }
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let cases = [
        (
            request("anomaly", json!({})),
            Code::NotFound,
            "expected one of accuracy, agents, alerts, anomalies, correlate",
        ),
        (request("anomalies", json!([])), Code::BadInput, "expected an object, found a list"),
        (
            request("embed", json!({"text_columns": "body"})),
            Code::BadInput,
            "parameter \"text_columns\": expected a list, such as [\"body\"], found \"body\"",
        ),
        (
            request("duplicates", json!({"fields": ["title"]})),
            Code::BadInput,
            "parameter \"fields\": expected an object, found \"title\"",
        ),
        (
            request("anomalies", json!({"treshold": 3})),
            Code::BadInput,
            "parameter \"treshold\": there is no such parameter; did you mean threshold",
        ),
        (
            request("anomalies", json!({"threshold": "high"})),
            Code::BadInput,
            "anomalies: parameter \"threshold\": expected a number, found \"high\"",
        ),
        (
            request("anomalies", json!({"season": "fortnightly"})),
            Code::BadInput,
            "parameter \"season\": expected \"auto\", \"none\" or a length",
        ),
        (
            request("anomalies", json!({"window_samples": 3})),
            Code::BadInput,
            "parameter \"window_samples\": expected 16 to 100000 samples, found 3",
        ),
        (
            request("anomalies", json!({"dataset": "Metrics"})),
            Code::BadInput,
            "parameter \"dataset\"",
        ),
        (
            request("anomalies", json!({"output": "metrics"})),
            Code::BadInput,
            "parameter \"output\": expected another dataset than the input metrics",
        ),
        (
            request("correlate", json!({"leads": "metrics"})),
            Code::BadInput,
            "parameter \"leads\": expected another dataset than the input metrics",
        ),
        (
            request("anomalies", json!({"dataset": "metric"})),
            Code::NotFound,
            "did you mean metrics",
        ),
        (
            request("correlate", json!({"max_q": 0})),
            Code::BadInput,
            "correlate: parameter \"max_q\": expected above 0",
        ),
        (
            RunRequest {
                pins: vec![(DatasetName::new("tickets").unwrap(), AsOf::Latest)],
                ..request("anomalies", json!({}))
            },
            Code::BadInput,
            "expected a dataset that the job reads (metrics)",
        ),
        (
            RunRequest {
                pins: vec![(DatasetName::new("metrics").unwrap(), AsOf::Version(Version(99)))],
                ..request("anomalies", json!({}))
            },
            Code::NotFound,
            "99",
        ),
    ];
    for (request, code, expected) in cases {
        let error = submit_error(&runner, request).await;
        assert!(error.to_string().contains(expected), "{error} does not say {expected:?}");
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(version(&engine, "runs").await, None, "a request that was refused left a record");
}

#[tokio::test]
async fn a_column_that_is_not_there_or_not_a_number_is_named() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    for (params, expected) in [
        (
            json!({"value_column": "velue"}),
            "parameter \"value_column\": dataset metrics has no column \"velue\"; expected one of series, at, value",
        ),
        (
            json!({"value_column": "series"}),
            "parameter \"value_column\": column \"series\" of dataset metrics: expected a number, found text",
        ),
        (json!({"time_column": "value"}), "expected a timestamp or date, found float64"),
    ] {
        for job in ["anomalies", "correlate"] {
            let record = run(&runner, job, params.clone()).await;
            let error = record.error.unwrap();
            assert_eq!((record.state, error.code.as_str()), (RunState::Failed, "BAD_INPUT"));
            assert!(
                error.message.contains(expected),
                "{} does not say {expected:?}",
                error.message
            );
        }
    }
}

#[tokio::test]
async fn a_gpu_that_is_required_and_not_there_is_an_error_before_any_work() {
    if kernels::devices().cuda_absent.is_none() {
        return;
    }
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let required = RunRequest { gpu: Some(GpuPolicy::Required), ..request("anomalies", json!({})) };
    let error = submit_error(&runner, required).await;
    assert_eq!(error.code(), Code::DeviceUnavailable);
    assert!(error.to_string().contains("gpu = required, but "), "{error}");
    let preferred =
        RunRequest { gpu: Some(GpuPolicy::Preferred), ..request("anomalies", json!({})) };
    let record = runner.submit(&Principal::local(), preferred).await.unwrap().wait().await.unwrap();
    let detect = &record.stages[0];
    assert_eq!(detect.device, "cpu");
    assert!(detect.reason.contains("gpu = preferred, but "), "{}", detect.reason);
}

#[tokio::test]
async fn roles_and_tenants_are_kept_apart() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let reader = Principal { roles: vec![Role::Reader], ..Principal::local() };
    let error = runner.submit(&reader, request("anomalies", json!({}))).await.err().unwrap();
    assert_eq!(error.code(), Code::Forbidden);
    // An operator may run jobs without the right to write.
    let operator = Principal { roles: vec![Role::Operator, Role::Reader], ..Principal::local() };
    let handle = runner.submit(&operator, request("anomalies", json!({}))).await.unwrap();
    let record = handle.wait().await.unwrap();
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let stranger = Principal { tenant: "acme".parse::<TenantId>().unwrap(), ..Principal::local() };
    assert_eq!(runner.get(&stranger, record.id).await.unwrap_err().code(), Code::NotFound);
    assert!(runner.list(&stranger, RunFilter::default()).await.unwrap().is_empty());
    let error = runner.submit(&stranger, request("anomalies", json!({}))).await.err().unwrap();
    assert_eq!(error.code(), Code::NotFound, "another tenant's metrics were seen");
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let a = run(&runner, "anomalies", json!({})).await;
    let b = run(&runner, "anomalies", json!({"value_column": "no"})).await;
    let c = run(&runner, "correlate", json!({})).await;
    let who = Principal::local();
    let list = |filter: RunFilter| {
        let runner = runner.clone();
        let who = who.clone();
        async move {
            let found = runner.list(&who, filter).await.unwrap();
            found.into_iter().map(|record| record.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(RunFilter::default()).await, [c.id, b.id, a.id]);
    assert_eq!(list(RunFilter { limit: 2, ..RunFilter::default() }).await, [c.id, b.id]);
    assert_eq!(list(RunFilter { before: Some(b.id), ..RunFilter::default() }).await, [a.id]);
    let failed = RunFilter { state: Some(RunState::Failed), ..RunFilter::default() };
    assert_eq!(list(failed).await, [b.id]);
    let job = RunFilter { job: Some("correlate".into()), ..RunFilter::default() };
    assert_eq!(list(job).await, [c.id]);
}

#[tokio::test]
async fn commits_carry_the_run_and_are_announced() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let mut bus = engine.commits().subscribe();
    let mut updates = runner.updates();
    let record = run(&runner, "anomalies", json!({})).await;
    let event = loop {
        let event = bus.recv().await.unwrap();
        if event.kind == CommitKind::ReplacePartitions {
            break event;
        }
    };
    assert_eq!((event.run_id, event.version), (Some(record.id), record.outputs[0].version));
    let mut states = Vec::new();
    while states.last() != Some(&RunState::Succeeded) {
        let update: Arc<RunRecord> = updates.recv().await.unwrap();
        states.push(update.state);
    }
    // That it waits is told where it did.
    states.dedup();
    let expected = [RunState::Queued, RunState::Running, RunState::Succeeded];
    assert!(expected.ends_with(&states), "{states:?}");
}

/// Whether a default is what its description says: as JSON, a text or a list of texts without quotes, or in words.
fn is_told(told: &str, value: &Value) -> bool {
    let json = serde_json::from_str(told).unwrap_or_else(|_| json!(told));
    let list = told.strip_prefix('[').and_then(|told| told.strip_suffix(']'));
    let list = list.map(|list| json!(list.split(", ").collect::<Vec<_>>()));
    let alike = |told: &Value| match (told.as_f64(), value.as_f64()) {
        (Some(told), Some(value)) => told == value,
        _ => told == value,
    };
    let one = told.split_once("such as ").map(|(_, one)| json!(one));
    let has = |one: &Value| value.as_array().is_some_and(|value| value.contains(one));
    let is_in_words = (value.is_null() && told.contains(' ')) || one.as_ref().is_some_and(has);
    alike(&json) || list.is_some_and(|list| alike(&list)) || is_in_words
}

#[tokio::test]
async fn every_kind_states_its_parameters_and_reads_its_own_defaults() {
    let mut others = Vec::new();
    for job in crate::kinds() {
        assert!(job.description().split(' ').count() > 3, "{}: {}", job.name(), job.description());
        let schema = job.parameters_schema();
        let canonical = match job.canonical(&Value::Null) {
            Ok(canonical) => canonical,
            // Which program runs has to be said, which query, what is exported, and when it changed.
            Err(error) if ["exec", "explain", "export", "report", "sql"].contains(&job.name()) => {
                let named = ["program", "dataset", "name", "query", "from"]
                    .map(|name| format!("parameter \"{name}\""));
                assert!(named.iter().any(|name| error.to_string().contains(name)), "{error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for (name, value) in canonical.as_object().unwrap() {
            let property = &schema["properties"][name];
            let text = property["description"].as_str().unwrap_or_default();
            let Some((_, told)) = text.split_once("Default: ") else {
                panic!("{}: {name}: {property}", job.name());
            };
            let told = told.split_once(". ").map_or(told, |(told, _)| told).trim_end_matches('.');
            // A word on it may follow.
            let first = told.split(',').next().unwrap_or(told);
            if !is_told(told, value) && !is_told(first, value) {
                others.push(format!("{}: {name}: told {told:?}, and is {value}", job.name()));
            }
        }
        assert_eq!(job.canonical(&canonical).unwrap(), canonical);
        for output in job.outputs(&Value::Null).unwrap() {
            output.check().unwrap();
        }
        assert_eq!(kind(job.name()).unwrap().name(), job.name());
    }
    assert!(others.is_empty(), "{others:#?}");
    ledger::runs_spec().unwrap().check().unwrap();
}
