#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use engine::{Code, Engine, Principal};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::run::logs::run_log;
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::testing::{append, engine, reran, sampled};

/// What the input's rows are, as a spec has them.
const COLUMNS: &str = r#"[{"name": "series", "type": "text"}, {"name": "at", "type": "timestamp"}, {"name": "value", "type": "float64", "nullable": true}]"#;

async fn rig(programs: &[(&str, &str)]) -> (Engine, Runner, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in programs {
        write(folder.path(), name, text);
    }
    let engine = engine().await;
    append(&engine, "metrics", &[sampled("a", 300, (0..5_000).map(f64::from).collect())]).await;
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        programs: Some(folder.path().to_owned()),
        ..RunnerOptions::default()
    };
    (engine.clone(), Runner::start(engine, options).await.unwrap(), folder)
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn params(program: &str, more: Value) -> Value {
    let columns: Value = serde_json::from_str(COLUMNS).unwrap();
    let mut params = json!({
        "program": program, "dataset": "metrics", "output": "made", "output_columns": columns,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

async fn run(runner: &Runner, params: Value) -> RunRecord {
    let request = RunRequest { job: "exec".into(), params, ..RunRequest::default() };
    runner.submit(&Principal::local(), request).await.unwrap().wait().await.unwrap()
}

async fn values(engine: &Engine) -> Vec<f64> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let frame = session.table(&"made".parse().unwrap()).await.unwrap();
    let batches = session.collect(frame).await.unwrap();
    let mut values = Vec::new();
    for batch in batches {
        let column = batch.column_by_name("value").unwrap();
        values.extend(column.as_primitive::<arrow::datatypes::Float64Type>().values());
    }
    values.sort_by(f64::total_cmp);
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_through_a_program_and_are_committed() {
    let (engine, runner, folder) =
        rig(&[("same", "#!/bin/sh\necho reading >&2\nexec cat\n")]).await;
    let first = run(&runner, params("same", json!({}))).await;
    assert_eq!(first.state, RunState::Succeeded, "{:?}", first.error);
    assert_eq!(values(&engine).await, (0..5_000).map(f64::from).collect::<Vec<_>>());
    assert_eq!(
        (&first.summary["rows in"], &first.summary["rows out"]),
        (&json!(5_000), &json!(5_000))
    );
    assert!(first.summary["says"].as_str().unwrap().contains("reading"));
    assert_eq!(first.stages[0].name, "exec");
    let again = reran(&runner, first.id).await;
    assert!(again.is_same && again.outputs[0].found.rows == 5_000, "{again:?}");
    // The same program on the same rows is done once; a changed one is other work.
    assert_eq!(run(&runner, params("same", json!({}))).await.repeated_of, Some(first.id));
    write(folder.path(), "same", "#!/bin/sh\nexec cat\n");
    let changed = run(&runner, params("same", json!({}))).await;
    assert_eq!((changed.state, changed.repeated_of), (RunState::Succeeded, None));
    let error = runner.rerun(&Principal::local(), first.id).await.unwrap_err();
    assert!(error.to_string().contains("its program changed"), "{error}");
    // Rows are added where that is asked for.
    let added = run(&runner, params("same", json!({"mode": "append"}))).await;
    assert_eq!(added.state, RunState::Succeeded, "{:?}", added.error);
    assert_eq!(values(&engine).await.len(), 10_000);
    runner.shutdown().await;
    // What it wrote to stderr is in its log.
    let log = run_log(&engine, &Principal::local(), first.id, (0, 0)).await.unwrap();
    assert!(log.iter().any(|line| line.message == "reading"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_in_a_program_is_told_and_commits_nothing() {
    let (engine, runner, folder) = rig(&[
        ("crash", "#!/bin/sh\necho 'ValueError: no such thing' >&2\nexit 3\n"),
        ("garbage", "#!/bin/sh\necho hello\ncat >/dev/null\n"),
        ("hang", "#!/bin/sh\nexec sleep 600\n"),
        ("silent", "#!/bin/sh\ncat >/dev/null\n"),
        ("same", "#!/bin/sh\nexec cat\n"),
    ])
    .await;
    let text = json!([{"name": "series", "type": "text"}, {"name": "at", "type": "timestamp"}, {"name": "value", "type": "int32"}]);
    let narrow = json!([{"name": "series", "type": "text"}, {"name": "at", "type": "timestamp"}, {"name": "value", "type": "decimal(3,0)"}]);
    for (program, more, code, says) in [
        ("crash", json!({}), Code::BadInput, "it exited with 3"),
        ("crash", json!({"arguments": ["x"]}), Code::BadInput, "ValueError: no such thing"),
        ("garbage", json!({}), Code::BadInput, "no Arrow IPC stream"),
        ("silent", json!({}), Code::BadInput, "it wrote nothing to stdout"),
        ("hang", json!({"wall_seconds": 1}), Code::LimitExceeded, "did not end within 1 s"),
        ("same", json!({"columns": ["valeu"]}), Code::BadInput, "has no column \"valeu\""),
        ("same", json!({"output_columns": narrow}), Code::BadInput, "row 1001 that same wrote"),
        ("same", json!({"columns": ["value"]}), Code::BadInput, "needs column \"series\""),
    ] {
        let record = run(&runner, params(program, more.clone())).await;
        let error = record.error.unwrap_or_else(|| panic!("{program} {more} succeeded"));
        assert_eq!(
            (record.state, error.code.as_str()),
            (RunState::Failed, code.as_str()),
            "{}",
            error.message
        );
        assert!(error.message.contains(says), "{} does not say {says:?}", error.message);
        let path = folder.path().display().to_string();
        assert!(!error.message.contains(&path), "{}", error.message);
        assert_eq!(record.attempts.len(), 0, "it can not pass");
    }
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    assert!(!catalog.datasets.contains_key(&"made".parse().unwrap()), "something was committed");
    // Whole numbers are integers, too.
    let whole = run(&runner, params("same", json!({"output_columns": text}))).await;
    assert_eq!(whole.state, RunState::Succeeded, "{:?}", whole.error);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_stopped_with_its_run() {
    let (_engine, runner, _folder) =
        rig(&[("hang", "#!/bin/sh\ntrap '' TERM\necho begun >&2\nwhile :; do sleep 1; done\n")])
            .await;
    let request = RunRequest {
        job: "exec".into(),
        params: params("hang", json!({})),
        ..RunRequest::default()
    };
    let who = Principal::local();
    let mut updates = runner.updates();
    let handle = runner.submit(&who, request).await.unwrap();
    while updates.recv().await.unwrap().activity["says"] != "begun" {}
    let begun = Instant::now();
    let cancelled = runner.cancel(&who, handle.id()).await.unwrap();
    assert_eq!(cancelled.state, RunState::Cancelled);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_programs_of_the_folder_run_and_none_where_none_is_named() {
    let (engine, runner, folder) = rig(&[("same", "#!/bin/sh\nexec cat\n")]).await;
    std::fs::write(folder.path().join("plain"), "no program").unwrap();
    let who = Principal::local();
    let refused = async |runner: &Runner, program: &str, more: Value| {
        let request = RunRequest {
            job: "exec".into(),
            params: params(program, more),
            ..RunRequest::default()
        };
        runner.submit(&who, request).await.err().unwrap()
    };
    for (program, says) in [
        ("/bin/cat", "expected the name of a file in the folder of programs"),
        ("../same", "expected the name of a file"),
        ("", "expected the name of a file"),
        (".hidden", "expected the name of a file"),
        ("other", "there are plain, same"),
    ] {
        let error = refused(&runner, program, json!({})).await;
        assert!(error.to_string().contains(says), "{error} does not say {says:?}");
    }
    let error = refused(&runner, "same", json!({"output_columns": []})).await;
    assert!(error.to_string().contains("output_columns"), "{error}");
    let plain = run(&runner, params("plain", json!({}))).await;
    let message = plain.error.unwrap().message;
    assert!(message.contains("no file that may be executed"), "{message}");
    assert!(!message.contains(&folder.path().display().to_string()), "{message}");
    // Nobody who runs a program says how it is interpreted.
    let error = refused(&runner, "same", json!({"environment": {"PYTHONWARNINGS": "x"}})).await;
    assert!(error.to_string().contains("environment"), "{error}");
    runner.shutdown().await;
    let off = RunnerOptions { threads: 1, ..RunnerOptions::default() };
    let off = Runner::start(engine, off).await.unwrap();
    let error = refused(&off, "same", json!({})).await;
    assert_eq!(error.code(), Code::Forbidden);
    assert!(error.to_string().contains("the setting `programs` names the folder"), "{error}");
    off.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_several_datasets_at_their_versions() {
    let text = "#!/bin/sh\ncat > stdin\ntest -s stdin && test -s inputs/metrics.arrow && cat inputs/others.arrow\n";
    let (engine, runner, _folder) = rig(&[("second", text)]).await;
    append(&engine, "others", &[sampled("b", 300, vec![1.0, 2.0, 3.0])]).await;
    let mut asked = params("second", json!({"datasets": ["metrics", "others"]}));
    asked.as_object_mut().unwrap().remove("dataset");
    let first = run(&runner, asked.clone()).await;
    assert_eq!(first.state, RunState::Succeeded, "{:?}", first.error);
    assert_eq!(values(&engine).await, [1.0, 2.0, 3.0]);
    let inputs = |record: &RunRecord| {
        let names = record.inputs.iter().map(|input| input.dataset.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(inputs(&first), ["metrics", "others"]);
    // New rows in the second dataset change the inputs.
    append(&engine, "others", &[sampled("c", 300, vec![4.0])]).await;
    let second = run(&runner, asked.clone()).await;
    assert_eq!((second.state, second.repeated_of), (RunState::Succeeded, None));
    assert_eq!(values(&engine).await, [1.0, 2.0, 3.0, 4.0]);
    for (more, says) in [
        (json!({"datasets": ["metrics", "metrics"]}), "found metrics twice"),
        (json!({"datasets": ["nothing"]}), "nothing"),
        (json!({"datasets": (0..17).map(|n| format!("d{n}")).collect::<Vec<_>>()}), "at most 16"),
    ] {
        let request = RunRequest {
            job: "exec".into(),
            params: params("second", more),
            ..RunRequest::default()
        };
        let error = runner.submit(&Principal::local(), request).await.err().unwrap().to_string();
        assert!(error.contains(says), "{error} does not say {says:?}");
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_folder_and_a_cut_output_are_refused() {
    let cut = "#!/bin/sh\nhead -c -8\n";
    let (engine, runner, folder) = rig(&[("same", "#!/bin/sh\nexec cat\n"), ("cut", cut)]).await;
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "other", "#!/bin/sh\nexec cat\n");
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
    };
    link(&outside.path().join("other"), "leads_out");
    link(&folder.path().join("leads_out"), "leads_out_twice");
    link(Path::new("same"), "stays");
    for name in ["leads_out", "leads_out_twice"] {
        let request = RunRequest {
            job: "exec".into(),
            params: params(name, json!({})),
            ..RunRequest::default()
        };
        let error = runner.submit(&Principal::local(), request).await.err().unwrap().to_string();
        assert!(error.contains("outside the folder of programs"), "{error}");
        assert!(!error.contains(&outside.path().display().to_string()), "{error}");
    }
    assert_eq!(run(&runner, params("stays", json!({}))).await.state, RunState::Succeeded);
    let cut = run(&runner, params("cut", json!({"output": "cut"}))).await;
    let message = cut.error.unwrap().message;
    assert!(message.contains("without the end marker of an Arrow stream"), "{message}");
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    assert!(!catalog.datasets.contains_key(&"cut".parse().unwrap()), "rows were committed");
    let accepted = params("cut", json!({"output": "cut", "end_marker": "optional"}));
    assert_eq!(run(&runner, accepted).await.state, RunState::Succeeded);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_as_the_configured_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may run programs as another user");
        return;
    }
    let (engine, runner, folder) =
        rig(&[("who", "#!/bin/sh\nid -u >&2\ntouch own && exec cat\n")]).await;
    runner.shutdown().await;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = RunnerOptions {
        gpu: GpuPolicy::Off,
        threads: 1,
        programs: Some(folder.path().to_owned()),
        programs_user: Some(super::ProgramsUser { id: 65_534, group: 65_534 }),
        ..RunnerOptions::default()
    };
    let runner = Runner::start(engine, options).await.unwrap();
    let ran = run(&runner, params("who", json!({}))).await;
    assert_eq!(ran.state, RunState::Succeeded, "{:?}", ran.error);
    assert_eq!(ran.summary["says"].as_str().unwrap().trim(), "65534");
    runner.shutdown().await;
}
