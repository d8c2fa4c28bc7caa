//! Work that was done before, in whole or in part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use analysis::series::Series;
use engine::{AsOf, Principal};
use serde_json::json;

use super::RunRequest;
use super::tests::{metrics, request, rows, run, runner, texts, version};
use crate::run::record::RunState;
use crate::testing::{append, engine, sampled};

#[tokio::test]
async fn the_same_work_is_done_once_and_its_second_run_names_the_first() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let first = run(&runner, "anomalies", json!({})).await;
    let committed = version(&engine, "anomalies").await;
    // Other words for the same parameters.
    let second = run(&runner, "anomalies", json!({"threshold": 6, "season": "auto"})).await;
    assert_eq!((second.state, second.key.clone()), (RunState::Succeeded, first.key.clone()));
    assert_eq!(second.repeated_of, Some(first.id));
    assert_eq!(second.outputs, first.outputs);
    assert_eq!(version(&engine, "anomalies").await, committed, "a second commit was made");
    let third = run(&runner, "anomalies", json!({})).await;
    assert_eq!(
        third.repeated_of,
        Some(first.id),
        "a repeat of a repeat names the one that did the work"
    );

    let other = run(&runner, "anomalies", json!({"threshold": 7})).await;
    assert_eq!(other.repeated_of, None);
    assert!(version(&engine, "anomalies").await > committed);
    // New input, new work; the old version pinned, the old work.
    append(&engine, "metrics", &[sampled("third", 300, vec![1.0; 20])]).await;
    let newer = run(&runner, "anomalies", json!({})).await;
    assert_eq!(newer.repeated_of, None);
    let pins = vec![(first.inputs[0].dataset.clone(), AsOf::Version(first.inputs[0].version))];
    let pinned = RunRequest { pins, ..request("anomalies", json!({})) };
    let pinned = runner.submit(&Principal::local(), pinned).await.unwrap().wait().await.unwrap();
    assert_eq!(pinned.repeated_of, None, "its results had been replaced");
    assert_eq!(pinned.outputs[0].rows, first.outputs[0].rows);
}

/// Two series with a spike each, which go together.
fn spiky() -> Vec<Series> {
    let mut series = metrics();
    let mut values = series[1].values.clone();
    values[300] = 120.0;
    series.push(sampled("spiky too", 300, values));
    series
}

#[tokio::test]
async fn a_run_on_some_series_leaves_the_results_of_others() {
    let engine = engine().await;
    append(&engine, "metrics", &spiky()).await;
    let runner = runner(&engine).await;
    let no_lag = |series: &[&str]| json!({"series": series, "max_lag": 0, "detrend": "none"});
    for (job, output, column, all, some, changes) in [
        ("anomalies", "anomalies", "series", json!({}), json!({"series": ["spiky"]}), true),
        ("anomalies", "anomalies", "series", json!({}), json!({"series": ["quiet"]}), false),
        (
            "correlate",
            "correlations",
            "series_a",
            no_lag(&[]),
            no_lag(&["spiky", "spiky too"]),
            true,
        ),
    ] {
        let first = run(&runner, job, all.clone()).await;
        assert_eq!(first.state, RunState::Succeeded, "{:?}", first.error);
        let sorted = async || {
            let mut texts = texts(&rows(&engine, output).await, column);
            texts.sort_unstable();
            texts
        };
        let found = sorted().await;
        assert!(found.contains(&"spiky".to_owned()), "{job}: {found:?}");
        assert_eq!(first.summary["replaces"], "all earlier results of metrics");

        let part = run(&runner, job, some.clone()).await;
        assert_eq!((part.state, part.repeated_of), (RunState::Succeeded, None), "{:?}", part.error);
        let replaces = part.summary["replaces"].as_str().unwrap();
        assert!(replaces.ends_with("of metrics; those of others stay"), "{replaces}");
        assert_eq!(sorted().await, found, "{job} {some}");
        // Where rows of the part were made anew, it is not known any more that all are as the first run made them.
        let again = run(&runner, job, all.clone()).await;
        assert_eq!((again.state, again.repeated_of.is_none()), (RunState::Succeeded, changes));
        assert_eq!(sorted().await, found);
        let repeated = run(&runner, job, all).await;
        let made = again.repeated_of.unwrap_or(again.id);
        assert_eq!((repeated.repeated_of, &repeated.outputs), (Some(made), &again.outputs));
    }
}

#[tokio::test]
async fn a_part_without_findings_is_done_once_and_again_when_it_has_changed() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    let quiet = || json!({"series": ["quiet"]});
    let first = run(&runner, "anomalies", quiet()).await;
    assert_eq!(first.outputs[0].rows, Some(0));
    assert_eq!(run(&runner, "anomalies", quiet()).await.repeated_of, Some(first.id));
    run(&runner, "anomalies", json!({})).await;
    let again = run(&runner, "anomalies", quiet()).await;
    assert_eq!((again.state, again.repeated_of), (RunState::Succeeded, None));
    assert_eq!(texts(&rows(&engine, "anomalies").await, "series"), ["spiky"]);
}

#[tokio::test]
async fn a_series_that_is_not_there_is_told_with_those_that_are() {
    let engine = engine().await;
    append(&engine, "metrics", &metrics()).await;
    let runner = runner(&engine).await;
    for (series, says) in [
        (json!(["spiky", "spikey"]), "has no series \"spikey\"; did you mean spiky?"),
        (
            json!(["x", "y"]),
            "has no series \"x\" (and 1 more of those named); there are, among others, quiet, spiky",
        ),
    ] {
        for job in ["anomalies", "correlate"] {
            let record = run(&runner, job, json!({ "series": series })).await;
            let error = record.error.unwrap();
            assert_eq!((record.state, error.code.as_str()), (RunState::Failed, "BAD_INPUT"));
            let expected = format!("{job}: parameter \"series\": dataset metrics {says}");
            assert_eq!(error.message, expected);
        }
    }
    assert_eq!(version(&engine, "anomalies").await, None);
}
