//! Metrics: series on one grid of five minutes, with a daily and a weekly season and noise.
//!
//! ```text
//! value(s, t) = base(s) + scale(s) · ( season(t + phase(s)) + noise(s, t) + planted(s, t) )
//! ```
//!
//! The season's variance is [`SEASON_VARIANCE`] beside the noise's 1, small enough that two series do not look
//! alike for having a day and a night. Some series form pairs: the follower's noise is `rho` times the
//! leader's, `lag` samples ago, plus its own, and its season is shifted likewise; their coefficient at that lag
//! is then `(v + rho) / (v + 1)` with v the season's variance. Pairs hold no anomalies, and anomalies last
//! at most hours of weeks, so that neither spoils the other.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringBuilder};
use rand::Rng;

use super::random::{Normals, rng};
use super::truth::{AnomalyKind, PlantedAnomaly, PlantedCorrelation, Truth};
use super::{GeneratorOptions, Rows, START_US, instant, timestamps};
use crate::error::Result;

/// Distance of two samples.
pub(super) const STEP_US: i64 = 300_000_000;
/// Samples that a series has when there are rows enough: 30 days.
const SAMPLES_PER_SERIES: u64 = 8_640;
/// With fewer rows there are still this many series, if each can have [`SAMPLES_MIN`] samples.
const SERIES_WANTED: u64 = 20;
const SAMPLES_MIN: u64 = 500;
/// Share of the season in a series, where the noise's variance is 1.
const SEASON_VARIANCE: f64 = 0.3;
const WEEK_SAMPLES: usize = 2_016;
const DAY_SAMPLES: usize = 288;
const LAGS: [usize; 6] = [0, 1, 3, 6, 12, 24];
const LAG_MAX: usize = 24;
/// Noise remembers this much of the sample before.
const MEMORY: f64 = 0.5;
const PAIRS_MAX: usize = 200;
/// Kinds of metric: name, unit, base, scale.
const KINDS: [(&str, &str, f64, f64); 8] = [
    ("cpu_percent", "percent", 42.0, 4.0),
    ("memory_bytes", "bytes", 6.4e9, 2.5e8),
    ("requests_per_second", "1/s", 850.0, 60.0),
    ("queue_depth", "items", 120.0, 12.0),
    ("latency_p95_ms", "ms", 230.0, 18.0),
    ("gpu_percent", "percent", 55.0, 5.0),
    ("tokens_per_second", "tokens/s", 4_200.0, 350.0),
    ("error_rate", "per_mille", 9.0, 0.8),
];

struct Series {
    name: String,
    tags: String,
    base: f64,
    scale: f64,
    phase: usize,
    noise: Noise,
    planted: Vec<Planted>,
}

enum Noise {
    Own {
        last: f64,
    },
    /// Follows the leader at this index of the series, which comes before it.
    Follows {
        leader: usize,
        lag: usize,
        rho: f64,
        last: f64,
    },
}

struct Planted {
    from: usize,
    to: usize,
    /// In units of the noise; `None` where samples are missing.
    height: Option<f64>,
}

struct Metrics {
    series: Vec<Series>,
    /// The last noises of each leader, the newest first; empty for series that lead nothing.
    history: Vec<VecDeque<f64>>,
    season: Vec<f64>,
    normals: Normals,
    sample: usize,
    next: usize,
}

pub(super) fn plan(options: &GeneratorOptions) -> (Box<dyn Rows>, Truth) {
    let rows = options.rows.max(1);
    let wanted = SERIES_WANTED.min(rows / SAMPLES_MIN);
    let count = (rows / SAMPLES_PER_SERIES).max(wanted).max(1) as usize;
    let samples = (rows / count as u64) as usize;
    let mut draw = rng(options.seed, 1);
    let mut truth = Truth::default();
    let pair_count = (count / 5).min(PAIRS_MAX);
    let mut series: Vec<Series> = Vec::with_capacity(count);
    let mut history = vec![VecDeque::new(); count];
    for index in 0..count {
        let (kind, unit, base, scale) = KINDS[index % KINDS.len()];
        let host = format!("host-{:04}", index / KINDS.len());
        let region = ["eu-central", "eu-west", "us-east"][index / KINDS.len() % 3];
        let mut one = Series {
            name: format!("{kind}/{host}"),
            tags: format!(r#"{{"host":"{host}","region":"{region}","unit":"{unit}"}}"#),
            base: base * draw.random_range(0.8..1.25),
            scale: scale * draw.random_range(0.7..1.4),
            phase: draw.random_range(0..WEEK_SAMPLES),
            noise: Noise::Own { last: 0.0 },
            planted: Vec::new(),
        };
        // The first series are pairs: 0 leads 1, 2 leads 3, …
        if index < 2 * pair_count && index % 2 == 1 {
            let leader = index - 1;
            let lag = LAGS[(index / 2) % LAGS.len()];
            let rho = draw.random_range(0.75..0.95);
            one.phase = (series[leader].phase + WEEK_SAMPLES - lag) % WEEK_SAMPLES;
            one.noise = Noise::Follows { leader, lag, rho, last: 0.0 };
            history[leader] = VecDeque::from(vec![0.0; LAG_MAX + 1]);
            truth.correlations.push(PlantedCorrelation {
                a: series[leader].name.clone(),
                b: one.name.clone(),
                lag_samples: lag as i64,
                coefficient: (SEASON_VARIANCE + rho) / (SEASON_VARIANCE + 1.0),
            });
        } else if index >= 2 * pair_count {
            plant(&mut one, index, samples, &mut draw, &mut truth);
        }
        series.push(one);
    }
    let metrics = Metrics {
        series,
        history,
        season: season(),
        normals: Normals::new(options.seed, 2),
        sample: 0,
        next: 0,
    };
    (Box::new(metrics), truth)
}

/// Plants a spike, a dip, a shift and a gap in turn, far apart from each other.
fn plant(
    series: &mut Series,
    index: usize,
    samples: usize,
    draw: &mut impl Rng,
    truth: &mut Truth,
) {
    // The first day is left alone, for baselines; the rest is cut into three parts.
    let Some(room) = samples.checked_sub(DAY_SAMPLES + 60).filter(|room| *room >= 180) else {
        return;
    };
    let part = room / 3;
    for slot in 0..3 {
        // One part in three holds nothing, so that quiet series are there as well.
        let kind = match (index + slot * 5) % 6 {
            0 | 3 => AnomalyKind::Spike,
            1 => AnomalyKind::Dip,
            2 => AnomalyKind::LevelShift,
            4 if slot == 1 => AnomalyKind::Gap,
            _ => continue,
        };
        let long = (part / 3).clamp(12, DAY_SAMPLES / 2);
        let length = match kind {
            AnomalyKind::LevelShift => draw.random_range(long / 2..long),
            AnomalyKind::Gap => draw.random_range(long / 4..long / 2),
            _ => draw.random_range(2..5),
        };
        let start = DAY_SAMPLES + slot * part + draw.random_range(0..part - length - 1);
        let height = match kind {
            AnomalyKind::Spike => Some(draw.random_range(9.0..14.0)),
            AnomalyKind::Dip => Some(-draw.random_range(9.0..12.0)),
            AnomalyKind::LevelShift if draw.random_bool(0.5) => Some(draw.random_range(5.0..7.0)),
            AnomalyKind::LevelShift => Some(-draw.random_range(5.0..7.0)),
            _ => None,
        };
        let end = start + length - 1;
        series.planted.push(Planted { from: start, to: end, height });
        let at = |sample: usize| instant(START_US + sample as i64 * STEP_US);
        truth.anomalies.push(PlantedAnomaly {
            series: series.name.clone(),
            kind,
            start: at(start),
            end: at(end),
        });
    }
}

/// A week's season, of variance [`SEASON_VARIANCE`] and mean 0.
fn season() -> Vec<f64> {
    let mut week: Vec<f64> = (0..WEEK_SAMPLES)
        .map(|sample| {
            let day = std::f64::consts::TAU * (sample % DAY_SAMPLES) as f64 / DAY_SAMPLES as f64;
            let weekend = if sample / DAY_SAMPLES >= 5 { 0.4 } else { 1.0 };
            weekend * (1.0 - day.cos()) + 0.25 * (2.0 * day).sin()
        })
        .collect();
    let mean = week.iter().sum::<f64>() / WEEK_SAMPLES as f64;
    let variance = week.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / WEEK_SAMPLES as f64;
    let scale = (SEASON_VARIANCE / variance).sqrt();
    week.iter_mut().for_each(|v| *v = (*v - mean) * scale);
    week
}

impl Metrics {
    /// The value of the next sample of the grid, or `None` in a gap.
    fn advance(&mut self) -> Option<f64> {
        let series = &mut self.series[self.next];
        // AR(1) of variance 1.
        let fresh = self.normals.next() * (1.0 - MEMORY * MEMORY).sqrt();
        let noise = match &mut series.noise {
            Noise::Own { last } => {
                *last = MEMORY * *last + fresh;
                *last
            }
            Noise::Follows { leader, lag, rho, last } => {
                *last = MEMORY * *last + fresh;
                let led = self.history[*leader].get(*lag).copied().unwrap_or_default();
                *rho * led + (1.0 - *rho * *rho).sqrt() * *last
            }
        };
        let leads = &mut self.history[self.next];
        if !leads.is_empty() {
            leads.pop_back();
            leads.push_front(noise);
        }
        let mut planted = 0.0;
        for one in &series.planted {
            if (one.from..=one.to).contains(&self.sample) {
                planted += one.height?;
            }
        }
        let season = self.season[(self.sample + series.phase) % WEEK_SAMPLES];
        Some(series.base + series.scale * (season + noise + planted))
    }
}

impl Rows for Metrics {
    fn next_columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let mut names = StringBuilder::with_capacity(count, count * 24);
        let mut tags = StringBuilder::with_capacity(count, count * 64);
        let mut at = Vec::with_capacity(count);
        let mut values = Vec::with_capacity(count);
        while values.len() < count {
            if let Some(value) = self.advance() {
                let series = &self.series[self.next];
                names.append_value(&series.name);
                tags.append_value(&series.tags);
                at.push(START_US + self.sample as i64 * STEP_US);
                values.push(value);
            }
            self.next += 1;
            if self.next == self.series.len() {
                self.next = 0;
                self.sample += 1;
            }
        }
        Ok(vec![
            Arc::new(names.finish()),
            timestamps(at),
            Arc::new(Float64Array::from(values)),
            Arc::new(tags.finish()),
        ])
    }
}
