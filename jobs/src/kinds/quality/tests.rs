#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use datasets::ColumnType;
use engine::{Engine, WriteMode};
use serde_json::{Value, json};

use super::NAME;
use crate::testing::{Noise, engine, refusal_of, rows, summary_of, write};

const HOUR_US: i64 = 3_600_000_000;
/// 2026-01-01, a Thursday.
const BEGIN_US: i64 = 1_767_225_600_000_000;
const DAYS: i64 = 60;

#[derive(Clone)]
struct Order {
    at_us: Option<i64>,
    id: String,
    amount: Option<f64>,
    email: Option<String>,
    region: &'static str,
    user: Option<String>,
}

/// A day of orders, on weekends a third of them, until ten in the evening.
fn day(day: i64, noise: &mut Noise) -> Vec<Order> {
    let count = if (day + 3) % 7 < 5 { 240 } else { 80 } + (10.0 * noise.uniform()) as i64;
    let order = |at: i64| Order {
        at_us: Some(BEGIN_US + day * 24 * HOUR_US + at * 22 * HOUR_US / count),
        id: format!("{day}-{at}"),
        amount: Some(10.0 + 90.0 * noise.uniform()),
        email: (at % 50 > 0).then(|| format!("u{at:03}@shop.example")),
        region: if noise.uniform() < 0.7 { "north" } else { "south" },
        user: Some(format!("u{}", at % 20)),
    };
    (0..count).map(order).collect()
}

fn days() -> Vec<Vec<Order>> {
    let mut noise = Noise::new(11);
    (0..DAYS).map(|of| day(of, &mut noise)).collect()
}

async fn orders(engine: &Engine, of: &[Vec<Order>]) {
    let of: Vec<&Order> = of.iter().flatten().collect();
    let text = |get: &dyn Fn(&Order) -> Option<String>| {
        Arc::new(of.iter().map(|of| get(of)).collect::<StringArray>()) as ArrayRef
    };
    let at = TimestampMicrosecondArray::from(of.iter().map(|of| of.at_us).collect::<Vec<_>>());
    let amounts: Float64Array = of.iter().map(|of| of.amount).collect();
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at.with_timezone("UTC")) as ArrayRef),
        ("id", ColumnType::Text, text(&|of| Some(of.id.clone()))),
        ("amount", ColumnType::Float64, Arc::new(amounts) as ArrayRef),
        ("email", ColumnType::Text, text(&|of| of.email.clone())),
        ("region", ColumnType::Text, text(&|of| Some(of.region.to_owned()))),
        ("user", ColumnType::Text, text(&|of| of.user.clone())),
    ];
    write(engine, "orders", WriteMode::Overwrite, &columns).await;
    let users = (0..20).map(|at| Some(format!("u{at}"))).collect::<StringArray>();
    let users = [("id", ColumnType::Text, Arc::new(users) as ArrayRef)];
    write(engine, "users", WriteMode::Overwrite, &users).await;
}

/// Looked at on the afternoon of the last day but one, which goes on.
fn asked(more: &Value) -> Value {
    let mut params = json!({
        "dataset": "orders", "time_column": "at", "unique": ["id"], "references": { "user": "users.id" }, "as_of": "2026-02-28T12:00:00Z",
    });
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

const FAILED: &str = "SELECT CAST(at AS DATE) AS at, check_name, column_name, words FROM quality_checks WHERE NOT is_fine \
                      ORDER BY at, check_name, column_name";

#[tokio::test]
async fn where_nothing_is_wrong_the_score_is_full() {
    let engine = engine().await;
    orders(&engine, &days()).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!((&summary["score"], &summary["failed_in_all_periods"]), (&json!(100.0), &json!(0)));
    assert_eq!((&summary["failed"], &summary["reasons"]), (&json!(0), &json!([])));
    // gap, rows; of five columns nulls, of one least, greatest and mean, of four three of texts; repeated, orphans; four distributions.
    assert_eq!(summary["checks"], 2 + 5 + 3 + 4 * 3 + 2 + 4);
    assert_eq!(summary["newest_row_at"], "2026-02-28T11:55:39.759036Z", "{summary}");
    let later = summary["rows_later"].as_u64().unwrap();
    assert!(later > 100 && summary["rows_without_instant"] == 0, "{summary}");
    let known = "SELECT DISTINCT limits_from, CAST(min(at) AS DATE) AS first, CAST(max(at) AS DATE) AS last FROM quality_checks \
                 WHERE check_name = 'rows' GROUP BY limits_from";
    // The first day is not whole, and two weeks are the least to know something by.
    assert_eq!(rows(&engine, known).await, ["learned 2026-01-16 2026-02-27"]);
}

#[tokio::test]
async fn what_is_wrong_is_found_on_its_day_and_nothing_else_is() {
    let engine = engine().await;
    let mut all = days();
    let of = |day: usize, all: &mut Vec<Vec<Order>>, change: &dyn Fn(usize, &mut Order)| {
        all[day].iter_mut().enumerate().for_each(|(at, order)| change(at, order));
    };
    of(40, &mut all, &|at, order| order.email = order.email.take().filter(|_| at % 2 > 0));
    all[42].truncate(100);
    all[43].clear();
    of(45, &mut all, &|at, order| {
        order.amount = if at == 9 { Some(-4_000.0) } else { order.amount }
    });
    of(46, &mut all, &|at, order| {
        order.amount = order.amount.map(|of| if at % 3 > 0 { f64::NAN } else { of })
    });
    of(48, &mut all, &|at, order| {
        order.id = if at > 200 { "again".to_owned() } else { order.id.clone() }
    });
    of(50, &mut all, &|at, order| {
        order.user = if at % 4 == 0 { Some("nobody".to_owned()) } else { order.user.take() }
    });
    of(52, &mut all, &|at, order| {
        order.email = if at % 5 == 0 { Some(" ".to_owned()) } else { order.email.take() }
    });
    (54..58).for_each(|day| {
        of(day, &mut all, &|at, order| {
            order.region = if at % 2 > 0 { "east" } else { order.region }
        })
    });
    // No row comes on the last day from six in the morning on.
    all[58].retain(|order| order.at_us.unwrap() < BEGIN_US + (58 * 24 + 6) * HOUR_US);
    all[59].clear();
    orders(&engine, &all).await;
    let summary =
        summary_of(&engine, NAME, asked(&json!({ "as_of": "2026-03-01T06:00:00Z" }))).await;
    let expected = [
        "2026-02-10 nulls email email has no value in 50.2 % of 247 rows, expected at most 3.715 %, usually 2.075 %",
        "2026-02-12 gap  no row came for 15 h, expected at most 2.659 h, usually 2.091 h",
        "2026-02-12 rows  100 rows came, expected at least 140.3, usually 247",
        "2026-02-13 gap  no row came for 39 h, expected at most 2.659 h, usually 2.091 h",
        "2026-02-13 rows  0 rows came, expected at least 138.6, usually 244",
        "2026-02-15 least amount the smallest amount is -4000, expected at least 3.965, usually 10.48",
        "2026-02-15 mean amount the mean of amount is 5.828, expected at least 28.58, usually 54.36",
        "2026-02-16 nulls amount amount has no value in 66.67 % of 246 rows, expected at most 1.22 %, usually 0 %",
        "2026-02-18 repeated id 16.18 % of 241 values of id are repeated, expected at most 1.245 %, usually 0 %",
        "2026-02-20 longest user the longest user has 6 characters, expected at most 3, usually 3",
        "2026-02-20 orphans user 25.2 % of 246 values of user refer to nothing, expected at most 1.22 %, usually 0 %",
        "2026-02-22 empty email email is empty in 20.48 % of 83 rows, expected at most 3.614 %, usually 0 %",
        "2026-02-22 shortest email the shortest email has 1 characters, expected at least 17, usually 17",
        "2026-02-24 shortest region the shortest region has 4 characters, expected at least 5, usually 5",
        "2026-02-25 shortest region the shortest region has 4 characters, expected at least 5, usually 5",
        "2026-02-26 distribution region region has drifted: east 49.8 %, north 33.6 %, south 16.6 %; before, north 71.1 %, south 28.9 %",
        "2026-02-26 shortest region the shortest region has 4 characters, expected at least 5, usually 5",
        "2026-02-27 distribution region region has drifted: east 49.8 %, north 33.6 %, south 16.6 %; before, north 71.1 %, south 28.9 %",
        "2026-02-27 shortest region the shortest region has 4 characters, expected at least 5, usually 5",
        "2026-02-28 gap  no row came for 18.17 h, expected at most 2.659 h, usually 2.091 h",
        "2026-02-28 rows  23 rows came, expected at least 59.26, usually 84",
        "2026-03-01 gap  no row came for 24.17 h, expected at most 2.659 h, usually 2.091 h",
    ];
    assert_eq!(rows(&engine, FAILED).await, expected, "{summary}");
}

#[tokio::test]
async fn a_column_of_names_is_never_as_it_was_and_is_no_finding() {
    let engine = engine().await;
    let mut all = days();
    // Of few rows each name is a large part.
    all[40].truncate(60);
    orders(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(&json!({ "unique": [] }))).await;
    assert_eq!(summary["columns_of_names"], json!(["id"]));
    let held = "SELECT DISTINCT column_name FROM quality_checks WHERE check_name = 'distribution' ORDER BY 1";
    assert_eq!(rows(&engine, held).await, ["amount", "email", "region", "user"]);
    let failed = "SELECT DISTINCT CAST(at AS DATE) AS at, check_name FROM quality_checks WHERE NOT is_fine ORDER BY 1, 2";
    assert_eq!(rows(&engine, failed).await, ["2026-02-10 gap", "2026-02-10 rows"]);
}

#[tokio::test]
async fn limits_that_are_known_stand_in_the_place_of_learned_ones() {
    let engine = engine().await;
    orders(&engine, &days()).await;
    let limits = json!([
        { "check": "rows", "min": 100 },
        { "check": "nulls", "max": 0.5 },
        { "check": "nulls", "column": "email", "max": 0.001 },
        { "check": "greatest", "column": "amount", "max": 50 },
    ]);
    let asked = |more: Value| {
        let mut params = asked(&json!({ "limits": limits, "distributions": false, "periods": 7 }));
        more.as_object().unwrap().iter().for_each(|(name, value)| params[name] = value.clone());
        params
    };
    let summary = summary_of(&engine, NAME, asked(json!({}))).await;
    let told = "SELECT check_name, column_name, count(*), min(limits_from), max(lower), max(upper) FROM quality_checks WHERE NOT is_fine \
                GROUP BY check_name, column_name ORDER BY check_name, column_name";
    let expected =
        ["greatest amount 7 known  50.0", "nulls email 7 known  0.001", "rows  1 known 100.0 "];
    assert_eq!(rows(&engine, told).await, expected, "{summary}");
    // Each of six dimensions is a sixth; completeness has nine checks, validity eleven.
    let score = 100.0 - 100.0 / 6.0 * (1.0 / 9.0 + 1.0 / 11.0);
    assert_eq!(summary["score"], json!((score * 10.0_f64).round() / 10.0));
    // Known limits need no history.
    let few = asked(json!({ "as_of": "2026-01-03T00:00:00Z" }));
    let summary = summary_of(&engine, NAME, few).await;
    // Emails of both days, amounts of both.
    assert_eq!(summary["failed_in_all_periods"], 4, "{summary}");
}

#[tokio::test]
async fn rows_that_say_nothing_are_counted() {
    let engine = engine().await;
    let mut all = days();
    all[3][0].at_us = None;
    all[4][0].at_us = None;
    orders(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    assert_eq!(summary["rows_without_instant"], 2);
    // Nothing at all, before and after.
    for as_of in [
        "1970-01-01T00:00:00Z",
        "2031-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:00:00Z",
    ] {
        let summary = summary_of(&engine, NAME, asked(&json!({ "as_of": as_of }))).await;
        assert_eq!((&summary["rows"], &summary["checks"]), (&json!(0), &json!(0)), "{summary}");
        let because = summary["nothing_because"].as_str().unwrap();
        assert!(because.contains("no row is of the 119 periods before "), "{because}");
        assert_eq!(summary["newest_row_at"].is_string(), as_of > "2026", "{summary}");
        assert_eq!(rows(&engine, "SELECT count(*) FROM quality_checks").await, ["0"]);
    }
}

#[tokio::test]
async fn few_references_of_many_rows_are_looked_at_and_a_mean_that_is_none_is_not() {
    let engine = engine().await;
    let mut all = days();
    for day in &mut all {
        for (at, order) in day.iter_mut().enumerate() {
            // Fewer than 30 of a day refer to something.
            order.user = (at < 25).then(|| format!("u{at}")).filter(|_| at < 20);
            order.amount = Some(1e308);
        }
    }
    for order in &mut all[50] {
        order.user = order.user.take().map(|of| format!("no {of}"));
    }
    orders(&engine, &all).await;
    let summary = summary_of(&engine, NAME, asked(&json!({}))).await;
    let orphans = "SELECT CAST(at AS DATE), words FROM quality_checks WHERE check_name = 'orphans' AND NOT is_fine";
    assert_eq!(
        rows(&engine, orphans).await,
        [
            "2026-02-20 100 % of 20 values of user refer to nothing, expected at most 15 %, usually 0 %"
        ],
        "{summary}"
    );
    let mean = "SELECT count(*) FROM quality_checks WHERE check_name = 'mean'";
    assert_eq!(rows(&engine, mean).await, ["0"]);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let engine = engine().await;
    orders(&engine, &days()).await;
    for (more, expected) in [
        (
            json!({ "as_of": "yesterday" }),
            "parameter \"as_of\": expected an instant, such as \"2026-01-31T12:00:00Z\", found \"yesterday\"",
        ),
        (
            json!({ "time_column": null }),
            "parameter \"time_column\": expected a column: dataset orders declares none",
        ),
        (json!({ "time_column": "amount" }), "parameter \"time_column\": column \"amount\""),
        (
            json!({ "columns": ["nope"] }),
            "parameter \"columns\": dataset orders has no column \"nope\"",
        ),
        (json!({ "columns": ["id", "id"] }), "parameter \"columns\": \"id\" is named twice"),
        (
            json!({ "limits": [{ "check": "rows", "max": 10 }, { "check": "rows", "max": 1_000 }] }),
            "parameter \"limits\": rows: two limits for one check",
        ),
        (
            json!({ "unique": ["nope"] }),
            "parameter \"unique\": dataset orders has no column \"nope\"",
        ),
        (
            json!({ "references": { "user": "users" } }),
            "parameter \"references\": user: expected DATASET.COLUMN, found \"users\"",
        ),
        (
            json!({ "references": { "user": "users.nope" } }),
            "parameter \"references\": dataset users has no column \"nope\"",
        ),
        (
            json!({ "references": { "nope": "users.id" } }),
            "parameter \"references\": dataset orders has no column \"nope\"",
        ),
        (
            json!({ "limits": [{ "check": "nulls" }] }),
            "parameter \"limits\": nulls: expected `min` or `max`",
        ),
        (
            json!({ "limits": [{ "check": "rows", "min": 2, "max": 1 }] }),
            "parameter \"limits\": rows: expected `min` up to `max`, found 2 and 1",
        ),
        (
            json!({ "limits": [{ "check": "rows", "column": "id", "min": 2 }] }),
            "parameter \"limits\": rows: is of all rows",
        ),
        (
            json!({ "limits": [{ "check": "mean", "column": "email", "min": 2 }] }),
            "parameter \"limits\": mean is not measured of column \"email\"",
        ),
        (
            json!({ "limits": [{ "check": "orphans", "column": "email", "max": 0 }] }),
            "orphans is not measured of column \"email\"",
        ),
        (
            json!({ "limits": [{ "check": "distribution", "max": 0 }] }),
            "parameter \"limits\": distribution: is held against what was",
        ),
        (json!({ "limits": [{ "check": "nope", "max": 0 }] }), "parameter \"limits\""),
        (json!({ "history": 13 }), "parameter \"history\": expected 14 to 366, found 13"),
        (json!({ "periods": 0 }), "parameter \"periods\": expected 1 to 1000, found 0"),
        (json!({ "alarms": 0 }), "parameter \"alarms\": expected 0.001 to 100, found 0"),
        (json!({ "where": "nope > 1" }), "parameter \"where\""),
        (json!({ "output": "orders" }), "parameter \"output\": orders is what is read"),
    ] {
        let says = refusal_of(&engine, NAME, asked(&more)).await;
        assert!(says.contains(expected), "{more}: {says}");
    }
}
