//! The Numenta Anomaly Benchmark's real series, where the shared data is at hand: how many labelled windows
//! are hit, with how many false alarms, by the defaults. The bounds below are what the defaults reach, less a
//! little room; a change of method that falls behind them is a step back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;

use analysis::series::Series;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use kernels::{Execution, GpuPolicy};

use super::detect::detect;
use super::labelled::Labelled;
use super::params::Params;
use crate::series::evaluate::{Window, score_windows};
use crate::testing::shared_data;

fn instant(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc()
}

fn read_series(root: &Path, name: &str) -> Series {
    let text = std::fs::read_to_string(root.join("data").join(name)).unwrap();
    let mut rows: Vec<(i64, f64)> = text
        .lines()
        .skip(1)
        .map(|line| {
            let (at, value) = line.trim().split_once(',').unwrap();
            (instant(at).timestamp_micros(), value.parse().unwrap())
        })
        .collect();
    rows.sort_by_key(|row| row.0);
    let (times, values) = rows.into_iter().unzip();
    Series { name: name.to_owned(), times, values }
}

fn read_windows(root: &Path) -> Vec<Window> {
    let text = std::fs::read_to_string(root.join("labels/combined_windows.json")).unwrap();
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&text).unwrap();
    let windows = |(series, windows): (String, Vec<[String; 2]>)| {
        windows.into_iter().map(move |[start, end]| Window {
            series: series.clone(),
            start: instant(&start),
            end: instant(&end),
        })
    };
    labels.into_iter().flat_map(windows).collect()
}

#[test]
fn the_defaults_hit_most_labelled_windows_with_few_false_alarms() {
    let Some(root) = shared_data("nab") else {
        eprintln!("skipped: no shared data");
        return;
    };
    let truth = read_windows(&root);
    assert_eq!(truth.len(), 49);
    let mut names: Vec<String> = Vec::new();
    for folder in ["realAWSCloudwatch", "realKnownCause"] {
        for file in std::fs::read_dir(root.join("data").join(folder)).unwrap() {
            names.push(format!("{folder}/{}", file.unwrap().file_name().to_str().unwrap()));
        }
    }
    names.sort_unstable();
    let chunk: Vec<Series> = names.iter().map(|name| read_series(&root, name)).collect();
    let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
    let execution = Execution { gpu: GpuPolicy::Off, ..Execution::default() };
    let result =
        detect(chunk, &Params::default(), &Labelled::default(), &execution, &pool).unwrap();
    let time = |us| DateTime::from_timestamp_micros(us).unwrap();
    let found: Vec<Window> = result
        .anomalies
        .iter()
        .map(|a| Window {
            series: a.series.clone(),
            start: time(a.started_at),
            end: time(a.ended_at),
        })
        .collect();
    let score = score_windows(&truth, &found, TimeDelta::zero());
    for name in &names {
        let of_series = |windows: &[Window], indices: &[usize]| {
            indices.iter().filter(|i| windows[**i].series == *name).count()
        };
        eprintln!(
            "{name:60} hit {} missed {} false {}",
            of_series(&truth, &score.hit),
            of_series(&truth, &score.missed),
            of_series(&found, &score.false_alarms)
        );
    }
    for (index, anomaly) in result.anomalies.iter().enumerate() {
        let mark = if score.false_alarms.contains(&index) { "false" } else { "" };
        eprintln!("{mark:5} {} {} {}", anomaly.series, anomaly.kind.as_str(), anomaly.explanation);
    }
    eprintln!(
        "NAB: {} of {} windows hit, {} false alarms among {} findings in {} samples",
        score.hit.len(),
        truth.len(),
        score.false_alarms.len(),
        found.len(),
        result.tally.samples
    );
    assert!(score.hit.len() >= 29, "only {} windows hit", score.hit.len());
    assert!(score.false_alarms.len() <= 28, "{} false alarms", score.false_alarms.len());
}
