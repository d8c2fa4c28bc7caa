//! The whole way of a model: trained, promoted, applied, corrected, trained again, refused, rolled back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use datasets::{ColumnType, DatasetName};
use engine::{AsOf, Engine, Principal, WriteMode};
use kernels::GpuPolicy;
use serde_json::{Value, json};

use crate::registry::tiny_model;
use crate::run::record::{RunRecord, RunState};
use crate::run::runner::{RunRequest, Runner, RunnerOptions};
use crate::tables::columns::timestamps;
use crate::testing::{Column, Noise, engine, write};

const WORDS: [(&str, [&str; 6]); 3] = [
    ("billing", ["invoice", "charged", "refund", "payment", "price", "receipt"]),
    ("login", ["password", "locked", "signin", "reset", "account", "token"]),
    ("shipping", ["parcel", "delivery", "courier", "late", "tracking", "address"]),
];
const OTHERS: [&str; 8] = ["please", "help", "with", "my", "the", "again", "today", "thanks"];

/// A text of one class.
fn text(class: usize, noise: &mut Noise) -> String {
    let mut pick =
        |words: &[&str]| words[(noise.uniform() * words.len() as f64) as usize].to_owned();
    let mut words: Vec<String> = (0..5).map(|_| pick(&OTHERS)).collect();
    words.extend((0..2).map(|_| pick(&WORDS[class].1)));
    words.join(" ")
}

/// Tickets `from..to`, every fifth without a label.
async fn tickets(engine: &Engine, from: usize, to: usize, change: impl Fn(usize, &mut String)) {
    let mut noise = Noise::new(from as u64);
    let (mut ids, mut texts, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for row in from..to {
        ids.push(format!("t{row}"));
        texts.push(text(row % 3, &mut noise));
        let mut label = WORDS[row % 3].0.to_owned();
        change(row, &mut label);
        labels.push((row % 5 > 0).then_some(label));
    }
    let columns: [Column<'_>; 3] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from(ids))),
        ("body", ColumnType::Text, Arc::new(StringArray::from(texts))),
        ("label", ColumnType::Text, Arc::new(StringArray::from(labels))),
    ];
    write(engine, "tickets", WriteMode::Append, &columns).await;
}

async fn run(engine: &Engine, job: &str, params: Value) -> RunRecord {
    run_with(engine, None, job, params).await
}

async fn run_with(engine: &Engine, models: Option<PathBuf>, job: &str, params: Value) -> RunRecord {
    let usual = RunnerOptions::default();
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, models, ..usual };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    let request = RunRequest { job: job.into(), params, ..RunRequest::default() };
    let record = match runner.submit(&Principal::local(), request).await {
        Ok(handle) => handle.wait().await.unwrap(),
        Err(error) => panic!("{job}: {error}"),
    };
    runner.shutdown().await;
    record
}

#[tokio::test]
async fn what_the_rows_are_worth_is_reported_before_anything_is_learned() {
    let engine = engine().await;
    tickets(&engine, 0, 600, |row, label| {
        if row % 40 == 1 {
            *label = WORDS[(row + 1) % 3].0.to_owned();
        }
    })
    .await;
    let record = run(&engine, "triage_train", with(json!({ "noise_folds": 5 }))).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let stage = record.stages.iter().find(|stage| stage.name == "prepare").unwrap();
    assert_eq!(stage.facts["data"], record.summary["data"]);
    let issues = &record.summary["data"]["issues"];
    assert!(issues["doubted"].as_u64().unwrap() >= 8, "{issues}");
    assert_eq!(record.activity, Value::Null);
    let rows = query(
        &engine,
        "SELECT id, quality, issues, length(encode(vector, 'hex')) FROM training_rows ORDER BY quality, id",
    )
    .await;
    assert_eq!(json!(rows.len()), record.summary["train_rows"]);
    assert!(rows.iter().all(|row| row[3] == "2048"), "{:?}", rows[0]);
    // The worst are the wrong ones.
    let is_wrong = |row: &&Vec<String>| row[0][1..].parse::<usize>().unwrap() % 40 == 1;
    let wrong = rows.iter().filter(is_wrong).count();
    let worst = rows.iter().take(wrong).filter(is_wrong).count();
    assert!(worst * 3 >= wrong * 2, "{worst} of {wrong}");
    assert!(rows[0][2].contains("doubted"), "{:?}", rows[0]);
}

pub(super) async fn done(engine: &Engine, job: &str, params: Value) -> Value {
    let record = run(engine, job, params).await;
    assert_eq!(record.state, RunState::Succeeded, "{job}: {:?}", record.error);
    record.summary
}

pub(super) async fn fails(engine: &Engine, job: &str, params: Value) -> String {
    let record = run(engine, job, params).await;
    assert_eq!(record.state, RunState::Failed, "{job}: {}", record.summary);
    let error = record.error.unwrap();
    format!("{}: {}", error.code, error.message)
}

async fn train(engine: &Engine, more: Value) -> Value {
    done(engine, "triage_train", with(more)).await
}

pub(super) fn with(more: Value) -> Value {
    let mut params = json!({ "embedder": "ngram", "dimension": 512, "text_columns": ["body"] });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// Texts of the columns of a query's rows.
async fn query(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let session = engine.session(&Principal::local(), &[]).await.unwrap();
    let batches = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.as_string::<i32>().value(row).to_owned()).collect());
        }
    }
    rows
}

#[tokio::test]
async fn a_model_is_trained_promoted_applied_and_rolled_back() {
    let engine = engine().await;
    tickets(&engine, 0, 600, |_, _| ()).await;
    let first = train(&engine, json!({})).await;
    assert!(first["accuracy"].as_f64().unwrap() > 0.9, "{first}");
    assert_eq!((first["classes"].as_u64(), first["rows"].as_u64()), (Some(3), Some(480)));
    assert_eq!(first["rows_without_label"], 120);
    assert_eq!(first["in_production"], Value::Null);
    let one = first["version"].as_str().unwrap().to_owned();

    // What nothing was promoted of can't be applied.
    let error = fails(&engine, "triage", json!({ "text_columns": ["body"] })).await;
    assert!(error.starts_with("NOT_FOUND") && error.contains("in production"), "{error}");
    let promoted = done(&engine, "promote", json!({})).await;
    assert_eq!((&promoted["in_production"], &promoted["before"]), (&json!(one), &Value::Null));
    assert_eq!(done(&engine, "promote", json!({})).await["changed"], false);

    let teams = json!({ "billing": "finance" });
    let params = json!({ "text_columns": ["body"], "teams": teams });
    let applied = done(&engine, "triage", params).await;
    assert_eq!((&applied["rows"], &applied["rows_labelled_before"]), (&json!(120), &json!(480)));
    let rows = query(
        &engine,
        "SELECT id, label, coalesce(team, '-'), out_of_scope, model FROM triage ORDER BY id",
    )
    .await;
    assert_eq!(rows.len(), 120);
    let mut right = 0;
    for row in &rows {
        let class = row[0][1..].parse::<usize>().unwrap() % 3;
        right += usize::from(row[1] == WORDS[class].0);
        let is_finance = row[1] == "billing" && row[3] == "false";
        assert_eq!(row[2] == "finance", is_finance, "{row:?}");
        assert_eq!(row[4], format!("triage@{one}"));
    }
    assert!(right > 108, "{right}");

    // A worse one, which learned from names that tell nothing, is refused, and taken by force.
    let worse = train(&engine, json!({ "text_columns": ["id"] })).await;
    let two = worse["version"].as_str().unwrap().to_owned();
    assert_eq!(worse["in_production"]["version"], json!(one));
    assert!(worse["accuracy"].as_f64() < first["accuracy"].as_f64(), "{worse}");
    let none = json!({ "version": two, "tolerance": 0.0 });
    let error = fails(&engine, "promote", none).await;
    assert!(error.contains("is worse than") && error.contains("force = true"), "{error}");
    let forced = done(&engine, "promote", json!({ "version": two, "force": true })).await;
    assert_eq!((&forced["in_production"], &forced["before"]), (&json!(two), &json!(one)));
    let back = done(&engine, "promote", json!({ "version": "previous" })).await;
    assert_eq!((&back["in_production"], &back["before"]), (&json!(one), &json!(two)));

    let stages = "SELECT version, stage, forced FROM model_stages ORDER BY number";
    let found = query(&engine, stages).await;
    let expected = [
        (&one, "candidate", "false"),
        (&one, "production", "false"),
        (&two, "candidate", "false"),
        (&one, "archived", "true"),
        (&two, "production", "true"),
        (&two, "archived", "false"),
        (&one, "production", "false"),
    ];
    let expected: Vec<Vec<String>> =
        expected.iter().map(|(v, s, f)| vec![(*v).clone(), (*s).into(), (*f).into()]).collect();
    assert_eq!(found, expected);
    let error = fails(&engine, "promote", json!({ "version": "0000" })).await;
    assert!(error.contains("has no version \"0000\"; the last are"), "{error}");
    let error = fails(&engine, "promote", json!({ "model": "other" })).await;
    assert!(error.contains("has no versions"), "{error}");
}

#[tokio::test]
async fn of_two_promotions_at_a_time_one_is_made() {
    let engine = engine().await;
    tickets(&engine, 0, 600, |_, _| ()).await;
    let mut versions = Vec::new();
    for dimension in [512, 256] {
        let trained = train(&engine, json!({ "dimension": dimension })).await;
        versions.push(trained["version"].as_str().unwrap().to_owned());
    }
    assert_ne!(versions[0], versions[1]);
    let options = RunnerOptions { gpu: GpuPolicy::Off, threads: 2, ..RunnerOptions::default() };
    let runner = Runner::start(engine.clone(), options).await.unwrap();
    // Both read the stages before either changes them.
    let stages = DatasetName::new("model_stages").unwrap();
    let catalog = engine.catalog(&Principal::local()).await.unwrap();
    let before = AsOf::Version(catalog.dataset(&stages).unwrap().version);
    let submit = |version: &String| {
        let params = json!({ "version": version, "force": true });
        let pins = vec![(stages.clone(), before)];
        let request = RunRequest { job: "promote".into(), params, pins, ..RunRequest::default() };
        let runner = runner.clone();
        async move { runner.submit(&Principal::local(), request).await.unwrap() }
    };
    let (one, other) = tokio::join!(submit(&versions[0]), submit(&versions[1]));
    let records = [one.wait().await.unwrap(), other.wait().await.unwrap()];
    let failed: Vec<&RunRecord> =
        records.iter().filter(|record| record.state == RunState::Failed).collect();
    assert_eq!(failed.len(), 1, "{records:?}");
    let error = failed[0].error.as_ref().unwrap();
    assert_eq!(error.code, "CONFLICT", "{}", error.message);
    assert!(
        error.message.starts_with("promote: dataset model_stages: expected version"),
        "{}",
        error.message
    );
    let stages = query(&engine, "SELECT stage FROM model_stages WHERE stage <> 'candidate'").await;
    assert_eq!(stages, [["production"]]);
    // Again, when it knows of the first.
    let version = &failed[0].params["version"];
    let promoted = done(&engine, "promote", json!({ "version": version, "force": true })).await;
    assert_eq!(&promoted["in_production"], version);
    assert_ne!(promoted["before"], Value::Null);
}

#[tokio::test]
async fn answers_have_reasons_and_stand_until_the_text_changes() {
    let engine = engine().await;
    tickets(&engine, 0, 600, |_, _| ()).await;
    train(&engine, json!({})).await;
    done(&engine, "promote", json!({})).await;
    let params = json!({ "text_columns": ["body"] });
    done(&engine, "triage", params.clone()).await;

    // An answer names rows that were learned from, the likest first, with the labels that these have.
    let reasons = query(&engine, "SELECT label, reasons FROM triage").await;
    let mut agreeing = 0;
    for row in &reasons {
        let reasons: Vec<Value> = serde_json::from_str(&row[1]).unwrap();
        assert_eq!(reasons.len(), 3);
        let similar = |at: usize| reasons[at]["similarity"].as_f64().unwrap();
        assert!(similar(0) >= similar(1) && similar(1) >= similar(2) && similar(0) <= 1.001);
        for reason in &reasons {
            let of = reason["id"].as_str().unwrap()[1..].parse::<usize>().unwrap();
            assert_eq!(reason["label"], WORDS[of % 3].0);
            assert_ne!(of % 5, 0, "it has no label to learn from");
        }
        agreeing += usize::from(reasons[0]["label"] == row[0].as_str());
    }
    assert!(agreeing > 100, "{agreeing} of {}", reasons.len());

    // What was answered stands; only new texts are looked at, and a question that differs is asked again.
    tickets(&engine, 600, 650, |_, _| ()).await;
    let before = query(&engine, "SELECT * FROM triage ORDER BY id").await;
    let applied = done(&engine, "triage", params).await;
    let counts = (&applied["rows"], &applied["answers_kept"]);
    // A text that is repeated is answered once.
    assert_eq!(counts.0, &json!(130));
    assert!(counts.1.as_u64().unwrap() >= 120, "{applied}");
    let after = query(&engine, "SELECT * FROM triage ORDER BY id").await;
    assert!(before.iter().all(|row| after.contains(row)));
    let params = json!({ "text_columns": ["body"], "reasons": 0, "top": 2 });
    let applied = done(&engine, "triage", params).await;
    assert_eq!(applied["answers_kept"], 0);
    let none = query(&engine, "SELECT DISTINCT reasons FROM triage").await;
    assert_eq!(none, [["[]"]]);

    // Where there is no column of labels, none has one; another one that is not there was meant.
    let columns: [Column<'_>; 2] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from(vec!["a", "b"]))),
        ("body", ColumnType::Text, Arc::new(StringArray::from(vec!["refund", "crash"]))),
    ];
    write(&engine, "bare", WriteMode::Append, &columns).await;
    let params = json!({ "dataset": "bare", "text_columns": ["body"], "output": "bare_labels" });
    let applied = done(&engine, "triage", params).await;
    assert_eq!(
        (&applied["rows"], &applied["rows_labelled_before"]),
        (&json!(2), &json!(0)),
        "{applied}"
    );
    let params = json!({ "dataset": "bare", "label_column": "labels" });
    let error = fails(&engine, "triage", params).await;
    assert!(error.contains("dataset bare has no column \"labels\""), "{error}");
}

#[tokio::test]
async fn labels_by_hand_are_learned_from_and_wrong_ones_are_found() {
    let engine = engine().await;
    let is_wrong = |row: usize| row % 40 == 1;
    tickets(&engine, 0, 800, |row, label| {
        if is_wrong(row) {
            *label = WORDS[(row + 1) % 3].0.to_owned();
        }
    })
    .await;
    let first = train(&engine, json!({ "noise_folds": 5 })).await;
    let suspects = "SELECT id, label, answered FROM label_suspects ORDER BY confidence DESC";
    let suspects = query(&engine, suspects).await;
    let row_of = |id: &str| id[1..].parse::<usize>().unwrap();
    let found = suspects.iter().filter(|row| is_wrong(row_of(&row[0]))).count();
    // Those that are in the part to learn from, of 20; of all rows one of forty is wrong.
    assert!(found >= 8 && found * 3 >= suspects.len() * 2, "{found} of {}", suspects.len());
    assert!(suspects.iter().all(|row| row[1] != row[2]));

    let ids: Vec<String> =
        (0..800).filter(|row| is_wrong(*row)).map(|row| format!("t{row}")).collect();
    let labels: Vec<&str> = ids.iter().map(|id| WORDS[row_of(id) % 3].0).collect();
    for (at, labels) in [(1, vec!["login"; ids.len()]), (2, labels)] {
        let sources = StringArray::from(vec!["tickets"; ids.len()]);
        let columns: [Column<'_>; 4] = [
            ("source", ColumnType::Text, Arc::new(sources)),
            ("id", ColumnType::Text, Arc::new(StringArray::from(ids.clone()))),
            ("label", ColumnType::Text, Arc::new(StringArray::from(labels))),
            ("at", ColumnType::Timestamp, timestamps(std::iter::repeat_n(at, ids.len()))),
        ];
        write(&engine, "labels_by_hand", WriteMode::Append, &columns).await;
    }
    let corrected = train(&engine, json!({ "corrections": "labels_by_hand" })).await;
    assert_eq!(corrected["rows_corrected"], json!(ids.len()));
    assert_ne!(corrected["version"], first["version"]);
    assert!(corrected["accuracy"].as_f64() > first["accuracy"].as_f64(), "{corrected}");
    let again =
        run(&engine, "triage_train", with(json!({ "corrections": "labels_by_hand" }))).await;
    assert!(again.repeated_of.is_some());
}

#[tokio::test]
async fn what_is_out_of_scope_is_told_apart() {
    let engine = engine().await;
    tickets(&engine, 0, 900, |row, label| {
        if row % 3 == 2 {
            *label = "oos".into();
        }
    })
    .await;
    let found = train(&engine, json!({ "out_of_scope_label": "oos" })).await;
    assert_eq!(found["classes"], 2);
    let scope = &found["out_of_scope"];
    assert!(scope["auroc"].as_f64().unwrap() > 0.8, "{found}");
    assert!(scope["recall"].as_f64().unwrap() > 0.6, "{found}");
    let measures = query(
        &engine,
        "SELECT measure FROM model_evaluations WHERE measure LIKE 'out_of%' ORDER BY measure",
    )
    .await;
    // Three of them have two ends of an interval each.
    assert_eq!(measures.len(), 10);
    let asked = json!({ "out_of_scope_label": "oos", "out_of_scope_recall": 0.5 });
    let half = train(&engine, asked).await["out_of_scope"]["recall"].as_f64().unwrap();
    assert!(half > 0.2 && half < scope["recall"].as_f64().unwrap(), "{half} {scope}");
}

#[tokio::test]
async fn a_title_has_a_weight_of_its_own() {
    let engine = engine().await;
    let mut noise = Noise::new(5);
    // What a row is about stands in its title; the body speaks as much of another.
    let (mut ids, mut labels) = (Vec::new(), Vec::new());
    let mut columns = [Vec::new(), Vec::new()];
    for row in 0..600 {
        let class = row % 3;
        ids.push(format!("t{row}"));
        labels.push((row % 5 > 0).then_some(WORDS[class].0));
        columns[0].push((row % 7 > 0).then(|| text(class, &mut noise)));
        let other = if row % 7 > 0 { (noise.uniform() * 3.0) as usize } else { class };
        columns[1].push(Some(text(other, &mut noise)));
    }
    let [titles, bodies] = columns.map(|texts| Arc::new(StringArray::from(texts)) as ArrayRef);
    let columns: [Column<'_>; 4] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from(ids))),
        ("title", ColumnType::Text, titles),
        ("body", ColumnType::Text, bodies),
        ("label", ColumnType::Text, Arc::new(StringArray::from(labels))),
    ];
    write(&engine, "tickets", WriteMode::Append, &columns).await;
    let both = json!(["title", "body"]);
    let together = train(&engine, json!({ "text_columns": both })).await;
    done(&engine, "promote", json!({})).await;
    let apart = train(&engine, json!({ "text_columns": both, "apart": true })).await;
    let of = |summary: &Value| summary["accuracy"].as_f64().unwrap();
    assert!(of(&apart) > 0.9 && of(&together) < 0.8, "{} {}", of(&together), of(&apart));
    // On the same rows as the one in use, which takes them together.
    assert_eq!(apart["in_production"]["accuracy"], together["accuracy"]);
    done(&engine, "promote", json!({})).await;

    // Which columns these are the model knows.
    let answered = done(&engine, "triage", json!({})).await;
    let rows = query(&engine, "SELECT id, label, reasons FROM triage").await;
    let right = |row: &&Vec<String>| row[1] == WORDS[row[0][1..].parse::<usize>().unwrap() % 3].0;
    assert_eq!((rows.len(), &answered["answers_kept"]), (120, &json!(0)));
    assert!(rows.iter().filter(right).count() > 108, "{rows:?}");
    let teams = json!({ "text_columns": both, "teams": { "billing": "finance" } });
    assert_eq!(done(&engine, "triage", teams).await["answers_kept"], 120);
    let one = json!({ "text_columns": ["body"] });
    for (job, params) in [("triage", one.clone()), ("triage_train", with(one))] {
        let error = fails(&engine, job, params).await;
        let version = apart["version"].as_str().unwrap();
        let expected =
            format!("expected 2 columns, as triage@{version} was trained on title and body");
        assert!(error.contains(&expected) && error.contains("found 1"), "{error}");
    }
}

#[tokio::test]
async fn what_stands_far_behind_in_long_texts_is_learned_by_contrast() {
    let models = tempfile::tempdir().unwrap();
    let fillers = (0..20).map(|n| format!("filler{n}"));
    let known = WORDS.iter().flat_map(|(_, words)| words.iter().map(|word| (*word).to_owned()));
    tiny_model::write(models.path(), "tiny", &fillers.chain(known).collect::<Vec<_>>());
    let engine = engine().await;
    let mut noise = Noise::new(7);
    let mut below = |count: usize| (noise.uniform() * count as f64) as usize;
    let (mut ids, mut texts, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let mut titles = Vec::new();
    for row in 0..240 {
        // The model reads thirty words at a time.
        let mut words: Vec<String> = (0..30).map(|_| format!("filler{}", below(20))).collect();
        words.extend((0..20).map(|_| WORDS[row % 3].1[below(6)].to_owned()));
        ids.push(format!("t{row}"));
        texts.push(words.join(" "));
        titles.push(words[..5].join(" "));
        labels.push(WORDS[row % 3].0);
    }
    let columns: [Column<'_>; 4] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from(ids))),
        ("title", ColumnType::Text, Arc::new(StringArray::from(titles))),
        ("body", ColumnType::Text, Arc::new(StringArray::from(texts))),
        ("label", ColumnType::Text, Arc::new(StringArray::from(labels))),
    ];
    write(&engine, "tickets", WriteMode::Append, &columns).await;
    let found = |windows: usize| {
        let (engine, folder) = (engine.clone(), models.path().to_owned());
        async move {
            let params = json!({
                "embedder": "tiny", "method": "contrastive", "text_columns": ["title", "body"],
                "windows": windows, "epochs": 3, "learning_rate": 1e-3, "noise_folds": 0,
                "apart": true,
            });
            let record = run_with(&engine, Some(folder), "triage_train", params).await;
            assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
            record.summary["accuracy"].as_f64().unwrap()
        }
    };
    let (beginnings, whole) = (found(1).await, found(2).await);
    assert!(beginnings < 0.6 && whole > 0.9, "{beginnings} {whole}");
    done(&engine, "promote", json!({})).await;
    let params = json!({ "label_column": null });
    let record = run_with(&engine, Some(models.path().to_owned()), "triage", params).await;
    assert_eq!(record.state, RunState::Succeeded, "{:?}", record.error);
    let rows = query(&engine, "SELECT id, label FROM triage").await;
    let right = |row: &&Vec<String>| row[1] == WORDS[row[0][1..].parse::<usize>().unwrap() % 3].0;
    assert!(rows.len() == 240 && rows.iter().filter(right).count() > 216, "{rows:?}");
}

#[tokio::test]
async fn what_can_not_be_learned_from_is_refused() {
    let engine = engine().await;
    tickets(&engine, 0, 60, |_, label| *label = "only".into()).await;
    let error = fails(&engine, "triage_train", with(json!({}))).await;
    assert!(error.contains("at least 2 classes, found 1"), "{error}");
    let error = fails(&engine, "triage_train", with(json!({ "label_column": "none" }))).await;
    assert!(error.contains("has no column \"none\""), "{error}");
    let error =
        fails(&engine, "triage_train", json!({ "text_columns": ["body"], "embedder": "absent" }))
            .await;
    assert!(error.starts_with("BAD_INPUT") || error.contains("models pull absent"), "{error}");
    for (params, expected) in [
        (json!({ "held_out": 0.0 }), "parameter \"held_out\": expected above 0"),
        (json!({ "method": "full", "embedder": "ngram" }), "has no weights to train"),
        (json!({ "batch_texts": 1 }), "parameter \"batch_texts\": expected 2 to 4096, found 1"),
        (json!({ "model": "../x" }), "parameter \"model\""),
        (json!({ "out_of_scope_cost": 0.0 }), "parameter \"out_of_scope_cost\": expected above 0"),
        (
            json!({ "out_of_scope_recall": 1.5, "out_of_scope_label": "oos" }),
            "parameter \"out_of_scope_recall\": expected above 0 and at most 1, found 1.5",
        ),
        (
            json!({ "out_of_scope_recall": 0.9 }),
            "parameter \"out_of_scope_recall\": expected `out_of_scope_label` beside it",
        ),
        (
            json!({ "apart": true, "method": "full" }),
            "parameter \"apart\": expected method \"head\" or \"contrastive\" beside it, found \"full\"",
        ),
        (json!({ "windows": 65 }), "parameter \"windows\": expected 1 to 64, found 65"),
    ] {
        let message = super::TriageTrain::params(&params).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
