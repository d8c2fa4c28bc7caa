//! Pipelines on a root in memory: their graphs, their runs, and what is wrong with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, StringArray};
use datasets::ColumnType;
use engine::{Code, Engine, Principal, RunId};
use kernels::GpuPolicy;
use serde_json::json;

use super::{Applied, Graph, PipelineRun, PipelineState, Step};
use crate::kinds::Jobs;
use crate::run::record::{RunState, now};
use crate::run::runner::{Runner, RunnerOptions, Takes};
use crate::schedules::{Schedule, Trigger, fire_due};
use crate::testing::{engine, engine_at, table};

/// Three steps in a row and one beside: `clean` -> `counts` -> `top`, and `clean` -> `ids`.
const PIPELINE: &str = r#"
name = "tickets-daily"

[[steps]]
name = "top"
job = "sql"
params = { query = "SELECT queue, n FROM ticket_counts WHERE n > 1", output = "top_queues" }

[[steps]]
name = "clean"
job = "sql"
params = { query = "SELECT id, queue FROM tickets WHERE queue IS NOT NULL", output = "clean_tickets" }

[[steps]]
name = "counts"
job = "sql"
params = { query = "SELECT queue, count(*) AS n FROM clean_tickets GROUP BY queue", output = "ticket_counts" }

[[steps]]
name = "ids"
job = "sql"
params = { query = "SELECT id FROM clean_tickets", output = "ticket_ids" }
"#;

async fn tickets(engine: &Engine, rows: i64) {
    let queue = |id: i64| ["billing", "login"][usize::try_from(id % 2).unwrap()];
    let queues = (0..rows).map(|id| (id % 5 != 4).then(|| queue(id)));
    table(
        engine,
        "tickets",
        &[
            ("id", ColumnType::Int64, Arc::new(Int64Array::from_iter_values(0..rows))),
            ("queue", ColumnType::Text, Arc::new(StringArray::from_iter(queues))),
        ],
    )
    .await;
}

fn who() -> Principal {
    Principal::local()
}

fn pipeline(text: &str) -> Schedule {
    Schedule::from_toml(text, "test").unwrap()
}

fn with(trigger: &str) -> Schedule {
    pipeline(&PIPELINE.replacen("\n\n", &format!("\n[trigger]\n{trigger}\n\n"), 1))
}

async fn apply(runner: &Runner, asked: Schedule) -> engine::Result<(PipelineState, Applied)> {
    Ok(runner.apply_pipelines(&who(), vec![asked]).await?.remove(0))
}

async fn worker(engine: &Engine, takes: Takes) -> Runner {
    let options =
        RunnerOptions { gpu: GpuPolicy::Off, threads: 1, takes, ..RunnerOptions::default() };
    Runner::start(engine.clone(), options).await.unwrap()
}

async fn until(runner: &Runner, name: &str, is_it: impl Fn(&PipelineRun) -> bool) -> PipelineRun {
    let begun = Instant::now();
    loop {
        let run = runner.pipeline(&who(), name).await.unwrap().last_run;
        if let Some(run) = run.clone().filter(&is_it) {
            return run;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "stuck at {run:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn states(run: &PipelineRun) -> Vec<(&str, Option<RunState>)> {
    run.steps.iter().map(|step| (step.name.as_str(), step.state)).collect()
}

async fn count(engine: &Engine, name: &str) -> u64 {
    let catalog = engine.refresh_catalog(&who()).await.unwrap();
    catalog.dataset(&datasets::DatasetName::new(name).unwrap()).unwrap().rows.unwrap()
}

#[test]
fn a_step_waits_for_those_that_make_what_it_reads_and_those_that_it_names() {
    let steps = pipeline(PIPELINE).steps;
    let graph = Graph::of("p", &steps, &Jobs::default()).unwrap();
    let order: Vec<&str> = graph.nodes.iter().map(|node| node.step.name.as_str()).collect();
    assert_eq!(order, ["clean", "counts", "top", "ids"]);
    let edges: Vec<(&str, &str, &str)> = graph
        .edges
        .iter()
        .map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.datasets[0].as_str()))
        .collect();
    assert_eq!(
        edges,
        [
            ("counts", "top", "ticket_counts"),
            ("clean", "counts", "clean_tickets"),
            ("clean", "ids", "clean_tickets"),
        ]
    );
    // Whoever asks for the other order reads what was there before.
    let mut steps = steps;
    steps[1].after = vec!["counts".into()];
    let graph = Graph::of("p", &steps, &Jobs::default()).unwrap();
    assert!(graph.before("clean").eq(["counts"]) && graph.before("counts").next().is_none());
}

#[test]
fn steps_that_wait_for_each_other_are_told_in_a_circle() {
    let mut steps = pipeline(PIPELINE).steps;
    steps[1].params["query"] = json!("SELECT queue AS id, queue FROM top_queues");
    let error = Graph::of("p", &steps, &Jobs::default()).unwrap_err();
    assert_eq!(error.code(), Code::BadInput);
    assert_eq!(
        error.to_string(),
        "pipeline p: its steps wait for each other, for ever: top -> clean -> counts -> top (clean reads top_queues, which top makes; \
         counts reads clean_tickets, which clean makes; top reads ticket_counts, which counts makes)"
    );
}

#[test]
fn a_text_that_is_no_pipeline_says_what_is_wrong_and_where() {
    let step = "[[steps]]\nname = \"a\"\njob = \"sql\"\n";
    for (text, says) in [
        ("name = 1", "test: line 1, column 8: invalid type: integer `1`, expected a string"),
        ("name = \"a\"", "missing field `steps`"),
        ("name = \"a\"\nstep = []\nsteps = []", "line 2, column 1: unknown field `step`"),
        (&format!("{step}parms = 1"), "unknown field `parms`"),
        (&format!("{step}gpu = \"yes\""), "pipeline test, step a: gpu"),
        (&format!("{step}params = 1"), "step a: params: expected a table, or JSON, found integer"),
        (&format!("{step}params = \"{{\""), "step a: params: expected a table, or JSON: EOF"),
        (&format!("[trigger]\nzone = \"UTC\"\n{step}"), "trigger.zone: goes with `cron`"),
        (
            &format!("[trigger]\non_change = \"a\"\ncron = \"@daily\"\n{step}"),
            "trigger: expected one of `cron`, `on_change` and `after`",
        ),
    ] {
        let error = Schedule::from_toml(text, "test").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let long = format!("# {}", "x".repeat(300_000));
    assert!(Schedule::from_toml(&long, "a.toml").unwrap_err().to_string().contains("at most"));
    // As deep as one likes: refused, not overflowed.
    let deep = format!("{step}params = {{ a = {}1{} }}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(Schedule::from_toml(&deep, "deep").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_steps_can_not_read_is_told_before_it_is_made() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::Own).await;
    for (from, to, says) in [
        (
            "FROM tickets",
            "FROM tickts",
            "step clean: dataset tickts is not there, and no step before makes it",
        ),
        ("SELECT id, queue", "SELECT id, qeue AS queue", "step clean: "),
        // What the step before makes has no such column.
        (
            "SELECT queue, count(*) AS n",
            "SELECT queue AS q, count(*) AS n",
            "step top: there is no column \"queue\"; did you mean q?",
        ),
        ("count(*) AS n", "count(*) AS many", "step top: "),
        (
            "job = \"sql\"\nparams = { query = \"SELECT id F",
            "job = \"sqll\"\nparams = { query = \"SELECT id F",
            "step ids: job \"sqll\": no such kind",
        ),
        ("name = \"ids\"", "name = \"top\"", "two steps are called top"),
        ("name = \"ids\"", "name = \"Ids\"", "step \"Ids\": expected a name"),
        (
            "output = \"clean_tickets\"",
            "output = \"tickets\"",
            "the query reads tickets, and a job does not write to its own input",
        ),
        (
            "name = \"ids\"",
            "name = \"ids\"\nafter = [\"cleen\"]",
            "step ids: after \"cleen\": expected another step; did you mean clean?",
        ),
        (
            "output = \"ticket_ids\"",
            "output = \"ticket_counts\"",
            "steps counts and ids both make ticket_counts, and neither waits for the other; give one another output",
        ),
    ] {
        let text = PIPELINE.replacen(from, to, 1);
        assert_ne!(text, PIPELINE, "{from}");
        let error = apply(&runner, pipeline(&text)).await.unwrap_err().to_string();
        assert!(error.contains("pipeline tickets-daily") && error.contains(says), "{error}");
    }
    // A column of another type, of a step that is no query.
    let embed = "[[steps]]\nname = \"embed\"\njob = \"embed\"\nparams = { dataset = \"clean_tickets\", text_columns = [\"id\"], embedder = \"ngram\" }\n";
    let error = apply(&runner, pipeline(&format!("{PIPELINE}{embed}"))).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("step embed: embed: parameter \"text_columns\": column \"id\" of dataset clean_tickets: expected a text, found int64"), "{error}");
    // It would start itself.
    let error = apply(&runner, with("on_change = \"top_queues\"")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("top_queues"), "{error}");
    table(
        &engine,
        "top_queues",
        &[("queue", ColumnType::Text, Arc::new(StringArray::from(vec!["a"])))],
    )
    .await;
    let error = apply(&runner, with("on_change = \"top_queues\"")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("its runs would start it again, for ever"), "{error}");
    // Each run has rows of these.
    for dataset in ["runs", "run_logs", "run_stages"] {
        let text = format!("on_change = \"{dataset}\"");
        let spec = match dataset {
            "runs" => crate::run::ledger::runs_spec().unwrap(),
            "run_logs" => crate::run::logs::logs_spec().unwrap(),
            _ => crate::run::stages::stages_spec().unwrap(),
        };
        engine.ensure_derived(&who(), &spec).await.unwrap();
        let error = apply(&runner, with(&text)).await.unwrap_err().to_string();
        assert!(error.contains("its runs would start it again, for ever"), "{error}");
    }
    let models = PIPELINE.replacen("output = \"top_queues\"", "output = \"models\"", 1);
    let error = apply(&runner, pipeline(&models)).await.unwrap_err().to_string();
    assert!(error.contains("step top") && error.contains("kept for other records"), "{error}");
    let named = Schedule { name: "sql".into(), ..pipeline(PIPELINE) };
    let error = apply(&runner, named).await.unwrap_err().to_string();
    assert!(error.contains("expected a name that no job has"), "{error}");
    assert!(runner.pipelines(&who()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_in_order_and_those_behind_one_that_failed_when_it_is_mended() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::All).await;
    let (state, applied) = apply(&runner, pipeline(PIPELINE)).await.unwrap();
    assert_eq!((applied, state.last_run.is_none()), (Applied::Added, true));
    let (_, applied) = apply(&runner, pipeline(PIPELINE)).await.unwrap();
    assert_eq!(applied, Applied::Same);
    let run = runner.run_pipeline(&who(), "tickets-daily").await.unwrap();
    assert_eq!(run.state, RunState::Running);
    let run = until(&runner, "tickets-daily", |run| run.state.is_final()).await;
    let done = Some(RunState::Succeeded);
    assert_eq!(states(&run), [("clean", done), ("counts", done), ("top", done), ("ids", done)]);
    assert_eq!((run.state, count(&engine, "ticket_ids").await), (RunState::Succeeded, 16));
    let of_clean = runner.get(&who(), run.steps[0].run.unwrap()).await.unwrap();
    assert_eq!(of_clean.schedule.as_deref(), Some("tickets-daily/clean"));
    assert_eq!(of_clean.logical_time.as_deref(), Some(run.id.as_str()));
    // A step in the middle that fails when it runs: the one beside it is done, the one behind it waits.
    let bad = PIPELINE.replacen("count(*) AS n", "count(*) / 0 AS n", 1);
    let (_, applied) = apply(&runner, pipeline(&bad)).await.unwrap();
    assert_eq!(applied, Applied::Changed);
    tickets(&engine, 40).await;
    runner.run_pipeline(&who(), "tickets-daily").await.unwrap();
    let first = run.id;
    let ended = |run: &PipelineRun| run.id != first && run.state.is_final();
    let run = until(&runner, "tickets-daily", ended).await;
    let failed = Some(RunState::Failed);
    assert_eq!(states(&run), [("clean", done), ("counts", failed), ("top", None), ("ids", done)]);
    assert_eq!((run.state, count(&engine, "ticket_ids").await), (RunState::Failed, 32));
    // Mended and told to go on: what succeeded does not run again.
    apply(&runner, pipeline(PIPELINE)).await.unwrap();
    let goes_on = runner.retry_pipeline(&who(), "tickets-daily", None).await.unwrap();
    assert_eq!(goes_on.id, run.id);
    let mended = until(&runner, "tickets-daily", ended).await;
    assert_eq!(states(&mended), [("clean", done), ("counts", done), ("top", done), ("ids", done)]);
    assert_eq!(mended.id, run.id);
    for step in [0, 3] {
        assert_eq!(mended.steps[step].run, run.steps[step].run);
    }
    assert_ne!(mended.steps[1].run, run.steps[1].run);
    let error = runner.retry_pipeline(&who(), "tickets-daily", None).await.unwrap_err();
    assert!(error.to_string().contains("found it succeeded"), "{error}");
    assert_eq!(runner.pipeline_runs(&who(), "tickets-daily", 10).await.unwrap().len(), 2);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_begin_one_run_and_what_comes_meanwhile_the_next() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    // It works at nothing: what is queued stays there.
    let runner = worker(&engine, Takes::Own).await;
    let on_change = with("on_change = \"tickets\"\nevery_seconds = 0");
    apply(&runner, on_change).await.unwrap();
    assert_eq!(fire_due(&runner, now()).await.unwrap(), 0);
    tickets(&engine, 30).await;
    for _ in 0..3 {
        fire_due(&runner, now()).await.unwrap();
        tickets(&engine, 30).await;
    }
    let runs = runner.pipeline_runs(&who(), "tickets-daily", 10).await.unwrap();
    assert_eq!(runs.len(), 1);
    let waits = states(&runs[0]);
    assert_eq!(waits[0], ("clean", Some(RunState::Queued)));
    assert!(waits[1..].iter().all(|step| step.1.is_none()), "{waits:?}");
    let error = runner.run_pipeline(&who(), "tickets-daily").await.unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    let cancelled = runner.cancel_pipeline(&who(), "tickets-daily", None).await.unwrap();
    assert_eq!(cancelled.state, RunState::Cancelled);
    assert_eq!(states(&cancelled)[0], ("clean", Some(RunState::Cancelled)));
    let error = runner.cancel_pipeline(&who(), "tickets-daily", None).await.unwrap_err();
    assert!(error.to_string().contains("found it cancelled"), "{error}");
    // What came meanwhile is one run; one that rests begins none.
    runner.pause_schedule(&who(), "tickets-daily").await.unwrap();
    fire_due(&runner, now()).await.unwrap();
    assert_eq!(runner.pipeline_runs(&who(), "tickets-daily", 10).await.unwrap().len(), 1);
    runner.resume_schedule(&who(), "tickets-daily").await.unwrap();
    tickets(&engine, 31).await;
    for _ in 0..3 {
        fire_due(&runner, now()).await.unwrap();
    }
    let runs = runner.pipeline_runs(&who(), "tickets-daily", 10).await.unwrap();
    assert_eq!((runs.len(), runs[0].state), (2, RunState::Running));
    assert!(runs[0].logical_time.starts_with("tickets@"), "{:?}", runs[0]);
    // One that was cancelled goes on when no other does.
    let retry = async |id: &str| runner.retry_pipeline(&who(), "tickets-daily", Some(id)).await;
    assert_eq!(retry(&cancelled.id).await.unwrap_err().code(), Code::Conflict);
    // Neither does a step of it by itself.
    let step = cancelled.steps[0].run.unwrap();
    assert_eq!(runner.retry(&who(), step).await.err().map(|e| e.code()), Some(Code::Conflict));
    runner.cancel_pipeline(&who(), "tickets-daily", None).await.unwrap();
    let retried = retry(&cancelled.id).await.unwrap();
    assert_eq!(states(&retried)[0], ("clean", Some(RunState::Queued)));
    let id = RunId::new().to_string();
    let error = runner.retry_pipeline(&who(), "tickets-daily", Some(&id)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    // Nothing goes while it is at work. With it go its runs; those of the queue stay.
    let error = runner.remove_schedule(&who(), "tickets-daily").await.unwrap_err();
    assert!(error.to_string().contains("goes on; wait for its end, or cancel it"), "{error}");
    runner.cancel_pipeline(&who(), "tickets-daily", Some(&retried.id)).await.unwrap();
    let open = runner.list(&who(), crate::RunFilter::default()).await.unwrap().len();
    runner.remove_schedule(&who(), "tickets-daily").await.unwrap();
    assert!(runner.store().ticks_of("default", &retried.id).await.unwrap().is_empty());
    assert_eq!(runner.list(&who(), crate::RunFilter::default()).await.unwrap().len(), open);
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_has_one_run_whoever_looks() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (engine_at(folder.path()).await, engine_at(folder.path()).await);
    tickets(&one, 20).await;
    let (a, b) = (worker(&one, Takes::Own).await, worker(&two, Takes::Own).await);
    apply(&a, pipeline(PIPELINE)).await.unwrap();
    let run = a.run_pipeline(&who(), "tickets-daily").await.unwrap();
    let works = worker(&two, Takes::All).await;
    let begun = Instant::now();
    while !a.pipeline(&who(), "tickets-daily").await.unwrap().last_run.unwrap().state.is_final() {
        let (now, runners) = (now(), [&a, &b, &works]);
        let looks = runners.map(|runner| fire_due(runner, now));
        for looked in futures::future::join_all(looks).await {
            looked.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let all = a.list(&who(), crate::RunFilter::default()).await.unwrap();
    assert_eq!(all.len(), 4, "{all:?}");
    let last = a.pipeline(&who(), "tickets-daily").await.unwrap().last_run.unwrap();
    assert_eq!((last.id, last.state), (run.id, RunState::Succeeded));
    for runner in [a, b, works] {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_may_wait_for_a_step_and_not_for_a_pipeline() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::Own).await;
    apply(&runner, pipeline(PIPELINE)).await.unwrap();
    let after = |after: &str| {
        let steps: Vec<Step> = Vec::new();
        Schedule {
            name: "later".into(),
            job: "sql".into(),
            params: json!({"query": "SELECT id FROM tickets", "output": "later_rows"}),
            steps,
            trigger: Trigger::After { after: after.into() },
            ..pipeline(PIPELINE)
        }
    };
    let error = runner.add_schedule(&who(), after("tickets-daily")).await.unwrap_err().to_string();
    assert!(
        error.contains(
            "it is a pipeline; expected a step of it: tickets-daily/top, tickets-daily/clean"
        ),
        "{error}"
    );
    runner.add_schedule(&who(), after("tickets-daily/top")).await.unwrap();
    // A schedule is no pipeline, and takes no pipeline's place.
    assert_eq!(runner.pipeline(&who(), "later").await.unwrap_err().code(), Code::NotFound);
    let error = apply(&runner, Schedule { name: "later".into(), ..pipeline(PIPELINE) }).await;
    assert_eq!(error.unwrap_err().code(), Code::Conflict);
    let reader = Principal { roles: vec![engine::Role::Reader], ..who() };
    assert_eq!(
        runner.run_pipeline(&reader, "tickets-daily").await.unwrap_err().code(),
        Code::Forbidden
    );
    assert_eq!(runner.pipelines(&reader).await.unwrap().len(), 1);
    // What another comes after goes when that is said.
    let other = PIPELINE.replacen("name = \"top\"", "name = \"best\"", 1);
    let error = apply(&runner, pipeline(&other)).await.unwrap_err().to_string();
    assert!(
        error.contains("schedule later comes after tickets-daily/top, which would be"),
        "{error}"
    );
    assert_eq!(runner.remove_schedule(&who(), "tickets-daily").await.unwrap(), ["later"]);
    apply(&runner, pipeline(&other)).await.unwrap();
    assert!(runner.remove_schedule(&who(), "later").await.unwrap().is_empty());
    assert!(runner.remove_schedule(&who(), "tickets-daily").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_definitions_all_are_applied_or_none() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::Own).await;
    let report = |output: &str| {
        let step = format!(
            "[[steps]]\nname = \"all\"\njob = \"sql\"\nparams = {{ query = \"SELECT id FROM tickets\", output = \"{output}\" }}\n"
        );
        pipeline(&format!("name = \"after\"\n[trigger]\nafter = \"tickets-daily/top\"\n{step}"))
    };
    let both = |output| vec![report(output), pipeline(PIPELINE)];
    let refused = runner.apply_pipelines(&who(), both("tickets")).await.unwrap_err();
    assert!(refused.to_string().contains("pipeline after, step all"), "{refused}");
    let bad = PIPELINE.replacen("FROM tickets ", "FROM nothing ", 1);
    let refused = runner.apply_pipelines(&who(), vec![report("all_ids"), pipeline(&bad)]).await;
    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    let twice = runner.apply_pipelines(&who(), vec![pipeline(PIPELINE), pipeline(PIPELINE)]).await;
    assert!(twice.unwrap_err().to_string().contains("there are two definitions of it"));
    assert!(runner.pipelines(&who()).await.unwrap().is_empty());
    // One comes after the other, which is not there yet.
    let made = runner.apply_pipelines(&who(), both("all_ids")).await.unwrap();
    assert!(made.iter().all(|(_, applied)| *applied == Applied::Added) && made.len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_without_the_steps_that_were_taken_out_and_others_come_after_those_that_are_done()
 {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::All).await;
    let bad = PIPELINE.replacen("count(*) AS n", "count(*) / 0 AS n", 1);
    apply(&runner, pipeline(&bad)).await.unwrap();
    let later = Schedule {
        name: "later".into(),
        job: "sql".into(),
        params: json!({"query": "SELECT count(*) AS n FROM top_queues", "output": "how_many"}),
        steps: Vec::new(),
        trigger: Trigger::After { after: "tickets-daily/top".into() },
        ..pipeline(PIPELINE)
    };
    runner.add_schedule(&who(), later).await.unwrap();
    let run = runner.run_pipeline(&who(), "tickets-daily").await.unwrap();
    let failed = until(&runner, "tickets-daily", |run| run.state.is_final()).await;
    assert_eq!(failed.state, RunState::Failed);
    // The step that failed has another name and is right.
    let mended = PIPELINE.replacen("name = \"counts\"", "name = \"sums\"", 1);
    apply(&runner, pipeline(&mended)).await.unwrap();
    runner.retry_pipeline(&who(), "tickets-daily", None).await.unwrap();
    let ended = until(&runner, "tickets-daily", |run| run.state.is_final()).await;
    assert_eq!((&ended.id, ended.state), (&run.id, RunState::Succeeded), "{ended:?}");
    let begun = Instant::now();
    let came_after = async || {
        let all = runner.list(&who(), crate::RunFilter::default()).await.unwrap();
        all.into_iter().filter(|run| run.schedule.as_deref() == Some("later")).count()
    };
    while came_after().await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing came after the step");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    runner.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_begin_a_run_at_once_one_does() {
    let engine = engine().await;
    tickets(&engine, 20).await;
    let runner = worker(&engine, Takes::Own).await;
    apply(&runner, pipeline(PIPELINE)).await.unwrap();
    let me = who();
    let begin = (0..12).map(|_| runner.run_pipeline(&me, "tickets-daily"));
    let begun = futures::future::join_all(begin).await;
    assert_eq!(begun.iter().filter(|run| run.is_ok()).count(), 1);
    let refused = begun.iter().filter_map(|run| run.as_ref().err());
    assert!(refused.clone().count() == 11);
    for error in refused {
        assert_eq!(error.code(), Code::Conflict, "{error}");
    }
    assert_eq!(runner.pipeline_runs(&me, "tickets-daily", 100).await.unwrap().len(), 1);
}

#[test]
fn a_hundred_steps_that_all_wait_for_all_before_them_are_a_graph() {
    let steps: Vec<Step> = (0..100)
        .map(|at| Step {
            name: format!("s{at}"),
            job: "sql".into(),
            params: json!({"query": "SELECT 1 AS one", "output": format!("o{at}")}),
            gpu: None,
            after: (0..at).map(|before| format!("s{before}")).collect(),
        })
        .collect();
    let begun = Instant::now();
    let graph = Graph::of("dense", &steps, &Jobs::default()).unwrap();
    assert_eq!((graph.nodes.len(), graph.edges.len()), (100, 4_950));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
