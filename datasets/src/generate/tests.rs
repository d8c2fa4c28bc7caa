#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};

use super::*;
use crate::conform::Conformer;
use crate::read::Chunk;

fn generate(dataset: &str, rows: u64, batch_rows: usize) -> (RecordBatch, Truth) {
    let generator =
        Generator::new(dataset, GeneratorOptions { seed: 7, rows, batch_rows }).unwrap();
    let (schema, truth) = (generator.schema(), generator.truth().clone());
    let batches: Vec<_> = generator.map(Result::unwrap).collect();
    (concat_batches(&schema, &batches).unwrap(), truth)
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> Vec<&'a str> {
    batch
        .column_by_name(column)
        .unwrap()
        .as_string::<i32>()
        .iter()
        .map(Option::unwrap_or_default)
        .collect()
}

fn instants(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let column = batch.column_by_name(column).unwrap();
    column.as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

#[test]
fn rows_do_not_depend_on_batches_and_all_are_accepted() {
    for spec in specs::builtin().into_iter().take(5) {
        let name = spec.name.as_str();
        let (batch, truth) = generate(name, 6_001, 6_001);
        let (cut, same_truth) = generate(name, 6_001, 97);
        assert_eq!(batch, cut, "{name}");
        assert_eq!(truth, same_truth, "{name}");
        assert_eq!(batch.num_rows(), 6_001);
        let conformer = Conformer::new(&spec, &batch.schema(), name).unwrap();
        let chunk = Chunk { batch, first_row: 1, rows: None, lines: None, rejected: Vec::new() };
        let out = conformer.conform(&chunk).unwrap();
        assert_eq!(out.rejected, [], "{name}");
        let other =
            Generator::new(name, GeneratorOptions { seed: 8, rows: 6_001, batch_rows: 6_001 });
        assert_ne!(other.unwrap().next().unwrap().unwrap(), chunk.batch, "{name}");
        assert_eq!(
            Generator::new(name, GeneratorOptions { rows: 0, ..Default::default() })
                .unwrap()
                .count(),
            0
        );
        assert_eq!(generate(name, 1, 10).0.num_rows(), 1);
        let text = serde_json::to_string(&truth).unwrap();
        assert_eq!(serde_json::from_str::<Truth>(&text).unwrap(), truth);
    }
    assert!(Generator::new("nothing", GeneratorOptions::default()).is_err());
}

/// The samples of each series in the order of the grid, NaN where one is missing.
fn by_series(batch: &RecordBatch) -> HashMap<&str, Vec<f64>> {
    let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
    let at = instants(batch, "at");
    let mut series: HashMap<&str, Vec<f64>> = HashMap::new();
    for (row, name) in texts(batch, "series").into_iter().enumerate() {
        let samples = series.entry(name).or_default();
        samples.resize(sample_of(at[row]), f64::NAN);
        samples.push(values.value(row));
    }
    series
}

fn sample_of(us: i64) -> usize {
    ((us - START_US) / metrics::STEP_US) as usize
}

fn pearson(a: &[f64], b: &[f64], lag: usize) -> f64 {
    let pairs: Vec<(f64, f64)> = a
        .iter()
        .zip(&b[lag..])
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .map(|(x, y)| (*x, *y))
        .collect();
    let n = pairs.len() as f64;
    let (mx, my) = pairs.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0 / n, s.1 + p.1 / n));
    let sum =
        |f: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| f(x - mx, y - my)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

#[test]
fn metrics_hold_what_their_truth_says() {
    let (batch, truth) = generate("metrics", 173_000, 8_192);
    let series = by_series(&batch);
    assert_eq!(series.len(), 20);
    assert_eq!(truth.correlations.len(), 4);
    for planted in &truth.correlations {
        let (a, b) = (&series[planted.a.as_str()], &series[planted.b.as_str()]);
        let lag = planted.lag_samples as usize;
        let found = pearson(a, b, lag);
        assert!((found - planted.coefficient).abs() < 0.03, "{planted:?}: {found}");
        let best = (0..=30).max_by(|x, y| pearson(a, b, *x).total_cmp(&pearson(a, b, *y))).unwrap();
        assert_eq!(best, lag, "{planted:?}");
        // The other way round they do not meet at that lag, unless it is none.
        assert!(lag == 0 || pearson(b, a, lag) < found - 0.2, "{planted:?}");
    }
    // Series of no pair do not look alike.
    let paired: HashSet<_> =
        truth.correlations.iter().flat_map(|c| [c.a.as_str(), c.b.as_str()]).collect();
    let mut alone: Vec<_> = series.keys().filter(|s| !paired.contains(**s)).collect();
    alone.sort();
    for (i, a) in alone.iter().enumerate() {
        for b in &alone[i + 1..] {
            let found = pearson(&series[**a], &series[**b], 0);
            assert!(found.abs() < 0.45, "{a} and {b}: {found}");
        }
    }
    let mut kinds = HashSet::new();
    for anomaly in &truth.anomalies {
        kinds.insert(anomaly.kind);
        let samples = &series[anomaly.series.as_str()];
        let mut sorted: Vec<f64> = samples.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let spread = (sorted[sorted.len() * 3 / 4] - sorted[sorted.len() / 4]) / 1.349;
        let [start, end] = [anomaly.start, anomaly.end].map(|at| sample_of(at.timestamp_micros()));
        let inside: Vec<f64> = samples[start..=end]
            .iter()
            .filter(|value| value.is_finite())
            .map(|value| (value - median) / spread)
            .collect();
        let mean = inside.iter().sum::<f64>() / inside.len().max(1) as f64;
        match anomaly.kind {
            AnomalyKind::Gap => assert!(inside.is_empty()),
            AnomalyKind::Spike => assert!(mean > 5.0, "{anomaly:?}: {mean}"),
            AnomalyKind::Dip => assert!(mean < -5.0, "{anomaly:?}: {mean}"),
            _ => assert!(mean.abs() > 3.0, "{anomaly:?}: {mean}"),
        }
    }
    assert_eq!(kinds.len(), 4);
}

#[test]
fn planted_duplicates_are_alike_and_other_tickets_are_not() {
    let (batch, truth) = generate("tickets", 3_000, 1_000);
    assert_eq!(truth.duplicates.len(), 50);
    let bodies: HashMap<_, _> =
        texts(&batch, "id").into_iter().zip(texts(&batch, "body")).collect();
    let lowered: HashMap<&str, String> =
        bodies.iter().map(|(id, body)| (*id, body.to_lowercase())).collect();
    // Sorted, not hashed: millions of pairs are looked at.
    let words: HashMap<&str, Vec<&str>> = lowered
        .iter()
        .map(|(id, body)| (*id, BTreeSet::from_iter(body.split(' ')).into_iter().collect()))
        .collect();
    let alike = |a: &str, b: &str| {
        let (a, b) = (&words[a], &words[b]);
        let shared = a.iter().filter(|word| b.binary_search(word).is_ok()).count() as f64;
        shared / (a.len() as f64 + b.len() as f64 - shared)
    };
    let mut exact = 0;
    for group in &truth.duplicates {
        for copy in &group[1..] {
            exact += usize::from(bodies[copy.as_str()] == bodies[group[0].as_str()]);
            assert!(alike(&group[0], copy) > 0.75, "{group:?}");
        }
    }
    let copies = truth.duplicates.iter().map(|g| g.len() - 1).sum::<usize>();
    assert!(exact > 20 && exact < copies, "{exact} of {copies}");
    let planted: HashSet<_> = truth.duplicates.iter().flatten().map(String::as_str).collect();
    let mut others: Vec<_> = bodies.keys().filter(|id| !planted.contains(*id)).collect();
    others.sort();
    for (i, a) in others.iter().take(1_000).enumerate() {
        for b in &others[i + 1..] {
            assert!(alike(a, b) < 0.75, "{a} and {b}:\n{}\n{}", bodies[*a], bodies[*b]);
        }
    }
}

#[test]
fn slow_cases_are_slow_and_others_are_not() {
    let (batch, truth) = generate("workflow_steps", 20_000, 1_000);
    let slow: HashMap<_, _> = truth
        .slow_cases
        .iter()
        .map(|s| ((s.case_id.as_str(), s.activity.as_str()), &s.cause))
        .collect();
    assert!(slow.len() > 50, "{}", slow.len());
    let (started, ended) = (instants(&batch, "started_at"), instants(&batch, "ended_at"));
    let (cases, activities) = (texts(&batch, "case_id"), texts(&batch, "activity"));
    let resources = texts(&batch, "resource");
    let last_case = cases[cases.len() - 1];
    let mut seen = 0;
    for row in 0..batch.num_rows() {
        let hours = (ended[row] - started[row]) as f64 / 3.6e9;
        match slow.get(&(cases[row], activities[row])) {
            Some(cause) => {
                seen += 1;
                assert!(hours > 3.0, "{} {}: {hours}", cases[row], activities[row]);
                if let Some(name) = cause.strip_prefix("resource:") {
                    assert_eq!(resources[row], name);
                }
            }
            None if cases[row] != last_case => assert!(hours < 3.5, "{}: {hours}", cases[row]),
            None => {}
        }
    }
    assert_eq!(seen, slow.len());
}

#[test]
fn calls_fail_and_slow_down_when_the_truth_says_so() {
    let (batch, truth) = generate("model_calls", 200_000, 8_192);
    let at = instants(&batch, "at");
    assert!(at.is_sorted());
    assert!(*at.last().unwrap() < START_US + SPAN_DAYS as i64 * 86_400_000_000);
    let (providers, models) = (texts(&batch, "provider"), texts(&batch, "model"));
    let (statuses, latency) = (
        texts(&batch, "status"),
        batch.column_by_name("latency_ms").unwrap().as_primitive::<Float64Type>(),
    );
    assert_eq!(truth.anomalies.len(), 6);
    for anomaly in &truth.anomalies {
        let within = |us: i64| {
            (anomaly.start.timestamp_micros()..=anomaly.end.timestamp_micros()).contains(&us)
        };
        let rows = |inside: bool, of: &[&str]| -> Vec<usize> {
            (0..at.len()).filter(|r| within(at[*r]) == inside && of[*r] == anomaly.series).collect()
        };
        match anomaly.kind {
            AnomalyKind::ErrorBurst => {
                let rate = |rows: &[usize]| {
                    rows.iter().filter(|r| statuses[**r] != "ok").count() as f64 / rows.len() as f64
                };
                assert!(rate(&rows(true, &providers)) > 0.25, "{anomaly:?}");
                assert!(rate(&rows(false, &providers)) < 0.05, "{anomaly:?}");
            }
            _ => {
                let mean = |rows: &[usize]| {
                    rows.iter().map(|r| latency.value(*r)).sum::<f64>() / rows.len() as f64
                };
                let ratio = mean(&rows(true, &models)) / mean(&rows(false, &models));
                assert!(ratio > 2.0, "{anomaly:?}: {ratio}");
            }
        }
    }
}

#[test]
fn bursts_of_events_stand_out() {
    let (batch, truth) = generate("events", 100_000, 8_192);
    let (at, kinds) = (instants(&batch, "at"), texts(&batch, "kind"));
    assert!(at.is_sorted());
    for burst in &truth.anomalies {
        let start = burst.start.timestamp_micros();
        let count = |from: i64| {
            let hour = from..from + rhythm::HOUR_US;
            (0..at.len()).filter(|r| hour.contains(&at[*r]) && kinds[*r] == burst.series).count()
        };
        let (inside, day_before) = (count(start), count(start - 24 * rhythm::HOUR_US));
        assert!(inside > 10 * (day_before + 1), "{burst:?}: {inside} beside {day_before}");
    }
    assert_eq!(truth.anomalies.len(), 5);
}

#[test]
#[ignore = "a measurement, not a check: prints rows per second of each generator"]
fn generator_rates() {
    for (dataset, rows) in [
        ("metrics", 3_000_000),
        ("events", 3_000_000),
        ("model_calls", 1_000_000),
        ("tickets", 200_000),
        ("workflow_steps", 1_000_000),
    ] {
        let started = crate::read::busy_seconds();
        let options = GeneratorOptions { seed: 1, rows, batch_rows: 8_192 };
        let count: usize =
            Generator::new(dataset, options).unwrap().map(|b| b.unwrap().num_rows()).sum();
        let seconds = crate::read::busy_seconds() - started;
        eprintln!("{dataset}: {:.2} M rows/s", count as f64 / seconds / 1e6);
    }
}
