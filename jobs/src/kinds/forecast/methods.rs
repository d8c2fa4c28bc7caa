//! What can forecast a series, for many at a time. Each method is given what is known up to an instant, and says what follows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use analysis::series::{Decomposed, filled, median, without_spikes};
use engine::Result;
use kernels::forecast::{
    ForecastOptions, LEAST_SAMPLES, MOST_SEASON, Method as Kernel, SeriesForecast, forecast,
};
use kernels::{Execution, MatrixView};
use rayon::prelude::*;

use super::backtest::Origins;
use super::intermittent;

/// Values at one phase of a season, or last ones without, that the median is of.
const MEDIAN_OF: usize = 8;
const MEDIAN_WITHOUT_SEASON: usize = 24;

/// A way to forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    /// The value one season ago, of the season that was best at instants that are past, or the last value.
    Naive,
    /// The median of the last values at the same phase of the season.
    Median,
    /// Exponential smoothing chosen by AICc, of what is left without the seasons.
    Ets,
    /// The same of the series as it is, the season being a part of the model.
    SeasonalEts,
    /// The theta method, of what is left without the seasons.
    Theta,
    /// How often something is, and how much it is then (Teunter, Syntetos & Babai, EJOR 214, 2011).
    Intermittent,
    /// The mean of naive, median, exponential smoothing and theta, weighted by their errors; the median of the last three without a past.
    Ensemble,
}

impl Method {
    pub(super) const ALL: [Self; 7] = [
        Self::Naive,
        Self::Median,
        Self::Ets,
        Self::SeasonalEts,
        Self::Theta,
        Self::Intermittent,
        Self::Ensemble,
    ];

    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Median => "median",
            Self::Ets => "ets",
            Self::SeasonalEts => "seasonal_ets",
            Self::Theta => "theta",
            Self::Intermittent => "intermittent",
            Self::Ensemble => "ensemble",
        }
    }
}

/// What is known of a series at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    /// The first is there.
    pub(super) values: &'a [f64],
    /// In values, rising; each is there twice.
    pub(super) seasons: &'a [usize],
    /// The season of the naive method; 1 takes the last value.
    pub(super) naive: usize,
    /// Which task, of the same series and with no more values, models are fitted to; its own place where it is its own.
    pub(super) fitted: usize,
}

/// By [`Method`], as it stands in [`Method::ALL`].
pub(super) type Means = [Option<Vec<f64>>; Method::ALL.len()];

/// What every method says of every task, `horizon` values from the next on.
pub(super) fn means(
    tasks: &[Task<'_>],
    horizon: usize,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Vec<Means>> {
    let usual = |task: &Task<'_>| {
        without_spikes(task.values, task.seasons.last().copied().unwrap_or(1)).into_owned()
    };
    let usual: Vec<Vec<f64>> = pool.install(|| tasks.par_iter().map(usual).collect());
    let usual: Vec<Task<'_>> =
        tasks.iter().zip(&usual).map(|(task, values)| Task { values, ..*task }).collect();
    let tasks = &usual[..];
    let parts: Vec<Parts> =
        pool.install(|| tasks.par_iter().map(|task| Parts::of(task, horizon)).collect());
    let fitted: Vec<usize> = tasks.iter().map(|task| task.fitted).collect();
    let all: Vec<usize> = (0..tasks.len()).collect();
    let adjusted: Vec<&[f64]> = parts.iter().map(|parts| &parts.adjusted[..]).collect();
    let smoothing = Smoothing { rows: &adjusted, horizon, execution };
    let ets = smoothing.of_each(&all, &fitted, 1, pool)?;
    let theta = smoothing.fit(&all, Kernel::Theta, 1)?.into_iter().map(Said::mean);
    let mut seasonal = vec![None; tasks.len()];
    let values: Vec<&[f64]> = tasks.iter().map(|task| task.values).collect();
    let smoothing = Smoothing { rows: &values, horizon, execution };
    let short: BTreeSet<usize> = tasks.iter().filter_map(Task::short_season).collect();
    for season in short {
        let of: Vec<usize> =
            all.iter().copied().filter(|at| tasks[*at].short_season() == Some(season)).collect();
        let found = smoothing.of_each(&of, &fitted, season, pool)?;
        of.into_iter().zip(found).for_each(|(at, found)| seasonal[at] = found);
    }
    let each = tasks.iter().zip(parts).zip(ets).zip(theta).zip(seasonal);
    Ok(each
        .map(|((((task, parts), ets), theta), seasonal)| {
            let with_season = |means: Vec<f64>| -> Vec<f64> {
                means.iter().zip(&parts.seasonal).map(|(mean, season)| mean + season).collect()
            };
            let (ets, theta) = (ets.map(with_season), theta.map(with_season));
            let intermittent = intermittent::mean(task.values).map(|mean| vec![mean; horizon]);
            let members: Vec<&Vec<f64>> = [&ets, &seasonal, &theta].into_iter().flatten().collect();
            let ensemble = (members.len() > 1).then(|| {
                let at = |step: usize| members.iter().map(|member| member[step]).collect();
                (0..horizon).map(|step| middle(at(step))).collect()
            });
            let naive = Some(task.naive(horizon));
            [naive, Some(task.median(horizon)), ets, seasonal, theta, intermittent, ensemble]
        })
        .collect())
}

/// The season whose naive method was best at `origins`; without origins, the longest season.
pub(super) fn naive_season(
    values: &[f64],
    origins: &Origins,
    candidates: impl Iterator<Item = usize>,
) -> usize {
    let mut candidates: Vec<usize> = candidates.chain([1]).collect();
    candidates.sort_unstable();
    candidates.dedup();
    let Some(least_known) = origins.known.iter().min() else {
        candidates.retain(|season| 2 * season <= values.len());
        return candidates.pop().unwrap_or(1);
    };
    let error = |season: usize| {
        let mut error = 0.0;
        for known in &origins.known {
            let task = Task { values: &values[..*known], seasons: &[], naive: season, fitted: 0 };
            let said = task.naive(origins.steps);
            let off = values[*known..].iter().zip(said).map(|(value, said)| (value - said).abs());
            error += off.filter(|off| off.is_finite()).sum::<f64>();
        }
        error
    };
    candidates.retain(|season| season <= least_known);
    let tried = candidates.into_iter().map(|season| (season, error(season)));
    tried.min_by(|one, other| one.1.total_cmp(&other.1)).map_or(1, |(season, _)| season)
}

fn middle(mut values: Vec<f64>) -> f64 {
    median(&mut values).unwrap_or(f64::NAN)
}

impl Task<'_> {
    /// The one season, where a model can have it as a part.
    fn short_season(&self) -> Option<usize> {
        match self.seasons {
            [season] if *season <= MOST_SEASON => Some(*season),
            _ => None,
        }
    }

    fn naive(&self, horizon: usize) -> Vec<f64> {
        let known = filled(self.values);
        let season = self.naive.clamp(1, known.len());
        (0..horizon).map(|step| known[known.len() - season + step % season]).collect()
    }

    fn median(&self, horizon: usize) -> Vec<f64> {
        let season = self.seasons.last().copied();
        let (step, count) = season.map_or((1, MEDIAN_WITHOUT_SEASON), |season| (season, MEDIAN_OF));
        let at_phase = |phase: usize| {
            // The last value at that phase, and those a season before each.
            let behind = self.values.len() + phase - step;
            let places = (0..count).filter_map(|back| behind.checked_sub(back * step));
            let values: Vec<f64> = places
                .filter_map(|at| self.values.get(at).copied())
                .filter(|value| value.is_finite())
                .collect();
            middle(values)
        };
        let phases: Vec<f64> = (0..step.min(horizon)).map(at_phase).collect();
        let last = self.values.iter().rfind(|value| value.is_finite()).copied().unwrap_or(f64::NAN);
        (0..horizon)
            .map(|at| phases[at % step.min(horizon)])
            .map(|value| if value.is_nan() { last } else { value })
            .collect()
    }
}

/// A series taken apart.
struct Parts {
    /// Without its seasons; NaN where no value is.
    adjusted: Vec<f64>,
    /// What its seasons add to the values that follow.
    seasonal: Vec<f64>,
}

impl Parts {
    fn of(task: &Task<'_>, horizon: usize) -> Self {
        let Decomposed { adjusted, seasonal } = Decomposed::of(task.values, task.seasons);
        let mut ahead = vec![0.0; horizon];
        for (part, &season) in seasonal.iter().zip(task.seasons) {
            for (step, sum) in ahead.iter_mut().enumerate() {
                *sum += part[part.len() - season + step % season];
            }
        }
        Self { adjusted, seasonal: ahead }
    }
}

/// Rows of one call of the kernel differ in length by at most this factor, and are together at most so many values.
const PADDING_MAX: usize = 2;
const MATRIX_VALUES_MAX: usize = 1 << 22;

/// Series for the kernel.
struct Smoothing<'a> {
    rows: &'a [&'a [f64]],
    horizon: usize,
    execution: &'a Execution,
}

/// What the kernel says of a series.
struct Said {
    by: SeriesForecast,
    mean: Vec<f64>,
}

impl Said {
    fn mean(self) -> Option<Vec<f64>> {
        finite(self.mean)
    }
}

fn finite(mean: Vec<f64>) -> Option<Vec<f64>> {
    mean.iter().all(|value| value.is_finite()).then_some(mean)
}

impl Smoothing<'_> {
    /// Exponential smoothing of the rows `which`, each by the model of the row that `fitted` names for it; where that says nothing, by
    /// one of its own.
    fn of_each(
        &self,
        which: &[usize],
        fitted: &[usize],
        season: usize,
        pool: &rayon::ThreadPool,
    ) -> Result<Vec<Option<Vec<f64>>>> {
        let own: Vec<usize> = which.iter().copied().filter(|at| fitted[*at] == *at).collect();
        let fit = |of: &[usize]| self.fit(of, Kernel::AutoEts, season);
        let mut said: BTreeMap<usize, Said> = own.iter().copied().zip(fit(&own)?).collect();
        let after = |at: &usize| {
            let model = said.get(&fitted[*at]).filter(|_| fitted[*at] != *at)?;
            finite(model.by.after(self.rows[*at], self.horizon)?)
        };
        let means: Vec<Option<Vec<f64>>> = pool.install(|| which.par_iter().map(after).collect());
        let left = which.iter().zip(&means);
        let left = left.filter(|(at, mean)| mean.is_none() && !said.contains_key(at));
        let left: Vec<usize> = left.map(|(at, _)| *at).collect();
        said.extend(left.iter().copied().zip(fit(&left)?));
        let each = which.iter().zip(means);
        Ok(each.map(|(at, mean)| mean.or_else(|| said.remove(at)?.mean())).collect())
    }

    /// By the kernel, those of like length at once.
    fn fit(&self, which: &[usize], method: Kernel, season: usize) -> Result<Vec<Said>> {
        let length = |place: &usize| self.rows[which[*place]].len();
        let mut by_length: Vec<usize> = (0..which.len()).collect();
        by_length.sort_by_key(|place| Reverse(length(place)));
        let mut found: Vec<Option<Said>> = which.iter().map(|_| None).collect();
        let mut rest = &by_length[..];
        while let Some(longest) = rest.first().map(length) {
            let most = (MATRIX_VALUES_MAX / longest.max(LEAST_SAMPLES)).max(1);
            let alike = rest.iter().take(most);
            let alike = alike.take_while(|place| PADDING_MAX * length(place) >= longest);
            let (group, others) = rest.split_at(alike.count().max(1));
            rest = others;
            let of: Vec<&[f64]> = group.iter().map(|place| self.rows[which[*place]]).collect();
            let said = self.fit_alike(&of, method, season)?;
            group.iter().zip(said).for_each(|(place, said)| found[*place] = Some(said));
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Rows are made as long as the longest, with nothing before their first value.
    fn fit_alike(&self, rows: &[&[f64]], method: Kernel, season: usize) -> Result<Vec<Said>> {
        let cols = rows.iter().map(|row| row.len()).max().unwrap_or(0).max(LEAST_SAMPLES);
        let mut values = vec![f64::NAN; rows.len() * cols];
        for (to, row) in values.chunks_exact_mut(cols).zip(rows) {
            to[cols - row.len()..].copy_from_slice(row);
        }
        let horizon = self.horizon;
        let options = ForecastOptions { method, horizon, season, ..ForecastOptions::default() };
        let matrix = MatrixView::new(&values, rows.len(), cols)?;
        let mut found = forecast(matrix, &options, self.execution)?;
        let series = std::mem::take(&mut found.series).into_iter().enumerate();
        Ok(series.map(|(row, by)| Said { by, mean: found.mean(row).to_vec() }).collect())
    }
}
