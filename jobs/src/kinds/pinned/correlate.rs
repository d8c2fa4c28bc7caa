#![allow(clippy::unwrap_used)]

use super::*;
use crate::kinds::correlate::Correlate;
use crate::testing::{append, engine};

const FOUND: &str = "SELECT * FROM correlations ORDER BY series_a, series_b";
const LEADS: &str = "SELECT * FROM lead_lag ORDER BY 1, 2, 3, 4, 5";

/// `part` of a row so many samples before, and noise.
fn follows(of: &[f64], part: f64, lag: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    (0..of.len()).map(|at| part * of[at.saturating_sub(lag)] + 0.6 * noise.normal()).collect()
}

/// Load, what follows it and what does not: at once, later, the other way round, by way of others, for a while.
fn relations(count: usize) -> Vec<Series> {
    let mut noise = Noise::new(70);
    let mut last = 0.0;
    let load: Vec<f64> = (0..count)
        .map(|_| {
            last = 0.4 * last + noise.normal();
            last
        })
        .collect();
    let queue = follows(&load, 1.2, 3, 71);
    let wait = follows(&queue, -1.0, 2, 72);
    let twin = follows(&load, 1.0, 0, 73);
    let other = follows(&load, -0.9, 0, 74);
    let mut ends = follows(&load, 1.4, 0, 75);
    ends[count * 3 / 5..].copy_from_slice(&follows(&load, 0.0, 0, 76)[count * 3 / 5..]);
    let mut burst = follows(&load, 0.0, 0, 77);
    burst[count / 3] = 80.0;
    let mut same_burst = follows(&load, 0.0, 0, 78);
    same_burst[count / 3] = 90.0;
    let with_day: Vec<f64> =
        twin.iter().enumerate().map(|(at, of)| of + wave(at, 24, 6.0)).collect();
    let other_day: Vec<f64> = (0..count).map(|at| wave(at, 24, 6.0) + 0.02 * at as f64).collect();
    let mut gaps = sampled("gaps", 3_600, follows(&load, 1.0, 1, 79));
    (0..count).step_by(9).for_each(|at| gaps.values[at] = f64::NAN);
    gaps.values[count / 4..count / 4 + 5].fill(f64::NAN);
    let mut sparse = sampled("sparse", 3_600, follows(&load, 1.0, 0, 80));
    (0..count).filter(|at| at % 3 > 0).for_each(|at| sparse.values[at] = f64::NAN);
    let mut late = sampled("late", 3_600, follows(&load, 1.0, 0, 81));
    late.times.drain(..count * 3 / 5);
    late.values.drain(..count * 3 / 5);
    let named = |name: &str, values: Vec<f64>| sampled(name, 3_600, values);
    let mut away = named("away", follows(&load, 1.0, 0, 82));
    away.times.iter_mut().for_each(|at| *at += 400 * 86_400_000_000);
    vec![
        named("load", load),
        named("queue", queue),
        named("wait", wait),
        named("twin", twin),
        named("other", other),
        named("ends", ends),
        named("burst", burst),
        named("same_burst", same_burst),
        named("with_day", with_day),
        named("other_day", other_day),
        gaps,
        sparse,
        late,
        away,
        named("flat", vec![4.0; count]),
        named("few", vec![1.0, 2.0, 0.0, 3.0]),
        named("none", vec![f64::NAN; 20]),
    ]
}

#[tokio::test]
async fn what_moves_together() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &relations(360)).await;
    let usual = json!({ "trend_buckets": 48, "max_lag": 6 });
    for more in [
        json!({}),
        json!({ "min_coefficient": 0.2, "max_q": 0.2, "fill_buckets": 0, "max_missing": 0.7, "min_overlap": 0.1, "lag_search": "all" }),
        json!({ "detrend": "none", "clip": 0.0, "min_coefficient": 0.7 }),
        json!({ "detrend": "none", "lag_search": "correlated", "clip": 2.0, "pairs_max": 7 }),
        json!({ "detrend": "difference", "max_lag": 2, "min_coefficient": 0.4, "fill_buckets": 9 }),
        json!({ "max_lag": 0, "min_coefficient": 0.3 }),
        json!({ "interval": "3h", "max_lag": 2, "from": "2026-01-02T00:00:00Z", "to": "2026-01-14T05:00:00Z", "min_coefficient": 0.4 }),
        json!({ "series": ["load", "queue", "wait", "with_day"], "max_lag": 9, "min_coefficient": 0.3, "detrend": "none" }),
        json!({ "trend_buckets": 3, "min_coefficient": 0.3, "max_missing": 0.0 }),
    ] {
        let queries: &[&str] = match more.get("series").is_some() || more["max_lag"] == json!(0) {
            true => &[FOUND],
            false => &[FOUND, LEADS],
        };
        run(&engine, &mut pinned, "correlate", and(usual.clone(), &more), queries).await;
    }
    assert_eq!(pinned.against("correlate"), Ok(()));
}

/// Series that begin and end at other times each: which of them are compared, and over which.
#[tokio::test]
async fn what_shares_its_time() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    let mut noise = Noise::new(84);
    let cause: Vec<f64> = (0..900).map(|_| noise.normal()).collect();
    let of = |name: &str, from: usize, to: usize| {
        let mut noise = Noise::new((from * 1_000 + to) as u64);
        let mut series =
            sampled(name, 3_600, cause.iter().map(|of| of + 0.5 * noise.normal()).collect());
        series.times = series.times[from..to].to_vec();
        series.values = series.values[from..to].to_vec();
        series
    };
    let all = [
        ("a", 0, 300),
        ("b", 20, 400),
        ("c", 100, 260),
        ("d", 250, 600),
        ("e", 300, 900),
        ("f", 450, 640),
        ("g", 0, 900),
        ("h", 600, 900),
        ("i", 640, 700),
        ("j", 150, 450),
        ("k", 0, 150),
        ("l", 149, 151),
        ("m", 320, 880),
        ("n", 590, 610),
    ];
    append(&engine, "metrics", &all.map(|(name, from, to)| of(name, from, to))).await;
    for min_overlap in [0.0, 0.1, 0.25, 0.5, 0.55, 0.75, 0.9, 1.0] {
        let params = json!({ "min_overlap": min_overlap, "detrend": "none", "max_lag": 0, "max_missing": 0.9 });
        let found =
            "SELECT series_a, series_b, n, started_at, ended_at FROM correlations ORDER BY 1, 2";
        run(&engine, &mut pinned, "correlate", params, &[found]).await;
    }
    assert_eq!(pinned.against("correlate_times"), Ok(()));
}

#[tokio::test]
async fn what_moves_together_across_datasets() {
    let mut pinned = Pinned::default();
    let engine = engine().await;
    append(&engine, "metrics", &relations(300)).await;
    calls(&engine, 300).await;
    let also = json!([
        { "dataset": "calls", "measure": "count(*)" },
        { "dataset": "calls", "name": "cost", "series_column": "model", "measure": "sum(cost)", "where": "team <> 't2'" },
        { "dataset": "calls", "name": "took", "series_column": "team", "value_column": "took", "empty": "auto" },
        { "dataset": "metrics", "name": "again", "series_column": "series", "where": "series IN ('load', 'queue')" },
    ]);
    let usual = json!({ "interval": "1h", "detrend": "none", "max_lag": 4, "min_coefficient": 0.3, "max_q": 0.1, "also": also });
    for more in [
        json!({}),
        json!({ "interval": "2h", "where": "series LIKE 'w%'", "detrend": "seasonal" }),
        json!({ "dataset": "calls", "series_column": "model", "measure": "avg(took)", "also": [
            { "dataset": "calls", "name": "n", "measure": "count(*)", "empty": "missing" },
            { "dataset": "calls", "name": "of_m0", "measure": "count(*)", "empty": "zero", "where": "model = 'm0'" } ] }),
    ] {
        run(&engine, &mut pinned, "correlate", and(usual.clone(), &more), &[FOUND, LEADS]).await;
    }
    let also = |count: usize| json!({ "also": (0..count).map(|at| json!({ "dataset": "calls", "name": format!("n{at}") })).collect::<Vec<_>>() });
    let name =
        |bytes: usize| json!({ "also": [{ "dataset": "calls", "name": "n".repeat(bytes) }] });
    taken(
        &mut pinned,
        &Correlate,
        &[
            also(32),
            also(33),
            name(0),
            name(1),
            name(100),
            name(101),
            json!({ "also": [{ "dataset": "calls" }, { "dataset": "calls" }] }),
            json!({ "also": [{ "dataset": "calls" }], "series": ["a"] }),
            json!({ "also": [{ "dataset": "calls", "measure": "count(*)" }] }),
            json!({ "also": [{ "dataset": "calls", "empty": "zero" }] }),
            json!({ "max_missing": -0.1 }),
            json!({ "max_missing": 0.0 }),
            json!({ "min_overlap": 1.0 }),
            json!({ "min_overlap": 1.1 }),
            json!({ "min_coefficient": 2.0 }),
            json!({ "max_q": 0.0 }),
            json!({ "max_q": 1.0 }),
            json!({ "max_q": 1.1 }),
            json!({ "clip": -1.0 }),
            json!({ "clip": 0.0 }),
            json!({ "trend_buckets": 2 }),
            json!({ "trend_buckets": 3 }),
            json!({ "max_lag": 10_000 }),
            json!({ "max_lag": 10_001 }),
            json!({ "pairs_max": 0 }),
            json!({ "pairs_max": 1 }),
            json!({ "pairs_max": 10_000_000 }),
            json!({ "pairs_max": 10_000_001 }),
            json!({ "leads": "correlations" }),
            json!({ "measure": "count(*)" }),
            json!({ "empty": "missing" }),
            json!({ "from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z" }),
        ],
    );
    assert_eq!(pinned.against("correlate_across"), Ok(()));
}
