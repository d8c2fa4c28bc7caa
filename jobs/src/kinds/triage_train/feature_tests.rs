//! Models that learn from numbers beside texts.

#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::tests::{done, fails, with};
use crate::testing::{Column, engine, refusal_of, rows as lines, write};

/// Tickets whose text says "refund" whatever they are, whose amount says which they are, and of which `is_new` says nothing.
async fn tickets(engine: &Engine, name: &str, rows: std::ops::Range<usize>, is_labelled: bool) {
    let of = |row: usize| if row.is_multiple_of(2) { "small" } else { "large" };
    let ids = rows.clone().map(|row| format!("t{row}"));
    // Each twice, once of either label.
    let texts = rows.clone().map(|row| format!("refund {} please", row / 2));
    let labels = rows.clone().map(|row| is_labelled.then(|| of(row)));
    let amount = |row: usize| match row % 20 {
        // Of a few it is not known, and by nothing else.
        4 | 5 => None,
        _ => Some(if row.is_multiple_of(2) { 10.0 } else { 1e6 } + (row % 11) as f64),
    };
    let is_new = rows.clone().map(|row| Some(row % 3 == 0));
    let days = Int64Array::from_iter_values(rows.clone().map(|row| row as i64));
    let columns: [Column<'_>; 6] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from_iter_values(ids))),
        ("day", ColumnType::Int64, Arc::new(days)),
        ("body", ColumnType::Text, Arc::new(StringArray::from_iter_values(texts))),
        ("label", ColumnType::Text, Arc::new(labels.collect::<StringArray>())),
        (
            "amount",
            ColumnType::Float64,
            Arc::new(rows.clone().map(amount).collect::<Float64Array>()),
        ),
        ("is_new", ColumnType::Bool, Arc::new(is_new.collect::<BooleanArray>())),
    ];
    write(engine, name, WriteMode::Append, &columns).await;
}

async fn train(engine: &Engine, more: Value) -> Value {
    done(engine, "triage_train", with(more)).await
}

#[tokio::test]
async fn numbers_tell_what_texts_do_not_and_come_with_the_model() {
    let engine = engine().await;
    tickets(&engine, "tickets", 0..400, true).await;
    let plain = train(&engine, json!({})).await;
    assert_eq!(plain["features"], 0);
    done(&engine, "promote", json!({})).await;
    let features = json!({ "feature_columns": ["amount", "is_new"] });
    let found = train(&engine, features.clone()).await;
    assert_eq!(found["features"], 2);
    let accuracy = |of: &Value| of["accuracy"].as_f64().unwrap();
    // A tenth has no amount, of which half is right by chance.
    assert!(accuracy(&plain) < 0.65 && accuracy(&found) > 0.9, "{plain} {found}");
    // It is compared with the one before, which takes none of them.
    assert_eq!(found["in_production"]["version"], plain["version"]);
    assert_eq!(found["in_production"]["accuracy"], plain["accuracy"]);
    assert_eq!(train(&engine, features).await["version"], found["version"]);
    done(&engine, "promote", json!({ "version": found["version"] })).await;
    // And the other way round: one without them is judged beside one that has.
    let again = train(&engine, json!({})).await;
    assert_eq!(again["in_production"]["accuracy"], found["accuracy"]);

    tickets(&engine, "incoming", 1_000..1_100, false).await;
    let labelled = json!({ "dataset": "incoming" });
    done(&engine, "triage", labelled).await;
    let sql = "SELECT count(*) FROM triage JOIN incoming USING (id) WHERE amount IS NOT NULL \
               AND triage.label = CASE WHEN amount > 1000 THEN 'large' ELSE 'small' END";
    assert_eq!(lines(&engine, sql).await, ["90"]);
    // What has other numbers is another row, though its text is the same.
    let teams = json!({ "dataset": "incoming", "teams": { "small": "desk" } });
    let kept = done(&engine, "triage", teams).await;
    assert_eq!(kept["answers_kept"], 100);
    let swapped = json!({ "dataset": "incoming", "feature_columns": ["is_new", "amount"] });
    assert_eq!(done(&engine, "triage", swapped).await["answers_kept"], 100);
    let plain = json!({ "dataset": "incoming", "feature_columns": ["amount", "day"] });
    assert_eq!(done(&engine, "triage", plain).await["answers_kept"], 0);
}

#[tokio::test]
async fn titles_apart_have_numbers_beside_them_too_and_copies_have_the_same_ones() {
    let engine = engine().await;
    let count = 300;
    let label = |row: usize| if row.is_multiple_of(3) { "small" } else { "large" };
    // Of 40 texts; by time the newest are judged by, and each number comes once.
    let texts = |text: &'static str, of: usize| {
        let text = (0..count).map(|row| format!("{text} {}", row % of));
        Arc::new(StringArray::from_iter_values(text))
    };
    let amounts = (0..count).map(|row| row as i64 + if label(row) == "small" { 0 } else { 10_000 });
    let columns: [Column<'_>; 6] = [
        (
            "id",
            ColumnType::Text,
            Arc::new((0..count).map(|row| Some(row.to_string())).collect::<StringArray>()),
        ),
        ("day", ColumnType::Int64, Arc::new((0..count as i64).map(Some).collect::<Int64Array>())),
        ("title", ColumnType::Text, texts("help", 1)),
        ("body", ColumnType::Text, texts("it does not work", 40)),
        (
            "label",
            ColumnType::Text,
            Arc::new((0..count).map(|row| Some(label(row))).collect::<StringArray>()),
        ),
        ("cents", ColumnType::Int64, Arc::new(amounts.map(Some).collect::<Int64Array>())),
    ];
    write(&engine, "tickets", WriteMode::Append, &columns).await;
    let apart = json!({
        "text_columns": ["title", "body"], "apart": true, "time_column": "day", "feature_columns": ["cents"],
    });
    let found = train(&engine, apart).await;
    assert_eq!((&found["held_out_rows"], &found["held_out_rows_seen"]), (&json!(60), &json!(0)));
    assert!(found["accuracy"].as_f64().unwrap() > 0.95, "{found}");
    done(&engine, "promote", json!({})).await;
    done(&engine, "triage", json!({ "label_column": null })).await;
    let right =
        "SELECT count(*) FROM triage JOIN tickets USING (id) WHERE triage.label = tickets.label";
    let right: u64 = lines(&engine, right).await[0].parse().unwrap();
    assert!(right > 285, "{right}");
    // By texts alone nearly all of them are copies of what was learned from.
    let alone = json!({
        "text_columns": ["title", "body"], "time_column": "day", "model": "other",
    });
    let found = train(&engine, alone).await;
    assert!(found["held_out_rows_seen"].as_u64().unwrap() > 40, "{found}");
}

#[tokio::test]
async fn columns_that_are_no_numbers_or_not_there_are_refused_by_name() {
    let engine = engine().await;
    tickets(&engine, "tickets", 0..200, true).await;
    let refused = async |columns: Value, more: Value, says: &str| {
        let mut params = with(json!({ "feature_columns": columns }));
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = refusal_of(&engine, "triage_train", params).await;
        assert!(error.contains("\"feature_columns\"") && error.contains(says), "{error}");
    };
    refused(json!(["amont"]), json!({}), "amont").await;
    refused(json!(["body"]), json!({}), "expected a number or truth value").await;
    refused(json!(["label"]), json!({}), "\"label\" is the label itself").await;
    refused(json!(["amount", "amount"]), json!({}), "\"amount\" stands there twice").await;
    let many: Vec<String> = (0..65).map(|at| format!("n{at}")).collect();
    refused(json!(many), json!({}), "expected at most 64 columns, found 65").await;
    let method = json!({ "method": "full", "embedder": "all-MiniLM-L6-v2" });
    refused(json!(["amount"]), method, "it learns from a row as one text").await;

    train(&engine, json!({ "feature_columns": ["amount"] })).await;
    done(&engine, "promote", json!({})).await;
    let few = json!({ "feature_columns": ["amount", "is_new"] });
    let error = fails(&engine, "triage", few).await;
    assert!(error.contains("was trained with, 1 (amount), found 2"), "{error}");
    let columns: [Column<'_>; 2] = [
        ("id", ColumnType::Text, Arc::new(StringArray::from(vec!["a"]))),
        ("body", ColumnType::Text, Arc::new(StringArray::from(vec!["refund"]))),
    ];
    write(&engine, "bare", WriteMode::Append, &columns).await;
    // Without its numbers the version in production answers nothing, and what is trained is not held against it.
    let texts: StringArray =
        (0..90).map(|row| Some(format!("{} {row}", ["yes", "no"][row % 2]))).collect();
    let labels: StringArray = (0..90).map(|row| Some(["y", "n"][row % 2])).collect();
    let ids: StringArray = (0..90).map(|row| Some(format!("o{row}"))).collect();
    let columns: [Column<'_>; 3] = [
        ("id", ColumnType::Text, Arc::new(ids)),
        ("body", ColumnType::Text, Arc::new(texts)),
        ("label", ColumnType::Text, Arc::new(labels)),
    ];
    write(&engine, "others", WriteMode::Append, &columns).await;
    let found = train(&engine, json!({ "dataset": "others" })).await;
    let because = found["not_compared_with_production"].as_str().unwrap();
    assert!(because.contains("was trained with numbers of amount"), "{because}");
    assert_eq!(found["in_production"], Value::Null);
    let error = fails(&engine, "promote", json!({ "version": found["version"] })).await;
    assert!(error.contains("was compared with none"), "{error}");

    let bare = json!({ "dataset": "bare", "label_column": null });
    let error = fails(&engine, "triage", bare).await;
    assert!(error.contains("was trained with numbers of amount"), "{error}");
    assert!(error.contains("dataset bare has no column \"amount\""), "{error}");
}
