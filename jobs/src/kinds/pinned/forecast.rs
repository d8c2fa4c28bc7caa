#![allow(clippy::unwrap_used)]

use super::*;
use crate::kinds::forecast::Forecast;
use crate::testing::{append, engine, table};

const FOUND: &str = "SELECT * FROM forecasts ORDER BY series, step";
const CAME: &str = "SELECT series, made_at, step, value, lower_80, upper_95, method, actual, error, within_80, within_95, question \
    FROM forecast_accuracy ORDER BY question, series, made_at, step";
const KEPT: &str = "SELECT question, count(*), sum(value), min(made_at), max(at) FROM forecast_history GROUP BY 1 ORDER BY 1";

#[tokio::test]
async fn what_is_forecast() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &shapes(400, 24, 3_600)).await;
    for more in [
        json!({ "horizon": 3 }),
        json!({ "horizon": 26, "series": ["week"], "history": 340 }),
        json!({ "horizon": 2, "may_be_negative": true, "series": ["rare", "counts", "loud", "walk"], "history": 90 }),
        json!({ "horizon": 2, "interval": "4h", "to": "2026-01-12T00:00:00Z", "accuracy": false }),
        json!({ "horizon": 1, "interval": "1d", "history": 8, "accuracy": false }),
        json!({ "horizon": 2, "from": "2026-01-16T00:00:00Z", "accuracy": false }),
        json!({ "horizon": 2, "series": ["short", "one"] }),
    ] {
        run(&engine, &mut pinned, "forecast", more, &[FOUND]).await;
    }
    assert_eq!(pinned.against("forecast"), Ok(()));
}

#[tokio::test]
async fn what_came_of_forecasts() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let until = |hours: usize| {
        let mut all = shapes(400, 24, 3_600);
        all.retain(|of| {
            ["noise", "day", "step", "counts", "gaps", "constant", "short"]
                .contains(&of.name.as_str())
        });
        for series in &mut all {
            series.times.truncate(hours);
            series.values.truncate(hours);
        }
        all
    };
    let mut names = 0;
    for hours in [200, 203, 203, 210] {
        // The whole again under another name would be another question.
        let series = until(hours);
        let rows: Vec<_> =
            series.iter().flat_map(|of| of.times.iter().map(|_| of.name.clone())).collect();
        let times: Vec<i64> = series.iter().flat_map(|of| of.times.clone()).collect();
        let values = series
            .iter()
            .flat_map(|of| of.values.iter().map(|value| (!value.is_nan()).then_some(*value)));
        let times =
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as ArrayRef;
        let columns = [
            ("series", ColumnType::Text, texts(rows)),
            ("at", ColumnType::Timestamp, times),
            ("value", ColumnType::Float64, floats(values.collect())),
        ];
        table(&engine, "samples", &columns).await;
        names += 1;
        let horizon = [4, 4, 3, 2][names - 1];
        let params = json!({ "dataset": "samples", "horizon": horizon });
        run(&engine, &mut pinned, "forecast", params, &[CAME, KEPT]).await;
        let params = json!({ "dataset": "samples", "horizon": 1, "interval": "2h", "where": "series <> 'gaps'", "empty": "missing" });
        run(&engine, &mut pinned, "forecast", params, &[CAME, KEPT]).await;
    }
    assert_eq!(pinned.against("forecast_accuracy"), Ok(()));
}

#[tokio::test]
async fn sums_of_forecasts() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    calls(&engine, 260).await;
    append(&engine, "metrics", &shapes(300, 24, 3_600)).await;
    let of_calls = json!({ "dataset": "calls", "series_column": "agent", "measure": "sum(cost)", "interval": "1h", "horizon": 2 });
    let asked = [
        and(of_calls.clone(), &json!({ "hierarchy": ["team"] })),
        and(
            of_calls.clone(),
            &json!({ "hierarchy": ["team"], "reconcile": "bottom_up", "accuracy": false }),
        ),
        and(
            of_calls.clone(),
            &json!({ "hierarchy": ["team", "model"], "may_be_negative": true, "interval": "6h", "empty": "missing" }),
        ),
        and(
            of_calls.clone(),
            &json!({ "measure": "count(*)", "series_column": null, "interval": "3h", "where": "model = 'm1'" }),
        ),
        json!({ "horizon": 2, "parents": { "noise": "calm", "step": "calm", "day": "waves", "week": "waves", "calm": "all of it", "waves": "all of it" } }),
        json!({ "horizon": 2, "parents": { "loud": "low", "swing": "low", "gaps": "low", "rare": "low", "constant": "low" }, "reconcile": "bottom_up" }),
        json!({ "horizon": 1, "parents": { "short": "few", "one": "few", "nothing": "few", "noise": "few" } }),
    ];
    for params in asked {
        run(&engine, &mut pinned, "forecast", params, &[FOUND]).await;
    }
    let parents = |count: usize| {
        let all = (0..count).map(|at| (format!("s{at}"), json!("all")));
        json!({ "parents": all.collect::<serde_json::Map<String, Value>>() })
    };
    let columns = |count: usize| json!({ "hierarchy": (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>() });
    for count in [10_000, 10_001] {
        let says = Forecast
            .canonical(&parents(count))
            .map_or_else(|error| error.to_string(), |_| "taken".into());
        pinned.text(&format!("{count} parents"), &[says]);
    }
    taken(
        &mut pinned,
        &Forecast,
        &[
            columns(8),
            columns(9),
            json!({ "horizon": 0 }),
            json!({ "horizon": 1 }),
            json!({ "horizon": 10_000 }),
            json!({ "horizon": 10_001 }),
            json!({ "hierarchy": ["a", "b", "a"] }),
            json!({ "hierarchy": ["a"], "parents": { "b": "c" } }),
            json!({ "hierarchy": ["a"], "series": ["b"] }),
            json!({ "parents": { "a": "b" }, "series": ["b"] }),
            json!({ "parents": { "a": "b", "b": "c", "c": "a" } }),
            json!({ "parents": { "a": "a" } }),
            json!({ "parents": { "a": "b", "b": "c", "d": "c" } }),
            json!({ "output": "forecast_history" }),
            json!({ "history_output": "forecast_accuracy" }),
            json!({ "accuracy_output": "forecasts" }),
            json!({ "series": ["a", "a"] }),
        ],
    );
    assert_eq!(pinned.against("forecast_sums"), Ok(()));
}
