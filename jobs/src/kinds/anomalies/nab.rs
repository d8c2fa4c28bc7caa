//! The Numenta Anomaly Benchmark's real series, where the shared data is at hand: its score, with a detection where a finding begins,
//! the labelled windows that are hit and the false alarms. The bounds are what each method reaches, less a little room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::Path;

use analysis::series::Series;
use analysis::series::online::nab_score::{self, Profile, Sweep};
use chrono::{DateTime, NaiveDateTime, Utc};
use kernels::{Execution, GpuPolicy};

use super::detect::detect;
use super::explain::Anomaly;
use super::labelled::Labelled;
use super::params::{Method, Params};
use crate::series::evaluate::Window;
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

/// A detection where each finding begins.
fn begun(series: &Series, found: &[Anomaly], truth: &[Window]) -> nab_score::Labelled {
    let place = |at_us: i64| series.times.partition_point(|time| *time < at_us);
    let mut scores = vec![0.0; series.times.len()];
    for of in found.iter().filter(|of| of.series == series.name) {
        scores[place(of.started_at)] = 1.0;
    }
    let windows = truth.iter().filter(|of| of.series == series.name);
    let ends = |of: &Window| {
        let [start, end] = [of.start, of.end].map(|at| place(at.timestamp_micros()));
        (start, end.min(scores.len() - 1))
    };
    nab_score::Labelled { windows: windows.map(ends).collect(), scores }
}

#[test]
fn each_method_hits_labelled_windows_with_few_false_alarms() {
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
    for (method, least, hits, false_alarms) in
        [(Method::Windows, 42.0, 24, 15), (Method::Auto, 65.0, 37, 35)]
    {
        let params = Params { method, ..Params::default() };
        let result =
            detect(chunk.clone(), &params, &Labelled::default(), &execution, &pool).unwrap();
        for anomaly in &result.anomalies {
            eprintln!("{} {} {}", anomaly.series, anomaly.kind.as_str(), anomaly.explanation);
        }
        let labelled: Vec<nab_score::Labelled> =
            chunk.iter().map(|series| begun(series, &result.anomalies, &truth)).collect();
        for (name, of) in names.iter().zip(&labelled) {
            let one = Sweep::new(std::slice::from_ref(of)).at(Profile::STANDARD, 1.0);
            eprintln!("{name:60} {} of {} hit, {} false", one.hits, one.windows, one.false_alarms);
        }
        let score = Sweep::new(&labelled).at(Profile::STANDARD, 1.0);
        eprintln!(
            "NAB, {method:?}: {:.1}, {} of {} windows hit, {} false alarms among {} findings in {} samples",
            score.normalised,
            score.hits,
            score.windows,
            score.false_alarms,
            result.anomalies.len(),
            result.tally.samples
        );
        assert!(score.hits >= hits, "{method:?}: {} windows hit", score.hits);
        assert!(score.false_alarms <= false_alarms, "{method:?}: {}", score.false_alarms);
        assert!(score.normalised >= least, "{method:?}: {}", score.normalised);
    }
}
