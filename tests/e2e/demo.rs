//! The first command that a newcomer types.

use serde_json::Value;

use crate::harness::colonnade;

const DATASETS: [&str; 5] = ["model_calls", "tickets", "workflow_steps", "metrics", "events"];

#[tokio::test]
async fn the_demo_finds_what_was_planted_and_brings_nothing_twice() {
    let root = tempfile::tempdir().unwrap();
    let arguments = ["demo", "--rows", "100000", "--gpu", "off", "--no-serve", "--json"];
    let first = colonnade(root.path(), &arguments).await.json();
    let named = |summary: &Value| -> Vec<(String, u64, u64)> {
        let datasets = summary["datasets"].as_array().unwrap();
        let row = |of: &Value| {
            let number = |name: &str| of[name].as_u64().unwrap();
            (of["dataset"].as_str().unwrap().to_owned(), number("rows"), number("ingested"))
        };
        datasets.iter().map(row).collect()
    };
    let filled = named(&first);
    for (dataset, (name, rows, ingested)) in DATASETS.iter().zip(&filled) {
        assert_eq!((dataset, rows), (&name.as_str(), ingested));
        let query = format!("SELECT count(*) AS n FROM {name}");
        let counted = colonnade(root.path(), &["sql", &query, "--format", "json"]).await.json();
        assert_eq!(counted[0]["n"], *rows, "{name}");
    }
    assert_eq!(filled[0].1, 100_000);
    for job in first["jobs"].as_array().unwrap() {
        let found = &job["found"];
        let number = |name: &str| found[name].as_u64().unwrap();
        assert_eq!(number("found") + number("missed"), number("planted"), "{job}");
        // The seed is fixed and the defaults find nearly all of it.
        assert!(number("planted") > 0 && number("missed") * 10 <= number("planted"), "{job}");
        println!("{}: {found}", job["job"]);
    }
    let again = colonnade(root.path(), &arguments).await.json();
    for ((name, rows, _), (_, rows_again, ingested)) in filled.iter().zip(named(&again)) {
        assert_eq!((*rows, 0), (rows_again, ingested), "{name}: {again}");
    }
}

#[tokio::test]
async fn another_seed_is_another_demo() {
    let root = tempfile::tempdir().unwrap();
    let of_seed =
        |seed| ["demo", "--rows", "1000", "--gpu", "off", "--no-serve", "--json", "--seed", seed];
    assert!(colonnade(root.path(), &of_seed("1")).await.status.success());
    // It does not mix two demos in one place without a word.
    let outcome = colonnade(root.path(), &of_seed("2")).await;
    assert!(outcome.fails_with("CONFLICT").contains("--data"), "{}", outcome.stderr);
}
