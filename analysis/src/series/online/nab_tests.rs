//! The Numenta Anomaly Benchmark's 24 real series, where the shared data is at hand. The bounds are what the defaults reach, less a
//! little room.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;

use super::nab_score::{Labelled, NabScore, Profile, Sweep, probation};
use super::range_precision::vus_pr;
use super::{Detector, EpisodeOptions, Episodes, Options, Verdict};
use crate::Noise;

const FOLDERS: [&str; 2] = ["realAWSCloudwatch", "realKnownCause"];
const PROFILES: [Profile; 3] = [Profile::STANDARD, Profile::LOW_FP_RATE, Profile::LOW_FN_RATE];
/// Samples that there may be one false alarm in.
const SAMPLES_PER_FALSE_ALARM: usize = 5000;

/// One series with its labels.
struct File {
    name: String,
    samples: Vec<(i64, f64)>,
    windows: Vec<(usize, usize)>,
}

fn root() -> Option<PathBuf> {
    let root = std::env::var_os("COLONNADE_SHARED_DATA")
        .map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    let path = root.join("nab");
    path.is_dir().then_some(path)
}

fn instant(text: &str) -> i64 {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .unwrap()
        .and_utc()
        .timestamp_micros()
}

fn read(root: &Path) -> Vec<File> {
    let text = std::fs::read_to_string(root.join("labels/combined_windows.json")).unwrap();
    let labels: std::collections::BTreeMap<String, Vec<[String; 2]>> =
        serde_json::from_str(&text).unwrap();
    let file = |(name, windows): (String, Vec<[String; 2]>)| {
        let text = std::fs::read_to_string(root.join("data").join(&name)).unwrap();
        let sample = |line: &str| {
            let (at, value) = line.trim().split_once(',').unwrap();
            (instant(at), value.parse().unwrap())
        };
        let samples: Vec<(i64, f64)> = text.lines().skip(1).map(sample).collect();
        let place = |text: &str| samples.iter().position(|s| s.0 >= instant(text)).unwrap();
        let windows = windows.iter().map(|[from, to]| (place(from), place(to))).collect();
        File { name, samples, windows }
    };
    labels.into_iter().map(file).collect()
}

fn verdicts(file: &File) -> Vec<Verdict> {
    let mut detector = Detector::new(Options::default());
    file.samples.iter().map(|(at, value)| detector.push(*at, *value)).collect()
}

/// The score of a sample where an episode begins, 0 elsewhere: one detection for each.
fn begun(file: &File, verdicts: &[Verdict], options: EpisodeOptions) -> Labelled {
    let mut episodes = Episodes::new(options);
    let scores = file.samples.iter().zip(verdicts).map(|((at, _), verdict)| {
        let mut verdict = *verdict;
        episodes.push(*at, &mut verdict);
        if verdict.episode.is_some_and(|place| place.offset == 0) { verdict.score } else { 0.0 }
    });
    Labelled { scores: scores.collect(), windows: file.windows.clone() }
}

/// All files with their verdicts.
struct Corpus(Vec<(File, Vec<Verdict>)>);

impl Corpus {
    fn read() -> Option<Self> {
        let Some(root) = root() else {
            eprintln!("skipped: no shared data");
            return None;
        };
        let files = read(&root).into_iter();
        Some(Self(files.map(|file| (verdicts(&file), file)).map(|(v, f)| (f, v)).collect()))
    }

    fn of<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a (File, Vec<Verdict>)> {
        self.0.iter().filter(move |(file, _)| file.name.starts_with(folder))
    }

    fn samples(&self, folder: &str) -> usize {
        self.of(folder).map(|(file, _)| file.samples.len()).sum()
    }

    fn score(&self, folder: &str, options: EpisodeOptions, profile: Profile) -> NabScore {
        let series: Vec<Labelled> =
            self.of(folder).map(|(file, verdicts)| begun(file, verdicts, options)).collect();
        Sweep::new(&series).at(profile, f64::MIN_POSITIVE)
    }

    /// The threshold with the best standard score of one folder among those with few enough false alarms.
    fn chosen(&self, folder: &str) -> EpisodeOptions {
        let allowed = self.samples(folder) / SAMPLES_PER_FALSE_ALARM;
        let tried = (100..=400).map(|percent| EpisodeOptions {
            threshold: f64::from(percent) / 100.0,
            ..EpisodeOptions::default()
        });
        tried
            .map(|options| (self.score(folder, options, Profile::STANDARD), options))
            .filter(|(score, _)| score.false_alarms <= allowed)
            .max_by(|a, b| a.0.raw.total_cmp(&b.0.raw))
            .unwrap()
            .1
    }
}

fn random(files: &[File], seed: u64) -> Vec<Labelled> {
    let mut noise = Noise::new(seed);
    let mut labelled = |file: &File| Labelled {
        scores: file.samples.iter().map(|_| noise.uniform()).collect(),
        windows: file.windows.clone(),
    };
    files.iter().map(&mut labelled).collect()
}

fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found} is not {expected}");
}

#[test]
fn the_defaults_reach_their_score_with_few_false_alarms() {
    let Some(corpus) = Corpus::read() else { return };
    let options = EpisodeOptions::default();
    for folder in ["", FOLDERS[0], FOLDERS[1]] {
        let scores = PROFILES.map(|profile| corpus.score(folder, options, profile));
        eprintln!(
            "{folder:20} {:.2} / {:.2} / {:.2}, {} of {} hit, {} false alarms in {} samples",
            scores[0].normalised,
            scores[1].normalised,
            scores[2].normalised,
            scores[0].hits,
            scores[0].windows,
            scores[0].false_alarms,
            corpus.samples(folder)
        );
    }
    let scores = PROFILES.map(|profile| corpus.score("", options, profile));
    assert_eq!((scores[0].windows, corpus.samples("")), (49, 137_301));
    assert_eq!((scores[0].hits, scores[0].false_alarms), (38, 26));
    for (score, expected) in scores.iter().zip([69.09, 66.17, 71.91]) {
        near(score.normalised, expected, 0.01);
    }
    assert!(scores[0].false_alarms <= corpus.samples("") / SAMPLES_PER_FALSE_ALARM);
}

#[test]
#[ignore = "a report, not a check: what a threshold chosen on one folder gives on the other, and those around the default"]
fn what_is_chosen_on_one_folder_serves_the_other() {
    let Some(corpus) = Corpus::read() else { return };
    let report = |what: &str, folder: &str, options: EpisodeOptions| {
        let scores = PROFILES.map(|profile| corpus.score(folder, options, profile));
        let [standard, low_fp, low_fn] = scores.map(|score| score.normalised);
        let NabScore { hits, windows, false_alarms, .. } = scores[0];
        eprintln!(
            "{what} at {:.2}: {standard:.1} / {low_fp:.1} / {low_fn:.1}, {hits} of {windows} hit, {false_alarms} false",
            options.threshold
        );
    };
    for (on, other) in [(FOLDERS[0], FOLDERS[1]), (FOLDERS[1], FOLDERS[0]), ("", "")] {
        let options = corpus.chosen(on);
        report(&format!("chosen on {on:?}, there"), on, options);
        report(&format!("chosen on {on:?}, on {other:?}"), other, options);
    }
    for percent in [180, 200, 210, 220, 225, 230, 235, 240, 250, 260, 280, 300] {
        let threshold = f64::from(percent) / 100.0;
        report("all", "", EpisodeOptions { threshold, ..EpisodeOptions::default() });
    }
    for keep_threshold in [1.5, 2.0, 2.3] {
        for rest_samples in [72, 144, 216] {
            let options = EpisodeOptions { keep_threshold, rest_samples, ..Default::default() };
            report(&format!("keep {keep_threshold}, rest {rest_samples}"), "", options);
        }
    }
}

#[test]
fn ranges_are_told_from_the_rest_better_than_by_noise() {
    let Some(corpus) = Corpus::read() else { return };
    let mut noise = Noise::new(1);
    let mut areas = Vec::new();
    for (file, verdicts) in &corpus.0 {
        let from = probation(verdicts.len());
        let is_labelled = |at: usize| file.windows.iter().any(|w| (w.0..=w.1).contains(&at));
        let labels: Vec<bool> = (from..verdicts.len()).map(is_labelled).collect();
        let scores: Vec<f64> = verdicts[from..].iter().map(|v| v.severity).collect();
        let random: Vec<f64> = labels.iter().map(|_| noise.uniform()).collect();
        let both = vus_pr(&scores, &labels, 20).zip(vus_pr(&random, &labels, 20));
        areas.extend(both);
    }
    // One series has no label.
    assert_eq!(areas.len(), 23);
    let mean = |of: fn(&(f64, f64)) -> f64| areas.iter().map(of).sum::<f64>() / 23.0;
    let (ours, random) = (mean(|a| a.0), mean(|a| a.1));
    near(ours, 0.3338, 0.0005);
    near(random, 0.1174, 0.0005);
}

/// Of the benchmark's 58 files, uniform noise is published with 11.0 / 1.2 / 19.5. The best threshold of few files is luckier: of
/// these 24 it has more, and of four copies of them, each with noise of its own, about what is published. Where misses weigh double
/// it stays higher, because the files without any window, which are only false alarms, are not among these.
#[test]
fn noise_scores_about_what_it_is_published_to_score() {
    let Some(root) = root() else { return };
    let files = read(&root);
    let mean = |copies: u64, rounds: u64| {
        let score = |round: u64| {
            let seeds = round * copies..(round + 1) * copies;
            let series: Vec<Labelled> = seeds.flat_map(|seed| random(&files, seed)).collect();
            let sweep = Sweep::new(&series);
            PROFILES.map(|profile| sweep.best(profile).normalised)
        };
        let scores: Vec<[f64; 3]> = (0..rounds).map(score).collect();
        [0, 1, 2].map(|at| scores.iter().map(|s| s[at]).sum::<f64>() / rounds as f64)
    };
    for (found, expected) in mean(1, 20).into_iter().zip([15.2, 4.3, 27.0]) {
        near(found, expected, 0.1);
    }
    let copies = mean(4, 8);
    near(copies[0], 11.0, 2.0);
    near(copies[1], 1.2, 2.0);
    near(copies[2], 24.5, 0.1);
}

#[test]
fn nothing_and_perfection_are_0_and_100_on_these_series() {
    let Some(root) = root() else { return };
    let files = read(&root);
    let labelled = |at_start: f64, elsewhere: f64| -> Sweep {
        let one = |file: &File| {
            let mut scores = vec![elsewhere; file.samples.len()];
            file.windows.iter().for_each(|window| scores[window.0] = at_start);
            Labelled { scores, windows: file.windows.clone() }
        };
        Sweep::new(&files.iter().map(one).collect::<Vec<_>>())
    };
    for profile in PROFILES {
        assert_eq!(labelled(0.5, 0.5).best(profile).normalised, 0.0);
        near(labelled(1.0, 0.0).best(profile).normalised, 100.0, 1e-9);
    }
}
