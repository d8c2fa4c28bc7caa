//! The whole method, for one chunk of series. Pure numbers: no dataset and no run in sight.

use std::collections::BTreeSet;
use std::sync::Arc;

use analysis::calendar::{Grid, Interval};
use analysis::series::hierarchy::Hierarchy;
use analysis::series::prediction_interval::LEVELS;
use analysis::series::{Samples, Series, Span, median};
use engine::Result;
use kernels::Execution;

use super::NAME;
use super::accuracy::{Kept, filled};
use super::backtest::{Choice, Origins, Tried, choose};
use super::hierarchy::{Tree, agree, common_origins, least};
use super::methods::{Means, Task, means, naive_season};
use super::params::Params;
use crate::series::{Empty, Regular, Tally, check_cancelled, is_about, seasons};

/// What is asked of every chunk.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) params: Params,
    pub(super) empty: Empty,
    /// Which series are parts of sums; all are in one chunk then.
    pub(super) tree: Option<Arc<Tree>>,
    /// Forecasts that wait for what comes.
    pub(super) waiting: Arc<Kept>,
}

/// What comes next in one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forecast {
    pub(super) name: String,
    /// How many series it is the sum of, where it is one.
    pub(super) sum_of: Option<usize>,
    /// The instant of the last value.
    pub(super) made_at_us: i64,
    /// The instants of the forecast values.
    pub(super) at_us: Vec<i64>,
    pub(super) interval: Interval,
    /// In intervals, rising.
    pub(super) seasons: Vec<usize>,
    pub(super) tried: Tried,
    pub(super) mean: Vec<f64>,
    /// By level: lower and upper bounds.
    pub(super) bounds: [(Vec<f64>, Vec<f64>); LEVELS.len()],
}

/// What a chunk gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) forecasts: Vec<Forecast>,
    pub(super) tally: Tally,
    /// What waited for the series of the chunk, with what came.
    pub(super) kept: Kept,
}

/// Forecasts every series of a chunk.
pub(super) fn look(
    chunk: Vec<Series>,
    asked: &Asked,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Found> {
    let params = &asked.params;
    let (tally, cleaned) = Tally::of(chunk, pool);
    let mut found = Found { tally, ..Found::default() };
    let mut series = Vec::with_capacity(cleaned.len());
    let names: BTreeSet<String> = match asked.tree {
        Some(_) => cleaned.iter().map(|samples| samples.name.clone()).collect(),
        None => BTreeSet::new(),
    };
    let intervals = params.intervals();
    // Series that are summed need one grid.
    let common = asked.tree.as_ref().and_then(|_| usual_interval(&cleaned));
    for samples in cleaned {
        let near = common.filter(|common| is_about(samples.interval_us, common.micros()));
        let grid = match (intervals.grid(&samples), near) {
            // The median distance of irregular samples varies slightly from series to series.
            (found, Some(near)) if params.interval.is_none() => match found.interval() {
                Interval::Fixed(_) => Grid::fixed(near, found.at(0)),
                Interval::Calendar(..) => found,
            },
            (found, _) => found,
        };
        match Regular::of(samples, grid, params.history, asked.empty) {
            Ok(regular) if !regular.reaches(params.horizon) => {
                found.tally.skipped.add("its instants are too far from 1970", regular.name);
            }
            Ok(regular) => series.push(regular),
            Err((reason, name)) => found.tally.skipped.add(reason, name),
        }
    }
    let mut hierarchy = Hierarchy { leaves: series.len(), sums: Vec::new() };
    if let Some(tree) = &asked.tree {
        (series, hierarchy) = tree.grow(series, &names, &mut found.tally.skipped)?;
    }
    let waited = |one: &Regular| Some((one.name.clone(), filled(one, &asked.waiting)?));
    found.kept = series.iter().filter_map(waited).collect();

    let seasons = seasons(&series, params.seasons.as_deref(), execution)?;
    let origins = match asked.tree {
        Some(_) => common_origins(&series, &seasons, params.horizon),
        None => {
            let of = |(one, seasons): (&Regular, &Vec<usize>)| {
                Origins::of(one.values.len(), least(seasons), params.horizon)
            };
            series.iter().zip(&seasons).map(of).collect()
        }
    };
    let mut choices = chosen(&series, &seasons, &origins, params.horizon, execution, pool)?;
    check_cancelled(NAME, execution)?;
    let floors: Vec<f64> = series.iter().map(|one| floor(one, params)).collect();
    if !hierarchy.sums.is_empty() {
        let how = params.reconcile;
        agree(&hierarchy, how, &series, &origins, &mut choices, &floors, execution)?;
    }
    let each = series.into_iter().zip(seasons).zip(&origins).zip(choices).zip(floors);
    found.forecasts = each
        .enumerate()
        .map(|(at, ((((series, seasons), origins), choice), floor))| {
            let sum = at.checked_sub(hierarchy.leaves).and_then(|at| hierarchy.sums.get(at));
            let sum_of = sum.map(Vec::len);
            let tried = choice.tried(&series.values, origins);
            Forecast { sum_of, ..forecast(series, seasons, tried, choice, floor) }
        })
        .collect();
    Ok(found)
}

/// The usual distance of samples of most series.
fn usual_interval(series: &[Samples]) -> Option<Span> {
    let mut intervals: Vec<f64> = series.iter().map(|one| one.interval_us as f64).collect();
    median(&mut intervals).and_then(|micros| Span::from_micros(micros as i64))
}

/// What is said of each series by the method that is best for it.
fn chosen(
    series: &[Regular],
    seasons: &[Vec<usize>],
    origins: &[Origins],
    horizon: usize,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Vec<Choice>> {
    // The series as they are, and then as they were at each instant that is tried.
    let each = series.iter().zip(seasons).enumerate();
    let now: Vec<Task<'_>> = each
        .map(|(fitted, (one, seasons))| {
            let candidates = one.grid.seasons().into_iter().chain(seasons.iter().copied());
            let naive = naive_season(&one.values, &origins[fitted], candidates);
            Task { values: &one.values, seasons, naive, fitted }
        })
        .collect();
    let then = past(&now, origins);
    let steps = origins.iter().map(|origins| origins.steps).max().unwrap_or(0);
    let ahead = means(&now, horizon, execution, pool)?;
    let behind = if then.is_empty() { Vec::new() } else { means(&then, steps, execution, pool)? };
    let mut behind: &[Means] = &behind;
    let mut chosen = Vec::with_capacity(series.len());
    for ((one, origins), last) in series.iter().zip(origins).zip(ahead) {
        let (own, rest) = behind.split_at(origins.known.len());
        behind = rest;
        chosen.push(choose(&one.values, origins, own, last));
    }
    Ok(chosen)
}

/// Each of `tasks` as it was at each of its instants.
pub(super) fn past<'a>(tasks: &[Task<'a>], origins: &[Origins]) -> Vec<Task<'a>> {
    let mut then = Vec::new();
    for (task, origins) in tasks.iter().zip(origins) {
        let first = then.len();
        let known = origins.known.iter().zip(origins.fitted());
        then.extend(known.map(|(known, fitted)| Task {
            values: &task.values[..*known],
            fitted: first + fitted,
            ..*task
        }));
    }
    then
}

/// The least that a series can be.
fn floor(series: &Regular, params: &Params) -> f64 {
    let has_none_below = series.values.iter().all(|value| value.is_nan() || *value >= 0.0);
    if has_none_below && !params.may_be_negative { 0.0 } else { f64::NEG_INFINITY }
}

fn forecast(
    series: Regular,
    seasons: Vec<usize>,
    tried: Tried,
    choice: Choice,
    floor: f64,
) -> Forecast {
    let mean = choice.ahead;
    let bounds = [0, 1].map(|level| {
        let bound = |sign: f64| -> Vec<f64> {
            let half = |step: usize| sign * tried.widths.half(level, step + 1);
            mean.iter().enumerate().map(|(step, mean)| (mean + half(step)).max(floor)).collect()
        };
        (bound(-1.0), bound(1.0))
    });
    Forecast {
        sum_of: None,
        made_at_us: series.last_us(),
        at_us: (0..mean.len()).map(|step| series.at_us(series.values.len() + step)).collect(),
        interval: series.grid.interval(),
        name: series.name,
        seasons,
        mean: mean.iter().map(|mean| mean.max(floor)).collect(),
        bounds,
        tried,
    }
}

impl Forecast {
    /// The last instant that is forecast.
    pub(super) fn ends_us(&self) -> i64 {
        self.at_us.last().copied().unwrap_or(self.made_at_us)
    }
}

impl Found {
    /// Adds what another chunk gave.
    pub(super) fn add(&mut self, other: Self) {
        self.forecasts.extend(other.forecasts);
        self.tally.merge(other.tally);
        self.kept.extend(other.kept);
    }
}
