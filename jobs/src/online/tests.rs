#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use chrono::DateTime;
use datasets::{ColumnType, DatasetName};
use engine::{Engine, Principal, Result, WriteMode};
use serde_json::{Value, json};

use super::{Online, OnlineRequest, OnlineRows};
use crate::testing::{Noise, append, engine, rows, sampled, summary_of, write};

const MINUTE_US: i64 = 60_000_000;

/// (who, number, minute, value)
type Row = (usize, i64, i64, i64);

async fn put(engine: &Engine, mode: WriteMode, of: &[Row]) {
    let at = TimestampMicrosecondArray::from_iter_values(of.iter().map(|row| row.2 * MINUTE_US));
    let whole = |value: fn(&Row) -> i64| {
        Arc::new(Int64Array::from_iter_values(of.iter().map(value))) as ArrayRef
    };
    let who = StringArray::from_iter_values(of.iter().map(|row| format!("u{}", row.0)));
    let columns = [
        ("who", ColumnType::Text, Arc::new(who) as ArrayRef),
        ("number", ColumnType::Int64, whole(|row| row.1)),
        ("at", ColumnType::Timestamp, Arc::new(at.with_timezone("UTC")) as ArrayRef),
        ("value", ColumnType::Int64, whole(|row| row.3)),
    ];
    write(engine, "happenings", mode, &columns).await;
}

async fn refresh(engine: &Engine) {
    let view = json!({
        "dataset": "happenings", "entity": ["who", "number"], "time_column": "at", "ttl": "1h", "output": "load",
        "features": { "newest": "value", "seen": { "measure": "count(*)" } },
    });
    summary_of(engine, "features", view).await;
}

async fn ask(online: &Online, engine: &Engine, minute: i64, entities: Value) -> Result<OnlineRows> {
    let who = Principal::local();
    let session = engine.session(&who, &[]).await?;
    let entities = entities.as_array().unwrap().iter().map(|of| of.as_object().unwrap().clone());
    let request = OnlineRequest {
        view: DatasetName::new("load").unwrap(),
        features: None,
        entities: entities.collect(),
        now: DateTime::from_timestamp_micros(minute * MINUTE_US).unwrap(),
        bytes_max: 4_000,
    };
    online.read(engine, &who, &session, &request).await
}

#[tokio::test]
async fn an_entity_is_told_as_it_is_now_until_it_expires() {
    let engine = engine().await;
    put(&engine, WriteMode::Append, &[(0, 1, 10, 7), (0, 1, 20, 8), (0, 2, 15, 9)]).await;
    refresh(&engine).await;
    let online = Online::new(1 << 20);
    let asked = json!([{ "who": "u0", "number": 1 }, { "who": "u9", "number": 1 }, { "number": "2", "who": "u0" }]);
    let found = ask(&online, &engine, 30, asked.clone()).await.unwrap();
    let expected = [
        r#"{"entity":{"who":"u0","number":1},"at":"1970-01-01T00:20:00Z","is_expired":false,"features":{"newest":8,"seen":2}}"#,
        r#"{"entity":{"who":"u9","number":1},"at":null,"is_expired":false,"features":{"newest":null,"seen":null}}"#,
        r#"{"entity":{"number":"2","who":"u0"},"at":"1970-01-01T00:15:00Z","is_expired":false,"features":{"newest":9,"seen":1}}"#,
    ];
    let same = |row: &str, expected: &str| {
        let row: Value = serde_json::from_str(row).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(row, expected);
    };
    found.rows.iter().zip(expected).for_each(|(row, expected)| same(row, expected));
    // An hour after 00:15 it counts no more, to the microsecond.
    let one = json!([{ "who": "u0", "number": 2 }]);
    let is_expired = async |minute| {
        let found = ask(&online, &engine, minute, one.clone()).await.unwrap();
        let row: Value = serde_json::from_str(&found.rows[0]).unwrap();
        assert_eq!(row["features"]["newest"].is_null(), row["is_expired"] == true);
        row["is_expired"] == true
    };
    assert!(!is_expired(74).await && is_expired(75).await);
    // What came is told at once.
    put(&engine, WriteMode::Append, &[(0, 1, 40, 5)]).await;
    refresh(&engine).await;
    let later = ask(&online, &engine, 41, asked).await.unwrap();
    assert!(later.version > found.version);
    assert!(later.rows[0].contains("\"newest\":5"), "{:?}", later.rows);
}

/// Commits of any sizes, in any order, with rows that take the place of others: what is held is what a query gives.
#[tokio::test]
async fn what_is_held_is_what_a_query_gives() {
    let engine = engine().await;
    let online = Online::new(1 << 20);
    let who = Principal::local();
    let view = DatasetName::new("load").unwrap();
    let mut noise = Noise::new(3);
    let mut below = |most: usize| ((noise.uniform() * most as f64) as usize).min(most - 1);
    for commit in 0..12 {
        let rows: Vec<Row> = (0..1 + below(60))
            .map(|_| (below(8), below(3) as i64, below(500) as i64, below(1000) as i64))
            .collect();
        // Once all of it is replaced.
        let mode = if commit == 7 { WriteMode::Overwrite } else { WriteMode::Append };
        put(&engine, mode, &rows).await;
        refresh(&engine).await;
        let session = engine.session(&who, &[]).await.unwrap();
        let skew = online.skew(&engine, &who, &session, &view).await.unwrap();
        let there = crate::testing::rows(
            &engine,
            "SELECT count(*) FROM (SELECT DISTINCT who, number FROM load)",
        )
        .await;
        assert_eq!(skew.entities.to_string(), there[0]);
        assert_eq!((skew.equal, skew.not_there), (skew.entities, 0), "{commit}: {skew:?}");
    }
    assert!(!rows(&engine, "SELECT * FROM load LIMIT 1").await.is_empty());
}

/// What is held otherwise than it is, or is not there, is told.
#[tokio::test]
async fn skew_is_seen() {
    let engine = engine().await;
    put(&engine, WriteMode::Append, &[(0, 1, 10, 7), (0, 2, 15, 9), (1, 1, 16, 4)]).await;
    refresh(&engine).await;
    let (online, who) = (Online::new(1 << 20), Principal::local());
    let view = DatasetName::new("load").unwrap();
    let session = engine.session(&who, &[]).await.unwrap();
    let slot = online.fresh(&engine, &who, &session, &view).await.unwrap();
    for (sql, equal, not_there) in [
        ("SELECT * REPLACE (newest + 1 AS newest) FROM load WHERE number = 2", 2, 0),
        ("SELECT * REPLACE ('u5' AS who) FROM load WHERE number = 2", 2, 1),
    ] {
        let other = session.collect(session.sql(sql).await.unwrap()).await.unwrap();
        other.iter().for_each(|batch| slot.held.write().as_mut().unwrap().add(batch).unwrap());
        let skew = online.skew(&engine, &who, &session, &view).await.unwrap();
        assert_eq!((skew.entities, skew.equal, skew.not_there), (3, equal, not_there), "{skew:?}");
        assert!(skew.differing[0].contains("\"newest\":10"), "{skew:?}");
    }
}

/// A dataset that is called otherwise now, and one that was made in its place, have other rows under the same versions.
#[tokio::test]
async fn another_dataset_of_the_name_is_another_one() {
    let engine = engine().await;
    let (online, who) = (Online::new(1 << 20), Principal::local());
    let view = DatasetName::new("loads").unwrap();
    let request = OnlineRequest {
        view: view.clone(),
        features: None,
        entities: vec![json!({ "series": "a" }).as_object().unwrap().clone()],
        now: DateTime::UNIX_EPOCH,
        bytes_max: 4_000,
    };
    for value in [7.0, 8.0] {
        append(&engine, "loads", &[sampled("a", 600, vec![value])]).await;
        let session = engine.session(&who, &[]).await.unwrap();
        let found = online.read(&engine, &who, &session, &request).await.unwrap();
        assert!(found.rows[0].contains(&format!("\"value\":{value}")), "{found:?}");
        let other = DatasetName::new(format!("loads_{value}")).unwrap();
        engine.rename_dataset(&who, &view, &other).await.unwrap();
    }
}

#[tokio::test]
async fn bad_requests_are_named_and_room_is_bounded() {
    let engine = engine().await;
    put(&engine, WriteMode::Append, &[(0, 1, 10, 7)]).await;
    refresh(&engine).await;
    let online = Online::new(1 << 20);
    for (asked, says) in [
        (json!([]), "entities: expected 1 to 10000, found 0"),
        (json!([{ "who": "u0" }]), "entities: 1: expected \"number\", which names it"),
        (json!([{ "who": "u0", "number": 1, "at": 2 }]), "an entity of load has no column \"at\""),
        (json!([{ "who": 5, "number": 1 }]), "\"who\": expected Utf8, found 5"),
        (json!([{ "who": "u0", "number": "one" }]), "\"number\": expected int64, found \"one\""),
        (json!([{ "who": "u0", "number": 1.5 }]), "\"number\": expected int64, found \"1.5\""),
    ] {
        let error = ask(&online, &engine, 11, asked.clone()).await.unwrap_err().to_string();
        assert!(error.contains(says), "{asked}: {error}");
    }
    let many: Vec<Value> = (0..60).map(|_| json!({ "who": "u0", "number": 1 })).collect();
    let error = ask(&online, &engine, 11, many.into()).await.unwrap_err().to_string();
    assert!(error.contains("expected an answer of at most 4000 bytes"), "{error}");
    let small = Online::new(10);
    let error = ask(&small, &engine, 11, json!([{ "who": "u0", "number": 1 }])).await.unwrap_err();
    assert!(error.to_string().contains("take more than the 10 bytes"), "{error}");
}
