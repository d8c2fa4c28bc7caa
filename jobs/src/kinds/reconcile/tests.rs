#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Column, Noise, engine, refusal_of, rows, summary_of, write};

fn text<'a>(of: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(of.into_iter().collect::<StringArray>())
}

fn texts<'a>(of: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    text(of.into_iter().map(Some))
}

fn float(of: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(of.to_vec()))
}

fn time(of: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(of.to_vec()).with_timezone("UTC"))
}

fn cents(of: &[i128], scale: u8) -> Column<'static> {
    let of = Decimal128Array::from(of.to_vec());
    let of = of.with_precision_and_scale(18, scale as i8).unwrap();
    ("amount", ColumnType::Decimal(18, scale), Arc::new(of))
}

async fn table(engine: &Engine, name: &str, columns: &[Column<'_>]) {
    write(engine, name, WriteMode::Overwrite, columns).await;
}

fn asked(more: Value) -> Value {
    let mut params = json!({ "left": "orders", "right": "ledger", "key": ["id"] });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

async fn orders(engine: &Engine) {
    let left = [
        ("id", ColumnType::Text, texts(["1", "2", "3", "4", "5", "5"])),
        cents(&[1_000, 2_000, 3_000, 4_000, 1, 2], 2),
        ("who", ColumnType::Text, texts(["Ann", "bob", "cid", "dan", "x", "y"])),
        ("at", ColumnType::Timestamp, time(&[0, 0, 20, 0, 0, 0])),
        ("only_here", ColumnType::Text, texts(["", "", "", "", "", ""])),
    ];
    table(engine, "orders", &left).await;
    // In another order, the key as a number, the amount with more digits.
    let right = [
        ("id", ColumnType::Int64, Arc::new(Int64Array::from(vec![6, 5, 3, 2, 1])) as ArrayRef),
        cents(&[9, 1, 30_500, 20_000, 10_000], 3),
        ("who", ColumnType::Text, text([Some("z"), Some("x"), Some("cid"), None, Some(" ann")])),
        ("at", ColumnType::Timestamp, time(&[0, 0, 10, 2_000_000, 0])),
    ];
    table(engine, "ledger", &right).await;
}

const ALL: &str = "SELECT key, kind, column_name, left_value, right_value, difference, winner, value, decided_by, is_open \
                   FROM reconciliations ORDER BY key, column_name";

#[tokio::test]
async fn what_differs_and_what_is_missing() {
    let engine = engine().await;
    orders(&engine).await;
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let expected = [
        "1 differs who Ann  ann     true",
        "2 differs at 1970-01-01T00:00:00Z 1970-01-01T00:00:02Z 2.0    true",
        "2 differs who bob      true",
        "3 differs amount 30 30.5 0.5    true",
        "3 differs at 1970-01-01T00:00:00.000020Z 1970-01-01T00:00:00.000010Z -0.00001    true",
        "4 missing_right        false",
        "5 repeated_left  2 1     false",
        "6 missing_left        false",
    ];
    assert_eq!(rows(&engine, ALL).await, expected);
    let counts = [
        "left_rows",
        "right_rows",
        "matched",
        "agreeing",
        "missing_left",
        "missing_right",
        "repeated",
        "open",
    ];
    let counts = counts.map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [6, 5, 3, 0, 1, 1, 1, 5], "{summary}");
    assert_eq!(summary["differing_by_column"], json!({ "amount": 1, "who": 2, "at": 2 }));
    let columns = "SELECT column_name, compared, equal, near, differing, open, agreement FROM reconciliation_columns ORDER BY 1";
    let third = 1.0 / 3.0;
    let expected = [
        format!("amount 3 2 0 1 1 {}", 2.0 / 3.0),
        format!("at 3 1 0 2 2 {third}"),
        format!("who 3 1 0 2 2 {third}"),
    ];
    assert_eq!(rows(&engine, columns).await, expected);
    let totals =
        "SELECT source, matched, agreeing, differing, agreement FROM reconciliation_totals";
    assert_eq!(rows(&engine, totals).await, ["orders, ledger 3 0 3 0.0"]);
}

#[tokio::test]
async fn values_may_be_apart_and_rules_or_people_say_who_is_right() {
    let engine = engine().await;
    orders(&engine).await;
    let near = json!({
        "tolerances": { "amount": { "relative": 0.02 }, "at": { "absolute": 1 } }, "trim": true, "ignore_case": true,
    });
    let summary = summary_of(&engine, NAME, asked(near)).await;
    assert_eq!((&summary["agreeing"], &summary["differing"]), (&json!(2), &json!(1)), "{summary}");
    let columns =
        "SELECT column_name, equal, near, differing FROM reconciliation_columns ORDER BY 1";
    assert_eq!(rows(&engine, columns).await, ["amount 2 1 0", "at 1 1 1", "who 1 1 1"]);
    // At the edge: 0.5 of 30.5.
    for (relative, near) in [(0.5 / 30.5, 1), (0.5 / 30.5 - 1e-12, 0)] {
        let edge = json!({ "tolerances": { "amount": { "relative": relative } } });
        summary_of(&engine, NAME, asked(edge)).await;
        let of = "SELECT near FROM reconciliation_columns WHERE column_name = 'amount'";
        assert_eq!(rows(&engine, of).await, [near.to_string()], "{relative}");
    }
    // What a float has behind its last digit is no difference, and infinity is near nothing.
    let floats = |of: &[f64]| {
        [
            (
                "id",
                ColumnType::Int64,
                Arc::new(Int64Array::from_iter_values(0..of.len() as i64)) as ArrayRef,
            ),
            ("x", ColumnType::Float64, float(of)),
        ]
    };
    table(&engine, "one", &floats(&[20.00, 10.00, f64::INFINITY, 5.0])).await;
    table(&engine, "two", &floats(&[20.01, 10.011, 5.0, f64::INFINITY])).await;
    let params = json!({ "left": "one", "right": "two", "key": ["id"], "tolerances": { "x": { "absolute": 0.01, "relative": 1e-9 } } });
    assert_eq!(summary_of(&engine, NAME, params).await["agreeing"], 1);
    let far = rows(
        &engine,
        "SELECT key, difference FROM reconciliations WHERE source = 'one, two' ORDER BY 1",
    )
    .await;
    assert_eq!(far[1..], ["2 ", "3 "]);
    // Whole numbers beyond what floats can tell apart are not near each other for that.
    let large = |last: i64| {
        [
            ("id", ColumnType::Int64, Arc::new(Int64Array::from_iter_values(0..3)) as ArrayRef),
            (
                "x",
                ColumnType::Int64,
                Arc::new(Int64Array::from(vec![i64::MAX - last, 10, 10 + last])) as ArrayRef,
            ),
        ]
    };
    table(&engine, "three", &large(0)).await;
    table(&engine, "four", &large(2)).await;
    let near = |absolute| json!({ "left": "three", "right": "four", "key": ["id"], "tolerances": { "x": { "absolute": absolute } } });
    for (absolute, agreeing) in [(0.0, 1), (1.0, 1), (1.999, 1), (2.0, 3), (1e300, 3)] {
        assert_eq!(
            summary_of(&engine, NAME, near(absolute)).await["agreeing"],
            agreeing,
            "{absolute}"
        );
    }
    summary_of(&engine, NAME, asked(json!({}))).await;
    let rules = json!({ "wins": { "*": "newest", "amount": "right" }, "left_time_column": "at" });
    let summary = summary_of(&engine, NAME, asked(rules.clone())).await;
    assert_eq!(summary["open"], 1, "{summary}");
    let decided = "SELECT key, column_name, winner, value, decided_by FROM reconciliations WHERE kind = 'differs' AND source = 'orders, ledger' ORDER BY key, column_name";
    let expected = [
        "1 who   ",
        "2 at right 1970-01-01T00:00:02Z rule",
        "2 who right  rule",
        "3 amount right 30.5 rule",
        "3 at left 1970-01-01T00:00:00.000020Z rule",
    ];
    assert_eq!(rows(&engine, decided).await, expected);
    let answers = [
        ("key", ColumnType::Text, texts(["1", "2", "3", "3", "9", "1"])),
        ("column_name", ColumnType::Text, texts(["who", "who", "amount", "amount", "who", "at"])),
        ("choice", ColumnType::Text, texts(["value", "left", "left", "right", "left", "neither"])),
        ("value", ColumnType::Text, text([Some("Anna"), None, None, None, None, None])),
    ];
    table(&engine, "answers", &answers).await;
    let mut answered = rules;
    answered["answers"] = json!("answers");
    let summary = summary_of(&engine, NAME, asked(answered)).await;
    let told = ["open", "answered", "answers_not_understood", "answers_contradicting"];
    assert_eq!(told.map(|name| summary[name].as_u64().unwrap()), [0, 2, 1, 1], "{summary}");
    let expected = [
        "1 who neither Anna answer",
        "2 at right 1970-01-01T00:00:02Z rule",
        "2 who left bob answer",
        // What two answers contradict is as if there were none.
        "3 amount right 30.5 rule",
        "3 at left 1970-01-01T00:00:00.000020Z rule",
    ];
    assert_eq!(rows(&engine, decided).await, expected);
    // What a column can not have decides nothing, and is told.
    let answers = [
        ("key", ColumnType::Text, texts(["3", "2", "3", "1"])),
        ("column_name", ColumnType::Text, texts(["amount", "at", "at", "who"])),
        ("choice", ColumnType::Text, texts(["value", "value", "value", "Left"])),
        ("value", ColumnType::Text, texts(["twelve", "yesterday", "2026-11-30T12:00:00Z", ""])),
    ];
    table(&engine, "answers", &answers).await;
    let params = json!({ "answers": "answers" });
    let summary = summary_of(&engine, NAME, asked(params)).await;
    let told = ["answered", "answers_not_understood", "answers_about_no_difference"];
    assert_eq!(told.map(|name| summary[name].as_u64().unwrap()), [1, 3, 0], "{summary}");
    let examples = json!([
        "key \"1\", column \"who\": choice \"Left\"",
        "key \"2\", column \"at\": expected an instant, such as 2026-11-30T12:00:00Z, found \"yesterday\"",
        "key \"3\", column \"amount\": expected a number, found \"twelve\"",
    ]);
    assert_eq!(summary["answers_not_understood_such_as"], examples);
    let open = "SELECT key, column_name FROM reconciliations WHERE is_open AND key IN ('2', '3') AND source = 'orders, ledger' ORDER BY 1, 2";
    assert_eq!(rows(&engine, open).await, ["2 at", "2 who", "3 amount"]);
}

#[tokio::test]
async fn keys_of_several_columns_and_columns_of_other_names() {
    let engine = engine().await;
    let left = [
        ("shop", ColumnType::Text, text([Some("a"), Some("a"), Some("b"), None])),
        ("day", ColumnType::Timestamp, time(&[0, 86_400_000_000, 0, 0])),
        ("total", ColumnType::Float64, float(&[1.0, f64::NAN, 3.0, 4.0])),
    ];
    table(&engine, "left", &left).await;
    let right = [
        ("store", ColumnType::Text, texts(["b", "a", "a"])),
        ("at", ColumnType::Timestamp, time(&[0, 86_400_000_000, 0])),
        ("sum", ColumnType::Float64, float(&[3.0, f64::NAN, 1.5])),
        ("total", ColumnType::Int32, Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef),
    ];
    table(&engine, "right", &right).await;
    let params = json!({
        "key": ["shop", "day"], "right_key": ["store", "at"], "columns": { "total": "sum" }, "left_where": "shop = 'a' OR shop IS NULL",
    });
    let summary = summary_of(&engine, NAME, params.clone()).await;
    let counts = ["matched", "agreeing", "missing_left", "without_key"];
    assert_eq!(counts.map(|name| summary[name].as_u64().unwrap()), [2, 1, 1, 1], "{summary}");
    let expected = [
        r#"["a","1970-01-01T00:00:00Z"] differs total 1.0 1.5 0.5    true"#,
        r#"["b","1970-01-01T00:00:00Z"] missing_left        false"#,
    ];
    assert_eq!(rows(&engine, ALL).await, expected);
    // Nothing on one side: all of the other is missing; nothing on both is agreed on by nobody.
    let mut none = params.clone();
    none["left_where"] = json!("false");
    assert_eq!(summary_of(&engine, NAME, none.clone()).await["missing_left"], 3);
    none["right_where"] = json!("false");
    let nothing = summary_of(&engine, NAME, none).await;
    assert_eq!((&nothing["agreement"], &nothing["matched"]), (&Value::Null, &json!(0)));
    assert!(rows(&engine, ALL).await.is_empty());
}

/// Beside a map of each side: every difference, and none that is not one.
#[tokio::test]
async fn random_tables_are_compared_as_maps_would() {
    let engine = engine().await;
    for seed in 0..8u64 {
        let mut noise = Noise::new(seed);
        let mut below = |most: usize| (noise.uniform() * most as f64) as usize;
        let mut made = |rows: usize| {
            let keys: Vec<String> = (0..rows).map(|_| format!("k{}", below(rows * 2))).collect();
            let values: Vec<i64> = (0..rows).map(|_| below(3) as i64).collect();
            (keys, values)
        };
        // More than a batch of each.
        let rows_of = if seed == 0 { 20_000 } else { 200 };
        let sides = [made(rows_of), made(rows_of)];
        let mut maps: [BTreeMap<&str, Vec<i64>>; 2] = Default::default();
        for (map, (keys, values)) in maps.iter_mut().zip(&sides) {
            for (key, value) in keys.iter().zip(values) {
                map.entry(key).or_default().push(*value);
            }
        }
        for (name, (keys, values)) in ["orders", "ledger"].into_iter().zip(&sides) {
            let columns = [
                ("id", ColumnType::Text, texts(keys.iter().map(String::as_str))),
                ("n", ColumnType::Int64, Arc::new(Int64Array::from(values.clone())) as ArrayRef),
            ];
            table(&engine, name, &columns).await;
        }
        let mut expected = Vec::new();
        let [left, right] = &maps;
        let all: std::collections::BTreeSet<&&str> = left.keys().chain(right.keys()).collect();
        for key in all {
            let told = match (left.get(*key).map(Vec::as_slice), right.get(*key).map(Vec::as_slice))
            {
                (Some([left]), Some([right])) if left == right => continue,
                (Some([left]), Some([right])) => format!("differs {left} {right}"),
                (Some([_]), None) => "missing_right  ".to_owned(),
                (None, Some([_])) => "missing_left  ".to_owned(),
                (left, right) => {
                    let count = |of: Option<&[i64]>| of.map_or(0, <[i64]>::len);
                    let side = if count(left) > 1 { "left" } else { "right" };
                    format!("repeated_{side} {} {}", count(left), count(right))
                }
            };
            expected.push(format!("{key} {told}"));
        }
        summary_of(&engine, NAME, asked(json!({}))).await;
        let found = "SELECT key, kind, left_value, right_value FROM reconciliations ORDER BY key";
        assert_eq!(rows(&engine, found).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let engine = engine().await;
    orders(&engine).await;
    let other =
        [("id", ColumnType::Text, texts(["1"])), ("who", ColumnType::Float64, float(&[1.0]))];
    table(&engine, "other", &other).await;
    for (params, says) in [
        (
            json!({ "key": [] }),
            "parameter \"key\": expected columns: dataset orders declares no key",
        ),
        (json!({ "key": ["nr"] }), "parameter \"key\": dataset orders has no column \"nr\""),
        (
            json!({ "key": ["amount"] }),
            "expected a text, whole number, truth value, timestamp or date",
        ),
        (json!({ "key": ["id", "id"] }), "\"id\" stands there twice"),
        (
            json!({ "right_key": ["at"] }),
            "parameter \"right_key\": column \"at\" of dataset ledger: expected a key that can be the same as Utf8",
        ),
        (json!({ "right_key": ["id", "at"] }), "expected 1 columns as in `key`, found 2"),
        (json!({ "right": "orders" }), "orders is `left`, too"),
        (
            json!({ "columns": null, "right": "other" }),
            "nothing can be compared: the types of who differ",
        ),
        (json!({ "columns": { "who": "at" } }), "expected a type that can be compared with Utf8"),
        (
            json!({ "columns": { "gone": "at" } }),
            "parameter \"columns\": dataset orders has no column \"gone\"",
        ),
        (
            json!({ "tolerances": { "gone": {} } }),
            "parameter \"tolerances\": column \"gone\" is not compared; expected one of amount, who, at",
        ),
        (
            json!({ "tolerances": { "amount": { "absolute": -1 } } }),
            "expected numbers not below 0, found -1 and 0",
        ),
        (json!({ "wins": { "amount": "newest" } }), "parameter \"left_time_column\""),
        (json!({ "wins": { "amount": "me" } }), "unknown variant `me`"),
        (json!({ "answers": "ledger" }), "ledger is what is compared"),
        (json!({ "right_where": "x > 1" }), "parameter \"right_where\""),
        (json!({ "output": "ledger" }), "ledger is what is read"),
    ] {
        let refusal = refusal_of(&engine, NAME, asked(params.clone())).await;
        assert!(refusal.contains(says), "{params}: {refusal}");
    }
}
