#![allow(clippy::unwrap_used, clippy::print_stderr)]
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Noise, engine, refusal_of, rows, summary_of, write};

/// A trial: who, of what task and kind, whether it succeeded, and what it cost.
type Trial = (String, String, String, Option<bool>, Option<f64>);

fn trial(agent: &str, task: &str, kind: &str, success: bool, cost: f64) -> Trial {
    (agent.into(), task.into(), kind.into(), Some(success), Some(cost))
}

async fn trials(engine: &Engine, of: &[Trial]) {
    let text = |get: fn(&Trial) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(of.iter().map(get)))
    };
    let success: BooleanArray = of.iter().map(|of| of.3).collect();
    let cost: Float64Array = of.iter().map(|of| of.4).collect();
    let columns = [
        ("agent", ColumnType::Text, text(|of| &of.0)),
        ("task", ColumnType::Text, text(|of| &of.1)),
        ("kind", ColumnType::Text, text(|of| &of.2)),
        ("ok", ColumnType::Bool, Arc::new(success) as ArrayRef),
        ("cost", ColumnType::Float64, Arc::new(cost) as ArrayRef),
    ];
    write(engine, "trials", WriteMode::Overwrite, &columns).await;
}

fn asked(more: Value) -> Value {
    let mut params = json!({
        "dataset": "trials", "agent_column": "agent", "task_column": "task", "success": "ok", "measures": { "cost": "lower" },
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[tokio::test]
async fn successes_measures_and_who_is_better() {
    let engine = engine().await;
    let mut all = Vec::new();
    for task in 0..40 {
        let name = format!("t{task}");
        // The first solves each task at both tries; the second half of them, at one of two; both cost the same.
        for attempt in 0..2 {
            let cost = f64::from(task % 5);
            all.push(trial("good", &name, "", true, cost));
            all.push(trial("bad", &name, "", task % 2 == 0 && attempt == 0, cost));
        }
    }
    all.push(trial("", "t0", "", true, 1.0));
    all.push(("good".into(), "t0".into(), String::new(), None, Some(1.0)));
    all.push(trial("good", "", "", true, 1.0));
    trials(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let counts = [
        "trials",
        "trials_left_out",
        "agents",
        "comparisons",
        "better_at_success",
        "better_at_measures",
    ];
    assert_eq!(
        counts.map(|name| summary[name].as_u64().unwrap()),
        [160, 3, 2, 2, 1, 0],
        "{summary}"
    );
    let results = "SELECT agent, kind, tasks, trials, successes, success_rate, all_succeed FROM agent_results ORDER BY 1, 2";
    let expected = ["bad * 40 80 20 0.25 [0.25,0.0]", "good * 40 80 80 1.0 [1.0,1.0]"];
    assert_eq!(rows(&engine, results).await, expected);
    let bounds =
        "SELECT success_lower > 0.1, success_upper < 0.5 FROM agent_results WHERE agent = 'bad'";
    assert_eq!(rows(&engine, bounds).await, ["true true"]);
    let measures = "SELECT agent, measure, trials, mean, task_mean, median, p95 FROM agent_measures ORDER BY 1";
    assert_eq!(
        rows(&engine, measures).await,
        ["bad cost 80 2.0 2.0 2.0 4.0", "good cost 80 2.0 2.0 2.0 4.0"]
    );
    let compared = "SELECT measure, agent_a, agent_b, way, tasks_a, tasks_b, difference, p_value < 1e-7, better FROM agent_comparisons ORDER BY 1";
    let expected =
        ["cost bad good paired 40 40 0.0 false ", "success bad good paired 40 40 0.75 true b"];
    assert_eq!(rows(&engine, compared).await, expected);
}

#[tokio::test]
async fn kinds_of_tasks_and_versions_are_told_apart() {
    let engine = engine().await;
    let mut all = Vec::new();
    // The second is better at both kinds, and had more of the hard ones.
    for (agent, kind, count, successes) in [
        ("a", "easy", 900, 810),
        ("b", "easy", 100, 98),
        ("a", "hard", 100, 20),
        ("b", "hard", 900, 405),
    ] {
        for at in 0..count {
            all.push(trial(agent, &format!("{agent}{kind}{at}"), kind, at < successes, 1.0));
        }
    }
    trials(&engine, &all).await;
    let compared =
        "SELECT way, round(difference, 6), better FROM agent_comparisons WHERE measure = 'success'";
    summary_of(&engine, NAME, asked(json!({ "kind_column": "kind" }))).await;
    assert_eq!(rows(&engine, compared).await, ["apart 0.165 b"]);
    let results = "SELECT agent, kind, trials, success_rate FROM agent_results ORDER BY 1, 2";
    let expected = [
        "a * 1000 0.83",
        "a easy 900 0.9",
        "a hard 100 0.2",
        "b * 1000 0.503",
        "b easy 100 0.98",
        "b hard 900 0.45",
    ];
    assert_eq!(rows(&engine, results).await, expected);
    // Whoever mixes them is told the opposite.
    summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!(rows(&engine, compared).await, ["apart -0.327 a"]);
    // The same by versions: each kind a version.
    summary_of(&engine, NAME, asked(json!({ "version_column": "kind", "measures": {} }))).await;
    let versions = "SELECT agent, agent_version, kind, trials FROM agent_results ORDER BY 1, 2";
    let expected = ["a easy * 900", "a hard * 100", "b easy * 100", "b hard * 900"];
    assert_eq!(rows(&engine, versions).await, expected);
    let of_two = "SELECT version_a, version_b, better FROM agent_comparisons WHERE agent_a = 'a' AND agent_b = 'a'";
    assert_eq!(rows(&engine, of_two).await, ["easy hard a"]);
}

/// Worlds of agents that are equally good: in at most one of twenty anybody is called better. In those in which one is better by what is
/// said to be detectable, it mostly is found. `COLONNADE_WORLDS=1000` tries as many.
#[test]
fn who_is_not_better_is_not_called_so() {
    use super::read::{Trials, tests_of};
    let worlds: u64 = std::env::var("COLONNADE_WORLDS").map_or(100, |of| of.parse().unwrap());
    let params: super::Params =
        serde_json::from_value(json!({ "measures": { "cost": "lower" } })).unwrap();
    let (mut wrong, mut found, mut looked_for) = (0, 0, 0);
    for world in 0..worlds {
        let mut noise = Noise::new(world);
        let agents = 2 + (world % 5) as usize;
        let tasks = [12, 40, 120, 400][world as usize / 5 % 4];
        let (is_paired, tries) = (world % 2 == 0, 1 + world as usize % 3);
        // Of every other world one agent is better than all others.
        let lift = if world % 4 < 2 { 0.0 } else { 0.25 };
        let mut trials = Trials::default();
        let chances: Vec<f64> = (0..tasks).map(|_| 0.2 + 0.5 * noise.uniform()).collect();
        for agent in 0..agents {
            for (task, chance) in chances.iter().enumerate() {
                let name =
                    if is_paired { format!("t{task:04}") } else { format!("{agent} {task:04}") };
                for _ in 0..tries {
                    let chance = chance + if agent == 0 { lift } else { 0.0 };
                    let success = noise.uniform() < chance;
                    tests_of::push(&mut trials, agent, &name, success, noise.normal().exp());
                }
            }
        }
        let compared = super::compare(&trials, &params, &|| Ok(())).unwrap();
        let is_false = |of: &super::Comparison| match (of.of, lift > 0.0) {
            (super::Of::Success, true) => {
                of.better.is_some() && of.a != 0 || of.better == Some(of.b)
            }
            _ => of.better.is_some(),
        };
        wrong += u64::from(compared.iter().any(is_false));
        let right =
            |of: &&super::Comparison| of.of == super::Of::Success && of.a == 0 && lift > 0.0;
        for of in compared.iter().filter(right).filter(|of| of.found.detectable < lift) {
            looked_for += 1;
            found += u64::from(of.better == Some(0));
        }
    }
    eprintln!(
        "{wrong} of {worlds} worlds with a false finding; {found} of {looked_for} detectable differences found"
    );
    let most = worlds as f64 * 0.05 + 3.0 * (worlds as f64 * 0.05 * 0.95).sqrt();
    assert!((wrong as f64) <= most, "{wrong} of {worlds}");
    assert!(looked_for * 3 >= worlds && found * 10 >= looked_for * 7, "{found} of {looked_for}");
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let engine = engine().await;
    trials(&engine, &[trial("a", "t", "k", true, 1.0)]).await;
    for (params, says) in [
        (
            json!({ "agent_column": "who" }),
            "parameter \"agent_column\": dataset trials has no column \"who\"",
        ),
        (
            json!({ "task_column": "cost" }),
            "expected a text, truth value or whole number, found float64",
        ),
        (json!({ "success": "cost" }), "parameter \"success\""),
        (json!({ "measures": { "gone": "lower" } }), "parameter \"measures\": \"gone\""),
        (
            json!({ "measures": { "agent": "lower" } }),
            "expected a number or a truth value, found text",
        ),
        (json!({ "measures": { "cost": "best" } }), "unknown variant `best`"),
        (json!({ "measures": { "success": "higher" } }), "\"success\" is compared anyway"),
        (json!({ "k": 0 }), "expected 1 to 100, found 0"),
        (json!({ "alpha": 0.6 }), "expected above 0 and at most 0.5, found 0.6"),
        (json!({ "compared": 1 }), "expected 2 to 200, found 1"),
        (json!({ "output": "trials" }), "trials is what is read"),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(params.clone())).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
    // Texts that say nothing are as if there were none, and columns that are not there are not measured.
    let mut some: Vec<Trial> = (0..20)
        .map(|at| {
            trial("a", &format!("t{:02}", at / 2), if at % 2 == 0 { "" } else { "k" }, true, 1.0)
        })
        .collect();
    some.push(trial(&"a".repeat(501), "t", "k", true, 1.0));
    trials(&engine, &some).await;
    let kinds = "CASE WHEN kind = '' THEN NULL WHEN task < 't05' THEN '' ELSE kind END";
    let query = format!("SELECT agent, task, {kinds} AS kind, ok FROM trials");
    summary_of(&engine, "sql", json!({ "query": query, "output": "odd" })).await;
    let params = json!({
        "dataset": "odd", "agent_column": "agent", "task_column": "task", "kind_column": "kind", "success": "ok",
    });
    let summary = summary_of(&engine, NAME, params).await;
    assert_eq!(
        (&summary["trials"], &summary["trials_left_out"]),
        (&json!(20), &json!(1)),
        "{summary}"
    );
    let results = "SELECT kind, tasks, trials, all_succeed FROM agent_results WHERE source = 'odd' ORDER BY 1";
    let expected = [" 10 15 [1.0,1.0]", "* 15 20 [1.0,1.0]", "k 5 5 [1.0]"];
    assert_eq!(rows(&engine, results).await, expected);
    trials(&engine, &[trial("a", "t", "k", true, 1.0)]).await;
    // One agent, one trial: nothing to compare, and no interval of a mean.
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    assert_eq!((&summary["comparisons"], &summary["trials"]), (&json!(0), &json!(1)));
    let none = summary_of(&engine, NAME, asked(json!({ "where": "false" }))).await;
    assert_eq!(none["agents"], 0);
}
