//! Compares the figures of jobs on small open data with those of statsmodels, scipy, scikit-learn,
//! ruptures, pm4py and pandas, which `tests/peers/run-oracles.sh --write` stored. `make oracles` is
//! the long form, which runs these programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::harness::colonnade;

/// Figures of one formula differ by rounding at most.
const ROUNDING: f64 = 1e-9;
/// Smaller figures differ by no more than parts of this.
const LEAST: f64 = 1e-12;

fn cases() -> PathBuf {
    let package = std::env::current_dir().unwrap();
    package.parent().unwrap().join("tests/cases/oracles")
}

#[tokio::test]
async fn figures_are_those_of_other_programs() {
    let folder = cases();
    let text = std::fs::read_to_string(folder.join("figures.json")).unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let root = tempfile::tempdir().unwrap();
    let named = all.iter().flat_map(|case| case["data"].as_array().unwrap());
    for name in named.map(|name| name.as_str().unwrap()).collect::<BTreeSet<_>>() {
        let file = folder.join(format!("{name}.csv"));
        let arguments = ["ingest", name, file.to_str().unwrap(), "--create", "--json"];
        let loaded = colonnade(root.path(), &arguments).await.json();
        assert_eq!(loaded["quarantined"], 0, "{name}: {loaded}");
    }
    let runs: BTreeSet<Vec<String>> = all.iter().filter_map(run_of).collect();
    for run in &runs {
        let arguments: Vec<&str> = run.iter().map(String::as_str).collect();
        let record = colonnade(root.path(), &arguments).await.json();
        assert_eq!(record["state"], "succeeded", "{record}");
    }
    let answers = answers(root.path(), &all).await;
    let mut wrong = Vec::new();
    for (case, answer) in all.iter().zip(&answers) {
        for (name, expected) in case["figures"].as_object().unwrap() {
            if let Some(difference) = differs(answer, name, expected) {
                wrong.push(format!("{} of {}: {difference}", case["job"], case["data"]));
            }
        }
    }
    assert!(all.len() >= 20, "{} cases", all.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The command that runs the job of a case; none if the case is a query alone.
fn run_of(case: &Value) -> Option<Vec<String>> {
    let job = case["job"].as_str()?;
    let params = case["params"].as_object().unwrap();
    let params = params.iter().map(|(name, value)| format!("{name}={value}"));
    let params = params.flat_map(|param| ["--param".to_owned(), param]);
    Some(
        ["run", job, "--gpu", "off", "--json"]
            .map(str::to_owned)
            .into_iter()
            .chain(params)
            .collect(),
    )
}

/// The one row of the query of each case.
async fn answers(root: &Path, cases: &[Value]) -> Vec<Map<String, Value>> {
    let queries: Vec<&str> = cases.iter().map(|case| case["sql"].as_str().unwrap()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), queries.join(";\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let outcome = colonnade(root, &["sql", "-f", path, "--format", "ndjson"]).await;
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let answers: Vec<_> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len(), "each query answers with one row");
    answers
}

/// What is wrong with a figure, if anything is.
fn differs(answer: &Map<String, Value>, name: &str, expected: &Value) -> Option<String> {
    let actual = answer.get(name).unwrap_or(&Value::Null);
    let theirs = expected.get("equals").or_else(|| expected.get("theirs")).unwrap();
    let is_fine = match (actual.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => match expected["at_most"].as_f64() {
            Some(most) => ours <= most,
            None => {
                let within = expected["within"].as_f64().unwrap_or(ROUNDING);
                (ours - theirs).abs() <= within * theirs.abs().max(LEAST)
            }
        },
        _ => actual == theirs,
    };
    (!is_fine).then(|| format!("{name} is {actual}, expected {expected}"))
}

#[test]
fn a_wrong_figure_is_found() {
    let answer = serde_json::json!({"a": 1.0, "b": "x", "c": 5.0, "d": null, "p": 1e-10});
    let answer = answer.as_object().unwrap();
    let is_wrong = |name: &str, expected: Value| differs(answer, name, &expected).is_some();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert!(!is_wrong("a", json(r#"{"equals": 1}"#)));
    assert!(is_wrong("a", json(r#"{"equals": 1.00000001}"#)));
    assert!(!is_wrong("a", json(r#"{"theirs": 1.00000001, "within": 1e-6}"#)));
    assert!(!is_wrong("b", json(r#"{"equals": "x"}"#)));
    assert!(is_wrong("b", json(r#"{"equals": "y"}"#)));
    assert!(!is_wrong("c", json(r#"{"theirs": 4.0, "at_most": 5.0}"#)));
    assert!(is_wrong("c", json(r#"{"theirs": 4.0, "at_most": 4.9}"#)));
    assert!(is_wrong("p", json(r#"{"equals": 2e-10}"#)));
    assert!(is_wrong("d", json(r#"{"equals": 0.0}"#)));
    assert!(is_wrong("e", json(r#"{"equals": 0.0}"#)));
}
