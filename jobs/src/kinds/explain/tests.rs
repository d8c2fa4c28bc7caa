#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, Utc};
use datasets::ColumnType;
use engine::Engine;
use serde_json::{Value, json};

use crate::testing::{Noise, engine, refusal_of, rows, summary_of, table};

/// 2026-01-05, a Monday, at midnight.
const MONDAY_US: i64 = 1_767_571_200_000_000;
const DAY_US: i64 = 86_400_000_000;

/// What a call was like, by its day and place.
struct Call {
    model: usize,
    region: usize,
    cost: Option<f64>,
    failed: bool,
}

/// Two days of 8,000 calls of 4 models in 3 regions and of 500 users.
async fn calls(engine: &Engine, of: impl Fn(usize, &mut Noise) -> Option<Call>) {
    let mut noise = Noise::new(7);
    let (mut at, mut models, mut regions, mut users) = (vec![], vec![], vec![], vec![]);
    let (mut costs, mut failed) = (vec![], vec![]);
    for day in 0..2 {
        for call in 0..8_000 {
            let Some(made) = of(day, &mut noise) else { continue };
            at.push(MONDAY_US + day as i64 * DAY_US + call * 10_000_000);
            models.push(format!("m{}", made.model));
            regions.push((made.region > 0).then(|| format!("r{}", made.region)));
            users.push(format!("u{}", (noise.uniform() * 5_000.0) as u32));
            costs.push(made.cost);
            failed.push(f64::from(u8::from(made.failed)));
        }
    }
    let at = TimestampMicrosecondArray::from(at).with_timezone("UTC");
    let text = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let columns = [
        ("at", ColumnType::Timestamp, Arc::new(at) as ArrayRef),
        ("model", ColumnType::Text, text(models)),
        ("region", ColumnType::Text, Arc::new(StringArray::from(regions)) as ArrayRef),
        ("user", ColumnType::Text, text(users)),
        ("cost", ColumnType::Float64, Arc::new(Float64Array::from(costs))),
        ("failed", ColumnType::Float64, Arc::new(Float64Array::from(failed))),
    ];
    table(engine, "calls", &columns).await;
}

fn usual(noise: &mut Noise) -> Call {
    let pick = |of: f64, noise: &mut Noise| ((noise.uniform() * of) as usize).min(of as usize - 1);
    let (model, region) = (pick(4.0, noise), pick(3.0, noise));
    let cost = Some(1.0 + noise.uniform());
    Call { model, region, cost, failed: noise.uniform() < 0.05 }
}

fn asked(more: Value) -> Value {
    let mut params = json!({
        "dataset": "calls", "time_column": "at",
        "from": "2026-01-06T00:00:00Z", "to": "2026-01-07T00:00:00Z",
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[tokio::test]
async fn a_ratio_is_carried_by_the_group_that_changed_and_the_rows_say_how() {
    let engine = engine().await;
    calls(&engine, |day, noise| {
        let mut call = usual(noise);
        // One model in one region begins to fail.
        call.failed |= day == 1 && call.model == 2 && call.region == 1 && noise.uniform() < 0.5;
        Some(call)
    })
    .await;
    let params = asked(json!({"measure": "sum(failed) / count(*)"}));
    let summary = summary_of(&engine, "explain", params.clone()).await;
    assert_eq!(summary["outcome"], "found");
    // A user has too many values to be one of those that are taken by themselves.
    assert_eq!(summary["dimensions"], json!(["region", "model"]));
    let found = summary["findings"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["finding"]), (1, &json!("region = r1 and model = m2")));
    let told = "SELECT rank, finding, round(after, 1), round(share), by_column, \
        abs(contribution - by_rate - by_mix - by_both) < 1e-9, p_value < 1e-6 FROM explanations ORDER BY rank";
    let told = rows(&engine, told).await;
    assert!(told[0].starts_with("0 "), "{told:?}");
    let first =
        "1 region = r1 and model = m2 0.5 1.0 {\"model\":\"m2\",\"region\":\"r1\"} true true";
    assert_eq!(told[1], first);
    let says = rows(&engine, "SELECT explanation FROM explanations ORDER BY rank").await;
    assert!(
        says[0].contains("1 group (by region, model) changed differently from the rest"),
        "{says:?}"
    );
    assert!(says[1].starts_with("region = r1 and model = m2: the measure went from "), "{says:?}");
    let share = crate::series::words::number(100.0 * found[0]["share"].as_f64().unwrap());
    assert!(says[1].contains(&format!(", {share} % of the overall change")), "{says:?}");
    let told = "SELECT rows_before, rows_after FROM explanations WHERE rank = 1";
    let counted = "SELECT count(*) FILTER (WHERE at < '2026-01-06'), count(*) FILTER (WHERE at >= '2026-01-06') \
        FROM calls WHERE region = 'r1' AND model = 'm2'";
    assert_eq!(rows(&engine, told).await, rows(&engine, counted).await);
    // The same question has one answer, another its own.
    summary_of(&engine, "explain", params).await;
    summary_of(&engine, "explain", asked(json!({"measure": "count(*)"}))).await;
    let count = "SELECT count(*), count(DISTINCT question) FROM explanations WHERE rank = 0";
    assert_eq!(rows(&engine, count).await, ["2 2"]);
}

#[tokio::test]
async fn what_a_measure_is_made_of_does_not_explain_it_unless_it_is_asked_for() {
    let engine = engine().await;
    calls(&engine, |day, noise| {
        let mut call = usual(noise);
        call.region = if day == 1 && noise.uniform() < 0.3 { 1 } else { call.region };
        Some(call)
    })
    .await;
    let of_one = "sum(CASE WHEN region = 'r1' THEN 1.0 ELSE 0.0 END)";
    let summary = summary_of(&engine, "explain", asked(json!({"measure": of_one}))).await;
    assert_eq!(summary["dimensions"], json!(["model"]), "{summary}");
    let both = json!({"measure": of_one, "dimensions": ["region", "model"]});
    let summary = summary_of(&engine, "explain", asked(both)).await;
    assert_eq!(summary["dimensions"], json!(["region", "model"]), "{summary}");
}

#[tokio::test]
async fn noise_and_what_moves_alike_are_told_as_such() {
    let engine = engine().await;
    calls(&engine, |day, noise| Some(usual(noise)).filter(|_| day == 0 || noise.uniform() < 0.8))
        .await;
    let of = |measure: &str| asked(json!({"measure": measure, "dimensions": ["model", "region"]}));
    let summary = summary_of(&engine, "explain", of("count(*)")).await;
    assert_eq!((&summary["outcome"], &summary["findings"]), (&json!("even"), &json!([])));
    assert!(summary["says"].as_str().unwrap().ends_with("changed alike"));
    let summary = summary_of(&engine, "explain", of("avg(cost)")).await;
    assert_eq!((&summary["outcome"], &summary["findings"]), (&json!("noise"), &json!([])));
}

#[tokio::test]
async fn sums_quantiles_and_rows_without_values_are_explained() {
    let engine = engine().await;
    calls(&engine, |day, noise| {
        let mut call = usual(noise);
        // Calls from nowhere become expensive.
        if day == 1 && call.region == 0 {
            call.cost = call.cost.map(|cost| cost + 3.0);
        }
        Some(call)
    })
    .await;
    for measure in ["sum(cost)", "avg(cost)", "approx_percentile_cont(cost, 0.9)"] {
        let summary = summary_of(&engine, "explain", asked(json!({ "measure": measure }))).await;
        let first = &summary["findings"][0];
        assert_eq!(first["finding"], "region = (none)", "{measure}: {summary}");
        let share = first["share"].as_f64().unwrap();
        assert!((0.8..1.3).contains(&share), "{measure}: {share}");
    }
    let summary = summary_of(&engine, "explain", asked(json!({"measure": "median(cost)"}))).await;
    let change = summary["change"].as_f64().unwrap();
    let both = "SELECT median(cost) FILTER (WHERE at >= '2026-01-06'), \
        median(cost) FILTER (WHERE at < '2026-01-06') FROM calls";
    let both = rows(&engine, both).await.remove(0);
    let both: Vec<f64> = both.split(' ').map(|of| of.parse().unwrap()).collect();
    assert!((change - (both[0] - both[1])).abs() < 1e-12, "{change} {both:?}");
    // Only some rows, of a period that was chosen.
    let some = json!({
        "measure": "avg(cost)", "where": "model = 'm1'", "before_from": "2026-01-05T12:00:00Z",
    });
    let summary = summary_of(&engine, "explain", asked(some)).await;
    assert_eq!(summary["findings"][0]["finding"], "region = (none)");
    let count = "SELECT count(*) FROM calls WHERE model = 'm1' AND at >= '2026-01-05T12:00:00Z'";
    assert_eq!(rows(&engine, count).await, [summary["rows"].to_string()]);
}

#[tokio::test]
async fn what_can_not_be_explained_is_told_by_the_parameter_that_is_wrong() {
    let engine = engine().await;
    calls(&engine, |_, noise| Some(usual(noise))).await;
    let cases = [
        (json!({"from": null}), "parameter \"from\": expected an instant"),
        (
            json!({"to": "2026-01-06T00:00:00Z"}),
            "parameter \"to\": expected an instant after `from`",
        ),
        (
            json!({"before_to": "2026-01-06T12:00:00Z"}),
            "parameter \"before_to\": expected no instant of both",
        ),
        (json!({"measure": "max(cost)"}), "parameter \"measure\": expected a count, a sum"),
        (json!({"measure": "sum(costs)"}), "parameter \"measure\""),
        (json!({"dimensions": ["modle"]}), "dataset calls has no column \"modle\""),
        (json!({"dimensions": ["cost"]}), "parameter \"dimensions\": column \"cost\""),
        (json!({"dimensions": ["model", "model"]}), "\"model\" is there twice"),
        (json!({"time_column": null}), "parameter \"time_column\": expected a column"),
        (json!({"where": "model ="}), "parameter \"where\""),
        (json!({"depth": 5}), "parameter \"depth\": expected 1 to 4, found 5"),
        (json!({"findings_max": 0}), "parameter \"findings_max\""),
        (json!({"explained": 0}), "parameter \"explained\""),
        (json!({"dispersion": -1}), "parameter \"dispersion\""),
    ];
    for (wrong, says) in cases {
        let found = refusal_of(&engine, "explain", asked(wrong.clone())).await;
        assert!(found.contains(says), "{wrong}: {found}");
    }
    // Times without rows are no failure, and as much may be asked for as is said.
    let empty = json!({
        "from": "2027-01-06T00:00:00Z", "to": "2027-01-07T00:00:00Z", "dimensions": ["model"],
        "depth": 4, "findings_max": 100,
    });
    let summary = summary_of(&engine, "explain", asked(empty)).await;
    assert_eq!(summary["outcome"], "incomparable");
}

#[test]
fn the_period_before_a_month_is_the_month_before() {
    for (from, to, zone, expected) in [
        ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", "UTC", "2026-02-01T00:00:00Z"),
        ("2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z", "UTC", "2026-01-01T00:00:00Z"),
        // March has a clock change in Berlin, and so does its last Sunday.
        ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", "Europe/Berlin", "2026-01-31T23:00:00Z"),
        ("2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z", "Europe/Berlin", "2026-03-28T23:00:00Z"),
        ("2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z", "UTC", "2026-03-01T00:00:00Z"),
    ] {
        let params = json!({ "from": from, "to": to, "zone": zone });
        let params: super::params::Params = serde_json::from_value(params).unwrap();
        let [earlier, _] = params.periods().unwrap();
        assert_eq!(earlier.from, expected.parse::<DateTime<Utc>>().unwrap(), "{from} {zone}");
    }
}
