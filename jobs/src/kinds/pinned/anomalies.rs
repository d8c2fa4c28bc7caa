#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta};
use engine::Principal;

use super::*;
use crate::anomaly_labels::{AnomalyAt, AnomalyVerdict, label_anomaly};
use crate::kinds::anomalies::Anomalies;
use crate::parameters::dataset_name;
use crate::testing::{append, engine, summary_of};

const FOUND: &str = "SELECT * FROM anomalies ORDER BY series, started_at, kind, peak_at";

#[tokio::test]
async fn what_is_unusual_by_windows() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &shapes(700, 48, 1_800)).await;
    for more in [
        json!({}),
        json!({ "window_samples": 48, "rare_samples": 150, "threshold": 4.0, "shift_threshold": 4.0, "gap_intervals": 3, "stuck_samples": 20 }),
        json!({ "window_samples": 17, "rare_samples": 100_000, "season": "none", "stuck_samples": 0, "gap_intervals": 41, "min_severity": "medium" }),
        json!({ "window_samples": 100, "season": "12h", "from": "2026-01-09T00:00:00Z", "min_severity": "high", "threshold": 3.0 }),
        json!({ "to": "2026-01-10T00:00:00Z", "gap_intervals": 39, "stuck_samples": 116, "series": ["stuck", "gaps", "spikes", "step", "uneven"] }),
    ] {
        run(&engine, &mut pinned, "anomalies", more, &[FOUND]).await;
    }
    assert_eq!(pinned.against("anomalies_windows"), Ok(()));
}

/// Two weeks and more of days that are alike, one of them the other way round, and one that comes later.
fn days(count: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut values: Vec<f64> = (0..count)
        .map(|at| wave(at, 48, 10.0) + wave(at, 16, 4.0) + 0.2 * noise.normal())
        .collect();
    values[528..576].reverse();
    values
}

#[tokio::test]
async fn what_shapes_come_but_once() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let mut all = shapes(700, 48, 1_800);
    let wanted = ["shape", "day", "noise", "gaps", "short", "rare", "stuck", "walk", "constant"];
    all.retain(|of| wanted.contains(&of.name.as_str()));
    all.push(sampled("days", 1_800, days(1_000, 7)));
    all.push(sampled("spike", 1_800, {
        let mut values = days(1_000, 8);
        values[300] = 60.0;
        values
    }));
    let mut sparse = sampled("sparse", 1_800, days(900, 9));
    (0..900).filter(|at| at % 5 > 1).for_each(|at| sparse.values[at] = f64::NAN);
    all.push(sparse);
    append(&engine, "metrics", &all).await;
    for more in [
        json!({}),
        json!({ "season": "none", "shape_samples": 48 }),
        json!({ "season": "none", "shape_samples": 12, "shape_score": 0.5 }),
        json!({ "window_samples": 64, "shape_score": 1.0, "min_severity": "medium" }),
        json!({ "season": "8h", "shape_samples": 8, "shape_score": 8.0, "from": "2026-01-10T00:00:00Z" }),
    ] {
        let params = and(json!({ "shapes": true }), &more);
        run(&engine, &mut pinned, "anomalies", params, &[FOUND]).await;
    }
    assert_eq!(pinned.against("anomalies_shapes"), Ok(()));
}

/// What a network learns is another thing in its last digits on each machine: what it finds is pinned without its numbers.
#[tokio::test]
async fn what_does_not_go_together() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let mut noise = Noise::new(97);
    let mut values = vec![Vec::new(); 6];
    for at in 0..1_500 {
        let causes = [noise.normal(), noise.normal()];
        for (series, values) in values.iter_mut().enumerate() {
            let turned = series == 1 && (1_000..1_040).contains(&at);
            let sign = if turned { -1.0 } else { 1.0 };
            values.push(100.0 + 5.0 * (sign * causes[series / 3] + 0.1 * noise.normal()));
        }
    }
    let series = values.into_iter().enumerate();
    let series: Vec<Series> = series.map(|(at, of)| sampled(&format!("s{at}"), 300, of)).collect();
    append(&engine, "metrics", &series).await;
    let found = "SELECT series, kind, date_trunc('day', peak_at) FROM anomalies ORDER BY series, kind, peak_at";
    for more in [
        json!({}),
        json!({ "joint_threshold": 40.0, "joint_seed": 5 }),
        json!({ "from": "2026-01-05T00:00:00Z" }),
        json!({ "from": "2026-01-02T00:00:00Z", "min_severity": "high" }),
        json!({ "series": ["s0", "s1"] }),
    ] {
        let params = and(json!({ "joint": true }), &more);
        let summary = summary_of(&engine, "anomalies", params.clone()).await;
        let joint = &summary["joint"];
        let of = ["groups", "series"].map(|name| joint[name].to_string());
        let by = &summary["by_kind"];
        pinned.text(&params.to_string(), &[of.join(" "), by.to_string()]);
        pinned.text(found, &rows(&engine, found).await);
    }
    assert_eq!(pinned.against("anomalies_joint"), Ok(()));
}

#[tokio::test]
async fn what_is_unusual_online() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let all = shapes(900, 48, 1_800);
    let part = |from: usize, to: usize| -> Vec<Series> {
        let part = |of: &Series| {
            let range = from.min(of.times.len())..to.min(of.times.len());
            Series {
                name: of.name.clone(),
                times: of.times[range.clone()].to_vec(),
                values: of.values[range].to_vec(),
            }
        };
        all.iter().map(part).collect()
    };
    for (from, to) in [(0, 310), (310, 311), (311, 900)] {
        append(&engine, "metrics", &part(from, to)).await;
        run(&engine, &mut pinned, "anomalies", json!({ "method": "online" }), &[FOUND]).await;
    }
    for more in [
        json!({ "method": "online", "rarity": 1.0, "rest_samples": 5, "stuck_samples": 20, "gap_intervals": 3 }),
        json!({ "method": "online", "rarity": 4.0, "rest_samples": 400, "stuck_samples": 0, "from": "2026-01-12T00:00:00Z", "min_severity": "medium" }),
    ] {
        run(&engine, &mut pinned, "anomalies", more, &[FOUND]).await;
    }
    let kept = "SELECT series, last_at, samples FROM anomaly_state ORDER BY series";
    if let Ok(session) = engine.session(&Principal::local(), &[]).await
        && session.sql(kept).await.is_ok()
    {
        pinned.text(kept, &rows(&engine, kept).await);
    }
    assert_eq!(pinned.against("anomalies_online"), Ok(()));
}

#[tokio::test]
async fn what_is_unusual_in_several_columns() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    calls(&engine, 700).await;
    let usual = json!({ "method": "columns", "dataset": "calls", "series_column": null, "columns": ["cost", "took"] });
    for more in [
        json!({}),
        json!({ "series_column": "team", "columns_score": 0.5, "columns_seed": 9 }),
        json!({ "columns": ["cost"], "columns_score": 1.0, "min_severity": "high" }),
        json!({ "columns": ["count(*)", "sum(cost)", "avg(took)"], "interval": "6h", "columns_score": 0.5 }),
        json!({ "columns": ["count(*)", "max(took)"], "interval": "3h", "series_column": "model", "columns_score": 0.5, "season": "none", "where": "team <> 't0'" }),
        json!({ "from": "2026-01-20T00:00:00Z", "to": "2026-01-28T00:00:00Z", "columns_score": 0.5 }),
    ] {
        run(&engine, &mut pinned, "anomalies", and(usual.clone(), &more), &[FOUND]).await;
    }
    assert_eq!(pinned.against("anomalies_columns"), Ok(()));
}

#[tokio::test]
async fn what_labels_make_of_it() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let mut noise = Noise::new(95);
    let some = ["a", "b", "c"].map(|name| {
        let mut values: Vec<f64> = (0..1_500).map(|_| 50.0 + noise.normal()).collect();
        for (at, more) in
            [(300, 11.0), (600, 12.0), (800, -13.0), (1_000, 30.0), (1_300, 12.5), (1_400, 5.5)]
        {
            values[at] = 50.0 + more;
        }
        sampled(name, 300, values)
    });
    append(&engine, "metrics", &some).await;
    for method in [json!({}), json!({ "method": "online" })] {
        run(&engine, &mut pinned, "anomalies", method.clone(), &[]).await;
        for (series, sample, verdict) in [
            ("a", 600, AnomalyVerdict::NotAnAnomaly),
            ("a", 1_000, AnomalyVerdict::Real),
            ("b", 300, AnomalyVerdict::Real),
            ("b", 1_400, AnomalyVerdict::Real),
            ("c", 800, AnomalyVerdict::NotAnAnomaly),
            ("c", 800, AnomalyVerdict::TakenBack),
            ("c", 50, AnomalyVerdict::NotAnAnomaly),
        ] {
            let at =
                DateTime::from_timestamp(BEGIN_S, 0).unwrap() + TimeDelta::seconds(sample * 300);
            let of = AnomalyAt {
                dataset: dataset_name("anomalies"),
                source: dataset_name("metrics"),
                series: series.to_owned(),
                at,
                kind: None,
            };
            let said = label_anomaly(&engine, &Principal::local(), &of, verdict, None).await;
            pinned.text(
                &format!("{series} {sample}"),
                &[said.map_or_else(|error| error.to_string(), |_| "said".into())],
            );
        }
        for more in [json!({}), json!({ "min_severity": "medium" })] {
            run(&engine, &mut pinned, "anomalies", and(method.clone(), &more), &[FOUND]).await;
        }
    }
    assert_eq!(pinned.against("anomalies_labels"), Ok(()));
}

#[test]
fn which_parameters_are_taken() {
    let mut pinned = Pinned::default();
    let columns = |count: usize| json!({ "method": "columns", "columns": (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>() });
    let mut all = vec![
        columns(0),
        columns(1),
        columns(64),
        columns(65),
        json!({ "method": "columns", "columns": ["a", "b", "a"] }),
        json!({ "method": "online", "state": "anomalies" }),
        json!({ "state": "anomalies" }),
        json!({ "shapes": true }),
        json!({ "shape_samples": 8 }),
        json!({ "shape_score": 3.0 }),
        json!({ "shape_score": 3.0, "shapes": true }),
        json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" }),
    ];
    for (name, values) in [
        ("window_samples", vec![json!(15), json!(16), json!(100_000), json!(100_001)]),
        ("threshold", vec![json!(0), json!(0.001), json!(-1)]),
        ("shift_threshold", vec![json!(0), json!(1)]),
        ("joint_threshold", vec![json!(0), json!(0.5)]),
        ("gap_intervals", vec![json!(0), json!(1)]),
        ("rare_samples", vec![json!(0), json!(1)]),
    ] {
        all.extend(values.into_iter().map(|value| json!({ name: value })));
    }
    for samples in [7, 8, 65_536, 65_537] {
        all.push(json!({ "shapes": true, "shape_samples": samples }));
    }
    for score in [0.4, 0.5, 8.0, 8.1] {
        all.push(json!({ "shapes": true, "shape_score": score }));
        all.push(json!({ "method": "columns", "columns": ["a"], "columns_score": score }));
        all.push(json!({ "method": "online", "rarity": score }));
    }
    for samples in [0, 1, 100_000, 100_001] {
        all.push(json!({ "method": "online", "rest_samples": samples }));
    }
    // What one method knows, and another does not.
    let others = json!({
        "series": ["a"], "to": "2026-01-02T00:00:00Z", "season": "none", "value_column": "v", "gap_intervals": 5, "stuck_samples": 7,
        "window_samples": 20, "threshold": 7, "shift_threshold": 7, "rare_samples": 9, "joint": true, "joint_threshold": 7, "joint_seed": 1,
        "shapes": true, "rarity": 3, "rest_samples": 3, "state": "s", "columns": ["a"], "interval": "1h", "where": "true",
        "columns_score": 3, "columns_seed": 1,
    });
    for (name, value) in others.as_object().unwrap() {
        for method in [
            json!({}),
            json!({ "method": "online" }),
            json!({ "method": "columns", "columns": ["a"] }),
        ] {
            all.push(and(method, &json!({ name: value })));
        }
    }
    taken(&mut pinned, &Anomalies, &all);
    assert_eq!(pinned.against("anomalies_parameters"), Ok(()));
}
