//! A classifier's whole life through GraphQL alone: trained, followed, promoted, applied to what comes in, corrected,
//! trained again, compared, promoted, rolled back.

use datasets::DatasetSpec;
use serde_json::{Value, json};

use super::{Rig, next};

const WORDS: [(&str, [&str; 4]); 3] = [
    ("billing", ["invoice", "charged", "refund", "receipt"]),
    ("login", ["password", "locked", "signin", "token"]),
    ("shipping", ["parcel", "delivery", "courier", "tracking"]),
];

fn line(row: usize, label: Option<&str>) -> String {
    let (_, words) = WORDS[row % 3];
    let (one, two) = (words[row / 3 % 4], words[row / 12 % 4]);
    let body = format!("please help {} {one} number {} {two}", ["me", "us"][row % 2], row % 17);
    format!("{}\n", json!({ "id": format!("t{row}"), "body": body, "label": label }))
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    let spec = "name = \"tickets\"\nkey = [\"id\"]\ncolumns = [{name = \"id\", type = \"text\"}, \
                {name = \"body\", type = \"text\"}, {name = \"label\", type = \"text\", nullable = true}]";
    rig.create(DatasetSpec::from_toml(spec, "test").unwrap()).await;
    // Every tenth label is wrong.
    let label = |row: usize| WORDS[(row + usize::from(row.is_multiple_of(10))) % 3].0;
    let lines: String = (0..400).map(|row| line(row, Some(label(row)))).collect();
    rig.ingest("tickets", &lines).await;
    rig
}

const PARAMS: &str =
    "embedder: \"ngram\", dimension: 256, text_columns: [\"body\"], held_out: 0.3, noise_folds: 5";

async fn run(rig: &Rig, job: &str, params: &str) -> Value {
    let query = format!(
        "mutation {{ runJob(job: \"{job}\", params: {{{params}}}, wait: true) {{ state summary error {{ code \
         message }} }} }}"
    );
    rig.data(&query).await["runJob"].clone()
}

async fn done(rig: &Rig, job: &str, params: &str) -> Value {
    let run = run(rig, job, params).await;
    assert_eq!(run["state"], "SUCCEEDED", "{job}: {run:#}");
    run["summary"].clone()
}

#[tokio::test]
async fn a_classifier_lives_its_life_through_graphql_alone() {
    let rig = rig().await;
    let started =
        format!("mutation {{ runJob(job: \"triage_train\", params: {{{PARAMS}}}) {{ id }} }}");
    let id = rig.data(&started).await["runJob"]["id"].as_str().unwrap().to_owned();
    let follow = format!(
        "subscription {{ runUpdates(id: \"{id}\") {{ state progress activity summary }} }}"
    );
    let mut updates = rig.subscribe(&follow).await;
    let (mut progress, mut last) = (0.0, Value::Null);
    while last["state"] != "SUCCEEDED" {
        last = next(&mut updates).await["data"]["runUpdates"].clone();
        assert_ne!(last["state"], "FAILED", "{last:#}");
        let now = last["progress"].as_f64().unwrap();
        assert!(now >= progress, "{last:#}");
        progress = now;
    }
    let first = last["summary"].clone();
    let one = first["version"].as_str().unwrap();
    assert_eq!(done(&rig, "promote", "").await["in_production"], json!(one));

    // What comes in is labelled.
    rig.ingest("tickets", &(400..430).map(|row| line(row, None)).collect::<String>()).await;
    let applied =
        done(&rig, "triage", "text_columns: [\"body\"], teams: {billing: \"finance\"}").await;
    assert_eq!(applied["rows"], 30);
    let query = "{ triage(orderBy: [{confidence: ASC}], first: 30) { nodes { id label confidence team top } } }";
    let answer = rig.data(query).await;
    let rows = answer["triage"]["nodes"].as_array().unwrap();
    let truth = |id: &str| WORDS[id[1..].parse::<usize>().unwrap() % 3].0;
    let right =
        rows.iter().filter(|row| row["label"] == truth(row["id"].as_str().unwrap())).count();
    assert!(right >= 27, "{answer:#}");

    // People look at the labels that are in doubt, and correct them.
    let answer = rig
        .data("{ labelSuspects(orderBy: [{confidence: DESC}], first: 100) { nodes { id label answered } } }")
        .await;
    let suspects = answer["labelSuspects"]["nodes"].as_array().unwrap();
    assert!(suspects.len() > 5, "{answer:#}");
    let labels: Vec<String> = (0..400)
        .step_by(10)
        .map(|row| format!("{{id: \"t{row}\", label: \"{}\"}}", WORDS[row % 3].0))
        .collect();
    let labels = labels.join(", ");
    let correct = format!(
        "mutation {{ labelRows(dataset: \"tickets\", labels: [{labels}]) {{ dataset version rows }} }}"
    );
    let committed = rig.data(&correct).await["labelRows"].clone();
    assert_eq!(
        (&committed["dataset"], &committed["rows"]),
        (&json!("labels_by_hand"), &json!("40"))
    );

    let again = format!("{PARAMS}, corrections: \"labels_by_hand\"");
    let second = done(&rig, "triage_train", &again).await;
    let two = second["version"].as_str().unwrap();
    assert_eq!(second["rows_corrected"], 40);
    assert_eq!(second["in_production"]["version"], json!(one));
    assert!(second["accuracy"].as_f64() >= second["in_production"]["accuracy"].as_f64());
    let promoted = done(&rig, "promote", "").await;
    assert_eq!((&promoted["in_production"], &promoted["before"]), (&json!(two), &json!(one)));
    let back = done(&rig, "promote", "version: \"previous\", reason: \"a drill\"").await;
    assert_eq!(back["in_production"], json!(one));
    let answer = rig
        .data("{ modelStages(orderBy: [{number: DESC}], first: 1) { nodes { version stage reason } } }")
        .await;
    let now = &answer["modelStages"]["nodes"][0];
    assert_eq!(now, &json!({ "version": one, "stage": "production", "reason": "a drill" }));
    let answer =
        rig.data("{ modelsRows { nodes { name version method accuracy comparedWith } } }").await;
    assert_eq!(answer["modelsRows"]["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn pairs_are_labelled_and_the_last_word_counts() {
    let rig = rig().await;
    let ask = |pairs: &str| {
        format!(
            "mutation {{ labelPairs(dataset: \"tickets\", pairs: [{pairs}]) {{ dataset rows }} }}"
        )
    };
    let pair = |a: &str, b: &str, same: bool| {
        format!("{{idA: \"{a}\", idB: \"{b}\", isDuplicate: {same}}}")
    };
    let both = format!("{}, {}", pair("t2", "t1", true), pair("t3", "t4", false));
    let committed = rig.data(&ask(&both)).await["labelPairs"].clone();
    assert_eq!(committed, json!({ "dataset": "pairs_by_hand", "rows": "2" }));
    rig.data(&ask(&pair("t1", "t2", false))).await;
    let query = "{ pairsByHand(orderBy: [{at: ASC}, {idA: ASC}]) { nodes { source idA idB isDuplicate } } }";
    let answer = rig.data(query).await;
    let row = |a: &str, b: &str, same: bool| json!({ "source": "tickets", "idA": a, "idB": b, "isDuplicate": same });
    let expected = [row("t1", "t2", true), row("t3", "t4", false), row("t1", "t2", false)];
    assert_eq!(answer["pairsByHand"]["nodes"], json!(expected));
    let contradiction = format!("{}, {}", pair("t1", "t2", true), pair("t2", "t1", false));
    for (pairs, code, expected) in [
        (pair("t1", "t1", true), "BAD_INPUT", "expected two rows, found \"t1\" twice"),
        (contradiction, "BAD_INPUT", "expected one word, found both"),
        (pair("t1", "x", true), "NOT_FOUND", "1 of 2 rows are not there: x"),
        (String::new(), "BAD_INPUT", "expected 1 to 10000 pairs, found 0"),
    ] {
        let answer = rig.ask(&ask(&pairs)).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{answer:#}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{answer:#}");
    }
}

#[tokio::test]
async fn labels_that_fit_no_row_are_refused_as_a_whole() {
    let rig = rig().await;
    let ask = |labels: &str| {
        format!("mutation {{ labelRows(dataset: \"tickets\", labels: [{labels}]) {{ rows }} }}")
    };
    for (labels, code, expected) in [
        (
            "{id: \"t1\", label: \"a\"}, {id: \"x\", label: \"a\"}",
            "NOT_FOUND",
            "1 of 2 rows are not there: x",
        ),
        ("{id: \"t1\", label: \" \"}", "BAD_INPUT", "expected a label of 1 to 80 bytes"),
        ("", "BAD_INPUT", "expected 1 to 10000 rows, found 0"),
    ] {
        let answer = rig.ask(&ask(labels)).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], code, "{answer:#}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{answer:#}");
    }
    let answer = rig.data("{ datasets { name } }").await;
    let names = answer["datasets"].as_array().unwrap();
    assert!(names.iter().all(|dataset| dataset["name"] != "labels_by_hand"));
}
