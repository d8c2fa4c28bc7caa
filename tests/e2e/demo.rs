//! The first command that a newcomer types.

use std::path::Path;

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
    let jobs = first["jobs"].as_array().unwrap();
    let named_so = |of: &Value| of["job"].as_str().unwrap().to_owned();
    let mut kinds: Vec<String> = jobs.iter().map(named_so).collect();
    // Where no encoder was pulled there is none to train further, which is said.
    let left_out = first["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0]["why"].as_str().unwrap().contains("not pulled"), "{left_out:?}");
    kinds.extend(left_out.iter().map(named_so));
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, every_kind(root.path()).await);
    let looked_for = |what: &str| jobs.iter().any(|job| job["looks_for"] == what);
    for what in ["slow steps", "error bursts", "latency rises", "event bursts", "odd metrics"] {
        assert!(looked_for(what), "nothing looks for {what}");
    }
    for job in jobs {
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

/// Every job kind that there is, as the command line lists them.
async fn every_kind(root: &Path) -> Vec<String> {
    let listed = colonnade(root, &["run", "--help"]).await;
    let lines = listed.stdout.lines().skip_while(|line| !line.starts_with("job "));
    let mut kinds: Vec<String> = lines
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    kinds.sort_unstable();
    assert!(kinds.len() >= 12, "{}", listed.stdout);
    kinds
}

#[tokio::test]
async fn a_demo_with_few_rows_only_notes_what_it_missed() {
    let root = tempfile::tempdir().unwrap();
    // On a Sunday few calls are made: two of them fail in the burst of this seed, which is too few to stand out.
    let arguments = ["demo", "--rows", "20000", "--gpu", "off", "--no-serve", "--seed", "7"];
    let outcome = colonnade(root.path(), &arguments).await;
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let says = &outcome.stderr;
    assert!(says.contains("anomalies 2 of 3 error bursts"), "{says}");
    assert!(says.contains("from --rows 100000 on this is an error"), "{says}");
    // What it did find is shown all the same, in lines that a terminal holds.
    assert!(outcome.stdout.contains("missed ErrorBurst of fabrikam"), "{}", outcome.stdout);
    let wide = outcome.stdout.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None);
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
