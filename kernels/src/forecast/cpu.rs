//! Fits on the CPU: a task is one model over some series; sixteen searches share the lanes of one likelihood.
//!
//! ```text
//!   task     model ETS(M,Ad,M), series 0 … 63
//!   lanes    | series 0 | series 1 | … | series 15 |     one value and gradient for all, then each search is told
//!            | series 0 | series 16| … | series 15 |     a search that is done makes room for the next series
//! ```
//! Searches take from some tens to some hundreds of values; refilled lanes are never idle before the task ends.

use rayon::prelude::*;

use super::OPERATION;
use super::initial::{Series, Start};
use super::likelihood::{LANES, Lanes};
use super::model::{Errors, Ets, Season};
use super::search::{self, Search, Smoothing};
use crate::error::Result;
use crate::execution::Execution;

/// A series with everything that its searches start from.
pub(super) struct Prepared {
    pub(super) series: Series,
    /// In the order of [`SEASONS`](super::initial::SEASONS).
    pub(super) starts: Vec<Start>,
}

impl Prepared {
    pub(super) fn start(&self, model: Ets) -> &Start {
        &self.starts[match model.season {
            Season::None => 0,
            Season::Additive => 1,
            Season::Multiplicative => 2,
        }]
    }

    /// Units of level, trend and season in the search. Errors that multiply are measured by the level: where a few
    /// samples are far above the others, steps of the neighbours' differences would be steps of many levels.
    pub(super) fn units(&self, model: Ets) -> [f64; 3] {
        let (unit, level) = (self.series.unit, self.start(model).level);
        let is_small = model.error == Errors::Multiplicative && level > 0.0 && level < unit;
        let states = if is_small { level } else { unit };
        let season =
            if model.season == Season::Multiplicative { unit / self.series.mean } else { states };
        [states, 0.1 * states, season]
    }

    /// The variables of a level that is the mean of all samples, and of no trend.
    pub(super) fn flat(&self, model: Ets) -> [f64; 2] {
        let (level, trend) = self.start(model).level_and_trend(model.trend);
        let units = self.units(model);
        [(self.series.mean - level) / units[0], -trend / units[1]]
    }

    /// Whether `model` is one for this series.
    pub(super) fn takes(&self, model: Ets, period: usize) -> bool {
        model.fits(self.series.observed, period)
            && (self.series.positive || !model.needs_positive())
            && !self.series.constant
    }
}

/// Where a search for a model ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fit {
    /// -2 log likelihood but for a constant, of the scaled series.
    pub(super) value: f64,
    /// The variables of the search.
    pub(super) x: Vec<f64>,
}

/// A model and what it starts from, in the terms of the scaled series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) smoothing: Smoothing,
    pub(super) level: f64,
    pub(super) trend: f64,
    /// By the place in the period.
    pub(super) season: Vec<f64>,
}

impl Point {
    /// The point that variables of a search stand for.
    pub(super) fn of(prepared: &Prepared, model: Ets, period: usize, x: &[f64]) -> Self {
        let mut point = Self {
            smoothing: Smoothing::default(),
            level: 0.0,
            trend: 0.0,
            season: vec![0.0; if model.has_season() { period } else { 0 }],
        };
        point.set(prepared, model, period, x);
        point
    }

    fn set(&mut self, prepared: &Prepared, model: Ets, period: usize, x: &[f64]) {
        let (start, units) = (prepared.start(model), prepared.units(model));
        self.smoothing = search::smoothing(model, period, x);
        let (level, trend) = start.level_and_trend(model.trend);
        let mut at = model.smoothing();
        self.level = level + units[0] * x[at];
        at += 1;
        self.trend = 0.0;
        if model.has_trend() {
            self.trend = trend + units[1] * x[at];
            at += 1;
        }
        if model.has_season() {
            let mut sum = 0.0;
            for place in 1..start.season.len() {
                let season = start.season[place] + units[2] * x[at + place - 1];
                self.season[place] = season;
                sum += season;
            }
            let all = if model.season == Season::Multiplicative {
                start.season.len() as f64
            } else {
                0.0
            };
            self.season[0] = all - sum;
        }
    }
}

/// Bytes of one task.
pub(super) fn task_bytes(samples: usize, period: usize, dimension: usize) -> usize {
    let point = size_of::<Point>() + period * size_of::<f64>();
    Lanes::bytes(samples, period)
        + LANES * Search::bytes(dimension)
        + point
        + dimension * size_of::<f64>()
}

/// Fits every model to every series that it is for; by model, then by series.
pub(super) fn fit(
    rows: &[Option<Prepared>],
    models: &[Ets],
    period: usize,
    execution: &Execution,
) -> Result<Vec<Vec<Option<Fit>>>> {
    let threads = rayon::current_num_threads();
    let length =
        (rows.len() * models.len() / (8 * threads)).next_multiple_of(LANES).clamp(LANES, 256);
    let ranges = rows.len().div_ceil(length);
    let tasks: Vec<Vec<Option<Fit>>> = (0..models.len() * ranges)
        .into_par_iter()
        .with_max_len(1)
        .map(|task| {
            let (model, first) = (models[task / ranges], task % ranges * length);
            let rows = &rows[first..(first + length).min(rows.len())];
            fit_model(rows, model, period, execution)
        })
        .collect::<Result<_>>()?;
    let mut fits = vec![Vec::with_capacity(rows.len()); models.len()];
    for (task, part) in tasks.into_iter().enumerate() {
        fits[task / ranges].extend(part);
    }
    Ok(fits)
}

fn fit_model(
    rows: &[Option<Prepared>],
    model: Ets,
    period: usize,
    execution: &Execution,
) -> Result<Vec<Option<Fit>>> {
    let mut fits: Vec<Option<Fit>> = vec![None; rows.len()];
    let mut queue = rows
        .iter()
        .enumerate()
        .filter_map(|(row, prepared)| Some((row, prepared.as_ref()?)))
        .filter(|(_, prepared)| prepared.takes(model, period))
        .peekable();
    let Some((_, first)) = queue.peek() else { return Ok(fits) };
    let own_period = if model.has_season() { period } else { 1 };
    let dimension = model.dimension(period);
    let mut point = Point::of(first, model, period, &vec![0.0; dimension]);
    let samples = rows.iter().flatten().map(|row| row.series.samples.len()).max().unwrap_or(0);
    let mut lanes = Lanes::new(samples, own_period);
    let mut slots: Vec<(Search, Option<(usize, &Prepared)>)> =
        (0..LANES).map(|_| (Search::new(dimension), None)).collect();
    let mut slopes = vec![0.0; dimension];
    (0..LANES).for_each(|lane| lanes.clear(lane));
    let relative = model.error == Errors::Multiplicative;
    loop {
        execution.control.check(OPERATION)?;
        let mut active = false;
        for (lane, (search, holds)) in slots.iter_mut().enumerate() {
            if holds.is_none()
                && let Some((row, prepared)) = queue.next()
            {
                let series = &prepared.series;
                lanes.load(lane, &series.samples, series.observed, series.floor(relative));
                search.begin(model, period, prepared.flat(model));
                *holds = Some((row, prepared));
            }
            let Some((_, prepared)) = *holds else { continue };
            if let Some(x) = search.wanted() {
                active = true;
                point.set(prepared, model, period, x);
                put(&point, lane, &mut lanes);
            }
        }
        if !active {
            return Ok(fits);
        }
        lanes.evaluate(model, period);
        for (lane, (search, holds)) in slots.iter_mut().enumerate() {
            let Some((row, prepared)) = *holds else { continue };
            let Some(x) = search.wanted() else { continue };
            gradient(&lanes, lane, (prepared, model, period), x, &mut slopes);
            search.tell(lanes.value[lane], &slopes);
            if search.wanted().is_none() {
                let (x, value) = search.best();
                fits[row] = value.is_finite().then(|| Fit { value, x: x.to_vec() });
                *holds = None;
                lanes.clear(lane);
            }
        }
    }
}

fn put(point: &Point, lane: usize, lanes: &mut Lanes) {
    let at = &mut lanes.at;
    at.alpha[lane] = point.smoothing.alpha;
    at.beta[lane] = point.smoothing.beta;
    at.gamma[lane] = point.smoothing.gamma;
    at.phi[lane] = point.smoothing.phi;
    at.level[lane] = point.level;
    at.trend[lane] = point.trend;
    for (row, &season) in at.season.iter_mut().zip(&point.season) {
        row[lane] = season;
    }
}

/// The gradient by the variables of the search.
fn gradient(
    lanes: &Lanes,
    lane: usize,
    (prepared, model, period): (&Prepared, Ets, usize),
    x: &[f64],
    slopes: &mut [f64],
) {
    let by = &lanes.by;
    let smoothing = Smoothing {
        alpha: by.alpha[lane],
        beta: by.beta[lane],
        gamma: by.gamma[lane],
        phi: by.phi[lane],
    };
    search::smoothing_slopes(model, period, x, smoothing, slopes);
    let units = prepared.units(model);
    let mut at = model.smoothing();
    slopes[at] = units[0] * by.level[lane];
    at += 1;
    if model.has_trend() {
        slopes[at] = units[1] * by.trend[lane];
        at += 1;
    }
    if model.has_season() {
        let dependent = by.season[0][lane];
        for place in 1..by.season.len() {
            slopes[at + place - 1] = units[2] * (by.season[place][lane] - dependent);
        }
    }
}

#[cfg(any(test, feature = "suite"))]
pub(super) mod probe {
    use super::*;

    /// Value and gradient of one series at one point, for the tests.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(in super::super) fn value_and_gradient(
        prepared: &Prepared,
        model: Ets,
        period: usize,
        x: &[f64],
    ) -> (f64, Vec<f64>) {
        let own_period = if model.has_season() { period } else { 1 };
        let mut lanes = Lanes::new(prepared.series.samples.len(), own_period);
        (0..LANES).for_each(|lane| lanes.clear(lane));
        let relative = model.error == Errors::Multiplicative;
        let series = &prepared.series;
        lanes.load(3, &series.samples, series.observed, series.floor(relative));
        put(&Point::of(prepared, model, period, x), 3, &mut lanes);
        lanes.evaluate(model, period);
        let mut slopes = vec![0.0; model.dimension(period)];
        gradient(&lanes, 3, (prepared, model, period), x, &mut slopes);
        (lanes.value[3], slopes)
    }
}
