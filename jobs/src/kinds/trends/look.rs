//! What changed in each series of a chunk. Pure numbers: no dataset and no run in sight.

use std::collections::BTreeSet;

use analysis::series::trend::change_points::{
    self, ChangePoint, Removed, change_points, change_points_beside,
};
use analysis::series::trend::level_test::level_p;
use analysis::series::trend::mann_kendall::{Lags, MannKendall, autocorrelated};
use analysis::series::trend::records::{Record, Records, is_of_line, records};
use analysis::series::trend::season_change::{SeasonChange, season_change};
use analysis::series::trend::slope::{Slope, slope};
use analysis::series::{Decomposed, Series, Span, Spread, season_holds, spread};
use engine::Result;
use kernels::Execution;
use rayon::prelude::*;

use super::NAME;
use super::params::Params;
use crate::series::words::{instant, number};
use crate::series::{Empty, Regular, Tally, check_cancelled, seasons};

/// Values without which nothing can be said of a trend.
const TREND_MIN: usize = 16;
/// Noise of so small a part of a rise is none.
const ROUNDING: f64 = 1e-9;
/// Part of the variance that a strong season explains.
const STRONG_SEASON: f64 = 0.3;
/// All that is drawn at random follows from it.
const SEED: u64 = 0;

/// What a finding is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Level,
    Slope,
    Season,
    Highest,
    Lowest,
}

impl Kind {
    /// As it stands in rows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Slope => "slope",
            Self::Season => "season",
            Self::Highest => "highest",
            Self::Lowest => "lowest",
        }
    }
}

/// A finding; a row of the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trend {
    pub(super) series: String,
    pub(super) kind: Kind,
    /// When it is, and between which instants that lies.
    pub(super) at_us: i64,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
    pub(super) before: f64,
    pub(super) after: f64,
    /// Of a slope, per day, with the ends of its interval of 95 %.
    pub(super) per_day: Option<[f64; 3]>,
    /// In standard deviations of the noise; none without noise.
    pub(super) score: Option<f64>,
    pub(super) p: f64,
    pub(super) interval_us: i64,
    pub(super) season_us: Option<i64>,
    pub(super) explanation: String,
    /// Of a record: without the slope of its series it is none.
    pub(super) is_of_slope: bool,
}

/// What a chunk gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    trends: Vec<Trend>,
    /// Of all series that were tested for a slope.
    slopes: Vec<f64>,
    pub(super) tally: Tally,
    pub(super) with_season: u64,
    /// Series of which each value is a record.
    pub(super) one_way: u64,
}

impl Found {
    /// Adds what another chunk gave.
    pub(super) fn add(&mut self, other: Self) {
        self.trends.extend(other.trends);
        self.slopes.extend(other.slopes);
        self.tally.merge(other.tally);
        self.with_season += other.with_season;
        self.one_way += other.one_way;
    }

    /// The findings, without slopes that are too likely by chance among all series that were tested, and without records that a slope
    /// that is told explains.
    pub(super) fn told(&self, max_q: f64) -> Vec<Trend> {
        let limit = false_discovery_limit(&self.slopes, max_q);
        let slopes = self.trends.iter().filter(|of| of.kind == Kind::Slope && of.p <= limit);
        let sloped: BTreeSet<&str> = slopes.map(|of| of.series.as_str()).collect();
        let is_told = |trend: &&Trend| match trend.kind {
            Kind::Slope => trend.p <= limit,
            _ => !(trend.is_of_slope && sloped.contains(trend.series.as_str())),
        };
        self.trends.iter().filter(is_told).cloned().collect()
    }
}

/// The largest p-value that is significant among all (Benjamini & Hochberg, 1995); below 0 where none is.
fn false_discovery_limit(p_values: &[f64], max_q: f64) -> f64 {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let ranked = sorted.iter().enumerate().rev();
    let mut passing = ranked.filter(|(at, p)| **p <= max_q * (at + 1) as f64 / count);
    passing.next().map_or(-1.0, |(_, p)| *p)
}

/// Looks at every series of a chunk.
pub(super) fn look(
    chunk: Vec<Series>,
    params: &Params,
    empty: Empty,
    execution: &Execution,
    pool: &rayon::ThreadPool,
) -> Result<Found> {
    let (tally, cleaned) = Tally::of(chunk, pool);
    let mut found = Found { tally, ..Found::default() };
    let mut series = Vec::with_capacity(cleaned.len());
    let intervals = params.intervals();
    for samples in cleaned {
        let grid = intervals.grid(&samples);
        let regular = Regular::of(samples, grid, params.history, empty);
        match regular {
            Ok(one) if one.values.len() < TREND_MIN => {
                found.tally.skipped.add("fewer than 16 intervals of history", one.name);
            }
            Ok(one) => series.push(one),
            Err((reason, name)) => found.tally.skipped.add(reason, name),
        }
    }
    let stated = params.seasons.as_deref();
    let mut seasons = seasons(&series, stated, execution)?;
    for (one, seasons) in series.iter().zip(&mut seasons).filter(|_| stated.is_none()) {
        // A step has power at low frequencies, and so looks like a season.
        seasons.retain(|season| season_holds(&one.values, *season));
    }
    check_cancelled(NAME, execution)?;
    let of = |(series, seasons): (&Regular, &Vec<usize>)| {
        if execution.control.is_cancelled() {
            return Of::default();
        }
        Subject { series, seasons, params }.look()
    };
    let each: Vec<Of> = pool.install(|| series.par_iter().zip(&seasons).map(of).collect());
    check_cancelled(NAME, execution)?;
    found.with_season = seasons.iter().filter(|seasons| !seasons.is_empty()).count() as u64;
    for of in each {
        found.trends.extend(of.trends);
        found.slopes.extend(of.slope_p);
        found.one_way += u64::from(of.is_one_way);
    }
    Ok(found)
}

/// What one series gave.
#[derive(Debug, Default)]
struct Of {
    trends: Vec<Trend>,
    /// Whether there is a slope, where that was tested.
    slope_p: Option<f64>,
    is_one_way: bool,
}

/// A series and what is asked of it.
struct Subject<'a> {
    series: &'a Regular,
    seasons: &'a [usize],
    params: &'a Params,
}

impl Subject<'_> {
    fn look(&self) -> Of {
        let values = &self.series.values;
        let parts = Decomposed::of(values, self.seasons);
        let mut of = Of::default();
        let removed = self.removed(&parts.seasonal);
        let changed = Changed::of(&parts.adjusted, removed, self.params);
        of.trends.extend(changed.levels.iter().map(|change| self.level(change)));
        if let Some((line, test)) = changed.slope {
            of.slope_p = Some(test.p);
            of.trends.push(self.slope(&changed, line, test));
        }
        for (at, &season) in self.seasons.iter().enumerate() {
            // The others are taken out, or they would be what changes.
            let mut alone = values.clone();
            for (_, other) in parts.seasonal.iter().enumerate().filter(|(other, _)| *other != at) {
                alone.iter_mut().zip(other).for_each(|(value, part)| *value -= part);
            }
            let change = season_change(&alone, season, SEED);
            let change = change.filter(|change| change.p <= self.params.max_q);
            of.trends.extend(change.map(|change| self.season(season, change)));
        }
        match records(values, self.record_window()) {
            Records::OneWay => of.is_one_way = true,
            Records::Of { highest, lowest } => {
                let highest = highest.map(|found| self.record(Kind::Highest, found, &changed));
                let lowest = lowest.map(|found| self.record(Kind::Lowest, found, &changed));
                of.trends.extend(highest.into_iter().chain(lowest));
            }
        }
        of.trends
            .sort_by(|a, b| (a.at_us, a.kind).cmp(&(b.at_us, b.kind)).then(a.p.total_cmp(&b.p)));
        // A day and a week that change at once are one finding: the surer one.
        of.trends.dedup_by_key(|trend| (trend.at_us, trend.kind));
        of
    }

    /// The last intervals in which a record is reported. By chance, the highest of n values is among the
    /// last w with probability w/n, which is at most `max_q`.
    fn record_window(&self) -> usize {
        let values = &self.series.values;
        let mut most =
            self.params.max_q * values.iter().filter(|value| value.is_finite()).count() as f64;
        let newest_first = values.iter().rev().take(self.params.record_intervals);
        let is_within = |value: &&f64| {
            most -= if value.is_finite() { 1.0 } else { 0.0 };
            most >= 0.0
        };
        newest_first.take_while(is_within).count()
    }

    /// Of the seasons that were taken out, the one that levels are compared over, which then last two of it: the longest of a day or
    /// of a few values. A level that is there for days should not wait for two weeks.
    fn removed<'a>(&self, seasonal: &'a [Vec<f64>]) -> Option<Removed<'a>> {
        let is_short = |season: &usize| {
            self.span_us(*season) <= Span::DAY.micros() || 2 * season <= change_points::LENGTH_MAX
        };
        let at = self.seasons.iter().rposition(is_short)?;
        // A level that ends within a season may be mistaken for one only if the season is strong.
        if variance(seasonal.get(at)?) < STRONG_SEASON * variance(&self.series.values) {
            return None;
        }
        Some(Removed { season: self.seasons[at], part: seasonal.get(at)?.as_slice() })
    }

    fn instant_us(&self, at: usize) -> i64 {
        self.series.at_us(at)
    }

    fn trend(&self, kind: Kind, at: usize, p: f64, explanation: String) -> Trend {
        let at_us = self.instant_us(at);
        Trend {
            series: self.series.name.clone(),
            kind,
            at_us,
            from_us: at_us,
            until_us: at_us,
            before: f64::NAN,
            after: f64::NAN,
            per_day: None,
            score: None,
            p,
            interval_us: self.series.interval_us(),
            season_us: self.seasons.last().map(|season| self.span_us(*season)),
            explanation,
            is_of_slope: false,
        }
    }

    /// What to say before levels and lines of values whose seasons are taken out.
    fn adjusted(&self) -> &'static str {
        if self.seasons.is_empty() { "" } else { "seasonally adjusted, " }
    }

    fn span_us(&self, values: usize) -> i64 {
        values as i64 * self.series.interval_us()
    }

    fn level(&self, change: &ChangePoint) -> Trend {
        let [from_us, until_us] = [change.low, change.high].map(|at| self.instant_us(at));
        let between = match from_us == until_us {
            true => String::new(),
            false => format!(
                "; the change lies between {} and {} with 95 % confidence",
                instant(from_us),
                instant(until_us)
            ),
        };
        let explanation = format!(
            "{}the level {} from {} to {}{} at {}, by {} standard deviations of the noise{between}",
            self.adjusted(),
            if change.after > change.before { "rises" } else { "falls" },
            number(change.before),
            number(change.after),
            percent(change.before, change.after),
            instant(self.instant_us(change.at)),
            number(change.difference.abs()),
        );
        Trend {
            from_us,
            until_us,
            before: change.before,
            after: change.after,
            score: Some(change.difference),
            ..self.trend(Kind::Level, change.at, change.p, explanation)
        }
    }

    fn slope(&self, changed: &Changed, line: Slope, test: MannKendall) -> Trend {
        let last = self.series.values.len() - 1;
        let [before, after] = [changed.since, last]
            .map(|at| line.intercept + line.slope * (at - changed.since) as f64);
        let per_day = Span::DAY.micros() as f64 / self.series.interval_us() as f64;
        let [slope, low, high] = [line.slope, line.low, line.high].map(|of| of * per_day);
        let explanation = format!(
            "{}the trend {} by {} a day, between {} and {} with 95 % confidence; the fitted line goes from {} at {} to {} at {}{}",
            self.adjusted(),
            if slope > 0.0 { "rises" } else { "falls" },
            number(slope.abs()),
            number(low.abs().min(high.abs())),
            number(low.abs().max(high.abs())),
            number(before),
            instant(self.instant_us(changed.since)),
            number(after),
            instant(self.instant_us(last)),
            percent(before, after),
        );
        Trend {
            from_us: self.instant_us(changed.since),
            before,
            after,
            per_day: Some([slope, low, high]),
            score: Some(test.z),
            ..self.trend(Kind::Slope, last, test.p, explanation)
        }
    }

    fn season(&self, season: usize, change: SeasonChange) -> Trend {
        let (before, after) = (change.amplitude_before, change.amplitude_after);
        let span_us = self.span_us(season);
        let span = Span::from_micros(span_us).map_or_else(String::new, |span| span.to_string());
        let what = match change.amplitude_p <= change.shape_p {
            true => format!("swings by {} where it swung by {}", number(after), number(before)),
            false => "has another shape than before".to_owned(),
        };
        let at = instant(self.instant_us(change.at));
        let explanation = format!("from {at} on the season of {span} {what}");
        Trend {
            before,
            after,
            season_us: Some(span_us),
            ..self.trend(Kind::Season, change.at, change.p, explanation)
        }
    }

    fn record(&self, kind: Kind, found: Record, changed: &Changed) -> Trend {
        let is_of_slope = changed.slope.is_some_and(|(line, _)| {
            let line = |at: usize| line.slope * at.saturating_sub(changed.since) as f64;
            is_of_line(&self.series.values, self.record_window(), &found, line)
        });
        // Of several records among the newest values one is reported, against those before all of them.
        let newest = self.series.values.len().saturating_sub(self.record_window());
        let explanation = format!(
            "{} at {} is the {} of the {} values since {}; before {}, the {} was {} at {}",
            number(found.value),
            instant(self.instant_us(found.at)),
            kind.as_str(),
            self.series.values.iter().filter(|value| value.is_finite()).count(),
            instant(self.instant_us(0)),
            instant(self.instant_us(newest)),
            kind.as_str(),
            number(found.previous),
            instant(self.instant_us(found.previous_at)),
        );
        Trend {
            from_us: self.instant_us(found.previous_at),
            before: found.previous,
            after: found.value,
            score: found.margin,
            is_of_slope,
            ..self.trend(kind, found.at, found.p, explanation)
        }
    }
}

/// Of the finite values.
fn variance(values: &[f64]) -> f64 {
    let known = || values.iter().filter(|value| value.is_finite());
    let count = known().count().max(1) as f64;
    let mean = known().map(|value| value / count).sum::<f64>();
    known().map(|value| (value - mean).powi(2) / count).sum()
}

/// Drops changes until each level lasts long enough, the least sure of two first.
fn drop_short(levels: &mut Vec<ChangePoint>, length_min: usize) {
    while let Some(at) = levels.windows(2).position(|pair| pair[1].at - pair[0].at < length_min) {
        let drops_first = levels[at].p > levels[at + 1].p;
        levels.remove(if drops_first { at } else { at + 1 });
    }
}

/// States the level of each segment, in deviations of the noise too. Drops changes that are small by these levels, or that go the other
/// way than the test: outliers can do that.
fn state_levels(levels: &mut Vec<ChangePoint>, values: &[f64], sigma: f64, min_difference: f64) {
    loop {
        let cuts: Vec<usize> = levels.iter().map(|change| change.at).collect();
        let ends = cuts.iter().copied().chain([values.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let of_segments: Vec<f64> =
            starts.zip(ends).map(|(start, end)| level_of(&values[start..end])).collect();
        let stated: Vec<ChangePoint> = levels
            .iter()
            .zip(of_segments.windows(2))
            .map(|(change, pair)| ChangePoint {
                before: pair[0],
                after: pair[1],
                difference: (pair[1] - pair[0]) / sigma,
                ..*change
            })
            .collect();
        let holds = |(stated, tested): (&ChangePoint, &ChangePoint)| {
            stated.difference * tested.difference.signum() >= min_difference
        };
        let kept: Vec<bool> = stated.iter().zip(&*levels).map(holds).collect();
        if kept.iter().all(|kept| *kept) {
            *levels = stated;
            return;
        }
        let mut kept = kept.into_iter();
        levels.retain(|_| kept.next().unwrap_or(true));
    }
}

/// Robust standard deviations from the median, beyond which outliers have moved a mean.
const MEAN_OFF_MAX: f64 = 3.0;

/// The mean of a segment, or its median where outliers move the mean.
fn level_of(values: &[f64]) -> f64 {
    let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let mean = known.iter().map(|value| value / known.len() as f64).sum::<f64>();
    let Spread { centre, sigma, .. } = spread(&known);
    if sigma > 0.0 && (mean - centre).abs() > MEAN_OFF_MAX * sigma { centre } else { mean }
}

/// The largest change that is stated in percent.
const PERCENT_MAX: f64 = 1e5;

/// By how much in percent, if both are positive.
fn percent(before: f64, after: f64) -> String {
    let part = (after - before) / before * 100.0;
    match before > 0.0 && after >= 0.0 && part <= PERCENT_MAX {
        true => format!(" ({}{} %)", if part > 0.0 { "+" } else { "" }, number(part)),
        false => String::new(),
    }
}

/// Levels, or a slope, whichever says it with fewer changes.
struct Changed {
    levels: Vec<ChangePoint>,
    /// Through the values from `since` on.
    slope: Option<(Slope, MannKendall)>,
    since: usize,
}

impl Changed {
    fn of(values: &[f64], removed: Option<Removed<'_>>, params: &Params) -> Self {
        let length_min = params.min_level;
        let options = change_points::Options { length_min };
        let found = match removed {
            Some(removed) => change_points_beside(values, removed, options),
            None => change_points(values, options),
        };
        // What begins or ends with the series can't be told from an outlier.
        let mut levels = found.found;
        levels.retain(|of| of.at >= length_min && of.at + length_min <= values.len());
        drop_short(&mut levels, length_min);
        let line = |at: usize| found.slope * at as f64;
        let without_line: Vec<f64> =
            values.iter().enumerate().map(|(at, value)| value - line(at)).collect();
        let cuts: Vec<usize> = levels.iter().map(|change| change.at).collect();
        let tested = level_p(&without_line, &cuts, found.noise, options, SEED);
        for (change, p) in levels.iter_mut().zip(tested) {
            change.p = change.p.max(p);
        }
        // A slope and its interval hold beside the levels that are reported, and beside no others.
        levels.retain(|change| {
            change.p <= params.max_q && change.difference.abs() >= params.min_difference
        });
        if found.slope == 0.0 {
            state_levels(&mut levels, values, found.noise.sigma, params.min_difference);
        }
        let sloped = |values: &[f64]| slope(values).zip(autocorrelated(values, Lags::default()));
        if found.slope == 0.0 {
            let since = levels.last().map_or(0, |change| change.at);
            let rest = &values[since..];
            let slope = (rest.len() >= TREND_MIN).then(|| sloped(rest)).flatten();
            return Self { levels, slope, since };
        }
        // Of a line without noise, what is left is rounding.
        let rise = (found.slope * values.len() as f64).abs();
        if found.noise.sigma <= ROUNDING * rise {
            levels.clear();
        }
        // One slope from level to level: what is left of it where these are taken for one.
        let mut whole = values.to_vec();
        for change in &levels {
            whole[change.at..].iter_mut().for_each(|value| *value -= change.after - change.before);
        }
        Self { levels, slope: sloped(&whole), since: 0 }
    }
}

#[cfg(test)]
impl Found {
    /// What `tested` series gave, of which these have a slope.
    pub(super) fn of(trends: Vec<Trend>, tested: usize) -> Self {
        let slopes = trends.iter().map(|trend| trend.p);
        let slopes = slopes.chain(std::iter::repeat(1.0)).take(tested).collect();
        Self { trends, slopes, ..Self::default() }
    }
}
